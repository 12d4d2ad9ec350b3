"""Certifying gaps: closed forms, properties that hold are never refuted, equality and undefined values end."""

from __future__ import annotations

import math
import time
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from certificate_builder import Builder, steps
from flint import arb, ctx, fmpq
from hypothesis import given
from hypothesis import strategies as st

from epigraph.certificate import claims, exact


def product(last: str | None = None) -> Builder:
    b = Builder()
    p = b("mul", b.parameter("x", 0.0), b.parameter("y", 0.0))
    if last:
        b(last, p)
    return b


# J = x y, at m = 0 with d = (1, t): J(a) = J(b) = t, J(m) = 0
@pytest.mark.parametrize("t, refuted", [(-3, {"convex", "quasiconvex"}), (3, {"concave", "quasiconcave"}), (0, set())])
@pytest.mark.parametrize("last", [None, "sigmoid"])
def test_a_product_is_refuted_in_the_directions_of_its_saddle(t: int, refuted: set[str], last: str | None) -> None:
    b = product(last)
    found = {}
    for kind in exact.PROPERTIES:
        certified = exact.certify(b.graph(), b.arrays, {"x": steps(1), "y": steps(t)}, kind)
        if certified is not None:
            found[kind] = certified
    assert set(found) == refuted
    for certified in found.values():
        assert certified.arithmetic == ("exact" if last is None else "arb")
        expected = Fraction(3) if last is None else abs(1 / (1 + math.exp(-t)) - 0.5)
        assert float(certified.gap) == pytest.approx(float(expected), rel=1e-12)
        assert last is not None or certified.gap <= expected
        assert certified.values["m"] == (0.0 if last is None else 0.5)


def test_the_three_properties_measure_what_they_say() -> None:
    values = [fmpq(1), fmpq(2), fmpq(5)]
    assert [exact.gap(kind, *values) for kind in exact.PROPERTIES] == [fmpq(7, 2), fmpq(-7, 2), fmpq(3), fmpq(-4)]
    balls = [arb(1), arb(2), arb(5)]
    assert [exact.gap(kind, *balls) for kind in exact.PROPERTIES] == [arb(3.5), arb(-3.5), arb(3), arb(-4)]
    with pytest.raises(ValueError, match="convexe"):
        exact.gap("convexe", *balls)


CONVEX: list[tuple[str, dict[str, Any]]] = [
    ("exp", {}),
    ("softplus", {}),
    ("relu", {}),
    ("abs", {}),
    ("power", {"exponent": "2"}),
    ("power", {"exponent": "4"}),
]


@pytest.mark.parametrize("op, attributes", CONVEX, ids=str)
@given(m=st.floats(-5, 5), step=st.integers(-127, 127), scale=st.integers(-40, -3))
def test_convex_functions_are_never_refuted(
    op: str, attributes: dict[str, Any], m: float, step: int, scale: int
) -> None:
    b = Builder()
    b(op, b.parameter("x", m), **attributes)
    for kind in ("convex", "quasiconvex"):
        assert exact.certify(b.graph(), b.arrays, {"x": steps(step, scale)}, kind, max_bits=256) is None


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=5), st.integers(-20, 0), st.data())
def test_the_convexity_of_logsumexp_survives(values: list[float], scale: int, data: st.DataObject) -> None:
    b = Builder()
    b("logsumexp", b.parameter("x", np.array(values)), dims=[0])
    size = len(values)
    d = steps(data.draw(st.lists(st.integers(-127, 127), min_size=size, max_size=size)), scale)
    assert exact.certify(b.graph(), b.arrays, {"x": d}, "convex", max_bits=256) is None


def test_an_affine_function_ends_with_none() -> None:
    """The gap is exactly zero; log(exp(x)) is affine as a real function, which no precision can show."""
    b = Builder()
    b("mul", b.parameter("x", 1.25), b.scalar("1/3"))
    assert all(exact.certify(b.graph(), b.arrays, {"x": steps(7)}, kind) is None for kind in ("convex", "concave"))
    b = Builder()
    b("log", b("exp", b.parameter("x", np.array(1.25))))
    start = time.process_time()
    assert exact.certify(b.graph(), b.arrays, {"x": steps(7)}, "convex") is None
    assert time.process_time() - start < 5


