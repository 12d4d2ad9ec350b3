"""Sums, products, quotients, powers, remainders and maxima."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import torch

from epigraph.objective.builder import Builder, Expression, Number, rational
from epigraph.objective.lowering.registry import lowers


@lowers("aten.add.Tensor", "aten.add.Scalar")
def add(b: Builder, x: Expression, y: Any, alpha: Number) -> Expression:
    return x + b.wrap(y) * b.rational(alpha)


@lowers("aten.sub.Tensor", "aten.sub.Scalar", "aten.subtract.Tensor", "aten.subtract.Scalar")
def sub(b: Builder, x: Expression, y: Any, alpha: Number) -> Expression:
    return x - b.wrap(y) * b.rational(alpha)


@lowers("aten.rsub.Scalar", "aten.rsub.Tensor")
def rsub(b: Builder, x: Expression, y: Any, alpha: Number) -> Expression:
    return b.wrap(y) - x * b.rational(alpha)


@lowers("aten.mul.Tensor", "aten.mul.Scalar", "aten.multiply.Tensor", "aten.multiply.Scalar")
def mul(b: Builder, x: Expression, y: Any) -> Expression:
    return x * b.wrap(y)


@lowers(
    "aten.div.Tensor",
    "aten.div.Scalar",
    "aten.divide.Tensor",
    "aten.divide.Scalar",
    "aten.true_divide.Tensor",
    "aten.true_divide.Scalar",
)
def div(b: Builder, x: Expression, y: Any) -> Expression:
    return x / b.wrap(y)


@lowers("aten.div.Tensor_mode", "aten.div.Scalar_mode", "aten.divide.Tensor_mode", "aten.divide.Scalar_mode")
def div_mode(b: Builder, x: Expression, y: Any, mode: str | None) -> Expression:
    quotient = x / b.wrap(y)
    if mode is None:
        return quotient
    return quotient.unary("floor") if mode == "floor" else truncated(quotient)


def truncated(x: Expression) -> Expression:
    """x rounded towards zero."""
    return x.unary("sign") * x.unary("abs").unary("floor")


@lowers("aten.floor_divide.default", "aten.floor_divide.Scalar")
def floor_divide(b: Builder, x: Expression, y: Any) -> Expression:
    return (x / b.wrap(y)).unary("floor")


@lowers("aten.remainder.Tensor", "aten.remainder.Scalar", "aten.remainder.Scalar_Tensor")
def remainder(b: Builder, x: Any, y: Any) -> Expression:
    """x - y floor(x/y), with the sign of y."""
    return b.wrap(x) - b.wrap(y) * (b.wrap(x) / b.wrap(y)).unary("floor")


@lowers("aten.fmod.Tensor", "aten.fmod.Scalar")
def fmod(b: Builder, x: Expression, y: Any) -> Expression:
    """x - y trunc(x/y), with the sign of x."""
    return x - b.wrap(y) * truncated(x / b.wrap(y))


@lowers("aten.frac.default")
def frac(b: Builder, x: Expression) -> Expression:
    return x - truncated(x)


@lowers("aten.neg.default", "aten.negative.default", exact=True)
def neg(b: Builder, x: Expression) -> Expression:
    return -x


@lowers("aten.abs.default", "aten.absolute.default", exact=True)
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


@lowers("aten.pow.Tensor_Scalar", "aten.float_power.Tensor_Scalar")
def pow_scalar(b: Builder, x: Expression, exponent: Number) -> Expression:
    return x**exponent


@lowers("aten.pow.Scalar", "aten.float_power.Scalar")
def pow_base(b: Builder, base: Number, x: Expression) -> Expression:
    if rational(base) <= 0:
        raise NotImplementedError("powers of a number that is not positive")
    if rational(base) == 1:
        return b.rational(1).expand(x.shape)
    return (x * b.rational(base).unary("log")).unary("exp")


@lowers("aten.pow.Tensor_Tensor", "aten.float_power.Tensor_Tensor")
def pow_tensor(b: Builder, x: Expression, y: Expression) -> Expression:
    """x^y; for constant exponents entry by entry, so that whole ones keep their meaning for negative x."""
    shape = tuple(torch.broadcast_shapes(x.shape, y.shape))
    if y.value is not None:
        return x**y.value
    if y.literal is not None:
        if y.literal.unique().numel() > 64:
            raise NotImplementedError("powers with more than 64 different exponents")
        return by_value(b, x.expand(shape), y.literal.expand(shape), lambda part, e: part**e)
    if x.literal is not None and not bool((x.literal > 0).all()):
        raise NotImplementedError("powers of numbers that are not positive")
    return (y * x.unary("log")).unary("exp")


def by_value(b: Builder, x: Expression, keys: torch.Tensor, function: Any) -> Expression:
    """Apply function(entries, key) to the entries of x with each key, of a constant tensor of x's shape."""
    values = keys.unique().tolist()
    if len(values) == 1:
        return function(x, values[0])
    flat, labels = x.reshape((x.numel,)), keys.reshape(-1)
    places = [torch.nonzero(labels == v).reshape(-1) for v in values]
    parts = [function(flat.take(p, 0), v) for p, v in zip(places, values, strict=True)]
    return b.concat(parts, 0).take(torch.cat(places).argsort(), 0).reshape(x.shape)


@lowers("aten.sign.default", "aten.sgn.default", exact=True)
def sign(b: Builder, x: Expression) -> Expression:
    return x.unary("sign")


@lowers("aten.floor.default", exact=True)
def floor(b: Builder, x: Expression) -> Expression:
    return x.unary("floor")


@lowers("aten.ceil.default", exact=True)
def ceil(b: Builder, x: Expression) -> Expression:
    return -((-x).unary("floor"))


@lowers("aten.trunc.default", "aten.fix.default", exact=True)
def trunc(b: Builder, x: Expression) -> Expression:
    return truncated(x)


@lowers("aten.round.default", exact=True)
def round_half_even(b: Builder, x: Expression) -> Expression:
    """floor(x + 1/2), less 1 where x lies halfway between a whole number and the next one, an odd one."""
    up = (x + Fraction(1, 2)).unary("floor")
    odd = up - (up * Fraction(1, 2)).unary("floor") * 2
    return up - odd * b.compare(x + Fraction(1, 2), up, "eq")


@lowers("aten.maximum.default", "aten.max.other", "aten.clamp_min.Tensor", "aten.fmax.default", exact=True)
def maximum(b: Builder, x: Expression, y: Expression) -> Expression:
    return b.maximum(x, y)


@lowers("aten.minimum.default", "aten.min.other", "aten.clamp_max.Tensor", "aten.fmin.default", exact=True)
def minimum(b: Builder, x: Expression, y: Expression) -> Expression:
    return b.minimum(x, y)


@lowers("aten.clamp.Tensor", "aten.clip.Tensor", exact=True)
def clamp_tensor(b: Builder, x: Expression, low: Expression | None, high: Expression | None) -> Expression:
    x = x if low is None else b.maximum(x, low)
    return x if high is None else b.minimum(x, high)


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
