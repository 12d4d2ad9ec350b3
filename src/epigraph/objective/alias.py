"""Tensors that share memory with a parameter: views taken before J was made, buffers over a weight's data, ties.

Such a tensor moves with the parameter, so in the graph it is the parameter's entries at the same places of memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor

from epigraph.errors import CaptureError, ObjectiveError
from epigraph.objective.builder import Builder, Expression


@final
class Memory:
    """Which parameter lies where; ``parameters`` is empty for a function, which is called with fresh copies."""

    def __init__(self, builder: Builder, parameters: Mapping[str, tuple[Tensor, Expression]]):
        self.builder = builder
        self._owners: dict[Any, list[tuple[Tensor, Expression]]] = {}
        for value, expression in parameters.values():
            if value.numel():
                self._owners.setdefault(_place(value), []).append((value, expression))

    def expression(self, tensor: Tensor, role: str) -> Expression:
        """The parameter's entries where the tensor lies over a parameter, else the tensor as a constant.

        Raises:
            ObjectiveError: only a part of the tensor lies over parameters, or it reads their bytes as another type.
        """
        if tensor.layout != torch.strided:
            raise CaptureError(
                "E309",
                f"the program holds a sparse tensor of shape {tuple(tensor.shape)}",
                why="only dense tensors are followed",
                hint="call .to_dense() on it",
            )
        owners = self._owners.get(_place(tensor), []) if tensor.numel() else []
        for value, expression in owners:
            places = _positions(value, tensor)
            if places is None:
                continue
            if value.dtype != tensor.dtype or bool((places < 0).any()):
                raise ObjectiveError(
                    "E210",
                    f"a tensor of shape {tuple(tensor.shape)} shares a part of its memory with a parameter",
                    why="it is neither the parameter nor constant",
                    hint="make it with .clone(), or from the parameter inside the loss",
                )
            if torch.equal(places.reshape(-1), torch.arange(value.numel())):
                return expression.reshape(tuple(tensor.shape))
            return expression.reshape((value.numel(),)).take(places.reshape(-1), 0).reshape(tuple(tensor.shape))
        return self.builder.literal(tensor, role)


def _place(tensor: Tensor) -> Any:
    return tensor.device, tensor.untyped_storage().data_ptr()


def _positions(owner: Tensor, tensor: Tensor) -> Tensor | None:
    """For each entry of the tensor the flat index of the owner's entry at the same place, -1 for none; None if none at all."""
    size = owner.untyped_storage().nbytes() // owner.element_size()
    if tensor.element_size() != owner.element_size():
        return torch.tensor([-1])
    index = torch.full((size,), -1)
    index.as_strided(owner.shape, owner.stride(), owner.storage_offset()).copy_(
        torch.arange(owner.numel()).reshape(owner.shape)
    )
    places = index.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())
    return None if bool((places < 0).all()) else places


__all__ = ["Memory"]
