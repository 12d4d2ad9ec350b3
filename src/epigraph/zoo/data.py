"""Small data sets and weights, all from generators of their own."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from epigraph.errors import TargetError


def generator(seed: int = 0) -> torch.Generator:
    """A generator that nothing else uses."""
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def initialised(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in float64 with parameters uniform in ±1/sqrt(fan-in), drawn in order from an own generator."""
    module = module.double()
    source = generator(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            fan = parameter[0].numel() if parameter.ndim > 1 else parameter.numel()
            bound = 1.0 / math.sqrt(fan)
            parameter.copy_((2 * torch.rand(parameter.shape, generator=source, dtype=torch.float64) - 1) * bound)
    return module


def build(make: Any, *arguments: Any, seed: int = 0, **keywords: Any) -> nn.Module:
    """``make(...)`` initialised by ``initialised``, without moving the global generator."""
    with torch.random.fork_rng(devices=[]):
        module = make(*arguments, **keywords)
    return initialised(module, seed)


def _datasets() -> Any:
    try:
        from sklearn import datasets
    except ImportError as error:
        raise TargetError(
            "E120",
            "this entry of the zoo needs the data sets of scikit-learn",
            why=f"{error}",
            hint="pip install epigraph[data]",
        ) from error
    return datasets


def breast_cancer() -> tuple[Tensor, Tensor]:
    """569 samples of 30 standardised features, and their labels 0 and 1."""
    found = _datasets().load_breast_cancer()
    features = torch.as_tensor(found.data, dtype=torch.float64)
    features = (features - features.mean(0)) / features.std(0, unbiased=False)
    return features, torch.as_tensor(found.target, dtype=torch.float64)


def digits(count: int | None = None) -> tuple[Tensor, Tensor]:
    """The first ``count`` of 1797 images of 8x8 pixels, scaled to [0, 1] by 1/16 (exact), and their classes."""
    found = _datasets().load_digits()
    images = torch.as_tensor(found.data, dtype=torch.float64) / 16
    return images[:count], torch.as_tensor(found.target, dtype=torch.int64)[:count]


XOR_INPUTS = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
XOR_TARGETS = torch.tensor([[0.0], [1.0], [1.0], [0.0]], dtype=torch.float64)
