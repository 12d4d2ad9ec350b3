"""Rows of sums, norms, extrema, running reductions and contractions."""

from __future__ import annotations

import torch
from lowering_case import COLUMN, NUMBER, ROW, VECTOR, V, X, Y, data, row, whole

DIMS = ((0, False), (1, True), ([0, 1], False), ([-1], True), ([-2, -1], True))
CUBE = V((2, 3, 4))
SUMS = [
    row("sum.default", X),
    row("sum.default", NUMBER),
    row("mean.default", X),
    row("mean.default", V((1, 1))),
    *[
        row(f"{n}", CUBE, [d] if isinstance(d, int) else d, k)
        for n in (
            "sum.dim_IntList",
            "mean.dim",
            "logsumexp.default",
            "special_logsumexp.default",
            "amax.default",
            "amin.default",
            "linalg_vector_norm.default_",
        )
        if not n.endswith("_")
        for d, k in DIMS
    ],
    *[
        row(n, NUMBER, [0])
        for n in ("sum.dim_IntList", "mean.dim", "logsumexp.default", "amax.default", "amin.default")
    ],
    row("sum.dim_IntList", X, None),
    row("mean.dim", X, None, True),
    row("sum.dim_IntList", X, []),
    row("amax.default", X, []),
    *[row(f"{n}.default", X, unbiased) for n in ("var", "std", "std_mean", "var_mean") for unbiased in (True, False)],
    *[
        row(f"{n}.dim", CUBE, [d] if isinstance(d, int) else d, u, k)
        for n in ("var", "std", "std_mean", "var_mean")
        for (d, k), u in zip(DIMS, (True, False, True, False, True), strict=True)
    ],
    *[
        row(f"{n}.correction", CUBE, d, correction=c, keepdim=k)
        for n in ("var", "std", "std_mean", "var_mean")
        for d, c, k in (([1], None, True), ([0, 2], 0, False), (None, 1, False), ([-1], 0.5, False))
    ],
    *[row(f"{n}.default", X, smooth=n == "prod") for n in ("max", "min", "prod")],
    row("prod.default", NUMBER),
    *[row(f"{n}.dim", X, d, k) for n in ("max", "min") for d, k in ((0, True), (-1, False))],
    row("max.dim", NUMBER, 0),
    row("aminmax.default", X),
    row("aminmax.default", X, dim=1, keepdim=True),
    row("aminmax.default", X, dim=0),
    row("prod.dim_int", X, 0),
    row("prod.dim_int", X, -1, True),
    row("prod.dim_int", NUMBER, 0),
    *[
        row(f"{n}.default", CUBE, d)
        for n in ("cumsum", "cumprod", "logcumsumexp", "cummax", "cummin", "_logcumsumexp")
        for d in (0, -1, 1)
    ],
    row("cumsum.default", NUMBER, 0),
    row("trace.default", X),
    row("trace.default", V((4, 2))),
]

AWAY = V((3, 4), 0.2)
NORMS = [
    *[
        row("linalg_vector_norm.default", AWAY, p, d, k, smooth=p not in (0,))
        for p in (2, 1, torch.inf, -torch.inf, 0, 3, 4, 1.5, 0.5)
        for d, k in ((None, False), ([0], True), ([-1], False))
    ],
    row("linalg_vector_norm.default", NUMBER, torch.inf),
    row("norm.Scalar", X),
    row("norm.Scalar", AWAY, 3),
    row("norm.ScalarOpt_dim", AWAY, None, [0]),
    row("norm.ScalarOpt_dim", AWAY, 1, [-1], True),
    row("norm.ScalarOpt_dim", X, torch.inf, [0, 1]),
    row("linalg_norm.default", X),
    row("linalg_norm.default", CUBE),
    row("linalg_norm.default", X, 1, [0]),
    row("linalg_norm.default", VECTOR, 3, kinds="random"),
    *[row("linalg_norm.default", X, p) for p in (1, -1, torch.inf, -torch.inf)],
    *[
        row("linalg_matrix_norm.default", CUBE, p, dims, k)
        for p in (1, -1, torch.inf, -torch.inf)
        for dims, k in (([-2, -1], False), ([2, 0], True))
    ],
    row("linalg_norm.ord_str", X, "fro"),
    row("linalg_matrix_norm.str_ord", CUBE),
    row("linalg_matrix_norm.str_ord", CUBE, "fro", [0, 2], True),
    row("frobenius_norm.dim", X, [0]),
    row("frobenius_norm.dim", X, [0, 1], True),
    row("norm_except_dim.default", CUBE, 2, 1),
    row("norm_except_dim.default", CUBE, 2, -1),
    *[row("dist.default", X, other, p) for other in (Y, ROW) for p in (2, 1, torch.inf, 3)],
    *[row("cdist.default", V((2, 3, 4)), V((2, 5, 4)), p, export=True) for p in (2.0, 1.0, torch.inf, 3.0)],
    row("cdist.default", V((3, 2)), V((4, 2)), 2.0, 1, tolerance=1e-7, kinds="random"),
    row("_cdist_forward.default", V((3, 2)), V((4, 2)), 2.0, None),
    row("_euclidean_dist.default", V((3, 2)), V((4, 2)), tolerance=1e-6, kinds="random"),
    *[row(f"{n}.default", V((4, 3)), p) for n in ("pdist", "_pdist_forward") for p in (2.0, 1.0, torch.inf)],
    row("pairwise_distance.default", X, Y),
    row("pairwise_distance.default", X, ROW, 1.0, 1e-3, True),
    row("pairwise_distance.default", VECTOR, VECTOR),
    row("cosine_similarity.default", X, Y),
    row("cosine_similarity.default", X, ROW, 0),
    row("cosine_similarity.default", CUBE, V((3, 4)), -1),
    row("cosine_similarity.default", X, data(3, 4), 1, 2.0),
]

