"""Sums, products, quotients, powers, comparisons and the elementary functions."""
from __future__ import annotations

from fractions import Fraction
from typing import Any

import torch

from epigraph.objective.builder import Builder, Expression, Number, rational
from epigraph.objective.lowering.registry import lowers


@lowers("aten.add.Tensor", "aten.add.Scalar")
def add(b: Builder, x: Expression, y: Any, alpha: Number) -> Expression:
    return x + b.wrap(y) * b.rational(alpha)


@lowers("aten.sub.Tensor", "aten.sub.Scalar")
def sub(b: Builder, x: Expression, y: Any, alpha: Number) -> Expression:
    return x - b.wrap(y) * b.rational(alpha)


@lowers("aten.rsub.Scalar", "aten.rsub.Tensor")
def rsub(b: Builder, x: Expression, y: Any, alpha: Number) -> Expression:
    return b.wrap(y) - x * b.rational(alpha)


@lowers("aten.mul.Tensor", "aten.mul.Scalar")
def mul(b: Builder, x: Expression, y: Any) -> Expression:
    return x * b.wrap(y)


@lowers("aten.div.Tensor", "aten.div.Scalar", "aten.true_divide.Tensor")
def div(b: Builder, x: Expression, y: Any) -> Expression:
    return x / b.wrap(y)


@lowers("aten.div.Tensor_mode", "aten.div.Scalar_mode")
def div_mode(b: Builder, x: Expression, y: Any, mode: str | None) -> Expression:
    quotient = x / b.wrap(y)
    if mode is None:
        return quotient
    if mode == "floor":
        return quotient.unary("floor")
    return quotient.unary("sign") * quotient.unary("abs").unary("floor")


@lowers("aten.neg.default", exact=True)
def neg(b: Builder, x: Expression) -> Expression:
    return -x


@lowers("aten.abs.default", exact=True)
def absolute(b: Builder, x: Expression) -> Expression:
    return x.unary("abs")


@lowers("aten.reciprocal.default")
def reciprocal(b: Builder, x: Expression) -> Expression:
    return x**-1


@lowers("aten.square.default")
def square(b: Builder, x: Expression) -> Expression:
    return x**2


@lowers("aten.sqrt.default")
def sqrt(b: Builder, x: Expression) -> Expression:
    return x.unary("sqrt")


@lowers("aten.rsqrt.default")
def rsqrt(b: Builder, x: Expression) -> Expression:
    return x ** Fraction(-1, 2)


@lowers("aten.pow.Tensor_Scalar")
def pow_scalar(b: Builder, x: Expression, exponent: Number) -> Expression:
    return x ** rational(exponent)


@lowers("aten.pow.Scalar")
def pow_base(b: Builder, base: Number, x: Expression) -> Expression:
    if rational(base) == 1:
        return b.rational(1).expand(x.shape)
    return (x * b.rational(base).unary("log")).unary("exp")


@lowers("aten.pow.Tensor_Tensor")
def pow_tensor(b: Builder, x: Expression, y: Expression) -> Expression:
    if y.value is not None:
        return x**y.value
    if y.literal is not None and y.literal.numel() == 1:
        return x ** rational(y.literal.item())
    return (y * x.unary("log")).unary("exp")


@lowers("aten.exp.default")
def exp(b: Builder, x: Expression) -> Expression:
    return x.unary("exp")


@lowers("aten.exp2.default")
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


@lowers("aten.xlogy.Tensor", "aten.special_xlogy.default")
def xlogy(b: Builder, x: Expression, y: Expression) -> Expression:
    return x * y.unary("log")


@lowers("aten.sin.default")
def sin(b: Builder, x: Expression) -> Expression:
    return x.unary("sin")


@lowers("aten.cos.default")
def cos(b: Builder, x: Expression) -> Expression:
    return x.unary("cos")


@lowers("aten.tan.default")
def tan(b: Builder, x: Expression) -> Expression:
    return x.unary("sin") / x.unary("cos")


@lowers("aten.atan.default")
def atan(b: Builder, x: Expression) -> Expression:
    return x.unary("atan")


