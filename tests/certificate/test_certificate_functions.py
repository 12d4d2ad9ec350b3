"""Every function of one variable on balls: contained values (against mpmath), domains, and what is not finite."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath
import pytest
from flint import arb, ctx, fmpq
from hypothesis import given
from hypothesis import strategies as st

from epigraph.certificate import ballfunctions as bf

mp = mpmath.mp.clone()
mp.dps = 90


@dataclass(frozen=True)
class Row:
    """A function, its oracle in mpmath, and where it is defined: on [low, high], ends included or not."""

    name: str
    ball: Callable[[arb], arb]
    oracle: Callable[[Any], Any]
    low: float = -math.inf
    closed: bool = True


def _log_ndtr(t: Any) -> Any:
    return mp.log1p(-mp.erfc(t / mp.sqrt(2)) / 2) if t > 0 else mp.log(mp.erfc(-t / mp.sqrt(2)) / 2)


def _polynomial_pieces(t: Any) -> Any:
    return t * t if t <= 0 else t / 3 if t <= 1 else 1 / mp.mpf(3) + 2 * (t - 1)


PIECES = (
    (fmpq(0), fmpq(1)),
    ((fmpq(0), fmpq(0), fmpq(1)), (fmpq(0), fmpq(1, 3)), (fmpq(-5, 3), fmpq(2))),
)

ROWS = [
    Row("exp", bf.FUNCTIONS["exp"], mp.exp),
    Row("log", bf.FUNCTIONS["log"], mp.log, 0.0, False),
    Row("sqrt", bf.FUNCTIONS["sqrt"], mp.sqrt, 0.0),
    Row("abs", bf.FUNCTIONS["abs"], abs),
    Row("relu", bf.FUNCTIONS["relu"], lambda t: max(t, mp.mpf(0))),
    Row("sigmoid", bf.FUNCTIONS["sigmoid"], lambda t: 1 / (1 + mp.exp(-t))),
    Row("tanh", bf.FUNCTIONS["tanh"], mp.tanh),
    Row("softplus", bf.FUNCTIONS["softplus"], lambda t: mp.log1p(mp.exp(t))),
    Row("erf", bf.FUNCTIONS["erf"], mp.erf),
    Row("log_ndtr", bf.FUNCTIONS["log_ndtr"], _log_ndtr),
    Row("sin", bf.FUNCTIONS["sin"], mp.sin),
    Row("cos", bf.FUNCTIONS["cos"], mp.cos),
    Row("atan", bf.FUNCTIONS["atan"], mp.atan),
    Row("xlogx", bf.FUNCTIONS["xlogx"], lambda t: t * mp.log(t) if t else mp.mpf(0), 0.0),
    Row("silu", bf.FUNCTIONS["silu"], lambda t: t / (1 + mp.exp(-t))),
    Row("gelu", bf.FUNCTIONS["gelu"], lambda t: t * mp.erfc(-t / mp.sqrt(2)) / 2),
    Row("mish", bf.FUNCTIONS["mish"], lambda t: t * mp.tanh(mp.log1p(mp.exp(t)))),
    Row("sign", bf.FUNCTIONS["sign"], mp.sign),
    Row("floor", bf.FUNCTIONS["floor"], mp.floor),
    Row("square", bf.square, lambda t: t * t),
    Row("reciprocal", bf.reciprocal, lambda t: 1 / t, 0.0, False),
    Row("power 0", bf.power(fmpq(0)), lambda t: mp.mpf(1)),
    Row("power 1", bf.power(fmpq(1)), lambda t: t),
    Row("power 3", bf.power(fmpq(3)), lambda t: t**3),
    Row("power 6", bf.power(fmpq(6)), lambda t: t**6),
    Row("power -2", bf.power(fmpq(-2)), lambda t: t**-2, 0.0, False),
    Row("power 1/2", bf.power(fmpq(1, 2)), mp.sqrt, 0.0),
    Row("power -3/2", bf.power(fmpq(-3, 2)), lambda t: t ** (-mp.mpf(3) / 2), 0.0, False),
    Row("power 2/3", bf.power(fmpq(2, 3)), lambda t: t ** (mp.mpf(2) / 3), 0.0),
    Row("power -1/3", bf.power(fmpq(-1, 3)), lambda t: t ** (-mp.mpf(1) / 3), 0.0, False),
    Row("elu", bf.elu(fmpq(3, 2)), lambda t: t if t > 0 else mp.mpf(3) / 2 * mp.expm1(t)),
    Row("elu with alpha < 0", bf.elu(fmpq(-1, 2)), lambda t: t if t > 0 else -mp.expm1(t) / 2),
    Row("piecewise", lambda x: bf.piecewise(*PIECES)(x), _polynomial_pieces),
]

centres = st.floats(-40, 40) | st.sampled_from([0.0, 1.0, -1.0, 0.5, -5.0, 1e-30, 300.0, -300.0])
radii = st.sampled_from([0.0, 0.0, 1e-30, 1e-12, 1e-3, 0.3, 1.0, 20.0, 600.0])
positions = st.floats(-1, 1)
precisions = st.sampled_from([40, 64, 128, 300])


def exact_ball(value: Any) -> arb:
    """An mpmath number as a ball wide enough for mpmath's last digits."""
    number = mp.mpf(value)
    mantissa, exponent = int(number.man), int(number.exp)
    point = arb((mantissa if number >= 0 else -mantissa, exponent))
    return point + arb(0, 2.0**-200) * (abs(point) + arb((1, -2000)))


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.name)
@given(centre=centres, radius=radii, position=positions, bits=precisions)
def test_the_ball_contains_the_value_at_every_point(
    row: Row, centre: float, radius: float, position: float, bits: int
) -> None:
    if row.low == 0.0:
        centre = abs(centre)
    point = centre + position * radius
    inside = point >= row.low if row.closed else point > row.low
    with ctx.workprec(bits):
        ball = arb(centre, radius) if radius else arb(centre)
        value = row.ball(ball)
    if not ball.contains(arb(point)) or not value.is_finite():
        return  # rounding moved the point out of the ball, or the ball is too wide to say anything
    assert inside or not ball >= row.low, "a finite value although the ball leaves the domain"
    with ctx.workprec(2000):
        assert value.overlaps(exact_ball(row.oracle(mp.mpf(point))))


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.name)
@pytest.mark.parametrize("point", [0.3125, 1.5, 7.25, 20.0, 0.0009765625])
def test_exact_points_keep_nearly_all_bits(row: Row, point: float) -> None:
    """At an exact argument of 128 bits, no more than 16 bits are lost relative to max(|f|, 2^-40)."""
    for t in (point, -point) if row.low < 0 else (point,):
        with ctx.workprec(128):
            value = row.ball(arb(t))
        assert value.is_finite()
        assert value.rad() <= 2.0**-112 * max(abs(float(value.mid())), 2.0**-40)
        with ctx.workprec(2000):
            assert value.overlaps(exact_ball(row.oracle(mp.mpf(t))))


