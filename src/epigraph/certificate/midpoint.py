r"""The form "midpoint": two points and their midpoint at which an inequality of convexity fails.

With J the real function of the graph, a = m + d and b = m - d inside the domain, the file claims a number g > 0 with

    convex          J(m) - (J(a) + J(b))/2  >= g        concave        (J(a) + J(b))/2 - J(m)  >= g
    quasiconvex     J(m) - max(J(a), J(b))  >= g        quasiconcave   min(J(a), J(b)) - J(m)  >= g

so that J does not have the property on the domain.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from typing import Any, final

import numpy as np
from flint import arb, fmpq

from epigraph.certificate import bitlengths, budget, exact
from epigraph.certificate.budget import Cost
from epigraph.certificate.codes import refuse
from epigraph.certificate.compact import compact
from epigraph.certificate.forms import Proved
from epigraph.certificate.graph import Program
from epigraph.certificate.manifest import Manifest, fields, hex_float, string
from epigraph.certificate.points import Delta, inside, moved
from epigraph.certificate.rationals import OPERATORS, Undefined

BLOCK_LIMIT = 100_000
_CLAIM_FIELDS = {"property", "form", "arithmetic", "precision_bits", "gap_lower", "domain", "blocks"}
_NUMERATOR = re.compile(r"[1-9][0-9]{0,199}", re.ASCII)
_INEQUALITIES = {
    "convex": "J(m) exceeds (J(a) + J(b))/2",
    "concave": "(J(a) + J(b))/2 exceeds J(m)",
    "quasiconvex": "J(m) exceeds max(J(a), J(b))",
    "quasiconcave": "min(J(a), J(b)) exceeds J(m)",
}

Bound = float | str | None  # a number, the key of a tensor, or no bound


@final
@dataclass(frozen=True)
class Claim:
    """A midpoint claim whose fields have been checked against the manifest."""

    property: str
    arithmetic: exact.Arithmetic
    precision_bits: int
    gap: Fraction
    domain: Mapping[str, tuple[Bound, Bound]]
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
    blocks = _blocks(raw["blocks"], manifest)
    for key in manifest.delta:
        if manifest.tensors[key].name not in blocks:
            refuse("E421", f"displaces {manifest.tensors[key].name!r}, which is not among the blocks of the claim")
    if not manifest.delta:
        refuse("E420", "nothing moves: a, b and m are the same point")
    domain = _domain(raw["domain"], manifest)
    _no_strays(manifest, {b for pair in domain.values() for b in pair if isinstance(b, str)})
    return Claim(kind, arithmetic, bits, _gap(raw["gap_lower"]), domain, blocks)


def _no_strays(manifest: Manifest, bounds: set[str]) -> None:
    """Every tensor but a parameter is read by the graph or is a bound of the domain."""
    used = manifest.program.keys() | bounds
    strays = [key for key, t in manifest.tensors.items() if t.role != "parameter" and key not in used]
    if strays:
        refuse("E404", f"tensors that nothing reads: {[s[:40] for s in strays[:5]]}", where="tensors")


def _require_rational(program: Program) -> None:
    for position in program.live:
        node = program.nodes[position]
        if node.op not in OPERATORS or (node.op == "power" and node.attributes["exponent"].q != 1):
            refuse("E420", f"{node.op} cannot be evaluated in exact arithmetic", where=node.label)


def _gap(raw: Any) -> Fraction:
    raw = fields(raw, {"num", "den_log2"}, "gap_lower")
    if type(raw["num"]) is not str or not _NUMERATOR.fullmatch(raw["num"]):
        refuse("E420", "gap_lower: num must be a positive decimal integer of at most 200 digits, as a string")
    if type(raw["den_log2"]) is not int or abs(raw["den_log2"]) > exact.EXPONENT_LIMIT:
        refuse("E420", f"gap_lower: den_log2 must be an integer of at most {exact.EXPONENT_LIMIT} in size")
    return Fraction(int(raw["num"])) / Fraction(2) ** raw["den_log2"]


def _blocks(raw: Any, manifest: Manifest) -> tuple[str, ...]:
    if type(raw) is not list or not 1 <= len(raw) <= BLOCK_LIMIT:
        refuse("E420", "blocks must be a list of at least one parameter")
    names = [string(name, "blocks") for name in raw]
    unknown = sorted(set(names) - set(manifest.parameters))
    if unknown or len(set(names)) != len(names):
        refuse("E420", f"blocks must be distinct names of parameters; unknown: {unknown[:5]}")
    return tuple(names)


def _domain(raw: Any, manifest: Manifest) -> dict[str, tuple[Bound, Bound]]:
    if type(raw) is not dict:
        refuse("E420", "the domain must be an object")
    found = {}
    for name, pair in raw.items():
        if name not in manifest.parameters:
            refuse("E420", f"the domain bounds {name[:60]!r}, which is not a parameter")
        if type(pair) is not list or len(pair) != 2:
            refuse("E420", "a bound must be [low, high]", where=f"domain of {name!r}")
        shape = manifest.tensors[manifest.parameters[name]].shape
        found[name] = (_bound(pair[0], name, shape, manifest), _bound(pair[1], name, shape, manifest))
    return found


def _bound(raw: Any, name: str, shape: tuple[int, ...], manifest: Manifest) -> Bound:
    where = f"domain of {name!r}"
    if raw is None:
        return None
    if type(raw) is not dict:
        return hex_float(raw, where)
    key = fields(raw, {"tensor"}, where)["tensor"]
    entry = manifest.tensors.get(key) if type(key) is str else None
    if entry is None or entry.role != "bound" or entry.shape != shape or entry.dtype.kind != "f":
        refuse("E420", "a tensor bound must have role bound, a floating dtype and the parameter's shape", where=where)
    return key


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
        _inside(claim, manifest, tensors, points)
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
        return Proved(_statement(claim, manifest), decimal_below(claim.gap), shown, cost)


FORM = Midpoint()


def _inside(claim: Claim, manifest: Manifest, tensors: Mapping[str, np.ndarray], points: Sequence[exact.Point]) -> None:
    """Refuse unless all three points satisfy all bounds, compared exactly."""
    for name, bounds in claim.domain.items():
        key = manifest.parameters[name]
        low, high = (tensors[b] if isinstance(b, str) else b for b in bounds)
        for label, point in zip("abm", points, strict=True):
            value = moved(tensors[key], point[key]) if key in point else tensors[key]
            if not inside(value, low, high):
                refuse("E422", f"the point {label} is outside the domain", where=f"parameter {name!r}")


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
        claimed = arb((claim.gap.numerator, 1 - claim.gap.denominator.bit_length()))  # exact: a power of two below
    if found >= claimed:
        return
    if found < claimed:
        refuse("E441", f"the gap is {_shown(found)}, less than the claimed {decimal_below(claim.gap)}")
    refuse("E440", f"the gap is {_shown(found)} at {claim.precision_bits} bits, which does not decide the claim")


def decimal_below(value: Fraction, digits: int = 12) -> str:
    """A positive rational number as a decimal string, rounded down."""
    context = Context(prec=digits, rounding=ROUND_FLOOR, Emin=-(10**6), Emax=10**6)
    if value.numerator.bit_length() < 2000 and value.denominator.bit_length() < 2000:
        return str(context.divide(Decimal(value.numerator), Decimal(value.denominator)))
    shift = value.numerator.bit_length() - value.denominator.bit_length()
    scaled = int(value / Fraction(2) ** shift * 2**200)
    power = context.power(Decimal(2), shift - 200)
    return str(context.multiply(context.multiply(Decimal(scaled), power), Decimal("0.9999999")))


def _shown(value: exact.Enclosure) -> str:
    if isinstance(value, arb):
        return value.str(15)
    return f"{exact.rounded(value):.17g}"


def _statement(claim: Claim, manifest: Manifest) -> str:
    names = ", ".join(claim.blocks[:6]) + (f" and {len(claim.blocks) - 6} more" if len(claim.blocks) > 6 else "")
    others = len(manifest.parameters) - len(claim.blocks)
    plural = "s" if others > 1 else ""
    held = f", with {others} other parameter{plural} held at the stored value{plural}," if others else ""
    where = _where(claim)
    return (
        f"The function J of the graph in this file is not {claim.property} in ({names}){held} {where}: "
        f"at the stored point m and a = m + d, b = m - d, {_INEQUALITIES[claim.property]} by at least "
        f"{decimal_below(claim.gap, 6)}."
    )


def _where(claim: Claim) -> str:
    bounds = {name: pair for name, pair in claim.domain.items() if pair != (None, None)}
    if not bounds:
        return "on the whole space"
    if len(bounds) > 3:
        return f"on the domain that bounds {len(bounds)} parameters"
    shown = []
    for name, (low, high) in bounds.items():
        left = "" if low is None else f"{low} <= "
        right = "" if high is None else f" <= {high}"
        shown.append(
            f"{left}{name}{right}"
            if not isinstance(low, str) and not isinstance(high, str)
            else f"the stored bounds of {name}"
        )
    return f"on the domain {', '.join(shown)}"
