r"""The form "midpoint": two points and their midpoint at which an inequality of convexity fails.

With J the real function of the graph, a = m + d and b = m - d inside the domain, the file claims a number g > 0 with

    convex          J(m) - (J(a) + J(b))/2  >= g        concave        (J(a) + J(b))/2 - J(m)  >= g
    quasiconvex     J(m) - max(J(a), J(b))  >= g        quasiconcave   min(J(a), J(b)) - J(m)  >= g

so that J does not have the property on the domain.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, final

import numpy as np
from flint import arb, fmpq

from epigraph.certificate import bitlengths, budget, claims, exact
from epigraph.certificate.budget import Cost
from epigraph.certificate.codes import refuse
from epigraph.certificate.compact import compact
from epigraph.certificate.forms import Proved
from epigraph.certificate.graph import Program
from epigraph.certificate.manifest import Manifest, fields
from epigraph.certificate.points import Delta
from epigraph.certificate.rationals import OPERATORS, Undefined

_CLAIM_FIELDS = {"property", "form", "arithmetic", "precision_bits", "gap_lower", "domain", "blocks"}
_INEQUALITIES = {
    "convex": "J(m) exceeds (J(a) + J(b))/2",
    "concave": "(J(a) + J(b))/2 exceeds J(m)",
    "quasiconvex": "J(m) exceeds max(J(a), J(b))",
    "quasiconcave": "min(J(a), J(b)) exceeds J(m)",
}


@final
@dataclass(frozen=True)
class Claim:
    """A midpoint claim whose fields have been checked against the manifest."""

    property: str
    arithmetic: exact.Arithmetic
    precision_bits: int
    gap: Fraction
    domain: claims.Domain
    blocks: tuple[str, ...]


def _claim(raw: Mapping[str, Any], manifest: Manifest) -> Claim:
    raw = fields(raw, _CLAIM_FIELDS, "claim")
    kind, arithmetic, bits = raw["property"], raw["arithmetic"], raw["precision_bits"]
    if type(kind) is not str or kind not in exact.PROPERTIES:
        refuse("E420", f"the property must be one of {', '.join(exact.PROPERTIES)}")
    if type(arithmetic) is not str or arithmetic not in ("exact", "arb"):
        refuse("E420", "the arithmetic must be exact or arb")
    least = 0 if arithmetic == "exact" else 32
    if type(bits) is not int or not least <= bits <= exact.PRECISION_LIMIT:
        refuse("E420", f"precision_bits must be an integer from {least} to {exact.PRECISION_LIMIT}")
    if arithmetic == "exact":
        _require_rational(manifest.program)
    blocks = claims.blocks(raw["blocks"], manifest)
    for key in manifest.delta:
        if manifest.tensors[key].name not in blocks:
            refuse("E421", f"displaces {manifest.tensors[key].name!r}, which is not among the blocks of the claim")
    if not manifest.delta:
        refuse("E420", "nothing moves: a, b and m are the same point")
    domain = claims.domain(raw["domain"], manifest)
    claims.no_strays(manifest, claims.bound_tensors(domain))
    return Claim(kind, arithmetic, bits, claims.positive(raw["gap_lower"], "gap_lower"), domain, blocks)


def _require_rational(program: Program) -> None:
    for position in program.live:
        node = program.nodes[position]
        if node.op not in OPERATORS or (node.op == "power" and node.attributes["exponent"].q != 1):
            refuse("E420", f"{node.op} cannot be evaluated in exact arithmetic", where=node.label)


@final
class Midpoint:
    """Checks claims of this form: the points lie in the domain, and the evaluated gap is at least the claimed one."""

    def parse(self, manifest: Manifest) -> Claim:
        return _claim(manifest.claim, manifest)

    def estimate(self, claim: Claim, manifest: Manifest) -> Cost:
        """The cost of reading the tensors; that of the evaluation depends on what is constant in them."""
        data = sum(t.bytes for t in manifest.tensors.values())
        moved_bytes = 3 * 8.0 * sum(math.prod(manifest.tensors[key].shape) for key in manifest.delta)
        return Cost(4e-9 * data, 2 * data + moved_bytes)

    def prove(
        self,
        claim: Claim,
        manifest: Manifest,
        tensors: Mapping[str, np.ndarray],
        delta: Mapping[str, np.ndarray],
        limit: Cost,
    ) -> Proved:
        forth = {key: Delta(1, steps, manifest.delta[key]) for key, steps in delta.items()}
        back = {key: d.opposite for key, d in forth.items()}
        points: list[exact.Point] = [forth, back, {}]
        claims.require_inside(claim.domain, manifest, tensors, dict(zip("abm", points, strict=True)))
        program, cores, steps = compact(manifest.program, tensors, points)
        if claim.arithmetic == "exact":
            cost = bitlengths.exact(program, cores, steps, most=limit.seconds)
        else:
            cost = budget.balls(program, set(manifest.delta), len(steps), claim.precision_bits)
        budget.require(cost, limit)
        try:
            values = exact.run(program, cores, steps, claim.arithmetic, claim.precision_bits)
        except Undefined as error:
            refuse("E442", "J has no value at one of the points", why=str(error))
        _decide(claim, values)
        shown = {name: _shown(v) for name, v in zip(("J(a)", "J(b)", "J(m)"), values, strict=True)}
        return Proved(_statement(claim, manifest), claims.decimal_below(claim.gap), shown, cost)


FORM = Midpoint()


def _decide(claim: Claim, values: Sequence[exact.Enclosure]) -> None:
    found = exact.gap(claim.property, *values)
    if isinstance(found, fmpq):
        claimed: Any = fmpq(claim.gap.numerator, claim.gap.denominator)
    else:
        if any(not v.is_finite() for v in values):
            refuse(
                "E442",
                f"J has no finite enclosure at {claim.precision_bits} bits",
                why="an operator was evaluated outside its domain, or the enclosure became too wide",
            )
        claimed = claims.ball(claim.gap)
    if found >= claimed:
        return
    if found < claimed:
        refuse("E441", f"the gap is {_shown(found)}, less than the claimed {claims.decimal_below(claim.gap)}")
    refuse("E440", f"the gap is {_shown(found)} at {claim.precision_bits} bits, which does not decide the claim")


def _shown(value: exact.Enclosure) -> str:
    if isinstance(value, arb):
        return value.str(15)
    return f"{exact.rounded(value):.17g}"


def _statement(claim: Claim, manifest: Manifest) -> str:
    variables, where = claims.variables_words(claim.blocks, manifest), claims.domain_words(claim.domain)
    return (
        f"The function J of the graph in this file is not {claim.property} in {variables} {where}: "
        f"at the stored point m and a = m + d, b = m - d, {_INEQUALITIES[claim.property]} by at least "
        f"{claims.decimal_below(claim.gap, 6)}."
    )
