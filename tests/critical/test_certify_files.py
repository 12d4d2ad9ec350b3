"""Proofs that the verifier repeats: networks too large for centred forms, and the files of minima."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from landscapes import autoencoder, network, scalar_product, xor
from scipy.optimize import linear_sum_assignment, minimize
from torch import nn
from typer.testing import CliRunner

import epigraph
from epigraph import Objective
from epigraph.certificate.verify import verify, verify_here
from epigraph.cli import app
from epigraph.critical.certify import VECTORS, Certifier
from epigraph.critical.evidence import Prover, of_different_values, save
from epigraph.hessian.dense import Dense


def minimised(J: Objective) -> dict[str, torch.Tensor]:
    """A point near a minimum of J, by L-BFGS on the values and gradients of the graph."""
    dense = Dense(J.graph(), tuple(J.parameters))

    def f(x: np.ndarray) -> tuple[float, np.ndarray]:
        jet = dense.of(torch.tensor(x)[None])
        return float(jet.value[0]), jet.gradient[0].numpy()

    start = torch.cat([p.detach().reshape(-1) for p in J.parameters.values()])
    x = torch.tensor(
        minimize(f, start.numpy(), jac=True, method="L-BFGS-B", options={"gtol": 1e-7, "ftol": 0.0, "maxiter": 2000}).x
    )
    counts = [p.numel() for p in J.parameters.values()]
    return {k: v.reshape(p.shape) for (k, p), v in zip(J.parameters.items(), x.split(counts), strict=True)}


def classifier() -> Objective:
    """A 12-6-3 network: 99 parameters on 300 points, more than centred forms take."""
    torch.manual_seed(0)
    X, y = torch.randn(300, 12, dtype=torch.float64), torch.randint(0, 3, (300,))
    net = nn.Sequential(nn.Linear(12, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    return Objective(net, nn.CrossEntropyLoss(), X, y, weight_decay=0.02)


def test_the_three_minima_of_xor_in_a_file(tmp_path):
    J = xor(2)
    found = epigraph.minima(J, 200)
    proved = save(J, [p.point for p in found.minima for _ in range(2)], tmp_path / "xor.epi")
    assert [f.index for f in proved] == [0, 0, 0]
    for f, value in zip(proved, (0.48024414, 0.51219512, 0.52266523), strict=True):
        assert abs(f.low - value) < 1e-8 and f.high - f.low < 1e-12 and f.radius > 5e-5
    result = verify(tmp_path / "xor.epi")
    assert result.property == "different local minima" and "3 strict local minima" in result.statement


def test_points_of_every_index_in_a_file(tmp_path):
    J = xor(2)
    found = epigraph.minima(J, 200)
    proved = save(J, [p.point for p in found.points], tmp_path / "xor.epi")
    assert sorted(f.index for f in proved) == [0, 0, 0, 1, 1]
    assert verify_here(tmp_path / "xor.epi").property == "different critical points"


def test_copies_are_one_value(tmp_path):
    J, s = scalar_product(0.5), 0.5**0.5
    points = [{"w": torch.tensor([t, t], dtype=torch.float64)} for t in (s, -s)]
    assert len(save(J, points, tmp_path / "x.epi")) == 1
    assert verify_here(tmp_path / "x.epi").property == "strict local minimum"
    prover = Prover(J)
    located = [prover.prove(p) for p in points]
    assert all(f is not None for f in located) and len(of_different_values([f for f in located if f])) == 1


def test_both_methods_agree_on_small_networks():
    J = xor(2)
    certifier, prover = Certifier(J), Prover(J)
    for p in epigraph.minima(J, 100).points:
        centred, located = certifier.isolate(p.point), prover.prove(p.point)
        assert centred is not None and located is not None
        assert centred.index == located.proof.index == p.index
        assert max(centred.low, located.proof.low) <= min(centred.high, located.proof.high)
        assert located.proof.curvature <= float(p.spectrum.abs().min()) * (1 + 1e-9)
        assert centred.radius >= located.proof.radius


def test_a_network_that_centred_forms_do_not_take(tmp_path):
    J = classifier()
    certifier = Certifier(J)
    assert not certifier.small
    point = minimised(J)
    found = certifier.locate(point)
    assert found is not None
    proof, polished, method = found
    assert method == VECTORS and proof.error < 1e-12 < proof.radius
    moved = max(float((polished[k] - point[k]).abs().max()) for k in point)
    assert 0 < moved < 1e-3  # L-BFGS stopped before the point
    dense = Dense(J.graph(), tuple(J.parameters)).of(torch.cat([v.reshape(-1) for v in polished.values()])[None])
    w = torch.linalg.eigvalsh(dense.hessian[0])
    assert proof.index == int((w < 0).sum()) and proof.curvature <= float(w.abs().min())
    assert proof.low - 1e-14 <= float(dense.value[0]) <= proof.high + 1e-14
    (same,) = save(J, [point], tmp_path / "x.epi")
    assert same.index == proof.index
    assert verify(tmp_path / "x.epi").ok


def test_a_parameter_that_j_ignores_has_no_proof():
    J = Objective.from_function(
        lambda x, y: x**2 + 0 * y.sum(), {"x": torch.tensor(0.0).double(), "y": torch.zeros(2).double()}
    )
    assert Prover(J).prove(dict(J.parameters)) is None


@pytest.mark.parametrize("end", [0.25, 0.0])
def test_the_ball_stays_in_the_domain(end, tmp_path):
    J = Objective.from_function(
        lambda w: ((w - 1) ** 4 / 8 + (w - 1) ** 2).sum(),
        {"w": torch.ones(1, dtype=torch.float64)},
        domain={"w": (1.0 - end, None)},
    )
    found = Prover(J).prove({"w": torch.ones(1, dtype=torch.float64)})
    if end == 0.0:
        assert found is None
    else:
        assert found is not None and found.proof.radius <= end


def test_single_precision_networks(tmp_path):
    torch.manual_seed(1)
    X, Y = torch.randn(20, 2), torch.randn(20, 1)
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1))
    J = Objective(net, nn.MSELoss(), X, Y, weight_decay=0.1)
    found = epigraph.minima(J, 50, saddles=False)
    assert save(J, [p.point for p in found.minima], tmp_path / "x.epi")
    assert verify_here(tmp_path / "x.epi").ok


def test_relu_networks_have_proofs_where_they_are_smooth(tmp_path):
    torch.manual_seed(2)
    X = torch.randn(30, 2, dtype=torch.float64)
    Y = (X[:, :1].relu() + 0.1 * torch.randn(30, 1)).double()
    J = network(X, Y, 1, nn.ReLU, weight_decay=0.1)
    found = epigraph.minima(J, 100, saddles=False, certify=True)
    certified = [p for p in found.minima if p.evidence == "certified"]
    for p in certified:
        assert Prover(J).prove(p.point) is not None
    assert certified


def teacher(W: torch.Tensor) -> torch.Tensor:
    """½E(Σ relu(wᵢ·x) - Σ relu(xⱼ))² over standard normal x, k outputs of each: Safran and Shamir's network in closed form."""
    k, (i, j) = len(W), torch.triu_indices(len(W), len(W), 1)

    def kernel(cosine: torch.Tensor) -> torch.Tensor:
        sine = (1 - cosine * cosine).sqrt()
        return sine + (math.pi / 2 + (cosine / sine).atan()) * cosine

    norm = (W * W).sum(1).sqrt()
    pairs = norm[i] * norm[j]
    between = (pairs * kernel((W @ W.T)[i, j] / pairs)).sum() / (2 * math.pi)
    across = (norm[:, None] * kernel(W / norm[:, None])).sum() / (2 * math.pi)
    return (W * W).sum() / 4 + between - across + k / 4 + k * (k - 1) / (4 * math.pi)


