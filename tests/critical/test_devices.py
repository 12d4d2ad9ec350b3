"""Searches on another device than the CPU: nothing is mixed, and the same points are found."""

from __future__ import annotations

import pytest
import torch
from landscapes import xor
from pretended import Pretended, place
from torch import nn
from typer.testing import CliRunner

import epigraph
from epigraph import Objective
from epigraph.cli import app
from epigraph.errors import UsageError
from epigraph.hessian.dense import Dense

CUDA = torch.device("cuda")
SEARCHING = ("cholesky_ex", "linalg_cholesky_ex", "linalg_eigh", "eigh", "cholesky_solve", "solve_triangular")


def drawn(lanes: int, n: int) -> torch.Tensor:
    return torch.randn(lanes, n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def by_samples() -> Objective:
    """Large enough for Hessians sample by sample, and for L-BFGS in a metric."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 10), nn.Tanh(), nn.Linear(10, 3)).double()
    return Objective(net, nn.CrossEntropyLoss(), drawn(40, 8), torch.arange(40) % 3, weight_decay=1e-2)


def test_the_pretended_device_notices_what_is_mixed():
    x = torch.ones(3)
    with Pretended("cuda"):
        y = x.to("cuda")
        assert place(y) == y.device == CUDA and place(x) == x.device == torch.device("cpu")
        assert place((y * 2)[:2]) == CUDA == place(torch.zeros_like(y)) == place(y.new_full((2,), 1.0))
        assert place(torch.zeros(3, device="cuda") + 1.0) == CUDA and place(y.cpu()) == x.device
        assert place(y[torch.tensor([0, 1])]) == CUDA  # as PyTorch allows it
        for mixed in (lambda: x + y, lambda: torch.cat([x, y]), lambda: torch.where(y > 0, x, y), lambda: y.numpy()):
            with pytest.raises(RuntimeError):
                mixed()
        with pytest.raises(RuntimeError):
            torch.randn(2, generator=torch.Generator(), device="cuda")


@pytest.mark.parametrize("make", [lambda: xor(2), by_samples])
def test_jets_are_computed_where_they_should_be(make):
    graph = make().graph()
    here = Dense(graph)
    x = 0.3 * drawn(3, here.size)
    with Pretended("cuda"):
        there = Dense(graph, device=CUDA)
        assert (there.plan is None) == (here.plan is None)
        for flat in (x, x.to("cuda")):
            jet = there.of(flat)
            assert {place(t) for t in (jet.value, jet.gradient, jet.hessian)} == {place(flat)}
            assert all(place(t) == place(flat) for t in (*there.slopes(flat), *there.values(flat)))
        jet = there.of(x)
    known = here.of(x)
    assert torch.equal(jet.value, known.value) and torch.equal(jet.hessian, known.hessian)


@pytest.mark.parametrize(("make", "starts"), [(lambda: xor(2), 24), (by_samples, 3)])
def test_the_searches_run_there_and_find_the_same(make, starts):
    J = make()
    known = epigraph.minima(J, starts)
    with Pretended("cuda") as pretended:
        found = epigraph.minima(J, starts, device="cuda")
    assert [(p.kind, p.value, p.orbit, p.found) for p in found.points] == [
        (p.kind, p.value, p.orbit, p.found) for p in known.points
    ]
    assert found.ends == known.ends
    assert all(place(v) == torch.device("cpu") for p in found.points for v in (p.spectrum, *p.point.values()))
    on = {
        d: sum(n for (name, where), n in pretended.calls.items() if where == d and name in SEARCHING)
        for d in ("cuda", "cpu")
    }
    assert on["cuda"] > 5 * on["cpu"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is such a device")
def test_a_device_that_is_not_there():
    for name in ("cuda", "cuda:77", "nonsense", "meta"):
        with pytest.raises(UsageError, match="E078"):
            epigraph.minima(xor(2), 5, device=name)
    run = CliRunner().invoke(app, ["minima", "--expr", "(x**2-1)**2", "--device", "cuda"])
    assert run.exit_code != 0 and "E078" in run.output


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_device_that_is_there():
    known, found = epigraph.minima(xor(2), 200), epigraph.minima(xor(2), 200, device="cuda")
    assert [(p.kind, p.orbit) for p in found.points] == [(p.kind, p.orbit) for p in known.points]
    assert all(abs(p.value - q.value) < 1e-12 for p, q in zip(found.points, known.points, strict=True))
