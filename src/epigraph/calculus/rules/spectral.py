"""eigvalsh, svdvals, det."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from epigraph.calculus import interval as iv
from epigraph.calculus.interval import Interval
from epigraph.calculus.lattice import AFFINE, ALL, CONCAVE, CONVEX, Bits, Facts, when
from epigraph.calculus.rule import Rule, Shapes, register
from epigraph.objective.graph import Node


class Spectrum(Rule):
    """Numbers of a matrix in ascending order; of an affine matrix the last one is convex [BV04 3.1.5]."""

    lemma = "sums of the largest eigenvalues or singular values are convex"

    def claims(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> Bits:
        size = node.shape[-1]
        if not x[0].varies:
            return ALL
        if not x[0].has(AFFINE) or size == 0:
            return 0
        place = np.arange(size)
        return when(place == size - 1, CONVEX) | when(place == 0, self._least(size))

    def _least(self, size: int) -> int:
        return 0

    def reason(self, node: Node, x: Sequence[Facts]) -> str:
        return f"{node.op}: an entry of given rank has no curvature, and the matrix must be affine"


@register("eigvalsh")
@final
class Eigenvalues(Spectrum):
    """Eigenvalues of the symmetric part: sums of the k largest are max tr(XP) over projections P of rank k [Fan 1949]."""

    def interval(self, node: Node, x: Sequence[Interval], shapes: Shapes) -> Interval:
        """In the discs of Gershgorin: the least and the greatest centre, by the sum of the sizes of all entries."""
        bound = _largest(x[0], shapes[0])
        return Interval(-bound, bound)

    def _least(self, size: int) -> int:
        return CONCAVE


@register("svdvals")
@final
class SingularValues(Spectrum):
    """Singular values: sums of the k largest are norms [Fan 1951]; the least of one is the norm itself."""

    def interval(self, node: Node, x: Sequence[Interval], shapes: Shapes) -> Interval:
        return Interval(0.0, _largest(x[0], shapes[0]))


@register("det")
@final
class Determinant(Rule):
    """The determinant: a positive semidefinite affine matrix of size n has det^(1/n) concave, see ``quadratic``."""

    lemma = "the n-th root of the determinant of a positive semidefinite matrix is concave"

    def interval(self, node: Node, x: Sequence[Interval], shapes: Shapes) -> Interval:
        return iv.WHOLE

    def claims(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> Bits:
        return 0

    def reason(self, node: Node, x: Sequence[Facts]) -> str:
        return "the determinant has curvature for affine matrices only that are symmetric and positive semidefinite"


def _largest(x: Interval, shape: tuple[int, ...]) -> float:
    """At least the product of the larger side and the largest entry, which bounds the norm of each matrix."""
    low, high = x.hull
    side = float(max(shape[-2:]))
    return iv.mul(Interval.point(max(-low, high, 0.0)), Interval.point(side)).hull[1]
