"""The real function J of a certificate's graph, evaluated rigorously at a few points, and gaps certified from it.

Two arithmetics: ``exact`` (rational numbers; polynomial and piecewise polynomial graphs) and ``arb`` (balls that
contain the real value, at a chosen precision).  Neither shares anything with the calculus or with PyTorch.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, final

import numpy as np
from flint import arb, ctx, fmpq

from epigraph.certificate import bitlengths, budget, shapes
from epigraph.certificate.balls import Balls
from epigraph.certificate.graph import Program
from epigraph.certificate.points import Delta, moved
from epigraph.certificate.rationals import OPERATORS, Rationals, Undefined
from epigraph.certificate.schedule import schedule

Arithmetic = Literal["exact", "arb"]
Point = Mapping[str, Delta]
Enclosure = Any  # arb or fmpq

PRECISION_LIMIT = 4096
NUMERATOR_BITS = 64
EXPONENT_LIMIT = 100_000
PROPERTIES = ("convex", "concave", "quasiconvex", "quasiconcave")


class OutOfTime(Exception):
    """An evaluation passed its deadline (checked between nodes)."""


@final
@dataclass(frozen=True)
class Certified:
    """A gap proved from below: ``gap_lower`` = (n, e) means gap >= n 2^-e > 0.

    ``values`` are J(a), J(b) and J(m), rounded, under the keys a, b and m.
    """

    arithmetic: Arithmetic
    precision_bits: int
    gap_lower: tuple[int, int]
    values: Mapping[str, float]

    @property
    def gap(self) -> Fraction:
        """The bound as a rational number."""
        return Fraction(self.gap_lower[0]) / Fraction(2) ** self.gap_lower[1]


def supports_exact(graph: Mapping[str, Any]) -> bool:
    """Can J be evaluated in rational numbers: are all operators that the output needs polynomial or piecewise so?"""
    nodes = {node["id"]: node for node in graph["nodes"]}
    pending, seen = [graph["output"]], set()
    while pending:
        node = nodes[pending.pop()]
        if node["id"] in seen:
            continue
        seen.add(node["id"])
        if node["op"] not in OPERATORS or (node["op"] == "power" and "/" in _reduced(node["attributes"]["exponent"])):
            return False
        pending += node["inputs"][:1] if node["op"] in ("same", "take") else node["inputs"]
    return True


def _reduced(text: str) -> str:
    return str(Fraction(text))


def evaluate(
    graph: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    points: Sequence[Point],
    arithmetic: Arithmetic,
    precision_bits: int = 128,
    *,
    deadline: float | None = None,
) -> list[Enclosure]:
    """Enclosures of J at each point: the base with the displacements of that point, by key of the parameter's tensor.

    ``exact`` returns ``fmpq`` and raises ``rationals.Undefined`` outside a domain; ``arb`` returns balls at
    ``precision_bits``, nan where J is undefined or the enclosure too wide.  Nodes that no displacement reaches are
    evaluated once.  ``deadline`` is a time of ``time.monotonic``; ``OutOfTime`` is raised when a node ends after it.
    """
    program = shapes.program(graph, shapes.metas(tensors))
    shapes.check_indices(program, tensors)
    return run(program, tensors, points, arithmetic, precision_bits, deadline=deadline)


def run(
    program: Program,
    tensors: Mapping[str, np.ndarray],
    points: Sequence[Point],
    arithmetic: Arithmetic,
    precision_bits: int = 128,
    *,
    deadline: float | None = None,
) -> list[Enclosure]:
    """``evaluate`` for a graph that has been checked."""
    if arithmetic == "exact":
        return _run(Rationals(program, tensors), program, tensors, points, deadline)
    if not 2 <= precision_bits <= PRECISION_LIMIT:
        raise ValueError(f"precision_bits must be from 2 to {PRECISION_LIMIT}")
    with ctx.workprec(precision_bits):
        return _run(Balls(program, tensors), program, tensors, points, deadline)


def _run(
    engine: Any, program: Program, tensors: Mapping[str, np.ndarray], points: Sequence[Point], deadline: float | None
) -> list[Enclosure]:
    plan = schedule(program, {key for point in points for key in point})
    shared: dict[int, Any] = {}
    for position in plan.shared:
        shared[position] = value_of(engine, program, position, tensors, {}, shared, {})
        _tick(deadline)
        for done in plan.free_shared.get(position, ()):
            del shared[done]
    results = []
    for number, point in enumerate(points, 1):
        local: dict[int, Any] = {}
        for position in plan.moving:
            local[position] = value_of(engine, program, position, tensors, point, local, shared)
            _tick(deadline)
            for done in plan.free_moving.get(position, ()):
                del local[done]
            if number == len(points):
                for done in plan.free_last.get(position, ()):
                    del shared[done]
        source = local if program.output in local else shared
        results.append(engine.result(source[program.output]))
    return results


def value_of(
    engine: Any,
    program: Program,
    position: int,
    tensors: Mapping[str, np.ndarray],
    point: Point,
    values: Mapping[int, Any],
    others: Mapping[int, Any],
) -> Any:
    """The value of one node from those of its operands, which are in ``values`` or in ``others``."""
    node = program.nodes[position]
    if "value" in node.attributes:
        return engine.scalar(node.attributes["value"])
    if node.op in ("parameter", "constant"):
        key = node.attributes["tensor"]
        return engine.leaf(moved(tensors[key], point[key]) if key in point else tensors[key])
    return engine.apply(node, [values[i] if i in values else others[i] for i in node.operands])


def _tick(deadline: float | None) -> None:
    if deadline is not None and time.monotonic() > deadline:
        raise OutOfTime


def gap(kind: str, at_a: Enclosure, at_b: Enclosure, at_m: Enclosure) -> Enclosure:
    """By how much the property fails, exact or a ball as the values are.

    J(m) - (J(a) + J(b))/2 for convex, its negative for concave, J(m) - max(J(a), J(b)) for quasiconvex, and
    min(J(a), J(b)) - J(m) for quasiconcave.
    """
    with ctx.workprec(2 * PRECISION_LIMIT):
        if kind == "convex":
            return at_m - (at_a + at_b) / 2
        if kind == "concave":
            return (at_a + at_b) / 2 - at_m
        if kind not in PROPERTIES:
            raise ValueError(f"{kind!r} is not one of {', '.join(PROPERTIES)}")
        if isinstance(at_m, arb):
            return at_m - at_a.max(at_b) if kind == "quasiconvex" else at_a.min(at_b) - at_m
        return at_m - max(at_a, at_b) if kind == "quasiconvex" else min(at_a, at_b) - at_m


def certify(
    graph: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    delta: Mapping[str, Delta],
    kind: str,
    start_bits: int = 128,
    max_bits: int = PRECISION_LIMIT,
    budget_seconds: float = 120.0,
    budget_bytes: int = budget.DEFAULT_BYTES,
) -> Certified | None:
    """Prove gap(kind) > 0 at a = m + delta, b = m - delta, or None where that fails or the budget ends first.

    Rational arithmetic where the graph allows it and the cost is moderate; otherwise balls, the precision raised by
    what the measured radius asks for.  A gap of exactly zero ends with None.
    """
    start = time.monotonic()
    program = shapes.program(graph, shapes.metas(tensors))
    shapes.check_indices(program, tensors)
    points: list[Point] = [delta, {key: d.opposite for key, d in delta.items()}, {}]
    if supports_exact(graph):
        cost = bitlengths.exact(program, tensors, points)
        ball_cost = budget.balls(program, set(delta), len(points), 256)
        if cost.seconds <= max(5.0, 5 * ball_cost.seconds) and cost.fits(budget_seconds, budget_bytes):
            try:
                return _certified("exact", 0, kind, run(program, tensors, points, "exact"))
            except Undefined:
                pass  # perhaps in a branch of `where` that is not taken: balls decide
    bits = max(start_bits, 2)
    while bits <= min(max_bits, PRECISION_LIMIT):
        remaining = budget_seconds - (time.monotonic() - start)
        if not budget.balls(program, set(delta), len(points), bits).fits(2 * remaining, budget_bytes):
            return None
        try:
            values = run(program, tensors, points, "arb", bits, deadline=time.monotonic() + remaining)
        except OutOfTime:
            return None
        found = gap(kind, *values)
        certified = _certified("arb", bits, kind, values)
        if certified is not None or found <= 0:
            return certified
        bits = _next_precision(bits, found, values)
    return None


def _certified(arithmetic: Arithmetic, bits: int, kind: str, values: Sequence[Enclosure]) -> Certified | None:
    """The bound to record: rounded down to 64 bits, and for balls with room for another version of the library."""
    bound = recorded(gap(kind, *values))
    if bound is None:
        return None
    shown = {name: rounded(v) for name, v in zip("abm", values, strict=True)}
    return Certified(arithmetic, bits, bound, shown)


def recorded(found: Enclosure) -> tuple[int, int] | None:
    """(n, e) with 0 < n 2^-e below every point of a value, with some room; None where it is not certainly positive."""
    low = _from_below(found) if isinstance(found, arb) else Fraction(int(found.p), int(found.q))
    if low is None or low <= 0:
        return None
    scale = NUMERATOR_BITS - (low.numerator.bit_length() - low.denominator.bit_length())
    if abs(scale) > EXPONENT_LIMIT:
        return None
    return (low * Fraction(2) ** scale).__floor__(), scale


def _from_below(ball: arb) -> Fraction | None:
    """A number below every point of a positive ball, four more radii away; None where that is not positive."""
    with ctx.workprec(2 * PRECISION_LIMIT):
        reduced = ball - 4 * ball.rad()
        if not reduced > 0:
            return None
        mantissa, exponent = reduced.lower().man_exp()
    if abs(exponent) > EXPONENT_LIMIT:
        return None
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)


def rounded(value: Enclosure) -> float:
    """A value or the middle of a ball as a float, infinite where it overflows."""
    if isinstance(value, fmpq):
        try:
            return int(value.p) / int(value.q)
        except OverflowError:
            return float("inf") if value > 0 else float("-inf")
    return float(value.mid())


def _next_precision(bits: int, found: arb, values: Sequence[arb]) -> int:
    """Doubled where nothing is known; else so many that the radius falls to 2^-60 of J's scale, 64 more at least."""
    if not found.is_finite():
        return 2 * bits
    scale = max((v.abs_upper() for v in values), key=lambda v: v)
    radius = found.rad()
    if not (scale > 0 and radius > 0):
        return 2 * bits
    missing = float((radius / scale).log().mid()) / 0.6931471805599453 + 60
    return bits + min(bits * 3, max(64, int(missing) + 16))
