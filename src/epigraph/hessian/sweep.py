"""How each operator of a program maps values, tangents and adjoints, and what it adds to the Hessian.

For a node y = f(x_1, ...) with adjoint g = dJ/dy: a tangent dy = sum_i (df/dx_i) dx_i, an adjoint for each operand
(df/dx_i)^T g, and the term (grad x)^T (g . d2f) (grad x) of the Hessian, one matrix over all pairs of parameters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from epigraph.hessian.engine import Engine, Value
from epigraph.objective.graph import Node

Shapes = Sequence[tuple[int, ...]]
Tangents = Sequence[Value | None]


class Operator(ABC):
    """``memory`` is what ``value`` keeps for the three others, such as f' and f''."""

    @abstractmethod
    def value(self, e: Engine, node: Node, x: Sequence[Value], shapes: Shapes) -> tuple[Value, Any]:
        """The node's value, and its memory."""

    @abstractmethod
    def tangent(self, e: Engine, node: Node, x: Sequence[Value], dx: Tangents, memory: Any, shapes: Shapes) -> Value:
        """The node's tangent; at least one operand has one."""

    @abstractmethod
    def adjoint(
        self, e: Engine, node: Node, x: Sequence[Value], g: Value, i: int, memory: Any, shapes: Shapes
    ) -> Value:
        """What the node's adjoint gives to operand i."""

    def second(
        self, e: Engine, node: Node, x: Sequence[Value], dx: Tangents, g: Value, memory: Any
    ) -> list[tuple[Value, Value, int]]:
        """Terms (X, Y, sign) of sign (X Y^T) in the Hessian, with the entries of the node on the last axis."""
        return []


def lift(e: Engine, x: Value, rank: int) -> Value:
    """A value as a factor of tangents: a new axis before the node's own."""
    return e.move(x, lambda t: t.unsqueeze(-(rank + 1)))


def flat(e: Engine, x: Value, rank: int) -> Value:
    """A tangent as a matrix, parameters by entries."""
    return e.move(x, lambda t: t.reshape(*t.shape[: t.ndim - rank], -1))


def plus(e: Engine, x: Value | None, y: Value | None) -> Value | None:
    return y if x is None else x if y is None else e.add(x, y)
