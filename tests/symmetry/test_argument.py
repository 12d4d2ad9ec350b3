"""The permutation argument as a certificate, and the cases in which it shows nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import epigraph
from epigraph.cli import app
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
    assert (shown.certificates, shown.case, shown.middle) == ({}, "not higher", pytest.approx(shown.copy))
    assert epigraph.check(J).convex == "proved"


def test_a_single_unit_has_no_copy_and_is_not_convex():
    J = mlp([2, 1, 1], nn.GELU)
    shown = epigraph.permutation_argument(J)
    assert (shown.certificates, shown.case) == ({}, "no symmetry")
    assert epigraph.check(J).convex == "refuted"


def test_identical_units_show_nothing():
    """Targets 0 with weight decay: the only minimum is 0, whose copies are itself; other points have copies that differ."""
    net = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Tanh(), nn.Linear(2, 1, bias=False))
    J = epigraph.Objective(net, nn.MSELoss(), torch.tensor([[1.0], [-1.0]]), torch.zeros(2, 1), weight_decay=1e-3)
    zero = {k: torch.zeros_like(v) for k, v in J.parameters.items()}
    twins = {"0.weight": torch.tensor([[0.5], [0.5]]), "2.weight": torch.tensor([[-1.0, -1.0]])}
    found = epigraph.symmetries(J)
    assert found.at(zero) == {"stabiliser": "8", "copies": "1", "exact": True, "flat": 0}
    assert epigraph.permutation_argument(J, found, at=zero).case == "identical units"
    assert found.at(twins)["copies"] == "4"
    permuted = replace(found, group=found.group.only(found.permutations))
    assert epigraph.permutation_argument(J, permuted, at=twins).case == "identical units"
    assert "convex" in epigraph.permutation_argument(J, found).certificates


def test_an_infimum_that_is_not_attained_has_no_copies():
    J = epigraph.Objective.from_function(lambda x: torch.exp(-x).sum(), {"x": torch.zeros(1)})
    shown = epigraph.permutation_argument(J)
    assert (shown.case, shown.reason.startswith("no permutation")) == ("no symmetry", True)
    assert epigraph.check(J).convex == "proved"


def test_copies_of_points_that_are_no_minima_refute_as_well():
    """Separable data without decay: J > 0 comes as near to 0 as one likes, and is no convex function all the same."""
    net = nn.Sequential(nn.Linear(1, 2), nn.Tanh(), nn.Linear(2, 1), nn.Flatten(0))
    x, y = torch.tensor([[-1.0], [1.0], [3.0]]), torch.tensor([0.0, 1.0, 0.0])
    shown = epigraph.permutation_argument(epigraph.Objective(net, nn.BCEWithLogitsLoss(), x, y))
    assert sorted(shown.certificates) == ["convex", "quasiconvex"]


def test_a_single_number_that_may_change_its_sign():
    """x^4 - x^2 between -1 and 1 is refuted, x^2 is not, and 1/x^2 has no value halfway."""

    def shown(function):
        return epigraph.permutation_argument(epigraph.Objective.from_function(function, {"x": torch.ones(1)}))

    assert sorted(shown(lambda x: (x**4 - x**2).sum()).certificates) == ["convex", "quasiconvex"]
    assert shown(lambda x: (x**2).sum()).case == "not higher"
    assert shown(lambda x: (1 / x**2).sum()).case == "undefined"


def test_the_zoo_is_not_contradicted():
    """What is known to be convex is not refuted; four entries are convex and have copies, or none and are not convex."""
    from epigraph import zoo

    cases = {}
    for entry in map(zoo.get, zoo.names()):
        shown = epigraph.permutation_argument(entry.build())
        known = entry.known["verdict"]
        assert not (known in ("convex", "affine") and shown.certificates), entry.name
        assert entry.known.get("quasiconvex") != "proved" or "quasiconvex" not in shown.certificates, entry.name
        cases[entry.name] = (shown.case, known)
    assert cases["symmetric-linear-units"] == ("not higher", "convex")
    assert cases["sigmoid-squared-error"] == ("no symmetry", "nonconvex")
    assert cases["swapped-units"] == cases["xor"] == ("refuted", "nonconvex")
    assert cases["least-squares-permuted"] == ("no symmetry", "convex")


def test_the_command_writes_a_file_that_verifies(tmp_path):
    path, point = tmp_path / "copies.epi", tmp_path / "zero.pt"
    ran = CliRunner().invoke(app, ["symmetry", "zoo:xor", "--json", "--certificate", str(path)])
    record = json.loads(ran.stdout)
    assert (ran.exit_code, record["order"], record["copies"]["case"]) == (0, "8", "refuted")
    assert record["copies"]["middle"] > record["copies"]["copy"]
    checked = CliRunner().invoke(app, ["verify", str(path)])
    assert (checked.exit_code, "not convex" in checked.stdout) == (0, True)
    J = epigraph.zoo.load("xor")
    torch.save({k: torch.zeros_like(v) for k, v in J.parameters.items()}, point)
    ran = CliRunner().invoke(
        app, ["symmetry", "zoo:xor", "--at", str(point), "--certificate", str(tmp_path / "no.epi")]
    )
    assert ran.exit_code == 0
    assert "this point has 1 copy" in ran.stdout
    assert "identical" in " ".join(ran.stdout.split())
    assert not (tmp_path / "no.epi").exists()


def test_the_command_shows_every_kind_of_generator():
    ran = CliRunner().invoke(app, ["symmetry", "zoo:softmax-digits"])
    assert (ran.exit_code, "shift" in ran.stdout) == (0, True), ran.output
