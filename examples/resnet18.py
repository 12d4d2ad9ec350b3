"""A residual network with 11 million parameters on four images of 64 by 64 pixels.

Try::

    pip install torchvision
    epigraph check examples/resnet18.py:objective --effort quick
"""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models import resnet18

import epigraph


def objective() -> epigraph.Objective:
    generator = torch.Generator().manual_seed(0)
    model = resnet18(weights=None, num_classes=10)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter, generator=generator)
    images = torch.randn(4, 3, 64, 64, generator=generator)
    classes = torch.tensor([0, 3, 5, 9])
    return epigraph.Objective(model, nn.CrossEntropyLoss(), images, classes, name="ResNet-18")
