"""General linear maps, rotations and shifts; orbits and stabilisers at a point; the nullities that they predict."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import epigraph
from epigraph.objective.evaluate import Evaluator
from epigraph.symmetry.oracle import nullity
from symmetry.models import Attention, Recurrent, Skips, mlp, objective


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


class SwiGLU(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 4, False), nn.Linear(3, 4, False), nn.Linear(4, 2, False)

    def forward(self, x):
        return self.c(nn.functional.silu(self.a(x)) * self.b(x))


def softmax_head():
    net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4))
    return epigraph.Objective(net, nn.CrossEntropyLoss(), torch.randn(9, 3), torch.randint(0, 4, (9,)))


class Normed(nn.Module):
    """A norm between two linear maps."""

    def __init__(self, norm, inputs, bias):
        super().__init__()
        self.a, self.norm, self.b = nn.Linear(inputs, 6, bias), norm, nn.Linear(6, 2)

    def forward(self, x):
        return self.b(self.norm(self.a(x)))


def normed(norm, inputs=5, bias=True):
    return lambda: objective(Normed(norm, inputs, bias), (9, inputs), (9, 2))


EXACT = {
    "tanh": (lambda: mlp([3, 5, 2], nn.Tanh), 0),
    "softmax": (softmax_head, 6),
    "swiglu": (lambda: objective(SwiGLU(), (9, 3), (9, 2)), 4),
    "linear": (lambda: mlp([3, 2, 3], nn.Identity, bias=False), 4),
    "linear, biases": (lambda: mlp([4, 3, 4], nn.Identity), 9 + 3),
    "two linear, biases": (lambda: mlp([4, 3, 3, 4], nn.Identity), 2 * (9 + 3)),
    "attention": (lambda: objective(Attention(), (2, 4, 6), (2, 4, 6)), 36),
    "attention, biases": (lambda: objective(Attention(bias=True), (2, 4, 6), (2, 4, 6)), 36 + 6 + 6),
    "sigmoid": (lambda: mlp([3, 4, 2], nn.Sigmoid), 0),
    "layer norm": (normed(nn.LayerNorm(6)), 6 + 6 + 6 + 2 + 10),
    "layer norm, no gain": (normed(nn.LayerNorm(6, elementwise_affine=False)), 6 + 2 + 10),
    "rms norm": (normed(nn.RMSNorm(6, eps=1e-5), 7, False), 6 + 15),
}


@pytest.mark.parametrize("name", list(EXACT))
def test_the_dimension_is_the_nullity_over_random_data(name):
    make, expected = EXACT[name]
    J = make()
    found = epigraph.symmetries(J)
    generator = torch.Generator().manual_seed(3)
    point = {k: torch.randn(v.shape, generator=generator, dtype=torch.float64) for k, v in J.parameters.items()}
    seen = nullity(J.graph(), point)
    assert seen.above > 1e-7 > 1e-12 > seen.below
    assert (found.dimension, found.flat(point), seen.observed) == (expected, expected, expected)


def test_rms_norm_after_a_bias_has_one_more_direction():
    """The norm's epsilon and the constant input add up in one quadratic form: not in the list of what is looked for."""
    J = normed(nn.RMSNorm(6, eps=1e-5))()
    point = {k: torch.randn(v.shape, dtype=torch.float64) for k, v in J.parameters.items()}
    assert (epigraph.symmetries(J).dimension, nullity(J.graph(), point).observed) == (21, 22)


def test_relu_nets_by_activation_pattern():
    """One rescaling per unit; a dead unit frees its weights, as a direction of that point and not of the network."""
    J = mlp([3, 5, 2], nn.ReLU)
    found = epigraph.symmetries(J)
    point = {k: torch.randn(v.shape, dtype=torch.float64) for k, v in J.parameters.items()}
    assert (found.dimension, found.flat(point), nullity(J.graph(), point).observed) == (5, 5, 5)
    dead = {k: v.clone() for k, v in point.items()}
    dead["0.bias"][2] = -50.0  # below any input that is drawn: three weights, a bias and two outgoing weights are free
    assert (found.flat(dead), nullity(J.graph(), dead).observed) == (5, 4 + 3 + 1 + 2)


def test_biases_of_one_stream():
    """A residual branch without a norm: its bias against the stream's, and what the branch reads."""
    J = objective(Skips(), (5, 3), (5, 2))
    (line,) = [line for line in epigraph.symmetries(J).describe() if line["kind"] == "compensation"]
    assert (line["dimension"], [m["tensor"] for m in line["moves"]]) == (4, ["enter.bias", "b.bias", "a.bias"])


