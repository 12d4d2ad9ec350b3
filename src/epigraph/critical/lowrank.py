r"""A preconditioner for products with a Hessian: its largest eigenvalues and their vectors, learnt from products that were made.

Hessians of networks have some ten or hundred large eigenvalues above a bulk of small ones.  With these, M = U diag(w) U^T +
sigma (1 - U U^T) takes the large ones away: conjugate gradients then take three to five times fewer steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

RANK = 128  # eigenvalues that are taken away
TRUE = 0.3  # residual of a pair, relative to its value, up to which it is used
SPAN = 1e-5  # share of the largest direction below which another one is a copy of the rest


@final
@dataclass(frozen=True)
class LowRank:
    """M = sum of w u u^T over the rows of ``U`` [k, n], and ``sigma`` across them; positive definite."""

    U: Tensor
    w: Tensor
    sigma: float = 1.0

    @property
    def rank(self) -> int:
        return len(self.w)

    def solve(self, r: Tensor) -> Tensor:
        """M^-1 r."""
        across = r / self.sigma
        return across if self.rank == 0 else across + ((1 / self.w - 1 / self.sigma) * (self.U @ r)) @ self.U


def nothing(like: Tensor) -> LowRank:
    """M = 1."""
    return LowRank(like.new_zeros(0, len(like)), like.new_zeros(0))


def learnt(rows: Sequence[Tensor], images: Sequence[Tensor], before: LowRank) -> LowRank:
    """From vectors and their products with a Hessian, by Rayleigh and Ritz; ``before`` where these tell less.

    In coordinates in which the rows are orthonormal the Hessian is a small matrix; of its eigenpairs the large positive
    ones whose residual is small are kept.
    """
    P, Q = torch.stack(list(rows)), torch.stack(list(images))
    size = P.norm(dim=1, keepdim=True).clamp_min(1e-300)
    P, Q = P / size, Q / size
    small = (P @ Q.T).double()
    length, turn = torch.linalg.eigh((P @ P.T).double())
    kept = length > SPAN * length[-1]
    basis = turn[:, kept] / length[kept].sqrt()
    w, V = torch.linalg.eigh(basis.T @ (small + small.T) @ basis / 2)
    weights = (basis @ V).T.to(P)
    U = weights @ P
    residual = (weights @ Q - w.to(P)[:, None] * U).norm(dim=1)
    good = torch.nonzero((w > 0) & (residual.double() <= TRUE * w))[-RANK:, 0]
    if len(good) < max(2, before.rank // 2):
        return before
    return LowRank(U[good], w[good].to(P), float(w[good[0]]))
