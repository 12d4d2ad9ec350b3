"""How often random starts led to each minimum, with the error of a share that was counted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from epigraph.critical.classify import Kind

if TYPE_CHECKING:
    from epigraph.critical.result import Catalogue

DRAWN = "random"  # normal starts; the others are made to find rare points
NORMAL = 1.959963984540054  # quantile of 97.5 %


@final
@dataclass(frozen=True)
class Frequency:
    """``times`` of ``of`` starts; ``low`` and ``high`` are the ends of Wilson's 95 % interval for the share."""

    point: int
    times: int
    of: int

    @property
    def share(self) -> float:
        return self.times / self.of

    @property
    def low(self) -> float:
        return max(0.0, self._middle - self._half) if self.times else 0.0

    @property
    def high(self) -> float:
        return min(1.0, self._middle + self._half) if self.times < self.of else 1.0

    @property
    def _middle(self) -> float:
        return (self.times + NORMAL**2 / 2) / (self.of + NORMAL**2)

    @property
    def _half(self) -> float:
        spread = self.share * (1 - self.share) / self.of + (NORMAL / self.of) ** 2 / 4
        return NORMAL * math.sqrt(spread) / (1 + NORMAL**2 / self.of)

    def to_dict(self) -> dict[str, Any]:
        return {"point": self.point, "times": self.times, "of": self.of, "low": self.low, "high": self.high}


def frequencies(found: Catalogue) -> tuple[Frequency, ...]:
    """Of the normal starts of searches for minima that came to a critical point: the share of each minimum.

    It is the share of a basin under this search from this distribution, and of no volume besides.
    """
    times = [p.sources.get(DRAWN, 0) for p in found.points]
    total = sum(times)
    return tuple(Frequency(i, times[i], total) for i, p in enumerate(found.points) if p.kind is Kind.minimum and total)
