"""The table: every row of every family, and the overloads that no row can call on a processor without CUDA."""

from __future__ import annotations

import rows_elementwise
import rows_layout
import rows_networks
import rows_order
import rows_reductions

TABLE = [*rows_elementwise.ROWS, *rows_reductions.ROWS, *rows_order.ROWS, *rows_layout.ROWS, *rows_networks.ROWS]
UNREACHABLE = {
    "aten.cudnn_batch_norm.default": "needs CUDA",
    "aten.empty_like.default": "memory that is not initialised",
    "aten.new_empty.default": "memory that is not initialised",
    "aten.new_empty_strided.default": "memory that is not initialised",
}
