r"""Eigenvalues of real symmetric matrices of balls, enclosed with their multiplicities.

FLINT isolates them where it can.  Where some coincide, an approximate basis Q of eigenvectors in float64 gives
M = Q'AQ = D + F with D diagonal.  By Weyl's inequality the k-th eigenvalue of M is within |F|_F of the k-th entry of D in
order, and by Ostrowski's theorem it is theta times that of A for a theta between the least and the greatest eigenvalue of
Q'Q, which are within |Q'Q - I|_F of 1 [Horn and Johnson 4.3.1, 4.5.9].
"""

from __future__ import annotations

import numpy as np
from flint import acb_mat, arb, arb_mat

Matrix = list[list[arb]]


def eigenvalues(rows: Matrix) -> list[arb] | None:
    """Balls around the eigenvalues in ascending order, or None where no enclosure is found."""
    n = len(rows)
    if n == 0 or not all(v.is_finite() for row in rows for v in row):
        return [] if n == 0 else None
    if n == 1:
        return [rows[0][0]]
    try:
        found = [v.real for v in acb_mat(arb_mat(rows)).eig(multiple=True)]
    except ValueError:
        return _by_basis(rows)
    return found if all(v.is_finite() for v in found) else _by_basis(rows)


def _by_basis(rows: Matrix) -> list[arb] | None:
    n = len(rows)
    middle = np.array([[float(v.mid()) for v in row] for row in rows])
    try:
        basis = np.linalg.eigh((middle + middle.T) / 2)[1]
    except np.linalg.LinAlgError:
        return None
    Q = arb_mat(basis.tolist())
    M, G = Q.transpose() * arb_mat(rows) * Q, Q.transpose() * Q
    spread = _size([M[i, j] for i in range(n) for j in range(n) if i != j])
    skew = _size([G[i, j] - (1 if i == j else 0) for i in range(n) for j in range(n)])
    if not skew < arb(1) / 2:
        return None
    theta = (1 - skew).union(1 + skew)
    return [(M[i, i] + arb(0).union(spread) - arb(0).union(spread)) / theta for i in range(n)]


def _size(entries: list[arb]) -> arb:
    """A number that is at least the Frobenius norm."""
    total = arb(0)
    for v in entries:
        total += v.abs_upper() ** 2
    return arb(total.upper()).sqrt().upper()


def singular_values(rows: Matrix) -> list[arb] | None:
    """Balls around the singular values in ascending order: roots of the eigenvalues of AA', none of which is negative."""
    gram = arb_mat(rows) * arb_mat(rows).transpose()
    n = gram.nrows()
    found = eigenvalues([[gram[i, j] for j in range(n)] for i in range(n)])
    if found is None:
        return None
    return [_root(v) for v in found]


def _root(v: arb) -> arb:
    """The root of a number that is known not to be negative."""
    if v > 0:
        return v.sqrt()
    high = v.upper()
    return arb(0).union(high.sqrt()) if high > 0 else arb(0)
