"""Several properties decided at one midpoint, with one evaluation of everything that the points share."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from epigraph.certificate import bitlengths, budget, exact, shapes
from epigraph.certificate.compact import compact
from epigraph.certificate.exact import Certified, Point
from epigraph.certificate.graph import Program
from epigraph.certificate.points import Delta
from epigraph.certificate.rationals import Undefined

Moves = Mapping[str, Mapping[str, Delta]]


def certify_all(
    graph: Mapping[str, object],
    tensors: Mapping[str, np.ndarray],
    moves: Moves,
    start_bits: int = 128,
    budget_seconds: float = 120.0,
    budget_bytes: int = budget.DEFAULT_BYTES,
) -> dict[str, Certified]:
    """For each property, ``exact.certify`` at the common midpoint and that property's displacement.

    ``moves`` maps a property to its displacements.  What no displacement reaches, and J(m), are evaluated once.
    """
    if not moves:
        return {}
    start = time.monotonic()
    program = shapes.program(graph, shapes.metas(tensors))
    shapes.check_indices(program, tensors)
    points, place = _points(moves)
    program, tensors, points = compact(program, tensors, points)
    if (found := _rational(graph, program, tensors, moves, points, place, budget_seconds, budget_bytes)) is not None:
        return found
    moving = {key for point in points for key in point}
    bits, done = start_bits, dict[str, Certified]()
    while bits <= exact.PRECISION_LIMIT:
        remaining = budget_seconds - (time.monotonic() - start)
        if not budget.balls(program, moving, len(points), bits).fits(2 * remaining, budget_bytes):
            break
        try:
            values = exact.run(program, tensors, points, "arb", bits, deadline=time.monotonic() + remaining)
        except exact.OutOfTime:
            break
        open_bits = []
        for kind in moves:
            if kind in done:
                continue
            triple = [values[place[kind][0]], values[place[kind][1]], values[0]]
            certified = exact._certified("arb", bits, kind, triple)
            gap = exact.gap(kind, *triple)
            if certified is not None:
                done[kind] = certified
            elif not gap <= 0:
                open_bits.append(exact._next_precision(bits, gap, triple))
        if not open_bits:
            break
        bits = min(open_bits)
    return done


def _points(moves: Moves) -> tuple[list[Point], dict[str, tuple[int, int]]]:
    """m first, then m + d and m - d for each distinct displacement."""
    points: list[Point] = [{}]
    known: list[tuple[Mapping[str, Delta], tuple[int, int]]] = []
    place = {}
    for kind, delta in moves.items():
        pair = next((p for d, p in known if _equal(d, delta)), None)
        if pair is None:
            pair = (len(points), len(points) + 1)
            points += [delta, {key: d.opposite for key, d in delta.items()}]
            known.append((delta, pair))
        place[kind] = pair
    return points, place


def _equal(x: Mapping[str, Delta], y: Mapping[str, Delta]) -> bool:
    return x.keys() == y.keys() and all(
        x[k].scale_log2 == y[k].scale_log2 and x[k].sign == y[k].sign and np.array_equal(x[k].steps, y[k].steps)
        for k in x
    )


def _rational(
    graph: Mapping[str, object],
    program: Program,
    tensors: Mapping[str, np.ndarray],
    moves: Moves,
    points: list[Point],
    place: Mapping[str, tuple[int, int]],
    seconds: float,
    size: int,
) -> dict[str, Certified] | None:
    """The decision in rational numbers, where the graph allows it at moderate cost."""
    if not exact.supports_exact(graph):
        return None
    cost = bitlengths.exact(program, tensors, points)
    balls = budget.balls(program, {key for point in points for key in point}, len(points), 256)
    if cost.seconds > max(5.0, 5 * balls.seconds) or not cost.fits(seconds, size):
        return None
    try:
        values = exact.run(program, tensors, points, "exact")
    except Undefined:
        return None
    found = {
        kind: exact._certified("exact", 0, kind, [values[i], values[j], values[0]]) for kind, (i, j) in place.items()
    }
    return {kind: c for kind, c in found.items() if c is not None}