def test_a_gauged_rotation_keeps_the_network_and_moves_it():
    found = epigraph.symmetries(normed(nn.LayerNorm(6))())
    (flow,) = [f for f in found.flows if f.kind == "mean rotation"]
    net = normed(nn.LayerNorm(6))().model.double()
    theta = {k: torch.randn(v.shape, dtype=torch.float64) for k, v in found.values.items()}
    moved = flow.move(found.group, theta, torch.Generator().manual_seed(0))
    x = torch.randn(20, 5, dtype=torch.float64)
    one, two = (torch.func.functional_call(net, p, (x,)) for p in (theta, moved))
    assert torch.allclose(one, two, rtol=0, atol=1e-12)
    assert all(torch.allclose(moved[k], theta[k], atol=1e-14) for k in ("norm.weight", "norm.bias"))
    assert not any(torch.allclose(moved[k], theta[k]) for k in ("a.weight", "b.weight"))


def test_undone_biases_do_not_change_the_network():
    found = epigraph.symmetries(mlp([4, 2, 3], nn.Identity, bias=True, weight_decay={"0.weight": 0.1, "2.weight": 0.1}))
    first = {k: torch.randn(v.shape, dtype=torch.float64) for k, v in found.values.items()}
    second = {**first, "0.bias": first["0.bias"] + 1.0, "2.bias": first["2.bias"] - first["2.weight"].sum(1)}
    one, two = (epigraph.canonical(found, p) for p in (first, second))
    assert all(torch.allclose(one[k], two[k], atol=1e-12) for k in one)
    assert bool((one["0.bias"] == 0).all())


def dense(exact, theta):
    """Eigenvalues of the Hessian of J at a point, and J there."""
    evaluator, names = Evaluator(exact.graph()), list(exact.parameters)
    sizes = [exact.parameters[n].numel() for n in names]

    def value(flat_point):
        parts = flat_point.split(sizes)
        return evaluator({n: p.reshape(exact.parameters[n].shape) for n, p in zip(names, parts, strict=True)})

    start = torch.cat([theta[n].detach().double().reshape(-1) for n in names])
    return torch.linalg.eigvalsh(torch.autograd.functional.hessian(value, start)), float(value(start))


@pytest.mark.parametrize(("samples", "width", "size", "zeros"), [(5, 4, 17, 12), (8, 6, 25, 17)])
def test_interpolation_leaves_parameters_minus_samples(samples, width, size, zeros):
    """Where every residual is 0 the Hessian is J'J with one row per sample and output: P - N zero eigenvalues."""
    for _ in range(5):
        net = nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, 1)).double()
        x = torch.randn(samples, 2, dtype=torch.float64)
        J = epigraph.Objective(net, nn.MSELoss(), x, net(x).detach())
        eigenvalues, value = dense(J, J.parameters)
        found = epigraph.symmetries(J)
        assert (J.size, value) == (size, 0.0)
        assert epigraph.symmetries(J).zeros() == zeros
        assert int((eigenvalues.abs() < 1e-10 * eigenvalues.max()).sum()) == zeros
        assert found.flat() == 0 < zeros


def test_softmax_shift_and_rescaling_at_a_minimum():
    """relu 2-2-3, cross-entropy with the network's own probabilities: one rescaling per unit, fan-in plus one shifts."""
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 3)).double()
    x = torch.randn(200, 2, dtype=torch.float64)
    J = epigraph.Objective(net, nn.CrossEntropyLoss(), x, net(x).softmax(1).detach())
    eigenvalues, _ = dense(J, J.parameters)
    assert epigraph.symmetries(J).zeros() == 2 + 3
    assert int((eigenvalues.abs() < 1e-10 * eigenvalues.max()).sum()) == 2 + 3


