"""Derivatives that a program takes itself, as a gradient penalty does: what autograd multiplies a gradient by."""

from __future__ import annotations

from typing import Any

from epigraph.objective.builder import Builder, Expression, Number
from epigraph.objective.lowering.registry import lowers


@lowers("aten.tanh_backward.default")
def tanh_backward(b: Builder, gradient: Expression, out: Expression) -> Expression:
    return gradient * (1 - out**2)


@lowers("aten.sigmoid_backward.default")
def sigmoid_backward(b: Builder, gradient: Expression, out: Expression) -> Expression:
    return gradient * (out * (1 - out))


@lowers("aten.threshold_backward.default")
def threshold_backward(b: Builder, gradient: Expression, x: Expression, threshold: Number) -> Expression:
    """The gradient where x exceeds the threshold; zero elsewhere, also at it."""
    return b.where(b.compare(x, b.rational(threshold), "le"), b.rational(0), gradient)


@lowers("aten.leaky_relu_backward.default")
def leaky_relu_backward(b: Builder, gradient: Expression, x: Expression, slope: Number, of_result: bool) -> Expression:
    """``of_result``: x is the output, whose sign is that of the input for a positive slope."""
    if of_result and slope < 0:
        raise NotImplementedError("a leaky relu of negative slope by its output")
    return b.where(b.compare(b.rational(0), x, "lt"), gradient, gradient * b.rational(slope))


@lowers("aten.softplus_backward.default")
def softplus_backward(b: Builder, gradient: Expression, x: Expression, beta: Number, threshold: Number) -> Expression:
    """The ideal softplus, whose threshold is a device against overflow."""
    return gradient * (x * b.rational(beta)).unary("sigmoid")


@lowers("aten.silu_backward.default")
def silu_backward(b: Builder, gradient: Expression, x: Expression) -> Expression:
    sigmoid = x.unary("sigmoid")
    return gradient * (sigmoid * (1 + x * (1 - sigmoid)))


@lowers("aten.elu_backward.default")
def elu_backward(
    b: Builder, gradient: Expression, alpha: Number, scale: Number, input_scale: Number, of_result: bool, x: Expression
) -> Expression:
    if of_result:
        raise NotImplementedError("the derivative of elu by its output")
    below = (x * b.rational(input_scale)).unary("exp") * (
        b.rational(alpha) * b.rational(scale) * b.rational(input_scale)
    )
    return b.where(b.compare(x, b.rational(0), "le"), gradient * below, gradient * b.rational(scale))


@lowers("aten._softmax_backward_data.default")
def softmax_backward(b: Builder, gradient: Expression, out: Expression, dim: int, dtype: Any) -> Expression:
    product = gradient * out
    return product - out * product.sum([dim], keepdim=True)


@lowers("aten._log_softmax_backward_data.default")
def log_softmax_backward(b: Builder, gradient: Expression, out: Expression, dim: int, dtype: Any) -> Expression:
    return gradient - out.unary("exp") * gradient.sum([dim], keepdim=True)
