"""Operators on tensors: per-entry claims and intervals are those of the entries, sums and products of the terms.

Layouts are compared with what they do to arrays of positions, reductions and contractions with the operators on two
entries, and everything is checked for entries of different kinds, uniform operands and broadcasting.
"""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from rules_semantics import RANGES, TRIPLES_FEW, Known, knowledge, named, triples, truth

import epigraph.calculus.propagate  # noqa: F401  (registers the rules)
from epigraph.calculus.interval import INF, WHOLE, Interval
from epigraph.calculus.lattice import (
    AFFINE,
    ALL,
    CONCAVE,
    CONVEX,
    LOGCONCAVE,
    LOGCONVEX,
    QCONCAVE,
    QCONVEX,
    QUASILINEAR,
    ROOTCONVEX,
    Facts,
    close,
)
from epigraph.calculus.rule import RULES
from epigraph.objective import graph
from epigraph.objective.evaluate import KERNELS
from epigraph.objective.graph import Node

KNOWN = knowledge()
Shape = tuple[int, ...]


def node(op: str, out: Shape, /, **attributes) -> Node:
    return Node(99, op, (), attributes, out)


def random_facts(
    generator: np.random.Generator, shape: Shape, varies: bool = True, kind: str = "array"
) -> tuple[Facts, np.ndarray]:
    """Facts whose entries are drawn from all that may be known, and the knowledge entry by entry."""
    chosen = np.empty(shape, dtype=object)
    one = KNOWN[generator.integers(len(KNOWN))]
    for place in np.ndindex(*shape):
        chosen[place] = one if kind == "uniform" else KNOWN[generator.integers(len(KNOWN))]
    bits = np.vectorize(lambda k: k.bits if varies else ALL if k.range[0] >= 0 else 15, otypes=[np.uint8])(chosen)
    low, high = (np.vectorize(lambda k, i=i: k.range[i], otypes=[float])(chosen) for i in (0, 1))
    if kind == "uniform" and chosen.size:
        return Facts(int(bits.flat[0]), Interval(*one.range), None, -1, varies), chosen
    return Facts(bits, Interval(low, high), None, -1, varies), chosen


def entry(f: Facts, shape: Shape, place: tuple[int, ...]) -> Facts:
    """One entry's facts, as numbers."""
    low, high = f.interval.arrays(shape)
    bits = np.broadcast_to(f.bits, shape)[place]
    return Facts(int(bits), Interval(float(low[place]), float(high[place])), None, -1, f.varies)


def claims_of(n: Node, x: Sequence[Facts], shapes: Sequence[Shape]) -> np.ndarray:
    got = RULES[n.op].claims(n, x, shapes)
    return np.broadcast_to(np.asarray(got), n.shape).astype(int) & 127


def interval_of(n: Node, x: Sequence[Facts], shapes: Sequence[Shape]) -> tuple[np.ndarray, np.ndarray]:
    return RULES[n.op].interval(n, [f.interval for f in x], shapes).arrays(n.shape)


