"""Slack for rounding: what is added to a computed bound suffices where rounding is at its worst, and is no more than stated."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

import epigraph.calculus.propagate  # noqa: F401  (registers the rules)
from epigraph.calculus import interval as iv
from epigraph.calculus.interval import Interval
from epigraph.calculus.rule import RULES, Elementwise
from epigraph.objective.graph import Node

ULP = Fraction(1, 2**52)
TINY, HUGE = 2.0**-540, 2.0**500


@pytest.mark.parametrize("units", [0.0, 8.0, 2048.0])
@pytest.mark.parametrize("absolute", [0.0, 1e-13])
@pytest.mark.parametrize("value", [1.0, -1.0, 0.1, -3e300, 1e-300])
def test_widening_is_by_the_units_and_rounding(value, units, absolute):
    out = iv.widen(value, value, units, absolute)
    room = Fraction(abs(value)) * Fraction(units) * ULP + Fraction(absolute)
    for got, sign in ((out.lower, -1), (out.upper, 1)):
        moved = sign * (Fraction(float(got)) - Fraction(value))
        assert (
            room * (1 - 4 * ULP)
            <= moved
            <= room * (1 + 4 * ULP) + Fraction(abs(value)) * 3 * ULP + Fraction(2) ** -1060
        )


def test_widening_zero_leaves_room_on_both_sides():
    out = iv.widen(0.0, 0.0)
    assert -1e-300 < out.lower < 0 < out.upper < 1e-300


@pytest.mark.parametrize("a, b", list(itertools.product([1.0, 0.1, 1 / 3, TINY, HUGE, 1e-300], repeat=2)))
@pytest.mark.parametrize("terms", [1, 2, 3, 5, 7, 100])
def test_a_sum_of_bounded_products(a, b, terms):
    out = iv.bounded_sum(Interval(-a, a), Interval(-b / 2, b), terms)
    exact = terms * Fraction(a) * Fraction(b)
    assert Fraction(float(out.upper)) >= exact and Fraction(float(out.lower)) <= -exact
    assert Fraction(float(out.upper)) <= exact * Fraction(1 + 2e-9) + Fraction(2) ** -1059
    same = iv.bounded_sum(Interval(0.0, a), Interval(0.0, b), terms)
    assert same.lower == 0 and Fraction(float(same.upper)) >= exact


def test_a_sum_of_bounded_products_uses_the_far_ends():
    out = iv.bounded_sum(Interval(-4.0, 1.0), Interval(-1.0, 8.0), 3)
    assert out.upper >= 96 and out.lower <= -96


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9, 40])
@pytest.mark.parametrize("size", [1.0, 1e-300, 2.0**-1072, 1e300])
def test_sums_contain_the_exact_sum(count, size):
    generator = np.random.default_rng(count)
    for _ in range(60):
        values = generator.normal(size=(3, count)) * size
        low, high = iv.total(Interval(values, values), (1,), values.shape).arrays((3,))
        for row, a, b in zip(values, low, high, strict=True):
            exact = sum(map(Fraction, row.tolist()))
            assert (math.isinf(a) or Fraction(float(a)) <= exact) and (math.isinf(b) or exact <= Fraction(float(b)))
            room = Fraction(float(np.abs(row).max())) * count * (count + 8) * ULP * 3 + Fraction(2) ** -1058
            if size < 1e300:
                assert Fraction(float(b)) - Fraction(float(a)) <= room


@pytest.mark.parametrize("n", [1, 2, 3, 5, 17])
@pytest.mark.parametrize("size", [1.0, 1e-160, 1e150])
@pytest.mark.parametrize("wide", [0.0, 1e-14, 0.5])
def test_products_contain_the_exact_product(n, size, wide):
    generator = np.random.default_rng(n)
    for _ in range(12):
        a, b = generator.normal(size=(2, n)) * size, generator.normal(size=(n, 2)) * size
        x = Interval(a - wide * np.abs(a), a + wide * np.abs(a)) if wide else Interval.point(a)
        y = Interval(b - wide * np.abs(b), b + wide * np.abs(b)) if wide else Interval.point(b)
        low, high = iv.product_bounds(x, y, (a.shape, b.shape)).arrays((2, 2))
        ends = [(np.broadcast_to(v.lower, s), np.broadcast_to(v.upper, s)) for v, s in ((x, a.shape), (y, b.shape))]
        for i, j in itertools.product(range(2), repeat=2):
            corners = [
                sorted(
                    Fraction(float(p)) * Fraction(float(q))
                    for p in (e[i, k] for e in ends[0])
                    for q in (e[k, j] for e in ends[1])
                )
                for k in range(n)
            ]
            least, most = sum(c[0] for c in corners), sum(c[-1] for c in corners)
            assert Fraction(float(low[i, j])) <= least and most <= Fraction(float(high[i, j]))
            scale = max(abs(v) for c in corners for v in c) * n * (n + 20) * ULP * 4 + Fraction(2) ** -998
            slack = 0 if not wide else (most - least) * 2
            assert Fraction(float(high[i, j])) - Fraction(float(low[i, j])) <= (most - least) + slack + scale


@pytest.mark.parametrize("p", [5, 6, 9, 16, 31, 100])
def test_high_powers_contain_the_exact_power(p):
    rule = RULES["power"]
    assert isinstance(rule, Elementwise)
    generator = np.random.default_rng(p)
    for x in generator.normal(size=80).tolist():
        low, high = rule.range(Node(0, "power", (), {"exponent": str(p)}, ()), Interval(x, x)).hull
        exact = Fraction(x) ** p
        assert Fraction(low) <= exact <= Fraction(high)
        assert Fraction(high) - Fraction(low) <= abs(exact) * (2 * p + 40) * ULP + Fraction(2) ** -1060
