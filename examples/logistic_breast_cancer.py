"""Logistic regression on 569 samples with 30 standardised features.

Try::

    epigraph check examples/logistic_breast_cancer.py:objective
    epigraph check examples/logistic_breast_cancer.py:squared_error
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_breast_cancer
from torch import Tensor, nn

import epigraph


class Logistic(nn.Module):
    """One linear layer with one output, starting at zero."""

    def __init__(self, features: int):
        super().__init__()
        self.linear = nn.Linear(features, 1, dtype=torch.float64)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)[:, 0]


def data() -> tuple[Tensor, Tensor]:
    table = load_breast_cancer()
    features = torch.as_tensor(table.data, dtype=torch.float64)
    features = (features - features.mean(0)) / features.std(0, unbiased=False)
    return features, torch.as_tensor(table.target, dtype=torch.float64)


def objective() -> epigraph.Objective:
    """Cross-entropy with weight decay: convex."""
    features, labels = data()
    return epigraph.Objective(Logistic(30), nn.BCEWithLogitsLoss(), features, labels, weight_decay=1e-3)


def squared_error() -> epigraph.Objective:
    """The same model under the squared error of its probability: not convex."""
    features, labels = data()

    def brier(logits: Tensor, labels: Tensor) -> Tensor:
        probability = torch.sigmoid(logits)
        return ((probability - labels) ** 2).mean()

    return epigraph.Objective(Logistic(30), brier, features, labels)
