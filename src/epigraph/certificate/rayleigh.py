r"""The form "rayleigh": directions u and v with u' H u > 0 > v' H v, H the Hessian of J at the stored point.

The file claims numbers p, q > 0 with u' H u / u' u >= p and v' H v / v' v <= -q, or one of the two.  The largest eigenvalue
of H is then at least p, the least at most -q.  J is twice continuously differentiable around the point, so that with a v it is not convex
near the point, and with a u not concave.  The check forms no matrix: it encloses the second derivatives of J along
u and v by the chain rule in balls (``directional``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, final

import numpy as np
from flint import arb, ctx

from epigraph.certificate import claims, directional
from epigraph.certificate.budget import Cost
from epigraph.certificate.codes import refuse
from epigraph.certificate.directional import Derivatives, Direction
from epigraph.certificate.forms import Proved
from epigraph.certificate.graph import Program
from epigraph.certificate.manifest import Manifest, fields

SIDES = {"positive": 1, "negative": -1}
PROPERTIES = {
    "indefinite": ("positive", "negative"),
    "not positive semidefinite": ("negative",),
    "not negative semidefinite": ("positive",),
}
ENTRY_BYTES = 2  # directions are int8 or int16
_FIELDS = {"property", "form", "arithmetic", "precision_bits", "domain", "blocks", "quotients"}


@final
@dataclass(frozen=True)
class Quotient:
    """A direction as keys of its tensors by key of the parameter's tensor, and how far from zero its quotient lies."""

    tensors: Mapping[str, str]
    size: Fraction


@final
@dataclass(frozen=True)
class Claim:
    """A claim of this form whose fields have been checked against the manifest."""

    property: str
    precision_bits: int
    quotients: Mapping[str, Quotient]
    domain: claims.Domain
    blocks: tuple[str, ...]


def quotients(
    program: Program, tensors: Mapping[str, np.ndarray], active: set[str], directions: Sequence[Direction], bits: int
) -> tuple[list[arb], Derivatives]:
    """u' H u / u' u for each direction, none of them zero, and what the evaluation says of J."""
    pairs = [(k, k) for k in range(len(directions))]
    found = directional.derivatives(program, tensors, active, directions, pairs, bits)
    with ctx.workprec(bits):
        return [value / _square(u) for value, u in zip(found.seconds, directions, strict=True)], found


def _square(direction: Direction) -> int:
    """The squared length, exactly."""
    return sum(int(np.square(k.astype(np.int64)).sum()) for k in direction.values())


def statement(property: str, sizes: Mapping[str, str], variables: str) -> str:
    """What has been shown, in words, with the two bounds as decimal strings."""
    ends = [f"an eigenvalue of at least {sizes['positive']}"] if "positive" in sizes else []
    ends += [f"an eigenvalue of at most -{sizes['negative']}"] if "negative" in sizes else []
    meaning = {
        "indefinite": "it is neither positive nor negative semidefinite, and J is neither convex nor concave near the point",
        "not positive semidefinite": "it is not positive semidefinite, and J is not convex near the point",
        "not negative semidefinite": "it is not negative semidefinite, and J is not concave near the point",
    }[property]
    return (
        f"J is the function of the graph in this file. At the stored point its Hessian in {variables} has "
        f"{' and '.join(ends)}: {meaning}."
    )


