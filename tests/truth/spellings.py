"""Losses and penalties as people write them out by hand, each with its verdict and the reason.

The library's own function of the same name is one node or a few; these are what stands in training scripts instead.
"""

from __future__ import annotations

import math

import torch
from case import B, C, Case, N, P, Q, S, X, Y, row, vector
from torch import Tensor
from torch.nn import functional as F

W = torch.where
LSE = "log-sum-exp of affine maps [BV04 3.1.5]"
LOGISTIC = "sum of softplus of affine maps, minus a linear map"
POINTWISE = "a convex function of one variable, of affine maps"
NORM = "norm, or norm of a linear map [BV04 3.1.5]"
SUM = "sum of convex functions"
TAIL = "sum of the largest: maximum over choices [BV04 3.2.3]"
ENTROPY = "relative entropy [BV04 3.2.6]"
K = X @ X.T / 4 + torch.eye(10, dtype=torch.float64)  # a kernel matrix, diagonally dominant enough to be definite
TIMES = torch.argsort(P)
EDGES = torch.tensor([[0, 1], [1, 2], [2, 3], [0, 3]])
LEFT = X[:, :2]  # one factor of a factorisation, held fixed


def logits(t: Tensor) -> Tensor:
    """Scores of three classes."""
    return X @ t.reshape(4, 3)


# activations and losses of one variable ------------------------------------------------------------------------------
def _smooth_l1(r: Tensor, beta: float = 0.5) -> Tensor:
    return W(r.abs() < beta, 0.5 * r**2 / beta, r.abs() - 0.5 * beta)


def _focal(t: Tensor) -> Tensor:
    p = torch.sigmoid(X @ t)
    q = B * p + (1 - B) * (1 - p)
    return (-((1 - q) ** 2) * torch.log(q)).mean()


def _bce_of_probabilities(t: Tensor) -> Tensor:
    p = torch.sigmoid(X @ t)
    return -(B * torch.log(p) + (1 - B) * torch.log(1 - p)).mean()


def _bce_clamped(t: Tensor) -> Tensor:
    p = torch.sigmoid(X @ t).clamp(0.01, 0.99)
    return -(B * torch.log(p) + (1 - B) * torch.log(1 - p)).mean()


