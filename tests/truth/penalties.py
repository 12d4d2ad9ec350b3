"""Penalties, statistical models and time series: what is added to a loss, and losses that are no regression."""

from __future__ import annotations

import math

import torch
from case import B, Case, P, Q, X, Y, row, vector
from torch import Tensor
from torch.nn import functional as F

NORM = "norm, or norm of a linear map [BV04 3.1.5]"
SUM = "sum of convex functions"
NONNEGATIVE = (0.0, None)
SERIES = X[:, 0]


def lsq(t: Tensor) -> Tensor:
    return ((X @ t - Y) ** 2).mean()


PENALTIES: list[Case] = [
    row("lasso", 4, lambda t: lsq(t) + 0.1 * t.abs().sum(), "convex", SUM),
    row("elastic net", 4, lambda t: lsq(t) + 0.1 * t.abs().sum() + 0.2 * t @ t, "convex", SUM),
    row("group lasso of two groups", 4, lambda t: lsq(t) + t[:2].norm() + t[2:].norm(), "convex", SUM),
    row("sparse group lasso", 4, lambda t: lsq(t) + t[:2].norm() + 0.5 * torch.linalg.vector_norm(t, 1), "convex", SUM),
    row("total variation", 4, lambda t: lsq(t) + (t[1:] - t[:-1]).abs().sum(), "convex", SUM),
    row("trend filter", 4, lambda t: lsq(t) + (t[2:] - 2 * t[1:-1] + t[:-2]).abs().sum(), "convex", SUM),
    row("smoothness by diff", 4, lambda t: (torch.diff(t) ** 2).sum(), "convex", "sum of squares of linear forms"),
    row("maximum norm", 4, lambda t: torch.linalg.vector_norm(t, math.inf), "convex", NORM),
    row("3-norm", 4, lambda t: torch.linalg.vector_norm(t, 3), "convex", NORM),
    row("1.5-norm by hand", 4, lambda t: (t.abs() ** 1.5).sum() ** (2 / 3), "convex", NORM),
    row("half norm", 4, lambda t: t.abs().sqrt().sum(), "nonconvex", "sqrt |t| has a concave branch"),
    row(
        "number of entries beyond 1", 4, lambda t: (t.abs() > 1).double().sum(), "nonconvex", "bounded and not constant"
    ),
    row("logarithmic penalty", 4, lambda t: torch.log(t.abs() + 0.1).sum(), "nonconvex", "grows like a logarithm"),
    row(
        "minimax concave penalty",
        2,
        lambda t: torch.where(t.abs() < 1, t.abs() - t**2 / 2, torch.full_like(t, 0.5)).sum(),
        "nonconvex",
        "bounded and not constant",
    ),
    row("Frobenius norm", 4, lambda t: torch.linalg.matrix_norm(t.reshape(2, 2)), "convex", NORM),
    row("nuclear norm", 4, lambda t: torch.linalg.svdvals(t.reshape(2, 2)).sum(), "convex", "norm [BV04 A.1.6]"),
    row("spectral norm", 4, lambda t: torch.linalg.matrix_norm(t.reshape(2, 2), 2), "convex", "norm [BV04 A.1.5]"),
    row("column norms (2, 1)", 6, lambda t: torch.linalg.vector_norm(t.reshape(3, 2), dim=0).sum(), "convex", NORM),
    row(
        "path norm of two layers", 4, lambda t: (t[:2].abs() * t[2:].abs()).sum(), "nonconvex", "|a| |b| is indefinite"
    ),
    row(
        "orthogonality",
        4,
        lambda t: ((t.reshape(2, 2) @ t.reshape(2, 2).T - torch.eye(2, dtype=torch.float64)) ** 2).sum(),
        "nonconvex",
        "2 at 0, 0 at the identity and at its negative",
    ),
    row("trace of a linear map", 4, lambda t: torch.trace(V2 @ t.reshape(2, 2)), "affine", "linear"),
    row(
        "soft thresholded weights",
        4,
        lambda t: ((X @ (torch.sign(t) * torch.relu(t.abs() - 0.5)) - Y) ** 2).mean(),
        "nonconvex",
        "flat for |t| <= 1/2, and not least there",
    ),
    row(
        "concave penalty against decay",
        1,
        lambda t: 2 * t[0] ** 2 + torch.cos(t[0]),
        "convex",
        "second derivative 4 - cos >= 3",
    ),
    row(
        "box barrier",
        4,
        lambda t: lsq(t) - 0.01 * (torch.log(1 - t) + torch.log(1 + t)).sum(),
        "convex",
        "sum with barriers",
        box=(-0.9, 0.9),
    ),
    row("sum of squares plus a maximum", 4, lambda t: t @ t + t.max(), "convex", SUM),
    row("range", 4, lambda t: t.max() - t.min(), "convex", "maximum plus maximum of negatives"),
    row("maximum minus mean", 4, lambda t: t.amax() - t.mean(), "convex", "convex minus affine"),
    row("minimum of entries", 4, lambda t: t.min(), "concave", "minimum of affine functions"),
    row("product of entries", 3, lambda t: t.prod(), "nonconvex", "indefinite Hessian"),
    row(
        "softmin of squares",
        3,
        lambda t: -torch.logsumexp(-(t**2), 0),
        "nonconvex",
        "three valleys where one entry is 0",
    ),
]

