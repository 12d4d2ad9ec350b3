"""The eigenvalues that a finished process lists, with what is known of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from epigraph.hessian.ends import Progress, Request
from epigraph.hessian.krylov import Array, Krylov
from epigraph.hessian.operator import Operator
from epigraph.hessian.rounding import rounding

ROUGH = 8.0  # times the rounding of single products: more is the program's own, and no level to stop at


@final
@dataclass(frozen=True)
class Pair:
    """An eigenvalue with its evidence.

    ``residual``: the norm of H u - theta u for the unit vector u, from products, not from a recurrence; an eigenvalue lies within
    ``bound`` = residual + noise of theta.  ``error``: the estimate residual^2 / gap, plus noise, and how far off the rank may be where
    intervals overlap.  ``converged``: the estimate is below the tolerance, relative to theta, or at the level of the products'
    own rounding, unless the program rounds by much more; and so it is for those before it.  That no further one is missing is said
    by the spectrum's ``risk``.  ``multiplicity``: how many of the listed values agree with this one within their errors.
    """

    value: float
    residual: float
    bound: float
    error: float
    converged: bool
    multiplicity: int

    def to_dict(self) -> dict[str, Any]:
        return {k: getattr(self, k) for k in ("value", "residual", "bound", "error", "converged", "multiplicity")}


@final
@dataclass(frozen=True)
class _Ends:
    """Values in ascending order, their residuals, their own errors and whether the process counts them as converged.

    ``noise``: what products are off by beside that.
    """

    values: Array
    residuals: Array
    errors: Array
    settled: Array
    noise: float


@final
class Listing:
    """Both ends of a finished process: the ranks that were asked for, and what may be missing."""

    def __init__(self, H: Operator, process: Krylov, state: Progress, request: Request, directions: Sequence[Tensor]):
        self.process, self.state, self.request = process, state, request
        m = len(state.ritz)
        self.low = list(range(min(request.bottom, m)))
        self.high = list(range(m - 1, max(m - 1 - request.top, -1), -1))
        self.ranks = sorted({*self.low, *self.high})
        self.limits = self._beyond() if process.complete else state.limits
        worth = state.settled and not directions  # which are known in the process's precision only
        self.rough = rounding(H, process, state.ritz, self.ranks, self.gap, worth, directions)
        refined = self.rough.refined
        self.ends = self._measured() if refined is None else self._refined(refined.values, refined.residuals)

    def _beyond(self) -> tuple[float, float]:
        """The values next to the listed ones, where all are known."""
        values, high, low = self.state.ritz.values, len(self.state.ritz) - len(self.high), len(self.low)
        return float(values[high - 1]) if high else -math.inf, float(values[low]) if low < len(values) else math.inf

    @property
    def gap(self) -> float:
        """How far eigenvalues that are not listed are from the ranks of those that are."""
        values = self.state.ritz.values
        gaps = [*(values[self.high] - self.limits[0]).tolist(), *(self.limits[1] - values[self.low]).tolist()]
        return max(0.0, min((gap for gap in gaps if gap != -math.inf), default=math.inf))

    def _measured(self) -> _Ends:
        """True residuals; a pair whose true residual is far from the recurrence's is judged by the true one."""
        noise = self.process.noise + self.rough.along
        settled = dict(zip(self.state.wanted, self.state.converged, strict=True))
        residuals, errors = [], []
        for k in self.ranks:
            residual, known = self.process.true_residual(self.state.ritz, k), float(self.state.ritz.residuals[k])
            error = float(self.state.errors[k])
            if residual > 2 * known + noise:
                error = max(error, min(residual, error * (residual / known) ** 2 if known > 0 else residual))
            residuals.append(residual)
            errors.append(error)
        good = np.array([settled.get(k, False) for k in self.ranks])
        return _Ends(self.state.ritz.values[self.ranks], np.array(residuals), np.array(errors), good, noise)

    def _refined(self, values: Array, residuals: Array) -> _Ends:
        """From products in float64: min(r, 2 r^2 / gap), without a gap where intervals meet each other or what is not listed."""
        beside = self.rough.beside
        lower, upper = values - residuals, values + residuals
        below = np.concatenate([[-math.inf], np.maximum.accumulate(upper)[:-1]])
        above = np.concatenate([np.minimum.accumulate(lower[::-1])[::-1][1:], [math.inf]])
        outside = np.maximum(values - (self.limits[0] + beside), (self.limits[1] - beside) - values)
        gaps = np.minimum(np.minimum(values - below, above - values), outside)
        square = np.divide(2 * residuals**2, gaps, out=np.full(len(values), math.inf), where=gaps > 0)
        fine = torch.finfo(torch.float64).eps
        noise = fine * max(64 * self.process.scale, 16 * self.rough.along / torch.finfo(self.process.dtype).eps)
        return _Ends(values, residuals, np.minimum(residuals, square), np.ones(len(values), dtype=bool), noise)

    def pairs(self) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
        """The largest first, the smallest first."""
        upper, lower = self.limits
        return self._side(self.high, 1.0, upper), self._side(self.low, -1.0, -lower)

    def _side(self, ranks: list[int], sign: float, limit: float) -> tuple[Pair, ...]:
        """The pairs of one end; ``sign`` makes its values descend."""
        at = [self.ranks.index(k) for k in ranks]
        ends, beside, level = self.ends, self.rough.beside, ROUGH * self.process.noise
        values, own = ends.values[at], ends.errors[at]
        errors = _ranked(sign * values, own, limit, beside) + ends.noise
        taken = (limit + beside - sign * values > 0) & math.isfinite(limit) & (beside > 0)
        wanted = self.request.tol * np.abs(values)
        good = own <= np.maximum(wanted, self.process.noise)
        if ends.noise > level:
            good = own + ends.noise <= wanted
        good &= ends.settled[at] & np.logical_or(~taken, beside <= np.maximum(wanted, level))
        good = np.logical_and.accumulate(good)  # a rank is known after those before it
        agree = np.abs(values[:, None] - values) <= own[:, None] + own + ends.noise
        rows = zip(values, ends.residuals[at], errors, good, agree.sum(axis=1), strict=True)
        return tuple(
            Pair(float(v), float(r), float(r) + ends.noise, float(e), bool(g), int(c)) for v, r, e, g, c in rows
        )

    def remark(self) -> str | None:
        """That the program rounds, where it keeps values from converging."""
        beside = self.rough.beside if self.rough.beside > self.gap else 0.0
        done = self.rough.refined is not None and all(p.converged for side in self.pairs() for p in side)
        off = max(0.0 if done else self.rough.along, beside)
        if off <= max(ROUGH * self.process.noise, self.request.tol * float(np.abs(self.ends.values).min())):
            return None
        return f"the program rounds: its products are off by up to {off:.1e} (dtype float64 is finer)"

    def vectors(self) -> dict[str, Tensor]:
        """The unit vectors of both ends, row by row."""
        return {"top": self._stacked(self.high), "bottom": self._stacked(self.low)}

    def _stacked(self, ranks: list[int]) -> Tensor:
        refined, process = self.rough.refined, self.process
        if refined is not None:
            return refined.vectors[[self.ranks.index(k) for k in ranks]].to(process.dtype)
        rows = [process.vector(self.state.ritz, k) for k in ranks]
        return torch.stack(rows) if rows else torch.empty((0, process.n), dtype=process.dtype, device=process.device)


def _ranked(values: Array, errors: Array, limit: float, beside: float) -> Array:
    """The errors of descending values as the largest, the second largest and so on.

    Intervals that overlap may have been listed in a wrong order.  Of what is not listed nothing is beyond the limit, which lies
    outside values that are not told apart, or further beyond than products with other vectors are off.
    """
    upper, lower = -np.sort(-(values + errors)), -np.sort(-(values - errors))
    beyond = errors if limit == math.inf else limit + beside - values
    return np.maximum(np.maximum(errors, beyond), np.maximum(upper - values, values - lower))
