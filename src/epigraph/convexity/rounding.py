"""From a candidate in floats to exact points: m on a dyadic grid, d an integer multiple of a power of two."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import final

import numpy as np
import torch
from torch import Tensor

from epigraph.convexity import search
from epigraph.convexity.evidence import Steps
from epigraph.convexity.search import Candidate, View

MANY = 20_000  # variables; above, displacements have few bits, so that certificates stay small


@final
@dataclass
class Rounded:
    """Exact points near a candidate's, with what is computed from them once for all properties that they violate."""

    view: View
    candidate: Candidate
    parts: dict[str, Tensor]  # m, by block, in the shapes of the view
    integers: dict[str, Steps]  # d likewise
    seen: list[float] | None = None  # J(a), J(m), J(b) by the user's program

    @classmethod
    def of(cls, view: View, candidate: Candidate) -> Rounded:
        return cls(view, candidate, *dyadic(view, candidate, 8 if view.size > MANY else 20))

    def serves(self, view: View, candidate: Candidate) -> bool:
        """Is it made of this candidate's points?"""
        mine = self.candidate
        return self.view is view and torch.equal(mine.m, candidate.m) and torch.equal(mine.d, candidate.d)

    def same_midpoint(self, other: Rounded) -> bool:
        return self.view is other.view and all(torch.equal(v, other.parts[n]) for n, v in self.parts.items())

    @cached_property
    def middle(self) -> Tensor:
        """m, flat."""
        return torch.cat([self.parts[n].reshape(-1) for n in self.view.names])

    @cached_property
    def move(self) -> Tensor:
        """d, flat."""
        return torch.cat([torch.from_numpy(self.integers[n].floats()).reshape(-1) for n in self.view.names])

    @cached_property
    def defects(self) -> Mapping[str, Tensor]:
        """The relative defects of all properties, in floats; -inf where nothing moves."""
        if not bool((self.move != 0).any()):
            return dict.fromkeys(search.KINDS, torch.tensor(-torch.inf))
        low, mid, high = (self.view.values((self.middle + s * self.move)[None])[0] for s in (-1, 0, 1))
        return search.defects(low, mid, high)

    @cached_property
    def everywhere(self) -> dict[str, Tensor]:
        """The midpoint of all blocks that are not where the user has them."""
        return {**self.view.fixed, **{n: v.expand(self.view.wholes[n]) for n, v in self.parts.items()}}

    @cached_property
    def steps(self) -> dict[str, Steps]:
        """The displacement of whole blocks."""
        return {n: Steps(np.broadcast_to(s.k, tuple(self.view.wholes[n])), s.scale) for n, s in self.integers.items()}

    def points(self, parameters: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], ...]:
        """a = m + d, b = m - d and m for all parameters; what does not move is shared by the three."""
        whole = self.everywhere
        m = {n: (whole[n] if n in whole else v.detach()).double() for n, v in parameters.items()}
        moves = {n: torch.from_numpy(s.floats()) for n, s in self.integers.items()}
        a, b = (
            m | {n: (self.parts[n] + sign * d).expand(self.view.wholes[n]) for n, d in moves.items()}
            for sign in (1, -1)
        )
        return a, b, m

    @cached_property
    def profile(self) -> tuple[tuple[float, float], ...]:
        """J along the segment, in floats, for the picture."""
        count = 65 if self.view.work < 3e6 else 17 if self.view.work < 3e7 else 5
        s = torch.linspace(-1, 1, count, dtype=torch.float64)
        rows = max(1, int(1e7 / self.view.size))
        # a = m + d is at s = -1
        values = torch.cat([self.view.values(self.middle - part[:, None] * self.move) for part in s.split(rows)])
        return tuple((float(x), float(y)) for x, y in zip(s, values, strict=True) if math.isfinite(float(y)))


def dyadic(view: View, candidate: Candidate, bits: int) -> tuple[dict[str, Tensor], dict[str, Steps]]:
    """m on a grid, d = k 2^s with integers of so many bits, so that m + d and m - d are exact and stay in the box."""
    m, d = view.parts(candidate.m), view.parts(candidate.d)
    low, high = view.parts(view.lower), view.parts(view.upper)
    points, steps = {}, {}
    for name in view.names:
        size = float(torch.maximum(m[name].abs().max(), d[name].abs().max())) if m[name].numel() else 0.0
        top = math.frexp(size)[1] if size > 0 else 0
        grid = min(max(top - 42, -900), 900)
        length = float(d[name].abs().max()) if d[name].numel() else 0.0
        scale = min(max(math.frexp(length)[1] - bits, grid) if length > 0 else grid, 900)
        middle = torch.round(m[name] * 2.0**-grid) * 2.0**grid
        middle = torch.minimum(torch.maximum(middle, low[name]), high[name])
        k = torch.round(d[name] * 2.0**-scale).clamp(-(2.0**30), 2.0**30)  # shorter steps for lengths beyond 2^930
        room = torch.minimum(high[name] - middle, middle - low[name])
        limit = torch.where(torch.isfinite(room), torch.floor(room * 2.0**-scale), torch.inf)
        k = torch.minimum(torch.maximum(k, -limit), limit)
        exact = _exact(middle, k * 2.0**scale)
        points[name] = middle.detach()
        steps[name] = Steps(torch.where(exact, k, 0.0).detach().numpy().astype(np.int32), scale)
    return points, steps


def _exact(m: Tensor, d: Tensor) -> Tensor:
    """Are m + d and m - d exact in float64, entry by entry?"""
    good = torch.ones_like(m, dtype=torch.bool)
    for sign in (1.0, -1.0):
        total = m + sign * d
        part = total - m
        good &= ((m - (total - part)) + (sign * d - part)) == 0
    return good


def decimal(gap: Fraction) -> str:
    """A decimal string of twelve digits that is not above the rational number."""
    from decimal import ROUND_FLOOR, Context, Decimal

    context = Context(prec=12, rounding=ROUND_FLOOR)
    return format(context.divide(Decimal(gap.numerator), Decimal(gap.denominator)), "g")


__all__ = ["Rounded", "decimal", "dyadic"]