V2 = torch.tensor([[1.0, 2.0], [-1.0, 0.5]], dtype=torch.float64)


def mixture(t: Tensor) -> Tensor:
    components = torch.stack([-(((SERIES - t[k]) / 0.3) ** 2) / 2 for k in range(2)])
    return -torch.logsumexp(components, 0).mean()


def weights_only(t: Tensor) -> Tensor:
    return -torch.log(Q @ t).mean() + t.sum()


STATISTICS: list[Case] = [
    row(
        "Gaussian likelihood of mean and variance",
        2,
        lambda t: (torch.log(t[1]) + (Y - t[0]) ** 2 / t[1]).mean(),
        "nonconvex",
        "log of the variance is concave where residuals are small",
        box=([None, 0.05], None),
    ),
    row(
        "Gaussian likelihood of mean and log-deviation",
        2,
        lambda t: (t[1] + 0.5 * ((Y - t[0]) * torch.exp(-t[1])) ** 2).mean(),
        "nonconvex",
        "product of (y - m)² and e^{-2s}",
    ),
    row(
        "Gaussian likelihood in scaled parameters",
        2,
        lambda t: (-torch.log(t[1]) + 0.5 * (Y * t[1] - t[0]) ** 2).mean(),
        "convex",
        "minus log plus square of an affine map",
        box=([None, 0.01], None),
    ),
    row("gaussian_nll_loss of the mean", 4, lambda t: F.gaussian_nll_loss(X @ t, Y, P), "convex", "weighted squares"),
    row(
        "Laplace likelihood of location and log-scale",
        2,
        lambda t: (t[1] + (Y - t[0]).abs() * torch.exp(-t[1])).mean(),
        "nonconvex",
        "product of |y - m| and e^{-s}",
    ),
    row(
        "Gumbel likelihood of location",
        1,
        lambda t: ((Y - t[0]) + torch.exp(-(Y - t[0]))).mean(),
        "convex",
        "affine plus exponential",
    ),
    row(
        "Student likelihood of location",
        1,
        lambda t: torch.log1p((Y - t[0]) ** 2).mean(),
        "nonconvex",
        "grows like a logarithm",
    ),
    row(
        "precision matrix by determinant formula",
        3,
        lambda t: t[0] + t[1] + 0.3 * t[2] - torch.log(t[0] * t[1] - t[2] ** 2),
        "convex",
        "affine minus log-determinant [BV04 3.1.5]",
        box=([2.0, 2.0, -1.0], [3.0, 3.0, 1.0]),
    ),
    row("mixture of two Gaussians, means", 2, mixture, "nonconvex", "two copies of the minimum, exchanged"),
    row("mixture weights", 3, weights_only, "convex", "-log of affine, plus affine", box=(0.01, None)),
    row(
        "mixture weights by softmax",
        3,
        lambda t: -torch.log(Q @ torch.softmax(t, 0)).mean(),
        "nonconvex",
        "bounded and not constant",
    ),
    row(
        "nearest of two means",
        2,
        lambda t: torch.minimum((Y - t[0]) ** 2, (Y - t[1]) ** 2).mean(),
        "nonconvex",
        "two copies of the minimum, exchanged",
    ),
    row("one mean", 1, lambda t: ((Y - t[0]) ** 2).mean(), "convex", "squares of affine maps"),
    row(
        "divergence of Gaussians, mean and log-variance",
        6,
        lambda t: -0.5 * (1 + t[3:] - t[:3] ** 2 - torch.exp(t[3:])).sum(),
        "convex",
        SUM,
    ),
    row(
        "divergence of Gaussians, mean and deviation",
        2,
        lambda t: 0.5 * (t[0] ** 2 + t[1] ** 2 - 1) - torch.log(t[1]),
        "convex",
        SUM,
        box=([None, 0.01], None),
    ),
    row(
        "divergence to a learned prior mean",
        4,
        lambda t: ((t[:2] - t[2:]) ** 2).sum() / 2,
        "convex",
        "square of a linear map",
    ),
    row(
        "divergence to a learned prior variance",
        2,
        lambda t: 0.5 * (t[1] - 1 + (t[0] ** 2 + 1) * torch.exp(-t[1])),
        "nonconvex",
        "product of m² + 1 and e^{-s}",
    ),
    row("entropy by xlogy", 3, lambda t: -torch.xlogy(t, t).sum(), "concave", "[BV04 3.1.5]", box=(0.0, None)),
    row("entropy by entr", 3, lambda t: torch.special.entr(t).sum(), "concave", "[BV04 3.1.5]", box=(0.0, None)),
    row(
        "Itakura and Saito",
        3,
        lambda t: (vector(1, 2, 3) / t + torch.log(t)).sum(),
        "nonconvex",
        "concave for large t",
        box=(0.1, None),
    ),
    row(
        "Burg divergence",
        3,
        lambda t: (t / vector(1, 2, 3) - torch.log(t) - 1).sum(),
        "convex",
        "affine minus log",
        box=(0.1, None),
    ),
    row(
        "optimal transport potential",
        4,
        lambda t: torch.logsumexp(t - vector(0, 1, 2, 3), 0) - t @ vector(0.1, 0.2, 0.3, 0.4),
        "convex",
        "log-sum-exp minus linear",
    ),
    row(
        "Kullback-Leibler of a parameter on the left",
        3,
        lambda t: (t * (torch.log(t) - torch.log(Q[0]))).sum(),
        "convex",
        "negative entropy plus linear",
        box=(0.01, None),
    ),
    row(
        "Kullback-Leibler of a parameter on the right",
        3,
        lambda t: (Q[0] * (torch.log(Q[0]) - torch.log(t))).sum(),
        "convex",
        "-log",
        box=(0.01, None),
    ),
    row(
        "least squares of a ratio",
        2,
        lambda t: (t[0] / t[1] - 1) ** 2,
        "nonconvex",
        "1 at 0, 0 on the line t0 = t1, 1 on t0 = 2 t1",
        box=([None, 0.1], None),
    ),
    row(
        "Michaelis and Menten",
        2,
        lambda t: ((t[0] * P / (t[1] + P) - 0.5) ** 2).mean(),
        "nonconvex",
        "indefinite product of t0 and 1/(t1 + x)",
        box=([None, 0.0], None),
    ),
    row(
        "exponential decay",
        2,
        lambda t: ((t[0] * torch.exp(-t[1] * P) - 1) ** 2).mean(),
        "nonconvex",
        "product of parameters",
    ),
    row(
        "sinusoid of unknown frequency",
        1,
        lambda t: ((torch.sin(t[0] * X[:, 0]) - Y) ** 2).mean(),
        "nonconvex",
        "bounded and not constant",
    ),
    row(
        "sinusoid of known frequency",
        2,
        lambda t: ((t[0] * torch.sin(X[:, 0]) + t[1] * torch.cos(X[:, 0]) - Y) ** 2).mean(),
        "convex",
        "squares of affine maps",
    ),
    row(
        "distances to three beacons",
        2,
        lambda t: ((torch.linalg.norm(t - X[:3, :2], dim=1) - 1) ** 2).sum(),
        "nonconvex",
        "near a beacon the residual's square has a concave cusp",
    ),
    row(
        "squared distances to beacons",
        2,
        lambda t: ((((t - X[:3, :2]) ** 2).sum(1) - 3) ** 2).sum(),
        "nonconvex",
        "-12 per beacon is the order-two term near it",
    ),
    row(
        "sum of distances to beacons",
        2,
        lambda t: torch.linalg.norm(t - X[:, :2], dim=1).sum(),
        "convex",
        "Fermat and Weber: norms of affine maps",
    ),
    row(
        "polynomial fit",
        4,
        lambda t: ((torch.stack([X[:, 0] ** k for k in range(4)], 1) @ t - Y) ** 2).mean(),
        "convex",
        "linear in the coefficients",
    ),
    row("logistic with a temperature", 1, lambda t: F.softplus(-t[0] * P).mean(), "convex", "softplus of affine maps"),
    row(
        "logistic with a scale and weights",
        5,
        lambda t: F.binary_cross_entropy_with_logits(t[4] * (X @ t[:4]), B),
        "nonconvex",
        "product of parameters",
    ),
]


