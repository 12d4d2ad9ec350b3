"""Second derivatives along directions against PyTorch's Hessian in float64, exact rationals, and kinks that have none."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from certificate_builder import Builder
from flint import arb, fmpq

from epigraph.certificate import chainrule, definite, directional, shapes
from epigraph.certificate.shapes import SIGNATURES

Make = Callable[[Builder], int]


def point(shape: tuple[int, ...], low: float = -1.0, high: float = 1.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, shape)


def weighted(b: Builder, x: int) -> int:
    """A sum with different weights, so that no entry is lost."""
    shape = tuple(b.shape(x))
    w = b.data("weights", point(shape, 0.5, 2.0, 7))
    return b("sum", b("mul", x, w), dims=list(range(len(shape))))


def unary(op: str, low: float = -1.5, high: float = 1.5, **attributes: object) -> Make:
    """f of an affine function of x."""

    def make(b: Builder) -> int:
        x = b.parameter("x", point((3, 2), low, high))
        return weighted(b, b(op, b("mul", x, b.scalar("3/2")), **attributes))

    return make


def curved(b: Builder, name: str = "x", shape: tuple[int, ...] = (2, 3), low: float = -1.0, high: float = 1.0) -> int:
    """A tensor that bends along every direction."""
    return b("sin", b.parameter(name, point(shape, low, high, len(name))))


def both(op: str, **attributes: object) -> Make:
    """An operator of two tensors that broadcast, both curved."""

    def make(b: Builder) -> int:
        x, y = curved(b, "x", (2, 1, 3)), curved(b, "y", (4, 1), 1.0, 2.0)
        return weighted(b, b(op, x, y, **attributes))

    return make


def after(op: str, of: tuple[int, ...] = (2, 3), **attributes: object) -> Make:
    return lambda b: weighted(b, b(op, curved(b, "x", of), **attributes))


def product(left: tuple[int, ...], right: tuple[int, ...], still: str = "") -> Make:
    def make(b: Builder) -> int:
        x = b.data("x", point(left)) if still == "left" else curved(b, "x", left)
        y = b.data("y", point(right)) if still == "right" else curved(b, "y", right)
        return weighted(b, b("matmul", x, y))

    return make


def convolved(still: str = "") -> Make:
    def make(b: Builder) -> int:
        x = b.data("x", point((2, 4, 5))) if still == "left" else curved(b, "x", (2, 4, 5))
        w = b.data("w", point((6, 2, 3))) if still == "right" else curved(b, "w", (6, 2, 3))
        return weighted(b, b("convolution", x, w, stride=[2], padding=[1], dilation=[1], groups=2))

    return make


def chosen(b: Builder) -> int:
    x, y = curved(b, "x", (2, 3)), curved(b, "y", (3,), 1.0, 2.0)
    return weighted(b, b("where", b("compare", x, b.scalar("1/8"), relation="lt"), x, b("mul", x, y)))


def hidden(b: Builder) -> int:
    """An undefined branch that is not taken."""
    x = curved(b, "x", (2, 3))
    return weighted(b, b("where", b("compare", x, b.scalar(0), relation="lt"), b("exp", x), b("log", x)))


def joined(b: Builder) -> int:
    x, c = curved(b, "x", (2, 3)), b.data("c", point((2, 1)))
    return weighted(b, b("tanh", b("concat", c, x, b("mul", x, x), dim=1)))


def taken(b: Builder) -> int:
    index = b.data("index", np.array([2, 0, 0]), "index")
    return weighted(b, b("take", curved(b, "x", (2, 3)), index, dim=1))


def steps(b: Builder) -> int:
    x = curved(b, "x", (2, 3))
    return weighted(b, b("mul", b("add", b("sign", x), b("floor", b("mul", x, b.scalar(5)))), b("mul", x, x)))


def network(b: Builder) -> int:
    x, y = b.data("data", point((6, 4))), b.data("targets", point((6, 2)))
    w, v = b.parameter("w", point((3, 4), seed=1)), b.parameter("v", point((2, 3), seed=2))
    c = b.parameter("c", point((3,), seed=3))
    return b.mean(b("power", b.sub(b.linear(b("tanh", b.linear(x, w, c)), v), y), exponent="2"), [0, 1])


HUBER = {"knots": ["-1", "1"], "pieces": [["-1/2", "-1"], ["0", "0", "1/2"], ["-1/2", "1"]]}
CASES: dict[str, Make] = {
    **{op: unary(op) for op in "neg exp sigmoid tanh softplus erf log_ndtr sin cos atan silu gelu mish relu abs".split()},
    **{op: unary(op, 0.3, 2.0) for op in "log sqrt xlogx".split()},
    "elu": unary("elu", alpha="3/2"),
    "piecewise": unary("piecewise", **HUBER),
    **{f"power {e}": unary("power", exponent=e) for e in ("0", "1", "2", "3", "-1", "-2")},
    **{f"power {e}": unary("power", 0.3, 2.0, exponent=e) for e in ("1/2", "5/3", "-1/3", "70")},
    **{op: both(op) for op in ("add", "mul", "div", "maximum")},
    "matmul": product((2, 3), (3, 4)),
    "matmul, batches": product((2, 1, 2, 3), (4, 3, 2)),
    "matmul, constant left": product((5, 2, 3), (3, 4), "left"),
    "matmul, constant right": product((2, 3), (5, 3, 4), "right"),
    "convolution": convolved(),
    "convolution, data": convolved("left"),
    "convolution, filters": convolved("right"),
    "sum": after("sum", dims=[0]),
    "amax": after("amax", dims=[1]),
    "sort": after("sort", dim=1),
    "logsumexp": after("logsumexp", dims=[1]),
    "logsumexp of all": after("logsumexp", dims=[0, 1]),
    "log_softmax": after("log_softmax", dim=0),
    "reshape": after("reshape", shape=[3, 2]),
    "permute": after("permute", dims=[1, 0]),
    "expand": after("expand", (2, 1), shape=[3, 2, 4]),
    "slice": after("slice", dim=1, start=0, stop=3, step=2),
    "same": lambda b: weighted(b, (lambda x: b("same", x, b("neg", b("neg", x))))(curved(b))),
    "where, compare": chosen,
    "where, undefined": hidden,
    "concat": joined,
    "take": taken,
    "sign, floor": steps,
    "network": network,
}  # fmt: skip
UNKNOWN = {"eigvalsh", "svdvals", "det"}


def evaluated(b: Builder, directions: list[dict[str, np.ndarray]], pairs: list[tuple[int, int]], bits: int = 128):
    program = shapes.program(b.graph(), shapes.metas(b.arrays))
    active = {key for key, stored in b.tensors.items() if stored.role == "parameter"}
    return directional.derivatives(program, b.arrays, active, directions, pairs, bits)


def torch_hessian(b: Builder) -> tuple[list[str], torch.Tensor]:
    names = [key for key, stored in b.tensors.items() if stored.role == "parameter"]
    shapes_ = [b.arrays[n].shape for n in names]
    counts = [int(np.prod(s)) for s in shapes_]

    def f(flat: torch.Tensor) -> torch.Tensor:
        parts = [p.reshape(s) for p, s in zip(flat.split(counts), shapes_, strict=True)]
        return b.values(dict(zip(names, parts, strict=True)))[-1].reshape(())

    start = torch.cat([torch.tensor(b.arrays[n], dtype=torch.float64).reshape(-1) for n in names])
    return names, torch.autograd.functional.hessian(f, start)


def flat(b: Builder, names: list[str], direction: dict[str, np.ndarray]) -> torch.Tensor:
    parts = [direction.get(n, np.zeros(b.arrays[n].shape)).reshape(-1) for n in names]
    return torch.tensor(np.concatenate(parts), dtype=torch.float64)


def test_every_operator_has_a_case() -> None:
    said = {word.strip(",") for name in CASES for word in name.split()}
    assert set(SIGNATURES) - UNKNOWN <= said
    assert UNKNOWN == chainrule.UNKNOWN


@pytest.mark.parametrize("name", CASES)
def test_as_the_hessian_of_pytorch(name: str) -> None:
    b = Builder()
    CASES[name](b)
    names, H = torch_hessian(b)
    rng = np.random.default_rng(3)
    directions = [{n: rng.integers(-9, 10, b.arrays[n].shape) for n in names} for _ in range(2)]
    directions.append({names[0]: np.ones(b.arrays[names[0]].shape, np.int8)})
    pairs = [(0, 0), (1, 1), (0, 1), (2, 1), (2, 2)]
    found = evaluated(b, directions, pairs)
    assert (found.finite and found.obstacle is None) or name == "where, undefined"
    assert abs(float(found.value) - b.value()) <= 1e-10 * max(1.0, abs(b.value()))
    vectors = [flat(b, names, d) for d in directions]
    for (i, j), ball in zip(pairs, found.seconds, strict=True):
        want = float(vectors[i] @ H @ vectors[j])
        size = float(vectors[i].abs() @ H.abs() @ vectors[j].abs()) + 1e-12
        assert ball.is_finite() and float(ball.rad()) <= 1e-25 * size
        assert abs(float(ball.mid()) - want) <= 1e-9 * size


@pytest.mark.parametrize("name", ["network", "where, compare", "log_softmax"])
def test_the_whole_hessian_by_pairs(name: str) -> None:
    b = Builder()
    CASES[name](b)
    names, H = torch_hessian(b)
    program = shapes.program(b.graph(), shapes.metas(b.arrays))
    found, _ = definite.hessian(program, b.arrays, names, 128)
    got = torch.tensor([[float(v.mid()) for v in row] for row in found], dtype=torch.float64)
    assert torch.allclose(got, H, rtol=1e-9, atol=1e-11)


def test_polynomials_are_enclosed_exactly() -> None:
    """J = (x^3 y - y^2)^2 in rational numbers, at several precisions."""
    x, y, u, w = Fraction(3, 4), Fraction(-5, 8), (3, -7), (2, 5)
    p, px, py = x**3 * y - y**2, 3 * x**2 * y, x**3 - 2 * y
    H = [
        [2 * (px * px + p * 6 * x * y), 2 * (px * py + p * 3 * x**2)],
        [2 * (px * py + p * 3 * x**2), 2 * (py * py - 2 * p)],
    ]
    want = sum(u[i] * H[i][j] * w[j] for i in range(2) for j in range(2))
    b = Builder()
    a, c = b.parameter("x", float(x)), b.parameter("y", float(y))
    inner = b.sub(b("mul", b("power", a, exponent="3"), c), b("mul", c, c))
    b("power", inner, exponent="2")
    directions = [{"x": np.array(v[0]), "y": np.array(v[1])} for v in (u, w)]
    for bits in (32, 64, 200):
        ball = evaluated(b, directions, [(0, 1)], bits).seconds[0]
        assert ball.contains(arb(fmpq(want.numerator, want.denominator)))


KINKS: dict[str, Make] = {
    "relu": lambda b: b("relu", b.parameter("x", 0.0)),
    "abs": lambda b: b("abs", b.parameter("x", 0.0)),
    "elu": lambda b: b("elu", b.parameter("x", 0.0), alpha="1"),
    "the knot of a piecewise quadratic": lambda b: b("piecewise", b.parameter("x", 1.0), **HUBER),
    "sqrt": lambda b: b("sqrt", b.parameter("x", 0.0)),
    "a power": lambda b: b("power", b.parameter("x", 0.0), exponent="5/2"),
    "xlogx": lambda b: b("xlogx", b.parameter("x", 0.0)),
    "a quotient": lambda b: b("div", b.scalar(1), b.parameter("x", 0.0)),
    "a tie of maximum": lambda b: b("maximum", b.parameter("x", 1.0), b.scalar(1)),
    "a tie of amax": lambda b: b("amax", b.parameter("x", [1.0, 1.0, 0.0]), dims=[0]),
    "a tie of sort": lambda b: b("slice", b("sort", b.parameter("x", [1.0, 1.0]), dim=0), dim=0, start=0, stop=1, step=1),
    "a sign": lambda b: b("sign", b.parameter("x", 0.0)),
    "a floor": lambda b: b("floor", b.parameter("x", 2.0)),
    "a comparison": lambda b: b("compare", b.parameter("x", 2.0), b.scalar(2), relation="le"),
    "equality": lambda b: b("compare", b.parameter("x", 2.0), b.scalar(2), relation="eq"),
    "a condition that is a number": lambda b: b("where", b.parameter("x", 1.0), b.scalar(2), b.scalar(3)),
    "a kink times zero": lambda b: b("mul", b("relu", b.parameter("x", 0.0)), b.scalar(0)),
    "a kink to the power zero": lambda b: b("power", b("relu", b.parameter("x", 0.0)), exponent="0"),
    "a kink under a matrix of zeros": lambda b: b(
        "sum", b("matmul", b("relu", b.parameter("x", [[0.0]])), b.data("c", np.zeros((1, 2)))), dims=[0, 1]
    ),
    "a kink in a condition": lambda b: b(
        "where", b("compare", b("relu", b.parameter("x", 0.0)), b.scalar(1), relation="lt"), b.scalar(1), b.scalar(2)
    ),
    "a kink under a constant piece": lambda b: b(
        "piecewise", b("relu", b.parameter("x", 0.0)), knots=["5"], pieces=[["1"], ["1"]]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KINKS)
@pytest.mark.parametrize("moves", [True, False])
def test_kinks_have_no_second_derivative(name: str, moves: bool) -> None:
    """Also where no direction moves the kink: J is not differentiable around the point all the same."""
    b = Builder()
    made = KINKS[name](b)
    y = b.parameter("y", 0.5)
    out = b("add", b("reshape", made, shape=[]), b("mul", y, y))
    assert out == len(b.nodes) - 1
    still = {"y": np.array(1, np.int8)}
    moved = {"x": np.ones(b.arrays["x"].shape, np.int8), **still}
    found = evaluated(b, [moved if moves else still], [(0, 0)])
    assert not found.finite and found.obstacle is not None


@pytest.mark.parametrize("op", sorted(UNKNOWN))
def test_what_is_not_differentiated_is_refused(op: str) -> None:
    b = Builder()
    x = b.parameter("x", np.array([[2.0, 1.0], [1.0, 3.0]]))
    shape = [] if op == "det" else [2]
    made = b._append(op, [x], {}, shape)
    b._append("sum", [made], {"dims": list(range(len(shape)))}, [])
    found = evaluated(b, [{"x": np.ones((2, 2), np.int8)}], [(0, 0)])
    assert not found.finite and "is not differentiated" in (found.why or "")


def test_a_direction_that_moves_nothing_gives_zero() -> None:
    b = Builder()
    network(b)
    found = evaluated(b, [{}], [(0, 0)])
    assert found.finite and found.seconds[0] == 0
