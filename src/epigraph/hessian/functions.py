"""Functions of one variable on centred forms: Taylor's formula with the remainder from ranges of derivatives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from epigraph.calculus.derivatives import SMOOTH, Pieces, pieces_of
from epigraph.calculus.derivatives.arithmetic import RANGES, subdivided
from epigraph.calculus.interval import Interval, up
from epigraph.calculus.rule import RULES
from epigraph.hessian.forms import EPS, TINY, Arithmetic, Form, absolute, of_interval, tensor
from epigraph.objective.graph import Node

PARTS = 8  # equal parts of an argument's interval on which the ranges of derivatives are taken


class Undecided(Exception):
    """Why no enclosure of the Hessian exists on a region: a kink, the end of a domain, an unknown operator."""

    def __init__(self, node: Node, reason: str):
        self.node, self.reason = node, reason
        super().__init__(reason)


def check_domain(node: Node, x: Interval) -> None:
    """Raise where the argument may leave the open set on which the derivatives exist."""
    if node.op not in SMOOTH:
        return
    domain = SMOOTH[node.op].where(node)
    outside = (
        x.lower <= 0 if domain == "positive" else (x.lower <= 0) & (x.upper >= 0) if domain == "nonzero" else False
    )
    if bool(np.any(outside)):
        raise Undecided(node, f"the argument of {node.op} ranges over {x}, which is not inside its domain")


def derivatives_over(node: Node, x: Interval, order: int) -> list[Interval]:
    """Ranges of f, f', ..., f^(order) on the entries' intervals."""
    thin = np.array_equal(x.lower, x.upper)
    parts = 1 if thin else PARTS
    pieces = pieces_of(node)
    shape = np.broadcast_shapes(np.shape(x.lower), np.shape(x.upper))
    value = RULES[node.op].interval(node, [x], [shape])
    if pieces is not None:
        return [value, *pieces.over(x, order, parts)]
    return [value, *subdivided(lambda r: SMOOTH[node.op].formula(node, r, order, RANGES), x, parts)]


def derivatives_at(node: Node, x: Interval, point: Interval, order: int) -> list[Interval]:
    """Thin enclosures of f, ..., f^(order) at a point of the intervals, on the piece that holds there."""
    pieces = pieces_of(node)
    value = RULES[node.op].interval(node, [point], [np.shape(point.lower)])
    if pieces is not None:
        return [value, *pieces.around(x, point, order)]
    return [value, *[r.bounds for r in _formula(node, point, order)]]


def _formula(node: Node, point: Interval, order: int) -> Sequence:
    from epigraph.calculus.derivatives.arithmetic import Range

    return SMOOTH[node.op].formula(node, Range(point), order, RANGES)


def mapped(a: Arithmetic, node: Node, x: Form, bounds: Interval) -> tuple[list[Form], Pieces | None]:
    """Forms of f(x), f'(x), f''(x) for an argument known to lie within bounds as well.

    For g = f, f', f'': g(x) = g(c) + g'(c)(x - c) + g''(z)/2 (x - c)^2; where that remainder is wider than the range
    of g itself, and where several pieces of a kinked function meet, the range is taken.
    """
    check_domain(node, bounds)
    low, high = (np.array(b) for b in bounds.arrays(tuple(x.shape)))
    whole, pieces = Interval(low, high), pieces_of(node)
    linear = x.L is not None
    ranges = derivatives_over(node, whole, 4 if linear else 2)
    plain = [of_interval(r, x.shape) for r in ranges[:3]]
    if not linear:
        return plain, pieces
    centre = np.clip(x.c.numpy(), low, high)
    at = derivatives_at(node, whole, Interval.point(centre), 3)
    several = torch.from_numpy(np.asarray(pieces.several(whole))) if pieces is not None else None
    shift, reach = _reach(a, x, tensor(centre), low, high)
    made = []
    for k in range(3):
        taylor = _taylor(x, at[k], at[k + 1], ranges[k + 2], shift, reach)
        made.append(_better(taylor, plain[k], several))
    return made, pieces


def _reach(a: Arithmetic, x: Form, centre: Tensor, low: np.ndarray, high: np.ndarray) -> tuple[Tensor, Tensor]:
    """x.c - centre, and a bound of |x - centre|."""
    shift = x.c - centre
    free = (a.deviation(x) + shift.abs()) * (1 + 8 * EPS)
    with np.errstate(all="ignore"):
        ends = np.maximum(up(high - centre.numpy()), up(centre.numpy() - low))
    return shift, torch.minimum(free, tensor(ends))


def _taylor(x: Form, value: Interval, slope: Interval, bend: Interval, shift: Tensor, reach: Tensor) -> Form:
    assert x.L is not None
    g, s = of_interval(value, x.shape), of_interval(slope, x.shape)
    m, M = (tensor(b) for b in bend.arrays(tuple(x.shape)))
    square = reach * reach / 2 * (1 + 8 * EPS) + TINY
    least, most = torch.clamp(m, max=0.0) * square, torch.clamp(M, min=0.0) * square
    middle, half = (least + most) / 2, (most - least) / 2
    tilt = s.c * shift
    c = g.c + tilt + middle
    L = s.c * x.L
    rounding = 8 * EPS * (g.c.abs() + tilt.abs() + half + s.c.abs() * absolute(x.L)) + TINY
    r = half + rounding
    for extra in (g.r, None if s.r is None else s.r * reach, None if x.r is None else s.c.abs() * x.r):
        r = r if extra is None else r + extra
    return Form(c, L, r * (1 + 16 * EPS))


def _better(taylor: Form, plain: Form, several: Tensor | None) -> Form:
    """Entry by entry the form with the smaller remainder."""
    width = torch.zeros_like(plain.c) if plain.r is None else plain.r
    assert taylor.L is not None and taylor.r is not None
    worse = ~(taylor.r <= width)
    if several is not None:
        worse = worse | several
    if not bool(worse.any()):
        return taylor
    zero = torch.zeros((), dtype=torch.float64)
    return Form(
        torch.where(worse, plain.c, taylor.c), torch.where(worse, zero, taylor.L), torch.where(worse, width, taylor.r)
    )
