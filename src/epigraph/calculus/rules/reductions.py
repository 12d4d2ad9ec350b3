"""sum, amax, logsumexp, log_softmax, sort."""

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
    LOGCONCAVE,
    LOGCONVEX,
    QCONCAVE,
    QCONVEX,
    QUASILINEAR,
    ROOTCONVEX,
    Bits,
    Facts,
    when,
)
from epigraph.calculus.rule import Rule, Shapes, register
from epigraph.objective.graph import Node


def _axes(node: Node) -> tuple[int, ...]:
    return tuple(node.attributes["dims"])


def over_all(bits: Bits, shape: tuple[int, ...], axes: tuple[int, ...]) -> Bits:
    """Claims that all entries along the axes have."""
    return bits if isinstance(bits, int) else np.bitwise_and.reduce(np.broadcast_to(bits, shape), axis=axes)


class Reduction(Rule):
    """Several entries to one: the claims that the operator keeps and all entries share; a single entry keeps all."""

    kept: int

    def claims(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> Bits:
        return over_all(x[0].bits, shapes[0], _axes(node)) & (ALL if self._alone(node, shapes) else self.kept)

    def carrier(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> tuple[int, int] | None:
        return x[0].carrier if self._alone(node, shapes) else None

    @staticmethod
    def _alone(node: Node, shapes: Shapes) -> bool:
        return math.prod(shapes[0][a] for a in _axes(node)) == 1


@register("sum")
@final
class Sum(Reduction):
    """A sum of entries: as ``add`` [BV04 3.2.1]."""

    lemma = "a sum of convex functions is convex"
    kept = CONVEX | CONCAVE | LOGCONVEX | ROOTCONVEX

    def interval(self, node: Node, x: Sequence[Interval], shapes: Shapes) -> Interval:
        return iv.total(x[0], _axes(node), shapes[0])

    def degree(self, node: Node, x: Sequence[Facts]) -> int:
        return x[0].degree

    def reason(self, node: Node, x: Sequence[Facts]) -> str:
        return "the sum mixes convex and concave terms"


@register("amax")
@final
class Amax(Reduction):
    """The greatest entry: as ``maximum`` [BV04 3.2.3]."""

    lemma = "a maximum of convex functions is convex"
    kept = CONVEX | QCONVEX | LOGCONVEX | ROOTCONVEX

    def interval(self, node: Node, x: Sequence[Interval], shapes: Shapes) -> Interval:
        if x[0].uniform:
            return x[0]
        low, high = x[0].arrays(shapes[0])
        return Interval(np.asarray(low.max(_axes(node))), np.asarray(high.max(_axes(node))))

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
class LogSumExp(Reduction):
    """log sum e^x: convex and increasing in every entry [BV04 3.1.5]; each e^x is log-convex and so is their sum."""

    lemma = "log-sum-exp is convex and nondecreasing in every argument"
    kept = CONVEX

    def interval(self, node: Node, x: Sequence[Interval], shapes: Shapes) -> Interval:
        axes = _axes(node)
        if self._alone(node, shapes):
            return x[0] if x[0].uniform else Interval(*(np.squeeze(b, axes) for b in x[0].arrays(shapes[0])))
        return log_sum_exp(x[0], axes, shapes[0])

    def reason(self, node: Node, x: Sequence[Facts]) -> str:
        return "log-sum-exp keeps convexity only, and an entry is not convex"


def log_sum_exp(x: Interval, axes: tuple[int, ...], shape: tuple[int, ...]) -> Interval:
    """Bounds from the bounds of the entries."""
    count = math.prod(shape[a] for a in axes)
    ends = [_log_sum_exp(b, axes, shape) for b in (x.lower, x.upper)]
    return iv.widen(ends[0], ends[1], units=16, absolute=(count + 64) * 2.0**-50)


@register("log_softmax")
@final
class LogSoftmax(Rule):
    """x_i - log sum e^x = -log sum e^(x_j - x_i), never positive [BV04 3.1.5]: concave where all x_j - x_i are convex,

    which holds for a concave x_i among convex ones; for two affine entries a monotone function of their difference.
    """

    lemma = "an affine function minus log-sum-exp is concave"

    def interval(self, node: Node, x: Sequence[Interval], shapes: Shapes) -> Interval:
        dim = node.attributes["dim"]
        if shapes[0][dim] == 1:
            return Interval.point(0.0)
        norm = log_sum_exp(x[0], (dim,), shapes[0])
        if not norm.uniform:
            norm = Interval(np.expand_dims(norm.lower, dim), np.expand_dims(norm.upper, dim))
        return iv.clip(iv.add(x[0], iv.neg(norm)), -iv.INF, 0.0)

    def claims(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> Bits:
        dim = node.attributes["dim"]
        size = shapes[0][dim]
        if size == 1:
            return ALL
        monotone = QUASILINEAR if size == 2 else 0
        if isinstance(x[0].bits, int):
            return CONCAVE | monotone if x[0].has(AFFINE) else 0
        bits = np.broadcast_to(x[0].bits, shapes[0])
        convex, concave = (bits & CONVEX) > 0, (bits & CONCAVE) > 0
        others = convex.sum(dim, keepdims=True) - convex == size - 1
        affine = np.asarray((convex & concave).all(dim, keepdims=True), dtype=bool)
        return when(np.logical_and(others, concave), CONCAVE) | when(affine, monotone)

    def reason(self, node: Node, x: Sequence[Facts]) -> str:
        return "log-softmax is its argument minus a convex function: concave only where the argument is affine"


@register("sort")
@final
class Sort(Rule):
    """The entries in ascending order: the last one as ``amax``, the first one as a minimum; for weighted sums of them

    see ``combinations``.
    """

    lemma = "sums of the largest entries are convex"

    def interval(self, node: Node, x: Sequence[Interval], shapes: Shapes) -> Interval:
        return x[0].map(lambda a: np.sort(a, node.attributes["dim"]), shapes[0])

    def claims(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> Bits:
        dim = node.attributes["dim"]
        size = node.shape[dim]
        if size == 1:
            return x[0].bits
        shared = over_all(x[0].bits, shapes[0], (dim,))
        line = shared if isinstance(shared, int) else np.expand_dims(shared, dim)
        place = np.arange(size).reshape([-1 if d == dim else 1 for d in range(len(node.shape))])
        least = when(place == 0, line & (CONCAVE | QCONCAVE | LOGCONCAVE))
        return least | when(place == size - 1, line & (CONVEX | QCONVEX | LOGCONVEX | ROOTCONVEX))

    def reason(self, node: Node, x: Sequence[Facts]) -> str:
        return "an entry of given rank has no curvature; sums of the largest entries are convex"
