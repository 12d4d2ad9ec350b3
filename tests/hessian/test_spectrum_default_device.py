"""With another default device, what the package makes itself stays beside the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import epigraph


def _objective() -> epigraph.Objective:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 4))
    return epigraph.Objective(model, F.cross_entropy, 300 * torch.randn(20, 3), torch.randint(0, 4, (20,)))


@pytest.fixture
def elsewhere() -> Iterator[epigraph.Objective]:
    """Tensors that are made without naming a device hold no values."""
    J = _objective()
    torch.set_default_device("meta")
    yield J
    torch.set_default_device(None)  # "cpu" would leave a mode that sees every operator


QUESTIONS: dict[str, Callable[[epigraph.Objective], Any]] = {
    "both ends": lambda J: epigraph.spectrum(J).to_dict()["bottom"],
    "float64": lambda J: [p.value for p in epigraph.spectrum(J, dtype="float64").top],
    "gauss-newton": lambda J: [p.value for p in epigraph.spectrum(epigraph.hessian(J, kind="gauss-newton")).top],
    "fisher-mc": lambda J: [p.value for p in epigraph.spectrum(epigraph.hessian(J, kind="fisher-mc")).top],
    "directions taken away": lambda J: [
        p.value for p in epigraph.spectrum(J, without=[torch.ones(52, device="cpu")]).top
    ],
    "density": lambda J: epigraph.density(J, outliers=2, seed=1).negative.value,
    "trace": lambda J: epigraph.trace(J).trace.value,
    "monitor": lambda J: epigraph.CurvatureMonitor(J, bottom=True).measure()["lambda_min"],
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_answers_do_not_depend_on_it(name: str, elsewhere: epigraph.Objective) -> None:
    given = QUESTIONS[name](elsewhere)
    torch.set_default_device(None)
    assert given == QUESTIONS[name](_objective())
