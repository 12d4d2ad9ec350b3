"""Gauss-Newton and Fisher products against matrices assembled from Jacobians and per-sample gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from spectrum_cases import CASES
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.data import DataLoader, TensorDataset

import epigraph
from epigraph.errors import ObjectiveError, UsageError


def _model(outputs: int, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, outputs)).double()


def _data(n: int) -> Tensor:
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def _flat(model: nn.Module) -> tuple[Tensor, Callable[[Tensor, Tensor], Tensor]]:
    named = {k: v.detach() for k, v in model.named_parameters()}

    def call(theta: Tensor, x: Tensor) -> Tensor:
        parts = theta.split([v.numel() for v in named.values()])
        return functional_call(
            model, {k: p.view(v.shape) for (k, v), p in zip(named.items(), parts, strict=True)}, (x,)
        )

    return torch.cat([v.reshape(-1) for v in named.values()]), call


def _labels(n: int, classes: int) -> Tensor:
    return torch.randint(classes, (n,), generator=torch.Generator().manual_seed(2))


def _goals(n: int, d: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


LOSSES: dict[str, tuple[Any, Callable[[int], Tensor]]] = {
    "cross-entropy": (F.cross_entropy, lambda n: _labels(n, 2)),
    "sum of cross-entropies": (nn.CrossEntropyLoss(reduction="sum"), lambda n: _labels(n, 2)),
    "mse": (nn.MSELoss(), lambda n: _goals(n, 2)),
    "bce": (nn.BCEWithLogitsLoss(), lambda n: (_goals(n, 2) > 0).double()),
    "huber": (nn.HuberLoss(), lambda n: _goals(n, 2)),
}


def _gauss_newton(model: nn.Module, loss: Any, x: Tensor, y: Tensor) -> Tensor:
    theta, call = _flat(model)
    jacobian = torch.func.jacrev(lambda t: call(t, x).reshape(-1))(theta)
    z = call(theta, x)
    inner = torch.func.hessian(lambda u: loss(u.view(z.shape), y))(z.reshape(-1))
    return jacobian.T @ inner @ jacobian


def _fisher(model: nn.Module, loss: Any, x: Tensor, y: Tensor, mean: bool) -> Tensor:
    theta, call = _flat(model)
    rows = [torch.func.grad(lambda t, i=i: loss(call(t, x[i : i + 1]), y[i : i + 1]))(theta) for i in range(len(x))]
    G = torch.stack(rows)
    return G.T @ G / (len(x) if mean else 1)


@pytest.mark.parametrize("name", LOSSES)
def test_gauss_newton_and_fisher_against_dense(name: str, unchanged) -> None:
    loss, make = LOSSES[name]
    model, x, y = _model(2), _data(9), make(9)
    J = epigraph.Objective(model, loss, x, y, weight_decay=0.3)
    G, E = _gauss_newton(model, loss, x, y), _fisher(model, loss, x, y, "sum" not in name)
    with unchanged(model):
        assert torch.allclose(
            epigraph.hessian(J, kind="gauss-newton").to_dense(), G + 0.3 * torch.eye(len(G)), atol=1e-12
        )
        assert torch.allclose(epigraph.hessian(J, kind="fisher").to_dense(), E, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["cross-entropy", "mse", "bce", "sum of cross-entropies"])
def test_drawn_targets_give_gauss_newton_on_average(name: str) -> None:
    loss, make = LOSSES[name]
    model, x, y = _model(2), _data(5), make(5)
    J = epigraph.Objective(model, loss, x, y)
    G = _gauss_newton(model, loss, x, y)
    F_ = epigraph.hessian(J, kind="fisher-mc", samples=20_000).to_dense()
    assert float((F_ - G).norm() / G.norm()) < 0.03
    one = epigraph.hessian(J, kind="fisher-mc", seed=1).to_dense()
    assert torch.linalg.eigvalsh(one).min() > -1e-12 and torch.linalg.matrix_rank(one) <= 5
    assert torch.equal(one, epigraph.hessian(J, kind="fisher-mc", seed=1).to_dense())
    assert not torch.allclose(one, epigraph.hessian(J, kind="fisher-mc", seed=2).to_dense())


def test_batches_of_uneven_size_and_graphs_that_are_not_kept() -> None:
    from epigraph.hessian.outer import Outer
    from epigraph.hessian.program import Program

    model, x, y = _model(3), _data(11), _labels(11, 3)
    J = epigraph.Objective(model, nn.CrossEntropyLoss(), DataLoader(TensorDataset(x, y), batch_size=4))
    whole = epigraph.Objective(model, nn.CrossEntropyLoss(), x, y)
    for kind in ("gauss-newton", "fisher"):
        dense = epigraph.hessian(whole, kind=kind).to_dense()
        assert torch.allclose(epigraph.hessian(J, kind=kind).to_dense(), dense, rtol=1e-10, atol=1e-12)
        program = Program(J, tuple(J.parameters))
        engine = Outer(program, kind, room=1.0)
        assert engine.graphs is None
        for i in (0, 7):
            unit = torch.zeros(len(dense), dtype=torch.float64)
            unit[i] = 1
            parts = engine.product(
                [
                    u.view(p.shape)
                    for u, p in zip(unit.split([p.numel() for p in program.point]), program.point, strict=True)
                ]
            )
            assert torch.allclose(torch.cat([p.reshape(-1) for p in parts]), dense[:, i], rtol=1e-10, atol=1e-12)


def test_rows_of_a_segmentation() -> None:
    torch.manual_seed(0)
    model = nn.Conv2d(1, 3, 3, padding=1).double()
    x, y = torch.randn(2, 1, 4, 4, dtype=torch.float64), torch.randint(3, (2, 4, 4))
    y[0, 0] = -100
    J = epigraph.Objective(model, F.cross_entropy, x, y)
    theta, call = _flat(model)
    jacobian = torch.func.jacrev(lambda t: call(t, x).reshape(-1))(theta)
    inner = torch.func.hessian(lambda u: F.cross_entropy(u.view(2, 3, 4, 4), y))(call(theta, x).reshape(-1))
    G = jacobian.T @ inner @ jacobian
    assert torch.allclose(epigraph.hessian(J, kind="gauss-newton").to_dense(), G, rtol=1e-10, atol=1e-12)
    drawn = epigraph.hessian(J, kind="fisher-mc", samples=4000).to_dense()
    assert float((drawn - G).norm() / G.norm()) < 0.05
    with pytest.raises(ObjectiveError, match="E218"):  # targets are ignored: no mean over samples
        epigraph.hessian(J, kind="fisher")


def test_blocks_and_precision() -> None:
    loss, make = LOSSES["cross-entropy"]
    model, x, y = _model(2), _data(9), make(9)
    G = _gauss_newton(model, loss, x, y)
    J = epigraph.Objective(model.float(), loss, x.float(), y)
    H = epigraph.hessian(J, kind="gauss-newton", dtype="float64", blocks=["2.bias", "0.bias"])
    at = [*range(24, 26), *range(12, 16)]
    assert torch.allclose(H.to_dense(), G[at][:, at], atol=1e-6)
    S = epigraph.spectrum(epigraph.hessian(J, kind="fisher"), top=2, bottom=0)
    assert S.kind == "fisher" and S.converged and S.top[0].value > 0


CROSSED = {
    "a term across samples": lambda out, y: F.mse_loss(out, y) + out.mean() ** 2,
    "weights of classes": nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0], dtype=torch.float64)),
    "a spread over the batch": lambda out, y: ((out - out.mean(0)) ** 2).mean() + 0 * y.sum(),
}


@pytest.mark.parametrize("name", CROSSED)
def test_a_loss_that_is_no_sum_over_samples(name: str) -> None:
    y = _labels(9, 2) if "classes" in name else _goals(9, 2)
    J = epigraph.Objective(_model(2), CROSSED[name], _data(9), y)
    for kind in ("fisher", "fisher-mc"):
        with pytest.raises(ObjectiveError, match="E218"):
            epigraph.hessian(J, kind=kind)
    epigraph.hessian(J, kind="gauss-newton")


def test_what_has_no_outputs_in_between() -> None:
    for name in ("function", "loss_with_parameters", "loss_reads_the_model"):
        for kind in ("gauss-newton", "fisher", "fisher-mc"):
            with pytest.raises(ObjectiveError, match="E217"):
                epigraph.hessian(CASES[name](torch.float64).J, kind=kind)
    J = CASES["loss_with_parameters"](torch.float64).J
    epigraph.hessian(J, kind="gauss-newton", blocks=["weight", "bias"])
    with pytest.raises(UsageError, match="kind"):
        epigraph.hessian(J, kind="natural")
    with pytest.raises(UsageError, match="E028"):
        epigraph.hessian(J, kind="fisher", engine="retained")


@pytest.mark.parametrize("name", ["mlp", "conv", "odd", "uneven_loader", "batch_norm_in_training", "attention"])
def test_gauss_newton_is_the_hessian_without_the_model_s_own_curvature(name: str) -> None:
    """For a linear model they agree; for others Gauss-Newton of a convex loss is positive semidefinite."""
    J = CASES[name](torch.float64).J
    G = epigraph.hessian(J, kind="gauss-newton").to_dense()
    assert torch.linalg.eigvalsh(G).min() > -1e-12 * float(G.norm())
    K = CASES["loader_of_sums"](torch.float64).J
    assert torch.allclose(
        epigraph.hessian(K, kind="gauss-newton").to_dense(), epigraph.hessian(K).to_dense(), atol=1e-12
    )
