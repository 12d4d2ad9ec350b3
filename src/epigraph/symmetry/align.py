r"""The closest copy of one network to another.

Matching by weights: coordinate descent over the index sets, one linear assignment each (Ainsworth, Hayase and Srinivasa
2023), signs chosen within the assignment, started from the layers that touch data and with random restarts.  Or all index
sets at once by Frank-Wolfe on the relaxed problem, which coordinate descent then finishes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, final

from torch import Tensor

from epigraph.errors import UsageError
from epigraph.symmetry.activations import Activations
from epigraph.symmetry.balance import balance
from epigraph.symmetry.frankwolfe import frank_wolfe
from epigraph.symmetry.group import Element
from epigraph.symmetry.matching import Matcher, distance
from epigraph.symmetry.result import Symmetries

if TYPE_CHECKING:
    from epigraph.objective.objective import Objective

LEAST = 3e-5  # the search ends when steps gain less than this share of the distance


@final
@dataclass(frozen=True)
class Alignment:
    """The second point moved near the first: distances before and after, and the elements that were applied in turn."""

    point: dict[str, Tensor]
    before: float
    after: float
    elements: tuple[Element, ...]


def align(
    found: Symmetries,
    first: Mapping[str, Tensor],
    second: Mapping[str, Tensor],
    *,
    by: Objective | None = None,
    method: Literal["coordinate", "frank-wolfe"] = "coordinate",
    restarts: int = 0,
    seed: int = 0,
) -> Alignment:
    """The copy of the second point that is closest to the first, as far as the search finds it.

    Permutations and signs by assignments.  Where units may be rescaled, both points are first brought to least norm, so
    that scales do not disturb the matching, and the result to the scales of the first.  Exact for one hidden layer without
    rescalings.  Costs an assignment, O(n^3), per layer and sweep; ``restarts`` begin at random elements, and the nearest
    result counts.

    By weights the result is never farther than the point itself.  ``by`` an objective, units are matched by what they
    answer to its data instead, on the tensors that its matrix products read; the weights may then lie farther apart.

    ``method`` "frank-wolfe" begins with the relaxed problem of all index sets together: up to twelve times as long.
    Sigmoids are centred for the purpose: their sign flips are not seen in what they answer.
    """
    a, b = found.point(first), found.point(second)
    start = distance(a, b)
    group, fixed, given = found.group.linear, found.group.centred(a), found.group.centred(b)
    back: tuple[Element, ...] = ()
    front: tuple[Element, ...] = ()
    if group.scalings("scale"):
        one, two = balance(group, fixed), balance(group, given)
        fixed, given, front = one.point, two.point, (two.element,)
        back = (Element(factors={k: 1 / v for k, v in one.element.factors.items()}),)
    if method not in ("coordinate", "frank-wolfe"):
        raise UsageError("E024", f"unknown method {method!r}", hint='"coordinate" or "frank-wolfe"')
    matcher = Matcher(group)
    if by is not None:
        seen = Activations(by, found)
        fixed, given = (seen(found.group.centred(p, -1)) for p in (fixed, given))
        matcher = Matcher(seen.group)
    begin = frank_wolfe(matcher, fixed, given) if method == "frank-wolfe" else None
    inner, _ = matcher.nearest(fixed, given, restarts, seed, 0.0, LEAST, begin)
    chain = (*front, *inner, *back)
    moved = _applied(found, chain, b)
    left = distance(a, moved)
    return Alignment(moved, start, left, chain) if by or left < start else Alignment(b, start, start, ())


def _applied(found: Symmetries, elements: tuple[Element, ...], point: dict[str, Tensor]) -> dict[str, Tensor]:
    for element in elements:
        point = found.group.apply(element, point)
    return point
