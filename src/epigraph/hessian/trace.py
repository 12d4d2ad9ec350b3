r"""The trace and the Frobenius norm, with standard errors, from few products.

The trace splits over an orthonormal basis Q of some s directions:  tr H = tr(Q^T H Q) + tr(P H P), P = I - Q Q^T.  The first part is
exact; the second is the mean of g^T P H P g over vectors g of random signs, with variance 2 sum_{i != j} (P H P)_ij^2 per sample.
Q is a Krylov basis, which holds the large eigenvalues first: a step that takes d from |P H P|_F^2 saves about 2 d / (tol tr)^2 samples,
so the basis grows while that is more than one [cf. 1, 2].

[1] R. Meyer, C. Musco, C. Musco, D. Woodruff, Hutch++ (2021).  [2] D. Persson, A. Cortinovis, D. Kressner, Improved variants of the Hutch++ algorithm (2022).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from epigraph.errors import UsageError
from epigraph.hessian.krylov import Krylov
from epigraph.hessian.operator import Operator
from epigraph.hessian.program import calmly

FIRST = 6  # products before anything is estimated
PRIOR = 8  # samples that the closed form of the variance weighs as much as
DIAGONAL = (
    0.5  # share of |P H P|_F^2 that its diagonal counts for at most: an estimate of it must not make the variance small
)
SHARE = 0.8  # of what a step takes from |P H P|_F^2, off the diagonal
WINDOW = 4  # steps over which the gain of the basis is averaged


@final
@dataclass(frozen=True)
class Estimate:
    """A number with its standard error, rounding of the products included."""

    value: float
    error: float


@final
@dataclass(frozen=True)
class Trace:
    """tr H and |H|_F with standard errors, and what they cost."""

    trace: Estimate
    frobenius: Estimate
    n: int
    products: int
    basis: int
    samples: int
    converged: bool
    seconds: float
    seed: int

    def __repr__(self) -> str:
        both = f"{self.trace.value:.6g} ± {self.trace.error:.2g}, Frobenius norm {self.frobenius.value:.6g} ± {self.frobenius.error:.2g}"
        return f"Trace({both}; n={self.n}, {self.products} products{'' if self.converged else ', not converged'})"

    def to_dict(self) -> dict[str, Any]:
        return {
            "trace": self.trace.value, "trace_error": self.trace.error,
            "frobenius": self.frobenius.value, "frobenius_error": self.frobenius.error,
            "n": self.n, "products": self.products, "basis": self.basis, "samples": self.samples,
            "converged": self.converged, "seconds": self.seconds, "seed": self.seed,
        }  # fmt: skip


@calmly
def trace_of(H: Operator, tol: float = 0.01, *, most: int = 2000, seed: int = 0) -> Trace:
    """tr H to a relative standard error ``tol``.

    Args:
        H: the operator.
        tol: the standard error asked for, as a share of |tr H|.
        most: products at most.
        seed: of the random vectors.

    Raises:
        UsageError: a tolerance that is not positive.
    """
    if not tol > 0:
        raise UsageError("E025", f"tol={tol} is not positive", hint="tol=0.01")
    start, before = time.perf_counter(), H.products
    process = Krylov(H.multiply, H.n, H.dtype, H.device, seed, H.epsilon)
    sampler = _Sampler(H, process, seed)
    _grow(process, sampler, tol, most)
    while not process.complete and process.products + len(sampler.values) < most:
        mean, error = sampler.estimate()
        total = sampler.inside + mean
        if len(sampler.values) >= FIRST and error <= tol * abs(total):
            break
        sampler.draw()
    mean, error = sampler.estimate()
    total = sampler.inside + mean
    return Trace(
        Estimate(total, math.hypot(error, sampler.rounding)), sampler.frobenius(), H.n, H.products - before, len(process.done), len(sampler.values),
        error <= tol * abs(total), time.perf_counter() - start, seed,
    )  # fmt: skip


@final
class _Sampler:
    """Random vectors and their products; projected onto the complement of the basis as it is when they are read."""

    def __init__(self, H: Operator, process: Krylov, seed: int):
        self.H, self.process = H, process
        self.generator = torch.Generator().manual_seed(seed + 7919)
        self.first: list[tuple[Tensor, Tensor]] = []
        self._forget()

    def _forget(self) -> None:
        self.values: list[float] = []
        self.squares: list[float] = []
        self._diagonals = torch.zeros(self.process.n, dtype=torch.float64, device=self.H.device)

    @property
    def inside(self) -> float:
        """The trace over the multiplied part of the basis."""
        return float(np.trace(self.process.projected())) if self.process.done else 0.0

    @property
    def rounding(self) -> float:
        """Of a sum over the basis: the noise of each of its products."""
        return self.process.noise * math.sqrt(len(self.process.done))

    @property
    def captured(self) -> float:
        """The part of |H|_F^2 that the multiplied vectors account for: 2 |HQ|^2 - |Q^T H Q|^2."""
        done = self.process.done
        whole = float((self.process.coupling[: self.process.count, done] ** 2).sum()) if done else 0.0
        return 2 * whole - (float((self.process.projected() ** 2).sum()) if done else 0.0)

    @property
    def room(self) -> int:
        """The dimension of the complement of the multiplied vectors."""
        return self.process.n - len(self.process.done)

    def draw(self, early: bool = False) -> None:
        """One more vector, multiplied once; an early one is read again after the basis has grown."""
        g = (2 * torch.randint(0, 2, (self.process.n,), generator=self.generator, device="cpu") - 1).to(
            self.H.device, self.H.dtype
        )
        image = self.H.multiply(g)
        if early:
            self.first.append((g, image))
        self._read(g, image)

    def again(self) -> None:
        """Read the early vectors anew."""
        self._forget()
        for g, image in self.first:
            self._read(g, image)

    def _read(self, g: Tensor, image: Tensor) -> None:
        """g^T P H P g, |P H P g|^2, and g * (P H P g), whose mean is the diagonal of P H P."""
        rest, inner = self.process.split(g)
        image = image - self.process.combine(self.process.coupling[: self.process.count, self.process.done] @ inner)
        image, _ = self.process.split(image)
        self.values.append(float(rest.double() @ image.double()))
        self.squares.append(float(image.double() @ image.double()))
        self._diagonals += g * image

    @property
    def variance(self) -> float:
        """Of one sample: 2 (|P H P|_F^2 - |diag P H P|^2), the second term from products of different samples."""
        k, square = len(self.values), float(np.mean(self.squares))
        diagonal = (float(self._diagonals @ self._diagonals) - sum(self.squares)) / (k * (k - 1))
        return 2 * (square - min(max(diagonal, 0.0), DIAGONAL * square))

    def estimate(self) -> tuple[float, float]:
        """Mean and standard error of the trace over the complement.

        The variance that few samples show is uncertain, and stopping when it looks small makes it worse.  Its closed form is
        known better from the same products: it counts as ``PRIOR`` further samples.
        """
        if self.room == 0:
            return 0.0, 0.0
        k = len(self.values)
        if k < 2:
            return (self.values[0] if self.values else 0.0), math.inf
        seen = float(np.var(self.values, ddof=1))
        return float(np.mean(self.values)), math.sqrt((PRIOR * self.variance + (k - 1) * seen) / (PRIOR + k - 1) / k)

    def frobenius(self) -> Estimate:
        """|H|_F: what the basis accounts for, and the rest by sampling."""
        if self.room == 0:
            return Estimate(math.sqrt(max(self.captured, 0.0)), self.rounding)
        square = max(self.captured + float(np.mean(self.squares)), 0.0)
        spread = _error(self.squares) if len(self.squares) > 1 else math.inf
        error = spread / (2 * math.sqrt(square)) if square > 0 else spread
        return Estimate(math.sqrt(square), math.hypot(error, self.rounding))


def _error(values: list[float]) -> float:
    """Of the mean of few squares, whose distribution is skewed: of six, the plain one is too small by a factor of 1.3 to 1.8."""
    k = len(values)
    return float(np.std(values, ddof=1) / math.sqrt(k)) * (1 + 4 / k)


def _grow(process: Krylov, sampler: _Sampler, tol: float, most: int) -> None:
    """Grow the basis while a step saves more samples, by what it takes from |P H P|_F^2, than it costs."""
    process.start()
    history = [0.0]
    while not process.complete and process.products < most // 2:
        if not process.pending and process.start() is None:
            break
        process.step(process.pending[0])
        history.append(sampler.captured)
        s = len(process.done)
        if s == FIRST:
            for _ in range(FIRST // 2):
                sampler.draw(early=True)
        if s >= FIRST and s % 2 == 0:
            sampler.again()
            total = sampler.inside + sampler.estimate()[0]
            recent = (history[-1] - history[-1 - WINDOW]) / WINDOW
            if 2 * SHARE * recent <= (tol * total) ** 2:
                break
    sampler.again()
