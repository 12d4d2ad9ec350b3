"""Models without a hidden layer: where they are convex, and the losses that spoil it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epigraph.objective.objective import Objective
from epigraph.zoo.data import breast_cancer, build, digits, generator, normal
from epigraph.zoo.entry import Entry

X, Y = normal(12, 3, seed=21), normal(12, seed=22)
LABELS = (normal(12, seed=23) > 0).double()
WEIGHTS = {"w": normal(3, seed=24)}
BEACONS = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 3.0], [5.0, 4.0]], dtype=torch.float64)
RANGES = torch.tensor([3.0, 2.5, 2.0, 3.5], dtype=torch.float64)
FRESH = {"w": torch.full((3,), 0.1, dtype=torch.float64)}
BV04 = "Boyd and Vandenberghe, Convex Optimization (2004), section "


def logistic_breast_cancer() -> Objective:
    features, labels = breast_cancer()
    return Objective(
        build(nn.Linear, 30, 1, seed=1),
        nn.BCEWithLogitsLoss(),
        features,
        labels[:, None],
        name="logistic regression, breast cancer",
    )


def softmax_digits() -> Objective:
    images, classes = digits()
    return Objective(
        build(nn.Linear, 64, 10, seed=2), nn.CrossEntropyLoss(), images, classes, name="softmax regression, digits"
    )


def least_squares(order: Tensor | None = None) -> Objective:
    rows = torch.arange(12) if order is None else order
    features, targets = X[rows], Y[rows]

    def squares(w: Tensor) -> Tensor:
        return ((features @ w - targets) ** 2).mean()

    return Objective.from_function(squares, WEIGHTS, name="least squares")


def permuted_rows() -> Objective:
    return least_squares(torch.randperm(12, generator=generator(25)))


def sigmoid_squares(decay: float = 0.0) -> Objective:
    def squares(w: Tensor) -> Tensor:
        p = torch.sigmoid(X @ w)
        return ((p - LABELS) ** 2).mean()

    return Objective.from_function(squares, FRESH, weight_decay=decay, name="sigmoid with squared error")


def sigmoid_squares_decayed() -> Objective:
    return sigmoid_squares(decay=1.0)


def likelihood() -> Objective:
    def probability(w: Tensor) -> Tensor:
        z = (2 * LABELS - 1) * (X @ w)
        return torch.exp(F.logsigmoid(z).sum())

    return Objective.from_function(probability, FRESH, name="likelihood of logistic regression")


def relu_output(sign: float) -> Objective:
    targets = sign * (Y.abs() + 0.1)

    def squares(w: Tensor) -> Tensor:
        out = torch.relu(X @ w)
        return ((out - targets) ** 2).mean()

    return Objective.from_function(squares, FRESH, name=f"relu output, targets {'> 0' if sign > 0 else '<= 0'}")


def relu_negative_targets() -> Objective:
    return relu_output(-1.0)


def relu_positive_targets() -> Objective:
    return relu_output(1.0)


def ranging() -> Objective:
    def misfit(position: Tensor) -> Tensor:
        distances = torch.linalg.norm(position - BEACONS, dim=1)
        return ((distances - RANGES) ** 2).sum()

    point = {"position": torch.tensor([1.0, 2.0], dtype=torch.float64)}
    return Objective.from_function(misfit, point, name="ranging from beacons")


def rbf_output() -> Objective:
    features = torch.exp(-(torch.cdist(X, X[:4]) ** 2))

    def squares(weights: Tensor) -> Tensor:
        return ((features @ weights - Y) ** 2).mean()

    point = {"weights": normal(4, seed=26)}
    return Objective.from_function(squares, point, name="radial basis functions, fixed centres")


def rbf_centres() -> Objective:
    def squares(weights: Tensor, centres: Tensor) -> Tensor:
        distances = ((X[:, None, :] - centres) ** 2).sum(2)
        features = torch.exp(-distances)
        return ((features @ weights - Y) ** 2).mean()

    point = {"weights": normal(4, seed=26), "centres": normal(4, 3, seed=27)}
    return Objective.from_function(squares, point, name="radial basis functions, free centres")


CROSS_ENTROPY = BV04 + "7.1.1: log-sum-exp of affine maps minus an affine map"
ENTRIES = (
    Entry(
        "logistic-breast-cancer",
        "logistic regression on 569 breast cancer samples",
        "The cost of logistic regression is convex.",
        {"verdict": "convex", "blocks": {"weight": "convex", "bias": "convex"}},
        CROSS_ENTROPY,
        logistic_breast_cancer,
    ),
    Entry(
        "softmax-digits",
        "softmax regression on 1797 digits",
        "A network without a hidden layer is convex under cross-entropy.",
        {"verdict": "convex", "blocks": {"weight": "convex", "bias": "convex"}},
        CROSS_ENTROPY,
        softmax_digits,
    ),
    Entry(
        "least-squares",
        "least squares",
        "Least squares with independent columns is strongly convex: one minimiser.",
        {"verdict": "convex"},
        BV04 + "3.1.5",
        least_squares,
    ),
    Entry(
        "least-squares-permuted",
        "least squares with the rows of X and y permuted together",
        "Permuting the data is a symmetry of the data, not of the parameters: there is one minimiser.",
        {"verdict": "convex"},
        BV04 + "3.1.5",
        permuted_rows,
        notes="The same function as least-squares: a sum in another order.",
    ),
    Entry(
        "sigmoid-squared-error",
        "a sigmoid under squared error",
        "One layer is convex only with the right loss.",
        {"verdict": "nonconvex", "concave": "refuted"},
        "bounded and not constant; up to floor(n/d)^d local minima (Auer, Herbster and Warmuth 1995)",
        sigmoid_squares,
        notes="No product of parameters is needed to destroy convexity.",
    ),
    Entry(
        "sigmoid-squared-error-decay",
        "a sigmoid under squared error with strong weight decay",
        "Enough weight decay makes a one-layer model convex.",
        {"verdict": "convex"},
        "the second derivative of (sigmoid(z) - y)² is at least -0.1203 for y in [0, 1], and 0.1203 times the "
        "largest eigenvalue of XᵀX/n is less than the decay of 1",
        sigmoid_squares_decayed,
    ),
    Entry(
        "logistic-likelihood",
        "the likelihood of logistic regression",
        "The likelihood is log-concave and neither convex nor concave; its negative logarithm is convex.",
        {"verdict": "nonconvex", "concave": "refuted", "log_concave": "proved", "quasiconcave": "proved"},
        BV04 + "3.5.1 and 7.1.1",
        likelihood,
    ),
    Entry(
        "relu-targets-nonpositive",
        "relu output, all targets <= 0",
        "Verdicts depend on the data: relu under squared error is convex where no target is positive.",
        {"verdict": "convex"},
        "(relu(z) + |y|)² is the square of a nonnegative convex function: " + BV04 + "3.2.4",
        relu_negative_targets,
    ),
    Entry(
        "relu-targets-positive",
        "relu output, targets > 0",
        "With positive targets the same model is not convex.",
        {"verdict": "nonconvex", "concave": "refuted"},
        "(relu(z) - y)² has a concave kink at z = 0 for y > 0",
        relu_positive_targets,
    ),
    Entry(
        "beacons",
        "ranging from four beacons",
        "Non-linear least squares is simple to state and not convex.",
        {"verdict": "nonconvex", "concave": "refuted", "quasiconvex": "refuted"},
        "at a beacon the squared residual has a local maximum with a cusp",
        ranging,
    ),
    Entry(
        "rbf-fixed",
        "radial basis functions with fixed centres and widths",
        "A radial basis network is convex if only its output weights are trained.",
        {"verdict": "convex"},
        BV04 + "3.2.2",
        rbf_output,
    ),
    Entry(
        "rbf-free",
        "radial basis functions with free centres",
        "With free centres a radial basis network is not convex.",
        {"verdict": "nonconvex", "concave": "refuted", "blocks": {"weights": "convex", "centres": "nonconvex"}},
        "bounded in the centres and not constant",
        rbf_centres,
    ),
)