CONTRACTIONS = [
    row("linear.default", X, V((5, 4)), V((5,))),
    row("linear.default", V((4,)), V((5, 4))),
    row("linear.default", CUBE, V((2, 4)), V((2,))),
    row("linear.default", X, V((4,))),
    row("linear.default", data(3, 4), V((5, 4)), V((5,))),
    *[
        row("matmul.default", *p)
        for p in (
            (X, V((4, 2))),
            (VECTOR, VECTOR),
            (X, VECTOR),
            (V((3,)), X),
            (CUBE, V((4, 2))),
            (CUBE, V((2, 4, 5))),
            (V((5, 1, 2, 3)), V((2, 3, 2))),
            (VECTOR, V((2, 4, 3))),
            (V((1, 3)), V((3, 1))),
        )
    ],
    row("linalg_matmul.default", X, V((4, 2))),
    row("mm.default", X, V((4, 2))),
    row("bmm.default", CUBE, V((2, 4, 2))),
    row("mv.default", X, VECTOR),
    row("dot.default", VECTOR, VECTOR),
    row("vdot.default", VECTOR, data(4)),
    row("addmm.default", V((3, 2)), X, V((4, 2))),
    row("addmm.default", V((2,)), X, V((4, 2)), beta=0.5, alpha=-2),
    row("addmm.default", NUMBER, X, V((4, 2)), beta=0),
    row("addmv.default", V((3,)), X, VECTOR, beta=2, alpha=0.5),
    row("baddbmm.default", V((2, 3, 2)), CUBE, V((2, 4, 2)), beta=0.3),
    row("addbmm.default", V((3, 2)), CUBE, V((2, 4, 2)), alpha=0.5),
    row("addr.default", V((3, 4)), V((3,)), VECTOR, beta=2, alpha=3),
    row("outer.default", V((3,)), VECTOR),
    row("ger.default", V((3,)), VECTOR),
    row("linalg_vecdot.default", X, Y),
    row("linalg_vecdot.default", CUBE, V((3, 4)), dim=1),
    row("inner.default", X, Y),
    row("inner.default", VECTOR, CUBE),
    row("kron.default", V((2, 2)), V((2, 3))),
    row("tensordot.default", CUBE, V((4, 3)), [1, 2], [1, 0]),
    row("chain_matmul.default", [X, V((4, 2)), V((2, 3))]),
    row("linalg_multi_dot.default", [X, V((4, 2)), V((2, 3))]),
    row("matrix_power.default", V((3, 3)), 3),
    row("linalg_matrix_power.default", V((3, 3)), 2),
    row("cross.default", V((2, 3)), V((2, 3)), 1),
    row("linalg_cross.default", V((2, 3)), V((1, 3))),
    row("linalg_cross.default", V((3, 2)), V((3, 1)), dim=0),
    row("bilinear.default", X, V((3, 5)), V((2, 4, 5)), V((2,))),
    row("bilinear.default", VECTOR, V((5,)), V((2, 4, 5))),
    row("bilinear.default", V((2, 2, 3)), V((2, 2, 3)), V((2, 3, 3))),
    row("_trilinear.default", X, V((2, 4, 5)), V((3, 5)), [1, 3], [0], [1, 2], [2, 3], export=False),
    row("_trilinear.default", X, V((3, 4)), V((3, 4)), [], [], [], [], export=False),
    *[
        row("einsum.default", e, [V(s) for s in shapes])
        for e, shapes in (
            ("ij,jk->ik", ((2, 3), (3, 4))),
            ("ij,jk", ((2, 3), (3, 4))),
            ("ij->ji", ((2, 3),)),
            ("ij->", ((2, 3),)),
            ("ij->j", ((2, 3),)),
            ("ii->i", ((3, 3),)),
            ("ii", ((3, 3),)),
            ("bij,bjk->bik", ((2, 3, 4), (2, 4, 2))),
            ("bi,bi->b", ((2, 3), (2, 3))),
            ("i,j->ij", ((2,), (3,))),
            ("ij,kj,lk->il", ((2, 3), (4, 3), (2, 4))),
            ("...ij,...jk->...ik", ((2, 1, 3, 4), (5, 4, 2))),
            ("b...,b...->...", ((2, 3, 2), (2, 3, 2))),
            ("iij,j->i", ((3, 3, 2), (2,))),
            ("ij,ij", ((1, 3), (4, 3))),
            ("aab,bcc->a", ((2, 2, 3), (3, 2, 2))),
            ("ba", ((2, 3),)),
            ("...i->...", ((2, 3, 4),)),
        )
    ],
]

