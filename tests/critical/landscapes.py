"""Objectives whose critical points are known in closed form or from independent counts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from epigraph import Objective


def half_sum(out: Tensor, targets: Tensor) -> Tensor:
    return 0.5 * ((out - targets) ** 2).sum()


def network(inputs: Tensor, targets: Tensor, units: int, activation: type[nn.Module] = nn.Tanh, **options) -> Objective:
    net = nn.Sequential(nn.Linear(inputs.shape[1], units), activation(), nn.Linear(units, targets.shape[1])).double()
    return Objective(net, half_sum, inputs, targets, **options)


def xor(units: int, signs: bool = False, decay: float = 0.1) -> Objective:
    """XOR with inputs and targets 0 and 1, or -1 and 1."""
    X = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=torch.float64)
    Y = torch.tensor([[0], [1], [1], [0]], dtype=torch.float64)
    return network(2 * X - 1 if signs else X, 2 * Y - 1 if signs else Y, units, weight_decay=decay)


def scalar_product(decay: float) -> Objective:
    """½(1 - w₁w₂)² + λ/2 |w|²."""
    return Objective.from_function(
        lambda w: 0.5 * (1 - w[0] * w[1]) ** 2, {"w": torch.ones(2, dtype=torch.float64)}, weight_decay=decay
    )


def triple_product() -> Objective:
    return Objective.from_function(
        lambda w: 0.5 * (1 - w[0] * w[1] * w[2]) ** 2, {"w": torch.ones(3, dtype=torch.float64)}
    )


def autoencoder(spectrum: Sequence[float], units: int) -> Objective:
    """½ tr (I - W₂W₁) Σ (I - W₂W₁)ᵀ with a diagonal Σ."""
    n = len(spectrum)
    S, eye = torch.diag(torch.tensor(spectrum, dtype=torch.float64)), torch.eye(n, dtype=torch.float64)

    def f(W1: Tensor, W2: Tensor) -> Tensor:
        E = eye - W2 @ W1
        return 0.5 * ((E @ S) * E).sum()

    zeros = {"W1": torch.zeros(units, n, dtype=torch.float64), "W2": torch.zeros(n, units, dtype=torch.float64)}
    return Objective.from_function(f, zeros)


def neuron(scales: Sequence[float], dimension: int) -> Objective:
    """One logistic unit, targets 3/4, inputs c eⱼ: a sum over j of one function of wⱼ."""
    rows = torch.cat([c * torch.eye(dimension, dtype=torch.float64) for c in scales])
    return Objective.from_function(
        lambda w: ((0.75 - torch.sigmoid(rows @ w)) ** 2).sum(), {"w": torch.zeros(dimension, dtype=torch.float64)}
    )


def separable() -> Objective:
    """Logistic regression on separable data: the infimum 0 is not attained."""
    X = torch.tensor([[1, 2], [2, 1], [-1, -1], [-2, 0.5]], dtype=torch.float64)
    y = torch.tensor([1, 1, 0, 0], dtype=torch.float64)
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    return Objective.from_function(lambda w: loss(X @ w, y), {"w": torch.zeros(2, dtype=torch.float64)})


def tilted_wells(tilt: float, dimension: int) -> Objective:
    """The sum of x⁴/4 - x²/2 + tilt x over the coordinates: critical where each is a root of x³ - x + tilt."""
    return Objective.from_function(
        lambda w: (w**4 / 4 - w**2 / 2 + tilt * w).sum(), {"w": torch.zeros(dimension, dtype=torch.float64)}
    )


def roots(tilt: float) -> list[float]:
    """The three roots, for |tilt| < 2 / 27^(1/2): the lower minimum, the maximum, the upper minimum."""
    phase = math.acos(-tilt * math.sqrt(27) / 2) / 3
    return sorted(2 / math.sqrt(3) * math.cos(phase - 2 * math.pi * k / 3) for k in range(3))
