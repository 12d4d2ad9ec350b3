"""Programs in float32 that round: what is said of their eigenvalues holds for the Hessian in float64."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import epigraph
from epigraph.hessian.rounding import finer


def _problem(scale: float, seed: int) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(8, 12), nn.Tanh(), nn.Linear(12, 6), nn.Tanh(), nn.Linear(6, 3))
    for p in model.parameters():
        nn.init.normal_(p, std=0.3, generator=generator)
    return model, scale * torch.randn(60, 8, generator=generator), torch.randint(0, 3, (60,), generator=generator)


@pytest.mark.parametrize("kind", ["hessian", "gauss-newton"])
@pytest.mark.parametrize("scale", [1.0, 1e2, 1e4])
def test_bounds_hold_for_the_hessian_in_float64(scale: float, kind: str) -> None:
    """Inputs of some hundreds before a tanh: the float32 program's own Hessian is off in the fourth digit."""
    noted = False
    for seed in range(3):
        model, x, y = _problem(scale, seed)
        found = epigraph.spectrum(
            epigraph.hessian(epigraph.Objective(model, F.cross_entropy, x, y), kind=kind), top=4, bottom=3
        )
        fine = epigraph.Objective(copy.deepcopy(model).double(), F.cross_entropy, x.double(), y)
        exact = np.linalg.eigvalsh(epigraph.hessian(fine, kind=kind).to_dense().numpy())
        for pairs, values in ((found.top, exact[::-1]), (found.bottom, exact)):
            for pair, value in zip(pairs, values, strict=False):
                assert abs(pair.value - value) <= pair.bound
                assert abs(pair.value - value) <= pair.error
                assert not pair.converged or pair.error <= 5e-5 * abs(exact).max()
        noted |= any("rounds" in note for note in found.notes)
    assert noted or scale < 1e4


def test_a_finer_product_is_the_product_of_the_same_matrix() -> None:
    model, x, y = _problem(1.0, 0)
    coarse = epigraph.hessian(epigraph.Objective(model, F.cross_entropy, x, y, weight_decay=0.1))
    fine = epigraph.Objective(copy.deepcopy(model).double(), F.cross_entropy, x.double(), y, weight_decay=0.1)
    v = torch.randn(coarse.n, generator=torch.Generator().manual_seed(1))
    given = finer(coarse, v)
    assert given is not None
    torch.testing.assert_close(given, epigraph.hessian(fine) @ v.double(), rtol=1e-12, atol=1e-12)


def test_directions_that_are_projected_away_are_no_rounding() -> None:
    model, x, y = _problem(1.0, 1)
    H = epigraph.hessian(epigraph.Objective(model, F.cross_entropy, x, y))
    direction = torch.randn(H.n, generator=torch.Generator().manual_seed(2))
    found = epigraph.spectrum(H, top=2, bottom=1, without=[direction])
    assert found.noise < 1e-4 * found.top[0].value
