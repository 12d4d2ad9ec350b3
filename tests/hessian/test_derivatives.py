"""The table of derivatives against mpmath at 60 digits: values at points, and ranges that contain them."""

from __future__ import annotations

from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch

from epigraph.calculus.derivatives import SMOOTH, pieces_of
from epigraph.calculus.derivatives.arithmetic import RANGES, REALS, Range, subdivided
from epigraph.calculus.interval import Interval
from epigraph.objective.graph import Node

mp = mpmath.mp.clone()
mp.dps = 60
NOISE = mp.mpf(10) ** -40  # of numerical differences

FUNCTIONS = {
    "exp": mp.exp,
    "log": mp.log,
    "sqrt": mp.sqrt,
    "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
    "tanh": mp.tanh,
    "softplus": lambda x: mp.log(1 + mp.exp(x)),
    "erf": mp.erf,
    "log_ndtr": lambda x: mp.log(mp.erfc(-x / mp.sqrt(2)) / 2),
    "sin": mp.sin,
    "cos": mp.cos,
    "atan": mp.atan,
    "xlogx": lambda x: x * mp.log(x),
    "silu": lambda x: x / (1 + mp.exp(-x)),
    "gelu": lambda x: x * mp.erfc(-x / mp.sqrt(2)) / 2,
    "mish": lambda x: x * mp.tanh(mp.log(1 + mp.exp(x))),
}
POWERS = ("2", "3", "-1", "-2", "1/2", "5/2", "-1/3", "7")
CASES = [(op, {}, f) for op, f in FUNCTIONS.items()] + [
    ("power", {"exponent": e}, lambda x, e=e: mp.mpf(x) ** (mp.mpf(Fraction(e).numerator) / Fraction(e).denominator))
    for e in POWERS
]


def points(op: str, attributes: dict) -> list[float]:
    node = Node(0, op, (), attributes, ())
    domain = SMOOTH[op].where(node)
    own = [0.03, 0.7, 1.7, 9.0]
    return own if domain == "positive" else own + [-v for v in own] + ([0.0] if domain == "all" else [])


def exact(f, x: float) -> list:
    return [mp.diff(f, mp.mpf(x), k) for k in range(1, 5)]


def test_every_smooth_operator_has_a_row():
    assert set(SMOOTH) == {op for op, _, _ in CASES}


@pytest.mark.parametrize(("op", "attributes", "f"), CASES, ids=lambda v: str(v) if isinstance(v, str | dict) else "")
def test_values(op, attributes, f):
    node = Node(0, op, (), attributes, ())
    for x in points(op, attributes):
        found = SMOOTH[op].formula(node, torch.tensor([x], dtype=torch.float64), 4, REALS)
        for value, truth in zip(found, exact(f, x), strict=True):
            assert float(value) == pytest.approx(float(truth), rel=2e-7, abs=2e-11)


@pytest.mark.parametrize(("op", "attributes", "f"), CASES, ids=lambda v: str(v) if isinstance(v, str | dict) else "")
def test_ranges_contain_the_values(op, attributes, f):
    """Thin ranges hold the exact derivative; ranges over an interval hold those of its points."""
    node = Node(0, op, (), attributes, ())
    rng = np.random.default_rng(0)
    for x in points(op, attributes):
        truth = exact(f, x)
        thin = SMOOTH[op].formula(node, Range(Interval.point(np.array([x]))), 4, RANGES)
        width = min(abs(x) / 2, 0.7) if SMOOTH[op].where(node) != "all" else 0.7
        low, high = x - width * rng.random(), x + width * rng.random()
        span = Interval(np.array([low]), np.array([high]))
        wide = subdivided(lambda r: SMOOTH[op].formula(node, r, 4, RANGES), span, 8)
        for k in range(4):
            assert holds(thin[k].bounds, truth[k]) and holds(wide[k], truth[k]), (x, k)
        for inner in np.linspace(low, high, 3):
            assert all(holds(bounds, v) for bounds, v in zip(wide, exact(f, float(inner)), strict=True)), inner


