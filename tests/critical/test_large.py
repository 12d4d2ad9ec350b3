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
from epigraph.critical.lowrank import LowRank, learnt, nothing
from epigraph.critical.minimize import polish
from epigraph.critical.newtoncg import conjugate_gradients, minimal_residual, newton_cg
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


def padded(J: Objective, more: int) -> tuple[Objective, dict[str, torch.Tensor]]:
    """A classifier with more units than J's, and a minimum of J with zero units as a point of it."""
    dense = Dense(J.graph())
    end = polish(dense, descend(dense, 0.5 * drawn(1, dense.size)).x)
    small = unflatten(dense, end.x[0])
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 12 + more), nn.Tanh(), nn.Linear(12 + more, 4)).double()
    big = Objective(net, nn.CrossEntropyLoss(), drawn(60, 6), torch.arange(60) % 4, weight_decay=1e-2)
    point = {k: torch.zeros_like(v) for k, v in big.parameters.items()}
    for k, v in small.items():
        point[k][tuple(slice(0, d) for d in v.shape)] = v
    return big, point


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
    path = conjugate_gradients(lambda v: positive @ v, g, 1e-12, nothing(g))
    assert torch.allclose(path.stops[-1].step, -torch.linalg.solve(positive, g), rtol=1e-8) and not path.negative
    bent = positive - 2 * torch.linalg.eigvalsh(positive)[0] * torch.eye(20, dtype=torch.float64)
    path = conjugate_gradients(lambda v: bent @ v, g, 1e-12, nothing(g), 1e3)
    assert path.negative and abs(float(path.stops[-1].step.norm()) - 1e3) <= 1e-6
    for stop in path.stops:  # what the model is said to fall by
        told = float(g @ stop.step + stop.step @ bent @ stop.step / 2)
        assert told < 0 and abs(stop.change - told) <= 1e-10 * abs(told)
        assert abs(float(stop.step.norm()) - stop.length) <= 1e-8 * stop.length


def test_a_path_ends_at_the_edge_of_its_region():
    """In the norm of the preconditioner."""
    scales = torch.logspace(0, 3, 30, dtype=torch.float64)
    M = LowRank(torch.eye(30, dtype=torch.float64)[-5:], scales[-5:], float(scales[-5]))
    path = conjugate_gradients(lambda v: scales * v, drawn(1, 30)[0], 1e-12, M, 0.7)
    whole = torch.full((30,), M.sigma, dtype=torch.float64)
    whole[-5:] = scales[-5:]
    lengths = [float((whole * s.step.square()).sum().sqrt()) for s in path.stops]
    assert abs(lengths[-1] - 0.7) <= 1e-9 and lengths == sorted(lengths)


def test_a_preconditioner_is_learnt():
    """The large eigenvalues of a spectrum with a bulk, from one path: the second takes fewer products."""
    Q = torch.linalg.qr(drawn(300, 300))[0]
    w = torch.cat(
        [torch.linspace(1e-3, 2e-3, 260, dtype=torch.float64), torch.logspace(-2, 1, 40, dtype=torch.float64)]
    )
    H = Q * w @ Q.T
    first = conjugate_gradients(lambda v: H @ v, drawn(1, 300, 1)[0], 1e-3, nothing(w))
    M = learnt(first.rows, first.images, nothing(w))
    assert M.rank >= 10 and abs(float(M.w[-1]) - 10.0) <= 1e-6
    second = conjugate_gradients(lambda v: H @ v, drawn(1, 300, 2)[0], 1e-3, M)
    assert 2 * second.products <= first.products
    v = drawn(1, 300, 3)[0]
    matrix = M.U.T @ torch.diag(M.w - M.sigma) @ M.U + M.sigma * torch.eye(300, dtype=torch.float64)
    assert torch.allclose(matrix @ M.solve(v), v, atol=1e-10)


def test_minimal_residuals_where_curvature_is_negative():
    H = drawn(40, 40)
    H, g = H + H.T, drawn(1, 40, 1)[0]
    s, left, spent = minimal_residual(lambda v: H @ v, g, 1e-10)
    assert torch.allclose(s, -torch.linalg.solve(H, g), rtol=1e-6) and left <= 1e-10 and spent <= 80
    s, left, spent = minimal_residual(lambda v: H @ v, torch.zeros_like(g), 1e-10)
    assert spent == 0 and not bool(s.any())


