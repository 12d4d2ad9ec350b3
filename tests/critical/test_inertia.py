"""The index of networks of one to two thousand parameters by products, against dense eigenvalues in float64."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from epigraph import Objective
from epigraph.critical.inertia import inertia
from epigraph.critical.large import LargeExplorer
from epigraph.critical.starts import unflatten
from epigraph.hessian.api import hessian


def classifier(hidden: int, decay: float, seed: int) -> Objective:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(20, hidden), nn.Tanh(), nn.Linear(hidden, 5)).double()
    x = torch.randn(120, 20, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    return Objective(net, nn.CrossEntropyLoss(), x, torch.arange(120) % 5, weight_decay=decay)


def found(J: Objective, number: int, seed: int = 0):
    explorer = LargeExplorer(J, True, False, seed, lambda *words: None)
    begun, flip = explorer._numbered(number)
    end = explorer._from(begun.x[0], flip)
    return explorer, end


def compared(J: Objective, point, far=None) -> None:
    """What is settled agrees with the dense spectrum; what is not settled claims no more than that has."""
    H = hessian(J, point, verify=False)
    w = torch.linalg.eigvalsh(H.to_dense())
    got = inertia(H, H if far is None else hessian(J, far, verify=False))
    rounding = 1e-12 * float(w.abs().max())
    negative = int((w < -got.bar - rounding).sum())
    if got.reason:
        assert got.negative <= int((w < -got.bar + rounding).sum())
    else:
        assert got.negative == negative
        assert got.zeros == int((w.abs() <= got.bar).sum())
    assert got.negative > 0 or got.reason or not bool((w < -got.bar - 1e-8 * w.abs().max()).any())


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(4))
def test_minima_saddles_and_points_on_the_way(seed):
    """A small net's minimum, the same with zero units in a net of 1,200 to 2,500 parameters, and random points."""
    small, decay = 20 + 5 * seed, (1e-2, 1e-3)[seed % 2]
    J = classifier(small, decay, seed)
    explorer, end = found(J, 1, seed)
    assert end.critical
    large = classifier(50 + 15 * seed, decay, seed)
    assert 1000 < large.size < 2600
    point = {k: torch.zeros_like(v) for k, v in large.parameters.items()}
    for k, v in unflatten(explorer.dense, end.x).items():
        point[k][tuple(slice(0, d) for d in v.shape)] = v
    compared(large, point)
    compared(large, {k: torch.zeros_like(v) for k, v in point.items()})
    compared(large, {k: v + 0.05 * torch.randn_like(v) for k, v in point.items()})
    for number in (1, 2):
        explorer, end = found(large, number, seed)
        whole, beyond = (unflatten(explorer.dense, x) for x in (end.x, end.x + 2 * end.step))
        compared(large, whole, beyond)