def test_the_spurious_minimum_of_six_units(tmp_path):
    """J = 0.02508058100246, eigenvalues from 0.004700 to 2.0237; six copies up to an exchange of units, each proved."""
    W = torch.full((6, 6), -0.0504, dtype=torch.float64)
    W.fill_diagonal_(0.9867)
    W[:, 5], W[5, :], W[5, 5] = 0.308, 0.2245, -0.6015
    J = Objective.from_function(teacher, {"W": W})
    prover, key = Prover(J), "W"
    copies = []
    for k in range(6):
        order = torch.arange(6).roll(k)
        located = prover.prove({key: W[:, order]})
        assert located is not None and located.proof.index == 0
        assert located.proof.low <= 0.02508058100246 + 1e-13 and located.proof.high >= 0.02508058100246 - 1e-13
        assert located.proof.high - located.proof.low < 1e-14 and 1e-7 < located.proof.radius < 1e-3
        assert 0.002 < located.proof.curvature < 0.0047004
        copies.append((located.proof.radius, next(iter(located.point.values()))))
    for a, (r, x) in enumerate(copies):
        for s, y in copies[a + 1 :]:  # no exchange of rows brings one ball near another
            apart = np.linalg.norm(x[:, None] - y[None], axis=2) ** 2
            least = apart[linear_sum_assignment(apart)].sum() ** 0.5
            assert least > 0.5 > r + s
    found = Certifier(J).locate({key: torch.tensor(copies[0][1])})
    assert found is not None and found[0].index == 0 and found[0].radius > 1e-4
    save(J, [{key: W}], tmp_path / "x.epi")
    assert "a strict local minimum" in verify_here(tmp_path / "x.epi").statement