# entry by entry ---------------------------------------------------------------------------------------------------------
POINTWISE = [
    ("add", {}),
    ("mul", {}),
    ("div", {}),
    ("maximum", {}),
    ("compare", {"relation": "lt"}),
    ("compare", {"relation": "le"}),
    ("compare", {"relation": "eq"}),
]
BROADCASTS = [((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((), (2, 3)), ((2, 3), ()), ((1,), (2, 2)), ((), ())]


@pytest.mark.parametrize(
    ("op", "attributes"), POINTWISE, ids=lambda v: v if isinstance(v, str) else v.get("relation", "")
)
@pytest.mark.parametrize("varies", [(True, True), (True, False), (False, True)], ids=["both", "first", "second"])
def test_two_operands_entry_by_entry(op, attributes, varies):
    generator = np.random.default_rng(10)
    for shapes in BROADCASTS:
        out = np.broadcast_shapes(*shapes)
        for kinds in itertools.product(("array", "uniform"), repeat=2):
            x = [random_facts(generator, s, v, k)[0] for s, v, k in zip(shapes, varies, kinds, strict=True)]
            n, one = node(op, out, **attributes), node(op, (), **attributes)
            got, (low, high) = claims_of(n, x, shapes), interval_of(n, x, shapes)
            indices = [np.broadcast_to(np.arange(int(np.prod(s))).reshape(s), out) for s in shapes]
            for place in np.ndindex(*out):
                parts = [entry(f, s, np.unravel_index(i[place], s)) for f, s, i in zip(x, shapes, indices, strict=True)]
                assert got[place] == claims_of(one, parts, [(), ()])[()], (op, parts)
                assert (low[place], high[place]) == tuple(float(v) for v in interval_of(one, parts, [(), ()])), (
                    op,
                    parts,
                )


@pytest.mark.parametrize("varies", [True, False])
def test_where(varies):
    """A decided entry takes its operand's facts; an undecided one what both share, where parameters that are held decide it."""
    generator = np.random.default_rng(11)
    conditions = [
        Interval(0.0, 0.0),
        Interval(1.0, 1.0),
        Interval(0.0, 1.0),
        Interval(np.array([0.0, 1.0, 0.0]), np.array([0.0, 1.0, 1.0])),
        Interval(np.array([[0.0], [1.0]]), 1.0),
        Interval.point(np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]])),
    ]
    for condition, shape in zip(conditions, ((), (), (), (3,), (2, 1), (2, 3)), strict=True):
        for sx, sy in (((2, 3), (2, 3)), ((3,), (2, 1)), ((), (2, 3)), ((2, 3), ())):
            for kinds in itertools.product(("array", "uniform"), repeat=2):
                out = np.broadcast_shapes(shape, sx, sy)
                x = [
                    Facts(15, condition, None, 0, varies),
                    *(random_facts(generator, s, True, k)[0] for s, k in zip((sx, sy), kinds, strict=True)),
                ]
                n = node("where", out)
                got, (low, high) = claims_of(n, x, (shape, sx, sy)), interval_of(n, x, (shape, sx, sy))
                c = [np.broadcast_to(b, out) for b in condition.arrays(shape)]
                bits = [
                    np.broadcast_to(np.broadcast_to(f.bits, s), out).astype(int)
                    for f, s in zip(x[1:], (sx, sy), strict=True)
                ]
                lows = [np.broadcast_to(f.interval.arrays(s)[0], out) for f, s in zip(x[1:], (sx, sy), strict=True)]
                highs = [np.broadcast_to(f.interval.arrays(s)[1], out) for f, s in zip(x[1:], (sx, sy), strict=True)]
                yes, no = c[0] > 0, c[1] <= 0
                open_bits = np.zeros_like(bits[0]) if varies else bits[0] & bits[1]
                assert np.array_equal(got, np.where(yes, bits[0], np.where(no, bits[1], open_bits)))
                assert np.array_equal(low, np.where(yes, lows[0], np.where(no, lows[1], np.minimum(*lows))))
                assert np.array_equal(high, np.where(yes, highs[0], np.where(no, highs[1], np.maximum(*highs))))


def test_compare_decides_from_intervals():
    """All pairs of small intervals: the result is 1 or 0 only if that holds of all values, and then it is decided."""
    ends = [-1.0, -0.0, 0.0, 1.0, 2.0]
    spans = [(a, b) for a in ends for b in ends if a <= b]
    test: dict[str, Callable] = {"lt": np.less, "le": np.less_equal, "eq": np.equal}
    for relation, holds in test.items():
        for (a, b), (c, d) in itertools.product(spans, spans):
            low, high = (
                RULES["compare"]
                .interval(node("compare", (), relation=relation), [Interval(a, b), Interval(c, d)], [(), ()])
                .hull
            )
            met = {bool(holds(p, q)) for p in np.arange(a, b + 0.1, 0.5) for q in np.arange(c, d + 0.1, 0.5)}
            assert (low, high) == (float(met == {True}), float(True in met)), (relation, (a, b), (c, d))
    some = RULES["compare"].interval(
        node("compare", (2,), relation="lt"),
        [Interval(np.array([0.0, 1.0]), np.array([0.5, 3.0])), Interval.point(2.0)],
        [(2,), ()],
    )
    assert some.arrays((2,))[0].tolist() == [1.0, 0.0] and some.arrays((2,))[1].tolist() == [1.0, 1.0]


# reductions -------------------------------------------------------------------------------------------------------------
AXES = [
    ((2, 3), (0,)),
    ((2, 3), (1,)),
    ((2, 3), (0, 1)),
    ((3,), (0,)),
    ((2, 1, 3), (1,)),
    ((2, 1, 2), (0, 2)),
    ((1, 1), (0, 1)),
]
KEPT = {
    "sum": CONVEX | CONCAVE | LOGCONVEX | ROOTCONVEX,
    "amax": CONVEX | QCONVEX | LOGCONVEX | ROOTCONVEX,
    "logsumexp": CONVEX,
}


@pytest.mark.parametrize("op", KEPT)
def test_reductions_keep_what_all_entries_share(op):
    generator = np.random.default_rng(12)
    for shape, axes in AXES:
        out = tuple(n for d, n in enumerate(shape) if d not in axes)
        count = int(np.prod([shape[a] for a in axes]))
        for kind in ("array", "uniform"):
            for _ in range(10):
                f, _ = random_facts(generator, shape, True, kind)
                f.carrier = (3, -1)
                n = node(op, out, dims=list(axes))
                shared = np.bitwise_and.reduce(np.broadcast_to(np.asarray(f.bits, np.uint8), shape), axis=axes).astype(
                    int
                )
                assert np.array_equal(claims_of(n, [f], [shape]), shared & (127 if count == 1 else KEPT[op]))
                assert RULES[op].carrier(n, [f], [shape]) == ((3, -1) if count == 1 else None)


