"""Values with their derivatives along directions, and what moves and adds the arrays that hold them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from epigraph.certificate import ballfunctions as bf
from epigraph.certificate.balls import lift

Part = np.ndarray | None  # derivatives along the first axis; None where all are zero
Map = Callable[[np.ndarray], np.ndarray]
NOWHERE = np.full((), bf.NAN, dtype=object)


@final
@dataclass(frozen=True, slots=True)
class Second:
    """A value with its derivatives: ``first`` [directions, *shape] and ``second`` [pairs, *shape]."""

    value: np.ndarray
    first: Part = None
    second: Part = None

    @property
    def still(self) -> bool:
        """Do no derivatives differ from zero?"""
        return self.first is None and self.second is None

    def mapped(self, f: Map) -> Second:
        """A linear map of the value and of each derivative."""
        return Second(f(self.value), each_slice(self.first, f), each_slice(self.second, f))

    def joined(self, f: Map, axis: int) -> Second:
        """A linear map of matrices that acts along the other axis: value and derivatives side by side, in one call."""
        parts = [lift(self.value), *(() if self.first is None else self.first)]
        parts += [*(() if self.second is None else self.second)]
        found = np.split(f(np.concatenate(parts, axis)), len(parts), axis)
        middle = 1 + (0 if self.first is None else len(self.first))
        first = None if self.first is None else np.stack(found[1:middle])
        return Second(found[0], first, None if self.second is None else np.stack(found[middle:]))


def each_slice(t: Part, f: Map) -> Part:
    """f of the derivatives along each direction."""
    return None if t is None else np.stack([f(t[k, ...]) for k in range(len(t))])


def plus(x: Part, y: Part) -> Part:
    return y if x is None else x if y is None else x + y


def zeros(shape: Sequence[int]) -> np.ndarray:
    return np.full(tuple(shape), bf.ZERO, dtype=object)


def raised(t: Part, rank: int) -> Part:
    """Derivatives of a tensor with new axes of size one before its own, for broadcasting to a larger rank."""
    return None if t is None else t.reshape(len(t), *(1,) * (rank + 1 - t.ndim), *t.shape[1:])


def wide(t: Part, shape: tuple[int, ...]) -> Part:
    """Derivatives broadcast to the shape of the node."""
    full = raised(t, len(shape))
    return None if full is None else np.broadcast_to(full, (len(full), *shape))


def chosen(side: np.ndarray, x: Second, y: Second) -> Second:
    """x where ``side`` is 1, y where it is 0, no number elsewhere; ``side`` has the shape of the result."""

    def pick(a: Part, b: Part) -> Part:
        if a is None and b is None:
            return None
        a, b = (zeros(side.shape) if t is None else t for t in (a, b))
        return np.where(side == 1, a, np.where(side == 0, b, NOWHERE))

    value = np.where(side == 1, lift(x.value), np.where(side == 0, lift(y.value), NOWHERE))
    first, second = ((wide(a, side.shape), wide(b, side.shape)) for a, b in ((x.first, y.first), (x.second, y.second)))
    return Second(value, pick(*first), pick(*second))


def concatenated(parts: Sequence[Second], value: np.ndarray, dim: int) -> Second:
    """Derivatives of a concatenation along ``dim``."""

    def joined(tensors: Sequence[Part]) -> Part:
        count = next((len(t) for t in tensors if t is not None), None)
        if count is None:
            return None
        whole = [zeros((count, *p.value.shape)) if t is None else t for t, p in zip(tensors, parts, strict=True)]
        return np.concatenate(whole, axis=dim + 1)

    return Second(value, joined([p.first for p in parts]), joined([p.second for p in parts]))
