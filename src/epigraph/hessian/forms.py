r"""Centred forms: a tensor known up to a linear part in the parameters' displacement and a remainder.

A form (c, L, r) encloses c + sum_k e_k L_k + [-r, r], entry by entry, for all e in the unit ball (|e|_2 <= 1) or in
the unit box (|e|_inf <= 1); w = centre + scale * e are the parameters.  Without linear part it is an interval in
midpoint-radius form.  L has one leading axis of displacements, so that a movement of the last axes moves it as well.

Rounding: u = 2^-53; every float operation on c and L is charged to r with at least twice the bound of any order of
summation (gamma_n = n u), and r itself is rounded up by a relative amount.  Overflow gives r = inf or NaN, and no
conclusion is drawn from either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from epigraph.calculus.interval import Interval
from epigraph.hessian.engine import Move

EPS, TINY = 2.0**-52, 2.0**-1000
Product = Callable[[Tensor, Tensor], Tensor]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """c + sum e_k L_k + [-r, r]; L and r are None where they vanish."""

    c: Tensor
    L: Tensor | None = None
    r: Tensor | None = None

    @property
    def shape(self) -> torch.Size:
        return self.c.shape

    def map(self, move: Move) -> Form:
        return Form(move(self.c), None if self.L is None else move(self.L), None if self.r is None else move(self.r))


@final
class Arithmetic:
    """Sums and products of forms over the unit ball or the unit box."""

    def __init__(self, ball: bool):
        self.ball = ball

    def size(self, L: Tensor | None) -> Tensor | float:
        """An upper bound of |sum e_k L_k|."""
        if L is None:
            return 0.0
        total = absolute(L)
        if not self.ball:
            return total * (1 + (len(L) + 4) * EPS)
        length = torch.linalg.vector_norm(L, 2, dim=0)
        return length * (1 + (len(L) + 8) * EPS) + torch.where(total > 0, 2.0**-500, 0.0)

    def deviation(self, x: Form) -> Tensor:
        """An upper bound of |value - c|."""
        out = (self.size(x.L) + _or_zero(x.r)) * (1 + 4 * EPS)
        return out if isinstance(out, Tensor) else torch.zeros_like(x.c)

    def range(self, x: Form) -> Interval:
        d = self.deviation(x)
        d = d * (1 + 4 * EPS) + (2 * EPS) * torch.where(d > 0, x.c.abs(), 0.0)
        return Interval((x.c - d).numpy(), (x.c + d).numpy())

    def add(self, x: Form, y: Form) -> Form:
        c = x.c + y.c
        L = _sum(x.L, y.L)
        if L is not None and L.shape[1:] != c.shape:
            L = L.expand(L.shape[0], *c.shape)
        exact = x.L is None and y.L is None and bool(((c - x.c == y.c) & (c - y.c == x.c)).all())
        rounding = None if exact else EPS * (c.abs() + _or_zero(None if L is None else absolute(L)))
        r = _sum(_sum(x.r, y.r), rounding)
        return Form(c, L, None if r is None else r * (1 + 8 * EPS))

    def scale(self, x: Form, factor: float) -> Form:
        """Times a power of two, which is exact."""
        r = _or_zero(x.r) * abs(factor) + torch.full_like(x.c, TINY)
        return Form(x.c * factor, None if x.L is None else x.L * factor, r)

    def total(self, x: Form, dims: Sequence[int]) -> Form:
        if not dims:
            return x
        dims, count = list(dims), math.prod(x.shape[d] for d in dims)
        size = x.c.abs() + _or_zero(None if x.L is None else absolute(x.L))
        r = (_or_zero(x.r) + (count + 8) * EPS * size).sum(dims) * (1 + (count + 8) * EPS)
        return Form(x.c.sum(dims), None if x.L is None else x.L.sum(dims), r)

    def concat(self, x: Sequence[Form], dim: int) -> Form:
        lead = torch.broadcast_shapes(*(_without(f.shape, dim) for f in x))

        def join(parts: Sequence[Tensor], first: int = 0) -> Tensor:
            whole = [t.expand(*t.shape[:first], *lead[:dim], t.shape[dim], *lead[len(lead) + dim + 1 :]) for t in parts]
            return torch.cat(whole, dim)

        noise = next((len(f.L) for f in x if f.L is not None), None)
        L, r = None, None
        if noise is not None:
            L = join([f.c.new_zeros(noise, *f.shape) if f.L is None else f.L for f in x], 1)
        if any(f.r is not None for f in x):
            r = join([torch.zeros_like(f.c) if f.r is None else f.r for f in x])
        return Form(join([f.c for f in x]), L, r)

    def bilinear(self, x: Form, y: Form, product: Product, terms: int) -> Form:
        """A bilinear map whose results are sums of that many products of entries.

        On the ball (a.e)(b.e) lies within |a||b|/2 of a.b/2; on the box within |a|_1 |b|_1 of 0.
        """
        c, L = product(x.c, y.c), None
        if x.L is not None:
            L = product(x.L, y.c)
        if y.L is not None:
            L = _sum(L, product(x.c, y.L))
        nx, ny = self.size(x.L), self.size(y.L)
        ax, ay = x.c.abs(), y.c.abs()
        r: Tensor | None = None
        if x.L is not None and y.L is not None:
            assert isinstance(nx, Tensor) and isinstance(ny, Tensor)
            r = product(nx, ny)
            if self.ball:
                c, r = c + product(x.L, y.L).sum(0) / 2, r / 2
        if y.r is not None:
            r = _sum(r, product(ax + nx, y.r))
        if x.r is not None:
            r = _sum(r, product(x.r, ay + ny + _or_zero(y.r)))
        lx, ly = (_or_zero(None if f.L is None else absolute(f.L)) for f in (x, y))
        noise = max(len(f.L) if f.L is not None else 0 for f in (x, y))
        rounding = product(ax + lx, ay + ly) * ((terms + noise + 16) * EPS) + TINY
        whole = rounding if r is None else r + rounding
        return Form(c, L, whole * (1 + (terms + 16) * EPS))

    def mul(self, x: Form, y: Form) -> Form:
        return self.bilinear(x, y, torch.mul, 1)

    def matmul(self, x: Form, y: Form) -> Form:
        return self.bilinear(x, y, torch.matmul, x.shape[-1])


def absolute(L: Tensor) -> Tensor:
    """sum_k |L_k|."""
    return torch.linalg.vector_norm(L, 1, dim=0)


def _sum(x: Tensor | None, y: Tensor | None) -> Tensor | None:
    return y if x is None else x if y is None else x + y


def _or_zero(x: Tensor | None) -> Tensor | float:
    return 0.0 if x is None else x


def _without(shape: Sequence[int], dim: int) -> list[int]:
    out = list(shape)
    out[dim] = 1
    return out


def tensor(x: object) -> Tensor:
    """A copy of a NumPy array or number, also of one without dimensions."""
    return torch.from_numpy(np.array(x, dtype=np.float64))


def of_interval(x: Interval, shape: Sequence[int]) -> Form:
    """The midpoint-radius form of an interval tensor."""
    low, high = (tensor(b) for b in x.arrays(tuple(shape)))
    if bool((low == high).all()):
        return Form(low)
    c = low / 2 + high / 2
    r = torch.maximum(high - c, c - low)
    return Form(c, None, torch.where(low == high, 0.0, r * (1 + 4 * EPS) + 4 * EPS * c.abs() + TINY))
