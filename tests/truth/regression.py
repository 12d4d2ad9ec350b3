"""Linear models with the losses that people use: least squares, robust losses, margins, generalised linear models."""

from __future__ import annotations

import torch
from case import B, C, Case, N, P, Q, S, V, X, Y, row, vector
from torch import Tensor
from torch.nn import functional as F

AFFINE = "convex function of an affine map [BV04 3.2.2]"
NORM = "norm of an affine map [BV04 3.1.5, 3.2.2]"
LSE = "log-sum-exp of affine maps minus an affine map [BV04 3.1.5]"
GRAM = X.T @ X


def r(t: Tensor) -> Tensor:
    return X @ t - Y


def z3(t: Tensor) -> Tensor:
    return X @ t.reshape(4, 3)


def where_huber(u: Tensor) -> Tensor:
    return torch.where(u.abs() <= 1, u**2 / 2, u.abs() - 0.5)


def tukey(u: Tensor, c: float = 2.0) -> Tensor:
    return torch.where(u.abs() <= c, 1 - (1 - (u / c) ** 2) ** 3, torch.ones_like(u))


def modified_huber(m: Tensor) -> Tensor:
    return torch.where(m >= -1, torch.relu(1 - m) ** 2, -4 * m)


WEIGHTS = vector(1, 2, 0.5, 1, 3, 0.1, 1, 1, 2, 1)
ONE_NEGATIVE = vector(1, 1, 1, -60, 1, 1, 1, 1, 1, 1)

LEAST_SQUARES: list[Case] = [
    row("sum of squares as a dot product", 4, lambda t: r(t) @ r(t), "convex", AFFINE),
    row(
        "squares expanded by hand",
        4,
        lambda t: t @ GRAM @ t - 2 * (X.T @ Y) @ t + Y @ Y,
        "convex",
        "XᵀX is positive definite, rank 4",
    ),
    row("norm squared", 4, lambda t: torch.linalg.norm(r(t)) ** 2, "convex", AFFINE),
    row("norm", 4, lambda t: torch.linalg.norm(r(t)), "convex", NORM),
    row("root mean square", 4, lambda t: torch.sqrt((r(t) ** 2).mean()), "convex", NORM),
    row("einsum squares", 4, lambda t: torch.einsum("n,n->", r(t), r(t)), "convex", AFFINE),
    row("mse_loss sum", 4, lambda t: F.mse_loss(X @ t, Y, reduction="sum"), "convex", AFFINE),
    row("weighted squares", 4, lambda t: (WEIGHTS * r(t) ** 2).sum(), "convex", "weights are positive"),
    row(
        "one negative weight",
        4,
        lambda t: (ONE_NEGATIVE * r(t) ** 2).sum(),
        "nonconvex",
        "Xᵀ W X is indefinite: row 4 has weight -60",
    ),
    row(
        "generalised least squares",
        4,
        lambda t: r(t) @ (torch.eye(10, dtype=torch.float64) * 2 + 0.1) @ r(t),
        "convex",
        "2I + 0.1 11ᵀ is positive definite",
    ),
    row(
        "skew part does not matter",
        4,
        lambda t: t @ (torch.eye(4, dtype=torch.float64) + V - V.T) @ t,
        "convex",
        "tᵀ(I + A)t = ‖t‖² for skew A",
    ),
    row(
        "convex minus a little",
        4,
        lambda t: (r(t) ** 2).mean() - 0.01 * (t**2).sum(),
        "convex",
        "least eigenvalue of XᵀX/10 exceeds 0.01",
    ),
    row(
        "convex minus too much",
        4,
        lambda t: (r(t) ** 2).mean() - 100 * (t**2).sum(),
        "concave",
        "largest eigenvalue of XᵀX/10 is below 100",
    ),
    row(
        "convex minus something between",
        4,
        lambda t: (r(t) ** 2).mean() - 0.8 * (t**2).sum(),
        "nonconvex",
        "0.8 lies between the eigenvalues of XᵀX/10",
    ),
    row("variance of residuals", 4, lambda t: r(t).var(), "convex", "squared norm of an affine map"),
    row("standard deviation of residuals", 4, lambda t: r(t).std(), "convex", NORM),
    row(
        "R squared complement",
        4,
        lambda t: (r(t) ** 2).sum() / ((Y - Y.mean()) ** 2).sum(),
        "convex",
        "constant denominator",
    ),
    row("sum of residuals", 4, lambda t: r(t).sum(), "affine", "affine map"),
    row(
        "cancelling squares",
        4,
        lambda t: ((X @ t) ** 2 - (X @ t) * (X @ t)).sum() + t.sum(),
        "affine",
        "the squares cancel",
    ),
    row("product of one form with itself", 4, lambda t: (X[0] @ t) * (2 * (X[0] @ t)), "convex", "2 u²"),
    row(
        "product of two forms",
        4,
        lambda t: (X[0] @ t) * (X[1] @ t),
        "nonconvex",
        "abᵀ + baᵀ is indefinite unless a, b are parallel",
    ),
    row(
        "total least squares",
        4,
        lambda t: (r(t) ** 2).sum() / (1 + t @ t),
        "nonconvex",
        "bounded along each line, not constant",
    ),
    row(
        "negative cosine",
        4,
        lambda t: -F.cosine_similarity(X @ t + 1e-3, Y, dim=0),
        "nonconvex",
        "bounded and not constant",
    ),
    row("projection on one row", 4, lambda t: ((X[0] @ t) * X[1] - Y[:4]).pow(2).sum(), "convex", AFFINE),
    row("ridge", 4, lambda t: (r(t) ** 2).mean() + 0.1 * t @ t, "convex", "sum of convex quadratics"),
    row(
        "least squares of permuted rows",
        4,
        lambda t: ((X[[3, 1, 4, 0, 2, 9, 7, 8, 5, 6]] @ t - Y[[3, 1, 4, 0, 2, 9, 7, 8, 5, 6]]) ** 2).mean(),
        "convex",
        AFFINE,
    ),
]