def moving_average(t: Tensor) -> Tensor:
    past, total = [SERIES.new_zeros(())] * len(t), SERIES.new_zeros(())
    for value in SERIES:
        error = value - sum(c * e for c, e in zip(t, past, strict=True))
        past = [error, *past[:-1]]
        total = total + error**2
    return total


def arma(t: Tensor) -> Tensor:
    error, total = SERIES[0], SERIES[0] ** 2
    for k in range(1, 10):
        error = SERIES[k] - t[0] * SERIES[k - 1] - t[1] * error
        total = total + error**2
    return total


def smoothing(t: Tensor) -> Tensor:
    level, total = SERIES[0], SERIES.new_zeros(())
    for k in range(1, 10):
        total = total + (SERIES[k] - level) ** 2
        level = t[0] * SERIES[k] + (1 - t[0]) * level
    return total


def garch(t: Tensor) -> Tensor:
    variance, total = SERIES.new_ones(()), SERIES.new_zeros(())
    for value in SERIES:
        total = total + torch.log(variance) + value**2 / variance
        variance = t[0] + t[1] * value**2 + t[2] * variance
    return total


def recurrent(t: Tensor, activation: object = None) -> Tensor:
    state, total = SERIES.new_zeros(()), SERIES.new_zeros(())
    for k in range(9):
        state = t[0] * state + t[1] * SERIES[k]
        state = torch.tanh(state) if activation else state
        total = total + (SERIES[k + 1] - state) ** 2
    return total


