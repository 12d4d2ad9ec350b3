"""Rows of the operators that act on each entry, or on pairs of entries."""

from __future__ import annotations

import torch
from lowering_case import COLUMN, NUMBER, OPEN, POSITIVE, ROW, UNIT, V, X, Y, Z, data, row

SMOOTH = """
    neg negative square exp exp2 special_exp2 expm1 special_expm1 sin cos atan arctan cosh sinh tanh sigmoid
    special_expit erf special_erf erfc special_erfc special_log_ndtr special_ndtr log_sigmoid silu mish selu
    positive clone contiguous alias detach lift_fresh lift_fresh_copy lift resolve_conj resolve_neg conj real
    deg2rad rad2deg
""".split()
KINKED = "abs absolute sign sgn floor ceil trunc fix round relu relu6 hardsigmoid hardswish frac".split()
ON_POSITIVE = "sqrt rsqrt log log2 log10 reciprocal special_entr".split()
INSIDE = "asin arcsin acos arccos atanh arctanh".split()
COMPARISONS = "lt le gt ge eq ne less less_equal greater greater_equal not_equal".split()
PAIRS = "add sub subtract mul multiply maximum minimum max.other min.other fmax fmin hypot logaddexp logaddexp2".split()


def _named(name: str) -> str:
    return name if "." in name else f"{name}.default"


UNARY = [
    *[
        row(
            f"{n}.default",
            X,
            tolerance=1e-9 if n in ("special_ndtr", "special_log_ndtr") else 1e-10,
            smooth=n not in ("detach",),
        )
        for n in SMOOTH
    ],
    *[row(f"{n}.default", X) for n in KINKED],
    row("sqrt.default", V((), 0.0)),
    row("detach_.default", X, smooth=False, export=False),
    *[row(f"{n}.default", POSITIVE) for n in ON_POSITIVE],
    *[row(f"{n}.default", OPEN) for n in INSIDE],
    row("log1p.default", V((3, 4), -0.9)),
    row("special_log1p.default", V((3, 4), -0.9)),
    row("acosh.default", V((3, 4), 1.01)),
    row("arccosh.default", V((3, 4), 1.01)),
    row("asinh.default", X, tolerance=1e-8),
    row("arcsinh.default", X, tolerance=1e-8),
    row("tan.default", V((3, 4), -1.5, 1.5)),
    row("logit.default", UNIT),
    row("logit.default", V((3, 4), -1.0, 2.0), 0.1),
    row("special_logit.default", UNIT, 1e-3),
    row("logical_not.default", X),
    row("bitwise_not.default", torch.tensor([True, False])),
    *[
        row(f"float_power.{kind}", *args)
        for kind, args in (
            ("Tensor_Scalar", (X, 3)),
            ("Scalar", (2.0, X)),
            ("Tensor_Tensor", (X, torch.tensor([1.0, 2.0, 3.0, 0.0]))),
        )
    ],
    *[row("pow.Tensor_Scalar", X, p) for p in (2, 3, 1, 0, 4.0)],
    *[row("pow.Tensor_Scalar", POSITIVE, p) for p in (-1, -2, 0.5, 1.5, -0.5, 2.5)],
    row("pow.Scalar", 2.5, X),
    row("pow.Scalar", 1, X),
    row("pow.Scalar", 0.3, X),
    row("pow.Tensor_Tensor", POSITIVE, V((3, 4), -2.0, 2.0)),
    row("pow.Tensor_Tensor", POSITIVE, NUMBER, kinds="random"),
    row("pow.Tensor_Tensor", X, torch.tensor([0.0, 1.0, 2.0, 3.0])),
    row("pow.Tensor_Tensor", V((3, 1)), torch.arange(1, 5)),
    row("pow.Tensor_Tensor", POSITIVE, torch.tensor([[-1.0], [0.5], [2.0]])),
    row("pow.Tensor_Tensor", X, torch.tensor(2.0)),
    row("pow.Tensor_Tensor", X, torch.tensor([[3.0]])),
    row("pow.Tensor_Tensor", data(3, 4, low=0.2), V((3, 4), -2.0, 2.0)),
    row("copy.default", X, Y),
    row("copy.default", X, ROW),
    row("fill.Scalar", X, 1.5),
    row("fill.Tensor", X, NUMBER),
    row("zero.default", X),
]

