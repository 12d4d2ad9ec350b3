"""Small objectives that between them use every primitive, with points at which they are smooth."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epigraph import Objective

D = torch.float64
G = torch.Generator().manual_seed(7)
X, T = torch.randn(6, 3, generator=G, dtype=D), torch.randn(6, generator=G, dtype=D)
LABELS = torch.tensor([0, 2, 1, 1, 0, 2])
IMAGE = torch.randn(2, 2, 5, 5, generator=G, dtype=D)


def of(f, **shapes: tuple[int, ...]) -> Objective:
    g = torch.Generator().manual_seed(len(shapes))
    return Objective.from_function(f, {k: torch.randn(s, generator=g, dtype=D) * 0.6 for k, s in shapes.items()})


def network(activation, width: int = 4) -> Objective:
    def f(a, b, c):
        return ((activation(X @ a + b) @ c - T) ** 2).mean() + 0.01 * (a * a).sum()

    return of(f, a=(3, width), b=(width,), c=(width,))


def convolution(w: Tensor, v: Tensor) -> Tensor:
    h = torch.tanh(F.conv2d(IMAGE, w, stride=2, padding=1))
    return F.conv2d(h, v, padding=(0, 1), dilation=(1, 2), groups=1).pow(2).sum() / 7


def attention(q: Tensor, k: Tensor) -> Tensor:
    return (torch.softmax((X @ q) @ (X @ k).T, -1) @ X).square().sum()


SMOOTH = {
    **{
        name: (lambda f=f: network(f))
        for name, f in {
            "tanh": torch.tanh,
            "sigmoid": torch.sigmoid,
            "softplus": F.softplus,
            "silu": F.silu,
            "gelu": F.gelu,
            "mish": F.mish,
            "erf": torch.erf,
            "atan": torch.atan,
            "sin": torch.sin,
            "cos": torch.cos,
            "exp": torch.exp,
            "log_ndtr": torch.special.log_ndtr,
            "square": torch.square,
            "cube": lambda x: x**3,
            "rational": lambda x: x / (1 + x * x),
            "root": lambda x: torch.sqrt(1 + x * x),
            "log": lambda x: torch.log(2 + torch.cos(x)),
            "entropy": lambda x: torch.special.xlogy(x * x + 1, x * x + 1),
        }.items()
    },
    "cross entropy": lambda: of(lambda w, b: F.cross_entropy(torch.tanh(X @ w) @ b, LABELS), w=(3, 4), b=(4, 3)),
    "attention": lambda: of(attention, q=(3, 2), k=(3, 2)),
    "convolution": lambda: of(convolution, w=(2, 2, 3, 3), v=(1, 2, 2, 2)),
    "grouped": lambda: of(lambda w: F.conv1d(IMAGE.reshape(2, 10, 5), w, groups=2).tanh().square().sum(), w=(4, 5, 3)),
    "layout": lambda: of(
        lambda w, v: (torch.cat([w[1:], v.T[:, ::2]], 1).permute(1, 0).reshape(-1) ** 3).sum() * w[0].exp().prod(),
        w=(3, 2),
        v=(4, 2),
    ),
    "gather": lambda: of(lambda e: (e[LABELS] * X).sum(1).tanh().dot(T), e=(3, 3)),
    "embedding": lambda: of(lambda e: F.embedding(LABELS, e).tanh().matmul(X[0]).square().sum(), e=(3, 3)),
    "where": lambda: of(lambda w: torch.where(T > 0, (X @ w).exp(), (X @ w) ** 2).mean(), w=(3,)),
    "normalised": lambda: of(lambda w: F.layer_norm(X @ w, (4,)).tanh().sum(1).square().sum(), w=(3, 4)),
    "logsumexp": lambda: of(lambda w, v: torch.logsumexp(X @ w * v, (0, 1)), w=(3, 2), v=(1,)),
    "distance": lambda: of(lambda w, v: ((w - v).norm() + 1) ** 1.5, w=(4,), v=(4,)),
    "broadcast": lambda: of(lambda w, v: ((w * v + v / (1 + w * w)) ** 2).sum(), w=(3, 1), v=(1, 2)),
    "outer": lambda: of(lambda w, v: torch.einsum("i,j,ij->", w.tanh(), v, X[:3]), w=(3,), v=(3,)),
}

KINKED = {
    "sorted": lambda: of(lambda w: (torch.sort((X @ w).tanh(), 0).values.pow(2) * X[:, :2]).sum(), w=(3, 2)),
    "median": lambda: of(lambda w: (X @ w).median(0).values.exp().sum(), w=(3, 2)),
    "relu": lambda: network(torch.relu),
    "leaky": lambda: network(F.leaky_relu),
    "elu": lambda: network(F.elu),
    "huber": lambda: of(lambda w, v: F.huber_loss(torch.tanh(X @ w) @ v, T, delta=0.4), w=(3, 2), v=(2,)),
    "absolute": lambda: of(lambda w, v: (torch.tanh(X @ w) @ v - T).abs().mean() + w.abs().sum(), w=(3, 2), v=(2,)),
    "pooling": lambda: of(lambda w: F.max_pool2d(F.conv2d(IMAGE, w).tanh(), 2).square().sum(), w=(1, 2, 2, 2)),
    "maximum": lambda: of(lambda w, v: torch.maximum((X @ w).tanh(), (X @ v) ** 2).sum(), w=(3,), v=(3,)),
    "steps": lambda: of(lambda w: ((X @ w).sign() * (X @ w) ** 2).sum() + (X @ w).floor().sum(), w=(3,)),
    "clamped": lambda: of(lambda w: (X @ w).clamp(-0.5, 0.7).square().sum(), w=(3,)),
}


@cache
def made(name: str) -> Objective:
    """Each is captured once."""
    return {**SMOOTH, **KINKED}[name]()


def module() -> Objective:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    return Objective(net, nn.MSELoss(), X, T[:, None], weight_decay=0.01)
