"""What a curve of the kernel says of a function on an interval, against ball arithmetic at points near its ends."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
from flint import arb, fmpq
from kernel_graphs import KNEES, NUMBERS

from epigraph.certificate import attributes as at
from epigraph.certificate import ballfunctions as bf
from epigraph.certificate.graph import Node
from epigraph.certificate.kernel_curves import CURVES
from epigraph.certificate.kernel_ends import ends

MAKERS = {
    "power": lambda a: bf.power(a["exponent"]),
    "elu": lambda a: bf.elu(a["alpha"]),
    "piecewise": lambda a: bf.piecewise(a["knots"], a["pieces"]),
}


def parsed(attributes: dict[str, Any]) -> dict[str, Any]:
    checkers = {"exponent": at.rational, "alpha": at.rational, "knots": at.knots, "pieces": at.pieces}
    return {k: checkers[k](v, "test") for k, v in attributes.items()}


def interval(rng: random.Random, knees: Sequence[float]) -> tuple[float, float]:
    """Ends at knees and their neighbours, at multiples of pi/2, at plain numbers, or none."""

    def end() -> float:
        x = rng.choice(
            [
                rng.choice(knees),
                rng.choice(knees),
                rng.choice(NUMBERS),
                rng.gauss(0, 3),
                rng.randrange(-4, 9) * math.pi / 2,
                -math.log(2),
            ]
        )
        return rng.choice([x, -x, math.nextafter(x, 9), math.nextafter(x, -9)])

    low, high = sorted((end(), end()))
    return (-math.inf if rng.random() < 0.15 else low), (math.inf if rng.random() < 0.15 else high)


def contradictions(
    op: str, attributes: dict[str, Any], rng: random.Random, count: int, knees: Sequence[float] = KNEES
) -> list[str]:
    """Claims of slope, curvature or value that do not hold."""
    node = Node(op, (0,), parsed(attributes), (), "test")
    f = MAKERS[op](node.attributes) if op in MAKERS else bf.FUNCTIONS[op]
    found = []
    for _ in range(count):
        low, high = interval(rng, knees)
        curve = CURVES[op](node, np.asarray(low), np.asarray(high))
        held = {name: bool(np.all(mask)) for name, mask in zip(curve._fields, curve, strict=True)}
        for a, b, m in _triples(low, high, rng):
            values = [f(v) for v in (a, b, m)]
            if all(v.is_finite() for v in values):
                found += [f"{op} {attributes} {name} on [{low!r}, {high!r}] at {a}" for name in _broken(held, *values)]
        for x in (low, high):
            if math.isfinite(x) and f(arb(x)).is_finite() and op not in ("piecewise", "abs", "relu", "sign", "floor"):
                below, above = ends(node, np.asarray(x))
                exact = f(arb(x))
                if bool(exact < arb(float(below))) or (math.isfinite(above) and bool(exact > arb(float(above)))):
                    found.append(f"{op} {attributes}: ends at {x!r}")
    return found


def _triples(low: float, high: float, rng: random.Random) -> list[tuple[arb, arb, arb]]:
    """a < m < b with m the middle: next to either end at several distances, and somewhere inside."""
    left, right = (arb(low) if math.isfinite(low) else arb(high if math.isfinite(high) else 0) - 40), None
    right = arb(high) if math.isfinite(high) else left + 80
    width = right - left
    out = []
    if not width > 0:
        return out
    for power in (1, 3, 20, 60, 100):
        step = width * arb(fmpq(1, 2**power))
        out += [(left, left + 2 * step, left + step), (right - 2 * step, right, right - step)] if power > 0 else []
    u, v = sorted((rng.random(), rng.random()))
    a, b = left + width * arb(u), left + width * arb(v)
    return [t for t in [*out, (a, b, (a + b) / 2)] if t[0] >= left and t[1] <= right]


def _broken(held: dict[str, bool], a: arb, b: arb, m: arb) -> list[str]:
    out = []
    tests = {
        "up": a > b or a > m or m > b,
        "down": a < b or a < m or m < b,
        "convex": 2 * m > a + b,
        "concave": 2 * m < a + b,
        "valley": m > a and m > b,
        "hill": m < a and m < b,
        "log_convex": a < 0 or b < 0 or m < 0 or m * m > a * b,
        "log_concave": a < 0 or b < 0 or m < 0 or m * m < a * b,
        "root_convex": a < 0 or b < 0 or m < 0 or (a > 0 and b > 0 and m > 0 and 2 * m.sqrt() > a.sqrt() + b.sqrt()),
    }
    for name, broken in tests.items():
        if held[name] and bool(broken):
            out.append(name)
    return out