LAGS = torch.stack([SERIES[1:-1], SERIES[:-2]], 1)
TIME: list[Case] = [
    row(
        "AR(2), conditional squares",
        2,
        lambda t: ((SERIES[2:] - LAGS @ t) ** 2).sum(),
        "convex",
        "linear in the coefficients",
    ),
    row(
        "AR(1) by a loop",
        1,
        lambda t: sum((SERIES[k] - t[0] * SERIES[k - 1]) ** 2 for k in range(1, 10)),
        "convex",
        "linear in the coefficient",
    ),
    row("MA(1), conditional squares", 1, moving_average, "nonconvex", "second derivative -47 at 0.84 on this series"),
    row("MA(2), conditional squares", 2, moving_average, "nonconvex", "contains MA(1) on the line t1 = 0"),
    row("ARMA(1, 1)", 2, arma, "nonconvex", "contains an MA(1) on the line t0 = 0"),
    row("exponential smoothing on all of R", 1, smoothing, "nonconvex", "negative second derivative between 0 and 2"),
    row("GARCH(1, 1)", 3, garch, "nonconvex", "log of the variance grows like a logarithm", box=(0.01, 2.0)),
    row("linear recurrent cell", 2, recurrent, "nonconvex", "products of the two weights"),
    row("tanh recurrent cell", 2, lambda t: recurrent(t, "tanh"), "nonconvex", "bounded and not constant"),
    row("seasonal means", 2, lambda t: ((SERIES - t.repeat(5)) ** 2).mean(), "convex", "linear in the means"),
    row(
        "cumulated effects",
        10,
        lambda t: ((SERIES - torch.cumsum(t, 0)) ** 2).mean(),
        "convex",
        "cumulated sums are linear",
    ),
]
CASES = PENALTIES + STATISTICS + TIME