ROBUST: list[Case] = [
    row("absolute deviations", 4, lambda t: r(t).abs().sum(), "convex", NORM),
    row("l1_loss", 4, lambda t: F.l1_loss(X @ t, Y), "convex", NORM),
    row("Chebyshev", 4, lambda t: r(t).abs().max(), "convex", NORM),
    row("huber_loss", 4, lambda t: F.huber_loss(X @ t, Y, delta=0.5), "convex", AFFINE),
    row(
        "huber by where",
        4,
        lambda t: where_huber(r(t)).mean(),
        "convex",
        "Huber's function, C¹ with increasing derivative",
    ),
    row("smooth_l1_loss", 4, lambda t: F.smooth_l1_loss(X @ t, Y, beta=0.3), "convex", AFFINE),
    row(
        "quantile by maximum",
        4,
        lambda t: torch.maximum(0.8 * r(t), -0.2 * r(t)).mean(),
        "convex",
        "maximum of affine functions [BV04 3.2.3]",
    ),
    row(
        "quantile by where",
        4,
        lambda t: torch.where(r(t) > 0, 0.8 * r(t), -0.2 * r(t)).mean(),
        "convex",
        "the same function",
    ),
    row(
        "quantile by two relus",
        4,
        lambda t: (0.8 * torch.relu(r(t)) + 0.2 * torch.relu(-r(t))).mean(),
        "convex",
        "the same function",
    ),
    row(
        "quantile of a wrong sign",
        4,
        lambda t: (0.8 * torch.relu(r(t)) - 0.9 * torch.relu(-r(t))).mean(),
        "concave",
        "slopes 0.9, then 0.8: minimum of affine functions",
    ),
    row(
        "expectile",
        4,
        lambda t: (torch.where(r(t) > 0, 0.9, 0.1) * r(t) ** 2).mean(),
        "convex",
        "C¹ with increasing derivative",
    ),
    row(
        "epsilon-insensitive",
        4,
        lambda t: torch.relu(r(t).abs() - 0.1).mean(),
        "convex",
        "increasing convex of convex [BV04 3.2.4]",
    ),
    row(
        "squared epsilon-insensitive",
        4,
        lambda t: (torch.relu(r(t).abs() - 0.1) ** 2).mean(),
        "convex",
        "square of a nonnegative convex function",
    ),
    row("log-cosh by softplus", 4, lambda t: (r(t) + F.softplus(-2 * r(t))).mean(), "convex", AFFINE),
    row(
        "pseudo-Huber",
        4,
        lambda t: (torch.sqrt(1 + (r(t) / 0.5) ** 2) - 1).mean(),
        "convex",
        "‖(1, u)‖ is a norm of an affine map",
    ),
    row("fourth powers", 4, lambda t: (r(t) ** 4).mean(), "convex", AFFINE),
    row("powers 3/2", 4, lambda t: (r(t).abs() ** 1.5).mean(), "convex", "|u|^p is convex for p >= 1 [BV04 3.1.5]"),
    row(
        "exponential of squares",
        4,
        lambda t: torch.exp(0.1 * r(t) ** 2).mean(),
        "convex",
        "increasing convex of convex [BV04 3.2.4]",
    ),
    row(
        "sum of the three largest",
        4,
        lambda t: torch.topk(r(t).abs(), 3).values.sum(),
        "convex",
        "maximum over triples [BV04 3.2.3]",
    ),
    row("smooth maximum", 4, lambda t: torch.logsumexp(r(t), 0), "convex", LSE),
    row("smooth minimum", 4, lambda t: -torch.logsumexp(-r(t), 0), "concave", LSE),
    row(
        "entropic risk of squares",
        4,
        lambda t: torch.logsumexp(r(t) ** 2, 0),
        "convex",
        "increasing convex of convex [BV04 3.2.4]",
    ),
    row("Geman-McClure", 4, lambda t: (r(t) ** 2 / (1 + r(t) ** 2)).mean(), "nonconvex", "bounded and not constant"),
    row("Welsch", 4, lambda t: (1 - torch.exp(-(r(t) ** 2) / 2)).mean(), "nonconvex", "bounded and not constant"),
    row("Tukey's biweight", 4, lambda t: tukey(r(t)).mean(), "nonconvex", "bounded and not constant"),
    row(
        "truncated squares",
        4,
        lambda t: torch.clamp(r(t) ** 2, max=1.0).mean(),
        "nonconvex",
        "bounded and not constant",
    ),
    row(
        "log(1 + |r|)", 4, lambda t: torch.log1p(r(t).abs()).mean(), "nonconvex", "grows like a logarithm, not constant"
    ),
    row("sqrt |r|", 4, lambda t: r(t).abs().sqrt().mean(), "nonconvex", "grows like a root, not constant"),
    row(
        "median of |r|",
        4,
        lambda t: r(t).abs().median(),
        "nonconvex",
        "the least median of squares has several valleys",
    ),
    row(
        "sum of the three smallest",
        4,
        lambda t: torch.topk(r(t).abs(), 3, largest=False).values.sum(),
        "nonconvex",
        "a minimum over triples of functions with different zeros",
    ),
    row(
        "better of two squares",
        4,
        lambda t: torch.minimum((X[0] @ t - 1) ** 2, (X[0] @ t + 1) ** 2),
        "nonconvex",
        "two valleys",
    ),
]

