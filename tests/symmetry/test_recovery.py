"""Planted group elements are recovered in every network of a large draw, and different networks are never called the same."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import epigraph
from symmetry.models import mlp

pytestmark = pytest.mark.soak

ACTIVATIONS = (nn.Tanh, nn.ReLU, nn.GELU, nn.Sigmoid)


def draw(found, generator):
    return {k: torch.randn(v.shape, generator=generator, dtype=torch.float64) for k, v in found.values.items()}


def judged(found, count, seed):
    """The verdicts on a network and its image, and on that network and another one."""
    generator = torch.Generator().manual_seed(seed)
    for i in range(count):
        first, other = draw(found, generator), draw(found, generator)
        second = found.apply(found.random(seed + i), first)
        yield epigraph.same(found, first, second).verdict, epigraph.same(found, first, other).verdict


def test_a_thousand_networks_of_one_hidden_layer():
    """Widths 1 to 64, all four activations, 1000 networks; the different ones are told apart, not only left undecided."""
    torch.manual_seed(0)
    seen = []
    for width in range(1, 65):
        found = epigraph.symmetries(mlp([3, width, 2], ACTIVATIONS[width % 4]))
        seen += judged(found, 16 if width <= 40 else 15, 1000 * width)
    assert len(seen) == 1000
    assert set(seen) == {("same", "different")}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_hundred_networks_of_two_hidden_layers(activation):
    torch.manual_seed(0)
    found = epigraph.symmetries(mlp([3, 8, 8, 2], activation))
    seen = list(judged(found, 100, 7))
    assert [one for one, _ in seen] == ["same"] * 100
    assert "same" not in {two for _, two in seen}


@pytest.mark.parametrize("share", [1e-6, 1e-4, 1e-2])
def test_near_networks_are_no_copies(share):
    """A copy with one weight changed by a small share of the norm."""
    torch.manual_seed(0)
    for activation in ACTIVATIONS:
        found = epigraph.symmetries(mlp([3, 6, 6, 2], activation))
        generator = torch.Generator().manual_seed(1)
        for seed in range(20):
            first = draw(found, generator)
            second = found.apply(found.random(seed), first)
            second["2.weight"][seed % 6, seed % 5] += share * sum(float((v**2).sum()) for v in second.values()) ** 0.5
            assert epigraph.same(found, first, second).verdict != "same"
