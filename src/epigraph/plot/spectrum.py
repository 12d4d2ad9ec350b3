"""The numbers of a spectrum's picture: the share of eigenvalues per bin with its error, and the ends as marks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np

if TYPE_CHECKING:
    from epigraph.hessian.density import Density
    from epigraph.hessian.spectrum import Pair, Spectrum

BINS = 72


@final
@dataclass(frozen=True)
class Bar:
    """One bin: its ends, the share of eigenvalues in it, and the standard error of that."""

    left: float
    right: float
    share: float
    error: float


@final
@dataclass(frozen=True)
class Info:
    """Bars over the range of the spectrum, single eigenvalues, and the least share that the logarithmic axis shows."""

    bars: tuple[Bar, ...]
    marks: tuple[float, ...]
    low: float
    high: float
    floor: float
    ceiling: float
    n: int
    kind: str


def info(spectrum: Spectrum, density: Density | None, bins: int = BINS) -> Info | None:
    """What to draw; None where the eigenvalues are one, up to rounding."""
    pairs: Sequence[Pair] = (*spectrum.bottom, *spectrum.top)
    marks = tuple(sorted({p.value for p in pairs if math.isfinite(p.value)}))
    nodes = [x for rule in density.nodes for x in rule.tolist()] if density and density.bulk > 0 else []
    points = [*marks, *nodes]
    if not points or not max(points) - min(points) > 10 * spectrum.noise:
        return None
    room = 0.03 * (max(points) - min(points))
    low, high = min(points) - room, max(points) + room
    bars = _bars(density, np.linspace(low, high, bins + 1)) if density else ()
    least = 1 / spectrum.n
    ceiling = max([b.share + b.error for b in bars if math.isfinite(b.error)] + [b.share for b in bars] + [least])
    floor = 10.0 ** math.floor(math.log10(min(least, ceiling / 10)) - 0.2)
    return Info(bars, marks, low, high, floor, ceiling, spectrum.n, spectrum.kind)


def _bars(density: Density, edges: np.ndarray) -> tuple[Bar, ...]:
    """The bulk's mass per bin by differences of its staircase, the outliers added as 1/n each."""
    masses, errors = density.masses(edges)
    rows = zip(edges[:-1], edges[1:], masses, errors, strict=True)
    return tuple(Bar(float(a), float(b), float(m), float(e)) for a, b, m, e in rows)
