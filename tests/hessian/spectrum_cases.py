"""Objectives of many kinds, each with J again as a plain function: the oracle shares no code with the analysis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.data import DataLoader, TensorDataset

from epigraph.objective.objective import Objective

Point = dict[str, Tensor]


@dataclass
class Case:
    """An objective and its oracle: J as a function of named tensors, in float64."""

    J: Objective
    oracle: Callable[[Point], Tensor]

    def dense(self, names: list[str] | None = None) -> Tensor:
        """The Hessian in float64 by ``torch.func.hessian``, rows in the order of the names."""
        names = names or list(self.J.parameters)
        point = {k: v.detach().double() for k, v in self.J.parameters.items()}
        sizes = [point[n].numel() for n in names]

        def flat(v: Tensor) -> Tensor:
            parts = {n: p.view(point[n].shape) for n, p in zip(names, v.split(sizes), strict=True)}
            return self.oracle({**point, **parts})

        return torch.func.hessian(flat)(torch.cat([point[n].reshape(-1) for n in names]))


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _rows(n: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randn(n, *shape, generator=_seeded(seed), dtype=torch.float64)


def _labels(n: int, classes: int, seed: int = 1) -> Tensor:
    return torch.randint(classes, (n,), generator=_seeded(seed))


def _built(make: Callable[[], nn.Module], dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(3)
    return make().to(dtype)


def _double(model: nn.Module) -> Callable[[Point, Tensor], Any]:
    """The model in float64, evaluation mode unless it trains, as a function of its parameters."""
    import copy

    twin = copy.deepcopy(model).double()
    kept = {k: v.detach().double() for k, v in model.named_parameters()}
    buffers = {k: v.clone() for k, v in twin.named_buffers()}

    def call(point: Point, x: Tensor) -> Any:
        twin.train(model.training)
        held = {k: v.clone() for k, v in buffers.items()}
        return functional_call(twin, {**kept, **held, **{k: v for k, v in point.items() if k in kept}}, (x,))

    return call


def mlp(dtype: torch.dtype) -> Case:
    model = _built(lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), dtype).eval()
    x, y, call = _rows(12, 4), _labels(12, 3), _double(model)
    J = Objective(model, F.cross_entropy, x.to(dtype), y)
    return Case(J, lambda p: F.cross_entropy(call(p, x), y))


def conv(dtype: torch.dtype) -> Case:
    make = lambda: nn.Sequential(  # noqa: E731
        nn.Conv2d(1, 2, 3), nn.Softplus(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8, 2)
    )
    model = _built(make, dtype).eval()
    x, y, call = _rows(6, 1, 6, 6), _labels(6, 2), _double(model)
    J = Objective(model, nn.CrossEntropyLoss(), x.to(dtype), y)
    return Case(J, lambda p: F.cross_entropy(call(p, x), y))


def decay_by_block(dtype: torch.dtype) -> Case:
    model = _built(lambda: nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 1)), dtype).eval()
    x, y, call = _rows(9, 3), _rows(9, 1, seed=5), _double(model)
    J = Objective(model, nn.MSELoss(), x.to(dtype), y.to(dtype), weight_decay={"0.weight": 0.5, "2.bias": 0.25})
    return Case(
        J,
        lambda p: F.mse_loss(call(p, x), y) + 0.25 * p["0.weight"].pow(2).sum() + 0.125 * p["2.bias"].pow(2).sum(),
    )


class _Odd(nn.Module):
    """A frozen layer, a parameter that nothing uses, and a tied pair."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.frozen = nn.Linear(3, 2)
        self.unused = nn.Parameter(torch.ones(2))
        for p in self.frozen.parameters():
            p.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.frozen(torch.tanh(self.second(torch.sigmoid(self.first(x)))))


def odd(dtype: torch.dtype) -> Case:
    model = _built(_Odd, dtype).eval()
    x, y = _rows(7, 3), _rows(7, 2, seed=6)
    w, b = model.frozen.weight.double(), model.frozen.bias.double()  # type: ignore[union-attr]

    def oracle(p: Point) -> Tensor:
        h = torch.sigmoid(F.linear(x, p["first.weight"], p["first.bias"]))
        h = torch.tanh(F.linear(h, p["first.weight"], p["second.bias"]))
        return F.mse_loss(F.linear(h, w, b), y)

    return Case(Objective(model, nn.MSELoss(), x.to(dtype), y.to(dtype)), oracle)