POINT: list[Case] = [
    row("softplus as log1p of exp", 4, lambda t: torch.log1p(torch.exp(X @ t)).mean(), "convex", POINTWISE),
    row(
        "softplus, stable, by abs",
        4,
        lambda t: ((X @ t).relu() + torch.log1p(torch.exp(-(X @ t).abs()))).mean(),
        "convex",
        POINTWISE,
    ),
    row(
        "softplus, stable, by where",
        4,
        lambda t: W(X @ t > 0, X @ t + torch.log1p(torch.exp(-(X @ t))), torch.log1p(torch.exp(X @ t))).mean(),
        "convex",
        POINTWISE,
    ),
    row("softplus with beta", 4, lambda t: (torch.log(1 + torch.exp(3 * (X @ t))) / 3).mean(), "convex", POINTWISE),
    row(
        "softplus by logaddexp",
        4,
        lambda t: torch.logaddexp(X @ t, torch.zeros(10, dtype=torch.float64)).mean(),
        "convex",
        POINTWISE,
    ),
    row("|r| by where", 4, lambda t: W(X @ t - Y >= 0, X @ t - Y, Y - X @ t).mean(), "convex", POINTWISE),
    row(
        "relu by where",
        4,
        lambda t: W(X @ t > 0, X @ t, torch.zeros(10, dtype=torch.float64)).sum(),
        "convex",
        POINTWISE,
    ),
    row("relu by multiplication with a mask", 4, lambda t: ((X @ t > 0) * (X @ t)).sum(), "convex", POINTWISE),
    row("leaky relu by where", 4, lambda t: W(X @ t > 0, X @ t, 0.1 * (X @ t)).sum(), "convex", POINTWISE),
    row("leaky relu by maximum", 4, lambda t: torch.maximum(X @ t, 0.1 * (X @ t)).sum(), "convex", POINTWISE),
    row("elu by where", 4, lambda t: W(X @ t > 0, X @ t, torch.exp(X @ t) - 1).sum(), "convex", POINTWISE),
    row(
        "elu by relu and clamp",
        4,
        lambda t: ((X @ t).relu() + (torch.exp(X @ t) - 1).clamp(max=0)).sum(),
        "convex",
        POINTWISE,
    ),
    row(
        "elu with a large alpha",
        4,
        lambda t: W(X @ t > 0, X @ t, 2 * torch.expm1(X @ t)).sum(),
        "nonconvex",
        "the slope drops from 2 to 1 at 0",
    ),
    row(
        "huber of residuals by where",
        4,
        lambda t: W((X @ t - Y).abs() <= 1, 0.5 * (X @ t - Y) ** 2, (X @ t - Y).abs() - 0.5).mean(),
        "convex",
        POINTWISE,
    ),
    row("smooth l1 by where", 4, lambda t: _smooth_l1(X @ t - Y).mean(), "convex", POINTWISE),
    row(
        "huber by clamp",
        4,
        lambda t: (0.5 * (X @ t - Y).abs().clamp(max=1) ** 2 + ((X @ t - Y).abs() - 1).clamp(min=0)).mean(),
        "convex",
        POINTWISE,
    ),
    row(
        "pinball by where", 4, lambda t: W(Y > X @ t, 0.9 * (Y - X @ t), 0.1 * (X @ t - Y)).mean(), "convex", POINTWISE
    ),
    row(
        "pinball by maximum",
        4,
        lambda t: torch.maximum(0.9 * (Y - X @ t), -0.1 * (Y - X @ t)).mean(),
        "convex",
        POINTWISE,
    ),
    row(
        "log cosh, stable",
        4,
        lambda t: ((X @ t - Y) + F.softplus(-2 * (X @ t - Y)) - math.log(2)).mean(),
        "convex",
        POINTWISE,
    ),
    row(
        "log cosh by exponentials",
        4,
        lambda t: torch.log((torch.exp(X @ t - Y) + torch.exp(Y - X @ t)) / 2).mean(),
        "convex",
        POINTWISE,
    ),
    row("Charbonnier", 4, lambda t: torch.sqrt((X @ t - Y) ** 2 + 1e-6).mean(), "convex", POINTWISE),
    row("fourth power by products", 4, lambda t: ((X @ t) * (X @ t) * (X @ t) * (X @ t)).mean(), "convex", POINTWISE),
    row("x log x by multiplication", 3, lambda t: (t * torch.log(t)).sum(), "convex", "[BV04 3.1.5]", box=(0.0, None)),
    row(
        "entropy of normalised weights",
        3,
        lambda t: -(t / 2 * torch.log(t / 2)).sum(),
        "concave",
        "[BV04 3.1.5]",
        box=(0.0, None),
    ),
    row(
        "squared hinge by relu", 4, lambda t: ((1 - S * (X @ t)).relu() ** 2).mean() + 0.1 * t @ t, "convex", POINTWISE
    ),
    row("hinge of margins by clamp", 4, lambda t: (1 - S * (X @ t)).clamp(min=0).mean(), "convex", POINTWISE),
    row(
        "hinge by maximum",
        4,
        lambda t: torch.max(1 - S * (X @ t), torch.zeros(10, dtype=torch.float64)).mean(),
        "convex",
        POINTWISE,
    ),
    row("hinge by where", 4, lambda t: W(S * (X @ t) < 1, 1 - S * (X @ t), 0 * (X @ t)).mean(), "convex", POINTWISE),
    row("ramp loss", 4, lambda t: (1 - S * (X @ t)).clamp(0, 2).mean(), "nonconvex", "bounded and not constant"),
]

# likelihoods ---------------------------------------------------------------------------------------------------------


def _lse_by_hand(z: Tensor) -> Tensor:
    top = z.max(1, keepdim=True).values
    return (top + torch.log(torch.exp(z - top).sum(1, keepdim=True))).squeeze(1)


def _lse_detached(z: Tensor) -> Tensor:
    top = z.detach().amax(1)
    return top + (z - top[:, None]).exp().sum(1).log()


def _nll_by_probabilities(t: Tensor) -> Tensor:
    e = torch.exp(logits(t))
    p = e / e.sum(1, keepdim=True)
    return -torch.log(p[torch.arange(10), C]).mean()


def _smoothed(t: Tensor) -> Tensor:
    z = torch.log_softmax(logits(t), 1)
    goal = 0.9 * F.one_hot(C, 3).double() + 0.1 / 3
    return -(goal * z).sum(1).mean()


def _negatively_smoothed(t: Tensor) -> Tensor:
    goal = 1.2 * F.one_hot(C, 3).double() - 0.2 / 3
    return -(goal * torch.log_softmax(logits(t), 1)).sum(1).mean()


def _cox(t: Tensor) -> Tensor:
    risk = (X @ t)[TIMES]
    at_risk = torch.flip(torch.logcumsumexp(torch.flip(risk, [0]), 0), [0])
    return (at_risk - risk).mean()


