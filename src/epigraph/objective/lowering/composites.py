"""Operators that PyTorch writes as other operators: each is opened by running it once, and lowered piece by piece."""

from __future__ import annotations

from typing import Any

from epigraph.objective.builder import Builder
from epigraph.objective.lowering.registry import lowers, operator

OPENED = """
    atleast_1d.default atleast_2d.default atleast_3d.default cartesian_prod.default chain_matmul.default
    column_stack.default corrcoef.default cov.default cross.default cumulative_trapezoid.dx cumulative_trapezoid.x
    diagflat.default diff.default dstack.default fliplr.default flipud.default hsplit.int inner.default kron.default
    linalg_matrix_power.default linalg_multi_dot.default matrix_power.default moveaxis.intlist movedim.intlist
    repeat_interleave.self_Tensor std_mean.default std_mean.dim tensor_split.indices tensor_split.sections
    tensordot.default trapezoid.dx trapezoid.x trapz.dx trapz.x vander.default var_mean.default var_mean.dim
    vsplit.int dsplit.int gru.input gru_cell.default lstm.input lstm_cell.default rnn_relu.input
    rnn_relu_cell.default rnn_tanh.input rnn_tanh_cell.default
""".split()


def _opens(overload: str) -> None:
    def lower(b: Builder, *bound: Any) -> Any:
        from epigraph.objective.capture import Lowering
        from epigraph.objective.recorder import replay

        return replay(Lowering(b), operator(overload), bound)

    lowers(overload)(lower)


for _overload in OPENED:
    _opens(f"aten.{_overload}")
