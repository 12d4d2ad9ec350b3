"""The ends of the Hessian's spectrum, each pair with its residual, its error and whether it has converged."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from epigraph.errors import UsageError
from epigraph.hessian.ends import Progress, Request, ends
from epigraph.hessian.engines import free_memory
from epigraph.hessian.krylov import KEPT, Array, Krylov
from epigraph.hessian.operator import Operator
from epigraph.hessian.program import calmly
from epigraph.hessian.rounding import SAFE, finer, measurable

ROUGH = 8.0  # times the rounding of single products: more is the program's own, and no level to stop at
CHECKED = 1e-6  # the risk at which copies of eigenvalues are looked for


@final
@dataclass(frozen=True)
class Pair:
    """An eigenvalue with its evidence.

    ``residual``: the norm of H u - theta u for the unit vector u, from products, not from a recurrence; an eigenvalue lies within
    ``bound`` = residual + noise of theta.  ``error``: the estimate residual^2 / gap, plus noise, and how far off the rank may be where
    intervals overlap.  ``converged``: the estimate is below the tolerance, relative to theta, or at the level of the products'
    own rounding, unless the program rounds by much more.  ``multiplicity``: how many of the listed values agree with this one
    within their errors.
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
class Spectrum:
    """Both ends of a spectrum, the largest first and the smallest first, and how they were found."""

    top: tuple[Pair, ...]
    bottom: tuple[Pair, ...]
    n: int
    kind: str
    products: int
    risk: float
    noise: float
    seconds: float
    dtype: str
    engine: str
    value: float
    gradient_norm: float
    seed: int
    tol: float
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    vectors: Mapping[str, Tensor] | None = field(default=None, repr=False, compare=False)

    @property
    def converged(self) -> bool:
        """Have all pairs converged, and was no copy of an eigenvalue missed at the stated risk?"""
        return all(p.converged for p in (*self.top, *self.bottom)) and self.risk <= CHECKED

    def __repr__(self) -> str:
        ends = [
            f"{name} {', '.join(f'{p.value:.6g}' + ('' if p.converged else '?') for p in pairs)}"
            for name, pairs in (("top", self.top), ("bottom", self.bottom))
            if pairs
        ]
        state = "converged" if self.converged else "not converged"
        return f"Spectrum({'; '.join(ends)}; n={self.n}, {state}, {self.products} products)"

    def to_dict(self) -> dict[str, Any]:
        """JSON without tensors."""
        keys = (
            "n",
            "kind",
            "products",
            "risk",
            "noise",
            "seconds",
            "dtype",
            "engine",
            "value",
            "gradient_norm",
            "seed",
            "tol",
        )
        return {
            "schema": "epigraph/spectrum/1",
            "top": [p.to_dict() for p in self.top],
            "bottom": [p.to_dict() for p in self.bottom],
            "converged": self.converged,
            **{k: getattr(self, k) for k in keys},
            "blocks": list(self.names),
            "notes": list(self.notes),
        }


@calmly
def spectrum_of(
    H: Operator,
    top: int = 5,
    bottom: int = 3,
    *,
    tol: float = 1e-6,
    copies: bool = True,
    most: int | None = None,
    seed: int = 0,
    vectors: bool = False,
    without: Sequence[Tensor] = (),
    half: bool = False,
) -> Spectrum:
    r"""The largest and the smallest eigenvalues of a symmetric operator, from one Krylov process.

    Args:
        H: the operator.
        top: how many of the largest; all where there are fewer.
        bottom: how many of the smallest.
        tol: the relative error that is asked for.
        copies: after convergence, look for copies of multiple eigenvalues that the process cannot have seen.
        most: products at most; 20 (top + bottom) + 300 by default.
        seed: of the random starts.
        vectors: keep the Ritz vectors, as "top" [top, n] and "bottom" [bottom, n].
        without: directions that are projected away, such as those of a known symmetry.
        half: copies at the lower end matter only below half of the last value there, where that is positive.

    Raises:
        UsageError: counts that are negative or both zero.

    Cost: one product per step; memory n numbers per step (twice that up to a million rows), up to half of the free
    memory, then a thick restart.
    """
    if top < 0 or bottom < 0 or top + bottom == 0:
        raise UsageError("E025", f"top={top}, bottom={bottom} asks for nothing", hint="top=5, bottom=3")
    top, bottom = min(top, H.n), min(bottom, H.n)
    start, before = time.perf_counter(), H.products
    multiply, directions = _projected(H, without)
    process = Krylov(multiply, H.n, H.dtype, H.device, seed, H.epsilon)
    for direction in directions:
        process.lock(direction)
    width = H.n * torch.finfo(H.dtype).bits / 8 * (2 if H.n <= KEPT else 1)
    room = free_memory(H.device) / 2 / width
    room = room if H.group is None else H.group.least(room)  # every process must take the same steps
    capacity = int(min(max(room, 2 * (top + bottom) + 8), 1200))
    budget = most if most is not None else 20 * (top + bottom) + 300
    request = Request(top, bottom, tol, CHECKED if copies else 1.0, budget, capacity, half=half)
    state = ends(process, request)
    noise = max(process.noise, _rounding(H, process, state, request, directions))
    pairs = _pairs(process, state, request, noise)
    kept = None
    if vectors:
        kept = {
            "top": _stack(process, state, state.wanted[: len(pairs[0])]),
            "bottom": _stack(process, state, _low(state, request)),
        }
    return Spectrum(
        *pairs,
        n=H.n, kind=H.kind, products=H.products - before, risk=state.risk, noise=noise, seconds=time.perf_counter() - start,
        dtype=str(H.dtype).removeprefix("torch."), engine=H.engine.name, value=H.value, gradient_norm=float(H.gradient.norm()),
        seed=seed, tol=tol, names=H.names, notes=_notes(process, state, request, noise), vectors=kept,
    )  # fmt: skip


