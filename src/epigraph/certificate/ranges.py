"""Bounds of affine nodes on the domain."""

from __future__ import annotations

import math
from typing import final

import numpy as np
from flint import ctx

from epigraph.certificate.affine import Rows
from epigraph.certificate.balls import Balls, lift
from epigraph.certificate.linear import PRECISION, Linear


@final
class Ranges:
    """Intervals of affine nodes, each found once."""

    def __init__(self, linear: Linear):
        self._linear = linear
        self._bounds: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def of(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bounds of the entries of an affine node on the domain, rounded outwards."""
        if position not in self._bounds:
            self._bounds[position] = self._bounded(position)
        return self._bounds[position]

    def _box(self) -> tuple[np.ndarray, np.ndarray]:
        """The box of the active parameters, flat."""
        sides: list[list[np.ndarray]] = [[], []]
        for node in self._linear.nodes:
            if node.op == "parameter" and node.attributes["name"] in self._linear.offsets:
                pair = self._linear.domain.get(node.attributes["name"], (-math.inf, math.inf))
                for out, side in zip(sides, pair, strict=True):
                    out.append(np.broadcast_to(np.asarray(side, np.float64), node.shape).reshape(-1))
        low, high = (np.concatenate(s) for s in sides)
        return low, high

    def _bounded(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        node = self._linear.nodes[position]
        count = node.numel
        low, high = self._box()
        if node.op == "parameter":
            at = self._linear.offsets[node.attributes["name"]]
            return low[at : at + count], high[at : at + count]
        rows = self._linear.rows(position)
        if rows is None or not bool(np.isfinite(low).any() or np.isfinite(high).any()):
            return np.full(count, -math.inf), np.full(count, math.inf)
        a, r = rows.values.middle, rows.values.radius
        spread = np.zeros_like(a) if r is None else r
        with np.errstate(invalid="ignore", over="ignore"):
            ends = [_times(a + s * spread, side[rows.columns]) for s in (-1, 1) for side in (low, high)]
        offset, radius = self._offset(position)
        down = self._summed(rows, np.minimum.reduce(ends), -1) + offset - radius
        up = self._summed(rows, np.maximum.reduce(ends), 1) + offset + radius
        bad = ~(down <= up) | (down == math.inf) | (up == -math.inf)  # what overflows is not known
        return np.where(bad, -math.inf, down), np.where(bad, math.inf, up)

    @staticmethod
    def _summed(rows: Rows, ends: np.ndarray, direction: int) -> np.ndarray:
        """Sums by row, moved outwards by more than their rounding."""
        sums = np.bincount(rows.owner, ends, rows.count)
        sizes = np.bincount(rows.owner, np.where(np.isfinite(ends), np.abs(ends), 0.0), rows.count)
        return sums + direction * (sizes * (len(ends) + 8) * 2.0**-50 + 2.0**-1000)

    def _offset(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """The constant term of an affine node, with a bound of its error; infinite where it is not known."""
        values: dict[int, np.ndarray] = {}
        engine = Balls(self._linear.program, self._linear.tensors)
        with ctx.workprec(PRECISION):
            for p in sorted(self._below(position)):
                node = self._linear.nodes[p]
                if not self._linear.varies[p]:
                    values[p] = self._linear.constant(p)
                elif node.op == "parameter":
                    values[p] = np.zeros(node.shape)
                else:
                    forms = self._linear.forms.get(p, node.operands)[:1] if node.op == "same" else node.operands
                    values[p] = engine.apply(node, [values[i] for i in forms])
        balls = lift(np.asarray(values[position])).reshape(-1).tolist()
        if not all(b.is_finite() for b in balls):
            return np.zeros(len(balls)), np.full(len(balls), math.inf)
        middle = np.array([float(b.mid()) for b in balls])
        return middle, np.array([float(b.rad()) for b in balls]) * 2 + np.abs(middle) * 2.0**-50

    def _below(self, position: int) -> set[int]:
        found, pending = set(), [position]
        while pending:
            p = pending.pop()
            if p not in found:
                found.add(p)
                if self._linear.varies[p]:
                    pending += self._linear.nodes[p].inputs
        return found


def _times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Products of limits: 0 inf = 0."""
    return np.where(a == 0, 0.0, a * b)
