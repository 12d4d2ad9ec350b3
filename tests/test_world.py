"""The ``unchanged`` fixture itself: each kind of change is noticed."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn


def _module() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))


def _step_gradient(m: nn.Module) -> None:
    m(torch.ones(3, 2)).sum().backward()


def _move_weight(m: nn.Module) -> None:
    with torch.no_grad():
        m[0].weight.add_(1e-7)  # type: ignore[index,union-attr]


def _same_value(m: nn.Module) -> None:
    m[0].weight.data = m[0].weight.data.clone()  # type: ignore[index,union-attr]


CHANGES: dict[str, Callable[[nn.Module], object]] = {
    "mode": lambda m: m.eval(),
    "grad": _step_gradient,
    "bits": _move_weight,
    "object": _same_value,
    "requires_grad": lambda m: m.requires_grad_(False),
    "hooks": lambda m: m.register_forward_hook(lambda *_: None),
    "running_mean bits": lambda m: m(torch.ones(3, 2)),
    "attributes": lambda m: setattr(m, "cache", 1),
    "torch generator": lambda m: torch.rand(1),
    "numpy generator": lambda m: np.random.rand(),
    "python generator": lambda m: random.random(),
}


@pytest.mark.parametrize("key", CHANGES)
def test_a_change_is_noticed(key, unchanged):
    module = _module()
    with pytest.raises(AssertionError, match=key), unchanged(module):
        CHANGES[key](module)


def test_nan_equals_itself(unchanged):
    x = torch.tensor([float("nan"), 1.0])
    with unchanged(x):
        pass


def test_reading_changes_nothing(unchanged):
    module = _module().eval()
    x = torch.ones(3, 2)
    with unchanged(module, x):
        module(x)
        torch.rand(1, generator=torch.Generator().manual_seed(1))


def test_switches_are_watched(unchanged):
    with pytest.raises(AssertionError, match="default dtype"), unchanged():
        torch.set_default_dtype(torch.float64)
    torch.set_default_dtype(torch.float32)
