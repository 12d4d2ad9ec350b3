"""where, compare, sign, floor, opaque."""
from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from epigraph.calculus import interval as iv
from epigraph.calculus.interval import Interval, Mask
from epigraph.calculus.lattice import AFFINE, QUASILINEAR, Bits, Facts
from epigraph.calculus.rule import Elementwise, Rule, Shapes, nothing, register
from epigraph.objective.graph import Node

from .arithmetic import full


@register("where")
@final
class Where(Rule):
    """x where the condition is 1, else y; with a condition that does not vary, the claims of the entry chosen."""

    lemma = "a constant mask selects entries"

    def interval(self, node: Node, x: Sequence[Interval], shapes: Shapes) -> Interval:
        both = iv.join(x[1], x[2])
        if x[0].uniform and x[0].hull not in ((0.0, 0.0), (1.0, 1.0)):
            return both
        yes, no = x[0].lower > 0, x[0].upper <= 0
        low = np.where(yes, x[1].lower, np.where(no, x[2].lower, both.lower))
        high = np.where(yes, x[1].upper, np.where(no, x[2].upper, both.upper))
        return Interval(low, high)

    def claims(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> Bits:
        if x[0].varies:
            return 0
        a, b = (full(f.bits, s, node.shape) for f, s in zip(x[1:], shapes[1:], strict=True))
        yes, no = x[0].interval.lower > 0, x[0].interval.upper <= 0
        if isinstance(yes, bool) and isinstance(no, bool):
            return a if yes else b if no else a & b
        a, b = np.asarray(a, dtype=np.uint8), np.asarray(b, dtype=np.uint8)
        return np.where(yes, a, np.where(no, b, a & b))

    def degree(self, node: Node, x: Sequence[Facts]) -> int:
        known = not x[0].varies and min(x[1].degree, x[2].degree) >= 0
        return max(x[1].degree, x[2].degree) if known else -1

    def reason(self, node: Node, x: Sequence[Facts]) -> str:
        return "the branch that is taken depends on the parameters"


@register("compare")
@final
class Compare(Rule):
    """1 where the relation holds.  An affine difference makes the indicator of a half-space, which is quasilinear."""

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
        affine = all(f.has(AFFINE) for f in x)
        return QUASILINEAR if affine and node.attributes["relation"] != "eq" else nothing(x)

    def reason(self, node: Node, x: Sequence[Facts]) -> str:
        return "a comparison jumps between 0 and 1 as the parameters move"


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
        return iv.monotone(x, np.sign, units=0) if not x.uniform else Interval(*(float(np.sign(b)) for b in x.hull))


@register("floor")
@final
class Floor(Step):
    """The greatest integer not above x."""

    def range(self, node: Node, x: Interval) -> Interval:
        return Interval(np.floor(x.lower), np.floor(x.upper)) if not x.uniform else Interval(*(float(np.floor(b)) for b in x.hull))


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
