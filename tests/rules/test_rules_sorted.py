"""Sorted entries, eigenvalues, singular values, determinants: which of them have curvature, and their ranges.

The first sorted entry is a minimum and the last one a maximum; the rest of what is claimed is tried on matrices.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rules_semantics import TRIPLES_FEW, truth
from test_rules_tensors import Shape, claims_of, interval_of, node, random_facts

from epigraph.calculus.interval import INF, Interval
from epigraph.calculus.lattice import (
    AFFINE,
    ALL,
    CONCAVE,
    CONVEX,
    LOGCONCAVE,
    LOGCONVEX,
    QCONCAVE,
    QCONVEX,
    ROOTCONVEX,
    Facts,
)
from epigraph.calculus.rule import RULES
from epigraph.objective.evaluate import KERNELS

LINES: list[tuple[Shape, int]] = [((3,), 0), ((2, 3), 1), ((3, 2), 0), ((2, 3, 2), 1), ((2, 1), 1), ((4, 2), 1)]
LEAST, GREATEST = CONCAVE | QCONCAVE | LOGCONCAVE, CONVEX | QCONVEX | LOGCONVEX | ROOTCONVEX


@pytest.mark.parametrize(("shape", "dim"), LINES)
@pytest.mark.parametrize("kind", ["array", "uniform"])
def test_first_and_last_of_a_line_keep_what_the_line_shares(shape, dim, kind):
    generator = np.random.default_rng(31)
    for _ in range(20):
        f, _ = random_facts(generator, shape, True, kind)
        if kind == "array":  # lines of one kind occur as well
            f = Facts(
                np.where(
                    generator.random(shape) < 0.6,
                    np.uint8(generator.choice([CONVEX | QCONVEX, LEAST, GREATEST])),
                    f.bits,
                ),
                f.interval,
            )
        got = claims_of(node("sort", shape, dim=dim), [f], [shape])
        bits = np.broadcast_to(np.asarray(f.bits, np.uint8), shape)
        for place in np.ndindex(*shape):
            line = [int(bits[(*place[:dim], k, *place[dim + 1 :])]) for k in range(shape[dim])]
            shared = np.bitwise_and.reduce(line) & 127
            first, last = place[dim] == 0, place[dim] == shape[dim] - 1
            wanted = shared if first and last else shared & LEAST if first else shared & GREATEST if last else 0
            assert got[place] == wanted, (place, line)


def test_a_minimum_keeps_that_and_no_more():
    """Of all pairs of triples: what both have, their least has too, for these claims alone."""
    held, image = truth(TRIPLES_FEW), truth(np.minimum(TRIPLES_FEW[:, None], TRIPLES_FEW[None]))
    for k in range(7):
        has = (held >> k & 1).astype(bool)
        assert (image[np.ix_(has, has)] >> k & 1).all() == bool(LEAST >> k & 1), k


@pytest.mark.parametrize(("shape", "dim"), LINES)
def test_ranges_of_sorted_entries(shape, dim):
    """The least and the greatest value of each are attained at the ends of all entries together."""
    generator = np.random.default_rng(32)
    n = node("sort", shape, dim=dim)
    for trial in range(10):
        low = generator.normal(size=shape) * 3
        high = low + np.abs(generator.normal(size=shape)) * (trial % 3)
        low = np.where(generator.random(shape) < 0.2 * (trial % 2), -INF, low)
        x = Facts(0, Interval(low, high))
        for got, ends in zip(interval_of(n, [x], [shape]), (low, high), strict=True):
            wanted = KERNELS["sort"](n.attributes, [torch.from_numpy(ends.copy())]).numpy()
            assert np.array_equal(got, wanted)
    assert interval_of(n, [Facts(0, Interval(-1.0, 2.0))], [shape])[0].ravel().tolist() == [-1.0] * int(np.prod(shape))


def matrices(generator: np.random.Generator, low: np.ndarray, high: np.ndarray, symmetric: bool) -> np.ndarray:
    ends = generator.random((200, *low.shape)) < 0.5
    drawn = np.where(ends, low, high)
    drawn[::3] = low + (high - low) * generator.random((67, *low.shape))
    return np.tril(drawn) + np.swapaxes(np.tril(drawn, -1), -1, -2) if symmetric else drawn


@pytest.mark.parametrize(
    ("op", "shape"),
    [("eigvalsh", (3, 3)), ("eigvalsh", (2, 2, 2)), ("svdvals", (2, 4)), ("svdvals", (3, 2)), ("svdvals", (2, 1, 3))],
)
def test_ranges_of_spectra(op, shape):
    generator = np.random.default_rng(33)
    out = (*shape[:-2], min(shape[-2:]))
    for trial in range(8):
        low = generator.normal(size=shape) - 1
        high = low + np.abs(generator.normal(size=shape)) * 2 * (trial % 3)
        if op == "eigvalsh":
            low, high = (np.tril(v) + np.swapaxes(np.tril(v, -1), -1, -2) for v in (low, high))
        least, most = interval_of(node(op, out), [Facts(AFFINE, Interval(low, high))], [shape])
        values = KERNELS[op]({}, [torch.from_numpy(matrices(generator, low, high, op == "eigvalsh"))]).numpy()
        assert (least <= values + 1e-12).all() and (values <= most + 1e-12).all()
        side = max(shape[-2:])
        assert most.max() <= side * max(abs(low).max(), abs(high).max()) * (1 + 1e-12)
        assert (least == (-most if op == "eigvalsh" else 0.0)).all()
    nothing = interval_of(node(op, out), [Facts(AFFINE, Interval(0.0, 0.0))], [shape])
    assert all((v == 0).all() for v in nothing)  # the zero matrix has nothing else
    ones = interval_of(node(op, out), [Facts(AFFINE, Interval(-1.0, 1.0))], [shape])[1]
    assert (ones == max(shape[-2:])).all()


@pytest.mark.parametrize(
    ("op", "shape"), [("eigvalsh", (3, 3)), ("svdvals", (3, 4)), ("eigvalsh", (1, 1)), ("svdvals", (1, 3))]
)
def test_the_last_is_convex_the_first_concave_for_symmetric_matrices(op, shape):
    generator = np.random.default_rng(34)
    size = min(shape)
    n = node(op, (size,))
    a, b = (matrices(generator, -np.ones(shape), np.ones(shape), op == "eigvalsh") for _ in range(2))
    at = [KERNELS[op]({}, [torch.from_numpy(v)]).numpy() for v in (a, b, (a + b) / 2)]
    defect = at[2] - (at[0] + at[1]) / 2
    convex, concave = (defect <= 1e-12).all(0), (defect >= -1e-12).all(0)
    wanted = CONVEX * convex.astype(int) + CONCAVE * concave.astype(int)
    affine = Facts(AFFINE | QCONVEX | QCONCAVE, Interval(-INF, INF))
    assert np.array_equal(claims_of(n, [affine], [shape]) & AFFINE, wanted)
    for bits in (CONVEX | QCONVEX, CONCAVE | QCONCAVE, 0):
        assert not claims_of(n, [Facts(bits, Interval(-INF, INF))], [shape]).any()
    held = Facts(0, Interval(-INF, INF), None, -1, False)
    assert (claims_of(n, [held], [shape]) == ALL & 127).all()
    assert not claims_of(node(op, (0,)), [affine], [(0, 0)]).any()


def test_nothing_is_known_of_a_determinant_by_its_entries():
    n = node("det", ())
    assert not claims_of(n, [Facts(AFFINE, Interval(-1.0, 1.0))], [(2, 2)]).any()
    assert RULES["det"].interval(n, [Interval(-1.0, 1.0)], [(2, 2)]).hull == (-INF, INF)


def test_reasons_name_the_rank():
    for op in ("sort", "eigvalsh", "svdvals"):
        assert "rank" in RULES[op].reason(node(op, (3,), dim=0), [Facts(0, Interval(-1.0, 1.0))])
