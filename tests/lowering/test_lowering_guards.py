"""Guards against what is no number, sums of truth values, and derivatives that a program takes itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epigraph.errors import CaptureError
from epigraph.objective import assemble
from epigraph.objective.evaluate import Evaluator
from epigraph.objective.objective import Objective

X = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
POINT = {"w": torch.tensor([0.3, -1.2, 0.8, 2.0], dtype=torch.float64)}


def _graph(function: Callable[[Tensor], Tensor]):
    return Objective.from_function(function, POINT).graph()


def _same(function: Callable[[Tensor], Tensor], tolerance: float = 1e-10) -> None:
    graph = _graph(function)
    assert not [n for n in graph if n.op == "opaque"]
    generator = torch.Generator().manual_seed(2)
    for scale in (0.1, 1.0, 5.0):
        w = scale * torch.randn(4, generator=generator, dtype=torch.float64)
        torch.testing.assert_close(
            Evaluator(graph)({"w": w}).detach(), function(w.clone()).detach(), rtol=tolerance, atol=tolerance
        )


def _asserts(w: Tensor) -> Tensor:
    z = X @ w
    assert torch.isfinite(z).all()
    return (z**2).sum()


def _raises(w: Tensor) -> Tensor:
    z = torch.tanh(X @ w)
    if torch.isnan(z).any() or torch.isinf(z).any():
        raise ValueError("no number")
    return z.sum()


GUARDS: dict[str, Callable[[Tensor], Tensor]] = {
    "assertion": _asserts,
    "exception": _raises,
    "replacement": lambda w: torch.where(torch.isfinite(X @ w), X @ w, torch.zeros(5, dtype=torch.float64)).sum(),
    "nan to num": lambda w: torch.nan_to_num(X @ w).square().sum(),
    "comparison with infinity": lambda w: torch.where(X @ w < torch.inf, X @ w, 0.0).exp().sum(),
}


@pytest.mark.parametrize("name", GUARDS)
def test_a_function_that_is_defined_everywhere_is_finite(name):
    _same(GUARDS[name])


def test_where_a_value_may_be_missing_nothing_is_assumed():
    """log w has no value for w <= 0, where the program takes another: the guard decides, and is not known."""
    graph = _graph(lambda w: torch.where(torch.isfinite(torch.log(w)), torch.log(w), 0.0).sum() + (w**2).sum())
    assert [n.attributes["target"] for n in graph if n.op == "opaque"] == ["aten.isfinite.default"]


TRUTHS: dict[str, Callable[[Tensor], Tensor]] = {
    "two comparisons": lambda w: ((((w > 0) + (w > -1)).double()) * w).sum(),
    "with a constant": lambda w: (((w > 0) + True).to(w.dtype) * w).sum(),
    "in place": lambda w: ((w > 0).__iadd__(w > 1).double() * w).sum(),
    "counted": lambda w: ((w > 0).sum() + (w > 1).long().sum()) * w.sum(),
}


@pytest.mark.parametrize("tier", [1, 2])
@pytest.mark.parametrize("name", TRUTHS)
def test_the_sum_of_truth_values_is_one_of_them(name, tier, monkeypatch):
    if tier == 2:
        monkeypatch.setattr(assemble, "export", _refuse)
    _same(TRUTHS[name])


def _refuse(*args: object) -> None:
    raise RuntimeError("forced")


def _penalty(activation: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A gradient penalty: the squared distance of the gradient's norm from one, at fixed points."""

    def function(w: Tensor) -> Tensor:
        x = X.clone().requires_grad_()
        hidden = activation(x * w)
        score = (hidden * torch.linspace(0.5, 2, 4, dtype=torch.float64)).sum()
        (gradient,) = torch.autograd.grad(score, x, create_graph=True)
        return ((gradient.norm(dim=1) - 1) ** 2).mean() - score / 5

    return function


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "leaky relu": F.leaky_relu,
    "softplus": F.softplus,
    "silu": F.silu,
    "elu": F.elu,
    "softmax": lambda z: z.softmax(1),
    "log softmax": lambda z: z.log_softmax(1),
    "squares": torch.square,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradient_penalties(name):
    _same(_penalty(ACTIVATIONS[name]), 1e-8)


class _Critic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 6), nn.LeakyReLU(0.2), nn.Linear(6, 1)).double()

    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        between = (0.3 * real + 0.7 * fake).requires_grad_()
        (gradient,) = torch.autograd.grad(self.net(between).sum(), between, create_graph=True)
        return self.net(fake).mean() - self.net(real).mean() + 10 * ((gradient.norm(2, 1) - 1) ** 2).mean()


def test_a_critic_with_a_gradient_penalty(unchanged):
    model = _Critic()
    with unchanged(model):
        J = Objective(model, None, (X, X.flip(0)))
        graph = J.graph()
    assert not [n for n in graph if n.op == "opaque"]
    assert float(Evaluator(graph)({k: v.detach() for k, v in J.parameters.items()})) == pytest.approx(J.value())


def test_what_the_program_steers_by_is_still_refused():
    def function(w: Tensor) -> Tensor:
        x = X.clone().requires_grad_()
        (g,) = torch.autograd.grad(torch.tanh(x @ w).sum(), x, create_graph=True)
        return g.sum() if float(g.sum()) > 0 else g.square().sum()

    with pytest.raises(CaptureError) as caught:
        _graph(function)
    assert caught.value.code == "E301"


def test_the_loss_over_alignments_is_refused_by_name():
    def function(w: Tensor) -> Tensor:
        scores = torch.outer(torch.linspace(0, 1, 5, dtype=torch.float64), w).reshape(5, 1, 4).log_softmax(2)
        return F.ctc_loss(scores, torch.tensor([[1, 2]]), torch.tensor([5]), torch.tensor([2]))

    with pytest.raises(CaptureError, match="ctc"):
        _graph(function)


def test_constant_masks_stay_exported():
    """Truth values that no parameter enters are made by any operator, as the masks of language models are."""

    def function(w: Tensor) -> Tensor:
        mask = X.new_ones((5, 5), dtype=torch.bool).tril() & torch.ones(5, 5, dtype=torch.bool)
        scores = torch.outer(X @ w, X @ w).masked_fill(~mask, -torch.inf)
        return (scores.softmax(1) @ X).square().sum()

    J = Objective.from_function(function, POINT)
    assert not [n for n in J.graph() if n.op == "opaque"]
    assert not [n for n in J.notes if "recording" in n]
