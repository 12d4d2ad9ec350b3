"""where, compare, sign, floor, opaque."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from epigraph.calculus import interval as iv
from epigraph.calculus.interval import Interval, Mask
from epigraph.calculus.lattice import (
    ALL,
    CONCAVE,
    CONVEX,
    LOGCONCAVE,
    QCONCAVE,
    QCONVEX,
    Bits,
    Facts,
    negate,
    when,
)
from epigraph.calculus.rule import Elementwise, Rule, Shapes, nothing, register
from epigraph.objective.graph import Node

from .arithmetic import full


@register("where")
@final
class Where(Rule):
    """x where the condition is 1, else y.  A decided entry has the claims of its operand; an entry that is decided by

    the parameters that are held has those that both operands share; one that the active parameters decide has none.
    """

    lemma = "a constant mask selects entries"

    def interval(self, node: Node, x: Sequence[Interval], shapes: Shapes) -> Interval:
        both, (yes, no) = iv.join(x[1], x[2]), _decided(x[0])
        if isinstance(yes, bool) and isinstance(no, bool):
            return x[1] if yes else x[2] if no else both
        low = np.where(yes, x[1].lower, np.where(no, x[2].lower, both.lower))
        high = np.where(yes, x[1].upper, np.where(no, x[2].upper, both.upper))
        return Interval(low, high)

    def claims(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> Bits:
        a, b = (full(f.bits, s, node.shape) for f, s in zip(x[1:], shapes[1:], strict=True))
        yes, no = _decided(x[0].interval)
        return when(yes, a) | when(no, b) | (0 if x[0].varies else a & b)

    def degree(self, node: Node, x: Sequence[Facts]) -> int:
        known = not x[0].varies and min(x[1].degree, x[2].degree) >= 0
        return max(x[1].degree, x[2].degree) if known else -1

    def reason(self, node: Node, x: Sequence[Facts]) -> str:
        return "the branch that is taken depends on the parameters"


def _decided(condition: Interval) -> tuple[Mask, Mask]:
    """(certainly 1, certainly 0), for a condition with these two values."""
    yes, no = condition.positive, condition.nonpositive
    return (bool(yes), bool(no)) if condition.uniform else (yes, no)


@register("compare")
@final
class Compare(Rule):
    """1 where the relation holds: the indicator of {f < g}, which is convex where f is convex and g concave, or where f

    is quasiconvex and g constant, and so on.  The indicator of a convex set is log-concave, that of a set with convex
    complement quasiconvex.
    """

    lemma = "the indicator of a half-space is quasilinear"

    def interval(self, node: Node, x: Sequence[Interval], shapes: Shapes) -> Interval:
        relation = node.attributes["relation"]
        if relation == "lt":
            yes, no = x[0].upper < x[1].lower, x[0].lower >= x[1].upper
        elif relation == "le":
            yes, no = x[0].upper <= x[1].lower, x[0].lower > x[1].upper
        else:
            point = (x[0].lower == x[0].upper) & (x[1].lower == x[1].upper)
            yes = point & (x[0].lower == x[1].lower)
            no = (x[0].upper < x[1].lower) | (x[0].lower > x[1].upper)
        return Interval(_indicator(yes), 1.0 - _indicator(no))

    def claims(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> Bits:
        a, b = (full(f.bits, s, node.shape) for f, s in zip(x, shapes, strict=True))
        below = _difference_quasiconvex(x, a, b)  # {f - g < t} is convex for t = 0
        above = _difference_quasiconvex(x, negate(a), negate(b))  # {f - g > t} is
        bound = self.interval(node, [f.interval for f in x], shapes)
        decided = when(bound.lower == bound.upper, ALL)
        if node.attributes["relation"] == "eq":
            return decided | (below & above) * (QCONCAVE | LOGCONCAVE)
        return decided | below * (QCONCAVE | LOGCONCAVE) | above * QCONVEX

    def reason(self, node: Node, x: Sequence[Facts]) -> str:
        return "a comparison jumps between 0 and 1 as the parameters move"


def _difference_quasiconvex(x: Sequence[Facts], a: Bits, b: Bits) -> Bits:
    """1 where all sets {f - g <= t} are convex: f convex and g concave, or one constant and the other one quasi."""
    out = (a & CONVEX) & ((b & CONCAVE) >> 1)
    if not x[1].varies:
        out = out | ((a & QCONVEX) >> 2)
    if not x[0].varies:
        out = out | ((b & QCONCAVE) >> 3)
    return out


def _indicator(mask: Mask) -> iv.Bound:
    return float(mask) if isinstance(mask, (bool, np.bool_)) else mask.astype(np.float64)


class Step(Elementwise):
    """A nondecreasing step function: quasilinear and nothing else, unless it is constant on the interval."""

    lemma = "a monotone function of a quasilinear one is quasilinear"

    def slope(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        return True, self._flat(node, x)

    def curvature(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        flat = self._flat(node, x)
        return flat, flat

    def _flat(self, node: Node, x: Interval) -> Mask:
        out = self.range(node, x)
        return out.lower == out.upper

    def reason(self, node: Node, x: Sequence[Facts]) -> str:
        return f"{node.op} is a step function: its gradient is zero and its jumps destroy convexity"


@register("sign")
@final
class Sign(Step):
    """-1, 0, 1."""

    def range(self, node: Node, x: Interval) -> Interval:
        return Interval(iv.plain(np.sign(x.lower)), iv.plain(np.sign(x.upper)))


@register("floor")
@final
class Floor(Step):
    """The greatest integer not above x."""

    def range(self, node: Node, x: Interval) -> Interval:
        return Interval(iv.plain(np.floor(x.lower)), iv.plain(np.floor(x.upper)))


@register("opaque")
@final
class Opaque(Rule):
    """An operator without a rule: nothing is known."""

    lemma = "nothing is known of this operator"

    def interval(self, node: Node, x: Sequence[Interval], shapes: Shapes) -> Interval:
        return iv.WHOLE

    def claims(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> Bits:
        return nothing(x)

    def reason(self, node: Node, x: Sequence[Facts]) -> str:
        return f"{node.attributes['target']} has no rule yet"
