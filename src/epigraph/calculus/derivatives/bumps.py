"""Derivatives of x times a function: xlogx, silu, gelu, mish."""

from __future__ import annotations

from fractions import Fraction

from epigraph.calculus.derivatives.arithmetic import Numbers, Value
from epigraph.calculus.derivatives.smooth import Derivatives, hyperbolic, logistic
from epigraph.calculus.derivatives.table import smooth
from epigraph.objective.graph import Node


def times_variable(x: Value, s: Derivatives, order: int) -> Derivatives:
    """(x s)^(k) = x s^(k) + k s^(k-1)."""
    return [x * s[k] + k * s[k - 1] for k in range(1, order + 1)]


@smooth("xlogx", "positive")
def xlogx(node: Node, x: Value, order: int, n: Numbers) -> Derivatives:
    """log x + 1, 1/x, -1/x^2, 2/x^3."""
    return [
        n.apply("log", x) + 1,
        n.power(x, Fraction(-1)),
        -n.power(x, Fraction(-2)),
        2 * n.power(x, Fraction(-3)),
    ][:order]


@smooth("silu")
def silu(node: Node, x: Value, order: int, n: Numbers) -> Derivatives:
    """x sigmoid(x)."""
    return times_variable(x, logistic(x, n), order)


@smooth("gelu")
def gelu(node: Node, x: Value, order: int, n: Numbers) -> Derivatives:
    """With the normal density p: normal + x p, (2-x^2) p, (x^3-4x) p, (-x^4+7x^2-4) p."""
    p, square = n.density(x), x * x
    return [
        n.normal(x) + x * p,
        (2 - square) * p,
        x * (square - 4) * p,
        (square * (7 - square) - 4) * p,
    ][:order]


@smooth("mish")
def mish(node: Node, x: Value, order: int, n: Numbers) -> Derivatives:
    """x T with T = tanh(u), u = softplus(x): Faa di Bruno's formula for T, then Leibniz's rule."""
    u = [n.apply("softplus", x), *logistic(x, n)[:4]]
    g = hyperbolic(u[0], n)
    square = u[1] * u[1]
    second = g[2] * square + g[1] * u[2]
    third = g[3] * (square * u[1]) + 3 * (g[2] * (u[1] * u[2])) + g[1] * u[3]
    fourth = (
        g[4] * (square * square)
        + 6 * (g[3] * (square * u[2]))
        + g[2] * (4 * (u[1] * u[3]) + 3 * (u[2] * u[2]))
        + g[1] * u[4]
    )
    return times_variable(x, [g[0], g[1] * u[1], second, third, fourth], order)