# orbits of continuous symmetries --------------------------------------------------------------------------------------
def test_every_class_of_a_linear_autoencoder(tmp_path):
    """J = half the sum of the spectrum that is left out; indices and nullities by Baldi and Hornik."""
    J = autoencoder((4.0, 3.0, 2.0, 1.0), 2)
    found = epigraph.minima(J, 200, certify=True)
    known = [(1.5, 0, 4), (2.0, 1, 4), (2.5, 2, 4), (2.5, 2, 4), (3.0, 3, 3), (3.0, 3, 4), (3.5, 4, 3), (3.5, 4, 4)]
    known += [(4.0, 5, 3), (4.5, 6, 3), (5.0, 8, 0)]
    proved = [p for p in found.points if p.evidence == "certified"]
    assert sorted((round(p.value, 9), p.index, p.certificate["zeros"]) for p in proved) == known
    for p in proved:
        low, high = p.certificate["value"]
        assert low <= round(2 * p.value) / 2 <= high and high - low < 1e-12
    minima = save(J, [p.point for p in found.points], tmp_path / "x.epi", [p.nullity for p in found.points])
    assert [f.index for f in minima] == [0, 1, 2, 3, 4]  # four fields, five values
    assert verify(tmp_path / "x.epi").property == "different critical points up to symmetry"


@pytest.mark.parametrize("decay", [0.0, 0.25])
def test_a_product_with_and_without_decay(decay):
    J = scalar_product(decay)
    found = epigraph.minima(J, 50, certify=True)
    minimum, saddle = found.points
    assert minimum.evidence == saddle.evidence == "certified"
    low, high = minimum.certificate["value"]
    assert low <= decay - decay**2 / 2 <= high and minimum.certificate["zeros"] == (decay == 0)


def test_units_of_relu_and_logits_without_decay(tmp_path):
    torch.manual_seed(0)
    X = torch.randn(40, 3, dtype=torch.float64)
    Y = X[:, :1].relu() + 0.3 * torch.randn(40, 1, dtype=torch.float64)
    J = network(X[:, :1], Y, 1, nn.ReLU)
    found = epigraph.minima(J, 60, certify=True)
    (best,) = found.minima
    assert best.evidence == "certified" and best.certificate["zeros"] == 1
    net = nn.Linear(3, 3).double()
    J = Objective(net, nn.CrossEntropyLoss(), X, torch.randint(0, 3, (40,)))
    (only,) = epigraph.minima(J, 30, certify=True).minima
    assert only.evidence == "certified" and only.certificate["zeros"] == 4
    save(J, [only.point], tmp_path / "x.epi", [4])
    assert verify_here(tmp_path / "x.epi").property == "strict local minimum up to symmetry"


def test_too_few_fields_prove_nothing():
    J = autoencoder((2.0, 1.0), 1)
    point = {"W1": torch.tensor([[1.0, 0.0]]).double(), "W2": torch.tensor([[1.0], [0.0]]).double()}
    prover = Prover(J)
    assert prover.prove(point) is None and prover.prove(point, 2) is None
    located = prover.prove(point, 1)
    assert located is not None and located.proof.index == 0


def test_the_command_line_writes_minima(tmp_path):
    path = tmp_path / "m.epi"
    result = CliRunner().invoke(app, ["minima", "zoo:xor", "--starts", "40", "--certificate", str(path)])
    assert result.exit_code == 0, result.output
    assert "certified" in result.output and "minima of different values" in result.stderr
    assert verify_here(path).property == "different local minima"
    path = tmp_path / "none.epi"
    result = CliRunner().invoke(app, ["minima", "--expr", "x**4", "--starts", "5", "--certificate", str(path)])
    assert result.exit_code == 0 and "is not written" in result.stderr and not path.exists()