def test_weight_decay_takes_the_rescalings_and_balances_units():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).double()
    x = torch.randn(100, 2, dtype=torch.float64)
    J = epigraph.Objective(net, nn.MSELoss(), x, net(x).detach() * 4, weight_decay=1e-2)
    evaluator, theta = (
        Evaluator(J.graph()),
        {k: v.detach().clone().requires_grad_(True) for k, v in J.parameters.items()},
    )
    optimizer = torch.optim.LBFGS(theta.values(), 1.0, 2000, 4000, 1e-12, 0.0, 50, "strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = evaluator(theta)
        value.backward()
        return value

    optimizer.step(closure)
    assert max(float(p.grad.abs().max()) for p in theta.values()) < 1e-8
    eigenvalues, _ = dense(J, theta)
    assert (epigraph.symmetries(J).zeros(theta), bool(eigenvalues.min() > 1e-4)) == (0, True)
    entering = (theta["0.weight"] ** 2).sum(1) + theta["0.bias"] ** 2
    assert torch.allclose(entering, (theta["2.weight"] ** 2).sum(0), rtol=1e-6)


def test_the_two_biases_of_a_recurrent_cell_are_one():
    found = epigraph.symmetries(objective(Recurrent(nn.LSTM), (2, 3, 2), (2, 1)))
    lines = [line for line in found.describe() if line["kind"] == "compensation"]
    assert (found.dimension, [line["dimension"] for line in lines]) == (12, [3, 3, 3, 3])


def test_key_biases_are_free():
    found = epigraph.symmetries(objective(Attention(bias=True), (2, 4, 6), (2, 4, 6)))
    shifts = [line for line in found.describe() if line["kind"] == "shift"]
    assert [(line["dimension"], line["moves"][0]["tensor"]) for line in shifts] == [(6, "inner.in_proj_bias")]


def test_weight_decay_leaves_rotations_of_linear_units():
    found = epigraph.symmetries(mlp([4, 3, 4], nn.Identity, bias=False, weight_decay=0.1))
    assert found.dimension == 3
    assert [line["kind"] for line in found.describe()] == ["permutation", "sign", "rotation"]


@pytest.mark.parametrize(
    ("make", "flat"),
    [(lambda: mlp([2, 3, 1], nn.ReLU), 3), (lambda: mlp([3, 2, 3], nn.Identity, bias=False), 4)],
    ids=["relu", "linear"],
)
def test_zero_eigenvalues_at_a_critical_point(make, flat):
    """At zero residual with many samples, the Hessian's null space is the orbit's tangent."""
    J = make()
    net = J.model.double()
    x = torch.randn(200, next(iter(J.parameters.values())).shape[1], dtype=torch.float64)
    exact = epigraph.Objective(net, nn.MSELoss(), x, net(x).detach())
    found = epigraph.symmetries(exact)
    evaluator = Evaluator(exact.graph())
    names = list(exact.parameters)
    sizes = [exact.parameters[n].numel() for n in names]
    start = torch.cat([exact.parameters[n].detach().reshape(-1) for n in names])

    def value(flat_point):
        parts = flat_point.split(sizes)
        return evaluator({n: p.reshape(exact.parameters[n].shape) for n, p in zip(names, parts, strict=True)})

    eigenvalues = torch.linalg.eigvalsh(torch.autograd.functional.hessian(value, start))
    assert float(value(start)) < 1e-20
    assert int((eigenvalues.abs() < 1e-9 * eigenvalues.max()).sum()) == flat == found.flat()


def test_stabiliser_and_orbit():
    J = mlp([2, 3, 1], nn.Tanh)
    found = epigraph.symmetries(J)
    generic = found.stabiliser()
    assert (generic.order, generic.orbit, generic.exact) == (1, 48, True)
    point = {k: v.clone() for k, v in found.point().items()}
    for name, dim, sign in (("0.weight", 0, -1), ("0.bias", 0, -1), ("2.weight", 1, -1)):
        point[name].select(dim, 1).copy_(sign * point[name].select(dim, 0))
    assert (found.stabiliser(point).order, found.stabiliser(point).orbit) == (2, 24)
    for v, dim in ((point["0.weight"], 0), (point["0.bias"], 0), (point["2.weight"], 1)):
        v.select(dim, 2).zero_()
    assert (found.stabiliser(point).order, found.stabiliser(point).orbit) == (4, 12)
    zero = {k: torch.zeros_like(v) for k, v in point.items()}
    assert (found.stabiliser(zero).order, found.stabiliser(zero).orbit) == (48, 1)


def test_shifts_do_not_change_the_network():
    found = epigraph.symmetries(softmax_head())
    first = found.apply(found.random(1))
    second = {k: v.clone() for k, v in found.apply(found.random(2), first).items()}
    second["2.weight"] += torch.randn(5, dtype=torch.float64)
    second["2.bias"] += 0.7
    assert epigraph.same(found, first, second).verdict == "same"
    second["2.bias"][0] += 0.1
    assert epigraph.same(found, first, second).verdict == "different"


@pytest.mark.parametrize("scale", [1.0, 1e12, 1e16])
def test_a_slope_below_the_rounding_of_j_is_no_shift(scale: float) -> None:
    """c (w^2 - 1)^2 - u^2 depends on u, though no value of J shows it."""
    point = {k: torch.ones((), dtype=torch.float64) for k in "wu"}
    J = epigraph.Objective.from_function(lambda w, u: scale * (w**2 - 1) ** 2 - u**2, point)
    assert epigraph.symmetries(J).dimension == 0
    pair = {"w": torch.ones(2, dtype=torch.float64)}
    K = epigraph.Objective.from_function(lambda w: scale * (w[0] ** 2 - 1) ** 2 - w[1] ** 2, pair)
    assert epigraph.symmetries(K).dimension == 0
