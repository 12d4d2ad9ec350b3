"""Alignment and barriers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import epigraph
from symmetry.models import mlp


def test_a_planted_copy_is_brought_back():
    torch.manual_seed(0)
    for activation in (nn.Tanh, nn.ReLU):
        found = epigraph.symmetries(mlp([3, 12, 12, 2], activation))
        first = found.apply(found.random(1))
        second = found.apply(found.random(2), first)
        aligned = epigraph.align(found, first, second)
        assert aligned.after < 1e-9 * aligned.before
        assert all(torch.allclose(aligned.point[k], first[k], atol=1e-8) for k in first)


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