CONVOLUTIONS = [
    row("conv1d.default", V((2, 4, 9)), V((6, 2, 3)), V((6,)), [2], [1], [2], 2),
    row("conv1d.default", V((4, 9)), V((6, 4, 3))),
    row("conv2d.default", V((2, 4, 7, 6)), V((6, 2, 3, 2)), V((6,)), [2, 1], [1, 0], [1, 2], 2),
    row("conv2d.default", V((3, 5, 5)), V((2, 3, 2, 2)), None, [1, 1], [1, 1]),
    row("conv3d.default", V((1, 2, 4, 4, 4)), V((2, 2, 2, 3, 2)), V((2,)), [1, 2, 1], [0, 1, 1]),
    row("conv2d.default", data(2, 3, 5, 5), V((2, 3, 3, 3)), V((2,))),
    *[
        row("conv1d.padding", x, V((3, 2, k)), V((3,)), [1], pad, [d])
        for x in (V((2, 2, 8)), V((2, 8)))
        for k, d in ((3, 1), (4, 2))
        for pad in ("same", "valid")
    ],
    row("conv2d.padding", V((1, 2, 5, 6)), V((3, 2, 2, 3)), None, [1, 1], "same", [2, 1]),
    row("conv3d.padding", V((1, 1, 4, 4, 4)), V((2, 1, 2, 2, 3)), None, [1, 1, 1], "same"),
    row("conv_transpose1d.default", V((2, 4, 5)), V((4, 3, 3)), V((6,)), [2], [1], [1], 2, [2]),
    row("conv_transpose1d.default", V((2, 5)), V((2, 3, 2)), None, [3]),
    row("conv_transpose1d.default", V((1, 2, 5)), V((2, 3, 2)), None, [2], [2], [1]),
    row("conv_transpose1d.default", V((1, 2, 6)), V((2, 1, 1)), None, [1], [1]),
    row("conv_transpose2d.input", V((2, 2, 3, 4)), V((2, 3, 3, 2)), V((3,)), [2, 1], [1, 0], [1, 0]),
    row("conv_transpose3d.input", V((1, 2, 2, 3, 2)), V((2, 2, 2, 2, 2)), None, [2, 2, 1]),
    row("convolution.default", V((2, 4, 7)), V((6, 2, 3)), V((6,)), [2], [1], [1], False, [0], 2),
    row("convolution.default", V((1, 2, 3, 4)), V((2, 3, 3, 2)), None, [2, 1], [1, 0], [1, 1], True, [1, 0], 1),
    row(
        "_convolution.default",
        V((1, 2, 5)),
        V((3, 2, 2)),
        V((3,)),
        [1],
        [0],
        [1],
        False,
        [0],
        1,
        False,
        False,
        True,
        True,
    ),
]

STATISTICS = [
    row("cov.default", V((3, 5)), export=False),
    row("cov.default", V((3, 5)), correction=0, export=False),
    row("corrcoef.default", V((3, 5)), export=False),
    row("trapezoid.dx", X, dx=0.5),
    row("trapezoid.x", X, data(4)),
    row("trapz.dx", X),
    row("trapz.x", X, data(4)),
    row("cumulative_trapezoid.dx", X),
    row("cumulative_trapezoid.x", X, data(4)),
    row("vander.default", VECTOR, 3),
    row("diff.default", X),
    row("diff.default", CUBE, 2, 1),
    row("diff.default", X, 1, 0, V((1, 4)), V((2, 4))),
]
INDEX = whole(0, 2)
ROWS = [
    *SUMS,
    *NORMS,
    *CONTRACTIONS,
    *CONVOLUTIONS,
    *STATISTICS,
    row("sum.dim_IntList", COLUMN, [1]),
    row("linalg_diagonal.default", V((3, 3))),
]
