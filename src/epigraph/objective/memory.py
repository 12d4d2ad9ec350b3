"""Which expression each live tensor of a recorded run stands for, with views and in-place writes."""

from __future__ import annotations

import weakref
from typing import final

import torch
from torch import Tensor

from epigraph.errors import CaptureError
from epigraph.objective.builder import Builder, Expression


@final
class _Entry:
    """A live tensor, its expression, and why it must not be read any more where that is so."""

    __slots__ = ("expression", "reference", "spoiled")

    def __init__(self, tensor: Tensor, expression: Expression | None, spoiled: str | None = None):
        self.reference, self.expression, self.spoiled = weakref.ref(tensor), expression, spoiled


@final
class Memory:
    """Expressions by tensor identity; tensors that share a storage know of each other's writes."""

    def __init__(self, builder: Builder):
        self.builder = builder
        self._entries: dict[int, _Entry] = {}
        self._sharing: dict[int, list[_Entry]] = {}

    def bind(self, tensor: Tensor, expression: Expression) -> None:
        """From now on the tensor stands for the expression."""
        self._enter(tensor, _Entry(tensor, expression))

    def spoil(self, tensor: Tensor, operator: str) -> None:
        """The tensor's content is not followed any more: reading it is an error."""
        self._enter(tensor, _Entry(tensor, None, f"{operator} leaves a result that is not followed"))

    def _enter(self, tensor: Tensor, entry: _Entry) -> None:
        self._entries[id(tensor)] = entry
        others = [
            e for e in self._sharing.get(_storage(tensor), ()) if (t := e.reference()) is not None and t is not tensor
        ]
        self._sharing[_storage(tensor)] = [*others, entry]

    def _entry(self, tensor: Tensor) -> _Entry | None:
        found = self._entries.get(id(tensor))
        return found if found is not None and found.reference() is tensor else None

    def find(self, tensor: Tensor) -> Expression | None:
        """The expression of a tensor that the run made, or None."""
        entry = self._entry(tensor)
        return None if entry is None else entry.expression

    def read(self, tensor: Tensor) -> Expression:
        """The expression of a tensor; an unknown tensor is a constant, copied since the program may write to it."""
        entry = self._entry(tensor)
        if entry is None:
            relatives = self._relatives(tensor)
            twin = next((e for t, e in relatives if _same_place(t, tensor)), None)
            if twin is not None:  # autograd hands out what it has saved as a tensor of its own
                self._enter(tensor, entry := _Entry(tensor, twin.expression, twin.spoiled))
            elif relatives:
                raise CaptureError(
                    "E302",
                    "a tensor shares the memory of another in a way that is not followed",
                    why="it was made before the recording, or by .data or set_()",
                    hint="make the view inside the objective",
                )
            else:
                entry = _Entry(tensor, self.builder.literal(tensor.detach().clone(), "constant"))
                self._enter(tensor, entry)
        if entry.expression is None:
            raise CaptureError("E302", "a tensor is read whose content is not known", why=entry.spoiled)
        return entry.expression

    def _relatives(self, tensor: Tensor) -> list[tuple[Tensor, _Entry]]:
        """Other live tensors in the same storage."""
        pairs = [(e.reference(), e) for e in self._sharing.get(_storage(tensor), ())]
        return [(t, e) for t, e in pairs if t is not None and t is not tensor and _storage(t) == _storage(tensor)]

    def write(self, target: Tensor, value: Expression) -> None:
        """The target was overwritten: it and all that overlaps it change."""
        relatives = self._relatives(target)
        if relatives:
            places = _places(target)
            lookup = torch.full((int(places.max()) + 1 if places.numel() else 0,), -1, dtype=torch.int64)
            lookup[places] = torch.arange(places.numel())
            for tensor, entry in relatives:
                self._overlay(tensor, entry, target, value, lookup)
        self.bind(target, value)

    def _overlay(self, tensor: Tensor, entry: _Entry, target: Tensor, value: Expression, lookup: Tensor) -> None:
        places = _places(tensor)
        inside = places < lookup.numel()
        source = torch.full_like(places, -1)
        source[inside] = lookup[places[inside]]
        if not bool((source >= 0).any()) or entry.expression is None:
            return
        if tensor.dtype != target.dtype:
            entry.expression, entry.spoiled = None, "it was overwritten through a view of another type"
            return
        old = entry.expression
        order = torch.where(source >= 0, old.numel + source, torch.arange(places.numel()))
        joined = self.builder.concat([old.reshape((old.numel,)), value.reshape((value.numel,))], 0)
        entry.expression = joined.take(order, 0).reshape(old.shape)


def _same_place(left: Tensor, right: Tensor) -> bool:
    """The same entries of one memory, read as the same type?"""
    return (
        left.dtype == right.dtype
        and left.shape == right.shape
        and left.stride() == right.stride()
        and left.storage_offset() == right.storage_offset()
    )


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _places(tensor: Tensor) -> Tensor:
    """The positions of the tensor's entries in its storage, in row-major order."""
    places = torch.full((), int(tensor.storage_offset()), dtype=torch.int64)
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        places = places[..., None] + torch.arange(size) * stride
    return places.reshape(-1)


__all__ = ["Memory"]
