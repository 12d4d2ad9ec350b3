"""The ends of the Hessian's spectrum, each pair with its residual, its error and whether it has converged."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor

from epigraph.errors import UsageError
from epigraph.hessian.ends import Request, ends
from epigraph.hessian.engines import free_memory
from epigraph.hessian.krylov import KEPT, Krylov, length
from epigraph.hessian.operator import Operator
from epigraph.hessian.pairs import Listing, Pair
from epigraph.hessian.program import calmly

SMALL = 1000  # rows up to which all may be multiplied, which settles what is singular
CHECKED = 1e-6  # the risk at which copies of eigenvalues are looked for


@final
@dataclass(frozen=True)
class Spectrum:
    """Both ends of a spectrum, the largest first and the smallest first, and how they were found.

    Of the ``products``, ``looked`` were spent after convergence, on copies of multiple eigenvalues; ``risk`` bounds the chance that
    one is missing all the same.
    """

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
    looked: int = 0

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
            "looked",
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
        most: products at most; 20 (top + bottom) + 300 by default, and as many as rows up to 1,000.
        seed: of the random starts.
        vectors: keep the Ritz vectors, as "top" [top, n] and "bottom" [bottom, n].
        without: directions that are projected away, such as those of a known symmetry.
        half: copies at the lower end matter only below half of the last value there, where that is positive.

    Raises:
        UsageError: counts that are negative or both zero; directions that span everything.

    Cost: one product per step; memory n numbers per step (twice that up to a million rows), up to half of the free
    memory, then a thick restart.
    """
    if top < 0 or bottom < 0 or top + bottom == 0:
        raise UsageError("E025", f"top={top}, bottom={bottom} asks for nothing", hint="top=5, bottom=3")
    top, bottom = min(top, H.n), min(bottom, H.n)
    start, before = time.perf_counter(), H.products
    multiply, directions, largest = _projected(H, without)
    process = Krylov(multiply, H.n, H.dtype, H.device, seed, H.epsilon)
    for direction in directions:
        process.lock(direction)
    width = H.n * torch.finfo(H.dtype).bits / 8 * (2 if H.n <= KEPT else 1)
    room = free_memory(H.device) / 2 / width
    room = room if H.group is None else H.group.least(room)  # every process must take the same steps
    capacity = int(min(max(room, 2 * (top + bottom) + 8), 1200))
    budget = most if most is not None else max(20 * (top + bottom) + 300, H.n if H.n <= SMALL else 0)
    request = Request(top, bottom, tol, CHECKED if copies else 1.0, budget, capacity, half=half)
    state = ends(process, request)
    process.scale = max(process.scale, largest())
    found = Listing(H, process, state, request, directions)
    return Spectrum(
        *found.pairs(),
        n=H.n, kind=H.kind, products=H.products - before, risk=state.risk, looked=state.looked, noise=found.ends.noise, seconds=time.perf_counter() - start,
        dtype=str(H.dtype).removeprefix("torch."), engine=H.engine.name, value=H.value, gradient_norm=float(H.gradient.norm()),
        seed=seed, tol=tol, names=H.names, notes=_notes(found), vectors=found.vectors() if vectors else None,
    )  # fmt: skip


def _notes(found: Listing) -> tuple[str, ...]:
    """What has to be said beside the pairs."""
    state = found.state
    notes = (
        [] if state.all_converged else [f"not converged after {found.process.products} products; the pairs are marked"]
    )
    if state.all_converged and state.risk > CHECKED:
        spent = "copies of multiple eigenvalues may be missing: the products or the memory for vectors were spent"
        notes.append(spent if found.request.risk < 1 else "copies of multiple eigenvalues were not looked for")
    remark = found.remark()
    return tuple(notes if remark is None else [*notes, remark])


def _projected(
    H: Operator, without: Sequence[Tensor]
) -> tuple[Callable[[Tensor], Tensor], list[Tensor], Callable[[], float]]:
    """The product less its part in some directions; these, orthonormal; the largest product before that, which it rounds like."""
    if not without:
        return H.multiply, [], float
    stacked = torch.stack([w.reshape(-1).to(H.device, torch.float64) for w in without])
    rows = torch.linalg.svd(stacked, full_matrices=False)
    basis = rows.Vh[rows.S > 1e-12 * rows.S.max()].to(H.dtype)
    if len(basis) >= H.n:
        raise UsageError("E025", f"{len(basis)} directions leave nothing of {H.n} variables", hint="fewer in without=")

    sizes = [0.0]

    def multiply(v: Tensor) -> Tensor:
        w = H.multiply(v)
        sizes[0] = max(sizes[0], length(w))
        return w - basis.T @ (basis @ w)

    return multiply, list(basis), lambda: sizes[0]