@pytest.mark.parametrize("coarse", [False, True])
def test_newton_cg_agrees_with_the_dense_polish(coarse):
    J = classifier()
    dense = Dense(J.graph())
    kinds = []

    def products(x, coarse):
        kinds.append(coarse)
        return hessian(J, unflatten(dense, x), dtype="float32" if coarse else "float64", verify=False).multiply

    found = newton_cg(dense.slopes, products, 0.3 * drawn(1, dense.size)[0], coarse=coarse)
    assert (True in kinds) == coarse and False in kinds
    assert found.critical and found.convex and found.decrement >= 0 and found.residual <= 1e-3
    polished = polish(dense, found.x[None])
    assert float((polished.x[0] - found.x).norm()) <= 1e-9
    assert abs(float(polished.jet.value[0]) - found.value) <= 1e-14


def test_newton_cg_stays_at_a_saddle_and_leaves_its_neighbourhood():
    H = torch.diag(torch.tensor([3.0, 1.0, -1.0], dtype=torch.float64))

    def slopes(x):
        return 0.5 * ((x @ H) * x).sum(1) + x[:, 2] ** 4 / 4, x @ H + torch.cat([0 * x[:, :2], x[:, 2:] ** 3], 1)

    def products(x, coarse):
        return lambda v: H @ v + torch.cat([0 * v[:2], 3 * x[2:] ** 2 * v[2:]])

    at = newton_cg(slopes, products, torch.tensor([1e-13, 0.0, 1e-13], dtype=torch.float64))
    assert at.critical and not at.convex and float(at.x.norm()) < 1e-10
    near = newton_cg(slopes, products, torch.tensor([1.0, 1.0, 1e-3], dtype=torch.float64))
    assert near.critical and near.convex and abs(near.value + 0.25) <= 1e-12


def test_a_budget_that_is_spent_is_told(monkeypatch):
    monkeypatch.setattr(epigraph.critical.search, "DENSE", 10)
    monkeypatch.setattr("epigraph.critical.large.GRADIENTS", 5)
    monkeypatch.setattr("epigraph.critical.large.PRODUCTS", 4)
    found = epigraph.minima(classifier(), 3, saddles=False)
    assert found.ends["not converged"] >= 1
    (told,) = [n for n in found.notes if "did not converge" in n]
    assert "5 gradients and 4 products" in told and "1e-10" in told


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


@pytest.mark.parametrize("units", [3, 9])
def test_the_index_of_padded_networks(units):
    """A smaller network's critical point with zero units: the dense spectrum, which has many equal values, decides."""
    J, point = padded(classifier(), units)
    H = hessian(J, point, verify=False)
    w = torch.linalg.eigvalsh(H.to_dense())
    found = inertia(H, H)
    negative = int((w < -1e-9).sum())
    assert found.negative == negative if not found.reason else found.negative <= negative
    assert found.negative >= min(negative, 1)  # never a minimum where J curves down


@pytest.mark.parametrize(("low", "copies"), [(1e-3, 40), (-1e-3, 3), (0.0, 5), (2e-6, 30)])
def test_many_equal_eigenvalues_at_the_lower_end(low, copies):
    n = 200
    w = torch.cat(
        [torch.full((copies,), low, dtype=torch.float64), torch.logspace(-2, 0, n - copies, dtype=torch.float64)]
    )
    Q = torch.linalg.qr(drawn(n, n))[0]
    matrix = Q * w @ Q.T
    J = Objective.from_function(lambda x: 0.5 * x @ (matrix @ x), {"x": torch.zeros(n, dtype=torch.float64)})
    H = hessian(J, verify=False)
    found = inertia(H, H)
    assert not found.reason
    assert (found.negative, found.zeros) == (copies * (low < 0), copies * (low == 0))


def test_a_single_negative_eigenvalue_beside_many_small_ones():
    n = 300
    w = torch.cat([torch.tensor([-1e-6]), torch.full((60,), 1e-4), torch.logspace(-3, 0, n - 61)]).double()
    Q = torch.linalg.qr(drawn(n, n, 5))[0]
    matrix = Q * w @ Q.T
    J = Objective.from_function(lambda x: 0.5 * x @ (matrix @ x), {"x": torch.zeros(n, dtype=torch.float64)})
    H = hessian(J, verify=False)
    for seed in range(3):
        assert inertia(H, H, seed).negative == 1


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
