"""Functions of one, two or three real variables: the pictures that the discussion starts from."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from epigraph.objective.objective import Objective
from epigraph.zoo.entry import Entry

BV04 = "Boyd and Vandenberghe, Convex Optimization (2004), section "


def scalar(function: Callable[..., Tensor], name: str, **point: float) -> Callable[[], Objective]:
    """An objective of real variables at a point."""

    def make() -> Objective:
        at = {key: torch.tensor(value, dtype=torch.float64) for key, value in point.items()}
        return Objective.from_function(function, at, name=name)

    return make


def square(x: Tensor) -> Tensor:
    return x**2


def negative_square(x: Tensor) -> Tensor:
    return -(x**2)


def sine(x: Tensor) -> Tensor:
    return torch.sin(x)


def decay(x: Tensor) -> Tensor:
    return torch.exp(-x)


def hinge(x: Tensor) -> Tensor:
    return torch.relu(x)


def log_sum_exp(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return torch.logsumexp(torch.stack([x, y, z]), 0)


def maximum(x: Tensor, y: Tensor) -> Tensor:
    left = (x - 1) ** 2 + y
    right = torch.exp(-x) + y.abs()
    return torch.maximum(left, right)


def product(x: Tensor, y: Tensor) -> Tensor:
    return x * y


def product_of_squares(x: Tensor, y: Tensor) -> Tensor:
    return x**2 * y**2


def one_valley(x: Tensor, y: Tensor) -> Tensor:
    return torch.log(1 + x**2 + y**2)


ENTRIES = (
    Entry(
        "square",
        "x²",
        "A convex function of one variable looks like x².",
        {"verdict": "convex", "quasiconvex": "proved", "concave": "refuted"},
        BV04 + "3.1.5",
        scalar(square, "x**2", x=0.5),
    ),
    Entry(
        "negative-square",
        "-x²",
        "A concave function of one variable looks like -x²: it has no minimum at all.",
        {"verdict": "concave", "quasiconcave": "proved", "convex": "refuted", "quasiconvex": "refuted"},
        BV04 + "3.1.5",
        scalar(negative_square, "-x**2", x=0.5),
    ),
    Entry(
        "sine",
        "sin x",
        "Neither convex nor concave, with infinitely many minima, all of one value.",
        {"verdict": "nonconvex", "concave": "refuted", "quasiconvex": "refuted", "quasiconcave": "refuted"},
        "sin is bounded and not constant",
        scalar(sine, "sin(x)", x=0.5),
    ),
    Entry(
        "exp-decay",
        "e^-x",
        "A convex function need not have a minimum.",
        {"verdict": "convex", "log_convex": "proved"},
        BV04 + "3.1.5",
        scalar(decay, "exp(-x)", x=0.5),
        notes="The infimum 0 is not attained, so an argument from two distinct minimisers says nothing here.",
    ),
    Entry(
        "relu",
        "max(0, x)",
        "The rectifier is convex: non-linearity alone does not destroy convexity.",
        {"verdict": "convex"},
        BV04 + "3.2.3",
        scalar(hinge, "max(0, x)", x=0.5),
    ),
    Entry(
        "log-sum-exp",
        "log(e^x + e^y + e^z)",
        "Log-sum-exp is convex; cross-entropy inherits it.",
        {"verdict": "convex"},
        BV04 + "3.1.5",
        scalar(log_sum_exp, "logsumexp(x, y, z)", x=0.5, y=0.0, z=-0.5),
    ),
    Entry(
        "maximum",
        "max((x - 1)² + y, e^-x + |y|)",
        "The maximum of convex functions is convex.",
        {"verdict": "convex", "blocks": {"x": "convex", "y": "convex"}},
        BV04 + "3.2.3",
        scalar(maximum, "max((x - 1)**2 + y, exp(-x) + abs(y))", x=0.5, y=0.5),
    ),
    Entry(
        "product",
        "xy",
        "A product is convex in each factor, and not jointly.",
        {
            "verdict": "nonconvex",
            "concave": "refuted",
            "quasiconvex": "refuted",
            "quasiconcave": "refuted",
            "blocks": {"x": "affine", "y": "affine"},
        },
        "the Hessian has the eigenvalues 1 and -1",
        scalar(product, "x*y", x=0.5, y=0.5),
    ),
    Entry(
        "product-of-squares",
        "x²y²",
        "Even a product of nonnegative convex functions is not convex.",
        {"verdict": "nonconvex", "concave": "refuted", "blocks": {"x": "convex", "y": "convex"}},
        "at (1, 1) the Hessian has determinant 4 - 16 < 0",
        scalar(product_of_squares, "x**2*y**2", x=0.5, y=0.5),
    ),
    Entry(
        "one-valley",
        "log(1 + x² + y²)",
        "A quasi-convex function can have an indefinite Hessian and still one valley.",
        {"verdict": "nonconvex", "concave": "refuted", "quasiconvex": "proved", "quasiconcave": "refuted"},
        "an increasing function of the convex x² + y²; at (2, 0) the Hessian has the eigenvalues -6/25 and 2/5",
        scalar(one_valley, "log(1 + x**2 + y**2)", x=0.5, y=0.5),
        notes="An indefinite Hessian is no proof of several minima.",
    ),
)
