"""What the operators need of an arithmetic: values with any leading axes, moved, added, multiplied and mapped.

Two engines implement it: ``dense.py`` (float64, many points at once) and ``enclose.py`` (centred forms on a region).
A value has the node's shape behind its leading axes; a tangent has one more axis before it, the parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torch import Tensor

from epigraph.objective.graph import Node

Value = Any
Move = Callable[[Tensor], Tensor]


class Engine(Protocol):
    """The operations; axes are counted from the end, so that leading axes do not matter."""

    def add(self, x: Value, y: Value) -> Value: ...

    def neg(self, x: Value) -> Value: ...

    def mul(self, x: Value, y: Value) -> Value: ...

    def matmul(self, x: Value, y: Value) -> Value: ...

    def total(self, x: Value, dims: Sequence[int]) -> Value:
        """Sum over axes counted from the end."""
        ...

    def move(self, x: Value, move: Move) -> Value:
        """Entries moved, repeated, dropped or joined by zeros: a linear map that computes nothing."""
        ...

    def concat(self, x: Sequence[Value], dim: int) -> Value: ...

    def scatter(self, x: Value, index: Tensor, dim: int, size: int) -> Value:
        """The transpose of taking rows: row k of x is added to row index[k]."""
        ...

    def zeros(self, shape: Sequence[int]) -> Value: ...

    def unary(self, node: Node, x: Value) -> tuple[Value, Value, Value]:
        """f, f' and f'' of an elementwise operator."""
        ...

    def logsumexp(self, node: Node, x: Value, dims: Sequence[int]) -> tuple[Value, Value]:
        """The value, and the softmax over the same axes."""
        ...

    def log_softmax(self, node: Node, x: Value, dim: int) -> tuple[Value, Value]:
        """The value, and the softmax."""
        ...

    def amax(self, node: Node, x: Value, dims: Sequence[int]) -> tuple[Value, Value]:
        """The value, and the weights of the greatest entries."""
        ...

    def order(self, node: Node, x: Value, dim: int) -> Tensor:
        """For each place along the axis, where the entry comes from that is sorted there."""
        ...

    def mask(self, node: Node, x: Value) -> Tensor:
        """A condition as a boolean tensor."""
        ...

    def step(self, node: Node, x: Sequence[Value]) -> Value:
        """A locally constant operator: sign, floor, compare."""
        ...

    def require(self, node: Node, adjoint: Value) -> None:
        """Raise where a kink inside the region has an adjoint without the sign that makes it bend upwards."""
        ...

    def index(self, x: Value) -> Tensor:
        """A constant of integers."""
        ...
