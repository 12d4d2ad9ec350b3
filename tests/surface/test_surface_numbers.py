"""Printed numbers: a bound is never rounded up, ticks are round and evenly spaced, JSON is strict."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from epigraph.plot.numbers import counted, round_down, rounded, shape_text, superscripted
from epigraph.plot.scale import Scale, tick_labels, ticks
from epigraph.report.strict import to_json

SUPERSCRIPTS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


def value_of(printed: str) -> Fraction:
    """The exact number that a reader takes from ``1.5·10⁻⁹``, ``1.5e-09`` or ``0.25``."""
    printed = printed.replace("−", "-")
    mantissa, dot, power = printed.partition("·10")
    if not dot and printed.startswith("10") and printed[2:3] in tuple("⁻⁰¹²³⁴⁵⁶⁷⁸⁹"):
        mantissa, dot, power = "1", "·", printed[2:]
    return Fraction(mantissa) * (Fraction(10) ** int(power.translate(SUPERSCRIPTS)) if dot else 1)


@given(st.fractions(min_value=Fraction(1, 10**30), max_value=10**30), st.integers(1, 12))
def test_bound_is_rounded_down_by_less_than_one_unit(exact: Fraction, digits: int) -> None:
    shown = value_of(round_down(f"{exact.numerator}/{exact.denominator}", digits))
    assert shown <= exact < shown * (1 + Fraction(1, 10 ** (digits - 1)))


@given(st.decimals(min_value="1e-200", max_value="1e200", allow_nan=False, allow_infinity=False))
def test_decimal_strings_are_rounded_down_too(exact) -> None:
    assert 0 < value_of(round_down(str(exact))) <= Fraction(exact)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0.99999", "0.9999"),
        ("1e-400", "1e-400"),
        ("0", "0"),
        ("nan", "nan"),
        ("not a number", "not a number"),
        ("1/0", "1/0"),
        ("123456", "123400"),
        ("1234567", "1.234e+06"),
        ("0.0001", "0.0001"),
        ("0.00001", "1e-05"),
        ("7" * 6000, "7.777e+5999"),
    ],
)
def test_round_down_examples(text: str, shown: str) -> None:
    assert round_down(text) == shown


def test_superscripts_keep_the_value() -> None:
    for text in ("1.5e-09", "1e+06", "2e300", "0.25", "1e-05"):
        assert value_of(superscripted(text)) == Fraction(text)


def test_small_words() -> None:
    assert (counted(1, "step"), counted(1234, "step")) == ("1 step", "1,234 steps")
    assert (shape_text([]), shape_text((2, 3)), shape_text(None)) == ("scalar", "2 × 3", "?")
    assert (rounded(float("nan")), rounded(1 / 3)) == ("nan", "0.333333")


@given(st.floats(-1e12, 1e12), st.floats(1e-6, 1e12))
def test_ticks_are_inside_and_evenly_spaced(low: float, extent: float) -> None:
    high = low + extent
    if not (high - low) > 1e-9 * max(abs(low), abs(high)):
        return
    values = ticks(low, high)
    assert 2 <= len(values) <= 7
    slack = 1e-6 * (high - low)
    assert all(low - slack <= value <= high + slack for value in values)
    steps = [y - x for x, y in pairwise(values)]
    assert max(steps) - min(steps) <= 1e-6 * max(steps) + 1e-11 * max(map(abs, values))
    assert len(set(tick_labels(values))) == len(values)


@given(st.floats(-1e9, 1e9), st.floats(1e-4, 1e9))
def test_tick_labels_say_the_tick(low: float, extent: float) -> None:
    values = ticks(low, low + extent)
    for value, label in zip(values, tick_labels(values), strict=True):
        assert float(value_of(label)) == pytest.approx(value, rel=1e-9, abs=1e-9 * extent)


def test_scale_is_affine() -> None:
    scale = Scale(2.0, 4.0, 300.0, 100.0)
    assert (scale(2.0), scale(3.0), scale(4.0)) == (300.0, 200.0, 100.0)


def test_json_is_strict_and_shows_what_is_not_finite() -> None:
    value = {"a": math.nan, "b": [math.inf, -math.inf], "c": torch.tensor([1.5, math.nan])}
    value |= {"d": {3, 1}, 5: (True, None)}

    def refuse(word: str) -> None:
        raise AssertionError(f"not strict JSON: {word}")

    read = json.loads(to_json(value), parse_constant=refuse)
    assert read == {"a": "nan", "b": ["inf", "-inf"], "c": [1.5, "nan"], "d": [1, 3], "5": [True, None]}
