"""A compacted program has the value of the original one at every point, and constant tensors cost it nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from certificate_builder import Builder, steps
from flint import arb, ctx, fmpq
from hypothesis import given, settings
from hypothesis import strategies as st
from test_certificate_engines import rational_graphs, three_points

from epigraph.certificate import budget, exact, shapes
from epigraph.certificate.compact import compact
from epigraph.certificate.points import Delta
from epigraph.certificate.rationals import Undefined


def _values(b: Builder, points: list[dict[str, Delta]], arithmetic: str) -> tuple[list[Any], list[Any], Any]:
    program = shapes.program(b.graph(), shapes.metas(b.arrays))
    small, tensors, moves = compact(program, b.arrays, points)
    before = exact.run(program, b.arrays, points, arithmetic, 256)  # type: ignore[arg-type]
    return before, exact.run(small, tensors, moves, arithmetic, 256), (program, small)  # type: ignore[arg-type]


@settings(max_examples=100)
@given(rational_graphs(), st.lists(st.sampled_from(["u", "v", "c"]), max_size=3), st.sampled_from([0.0, 1.0, -0.5]))
def test_values_stay_the_same(case: tuple[Builder, dict[str, Delta]], constant: list[str], value: float) -> None:
    b, delta = case
    for key in constant:
        b.arrays[key] = np.full((2, 3), value)
        if key in delta:
            delta[key] = steps(np.full((2, 3), 3), -1)
    try:
        before, after, _ = _values(b, three_points(delta), "exact")
    except Undefined:
        return
    assert before == after


def _attention(b: Builder, x: int, zero: float) -> int:
    """One head with a residual: [4, 6] to [4, 6]."""
    w = [b.parameter(f"w{i}{x}", np.full((6, 6), zero)) for i in range(3)]
    q, k, v = (b("permute", b("reshape", b("matmul", x, i), shape=[4, 2, 3]), dims=[1, 0, 2]) for i in w)
    scores = b("matmul", q, b("permute", k, dims=[0, 2, 1]))
    weights = b("exp", b("log_softmax", scores, dim=2))
    mixed = b("reshape", b("permute", b("matmul", weights, v), dims=[1, 0, 2]), shape=[4, 6])
    return b("add", x, mixed)


def _normalised(b: Builder, x: int) -> int:
    mean = b("mul", b("reshape", b("sum", x, dims=[1]), shape=[4, 1]), b.scalar("1/6"))
    centred = b.sub(x, mean)
    spread = b("mul", b("reshape", b("sum", b("mul", centred, centred), dims=[1]), shape=[4, 1]), b.scalar("1/6"))
    return b("div", centred, b("sqrt", b("add", spread, b.scalar("1/100000"))))


@pytest.mark.parametrize("zero", [0.0, 0.25])
@pytest.mark.parametrize("varied", [False, True])
def test_a_transformer_block(zero: float, varied: bool) -> None:
    b = Builder()
    rng = np.random.default_rng(0)
    x = b.data("x", rng.standard_normal((4, 6)) if varied else np.full((4, 6), 0.5))
    y = _attention(b, _attention(b, x, zero), zero)
    head = b.parameter("head", np.zeros((6, 5)))
    logits = b("matmul", b("add", _normalised(b, y), b.parameter("bias", np.full(6, 0.5))), head)
    picked = b("concat", b("slice", logits, dim=0, start=0, stop=2, step=1), logits, dim=0)
    b("sum", b("logsumexp", picked, dims=[1]), dims=[0])
    moves = [{"head": steps(np.tile(np.arange(5), (6, 1)), -3), "bias": steps(np.full(6, 2), -3)}, {}]
    before, after, (program, small) = _values(b, moves, "arb")
    assert all(p.overlaps(q) and q.is_finite() for p, q in zip(before, after, strict=True))
    with ctx.workprec(256):
        assert all(q.rad() < arb(2) ** -200 for q in after)
    cost, whole = (budget.balls(p, {"head", "bias"}, 2, 256).seconds for p in (small, program))
    assert cost < (0.9 if varied else 0.75) * whole


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("constant", ["x", "w", "both", "neither"])
def test_convolutions(groups: int, constant: str) -> None:
    b = Builder()
    rng = np.random.default_rng(1)
    images = rng.integers(-3, 4, (2, 4, 5, 5)).astype(float)
    kernels = rng.integers(-3, 4, (8, 4 // groups, 3, 3)).astype(float)
    images = images[:, :1].repeat(4, 1) if constant in ("x", "both") else images
    kernels = kernels[:1, :1] * np.ones_like(kernels) if constant in ("w", "both") else kernels
    attributes = {"stride": [2, 1], "padding": [1, 0], "dilation": [1, 2], "groups": groups}
    y = b("convolution", b.data("x", images), b.parameter("w", kernels), **attributes)
    weights = b.data("r", rng.integers(-3, 4, (2, 8, 3, 1)).astype(float))
    b("sum", b("mul", y, weights), dims=[0, 1, 2, 3])
    before, after, (program, small) = _values(b, [{}], "exact")
    assert before == after
    if constant == "both":
        assert sum(n.numel for n in small.nodes) < sum(n.numel for n in program.nodes) / 2


def test_zero_annihilates_only_what_has_a_value() -> None:
    """0 times log(x) is 0 for x > 0 only; 0 times exp(x) always."""
    for inner, value in (("exp", 0.0), ("log", float("nan"))):
        b = Builder()
        x = b.parameter("x", np.full(20, -1.0))
        b("sum", b("mul", b.parameter("z", np.zeros(20)), b(inner, x)), dims=[0])
        before, after, _ = _values(b, [{}], "arb")
        for found in (before[0], after[0]):
            assert found == 0 if value == 0 else not found.is_finite()


def test_a_tensor_that_moves_is_no_constant() -> None:
    b = Builder()
    w = b.parameter("w", np.zeros((3, 4)))
    b("sum", b("mul", w, b.data("c", np.arange(12.0).reshape(3, 4))), dims=[0, 1])
    moves = [{"w": steps(np.arange(12).reshape(3, 4), 0)}, {"w": steps(np.ones((3, 4), dtype=int), 0)}, {}]
    before, after, _ = _values(b, moves, "exact")
    assert before == after == [fmpq(sum(i * i for i in range(12))), fmpq(66), fmpq(0)]


def test_sums_over_nothing_and_indices() -> None:
    b = Builder()
    x = b.data("x", np.full((3, 4), 2.0))
    none = b("sum", b("slice", x, dim=0, start=1, stop=1, step=1), dims=[0])
    index = b.data("i", np.array([2, 0, 0, 2, 1]), "index")
    taken = b("sum", b("take", b.parameter("p", np.arange(12.0).reshape(3, 4)), index, dim=0), dims=[0])
    b("sum", b("add", b("add", none, taken), b("sum", b("take", x, index, dim=0), dims=[0])), dims=[0])
    before, after, _ = _values(b, [{}], "exact")
    assert before == after
