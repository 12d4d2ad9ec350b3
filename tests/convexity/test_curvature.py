"""The curvature lemma: bounds of second derivatives against sampled ones, moduli against closed forms and dense Hessians."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from flint import ctx
from torch import Tensor, nn
from torch.nn import functional as F

import epigraph
from epigraph import Objective, check
from epigraph.certificate.affine import Numbers, Rows, Unsuited
from epigraph.certificate.secondderivative import SecondDerivative
from epigraph.certificate.semidefinite import semidefinite
from epigraph.convexity.curvature import Attempt, curvature_claims
from epigraph.convexity.evidence import Court
from epigraph.convexity.prove import Prover
from epigraph.convexity.secondderivative import bound

SIGMOID = 0.12020440345468385  # -inf of the second derivative of (sigma(z) - y)^2 for y = 0 and 1
TANH = 1.9232704552749416  # of (tanh(z) - y)^2 for y = -1 and 1

Function = Callable[[Tensor], Tensor]


def sigmoid_objective(
    ratio: float, rows: int = 12, size: int = 3, outputs: int = 1, kind: type[nn.Module] = nn.Sigmoid, **options: Any
) -> tuple[Objective, float]:
    """Mean squared error of a sigmoid (or tanh) layer with decay ratio times the threshold; and the decay."""
    generator = torch.Generator().manual_seed(options.pop("seed", 0))
    dtype = options.pop("dtype", torch.float64)
    X = torch.randn(rows, size, generator=generator, dtype=torch.float64).to(dtype)
    y = (torch.rand(rows, outputs, generator=generator) > 0.5).to(dtype)
    if kind is nn.Tanh:
        y = 2 * y - 1
    top = float(torch.linalg.eigvalsh(X.double().T @ X.double() / (rows * outputs))[-1])
    decay = ratio * (SIGMOID if kind is nn.Sigmoid else TANH) * top
    model = nn.Sequential(nn.Linear(size, outputs, bias=False).to(dtype), kind())
    return Objective(model, nn.MSELoss(), X, y, weight_decay=decay), decay


def claims(J: Objective, active: list[str] | None = None) -> tuple[dict[str, Any], float | None]:
    prover = Prover(J.graph(), J.domain, J.describe())
    return curvature_claims(prover, active or list(J.parameters), Court(J.graph(), J.domain, J.describe()))


def of_one(f: Function, low: float | None = None, high: float | None = None) -> Objective:
    domain = None if low is None and high is None else {"x": (low, high)}
    return Objective.from_function(f, {"x": torch.tensor(0.7, dtype=torch.float64)}, domain=domain)


def test_the_constant_of_sigmoid_and_squared_error_is_the_closed_form() -> None:
    p = (15 + math.sqrt(33)) / 24  # (sigma^2)'' = 2 p^2 (1 - p)(2 - 3 p) at sigma = p
    assert -2 * p**2 * (1 - p) * (2 - 3 * p) == pytest.approx(SIGMOID, rel=1e-14)


@pytest.mark.parametrize("ratio", [1 + 1e-9, 1.001, 1.1, 2.0])
def test_sigmoid_with_enough_decay_is_convex_with_its_modulus(ratio: float) -> None:
    J, decay = sigmoid_objective(ratio)
    proofs, modulus = claims(J)
    assert set(proofs) == {"convex", "quasiconvex"} and modulus is not None
    exact = decay * (1 - 1 / ratio)
    assert modulus <= exact * (1 + 1e-6) + 1e-15 and modulus == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize("ratio", [0.9, 0.99, 0.999, 1 - 1e-6])
def test_sigmoid_with_too_little_decay_is_not_proved(ratio: float) -> None:
    assert claims(sigmoid_objective(ratio)[0]) == ({}, None)


@pytest.mark.parametrize("ratio", [0.9, 0.99, 0.999])
@pytest.mark.parametrize("size", [1, 3])
def test_below_the_threshold_one_datum_is_refuted(ratio: float, size: int) -> None:
    J, _ = sigmoid_objective(ratio, rows=1, size=size)
    v = check(J, effort="quick")
    assert v.convex == "refuted" and v.certificate is not None
    a, b, m = (J.value(dict(p)) for p in (v.certificate.a, v.certificate.b, v.certificate.m))
    assert m > (a + b) / 2


@pytest.mark.parametrize(
    "options",
    [
        {"kind": nn.Tanh},
        {"outputs": 4, "rows": 20, "size": 5},
        {"dtype": torch.float32, "rows": 30},
        {"rows": 60, "size": 40},
    ],
)
def test_other_shapes_of_the_layer(options: dict[str, Any]) -> None:
    proofs, modulus = claims(sigmoid_objective(1.01, **options)[0])
    decay = sigmoid_objective(1.01, **options)[1]
    assert "convex" in proofs and modulus == pytest.approx(decay * (1 - 1 / 1.01), rel=1e-4)
    assert claims(sigmoid_objective(0.999, **options)[0]) == ({}, None)


def vector_objectives() -> dict[str, Objective]:
    generator = torch.Generator().manual_seed(3)
    X = torch.randn(20, 4, generator=generator, dtype=torch.float64)
    y = (torch.rand(20, generator=generator) > 0.5).double()
    S = torch.sigmoid

    def of(f: Callable[[Tensor], Tensor], size: int = 4) -> Objective:
        return Objective.from_function(f, {"w": torch.full((size,), 0.1, dtype=torch.float64)})

    return {
        "ridge minus softplus": of(lambda w: (w @ w) / 8 * X.square().sum() - F.softplus(X @ w).sum()),
        "ridge minus log-sum-exp": of(lambda w: 0.6 * (w @ w) * X.square().sum() - torch.logsumexp(X @ w, 0)),
        "ridge minus Huber": of(lambda w: 0.51 * (w @ w) * X.square().sum() - F.huber_loss(X @ w, y, reduction="sum")),
        "x atan x of data": of(lambda w: ((X @ w) * torch.atan(X @ w)).mean() + 0.01 * w @ w),
        "log cosh by hand": of(lambda w: torch.log((torch.exp(X @ w - y) + torch.exp(y - X @ w)) / 2).mean()),
        "swish and squares": of(lambda w: ((X @ w) * S(X @ w)).mean() + 0.2 * (X @ w).square().mean() + 0.01 * w @ w),
        "logistic by hand": of(lambda w: -(y * torch.log(S(X @ w)) + (1 - y) * torch.log(1 - S(X @ w))).mean()),
        "focal": of(lambda w: -(((1 - S(X @ w)) ** 2) * torch.log(S(X @ w))).mean() + w @ w),
        "cross-entropy minus log-sum-exp": of(
            lambda w: F.cross_entropy(X @ w.reshape(4, 3), y.long()) - 0.3 * torch.logsumexp(w, 0) + 0.2 * w @ w, 12
        ),
        "norm and waves": of(lambda w: torch.linalg.vector_norm(w) - 0.1 * torch.cos(w).sum() + 0.06 * w @ w),
        "bilinear and squares": of(lambda w: w[0] * w[1] - w[2] * w[3] + 0.51 * w @ w + 0.001 * torch.cos(w).sum()),
    }


VECTORS = vector_objectives()


@pytest.mark.parametrize("name", VECTORS)
def test_objectives_over_data_and_the_hessian_agrees(name: str) -> None:
    """Every dense Hessian must have its eigenvalues above the proved modulus."""
    J = VECTORS[name]
    proofs, modulus = claims(J)
    assert "convex" in proofs, name
    generator = torch.Generator().manual_seed(1)
    (start,) = J.parameters.values()
    from epigraph.objective.evaluate import Evaluator

    value = Evaluator(J.graph(), ["w"], {"w": start.detach().double()})
    for scale in (0.1, 1.0, 10.0):
        for _ in range(6):
            w = scale * torch.randn(start.shape, generator=generator, dtype=torch.float64)
            H = torch.func.hessian(lambda x: value({"w": x}))(w)
            least = float(torch.linalg.eigvalsh(H)[0])
            assert least >= (modulus or 0.0) - 1e-9 * float(H.abs().max()), (name, scale)


@pytest.mark.parametrize("name", ["ridge minus softplus", "norm and waves", "bilinear and squares"])
def test_a_file_of_the_proof_is_verified_and_mutations_are_refused(name: str, tmp_path: Any) -> None:
    from epigraph.certificate.format import Payload, write
    from epigraph.certificate.verify import verify_here
    from epigraph.errors import CertificateError

    proof = claims(VECTORS[name])[0]["convex"]
    proof.save(tmp_path / "p.epi")
    assert epigraph.verify(tmp_path / "p.epi").form == "curvature"
    good = proof.payload()  # type: ignore[misc]
    claim = good.manifest["claim"]
    up = [(float.fromhex(b) + 1e-6).hex() for b in claim["bounds"]]
    changes = [{"modulus": (float.fromhex(claim["modulus"]) * 1.001 + 1e-6).hex()}, {"bounds": claim["bounds"][:-1]}]
    changes += [{"bounds": [*claim["bounds"][:k], up[k], *claim["bounds"][k + 1 :]]} for k in range(len(up))]
    changes += [{"property": "concave"}, {"active": []}]
    if claim["nodes"]:
        changes.append({"nodes": {}})
    for change in changes:
        write(tmp_path / "bad.epi", Payload({**good.manifest, "claim": {**claim, **change}}, good.base, good.delta))
        with pytest.raises(CertificateError, match=r"E4(20|40)"):
            verify_here(tmp_path / "bad.epi")


# functions of one variable ---------------------------------------------------------------------------------------------
ONE: list[tuple[str, Function, float | None, float | None, float]] = [
    ("x exp x touches at -2", lambda x: x * torch.exp(x), -2.0, None, 0.0),
    ("x atan x", lambda x: x * torch.atan(x), None, None, 0.0),
    ("sinh", lambda x: torch.sinh(x), 0.0, None, 0.0),
    ("-log(e^x - 1)", lambda x: -torch.log(torch.exp(x) - 1), 0.0, None, 0.0),
    ("log cosh", lambda x: torch.log(torch.cosh(x)), None, None, 0.0),
    ("softplus by hand", lambda x: torch.log(1 + torch.exp(x)), None, None, 0.0),
    ("softplus from above", lambda x: torch.log1p(torch.exp(-x)) + x, None, None, 0.0),
    ("square minus softplus touches at 0", lambda x: x * x / 8 - F.softplus(x), None, None, 0.0),
    ("sigmoid squared error", lambda x: (torch.sigmoid(x) - 1) ** 2, None, None, -SIGMOID),
    ("tanh squared error", lambda x: (torch.tanh(x) - 1) ** 2, None, None, -TANH),
    ("x log x", lambda x: x * torch.log(x), 0.0, None, 0.0),
    ("entropy", lambda x: x * torch.log(x) + (1 - x) * torch.log(1 - x), 0.0, 1.0, 4.0),
    ("hinge squared and exp", lambda x: torch.relu(1 - x) ** 2 + torch.exp(-x), None, None, 0.0),
    ("relu times exp", lambda x: torch.relu(x) * torch.exp(x), None, None, 0.0),
    ("pseudo-Huber", lambda x: torch.sqrt(1 + x * x), None, None, 0.0),
    ("logit above a half", lambda x: torch.log(x / (1 - x)), 0.5, 1.0, 0.0),
    ("Geman and McClure", lambda x: x * x / (1 + x * x), None, None, -0.5),
    ("gauss", lambda x: -torch.exp(-x * x), None, None, -4 * math.exp(-1.5)),
]


def bounded(f: Function, low: float | None, high: float | None) -> tuple[Any, Any, float]:
    J = of_one(f, low, high)
    attempt = Attempt(Prover(J.graph(), J.domain, J.describe()), ["x"], 1)
    attempt.prover.convex = lambda active: False  # type: ignore[method-assign]
    curvature = attempt.curvature()
    (function,) = curvature.functions
    (weight,) = {float(w[0]) for w in curvature._weights}
    return curvature, function, weight


@pytest.mark.parametrize("name, f, low, high, least", ONE, ids=[row[0] for row in ONE])
def test_least_second_derivatives_of_one_variable(
    name: str, f: Function, low: float | None, high: float | None, least: float
) -> None:
    curvature, function, weight = bounded(f, low, high)
    with ctx.workprec(128):
        found = bound(curvature.reader, function)
        assert found is not None
        assert float(found) * weight == pytest.approx(least, rel=1e-9, abs=1e-300)
        above = found + Fraction(max(1e-7 * abs(least), 1e-7))
        if name != "entropy":
            prover = SecondDerivative(curvature.reader, function.terms, function.low, function.high)
            assert not prover.at_least(above, 300)


KINKED: list[tuple[str, Function]] = [
    ("falling kink", lambda x: x * x - torch.relu(x)),
    ("falling kink at a number of the data", lambda x: x * x - 0.01 * torch.abs(x - 0.3)),
    ("elu with a steep side", lambda x: x * x + F.elu(x, alpha=1.5)),
    ("minimum", lambda x: torch.minimum(x * x, x + 10.0)),
    ("kink at the start of the tail", lambda x: x * x - torch.relu(x - 16.0)),
    ("kink at the start of the left tail", lambda x: x * x - torch.relu(-x - 16.0)),
    ("kink at a cut", lambda x: 8 * x * x - torch.relu(x - 1.0) - torch.relu(-x - 1.0)),
]


@pytest.mark.parametrize("name, f", KINKED, ids=[row[0] for row in KINKED])
def test_falling_slopes_are_never_overlooked(name: str, f: Function) -> None:
    assert "convex" not in claims(of_one(f))[0]


@pytest.mark.parametrize(
    "f",
    [
        lambda x: torch.where(x <= 0, torch.zeros_like(x) - 5, x),
        lambda x: torch.sign(x) + x * x,
        lambda x: torch.floor(x) + x * x,
        lambda x: torch.log(x) * 0 + x * x,
    ],
)
def test_steps_and_undefined_parts_are_not_convex_on_the_line(f: Function) -> None:
    assert "convex" not in claims(of_one(f))[0]
    assert "convex" not in claims(of_one(f, 0.0))[0] or f(torch.tensor(1e-9).double()) < 1e-6


UNARY: list[Function] = [
    torch.exp, torch.sigmoid, torch.tanh, F.softplus, torch.atan, torch.sin, torch.erf, F.silu, F.gelu, F.mish, torch.relu,
    torch.abs, lambda x: F.elu(x, alpha=1.5), lambda x: x * x, lambda x: 1 / (1 + x * x), lambda x: torch.sqrt(1 + x * x),
    lambda x: torch.log(1 + x * x), lambda x: torch.relu(x) ** 2, F.logsigmoid, F.relu6,
]  # fmt: skip


def random_function(rng: random.Random, depth: int = 0) -> Function:
    kind = rng.random()
    if depth >= 3 or kind < 0.15:
        c, b = rng.choice([1, -1, 2, 0.5, -1.5]), rng.choice([0, 0, 1, -1, 0.25, 0.7])
        return lambda x: c * x + b
    f = random_function(rng, depth + 1)
    if kind < 0.55:
        u = rng.choice(UNARY)
        return lambda x: u(f(x))
    g, c = random_function(rng, depth + 1), rng.choice([1, -1, 0.5])
    if kind < 0.75:
        return lambda x: f(x) + c * g(x)
    return (lambda x: f(x) * g(x)) if kind < 0.92 else lambda x: torch.maximum(f(x), g(x))


def attacked(seed: int) -> bool:
    """Does a random function whose bound is proved keep it on random pairs of points?  False where nothing is proved."""
    rng = random.Random(seed)
    f, box = random_function(rng), rng.choice([(None, None), (None, None), (0.0, None), (-1.0, 2.0), (None, 0.5)])
    try:
        curvature, function, weight = bounded(f, *box)
    except (epigraph.EpigraphError, Unsuited, ValueError):
        return False
    with ctx.workprec(128):
        found = bound(curvature.reader, function)
    if found is None:
        return False
    generator = torch.Generator().manual_seed(seed)
    low, high = max(function.low, -60.0), min(function.high, 60.0)
    scales = torch.tensor([1e-3, 0.1, 1.0, 5.0, 20.0]).double().repeat_interleave(1000)
    centre = torch.randn(5000, generator=generator, dtype=torch.float64) * scales
    half = 10.0 ** (torch.rand(5000, generator=generator, dtype=torch.float64) * 4 - 3.5)
    a, b = (centre - half).clamp(low, high), (centre + half).clamp(low, high)
    value = torch.vmap(f)
    gap = (value(a) + value(b)) / 2 - value((a + b) / 2)
    needed = float(found) * weight * ((b - a) / 2) ** 2 / 2
    rounding = 1e-9 * (value(a).abs() + value(b).abs() + needed.abs() + 1e-3)
    assert not bool((torch.isfinite(gap) & (gap < needed - rounding)).any()), seed
    return True


def test_random_functions_keep_the_bounds_that_are_proved() -> None:
    assert sum(attacked(seed) for seed in range(30)) >= 10


@pytest.mark.soak
def test_many_random_functions_keep_the_bounds_that_are_proved() -> None:
    assert sum(attacked(seed) for seed in range(60, 1500)) >= 500


# the parts ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(12))
def test_semidefinite_matrices_are_decided_as_in_rational_arithmetic(seed: int) -> None:
    """Near the boundary: integer matrices B'B and B'B - 1/k, against leading minors of all principal orders."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 6))
    B = rng.integers(-3, 4, size=(int(rng.integers(1, n + 1)), n)).astype(float)
    rows = stacked_rows(B)
    zeros = np.zeros(len(B), np.int64)
    assert semidefinite(rows, zeros, [Fraction(1)], n, Fraction(0))
    least = float(np.linalg.eigvalsh(B.T @ B)[0])
    assert not semidefinite(rows, zeros, [Fraction(1)], n, Fraction(max(least, 0.0) + 1e-9))
    if least > 1e-6:
        assert semidefinite(rows, zeros, [Fraction(1)], n, Fraction(least * (1 - 1e-9)))


