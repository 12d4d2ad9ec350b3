"""Alignment and barriers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import epigraph
from epigraph.symmetry.activations import Activations
from symmetry.models import Convolutions, Grouped, Recurrent, mlp, objective


def test_a_planted_copy_is_brought_back():
    torch.manual_seed(0)
    for activation in (nn.Tanh, nn.ReLU):
        found = epigraph.symmetries(mlp([3, 12, 12, 2], activation))
        first = found.apply(found.random(1))
        second = found.apply(found.random(2), first)
        aligned = epigraph.align(found, first, second)
        assert aligned.after < 1e-9 * aligned.before
        assert all(torch.allclose(aligned.point[k], first[k], atol=1e-8) for k in first)


@pytest.mark.parametrize(
    "make",
    [
        lambda: mlp([3, 12, 9, 2], nn.Tanh),
        lambda: mlp([3, 12, 9, 2], nn.ReLU),
        lambda: objective(Recurrent(nn.LSTM), (6, 3, 2), (6, 1)),
        lambda: objective(Grouped(), (4, 4, 5), (4, 4, 2)),
        lambda: objective(Convolutions(), (4, 2, 6, 6), (4, 2)),
    ],
    ids=["tanh", "relu", "lstm", "grouped queries", "convolutions"],
)
def test_units_are_matched_by_what_they_answer(make):
    """A copy is brought back as far as its answers show; where they show all (no sign before a norm), exactly."""
    torch.manual_seed(0)
    J = make()
    found = epigraph.symmetries(J)
    first = {k: torch.rand(v.shape, dtype=torch.float64) + 0.1 for k, v in found.values.items()}
    first = {k: v * (torch.randint(0, 2, v.shape) * 2 - 1) if k not in found.buffers else v for k, v in first.items()}
    second = found.apply(found.random(2), first)
    aligned = epigraph.align(found, first, second, by=J)
    seen = Activations(J, found)
    one, two, three = (seen(p) for p in (first, second, aligned.point))
    assert one
    assert all(torch.allclose(one[k], three[k], atol=1e-9) for k in one)
    assert not all(torch.allclose(one[k], two[k], atol=1e-3) for k in one)
    if not found.buffers and not found.flows:
        assert aligned.after < 1e-7 * aligned.before


def test_alignment_is_never_farther_and_keeps_the_value():
    torch.manual_seed(0)
    J = mlp([3, 9, 9, 2], nn.ReLU)
    found = epigraph.symmetries(J)
    one, two = ({k: torch.randn_like(v, dtype=torch.float64) for k, v in J.parameters.items()} for _ in range(2))
    aligned = epigraph.align(found, one, two)
    assert aligned.after < aligned.before
    assert J.value(aligned.point, double=True) == pytest.approx(J.value(two, double=True), rel=1e-12)


def test_the_barrier_between_two_copies_of_a_product():
    """J = (1 - v w)^2 / 2 + lambda (v^2 + w^2) / 2: minima at +-(s, s), s^2 = 1 - lambda; the barrier is (1 - lambda)^2 / 2."""
    J = epigraph.Objective.from_function(
        lambda v, w: ((1 - v * w) ** 2 / 2).sum(), {"v": torch.ones(1), "w": torch.ones(1)}, weight_decay=0.1
    )
    s = torch.tensor([0.9**0.5], dtype=torch.float64)
    found = epigraph.symmetries(J)
    apart = epigraph.barrier(J, {"v": s, "w": s}, {"v": -s, "w": -s})
    assert apart.over_max == pytest.approx(0.405, abs=1e-9)
    assert apart.over_line == pytest.approx(0.405, abs=1e-9)
    assert apart.at == pytest.approx(0.5, abs=1e-6)
    together = epigraph.barrier(J, {"v": s, "w": s}, {"v": -s, "w": -s}, found=found)
    assert together.over_max == pytest.approx(0.0, abs=1e-12)


def test_the_two_definitions_differ_where_the_ends_do():
    J = epigraph.Objective.from_function(lambda x: (x**2 * (x - 3) ** 2).sum() + x.sum(), {"x": torch.zeros(1)})
    found = epigraph.barrier(J, {"x": torch.zeros(1)}, {"x": torch.tensor([3.0])})
    assert found.over_line > found.over_max > 0
    dense = torch.linspace(0, 3, 300001, dtype=torch.float64)
    values = dense**2 * (dense - 3) ** 2 + dense
    assert found.over_max == pytest.approx(float(values.max()) - 3, abs=1e-8)
    assert found.over_line == pytest.approx(float((values - dense).max()), abs=1e-8)


def normed(seed):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))
    for _ in range(5):
        net(torch.randn(40, 3))  # moves the running statistics
    with torch.no_grad():
        net[1].weight.add_(0.3 * torch.randn(6))
        net[1].bias.add_(0.3 * torch.randn(6))
    return net.eval()


def test_running_statistics_are_estimated_along_the_line():
    """Against a program that trains nothing but the statistics, at three points of the line."""
    import copy

    one, two = normed(0), normed(1)
    x, y = torch.randn(50, 3), torch.randn(50, 2)
    J = epigraph.Objective(one, nn.MSELoss(), x, y)
    a, b = ({k: v.detach().double() for k, v in net.state_dict().items()} for net in (one, two))
    seen = epigraph.barrier(J, a, b, points=3)
    for t, value in [p for p in seen.curve if p[0] in (0.0, 0.5, 1.0)]:
        net = copy.deepcopy(one).double()
        net.load_state_dict({k: (1 - t) * a[k] + t * b[k] for k in a})
        net[1].reset_running_stats()
        net[1].momentum = None
        net.train()
        net(x.double())
        assert value == pytest.approx(nn.functional.mse_loss(net.eval()(x.double()), y.double()).item(), rel=1e-12)
    given = epigraph.barrier(J, a, b, points=3, statistics="given")
    assert given.curve[-1][1] == pytest.approx(nn.functional.mse_loss(two(x), y).item(), rel=1e-5)
    assert given.curve[-1][1] != pytest.approx(seen.curve[-1][1], rel=1e-3)
    assert not one.training
    assert all(torch.equal(v.double(), a[k]) for k, v in one.state_dict().items())


@pytest.mark.parametrize("statistics", ["estimated", "given"])
def test_a_copy_with_its_statistics_has_no_barrier(statistics):
    one, x = normed(0), torch.randn(50, 3)
    J = epigraph.Objective(one, nn.MSELoss(), x, one(x).detach())
    found = epigraph.symmetries(J)
    a = {k: v.detach().double() for k, v in one.state_dict().items() if v.is_floating_point()}
    seen = epigraph.barrier(J, a, found.apply(found.random(3), a), found=found, statistics=statistics)
    assert seen.before is not None
    assert seen.before.over_line > 1e-2 > 1e-9 > seen.over_line
    with pytest.raises(epigraph.UsageError):
        epigraph.barrier(J, a, a, statistics="none")


def test_the_picture_has_both_curves():
    from xml.etree import ElementTree

    from epigraph.plot.passage import draw, info

    torch.manual_seed(0)
    J = mlp([3, 6, 2], nn.Tanh)
    found = epigraph.symmetries(J)
    theta = found.apply(found.random(1))
    seen = epigraph.barrier(J, theta, found.apply(found.random(2), theta), found=found, points=11)
    shown = info(seen)
    assert [c.name for c in shown.courses] == ["before alignment", "after alignment"]
    assert shown.courses[0].top[1] == pytest.approx(max(v for _, v in seen.before.curve), rel=1e-6)
    root = ElementTree.fromstring(draw(shown))
    lines = [e for e in root.iter() if e.tag.endswith("polyline")]
    assert [len(e.attrib["points"].split()) for e in lines] == [len(c.points) for c in shown.courses]
    assert seen._repr_html_().startswith("<svg")


def test_wide_layers_are_matched_by_products():
    """Above a thousand products of rows the costs are computed by matrix products: the copy is found all the same."""
    torch.manual_seed(0)
    found = epigraph.symmetries(mlp([40, 256, 10], nn.ReLU))
    first = found.apply(found.random(1))
    aligned = epigraph.align(found, first, found.apply(found.random(2), first))
    assert aligned.after < 1e-9 * aligned.before


@pytest.mark.parametrize(
    "make",
    [
        lambda: mlp([3, 12, 12, 2], nn.Tanh),
        lambda: mlp([3, 12, 9, 2], nn.ReLU),
        lambda: objective(Recurrent(nn.LSTM), (6, 3, 2), (6, 1)),
        lambda: objective(Grouped(), (4, 4, 5), (4, 4, 2)),
        lambda: objective(Convolutions(), (4, 2, 6, 6), (4, 2)),
    ],
    ids=["tanh", "relu", "lstm", "grouped queries", "convolutions"],
)
def test_all_index_sets_at_once(make):
    """Noise on a copy is no obstacle: the noise is what is left; and the function is that of the second point."""
    torch.manual_seed(0)
    J = make()
    found = epigraph.symmetries(J)
    first = {k: torch.randn(v.shape, dtype=torch.float64).abs() + 0.3 for k, v in found.values.items()}
    first = {k: v * (torch.randint(0, 2, v.shape) * 2 - 1) if k not in found.buffers else v for k, v in first.items()}
    second = found.apply(found.random(2), {k: v * (1 + 1e-3 * torch.randn_like(v)) for k, v in first.items()})
    aligned = epigraph.align(found, first, second, method="frank-wolfe")
    size = sum(float((v**2).sum()) for v in first.values()) ** 0.5
    assert aligned.after < 3e-3 * size < aligned.before
    if not found.buffers:
        values = [J.value({k: p[k] for k in J.parameters}, double=True) for p in (second, aligned.point)]
        assert values[0] == pytest.approx(values[1], rel=1e-12)
    with pytest.raises(epigraph.UsageError):
        epigraph.align(found, first, second, method="gradient")


def test_the_mixture_beats_single_sweeps_on_average():
    """Two random networks: all sets at once end nearer than one set after the other, in most of twenty pairs."""
    torch.manual_seed(0)
    found = epigraph.symmetries(mlp([4, 16, 16, 3], nn.Tanh))
    nearer = 0
    for _ in range(20):
        one, two = ({k: torch.randn_like(v, dtype=torch.float64) for k, v in found.values.items()} for _ in range(2))
        left = [epigraph.align(found, one, two, method=m).after for m in ("coordinate", "frank-wolfe")]
        nearer += left[1] < left[0]
    assert nearer >= 11
