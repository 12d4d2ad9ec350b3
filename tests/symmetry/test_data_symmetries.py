"""Symmetries of the data, which are none of the network."""

from __future__ import annotations

from itertools import permutations, product

import pytest
import torch
from torch import nn

import epigraph
from symmetry.models import mlp


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def xor(low: float, activation=nn.Tanh, width: int = 2, **options) -> epigraph.Objective:
    """Inputs low and 1, targets -1 and 1 (0 and 1 where low is 0)."""
    x = torch.tensor(list(product([low, 1.0], repeat=2)), dtype=torch.float64)
    y = torch.where(x[:, :1] == x[:, 1:], low, 1.0).double()
    net = nn.Sequential(nn.Linear(2, width), activation(), nn.Linear(width, 1)).double()
    return epigraph.Objective(net, lambda out, to: ((out - to) ** 2).sum() / 2, x, y, weight_decay=0.1, **options)


def oracle(J):
    """The signed permutations of the features that map the set of samples to itself, by brute force."""
    x, y = J.batches()[0].inputs, J.batches()[0].targets
    samples = sorted((*a, *b) for a, b in zip(x.tolist(), y.tolist(), strict=True))
    found = 0
    for order in permutations(range(x.shape[1])):
        for signs in product((1, -1), repeat=x.shape[1]):
            moved = [[s * a[i] + 0.0 for i, s in zip(order, signs, strict=True)] for a in x.tolist()]
            found += sorted((*a, *b) for a, b in zip(moved, y.tolist(), strict=True)) == samples
    return found


@pytest.mark.parametrize(("low", "order"), [(-1.0, 4), (0.0, 2)])
@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
def test_xor(low, order, activation):
    """J stays, and the network does not: copies that the network's own group does not know."""
    J = xor(low, activation)
    of_data, found = epigraph.data_symmetries(J), epigraph.symmetries(J)
    assert (of_data.samples, of_data.exchangeable, of_data.order, of_data.exact) == (4, True, order, True)
    assert oracle(J) == order
    theta = {k: torch.randn(v.shape, dtype=torch.float64) for k, v in J.parameters.items()}
    for i in range(order):
        moved = of_data.apply(i, theta)
        assert J.value(moved, double=True) == pytest.approx(J.value(theta, double=True), rel=1e-12)
        assert epigraph.same(found, theta, moved).verdict == ("different" if i else "same")


def test_other_targets_or_bounds_leave_fewer():
    J = mlp([3, 4, 2], nn.Tanh)
    assert (epigraph.data_symmetries(J).order, oracle(J)) == (1, 1)
    assert epigraph.data_symmetries(xor(-1.0, domain={"0.weight": (0.0, None)})).words == ("identity", "(x1, x0)")


def test_the_trap_of_least_squares():
    """Rows of X and y in another order: 720 symmetries of the data, none of which moves theta; one minimiser."""
    x, y = torch.randn(6, 3), torch.randn(6, 1)
    J = epigraph.Objective(nn.Linear(3, 1, bias=False), nn.MSELoss(), x, y)
    found, of_data = epigraph.symmetries(J), epigraph.data_symmetries(J)
    assert (found.order, found.dimension, found.describe()) == (1, 0, [])
    assert (of_data.samples, of_data.exchangeable, of_data.order) == (6, True, 1)
    assert all(torch.equal(of_data.apply(0, J.parameters)[k], v.double()) for k, v in J.parameters.items())
    shown, verdict = epigraph.permutation_argument(J, found), epigraph.check(J)
    assert (shown.case, verdict.convex) == ("no symmetry", "proved")
    assert verdict.modulus > 0


def test_a_loss_that_weighs_samples_is_not_exchangeable():
    weights = torch.arange(1.0, 7.0)[:, None]
    x, y = torch.randn(6, 3), torch.randn(6, 1)
    J = epigraph.Objective(nn.Linear(3, 1), lambda out, to: (weights * (out - to) ** 2).mean(), x, y)
    of_data = epigraph.data_symmetries(J)
    assert (of_data.exchangeable, of_data.order, of_data.exact) == (False, 1, False)


def test_many_features_are_tried_one_or_two_at_a_time():
    x = torch.randn(9, 12)
    x[:, 3] = 0.0
    x[:, 7] = x[:, 5]
    J = epigraph.Objective(
        nn.Sequential(nn.Linear(12, 2), nn.Tanh(), nn.Linear(2, 1)), nn.MSELoss(), x, torch.randn(9, 1)
    )
    of_data = epigraph.data_symmetries(J)
    assert not of_data.exact
    assert of_data.words == ("identity", "-x3 for x3", "x7 for x5, x5 for x7")


def test_what_has_no_table_of_samples_has_no_answer():
    J = epigraph.Objective.from_function(lambda w: (w**2).sum(), {"w": torch.ones(2)})
    assert epigraph.data_symmetries(J) is None
