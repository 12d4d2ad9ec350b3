"""What ``epigraph.minima`` returns: critical points with their evidence, and what became of every start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, final

from torch import Tensor

from epigraph.critical.classify import Kind
from epigraph.critical.completeness import Completeness
from epigraph.errors import UsageError

Evidence = Literal["certified", "tested", "undecided"]


@final
@dataclass(frozen=True)
class CriticalPoint:
    """A point where the gradient of J vanishes, as far as floats can tell, and what it was found to be.

    ``evidence``: "certified" by interval arithmetic, "tested" in floats with error bars, or "undecided".  ``index`` and
    ``nullity`` count eigenvalues below and within ``margin`` of zero; ``predicted`` is the nullity that the symmetries
    explain.  ``orbit`` is the number of its copies under permutations and sign flips (at most so many where
    ``exact_orbit`` is false).  With ``family`` above 1 it stands for so many points of one value, index and nullity that
    are not isolated.  ``found`` starts ended here or at a copy, by kind of start in ``sources``; ``doubtful`` are positions
    in the catalogue of points that may be copies of it.  ``certificate`` has what was proved, where anything was.
    """

    kind: Kind
    evidence: Evidence
    value: float
    index: int
    nullity: int
    predicted: int
    margin: float
    spectrum: Tensor
    gradient_norm: float
    decrement: float
    orbit: int
    exact_orbit: bool
    family: int
    found: int
    sources: Mapping[str, int]
    doubtful: tuple[int, ...]
    reason: str
    point: Mapping[str, Tensor]
    certificate: Mapping[str, Any] | None = None

    def to_dict(self, with_point: bool = True) -> dict[str, Any]:
        """JSON data; eigenvalues in ascending order."""
        out: dict[str, Any] = {
            "kind": self.kind.value,
            "evidence": self.evidence,
            "value": self.value,
            "index": self.index,
            "nullity": self.nullity,
            "predicted_nullity": self.predicted,
            "margin": self.margin,
            "spectrum": self.spectrum.tolist(),
            "gradient_norm": self.gradient_norm,
            "decrement": self.decrement,
            "orbit": str(self.orbit),
            "orbit_exact": self.exact_orbit,
            "family": self.family,
            "found": self.found,
            "sources": dict(self.sources),
            "doubtful": list(self.doubtful),
            "reason": self.reason,
            "certificate": dict(self.certificate) if self.certificate else None,
        }
        return out | ({"point": {k: v.tolist() for k, v in self.point.items()}} if with_point else {})

    def __repr__(self) -> str:
        return f"CriticalPoint({self.kind}, J = {self.value:.10g}, index {self.index}, {self.orbit} copies, {self.evidence})"


@final
@dataclass(frozen=True)
class Catalogue:
    """The critical points that were found, by value; ``ends`` counts what became of the starts."""

    objective: Mapping[str, Any]
    points: tuple[CriticalPoint, ...]
    ends: Mapping[str, int]
    completeness: Completeness
    notes: tuple[str, ...]
    effort: Mapping[str, Any]

    @property
    def minima(self) -> tuple[CriticalPoint, ...]:
        return tuple(p for p in self.points if p.kind is Kind.minimum)

    @property
    def proved_values(self) -> int:
        """How many certified minima have values that are proved to differ: disjoint enclosures, as many as there are."""
        ends = sorted(p.certificate["value"][::-1] for p in self.minima if p.certificate)
        count, last = 0, float("-inf")
        for high, low in ends:
            if low > last:
                count, last = count + 1, high
        return count

    @property
    def saddles(self) -> tuple[CriticalPoint, ...]:
        return tuple(p for p in self.points if p.kind is Kind.saddle)

    def frame(self) -> Any:
        """A pandas data frame, one row per point, the parameters and the spectrum as lists.

        Raises:
            UsageError: pandas is not installed.
        """
        try:
            pandas = import_module("pandas")
        except ImportError:
            raise UsageError("E072", "data frames need pandas", hint="pip install pandas pyarrow") from None
        rows = [p.to_dict(with_point=False) for p in self.points]
        for row, p in zip(rows, self.points, strict=True):
            row |= {"point": [v for t in p.point.values() for v in t.reshape(-1).tolist()]}
        return pandas.DataFrame(rows)

    def to_dict(self, with_points: bool = True) -> dict[str, Any]:
        """What ``--json`` prints: schema epigraph/minima/1."""
        return {
            "schema": "epigraph/minima/1",
            "objective": dict(self.objective),
            "points": [p.to_dict(with_points) for p in self.points],
            "proved_values": self.proved_values,
            "ends": dict(self.ends),
            "completeness": self.completeness.to_dict(),
            "notes": list(self.notes),
            "effort": dict(self.effort),
        }

    def __repr__(self) -> str:
        return f"Catalogue({len(self.minima)} minima, {len(self.saddles)} saddles, {len(self.points)} points in all)"