def test_reductions_of_two_are_operators_on_two():
    """What a reduction keeps is true: of all pairs of triples that share a claim."""
    t = TRIPLES_FEW
    held = truth(t)
    outs = {
        "sum": t[:, None] + t[None],
        "amax": np.maximum(t[:, None], t[None]),
        "logsumexp": np.logaddexp(t[:, None], t[None]),
    }
    for op, kept in KEPT.items():
        image = truth(outs[op])
        for k in (k for k in range(7) if kept >> k & 1):
            has = (held >> k & 1).astype(bool)
            assert (image[np.ix_(has, has)] >> k & 1).all(), (op, k)
    for op in ("sum", "amax"):  # and nothing else is kept by all pairs
        image = truth(outs[op])
        for k in (k for k in range(7) if not KEPT[op] >> k & 1):
            has = (held >> k & 1).astype(bool)
            assert not (image[np.ix_(has, has)] >> k & 1).all(), (op, k)


@pytest.mark.parametrize("op", ["sum", "amax", "logsumexp"])
def test_ranges_of_reductions(op):
    """Between the reductions of the ends, closely, for entries of all sizes, infinite ones among them."""
    generator = np.random.default_rng(13)
    for shape, axes in AXES:
        out = tuple(n for d, n in enumerate(shape) if d not in axes)
        count = int(np.prod([shape[a] for a in axes]))
        for trial in range(12):
            low = generator.normal(size=shape) * 10.0 ** generator.integers(-2, 3)
            high = low + np.abs(generator.normal(size=shape)) * (trial % 3)
            if trial % 4 == 1:
                low = np.where(generator.random(shape) < 0.4, -INF, low)
                high = np.where(generator.random(shape) < 0.4, INF, high)
            if trial % 4 == 2:
                low, high = (np.full(shape, float(v.flat[0])) for v in (low, high))
                x = Interval(float(low.flat[0]), float(high.flat[0]))
            else:
                x = Interval(low, high)
            with np.errstate(invalid="ignore"):
                wanted = [KERNELS[op]({"dims": list(axes)}, [torch.from_numpy(v.copy())]).numpy() for v in (low, high)]
            got = RULES[op].interval(node(op, out, dims=list(axes)), [x], [shape]).arrays(out)
            size = sum(np.abs(np.where(np.isfinite(v), v, 0)).sum() for v in (low, high)) + count
            for g, w, sign in ((got[0], wanted[0], -1), (got[1], wanted[1], 1)):
                w = np.where(np.isnan(w), sign * INF, w)
                finite = np.isfinite(w)
                assert np.array_equal(g[~finite], w[~finite])
                gap = sign * (g[finite] - w[finite])
                assert (gap >= (0 if op == "amax" else -1e-15 * size)).all() and (gap <= 1e-12 * size).all()


def test_logsumexp_of_points_contains_the_value():
    from flint import arb

    generator = np.random.default_rng(14)
    values = generator.normal(size=(50, 4)) * 30
    out = RULES["logsumexp"].interval(node("logsumexp", (50,), dims=[1]), [Interval.point(values)], [(50, 4)])
    for row, low, high in zip(values.tolist(), out.lower.tolist(), out.upper.tolist(), strict=True):
        exact = sum((arb(v).exp() for v in row), arb(0)).log()
        assert arb(low) < exact < arb(high) and high - low < 1e-10
    alone = RULES["logsumexp"].interval(
        node("logsumexp", (2,), dims=[0]), [Interval(np.array([[-1.0, 2.0]]), np.array([[0.0, 3.0]]))], [(1, 2)]
    )
    assert alone.lower.tolist() == [-1.0, 2.0] and alone.upper.tolist() == [0.0, 3.0]


