"""The composition rules against all functions on five points composed with all triples of these points.

A function on the points 0, ..., 4 stands for one on [0, 4]: convex, log-convex and the like are decided by neighbours,
and interpolation (linear, or linear in the logarithm or the root) extends it.  All 2^9 sets of properties of the outer
function and all sets of claims of the inner one are compared with what holds of every example that has them.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from rules_semantics import named, truth

from epigraph.calculus.lattice import (
    AFFINE,
    CONCAVE,
    CONVEX,
    LOGCONCAVE,
    LOGCONVEX,
    QCONCAVE,
    QCONVEX,
    QUASILINEAR,
    ROOTCONVEX,
    close,
    compose,
    constant_bits,
    negate,
    pack,
    uniform,
    when,
)

FLAGS = ("increasing", "decreasing", "convex", "concave", "log_convex", "log_concave", "root_convex", "valley", "hill")
VALUES = (-2, -1, 0, 1, 2, 3, 4, 9, 16)
INNER = np.array(list(itertools.product(range(5), repeat=3)))
CURVATURES = CONVEX | CONCAVE | QCONVEX | QCONCAVE


def outer_functions() -> np.ndarray:
    return np.array(list(itertools.product(VALUES, repeat=5)), dtype=np.int64)


def flags_of(f: np.ndarray) -> dict[str, np.ndarray]:
    """The properties of each function on the five points."""
    d = np.diff(f, axis=1)
    left, middle, right = f[:, :-2], f[:, 1:-1], f[:, 2:]
    positive = (f >= 0).all(1)
    support = (f > 0).astype(int)
    contiguous = np.abs(np.diff(np.pad(support, ((0, 0), (1, 1))), axis=1)).sum(1) <= 2
    root = 4 * middle - left - right
    rises_before_falls = np.array(
        [[(d[:, i] > 0) & (d[:, j] < 0) for i in range(j)] for j in range(1, 4)], dtype=object
    )
    falls_before_rises = np.array(
        [[(d[:, i] < 0) & (d[:, j] > 0) for i in range(j)] for j in range(1, 4)], dtype=object
    )
    return {
        "increasing": (d >= 0).all(1),
        "decreasing": (d <= 0).all(1),
        "convex": (left + right >= 2 * middle).all(1),
        "concave": (left + right <= 2 * middle).all(1),
        "log_convex": positive & (middle**2 <= left * right).all(1),
        "log_concave": positive & (middle**2 >= left * right).all(1) & contiguous,
        "root_convex": positive & ((root <= 0) | (root**2 <= 4 * left * right)).all(1),
        "valley": ~np.any([m for row in rises_before_falls for m in row], axis=0),
        "hill": ~np.any([m for row in falls_before_rises for m in row], axis=0),
    }


@pytest.fixture(scope="module")
def strongest() -> np.ndarray:
    """For each set of flags and each set of inner claims, the claims of f(g) that every example has."""
    f = outer_functions()
    code = sum(mask.astype(np.int64) << k for k, mask in enumerate(flags_of(f).values()))
    inner = truth(INNER.astype(float)) & CURVATURES
    table = np.full((512, 16), 127, np.uint8)
    for g, bits in zip(INNER, inner, strict=True):
        np.bitwise_and.at(table[:, bits], code, truth(f[:, g].astype(float)))
    for k in range(9):  # and over all supersets: an example with more properties is an example
        low = [s for s in range(512) if not s >> k & 1]
        table[low] &= table[[s | 1 << k for s in low]]
    for k in range(4):
        low = [s for s in range(16) if not s >> k & 1]
        table[:, low] &= table[:, [s | 1 << k for s in low]]
    return table


def combinations():
    for code in range(512):
        flags = {name: bool(code >> k & 1) for k, name in enumerate(FLAGS)}
        for inner in range(16):
            if int(close(inner, False)) == inner:
                yield code, flags, inner


def implied(flags: dict[str, bool]) -> dict[str, bool]:
    """Flags with what follows from them, as a rule that states all it knows would give them."""
    f = dict(flags)
    f["root_convex"] |= f["log_convex"]
    f["convex"] |= f["root_convex"]
    f["hill"] |= f["concave"] or f["log_concave"]
    return f


def constant_only(flags: dict[str, bool]) -> bool:
    """Do these properties leave constants only, or increasing functions and decreasing ones that no flag tells apart?"""
    flat = flags["concave"] and (flags["log_convex"] or flags["root_convex"])
    return (flags["increasing"] and flags["decreasing"]) or flat or (flags["log_convex"] and flags["log_concave"])


def test_every_combination_is_sound(strongest):
    wrong = [
        (flags, named(inner), named(int(extra)))
        for code, flags, inner in combinations()
        if (extra := compose(inner, **flags) & ~strongest[code, inner])
    ]
    assert not wrong, wrong[:3]


def test_every_combination_is_complete(strongest):
    """Nothing that holds of all examples is missing, once what follows is added."""
    lost = []
    for code, flags, inner in combinations():
        nonnegative = flags["log_convex"] or flags["log_concave"] or flags["root_convex"]
        got = int(close(compose(inner, **implied(flags)), nonnegative))
        if (missing := int(strongest[code, inner]) & ~got) and not constant_only(flags):
            lost.append(({k for k, v in flags.items() if v}, named(inner), named(missing)))
    assert not lost, (len(lost), lost[:10])


def test_more_properties_never_give_less():
    for _, flags, inner in combinations():
        base = compose(inner, **flags)
        for name in FLAGS:
            assert base & ~compose(inner, **{**flags, name: True}) == 0
        for more in range(16):
            assert base & ~compose(inner | more, **flags) == 0


def test_arrays_and_masks_give_the_entries():
    """Per-entry claims, per-entry masks, and uniform ones of either, all mixed."""
    generator = np.random.default_rng(6)
    inner = generator.integers(0, 16, 400).astype(np.uint8)
    masks = {name: generator.random(400) < 0.5 for name in FLAGS}
    for uniform_flags in ((), FLAGS[:3], FLAGS[3:], FLAGS):
        flags = {name: bool(generator.random() < 0.5) if name in uniform_flags else masks[name] for name in FLAGS}
        for bits in (inner, int(inner[0])):
            got = np.broadcast_to(compose(bits, **flags), (400,))
            for k in range(0, 400, 7):
                one = compose(
                    int(np.broadcast_to(bits, (400,))[k]),
                    **{n: bool(np.broadcast_to(m, (400,))[k]) for n, m in flags.items()},
                )
                assert int(got[k]) == int(one)


# the lattice ------------------------------------------------------------------------------------------------------------
ALL_TRIPLES = np.array(list(itertools.product((-4.0, -1.0, 0.0, 0.25, 1.0, 2.0, 4.0, 9.0), repeat=3)))


def test_close_adds_what_follows_and_only_that():
    """All sets of claims, with and without a sign: sound, complete, idempotent."""
    held = truth(ALL_TRIPLES)
    positive = (ALL_TRIPLES >= 0).all(1)
    for nonnegative in (False, True):
        for bits in range(128):
            examples = held[((held & bits) == bits) & (positive | (not nonnegative))]
            everything = int(np.bitwise_and.reduce(examples))
            got = int(close(bits, nonnegative))
            assert got & ~everything == 0, (named(bits), named(got & ~everything))
            signed = nonnegative or bits & (LOGCONVEX | LOGCONCAVE | ROOTCONVEX)
            constant = got & CONCAVE and got & (LOGCONVEX | ROOTCONVEX)
            missing = everything & ~int(close(got, bool(signed)))
            assert not missing or constant, (named(bits), nonnegative, named(missing))
            assert int(close(got, nonnegative)) == got
    many = np.arange(128, dtype=np.uint8)
    mask = many % 3 == 0
    assert [int(v) for v in close(many, mask)] == [int(close(int(b), bool(m))) for b, m in zip(many, mask, strict=True)]


def test_negate():
    for bits in range(128):
        examples = ALL_TRIPLES[(truth(ALL_TRIPLES) & bits) == bits]
        everything = int(np.bitwise_and.reduce(truth(-examples)))
        assert int(negate(bits)) & ~everything == 0
        assert everything & CURVATURES & ~int(negate(close(bits, False))) == 0
        assert int(negate(np.uint8(bits))) == int(negate(bits))


def test_constants():
    from epigraph.calculus.interval import Interval

    assert constant_bits(Interval(0.0, 1.0)) == AFFINE | QUASILINEAR | LOGCONVEX | LOGCONCAVE | ROOTCONVEX
    assert constant_bits(Interval(-1.0, 1.0)) == AFFINE | QUASILINEAR
    assert [int(b) for b in constant_bits(Interval(np.array([-1.0, 0.0]), 1.0))] == [15, 127]


def test_uniform_and_pack():
    assert uniform(5) == 5 and uniform(np.array([5, 7], np.uint8)) == 5 and uniform(np.zeros(0, np.uint8)) == 127
    same = pack(np.array([[5, 5]], np.uint8))
    assert same == 5 and isinstance(same, int)
    mixed = np.array([5, 7], np.uint8)
    assert pack(mixed) is mixed and pack(9) == 9
    assert when(True, 5) == 5 and when(np.False_, 5) == 0
    assert when(np.array([True, False]), 5).tolist() == [5, 0]
