"""Points to look at: segments in the box at scales 0.1 to 1000, and short ones across the knees of inner functions."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from soak_generate import Case
from soak_places import KNEES, TURNS

from epigraph.objective.graph import Graph, Node

Array = NDArray[np.float64]
STEPS = 9  # points of a segment
SCALES = np.array([0.1, 1.0, 10.0, 1.0, 100.0, 3.0, 1000.0, 0.3])

# all (left, middle, right) of a segment at strides 1, 2 and 4
TRIPLES = np.array([(i, i + s, i + 2 * s) for s in (1, 2, 4) for i in range(STEPS - 2 * s)])


class Box:
    """The parameters as one flat vector, its bounds, and which of its entries move."""

    def __init__(self, case: Case):
        self.names = list(case.graph.parameters)
        self.shapes = [tuple(case.graph.parameters[n].shape) for n in self.names]
        self.sizes = [math.prod(s) for s in self.shapes]
        self.lower = self._side(case.domain.lower, -math.inf)
        self.upper = self._side(case.domain.upper, math.inf)
        self.moves = np.concatenate(
            [np.full(n, name in case.active) for name, n in zip(self.names, self.sizes, strict=True)]
        )

    def _side(self, side, default: float) -> Array:
        parts = [
            np.broadcast_to(side[n].numpy() if n in side else default, s).reshape(-1)
            for n, s in zip(self.names, self.shapes, strict=True)
        ]
        return np.concatenate(parts).astype(np.float64)

    def split(self, x: Array) -> dict[str, Array]:
        """Flat points [P, n] as batches of tensors by name."""
        parts = np.split(x, np.cumsum(self.sizes)[:-1], axis=1)
        return {n: p.reshape((len(x), *s)) for n, p, s in zip(self.names, parts, self.shapes, strict=True)}

    def inside(self, x: Array) -> Array:
        """Points moved into the box: mirrored at a bound, then cut off."""
        x = np.where(x < self.lower, 2 * self.lower - x, x)
        x = np.where(x > self.upper, 2 * self.upper - x, x)
        return np.clip(np.nan_to_num(x, nan=0.0, posinf=1e308, neginf=-1e308), self.lower, self.upper)


def segments(box: Box, rng: np.random.Generator, rows: int) -> tuple[Array, Array]:
    """Ends of segments: random directions and axes, through random points, knees and corners of the box."""
    n = len(box.lower)
    scale = SCALES[np.arange(rows) % len(SCALES)][:, None]
    anchor = np.where(np.isfinite(box.lower), box.lower, np.where(np.isfinite(box.upper), box.upper, 0.0))
    start = anchor * (rng.random((rows, 1)) < 0.5) + scale * rng.standard_normal((rows, n))
    special = rng.random((rows, n))
    knee = rng.choice(KNEES, (rows, n)) * rng.choice([-1.0, 1.0], (rows, n))
    start = np.where(special < 0.15, knee, np.where(special < 0.25, anchor, start))
    move = scale * rng.standard_normal((rows, n))
    move[1::3] *= np.eye(n)[rng.integers(n, size=len(move[1::3]))]
    end = start + move
    start, end = box.inside(start), box.inside(end)
    wide = np.isfinite(box.lower) & np.isfinite(box.upper)
    both = wide & (rng.random((rows, n)) < 0.3)
    with np.errstate(over="ignore", invalid="ignore"):
        drawn = box.lower + rng.random((rows, n)) * (box.upper - box.lower)
    end = np.where(both & np.isfinite(drawn), drawn, end)
    return start, np.where(box.moves, box.inside(end), start)


def grid(start: Array, end: Array) -> Array:
    """STEPS points on each segment, [rows * STEPS, n], the ends themselves and rounded points between them."""
    t = np.linspace(0, 1, STEPS)[None, :, None]
    between = start[:, None] * (1 - t) + end[:, None] * t
    low, high = np.minimum(start, end)[:, None], np.maximum(start, end)[:, None]
    return np.clip(between, low, high).reshape(-1, start.shape[1])


def across_turns(
    graph: Graph, box: Box, values: list[Array], start: Array, end: Array, rng: np.random.Generator, rows: int
) -> tuple[Array, Array] | None:
    """Short segments around the places where the argument of some function passes a knee, by linear interpolation."""
    centres, directions = [], []
    for node in graph:
        argument, turns = _argument(node, values)
        if argument is None or len(argument) != len(start) * STEPS:
            continue
        column = argument.reshape(len(start), STEPS, -1)
        column = column[:, :, rng.integers(column.shape[2])]
        for turn in turns:
            row, t = _crossing(column, turn)
            if row is not None:
                centres.append(start[row] * (1 - t) + end[row] * t)
                directions.append(end[row] - start[row])
    if not centres:
        return None
    pick = rng.permutation(len(centres))[:rows]
    centre, direction = np.array(centres)[pick], np.array(directions)[pick]
    size = 10.0 ** rng.uniform(-5, -0.5, (len(pick), 1))
    shift = rng.choice([0.0, 0.5, -0.5, 1.0, -1.0], (len(pick), 1))  # the knee in the middle, or at either end
    with np.errstate(over="ignore"):
        a, b = centre + (shift - 1) * size * direction, centre + (shift + 1) * size * direction
    a, b = np.clip(a, box.lower, box.upper), np.clip(b, box.lower, box.upper)
    return a, np.where(box.moves, b, a)


def _argument(node: Node, values: list[Array]) -> tuple[Array | None, list[float]]:
    """What decides the piece of an operator, and where it changes."""
    if node.op == "maximum":
        x, y = (values[i] for i in node.inputs)
        with np.errstate(all="ignore"):
            return (x - y, [0.0]) if x.shape == y.shape else (None, [])
    if node.op == "piecewise":
        return values[node.inputs[0]], [quotient(k) for k in node.attributes["knots"]]
    return (values[node.inputs[0]], TURNS[node.op]) if node.op in TURNS else (None, [])


def _crossing(column: Array, turn: float) -> tuple[int | None, float]:
    """The first segment on which the argument passes the value, and where on it."""
    with np.errstate(all="ignore"):
        before, after = column[:, :-1] - turn, column[:, 1:] - turn
        hit = (before * after <= 0) & (before != after) & np.isfinite(before) & np.isfinite(after)
    if not hit.any():
        return None, 0.0
    row, k = divmod(int(hit.argmax()), hit.shape[1])
    with np.errstate(all="ignore"):
        part = before[row, k] / (before[row, k] - after[row, k])
    return row, (k + float(np.nan_to_num(part))) / (STEPS - 1)


def quotient(text: str) -> float:
    top, _, bottom = text.partition("/")
    return int(top) / int(bottom or 1)
