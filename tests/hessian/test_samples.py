"""The Hessian assembled sample by sample against the one from the tangents of all parameters, and against autograd."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import epigraph.hessian.dense
from epigraph import Objective
from epigraph.hessian.dense import Dense

N = 7


class Residual(nn.Module):
    """Two layers with a bypass, a normalisation with a gain, and rows joined and cut."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(5, 4), nn.Linear(4, 4), nn.Linear(6, 3)
        self.norm = nn.LayerNorm(4)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first(x))
        h = h + F.softplus(self.second(self.norm(h)))
        h = torch.cat([h, x[:, :2]], 1)
        return self.last(torch.relu(h) * torch.sigmoid(h))


class Tied(nn.Module):
    """One matrix in two layers: samples meet its entries twice."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 5))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.weight) @ self.weight


class Centred(nn.Module):
    """The mean over the samples enters each of them: rows are not apart."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(5, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first(x))
        return self.last(torch.tanh(h - h.mean(0)))


def mlp(*widths: int, activation: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b), activation()]
    return nn.Sequential(*layers[:-1])


def root_mean_square(out: Tensor, y: Tensor) -> Tensor:
    return F.mse_loss(out, y).sqrt()


def chosen(out: Tensor, y: Tensor) -> Tensor:
    return -(out.log_softmax(1) * y.softmax(1)).sum(1).mean()


CASES = {
    "cross-entropy": (lambda: mlp(5, 4, 3), nn.CrossEntropyLoss(), "classes", True),
    "label smoothing": (lambda: mlp(5, 4, 3), nn.CrossEntropyLoss(label_smoothing=0.1), "classes", True),
    "class weights": (lambda: mlp(5, 4, 3), nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0])), "classes", True),
    "squares": (lambda: mlp(5, 4, 3, activation=nn.Softplus), nn.MSELoss(reduction="sum"), "numbers", True),
    "three layers": (lambda: mlp(5, 4, 4, 3, activation=nn.GELU), nn.SmoothL1Loss(), "numbers", True),
    "logistic": (lambda: mlp(5, 3), nn.BCEWithLogitsLoss(), "zeros and ones", True),
    "soft targets": (lambda: mlp(5, 4, 3), chosen, "numbers", True),
    "residual": (Residual, nn.CrossEntropyLoss(), "classes", True),
    "root": (lambda: mlp(5, 4, 3), root_mean_square, "numbers", False),
    "tied": (Tied, lambda out, y: (out[:, :3] - y).square().mean(), "numbers", False),
    "centred": (Centred, nn.MSELoss(), "numbers", False),
}


def objective(case: str, weight_decay: float = 0.01) -> Objective:
    torch.manual_seed(0)
    build, loss, kind, _ = CASES[case]
    X = torch.randn(N, 5, dtype=torch.float64)
    y = {
        "classes": torch.arange(N) % 3,
        "numbers": torch.randn(N, 3, dtype=torch.float64),
        "zeros and ones": (torch.randn(N, 3) > 0).double(),
    }[kind]
    loss = loss.double() if isinstance(loss, nn.Module) else loss
    return Objective(build().double(), loss, X, y, weight_decay=weight_decay)


@pytest.fixture
def small(monkeypatch):
    """Also small objectives are looked at sample by sample."""
    monkeypatch.setattr(epigraph.hessian.dense, "APART", 0)
    monkeypatch.setattr(epigraph.hessian.dense, "SHARE", 1e9)


@pytest.mark.parametrize("case", CASES)
def test_both_ways_agree(small, monkeypatch, case):
    J = objective(case)
    dense = Dense(J.graph())
    assert (dense.plan is not None) == CASES[case][3]
    monkeypatch.setattr(epigraph.hessian.dense, "APART", 10**9)
    other = Dense(J.graph())
    assert other.plan is None
    x = torch.randn(3, dense.size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    one, two = dense.of(x), other.of(x)
    assert torch.equal(one.value, two.value) and torch.equal(one.gradient, two.gradient)
    assert float((one.hessian - two.hessian).abs().max()) <= 1e-14 * float(two.hessian.abs().max())


def test_against_autograd(small):
    J = objective("residual")
    dense = Dense(J.graph())
    assert dense.plan is not None
    model, (X, y) = J.model, (J.batches()[0].inputs, J.batches()[0].targets)
    names, shapes = list(J.parameters), [v.shape for v in J.parameters.values()]

    def f(x: Tensor) -> Tensor:
        parts = x.split([s.numel() for s in shapes])
        named = {k: p.reshape(s) for k, p, s in zip(names, parts, shapes, strict=True)}
        X_ = X[0] if isinstance(X, tuple) else X
        return F.cross_entropy(torch.func.functional_call(model, named, (X_,)), y) + 0.005 * x.square().sum()

    x = torch.randn(dense.size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    expected = torch.autograd.functional.hessian(f, x)
    assert float((dense.of(x[None]).hessian[0] - expected).abs().max()) <= 1e-12 * float(expected.abs().max())


def test_some_parameters_only(small):
    J = objective("cross-entropy")
    whole, part = Dense(J.graph()), Dense(J.graph(), ["2.bias", "0.weight"])
    assert part.plan is not None
    x = torch.cat([J.parameters[k].detach().reshape(-1) for k in whole.names])[None]
    sizes = [v.numel() for v in J.parameters.values()]
    place = dict(zip(whole.names, torch.arange(whole.size).split(sizes), strict=True))
    rows = torch.cat([place["2.bias"], place["0.weight"]])
    H = whole.of(x).hessian[0][rows][:, rows]
    assert float((part.of(x[:, rows]).hessian[0] - H).abs().max()) <= 1e-14


def test_decay_of_products_of_weights(small):
    """Penalties in which different parameters meet, and powers of one."""
    X = torch.randn(N, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def f(W: Tensor, V: Tensor) -> Tensor:
        out = torch.tanh(X @ W)
        return (
            out.square().sum() + (W * V).sum() + (W * W * W).sum() - torch.exp(0.3 * V).sum() + (W - 1.0).cosh().sum()
        )

    names = {k: torch.randn(5, 4, dtype=torch.float64) for k in "WV"}
    dense = Dense(Objective.from_function(f, names).graph())
    assert dense.plan is not None
    x = torch.randn(dense.size, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    expected = torch.autograd.functional.hessian(lambda z: f(z[:20].reshape(5, 4), z[20:].reshape(5, 4)), x)
    assert float((dense.of(x[None]).hessian[0] - expected).abs().max()) <= 1e-12 * float(expected.abs().max())