def function(dtype: torch.dtype) -> Case:
    a = _rows(5, 3)
    held = a.to(dtype)

    def f(w: Tensor, s: Tensor) -> Tensor:
        return torch.logsumexp(held @ w * s.exp(), 0) + (w**4).sum()

    point = {"w": _rows(3, seed=2).to(dtype), "s": torch.tensor(0.3, dtype=dtype)}
    J = Objective.from_function(f, point, weight_decay=0.1)

    def oracle(p: Point) -> Tensor:
        penalty = 0.05 * (p["w"].pow(2).sum() + p["s"].pow(2))
        return torch.logsumexp(a @ p["w"] * p["s"].exp(), 0) + (p["w"] ** 4).sum() + penalty

    return Case(J, oracle)


def uneven_loader(dtype: torch.dtype) -> Case:
    model = _built(lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)), dtype).eval()
    x, y, call = _rows(70, 3), _labels(70, 3), _double(model)
    loader = DataLoader(TensorDataset(x.to(dtype), y), batch_size=64)
    return Case(Objective(model, nn.CrossEntropyLoss(), loader), lambda p: F.cross_entropy(call(p, x), y))


def loader_of_sums(dtype: torch.dtype) -> Case:
    model = _built(lambda: nn.Linear(3, 2), dtype).eval()
    x, y, call = _rows(11, 3), _labels(11, 2), _double(model)
    loader = DataLoader(TensorDataset(x.to(dtype), y), batch_size=4)
    J = Objective(model, nn.CrossEntropyLoss(reduction="sum"), loader)
    return Case(J, lambda p: F.cross_entropy(call(p, x), y, reduction="sum"))


class _Uncertain(nn.Module):
    """A loss with a parameter of its own: the logarithm of the noise."""

    def __init__(self) -> None:
        super().__init__()
        self.log_noise = nn.Parameter(torch.tensor([0.2, -0.1]))

    def forward(self, out: Tensor, y: Tensor) -> Tensor:
        return ((out - y).pow(2) * torch.exp(-self.log_noise) + self.log_noise).mean()


def loss_with_parameters(dtype: torch.dtype) -> Case:
    model, loss = _built(lambda: nn.Linear(3, 2), dtype).eval(), _Uncertain().to(dtype)
    x, y, call = _rows(8, 3), _rows(8, 2, seed=4), _double(model)

    def oracle(p: Point) -> Tensor:
        s = p["loss.log_noise"]
        return ((call(p, x) - y).pow(2) * torch.exp(-s) + s).mean()

    return Case(Objective(model, loss, x.to(dtype), y.to(dtype)), oracle)


def batch_norm_in_training(dtype: torch.dtype) -> Case:
    make = lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2))  # noqa: E731
    model = _built(make, dtype).train()
    x, y = _rows(10, 3), _labels(10, 2)

    def oracle(p: Point) -> Tensor:  # written out: torch.func.hessian of F.batch_norm(training=True) is wrong
        h = F.linear(x, p["0.weight"], p["0.bias"])
        h = (h - h.mean(0)) / (h.var(0, unbiased=False) + 1e-5).sqrt() * p["1.weight"] + p["1.bias"]
        return F.cross_entropy(F.linear(torch.tanh(h), p["3.weight"], p["3.bias"]), y)

    return Case(Objective(model, nn.CrossEntropyLoss(), x.to(dtype), y, mode="train"), oracle)


def loss_reads_the_model(dtype: torch.dtype) -> Case:
    model = _built(lambda: nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 1)), dtype).eval()
    x, y, call = _rows(8, 3), _rows(8, 1, seed=4), _double(model)

    def loss(out: Tensor, y: Tensor) -> Tensor:
        return F.mse_loss(out, y) + sum(p.pow(4).sum() for p in model.parameters())

    def oracle(p: Point) -> Tensor:
        return F.mse_loss(call(p, x), y) + sum(v.pow(4).sum() for v in p.values())

    return Case(Objective(model, loss, x.to(dtype), y.to(dtype)), oracle)


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(4, 4, bias=False) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).unsqueeze(1) for f in (self.q, self.k, self.v))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).squeeze(1).mean(1)


def attention(dtype: torch.dtype) -> Case:
    model = _built(_Attention, dtype).eval()
    x, y = _rows(3, 5, 4), _rows(3, 4, seed=8)

    def oracle(p: Point) -> Tensor:
        q, k, v = (x @ p[f"{n}.weight"].T for n in "qkv")
        scores = (q @ k.transpose(-1, -2) / 2).masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf)
        return F.mse_loss((scores.softmax(-1) @ v).mean(1), y)

    return Case(Objective(model, nn.MSELoss(), x.to(dtype), y.to(dtype)), oracle)


CASES: dict[str, Callable[[torch.dtype], Case]] = {
    f.__name__: f
    for f in (
        mlp, conv, decay_by_block, odd, function, uneven_loader, loader_of_sums, loss_with_parameters,
        batch_norm_in_training, loss_reads_the_model, attention,
    )
}  # fmt: skip
