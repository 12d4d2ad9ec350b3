"""Every claim of the elementwise rules, against signs of derivatives that Arb proves.

The tables of signs are proved first; then a rule may claim on an interval only what the tables give there, and it must
claim that unless the row says otherwise.  Intervals end at the breaks, at their neighbours among the floats, and beyond.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from flint import arb
from rules_arb import QUANTITIES, cells, precision, proved, strictly
from rules_table import CLAIMS, INF, ROWS, SMOOTH, Row, Signs

import epigraph.calculus.propagate  # noqa: F401  (registers the rules)
from epigraph.calculus.interval import Interval
from epigraph.calculus.rule import RULES, Elementwise
from epigraph.objective.graph import Node

STEPS = {"sign", "floor"}
SAMPLES = [s * m for m in (1e-3, 0.01, 0.1, 0.3, 0.7, 1.0, 1.7, 3.0, 5.0, 9.0, 20.0, 50.0) for s in (-1, 1)]


def node(row) -> Node:
    return Node(0, row.op, (), dict(row.attributes), ())


def test_every_elementwise_rule_has_a_row():
    assert {op for op, rule in RULES.items() if isinstance(rule, Elementwise)} == {row.op for row in ROWS} | STEPS


@pytest.mark.parametrize("row", SMOOTH, ids=lambda row: row.name)
def test_signs_are_proved(row):
    """On the reach of each table by bisection; by samples where only the lemma speaks."""
    with precision(row.bits):
        for name in QUANTITIES:
            table = row.signs[name]
            for low, high, sign in table.pieces():
                _prove_piece(row, name, table, low, high, sign)


def _prove_piece(row: Row, name: str, table: Signs, low: float, high: float, sign: int) -> None:
    zeros = tuple(b for b in table.breaks if not isinstance(b, tuple))
    if table.reach is not None:
        a, b = max(low, table.reach[0]), min(high, table.reach[1])
        for start, stop in cells(a, b):
            assert proved(row.f, name, start, stop, sign, zeros), f"{row.name}: {name} on [{start}, {stop}]"
    if low in (-INF, *zeros) or high in (INF, *zeros):
        assert table.lemma or row.op in ("sin", "cos"), f"{row.name}: {name} has no lemma"
    with precision(4096):
        for x in SAMPLES:
            if low < x < high and row.within(x, x):
                assert strictly(row.f, name, x) == sign, f"{row.name}: {name} at {x}"


@pytest.mark.parametrize("row", SMOOTH, ids=lambda row: row.name)
def test_brackets_hold_a_sign_change(row):
    """So that neither neighbour of a break could be moved inward or outward."""
    with precision(row.bits):
        for name in QUANTITIES:
            for b in row.signs[name].breaks:
                if isinstance(b, tuple):
                    assert math.nextafter(b[0], INF) == b[1]
                    assert strictly(row.f, name, b[0]) * strictly(row.f, name, b[1]) == -1, f"{row.name}: {name} at {b}"


# what the rules claim ---------------------------------------------------------------------------------------------------
def ends(row) -> list[float]:
    """Ends of intervals: the breaks, their neighbours near and far, zeros, tiny, moderate and huge numbers."""
    found = {
        -INF,
        INF,
        0.0,
        -0.0,
        1.0,
        -1.0,
        5e-324,
        -5e-324,
        1e-300,
        0.5,
        -0.5,
        2.0,
        -2.0,
        8.0,
        -8.0,
        1e3,
        -1e3,
        1e300,
        -1e300,
    }
    for b in row.breaks():
        if math.isfinite(b):
            found |= {b, math.nextafter(b, INF), math.nextafter(b, -INF)}
            found |= {b + s * d for s in (-1, 1) for d in (1e-12, 1e-9, 1e-6, 1e-3, 0.2)}
    if row.op in ("sin", "cos"):
        found = {x for x in found if abs(x) < 4.8}
    return sorted(found)


def pairs(row) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.meshgrid(ends(row), ends(row), indexing="ij")
    keep = low <= high
    return low[keep], high[keep]


def claimed_by_parts(row, low: np.ndarray, high: np.ndarray) -> dict[str, np.ndarray]:
    """In parts, since piecewise polynomials look at each interval only where there are few."""
    cuts = range(200, len(low), 200)
    parts = [claimed(row, Interval(a, b)) for a, b in zip(np.split(low, cuts), np.split(high, cuts), strict=True)]
    return {c: np.concatenate([part[c] for part in parts]) for c in CLAIMS}


def claimed(row, x: Interval) -> dict[str, np.ndarray]:
    """What the rule says on each interval; a claim that implies another one makes it too."""
    rule, n = RULES[row.op], node(row)
    assert isinstance(rule, Elementwise)
    masks = [*rule.slope(n, x), *rule.curvature(n, x), *rule.logarithmic(n, x), *rule.shape(n, x)]
    shape = np.broadcast_shapes(np.shape(x.lower), np.shape(x.upper))
    up, down, convex, concave, log_convex, log_concave, root, valley, hill = (np.broadcast_to(m, shape) for m in masks)
    values = (
        up,
        down,
        convex,
        concave,
        log_convex,
        log_concave,
        root,
        valley | convex | up | down,
        hill | concave | up | down,
    )
    return dict(zip(CLAIMS, values, strict=True))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_claims_are_true_and_complete(row):
    low, high = pairs(row)
    said = claimed_by_parts(row, low, high)
    wrong, lost = [], []
    for k, (a, b) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
        for claim in CLAIMS:
            true = (a == b and row_within(row, a, b)) or row.holds(claim, a, b)
            if said[claim][k] and not true:
                wrong.append((claim, a, b))
            elif true and not said[claim][k] and claim not in row.weak and a < b and not _close(row, claim, a, b):
                lost.append((claim, a, b))
    assert not wrong, f"{row.name} claims wrongly: {wrong[:5]}"
    assert not lost, f"{row.name} does not claim: {lost[:5]}"


def row_within(row, a: float, b: float) -> bool:
    return not isinstance(row, Row) or row.within(a, b)


def _close(row, claim: str, a: float, b: float) -> bool:
    """Is the claim false on a slightly larger interval (zero stays zero), for a row with slack?"""
    slack = getattr(row, "slack", 0.0)
    return bool(slack) and not row.holds(claim, a - slack * abs(a), b + slack * abs(b))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_numbers_and_arrays_agree(row):
    low, high = pairs(row)
    many = claimed_by_parts(row, low, high)
    for k in np.random.default_rng(0).choice(len(low), 60, replace=False):
        one = claimed(row, Interval(float(low[k]), float(high[k])))
        assert {c: bool(one[c]) for c in CLAIMS} == {c: bool(many[c][k]) for c in CLAIMS}, (row.name, low[k], high[k])


@pytest.mark.parametrize("row", [r for r in ROWS if r.op == "piecewise"], ids=lambda row: row.name)
def test_many_intervals_are_judged_by_their_hull(row):
    """More than 256 different intervals, or more than 4096: the claims of the hull, and its range."""
    whole = claimed(row, Interval(-2.0, 3.0))
    for size in (300, 5000):
        low, high = np.linspace(-2.0, 0.0, size), np.full(size, 3.0)
        low = low if size == 300 else np.where(low < -1, -2.0, 0.0)
        many = claimed(row, Interval(low, high))
        assert all(bool(many[c].all()) == bool(many[c].any()) == bool(whole[c]) for c in CLAIMS)
        hull = RULES["piecewise"].interval(node(row), [Interval(low, high)], [low.shape]).hull
        assert hull == RULES["piecewise"].interval(node(row), [Interval(-2.0, 3.0)], [()]).hull


@pytest.mark.parametrize("op", ["sin", "cos"])
def test_waves_far_out(op):
    """Monotone and curved pieces up to 1e6 quarter periods, decided by Arb for each interval."""
    row = next(r for r in SMOOTH if r.op == op)
    generator = np.random.default_rng(1)
    low = generator.uniform(-1, 1, 4000) * 10.0 ** generator.uniform(0, 8, 4000)
    high = low + generator.uniform(0, 3.5, 4000)
    said = claimed(row, Interval(low, high))
    made = 0
    with precision(256):
        for k in range(len(low)):
            for claim, sign, shift in (
                ("increasing", 1, 1),
                ("decreasing", -1, 1),
                ("convex", 1, 2),
                ("concave", -1, 2),
            ):
                if said[claim][k]:
                    made += 1
                    assert _one_sign(float(low[k]), float(high[k]), shift + (op == "cos"), sign), (
                        claim,
                        low[k],
                        high[k],
                    )
    assert made > 1500


def _one_sign(low: float, high: float, shift: int, sign: int) -> bool:
    """Is sign * sin(x + shift pi/2) >= 0 on [low, high]?  It is where both ends lie in one half period of that sign."""
    halves = [(arb(x) + shift * arb.pi() / 2) / arb.pi() for x in (low, high)]
    first, last = (h.floor().unique_fmpz() for h in halves)
    return first is not None and first == last and (int(first) % 2 == 0) == (sign > 0)


@pytest.mark.parametrize("op", sorted(STEPS))
def test_steps_are_monotone_and_flat_between_jumps(op):
    rule, n = RULES[op], Node(0, op, (), {}, ())
    points = np.array([-2.0, -1.5, -1.0, -0.5, -0.0, 0.0, 5e-324, 0.5, 1.0, 1.5, 2.0])
    low, high = (
        v[v_low <= v_high] for v_low, v_high in [np.meshgrid(points, points, indexing="ij")] for v in (v_low, v_high)
    )
    function = np.sign if op == "sign" else np.floor
    flat = function(low) == function(high)
    assert isinstance(rule, Elementwise)
    increasing, decreasing = rule.slope(n, Interval(low, high))
    assert increasing is True and np.array_equal(decreasing, flat)
    assert all(np.array_equal(c, flat) for c in rule.curvature(n, Interval(low, high)))
    assert rule.logarithmic(n, Interval(low, high)) == (False, False, False)
    out = rule.range(n, Interval(low, high))
    assert np.array_equal(out.lower, function(low)) and np.array_equal(out.upper, function(high))
    for a, b in zip(low.tolist(), high.tolist(), strict=True):
        one = rule.range(n, Interval(a, b))
        assert one.hull == (float(function(a)), float(function(b)))
        assert rule.slope(n, Interval(a, b)) == (True, function(a) == function(b))
