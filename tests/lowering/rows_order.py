"""Rows of sorting and ranks; at knots entries are equal, where gradients are a choice and are not compared."""

from __future__ import annotations

from lowering_case import NUMBER, VECTOR, V, X, row

CUBE = V((2, 3, 4))
ROWS = [
    row("sort.default", VECTOR),
    row("sort.default", CUBE, 1, True),
    row("sort.default", NUMBER),
    row("sort.stable", X, stable=True, dim=0),
    row("sort.stable", CUBE, stable=False, dim=-1, descending=True),
    row("msort.default", X),
    row("topk.default", VECTOR, 2),
    row("topk.default", VECTOR, 4),
    row("topk.default", CUBE, 2, 1, False),
    row("topk.default", NUMBER, 1),
    row("kthvalue.default", VECTOR, 3),
    row("kthvalue.default", CUBE, 2, 0, True),
    row("kthvalue.default", NUMBER, 1),
    row("median.default", VECTOR),
    row("median.default", V((3, 5))),
    row("median.default", NUMBER),
    row("median.dim", CUBE, 1),
    row("median.dim", CUBE, -1, True),
    row("median.dim", NUMBER, 0),
]
