"""sum, amax, logsumexp, log_softmax."""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import numpy as np

from epigraph.calculus import interval as iv
from epigraph.calculus.interval import Bound, Interval
from epigraph.calculus.lattice import (
    AFFINE,
    ALL,
    CONCAVE,
    CONVEX,
    LOGCONVEX,
    QCONVEX,
    ROOTCONVEX,
    Bits,
    Facts,
)
from epigraph.calculus.rule import Rule, Shapes, register
from epigraph.objective.graph import Node


def _axes(node: Node) -> tuple[int, ...]:
    return tuple(node.attributes["dims"])


def over_all(bits: Bits, shape: tuple[int, ...], axes: tuple[int, ...]) -> Bits:
    """Claims that all entries along the axes have."""
    return bits if isinstance(bits, int) else np.bitwise_and.reduce(np.broadcast_to(bits, shape), axis=axes)


@register("sum")
@final
class Sum(Rule):
    """A sum of entries: as ``add`` [BV04 3.2.1]."""

    lemma = "a sum of convex functions is convex"

    def interval(self, node: Node, x: Sequence[Interval], shapes: Shapes) -> Interval:
        return iv.total(x[0], _axes(node), shapes[0])

    def claims(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> Bits:
        return over_all(x[0].bits, shapes[0], _axes(node)) & (CONVEX | CONCAVE | LOGCONVEX | ROOTCONVEX)

    def degree(self, node: Node, x: Sequence[Facts]) -> int:
        return x[0].degree

    def reason(self, node: Node, x: Sequence[Facts]) -> str:
        return "the sum mixes convex and concave terms"


@register("amax")
@final
class Amax(Rule):
    """The greatest entry: as ``maximum`` [BV04 3.2.3]."""

    lemma = "a maximum of convex functions is convex"

    def interval(self, node: Node, x: Sequence[Interval], shapes: Shapes) -> Interval:
        if x[0].uniform:
            return x[0]
        low, high = x[0].arrays(shapes[0])
        return Interval(np.asarray(low.max(_axes(node))), np.asarray(high.max(_axes(node))))

    def claims(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> Bits:
        return over_all(x[0].bits, shapes[0], _axes(node)) & (CONVEX | QCONVEX | LOGCONVEX | ROOTCONVEX)

    def reason(self, node: Node, x: Sequence[Facts]) -> str:
        return "a maximum keeps convexity only, and an entry is not convex"


def _log_sum_exp(bound: Bound, axes: tuple[int, ...], shape: tuple[int, ...]) -> Bound:
    if isinstance(bound, float):
        return bound + math.log(math.prod(shape[a] for a in axes)) if math.isfinite(bound) else bound
    full = np.broadcast_to(bound, shape)
    top = full.max(axes, keepdims=True)
    shift = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore", over="ignore"):
        return np.asarray((np.log(np.exp(full - shift).sum(axes, keepdims=True)) + shift).squeeze(axes))


@register("logsumexp")
@final
class LogSumExp(Rule):
    """log sum e^x: convex and increasing in every entry [BV04 3.1.5]; each e^x is log-convex and so is their sum."""

    lemma = "log-sum-exp is convex and nondecreasing in every argument"

    def interval(self, node: Node, x: Sequence[Interval], shapes: Shapes) -> Interval:
        axes = _axes(node)
        count = math.prod(shapes[0][a] for a in axes)
        ends = [_log_sum_exp(b, axes, shapes[0]) for b in (x[0].lower, x[0].upper)]
        return iv.widen(ends[0], ends[1], units=16, absolute=(count + 64) * 2.0**-50)

    def claims(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> Bits:
        return over_all(x[0].bits, shapes[0], _axes(node)) & CONVEX

    def reason(self, node: Node, x: Sequence[Facts]) -> str:
        return "log-sum-exp keeps convexity only, and an entry is not convex"


@register("log_softmax")
@final
class LogSoftmax(Rule):
    """x_i - log sum e^x: concave in an affine x, never positive [BV04 3.1.5]."""

    lemma = "an affine function minus log-sum-exp is concave"

    def interval(self, node: Node, x: Sequence[Interval], shapes: Shapes) -> Interval:
        if not x[0].finite:
            return Interval(-iv.INF, 0.0)
        low, high = x[0].hull
        bound = -math.log(shapes[0][node.attributes["dim"]]) - (high - low)
        return Interval(bound - 1e-9 * (1 + abs(bound) + abs(low) + abs(high)), 0.0)

    def claims(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> Bits:
        dim = node.attributes["dim"]
        if shapes[0][dim] == 1:
            return ALL
        bits = over_all(x[0].bits, shapes[0], (dim,))
        affine = (bits & AFFINE) == AFFINE
        if isinstance(bits, int):
            return CONCAVE if affine else 0
        row = np.where(affine, np.uint8(CONCAVE), np.uint8(0))
        return np.broadcast_to(np.expand_dims(row, dim), node.shape)

    def reason(self, node: Node, x: Sequence[Facts]) -> str:
        return "log-softmax is a difference of its argument and a convex function: concave only where the argument is affine"
