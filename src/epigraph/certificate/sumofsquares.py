r"""The form "polynomial": J is a polynomial of which the Hessian form v' J''(x) v is a sum of squares.

The claim holds monomials z_k = x^a v_i and a rational matrix G; the check works out the form from the graph, compares it
with z' G z coefficient by coefficient, and decides in integers that G is positive semidefinite.  With one variable and
no monomials Sturm's theorem decides the sign of J'' on the interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from flint import fmpq, fmpq_poly

from epigraph.certificate import attributes, kernel, semidefinite
from epigraph.certificate.affine import Unsuited
from epigraph.certificate.budget import Cost
from epigraph.certificate.codes import refuse
from epigraph.certificate.forms import Proved
from epigraph.certificate.manifest import Manifest, fields
from epigraph.certificate.polynomials import Polynomial, Ring
from epigraph.certificate.secondorder import PROPERTIES, boxes, sides
from epigraph.certificate.sturm import never_negative

BASIS_LIMIT = 400
_FIELDS = {"form", "property", "active", "domain", "monomials", "gram"}
Monomial = tuple[int, ...]


@final
@dataclass(frozen=True)
class Claim:
    """A claim whose fields have been checked; ``gram`` has the lower triangle by rows."""

    kind: str
    active: tuple[str, ...]
    domain: Mapping[str, tuple[Any, Any]]
    monomials: tuple[Monomial, ...]
    gram: tuple[fmpq, ...]


@final
class SumOfSquares:
    """Checks claims of this form."""

    def parse(self, manifest: Manifest) -> Claim:
        raw = fields(manifest.claim, _FIELDS, "claim")
        if type(raw["property"]) is not str or raw["property"] not in PROPERTIES:
            refuse("E420", f"the property must be one of {', '.join(PROPERTIES)}")
        active, monomials, gram = raw["active"], raw["monomials"], raw["gram"]
        if (
            type(active) is not list
            or not active
            or any(type(n) is not str or n not in manifest.parameters for n in active)
        ):
            refuse("E420", "active must be a list of names of parameters")
        if (
            type(raw["domain"]) is not dict
            or any(n not in manifest.parameters for n in raw["domain"])
            or manifest.delta
        ):
            refuse("E420", "the domain must give boxes by names of parameters, and nothing may be displaced")
        if type(monomials) is not list or len(monomials) > BASIS_LIMIT or type(gram) is not list:
            refuse("E420", f"monomials must be a list of at most {BASIS_LIMIT} lists of exponents, gram a list")
        if len(gram) != len(monomials) * (len(monomials) + 1) // 2:
            refuse("E420", "gram must be the lower triangle of a matrix over the monomials")
        return Claim(
            raw["property"],
            tuple(active),
            {n: sides(pair, n) for n, pair in raw["domain"].items()},
            tuple(_exponents(m) for m in monomials),
            tuple(attributes.rational(v, "gram") for v in gram),
        )

    def estimate(self, claim: Claim, manifest: Manifest) -> Cost:
        entries = sum(math.prod(node.shape) for node in manifest.program.nodes)
        return Cost(1.0 + 1e-4 * entries + 1e-5 * len(claim.monomials) ** 3, 1e8 + 2e3 * entries)

    def prove(
        self,
        claim: Claim,
        manifest: Manifest,
        tensors: Mapping[str, np.ndarray],
        delta: Mapping[str, np.ndarray],
        limit: Cost,
    ) -> Proved:
        raw = {"property": claim.kind, "active": list(claim.active), "domain": dict(manifest.claim["domain"])}
        try:
            ring = Ring(manifest.program, tensors, claim.active)
            if not holds(ring, ring.objective(), claim, boxes(claim.domain, tensors)):
                refuse("E440", "the Hessian form is not shown to be nonnegative by these squares")
        except Unsuited:
            refuse("E440", "J is no polynomial that can be opened")
        return Proved(kernel.statement(raw))


def _exponents(raw: Any) -> Monomial:
    if type(raw) is not list or len(raw) > 1000 or any(type(e) is not int or not 0 <= e <= 100 for e in raw):
        refuse("E420", "a monomial is a list of exponents")
    return tuple(raw)


def holds(ring: Ring, J: Polynomial, claim: Claim, domain: Mapping[str, tuple[Any, Any]]) -> bool:
    """Is the Hessian form of sign J nonnegative: by the squares of the claim, or by Sturm's theorem where there are none?"""
    sign = PROPERTIES[claim.kind]
    if not claim.monomials:
        return _one_variable(ring, sign * J, domain)
    form = {tuple(map(int, m)): c for m, c in ring.form(sign * J).to_dict().items()}
    width = ring.count + len(ring.active)
    if any(len(m) != width for m in claim.monomials):
        return False
    return matches(form, claim.monomials, claim.gram) and positive(len(claim.monomials), claim.gram)


def _one_variable(ring: Ring, J: Polynomial, domain: Mapping[str, tuple[Any, Any]]) -> bool:
    if ring.count != 1:
        return False
    second = J.derivative(0).derivative(0)
    coefficients = [fmpq(0)] * (second.total_degree() + 1 if not second.is_zero() else 1)
    for m, c in second.to_dict().items():
        coefficients[int(m[0])] = c
    (name,) = ring.offsets
    low, high = domain.get(name, (-math.inf, math.inf))
    return never_negative(fmpq_poly(coefficients), float(np.min(low)), float(np.max(high)))


def matches(form: Mapping[Monomial, fmpq], monomials: Sequence[Monomial], gram: Sequence[fmpq]) -> bool:
    """Is the form z' G z, coefficient by coefficient?"""
    total: dict[Monomial, fmpq] = {}
    at = 0
    for i, a in enumerate(monomials):
        for j in range(i + 1):
            value = gram[at] * (1 if i == j else 2)
            at += 1
            key = tuple(x + y for x, y in zip(a, monomials[j], strict=True))
            total[key] = total.get(key, fmpq(0)) + value
    return {m: c for m, c in total.items() if c != 0} == {m: c for m, c in form.items() if c != 0}


def positive(size: int, gram: Sequence[fmpq]) -> bool:
    """Is a rational matrix, given by its lower triangle, positive semidefinite?"""
    common = math.lcm(*(int(v.q) for v in gram)) if gram else 1
    whole = [int(v.p) * (common // int(v.q)) for v in gram]
    matrix = [[0] * size for _ in range(size)]
    at = 0
    for i in range(size):
        for j in range(i + 1):
            matrix[i][j] = matrix[j][i] = whole[at]
            at += 1
    return semidefinite.decide(matrix, size)


FORM = SumOfSquares()
