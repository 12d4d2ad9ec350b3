r"""The closest copy of one network to another.

Matching by weights: coordinate descent over the index sets, one linear assignment each (Ainsworth, Hayase and Srinivasa
2023), signs chosen within the assignment, started from the layers that touch data and with random restarts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from torch import Tensor

from epigraph.symmetry.balance import balance
from epigraph.symmetry.group import Element
from epigraph.symmetry.matching import Matcher, distance
from epigraph.symmetry.result import Symmetries


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
    start = distance(a, b)
    group, fixed, given = found.group.linear, found.group.centred(a), found.group.centred(b)
    matcher = Matcher(group)
    if group.scalings("scale"):
        one, two = balance(group, fixed), balance(group, given)
        inner, _ = matcher.nearest(one.point, two.point, restarts, seed, 0.0)
        chain = (two.element, *inner, Element(factors={k: 1 / v for k, v in one.element.factors.items()}))
    else:
        chain, _ = matcher.nearest(fixed, given, restarts, seed, 0.0)
    moved = _applied(found, chain, b)
    left = distance(a, moved)
    return Alignment(moved, start, left, chain) if left < start else Alignment(b, start, start, ())


def _applied(found: Symmetries, elements: tuple[Element, ...], point: dict[str, Tensor]) -> dict[str, Tensor]:
    for element in elements:
        point = found.group.apply(element, point)
    return point
