r"""The closest copy of one network to another, and the barrier between them on the straight line.

Matching by weights: coordinate descent over the index sets, one linear assignment each (Ainsworth, Hayase and Srinivasa
2023), signs chosen within the assignment, started from the layers that touch data and with random restarts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from epigraph.objective.evaluate import Evaluator
from epigraph.symmetry.balance import balance
from epigraph.symmetry.group import Element
from epigraph.symmetry.matching import Matcher, distance
from epigraph.symmetry.result import Symmetries

if TYPE_CHECKING:
    from epigraph.objective.objective import Objective

GOLDEN = (5**0.5 - 1) / 2


@final
@dataclass(frozen=True)
class Alignment:
    """The second point moved near the first: distances before and after, and the elements that were applied in turn."""

    point: dict[str, Tensor]
    before: float
    after: float
    elements: tuple[Element, ...]


def align(
    found: Symmetries, first: Mapping[str, Tensor], second: Mapping[str, Tensor], *, restarts: int = 0, seed: int = 0
) -> Alignment:
    """The copy of the second point that is closest to the first, as far as the search finds it.

    Permutations and signs by assignments.  Where units may be rescaled, both points are first brought to least norm, so
    that scales do not disturb the matching, and the result to the scales of the first.  Never farther than the point
    itself.  Exact for one hidden layer without rescalings.  Costs an assignment, O(n^3), per layer and sweep;
    ``restarts`` begin at random elements, and the nearest result counts.
    """
    a, b = found.point(first), found.point(second)
    matcher = Matcher(found.group)
    start = distance(a, b)
    if found.group.scalings("scale"):
        one, two = balance(found.group, a), balance(found.group, b)
        inner, _ = matcher.nearest(one.point, two.point, restarts, seed, 0.0)
        chain = (two.element, *inner, Element(factors={k: 1 / v for k, v in one.element.factors.items()}))
    else:
        chain, _ = matcher.nearest(a, b, restarts, seed, 0.0)
    moved = _applied(found, chain, b)
    left = distance(a, moved)
    return Alignment(moved, start, left, chain) if left < start else Alignment(b, start, start, ())


def _applied(found: Symmetries, elements: tuple[Element, ...], point: dict[str, Tensor]) -> dict[str, Tensor]:
    for element in elements:
        point = found.group.apply(element, point)
    return point


@final
@dataclass(frozen=True)
class Barrier:
    """J along the straight line between two points.

    ``over_max`` is the highest excess of J over the larger end value, ``over_line`` the highest excess over the linear
    interpolation of the end values; both at least 0 (the ends themselves).  ``at`` is where the second is attained, on
    [0, 1].  ``curve`` has (t, J).  The maximum is that of a grid, refined by golden sections around its best point.
    """

    over_max: float
    over_line: float
    at: float
    curve: tuple[tuple[float, float], ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "over_max": self.over_max,
            "over_line": self.over_line,
            "at": self.at,
            "curve": [list(p) for p in self.curve],
        }


def barrier(
    J: Objective,
    first: Mapping[str, Tensor],
    second: Mapping[str, Tensor],
    *,
    found: Symmetries | None = None,
    points: int = 26,
) -> Barrier:
    """The barrier between two points by both usual definitions; ``found``: after the second is aligned with the first.

    Example:
        >>> import torch, epigraph
        >>> J = epigraph.Objective.from_function(lambda w: ((1 - w[0] * w[1]) ** 2) / 2, {"w": torch.ones(2)})
        >>> round(epigraph.barrier(J, {"w": torch.ones(2)}, {"w": -torch.ones(2)}).over_max, 6)
        0.5
    """
    a = {k: first[k].detach().double() for k in J.parameters}
    b = {k: second[k].detach().double() for k in J.parameters}
    if found is not None:
        moved = align(found, first, second).point
        b = {k: moved[k] for k in J.parameters}
    evaluator = Evaluator(J.graph())

    def value(t: float) -> float:
        with torch.no_grad():
            return float(evaluator({k: (1 - t) * a[k] + t * b[k] for k in a}))

    grid = [i / (points - 1) for i in range(points)]
    curve = [(t, value(t)) for t in grid]
    ends = curve[0][1], curve[-1][1]

    def line(t: float) -> float:
        return (1 - t) * ends[0] + t * ends[1]

    top = _refined(value, curve)
    above = _refined(lambda t: value(t) - line(t), [(t, v - line(t)) for t, v in curve])
    extra = [(t, value(t)) for t in (top[0], above[0]) if t not in grid]
    return Barrier(max(top[1] - max(ends), 0.0), max(above[1], 0.0), above[0], tuple(sorted([*curve, *extra])))


def _refined(value: Callable[[float], float], curve: list[tuple[float, float]]) -> tuple[float, float]:
    """The highest point of a curve, searched further between the neighbours of its highest grid point."""
    k = max(range(len(curve)), key=lambda i: curve[i][1])
    low, high = curve[max(k - 1, 0)][0], curve[min(k + 1, len(curve) - 1)][0]
    best = curve[k]
    for _ in range(40):
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        values = value(left), value(right)
        best = max(best, (left, values[0]), (right, values[1]), key=lambda p: p[1])
        low, high = (low, right) if values[0] > values[1] else (left, high)
    return best
