"""The groups of networks whose symmetries are known, and that nothing more is claimed."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import epigraph
from epigraph.symmetry.group import Element
from symmetry.models import Attention, Convolutions, Grouped, Recurrent, Skips, mlp, objective


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def unchanged(J, found, seed=1, scale=1.0):
    """J at a random point before and after a random element, by the program itself in float64."""
    generator = torch.Generator().manual_seed(seed)
    point = {k: scale * torch.randn(v.shape, generator=generator, dtype=torch.float64) for k, v in J.parameters.items()}
    moved = found.apply(found.random(seed), point)
    before, after = (J.value({k: p[k] for k in J.parameters}, double=True) for p in (point, moved))
    assert any(not torch.equal(moved[k], point[k]) for k in point)
    return abs(before - after) <= 1e-12 * max(1, abs(before))


@pytest.mark.parametrize(("width", "order"), [(1, 2), (2, 8), (3, 48), (4, 384), (5, 3840)])
def test_tanh_has_signed_permutations(width, order):
    found = epigraph.symmetries(mlp([3, width, 2], nn.Tanh, weight_decay=0.1))
    assert (found.order, found.dimension) == (order, 0)


@pytest.mark.parametrize("width", [1, 2, 3, 5])
def test_gelu_has_permutations_only(width):
    found = epigraph.symmetries(mlp([3, width, 2], nn.GELU))
    assert (found.order, found.dimension) == (math.factorial(width), 0)


@pytest.mark.parametrize("activation", [nn.Sigmoid, nn.Hardsigmoid])
@pytest.mark.parametrize(("width", "order"), [(1, 2), (2, 8), (3, 48), (5, 3840)])
def test_sigmoid_has_affine_flips(activation, width, order):
    """1 - f(-z): the outgoing weights change their sign, and the next bias takes their sum."""
    J = mlp([3, width, 2], activation)
    found = epigraph.symmetries(J)
    assert (found.order, found.dimension) == (order, 0)
    assert not found.verification.dropped
    (sign,) = [i for i, g in enumerate(found.group.generators) if g.kind == "sign"]
    flips = -torch.ones(found.group.shape_of(found.group.generators[sign].set), dtype=torch.float64)
    point = found.point()
    moved = found.apply(Element(factors={sign: flips}), point)
    assert torch.equal(moved["2.weight"], -point["2.weight"])
    assert torch.allclose(moved["2.bias"], point["2.bias"] + point["2.weight"].sum(1), atol=1e-14)
    assert J.value(moved, double=True) == pytest.approx(J.value(point, double=True), rel=1e-13)


class Twice(nn.Module):
    """Sigmoid units read twice: by a linear map with a bias, and otherwise."""

    def __init__(self, other):
        super().__init__()
        self.a, self.b, self.other = nn.Linear(3, 4), nn.Linear(4, 4), other

    def forward(self, x):
        h = self.a(x).sigmoid()
        return self.b(h) + self.other(h, self.b)


@pytest.mark.parametrize(
    ("make", "order"),
    [
        (lambda: mlp([3, 3, 2], nn.Sigmoid, bias=False), 6),
        (lambda: mlp([3, 3, 2], nn.Sigmoid, weight_decay=0.1), 6),
        (lambda: mlp([3, 3, 2], nn.Sigmoid, domain={"2.bias": (-1.0, 1.0)}), 6),
        (lambda: mlp([3, 3, 3, 1], nn.Sigmoid), 48 * 48),
        (lambda: objective(Twice(lambda h, b: h), (5, 3), (5, 4)), 1),
        (lambda: objective(Twice(lambda h, b: b.bias**2), (5, 3), (5, 4)), 24),
        (lambda: objective(Twice(lambda h, b: nn.functional.linear(h, b.weight**2)), (5, 3), (5, 4)), 24),
        (lambda: objective(Twice(lambda h, b: nn.functional.linear(h, b.weight)), (5, 3), (5, 4)), 24),
    ],
    ids=["no bias", "decay", "bounds", "deep", "residual", "bias read twice", "no second bias", "weight read twice"],
)
def test_a_constant_needs_a_bias_that_can_carry_it(make, order):
    J = make()
    found = epigraph.symmetries(J)
    assert (found.order, found.verification.dropped) == (order, ())


@pytest.mark.parametrize(("padding", "order"), [(0, 48 * 8), (1, 6 * 8)])
def test_padding_carries_no_constant(padding, order):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 2, 3, padding=padding)
            self.head = nn.Linear(2 * (4 + 2 * padding) ** 2, 1)

        def forward(self, x):
            return self.head(self.b(self.a(x).sigmoid()).tanh().flatten(1))

    found = epigraph.symmetries(objective(Net(), (2, 1, 8, 8), (2, 1)))
    assert (found.order, found.verification.dropped) == (order, ())


@pytest.mark.parametrize("activation", [nn.ReLU, nn.LeakyReLU])
def test_rescalings_of_relu_are_gone_under_weight_decay(activation):
    free = epigraph.symmetries(mlp([3, 4, 5, 2], activation))
    assert (free.order, free.dimension) == (24 * 120, 9)
    held = epigraph.symmetries(mlp([3, 4, 5, 2], activation, weight_decay=0.01))
    assert (held.order, held.dimension) == (24 * 120, 0)


def test_the_sign_group_of_deep_tanh_is_one_flip_per_unit():
    found = epigraph.symmetries(mlp([3, 4, 3, 2], nn.Tanh))
    assert found.order == 2**7 * 24 * 6


@pytest.mark.parametrize(
    ("make", "groups"),
    [
        (lambda: objective(Recurrent(nn.LSTM, 2), (2, 3, 2), (2, 1)), [(3, 1), (3, 1)]),
        (lambda: objective(Recurrent(nn.GRU), (2, 3, 2), (2, 1)), [(3, 1)]),
        (lambda: objective(Recurrent(nn.RNN), (2, 3, 2), (2, 1)), [(3, 1)]),
        (lambda: objective(Attention(), (2, 4, 6), (2, 4, 6)), [(2, 1), (3, 2), (3, 2)]),
        (lambda: objective(Grouped(), (2, 4, 5), (2, 4, 2)), [(2, 1), (2, 2), (3, 2), (3, 2)]),
        (lambda: objective(Convolutions(), (2, 2, 6, 6), (2, 2)), [(2, 3), (3, 1)]),
        (lambda: objective(Skips(), (5, 3), (5, 2)), [(2, 1), (3, 1), (4, 1)]),
    ],
    ids=["lstm", "gru", "rnn", "fused attention", "grouped queries", "convolutions", "skips"],
)
def test_permutation_groups(make, groups):
    J = make()
    found = epigraph.symmetries(J)
    sizes = [(found.group.sets[p.set].size, found.group.copies(p.set)) for p in found.permutations]
    assert sorted(sizes) == groups
    assert found.verification.error <= 1e-12 < found.verification.control
    if not found.buffers:
        assert unchanged(J, found)


def test_running_statistics_move_with_their_channels():
    found = epigraph.symmetries(objective(Convolutions(), (2, 2, 6, 6), (2, 2)))
    assert found.buffers == ("norm.running_mean", "norm.running_var")
    assert any(line["buffers"] == list(found.buffers) for line in found.describe() if line["kind"] == "permutation")


def test_a_domain_removes_what_it_does_not_respect():
    free = mlp([3, 2, 2], nn.Tanh)
    signs = mlp([3, 2, 2], nn.Tanh, domain={"0.bias": (0.0, None)})
    both = mlp([3, 2, 2], nn.Tanh, domain={"0.bias": (torch.tensor([0.0, -1.0]), None)})
    box = mlp([3, 2, 2], nn.Tanh, domain={"0.bias": (-1.0, 1.0)})
    assert [epigraph.symmetries(J).order for J in (free, signs, both, box)] == [8, 2, 1, 8]


def test_a_cone_keeps_positive_factors():
    cone = mlp([3, 2, 2], nn.ReLU, domain={"2.weight": (0.0, None)})
    box = mlp([3, 2, 2], nn.ReLU, domain={"2.weight": (0.0, 1.0)})
    assert [epigraph.symmetries(J).dimension for J in (cone, box)] == [2, 0]


def test_data_distinguish_inputs_and_samples():
    least_squares = objective(nn.Linear(4, 1, bias=False), (6, 4), (6, 1))
    found = epigraph.symmetries(least_squares)
    assert (found.order, found.dimension, found.verification.trials) == (1, 0, 0)


def test_a_wrong_rule_is_caught(monkeypatch):
    from epigraph.symmetry.rules import elementwise
    from epigraph.symmetry.rules.base import RULES

    monkeypatch.setitem(RULES, "gelu", elementwise.Odd())
    found = epigraph.symmetries(mlp([3, 3, 2], nn.GELU))
    assert found.order == 6
    assert len(found.verification.dropped) == 1
    assert "left out" in found.notes[0]


ACTIVATIONS = [nn.Tanh, nn.ReLU, nn.Sigmoid, nn.GELU, nn.Softsign, nn.Hardtanh, nn.Identity, nn.SiLU]


@settings(max_examples=15)
@given(
    widths=st.lists(st.integers(1, 4), min_size=3, max_size=4),
    kinds=st.lists(st.sampled_from(ACTIVATIONS), min_size=3, max_size=3),
    bias=st.booleans(),
    decay=st.sampled_from([0.0, 0.1]),
    seed=st.integers(0, 10),
)
def test_nothing_false_is_claimed(widths, kinds, bias, decay, seed):
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for (a, b), kind in zip(pairwise(widths), kinds, strict=False):
        layers += [nn.Linear(a, b, bias), kind()]
    J = objective(nn.Sequential(*layers), (5, widths[0]), (5, widths[-1]), weight_decay=decay)
    found = epigraph.symmetries(J, seed=seed)
    assert not found.verification.dropped, found.notes
    if found.group.generators:
        generator = torch.Generator().manual_seed(seed)
        point = {k: torch.randn(v.shape, generator=generator, dtype=torch.float64) for k, v in J.parameters.items()}
        moved = found.apply(found.random(seed + 1), point)
        before, after = (J.value({k: p[k] for k in J.parameters}, double=True) for p in (point, moved))
        assert abs(before - after) <= 1e-12 * max(1, abs(before))


def test_order_statistics_and_spectra():
    weights = torch.arange(1.0, 5.0)
    cases = [
        (lambda w: (w.sort().values * weights).sum(), (4,), 24),
        (lambda w: (torch.linalg.svdvals(w) * weights[:3]).sum() + (w**3).sum(), (4, 3), 24 * 6),
        (lambda w: (torch.linalg.eigvalsh(w + w.T) * weights).sum() + (w**3).sum(), (4, 4), 24),
    ]
    for function, shape, order in cases:
        found = epigraph.symmetries(epigraph.Objective.from_function(function, {"w": torch.randn(shape)}))
        assert (found.order, found.verification.dropped) == (order, ())


class Experts(nn.Module):
    """Two experts, each of four hidden units, as stacks of matrices."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(3, 2)
        self.enter, self.leave = nn.Parameter(torch.randn(2, 3, 4)), nn.Parameter(torch.randn(2, 4, 2))

    def forward(self, x):
        hidden = torch.einsum("bi,eih->ebh", x, self.enter).tanh()
        return torch.einsum("be,ebh,eho->bo", self.gate(x).softmax(-1), hidden, self.leave)


