"""Searches that are kept in an atlas: they go on where the file stops, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import sqlalchemy as sa
from torch import Tensor

from epigraph.critical.atlas import Atlas, bytes_of, reckoned
from epigraph.critical.classify import Kind
from epigraph.critical.explore import Explorer
from epigraph.critical.large import LargeExplorer
from epigraph.critical.result import Catalogue
from epigraph.critical.starts import involutions
from epigraph.critical.tables import objectives, runs, told, transitions
from epigraph.critical.transitions import Descents, between, descended, is_transition
from epigraph.objective.objective import Objective

LOT = 50  # saddles between two writes
SMALL = 100_000  # numbers that the generators of a group may take in the file


def explored(
    J: Objective,
    explorer: Explorer | LargeExplorer,
    where: str | Path,
    count: int,
    given: Sequence[Mapping[str, Tensor]],
    batch: int,
    connect: bool,
    say: Callable[..., None],
) -> Catalogue:
    """Searches until a run has done ``count`` starts, writing each batch, and gives all that the atlas then knows of J."""
    atlas = Atlas(where, create=True)
    try:
        objective = atlas.objective(J, isinstance(explorer, LargeExplorer))
        run, done = atlas.run(objective, explorer.seed, explorer.with_saddles)
        while done < count:
            size = min(batch, count - done)
            found = explorer.catalogue(size, given if done == 0 else (), done)
            say(f"writing {len(found.points)} points, {done + size} of {count} starts done")
            done = atlas.absorb(run, done, size, explorer, found)
        if connect and isinstance(explorer, Explorer):
            bridge(atlas, objective, run, explorer)
        with told(where), atlas.engine.begin() as connection:
            return atlas.catalogue(connection, objective)
    finally:
        atlas.close()


def bridge(atlas: Atlas, objective: int, run: int, explorer: Explorer) -> None:
    """The transitions of an objective that are not known yet; each lot of them is one transaction.

    Saddles between the minima are looked for once for each number of starts that a run has done.
    """
    explorer.count_anew()
    with told(atlas.where), atlas.engine.begin() as connection:
        row = connection.execute(sa.select(runs).where(runs.c.id == run)).one()
        known = atlas.known(connection, objective)
    if row.bridged < row.done:
        new = explorer.fresh(
            list(known.values()), between(explorer, [p for p in known.values() if p.kind is Kind.minimum])
        )
        with told(atlas.where), atlas.engine.begin() as connection:
            if connection.execute(sa.select(runs.c.bridged).where(runs.c.id == run)).scalar_one() == row.bridged:
                _remember(connection, objective, explorer)
                atlas.merged(connection, objective, run, explorer, new)
                reckoned(connection, run, explorer, bridged=row.done)
    while True:
        with told(atlas.where), atlas.engine.begin() as connection:
            known = atlas.known(connection, objective)
            done = set(connection.execute(sa.select(transitions.c.saddle)).scalars())
        left = [k for k, p in known.items() if is_transition(p) and k not in done][:LOT]
        if not left:
            return
        explorer.count_anew()
        paths = descended(explorer, [known[k] for k in left])
        new = explorer.fresh(list(known.values()), paths.points)
        with told(atlas.where), atlas.engine.begin() as connection:
            homes = atlas.merged(connection, objective, run, explorer, new)
            _linked(connection, objective, left, paths, homes)
            reckoned(connection, run, explorer)


def _remember(connection: sa.Connection, objective: int, explorer: Explorer) -> None:
    """Keep the generators of the group where they are small: graphs with copies are drawn from the file alone."""
    moves = involutions(explorer.dense, explorer.found)
    if len(moves) * explorer.dense.size <= SMALL:
        own = objectives.c.id == objective
        record = connection.execute(sa.select(objectives.c.record).where(own)).scalar_one()
        kept = [[m.index.tolist(), m.sign.tolist()] for m in moves]
        connection.execute(objectives.update().where(own).values(record={**record, "moves": kept}))


def _linked(
    connection: sa.Connection, objective: int, saddles: Sequence[int], paths: Descents, homes: Sequence[int]
) -> None:
    """A row for each transition that another process has not written meanwhile."""
    known = set(connection.execute(sa.select(transitions.c.saddle)).scalars())
    home: dict[int, int | None] = {-1: None} | dict(enumerate(homes))
    for saddle, (low, high), words, x in zip(saddles, paths.ends, paths.words, paths.x, strict=True):
        if saddle not in known:
            ends = {"low": home[low], "high": home[high], "words": list(words), "x": bytes_of(x)}
            connection.execute(transitions.insert().values(objective=objective, saddle=saddle, **ends))