@final
class Rayleigh:
    """Checks claims of this form: the point lies in the domain, and the enclosed quotients reach the claimed bounds."""

    def parse(self, manifest: Manifest) -> Claim:
        raw = fields(manifest.claim, _FIELDS, "claim")
        if type(raw["property"]) is not str or raw["property"] not in PROPERTIES:
            refuse("E420", f"the property must be one of {', '.join(PROPERTIES)}")
        bits = claims.ball_bits(raw)
        if manifest.delta:
            refuse("E420", "nothing is displaced by this form", where="delta")
        blocks, domain = claims.blocks(raw["blocks"], manifest), claims.domain(raw["domain"], manifest)
        given = fields(raw["quotients"], set(PROPERTIES[raw["property"]]), "quotients")
        found = {side: _quotient(side, given[side], blocks, manifest) for side in SIDES if side in given}
        used = {key for q in found.values() for key in q.tensors.values()}
        claims.no_strays(manifest, claims.bound_tensors(domain) | used)
        return Claim(raw["property"], bits, found, domain, blocks)

    def estimate(self, claim: Claim, manifest: Manifest) -> Cost:
        data = sum(t.bytes for t in manifest.tensors.values())
        count = len(claim.quotients)
        cost = directional.cost(manifest.program, _active(claim, manifest), count, count, claim.precision_bits)
        return Cost(cost.seconds + 8e-9 * data, cost.bytes + 3 * data)

    def prove(
        self,
        claim: Claim,
        manifest: Manifest,
        tensors: Mapping[str, np.ndarray],
        delta: Mapping[str, np.ndarray],
        limit: Cost,
    ) -> Proved:
        claims.require_inside(claim.domain, manifest, tensors, {"of the claim": {}})
        directions = [{key: tensors[k] for key, k in q.tensors.items()} for q in claim.quotients.values()]
        for direction in directions:
            _require_free(direction, claim, manifest, tensors)
        active = _active(claim, manifest)
        values, found = quotients(manifest.program, tensors, active, directions, claim.precision_bits)
        if not found.finite:
            refuse("E442", "J is not shown to have second derivatives at the point", why=found.why)
        for (side, q), value in zip(claim.quotients.items(), values, strict=True):
            _decide(side, q.size, value, claim.precision_bits)
        sizes = {side: claims.decimal_below(q.size, 6) for side, q in claim.quotients.items()}
        shown = {"J": found.value.str(15)}
        shown |= {f"{side} quotient": v.str(15) for side, v in zip(claim.quotients, values, strict=True)}
        words = statement(claim.property, sizes, claims.variables_words(claim.blocks, manifest))
        return Proved(words, claims.decimal_below(min(q.size for q in claim.quotients.values())), shown)


FORM = Rayleigh()


def _active(claim: Claim, manifest: Manifest) -> set[str]:
    return {manifest.parameters[name] for name in claim.blocks}


def _quotient(side: str, raw: Any, blocks: Sequence[str], manifest: Manifest) -> Quotient:
    """A bound, and a direction as integer tensors in the shapes of some of the blocks."""
    where = f"the {side} quotient"
    raw = fields(raw, {"size", "direction"}, where)
    if type(raw["direction"]) is not dict or not raw["direction"]:
        refuse("E420", "a direction must give tensors by names of blocks", where=where)
    found = {}
    for name, key in raw["direction"].items():
        if name not in blocks:
            refuse("E421", f"moves {name[:60]!r}, which is not among the blocks of the claim", where=where)
        entry = manifest.tensors.get(key) if type(key) is str else None
        shape = manifest.tensors[manifest.parameters[name]].shape
        if entry is None or entry.role != "direction" or entry.shape != shape:
            refuse("E420", "a direction's tensor must have role direction and the parameter's shape", where=where)
        if entry.dtype.kind != "i" or entry.dtype.itemsize > ENTRY_BYTES or math.prod(shape) > 2**32:
            refuse("E420", "a direction must be of integers of at most 16 bits", where=where)
        found[manifest.parameters[name]] = key
    return Quotient(found, claims.positive(raw["size"], where))


def _require_free(direction: Direction, claim: Claim, manifest: Manifest, tensors: Mapping[str, np.ndarray]) -> None:
    """The direction is not zero, and the domain leaves room in every coordinate that it moves.

    Then curvature at the point, which may lie on the boundary of the domain, is curvature at points inside, by continuity.
    """
    if not any(k.any() for k in direction.values()):
        refuse("E420", "a direction is zero")
    for name in claim.domain:
        steps = direction.get(manifest.parameters[name])
        low, high = claims.sides(claim.domain, name, tensors)
        if steps is None or low is None or high is None:
            continue
        fixed = np.broadcast_to(np.asarray(low, np.float64) >= np.asarray(high, np.float64), steps.shape)
        if steps[fixed].any():
            refuse("E422", "a direction moves what the domain fixes", where=f"parameter {name!r}")


def _decide(side: str, size: Fraction, value: arb, bits: int) -> None:
    """Refuse unless the enclosed quotient lies beyond the claimed size on its side of zero."""
    claimed, away = claims.ball(size), SIDES[side] * value
    if away >= claimed:
        return
    shown = (
        f"the {side} quotient is {value.str(15)}, claimed is {'-' * (side == 'negative')}{claims.decimal_below(size)}"
    )
    refuse("E441" if away < claimed else "E440", f"{shown}, at {bits} bits")
