"""Running statistics of normalisation layers, computed anew from the data of J for other parameters."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from epigraph.errors import UsageError
from epigraph.objective.data import Batch

if TYPE_CHECKING:
    from epigraph.objective.objective import Objective


@final
class Statistics:
    """What the running means and variances would be after one pass over the data of J, in float64.

    Each layer sees the statistics of the batches themselves, as in training, so that the layers after it do too; over
    several batches they are averaged with equal weights.  Dropout stays as the mode of J has it.
    """

    def __init__(self, J: Objective):
        if J.model is None:
            raise UsageError("E024", "a function of tensors has no running statistics", hint='statistics="given"')
        self.model = copy.deepcopy(J.model).double()
        self.model.train(J.mode == "train")
        self.batches: Sequence[Batch] = J.batches()
        self.layers: dict[str, _NormBase] = {}
        for path, module in self.model.named_modules():
            if isinstance(module, _NormBase) and module.running_mean is not None:
                module.train()
                module.momentum = None
                self.layers[path] = module

    def __call__(self, point: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Running means and variances by buffer name, at these parameters."""
        known = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, value in point.items():
                if name in known:
                    known[name].copy_(value)
            for layer in self.layers.values():
                layer.reset_running_stats()
            for batch in self.batches:
                _run(self.model, batch.inputs)
        out: dict[str, Tensor] = {}
        for path, layer in self.layers.items():
            for name in ("running_mean", "running_var"):
                out[f"{path}.{name}" if path else name] = getattr(layer, name).clone()
        return out


def _run(model: nn.Module, inputs: object) -> None:
    """One forward pass in float64."""
    doubled = _doubled(inputs)
    if isinstance(doubled, dict):
        model(**doubled)
    elif isinstance(doubled, tuple | list):
        model(*doubled)
    else:
        model(doubled)


def _doubled(value: object) -> object:
    if isinstance(value, Tensor):
        return value.double() if value.is_floating_point() else value
    if isinstance(value, Mapping):
        return {k: _doubled(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return tuple(_doubled(v) for v in value)
    return value
