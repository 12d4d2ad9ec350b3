"""The form "curvature": J is convex, perhaps strongly, by bounds of second derivatives; the lemma is in ``curvature``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, final

import numpy as np
from flint import ctx

from epigraph.certificate import kernel
from epigraph.certificate.affine import Unsuited
from epigraph.certificate.budget import Cost
from epigraph.certificate.codes import refuse
from epigraph.certificate.curvature import Curvature, Known
from epigraph.certificate.forms import Proved
from epigraph.certificate.graph import Program
from epigraph.certificate.linear import BOX, PRECISION, Linear
from epigraph.certificate.manifest import Manifest, fields, hex_float
from epigraph.certificate.secondderivative import SecondDerivative
from epigraph.errors import CertificateError

PROPERTIES = {"convex": 1, "concave": -1, "quasiconvex": 1, "quasiconcave": -1}
FUNCTION_LIMIT = 10_000
FUNCTION_SECONDS = 1.0
ENTRY_SECONDS = 2e-6
_FIELDS = {"form", "property", "active", "domain", "modulus", "bounds", "nodes"}


@final
@dataclass(frozen=True)
class Claim:
    """A claim of this form after its fields have been checked."""

    kind: str
    active: tuple[str, ...]
    domain: Mapping[str, tuple[Any, Any]]
    modulus: Fraction
    bounds: tuple[Fraction, ...]
    nodes: Mapping[str, Any]

    @property
    def sign(self) -> int:
        return PROPERTIES[self.kind]


def sides(pair: Any, where: str) -> tuple[Any, Any]:
    """The two sides of a box, unread."""
    if type(pair) is not list or len(pair) != 2:
        refuse("E420", "a box is [low, high]", where=where)
    return pair[0], pair[1]


def boxes(domain: Mapping[str, tuple[Any, Any]], tensors: Mapping[str, np.ndarray]) -> dict[str, BOX]:
    """The closed boxes of the domain by name."""

    def side(value: Any, default: float, where: str) -> Any:
        if value is None:
            return default
        if type(value) is str:
            return hex_float(value, where)
        if type(value) is not dict or set(value) != {"tensor"} or value["tensor"] not in tensors:
            refuse("E420", "a bound is a hexadecimal float, a tensor or null", where=where)
        return tensors[value["tensor"]].astype(np.float64)

    found = {}
    for name, (low, high) in domain.items():
        where = f"domain of {name[:100]!r}"
        found[name] = side(low, -math.inf, where), side(high, math.inf, where)
        if not bool(np.all(np.asarray(found[name][0]) <= np.asarray(found[name][1]))):
            refuse("E422", "the box is empty", where=where)
    return found


@final
class Curved:
    """Checks claims of this form: every bound of a second derivative anew, then the matrix inequality."""

    def parse(self, manifest: Manifest) -> Claim:
        raw = fields(manifest.claim, _FIELDS, "claim")
        if type(raw["property"]) is not str or raw["property"] not in PROPERTIES:
            refuse("E420", f"the property must be one of {', '.join(PROPERTIES)}")
        active, bounds = raw["active"], raw["bounds"]
        if (
            type(active) is not list
            or not active
            or any(type(n) is not str or n not in manifest.parameters for n in active)
        ):
            refuse("E420", "active must be a list of names of parameters")
        if type(bounds) is not list or len(bounds) > FUNCTION_LIMIT:
            refuse("E420", f"bounds must be a list of at most {FUNCTION_LIMIT} numbers")
        if type(raw["domain"]) is not dict or any(n not in manifest.parameters for n in raw["domain"]):
            refuse("E420", "the domain must give boxes by names of parameters")
        if type(raw["nodes"]) is not dict or manifest.delta:
            refuse("E420", "nodes must be records of a derivation, and nothing may be displaced")
        modulus = Fraction(hex_float(raw["modulus"], "modulus"))
        if modulus < 0:
            refuse("E420", "the modulus must not be negative")
        return Claim(
            raw["property"],
            tuple(active),
            {n: sides(pair, n) for n, pair in raw["domain"].items()},
            modulus,
            tuple(Fraction(hex_float(b, "bounds")) for b in bounds),
            raw["nodes"],
        )

    def estimate(self, claim: Claim, manifest: Manifest) -> Cost:
        data = sum(t.bytes for t in manifest.tensors.values())
        entries = sum(math.prod(node.shape) for node in manifest.program.nodes)
        size = sum(math.prod(manifest.tensors[manifest.parameters[n]].shape) for n in claim.active)
        seconds = FUNCTION_SECONDS * len(claim.bounds) + ENTRY_SECONDS * entries * (1 + min(size, 2000)) + 4e-9 * data
        return Cost(seconds, 4.0 * data + 400.0 * entries + 500.0 * min(size, 2000) ** 2)

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
            curvature = open_(manifest.program, tensors, claim, {**raw, "nodes": dict(claim.nodes)})
        except Unsuited:
            refuse("E440", "the lemma does not apply to this graph")
        if len(curvature.functions) != len(claim.bounds):
            refuse("E420", f"{len(claim.bounds)} bounds for {len(curvature.functions)} functions of one variable")
        for k, least in enumerate(claim.bounds):
            if not bounded(curvature, k, least):
                refuse("E440", f"the bound of function number {k} is not proved", why=f"phi'' >= {float(least):.17g}")
        try:
            proved = curvature.proves(claim.bounds, claim.modulus)
        except Unsuited:
            proved = False
        if not proved:
            refuse("E440", "the matrix inequality is not proved")
        extra = f" J - m/2 |theta|^2 is so as well for m = {float(claim.modulus):.17g}." if claim.modulus else ""
        return Proved(kernel.statement(raw) + (extra if claim.sign > 0 else extra.replace("J - m", "J + m")))


def open_(
    program: Program,
    tensors: Mapping[str, np.ndarray],
    claim: Claim,
    derivation: Mapping[str, Any],
    likely: Known = lambda position, sign: True,
) -> Curvature:
    """The parts of J, with the nodes that are convex by the rules of composition; ``likely`` spares vain checks."""

    def known(position: int, sign: int) -> bool:
        if not likely(position, sign):
            return False
        word = "convex" if sign > 0 else "concave"
        part = Program(program.nodes, position, program.live)
        try:
            kernel.check(part, range(len(program.nodes)), tensors, {**derivation, "property": word})
        except CertificateError:
            return False
        return True

    linear = Linear(program, tensors, claim.active, boxes(claim.domain, tensors))
    return Curvature(linear, claim.sign, known)


def bounded(curvature: Curvature, number: int, least: Fraction) -> bool:
    """Has the function of this number a second derivative of at least ``least``?"""
    f = curvature.functions[number]
    with ctx.workprec(PRECISION):
        return SecondDerivative(curvature.reader, f.terms, f.low, f.high).at_least(least)


FORM = Curved()
