"""Following an eigenvalue from a warm start, against dense eigenvalues."""

import pytest
import torch

from epigraph.hessian.follow import follow


def _matrix(n: int, seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    a = torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return ((a + a.T) / 2).to(dtype)


@pytest.mark.parametrize("n", [1, 2, 3, 40])
@pytest.mark.parametrize("bottom", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ends_of_a_random_matrix(n: int, bottom: bool, dtype: torch.dtype) -> None:
    A = _matrix(n, n, dtype)
    exact = torch.linalg.eigvalsh(A.double())
    start = torch.randn(n, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    eps = torch.finfo(dtype).eps
    found = follow(lambda v: A @ v, start, bottom=bottom, tol=1e-4, least=1, most=60, epsilon=eps)
    assert found.converged
    for value, error, vector, true in zip(found.values, found.errors, found.vectors, exact[[-1, 0]], strict=False):
        assert abs(value - float(true)) <= min(error, 1e-4 * abs(float(true)) + 100 * eps * float(exact.abs().max()))
        assert float((A @ vector - value * vector).norm()) <= error * (1 + 1e-9)


def test_an_eigenvector_needs_the_least_number_of_products() -> None:
    A = _matrix(30, 3)
    values, vectors = torch.linalg.eigh(A)
    calls: list[int] = []

    def multiply(v: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return A @ v

    drift = 1e-3 * torch.randn(30, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    start = 3 * (vectors[:, -1] + drift)
    found = follow(multiply, start, bottom=False, tol=1e-2, least=2, most=25, epsilon=1e-16)
    assert found.converged and len(calls) == 2
    assert found.values[0] == pytest.approx(float(values[-1]), rel=1e-5)


def test_a_budget_that_is_too_small_is_not_called_converged() -> None:
    A = torch.diag(torch.linspace(0.99, 1.0, 200, dtype=torch.float64)) * 1.0
    start = torch.randn(200, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    found = follow(lambda v: A @ v, start, bottom=True, tol=1e-8, least=2, most=4, epsilon=1e-16)
    assert not found.converged
    assert all(e > 1e-5 for e in found.errors)


def test_zero_operator() -> None:
    found = follow(torch.zeros_like, torch.ones(5), bottom=True, tol=1e-2, least=2, most=9, epsilon=1e-7)
    assert found.converged and found.values == [0.0, 0.0] and found.errors == [0.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shift", [0.0, 2.5, 3.5])
def test_the_basis_stays_orthonormal(shift: float, dtype: torch.dtype) -> None:
    """Where zero lies outside the spectrum, an overlap with the basis would grow from step to step."""
    for seed in range(4):
        A = _matrix(250, seed) * (2 / 250) ** 0.5 + shift * torch.eye(250, dtype=torch.float64)
        exact = torch.linalg.eigvalsh(A)
        start = torch.randn(250, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)
        B = A.to(dtype)
        found = follow(
            lambda v, B=B: B @ v, start, bottom=True, tol=1e-6, least=2, most=60, epsilon=torch.finfo(dtype).eps
        )
        for value, error in zip(found.values, found.errors, strict=True):
            assert float((exact - value).abs().min()) <= error


def test_an_asymmetric_product_counts_as_noise() -> None:
    A = _matrix(20, 0)
    A[0, 1] += 1e-3
    start = torch.randn(20, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    found = follow(lambda v: A @ v, start, bottom=True, tol=1e-10, least=2, most=20, epsilon=1e-16)
    assert min(found.errors) > 1e-5
