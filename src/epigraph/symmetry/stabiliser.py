"""How many elements of the discrete group leave a point where it is, and so how many copies it has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from epigraph.symmetry.group import Group
from epigraph.symmetry.matching import Matcher


@final
@dataclass(frozen=True)
class Stabiliser:
    """``order`` elements fix the point and its orbit has ``orbit`` points; ``exact``: else at least and at most so many."""

    order: int
    orbit: int
    exact: bool


def stabiliser(
    group: Group, point: Mapping[str, Tensor], tolerance: float = 1e-12, absolute: float = 0.0
) -> Stabiliser:
    """Units that are equal up to a sign may be exchanged, units that are zero flipped.

    Entries count as equal within ``tolerance`` times the largest of the units' entries, or within ``absolute``.
    Exact where one index set moves (one hidden layer).  With several, an element may fix the point only as a whole, so
    that the product over index sets is a lower bound for the stabiliser.
    """
    point = group.centred(point)
    matcher = Matcher(group.linear)
    order = 1
    for mover in matcher.movers:
        slabs = matcher.slabs(mover, point)
        values = torch.cat([s.values for s in slabs], -1)
        scale = max(tolerance * float(values.abs().max()), absolute, 1e-300) if values.numel() else 0.0
        options = matcher.options(mover)
        for copy in range(values.shape[0]):
            signed = [torch.cat([matcher.sign(o, s.parity) * s.values[copy] for s in slabs], -1) for o in options]
            order *= _fixing(signed, mover in matcher.permuted, scale)
    return Stabiliser(order, group.order // order, len(matcher.movers) <= 1)


def _fixing(signed: list[Tensor], permuted: bool, scale: float) -> int:
    """The signed permutations of the rows that change nothing; ``signed`` has the rows under each choice of signs."""
    plain, left, order = signed[0], list(range(len(signed[0]))), 1
    for i in left:
        order *= sum(bool(torch.allclose(s[i], plain[i], rtol=0, atol=scale)) for s in signed)
    while permuted and left:
        first = left[0]
        alike = [i for i in left if any(torch.allclose(s[i], plain[first], rtol=0, atol=scale) for s in signed)]
        order *= math.factorial(len(alike))
        left = [i for i in left if i not in alike]
    return order
