"""Rows of sorting, ranks and spectra; at knots entries are equal, where gradients are a choice and are not compared.

PyTorch's gradient of eigenvalues is that of a function of symmetric matrices; the lowered function reads one triangle.
"""

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
    row("linalg_svdvals.default", X),
    row("linalg_svdvals.default", CUBE),
    row("linalg_eigvalsh.default", V((3, 3)), smooth=False),
    row("linalg_eigvalsh.default", V((2, 4, 4)), "U", smooth=False),
    row("_linalg_eigh.default", V((3, 3)), "L", True, smooth=False, export=False),
    row("linalg_det.default", V((3, 3))),
    row("det.default", V((2, 2, 2))),
    row("logdet.default", V((3, 3)), smooth=False, export=False),  # no value where the determinant is negative
    row("slogdet.default", V((3, 3))),
    row("linalg_slogdet.default", V((2, 4, 4))),
    row("nuclear_norm.default", X),
    row("nuclear_norm.default", X, True),
    row("nuclear_norm.dim", CUBE, [0, 2]),
    row("nuclear_norm.dim", CUBE, [2, 1], True),
    *[row("linalg_matrix_norm.default", CUBE, p, [0, 1], keep) for p, keep in ((2, False), (-2, True))],
    row("linalg_matrix_norm.str_ord", CUBE, "nuc"),
    row("linalg_norm.ord_str", X, "nuc", keepdim=True),
]
