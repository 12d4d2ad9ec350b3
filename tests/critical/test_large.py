"""Searches that take no dense Hessian, against those that do; the index against dense eigenvalues."""

from __future__ import annotations

import pytest
import torch
from landscapes import autoencoder, network, xor
from torch import nn

import epigraph
import epigraph.critical.descent
import epigraph.critical.search
from epigraph import Objective
from epigraph.critical.descent import descend
from epigraph.critical.inertia import inertia
from epigraph.critical.minimize import polish
from epigraph.critical.newtoncg import conjugate_gradients, newton_cg
from epigraph.critical.quasi import quasi_newton
from epigraph.critical.starts import flatten, unflatten
from epigraph.hessian.api import hessian
from epigraph.hessian.dense import Dense
from epigraph.symmetry.canonical import same


def everywhere(x):
    return torch.ones(len(x), dtype=torch.bool)


def drawn(lanes: int, n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(lanes, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def classifier(decay: float = 1e-2) -> Objective:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 4)).double()
    return Objective(net, nn.CrossEntropyLoss(), drawn(60, 6), torch.arange(60) % 4, weight_decay=decay)


# L-BFGS --------------------------------------------------------------------------------------------------------
def test_quadratic_functions_lane_by_lane():
    """Lanes do not know of each other: together they do what each does alone."""
    n, lanes = 40, 5
    scales = torch.logspace(0, 4, n, dtype=torch.float64)

    def slopes(x):
        return 0.5 * (x * x * scales).sum(1), x * scales

    start = drawn(lanes, n)
    whole = quasi_newton(slopes, start, 1e-9, 1000, everywhere)
    assert bool(whole.reached.all()) and float(whole.x.abs().max()) < 1e-8
    for i in range(lanes):
        alone = quasi_newton(slopes, start[i : i + 1], 1e-9, 1000, everywhere)
        assert torch.allclose(alone.x, whole.x[i : i + 1], rtol=0, atol=1e-9)


def test_the_direction_is_that_of_the_two_loops():
    """The compact form against the recursion that it stands for."""
    from epigraph.critical.quasi import MEMORY, _inverse

    n, count = 12, 7
    H = drawn(n, n)
    H = H @ H.T + torch.eye(n, dtype=torch.float64)
    S, Y = torch.zeros(1, MEMORY, n, dtype=torch.float64), torch.zeros(1, MEMORY, n, dtype=torch.float64)
    for k in range(count):
        S[0, k] = drawn(1, n, k + 1)
        Y[0, k] = H @ S[0, k]
    g = drawn(1, n, 99)
    ours = _inverse(S, Y, S @ Y.mT, Y @ Y.mT, torch.tensor([count]), g)[0]
    q, weights = g[0].clone(), []
    for k in reversed(range(count)):
        weights.append((S[0, k] @ q) / (S[0, k] @ Y[0, k]))
        q -= weights[-1] * Y[0, k]
    q *= (S[0, count - 1] @ Y[0, count - 1]) / (Y[0, count - 1] @ Y[0, count - 1])
    for k, a in zip(range(count), reversed(weights), strict=True):
        q += S[0, k] * (a - (Y[0, k] @ q) / (S[0, k] @ Y[0, k]))
    assert float((ours - q).abs().max()) <= 1e-10 * float(q.abs().max())


def test_values_that_are_not_finite_do_not_spread():
    def slopes(x):
        value = torch.where(x[:, 0] > 5, torch.nan, x.square().sum(1))
        return value, 2 * x

    start = torch.tensor([[9.0, 0.0], [3.0, 4.0]], dtype=torch.float64)
    end = quasi_newton(slopes, start, 1e-9, 100, everywhere)
    assert end.reached.tolist() == [False, True] and end.stuck.tolist() == [True, False]


# descents ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("few", [1, 1000])
def test_both_descents_end_at_critical_points(monkeypatch, few):
    monkeypatch.setattr(epigraph.critical.descent, "FEW", few)
    dense = Dense(xor(2).graph())
    end = descend(dense, 1.5 * drawn(60, dense.size))
    assert bool(end.reached.all())
    polished = polish(dense, end.x)
    assert bool(polished.critical.all())
    assert {round(float(v), 8) for v in polished.jet.value} <= {0.48024414, 0.51219512, 0.52266523}
    assert bool((end.gradient <= 1e-10).all())


def test_a_descent_leaves_a_saddle():
    """½(1 - w₁w₂)² + small decay from close to its saddle at 0."""
    J = Objective.from_function(
        lambda w: 0.5 * (1 - w[0] * w[1]) ** 2, {"w": torch.ones(2, dtype=torch.float64)}, weight_decay=0.1
    )
    dense = Dense(J.graph())
    end = descend(dense, torch.tensor([[1e-3, 1.1e-3], [1e-7, 0.9e-7]], dtype=torch.float64))
    assert bool(end.reached.all()) and torch.allclose(end.value, torch.full((2,), 0.095, dtype=torch.float64))


