"""The ends of random symmetric matrices against the dense eigenvalues: nothing marked converged is wrong, no copy is missed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from epigraph.hessian.ends import Request, ends
from epigraph.hessian.krylov import Krylov


def _matrix(kind: str, n: int, rng: np.random.Generator) -> np.ndarray:
    q, _ = np.linalg.qr(rng.standard_normal((n, n)))
    if kind == "zero":
        return np.zeros((n, n))
    if kind == "rank-one":
        return np.outer(q[0], q[0]) * rng.uniform(0.1, 10)
    if kind == "identity":
        return np.eye(n)
    if kind == "repeated":
        values = np.repeat(rng.uniform(-1, 1, n), 3)[:n]
        values[:4] = rng.uniform(1, 2)
        values[4:7] = -rng.uniform(1, 2)
    elif kind == "clustered":
        values = np.concatenate([1 + 1e-7 * rng.standard_normal(4), rng.uniform(-0.3, 0.3, n - 4)])
    elif kind == "opposite":
        values = rng.uniform(-0.5, 0.5, n)
        values[:2] = 1.0, -1.0
    elif kind == "network":  # a bulk at zero, a few outliers, a thin negative edge
        values = np.concatenate([rng.exponential(1.0, 10) + 0.5, 1e-3 * rng.standard_normal(n - 10)])
    else:
        values = rng.standard_normal(n)
    return (q * values[:n]) @ q.T


KINDS = ["zero", "rank-one", "identity", "repeated", "clustered", "opposite", "network", "random"]


def _check(matrix: np.ndarray, top: int, bottom: int, seed: int) -> None:
    n = len(matrix)
    dense = torch.from_numpy((matrix + matrix.T) / 2)
    exact = np.linalg.eigvalsh(dense.numpy())
    process = Krylov(lambda v: dense @ v, n, torch.float64, torch.device("cpu"), seed)
    state = ends(process, Request(top, bottom, 1e-6, 1e-6, 5 * n, 10_000))
    size = max(abs(exact[0]), abs(exact[-1]), 1e-300)
    values = state.ritz.values
    high = list(range(len(values) - 1, len(values) - 1 - top, -1))
    assert state.all_converged and state.risk <= 1e-6
    for rank, k in enumerate(high):
        assert abs(values[k] - exact[n - 1 - rank]) <= 1e-6 * abs(exact[n - 1 - rank]) + 1e-13 * size, ("top", rank)
    for k in range(bottom):
        assert abs(values[k] - exact[k]) <= 1e-6 * abs(exact[k]) + 1e-13 * size, ("bottom", k)
    for k in (*high, *range(bottom)):
        u = process.vector(state.ritz, k)
        true = float((dense @ u - values[k] * u).norm())
        assert true <= state.ritz.residuals[k] + 1e-12 * size


@pytest.mark.parametrize("kind", KINDS)
def test_ends_of_a_random_matrix(kind: str) -> None:
    rng = np.random.default_rng(KINDS.index(kind))
    for trial in range(8):
        n = int(rng.integers(12, 90))
        _check(_matrix(kind, n, rng), int(rng.integers(1, 6)), int(rng.integers(0, 4)), trial)


@pytest.mark.parametrize("tol", [1e-1, 1e-2, 1e-4])
def test_errors_hold_at_loose_tolerances_at_the_edge_of_a_bulk(tol: float) -> None:
    """Where nothing in the bulk has converged, its Ritz values are no cluster of one small error."""
    rng = np.random.default_rng(3)
    for trial in range(12):
        n = int(rng.integers(60, 200))
        dense = torch.from_numpy(_matrix("network", n, rng))
        exact = np.linalg.eigvalsh(dense.numpy())
        process = Krylov(lambda v, m=dense: m @ v, n, torch.float64, torch.device("cpu"), trial)
        state = ends(process, Request(2, 3, tol, 1e-6, 5 * n, 10_000))
        assert state.all_converged
        for k in range(3):
            assert abs(state.ritz.values[k] - exact[k]) <= state.errors[k] + 1e-13, (trial, k)


def test_convergence_is_seen_after_a_restart() -> None:
    """A basis that is let go again and again needs some more products, not the whole budget."""
    rng = np.random.default_rng(5)
    dense = torch.from_numpy(_matrix("network", 300, rng))
    spent = {}
    for capacity in (400, 16):
        process = Krylov(lambda v: dense @ v, 300, torch.float64, torch.device("cpu"), 0)
        state = ends(process, Request(2, 0, 1e-6, 1.0, 2000, capacity))
        assert state.all_converged
        spent[capacity] = process.products
    assert spent[16] <= 3 * spent[400] < 200


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_ends_of_many_random_matrices(kind: str) -> None:
    rng = np.random.default_rng(1000 + KINDS.index(kind))
    for trial in range(125):
        n = int(rng.integers(12, 400))
        _check(_matrix(kind, n, rng), int(rng.integers(1, 6)), int(rng.integers(0, 4)), trial)
