r"""The density of the spectrum, by stochastic Lanczos quadrature with the outliers apart.

A random unit vector q in N dimensions has E sum_i (q . u_i)^2 f(lambda_i) = tr f / N; a Lanczos process from q gives the Gauss quadrature
of that measure, whose nodes are the Ritz values and whose weights are the squared first components of its eigenvectors [1, 2].
Outliers that have been found are removed first (q is drawn orthogonal to them) and stand as atoms of mass 1/n each,
so that the noise of the bulk does not drown them.  Every number has an error: the spread over probes, and the difference between the rule
and the one of half its steps, added as squares.

[1] G. Golub, G. Meurant, Matrices, Moments and Quadrature (2010).  [2] S. Ubaru, J. Chen, Y. Saad, Fast estimation of tr f(A) via stochastic
Lanczos quadrature (2017).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from torch import Tensor

from epigraph.errors import UsageError
from epigraph.hessian.krylov import Array, Krylov, Ritz
from epigraph.hessian.operator import Operator
from epigraph.hessian.program import calmly
from epigraph.hessian.trace import Estimate

Rule = tuple[Array, Array]


@final
@dataclass(frozen=True)
class Density:
    """Quadratures of the bulk, one per probe, and the outliers as atoms; the whole has mass 1."""

    nodes: tuple[Array, ...]
    weights: tuple[Array, ...]
    widths: tuple[Array, ...]
    halves: tuple[tuple[Array, Array], ...]
    outliers: Array
    n: int
    products: int
    seconds: float
    seed: int

    @property
    def bulk(self) -> float:
        """The mass of the bulk."""
        return 1.0 - len(self.outliers) / self.n

    def average(self, f: Callable[[Array], Array]) -> Estimate:
        """tr f(H) / n: exact over the outliers, a mean over probes on the bulk, with its standard error."""
        fixed = float(np.sum(f(self.outliers))) / self.n if len(self.outliers) else 0.0
        each = [float(w @ f(x)) for x, w in zip(self.nodes, self.weights, strict=True)]
        coarse = float(np.mean([w @ f(x) for x, w in self.halves]))
        error = math.hypot(_spread(each), float(np.mean(each)) - coarse)
        return Estimate(fixed + self.bulk * float(np.mean(each)), self.bulk * error)

    def cumulative(self, at: Array) -> tuple[Array, Array]:
        """The share of eigenvalues up to each point, and its standard error."""
        rows = self._staircases(at)
        fixed = np.searchsorted(np.sort(self.outliers), at, side="right") / self.n
        error = rows.std(0, ddof=1) / math.sqrt(len(rows)) if len(rows) > 1 else np.full(len(at), np.inf)
        return fixed + self.bulk * rows.mean(0), self.bulk * error

    def _staircases(self, at: Array) -> Array:
        """The share of the bulk up to each point, by each probe: a node's weight is spread evenly over its width."""
        rules = zip(self.nodes, self.weights, self.widths, strict=True)
        return np.stack([np.clip((at[:, None] - x + h) / (2 * h), 0.0, 1.0) @ w for x, w, h in rules])

    def masses(self, edges: Array) -> tuple[Array, Array]:
        """The share of all eigenvalues between consecutive edges, and its standard error."""
        rows = np.diff(self._staircases(edges), axis=1)
        fixed = np.histogram(self.outliers, edges)[0] / self.n
        error = rows.std(0, ddof=1) / math.sqrt(len(rows)) if len(rows) > 1 else np.full(len(edges) - 1, np.inf)
        return fixed + self.bulk * rows.mean(0), self.bulk * error

    @property
    def negative(self) -> Estimate:
        """Negative curvature as a share of all: the sum of |lambda| over lambda < 0, divided by the sum of |lambda|."""
        down, whole = self.average(lambda x: np.maximum(-x, 0.0)), self.average(np.abs)
        if not whole.value > 0:
            return Estimate(0.0, 0.0)
        share, error = down.value / whole.value, math.hypot(down.error, self._crossing())
        return Estimate(share, math.hypot(error, share * whole.error) / whole.value)

    def _crossing(self) -> float:
        """What nodes whose residuals reach below zero may hide there: with none below, no probe shows a spread.

        A node of weight w in x that is spread evenly over x - h to x + h has w (h - |x|)^2 / 4h beyond zero.
        """
        reach = [
            w @ np.where(h > np.abs(x), (h - np.abs(x)) ** 2 / (4 * h), 0.0)
            for x, w, h in zip(self.nodes, self.weights, self.widths, strict=True)
        ]
        return self.bulk * float(np.mean(reach))

    def __repr__(self) -> str:
        share = self.negative
        return (
            f"Density({len(self.nodes)} probes, {len(self.outliers)} outliers, n={self.n}: "
            f"negative curvature {share.value:.3g} ± {share.error:.2g} of all; {self.products} products)"
        )

    def to_dict(self) -> dict[str, Any]:
        negative = self.negative
        return {
            "nodes": [x.tolist() for x in self.nodes], "weights": [w.tolist() for w in self.weights],
            "outliers": self.outliers.tolist(), "n": self.n, "products": self.products, "seconds": self.seconds, "seed": self.seed,
            "negative_share": negative.value, "negative_share_error": negative.error,
        }  # fmt: skip


