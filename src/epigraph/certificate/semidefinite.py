r"""Is sum_k s_k a_k a_k' - mu I positive semidefinite?  Decided in integers.

The rows a_k are floats, taken as they are; where they carry radii the effect is bounded and added to mu.  The columns
fall apart into blocks that no row connects, as the outputs of a linear layer do.  A small block is decided by an LDL'
without fractions.  For a larger one a float Cholesky factor L is taken as a guess, and M - L L', computed in integers,
must have a dominant diagonal: M is then a sum of two positive semidefinite matrices, whatever L is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from flint import fmpz, fmpz_mat

from epigraph.certificate.affine import HUGE, TINY, Rows, Unsuited

EXACT_SIZE = 24
WORK_LIMIT = 4e9
DENOMINATOR_BITS = 400
SHORT_BITS = 60


class Block(NamedTuple):
    """A dense block: rows by columns, the radii of the entries (or None), and the class of weight of each row."""

    columns: np.ndarray
    matrix: np.ndarray
    radius: np.ndarray | None
    kinds: np.ndarray


def semidefinite(rows: Rows, kinds: np.ndarray, weights: Sequence[Fraction], size: int, mu: Fraction) -> bool:
    """Is the matrix positive semidefinite?  Row k has the weight ``weights[kinds[k]]``; ``size`` columns in all."""
    if mu <= 0 and all(w >= 0 for w in weights):
        return True
    covered = 0
    seen: set[bytes] = set()
    for block in blocks(rows, kinds, size):
        covered += len(block.columns)
        key = (
            repr(block.matrix.shape).encode()
            + block.matrix.tobytes()
            + block.kinds.tobytes()
            + b"|"
            + (b"" if block.radius is None else block.radius.tobytes())
        )
        if key not in seen and not _block(block, weights, mu):
            return False
        seen.add(key)
    return mu <= 0 or covered == size


def blocks(rows: Rows, kinds: np.ndarray, size: int) -> Iterator[Block]:
    """The blocks of columns that rows connect."""
    owner, columns = rows.owner, rows.columns
    used = rows.values.middle != 0
    if rows.values.radius is not None:
        used |= rows.values.radius > 0
    owner, columns = owner[used], columns[used]
    label = _components(owner, columns, rows.count, size)
    order = np.argsort(label[columns], kind="stable")
    entry_label = label[columns][order]
    values = np.flatnonzero(used)[order]
    cuts = np.flatnonzero(np.diff(entry_label)) + 1
    for part in np.split(np.arange(len(order)), cuts) if len(order) else ():
        own, col = owner[order[part]], columns[order[part]]
        row_ids, r = np.unique(own, return_inverse=True)
        col_ids, c = np.unique(col, return_inverse=True)
        if len(row_ids) * len(col_ids) > WORK_LIMIT / 100:
            raise Unsuited
        matrix = np.zeros((len(row_ids), len(col_ids)))
        matrix[r.reshape(-1), c.reshape(-1)] = rows.values.middle[values[part]]
        radius = None
        if rows.values.radius is not None:
            radius = np.zeros_like(matrix)
            radius[r.reshape(-1), c.reshape(-1)] = rows.values.radius[values[part]]
        yield Block(col_ids, matrix, radius, kinds[row_ids])


def _components(owner: np.ndarray, columns: np.ndarray, count: int, size: int) -> np.ndarray:
    """For each column the least column that rows connect it with."""
    label = np.arange(size)
    while True:
        least = np.full(count, size)
        np.minimum.at(least, owner, label[columns])
        new = label.copy()
        np.minimum.at(new, columns, least[owner])
        new = new[new]
        if np.array_equal(new, label):
            return label
        label = new


def _block(block: Block, weights: Sequence[Fraction], mu: Fraction) -> bool:
    n, k = block.matrix.shape
    own = [weights[i] for i in range(len(weights))]
    if mu <= 0 and all(own[i] >= 0 for i in np.unique(block.kinds).tolist()):
        return True
    if float(n) * k * k > WORK_LIMIT:
        raise Unsuited
    if block.radius is not None:
        mu = mu + _spread(block, own)
    matrix = _integers(block, own, mu)
    return decide(matrix, k)


def _spread(block: Block, weights: Sequence[Fraction]) -> Fraction:
    """A bound of the spectral norm of what the radii may change: the largest row sum, rounded up."""
    assert block.radius is not None
    if any(w and not Fraction(TINY) < abs(w) < Fraction(HUGE) for w in weights):
        raise Unsuited
    s = np.array([abs(float(weights[i])) * (1 + 2.0**-50) for i in block.kinds.tolist()])
    a, r = np.abs(block.matrix), block.radius
    total, spread = a.sum(1) + r.sum(1), r.sum(1)
    sums = (s * spread) @ a + (s * total) @ r
    return Fraction(float(sums.max()) * (1 + 2.0**-20) + 2.0**-600)


def _integers(block: Block, weights: Sequence[Fraction], mu: Fraction) -> list[list[int]]:
    """A positive multiple of A' S A - mu I, or of a smaller matrix, in integers."""
    used = sorted(set(block.kinds.tolist()))
    common = math.lcm(*(weights[i].denominator for i in used), mu.denominator)
    if common.bit_length() > DENOMINATOR_BITS:
        weights, mu, common = _shortened(weights, mu, used)
    factor = {i: int(weights[i] * common) for i in used}
    whole, shift = _scaled(block.matrix)
    left = fmpz_mat([[v * factor[kind] for v in row] for row, kind in zip(whole, block.kinds.tolist(), strict=True)])
    product = left.transpose() * fmpz_mat(whole)
    diagonal = int(mu * common * 4**shift) if shift >= 0 else mu * common / 4**-shift
    if diagonal != int(diagonal):
        diagonal = math.ceil(diagonal)
    k = len(whole[0])
    out = [[int(product[i, j]) for j in range(k)] for i in range(k)]
    for i in range(k):
        out[i][i] -= int(diagonal)
    return out


