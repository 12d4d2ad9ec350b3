"""A few steps of Lanczos' method from a vector that is nearly an eigenvector: what changed since it was one.

Where a warm start needs two or three products, the bookkeeping of a block process with restarts would cost more than they do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from epigraph.hessian.krylov import Array, Multiply, inner, length


@final
@dataclass(frozen=True)
class Followed:
    """The largest eigenvalue, then the smallest where asked: values, residual norms with the products' noise, unit vectors."""

    values: list[float]
    errors: list[float]
    vectors: list[Tensor]
    converged: bool


def follow(
    multiply: Multiply, start: Tensor, *, bottom: bool, tol: float, least: int, most: int, epsilon: float
) -> Followed:
    """The largest eigenvalue, and the smallest where asked.

    Args:
        multiply: the operator.
        start: where the process begins, not zero.
        bottom: also the smallest.
        tol: relative error of the values, by the estimate residual^2 / gap.
        least: products that are made in any case, unless a smaller space is closed.
        most: products at most.
        epsilon: the unit of rounding in the products.

    Cost: one product per step, and as many vectors of memory.
    """
    basis = (start / length(start))[None]
    small = np.zeros((most, most))
    scale = left = asymmetry = 0.0
    while True:
        m = len(basis)
        w = multiply(basis[-1])
        scale = max(scale, length(w))
        h, w = _without(w, basis)
        along = h.tolist()
        small[m - 1, :m] = along
        asymmetry = max(asymmetry, *map(abs, along[: m - 2]), abs(along[m - 2] - left)) if m > 1 else 0.0
        left = length(w)
        noise = max(4 * epsilon * scale * m**0.5, 2 * asymmetry)
        closed = left <= noise or m == len(start)
        if closed or m >= least:
            values, weights = np.linalg.eigh(small[:m, :m])  # which reads the lower triangle
            residuals = (0.0 if closed else left) * np.abs(weights[-1])
            ends = [-1, 0] if bottom else [-1]
            good = all(_error(values, residuals, k) <= max(tol * abs(values[k]), noise) for k in ends)
            if good or closed or m >= most:
                pairs = [_combined(basis, weights[:, k]) for k in ends]
                return Followed(
                    [float(values[k]) for k in ends], [float(residuals[k]) + noise for k in ends], pairs, good
                )
        w = _without(w / left, basis)[1]  # one pass would let an overlap with the basis grow from step to step
        basis = torch.cat([basis, (w / length(w))[None]])


def _error(values: Array, residuals: Array, end: int) -> float:
    """r, or 2 r^2 / gap for an end value that its neighbour stands apart from by more than their residuals."""
    value, r = float(values[end]), float(residuals[end])
    if len(values) == 1:
        return r
    beside = -2 if end == -1 else 1
    gap = abs(value - float(values[beside])) - r - float(residuals[beside])
    return min(r, 2 * r * r / gap) if gap > 0 else r


def _without(w: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The coefficients of w in the rows, and w less that part."""
    h = inner(rows, w)
    return h, torch.addmv(w, rows.T, h.to(w.dtype), alpha=-1)


def _combined(rows: Tensor, weights: Array) -> Tensor:
    out = rows.T @ torch.from_numpy(np.ascontiguousarray(weights)).to(rows)
    return out / length(out)
