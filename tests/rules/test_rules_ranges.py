"""Ranges of the elementwise rules contain what Arb computes, and are hardly wider; elementary functions keep their accuracy."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from flint import arb
from rules_arb import precision
from rules_table import INF, ROWS, Kinked, Row

import epigraph.calculus.propagate  # noqa: F401  (registers the rules)
from epigraph.calculus.interval import LIBM, Interval
from epigraph.calculus.rule import RULES, Elementwise
from epigraph.objective.graph import Node

MAX = float(np.finfo(np.float64).max)
BITS = 1400  # enough to reduce any float64 modulo pi, and for log(1 - 2^-1000)


def node(row) -> Node:
    return Node(0, row.op, (), dict(row.attributes), ())


def range_of(row, low: float, high: float) -> Interval:
    rule = RULES[row.op]
    assert isinstance(rule, Elementwise)
    return rule.range(node(row), Interval(low, high))


def contains(x: Interval, value: arb) -> bool:
    """False where the value is certainly outside; a ball that is cut by a bound says nothing."""
    low, high = x.hull
    return not (value.is_nan() or arb(low) > value or arb(high) < value)


def domains(row) -> tuple[tuple[float, float], ...]:
    return row.domains if isinstance(row, Row) else ((-INF, INF),)


def turning_points(row) -> list[float]:
    """Where the extremes lie, beside the ends: neighbours of the zeros of the slope, and the knots."""
    if isinstance(row, Row):
        return [x for b in row.signs["slope"].breaks for x in (b if isinstance(b, tuple) else (b,))]
    pieces = row.pieces if isinstance(row, Kinked) else ()
    return [x for x in row.breaks() if math.isfinite(x)] + [float(-b / (2 * c)) for _, b, c in pieces if c]


def evaluated(row) -> list[float]:
    """Points of all sizes at which ranges begin and end and at which f is computed."""
    limit = 40.0 if row.op in ("sin", "cos") else INF
    sizes = [
        0.0,
        5e-324,
        2.3e-308,
        1e-200,
        1e-16,
        0.3,
        1.0,
        2.5,
        30.0,
        709.0,
        711.0,
        745.5,
        1e4,
        1e16,
        1e155,
        1e300,
        MAX,
        INF,
    ]
    found = {s * x for s in (-1, 1) for x in sizes} | {-0.0}
    for b in row.breaks():
        if math.isfinite(b) and abs(b) < 8:
            found |= {b, math.nextafter(b, INF), math.nextafter(b, -INF), b - 0.1, b + 0.1}
    return sorted(x for x in found if abs(x) < limit)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_ranges_contain_the_values(row):
    """Ends and inner points of all pairs of ends; the float64 closest to a turning point is one of them."""
    with precision(BITS):
        for a, b in domains(row):
            points = [
                x for x in evaluated(row) if a <= x <= b and not (x == 0 and row.op == "power" and 0.0 in row.limits)
            ]
            values = [row.at(x) for x in points]
            for i, low in enumerate(points):
                for j in range(i, len(points)):
                    out = range_of(row, low, points[j])
                    chosen = {i, j, *range(i, j, max(1, (j - i) // 4))}
                    missed = [points[k] for k in chosen if not contains(out, values[k])]
                    assert not missed, (
                        f"{row.name} on [{low!r}, {points[j]!r}] is {out.hull} without the value at {missed}"
                    )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_random_points_are_contained(row):
    _check_points(row, 2000, seed=2)


@pytest.mark.soak
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_random_points_are_contained_at_length(row):
    _check_points(row, 40_000, seed=3)


def _check_points(row, count: int, seed: int) -> None:
    """Point intervals, as one array: bounds on both sides of the exact value, and close to it."""
    generator = np.random.default_rng(seed)
    near, far = generator.uniform(-40, 40, count // 2), 10.0 ** generator.uniform(-308, 308, count - count // 2)
    x = np.concatenate((near, far * generator.choice([-1.0, 1.0], far.size)))
    x = x[[row.within(v, v) if isinstance(row, Row) else True for v in x.tolist()]]
    rule = RULES[row.op]
    assert isinstance(rule, Elementwise)
    parts = [
        rule.range(node(row), Interval.point(part)).arrays(part.shape)
        for part in np.array_split(x, max(1, len(x) // 200))
    ]
    low, high = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    with precision(BITS if row.op in ("sin", "cos") else 300):
        for v, a, b in zip(x.tolist(), low.tolist(), high.tolist(), strict=True):
            assert contains(Interval(a, b), row.at(v)), f"{row.name} at {v!r}: [{a!r}, {b!r}]"


# how wide ranges are ----------------------------------------------------------------------------------------------------
LOOSE = {
    "sigmoid": 1e-12,
    "log_ndtr": 1e-9,
    "sin": 2e-12,
    "cos": 2e-12,
    "xlogx": 2e-13,
    "silu": 2e-13,
    "gelu": 2e-13,
    "mish": 2e-13,
}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_ranges_are_tight(row):
    """Moderate intervals: the bounds are those of the function but for rounding; signs at exact zeros are kept."""
    loose = LOOSE.get(row.op, 3e-13 if "/" in str(row.attributes.get("exponent", "")) else 1e-14)
    marks = sorted({-20.0, -3.0, -1.0, -0.25, 0.0, 0.25, 1.0, 3.0, 20.0, *(b for b in row.breaks() if abs(b) < 20)})
    with precision(BITS):
        for a, b in domains(row):
            points = [x for x in marks if a <= x <= b and not (x == 0 and row.op == "power" and 0.0 in row.limits)]
            for i, low in enumerate(points):
                for high in points[i:]:
                    if row.op in ("sin", "cos") and high - low > 1.5:
                        continue
                    _tight(row, low, high, loose)


def _tight(row, low: float, high: float, loose: float) -> None:
    places = [low, high, *(t for t in turning_points(row) if low <= t <= high)]
    values = [row.at(x) for x in places]
    least, most = values[0], values[0]
    for v in values[1:]:
        least, most = least.min(v), most.max(v)
    out = range_of(row, low, high).hull
    for bound, value, sign in ((out[0], least, -1), (out[1], most, 1)):
        if not value.is_finite():
            assert abs(bound) > 0.999 * MAX
            continue
        gap = float((sign * (arb(bound) - value)).mid())
        assert gap <= loose * max(1.0, abs(float(value.mid()))), (
            f"{row.name} on [{low}, {high}]: {bound} for {value.str(20)}"
        )
    if low == high or row.name == "elu 0" or (row.op in ("sin", "cos") and 0 not in (low, high)):
        return  # a rounded zero
    if bool(least >= 0):
        assert out[0] >= 0, f"{row.name} on [{low}, {high}] loses the sign: {out}"
    if bool(most <= 0):
        assert out[1] <= 0, f"{row.name} on [{low}, {high}] loses the sign: {out}"


def test_points_on_the_graph_are_kept():
    for op, x, y in (
        ("exp", 0.0, 1.0),
        ("log", 1.0, 0.0),
        ("sqrt", 1.0, 1.0),
        ("sigmoid", 0.0, 0.5),
        ("power", 1.0, 1.0),
    ):
        row = next(r for r in ROWS if r.op == op)
        assert range_of(row, x, x + 1).hull[0] >= y and range_of(row, x / 2 - (x == 0), x).hull[1] <= y
        many = RULES[op].interval(node(row), [Interval(np.array([x, x / 2 - (x == 0)]), np.array([x + 1, x]))], [(2,)])
        assert many.arrays((2,))[0][0] >= y and many.arrays((2,))[1][1] <= y


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_arrays_give_what_numbers_give(row):
    """Per-entry bounds, a uniform lower one with per-entry upper ones, and single numbers."""
    points = [
        x for a, b in domains(row) for x in (-30.0, -2.0, -0.7, 0.0, 0.4, 1.0, 2.6, 31.0, INF, -INF) if a <= x <= b
    ]
    low, high = (v[np.less_equal(*grid)] for grid in [np.meshgrid(points, points, indexing="ij")] for v in grid)
    rule = RULES[row.op]
    assert isinstance(rule, Elementwise)
    many = rule.range(node(row), Interval(low, high)).arrays(low.shape)
    for k in range(len(low)):
        one = rule.range(node(row), Interval(float(low[k]), float(high[k]))).hull
        assert (float(many[0][k]), float(many[1][k])) == pytest.approx(one, rel=1e-14, abs=1e-300), (
            row.name,
            low[k],
            high[k],
        )
    least = float(low.min())
    mixed = rule.range(node(row), Interval(least, high)).arrays(high.shape)
    full = rule.range(node(row), Interval(np.full(high.shape, least), high)).arrays(high.shape)
    assert np.array_equal(mixed[0], full[0]) and np.array_equal(mixed[1], full[1])


def test_arrays_that_cannot_be_written_to_are_taken():
    """Broadcast views are read-only; PyTorch warns of them unless they are copied."""
    view = np.broadcast_to(np.array([0.5, 1.5]), (3, 2))
    for row in ROWS:
        RULES[row.op].interval(node(row), [Interval(view, view)], [(3, 2)])


# the assumption about elementary functions --------------------------------------------------------------------------------
FUNCTIONS: dict[str, tuple[Callable, Callable[[arb], arb], tuple[float, float]]] = {
    "exp": (np.exp, lambda x: x.exp(), (-700, 709)),
    "log": (np.log, lambda x: x.log(), (0, 1e6)),
    "sqrt": (np.sqrt, lambda x: x.sqrt(), (0, 1e6)),
    "expm1": (np.expm1, lambda x: x.expm1(), (-700, 700)),
    "tanh": (np.tanh, lambda x: x.tanh(), (-20, 20)),
    "arctan": (np.arctan, lambda x: x.atan(), (-1e3, 1e3)),
    "sin": (np.sin, lambda x: x.sin(), (-1e3, 1e3)),
    "cos": (np.cos, lambda x: x.cos(), (-1e3, 1e3)),
    "logaddexp": (lambda x: np.logaddexp(x, 0.0), lambda x: x.exp().log1p(), (-700, 700)),
    "power 7": (lambda x: np.power(x, 7.0), lambda x: x**7, (-1e30, 1e30)),
    "power 2.5": (lambda x: np.power(x, 2.5), lambda x: x**2 * x.sqrt(), (0, 1e100)),
    "torch erf": (lambda x: torch.erf(torch.from_numpy(x)).numpy(), lambda x: x.erf(), (-6, 6)),
}


def _worst(name: str, count: int) -> float:
    """The largest error in units in the last place, over points of all sizes within the bounds."""
    function, exact, (low, high) = FUNCTIONS[name]
    generator = np.random.default_rng(4)
    size = 10.0 ** generator.uniform(-300, np.log10(high), count // 2) * generator.choice([-1.0, 1.0], count // 2)
    x = np.concatenate((generator.uniform(low, high, count - count // 2), size))
    x = x[(x > low) & (x < high)]
    y = function(x)
    worst = 0.0
    with precision(256):
        for v, w in zip(x.tolist(), y.tolist(), strict=True):
            if abs(w) >= 2.3e-308:
                worst = max(worst, abs(float((arb(w) - exact(arb(v))).mid())) / math.ulp(w))
    return worst


@pytest.mark.parametrize("name", FUNCTIONS)
def test_elementary_functions_are_accurate(name):
    assert _worst(name, 2000) <= LIBM


@pytest.mark.soak
@pytest.mark.parametrize("name", FUNCTIONS)
def test_elementary_functions_are_accurate_at_length(name):
    assert _worst(name, 40_000) <= LIBM
