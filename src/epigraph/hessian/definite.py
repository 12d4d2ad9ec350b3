r"""Rigorous bounds of eigenvalues: a Cholesky factor in floats with its residual, and norms of what is uncertain.

For a symmetric float matrix A and any matrix C, A - sI = C C^T + E gives lambda_min(A) >= s - |E|_F: nothing about how
C was computed is assumed, only that the residual is bounded with the rounding of its own computation.
"""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor

from epigraph.hessian.forms import EPS, TINY, Arithmetic, Form


def lower_eigenvalue(A: Tensor) -> float:
    """A number below the least eigenvalue of a symmetric matrix of floats; -inf where none is found."""
    if not bool(torch.isfinite(A).all()):
        return -math.inf
    n = len(A)
    eye = torch.eye(n, dtype=torch.float64)
    size = float(A.abs().sum(1).max()) + TINY
    try:
        guess = float(torch.linalg.eigvalsh(A)[0])
    except torch.linalg.LinAlgError:
        return -math.inf
    for slack in (1e-15, 1e-14, 1e-12, 1e-9):
        s = guess - slack * n * size
        C, failed = torch.linalg.cholesky_ex(A - s * eye)
        if int(failed) == 0 and bool(torch.isfinite(C).all()):
            bound = (A - s * eye - C @ C.T).abs() + (n + 8) * EPS * (C.abs() @ C.abs().T + A.abs() + abs(s) * eye)
            return _below(s, frobenius(bound + TINY))
    return -math.inf


def upper_eigenvalue(A: Tensor) -> float:
    """A number above the greatest eigenvalue."""
    return -lower_eigenvalue(-A)


def frobenius(A: Tensor) -> float:
    """An upper bound of the Frobenius norm, and so of the spectral norm."""
    return float(A.square().sum().sqrt()) * (1 + (A.numel() + 8) * EPS) + 2.0**-500


def nonnegative_norm(R: Tensor) -> float:
    """An upper bound of |E| over all symmetric E with |E_ij| <= R_ij: the spectral radius of the symmetric part of R.

    Collatz and Wielandt: max_i (R x)_i / x_i for any x > 0.
    """
    if not bool(torch.isfinite(R).all()):
        return math.inf
    S = (R + R.T) / 2 * (1 + 4 * EPS)
    x = torch.ones(len(S), dtype=torch.float64)
    for _ in range(12):
        y = S @ x + 1e-9 * (S @ x).max()
        if float(y.max()) <= 0:
            break
        x = y / y.max()
    return float(((S @ x) / x).max()) * (1 + (len(S) + 8) * EPS) + TINY


@final
class Bound:
    """lambda_min over all matrices of a form, with a congruence S: S^T H S >= theta I."""

    def __init__(self, arithmetic: Arithmetic, H: Form):
        self.a, self.H = arithmetic, H

    def modulus(self) -> float:
        """mu with H >= mu I for every matrix of the form; -inf or below zero where none is shown."""
        n = len(self.H.c)
        best = self._theta(self.H)
        middle = (self.H.c + self.H.c.T) / 2
        if best == -math.inf or not bool(torch.isfinite(middle).all()):
            return -math.inf
        values, vectors = torch.linalg.eigh(middle)
        if float(values[0]) <= 0:
            return best
        S = vectors * values.rsqrt()
        scaled = self.a.matmul(self.a.matmul(Form(S.T.contiguous()), self.H), Form(S))
        theta = self._theta(scaled)
        if theta > 0:
            largest = upper_eigenvalue(S @ S.T) + n * (n + 8) * EPS * float((S.abs() @ S.abs().T).max())
            best = max(best, theta / largest * (1 - 8 * EPS))
        return best

    def norm(self) -> float:
        """An upper bound of |H| over the symmetric matrices of the form; inf where none is found."""
        if not all(t is None or bool(torch.isfinite(t).all()) for t in (self.H.c, self.H.L, self.H.r)):
            return math.inf
        middle, spread, linear = self._parts(self.H)
        return (frobenius(middle) + linear + nonnegative_norm(spread)) * (1 + 8 * EPS)

    def _theta(self, G: Form) -> float:
        if not all(t is None or bool(torch.isfinite(t).all()) for t in (G.c, G.L, G.r)):
            return -math.inf
        middle, spread, linear = self._parts(G)
        return _below(lower_eigenvalue(middle), linear, nonnegative_norm(spread))

    def _parts(self, G: Form) -> tuple[Tensor, Tensor, float]:
        """The symmetric centre, entrywise bounds of what is uncertain, and a bound of the linear part."""
        middle = (G.c + G.c.T) / 2
        spread = (G.r if G.r is not None else torch.zeros_like(G.c)) + 2 * EPS * G.c.abs()
        if G.L is None:
            return middle, spread, 0.0
        L = (G.L + G.L.transpose(-1, -2)) / 2
        return middle, spread + 2 * EPS * G.L.abs().sum(0), self._linear(L)

    def _linear(self, L: Tensor) -> float:
        """An upper bound of |sum e_k L_k| over the ball or the box: norms of two flattenings of the third-order tensor."""
        m, n = L.shape[0], L.shape[1]
        rows, blocks = L.reshape(m, -1), L.reshape(-1, n)
        bounds = [largest_singular_value(blocks)]
        bounds.append(largest_singular_value(rows.T if m <= n * n else rows))
        ball = min(bounds)
        if self.a.ball:
            return ball
        return min(ball * math.sqrt(m) * (1 + 4 * EPS), nonnegative_norm(L.abs().sum(0) * (1 + m * EPS)))


def largest_singular_value(M: Tensor) -> float:
    """An upper bound of |M|, from the greatest eigenvalue of M^T M."""
    terms = len(M)
    gram = M.T @ M
    rounding = (terms + 8) * EPS * (M.abs().T @ M.abs()) + TINY
    return math.sqrt(max(0.0, upper_eigenvalue((gram + gram.T) / 2) + frobenius(rounding))) * (1 + 8 * EPS)


def _below(lowest: float, *parts: float) -> float:
    """lowest minus the parts, rounded down."""
    out = lowest - sum(parts)
    return out - 8 * EPS * (abs(lowest) + sum(abs(p) for p in parts)) if math.isfinite(out) else -math.inf
