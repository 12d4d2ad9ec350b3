"""What ``epigraph.minima`` returns: critical points with their evidence, and what became of every start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from json import dumps
from typing import TYPE_CHECKING, Any, Literal, final

from torch import Tensor

from epigraph.critical.classify import Kind
from epigraph.critical.completeness import Completeness
from epigraph.critical.starts import Moves
from epigraph.errors import UsageError

if TYPE_CHECKING:
    from epigraph.critical.disconnectivity import Basin

Evidence = Literal["certified", "tested", "undecided"]
LARGE = "J is large: saddles come only from starts with a symmetry, transitions from none, and only the ends of spectra are known"


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

    @property
    def whole_spectrum(self) -> bool:
        """Are all eigenvalues known, and not some smallest ones and the largest alone?"""
        return len(self.spectrum) == sum(v.numel() for v in self.point.values())

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
class Transition:
    """A saddle of index 1 with the two ends of steepest descent from it, as positions in the catalogue, lower end first.

    An end is None where descent ends at no critical point; ``words`` say what became of it.  ``x`` [3, n] has the saddle
    and the very copies at which the two descents end, parameters one after the other (not a number where there is none).
    """

    saddle: int
    ends: tuple[int | None, int | None]
    words: tuple[str, str]
    x: Tensor

    @property
    def loop(self) -> bool:
        """Do both sides lead to copies of one point?"""
        return self.ends[0] is not None and self.ends[0] == self.ends[1]

    def to_dict(self, points: Sequence[CriticalPoint]) -> dict[str, Any]:
        """JSON data; ``barriers``: how far the saddle is above each end."""
        top = points[self.saddle].value
        return {
            "saddle": self.saddle,
            "ends": list(self.ends),
            "value": top,
            "barriers": [None if e is None else top - points[e].value for e in self.ends],
            "loop": self.loop,
            "words": list(self.words),
            "evidence": "tested",
        }


@final
@dataclass(frozen=True)
class Catalogue:
    """The critical points that were found, by value; ``ends`` counts what became of the starts.

    ``transitions``: where each saddle of index 1 leads, if that was asked for, with ``moves``, generators of the permutations
    and sign flips on flat points.
    """

    objective: Mapping[str, Any]
    points: tuple[CriticalPoint, ...]
    ends: Mapping[str, int]
    completeness: Completeness
    notes: tuple[str, ...]
    effort: Mapping[str, Any]
    transitions: tuple[Transition, ...] = ()
    moves: tuple[Moves, ...] = ()

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

    def graph(self, copies: bool = False) -> Any:
        """A networkx multigraph: minima as nodes, transitions between them as edges, loops and parallel ones kept.

        Nodes are positions of minima, or (position, number) of every copy, with ``value``; edges have ``saddle`` and ``value``.

        Raises:
            UsageError: no networkx; or not all copies of each minimum are known (E075).
        """
        from epigraph.critical.disconnectivity import graph

        return graph(self, copies)

    def disconnectivity(self, copies: bool = False) -> tuple[Basin, ...]:
        """The tree of the minima, as far as the transitions that were found connect them: see ``Basin``.

        Raises:
            UsageError: as for ``graph``.
        """
        from epigraph.critical.disconnectivity import forest

        return forest(self.graph(copies))

    def frame(self) -> Any:
        """A pandas data frame, one row per point, the parameters and the spectrum as lists.

        Raises:
            UsageError: pandas is not installed.
        """
        rows = [p.to_dict(with_point=False) for p in self.points]
        for row, p in zip(rows, self.points, strict=True):
            own = {"sources": dumps(row["sources"]), "certificate": dumps(row["certificate"])}  # no table nests objects
            row |= own | {"point": [v for t in p.point.values() for v in t.reshape(-1).tolist()]}
        return _frame(rows)

    def transitions_frame(self) -> Any:
        """A pandas data frame, one row per transition; ends are rows of ``frame``, missing where there is none.

        Raises:
            UsageError: pandas is not installed.
        """
        rows = []
        for record in (t.to_dict(self.points) for t in self.transitions):
            for key in ("ends", "barriers", "words"):
                low, high = record.pop(key)
                record |= {f"{key}_low": low, f"{key}_high": high}
            rows.append(record)
        return _frame(rows)

    def to_dict(self, with_points: bool = True) -> dict[str, Any]:
        """What ``--json`` prints: schema epigraph/minima/1."""
        return {
            "schema": "epigraph/minima/1",
            "objective": dict(self.objective),
            "points": [p.to_dict(with_points) for p in self.points],
            "transitions": [t.to_dict(self.points) for t in self.transitions],
            "proved_values": self.proved_values,
            "ends": dict(self.ends),
            "completeness": self.completeness.to_dict(),
            "notes": list(self.notes),
            "effort": dict(self.effort),
        }

    def __repr__(self) -> str:
        return f"Catalogue({len(self.minima)} minima, {len(self.saddles)} saddles, {len(self.points)} points in all)"


def _frame(rows: Sequence[Mapping[str, Any]]) -> Any:
    try:
        pandas = import_module("pandas")
    except ImportError:
        raise UsageError("E072", "data frames need pandas", hint="pip install 'epigraph[tables]'") from None
    frame = pandas.DataFrame(rows)
    return frame.astype({k: "Int64" for k in ("ends_low", "ends_high") if k in frame})


def arranged(
    points: Sequence[CriticalPoint], transitions: Sequence[Transition] = ()
) -> tuple[tuple[CriticalPoint, ...], tuple[Transition, ...], list[int]]:
    """Both by value, with the positions that points then have wherever they are named, and these by old position."""
    order = sorted(range(len(points)), key=lambda i: (points[i].value, points[i].index))
    place = [0] * len(order)
    for new, old in enumerate(order):
        place[old] = new
    listed = tuple(replace(points[i], doubtful=tuple(place[k] for k in points[i].doubtful)) for i in order)
    moved = [
        replace(t, saddle=place[t.saddle], ends=tuple(None if e is None else place[e] for e in t.ends))
        for t in transitions
    ]
    return listed, tuple(sorted(moved, key=lambda t: t.saddle)), place