BINARY = [
    *[
        row(f"{n.split('.')[0]}.{n.split('.')[1] if '.' in n else kind}", X, other)
        for n in PAIRS
        for kind, other in [
            (("Tensor" if n in ("add", "sub", "subtract", "mul", "multiply") else "default"), o)
            for o in (Y, ROW, COLUMN, NUMBER)
        ]
    ],
    *[row(f"{n}.Tensor", X, Y, alpha=-1.5) for n in ("add", "sub", "subtract", "rsub")],
    *[row(f"{n}.Scalar", X, 0.7, 2) for n in ("add", "sub", "subtract", "rsub")],
    row("rsub.Tensor", X, ROW),
    *[row(f"{n}.Scalar", X, 0.7) for n in ("mul", "multiply", "div", "divide", "true_divide")],
    row("mul.Tensor", X, data(4)),
    row("mul.Tensor", X, torch.tensor(3)),
    row("mul.Tensor", torch.tensor([True, False, True, True]), X),
    *[row(f"{n}.Tensor", X, d) for n in ("div", "divide", "true_divide") for d in (POSITIVE, V((4,), 0.5))],
    row("div.Tensor", torch.tensor(2.0), POSITIVE),
    row("div.Tensor", torch.tensor([1, 2, 3, 4]), POSITIVE),
    *[
        row(f"{n}.{kind}_mode", X, d, rounding_mode=mode)
        for n in ("div", "divide")
        for kind, d in (("Tensor", POSITIVE), ("Scalar", 0.7))
        for mode in (None, "floor", "trunc")
    ],
    row("floor_divide.default", X, POSITIVE),
    row("floor_divide.Scalar", X, 0.7),
    *[
        row(f"{n}.{kind}", X, d, kinds=("random", "random"))
        for n in ("remainder", "fmod")
        for kind, d in (("Tensor", POSITIVE), ("Scalar", 0.7), ("Scalar", -1.1))
    ],
    row("remainder.Scalar_Tensor", 5.3, POSITIVE, kinds="random"),
    *[
        row(f"{n}.{kind}", X, other, smooth=False)
        for n in COMPARISONS
        for kind, other in (("Tensor", Y), ("Tensor", ROW), ("Scalar", 0.5))
    ],
    row("heaviside.default", X, data(4), smooth=False),
    row("lerp.Scalar", X, Y, 0.3),
    row("lerp.Tensor", X, Y, ROW),
    row("addcmul.default", X, Y, ROW, value=0.3),
    row("addcdiv.default", X, Y, V((4,), 0.5), value=-0.3),
    *[
        row(n, *args)
        for n, args in (
            ("xlogy.Tensor", (X, POSITIVE)),
            ("xlogy.Tensor", (torch.tensor([0.0, 1.0, 2.0, 0.0]), V((3, 4), 0.0))),
            ("xlogy.Scalar_Self", (2.0, POSITIVE)),
            ("xlogy.Scalar_Self", (0.0, X)),
            ("xlogy.Scalar_Other", (X, 2.0)),
            ("special_xlogy.default", (X, V((4,), 0.1))),
            ("special_xlogy.self_scalar", (1.5, POSITIVE)),
            ("special_xlogy.other_scalar", (X, 0.3)),
            ("special_xlog1py.default", (X, POSITIVE)),
            ("special_xlog1py.default", (torch.tensor([0.0, 1.0, 2.0, 0.0]), V((3, 4), -0.9))),
            ("special_xlog1py.self_scalar", (2.0, POSITIVE)),
            ("special_xlog1py.other_scalar", (X, 0.5)),
        )
    ],
]

FLAGS = torch.tensor([True, False, True, True])
CONDITIONS = [
    row("where.self", FLAGS, X, Y),
    row("where.self", torch.ones(4, dtype=torch.bool), X, NUMBER),
    row("where.ScalarSelf", FLAGS, 1.5, X),
    row("where.ScalarOther", FLAGS, X, 0.0),
    row("where.Scalar", FLAGS, 1.0, 2.0),
    row("masked_fill.Scalar", X, FLAGS, 0.5),
    row("masked_fill.Tensor", X, FLAGS, NUMBER),
    row("clamp.default", X, -0.3, 0.8),
    row("clamp.default", X, None, 0.8),
    row("clamp.default", X, 0),
    row("clamp.default", X, 0.1),
    row("clamp.default", X, 1.0, -1.0),
    row("clamp.default", X, -torch.inf, 1.0),
    row("clamp.default", X, -1.0, torch.inf),
    row("clip.default", X, -0.3, 0.8),
    row("clamp.Tensor", X, ROW, V((4,), 1.0)),
    row("clamp.Tensor", X, None, COLUMN),
    row("clip.Tensor", X, ROW, None),
    row("clamp_min.default", X, 0.2),
    row("clamp_max.default", X, 0.2),
    row("clamp_min.Tensor", X, ROW),
    row("clamp_max.Tensor", X, COLUMN),
    row("hardtanh.default", X),
    row("hardtanh.default", X, -0.2, 0.7),
    *[row(f"{n}.default", X, Y, smooth=False) for n in ("logical_and", "logical_or", "logical_xor")],
    *[
        row(f"{n}.Tensor", FLAGS, ~FLAGS)
        for n in ("bitwise_and", "bitwise_or", "bitwise_xor", "__and__", "__or__", "__xor__")
    ],
    *[row(f"{n}.default", X, smooth=False) for n in ("any", "all", "count_nonzero")],
    *[row(f"{n}.dim", X, dim, keep, smooth=False) for n in ("any", "all") for dim, keep in ((0, False), (-1, True))],
    *[
        row(f"{n}.dims", X, dims, keep, smooth=False)
        for n in ("any", "all")
        for dims, keep in (([0, 1], False), ([-1], True))
    ],
    row("count_nonzero.default", X, 1, smooth=False),
    row("count_nonzero.dim_IntList", X, [0, 1], smooth=False),
]

