"""Bounds of eigenvalues against exact rational arithmetic and against random members of a form."""

from __future__ import annotations

from fractions import Fraction

import flint
import pytest
import torch

from epigraph.hessian.definite import Bound, lower_eigenvalue, nonnegative_norm, upper_eigenvalue
from epigraph.hessian.forms import Arithmetic, Form


def exactly_positive_definite(A: torch.Tensor, shift: float) -> bool:
    """Is A - shift I positive definite, by the pivots of a rational elimination?"""
    n = len(A)
    M = [[Fraction(A[i, j].item()) - (Fraction(shift) if i == j else 0) for j in range(n)] for i in range(n)]
    for k in range(n):
        if M[k][k] <= 0:
            return False
        for i in range(k + 1, n):
            f = M[i][k] / M[k][k]
            M[i] = [a - f * b for a, b in zip(M[i], M[k], strict=True)]
    return True


@pytest.mark.parametrize("seed", range(6))
def test_lower_eigenvalue(seed):
    g = torch.Generator().manual_seed(seed)
    n = 2 + seed
    B = torch.randn(n, n, generator=g, dtype=torch.float64)
    A = B @ B.T * 10.0 ** (3 * seed - 8)
    A = (A + A.T) / 2
    low = lower_eigenvalue(A)
    assert exactly_positive_definite(A, low)
    near = float(torch.linalg.eigvalsh(A)[0])
    assert near - low < 1e-12 * float(A.abs().max())
    assert not exactly_positive_definite(A, near + 1e-10 * float(A.abs().max()))
    assert upper_eigenvalue(A) >= float(torch.linalg.eigvalsh(A)[-1])


def test_hilbert_matrix_is_not_certified_beyond_its_data():
    """The float64 Hilbert matrix of order 13 has a least eigenvalue below the rounding of its entries."""
    A = torch.tensor([[1 / (i + j + 1) for j in range(13)] for i in range(13)], dtype=torch.float64)
    A = (A + A.T) / 2
    low = lower_eigenvalue(A)
    exact = flint.arb_mat([[flint.arb(A[i, j].item()) for j in range(13)] for i in range(13)])
    assert exact.nrows() == 13 and low < 1e-14
    assert low <= 0 or exactly_positive_definite(A, low)


def test_nan_and_infinity_give_nothing():
    for bad in (float("nan"), float("inf")):
        A = torch.eye(2, dtype=torch.float64)
        A[0, 1] = A[1, 0] = bad
        assert lower_eigenvalue(A) == -float("inf")
        assert nonnegative_norm(A) == float("inf")
        assert not Bound(Arithmetic(True), Form(A)).modulus() > 0


@pytest.mark.parametrize("ball", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_members_of_a_form(ball, seed):
    """No member has a smaller eigenvalue than the bound, nearly reached where the form is one direction."""
    g = torch.Generator().manual_seed(seed)
    n, m = 4, 3
    c = torch.diag(torch.tensor([1e-3, 0.1, 1.0, 50.0], dtype=torch.float64))
    L = torch.randn(m, n, n, generator=g, dtype=torch.float64) * 1e-5
    L = L + L.transpose(1, 2)
    r = torch.rand(n, n, generator=g, dtype=torch.float64) * 1e-5
    r = r + r.T
    bound = Bound(Arithmetic(ball), Form(c, L, r)).modulus()
    assert bound > 0
    for _ in range(400):
        e = torch.randn(m, generator=g, dtype=torch.float64)
        e = e / (e.norm() if ball else e.abs().max())
        E = r * torch.randn(n, n, generator=g).sign()
        M = c + torch.einsum("k,kij->ij", e, L) + torch.triu(E) + torch.triu(E, 1).T
        assert float(torch.linalg.eigvalsh(M)[0]) >= bound


def test_scaling_is_what_certifies():
    """A change of 1 in the direction of curvature 100 is harmless, though it exceeds the least eigenvalue."""
    c = torch.diag(torch.tensor([0.01, 100.0], dtype=torch.float64))
    L = torch.tensor([[[0.0, 0.0], [0.0, 1.0]]], dtype=torch.float64)
    assert Bound(Arithmetic(True), Form(c, L)).modulus() > 0.009
    assert not Bound(Arithmetic(True), Form(c, L.flip(1, 2))).modulus() > 0
