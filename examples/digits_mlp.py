"""A network with one hidden layer on the 1797 handwritten digits of scikit-learn.

Try::

    epigraph check examples/digits_mlp.py:objective
    epigraph check examples/digits_mlp.py:objective --block fc2.weight
"""

from __future__ import annotations

import math

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import epigraph


class MLP(nn.Module):
    """64 pixels, one hidden layer of tanh units, 10 classes."""

    def __init__(self, hidden: int = 32):
        super().__init__()
        self.fc1 = nn.Linear(64, hidden)
        self.fc2 = nn.Linear(hidden, 10)

    def forward(self, images: Tensor) -> Tensor:
        z = self.fc1(images)
        h = torch.tanh(z)
        logits = self.fc2(h)
        return logits


def initialise(model: nn.Module, seed: int = 0) -> None:
    """Uniform in ±1/sqrt(fan-in), from a generator of its own."""
    generator = torch.Generator().manual_seed(seed)
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            bound = 1 / math.sqrt(layer.in_features)
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)


def objective() -> epigraph.Objective:
    digits = load_digits()
    images = torch.as_tensor(digits.data, dtype=torch.float32) / 16  # exact: the pixels are 0 to 16
    classes = torch.as_tensor(digits.target)
    model = MLP()
    initialise(model)
    return epigraph.Objective(model, nn.CrossEntropyLoss(), images, classes, name="digits, 64-32-10, tanh")
