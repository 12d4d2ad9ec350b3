"""Functions with kinks as smooth pieces between knots: abs, relu, elu, piecewise."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from epigraph.calculus.derivatives.arithmetic import RANGES, REALS, Numbers, Value, subdivided
from epigraph.calculus.interval import Interval
from epigraph.objective.graph import Node

Piece = Callable[[Value, int, Numbers], list[Value]]
Where = NDArray[np.bool_]


@final
@dataclass(frozen=True)
class Pieces:
    """Derivatives of each piece, and at each knot the sign of the jump of the slope: +1 a convex kink, -1 a concave one."""

    knots: tuple[Fraction, ...]
    pieces: tuple[Piece, ...]
    jumps: tuple[int, ...]

    def at(self, x: Tensor, order: int) -> list[Tensor]:
        """Derivatives at points; at a knot those of the piece on its left."""
        out = self.pieces[0](x, order, REALS)
        for knot, piece in zip(self.knots, self.pieces[1:], strict=True):
            right = x > float(knot)
            out = [torch.where(right, new, old) for new, old in zip(piece(x, order, REALS), out, strict=True)]
        return out

    def over(self, x: Interval, order: int, parts: int = 1) -> list[Interval]:
        """Ranges of the derivatives: the hull over the pieces met, each on its part of the interval."""
        low, high = _arrays(x)
        ends = [(-math.inf, -math.inf), *map(_neighbours, self.knots), (math.inf, math.inf)]
        clipped = [
            Interval(np.clip(low, start, stop), np.clip(high, start, stop)) for (start, _), (_, stop) in pairwise(ends)
        ]
        return self._hull(x, clipped, order, parts)

    def around(self, x: Interval, point: Interval, order: int) -> list[Interval]:
        """The derivatives, at a point, of the piece that holds on the whole interval; a hull where several do."""
        return self._hull(x, [point] * len(self.pieces), order, 1)

    def _hull(self, x: Interval, at: Sequence[Interval], order: int, parts: int) -> list[Interval]:
        met = self._met(x)
        low = [np.full(met[0].shape, math.inf) for _ in range(order)]
        high = [np.full(met[0].shape, -math.inf) for _ in range(order)]
        for piece, here, where in zip(self.pieces, met, at, strict=True):
            found = subdivided(lambda r, f=piece: f(r, order, RANGES), where, parts)
            for k, bounds in enumerate(found):
                low[k] = np.where(here, np.minimum(low[k], bounds.lower), low[k])
                high[k] = np.where(here, np.maximum(high[k], bounds.upper), high[k])
        return [Interval(a, b) for a, b in zip(low, high, strict=True)]

    def _met(self, x: Interval) -> list[Where]:
        """For each piece, the entries whose interval meets it in more than a point; one piece at least."""
        low, high = _arrays(x)
        beyond = np.zeros(low.shape, dtype=bool)  # the whole interval lies left of the piece
        out = []
        for knot in self.knots:
            below, above = _neighbours(knot)
            out.append(~beyond & ((low < above) | (high <= below)))
            beyond = beyond | (high <= below)
        out.append(~beyond)
        return out

    def several(self, x: Interval) -> Where:
        """Where more than one piece holds on the interval."""
        return np.sum(self._met(x), axis=0) > 1

    def corners(self, x: Interval) -> tuple[Where, Where]:
        """Where a convex, and where a concave kink may lie inside the interval."""
        low, high = _arrays(x)
        up, down = np.zeros(low.shape, dtype=bool), np.zeros(low.shape, dtype=bool)
        for knot, jump in zip(self.knots, self.jumps, strict=True):
            below, above = _neighbours(knot)
            inside = (low < above) & (high > below)
            up, down = up | (inside & (jump > 0)), down | (inside & (jump < 0))
        return up, down


def _arrays(x: Interval) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low, high = np.broadcast_arrays(np.asarray(x.lower, np.float64), np.asarray(x.upper, np.float64))
    return low, high


def _neighbours(knot: Fraction) -> tuple[float, float]:
    """The float64 numbers around a knot, both equal to it where it is one."""
    near = float(knot)
    if Fraction(near) == knot:
        return near, near
    return (near, math.nextafter(near, math.inf)) if Fraction(near) < knot else (math.nextafter(near, -math.inf), near)


def polynomial(coefficients: Sequence[Fraction]) -> Piece:
    """Derivatives of a + b x + c x^2."""
    _, b, c = [*coefficients, Fraction(0), Fraction(0)][:3]

    def derivatives(x: Value, order: int, n: Numbers) -> list[Value]:
        zero = 0.0 * x
        first = zero + n.rational(b) + (n.rational(2 * c) * x if c else 0.0)
        return [first, zero + n.rational(2 * c), zero, zero][:order]

    return derivatives


def _scaled_exp(alpha: Fraction) -> Piece:
    return lambda x, order, n: [n.rational(alpha) * n.apply("exp", x)] * order


def _sign(q: Fraction) -> int:
    return (q > 0) - (q < 0)


def pieces_of(node: Node) -> Pieces | None:
    """The pieces of a kinked operator, or None for a smooth one."""
    zero, one = Fraction(0), Fraction(1)
    if node.op == "relu":
        return Pieces((zero,), (polynomial([zero]), polynomial([zero, one])), (1,))
    if node.op == "abs":
        return Pieces((zero,), (polynomial([zero, -one]), polynomial([zero, one])), (1,))
    if node.op == "elu":
        alpha = Fraction(node.attributes["alpha"])
        return Pieces((zero,), (_scaled_exp(alpha), polynomial([zero, one])), (_sign(1 - alpha),))
    if node.op == "piecewise":
        knots = tuple(Fraction(k) for k in node.attributes["knots"])
        lists = [[Fraction(c) for c in p] for p in node.attributes["pieces"]]
        slopes = [[*(i * c for i, c in enumerate(p)), zero, zero][1:3] for p in lists]
        jumps = tuple(
            _sign((s[0] + s[1] * k) - (r[0] + r[1] * k)) for k, r, s in zip(knots, slopes[:-1], slopes[1:], strict=True)
        )
        return Pieces(knots, tuple(polynomial(p) for p in lists), jumps)
    return None