def _cox_by_mask(t: Tensor) -> Tensor:
    z = X @ t
    later = (P[None, :] >= P[:, None]).double()
    return (torch.log((later * torch.exp(z)[None, :]).sum(1)) - z).mean()


def _ordinal(t: Tensor) -> Tensor:
    z = X @ t
    return -torch.log(torch.sigmoid(1.0 - z) - torch.sigmoid(-0.5 - z)).mean()


def _chain(t: Tensor) -> Tensor:
    """Log-partition of a chain of four labels with three states, less the score of one path."""
    unary, pair = t[:12].reshape(4, 3), t[12:].reshape(3, 3)
    alpha = unary[0]
    for k in range(1, 4):
        alpha = torch.logsumexp(alpha[:, None] + pair, 0) + unary[k]
    return torch.logsumexp(alpha, 0) - (unary[0, 1] + unary[1, 0] + unary[2, 2] + unary[3, 2] + pair[1, 0] + pair[2, 2])


LIKELIHOODS: list[Case] = [
    row("log-sum-exp shifted by hand", 12, lambda t: (_lse_by_hand(logits(t)) - logits(t)[:, 0]).mean(), "convex", LSE),
    row(
        "log-sum-exp shifted by a detached maximum",
        12,
        lambda t: (_lse_detached(logits(t)) - logits(t)[:, 1]).mean(),
        "convex",
        LSE,
    ),
    row("log of a sum of exponentials", 12, lambda t: torch.log(torch.exp(logits(t)).sum(1)).sum(), "convex", LSE),
    row("cross-entropy by probabilities", 12, _nll_by_probabilities, "convex", LSE),
    row("label smoothing by hand", 12, _smoothed, "convex", LSE),
    row("negative label smoothing by hand", 12, _negatively_smoothed, "convex", "the targets of a row still sum to 1"),
    row("binary cross-entropy of probabilities", 4, _bce_of_probabilities, "convex", LOGISTIC),
    row("binary cross-entropy of clamped probabilities", 4, _bce_clamped, "nonconvex", "bounded and not constant"),
    row(
        "stable binary cross-entropy by hand",
        4,
        lambda t: ((X @ t).clamp(min=0) - (X @ t) * B + torch.log1p(torch.exp(-(X @ t).abs()))).mean(),
        "convex",
        LOGISTIC,
    ),
    row("logistic loss of margins", 4, lambda t: torch.log(1 + torch.exp(-S * (X @ t))).mean(), "convex", LOGISTIC),
    row(
        "focal loss by hand",
        4,
        _focal,
        "nonconvex",
        "on one sample it is x² log(1 + ...) far out: flat, then steep, then linear",
    ),
    row("Poisson by hand", 4, lambda t: (torch.exp(X @ t) - N * (X @ t)).mean(), "convex", "exponential minus linear"),
    row(
        "gamma with log link by hand",
        4,
        lambda t: (P * torch.exp(-(X @ t)) + X @ t).mean(),
        "convex",
        "exponential plus linear",
    ),
    row(
        "Tweedie with power 1.5",
        4,
        lambda t: (2 * P * torch.exp(-0.5 * (X @ t)) + 2 * torch.exp(0.5 * (X @ t))).mean(),
        "convex",
        "exponentials",
    ),
    row(
        "negative binomial with log link",
        4,
        lambda t: ((N + 2) * torch.log(2 + torch.exp(X @ t)) - N * (X @ t)).mean(),
        "convex",
        "softplus shifted, minus linear",
    ),
    row("Cox partial likelihood by hand", 4, _cox, "convex", LSE),
    row("Cox partial likelihood by a mask", 4, _cox_by_mask, "convex", LSE),
    row(
        "ordinal logit by hand", 4, _ordinal, "convex", "an interval's logistic probability is log-concave [BV04 3.5.2]"
    ),
    row(
        "Bradley and Terry by hand",
        4,
        lambda t: -torch.log(torch.sigmoid(t[EDGES[:, 0]] - t[EDGES[:, 1]])).sum(),
        "convex",
        LOGISTIC,
    ),
    row(
        "Plackett and Luce by hand", 4, lambda t: sum(torch.logsumexp(t[k:], 0) - t[k] for k in range(3)), "convex", LSE
    ),
    row("chain of labels by a recursion", 21, _chain, "convex", LSE),
    row(
        "distillation",
        12,
        lambda t: (Q * (torch.log(Q) - torch.log_softmax(logits(t) / 2, 1))).sum(1).mean() * 4,
        "convex",
        LSE,
    ),
    row(
        "contrastive loss of fixed features",
        4,
        lambda t: (torch.logsumexp(X @ t[:, None] * X[:, :1].T, 1) - (X @ t) * X[:, 0]).mean(),
        "convex",
        LSE,
    ),
    row(
        "exponential family by quadrature",
        2,
        lambda t: torch.log(torch.exp(t[0] * X[:, 0] + t[1] * X[:, 0] ** 2).sum()) - t[0] - 0.5 * t[1],
        "convex",
        LSE,
    ),
]