@pytest.mark.parametrize("row", [r for r in ROWS if r.low == 0.0], ids=lambda r: r.name)
@pytest.mark.parametrize("ball", [arb(-1), arb(-1, 0.5), arb(0.5, 1), arb(0, 1e-9), arb((-1, -300))], ids=str)
def test_outside_the_domain_the_value_is_undefined(row: Row, ball: arb) -> None:
    if row.name == "power -2" and not ball.contains(arb(0)):
        return  # integer exponents are defined for negative arguments
    if row.name == "reciprocal" and not ball.contains(arb(0)):
        return
    assert not row.ball(ball).is_finite()


@pytest.mark.parametrize("row", [r for r in ROWS if r.low == 0.0], ids=lambda r: r.name)
def test_the_end_of_the_domain(row: Row) -> None:
    value = row.ball(arb(0))
    assert value.is_finite() is row.closed
    assert not row.closed or value == 0


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.name)
@pytest.mark.parametrize("operand", [arb("nan"), arb("inf"), arb("-inf"), arb(0, "inf")], ids=str)
def test_nothing_finite_comes_out_of_an_undefined_operand(row: Row, operand: arb) -> None:
    assert not row.ball(operand).is_finite()


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.name)
@pytest.mark.parametrize("point", [1e300, -1e300, 1e15, -1e15, 5e-324, -5e-324])
def test_extreme_arguments_are_enclosed_or_undefined_and_quick(row: Row, point: float) -> None:
    if point < row.low:
        return
    value = row.ball(arb(point))
    if value.is_finite() and abs(point) < 1e-300 and row.name not in ("sign", "floor", "abs", "relu"):
        with ctx.workprec(4000):
            assert value.overlaps(exact_ball(row.oracle(mp.mpf(point)))) or row.name.startswith("power -")


def test_a_square_is_not_negative() -> None:
    """x * x of the ball [-1, 1] reaches -1, and x ** 2 is nan."""
    assert (arb(0, 1) * arb(0, 1)).contains(arb(-1))
    for ball in (arb(0, 1), arb(0.5, 1), arb(-0.5, 1)):
        assert not bf.square(ball).contains(arb(-0.01))
        assert bf.square(ball).contains(arb((abs(ball.mid()) + ball.rad()).lower() ** 2 * 0.999))


def test_gelu_keeps_its_digits_far_below_zero() -> None:
    with ctx.workprec(53):
        value = bf.FUNCTIONS["gelu"](arb(-40))
    assert value < 0
    assert value.rad() < 1e-6 * abs(value)


def test_hulls_are_tight() -> None:
    """relu and abs of [-1, 1] are [0, 1] up to the rounding of the radius; a piece is clipped to its interval."""
    for f in (bf.relu, bf.absolute, bf.square):
        value = f(arb(0, 1))
        assert value.contains(arb(0)) and value.contains(arb(1))
        assert value.lower() > -1e-6 and value.upper() < 1 + 1e-6
    value = bf.piecewise(*PIECES)(arb(0, 0.25))
    assert value.lower() > -0.02 and value.upper() < 0.1


def test_the_shift_of_an_exponential_sum_is_exact() -> None:
    """Subtracting a ball instead of a number would more than double the radius."""
    from epigraph.certificate.balls import _shifted_exponentials

    row = [arb(0.25, 2.0**-20), arb(0.5, 2.0**-20), arb(0.125, 2.0**-20)]
    shift, logarithm = _shifted_exponentials(row)
    assert shift == 0.5
    assert logarithm.rad() < 1.2 * 2.0**-20
