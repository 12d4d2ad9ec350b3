"""The permutation argument as a certificate, and the cases in which it shows nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import epigraph
from symmetry.models import mlp, objective


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU, nn.GELU])
def test_two_copies_refute_convexity_and_quasiconvexity(activation, tmp_path):
    J = mlp([2, 3, 1], activation, weight_decay=0.01)
    shown = epigraph.permutation_argument(J)
    assert sorted(shown.certificates) == ["convex", "quasiconvex"]
    for kind, certificate in shown.certificates.items():
        a, b, m = certificate.a, certificate.b, certificate.m
        assert any(not torch.equal(a[k], b[k]) for k in a)
        assert all(torch.equal(m[k], (a[k] + b[k]) / 2) for k in a)
        ends = [J.value(p, double=True) for p in (a, b)]
        assert ends[0] == pytest.approx(ends[1], rel=1e-12)
        assert J.value(m, double=True) > max(ends)
        certificate.save(tmp_path / f"{kind}.epi")
        assert epigraph.verify(tmp_path / f"{kind}.epi").ok


def test_copies_stay_in_the_domain():
    J = mlp([2, 2, 1], nn.Tanh, domain={"0.bias": (0.0, None)})
    certificate = epigraph.permutation_argument(J).certificates["convex"]
    assert bool((certificate.a["0.bias"] >= 0).all() and (certificate.b["0.bias"] >= 0).all())


class FixedOutgoing(nn.Module):
    """Linear units whose outgoing weights are fixed and equal: symmetric, and convex."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 4)

    def forward(self, x):
        return self.inner(x).sum(1, keepdim=True)


def test_symmetric_and_convex():
    J = objective(FixedOutgoing(), (6, 3), (6, 1))
    assert epigraph.symmetries(J).order == 24
    shown = epigraph.permutation_argument(J)
    assert (shown.certificates, shown.middle) == ({}, pytest.approx(shown.copy))
    assert epigraph.check(J).convex == "proved"


def test_a_single_unit_has_no_copy_and_is_not_convex():
    J = mlp([2, 1, 1], nn.GELU)
    assert not epigraph.permutation_argument(J).certificates
    assert epigraph.check(J).convex == "refuted"


def test_an_infimum_that_is_not_attained_has_no_copies():
    J = epigraph.Objective.from_function(lambda x: torch.exp(-x).sum(), {"x": torch.zeros(1)})
    assert epigraph.permutation_argument(J).reason.startswith("no permutation")
    assert epigraph.check(J).convex == "proved"
