"""The group explains every direction that the outputs do not show, on small instances of each kind of layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import epigraph
from epigraph.symmetry.lost import lost
from symmetry.models import Attention, Grouped, Recurrent, mlp, objective


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


class Encoder(nn.Module):
    """A layer of an encoder with its norms first, and a norm before the head."""

    def __init__(self):
        super().__init__()
        self.enter, self.norm, self.leave = nn.Linear(7, 4), nn.LayerNorm(4), nn.Linear(4, 2)
        self.layer = nn.TransformerEncoderLayer(4, 2, 3, 0.0, "gelu", batch_first=True, norm_first=True)

    def forward(self, x):
        return self.leave(self.norm(self.layer(self.enter(x))))


class Tied(nn.Module):
    """Tokens whose vectors are averaged, transformed, and compared with the vectors of all tokens."""

    def __init__(self):
        super().__init__()
        self.tokens, self.inner = nn.Embedding(5, 3), nn.Linear(3, 3)

    def forward(self, x):
        return self.inner(self.tokens(x).mean(1)).tanh() @ self.tokens.weight.T


class Bidirectional(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.LSTM(2, 3, batch_first=True, bidirectional=True), nn.Linear(6, 1)

    def forward(self, x):
        return self.head(self.cell(x)[0][:, -1])


def tied():
    x = torch.cat([torch.arange(5).repeat(3, 1).T, torch.randint(0, 5, (4, 3))])
    return epigraph.Objective(Tied(), nn.CrossEntropyLoss(), x, torch.randint(0, 5, (9,)))


def classifier():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3))
    return epigraph.Objective(net, nn.CrossEntropyLoss(), torch.randn(9, 3), torch.randint(0, 3, (9,)))


def pictures(*layers):
    net = nn.Sequential(*layers)
    return objective(net, (2, 1, 4, 4), tuple(net(torch.randn(2, 1, 4, 4)).shape))


KINDS = {
    "relu and softmax": (classifier, 4 + 5),
    "lstm": (lambda: objective(Recurrent(nn.LSTM), (3, 3, 2), (3, 1)), 12),
    "gru": (lambda: objective(Recurrent(nn.GRU), (3, 3, 2), (3, 1)), 6),
    "lstm, both directions": (lambda: objective(Bidirectional(), (3, 3, 2), (3, 1)), 24 + 33 + 12),
    "fused attention, biases": (lambda: objective(Attention(bias=True), (2, 4, 6), (2, 4, 6)), 48),
    "grouped queries": (lambda: objective(Grouped(), (2, 4, 5), (2, 4, 2)), 2 * 9 + 2 * 9),
    "encoder": (lambda: objective(Encoder(), (2, 4, 7), (2, 4, 2)), 85),
    "grouped convolution": (
        lambda: pictures(nn.Conv2d(1, 4, 2), nn.ReLU(), nn.Conv2d(4, 4, 2, groups=2), nn.ReLU(), nn.Conv2d(4, 1, 1)), 8,
    ),
    "depthwise convolution": (
        lambda: pictures(nn.Conv2d(1, 3, 2), nn.Tanh(), nn.Conv2d(3, 3, 2, groups=3), nn.ReLU(), nn.Conv2d(3, 1, 1)), 3,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(KINDS))
def test_nothing_is_lost(name):
    make, dimension = KINDS[name]
    J = make()
    found = epigraph.symmetries(J)
    seen = lost(J, found)
    assert (seen.nullity.observed, seen.explained, seen.unexplained) == (dimension, dimension, 0)
    assert seen.nullity.above > 1e-9 > 1e-12 > seen.nullity.below


def test_a_rule_that_loses_a_symmetry_is_seen(monkeypatch):
    from epigraph.symmetry.rules import elementwise
    from epigraph.symmetry.rules.base import RULES

    monkeypatch.setitem(RULES, "relu", elementwise.Plain())
    J = classifier()
    assert lost(J, epigraph.symmetries(J)).unexplained == 4


def test_what_is_not_looked_for_is_counted():
    """Statistics held fixed leave a scale per channel (its shift is found); all tokens may be shifted against the next bias."""
    net = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2)).eval()
    for J, unexplained in ((objective(net, (9, 3), (9, 2)), 5), (tied(), 3)):
        assert lost(J, epigraph.symmetries(J)).unexplained == unexplained


def test_what_cannot_be_looked_for():
    decayed = mlp([2, 3, 1], nn.ReLU, weight_decay=0.1)
    large = mlp([20, 30, 10], nn.ReLU)
    function = epigraph.Objective.from_function(lambda w: (w**2).sum(), {"w": torch.ones(2)})
    assert [lost(J, epigraph.symmetries(J)) for J in (decayed, large, function)] == [None, None, None]
