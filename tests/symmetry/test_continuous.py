"""General linear maps, rotations and shifts; orbits and stabilisers at a point; the nullities that they predict."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import epigraph
from epigraph.objective.evaluate import Evaluator
from epigraph.symmetry.oracle import nullity
from symmetry.models import Attention, mlp, objective


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


EXACT = {
    "tanh": (lambda: mlp([3, 5, 2], nn.Tanh), 0),
    "softmax": (softmax_head, 6),
    "swiglu": (lambda: objective(SwiGLU(), (9, 3), (9, 2)), 4),
    "linear": (lambda: mlp([3, 2, 3], nn.Identity, bias=False), 4),
    "attention": (lambda: objective(Attention(), (2, 4, 6), (2, 4, 6)), 36),
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