# Newton's method by products --------------------------------------------------------------------------------------
def test_conjugate_gradients_solve_and_meet_negative_curvature():
    H = drawn(20, 20)
    positive, g = H @ H.T + torch.eye(20, dtype=torch.float64), drawn(1, 20, 1)[0]
    solved = conjugate_gradients(lambda v: positive @ v, g, 1e-12)
    assert torch.allclose(solved.step, -torch.linalg.solve(positive, g), rtol=1e-8) and solved.negative is None
    bent = positive - 2 * torch.linalg.eigvalsh(positive)[0] * torch.eye(20, dtype=torch.float64)
    solved = conjugate_gradients(lambda v: bent @ v, g, 1e-12)
    assert solved.negative is not None and float(solved.negative @ bent @ solved.negative) <= 0


def test_newton_cg_agrees_with_the_dense_polish():
    J = classifier()
    dense = Dense(J.graph())

    def product_at(x):
        return hessian(J, unflatten(dense, x), verify=False).multiply

    x = 0.3 * drawn(1, dense.size)[0]
    found = newton_cg(dense.slopes, product_at, x)
    while not found.convex:
        again = newton_cg(dense.slopes, product_at, found.x)
        assert again.value < found.value and not found.critical
        found = again
    assert found.critical and found.convex and found.decrement >= 0
    polished = polish(dense, found.x[None])
    assert float((polished.x[0] - found.x).norm()) <= 1e-9
    assert abs(float(polished.jet.value[0]) - found.value) <= 1e-14


# index ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("spectrum", "units"), [((4.0, 3.0, 2.0, 1.0), 2), ((5.0, 2.0, 1.0), 1)])
def test_index_and_nullity_of_linear_autoencoders(spectrum, units):
    J = autoencoder(spectrum, units)
    points = epigraph.minima(J, 120).points
    assert len({p.index for p in points}) > 2
    for p in points:
        H = hessian(J, p.point, verify=False)
        found = inertia(H, H)
        assert (found.negative, found.zeros, found.reason) == (p.index, p.nullity, "")


def test_a_spectrum_that_does_not_converge_is_undecided(monkeypatch):
    monkeypatch.setattr("epigraph.critical.inertia.PRODUCTS", 3)
    J = classifier()
    H = hessian(J, verify=False)
    assert "not converged" in inertia(H, H).reason


# from end to end ----------------------------------------------------------------------------------------------
def test_large_and_small_searches_find_the_same_points(monkeypatch):
    """The same objective as a small one and as a large one, from the same starts."""
    J = classifier()
    dense = Dense(J.graph())
    starts = [unflatten(dense, x) for x in 0.4 * drawn(6, dense.size)]
    small = epigraph.minima(J, 6, saddles=False, at=starts)
    monkeypatch.setattr(epigraph.critical.search, "DENSE", 10)
    large = epigraph.minima(J, 6, saddles=False, at=starts)
    assert large.ends == {"critical": 6} and "large" in large.notes[-1]
    assert all(p.kind == "minimum" and p.gradient_norm <= 1e-10 and p.decrement <= 1e-18 for p in large.minima)
    assert large.completeness.satisfied is None and large.minima
    group = epigraph.symmetries(J)
    for p in large.points:  # the two may end at different minima; what is one point has one index and one spectrum
        twins = [q for q in small.points if same(group, p.point, q.point, tolerance=1e-7).verdict == "same"]
        for q in twins:
            assert (p.kind, p.index, p.nullity, p.orbit) == (q.kind, q.index, q.nullity, q.orbit)
            assert abs(p.value - q.value) < 1e-12
            assert abs(float(p.spectrum[0] - q.spectrum[0])) <= p.margin + q.margin
    jets = dense.of(torch.stack([flatten(dense, p.point) for p in large.points]))
    for p, w in zip(large.points, torch.linalg.eigvalsh(jets.hessian), strict=True):
        assert p.index == int((w < 0).sum())


def test_the_origin_of_a_large_model_is_a_saddle(monkeypatch):
    monkeypatch.setattr(epigraph.critical.search, "DENSE", 5)
    found = epigraph.minima(network(drawn(20, 3), drawn(20, 1, 1), 8, weight_decay=1e-4), 1, saddles=False)
    (origin,) = found.points
    assert origin.kind in ("saddle", "minimum", "undecided") and origin.sources == {"origin": 1}


def test_an_infimum_that_is_not_attained(monkeypatch):
    from landscapes import separable

    monkeypatch.setattr(epigraph.critical.search, "DENSE", 1)
    found = epigraph.minima(separable(), 8)
    assert not found.minima and found.ends.get("critical", 0) == 0
