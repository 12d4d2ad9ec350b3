"""Layers used twice, tied, scaled, gated or fed by odd biases: no false generator, no wrong answer about sameness."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import epigraph
from epigraph.symmetry.lost import lost
from symmetry.models import mlp, objective

TOKENS = torch.tensor([0, 3, 1, 2, 2, 1, 0])


class Formula(nn.Module):
    """A network as a formula of its input and of named parameters."""

    def __init__(self, formula, **shapes):
        super().__init__()
        self.formula = formula
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.randn(*shape, dtype=torch.float64)))

    def forward(self, x):
        return self.formula(self, x)


def attend(p, x, k):
    query, key, value = (x @ getattr(p, f"{name}{k}") for name in "qkv")
    return torch.softmax(query @ key.T, -1) @ value


HEADS = {f"{name}{k}": (3, k) for name in "qkv" for k in (2, 3)}
# formula, shapes, order of the discrete part, continuous dimension: by hand
CASES = {
    "a layer used twice": (
        lambda p, x: (torch.tanh(torch.tanh(x @ p.a) @ p.w) @ p.w).tanh() @ p.c,
        {"a": (3, 3), "w": (3, 3), "c": (3, 2)}, 6 * 2**4, 0,
    ),  # signs of the units in the middle, and one for all of those before and after
    "a map and its transpose": (
        lambda p, x: torch.tanh(torch.tanh(x @ p.a) @ p.w) @ p.w.T @ p.c,
        {"a": (3, 3), "w": (3, 4), "c": (3, 2)}, 2**3 * 6 * 2**4 * 24, 0,
    ),
    "relu read twice": (
        lambda p, x: F.relu(F.relu(x @ p.a) @ p.w) @ p.c + F.relu(x @ p.a) @ p.e,
        {"a": (3, 4), "w": (4, 3), "c": (3, 2), "e": (4, 2)}, 24 * 6, 7,
    ),
    "a unit that is constant": (
        lambda p, x: torch.cat([F.relu(x @ p.a), torch.ones(len(x), 1, dtype=x.dtype)], 1) @ p.c,
        {"a": (3, 3), "c": (4, 2)}, 6, 3,
    ),
    "heads of two sizes": (
        lambda p, x: torch.cat([attend(p, x, 2), attend(p, x, 3)], 1) @ p.o, {**HEADS, "o": (5, 2)},
        (2**2 * 2) ** 2 * (2**3 * 6) ** 2, 2 * (4 + 9),
    ),
    "swiglu, fused": (
        lambda p, x: (lambda g, u: (F.silu(g) * u) @ p.c)(*(x @ p.a).chunk(2, -1)),
        {"a": (3, 6), "c": (3, 2)}, 2**3 * 6, 3,
    ),
    "prelu": (lambda p, x: F.prelu(x @ p.a, p.s) @ p.c, {"a": (3, 4), "s": (4,), "c": (4, 2)}, 24, 4),
    "experts in a stack": (
        lambda p, x: torch.einsum("be,beh,eho->bo", torch.softmax(x @ p.g, -1), (x @ p.a).relu().permute(1, 0, 2), p.c),
        {"g": (3, 2), "a": (2, 3, 3), "c": (2, 3, 2)}, 2 * 6**2, 6 + 3,
    ),
    "sorted units": (
        lambda p, x: torch.sort(x @ p.a, dim=-1).values @ p.c, {"a": (3, 3), "c": (3, 2)}, 6, 1,
    ),
    "sorted samples": (
        lambda p, x: torch.sort(x @ p.a, dim=0).values @ p.c, {"a": (3, 3), "c": (3, 2)}, 6, 3,
    ),
    "embedding tied, linear": (
        lambda p, _: (p.e[TOKENS] @ p.w) @ p.e.T, {"e": (4, 3), "w": (3, 3)}, 2**3 * 6, 9,
    ),
    "weight norm": (
        lambda p, x: F.relu(x @ (p.v / p.v.norm(dim=0, keepdim=True) * p.g)) @ p.c,
        {"v": (3, 4), "g": (4,), "c": (4, 2)}, 24, 8,
    ),
}  # fmt: skip


def made(name):
    formula, shapes, *_ = CASES[name]
    torch.manual_seed(1)
    x = torch.randn(7, 3, dtype=torch.float64)
    model = Formula(formula, **shapes)
    return epigraph.Objective(model, nn.MSELoss(), x, torch.randn_like(model(x)))


@pytest.mark.parametrize("name", list(CASES))
def test_odd_models(name):
    J = made(name)
    found = epigraph.symmetries(J)
    assert (found.order, found.dimension) == CASES[name][2:]
    assert not found.verification.dropped
    for seed in range(3):
        point = {k: torch.randn(v.shape, dtype=torch.float64) for k, v in found.values.items()}
        moved = found.apply(found.random(seed), point)
        assert J.value(moved, double=True) == pytest.approx(J.value(point, double=True), rel=1e-10)
        assert epigraph.same(found, point, moved).verdict != "different"
        other = {k: v + 0.05 * torch.randn_like(v) for k, v in point.items()}
        assert epigraph.same(found, point, other).verdict != "same"


@pytest.mark.parametrize(
    "formula, bias, order",
    [
        (lambda p, x: torch.sigmoid(x @ p.a) @ p.c + p.b, (2,), 48),
        (lambda p, x: torch.sigmoid(x @ p.a) @ p.c + p.b, (1,), 6),
        (lambda p, x: torch.sigmoid(x @ p.a) @ p.c + p.b, (7, 2), 6),
        (lambda p, x: p.b - torch.sigmoid(x @ p.a) @ p.c, (2,), 6),
    ],
    ids=["one for each output", "one for all outputs", "one for each sample", "subtracted"],
)
def test_the_constant_of_a_sigmoid_needs_a_bias_for_each_output(formula, bias, order):
    torch.manual_seed(1)
    J = objective(Formula(formula, a=(3, 3), c=(3, 2), b=bias).float(), (7, 3), (7, 2))
    found = epigraph.symmetries(J)
    assert found.order == order
    assert not found.verification.dropped


def test_no_shift_is_missed_because_two_roundings_agree():
    """The gradient of a softmax's bias sums to a few units of rounding, twice the same ones by chance in one of ten cases."""
    for seed in range(25):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4))
        J = epigraph.Objective(net, nn.CrossEntropyLoss(), torch.randn(9, 3), torch.randint(0, 4, (9,)))
        assert epigraph.symmetries(J, seed=seed).dimension == 5 + 1


class Post(nn.Module):
    """A layer of an encoder with its norms after the sums."""

    def __init__(self, width, inner):
        super().__init__()
        self.enter, self.leave = nn.Linear(7, width), nn.Linear(width, 3)
        self.layer = nn.TransformerEncoderLayer(width, 2, inner, 0.0, "gelu", batch_first=True)

    def forward(self, x):
        return self.leave(self.layer(self.enter(x)))


@pytest.mark.parametrize("width, inner", [(4, 3), (6, 3)])
def test_what_norms_after_the_sums_leave(width, inner):
    """The mean that the inner map reads, maps of the stream's mean, and gains with the same singular values."""
    torch.manual_seed(0)
    J = objective(Post(width, inner), (2, 4, 7), (2, 4, 3))
    seen = lost(J, epigraph.symmetries(J))
    assert seen.unexplained == inner + width + 1


def test_different_biases_of_odd_functions_are_different():
    found = epigraph.symmetries(mlp([2, 3, 1], nn.Tanh))
    point = found.apply(found.random(1))
    other = {k: v + (0.1 if k.endswith("bias") else 0.0) for k, v in point.items()}
    assert epigraph.same(found, point, other).verdict == "different"
