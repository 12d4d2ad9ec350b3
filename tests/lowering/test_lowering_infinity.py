"""Masks written with minus infinity: the graph holds real numbers only and is the function of the finite entries."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from epigraph.objective.evaluate import Evaluator
from epigraph.objective.objective import Objective

INF = float("inf")
LOWER = torch.ones(4, 4, dtype=torch.bool).tril()
RAGGED = torch.tensor([[1, 0, 1, 1], [0, 1, 0, 0], [1, 1, 1, 1], [0, 0, 1, 1]], dtype=torch.bool)
BIAS = torch.where(RAGGED, torch.arange(16.0).reshape(4, 4) / 8, -INF).double()
LABELS = torch.tensor([2, 1, 0, 3])
WEIGHTS = torch.arange(1.0, 17.0, dtype=torch.float64).reshape(4, 4)
EMPTY = RAGGED.clone()
EMPTY[1] = False

PROGRAMS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda w: (w.masked_fill(~LOWER, -INF).softmax(-1) * WEIGHTS).sum(),
    "softmax over the first dimension": lambda w: (w.masked_fill(~LOWER.T, -INF).softmax(0) * WEIGHTS).sum(),
    "after a division and a transposition": lambda w: ((w.masked_fill(~LOWER, -INF) / 2).T.softmax(0) * WEIGHTS).sum(),
    "added mask": lambda w: ((w @ w.T + BIAS).softmax(-1) * WEIGHTS).sum(),
    "added twice": lambda w: ((w + BIAS + torch.where(LOWER | True, 0.0, -INF)).softmax(-1) * WEIGHTS).sum(),
    "where": lambda w: (torch.where(RAGGED, w, -INF).softmax(1) * WEIGHTS).sum(),
    "where the other way": lambda w: (
        torch.where(~RAGGED, torch.full((4, 4), -INF, dtype=torch.float64), w).softmax(1) * WEIGHTS
    ).sum(),
    "broadcast mask": lambda w: ((w[None] + BIAS[:, None, :]).softmax(-1) ** 2).sum(),
    "log-softmax": lambda w: -w.masked_fill(~RAGGED, -INF).log_softmax(1)[torch.arange(4), LABELS].sum(),
    "negative log-likelihood": lambda w: F.nll_loss(w.masked_fill(~RAGGED, -INF).log_softmax(1), LABELS),
    "cross-entropy": lambda w: F.cross_entropy(w.masked_fill(~RAGGED, -INF), LABELS, weight=WEIGHTS[0]),
    "cross-entropy, images": lambda w: F.cross_entropy(
        w.masked_fill(~RAGGED, -INF).T[None], LABELS[None], reduction="sum"
    ),
    "log-sum-exp": lambda w: torch.logsumexp(w + BIAS, 1).pow(2).sum(),
    "log-sum-exp of all": lambda w: torch.logsumexp(w + BIAS, (0, 1)),
    "maximum": lambda w: (w + BIAS).amax(1).pow(2).sum() + (w + BIAS).max() + (w + BIAS).max(1).values.sum(),
    "exponential": lambda w: (w + BIAS).exp().sum() + torch.sigmoid(w + BIAS).sum(),
    "by slices": lambda w: sum((w + BIAS)[i : i + 1].softmax(1)[0, 2] * (i + 1) for i in range(4)),
    "joined": lambda w: (
        torch.cat([w, torch.full((4, 1), -INF, dtype=torch.float64)], 1).softmax(1)[:, :4] * WEIGHTS
    ).sum(),
    "padded": lambda w: (F.pad(w, (1, 0), value=-INF).softmax(1)[:, 1:] * WEIGHTS).sum(),
    "attention": lambda w: (F.scaled_dot_product_attention(w[None], w[None], w[None], attn_mask=BIAS) * WEIGHTS).sum(),
    "attention with an empty row": lambda w: (
        F.scaled_dot_product_attention(w[None], w[None], w[None], attn_mask=EMPTY) * WEIGHTS
    ).sum(),
    "empty row, added": lambda w: (
        F.scaled_dot_product_attention(w[None], w[None], w[None], attn_mask=torch.where(EMPTY, 0.0, -INF).double())
        * WEIGHTS
    ).sum(),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_masks(name):
    function = PROGRAMS[name]
    graph = Objective.from_function(function, {"w": torch.eye(4, dtype=torch.float64)}).graph()
    assert not [n for n in graph if n.op == "opaque"]
    for leaf in graph.tensors.values():
        assert not leaf.tensor.is_floating_point() or bool(torch.isfinite(leaf.tensor).all()), (
            "an infinite constant is left"
        )
    for seed in range(3):
        w = 2 * torch.randn(4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        assert float(Evaluator(graph)({"w": w})) == pytest.approx(float(function(w)), rel=1e-12)


@pytest.mark.parametrize("name", ["log-sum-exp of all", "cross-entropy", "negative log-likelihood"])
def test_convexity_survives_the_mask(name):
    from epigraph.convexity.check import check

    verdict = check(Objective.from_function(PROGRAMS[name], {"w": torch.eye(4, dtype=torch.float64)}), effort="quick")
    assert verdict.convex == "proved"


def test_a_softmax_of_nothing_is_not_known():
    """PyTorch gives NaN in that row; no real function is claimed."""
    graph = Objective.from_function(
        lambda w: w.masked_fill(~EMPTY, -INF).softmax(1)[0].sum() + w.sum(), {"w": torch.eye(4)}
    ).graph()
    assert [n for n in graph if n.op == "opaque"]
