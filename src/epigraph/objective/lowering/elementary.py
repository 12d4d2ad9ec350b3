"""Exponentials, logarithms, trigonometric and hyperbolic functions, and the normal distribution."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import torch

from epigraph.objective.builder import Builder, Expression, Number, rational
from epigraph.objective.lowering.arithmetic import by_value
from epigraph.objective.lowering.registry import lowers


@lowers("aten.exp2.default", "aten.special_exp2.default")
def exp2(b: Builder, x: Expression) -> Expression:
    return (x * b.rational(2).unary("log")).unary("exp")


@lowers("aten.expm1.default", "aten.special_expm1.default")
def expm1(b: Builder, x: Expression) -> Expression:
    return x.unary("exp") - 1


@lowers("aten.log.default")
def log(b: Builder, x: Expression) -> Expression:
    return x.unary("log")


@lowers("aten.log1p.default", "aten.special_log1p.default")
def log1p(b: Builder, x: Expression) -> Expression:
    return (x + 1).unary("log")


@lowers("aten.log2.default")
def log2(b: Builder, x: Expression) -> Expression:
    return x.unary("log") / b.rational(2).unary("log")


@lowers("aten.log10.default")
def log10(b: Builder, x: Expression) -> Expression:
    return x.unary("log") / b.rational(10).unary("log")


@lowers("aten.logaddexp.default")
def logaddexp(b: Builder, x: Expression, y: Expression) -> Expression:
    shape = torch.broadcast_shapes(x.shape, y.shape)
    parts = [part.expand(shape).reshape((1, *shape)) for part in (x, y)]
    return b.concat(parts, 0).logsumexp([0])


@lowers("aten.logaddexp2.default")
def logaddexp2(b: Builder, x: Expression, y: Expression) -> Expression:
    base = b.rational(2).unary("log")
    return logaddexp(b, x * base, y * base) / base


@lowers(
    "aten.xlogy.Tensor",
    "aten.xlogy.Scalar_Self",
    "aten.xlogy.Scalar_Other",
    "aten.special_xlogy.default",
    "aten.special_xlogy.self_scalar",
    "aten.special_xlogy.other_scalar",
)
def xlogy(b: Builder, x: Any, y: Any) -> Expression:
    """x log y, and 0 where x is the constant 0."""
    return _times_log(b, b.wrap(x), b.wrap(y))


@lowers("aten.special_xlog1py.default", "aten.special_xlog1py.self_scalar", "aten.special_xlog1py.other_scalar")
def xlog1py(b: Builder, x: Any, y: Any) -> Expression:
    return _times_log(b, b.wrap(x), b.wrap(y) + 1)


def _times_log(b: Builder, x: Expression, y: Expression) -> Expression:
    shape = tuple(torch.broadcast_shapes(x.shape, y.shape))
    if x.value == 0:
        return b.rational(0).expand(shape)
    if x.literal is None or bool((x.literal != 0).all()):
        return x * y.unary("log")
    zero = (x.literal == 0).expand(shape)
    logs = by_value(
        b,
        y.expand(shape),
        zero,
        lambda part, at_zero: b.rational(0).expand(part.shape) if at_zero else part.unary("log"),
    )
    return x * logs


@lowers("aten.special_entr.default")
def entr(b: Builder, x: Expression) -> Expression:
    """-x log x; PyTorch's -inf for x < 0 lies outside the domain."""
    return -x.unary("xlogx")


@lowers("aten.logit.default", "aten.special_logit.default")
def logit(b: Builder, x: Expression, eps: Number | None) -> Expression:
    """log(x / (1 - x)), after clamping x to [eps, 1 - eps]."""
    from epigraph.objective.lowering.activations import clamp

    inside = x if eps is None else clamp(b, x, eps, 1 - rational(eps))
    return inside.unary("log") - (1 - inside).unary("log")


@lowers("aten.sin.default")
def sin(b: Builder, x: Expression) -> Expression:
    return x.unary("sin")


@lowers("aten.cos.default")
def cos(b: Builder, x: Expression) -> Expression:
    return x.unary("cos")


@lowers("aten.tan.default")
def tan(b: Builder, x: Expression) -> Expression:
    return x.unary("sin") / x.unary("cos")


@lowers("aten.atan.default", "aten.arctan.default")
def atan(b: Builder, x: Expression) -> Expression:
    return x.unary("atan")


@lowers("aten.asin.default", "aten.arcsin.default")
def asin(b: Builder, x: Expression) -> Expression:
    """2 atan(x / (1 + sqrt(1 - x^2))): half the angle, whose tangent is finite on [-1, 1]."""
    return (x / (1 + (1 - x**2).unary("sqrt"))).unary("atan") * 2


@lowers("aten.acos.default", "aten.arccos.default")
def acos(b: Builder, x: Expression) -> Expression:
    """2 atan(sqrt((1 - x) / (1 + x)))."""
    return ((1 - x) / (1 + x)).unary("sqrt").unary("atan") * 2


@lowers("aten.cosh.default")
def cosh(b: Builder, x: Expression) -> Expression:
    return (x.unary("exp") + (-x).unary("exp")) / 2


@lowers("aten.sinh.default")
def sinh(b: Builder, x: Expression) -> Expression:
    return (x.unary("exp") - (-x).unary("exp")) / 2


@lowers("aten.asinh.default", "aten.arcsinh.default")
def asinh(b: Builder, x: Expression) -> Expression:
    return (x + (x**2 + 1).unary("sqrt")).unary("log")


@lowers("aten.acosh.default", "aten.arccosh.default")
def acosh(b: Builder, x: Expression) -> Expression:
    """log(x + sqrt(x - 1) sqrt(x + 1)), which is undefined where acosh is."""
    return (x + (x - 1).unary("sqrt") * (x + 1).unary("sqrt")).unary("log")


@lowers("aten.atanh.default", "aten.arctanh.default")
def atanh(b: Builder, x: Expression) -> Expression:
    return ((1 + x).unary("log") - (1 - x).unary("log")) * Fraction(1, 2)


@lowers("aten.deg2rad.default")
def deg2rad(b: Builder, x: Expression) -> Expression:
    return x * b.rational(math.pi / 180)


@lowers("aten.rad2deg.default")
def rad2deg(b: Builder, x: Expression) -> Expression:
    return x * b.rational(180 / math.pi)


@lowers("aten.erf.default", "aten.special_erf.default")
def erf(b: Builder, x: Expression) -> Expression:
    return x.unary("erf")


@lowers("aten.erfc.default", "aten.special_erfc.default")
def erfc(b: Builder, x: Expression) -> Expression:
    return 1 - x.unary("erf")


@lowers("aten.special_log_ndtr.default")
def log_ndtr(b: Builder, x: Expression) -> Expression:
    return x.unary("log_ndtr")


@lowers("aten.special_ndtr.default")
def ndtr(b: Builder, x: Expression) -> Expression:
    return x.unary("log_ndtr").unary("exp")
