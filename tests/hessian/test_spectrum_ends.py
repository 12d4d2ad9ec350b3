"""The ends of random symmetric matrices against the dense eigenvalues: nothing marked converged is wrong, no copy is missed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from epigraph.errors import ObjectiveError
from epigraph.hessian.api import spectrum
from epigraph.hessian.ends import Request, ends
from epigraph.hessian.krylov import Krylov
from epigraph.hessian.spectrum import Spectrum
from epigraph.objective.objective import Objective


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


def _quadratic(matrix: torch.Tensor) -> Objective:
    """w'Aw/2, whose Hessian is A."""
    return Objective.from_function(lambda w: w @ (matrix @ w) / 2, {"w": torch.zeros(len(matrix), dtype=matrix.dtype)})


def _errors_hold(matrix: torch.Tensor, top: int, bottom: int, **options: Any) -> Spectrum:
    exact = np.linalg.eigvalsh(matrix.double().numpy())
    found = spectrum(_quadratic(matrix), top=top, bottom=bottom, **options)
    assert found.risk <= 1e-6
    rounding = 3e-14 * abs(exact).max()
    for pairs, values in ((found.top, exact[::-1]), (found.bottom, exact)):
        for pair, value in zip(pairs, values, strict=False):
            assert not pair.converged or abs(pair.value - value) <= pair.error + rounding, (pair, value)
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [20, 40, 200, 1000])
def test_small_eigenvalues_beside_a_large_one_are_not_rounding(dtype: torch.dtype, size: int) -> None:
    """In a process of its own each is a remainder of a few units of rounding."""
    rng = np.random.default_rng(size)
    small = size * torch.finfo(dtype).eps
    for seed in range(4):
        q, _ = np.linalg.qr(rng.standard_normal((200, 200)))
        matrix = torch.from_numpy((q * np.r_[1.0, small, -small, np.zeros(197)]) @ q.T).to(dtype)
        found = _errors_hold((matrix + matrix.T) / 2, 2, 1, seed=seed)
        assert found.products < 60


@pytest.mark.parametrize("seed", [5, 7, 8])
def test_an_eigenvector_that_is_split_between_basis_and_complement_is_found(seed: int) -> None:
    """Five copies that differ by rounding: the last came into the basis with the fourth, to a part and without converging."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(-1, 1, 300)
    values[:5] = 1
    q, _ = np.linalg.qr(rng.standard_normal((300, 300)))
    matrix = torch.from_numpy((q * values) @ q.T).float()
    _errors_hold((matrix + matrix.T) / 2, 5, 0, seed=seed, tol=1e-6)


@pytest.mark.parametrize("tol", [1e-1, 1e-2, 1e-3])
def test_values_that_are_not_told_apart_say_so(tol: float) -> None:
    """Clusters narrower than the tolerance: a value may stand for its neighbour, and its error covers both."""
    rng = np.random.default_rng(1)
    for seed in range(20):
        n = int(rng.integers(5, 60))
        q, _ = np.linalg.qr(rng.standard_normal((n, n)))
        values = 1 + 10 ** rng.uniform(-9, -1) * rng.standard_normal(n)
        matrix = torch.from_numpy((q * values) @ q.T)
        _errors_hold((matrix + matrix.T) / 2, 4, 3, seed=seed, tol=tol)


def test_a_value_with_hundreds_of_copies_costs_no_more_than_a_few() -> None:
    rng = np.random.default_rng(2)
    q, _ = np.linalg.qr(rng.standard_normal((300, 300)))
    matrix = torch.from_numpy((q * np.r_[1.0, 0.5, np.zeros(298)]) @ q.T)
    for dtype in (torch.float32, torch.float64):
        assert _errors_hold(((matrix + matrix.T) / 2).to(dtype), 5, 3).products < 30


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-300, 1e-44, 1e-37, 1e-30, 1e-22, 1e22, 1e37, 1e130])
def test_ends_at_every_scale(dtype: torch.dtype, scale: float) -> None:
    """Squares of small and of large numbers are not representable; what is lost is in the error."""
    rng = np.random.default_rng(4)
    q, _ = np.linalg.qr(rng.standard_normal((60, 60)))
    matrix = torch.from_numpy((q * np.r_[3.0, 2.0, 1.5, -1.0, rng.uniform(-0.5, 0.5, 56)]) @ q.T)
    scaled = ((matrix + matrix.T) / 2 * scale).to(dtype)
    if not bool(torch.isfinite(scaled).all()):
        return
    exact = np.linalg.eigvalsh(scaled.double().numpy() / scale) * scale
    process = Krylov(lambda v: scaled @ v, 60, dtype, torch.device("cpu"), 0)
    state = ends(process, Request(3, 2, 1e-6, 1e-6, 400, 1000))
    assert state.all_converged and state.risk <= 1e-6
    for k in (-1, -2, -3, 0, 1):
        error = state.errors[k] + process.noise
        assert abs(state.ritz.values[k] - exact[k]) <= error
        assert scale < 1e-30 or error <= 1e-4 * abs(exact[k])


def test_a_hessian_beyond_the_range_of_squares_is_an_error() -> None:
    with pytest.raises(ObjectiveError, match="E214"):
        spectrum(_quadratic(torch.diag(torch.tensor([1e200, 1.0, 1.0], dtype=torch.float64))))