def _notes(process: Krylov, state: Progress, request: Request, noise: float) -> tuple[str, ...]:
    """What has to be said beside the pairs."""
    notes = [] if state.all_converged else [f"not converged after {process.products} products; the pairs are marked"]
    if state.all_converged and state.risk > CHECKED:
        spent = "copies of multiple eigenvalues may be missing: the budget of products was spent"
        notes.append(spent if request.risk < 1 else "copies of multiple eigenvalues were not looked for")
    listed = np.abs(state.ritz.values[[*_high(state, request), *_low(state, request)]])
    if noise > max(process.noise, request.tol * float(listed.min())):
        notes.append(f"the program rounds: its products are off by up to {noise:.1e} (dtype float64 is finer)")
    return tuple(notes)


def _projected(H: Operator, without: Sequence[Tensor]) -> tuple[Any, list[Tensor]]:
    if not without:
        return H.multiply, []
    stacked = torch.stack([w.reshape(-1).to(H.device, torch.float64) for w in without])
    rows = torch.linalg.svd(stacked, full_matrices=False)
    basis = rows.Vh[rows.S > 1e-12 * rows.S.max()].to(H.dtype)

    def multiply(v: Tensor) -> Tensor:
        w = H.multiply(v)
        return w - basis.T @ (basis @ w)

    return multiply, list(basis)


def _low(state: Progress, request: Request) -> list[int]:
    return list(range(min(request.bottom, len(state.ritz))))


def _high(state: Progress, request: Request) -> list[int]:
    m = len(state.ritz)
    return list(range(m - 1, max(m - 1 - request.top, -1), -1))


def _rounding(H: Operator, process: Krylov, state: Progress, request: Request, directions: Sequence[Tensor]) -> float:
    """How far the products are from a finer precision's, from one product along a signed sum of the listed vectors."""
    ranks = list(dict.fromkeys([*_high(state, request), *_low(state, request)]))
    if not measurable(H) or not ranks:
        return 0.0
    signs = 2.0 * torch.randint(0, 2, (len(ranks),), generator=process.generator).double().numpy() - 1.0
    v, image = process.mixed(state.ritz, state.ritz.vectors[:, ranks] @ signs)
    exact = finer(H, v)
    if exact is None:
        return 0.0
    apart = exact - image.double()
    for direction in directions:
        apart -= (direction.double() @ apart) * direction.double()
    return SAFE * float(apart.norm())


def _pairs(
    process: Krylov, state: Progress, request: Request, noise: float
) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """True residuals; a pair whose true residual is far from the recurrence's is judged by the true one."""
    high, low = _high(state, request), _low(state, request)
    settled = {k: ok for k, ok in zip(state.wanted, state.converged, strict=True)}
    rough = noise > ROUGH * process.noise
    found: dict[int, tuple[float, float]] = {}
    for k in dict.fromkeys([*high, *low]):
        residual = process.true_residual(state.ritz, k)
        known = float(state.ritz.residuals[k])
        error = float(state.errors[k])
        if residual > 2 * known + noise:
            error = max(error, min(residual, error * (residual / known) ** 2 if known > 0 else residual))
        found[k] = residual, error
    values = state.ritz.values

    def listed(ranks: list[int], sign: float) -> tuple[Pair, ...]:
        limit = state.limits[0] if sign > 0 else -state.limits[1]
        errors = _ranked(sign * values[ranks], np.array([found[k][1] for k in ranks]), limit) + noise
        pairs = []
        for k, error in zip(ranks, errors.tolist(), strict=True):
            residual, own = found[k]
            copies = sum(abs(values[k] - values[j]) <= found[j][1] + own + noise for j in ranks)
            wanted = request.tol * abs(float(values[k]))
            good = settled.get(k, False) and (own + noise <= wanted if rough else own <= max(wanted, noise))
            pairs.append(Pair(float(values[k]), residual, residual + noise, error, bool(good), int(copies)))
        return tuple(pairs)

    return listed(high, 1.0), listed(low, -1.0)


def _ranked(values: Array, errors: Array, limit: float) -> Array:
    """The errors of descending values as the largest, the second largest and so on.

    Intervals that overlap may have been listed in a wrong order, and nothing is missing beyond the limit only, which lies
    outside values that are not told apart.
    """
    upper, lower = -np.sort(-(values + errors)), -np.sort(-(values - errors))
    beyond = limit - values if math.isfinite(limit) else errors
    return np.maximum(np.maximum(errors, beyond), np.maximum(upper - values, values - lower))


def _stack(process: Krylov, state: Progress, chosen: list[int]) -> Tensor:
    rows = [process.vector(state.ritz, k) for k in chosen]
    return torch.stack(rows) if rows else torch.empty((0, process.n), dtype=process.dtype, device=process.device)