MARGINS: list[Case] = [
    row("logistic by softplus", 4, lambda t: F.softplus(-S * (X @ t)).mean(), "convex", LSE),
    row("logistic by log1p exp", 4, lambda t: torch.log1p(torch.exp(-S * (X @ t))).mean(), "convex", LSE),
    row("logistic by log(1 + exp)", 4, lambda t: torch.log(1 + torch.exp(-S * (X @ t))).mean(), "convex", LSE),
    row(
        "logistic by logaddexp",
        4,
        lambda t: torch.logaddexp(torch.zeros(10, dtype=torch.float64), -S * (X @ t)).mean(),
        "convex",
        LSE,
    ),
    row("logistic by logsigmoid", 4, lambda t: -F.logsigmoid(S * (X @ t)).mean(), "convex", LSE),
    row("logistic by log sigmoid", 4, lambda t: -torch.log(torch.sigmoid(S * (X @ t))).mean(), "convex", LSE),
    row(
        "logistic by both logarithms",
        4,
        lambda t: -(B * torch.log(torch.sigmoid(X @ t)) + (1 - B) * torch.log(1 - torch.sigmoid(X @ t))).mean(),
        "convex",
        LSE,
        reach=3.0,
    ),
    row("logistic as softplus minus y z", 4, lambda t: (F.softplus(X @ t) - B * (X @ t)).mean(), "convex", LSE),
    row("soft_margin_loss", 4, lambda t: F.soft_margin_loss(X @ t, S), "convex", LSE),
    row(
        "bce with pos_weight",
        4,
        lambda t: F.binary_cross_entropy_with_logits(X @ t, B, pos_weight=vector(3.0)),
        "convex",
        "weights 1 + 2y > 0",
    ),
    row("bce with soft labels", 4, lambda t: F.binary_cross_entropy_with_logits(X @ t, Q[:, 0]), "convex", LSE),
    row(
        "bce with labels beyond 1",
        4,
        lambda t: F.binary_cross_entropy_with_logits(X @ t, 3 * Q[:, 0] - 1),
        "convex",
        "softplus(z) - y z for any real y",
    ),
    row("exponential loss", 4, lambda t: torch.exp(-S * (X @ t)).mean(), "convex", AFFINE),
    row("hinge", 4, lambda t: torch.relu(1 - S * (X @ t)).mean(), "convex", "maximum of affine functions"),
    row(
        "hinge by clamp",
        4,
        lambda t: torch.clamp(1 - S * (X @ t), min=0).mean(),
        "convex",
        "maximum of affine functions",
    ),
    row(
        "hinge by maximum with zero",
        4,
        lambda t: torch.maximum(torch.zeros(()), 1 - S * (X @ t)).mean(),
        "convex",
        "maximum of affine functions",
    ),
    row(
        "squared hinge",
        4,
        lambda t: (torch.relu(1 - S * (X @ t)) ** 2).mean(),
        "convex",
        "square of a nonnegative convex function",
    ),
    row("modified Huber", 4, lambda t: modified_huber(S * (X @ t)).mean(), "convex", "C¹ with increasing derivative"),
    row("perceptron", 4, lambda t: torch.relu(-S * (X @ t)).mean(), "convex", "maximum of affine functions"),
    row(
        "support vectors with a norm",
        4,
        lambda t: t @ t / 2 + torch.relu(1 - S * (X @ t)).sum(),
        "convex",
        "sum of convex functions",
    ),
    row(
        "Crammer and Singer",
        12,
        lambda t: ((z3(t) + 1 - F.one_hot(C, 3)).amax(1) - z3(t)[torch.arange(10), C]).mean(),
        "convex",
        "maximum of affine functions minus an affine function",
    ),
    row(
        "multi_margin_loss", 12, lambda t: F.multi_margin_loss(z3(t), C), "convex", "sum of hinges of affine functions"
    ),
    row(
        "hinge_embedding_loss",
        4,
        lambda t: F.hinge_embedding_loss(X @ t, S),
        "convex",
        "x or max(0, 1 - x), by the label",
    ),
    row(
        "margin_ranking_loss",
        4,
        lambda t: F.margin_ranking_loss(X[:5] @ t, X[5:] @ t, S[:5], margin=0.3),
        "convex",
        "hinges of affine functions",
    ),
    row(
        "multilabel soft margin", 12, lambda t: F.multilabel_soft_margin_loss(z3(t), (Q > 0.3).double()), "convex", LSE
    ),
    row("sigmoid loss", 4, lambda t: torch.sigmoid(-S * (X @ t)).mean(), "nonconvex", "bounded and not constant"),
    row(
        "squared error of a sigmoid",
        4,
        lambda t: F.mse_loss(torch.sigmoid(X @ t), B),
        "nonconvex",
        "bounded and not constant",
    ),
    row(
        "squared error of tanh",
        4,
        lambda t: ((torch.tanh(X @ t) - S) ** 2).mean(),
        "nonconvex",
        "bounded and not constant",
    ),
    row(
        "tangent loss",
        4,
        lambda t: ((2 * torch.atan(S * (X @ t)) - 1) ** 2).mean(),
        "nonconvex",
        "bounded and not constant",
    ),
    row(
        "focal loss",
        4,
        lambda t: ((1 - torch.sigmoid(S * (X @ t))) ** 2 * F.softplus(-S * (X @ t))).mean(),
        "nonconvex",
        "for z to -inf it is -z + 2 z e^z + ..., of second derivative 2 (z + 2) e^z < 0; see the one-dimensional row",
    ),
    row(
        "focal loss of one logit",
        1,
        lambda t: (1 - torch.sigmoid(t[0])) ** 2 * F.softplus(-t[0]),
        "nonconvex",
        "second derivative negative at z = -8",
        quasiconvex=True,
    ),
    row(
        "generalised cross-entropy",
        4,
        lambda t: ((1 - torch.sigmoid(S * (X @ t)) ** 0.7) / 0.7).mean(),
        "nonconvex",
        "bounded and not constant",
    ),
    row(
        "labels flipped with probability 0.1",
        4,
        lambda t: -torch.log(0.8 * torch.sigmoid(S * (X @ t)) + 0.1).mean(),
        "nonconvex",
        "bounded and not constant",
    ),
]

