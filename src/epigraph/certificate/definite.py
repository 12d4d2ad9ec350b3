r"""The form "definite": the Hessian of J at the stored point is definite, with a bound of its eigenvalues away from zero.

The file claims a number m > 0 with H - m I positive semidefinite, or -H - m I for "negative definite".  Up to ``ENTRIES`` parameters
the check encloses all entries of H by second derivatives along pairs of coordinates, n^2/2 of them, and decides the matrix
inequality in integers.  Above, H is enclosed by float vectors with radii, and its inertia and least eigenvalue follow from a
congruence (``isolation``); J must have smooth operators throughout then.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import final

import numpy as np
from flint import arb, ctx

from epigraph.certificate import claims, directional, exact, isolated, isolation, isolationcost, semidefinite
from epigraph.certificate.budget import Cost
from epigraph.certificate.codes import refuse
from epigraph.certificate.directional import Derivatives
from epigraph.certificate.forms import Proved
from epigraph.certificate.graph import Program
from epigraph.certificate.manifest import Manifest, fields, hex_float
from epigraph.certificate.reverse import NoGradient

PROPERTIES = {"positive definite": 1, "negative definite": -1}
CHUNK = 256  # pairs of coordinates that are evaluated together, at least
ENTRIES = 150  # variables up to which every entry is enclosed by itself
LARGEST = 4_000  # variables
LIVE = 20_000  # nodes of a program with more variables than ENTRIES
SHARP = 100  # bits to which the integers hold the largest entry
_FIELDS = {"property", "form", "arithmetic", "precision_bits", "domain", "blocks", "modulus"}

Matrix = list[list[arb]]


@final
@dataclass(frozen=True)
class Claim:
    """A claim of this form whose fields have been checked against the manifest."""

    property: str
    precision_bits: int
    modulus: Fraction
    domain: claims.Domain
    blocks: tuple[str, ...]


def hessian(
    program: Program, tensors: Mapping[str, np.ndarray], keys: Sequence[str], bits: int
) -> tuple[Matrix, Derivatives]:
    """All entries of the Hessian in the tensors ``keys``, one after the other; and the last evaluation of J."""
    directions = [{key: unit} for key in keys for unit in _units(tensors[key].shape)]
    n = len(directions)
    H: Matrix = [[arb(0)] * n for _ in range(n)]
    found = directional.derivatives(program, tensors, set(keys), [], [], bits)
    for pairs in _chunks(n):
        if not found.finite:
            break
        found = directional.derivatives(program, tensors, set(keys), directions, pairs, bits)
        for (i, j), value in zip(pairs, found.seconds, strict=True):
            H[i][j] = H[j][i] = value
    return H, found


def cost(program: Program, keys: Sequence[str], size: int, bits: int) -> Cost:
    """What ``hessian`` and the decision take for ``size`` variables, from shapes alone."""
    count = size * (size + 1) // 2
    step = min(count, max(size, CHUNK))
    one = directional.cost(program, set(keys), size, step, bits)
    return Cost(math.ceil(count / max(1, step)) * one.seconds + 2e-7 * size**3, one.bytes + 1000.0 * size**2)


def above(H: Matrix, least: Fraction) -> bool:
    """Is H - least I positive semidefinite for every symmetric matrix in the balls?  False where that is not settled."""
    if not all(v.is_finite() for row in H for v in row):
        return False
    largest = max(v.abs_upper() for row in H for v in row)
    shift = SHARP - (int(largest.man_exp()[1]) + int(largest.man_exp()[0]).bit_length() if largest > 0 else 0)
    whole, radius = [], 0
    with ctx.workprec(2 * exact.PRECISION_LIMIT):
        for row in H:
            scaled = [v * arb((1, shift)) for v in row]
            whole.append([_whole(v.mid().floor()) for v in scaled])
            radius = max(radius, sum(_whole(v.rad().ceil()) + 1 for v in scaled))
    take = math.ceil(least * Fraction(2) ** shift) + radius
    for i, row in enumerate(whole):
        row[i] -= take
    return semidefinite.decide(whole, len(whole))


def _whole(x: arb) -> int:
    """An exact ball around an integer as that integer."""
    mantissa, exponent = x.man_exp()
    return int(mantissa) << int(exponent)


def statement(property: str, modulus: str, variables: str) -> str:
    """What has been shown, in words, with the bound as a decimal string."""
    end, bound, shape = {
        "positive definite": ("at least", modulus, "convex"),
        "negative definite": ("at most", f"-{modulus}", "concave"),
    }[property]
    return (
        f"J is the function of the graph in this file. At the stored point its Hessian in {variables} is {property}: every "
        f"eigenvalue is {end} {bound}, and J is strictly {shape} near the point."
    )


@final
class Definite:
    """Checks claims of this form: the point lies in the domain, and all of H is enclosed and bounded anew."""

    def parse(self, manifest: Manifest) -> Claim:
        raw = fields(manifest.claim, _FIELDS, "claim")
        if type(raw["property"]) is not str or raw["property"] not in PROPERTIES:
            refuse("E420", f"the property must be one of {', '.join(PROPERTIES)}")
        bits = claims.ball_bits(raw)
        if manifest.delta:
            refuse("E420", "nothing is displaced by this form", where="delta")
        blocks, domain = claims.blocks(raw["blocks"], manifest), claims.domain(raw["domain"], manifest)
        modulus = Fraction(hex_float(raw["modulus"], "modulus"))
        if modulus <= 0:
            refuse("E420", "the modulus must be positive")
        size = _size(blocks, manifest)
        if size > LARGEST or (size > ENTRIES and len(manifest.program.live) > LIVE):
            refuse("E402", f"more than {LARGEST} variables, or {LIVE} nodes, for a claim about all of the Hessian")
        claims.no_strays(manifest, claims.bound_tensors(domain))
        return Claim(raw["property"], bits, modulus, domain, blocks)

    def estimate(self, claim: Claim, manifest: Manifest) -> Cost:
        data = sum(t.bytes for t in manifest.tensors.values())
        keys, size = _keys(claim, manifest), _size(claim.blocks, manifest)
        if size > ENTRIES:
            shapes = {key: manifest.tensors[key].shape for key in keys}
            found = isolationcost.cost(isolated.written(manifest.program, keys), shapes, isolation.BOX_BITS)
        else:
            found = cost(manifest.program, keys, size, claim.precision_bits)
        return Cost(found.seconds + 8e-9 * data, found.bytes + 3 * data)

    def prove(
        self,
        claim: Claim,
        manifest: Manifest,
        tensors: Mapping[str, np.ndarray],
        delta: Mapping[str, np.ndarray],
        limit: Cost,
    ) -> Proved:
        claims.require_inside(claim.domain, manifest, tensors, {"of the claim": {}})
        many = _size(claim.blocks, manifest) > ENTRIES
        shown = (self._vectors if many else self._entries)(claim, manifest, tensors)
        modulus = claims.decimal_below(claim.modulus, 6)
        words = statement(claim.property, modulus, claims.variables_words(claim.blocks, manifest))
        return Proved(words, claims.decimal_below(claim.modulus), shown)

    def _entries(self, claim: Claim, manifest: Manifest, tensors: Mapping[str, np.ndarray]) -> dict[str, str]:
        H, found = hessian(manifest.program, tensors, _keys(claim, manifest), claim.precision_bits)
        if not found.finite:
            refuse("E442", "J is not shown to have second derivatives at the point", why=found.why)
        signed = [[PROPERTIES[claim.property] * v for v in row] for row in H]
        if not above(signed, claim.modulus):
            refuse("E440", f"the bound {float(claim.modulus):.17g} of the eigenvalues is not proved")
        return {"J": found.value.str(15)}

    def _vectors(self, claim: Claim, manifest: Manifest, tensors: Mapping[str, np.ndarray]) -> dict[str, str]:
        keys, size = _keys(claim, manifest), _size(claim.blocks, manifest)
        try:
            found = isolation.away_from_zero(isolated.written(manifest.program, keys), tensors, keys)
        except NoGradient as stop:
            refuse("E442", "J is not shown to have second derivatives at the point", why=str(stop))
        if found is None or Fraction(found[1]) < claim.modulus:
            refuse("E440", f"the bound {float(claim.modulus):.17g} of the eigenvalues is not proved")
        if found[0] != (0 if PROPERTIES[claim.property] > 0 else size):
            refuse("E441", f"{found[0]} of {size} eigenvalues are negative")
        return {"negative eigenvalues": str(found[0])}


FORM = Definite()


def _keys(claim: Claim, manifest: Manifest) -> list[str]:
    return [manifest.parameters[name] for name in claim.blocks]


def _size(blocks: Sequence[str], manifest: Manifest) -> int:
    return sum(math.prod(manifest.tensors[manifest.parameters[name]].shape) for name in blocks)


def _units(shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Each coordinate direction of a tensor."""
    for k in range(math.prod(shape)):
        unit = np.zeros(math.prod(shape), np.int8)
        unit[k] = 1
        yield unit.reshape(shape)


def _chunks(n: int) -> Iterator[list[tuple[int, int]]]:
    """All pairs i <= j, some at a time."""
    pairs = [(i, j) for i in range(n) for j in range(i, n)]
    step = max(n, CHUNK)
    for start in range(0, len(pairs), step):
        yield pairs[start : start + step]