def stacked_rows(B: np.ndarray) -> Any:
    count, n = B.shape
    return Rows(np.arange(count + 1) * n, np.tile(np.arange(n), count), Numbers(B.reshape(-1)))


@pytest.mark.parametrize("size", [30, 60])
def test_larger_matrices_near_their_least_eigenvalue(size: int) -> None:
    B = np.random.default_rng(size).normal(size=(2 * size, size)) * 10.0 ** np.linspace(-2, 2, size)
    rows, zeros = stacked_rows(B), np.zeros(2 * size, np.int64)
    least = float(np.linalg.eigvalsh(B.T @ B)[0])
    assert semidefinite(rows, zeros, [Fraction(1)], size, Fraction(least * (1 - 1e-2)))
    assert not semidefinite(rows, zeros, [Fraction(1)], size, Fraction(least * (1 + 1e-2)))


def test_radii_count_against_the_matrix() -> None:
    rows = Rows(np.array([0, 1]), np.array([0]), Numbers(np.array([1.0]), np.array([1e-3])))
    one = np.zeros(1, np.int64)
    assert semidefinite(rows, one, [Fraction(1)], 1, Fraction(997, 1000))
    assert not semidefinite(rows, one, [Fraction(1)], 1, Fraction(999, 1000))


def test_linear_parts_are_jacobians() -> None:
    generator = torch.Generator().manual_seed(0)
    X, c = (torch.randn(5, 3, generator=generator, dtype=torch.float64) for _ in range(2))

    def affine(w: Tensor, v: Tensor) -> Tensor:
        z = torch.cat([X @ w.T, (c[:, :2] * v)[:, [1, 0]] / 3], 1)
        return torch.stack([z[1:3].T.reshape(-1), 2 - z.flip(0)[:2].T.reshape(-1)]).sum(0).cumsum(0)[::2]

    start = {"w": torch.randn(2, 3, dtype=torch.float64), "v": torch.randn(2, dtype=torch.float64)}
    J = Objective.from_function(lambda w, v: torch.sin(affine(w, v)).sum(), start)
    curvature = Attempt(Prover(J.graph(), J.domain, J.describe()), list(start), 1).curvature()
    rows, _, _ = curvature.assembled([Fraction(1)] * len(curvature.functions))
    A = np.zeros((rows.count, curvature.linear.size))
    np.add.at(A, (rows.owner, rows.columns), rows.values.middle)
    jacobian = torch.func.jacrev(affine, argnums=(0, 1))(start["w"], start["v"])
    order = sorted(start, key=lambda n: curvature.linear.offsets[n])
    dense = torch.cat([jacobian[list(start).index(n)].reshape(len(A), -1) for n in order], 1).numpy()
    assert np.allclose(A[np.lexsort(A.T)], dense[np.lexsort(dense.T)], atol=1e-14)