def pictures(*layers):
    net = nn.Sequential(*layers)
    outputs = net(torch.randn(2, 1, 4, 4)).shape
    return objective(net, (2, 1, 4, 4), tuple(outputs))


@pytest.mark.parametrize(
    ("make", "order", "dimension"),
    [
        (lambda: objective(Experts(), (6, 3), (6, 2)), 2 * (2**4 * 24) ** 2, 2 + 1 + 1),
        (lambda: pictures(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 6, 1, groups=2), nn.ReLU(), nn.Conv2d(6, 1, 1)),
         2 * 2**2 * 6**2, 4 + 6),
        (lambda: pictures(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.ConvTranspose2d(4, 4, 1, groups=2), nn.ReLU(), nn.Conv2d(4, 1, 1)),
         2 * 2**2 * 2**2, 4 + 4),
        (lambda: pictures(nn.Conv2d(1, 3, 1), nn.Tanh(), nn.ConvTranspose2d(3, 4, 2, 2), nn.ReLU(), nn.Conv2d(4, 1, 1)),
         2**3 * 6 * 24, 4),
    ],
    ids=["stack of experts", "grouped convolution", "grouped transposed convolution", "strided transposed convolution"],
)  # fmt: skip
def test_each_of_several_groups_moves_by_itself(make, order, dimension):
    J = make()
    found = epigraph.symmetries(J)
    assert (found.order, found.dimension, found.verification.dropped) == (order, dimension, ())
    assert unchanged(J, found)


def test_an_order_of_thousands_of_digits_is_written_out():
    found = epigraph.symmetries(mlp([3, 1500, 2], nn.Tanh))
    written = found.to_dict()["order"]
    assert len(written) == 1 + math.floor(math.lgamma(1501) / math.log(10) + 1500 * math.log10(2)) > 4300
    assert written.endswith("0" * 374)  # the factors 5 in 1500!
    assert found.at()["copies"] == written