def _shortened(weights: Sequence[Fraction], mu: Fraction, used: Sequence[int]) -> tuple[list[Fraction], Fraction, int]:
    """Weights rounded down and mu rounded up to short binary fractions: the matrix becomes smaller."""
    size = max(max(abs(weights[i]) for i in used), abs(mu))
    bits = SHORT_BITS - math.frexp(float(size))[1]
    unit = Fraction(2) ** bits
    short = [Fraction(math.floor(w * unit)) / unit for w in weights]
    up = Fraction(math.ceil(mu * unit)) / unit
    return short, up, max(1, int(unit)) if bits >= 0 else 1


def _scaled(matrix: np.ndarray) -> tuple[list[list[int]], int]:
    """Integers v with matrix = v 2^-shift."""
    mantissa, exponent = np.frexp(matrix)
    whole = (mantissa * 2.0**53).astype(np.int64)
    nonzero = whole != 0
    lowest = np.where(nonzero, np.log2(np.maximum(whole & -whole, 1).astype(np.float64)), 0).astype(np.int64)
    least = int((exponent - 53 + lowest)[nonzero].min(initial=0))
    places = (exponent - 53 + lowest - least) * nonzero
    odd = (whole >> lowest) * nonzero
    return [
        [v << p for v, p in zip(a, b, strict=True)] for a, b in zip(odd.tolist(), places.tolist(), strict=True)
    ], -least


def decide(matrix: list[list[int]], k: int) -> bool:
    """Is an integer matrix positive semidefinite?  False where that is not settled."""
    if k <= EXACT_SIZE:
        return pivots(matrix) is not None
    guess = _factor(matrix)
    if guess is None:
        return False
    return _dominant(fmpz_mat(matrix), *guess)


def pivots(matrix: Sequence[Sequence[int]]) -> list[fmpz] | None:
    """Leading minors as by Bareiss, skipping zero rows, or None where the matrix is not positive semidefinite.

    A[i][j] <- (A[k][k] A[i][j] - A[i][k] A[k][j]) / (the previous pivot), without fractions.
    """
    A = [[fmpz(v) for v in row] for row in matrix]
    previous, found = fmpz(1), []
    for k in range(len(A)):
        pivot = A[k][k]
        if pivot < 0 or (pivot == 0 and any(A[k][j] != 0 for j in range(k + 1, len(A)))):
            return None
        found.append(pivot)
        if pivot == 0:
            continue
        for i in range(k + 1, len(A)):
            ratio = A[i][k]
            for j in range(i, len(A)):
                A[i][j] = A[j][i] = (pivot * A[i][j] - ratio * A[k][j]) / previous
        previous = pivot
    return found


def _factor(matrix: list[list[int]]) -> tuple[list[list[int]], int, list[int]] | None:
    """Integers L and a shift with matrix ~ L L' 4^shift, from a float Cholesky factor of slightly less; and a scale of the columns."""
    k = len(matrix)
    top = max(abs(matrix[i][i]) for i in range(k)).bit_length()
    floats = np.array(
        [[math.ldexp(float(v >> max(0, top - 1000)), max(0, top - 1000) - top) for v in row] for row in matrix]
    )
    if not bool((floats.diagonal() > 0).all()):
        return None
    scale = 2.0 ** np.round(-0.5 * np.log2(floats.diagonal()))
    unit = floats * scale[:, None] * scale
    try:
        L = np.linalg.cholesky(unit - np.eye(k) * k * 2.0**-46) / scale[:, None]
    except np.linalg.LinAlgError:
        return None
    half = (top + 1) // 2
    bits = 56 + max(0, math.ceil(math.log2(float(np.max(scale)))))
    whole = [[int(math.ldexp(v, bits)) for v in row] for row in (L * 2.0 ** (top / 2 - half)).tolist()]
    return whole, half - bits, [int(v) for v in (scale / scale.min()).tolist()]


def _dominant(matrix: fmpz_mat, L: list[list[int]], shift: int, scale: Sequence[int]) -> bool:
    """Is the diagonal of R = matrix - L L' 4^shift dominant, R_ii x_i >= sum over j != i of |R_ij| x_j, for x > 0?"""
    lower = fmpz_mat(L)
    square = lower * lower.transpose()
    if shift >= 0:
        rest = matrix - square * fmpz(4) ** shift
    else:
        rest = matrix * fmpz(4) ** (-shift) - square
    for i, row in enumerate(rest.tolist()):
        if row[i] < 0 or 2 * row[i] * scale[i] < sum(abs(v) * x for v, x in zip(row, scale, strict=True)):
            return False
    return True
