"""Sums, products and curved operators: what they map, and what they add to the Hessian."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor

from epigraph.hessian.engine import Engine, Value
from epigraph.hessian.linear import from_end, repeated
from epigraph.hessian.sweep import Operator, Shapes, Tangents, flat, lift, plus
from epigraph.objective.graph import Node


@final
class Add(Operator):
    """x + y of equal shapes."""

    def value(self, e: Engine, node: Node, x: Sequence[Value], shapes: Shapes) -> tuple[Value, Any]:
        return e.add(x[0], x[1]), None

    def tangent(self, e: Engine, node: Node, x: Sequence[Value], dx: Tangents, memory: Any, shapes: Shapes) -> Value:
        return plus(e, dx[0], dx[1])

    def adjoint(
        self, e: Engine, node: Node, x: Sequence[Value], g: Value, i: int, memory: Any, shapes: Shapes
    ) -> Value:
        return g


@final
class Mul(Operator):
    """x y of equal shapes; second term g (dx dy^T + dy dx^T)."""

    def value(self, e: Engine, node: Node, x: Sequence[Value], shapes: Shapes) -> tuple[Value, Any]:
        return e.mul(x[0], x[1]), None

    def tangent(self, e: Engine, node: Node, x: Sequence[Value], dx: Tangents, memory: Any, shapes: Shapes) -> Value:
        rank = len(node.shape)
        parts = [None if d is None else e.mul(d, lift(e, other, rank)) for d, other in zip(dx, x[::-1], strict=True)]
        return plus(e, parts[0], parts[1])

    def adjoint(
        self, e: Engine, node: Node, x: Sequence[Value], g: Value, i: int, memory: Any, shapes: Shapes
    ) -> Value:
        return e.mul(g, x[1 - i])

    def second(
        self, e: Engine, node: Node, x: Sequence[Value], dx: Tangents, g: Value, memory: Any
    ) -> list[tuple[Value, Value, int]]:
        if dx[0] is None or dx[1] is None:
            return []
        rank = len(node.shape)
        left, right = flat(e, e.mul(dx[0], lift(e, g, rank)), rank), flat(e, dx[1], rank)
        return [(left, right, 2)]


def _turned(e: Engine, x: Value) -> Value:
    return e.move(x, lambda t: t.transpose(-1, -2))


@final
class Matmul(Operator):
    """a b with equal leading dimensions; second term <g, da db> and its transpose."""

    def value(self, e: Engine, node: Node, x: Sequence[Value], shapes: Shapes) -> tuple[Value, Any]:
        return e.matmul(x[0], x[1]), None

    def tangent(self, e: Engine, node: Node, x: Sequence[Value], dx: Tangents, memory: Any, shapes: Shapes) -> Value:
        rank = len(node.shape)
        left = None if dx[0] is None else e.matmul(dx[0], lift(e, x[1], rank))
        return plus(e, left, None if dx[1] is None else e.matmul(lift(e, x[0], rank), dx[1]))

    def adjoint(
        self, e: Engine, node: Node, x: Sequence[Value], g: Value, i: int, memory: Any, shapes: Shapes
    ) -> Value:
        return e.matmul(g, _turned(e, x[1])) if i == 0 else e.matmul(_turned(e, x[0]), g)

    def second(
        self, e: Engine, node: Node, x: Sequence[Value], dx: Tangents, g: Value, memory: Any
    ) -> list[tuple[Value, Value, int]]:
        if dx[0] is None or dx[1] is None:
            return []
        rank = len(node.shape)
        right = e.matmul(lift(e, g, rank), _turned(e, dx[1]))
        return [(flat(e, dx[0], rank), flat(e, right, rank), 2)]


@final
class Elementwise(Operator):
    """f(x) entry by entry; second term g f'' dx dx^T."""

    def value(self, e: Engine, node: Node, x: Sequence[Value], shapes: Shapes) -> tuple[Value, Any]:
        value, first, second = e.unary(node, x[0])
        return value, (first, second)

    def tangent(self, e: Engine, node: Node, x: Sequence[Value], dx: Tangents, memory: Any, shapes: Shapes) -> Value:
        return e.mul(dx[0], lift(e, memory[0], len(node.shape)))

    def adjoint(
        self, e: Engine, node: Node, x: Sequence[Value], g: Value, i: int, memory: Any, shapes: Shapes
    ) -> Value:
        return e.mul(g, memory[0])

    def second(
        self, e: Engine, node: Node, x: Sequence[Value], dx: Tangents, g: Value, memory: Any
    ) -> list[tuple[Value, Value, int]]:
        e.require(node, g)
        rank = len(node.shape)
        weight = lift(e, e.mul(g, memory[1]), rank)
        return [(flat(e, e.mul(dx[0], weight), rank), flat(e, dx[0], rank), 1)]


@final
class LogSumExp(Operator):
    """log sum e^x with p = softmax; second term g (sum p dx dx^T - (sum p dx)(sum p dx)^T)."""

    def value(self, e: Engine, node: Node, x: Sequence[Value], shapes: Shapes) -> tuple[Value, Any]:
        return e.logsumexp(node, x[0], from_end(node.attributes["dims"], shapes[0]))

    def tangent(self, e: Engine, node: Node, x: Sequence[Value], dx: Tangents, memory: Any, shapes: Shapes) -> Value:
        shape = shapes[0]
        return e.total(e.mul(dx[0], lift(e, memory, len(shape))), from_end(node.attributes["dims"], shape))

    def adjoint(
        self, e: Engine, node: Node, x: Sequence[Value], g: Value, i: int, memory: Any, shapes: Shapes
    ) -> Value:
        return e.mul(e.move(g, repeated(node.attributes["dims"], shapes[0])), memory)

    def second(
        self, e: Engine, node: Node, x: Sequence[Value], dx: Tangents, g: Value, memory: Any
    ) -> list[tuple[Value, Value, int]]:
        shape = self.operand_shape(node, dx[0])
        dims, rank = node.attributes["dims"], len(shape)
        weighted = e.mul(dx[0], lift(e, memory, rank))
        mean = e.total(weighted, from_end(dims, shape))
        spread = lift(e, e.move(g, repeated(dims, shape)), rank)
        low = len(node.shape)
        scaled = e.mul(mean, lift(e, g, low))
        return [
            (flat(e, e.mul(weighted, spread), rank), flat(e, dx[0], rank), 1),
            (flat(e, scaled, low), flat(e, mean, low), -1),
        ]

    @staticmethod
    def operand_shape(node: Node, dx: Value) -> tuple[int, ...]:
        rank = len(node.shape) + len(node.attributes["dims"])
        return tuple(dx.shape[len(dx.shape) - rank :])


@final
class LogSoftmax(Operator):
    """x - log sum e^x along one axis, p = softmax; second term -(sum g)(sum p dx dx^T - (sum p dx)(sum p dx)^T)."""

    def value(self, e: Engine, node: Node, x: Sequence[Value], shapes: Shapes) -> tuple[Value, Any]:
        return e.log_softmax(node, x[0], self._dim(node))

    @staticmethod
    def _dim(node: Node) -> int:
        return node.attributes["dim"] - len(node.shape)

    def _mean(self, e: Engine, node: Node, weighted: Value) -> Value:
        """The sum along the axis, which stays with length one."""
        return e.move(e.total(weighted, [self._dim(node)]), lambda t: t.unsqueeze(self._dim(node)))

    def tangent(self, e: Engine, node: Node, x: Sequence[Value], dx: Tangents, memory: Any, shapes: Shapes) -> Value:
        mean = self._mean(e, node, e.mul(dx[0], lift(e, memory, len(node.shape))))
        return e.add(dx[0], e.neg(self._whole(e, node, mean)))

    def _whole(self, e: Engine, node: Node, x: Value) -> Value:
        size, dim = node.shape[self._dim(node)], self._dim(node)
        return e.move(x, lambda t: t.expand((*t.shape[: t.ndim + dim], size, *t.shape[t.ndim + dim + 1 :])))

    def adjoint(
        self, e: Engine, node: Node, x: Sequence[Value], g: Value, i: int, memory: Any, shapes: Shapes
    ) -> Value:
        return e.add(g, e.neg(e.mul(memory, self._whole(e, node, self._mean(e, node, g)))))

    def second(
        self, e: Engine, node: Node, x: Sequence[Value], dx: Tangents, g: Value, memory: Any
    ) -> list[tuple[Value, Value, int]]:
        rank = len(node.shape)
        weighted = e.mul(dx[0], lift(e, memory, rank))
        mean, total = self._mean(e, node, weighted), lift(e, self._mean(e, node, g), rank)
        return [
            (flat(e, e.mul(weighted, self._whole(e, node, total)), rank), flat(e, dx[0], rank), -1),
            (flat(e, e.mul(mean, total), rank), flat(e, mean, rank), 1),
        ]


@final
class Amax(Operator):
    """The greatest entry: linear where it is the same one throughout."""

    def value(self, e: Engine, node: Node, x: Sequence[Value], shapes: Shapes) -> tuple[Value, Any]:
        return e.amax(node, x[0], from_end(node.attributes["dims"], shapes[0]))

    tangent, adjoint = LogSumExp.tangent, LogSumExp.adjoint

    def second(
        self, e: Engine, node: Node, x: Sequence[Value], dx: Tangents, g: Value, memory: Any
    ) -> list[tuple[Value, Value, int]]:
        e.require(node, g)
        return []


@final
class Where(Operator):
    """A choice by a condition that does not change."""

    def value(self, e: Engine, node: Node, x: Sequence[Value], shapes: Shapes) -> tuple[Value, Any]:
        chosen = e.mask(node, x[0])
        return plus(e, self._part(e, x[1], chosen), self._part(e, x[2], ~chosen)), chosen

    @staticmethod
    def _part(e: Engine, x: Value | None, where: Tensor) -> Value | None:
        return None if x is None else e.move(x, lambda t: torch.where(where, t, t.new_zeros(())))

    def tangent(self, e: Engine, node: Node, x: Sequence[Value], dx: Tangents, memory: Any, shapes: Shapes) -> Value:
        where = memory.unsqueeze(-(len(node.shape) + 1))
        return plus(e, self._part(e, dx[1], where), self._part(e, dx[2], ~where))

    def adjoint(
        self, e: Engine, node: Node, x: Sequence[Value], g: Value, i: int, memory: Any, shapes: Shapes
    ) -> Value:
        return self._part(e, g, memory if i == 1 else ~memory)


@final
class Sort(Operator):
    """Entries along one axis in ascending order: a permutation where the order does not change."""

    def value(self, e: Engine, node: Node, x: Sequence[Value], shapes: Shapes) -> tuple[Value, Any]:
        dim = node.attributes["dim"] - len(node.shape)
        order = e.order(node, x[0], dim)
        return e.move(x[0], _gathered(order, dim)), (order, dim)

    def tangent(self, e: Engine, node: Node, x: Sequence[Value], dx: Tangents, memory: Any, shapes: Shapes) -> Value:
        order, dim = memory
        return e.move(dx[0], _gathered(order.unsqueeze(-(len(node.shape) + 1)), dim))

    def adjoint(
        self, e: Engine, node: Node, x: Sequence[Value], g: Value, i: int, memory: Any, shapes: Shapes
    ) -> Value:
        order, dim = memory
        return e.move(g, _gathered(order.argsort(dim), dim))


def _gathered(order: Tensor, dim: int) -> Callable[[Tensor], Tensor]:
    def move(t: Tensor) -> Tensor:
        shape = torch.broadcast_shapes(t.shape, order.shape)
        return t.expand(shape).gather(dim, order.expand(shape))

    return move


@final
class Step(Operator):
    """A locally constant function: sign, floor, compare.  It has no tangent."""

    def value(self, e: Engine, node: Node, x: Sequence[Value], shapes: Shapes) -> tuple[Value, Any]:
        return e.step(node, x), None

    def tangent(self, e: Engine, node: Node, x: Sequence[Value], dx: Tangents, memory: Any, shapes: Shapes) -> Value:
        return None

    def adjoint(
        self, e: Engine, node: Node, x: Sequence[Value], g: Value, i: int, memory: Any, shapes: Shapes
    ) -> Value:
        raise AssertionError("a step has no adjoint")
