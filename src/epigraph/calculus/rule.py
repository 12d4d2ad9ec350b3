"""A rule: what one primitive operator does to intervals and to claims.  One final class per operator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from epigraph.calculus.interval import Interval, Mask
from epigraph.calculus.lattice import ALL, Bits, Facts, compose
from epigraph.objective.graph import Node

Shapes = Sequence[tuple[int, ...]]


class Rule(ABC):
    """Interval, claims, polynomial degree and carrier of one operator.

    ``lemma`` names the statement in the proof; ``reason(node, facts)`` says in one sentence why claims end here.
    """

    lemma: ClassVar[str] = ""

    @abstractmethod
    def interval(self, node: Node, x: Sequence[Interval], shapes: Shapes) -> Interval:
        """Bounds of the result from bounds of the operands."""

    @abstractmethod
    def claims(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> Bits:
        """Claims about the result; at least one operand varies."""

    def degree(self, node: Node, x: Sequence[Facts]) -> int:
        """Polynomial degree in the active parameters, -1 where there is none."""
        return -1

    def carrier(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> tuple[int, int] | None:
        return None

    def reason(self, node: Node, x: Sequence[Facts]) -> str:
        return f"{node.op} gives no curvature here"


class Elementwise(Rule):
    """A function of one real variable: its range, slope, curvature and logarithmic curvature on an interval."""

    @abstractmethod
    def range(self, node: Node, x: Interval) -> Interval:
        """Bounds of f on the interval."""

    @abstractmethod
    def slope(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        """(nondecreasing, nonincreasing) on the interval."""

    @abstractmethod
    def curvature(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        """(convex, concave) on the interval; False as well where f is not defined on all of it."""

    def logarithmic(self, node: Node, x: Interval) -> tuple[Mask, Mask, Mask]:
        """(log-convex, log-concave, root-convex) on the interval."""
        return False, False, False

    def shape(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        """(quasiconvex, quasiconcave) on the interval beyond what slope and curvature give."""
        return False, False

    def special(self, node: Node, x: Facts) -> Bits:
        """Claims that rest on more than the inner function's convexity, such as log of a log-convex function."""
        return 0

    def interval(self, node: Node, x: Sequence[Interval], shapes: Shapes) -> Interval:
        return self.range(node, x[0])

    def claims(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> Bits:
        inner = x[0]
        increasing, decreasing = self.slope(node, inner.interval)
        convex, concave = self.curvature(node, inner.interval)
        log_convex, log_concave, root_convex = self.logarithmic(node, inner.interval)
        valley, hill = self.shape(node, inner.interval)
        out = compose(
            inner.bits,
            increasing=increasing,
            decreasing=decreasing,
            convex=convex,
            concave=concave,
            log_convex=log_convex,
            log_concave=log_concave,
            root_convex=root_convex,
            valley=valley,
            hill=hill,
        )
        return out | self.special(node, inner)

    def carrier(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> tuple[int, int] | None:
        if x[0].carrier is None:
            return None
        increasing, decreasing = self.slope(node, x[0].interval)
        base, direction = x[0].carrier
        turn = 1 if _all(increasing) else -1 if _all(decreasing) else 0
        return base, direction * turn

    def reason(self, node: Node, x: Sequence[Facts]) -> str:
        convex, concave = (_all(c) for c in self.curvature(node, x[0].interval))
        kind = x[0].has(1) and x[0].has(2)
        if not (convex or concave):
            return f"{node.op} is neither convex nor concave on {x[0].interval}, the range of its argument"
        word = "convex" if convex else "concave"
        inner = "affine" if kind else "convex" if x[0].has(1) else "concave" if x[0].has(2) else "of mixed curvature"
        return f"{node.op} is {word} on {x[0].interval}, but not monotone the right way for an argument that is {inner}"


class Layout(Rule):
    """Moves entries without computing: every claim moves along."""

    @abstractmethod
    def move(self, node: Node) -> Callable[[NDArray], NDArray]:
        """The same movement of an array of the operand's shape."""

    def interval(self, node: Node, x: Sequence[Interval], shapes: Shapes) -> Interval:
        return x[0].map(self.move(node), shapes[0])

    def claims(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> Bits:
        bits = x[0].bits
        return bits if isinstance(bits, int) else self.move(node)(np.broadcast_to(bits, shapes[0]))

    def degree(self, node: Node, x: Sequence[Facts]) -> int:
        return x[0].degree


def _all(mask: Mask) -> bool:
    return mask if isinstance(mask, bool) else bool(np.all(mask))


RULES: dict[str, Rule] = {}


def register(op: str) -> Callable[[type[Rule]], type[Rule]]:
    """Register the rule of an operator; a second one for the same operator raises."""

    def add(cls: type[Rule]) -> type[Rule]:
        if op in RULES:
            raise ValueError(f"two rules for {op}")
        RULES[op] = cls()
        return cls

    return add


def nothing(x: Sequence[Facts]) -> Bits:
    """All claims where no operand varies, none otherwise."""
    return 0 if any(f.varies for f in x) else ALL