@lowers("aten.cosh.default")
def cosh(b: Builder, x: Expression) -> Expression:
    return (x.unary("exp") + (-x).unary("exp")) / 2


@lowers("aten.sinh.default")
def sinh(b: Builder, x: Expression) -> Expression:
    return (x.unary("exp") - (-x).unary("exp")) / 2


@lowers("aten.asinh.default")
def asinh(b: Builder, x: Expression) -> Expression:
    return (x + (x**2 + 1).unary("sqrt")).unary("log")


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


@lowers("aten.sign.default", "aten.sgn.default", exact=True)
def sign(b: Builder, x: Expression) -> Expression:
    return x.unary("sign")


@lowers("aten.floor.default", exact=True)
def floor(b: Builder, x: Expression) -> Expression:
    return x.unary("floor")


@lowers("aten.ceil.default", exact=True)
def ceil(b: Builder, x: Expression) -> Expression:
    return -((-x).unary("floor"))


@lowers("aten.trunc.default", exact=True)
def trunc(b: Builder, x: Expression) -> Expression:
    return x.unary("sign") * x.unary("abs").unary("floor")


@lowers("aten.maximum.default", "aten.max.other", "aten.clamp_min.Tensor", exact=True)
def maximum(b: Builder, x: Expression, y: Expression) -> Expression:
    return b.maximum(x, y)


@lowers("aten.minimum.default", "aten.min.other", "aten.clamp_max.Tensor", exact=True)
def minimum(b: Builder, x: Expression, y: Expression) -> Expression:
    return b.minimum(x, y)


@lowers("aten.clamp.Tensor", exact=True)
def clamp_tensor(b: Builder, x: Expression, low: Expression | None, high: Expression | None) -> Expression:
    x = x if low is None else b.maximum(x, low)
    return x if high is None else b.minimum(x, high)


_RELATIONS = {"lt": ("lt", False), "le": ("le", False), "gt": ("lt", True), "ge": ("le", True), "eq": ("eq", False)}


def _comparison(name: str) -> None:
    relation, swapped = _RELATIONS[name]

    def lower(b: Builder, x: Expression, y: Any) -> Expression:
        other = b.wrap(y)
        return b.compare(other, x, relation) if swapped else b.compare(x, other, relation)

    lowers(f"aten.{name}.Tensor", f"aten.{name}.Scalar", exact=True)(lower)


for _name in _RELATIONS:
    _comparison(_name)


@lowers("aten.ne.Tensor", "aten.ne.Scalar", exact=True)
def ne(b: Builder, x: Expression, y: Any) -> Expression:
    return 1 - b.compare(x, b.wrap(y), "eq")


@lowers("aten.logical_not.default", exact=True)
def logical_not(b: Builder, x: Expression) -> Expression:
    return b.compare(x, b.rational(0), "eq")


@lowers("aten.where.self", "aten.where.ScalarSelf", "aten.where.ScalarOther", "aten.where.Scalar", exact=True)
def where(b: Builder, condition: Expression, x: Any, y: Any) -> Expression:
    return b.where(condition, b.wrap(x), b.wrap(y))


@lowers("aten.masked_fill.Scalar", "aten.masked_fill.Tensor", exact=True)
def masked_fill(b: Builder, x: Expression, mask: Expression, value: Any) -> Expression:
    return b.where(mask, b.wrap(value), x)


@lowers("aten.addcmul.default")
def addcmul(b: Builder, x: Expression, y: Expression, z: Expression, value: Number) -> Expression:
    return x + b.rational(value) * (y * z)


@lowers("aten.addcdiv.default")
def addcdiv(b: Builder, x: Expression, y: Expression, z: Expression, value: Number) -> Expression:
    return x + b.rational(value) * (y / z)


@lowers("aten.lerp.Scalar", "aten.lerp.Tensor")
def lerp(b: Builder, x: Expression, y: Expression, weight: Any) -> Expression:
    return x + b.wrap(weight) * (y - x)


@lowers("aten.hypot.default")
def hypot(b: Builder, x: Expression, y: Expression) -> Expression:
    return (x**2 + y**2).unary("sqrt")
