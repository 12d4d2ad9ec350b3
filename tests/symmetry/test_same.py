"""Planted group elements are recovered, different networks are never called the same, and the reverse."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import epigraph
from epigraph.symmetry.balance import balance
from epigraph.symmetry.matching import Matcher, distance
from symmetry.models import Convolutions, Grouped, Recurrent, mlp, objective

MODELS = {
    "tanh": (lambda: mlp([3, 6, 2], nn.Tanh), 30),
    "tanh, one unit": (lambda: mlp([3, 1, 2], nn.Tanh), 10),
    "wide relu": (lambda: mlp([3, 64, 2], nn.ReLU), 10),
    "deep sigmoid": (lambda: mlp([3, 6, 5, 2], nn.Sigmoid), 10),
    "deep tanh": (lambda: mlp([3, 8, 8, 2], nn.Tanh), 20),
    "deep relu": (lambda: mlp([3, 8, 8, 2], nn.ReLU), 10),
    "lstm": (lambda: objective(Recurrent(nn.LSTM), (2, 3, 2), (2, 1)), 5),
    "grouped queries": (lambda: objective(Grouped(), (2, 4, 5), (2, 4, 2)), 5),
    "convolutions": (lambda: objective(Convolutions(), (2, 2, 6, 6), (2, 2)), 5),
}


def draw(found, seed):
    generator = torch.Generator().manual_seed(seed)
    return {k: torch.randn(v.shape, generator=generator, dtype=torch.float64) for k, v in found.values.items()}


@pytest.mark.parametrize("name", list(MODELS))
def test_planted_elements_are_recovered(name):
    torch.manual_seed(0)
    make, trials = MODELS[name]
    found = epigraph.symmetries(make())
    for seed in range(trials):
        first, other = draw(found, seed), draw(found, 1000 + seed)
        second = found.apply(found.random(seed), first)
        answer = epigraph.same(found, first, second, seed=seed)
        assert answer.verdict == "same"
        group = found.group.linear
        moved = balance(group, found.group.centred(second)).point
        for element in answer.elements:
            moved = group.apply(element, moved)
        assert distance(balance(group, found.group.centred(first)).point, moved) <= answer.tolerance
        assert epigraph.same(found, first, other).verdict != "same"
        one, two = (epigraph.canonical(found, p) for p in (first, second))
        assert all(torch.allclose(one[k], two[k], atol=1e-7) for k in one)


def test_the_distance_of_one_hidden_layer_is_the_least_over_the_group():
    """All 48 elements are tried one by one."""
    from itertools import permutations, product

    from epigraph.symmetry.group import Element, Scaling

    torch.manual_seed(0)
    found = epigraph.symmetries(mlp([2, 3, 1], nn.Tanh, weight_decay=0.1))
    (sign,) = [i for i, g in enumerate(found.group.generators) if isinstance(g, Scaling)]
    units = found.permutations[0].set
    matcher = Matcher(found.group)
    for seed in range(5):
        a, b = draw(found, seed), draw(found, 50 + seed)
        every = [
            Element({units: torch.tensor(p)}, {sign: torch.tensor(s, dtype=torch.float64)})
            for p in permutations(range(3))
            for s in product((1.0, -1.0), repeat=3)
        ]
        least = min(distance(a, found.group.apply(e, b)) for e in every)
        assert matcher.lower_bound(a, b) == pytest.approx(least, rel=1e-12)
        assert matcher.nearest(a, b, 0, 0, 0.0)[1] == pytest.approx(least, rel=1e-12)


def test_a_small_change_is_a_difference():
    torch.manual_seed(0)
    found = epigraph.symmetries(mlp([3, 5, 2], nn.Tanh))
    first = draw(found, 0)
    second = found.apply(found.random(1), first)
    for size, verdict in ((1e-12, "same"), (1e-6, "different")):
        moved = {k: v.clone() for k, v in second.items()}
        moved["0.weight"][0, 0] += size
        assert epigraph.same(found, first, moved).verdict == verdict


def test_a_unit_that_can_be_scaled_away_is_undecided():
    torch.manual_seed(0)
    found = epigraph.symmetries(mlp([3, 4, 2], nn.ReLU))
    first = draw(found, 0)
    first["2.weight"][:, 1] = 0.0
    assert epigraph.same(found, first, draw(found, 1)).verdict == "undecided"


def test_balanced_relu_units_have_equal_norms():
    torch.manual_seed(0)
    found = epigraph.symmetries(mlp([3, 5, 2], nn.ReLU))
    moved = balance(found.group, draw(found, 0))
    entering = (moved.point["0.weight"] ** 2).sum(1) + moved.point["0.bias"] ** 2
    leaving = (moved.point["2.weight"] ** 2).sum(0)
    assert moved.attained
    assert torch.allclose(entering, leaving, rtol=1e-10)


def test_a_small_unit_is_balanced_as_well():
    torch.manual_seed(0)
    found = epigraph.symmetries(mlp([3, 6, 6, 2], nn.ReLU))
    for seed in range(5):
        first = draw(found, seed)
        for name, dim in (("0.weight", 0), ("0.bias", 0), ("2.weight", 1)):
            first[name].select(dim, 2).mul_(1e-7)
        second = found.apply(found.random(seed), first)
        assert epigraph.same(found, first, second).verdict == "same"
