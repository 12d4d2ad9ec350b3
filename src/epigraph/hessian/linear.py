"""Linear operators and their transposes: sums, signs and movements of entries."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, final

from torch import Tensor

from epigraph.hessian.engine import Engine, Value
from epigraph.hessian.sweep import Operator, Shapes, Tangents
from epigraph.objective.graph import Node


class Linear(Operator):
    """A linear map of one operand and its transpose."""

    @abstractmethod
    def forward(self, e: Engine, node: Node, x: Value, shape: tuple[int, ...]) -> Value:
        """The map."""

    @abstractmethod
    def transpose(self, e: Engine, node: Node, g: Value, shape: tuple[int, ...]) -> Value:
        """Its transpose."""

    def value(self, e: Engine, node: Node, x: Sequence[Value], shapes: Shapes) -> tuple[Value, Any]:
        return self.forward(e, node, x[0], shapes[0]), None

    def tangent(self, e: Engine, node: Node, x: Sequence[Value], dx: Tangents, memory: Any, shapes: Shapes) -> Value:
        return self.forward(e, node, dx[0], shapes[0])

    def adjoint(
        self, e: Engine, node: Node, x: Sequence[Value], g: Value, i: int, memory: Any, shapes: Shapes
    ) -> Value:
        return self.transpose(e, node, g, shapes[0])


@final
class Neg(Linear):
    """-x."""

    def forward(self, e: Engine, node: Node, x: Value, shape: tuple[int, ...]) -> Value:
        return e.neg(x)

    def transpose(self, e: Engine, node: Node, g: Value, shape: tuple[int, ...]) -> Value:
        return e.neg(g)


@final
class Sum(Linear):
    """Sum over axes; its transpose repeats."""

    def forward(self, e: Engine, node: Node, x: Value, shape: tuple[int, ...]) -> Value:
        return e.total(x, from_end(node.attributes["dims"], shape))

    def transpose(self, e: Engine, node: Node, g: Value, shape: tuple[int, ...]) -> Value:
        return e.move(g, repeated(node.attributes["dims"], shape))


def from_end(dims: Sequence[int], shape: tuple[int, ...]) -> list[int]:
    return [d - len(shape) for d in dims]


def repeated(dims: Sequence[int], shape: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    """Put the dropped axes back and repeat along them."""
    kept = [1 if d in set(dims) else n for d, n in enumerate(shape)]
    rank = len(shape) - len(dims)
    return lambda t: t.reshape((*t.shape[: t.ndim - rank], *kept)).expand((*t.shape[: t.ndim - rank], *shape))


@final
class Reshape(Linear):
    """The same entries in another shape."""

    def forward(self, e: Engine, node: Node, x: Value, shape: tuple[int, ...]) -> Value:
        return e.move(x, lambda t: t.reshape((*t.shape[: t.ndim - len(shape)], *node.shape)))

    def transpose(self, e: Engine, node: Node, g: Value, shape: tuple[int, ...]) -> Value:
        return e.move(g, lambda t: t.reshape((*t.shape[: t.ndim - len(node.shape)], *shape)))


@final
class Permute(Linear):
    """Axes in another order."""

    @staticmethod
    def _order(dims: Sequence[int]) -> Callable[[Tensor], Tensor]:
        def move(t: Tensor) -> Tensor:
            lead = t.ndim - len(dims)
            return t.permute(*range(lead), *(lead + d for d in dims))

        return move

    def forward(self, e: Engine, node: Node, x: Value, shape: tuple[int, ...]) -> Value:
        return e.move(x, self._order(node.attributes["dims"]))

    def transpose(self, e: Engine, node: Node, g: Value, shape: tuple[int, ...]) -> Value:
        dims = node.attributes["dims"]
        return e.move(g, self._order([dims.index(d) for d in range(len(dims))]))


@final
class Expand(Linear):
    """Entries repeated along axes of length one; its transpose sums."""

    def forward(self, e: Engine, node: Node, x: Value, shape: tuple[int, ...]) -> Value:
        return e.move(x, lambda t: t.expand((*t.shape[: t.ndim - len(shape)], *node.shape)))

    def transpose(self, e: Engine, node: Node, g: Value, shape: tuple[int, ...]) -> Value:
        dims = [d - len(shape) for d, (n, m) in enumerate(zip(shape, node.shape, strict=True)) if n != m]
        summed = e.total(g, dims)
        rank = len(shape) - len(dims)
        return e.move(summed, lambda t: t.reshape((*t.shape[: t.ndim - rank], *shape)))


@final
class Slice(Linear):
    """A range of one axis; its transpose fills with zeros."""

    def forward(self, e: Engine, node: Node, x: Value, shape: tuple[int, ...]) -> Value:
        return e.move(x, self._cut(node, len(shape)))

    @staticmethod
    def _cut(node: Node, rank: int) -> Callable[[Tensor], Tensor]:
        a = node.attributes
        index = (..., slice(a["start"], a["stop"], a["step"]), *(slice(None),) * (rank - 1 - a["dim"]))
        return lambda t: t[index]

    def transpose(self, e: Engine, node: Node, g: Value, shape: tuple[int, ...]) -> Value:
        cut = self._cut(node, len(shape))

        def fill(t: Tensor) -> Tensor:
            out = t.new_zeros((*t.shape[: t.ndim - len(shape)], *shape))
            cut(out).copy_(t)
            return out

        return e.move(g, fill)


@final
class Take(Operator):
    """Rows chosen by constant indices."""

    def value(self, e: Engine, node: Node, x: Sequence[Value], shapes: Shapes) -> tuple[Value, Any]:
        index = e.index(x[1]).reshape(-1)
        return self._rows(e, node, x[0], index, shapes), index

    @staticmethod
    def _rows(e: Engine, node: Node, x: Value, index: Tensor, shapes: Shapes) -> Value:
        dim = node.attributes["dim"] - len(shapes[0])
        return e.move(x, lambda t: t.index_select(dim, index))

    def tangent(self, e: Engine, node: Node, x: Sequence[Value], dx: Tangents, memory: Any, shapes: Shapes) -> Value:
        return self._rows(e, node, dx[0], memory, shapes)

    def adjoint(
        self, e: Engine, node: Node, x: Sequence[Value], g: Value, i: int, memory: Any, shapes: Shapes
    ) -> Value:
        dim = node.attributes["dim"]
        return e.scatter(g, memory, dim - len(shapes[0]), shapes[0][dim])


@final
class Concat(Operator):
    """Tensors side by side."""

    def value(self, e: Engine, node: Node, x: Sequence[Value], shapes: Shapes) -> tuple[Value, Any]:
        return e.concat(x, node.attributes["dim"] - len(node.shape)), None

    def tangent(self, e: Engine, node: Node, x: Sequence[Value], dx: Tangents, memory: Any, shapes: Shapes) -> Value:
        parts = [e.zeros((1, *s)) if d is None else d for d, s in zip(dx, shapes, strict=True)]
        return e.concat(parts, node.attributes["dim"] - len(node.shape))

    def adjoint(
        self, e: Engine, node: Node, x: Sequence[Value], g: Value, i: int, memory: Any, shapes: Shapes
    ) -> Value:
        dim = node.attributes["dim"]
        start = sum(s[dim] for s in shapes[:i])
        return e.move(g, lambda t: t.narrow(dim - len(node.shape), start, shapes[i][dim]))