# penalties, robust and structured problems ---------------------------------------------------------------------------


def _crammer_singer(t: Tensor) -> Tensor:
    z = logits(t)
    right = z[torch.arange(10), C]
    return ((z + 1 - F.one_hot(C, 3).double()).amax(1) - right).mean()


def _owl(t: Tensor) -> Tensor:
    return ((X @ t - Y) ** 2).mean() + (vector(4, 3, 2, 1) * t.abs().sort(descending=True).values).sum() / 10


def _group(t: Tensor) -> Tensor:
    return ((X @ t - Y) ** 2).mean() + 0.1 * sum(torch.sqrt((t[k : k + 2] ** 2).sum() + 1e-8) for k in (0, 2))


STRUCTURED: list[Case] = [
    row(
        "quadratic form by einsum",
        4,
        lambda t: torch.einsum("i,ij,j->", t, K[:4, :4], t),
        "convex",
        "positive definite",
    ),
    row("norm by hand", 4, lambda t: torch.sqrt(torch.sum((X @ t - Y) ** 2)), "convex", NORM),
    row("norm with epsilon", 4, lambda t: torch.sqrt(1e-12 + ((X @ t - Y) ** 2).sum()), "convex", NORM),
    row("3-norm by hand", 4, lambda t: (t.abs() ** 3).sum() ** (1 / 3), "convex", NORM),
    row("p-norm with p = 1.2", 4, lambda t: torch.norm(X @ t - Y, p=1.2), "convex", NORM),
    row("largest absolute residual", 4, lambda t: (X @ t - Y).abs().max(), "convex", NORM),
    row(
        "elastic net by hand",
        4,
        lambda t: ((X @ t - Y) ** 2).mean() + 0.1 * t.abs().sum() + 0.05 * (t**2).sum(),
        "convex",
        SUM,
    ),
    row("group lasso with epsilon", 4, _group, "convex", SUM),
    row(
        "total variation in two dimensions",
        9,
        lambda t: sum(
            ((g := t.reshape(3, 3))[1:, :-1] - g[:-1, :-1])
            .pow(2)
            .add((g[:-1, 1:] - g[:-1, :-1]) ** 2)
            .add(1e-3)
            .sqrt()
            .sum()
            for _ in (0,)
        ),
        "convex",
        SUM,
    ),
    row("OWL", 4, _owl, "convex", TAIL),
    row("expected shortfall", 4, lambda t: ((X @ t - Y) ** 2).topk(3).values.mean(), "convex", TAIL),
    row(
        "expected shortfall with a threshold",
        5,
        lambda t: t[4] + ((X @ t[:4] - Y) ** 2 - t[4]).relu().mean() / 0.3,
        "convex",
        SUM,
    ),
    row(
        "hard example mining",
        12,
        lambda t: F.cross_entropy(logits(t), C, reduction="none").sort(descending=True).values[:4].sum(),
        "convex",
        TAIL,
    ),
    row(
        "trimmed squares",
        4,
        lambda t: ((X @ t - Y) ** 2).sort().values[:7].mean(),
        "nonconvex",
        "several samples can be left out",
    ),
    row(
        "worst group",
        4,
        lambda t: torch.stack([((X[k::3] @ t - Y[k::3]) ** 2).mean() for k in range(3)]).max(),
        "convex",
        "maximum of convex functions",
    ),
    row(
        "divergence-robust risk",
        4,
        lambda t: 2 * torch.log(torch.exp((X @ t - Y) ** 2 / 2).mean()),
        "convex",
        "log-sum-exp of convex functions",
    ),
    row(
        "factorisation with one factor fixed",
        6,
        lambda t: ((LEFT @ t.reshape(2, 3) - Q) ** 2).sum() + 0.1 * (t**2).sum(),
        "convex",
        "squares of linear maps",
    ),
    row(
        "both factors",
        6,
        lambda t: (((t[:3, None] * t[None, 3:]) - Q[:3]) ** 2).sum(),
        "nonconvex",
        "products of parameters",
    ),
    row("Crammer and Singer by hand", 12, _crammer_singer, "convex", "maximum of affine functions"),
    row(
        "one against all",
        12,
        lambda t: (1 - (2 * F.one_hot(C, 3).double() - 1) * logits(t)).relu().sum(1).mean(),
        "convex",
        POINTWISE,
    ),
    row("reweighted squares", 4, lambda t: (P * (X @ t - Y) ** 2).sum() / P.sum(), "convex", "weighted squares"),
    row(
        "squares under a mask",
        4,
        lambda t: (W(S > 0, (X @ t - Y) ** 2, torch.zeros(10, dtype=torch.float64)) * P).sum(),
        "convex",
        "weighted squares",
    ),
    row(
        "log barrier",
        4,
        lambda t: ((X @ t - Y) ** 2).mean() - 0.01 * torch.log(1 - t**2).sum(),
        "convex",
        "1 - t² is concave and positive",
        box=(-0.9, 0.9),
    ),
    row(
        "geometric mean of returns",
        3,
        lambda t: -torch.exp(torch.log(t).mean()),
        "convex",
        "minus a geometric mean [BV04 3.1.5]",
        box=(0.1, None),
    ),
    row(
        "Cobb and Douglas",
        3,
        lambda t: t[0] ** 0.3 * t[1] ** 0.5 * t[2] ** 0.2,
        "concave",
        "weighted geometric mean [BV04 3.1.5]",
        box=(0.0, None),
    ),
    row(
        "growth-optimal portfolio",
        3,
        lambda t: -torch.log(Q @ t).mean() + (t.sum() - 1) ** 2,
        "convex",
        SUM,
        box=(0.01, None),
    ),
    row(
        "mean and deviation",
        4,
        lambda t: -(X.mean(0) @ t) + torch.sqrt(t @ (X.T @ X / 10 + torch.eye(4, dtype=torch.float64)) @ t),
        "convex",
        NORM,
    ),
    row(
        "Kullback and Leibler of both arguments",
        6,
        lambda t: (t[:3] * (torch.log(t[:3]) - torch.log(t[3:]))).sum(),
        "convex",
        ENTROPY,
        box=(0.01, None),
    ),
    row(
        "generalised Kullback and Leibler",
        6,
        lambda t: (t[:3] * torch.log(t[:3] / t[3:]) - t[:3] + t[3:]).sum(),
        "convex",
        ENTROPY,
        box=(0.01, None),
    ),
    row(
        "Jeffreys",
        6,
        lambda t: ((t[:3] - t[3:]) * (torch.log(t[:3]) - torch.log(t[3:]))).sum(),
        "convex",
        ENTROPY,
        box=(0.01, None),
    ),
    row(
        "chi-squared divergence",
        6,
        lambda t: ((t[:3] - t[3:]) ** 2 / t[3:]).sum(),
        "convex",
        "square over linear [BV04 3.2.6]",
        box=(0.01, None),
    ),
    row(
        "Hellinger",
        6,
        lambda t: ((t[:3].sqrt() - t[3:].sqrt()) ** 2).sum(),
        "convex",
        "x + y - 2 sqrt(x y), and sqrt(x y) is concave",
        box=(0.01, None),
    ),
    row(
        "entropic transport, dual",
        8,
        lambda t: 0.1 * torch.exp((t[:4, None] + t[None, 4:] - 1) / 0.1).sum() - t.sum() / 4,
        "convex",
        "exponentials of affine maps minus linear",
        reach=3.0,
    ),
    row(
        "soft margin with a bias",
        5,
        lambda t: F.softplus(1 - S * (X @ t[:4] + t[4])).mean() + 0.1 * t[:4] @ t[:4],
        "convex",
        SUM,
    ),
    row(
        "scaled lasso",
        5,
        lambda t: ((X @ t[:4] - Y) ** 2).sum() / (2 * t[4]) + 5 * t[4] + 0.1 * t[:4].abs().sum(),
        "convex",
        "square over linear [BV04 3.2.6]",
        box=([None] * 4 + [0.01], [None] * 5),
    ),
    row("range of the predictions", 4, lambda t: (X @ t).max() - (X @ t).min(), "convex", SUM),
    row(
        "Gini mean difference",
        4,
        lambda t: (X @ t).sort().values @ torch.arange(-9.0, 10, 2, dtype=torch.float64),
        "convex",
        "weights of the ranks increase",
    ),
    row(
        "median absolute residual",
        4,
        lambda t: (X @ t - Y).abs().median(),
        "nonconvex",
        "half of the samples do not matter, which half changes",
    ),
]
CASES = POINT + LIKELIHOODS + STRUCTURED