def test_the_precision_follows_the_gap() -> None:
    """A displacement of 2^-200 leaves a gap near 2^-400: 128 bits cannot see it."""
    b = Builder()
    b("tanh", b.parameter("x", 0.5))
    certified = exact.certify(b.graph(), b.arrays, {"x": steps(1, -200)}, "convex")
    assert certified is not None
    assert certified.arithmetic == "arb"
    assert 400 < certified.precision_bits <= 1024
    second = 2 * math.tanh(0.5) * (1 - math.tanh(0.5) ** 2)  # -tanh''
    assert float(certified.gap * Fraction(2) ** 400) == pytest.approx(second / 2, rel=1e-9)


def test_the_limits_of_precision_and_time_are_respected() -> None:
    b = Builder()
    b("tanh", b.parameter("x", 0.5))
    assert exact.certify(b.graph(), b.arrays, {"x": steps(1, -200)}, "convex", max_bits=256) is None
    assert exact.certify(b.graph(), b.arrays, {"x": steps(1, -2)}, "convex", budget_seconds=0.0) is None
    with pytest.raises(exact.OutOfTime):
        exact.evaluate(b.graph(), b.arrays, [{}], "arb", deadline=time.process_time() - 1)


@pytest.mark.parametrize("op", ["log", "sqrt"])
def test_points_at_which_j_is_undefined_prove_nothing(op: str) -> None:
    """a = -1 is outside the domain, although J(m) is far above J(b)."""
    b = Builder()
    b(op, b.parameter("x", 1.0))
    for kind in exact.PROPERTIES:
        assert exact.certify(b.graph(), b.arrays, {"x": steps(-2)}, kind) is None


def test_division_by_zero_in_exact_arithmetic_proves_nothing() -> None:
    b = Builder()
    b("neg", b("div", b.scalar(1), b.parameter("x", 1.0)))
    assert exact.supports_exact(b.graph())
    assert exact.certify(b.graph(), b.arrays, {"x": steps(-1)}, "convex") is None


def test_a_certified_gap_leaves_room_for_another_version_of_the_library() -> None:
    """The recorded bound is a little below what this version of FLINT could prove."""
    b = Builder()
    b("tanh", b.parameter("x", 0.5))
    d = {"x": steps(1, -3)}
    certified = exact.certify(b.graph(), b.arrays, d, "convex", start_bits=50)
    assert certified is not None and certified.precision_bits == 50
    values = exact.evaluate(b.graph(), b.arrays, [d, {"x": d["x"].opposite}, {}], "arb", certified.precision_bits)
    proved = exact.gap("convex", *values)
    with ctx.workprec(1000):
        assert proved - 3 * proved.rad() > arb((certified.gap_lower[0], -certified.gap_lower[1]))


def test_exact_arithmetic_is_left_where_it_would_be_too_dear() -> None:
    """Thirty squarings have 2^30 bits as rationals and cost nothing as balls."""
    b = Builder()
    x = b.parameter("x", 1 - 2.0**-35)
    for _ in range(30):
        x = b("mul", x, x)
    b("neg", x)
    assert exact.supports_exact(b.graph())
    certified = exact.certify(b.graph(), b.arrays, {"x": steps(1, -36)}, "convex")
    assert certified is not None and certified.arithmetic == "arb"


@given(st.fractions(min_value=Fraction(1, 10**40), max_value=10**40), st.integers(-90_000, 90_000))
def test_decimal_bounds_are_below_and_near(value: Fraction, shift: int) -> None:
    for number in (value, value * Fraction(2) ** shift):
        shown = claims.decimal_below(number)
        sign, digits, exponent = Decimal(shown).as_tuple()
        found = Fraction(int("".join(map(str, digits)))) * Fraction(10) ** int(exponent)
        assert sign == 0
        assert number * Fraction(999_999, 10**6) < found <= number
