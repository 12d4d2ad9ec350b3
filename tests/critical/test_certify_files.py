"""Proofs that the verifier repeats: networks too large for centred forms, and the files of minima."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from landscapes import network, scalar_product, xor
from scipy.optimize import minimize
from torch import nn

import epigraph
from epigraph import Objective
from epigraph.certificate.verify import verify, verify_here
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
