r"""How many eigenvalues of a Hessian are negative or zero, by products with vectors.

The smallest eigenvalues are found one after the other (both ends of a Krylov space, and a look for copies at a risk of 1e-6)
until one is positive and half of it is beyond its error bar and the tolerance: none is missing below that half.  How often the
last one itself occurs is not asked: units that are zero all have the same eigenvalues.  The bar is the pair's own error and
how much products with the eigenvectors change on the way that a Newton step leads further, doubled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from epigraph.hessian.operator import Operator
from epigraph.hessian.spectrum import spectrum_of

MOST = 16  # eigenvalues that are looked at
PRODUCTS = 3000  # for all of them
TOLERANCE = 1e-8  # of an eigenvalue; that none is missing below the last one holds up to this share of the largest


@final
@dataclass(frozen=True)
class Inertia:
    """``negative`` eigenvalues below -``bar`` and ``zeros`` within it, of the ``values`` that were found, smallest first.

    ``reason`` says why the counts are not settled; it is empty where they are.
    """

    negative: int
    zeros: int
    bar: float
    values: Tensor
    reason: str
    products: int


def inertia(here: Operator, beyond: Operator, seed: int = 0) -> Inertia:
    """Of the Hessian ``here``; ``beyond`` is the Hessian where twice the Newton step that is left leads to."""
    before = here.products
    count, spent = 1, 0
    while True:
        budget = PRODUCTS - spent
        found = spectrum_of(here, 1, count, tol=TOLERANCE, most=budget, seed=seed, vectors=True, half=True)
        assert found.vectors is not None
        spent = here.products - before
        rows = found.vectors["bottom"]
        change = max(float((beyond.multiply(v) - here.multiply(v)).norm()) for v in rows)
        bar = max(min(p.error, p.bound) for p in found.bottom) + found.noise + 2 * change
        values = [p.value for p in found.bottom]
        negative = sum(v < -bar for v in values)
        zeros = sum(abs(v) <= bar for v in values)
        slack = TOLERANCE * max(abs(v) for v in (*values, found.top[0].value))
        settled = found.converged and (values[-1] / 2 > bar + slack or len(values) == here.n)
        reason = ""
        if not found.converged:
            reason = f"the smallest eigenvalues have not converged after {spent} products with the Hessian"
        elif not settled and (count >= MOST or spent >= PRODUCTS):
            reason = f"the {len(values)} smallest eigenvalues are negative or zero; no more were looked at"
        if settled or reason:
            top = [found.top[0].value] if len(values) < here.n else []
            ordered = torch.tensor(values + top, dtype=torch.float64)
            return Inertia(negative, zeros, bar, ordered, reason, here.products - before)
        count = min(2 * count, here.n)
