"""What the lemmas beyond composition are about: sorted entries, power means, perspectives, quadratics, log-softmax.

Each draw is near the edge of a lemma's condition: weights in the right order or not, exponents that add up to one or not quite,
ratios whose denominator is affine, concave or convex, quadratic forms with and without a negative direction.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING

import torch

from epigraph.objective.builder import Expression

if TYPE_CHECKING:
    from soak_generate import Maker, Shape

ORDERS = ["1/2", "1/3", "2", "3", "-1", "-1/2", "3/2", "1/4", "2/3", "-2", "4", "5/4"]
UNARY = ["exp", "softplus", "relu", "abs", "log", "sqrt", "tanh", "sigmoid", "silu", "log_ndtr", "xlogx", "atan"]


def drawn(maker: Maker, shape: Shape, depth: int) -> Expression:
    """An expression of one of the families."""
    family = maker.random.choice([ordered, means, means, perspective, perspective, quadratic, soft_ranks, by_hand])
    return family(maker, shape, depth)


def sloped(maker: Maker, shape: Shape, depth: int) -> Expression:
    """An argument: affine, convex or concave."""
    return maker.make(maker.random.choice(["affine", "affine", "convex", "concave"]), shape, depth - 1)


def plus(maker: Maker, shape: Shape, depth: int) -> Expression:
    """Nonnegative in most boxes, of any curvature."""
    r = maker.random
    return r.choice([
        lambda: maker.positive(shape, depth), lambda: maker.positive(shape, depth), lambda: maker.positive(shape, depth),
        lambda: maker.make("convex", shape, depth - 1).unary(r.choice(["exp", "relu", "softplus"])),
        lambda: maker.make("affine", shape, 1).unary(r.choice(["abs", "exp", "sigmoid"])),
        lambda: maker.b.power(maker.make("affine", shape, 1), Fraction(2)),
    ])()  # fmt: skip


def weights(maker: Maker, count: int) -> Expression:
    """In order, all of one sign, or as they come."""
    r = maker.random
    values = [r.choice([0.0, 1.0, -1.0, 0.5, 2.0, 0.25, -0.5, maker.number()]) for _ in range(count)]
    kind = r.random()
    if kind < 0.35:
        values.sort(reverse=r.random() < 0.4)
    if 0.2 < kind < 0.5:
        values = [abs(v) for v in values]
    return maker.b.literal(torch.tensor(values, dtype=torch.float64))


def _summed(maker: Maker, x: Expression, weighted: bool, shape: Shape) -> Expression:
    """The sum of some or all entries of a vector, with weights, spread over a shape."""
    r = maker.random
    if weighted:
        x = x * weights(maker, x.numel)
    if r.random() < 0.3 and x.numel > 1:
        x = x.slice(0, *sorted(r.sample(range(x.numel + 1), 2)))
    if r.random() < 0.2:
        x = -x
    return x.sum().reshape((1,) * len(shape)).expand(shape) if shape else x.sum().reshape(())


def ordered(maker: Maker, shape: Shape, depth: int) -> Expression:
    """Weighted sums of sorted entries."""
    r = maker.random
    x = sloped(maker, (r.choice([2, 3, 4]),), depth)
    made = maker.b.make("sort", (x,), {"dim": 0}, x.shape)
    if r.random() < 0.3:
        made = made.take(torch.arange(x.numel - 1, -1, -1), 0)
    return _summed(maker, made, r.random() < 0.7, shape)


def soft_ranks(maker: Maker, shape: Shape, depth: int) -> Expression:
    """Weighted sums of the entries of a log-softmax."""
    x = sloped(maker, (maker.random.choice([2, 3]),), depth)
    return _summed(maker, maker.b.make("log_softmax", (x,), {"dim": 0}, x.shape), maker.random.random() < 0.8, shape)


def means(maker: Maker, shape: Shape, depth: int) -> Expression:
    """Powers, sums, products, quotients, differences, maxima and minima of nonnegative functions, nested."""
    r, b = maker.random, maker.b
    if depth <= 1:
        return plus(maker, shape, 1)
    x = means(maker, shape, depth - 1)
    other: Callable[[], Expression] = lambda: means(maker, shape, depth - 2)  # noqa: E731
    e, d = Fraction(r.choice(ORDERS)), Fraction(r.choice(ORDERS))
    rest = r.choice([1 - e, d, -d]) or d
    return r.choice([
        lambda: b.power(x, e),
        lambda: b.power(b.power(x, e) + b.power(other(), e), r.choice([1 / e, d])),
        lambda: b.power(x, e) * b.power(other(), rest),
        lambda: b.power(x, e) / b.power(other(), rest if rest > 0 else -rest),
        lambda: b.power(x * other(), Fraction(r.choice(["1/2", "1/3", "1", "2"]))),
        lambda: x + other(),
        lambda: other() - x,
        lambda: b.maximum(x, other()),
        lambda: b.minimum(x, other()),
        lambda: x * maker.constant(shape, "positive"),
        lambda: (b.power(x, e).sum() if shape else x + other()).reshape((1,) * len(shape)).expand(shape),
        lambda: b.power(x.unary("log").mean(), Fraction(1)).unary("exp").reshape((1,) * len(shape)).expand(shape),
    ])()  # fmt: skip


def perspective(maker: Maker, shape: Shape, depth: int) -> Expression:
    """s phi(x/s), and the same with the logarithm of the ratio as a difference of logarithms."""
    r, b = maker.random, maker.b
    s = r.choice(
        [lambda: maker.positive(shape, 1), lambda: maker.positive(shape, depth), lambda: plus(maker, shape, depth)]
    )()
    x = r.choice(
        [lambda: sloped(maker, shape, depth), lambda: maker.positive(shape, depth), lambda: plus(maker, shape, 1)]
    )()
    kind = r.random()
    if kind < 0.25:
        top, bottom = (s, x) if r.random() < 0.5 else (x, s)
        ratio = r.choice([lambda: (top / bottom).unary("log"), lambda: top.unary("log") - bottom.unary("log")])()
        out = r.choice([s, s, x]) * ratio
        return r.choice([lambda: out, lambda: out - s + x, lambda: -out, lambda: out.unary("relu")])()
    ratio = x / s if r.random() < 0.8 else s / x
    inner = ratio * maker.constant(shape) + maker.constant(shape) if r.random() < 0.4 else ratio
    phi = r.choice([
        lambda: inner.unary(r.choice(UNARY)), lambda: inner.unary(r.choice(UNARY)),
        lambda: b.power(inner, Fraction(r.choice(["2", "3", "4", "-1", "1/2", "3/2"]))), lambda: maker.piecewise(inner),
        lambda: inner.unary(r.choice(UNARY)) + inner.unary(r.choice(UNARY)),
        lambda: b.maximum(inner.unary(r.choice(UNARY)), inner), lambda: (1 + b.power(inner, Fraction(2))).unary("sqrt"),
    ])()  # fmt: skip
    out = s * phi
    return out + maker.make("affine", shape, 1) if r.random() < 0.3 else out


def quadratic(maker: Maker, shape: Shape, depth: int) -> Expression:
    """Sums of products of affine functions that are semidefinite or nearly so, in disguise; under roots and over affine ones."""
    r, b = maker.random, maker.b
    u, v = (maker.make("affine", shape, 1) for _ in range(2))
    c = Fraction(r.choice(["1", "2", "1/2", "3", "-1", "-2", "1/10"]))
    out = r.choice([
        lambda: u * u + v * v + u * v * c,
        lambda: b.power(u, Fraction(2)) + u * v * c + b.power(v, Fraction(2)) * r.choice([1, 2, Fraction(1, 4)]),
        lambda: (u + v) * (u - v) + b.power(v, Fraction(2)) * r.choice([1, 2]),
        lambda: u * (u + c) + v,
        lambda: b.power(u + v, Fraction(2)) - u * v * c,
    ])()  # fmt: skip
    kind = r.random()
    if kind < 0.2:
        return (out + maker.constant(shape, "positive")).unary("sqrt")
    if kind < 0.35:
        return out / maker.positive(shape, depth)
    if kind < 0.6:
        return out + maker.make("convex", shape, depth - 1)
    return b.power(out, Fraction(r.choice(["3/2", "2", "1/2"]))) if kind < 0.7 else out


def by_hand(maker: Maker, shape: Shape, depth: int) -> Expression:
    """Spellings that the builder knows: elu by where, the logarithm of a difference of sigmoids, softplus, Huber."""
    r, b = maker.random, maker.b
    x = sloped(maker, shape, depth)
    zero, gap = b.rational(0).expand(shape), Fraction(r.choice(["1/2", "1", "3", "-1"]))
    a = Fraction(r.choice(["1", "1/2", "2", "-1", "3/2"]))
    positive = b.compare(zero, x, r.choice(["lt", "le"]))
    return r.choice([
        lambda: b.where(positive, x, (x.unary("exp") - 1) * a),
        lambda: b.where(positive, x * a, x * maker.constant(shape)),
        lambda: ((x + gap).unary("sigmoid") - x.unary("sigmoid")).unary("log"),
        lambda: (1 + x.unary("exp")).unary("log") - x * a,
        lambda: b.where(b.compare(x.unary("abs"), b.rational(1).expand(shape), "le"), x * x / 2, x.unary("abs") - Fraction(1, 2)),
        lambda: b.power(1 + (-x).unary("exp"), Fraction(-1)),
        lambda: x * (1 + (-x).unary("exp")) ** -1,
    ])()  # fmt: skip