def test_entries_of_held_parameters_in_another_order() -> None:
    order = torch.tensor([2, 0, 1])

    def f(w: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        return (torch.sigmoid(w * h[order]) ** 2).sum() + (w * w).sum()

    start = {"w": torch.zeros(3, dtype=torch.float64), "h": torch.ones(3, dtype=torch.float64)}
    J = Objective.from_function(f, start, domain={"h": (0.5, 1.0)})
    assert check(J).blocks["w"].convex != "refuted"


def test_weights_that_meet_in_one_entry_are_rounded_with_a_radius() -> None:
    """As many terms as entries, all of them in the first entry: 2^100 - 1 is no float."""
    many = Numbers(np.array([2.0**100, -1.0])).gathered(np.array([0, 0]), 2)
    assert many.radius is not None and many.radius[0] >= 1
    assert Numbers(np.array([2.0**100, -1.0])).gathered(np.array([1, 0]), 2).radius is None
    c = torch.tensor([2.0**100, -1.0], dtype=torch.float64)
    index = torch.tensor([0, 0])

    def minus_exp(x: Tensor) -> Tensor:
        return (c * torch.exp(x)[index]).sum() - 2.0**100 * torch.exp(x)[0]

    assert "convex" not in claims(Objective.from_function(minus_exp, {"x": torch.zeros(2, dtype=torch.float64)}))[0]


@pytest.mark.parametrize(("slope", "proved"), [(1.0, False), (2.0**-60, False), (-1.0, True)])
def test_a_kink_where_the_two_ends_meet_is_looked_at(slope: float, proved: bool) -> None:
    """Both ends of [0, 1/8] are singular, and what is known beside each reaches just to the kink at 1/16."""
    J = of_one(lambda x: x**1.5 + (0.125 - x) ** 1.5 - slope * torch.relu(x - 0.0625), 0.0, 0.125)
    curvature = Attempt(Prover(J.graph(), J.domain, J.describe()), ["x"], 1).curvature()
    with ctx.workprec(128):
        for f in curvature.functions:
            prover = SecondDerivative(curvature.reader, f.terms, f.low, f.high)
            assert prover.at_least(Fraction(0)) is proved
