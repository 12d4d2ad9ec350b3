r"""The atlas: the critical points of objectives in one file, added to run by run, never lost.

Each batch of starts is written in one transaction, with the state of its run, so that a process can end at any moment
and another one goes on; two processes may write to one atlas.  Points of a batch are merged with those that are there by
the test that merges copies within a batch.  Objectives are told apart by a hash of their graph and data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, final

import numpy as np
import sqlalchemy as sa
import torch
from torch import Tensor

from epigraph.certificate import strictjson
from epigraph.convexity.evidence import manifest_graph
from epigraph.critical.classify import Kind
from epigraph.critical.completeness import Completeness, coercive, summed
from epigraph.critical.explore import Explorer, bounded, notes
from epigraph.critical.joining import classes
from epigraph.critical.large import LargeExplorer
from epigraph.critical.result import LARGE, Catalogue, CriticalPoint, Transition, arranged
from epigraph.critical.starts import Moves, flatten
from epigraph.critical.tables import connect, objectives, points, runs, sightings, told, transitions
from epigraph.hessian.dense import Dense
from epigraph.objective.objective import Objective

PLAIN = ("value", "index", "nullity", "predicted", "margin", "gradient_norm", "decrement", "exact_orbit", "reason")
DIGITS = 10_000  # bits of an orbit's size from which on it is written to base 16: Python reads no longer decimals


def fingerprint(J: Objective) -> str:
    """SHA-256 of the graph, the constants, the names of the parameters and the domain: equal for equal functions J."""
    graph, stored, _ = manifest_graph(J.graph())
    constants = {}
    for key, s in stored.items():
        array = np.ascontiguousarray(s.array)
        data = b"" if s.role == "parameter" else array.tobytes()
        constants[key] = [s.role, s.name, str(array.dtype), list(array.shape), sha256(data).hexdigest()]
    whole = {"graph": graph, "tensors": constants, "names": list(J.parameters), "domain": repr(J.domain.to_dict())}
    return sha256(strictjson.dumps(whole)).hexdigest()


@final
class Atlas:
    """One file of critical points, or any database URL.

    Example:
        >>> import tempfile, torch, epigraph
        >>> f = lambda w: 0.5 * (1 - w[0] * w[1]) ** 2 + 0.05 * (w**2).sum()
        >>> J = epigraph.Objective.from_function(f, {"w": torch.ones(2)})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found = epigraph.minima(J, 50, atlas=f"{folder}/points.atlas")
        ...     again = epigraph.Atlas(f"{folder}/points.atlas").catalogues()
        >>> [p.kind.value for p in again[0].points]
        ['minimum', 'saddle']
    """

    def __init__(self, where: str | Path, *, create: bool = False):
        self.where = where
        self.engine = connect(where, create)

    def close(self) -> None:
        """Let go of the file."""
        self.engine.dispose()

    # reading --------------------------------------------------------------------------------------------------
    def catalogues(self) -> list[Catalogue]:
        """What is known of each objective."""
        with told(self.where), self.engine.begin() as connection:
            found = connection.execute(sa.select(objectives.c.id).order_by(objectives.c.id)).scalars()
            return [self.catalogue(connection, k) for k in found]

    def catalogue(self, connection: sa.Connection, objective: int) -> Catalogue:
        """What is known of one objective."""
        record = connection.execute(sa.select(objectives).where(objectives.c.id == objective)).one()
        of = connection.execute(sa.select(runs).where(runs.c.objective == objective)).all()
        ends: Counter[str] = Counter()
        for run in of:
            ends.update(run.ends)
        known = self.known(connection, objective)
        lowest = min((r.lowest for r in of if r.lowest is not None), default=float("inf"))
        effort = {"starts": sum(r.done for r in of), "runs": len(of), "seeds": sorted({r.seed for r in of})}
        listed, states, _ = arranged(list(known.values()), _transitions(connection, objective, list(known)))
        return Catalogue(
            {**record.record["describe"], "fingerprint": record.fingerprint},
            listed,
            dict(ends),
            _completeness(listed, record.record),
            tuple([*record.record["notes"], *notes(listed, lowest, states)]),
            effort,
            states,
            tuple(
                Moves(torch.tensor(i), torch.tensor(s, dtype=torch.float64)) for i, s in record.record.get("moves", ())
            ),
        )

    def known(self, connection: sa.Connection, objective: int) -> dict[int, CriticalPoint]:
        """The points of an objective by their rows."""
        record = connection.execute(sa.select(objectives.c.record).where(objectives.c.id == objective)).scalar_one()
        rows = connection.execute(sa.select(points).where(points.c.objective == objective).order_by(points.c.id)).all()
        place = {row.id: k for k, row in enumerate(rows)}
        seen: dict[int, Counter[str]] = {row.id: Counter() for row in rows}
        query = sa.select(sightings).join(points).where(points.c.objective == objective)
        for s in connection.execute(query):
            seen[s.point][s.source] += s.times
        out = {}
        for row in rows:
            fields = {name: getattr(row, name) for name in PLAIN if name != "index"}
            x = _numbers(row.x)
            out[row.id] = CriticalPoint(
                **fields,
                index=row._mapping[points.c.index],
                kind=Kind(row.kind),
                evidence=row.evidence,
                spectrum=_numbers(row.spectrum),
                orbit=int(row.orbit, 0),
                family=row.family,
                found=sum(seen[row.id].values()),
                sources=dict(seen[row.id]),
                doubtful=tuple(place[k] for k in row.doubtful),
                point=_named(record["shapes"], x),
                certificate=row.certificate,
            )
        return out

    # writing --------------------------------------------------------------------------------------------------
    def objective(self, J: Objective, large: bool = False) -> int:
        """The row of J, made where it is new; ``large``: only the ends of spectra will be known."""
        mark = fingerprint(J)
        shapes = [[name, list(v.shape)] for name, v in J.parameters.items()]
        with told(self.where), self.engine.begin() as connection:
            known = connection.execute(sa.select(objectives.c.id).where(objectives.c.fingerprint == mark)).scalar()
            if known is not None:
                return known
            record = {
                "describe": J.describe(),
                "shapes": shapes,
                "size": J.size,
                "not_coercive": LARGE if large else coercive(J),
                "notes": [*J.notes, *bounded(J), *([LARGE] if large else [])],
            }
            return _made(connection, objectives.insert().values(fingerprint=mark, record=record))

    def run(self, objective: int, seed: int, saddles: bool) -> tuple[int, int]:
        """The run of a seed, made where it is new, and how many of its starts are done."""
        own = (runs.c.objective == objective) & (runs.c.seed == seed) & (runs.c.saddles == saddles)
        with told(self.where), self.engine.begin() as connection:
            found = connection.execute(sa.select(runs.c.id, runs.c.done).where(own)).one_or_none()
            if found is not None:
                return found.id, found.done
            made = {"objective": objective, "seed": seed, "saddles": saddles, "done": 0, "ends": {}}
            return _made(connection, runs.insert().values(**made)), 0

    def absorb(self, run: int, first: int, count: int, explorer: Explorer | LargeExplorer, found: Catalogue) -> int:
        """Write a batch in one transaction; how many of the run's starts are done then.

        Where another process has done the same starts meanwhile, nothing is counted twice.
        """
        with told(self.where), self.engine.begin() as connection:
            row = connection.execute(sa.select(runs).where(runs.c.id == run)).one()
            if row.done != first:
                return row.done
            self.merged(connection, row.objective, run, explorer, found.points)
            reckoned(connection, run, explorer, done=first + count)
            return first + count

    def merged(
        self,
        connection: sa.Connection,
        objective: int,
        run: int,
        explorer: Explorer | LargeExplorer,
        new: Sequence[CriticalPoint],
    ) -> list[int]:
        """Each new point counted at the row of which it is a copy, or given a row; the row of each."""
        known = self.known(connection, objective)
        every, rows = [*known.values(), *new], list(known)
        homes: list[int] = []
        out = [0] * len(every)
        for c in classes(explorer.dense, explorer.found, every) if new else []:
            fresh = [every[m] for m in c.members if m >= len(rows)]
            if c.members[0] < len(rows):
                home = rows[c.members[0]]
                values = _update(explorer.dense, known[home], fresh, c.open > 0)
                if values:
                    connection.execute(points.update().where(points.c.id == home).values(**values))
            else:
                doubtful = [homes[k] for k in c.doubtful]
                row = _columns(explorer.dense, fresh[0]) | {"objective": objective, "doubtful": doubtful}
                home = _made(connection, points.insert().values(**row))
            homes.append(home)
            for m in c.members:
                out[m] = home
            for p in fresh:
                _count(connection, home, run, p.sources)
        return out[len(rows) :]


def _completeness(listed: Sequence[CriticalPoint], record: Mapping[str, Any]) -> Completeness:
    """Of large models no alternating sum is given: nothing near all of their saddles is looked for."""
    found = summed(listed, record["size"], record["not_coercive"])
    return found if record["not_coercive"] != LARGE else replace(found, morse_sum=None)


def _update(dense: Dense, known: CriticalPoint, fresh: Sequence[CriticalPoint], grown: bool) -> dict[str, Any]:
    """What new sightings change in a row: the size of a family, and a certificate where there was none."""
    proved = [p for p in fresh if p.evidence == "certified"]
    values = _columns(dense, proved[0]) if proved and known.evidence != "certified" else {}
    return values | ({"family": known.family + sum(p.family for p in fresh)} if grown and fresh else {})


def _columns(dense: Dense, p: CriticalPoint) -> dict[str, Any]:
    """A point as a row, without what is counted."""
    return {name: getattr(p, name) for name in PLAIN} | {
        "kind": p.kind.value,
        "evidence": p.evidence,
        "spectrum": bytes_of(p.spectrum),
        "orbit": str(p.orbit) if p.orbit.bit_length() < DIGITS else hex(p.orbit),
        "family": p.family,
        "certificate": dict(p.certificate) if p.certificate else None,
        "x": bytes_of(flatten(dense, p.point)),
    }


def _count(connection: sa.Connection, point: int, run: int, sources: Mapping[str, int]) -> None:
    for source, count in sources.items():
        own = (sightings.c.point == point) & (sightings.c.run == run) & (sightings.c.source == source)
        changed = connection.execute(sightings.update().where(own).values(times=sightings.c.times + count))
        if changed.rowcount == 0:
            connection.execute(sightings.insert().values(point=point, run=run, source=source, times=count))


def _made(connection: sa.Connection, statement: sa.Insert) -> int:
    key = connection.execute(statement).inserted_primary_key
    assert key is not None
    return int(key[0])


def bytes_of(x: Tensor) -> bytes:
    return x.detach().cpu().numpy().astype("<f8").tobytes()


def _numbers(data: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(data, dtype="<f8").astype(np.float64))


def _transitions(connection: sa.Connection, objective: int, rows: Sequence[int]) -> list[Transition]:
    """Those of an objective, with the positions that its rows have."""
    place: dict[int | None, int | None] = {None: None} | {row: k for k, row in enumerate(rows)}
    query = sa.select(transitions).where(transitions.c.objective == objective).order_by(transitions.c.id)
    out = []
    for t in connection.execute(query):
        low, high = t.words
        x = _numbers(t.x).reshape(3, -1)
        out.append(Transition(rows.index(t.saddle), (place[t.low], place[t.high]), (low, high), x))
    return out


def _named(shapes: Sequence[Any], x: Tensor) -> dict[str, Tensor]:
    pieces = x.split([int(np.prod(shape)) for _, shape in shapes])
    return {name: piece.reshape(shape) for (name, shape), piece in zip(shapes, pieces, strict=True)}


def reckoned(connection: sa.Connection, run: int, explorer: Explorer | LargeExplorer, **values: Any) -> None:
    """What became of the searches, added to the counts of a run."""
    row = connection.execute(sa.select(runs).where(runs.c.id == run)).one()
    lowest = [v for v in (row.lowest, explorer.lowest) if v is not None and v < float("inf")]
    values |= {"ends": dict(Counter(row.ends) + explorer.ends), "lowest": min(lowest, default=None)}
    connection.execute(runs.update().where(runs.c.id == run).values(**values))