def test_log_softmax_is_what_its_terms_allow():
    """Entries of every kind: what is claimed holds of all examples; ranges contain the values."""
    generator = np.random.default_rng(15)
    t = triples((-2.0, -1.0, 0.0, 1.0, 2.0))
    held = truth(t)
    for size in (1, 2, 3):
        n = node("log_softmax", (size,), dim=0)
        for _ in range(150):
            known = [KNOWN_CURVES[generator.integers(len(KNOWN_CURVES))] for _ in range(size)]
            f = Facts(np.array(known, np.uint8), Interval(-2.0, 2.0))
            chosen = [t[(held & k) == k] for k in known]
            sample = np.stack([c[generator.integers(len(c), size=400)] for c in chosen])
            out = sample - np.log(np.exp(sample).sum(0))
            everything = np.bitwise_and.reduce(truth(out), axis=1)
            got = np.array([int(close(int(b), False)) for b in claims_of(n, [f], [(size,)])])
            assert not (got & ~everything).any(), (known, [named(int(g)) for g in got])
            if size == 2 and all(k & AFFINE == AFFINE for k in known):
                assert (got & (CONCAVE | QUASILINEAR) == CONCAVE | QUASILINEAR).all()
            for k in range(size):
                spoilt = any(not known[j] & CONVEX for j in range(size) if j != k) or not known[k] & CONCAVE
                assert bool(got[k] & CONCAVE) == (size == 1 or not spoilt)
    for bits in (AFFINE | QUASILINEAR, CONVEX | QCONVEX, CONCAVE | QCONCAVE, 0):
        for size in (1, 2, 4):
            uniform = claims_of(node("log_softmax", (size, 2), dim=0), [Facts(bits, WHOLE)], [(size, 2)])
            array = claims_of(
                node("log_softmax", (size, 2), dim=0), [Facts(np.full((size, 2), bits, np.uint8), WHOLE)], [(size, 2)]
            )
            assert np.array_equal(uniform, array)


KNOWN_CURVES = [
    0,
    QCONVEX,
    QCONCAVE,
    QUASILINEAR,
    CONVEX | QCONVEX,
    CONCAVE | QCONCAVE,
    AFFINE | QUASILINEAR,
    CONVEX | QUASILINEAR,
]


def test_ranges_of_log_softmax():
    generator = np.random.default_rng(16)
    for shape, dim in (((2, 3), 1), ((2, 3), 0), ((4,), 0), ((2, 1), 1)):
        for spread in (0.0, 1.0, 50.0):
            low = generator.normal(size=shape) * 5
            high = low + spread * np.abs(generator.normal(size=shape))
            n = node("log_softmax", shape, dim=dim)
            got = RULES["log_softmax"].interval(n, [Interval(low, high)], [shape]).arrays(shape)
            for _ in range(30):
                value = low + (high - low) * generator.choice([0.0, 1.0, 0.5], size=shape)
                out = torch.log_softmax(torch.from_numpy(value), dim).numpy()
                assert (got[0] <= out + 1e-14).all() and (out - 1e-14 <= got[1]).all() and (got[1] <= 0).all()
            if spread == 0 and shape[dim] > 1:
                assert (got[1] - got[0] < 1e-11).all()
            least = low - np.logaddexp.reduce(high, axis=dim, keepdims=True)
            assert (np.abs(got[0] - least) < 1e-11).all() or shape[dim] == 1
    assert RULES["log_softmax"].interval(node("log_softmax", (3,), dim=0), [WHOLE], [(3,)]).hull == (-INF, 0.0)
    assert RULES["log_softmax"].interval(node("log_softmax", (1,), dim=0), [WHOLE], [(1,)]).hull == (0.0, 0.0)
    low, high = RULES["log_softmax"].interval(node("log_softmax", (3,), dim=0), [Interval(-1.0, 2.0)], [(3,)]).hull
    assert -3 - np.log(3) - 1e-12 < low <= -3 - np.log(3) + 1e-15 and high == 0.0


# sums of products -------------------------------------------------------------------------------------------------------
def matmul_terms(a: Shape, b: Shape) -> dict[tuple[int, ...], list[tuple[tuple[int, ...], tuple[int, ...]]]]:
    lead = np.broadcast_shapes(a[:-2], b[:-2])
    out = {}
    for place in np.ndindex(*lead, a[-2], b[-1]):
        *batch, i, j = place
        first = tuple(v if n > 1 else 0 for v, n in zip(batch[len(batch) - len(a) + 2 :], a[:-2], strict=True))
        second = tuple(v if n > 1 else 0 for v, n in zip(batch[len(batch) - len(b) + 2 :], b[:-2], strict=True))
        out[place] = [((*first, i, k), (*second, k, j)) for k in range(a[-1])]
    return out


