"""Interval arithmetic against exact rational arithmetic, on per-entry arrays and uniform numbers mixed."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from epigraph.calculus import interval as iv
from epigraph.calculus.interval import INF, MAX, Interval

SPECIAL = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    3.0,
    0.1,
    -0.1,
    1 / 3,
    5e-324,
    -5e-324,
    2.0**-600,
    1e-200,
    2.3e-308,
    2.0**1000,
    1e308,
    -1e308,
    MAX,
    -MAX,
]
numbers = st.one_of(
    st.sampled_from(SPECIAL),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-8, 8).map(float),
    st.floats(-100, 100, width=16),
)


@st.composite
def pairs(draw, infinite: bool = True) -> tuple[float, float]:
    """Two ends in order; one in six infinite."""
    low, high = sorted((draw(numbers), draw(numbers)))
    if draw(st.integers(0, 3)) == 0:
        high = low
    if infinite:
        low = -INF if draw(st.integers(0, 5)) == 0 else low
        high = INF if draw(st.integers(0, 5)) == 0 else high
    return low, high


@st.composite
def operands(draw, count: int, infinite: bool = True) -> tuple[list[Interval], list[list[tuple[float, float]]]]:
    """Intervals over three entries, each uniform, per entry, a point per entry, or half of each; and their entries."""
    made, entries = [], []
    for _ in range(count):
        kind = draw(st.sampled_from(("uniform", "array", "point", "half")))
        ends = draw(st.lists(pairs(infinite and kind != "point"), min_size=3, max_size=3))
        if kind == "uniform":
            made.append(Interval(*ends[0]))
            ends = [ends[0]] * 3
        elif kind == "point":
            values = np.array([low if math.isfinite(low) else 1.0 for low, _ in ends])
            made.append(Interval(values, values))
            ends = [(v, v) for v in values.tolist()]
        elif kind == "half":
            least = min(low for low, _ in ends)
            made.append(Interval(least, np.array([high for _, high in ends])))
            ends = [(least, high) for _, high in ends]
        else:
            made.append(Interval(np.array([low for low, _ in ends]), np.array([high for _, high in ends])))
        entries.append(ends)
    return made, entries


def results(x: Interval, shape: tuple[int, ...] = (3,)) -> list[tuple[float, float]]:
    low, high = x.arrays(shape)
    found = list(zip(low.reshape(-1).tolist(), high.reshape(-1).tolist(), strict=True))
    assert not any(math.isnan(v) for pair in found for v in pair)
    return found


def exact(x: float) -> Fraction:
    return Fraction(x) if math.isfinite(x) else (1 if x > 0 else -1) * Fraction(10) ** 5000


def rounded(value: Fraction, sign: int) -> float:
    """The float64 next to the value in the direction of the sign; stand-ins for infinity become infinite."""
    if abs(value) > 10**4000:
        return INF if value > 0 else -INF
    try:
        near = float(value)
    except OverflowError:
        near = INF if value > 0 else -INF
    if (sign > 0 and near < value) or (sign < 0 and near > value):
        near = math.nextafter(near, sign * INF)
    return near


def check(got: tuple[float, float], low: Fraction, high: Fraction, units: int = 1) -> None:
    """Outward of the exact bounds, by some units at most; exact bounds that float64 holds may be returned as they are."""
    for bound, value, sign in ((got[0], low, -1), (got[1], high, 1)):
        best = rounded(value, sign)
        assert sign * bound >= sign * best or exact(bound) == value, (got, float(best))
        farthest = best
        for _ in range(units):
            farthest = math.nextafter(farthest, sign * INF)
        assert sign * bound <= sign * farthest, (got, float(best))


def scan(f, *ends: tuple[float, float]) -> tuple[Fraction, Fraction]:
    """Least and greatest value of a function that is monotone in each argument, over the corners."""
    corners = [()]
    for pair in ends:
        corners = [(*c, exact(v)) for c in corners for v in pair]
    values = [f(*c) for c in corners]
    return min(values), max(values)


@given(operands(2))
def test_add(case):
    (x, y), entries = case
    for got, a, b in zip(results(iv.add(x, y)), *entries, strict=True):
        low, high = exact(a[0]) + exact(b[0]), exact(a[1]) + exact(b[1])
        check(got, low, high)
        if Fraction(rounded(low, 1) if math.isfinite(rounded(low, 1)) else 0) == low:
            assert got[0] == low  # held exactly, hence not widened
        if (a[0] >= 0 and b[0] >= 0) or (a[1] <= 0 and b[1] <= 0):
            assert got[0] >= 0 or got[1] <= 0


@given(operands(2))
def test_mul(case):
    (x, y), entries = case
    for got, a, b in zip(results(iv.mul(x, y)), *entries, strict=True):
        low, high = scan(lambda p, q: p * q, a, b)
        check(got, low, high)
        if low >= 0:
            assert got[0] >= 0
        if high <= 0:
            assert got[1] <= 0


@given(operands(1))
def test_neg_and_reciprocal(case):
    (x,), (entries,) = case
    for got, a in zip(results(iv.neg(x)), entries, strict=True):
        assert got == (-a[1], -a[0])
    for got, (low, high) in zip(results(iv.reciprocal(x)), entries, strict=True):
        if low < 0 < high:
            assert got == (-INF, INF)
        elif low >= 0:
            check(got, 1 / exact(high) if high else Fraction(0), 1 / exact(low) if low else exact(INF), 2)
            assert got[0] >= 0
        else:
            check(got, 1 / exact(high) if high else exact(-INF), 1 / exact(low), 2)
            assert got[1] <= 0


@given(operands(2))
def test_hulls_and_intersections(case):
    (x, y), entries = case
    for got, a, b in zip(results(iv.join(x, y)), *entries, strict=True):
        assert got == (min(a[0], b[0]), max(a[1], b[1]))
    for got, a, b in zip(results(iv.intersect(x, y)), *entries, strict=True):
        assert got == (max(a[0], b[0]), min(a[1], b[1]))
    for got, a in zip(results(iv.clip(x, -1.0, 2.0)), entries[0], strict=True):
        assert got == (max(a[0], -1.0), min(a[1], 2.0))
    for got, a, b in zip(results(iv.pin(x, y, 0.5, 3.0)), *entries, strict=True):
        assert got == (max(b[0], 3.0) if a[0] >= 0.5 else b[0], min(b[1], 3.0) if a[1] <= 0.5 else b[1])


@given(operands(1), st.sampled_from([(0,), (1,), (0, 1)]), st.sampled_from([1, 2, 5]))
def test_total(case, axes, rows):
    """Sums over the first, the second or both axes of an array whose rows are the entries."""
    (x,), (entries,) = case
    shape = (rows, 3)
    out = iv.total(x, axes, shape)
    kept = tuple(n for d, n in enumerate(shape) if d not in axes)
    terms = {(0,): [[e] * rows for e in entries], (1,): [entries] * rows, (0, 1): [entries * rows]}[axes]
    for got, chosen in zip(results(out, kept), terms, strict=True):
        lows, highs = [exact(a) for a, _ in chosen], [exact(b) for _, b in chosen]
        low, high, size = sum(lows), sum(highs), max(sum(map(abs, lows)), sum(map(abs, highs)))
        assert (exact(got[0]) <= low and exact(got[1]) >= high) or (
            got[0] <= rounded(low, -1) and got[1] >= rounded(high, 1)
        )
        if all(v >= 0 for v in lows):
            assert got[0] >= 0
        if all(v <= 0 for v in highs):
            assert got[1] <= 0
        if size < 10**300:
            slack = size * (3 * rows + 8) / Fraction(2) ** 51 + Fraction(2) ** -1050
            assert low - exact(got[0]) <= slack and exact(got[1]) - high <= slack


@given(operands(1))
def test_views_of_an_interval(case):
    """hull, signs, within, finite, map."""
    (x,), (entries,) = case
    lows, highs = zip(*entries, strict=True)
    assert x.hull == (min(lows), max(highs)) and x.finite == (min(lows) > -INF and max(highs) < INF)
    for mask, wanted in (
        (x.nonnegative, [a >= 0 for a in lows]),
        (x.positive, [a > 0 for a in lows]),
        (x.nonpositive, [b <= 0 for b in highs]),
        (x.negative, [b < 0 for b in highs]),
        (x.within(-1.0, 1.0), [a >= -1 and b <= 1 for a, b in entries]),
    ):
        assert np.broadcast_to(mask, (3,)).tolist() == wanted
    assert results(x.map(lambda a: a[::-1], (3,))) == entries[::-1]
    if x.uniform:
        assert x.map(lambda a: a[::-1], (3,)) is x


def test_a_point_stays_one_object_when_it_moves():
    values = np.array([1.0, 2.0])
    moved = Interval.point(values).map(lambda a: a[::-1], (2,))
    assert moved.lower is moved.upper
    moved = Interval(values, values + 0.0).map(lambda a: a[::-1], (2,))
    assert moved.lower is not moved.upper


@given(operands(1), st.sampled_from([0, 1, 8, 64]), st.sampled_from([0.0, 1e-13]))
def test_widen(case, units, absolute):
    """By so many units of each bound at least, and about as many at most; overflow is no bound."""
    (x,), (entries,) = case
    for got, (low, high) in zip(results(iv.widen(x.lower, x.upper, units, absolute)), entries, strict=True):
        for bound, value, sign in ((got[0], low, -1), (got[1], high, 1)):
            if math.isinf(value):
                assert bound == value
                continue
            step = abs(exact(value)) * units / 2**52 + Fraction(absolute)
            moved = sign * (exact(bound) - exact(value))
            assert step * (1 - Fraction(2) ** -50) <= moved and (
                moved <= step * 3 + abs(exact(value)) / 2**50 + Fraction(2) ** -1060 or math.isinf(bound)
            )


def test_widen_takes_overflow_and_nan_as_no_knowledge():
    for wrap in (float, lambda v: np.array([v])):
        assert results(iv.widen(wrap(INF), wrap(INF)), (1,))[0][0] < INF
        assert results(iv.widen(wrap(INF), wrap(INF)), (1,))[0][0] > 0.99 * MAX
        assert results(iv.widen(wrap(-INF), wrap(-INF)), (1,))[0][0] == -INF
        assert -INF < results(iv.widen(wrap(-INF), wrap(-INF)), (1,))[0][1] < -0.99 * MAX
        assert results(iv.widen(wrap(math.nan), wrap(math.nan)), (1,))[0] == (-INF, INF)


@pytest.mark.parametrize("wrap", [float, lambda v: np.array([v])], ids=["number", "array"])
def test_overflow_and_underflow(wrap):
    """Real numbers that float64 cannot hold: the bound beyond is MAX or the least subnormal, never inf or 0."""

    def point(v: float) -> Interval:
        return Interval.point(wrap(v))

    def one(x: Interval) -> tuple[float, float]:
        return results(x, (1,))[0]

    assert one(iv.mul(point(2.0**1000), point(2.0**1000))) == (MAX, INF)
    assert one(iv.mul(point(-(2.0**1000)), point(2.0**1000))) == (-INF, -MAX)
    assert one(iv.mul(point(2.0**-600), point(2.0**-600))) == (0.0, 5e-324)
    assert one(iv.mul(point(-(2.0**-600)), point(2.0**-600))) == (-5e-324, 0.0)
    assert one(iv.add(point(MAX), point(MAX))) == (MAX, INF)
    assert one(iv.add(point(-MAX), point(-MAX))) == (-INF, -MAX)
    assert one(iv.reciprocal(point(5e-324))) == (MAX, INF)
    assert one(iv.reciprocal(point(-5e-324))) == (-INF, -MAX)
    assert one(iv.reciprocal(Interval(wrap(0.0), wrap(0.0)))) == (0.0, INF)
    assert one(iv.reciprocal(Interval(wrap(-0.0), wrap(2.0))))[1] == INF
    assert one(iv.reciprocal(Interval(wrap(-2.0), wrap(0.0))))[0] == -INF
    assert one(iv.mul(Interval(wrap(0.0), wrap(0.0)), Interval(wrap(-INF), wrap(INF)))) == (0.0, 0.0)
    assert one(iv.add(Interval(wrap(-INF), wrap(-INF)), Interval(wrap(INF), wrap(INF)))) == (-INF, INF)


def test_sums_that_overflow_on_the_way():
    values = np.array([1e308, 1e308, -1e308, -1e308])
    ((low, high),) = results(iv.total(Interval.point(values), (0,), (4,)), ())
    assert low <= 0 <= high
    assert results(iv.total(Interval(np.array([1.0, -INF]), np.array([INF, 2.0])), (0,), (2,)), ()) == [(-INF, INF)]
    assert results(iv.total(Interval(np.array([1.0, 3.0]), np.array([INF, 5.0])), (0,), (2,)), ()) == [(4.0, INF)]


def test_dyadic_sums_are_exact():
    values = np.array([0.25, -1.0, 0.75, 2.0**-20])
    assert results(iv.total(Interval.point(values), (0,), (4,)), ()) == [(2.0**-20, 2.0**-20)]
    assert results(iv.total(Interval.point(np.array([2.0**31, 1.0])), (0,), (2,)), ()) == [(2.0**31 + 1,) * 2]
    many = np.array([2.0**-21, 2.0**31])
    ((low, high),) = results(iv.total(Interval.point(many), (0,), (2,)), ())
    assert low < many.sum() < high
    big = np.array([2.0**52, 1.0, 2.0**-10])
    ((low, high),) = results(iv.total(Interval.point(big), (0,), (3,)), ())
    assert low < high and Fraction(low) <= sum(map(Fraction, big.tolist())) <= Fraction(high)


def test_labels_keep_exact_zeros():
    """1 - y, 2 y - 1, y z and (1 - y) z for labels 0 and 1, as weights of a loss."""
    y = Interval.point(np.array([0.0, 1.0, 1.0, 0.0]))
    one, two = Interval.point(1.0), Interval.point(2.0)
    rest = iv.add(one, iv.neg(y))
    assert results(rest, (4,)) == [(1, 1), (0, 0), (0, 0), (1, 1)]
    assert results(iv.add(iv.mul(two, y), Interval.point(-1.0)), (4,)) == [(-1, -1), (1, 1), (1, 1), (-1, -1)]
    for z in (Interval(-INF, INF), Interval(-0.1, 0.3), Interval(np.full(4, -0.1), np.full(4, INF))):
        got = results(iv.mul(y, z), (4,))
        assert got[0] == got[3] == (0.0, 0.0)
        assert results(iv.mul(rest, z), (4,))[1] == (0.0, 0.0)
        (low, high), (zl, zh) = got[1], results(z, (4,))[1]
        assert (low, high) == (zl, zh)  # times one is exact


@given(st.floats(allow_nan=False))
def test_significant_bits(x):
    bits = iv.significant(x)
    assert bits == iv.significant(np.array([x]))[0]
    if x == 0 or math.isinf(x):
        assert bits == 0
        return
    whole = abs(Fraction(x))
    n = whole.numerator
    while n % 2 == 0:
        n //= 2
    assert bits == n.bit_length()


@given(numbers, numbers)
def test_least_and_greatest(x, y):
    for wrap in (float, np.array):
        assert iv.least(wrap(x)) == x and iv.greatest(wrap(x)) == x
        assert iv.least(wrap(INF)) == MAX and iv.greatest(wrap(-INF)) == -MAX
        assert iv.least(wrap(-INF)) == -INF and iv.greatest(wrap(INF)) == INF
        assert iv.least(wrap(math.nan)) == -INF and iv.greatest(wrap(math.nan)) == INF
        assert iv.down(wrap(math.nan)) == -INF and iv.up(wrap(math.nan)) == INF
        assert iv.down(wrap(x)) == math.nextafter(x, -INF) and iv.up(wrap(x)) == math.nextafter(x, INF)


# matrix products ----------------------------------------------------------------------------------------------------------
@st.composite
def matrices(draw) -> tuple[Interval, Interval, tuple[tuple[int, ...], tuple[int, ...]]]:
    n, k, m = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    made = []
    for shape in ((n, k), (k, m)):
        size = shape[0] * shape[1]
        ends = draw(st.lists(pairs(draw(st.integers(0, 3)) == 0), min_size=size, max_size=size))
        if draw(st.integers(0, 4)) == 0:
            made.append(Interval(*ends[0]))
        else:
            low = np.array([a for a, _ in ends]).reshape(shape)
            high = np.array([b for _, b in ends]).reshape(shape)
            made.append(Interval(low, low if draw(st.booleans()) and np.isfinite(low).all() else high))
    return made[0], made[1], ((n, k), (k, m))


@given(matrices())
def test_product_bounds(case):
    """Every sum of products of ends lies inside; finite bounds are not much wider than the widest sum."""
    a, b, (sa, sb) = case
    out = results(iv.product_bounds(a, b, (sa, sb)), (sa[0], sb[1]))
    (al, ah), (bl, bh) = a.arrays(sa), b.arrays(sb)
    for position, got in enumerate(out):
        i, j = divmod(position, sb[1])
        terms = [
            scan(lambda p, q: p * q, (float(al[i, k]), float(ah[i, k])), (float(bl[k, j]), float(bh[k, j])))
            for k in range(sa[1])
        ]
        low, high = sum(t[0] for t in terms), sum(t[1] for t in terms)
        assert got[0] <= rounded(low, -1) or exact(got[0]) <= low
        assert got[1] >= rounded(high, 1) or exact(got[1]) >= high
        if all(t[0] >= 0 for t in terms) and (al.min() >= 0 and bl.min() >= 0):
            assert got[0] >= 0
        if all(t[1] <= 0 for t in terms) and (al.min() >= 0 and bh.max() <= 0):
            assert got[1] <= 0
        size = sum(max(abs(t[0]), abs(t[1])) for t in terms)
        if max(map(abs, (*a.hull, *b.hull))) < 1e100:
            subnormal = Fraction(2) ** -1070 * (1 + sum(exact(max(map(abs, x.hull))) for x in (a, b)))
            assert (
                exact(got[1]) - exact(got[0]) <= 8 * (high - low) + size / 2**40 + Fraction(2) ** -990 + 9 * subnormal
            )


def test_product_bounds_of_points_are_close():
    generator = np.random.default_rng(5)
    a, b = generator.standard_normal((20, 30)), generator.standard_normal((30, 10))
    out = iv.product_bounds(Interval.point(a), Interval.point(b), ((20, 30), (30, 10)))
    exactly = [
        [sum(Fraction(p) * Fraction(q) for p, q in zip(row, column, strict=True)) for column in b.T.tolist()]
        for row in a.tolist()
    ]
    for i in range(20):
        for j in range(10):
            assert Fraction(float(out.lower[i, j])) <= exactly[i][j] <= Fraction(float(out.upper[i, j]))
    assert float(np.max(out.upper - out.lower)) < 1e-11


def test_large_products_are_bounded_by_their_size():
    a, b = Interval(-2.0, 3.0), Interval(-1.0, 0.5)
    low, high = iv.product_bounds(a, b, ((2000, 1000), (1000, 2000))).hull
    assert low <= -3000 <= low * (1 - 1e-8) and high * (1 - 1e-8) <= 3000 <= high
    assert iv.product_bounds(Interval(0.0, 1.0), Interval(0.0, 2.0), ((2000, 1000), (1000, 2000))).hull[0] == 0


SIGNS = {"+": (0.0, 5.0), "-": (-5.0, 0.0), "?": (-1.0, 2.0), "0": (0.0, 0.0)}


@pytest.mark.parametrize("first", SIGNS)
@pytest.mark.parametrize("second", SIGNS)
def test_sign_of_product(first, second):
    out = iv.sign_of_product(Interval(*SIGNS[first]), Interval(*SIGNS[second])).hull
    signs = {first, second}
    if "0" in signs:
        assert out == (0.0, 0.0)
    elif "?" in signs:
        assert out == (-INF, INF)
    else:
        assert out == ((0.0, INF) if first == second else (-INF, 0.0))


def test_sums_of_nothing_are_zero():
    empty = Interval(np.zeros((2, 0)), np.zeros((2, 0)))
    for got in results(iv.total(empty, (1,), (2, 0)), (2,)) + results(
        iv.total(Interval(-1.0, INF), (1,), (2, 0)), (2,)
    ):
        assert got[0] <= 0 <= got[1]


def test_repr_shows_the_hull():
    assert repr(Interval(np.array([1.0, -2.0]), 3.0)) == "[-2, 3]"
