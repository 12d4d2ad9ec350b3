"""Elementwise operators against mpmath with sixty digits: the real functions, where PyTorch's kernels deviate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import pytest
import torch

from epigraph.objective.builder import Builder
from epigraph.objective.capture import Lowering
from epigraph.objective.evaluate import KERNELS, Evaluator

mpmath.mp.dps = 60
mpf = mpmath.mpf
POINTS = [
    -700.0,
    -37.0,
    -30.0,
    -20.0,
    -12.0,
    -8.5,
    -8.0,
    -6.0,
    -5.0,
    -3.0,
    -1.0,
    -0.5,
    -1e-3,
    -1e-9,
    0.0,
    1e-9,
    1e-3,
    0.3,
    1.0,
    3.0,
    6.0,
    8.5,
    15.0,
    19.999,
    20.0,
    20.001,
    37.0,
    300.0,
]

Real = Callable[[Any], Any]
PRIMITIVES: dict[str, Real] = {
    "exp": mpmath.exp,
    "tanh": mpmath.tanh,
    "erf": mpmath.erf,
    "atan": mpmath.atan,
    "sin": mpmath.sin,
    "cos": mpmath.cos,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
    "silu": lambda x: x / (1 + mpmath.exp(-x)),
    "gelu": lambda x: x * mpmath.ncdf(x),
    "mish": lambda x: x * mpmath.tanh(mpmath.log1p(mpmath.exp(x))),
    "log_ndtr": lambda x: mpmath.log(mpmath.ncdf(x)),
    "elu": lambda x: x if x > 0 else mpmath.expm1(x),
    "relu": lambda x: max(x, mpf(0)),
    "abs": abs,
    "floor": mpmath.floor,
}


@pytest.mark.parametrize("name", PRIMITIVES)
def test_kernels_are_accurate(name):
    """Relative accuracy, so that a small value keeps its digits; log_ndtr loses some where it is about -1e-50."""
    values = KERNELS[name]({"alpha": "1"}, [torch.tensor(POINTS, dtype=torch.float64)])
    for point, value in zip(POINTS, values.tolist(), strict=True):
        exact = PRIMITIVES[name](mpf(point))
        if abs(exact) < 1e-80:
            assert abs(value) < 1e-79
        else:
            assert abs(mpf(value) - exact) <= mpf(1e-11 if name == "log_ndtr" else 2e-13) * abs(exact), (name, point)


CALLS: dict[str, tuple[tuple[Any, ...], dict[str, Any], Real]] = {
    "softplus.default": ((), {}, PRIMITIVES["softplus"]),
    "softplus.default 2.5": ((2.5, 30), {}, lambda x: mpmath.log1p(mpmath.exp(2.5 * x)) / 2.5),
    "gelu.default": ((), {}, PRIMITIVES["gelu"]),
    "gelu.default tanh": (
        (),
        {"approximate": "tanh"},
        lambda x: x / 2 * (1 + mpmath.tanh(mpf(0.7978845608028654) * (x + mpf(0.044715) * x**3))),
    ),
    "log_sigmoid.default": ((), {}, lambda x: -mpmath.log1p(mpmath.exp(-x))),
    "selu.default": (
        (),
        {},
        lambda x: (
            mpf(1.0507009873554804934193349852946)
            * (x if x > 0 else mpf(1.6732632423543772848170429916717) * mpmath.expm1(x))
        ),
    ),
    "celu.default": ((0.7,), {}, lambda x: max(x, mpf(0)) + min(mpf(0), mpf(0.7) * mpmath.expm1(x / mpf(0.7)))),
    "hardswish.default": ((), {}, lambda x: x * min(max(x + 3, mpf(0)), mpf(6)) / 6),
    "hardsigmoid.default": ((), {}, lambda x: min(max(x + 3, mpf(0)), mpf(6)) / 6),
    "special_ndtr.default": ((), {}, mpmath.ncdf),
    "special_erfc.default": ((), {}, mpmath.erfc),
    "expm1.default": ((), {}, mpmath.expm1),
    "round.default": ((), {}, mpmath.nint),
    "asinh.default": ((), {}, mpmath.asinh),
    "exp2.default": ((), {}, lambda x: mpf(2) ** x),
    "leaky_relu.default": ((), {}, lambda x: x if x > 0 else mpf(0.01) * x),
    "special_log_ndtr.default": ((), {}, PRIMITIVES["log_ndtr"]),
}
LOOSE = {"asinh.default": 1e-9}  # log(x + sqrt(x^2 + 1)) cancels for negative x in float64, not as a real function


@pytest.mark.parametrize("name", CALLS)
def test_lowerings_are_the_real_functions(name):
    rest, keywords, exact = CALLS[name]
    op, overload = name.split()[0].split(".")
    builder = Builder()
    x = builder.parameter("x", torch.zeros(len(POINTS), dtype=torch.float64))
    out = Lowering(builder).call(getattr(getattr(torch.ops.aten, op), overload), (x, *rest), keywords)
    points = [p for p in POINTS if abs(p) < 100]
    values = Evaluator(builder.graph(out))({"x": torch.tensor(POINTS, dtype=torch.float64)}).tolist()
    for point, value in zip(POINTS, values, strict=True):
        if point in points:
            expected = exact(mpf(point))
            assert abs(mpf(value) - expected) <= mpf(LOOSE.get(name, 1e-14)) * (1 + abs(expected)), (name, point)


def test_a_small_threshold_is_part_of_softplus():
    """From 20 on the threshold is numerical; below, PyTorch documents another function, with a jump."""
    builder = Builder()
    x = builder.parameter("x", torch.zeros(2, dtype=torch.float64))
    out = Lowering(builder).call(torch.ops.aten.softplus.default, (x, 1.0, 1.0), {})
    point = torch.tensor([0.999, 1.001], dtype=torch.float64)
    torch.testing.assert_close(
        Evaluator(builder.graph(out))({"x": point}), torch.nn.functional.softplus(point, 1.0, 1.0)
    )