def holds(bounds: Interval, value) -> bool:
    return float(np.min(bounds.lower)) - NOISE <= value <= float(np.max(bounds.upper)) + NOISE


@pytest.mark.parametrize("op", ["sigmoid", "tanh"])
def test_global_bounds_are_near(op):
    """The ranges over the whole line are cut to within a thousandth of the extremes, and not below them."""
    node = Node(0, op, (), {}, ())
    x = torch.linspace(-12, 12, 400_001, dtype=torch.float64)
    found = SMOOTH[op].formula(node, x, 4, REALS)
    bounds = SMOOTH[op].formula(node, Range(Interval(np.array([-40.0]), np.array([40.0]))), 4, RANGES)
    for value, bound in zip(found, bounds, strict=True):
        low, high = float(np.min(bound.bounds.lower)), float(np.max(bound.bounds.upper))
        assert low <= float(value.min()) + 1e-15 and float(value.max()) <= high + 1e-15
        assert high - low < 1.01 * float(value.max() - value.min()) + 1e-3


KINKED = [
    ("relu", {}, lambda x: max(x, 0.0), [0.0]),
    ("abs", {}, abs, [0.0]),
    ("elu", {"alpha": "1/2"}, lambda x: x if x > 0 else 0.5 * np.expm1(x), [0.0]),
    ("elu", {"alpha": "2"}, lambda x: x if x > 0 else 2 * np.expm1(x), [0.0]),
    (
        "piecewise",
        {"knots": ["-1", "1/3"], "pieces": [["0", "-2", "-1"], ["2", "1"], ["7/3"]]},
        lambda x: -2 * x - x * x if x <= -1 else 2 + x if x <= 1 / 3 else 7 / 3,
        [-1.0, 1 / 3],
    ),
]


@pytest.mark.parametrize(("op", "attributes", "f", "knots"), KINKED)
def test_pieces(op, attributes, f, knots):
    """Slopes by differences; kinks where one-sided slopes differ, with the sign of their difference."""
    pieces = pieces_of(Node(0, op, (), attributes, ()))
    assert pieces is not None
    h = 1e-6
    for x in np.linspace(-3, 3, 41):
        if min(abs(x - k) for k in knots) < 1e-3:
            continue
        slope = (f(x + h) - f(x - h)) / (2 * h)
        assert float(pieces.at(torch.tensor([x]), 2)[0]) == pytest.approx(slope, abs=1e-7)
        for low, high in ((x - 0.5, x + 0.1), (x - 2, x + 2)):
            bounds = pieces.over(Interval(np.array([low]), np.array([high])), 2, 4)[0]
            assert bounds.lower[0] - 1e-7 <= slope <= bounds.upper[0] + 1e-7
    for k in knots:
        jump = (f(k + h) - f(k)) / h - (f(k) - f(k - h)) / h
        up, down = pieces.corners(Interval(np.array([k - 0.1]), np.array([k + 0.1])))
        assert (bool(up[0]), bool(down[0])) == (jump > 1e-3, jump < -1e-3)
        for low, high in ((k - 0.1, k - 0.01), (k + 0.01, k + 0.1)):
            assert not any(m[0] for m in pieces.corners(Interval(np.array([low]), np.array([high]))))


def test_touching_a_knot_is_not_crossing_it():
    relu = pieces_of(Node(0, "relu", (), {}, ()))
    assert relu is not None
    for low, high, slope in ((0.0, 2.0, 1.0), (-2.0, 0.0, 0.0)):
        x = Interval(np.array([low]), np.array([high]))
        found = relu.over(x, 1)[0]
        assert (found.lower[0], found.upper[0]) == (slope, slope)
        assert not relu.corners(x)[0][0] and not relu.several(x)[0]
        at = relu.around(x, Interval.point(np.array([0.0])), 1)[0]
        assert (at.lower[0], at.upper[0]) == (slope, slope)
