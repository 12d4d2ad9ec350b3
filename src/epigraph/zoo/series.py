"""Time series: recursion in a parameter, without any network."""

from __future__ import annotations

import torch
from torch import Tensor

from epigraph.objective.objective import Objective
from epigraph.zoo.data import normal
from epigraph.zoo.entry import Entry

SERIES = torch.tensor([1.0, -1, 1, 1, -1, 1, -1, -1, 1, -1], dtype=torch.float64)


def moving_average(theta: Tensor) -> Tensor:
    """Sum of squared one-step errors e[t] = y[t] - theta_1 e[t-1] - ... - theta_q e[t-q], from e = 0."""
    order = theta.shape[0]
    past = [torch.zeros((), dtype=theta.dtype)] * order
    total = torch.zeros((), dtype=theta.dtype)
    for value in SERIES:
        error = value - sum(theta[k] * past[k] for k in range(order))
        past = [error, *past[:-1]]
        total = total + error**2
    return total


def first_order() -> Objective:
    return Objective.from_function(
        moving_average, {"theta": torch.tensor([0.5], dtype=torch.float64)}, domain={"theta": (-1.0, 1.0)}, name="MA(1)"
    )


def second_order() -> Objective:
    point = {"theta": torch.tensor([0.5, 0.1], dtype=torch.float64)}
    return Objective.from_function(moving_average, point, name="MA(2)")


def autoregression() -> Objective:
    series = normal(12, seed=41)
    lags = torch.stack([series[1:-1], series[:-2]], 1)

    def squares(phi: Tensor) -> Tensor:
        return ((series[2:] - lags @ phi) ** 2).sum()

    return Objective.from_function(squares, {"phi": torch.tensor([0.1, 0.1], dtype=torch.float64)}, name="AR(2)")


ENTRIES = (
    Entry(
        "ar2",
        "AR(2), conditional sum of squares",
        "An autoregression is linear in its coefficients, hence convex.",
        {"verdict": "convex"},
        "Boyd and Vandenberghe (2004), section 3.2.2",
        autoregression,
    ),
    Entry(
        "ma1",
        "MA(1), conditional sum of squares",
        "Recursion in a parameter breaks convexity, without any network.",
        {"verdict": "nonconvex", "concave": "refuted"},
        "for this series the second derivative is -27.3 at theta = 0.62",
        first_order,
        notes="Depends on the series: for others the same sum is convex.",
    ),
    Entry(
        "ma2",
        "MA(2), conditional sum of squares",
        "A second lag does not help.",
        {"verdict": "nonconvex", "concave": "refuted"},
        "on the line theta_2 = 0 it is the MA(1) objective of the same series",
        second_order,
    ),
)