@calmly
def density_of(
    H: Operator,
    *,
    probes: int = 8,
    steps: int = 60,
    outliers: tuple[Array, Tensor] | None = None,
    seed: int = 0,
) -> Density:
    """Quadratures of the spectral density.

    Args:
        H: the operator.
        probes: independent random vectors; the error bars need at least two.
        steps: products per probe.
        outliers: eigenvalues [k] and eigenvectors [k, n] that are taken out of the bulk.
        seed: of the probes.

    Cost: probes * steps products, and ``steps`` vectors of memory.
    """
    if probes < 1 or steps < 1:
        raise UsageError("E025", f"probes={probes}, steps={steps}", hint="at least one of each")
    start, before = time.perf_counter(), H.products
    nodes, weights, widths, halves = [], [], [], []
    values, vectors = outliers if outliers is not None else (np.zeros(0), None)
    for k in range(probes):
        (x, w, h), half = _quadrature(H, steps, vectors, seed * 1_000_003 + k)
        nodes.append(x)
        weights.append(w)
        widths.append(h)
        halves.append(half)
    return Density(
        tuple(nodes),
        tuple(weights),
        tuple(widths),
        tuple(halves),
        np.asarray(values, float),
        H.n,
        H.products - before,
        time.perf_counter() - start,
        seed,
    )


def _quadrature(H: Operator, steps: int, vectors: Tensor | None, seed: int) -> tuple[tuple[Array, Array, Array], Rule]:
    """The Gauss rule of one random direction in the complement of the outliers with its nodes' widths, and that of half its steps."""
    process = Krylov(H.multiply, H.n, H.dtype, H.device, seed, H.epsilon)
    for vector in vectors if vectors is not None else ():
        process.lock(vector)
    if process.start() is None:
        return (np.zeros(1), np.ones(1), np.full(1, 1e-300)), (np.zeros(1), np.ones(1))
    chain: list[int] = []
    front: int | None = process.pending[0]
    while front is not None and len(chain) < steps:
        chain.append(front)
        front = process.step(front)
    ritz, half = process.ritz(chain), chain[: max(1, len(chain) // 2)] if front is not None else chain
    coarse = process.ritz(half)
    return (ritz.values, ritz.vectors[0] ** 2, _widths(ritz)), (coarse.values, coarse.vectors[0] ** 2)


def _widths(ritz: Ritz) -> Array:
    """How far to each side a node's weight is spread: half-way to its nearer neighbour, and no further than its residual."""
    apart = np.append(np.append(np.inf, np.diff(ritz.values)), np.inf)
    near = np.minimum(apart[:-1], apart[1:]) / 2
    tiny = 1e-12 * max(float(np.abs(ritz.values).max()), 1e-280)
    return np.maximum(np.minimum(near, ritz.residuals), tiny)


def _spread(values: list[float]) -> float:
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.inf
