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
    """The signed permutations of the rows that change nothing; ``signed`` has the rows under each choice of signs.

    Rows are compared with those only whose sum of sizes is near, which no sign changes.
    """
    plain = signed[0]
    order = math.prod(torch.stack([_near(s, plain, scale).long() for s in signed]).sum(0).tolist())
    if not permuted:
        return order
    sums = plain.abs().sum(-1)
    ranks = sums.argsort()
    ends = torch.searchsorted(sums[ranks], sums[ranks] + max(scale * plain.shape[-1], 0.0), right=True).tolist()
    done = torch.zeros(len(plain), dtype=torch.bool)
    for start, end in enumerate(ends):
        if done[start]:
            continue
        rows = ranks[start:end]
        alike = torch.stack([_near(s[rows], plain[ranks[start]], scale) for s in signed]).any(0) & ~done[start:end]
        done[start:end] |= alike
        order *= math.factorial(int(alike.sum()))
    return order


def _near(one: Tensor, two: Tensor, scale: float) -> Tensor:
    """Which rows are equal, entry by entry."""
    return ((one - two).abs() <= scale).all(-1)
