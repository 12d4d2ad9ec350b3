"""Activation functions, as primitives or as exact formulas in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from epigraph.objective.builder import Builder, Expression, Number, rational, text
from epigraph.objective.lowering.extended import known
from epigraph.objective.lowering.registry import RandomOperator, lowers


def piecewise(x: Expression, knots: Sequence[Number], pieces: Sequence[Sequence[Number]]) -> Expression:
    """A continuous piecewise polynomial: coefficients in ascending degree, piece i up to knots[i]."""
    exact = [[rational(c) for c in piece] for piece in pieces]
    places = [rational(k) for k in knots]
    for left, right, knot in zip(exact, exact[1:], places, strict=False):
        if sum(c * knot**i for i, c in enumerate(left)) != sum(c * knot**i for i, c in enumerate(right)):
            raise ValueError(f"piecewise polynomial jumps at {knot}")
    return x.unary("piecewise", knots=[text(k) for k in places], pieces=[[text(c) for c in p] for p in exact])


@lowers("aten.relu.default", exact=True)
def relu(b: Builder, x: Expression) -> Expression:
    return x.unary("relu")


@lowers("aten.tanh.default")
def tanh(b: Builder, x: Expression) -> Expression:
    return x.unary("tanh")


@lowers("aten.log_sigmoid.default")
def log_sigmoid(b: Builder, x: Expression) -> Expression:
    return -((-x).unary("softplus"))


@lowers("aten.log_sigmoid_forward.default")
def log_sigmoid_forward(b: Builder, x: Expression) -> tuple[Expression, None]:
    return log_sigmoid(b, x), None


@lowers("aten.softplus.default")
def softplus(b: Builder, x: Expression, beta: Number, threshold: Number) -> Expression:
    """log(1 + e^(beta x)) / beta.

    From PyTorch's default on, 20, the threshold is a device of the kernel (the jump is below 2.1e-9) and not part of
    the function; a smaller one is taken as written: x itself where beta x exceeds it.
    """
    if rational(beta) == 0:
        raise NotImplementedError("softplus with beta = 0")
    scaled = x * b.rational(beta)
    smooth = scaled.unary("softplus") / b.rational(beta)
    if rational(threshold) >= 20:
        return smooth
    return b.where(b.compare(scaled, b.rational(threshold), "le"), smooth, x)


@lowers("aten.leaky_relu.default")
def leaky_relu(b: Builder, x: Expression, slope: Number) -> Expression:
    return piecewise(x, [0], [[0, slope], [0, 1]])


@lowers("aten.prelu.default", "aten._prelu_kernel.default")
def prelu(b: Builder, x: Expression, weight: Expression) -> Expression:
    """max(0, x) + w min(0, x); slopes that are held make it w x + (1 - w) max(0, x), with a factor of known sign."""
    held = known(b, weight)
    slopes = set() if held is None else set(held.flatten().tolist())
    if len(slopes) == 1 and math.isfinite(*slopes):
        return piecewise(x, [0], [[0, *slopes], [0, 1]])
    if weight.numel == 1:
        weight = weight.reshape(())
    elif weight.ndim == 1:
        weight = weight.reshape((weight.numel,) + (1,) * (x.ndim - 2))
    if slopes and all(map(math.isfinite, slopes)):
        return weight * x + (1 - weight) * x.unary("relu")
    return x.unary("relu") - weight * (-x).unary("relu")


@lowers("aten.rrelu.default")
def rrelu(b: Builder, x: Expression, lower: Number, upper: Number, training: bool, generator: Any) -> Expression:
    if training:
        raise RandomOperator("rrelu draws random slopes in training mode")
    return piecewise(x, [0], [[0, (rational(lower) + rational(upper)) / 2], [0, 1]])


@lowers("aten.rrelu_with_noise.default")
def rrelu_with_noise(
    b: Builder, x: Expression, noise: Expression, lower: Number, upper: Number, training: bool, generator: Any
) -> Expression:
    return rrelu(b, x, lower, upper, training, generator)


@lowers("aten.elu.default")
def elu(b: Builder, x: Expression, alpha: Number, scale: Number, input_scale: Number) -> Expression:
    s = rational(input_scale)
    if s <= 0:
        raise NotImplementedError("elu with an input scale that is not positive")
    if s == 1:
        return x.unary("elu", alpha=text(rational(alpha))) * b.rational(scale)
    # scale * (x for x > 0, else alpha (e^(s x) - 1)): on the positive side x is written as (s x) / s
    inner = (x * b.rational(s)).unary("elu", alpha=text(rational(alpha) * s))
    return inner * b.rational(rational(scale) / s)


@lowers("aten.celu.default")
def celu(b: Builder, x: Expression, alpha: Number) -> Expression:
    a = rational(alpha)
    if a <= 0:
        raise NotImplementedError("celu with an alpha that is not positive")
    return (x * b.rational(1 / a)).unary("elu", alpha="1") * b.rational(a)


@lowers("aten.selu.default")
def selu(b: Builder, x: Expression) -> Expression:
    alpha, scale = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
    return x.unary("elu", alpha=text(rational(alpha))) * b.rational(scale)


@lowers("aten.silu.default")
def silu(b: Builder, x: Expression) -> Expression:
    return x.unary("silu")


@lowers("aten.gelu.default")
def gelu(b: Builder, x: Expression, approximate: str) -> Expression:
    if approximate == "none":
        return x.unary("gelu")
    cubic = (x + b.rational(0.044715) * x**3) * b.rational(math.sqrt(2 / math.pi))
    return x * Fraction(1, 2) * (cubic.unary("tanh") + 1)


@lowers("aten.mish.default")
def mish(b: Builder, x: Expression) -> Expression:
    return x.unary("mish")


@lowers("aten.hardtanh.default", "aten.clamp.default", "aten.clip.default", exact=True)
def clamp(b: Builder, x: Expression, low: Number | None, high: Number | None) -> Expression:
    low = None if low == -math.inf else low
    high = None if high == math.inf else high
    if any(v is not None and not math.isfinite(v) for v in (low, high)):
        raise NotImplementedError("clamp to an infinite value")
    if low is None and high is None:
        return x
    if low is not None and high is not None and rational(low) >= rational(high):
        return b.rational(high).expand(x.shape)
    if low is not None and high is not None:
        return piecewise(x, [low, high], [[low], [0, 1], [high]])
    if low is not None:
        return b.maximum(x, b.rational(low)) if rational(low) == 0 else piecewise(x, [low], [[low], [0, 1]])
    assert high is not None
    return piecewise(x, [high], [[0, 1], [high]])


@lowers("aten.clamp_min.default", exact=True)
def clamp_min(b: Builder, x: Expression, low: Number) -> Expression:
    return clamp(b, x, low, None)


@lowers("aten.clamp_max.default", exact=True)
def clamp_max(b: Builder, x: Expression, high: Number) -> Expression:
    return clamp(b, x, None, high)


@lowers("aten.relu6.default", exact=True)
def relu6(b: Builder, x: Expression) -> Expression:
    return clamp(b, x, 0, 6)


@lowers("aten.hardsigmoid.default")
def hardsigmoid(b: Builder, x: Expression) -> Expression:
    return piecewise(x, [-3, 3], [[0], [Fraction(1, 2), Fraction(1, 6)], [1]])


@lowers("aten.hardswish.default")
def hardswish(b: Builder, x: Expression) -> Expression:
    return piecewise(x, [-3, 3], [[0], [0, Fraction(1, 2), Fraction(1, 6)], [0, 1]])


@lowers("aten.softshrink.default")
def softshrink(b: Builder, x: Expression, amount: Number) -> Expression:
    s = rational(amount)
    return piecewise(x, [-s, s], [[s, 1], [0], [-s, 1]]) if s > 0 else x


@lowers("aten.hardshrink.default")
def hardshrink(b: Builder, x: Expression, amount: Number) -> Expression:
    inside = b.compare(x.unary("abs"), b.rational(amount), "le")
    return b.where(inside, b.rational(0), x)


@lowers("aten.threshold.default")
def threshold(b: Builder, x: Expression, level: Number, value: Number) -> Expression:
    if rational(level) == rational(value):
        return clamp(b, x, level, None)
    return b.where(b.compare(x, b.rational(level), "le"), b.rational(value), x)


@lowers("aten.glu.default")
def glu(b: Builder, x: Expression, dim: int) -> Expression:
    half = x.shape[dim % x.ndim] // 2
    return x.slice(dim, 0, half) * x.slice(dim, half, 2 * half).unary("sigmoid")


@lowers(
    "aten.dropout.default",
    "aten.feature_dropout.default",
    "aten.alpha_dropout.default",
    "aten.feature_alpha_dropout.default",
)
def dropout(b: Builder, x: Expression, probability: float, train: bool) -> Expression:
    if train and probability == 1:
        return b.rational(0).expand(x.shape)
    if train and probability > 0:
        raise RandomOperator("dropout draws a random mask in training mode")
    return x


@lowers("aten.native_dropout.default")
def native_dropout(b: Builder, x: Expression, probability: float, train: bool | None) -> tuple[Expression, Expression]:
    return dropout(b, x, probability, train is None or train), b.rational(1).expand(x.shape)
