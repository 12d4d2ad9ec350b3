"""Gradients at a point and Hessians over a box, as the form "isolated" encloses them, against PyTorch and exact numbers."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from certificate_builder import Builder
from certificate_isolated import function, names_of
from flint import arb, ctx

from epigraph.certificate import isolation, shapes, vectors
from epigraph.certificate.gradientvalues import Known
from epigraph.certificate.reverse import NoGradient, gradient

RNG = np.random.default_rng(0)


def _conv(b: Builder, x: int, y: int) -> int:
    image = b("reshape", b("concat", x, y, dim=0), shape=[1, 2, 2, 3])
    weight = b("reshape", b("slice", b("concat", y, x, dim=0), dim=0, start=0, stop=4, step=1), shape=[2, 1, 2, 3])
    return b("convolution", image, weight, stride=[1, 2], padding=[1, 1], dilation=[1, 1], groups=2)


def _product(b: Builder, x: int, y: int) -> int:
    left = b("reshape", x, shape=[2, 1, 3])
    right = b("reshape", b("permute", y, dims=[1, 0]), shape=[1, 3, 2])
    return b("matmul", left, right)


def _positive(b: Builder, x: int) -> int:
    return b("add", b("mul", x, x), b.scalar("1/2"))


CASES: dict[str, Callable[[Builder, int, int], int]] = {
    **{op: (lambda b, x, y, op=op: b(op, b("mul", x, y))) for op in (
        "exp tanh sigmoid softplus sin cos atan erf silu gelu mish log_ndtr relu abs".split())},
    **{op: (lambda b, x, y, op=op: b("mul", b(op, _positive(b, x)), y)) for op in ("log", "sqrt", "xlogx")},
    "elu": lambda b, x, y: b("elu", b("mul", x, y), alpha="3/2"),
    "piecewise": lambda b, x, y: b("piecewise", b("mul", x, y), knots=["0", "1"], pieces=[["0"], ["0", "0", "1"], ["-1", "2"]]),
    "power": lambda b, x, y: b("mul", b("power", _positive(b, x), exponent="-3/2"), b("power", y, exponent="3")),
    "div": lambda b, x, y: b("div", y, _positive(b, x)),
    "div by a broadcast": lambda b, x, y: b("div", y, b("sum", _positive(b, x), dims=[0, 1])),
    "add of a broadcast": lambda b, x, y: b("exp", b("add", x, b("slice", y, dim=0, start=1, stop=2, step=1))),
    "mul of a broadcast": lambda b, x, y: b("mul", b("reshape", x, shape=[4, 1]), b("reshape", y, shape=[1, 4])),
    "expand": lambda b, x, y: b("mul", b("expand", b("sum", x, dims=[0]), shape=[5, 2]), b("sum", y, dims=[1])),
    "matmul": lambda b, x, y: b("matmul", x, b("tanh", y)),
    "maximum": lambda b, x, y: b("mul", b("maximum", x, b("mul", y, y)), y),
    "amax": lambda b, x, y: b("mul", b("amax", b("mul", x, y), dims=[1]), b("amax", x, dims=[0])),
    "where": lambda b, x, y: b("where", b("compare", x, y, relation="lt"), b("mul", x, y), b("exp", x)),
    "sign and floor": lambda b, x, y: b("mul", b("sign", x), b("mul", b("floor", b("mul", y, b.scalar("3"))), b("mul", x, x))),
    "logsumexp": lambda b, x, y: b("mul", b("logsumexp", b("mul", x, y), dims=[0]), b("logsumexp", x, dims=[0, 1])),
    "log_softmax": lambda b, x, y: b("mul", b("log_softmax", b("mul", x, y), dim=0), y),
    "take": lambda b, x, y: b("mul", b("take", x, b.data("i", np.array([1, 0, 1, 1]), "index"), dim=1), b("reshape", b("concat", y, y, dim=0), shape=[2, 4])),
    "slice and concat": lambda b, x, y: b("tanh", b("concat", b("slice", x, dim=1, start=0, stop=2, step=2), b("mul", x, y), dim=1)),
    "same": lambda b, x, y: b("same", b("exp", b("mul", x, y)), x),
}  # fmt: skip


def built(make: Callable[[Builder, int, int], int], shape: tuple[int, ...] = (2, 2)) -> Builder:
    b = Builder()
    x, y = (b.parameter(n, np.round(RNG.uniform(-1.5, 1.5, shape), 3)) for n in "xy")
    out = make(b, x, y)
    weights = b.data("weights", RNG.uniform(0.5, 1.5, b.shape(out)))
    whole = b("mul", out, weights)
    b("sum", whole, dims=list(range(len(b.shape(whole)))))
    return b


def enclosed(b: Builder, radius: float) -> tuple[Any, np.ndarray, float]:
    names, arrays = names_of(b), b.arrays
    written = gradient(shapes.program(b.graph(), shapes.metas(arrays)), set(names))
    H, spread = isolation.enclosure(written, arrays, names, radius)
    return isolation.centre(written, arrays, names, 128), H, spread


def check(b: Builder, radius: float, share: float) -> None:
    """At corners of the box the Hessian is within the bound, and somewhere not far below it."""
    at, H, spread = enclosed(b, radius)
    f = function(b.graph(), b.arrays, names_of(b))
    centre = torch.cat([torch.tensor(b.arrays[n]).reshape(-1) for n in names_of(b)])
    slope = torch.autograd.functional.jacobian(f, centre).numpy()
    assert np.abs(at.slope.middle - slope).max() <= 1e-12 * (1 + np.abs(slope).max())
    assert abs(float(at.value.mid()) - float(f(centre))) <= 1e-12 * (1 + abs(float(f(centre))))
    worst = 0.0
    for k in range(12):
        signs = torch.as_tensor(np.random.default_rng(k).choice([-1.0, 1.0], len(centre)))
        true = torch.autograd.functional.hessian(f, centre + radius * signs).numpy()
        worst = max(worst, float(np.linalg.norm(true - H)))
    noise = 1e-12 * (1 + float(np.linalg.norm(H)))
    assert worst <= spread + noise
    assert spread <= worst / share + 1e3 * noise


@pytest.mark.parametrize("name", CASES)
def test_every_operator(name: str) -> None:
    for radius, share in ((2.0**-40, 1e-2), (2.0**-12, 1e-2)):
        check(built(CASES[name]), radius, share)


@pytest.mark.parametrize("make", [_conv, _product])
def test_windows_and_products_with_leading_dimensions(make: Callable[[Builder, int, int], int]) -> None:
    check(built(make, (2, 3)), 2.0**-12, 1e-2)


@pytest.mark.parametrize("op", ["sort", "eigvalsh", "svdvals", "det"])
def test_operators_without_a_gradient_are_named(op: str) -> None:
    b = Builder()
    x = b.parameter("x", np.array([[2.0, 0.5], [0.5, 1.0]]))
    shape = {"sort": [2, 2], "det": []}.get(op, [2])
    found = b._append(op, [x], {"dim": 1} if op == "sort" else {}, shape)
    b("sum", found, dims=list(range(len(shape))))
    with pytest.raises(NoGradient, match=op):
        enclosed(b, 1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda b, x: b("relu", x),
        lambda b, x: b("amax", b("concat", x, b("neg", x), dim=0), dims=[0]),
        lambda b, x: b("floor", x),
        lambda b, x: b("log", x),
        lambda b, x: b("power", x, exponent="-1"),
        lambda b, x: b("where", b("compare", x, b.scalar("0"), relation="le"), x, b("mul", x, x)),
    ],
)
def test_a_box_across_a_kink_has_no_hessian(make: Callable[[Builder, int], int]) -> None:
    for value, fine in ((2.0**-20, False), (0.75, True)):
        b = Builder()
        x = b.parameter("x", np.array([value]))
        b("sum", b("add", b("reshape", make(b, x), shape=[1]), b("mul", x, x)), dims=[0])
        if fine:
            enclosed(b, 2.0**-10)
        else:
            with pytest.raises(NoGradient):
                enclosed(b, 2.0**-10)


# rounding -----------------------------------------------------------------------------------------------------------
def _exact(x: Any) -> Any:
    return np.frompyfunc(Fraction, 1, 1)(np.asarray(x, np.float64))


def _within(found: vectors.Vectors, exact: np.ndarray) -> None:
    """Exact vectors lie within the radius: sum of squares against its square, in rational numbers."""
    apart = np.square(_exact(found.middle) - exact).sum(0)
    assert bool((apart <= np.square(_exact(found.radius))).all())
    assert bool((np.square(_exact(found.middle)).sum(0) <= np.square(_exact(found.length))).all())


@pytest.mark.parametrize("scale", [1.0, 1e120, 1e-150, 1e-300])
def test_rounding_is_charged(scale: float) -> None:
    """Numbers of very different size, at the worst places of their radii, in exact rational numbers."""
    rng = np.random.default_rng(3)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape) * 10.0 ** rng.integers(-9, 9, shape)

    for _ in range(4):
        x = vectors.vectors(draw(3, 4, 5) * scale, np.abs(draw(4, 5)) * 1e-12 * scale)
        direction = draw(3, 4, 5)
        direction /= np.linalg.norm(direction, axis=0) * (1 + 1e-9)
        moved = _exact(x.middle) + _exact(direction) * _exact(x.radius)
        a = Known(draw(4, 5), np.abs(draw(4, 5)) * 1e-13)
        signs = rng.choice([-1.0, 1.0], (4, 5))
        _within(vectors.scaled(x, a), moved * (_exact(a.middle) + _exact(signs) * _exact(a.radius)))
        right = Known(draw(5, 6), np.abs(draw(5, 6)) * 1e-13)
        there = _exact(right.middle) + _exact(rng.choice([-1.0, 1.0], (5, 6))) * _exact(right.radius)
        _within(vectors.multiplied(x, right, True), np.stack([m.dot(there) for m in moved]))
        left = Known(draw(6, 4), np.abs(draw(6, 4)) * 1e-13)
        there = _exact(left.middle) + _exact(rng.choice([-1.0, 1.0], (6, 4))) * _exact(left.radius)
        _within(vectors.multiplied(x, left, False), np.stack([there.dot(m) for m in moved]))
        _within(vectors.total(x, [1]), moved.sum(2))
        y = vectors.vectors(draw(3, 4, 5) * scale, np.zeros((4, 5)))
        _within(vectors._sum([x, y]), moved + _exact(y.middle))


def test_numbers_that_overflow_are_refused() -> None:
    x = vectors.vectors(np.full((2, 3), 1e150), np.zeros(3))
    with pytest.raises(NoGradient), np.errstate(over="ignore", invalid="ignore"):
        vectors.scaled(x, Known(np.full(3, 1e200), np.zeros(3)))
    for bad in (np.nan, np.inf):
        with pytest.raises(NoGradient), np.errstate(invalid="ignore"):
            vectors.vectors(np.full((2, 3), bad), np.zeros(3))


def test_congruences_against_exact_arithmetic() -> None:
    """|S'HS - D| and |S|^2 in balls of many bits, for spectra over many orders of magnitude."""
    rng = np.random.default_rng(5)
    for n in (1, 2, 5, 12):
        for spread in (0, 3, 6):
            Q, _ = np.linalg.qr(rng.standard_normal((n, n)))
            w = rng.choice([-1.0, 1.0], n) * 10.0 ** rng.uniform(-spread, 0, n)
            H = Q @ np.diag(w) @ Q.T
            H = (H + H.T) / 2
            S = isolation.congruence(H)
            assert S is not None and S.index == int((w < 0).sum())
            with ctx.workprec(200):
                from flint import arb_mat

                exact = arb_mat(S.S.T.tolist()) * arb_mat(H.tolist()) * arb_mat(S.S.tolist())
                signs = [-1] * S.index + [1] * (n - S.index)
                rest = sum(
                    ((exact[i, j] - (signs[i] if i == j else 0)) ** 2 for i in range(n) for j in range(n)), arb(0)
                ).sqrt()
                assert rest <= S.rest
            assert np.linalg.norm(S.S, 2) ** 2 <= S.square * (1 + 1e-12)
            assert S.square <= 3 * np.linalg.norm(S.S, 2) ** 2 and S.rest < 1e-5
