r"""Search, in floats, for a rational Gram matrix G with v' J''(x) v = z' G z and G positive semidefinite.

Alternating projections between the matrices that give the form (averages over pairs with equal products) and those with
eigenvalues of at least some eps.  What is found is rounded, put back exactly on the first set, and decided in integers.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import final

import numpy as np
from flint import fmpq

from epigraph.certificate.sumofsquares import Monomial, positive

ROUNDS = 400
DENOMINATORS = (1, 2, 3, 4, 6, 8, 12, 24, 60, 2**10, 2**16, 2**24, 2**32)
BASIS_LIMIT = 180

Form = Mapping[Monomial, fmpq]


def basis(form: Form, count: int) -> list[Monomial]:
    """Monomials x^a v_i that a sum of squares may use; ``count`` variables x come first.

    A monomial is dropped when its square can come from no other pair and does not occur.
    """
    width = len(next(iter(form)))
    half = max(sum(m[:count]) for m in form) // 2
    low = min(sum(m[:count]) for m in form)
    tops = [max(m[k] for m in form) // 2 for k in range(count)]
    found = [
        a + tuple(int(k == i) for k in range(width - count))
        for a in itertools.product(*(range(t + 1) for t in tops))
        if (low + 1) // 2 <= sum(a) <= half
        for i in range(width - count)
    ]
    while len(found) <= 4 * BASIS_LIMIT:
        products: dict[Monomial, int] = {}
        for a, b in itertools.combinations(found, 2):
            products[_times(a, b)] = products.get(_times(a, b), 0) + 1
        kept = [m for m in found if _times(m, m) in products or form.get(_times(m, m), fmpq(0)) > 0]
        if len(kept) == len(found):
            break
        found = kept
    return found


def _times(a: Monomial, b: Monomial) -> Monomial:
    return tuple(x + y for x, y in zip(a, b, strict=True))


@final
class Gram:
    """The affine set of matrices with z' G z = form."""

    def __init__(self, form: Form, monomials: Sequence[Monomial]):
        self.form, self.size = form, len(monomials)
        keys: dict[Monomial, int] = {}
        pairs = [(i, j) for i in range(self.size) for j in range(i + 1)]
        self.group = np.array([keys.setdefault(_times(monomials[i], monomials[j]), len(keys)) for i, j in pairs])
        self.rows, self.columns = (np.array(x) for x in zip(*pairs, strict=True))
        self.times = np.where(self.rows == self.columns, 1.0, 2.0)
        self.products = list(keys)
        self.complete = set(form) <= set(keys)
        self.wanted = np.array([float(_fraction(form.get(m, fmpq(0)))) for m in self.products])
        self.weight = np.bincount(self.group, self.times, len(keys))

    def project(self, G: np.ndarray) -> np.ndarray:
        """The nearest matrix of the set: what a product misses is spread over all its places."""
        lower = G[self.rows, self.columns]
        missing = (self.wanted - np.bincount(self.group, self.times * lower, len(self.products))) / self.weight
        out = np.empty_like(G)
        out[self.rows, self.columns] = out[self.columns, self.rows] = lower + missing[self.group]
        return out

    def exact(self, G: np.ndarray, denominator: int) -> list[fmpq]:
        """The lower triangle rounded to a denominator and put on the set exactly."""
        lower = [Fraction(round(v * denominator), denominator) for v in G[self.rows, self.columns].tolist()]
        total = [-_fraction(self.form.get(m, fmpq(0))) for m in self.products]
        for k, v, t in zip(self.group.tolist(), lower, self.times.tolist(), strict=True):
            total[k] += int(t) * v
        found = [v - total[k] / int(self.weight[k]) for k, v in zip(self.group.tolist(), lower, strict=True)]
        return [fmpq(v.numerator, v.denominator) for v in found]


def _fraction(value: fmpq) -> Fraction:
    return Fraction(int(value.p), int(value.q))


def gram(form: Form, count: int) -> tuple[list[Monomial], list[fmpq]] | None:
    """Monomials and the lower triangle of a rational positive semidefinite Gram matrix, or None."""
    monomials = basis(form, count)
    if not monomials or len(monomials) > BASIS_LIMIT:
        return None
    space = Gram(form, monomials)
    if not space.complete:
        return None
    scale = float(np.abs(space.wanted).max())
    G = space.project(np.zeros((space.size, space.size)))
    for share in (0.03, 1e-3, 0.0):
        G, least = _alternate(space, G, share * scale)
        denominators = DENOMINATORS if least < 1e-6 * scale else DENOMINATORS[-4:]
        for d in denominators:
            found = space.exact(G, d)
            if positive(space.size, found):
                return monomials, found
    return None


def _alternate(space: Gram, G: np.ndarray, least: float) -> tuple[np.ndarray, float]:
    """Alternating projections, until the eigenvalues are high enough or the rounds are over."""
    low = -np.inf
    for _ in range(ROUNDS if space.size <= 60 else ROUNDS // 4):
        values, vectors = np.linalg.eigh(G)
        low = float(values[0])
        if low >= 0.5 * least and low > 0:
            break
        G = space.project((vectors * np.maximum(values, least)) @ vectors.T)
    return G, low