ACTIVATIONS = [
    row("gelu.default", X, tolerance=1e-10),
    row("gelu.default", X, approximate="tanh"),
    row("softplus.default", X, tolerance=3e-9),
    row("softplus.default", X, 2.5, 20, tolerance=3e-9),
    row("softplus.default", X, -1.5, 20, tolerance=3e-9),
    row("softplus.default", X, 1.0, 2.0),
    row("leaky_relu.default", X),
    row("leaky_relu.default", X, -0.2),
    row("leaky_relu.default", X, 1.5),
    row("prelu.default", X, V((1,))),
    row("prelu.default", X, V((4,))),
    row("prelu.default", V((2, 3, 2, 2)), V((3,))),
    row("prelu.default", V((5,)), V((1,))),
    row("_prelu_kernel.default", X, V((1, 4))),
    row("_prelu_kernel.default", V((2, 3, 2)), V((1, 3, 1))),
    row("rrelu.default", X),
    row("rrelu.default", X, 0.1, 0.9),
    row("rrelu_with_noise.default", X, torch.zeros(3, 4), export=False),
    row("elu.default", X),
    row("elu.default", X, 0.5, 2.0, 1.5),
    row("celu.default", X),
    row("celu.default", X, 0.7),
    row("softshrink.default", X),
    row("softshrink.default", X, 0.0),
    row("hardshrink.default", X),
    row("hardshrink.default", X, 0.0),
    row("threshold.default", X, 0.3, -1.0),
    row("threshold.default", X, 0.3, 0.3),
    row("glu.default", X),
    row("glu.default", V((4, 3)), 0),
    row("dropout.default", X, 0.5, False),
    row("dropout.default", X, 0.0, True),
    row("dropout.default", X, 1.0, True),
    *[row(f"{n}.default", X, 0.5, False) for n in ("feature_dropout", "alpha_dropout", "feature_alpha_dropout")],
    row("native_dropout.default", X, 0.5, False),
    row("log_sigmoid_forward.default", X, export=False),
    *[
        row(n, X, dim, *rest)
        for n, rest in (
            ("softmax.int", ()),
            ("log_softmax.int", ()),
            ("_softmax.default", (False,)),
            ("_log_softmax.default", (False,)),
            ("special_softmax.default", ()),
            ("special_log_softmax.default", ()),
            ("_safe_softmax.default", ()),
        )
        for dim in (0, -1)
    ],
    row("softmax.int", NUMBER, 0),
    row("log_softmax.int", NUMBER, -1),
    row("softmax.int", V((2, 3, 2)), 1),
    row("softmax.int", X, 1, dtype=torch.float64),
]

CASTS = [
    row("to.dtype", X, torch.float64),
    row("to.dtype", torch.tensor([1, 2, 3]), torch.float64),
    row("to.dtype", FLAGS, torch.float32),
    row("to.device", X, torch.device("cpu"), torch.float64),
    row("to.dtype_layout", X, dtype=torch.float64),
    row("to.other", X, data(3)),
    row("_to_copy.default", X, dtype=torch.float64),
    row("_to_copy.default", torch.tensor([1, 2]), dtype=torch.float64),
    row("type_as.default", X, data(3)),
    row("type_as.default", torch.tensor([1, 0]), X),
    *[row(f"{n}.default", X) for n in ("zeros_like", "ones_like")],
    *[row(f"{n}.default", X, [2, 3]) for n in ("new_zeros", "new_ones")],
    row("full_like.default", X, 0.3),
    row("new_full.default", X, [2, 2], 0.3),
    row("zero.default", data(3)),
]
GUARDS = [
    *[row(f"{n}.default", X, smooth=False) for n in ("isfinite", "isreal", "isnan", "isinf", "isposinf", "isneginf")],
    row("nan_to_num.default", X),
    *[
        row(f"{n}.Scalar", X, side, smooth=False)
        for n in ("lt", "le", "gt", "ge", "eq", "ne")
        for side in (torch.inf, -torch.inf)
    ],
]
DERIVATIVES = [
    row("tanh_backward.default", X, Y),
    row("sigmoid_backward.default", X, UNIT),
    row("threshold_backward.default", X, Y, 0.5),
    row("threshold_backward.default", X, Y, 0),
    row("leaky_relu_backward.default", X, Y, 0.1, False),
    row("leaky_relu_backward.default", X, Y, 0.1, True),
    row("softplus_backward.default", X, V((3, 4), -5.0, 5.0), 1.5, 20.0),
    row("silu_backward.default", X, Y),
    row("elu_backward.default", X, 0.7, 1.2, 1.1, False, Y),
    *[
        row(f"{n}.default", X, Y, dim, torch.float64)
        for n in ("_softmax_backward_data", "_log_softmax_backward_data")
        for dim in (0, 1)
    ],
]
ROWS = [*GUARDS, *DERIVATIVES, *UNARY, *BINARY, *CONDITIONS, *ACTIVATIONS, *CASTS, row("lerp.Tensor", X, Z, data(3, 4))]