def convolution_terms(x: Shape, w: Shape, stride, padding, dilation, groups):
    """By the definition: zero padding contributes no term."""
    n, _, *size = x
    o, per, *kernel = w
    space = [
        (s + 2 * p - d * (k - 1) - 1) // st + 1
        for s, p, d, k, st in zip(size, padding, dilation, kernel, stride, strict=True)
    ]
    out = {}
    for place in np.ndindex(n, o, *space):
        batch, channel, *where = place
        terms = []
        for inside in np.ndindex(per, *kernel):
            index = [
                y * st + k * d - p for y, st, k, d, p in zip(where, stride, inside[1:], dilation, padding, strict=True)
            ]
            if all(0 <= i < s for i, s in zip(index, size, strict=True)):
                terms.append(((batch, channel // (o // groups) * per + inside[0], *index), (channel, *inside)))
        out[place] = terms
    return out


CONTRACTIONS = [
    ("matmul", (2, 3), (3, 2), {}),
    ("matmul", (2, 1, 2), (2, 3), {}),
    ("matmul", (1, 2), (3, 2, 1), {}),
    ("convolution", (1, 2, 4), (2, 2, 2), {"stride": [1], "padding": [1], "dilation": [1], "groups": 1}),
    ("convolution", (2, 2, 5), (4, 1, 2), {"stride": [2], "padding": [0], "dilation": [2], "groups": 2}),
    ("convolution", (1, 1, 3, 3), (1, 1, 2, 2), {"stride": [1, 2], "padding": [0, 1], "dilation": [1, 1], "groups": 1}),
]


def terms_of(op: str, a: Shape, b: Shape, attributes) -> dict:
    return matmul_terms(a, b) if op == "matmul" else convolution_terms(a, b, **attributes)


def out_shape(terms) -> Shape:
    return tuple(np.max(list(terms), axis=0) + 1)


@pytest.mark.parametrize(("op", "a", "b", "attributes"), CONTRACTIONS)
def test_contractions_entry_by_entry(op, a, b, attributes):
    """With a constant factor: convex where each term is; with curvature per entry and signs per entry."""
    generator = np.random.default_rng(17)
    terms = terms_of(op, a, b, attributes)
    n = node(op, out_shape(terms), **attributes)
    for first in (True, False):
        shapes = (a, b)
        varying, fixed = (0, 1) if first else (1, 0)
        for density in (0.1, 0.5, 0.9):
            bits = np.where(
                generator.random(shapes[varying]) < density, generator.integers(0, 4, shapes[varying]), CONVEX | CONCAVE
            ).astype(np.uint8)
            signs = generator.choice([-1.0, 0.0, 1.0], size=shapes[fixed], p=[0.1, 0.4, 0.5])
            slack = generator.choice([0.0, 1.5], size=shapes[fixed], p=[0.8, 0.2])
            f, c = Facts(bits, Interval(-1.0, 1.0)), Facts(15, Interval(signs - slack, signs + slack), None, 0, False)
            got = claims_of(n, [f, c] if first else [c, f], shapes)
            one_sign = c.interval.hull[0] >= 0 or c.interval.hull[1] <= 0
            shared = one_sign and int(np.bitwise_and.reduce(bits, axis=None))  # then nothing more is looked for
            for place, parts in terms.items():
                convex = concave = True
                for left, right in parts:
                    g, where = (bits[left], right) if first else (bits[right], left)
                    low, high = c.interval.lower[where], c.interval.upper[where]
                    convex &= (high <= 0 or bool(g & CONVEX)) and (low >= 0 or bool(g & CONCAVE))
                    concave &= (high <= 0 or bool(g & CONCAVE)) and (low >= 0 or bool(g & CONVEX))
                wanted = CONVEX * bool(convex) | CONCAVE * bool(concave)
                assert got[place] & ~wanted == 0 and (got[place] == wanted or shared), (place, first)


@pytest.mark.parametrize(("op", "a", "b", "attributes"), CONTRACTIONS)
def test_contractions_of_uniform_claims(op, a, b, attributes):
    """All that is known, the same in every entry, times constants of one sign, of both, or zero."""
    terms = terms_of(op, a, b, attributes)
    n = node(op, out_shape(terms), **attributes)
    add, mul = RULES["add"], RULES["mul"]
    for k in KNOWN:
        for sign, span in {**RANGES, "0": (0.0, 0.0)}.items():
            c = Facts(ALL if span[0] >= 0 else 15, Interval(*span), None, 0, False)
            one = Facts(mul.claims(node("mul", ()), [k.facts(), c], [(), ()]), WHOLE)
            term = int(close(add.claims(node("add", ()), [one, one], [(), ()]), False))
            for x, shapes in (([k.facts(), c], (a, b)), ([c, k.facts()], (a, b))):
                got = claims_of(n, x, shapes)
                assert (got == got.flat[0]).all()
                kept = CONVEX | CONCAVE | LOGCONVEX | ROOTCONVEX
                assert int(close(int(got.flat[0]), False)) & kept == term & kept, (str(k), sign)
    logs = Facts(int(close(LOGCONVEX, True)), Interval(0.0, INF))
    assert (claims_of(n, [logs, logs], (a, b)) == LOGCONVEX).all()
    for other in (ROOTCONVEX | CONVEX | QCONVEX, AFFINE | QUASILINEAR, LOGCONCAVE | QCONCAVE):
        x = Facts(other, Interval(0.0, INF))
        assert not claims_of(n, [logs, x], (a, b)).any() and not claims_of(n, [x, logs], (a, b)).any()


@pytest.mark.parametrize(("op", "a", "b", "attributes"), CONTRACTIONS)
def test_ranges_of_contractions(op, a, b, attributes):
    generator = np.random.default_rng(18)
    terms = terms_of(op, a, b, attributes)
    n = node(op, out_shape(terms), **attributes)
    for trial in range(12):
        spans = []
        for shape in (a, b):
            low = generator.integers(-3, 3, shape) / 2.0 if trial % 3 else np.abs(generator.integers(0, 3, shape)) / 2.0
            spans.append((low, low + generator.integers(0, 3, shape)))
        if trial % 4 == 3:
            spans[0] = (spans[0][0], np.where(spans[0][1] > 1, INF, spans[0][1]))
        low, high = RULES[op].interval(n, [Interval(*s) for s in spans], (a, b)).arrays(n.shape)
        signs = [s[0].min() >= 0 for s in spans]
        for place, parts in terms.items():
            corners = [
                [
                    spans[0][i][p] * spans[1][j][q] if 0 not in (spans[0][i][p], spans[1][j][q]) else 0.0
                    for i in (0, 1)
                    for j in (0, 1)
                ]
                for p, q in parts
            ]
            least, most = sum(map(min, corners)), sum(map(max, corners))
            assert low[place] <= least and high[place] >= most
            if all(signs):
                assert low[place] >= 0
    tiny = RULES[op].interval(n, [Interval.point(np.full(a, 1e-301)), Interval.point(np.full(b, 1e-160))], (a, b)).hull
    assert tiny[0] <= 0 < tiny[1]  # the products underflow
    signs = RULES[op].interval(n, [Interval(0.0, INF), Interval(-2.0, 0.0)], (a, b)).hull
    assert signs == (-INF, 0.0)
    low, high = RULES[op].interval(n, [Interval(-1.0, 2.0), Interval(-3.0, 1.0)], (a, b)).hull
    count = a[-1] if op == "matmul" else int(np.prod(b[1:]))
    assert -6.00001 * count <= low <= -6 * count * 0 - 6 and 3 <= high <= 6.00001 * count


# layout -----------------------------------------------------------------------------------------------------------------
LAYOUTS: list[tuple[str, dict, Shape, Callable[[np.ndarray], np.ndarray]]] = [
    ("reshape", {"shape": [3, 2]}, (2, 3), lambda v: v.reshape(3, 2)),
    ("reshape", {"shape": [6]}, (2, 3), lambda v: v.reshape(6)),
    ("reshape", {"shape": []}, (1,), lambda v: v.reshape(())),
    ("permute", {"dims": [2, 0, 1]}, (2, 3, 4), lambda v: v.transpose(2, 0, 1)),
    ("permute", {"dims": [1, 0]}, (2, 3), lambda v: v.T),
    ("expand", {"shape": [4, 2, 3]}, (2, 1), lambda v: np.broadcast_to(v, (4, 2, 3))),
    ("slice", {"dim": 1, "start": 1, "stop": 6, "step": 2}, (2, 7), lambda v: v[:, 1:6:2]),
    ("slice", {"dim": 0, "start": 1, "stop": 1, "step": 1}, (3,), lambda v: v[1:1]),
]


@pytest.mark.parametrize(("op", "attributes", "shape", "move"), LAYOUTS)
def test_layouts_move_entries(op, attributes, shape, move):
    generator = np.random.default_rng(19)
    out = move(np.zeros(shape))
    n = node(op, out.shape, **attributes)
    for kind in ("array", "uniform"):
        f, _ = random_facts(generator, shape, True, kind)
        f.degree, f.carrier = 2, (5, -1)
        bits = np.broadcast_to(np.asarray(f.bits, np.uint8), shape)
        assert np.array_equal(claims_of(n, [f], [shape]), move(bits))
        low, high = f.interval.arrays(shape)
        got = interval_of(n, [f], [shape])
        assert np.array_equal(got[0], move(low)) and np.array_equal(got[1], move(high))
        assert RULES[op].degree(n, [f]) == 2
        assert RULES[op].carrier(n, [f], [shape]) == ((5, -1) if op == "reshape" else None)


def test_concat():
    generator = np.random.default_rng(20)
    for dim, shapes in ((0, [(2, 3), (1, 3)]), (1, [(2, 1), (2, 3), (2, 2)])):
        for kinds in itertools.product(("array", "uniform"), repeat=len(shapes)):
            x = [random_facts(generator, s, True, k)[0] for s, k in zip(shapes, kinds, strict=True)]
            full = np.concatenate(
                [np.broadcast_to(np.asarray(f.bits, np.uint8), s) for f, s in zip(x, shapes, strict=True)], dim
            )
            n = node("concat", full.shape, dim=dim)
            assert np.array_equal(claims_of(n, x, shapes), full)
            for side in (0, 1):
                ends = np.concatenate([f.interval.arrays(s)[side] for f, s in zip(x, shapes, strict=True)], dim)
                assert np.array_equal(interval_of(n, x, shapes)[side], ends)
            for degrees, wanted in (((1, 2, 0), 2), ((1, -1, 3), -1)):
                for f, d in zip(x, degrees, strict=False):
                    f.degree = d
                assert RULES["concat"].degree(n, x) == (wanted if wanted > 0 else -1)
    same = [Facts(5, Interval(0.0, 1.0)), Facts(5, Interval(0.0, 1.0))]
    assert RULES["concat"].claims(node("concat", (4,), dim=0), same, [(2,), (2,)]) == 5
    assert RULES["concat"].interval(node("concat", (4,), dim=0), [f.interval for f in same], [(2,), (2,)]).uniform
    other = [Facts(5, Interval(0.0, 1.0)), Facts(5, Interval(0.0, 2.0))]
    _, high = (
        RULES["concat"].interval(node("concat", (4,), dim=0), [f.interval for f in other], [(2,), (2,)]).arrays((4,))
    )
    assert high.tolist() == [1, 1, 2, 2]


def test_take():
    generator = np.random.default_rng(21)
    index = np.array([2, 0, 0, 1])
    for dim, shape in ((0, (3, 2)), (1, (2, 3))):
        f, _ = random_facts(generator, shape)
        i = Facts(ALL, Interval.point(index.astype(float)), None, 0, False)
        moved = np.take(np.asarray(f.bits), index, dim)
        n = node("take", moved.shape, dim=dim)
        assert np.array_equal(claims_of(n, [f, i], [shape, (4,)]), moved)
        assert np.array_equal(interval_of(n, [f, i], [shape, (4,)])[0], np.take(f.interval.lower, index, dim))
        assert RULES["take"].claims(n, [Facts(9, WHOLE), i], [shape, (4,)]) == 9
        apart = Facts(ALL, Interval(index.astype(float), index + 0.0), None, 0, False)  # equal ends in two arrays
        assert np.array_equal(claims_of(n, [f, apart], [shape, (4,)]), moved)
        f.degree = 1
        assert RULES["take"].degree(n, [f, i]) == 1


def test_take_with_an_index_held_by_its_bounds():
    """A very long index is known by its least and greatest entry only: then the rows share what all rows have."""
    f = Facts(np.array([3, 5, 1], np.uint8), Interval(np.array([0.0, -1.0, 2.0]), np.array([4.0, 7.0, 2.0])))
    i = Facts(ALL, Interval(0.0, 2.0), None, 0, False)
    n = node("take", (5,), dim=0)
    assert (claims_of(n, [f, i], [(3,), (5,)]) == 1).all()
    assert RULES["take"].interval(n, [f.interval, i.interval], [(3,), (5,)]).hull == (-1.0, 7.0)


def test_same():
    n = node("same", (2,))
    f = Facts(np.array([1, 2], np.uint8), Interval(np.array([0.0, -1.0]), 5.0), (1, 0), 3)
    g = Facts(4, Interval(-2.0, np.array([1.0, 9.0])), (2, -1), -1)
    h = Facts(8, Interval(-1.0, 7.0), None, 2)
    assert claims_of(n, [f, g, h], [(2,)] * 3).tolist() == [13, 14]
    low, high = interval_of(n, [f, g, h], [(2,)] * 3)
    assert low.tolist() == [0.0, -1.0] and high.tolist() == [1.0, 5.0]
    assert RULES["same"].degree(n, [f, g, h]) == 2 and RULES["same"].degree(n, [g, g]) == -1
    assert RULES["same"].carrier(n, [f, g, h], [(2,)] * 3) == (2, -1)
    assert (
        RULES["same"].carrier(n, [h, f], [(2,)] * 2) == (1, 0) and RULES["same"].carrier(n, [h, h], [(2,)] * 2) is None
    )


# degrees, unknown operators, the registry --------------------------------------------------------------------------------
def test_degrees_are_those_of_polynomials():
    """Products of random polynomials in one variable, and -1 as soon as an operand is no polynomial."""
    generator = np.random.default_rng(22)
    makers: dict[str, Callable] = {"add": np.add, "mul": np.convolve, "matmul": np.convolve, "convolution": np.convolve}
    for op, make in makers.items():
        for p, q in itertools.product((0, 1, 2, 3), repeat=2):
            x = [Facts(0, WHOLE, None, d) for d in (p, q)]
            got = RULES[op].degree(node(op, ()), x)
            first, second = generator.integers(1, 9, p + 1), generator.integers(1, 9, q + 1)
            if op == "add":
                first, second = (np.pad(v, (0, max(p, q) + 1 - len(v))) for v in (first, second))
            assert got == len(np.trim_zeros(make(first, second), "b")) - 1
        for d in (-1, 0, 2):
            assert RULES[op].degree(node(op, ()), [Facts(0, WHOLE, None, -1), Facts(0, WHOLE, None, d)]) == -1
            assert RULES[op].degree(node(op, ()), [Facts(0, WHOLE, None, d), Facts(0, WHOLE, None, -1)]) == -1


@pytest.mark.parametrize(
    ("op", "attributes", "degree"),
    [
        ("neg", {}, 3),
        ("sum", {"dims": [0]}, 3),
        ("amax", {"dims": [0]}, -1),
        ("logsumexp", {"dims": [0]}, -1),
        ("log_softmax", {"dim": 0}, -1),
        ("exp", {}, -1),
        ("abs", {}, -1),
        ("relu", {}, -1),
        ("piecewise", {}, -1),
        ("power", {"exponent": "2"}, 6),
        ("power", {"exponent": "1/2"}, -1),
        ("power", {"exponent": "-1"}, -1),
        ("opaque", {"target": "x"}, -1),
        ("sign", {}, -1),
    ],
)
def test_degrees_of_one_operand(op, attributes, degree):
    assert RULES[op].degree(node(op, (), **attributes), [Facts(0, WHOLE, None, 3)]) == degree
    assert RULES[op].degree(node(op, (), **attributes), [Facts(0, WHOLE, None, -1)]) == -1


def test_degrees_of_quotients_and_choices():
    p, q, none = (Facts(0, WHOLE, None, d) for d in (2, 3, -1))
    constant, varying = Facts(15, Interval(0.0, 1.0), None, 0, False), Facts(15, Interval(0.0, 1.0), None, 1)
    assert (
        RULES["div"].degree(node("div", ()), [p, constant]) == 2
        and RULES["div"].degree(node("div", ()), [constant, varying]) == -1
    )
    assert RULES["div"].degree(node("div", ()), [none, constant]) == -1
    assert (
        RULES["maximum"].degree(node("maximum", ()), [p, q]) == -1
        and RULES["compare"].degree(node("compare", ()), [p, q]) == -1
    )
    where = RULES["where"]
    assert (
        where.degree(node("where", ()), [constant, p, q]) == 3
        and where.degree(node("where", ()), [constant, q, p]) == 3
    )
    assert (
        where.degree(node("where", ()), [constant, p, none]) == -1
        and where.degree(node("where", ()), [varying, p, q]) == -1
    )


def test_every_operator_of_the_graph_has_a_rule():
    text = inspect.getdoc(graph) or ""
    documented = set(re.findall(r"``([a-z_]+)(?:\([a-z0-9, .]*\))?``", text))
    leaves = {"parameter", "constant"}
    assert set(RULES) == set(KERNELS) | {"opaque"}
    assert set(RULES) <= documented and leaves <= documented
    for op, rule in RULES.items():
        assert rule.__doc__ and (rule.lemma or op in ("log_softmax",)), f"{op} has no source"


def test_nothing_is_known_of_an_opaque_operator():
    n, rule = node("opaque", (2,), target="aten.strange"), RULES["opaque"]
    varying, fixed = Facts(ALL, Interval(0.0, 1.0), (1, 1), 1), Facts(ALL, Interval(0.0, 1.0), None, 0, False)
    assert rule.claims(n, [varying, fixed], [(2,), (2,)]) == 0 and rule.claims(n, [fixed], [(2,)]) == ALL
    assert rule.interval(n, [fixed.interval], [(2,)]).hull == (-INF, INF)
    assert rule.carrier(n, [varying], [(2,)]) is None
    assert "aten.strange" in rule.reason(n, [varying])


def test_a_second_rule_for_an_operator_raises():
    from epigraph.calculus.rule import register

    with pytest.raises(ValueError, match="two rules for exp"):
        register("exp")(type(RULES["exp"]))


def test_reasons_are_sentences():
    """Every rule says in one sentence why claims end at it, whatever the operands."""
    exact = {
        "power": {"exponent": "1/2"},
        "elu": {"alpha": "1"},
        "piecewise": {"knots": ["0"], "pieces": [["0"], ["0", "1"]]},
        "opaque": {"target": "t"},
        "compare": {"relation": "lt"},
    }
    for op, rule in RULES.items():
        n = node(op, (), **exact.get(op, {}))
        for k in KNOWN[::9]:
            for varies in (True, False):
                text = rule.reason(n, [k.facts(), Known(0, "?").facts(varies=varies), k.facts()])
                assert len(text) > 10 and not text.endswith(".")
    assert "beyond its domain" in RULES["log"].reason(node("log", ()), [Facts(3, Interval(-1.0, 1.0))])
    assert "beyond its domain" in RULES["sqrt"].reason(node("sqrt", ()), [Facts(3, Interval(-1.0, 1.0))])
    assert "beyond its domain" in RULES["power"].reason(
        node("power", (), exponent="-1"), [Facts(3, Interval(-1.0, 1.0))]
    )
    assert "may be zero" in RULES["div"].reason(node("div", ()), [Facts(3, WHOLE), Facts(3, Interval(-1.0, 1.0))])