GENERALISED: list[Case] = [
    row(
        "Poisson", 4, lambda t: (torch.exp(X @ t) - N * (X @ t)).mean(), "convex", "exponential of affine minus affine"
    ),
    row("poisson_nll_loss", 4, lambda t: F.poisson_nll_loss(X @ t, N, log_input=True), "convex", "the same"),
    row(
        "Poisson with softplus link",
        4,
        lambda t: (F.softplus(X @ t) - N * torch.log(F.softplus(X @ t))).mean(),
        "convex",
        "softplus is convex and log-concave",
    ),
    row(
        "Poisson with identity link",
        4,
        lambda t: (X.abs() @ t - N * torch.log(X.abs() @ t)).mean(),
        "convex",
        "-log of affine, counts >= 0",
        box=(0.1, None),
    ),
    row(
        "Poisson with squared link",
        1,
        lambda t: t[0] ** 2 - 2 * torch.log(t[0] ** 2),
        "convex",
        "t² - 4 log t on t > 0",
        box=(0.5, None),
    ),
    row(
        "gamma with log link",
        4,
        lambda t: (P * torch.exp(-(X @ t)) + X @ t).mean(),
        "convex",
        "exponential of affine plus affine",
    ),
    row(
        "gamma with inverse link",
        4,
        lambda t: (P * (X.abs() @ t) - torch.log(X.abs() @ t)).mean(),
        "convex",
        "affine minus log",
        box=(0.1, None),
    ),
    row(
        "negative binomial",
        4,
        lambda t: ((N + 2) * torch.log(2 + torch.exp(X @ t)) - N * (X @ t)).mean(),
        "convex",
        "log(2 + e^z) is log-sum-exp",
    ),
    row(
        "Tweedie 1.5",
        4,
        lambda t: (2 * torch.exp(0.5 * (X @ t)) + 2 * P * torch.exp(-0.5 * (X @ t))).mean(),
        "convex",
        "exponentials of affine maps",
    ),
    row(
        "probit",
        4,
        lambda t: -torch.special.log_ndtr(S * (X @ t)).mean(),
        "convex",
        "the normal distribution function is log-concave [BV04 3.5.1]",
    ),
    row(
        "inverse Gaussian, natural parameter",
        1,
        lambda t: P[0] * t[0] / 2 - torch.sqrt(t[0]),
        "convex",
        "affine minus root",
        box=(0.01, None),
    ),
    row(
        "exponential link squared error",
        4,
        lambda t: ((torch.exp(X @ t) - P - 3) ** 2).mean(),
        "nonconvex",
        "(e^z - y)² has second derivative 2 e^z (2 e^z - y), negative at z = 0 for every y > 2",
    ),
    row("cross_entropy", 12, lambda t: F.cross_entropy(z3(t), C), "convex", LSE),
    row(
        "cross_entropy with class weights",
        12,
        lambda t: F.cross_entropy(z3(t), C, weight=vector(1.0, 0.2, 3.0)),
        "convex",
        LSE,
    ),
    row("cross_entropy with probabilities", 12, lambda t: F.cross_entropy(z3(t), Q), "convex", LSE),
    row(
        "cross_entropy with ignored rows",
        12,
        lambda t: F.cross_entropy(z3(t), torch.where(C == 1, -100, C)),
        "convex",
        LSE,
    ),
    row(
        "cross_entropy summed and smoothed",
        12,
        lambda t: F.cross_entropy(z3(t), C, reduction="sum", label_smoothing=0.2),
        "convex",
        LSE,
    ),
    row("nll of log_softmax", 12, lambda t: F.nll_loss(F.log_softmax(z3(t), 1), C), "convex", LSE),
    row("log of softmax", 12, lambda t: -torch.log(torch.softmax(z3(t), 1))[torch.arange(10), C].mean(), "convex", LSE),
    row(
        "softmax by hand",
        12,
        lambda t: -torch.log(torch.exp(z3(t)) / torch.exp(z3(t)).sum(1, keepdim=True))[torch.arange(10), C].mean(),
        "convex",
        LSE,
    ),
    row(
        "logsumexp minus gather",
        12,
        lambda t: (torch.logsumexp(z3(t), 1) - z3(t).gather(1, C[:, None])[:, 0]).mean(),
        "convex",
        LSE,
    ),
    row(
        "one-hot cross-entropy",
        12,
        lambda t: -(F.one_hot(C, 3) * torch.log_softmax(z3(t), 1)).sum(1).mean(),
        "convex",
        LSE,
    ),
    row(
        "kl_div against soft targets",
        12,
        lambda t: F.kl_div(torch.log_softmax(z3(t), 1), Q, reduction="batchmean"),
        "convex",
        LSE,
    ),
    row(
        "distillation at temperature 3",
        12,
        lambda t: 9 * F.kl_div(F.log_softmax(z3(t) / 3, 1), Q, reduction="batchmean"),
        "convex",
        LSE,
    ),
    row(
        "reverse divergence",
        3,
        lambda t: (torch.softmax(t, 0) * (torch.log_softmax(t, 0) - torch.log(Q[0]))).sum(),
        "nonconvex",
        "bounded and not constant",
    ),
    row(
        "entropy of softmax",
        3,
        lambda t: -(torch.softmax(t, 0) * torch.log_softmax(t, 0)).sum(),
        "nonconvex",
        "bounded and not constant",
    ),
    row(
        "Brier score of softmax",
        12,
        lambda t: ((torch.softmax(z3(t), 1) - F.one_hot(C, 3)) ** 2).mean(),
        "nonconvex",
        "bounded and not constant",
    ),
    row(
        "Cox partial likelihood",
        4,
        lambda t: torch.stack([torch.logsumexp((X @ t)[i:], 0) - (X @ t)[i] for i in range(9)]).sum(),
        "convex",
        LSE,
    ),
    row("Bradley and Terry", 5, lambda t: F.softplus(-(t[[0, 1, 2, 3, 0]] - t[[1, 2, 3, 4, 4]])).sum(), "convex", LSE),
    row("Plackett and Luce", 5, lambda t: sum(torch.logsumexp(t[i:], 0) - t[i] for i in range(4)), "convex", LSE),
    row(
        "chain random field by the forward recursion",
        13,
        lambda t: forward(t),
        "convex",
        "nested log-sum-exp of affine scores, increasing",
    ),
    row("maximum entropy model", 4, lambda t: torch.logsumexp(X @ t, 0) - (Q[:, 0] @ X) @ t, "convex", LSE),
    row(
        "free energy of a restricted Boltzmann machine",
        6,
        lambda t: -F.softplus(X[:, :2] @ t[:4].reshape(2, 2) + t[4:]).sum(),
        "concave",
        "minus softplus of affine maps",
    ),
    row(
        "hidden state likelihood",
        6,
        lambda t: torch.logsumexp(t, 0) - torch.logsumexp(t[:2], 0),
        "nonconvex",
        "for large other entries the first term is flat along (1, -1, 0, ...), the second strictly concave",
    ),
    row(
        "ordinal logit with fixed cuts",
        4,
        lambda t: -torch.log(torch.sigmoid(1 - X @ t) - torch.sigmoid(-1 - X @ t)).mean(),
        "convex",
        "interval probability of a log-concave density [BV04 3.5.2]",
        reach=1.0,
    ),
]


def forward(t: Tensor) -> Tensor:
    """Negative log-likelihood of a chain with three states: log Z by dynamic programming minus the path's score."""
    transition, emission = t[:9].reshape(3, 3), X[:6] @ torch.stack([t[9:], 2 * t[9:], -t[9:]], 1)
    alpha, path = emission[0], C[:6]
    score = emission[0, path[0]]
    for k in range(1, 6):
        alpha = torch.logsumexp(alpha[:, None] + transition, 0) + emission[k]
        score = score + transition[path[k - 1], path[k]] + emission[k, path[k]]
    return torch.logsumexp(alpha, 0) - score


CASES = LEAST_SQUARES + ROBUST + MARGINS + GENERALISED
