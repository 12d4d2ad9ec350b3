"""Small objectives whose groups are known by hand, with random data."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

import epigraph


def objective(model: nn.Module, inputs: tuple[int, ...], outputs: tuple[int, ...], **options) -> epigraph.Objective:
    """Squared error on random data."""
    return epigraph.Objective(model, nn.MSELoss(), torch.randn(inputs), torch.randn(outputs), **options)


def mlp(widths: list[int], activation: Callable[[], nn.Module], bias: bool = True, **options) -> epigraph.Objective:
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b, bias), activation()]
    return objective(nn.Sequential(*layers[:-1]), (7, widths[0]), (7, widths[-1]), **options)


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.Module], layers: int = 1, width: int = 3):
        super().__init__()
        self.cell = kind(2, width, layers, batch_first=True)
        self.head = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x)[0][:, -1])


class Attention(nn.Module):
    """Self-attention with the fused projection of PyTorch."""

    def __init__(self, bias: bool = False):
        super().__init__()
        self.inner = nn.MultiheadAttention(6, 2, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x, x, x, need_weights=False)[0]


class Grouped(nn.Module):
    """Four query heads, two heads of keys and values."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(5, n * 3, bias=False) for n in (4, 2, 2))
        self.out = nn.Linear(12, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        q = self.q(x).view(b, t, 4, 3).transpose(1, 2)
        k, v = (f(x).view(b, t, 2, 3).transpose(1, 2).repeat_interleave(2, 1) for f in (self.k, self.v))
        weights = (q @ k.transpose(-1, -2)).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).reshape(b, t, 12))


class Convolutions(nn.Module):
    """Batch norm, a grouped convolution, pooling, flattening; two channels of three groups each."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 3, 3)
        self.norm = nn.BatchNorm2d(3)
        self.groups = nn.Conv2d(3, 6, 1, groups=3)
        self.head = nn.Linear(24, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.groups(self.norm(self.first(x)).relu()).relu()
        return self.head(nn.functional.max_pool2d(x, 2).flatten(1))


class Skips(nn.Module):
    """A residual stream of width 4 with a branch of width 3, and a concatenation."""

    def __init__(self):
        super().__init__()
        self.enter, self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 3), nn.Linear(3, 4)
        self.side, self.head = nn.Linear(3, 2), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x)
        h = h + self.b(torch.nn.functional.gelu(self.a(h)))
        return self.head(torch.cat([torch.nn.functional.gelu(h), self.side(x).sigmoid()], 1))
