"""Derivatives of the smooth functions of one variable, up to the fourth."""

from __future__ import annotations

from fractions import Fraction

from epigraph.calculus.derivatives.arithmetic import Numbers, Value
from epigraph.calculus.derivatives.table import smooth
from epigraph.objective.graph import Node

Derivatives = list[Value]


@smooth("exp")
def exp(node: Node, x: Value, order: int, n: Numbers) -> Derivatives:
    """(e^x)' = e^x."""
    return [n.apply("exp", x)] * order


@smooth("log", "positive")
def log(node: Node, x: Value, order: int, n: Numbers) -> Derivatives:
    """(log x)^(k) = (-1)^(k-1) (k-1)! x^-k."""
    return [c * n.power(x, Fraction(-k)) for k, c in zip(range(1, order + 1), (1, -1, 2, -6), strict=False)]


def falling(p: Fraction, k: int) -> Fraction:
    """p (p-1) ... (p-k+1)."""
    out = Fraction(1)
    for i in range(k):
        out *= p - i
    return out


def powers(p: Fraction, x: Value, order: int, n: Numbers) -> Derivatives:
    """(x^p)^(k) = p (p-1) ... (p-k+1) x^(p-k), exactly zero where the factor is."""
    return [
        n.rational(c) * n.power(x, p - k if c else Fraction(0)) for k in range(1, order + 1) for c in [falling(p, k)]
    ]


@smooth("sqrt", "positive")
def sqrt(node: Node, x: Value, order: int, n: Numbers) -> Derivatives:
    """x^(1/2)."""
    return powers(Fraction(1, 2), x, order, n)


def power_domain(node: Node) -> str:
    p = Fraction(node.attributes["exponent"])
    return "positive" if p.denominator > 1 else "nonzero" if p < 0 else "all"


@smooth("power", power_domain)
def power(node: Node, x: Value, order: int, n: Numbers) -> Derivatives:
    """x^p with a rational exponent."""
    return powers(Fraction(node.attributes["exponent"]), x, order, n)


def logistic(x: Value, n: Numbers) -> Derivatives:
    """s = sigmoid and its first four derivatives, with d = s(1-s) and q = 1-2s: d, d q, d (1-6d), d q (1-12d)."""
    s, rest = n.apply("sigmoid", x), n.apply("sigmoid", -x)
    d = n.between(s * rest, 0.0, 0.25)
    q = rest - s
    return [
        s,
        d,
        n.between(d * q, -0.0963, 0.0963),
        n.between(d * (1 - 6 * d), -0.125, 0.0417),
        n.between(d * q * (1 - 12 * d), -0.1277, 0.1277),
    ]


@smooth("sigmoid")
def sigmoid(node: Node, x: Value, order: int, n: Numbers) -> Derivatives:
    """1/(1 + e^-x)."""
    return logistic(x, n)[1 : order + 1]


@smooth("softplus")
def softplus(node: Node, x: Value, order: int, n: Numbers) -> Derivatives:
    """log(1 + e^x), whose derivative is the sigmoid."""
    return logistic(x, n)[:order]


def hyperbolic(x: Value, n: Numbers) -> Derivatives:
    """t = tanh and its first four derivatives, with d = 1-t^2: d, -2 t d, d (6t^2-2), d t (16-24t^2)."""
    t = n.apply("tanh", x)
    square = t * t
    d = n.between(1 - square, 0.0, 1.0)
    return [
        t,
        d,
        n.between(-2 * t * d, -0.7699, 0.7699),
        n.between(d * (6 * square - 2), -2.0, 0.6667),
        n.between(d * t * (16 - 24 * square), -4.0859, 4.0859),
    ]


@smooth("tanh")
def tanh(node: Node, x: Value, order: int, n: Numbers) -> Derivatives:
    """The hyperbolic tangent."""
    return hyperbolic(x, n)[1 : order + 1]


@smooth("erf")
def erf(node: Node, x: Value, order: int, n: Numbers) -> Derivatives:
    """With g = 2 e^(-x^2)/sqrt(pi): g, -2x g, (4x^2-2) g, (12x-8x^3) g."""
    g, square = n.gauss(x), x * x
    return [g, -2 * x * g, (4 * square - 2) * g, x * (12 - 8 * square) * g][:order]


@smooth("log_ndtr")
def log_ndtr(node: Node, x: Value, order: int, n: Numbers) -> Derivatives:
    """With r = density/normal: r, then r' = -r (x+r) by Leibniz's rule; r' lies in (-1, 0)."""
    r = n.mills(x)
    v = x + r
    r1 = n.between(-(r * v), -1.0, 0.0)
    r2 = -(r1 * v) - r * (1 + r1)
    r3 = -(r2 * v) - 2 * (r1 * (1 + r1)) - r * r2
    return [r, r1, r2, r3][:order]


@smooth("sin")
def sin(node: Node, x: Value, order: int, n: Numbers) -> Derivatives:
    """cos, -sin, -cos, sin."""
    s, c = n.apply("sin", x), n.apply("cos", x)
    return [c, -s, -c, s][:order]


@smooth("cos")
def cos(node: Node, x: Value, order: int, n: Numbers) -> Derivatives:
    """-sin, -cos, sin, cos."""
    s, c = n.apply("sin", x), n.apply("cos", x)
    return [-s, -c, s, c][:order]


@smooth("atan")
def atan(node: Node, x: Value, order: int, n: Numbers) -> Derivatives:
    """With w = 1/(1+x^2): w, -2x w^2, (6x^2-2) w^3, 24 x (1-x^2) w^4."""
    square = x * x
    w = n.power(1 + square, Fraction(-1))
    w2 = n.power(w, Fraction(2))
    return [w, -2 * x * w2, (6 * square - 2) * (w2 * w), 24 * x * (1 - square) * n.power(w2, Fraction(2))][:order]
