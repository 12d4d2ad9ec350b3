"""XOR with two tanh units and weight decay: three kinds of minima, of different values.

Try::

    epigraph check examples/xor.py:objective
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import epigraph


class Net(nn.Module):
    """One hidden layer of tanh units."""

    def __init__(self, hidden: int = 2):
        super().__init__()
        self.hidden = nn.Linear(2, hidden, dtype=torch.float64)
        self.output = nn.Linear(hidden, 1, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.hidden(x))
        return self.output(h)


def half_squares(out: Tensor, targets: Tensor) -> Tensor:
    return 0.5 * ((out - targets) ** 2).sum()


def objective() -> epigraph.Objective:
    inputs = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    targets = torch.tensor([[0.0], [1.0], [1.0], [0.0]], dtype=torch.float64)
    model = Net()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -1.0, 1.0, generator=generator)
    return epigraph.Objective(model, half_squares, inputs, targets, weight_decay=0.1)
