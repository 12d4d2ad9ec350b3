"""Programs for the two tiers of capture: each a function of named tensors, with their shapes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Function = Callable[..., Tensor]
G = torch.Generator().manual_seed(7)
A = torch.randn(5, 3, generator=G, dtype=torch.float64)
B = torch.randn(5, generator=G, dtype=torch.float64)
TARGETS = torch.randn(3, 4, generator=G, dtype=torch.float64).softmax(1)
LABELS = torch.tensor([0, 2, 1, 1, 0])
MASK = torch.ones(4, 4, dtype=torch.bool).tril()


def matrix(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _inplace(w: Tensor) -> Tensor:
    y = w * 2
    y += 1
    y.mul_(w).clamp_(min=-1)
    return y.sum()


def _write_row(w: Tensor) -> Tensor:
    y = torch.zeros(3, 4, dtype=torch.float64)
    y[1] = w[0]
    y[:, 2] += w[1, :3] ** 2
    return (y * y).sum()


def _write_base_under_view(w: Tensor) -> Tensor:
    y = w * 1
    view = y.view(-1)
    y += 1
    return (view**2).sum()


def _write_chunk(w: Tensor) -> Tensor:
    y = w * 1
    first, _ = y.chunk(2, 1)
    first.mul_(3)
    return (y**2).sum()


def _write_transposed(w: Tensor) -> Tensor:
    y = w.clone()
    y.t()[0].copy_(torch.ones(3, dtype=torch.float64))
    return y.exp().sum()


def _write_mask(w: Tensor) -> Tensor:
    y = w * 1
    y[y < 0] = 0.5
    y[w[:, 0] > 0] = w.sum()
    return (y**2).sum()


def _causal(q: Tensor, k: Tensor) -> Tensor:
    scores = (q @ k.T / 2).masked_fill(~MASK, float("-inf"))
    return (scores.softmax(-1) @ k).pow(2).sum()


def _additive_mask(q: Tensor, k: Tensor) -> Tensor:
    bias = torch.full((4, 4), float("-inf"), dtype=torch.float64).triu(1)
    return F.log_softmax(q @ k.T + bias, -1).diagonal().sum()


def _python_loop(w: Tensor) -> Tensor:
    h = w
    for i in range(4):
        h = torch.tanh(h @ w.T) if i % 2 else torch.relu(h @ w.T)
    return h.mean()


WIDE = {"w": (3, 4)}
SQUARE = {"w": (4, 4)}
PAIR = {"q": (4, 3), "k": (4, 3)}
PROGRAMS: dict[str, tuple[Function, dict[str, tuple[int, ...]]]] = {
    "least squares": (lambda w: ((A @ w - B) ** 2).mean(), {"w": (3,)}),
    "logistic": (lambda w: F.binary_cross_entropy_with_logits(A @ w, (B > 0).double()), {"w": (3,)}),
    "cross-entropy": (lambda w: F.cross_entropy(A @ w.T, LABELS, label_smoothing=0.1), {"w": (3, 3)}),
    "cross-entropy, weights and ignored": (
        lambda w: F.cross_entropy(A @ w.T, LABELS, weight=B[:3].abs(), ignore_index=1),
        {"w": (3, 3)},
    ),
    "labels made from data": (
        lambda w: F.cross_entropy(A @ w.T, (A.mean(1) > 0).long()) + F.nll_loss(A @ w.T, A.argmax(1)),
        {"w": (3, 3)},
    ),
    "nll": (lambda w: F.nll_loss(F.log_softmax(A @ w.T, 1), LABELS), {"w": (3, 3)}),
    "multi-margin": (lambda w: F.multi_margin_loss(A @ w.T, LABELS), {"w": (3, 3)}),
    "multilabel margin": (lambda w: F.multilabel_margin_loss(w, torch.tensor([[0, 2, -1, 1]] * 3)), WIDE),
    "huber": (lambda w: F.huber_loss(A @ w, B, delta=0.5), {"w": (3,)}),
    "poisson": (lambda w: F.poisson_nll_loss(A @ w, B.abs().round() * 2, full=True), {"w": (3,)}),
    "kl": (lambda w: F.kl_div(w.log_softmax(1), TARGETS, reduction="batchmean"), WIDE),
    "triplet": (lambda w: F.triplet_margin_loss(w, w.roll(1, 0), w.flip(0), swap=True), WIDE),
    "hinge embedding": (lambda w: F.hinge_embedding_loss(w, torch.tensor([1.0, -1.0, 1.0, -1.0]).double()), WIDE),
    "cosine embedding": (lambda w: F.cosine_embedding_loss(w, w.flip(1), torch.tensor([1, -1, 1])), WIDE),
    "elastic net": (lambda w: ((A @ w - B) ** 2).sum() + w.abs().sum() + w.norm(), {"w": (3,)}),
    "log-sum-exp": (lambda w: torch.logsumexp(A @ w, 0) + torch.logaddexp(w[0], w[1]), {"w": (3,)}),
    "variance": (lambda w: w.var() + w.std(1).sum() + torch.var_mean(w, 0)[0].sum(), WIDE),
    "norms": (
        lambda w: (
            w.norm(p=1)
            + torch.linalg.norm(w)
            + torch.linalg.vector_norm(w, 3, dim=1).sum()
            + torch.cdist(w, w + 1).sum()
        ),
        WIDE,
    ),
    "extrema": (lambda w: w.max() + w.amin(1).sum() + w.max(0).values.sum() + torch.maximum(w, w * w).sum(), WIDE),
    "layer norm": (lambda w: F.layer_norm(w, (4,)).pow(3).sum(), WIDE),
    "group norm": (lambda w: F.group_norm(w, 2).pow(3).sum(), WIDE),
    "batch norm": (lambda w: F.batch_norm(w, None, None, training=True).pow(3).sum(), WIDE),
    "rms norm": (lambda w: F.rms_norm(w, (4,)).pow(3).sum(), WIDE),
    "instance norm": (lambda w: F.instance_norm(w[None]).pow(3).sum(), WIDE),
    "normalize": (lambda w: F.normalize(w).pow(3).sum() + F.cosine_similarity(w, w.flip(1)).sum(), WIDE),
    "convolution": (
        lambda w: F.conv1d(w[None], torch.ones(2, 3, 2, dtype=torch.float64), padding=1).pow(2).sum(),
        WIDE,
    ),
    "transposed convolution": (
        lambda w: F.conv_transpose1d(w[None], torch.ones(3, 2, 3, dtype=torch.float64), stride=2).pow(2).sum(),
        WIDE,
    ),
    "pools": (
        lambda w: (
            F.max_pool1d(w[None], 2).sum()
            + F.avg_pool1d(w[None], 3, 1, 1).sum()
            + F.adaptive_avg_pool1d(w[None], 3).pow(2).sum()
        ),
        WIDE,
    ),
    "interpolation": (
        lambda w: (
            F.interpolate(w[None, None], scale_factor=2, mode="bilinear").pow(2).sum()
            + F.interpolate(w[None, None], size=(2, 3)).sum()
        ),
        WIDE,
    ),
    "padding": (
        lambda w: sum(
            F.pad(w[None], (1, 1), mode=m).pow(2).sum() for m in ("constant", "reflect", "replicate", "circular")
        ),
        WIDE,
    ),
    "unfold": (
        lambda w: F.unfold(w[None, None], 2).pow(2).sum() + F.pixel_shuffle(w.reshape(1, 4, 1, 3), 2).exp().sum(),
        WIDE,
    ),
    "attention": (
        lambda q, k: F.scaled_dot_product_attention(q[None], k[None], k[None], is_causal=True).pow(2).sum(),
        PAIR,
    ),
    "attention, masked by hand": (_causal, PAIR),
    "additive mask": (_additive_mask, PAIR),
    "embedding": (
        lambda w: (
            F.embedding(torch.tensor([[0, 2], [1, 1]]), w).pow(2).sum()
            + F.embedding_bag(torch.tensor([0, 1, 2]), w, torch.tensor([0, 2]), mode="mean").exp().sum()
        ),
        WIDE,
    ),
    "einsum": (
        lambda w: (
            torch.einsum("ij,kj->ik", w, w).tanh().sum()
            + F.bilinear(w, w, torch.ones(2, 4, 4, dtype=torch.float64)).sum()
        ),
        WIDE,
    ),
    "indexing": (
        lambda w: (
            w[[0, 2], [1, 3]].sum()
            + w[:, ::2].exp().sum()
            + w.gather(1, torch.tensor([[0], [3], [1]])).sum()
            + w[..., None].squeeze(-1)[-1].sum()
        ),
        WIDE,
    ),
    "scatter": (
        lambda w: (
            torch.zeros(4, dtype=torch.float64).index_add(0, torch.tensor([0, 3, 3]), w[:, 0]).pow(2).sum()
            + w.scatter_add(0, torch.tensor([[0, 0, 1, 2]]), w).exp().sum()
        ),
        WIDE,
    ),
    "running": (
        lambda w: w.cumsum(1).pow(2).sum() + w.cumprod(0).sum() + w.logcumsumexp(1).sum() + torch.diff(w).abs().sum(),
        WIDE,
    ),
    "conditions": (
        lambda w: (
            torch.where(w > 0, w, 2 * w).sum()
            + ((w > 0) & (w < 1)).double().sum()
            + torch.clamp(w, -1, 1).sum()
            + w.masked_fill(w < 0, 0.0).sum()
        ),
        WIDE,
    ),
    "activations": (
        lambda w: sum(
            f(w).sum()
            for f in (
                F.gelu,
                F.silu,
                F.mish,
                F.elu,
                F.selu,
                F.celu,
                F.softplus,
                F.logsigmoid,
                F.hardswish,
                F.softsign,
                F.tanhshrink,
                F.hardshrink,
            )
        ),
        WIDE,
    ),
    "cell": (
        lambda w: (
            nn.functional.linear(w, w[:, :4]).tanh().sum()
            + F.prelu(w, torch.full((1,), 0.2, dtype=torch.float64)).sum()
            + F.prelu(w, torch.linspace(-0.5, 1.5, w.shape[1], dtype=torch.float64)).sum()
            + F.glu(w).sum()
        ),
        WIDE,
    ),
    "in place": (_inplace, SQUARE),
    "write a row": (_write_row, SQUARE),
    "write the base of a view": (_write_base_under_view, WIDE),
    "write a chunk": (_write_chunk, WIDE),
    "write where a mask says so": (_write_mask, WIDE),
    "sum of truth values": (lambda w: ((w > 0).sum() + (w > 1).long()[0].sum()).double() * w.sum(), WIDE),
    "write through a transposed view": (_write_transposed, WIDE),
    "loop": (_python_loop, SQUARE),
}
