"""Ranges over the whole line and at turning points, to the last float: the image, and the float below a minimum."""

from __future__ import annotations

import math

import pytest
from flint import arb
from rules_arb import precision
from rules_table import INF, ROWS, Row

import epigraph.calculus.propagate  # noqa: F401  (registers the rules)
from epigraph.calculus.interval import Interval
from epigraph.calculus.rule import RULES, Elementwise
from epigraph.objective.graph import Node

HALF_PI = (math.nextafter(-math.pi / 2, -INF), math.nextafter(math.pi / 2, INF))  # pi/2 is no float
IMAGES = {
    "exp": (0.0, INF),
    "sqrt": (0.0, INF),
    "softplus": (0.0, INF),
    "sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "erf": (-1.0, 1.0),
    "atan": HALF_PI,
    "log_ndtr": (-INF, 0.0),
    "abs": (0.0, INF),
    "relu": (0.0, INF),
    "sin": (-1.0, 1.0),
    "cos": (-1.0, 1.0),
    "log": (-INF, INF),
}


def range_of(op: str, low: float, high: float) -> tuple[float, float]:
    rule = RULES[op]
    assert isinstance(rule, Elementwise)
    return rule.range(Node(0, op, (), {}, ()), Interval(low, high)).hull


@pytest.mark.parametrize("op", IMAGES)
def test_the_image_of_the_whole_line(op):
    assert range_of(op, -INF, INF) == IMAGES[op]


def test_half_pi_lies_between_two_floats():
    with precision(128):
        assert arb(math.pi / 2) < arb.pi() / 2 < arb(HALF_PI[1])


@pytest.mark.parametrize("op", ["silu", "gelu", "mish", "xlogx"])
def test_the_lower_bound_is_the_float_below_the_minimum(op):
    """The minimum lies between the two floats of the turning point, and f there is flat to 30 digits."""
    row = next(r for r in ROWS if isinstance(r, Row) and r.op == op)
    bracket = next(b for b in row.signs["slope"].breaks if isinstance(b, tuple))
    with precision(400):
        least = row.f(arb(bracket[0]).union(arb(bracket[1])))
        bound = range_of(op, 0.0 if op == "xlogx" else -INF, INF)[0]
        assert arb(bound) <= row.f(arb(bracket[0])) and arb(bound) <= row.f(arb(bracket[1]))
        assert arb(math.nextafter(bound, INF)) > least.mid() - least.rad()
        assert not arb(math.nextafter(bound, INF)) <= row.f(arb(bracket[0]))
