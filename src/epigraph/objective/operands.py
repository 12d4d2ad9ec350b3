"""Expressions under construction: Python's operators on nodes of a graph that is being built."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, final

from torch import Tensor

from epigraph.objective.graph import Attribute, Node

if TYPE_CHECKING:
    from epigraph.objective.builder import Builder

Number = int | float | Fraction


def rational(value: Number | str) -> Fraction:
    """The exact value of a Python number: a float is the dyadic rational that it stores."""
    return value if isinstance(value, Fraction) else Fraction(value)


def exponent(value: Number) -> Fraction:
    """The exponent that a number stands for: the fraction with a denominator up to 64 whose nearest float64 it is.

    ``1/3`` in Python is a float64 below one third.  As a factor it is that number; as an exponent it is read as 1/3, for
    (|x|^3 + |y|^3)^(1/3) is written to be a norm.  Any other number is taken as it is.
    """
    exact = rational(value)
    near = exact.limit_denominator(64)
    return near if isinstance(value, float) and float(near) == value else exact


def short(value: Fraction, times: int = 1) -> bool:
    """Has the value, to that power, at most the 400 digits that attributes may hold?"""
    return max(value.numerator.bit_length(), value.denominator.bit_length()) * times <= 1328


def text(value: Fraction) -> str:
    """The number as attributes hold it: "p/q" or "p"."""
    return str(value.numerator) if value.denominator == 1 else f"{value.numerator}/{value.denominator}"


def broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """NumPy's broadcast of shapes."""
    if len(set(shapes)) == 1:
        return shapes[0]
    out = [1] * max(map(len, shapes))
    for shape in shapes:
        for i, n in enumerate(reversed(shape), 1):
            if n != 1 and out[-i] not in (1, n):
                raise RuntimeError(f"shapes {shapes} do not broadcast")
            out[-i] = n if n != 1 else out[-i]
    return tuple(out)


@final
class Expression:
    """A node under construction.  ``literal`` is the exact tensor it stands for where that is known."""

    __slots__ = ("_id", "builder", "literal", "role", "shape")

    def __init__(
        self,
        builder: Builder,
        identifier: int | None,
        shape: tuple[int, ...],
        literal: Tensor | None = None,
        role: str = "constant",
    ):
        self.builder, self._id, self.shape, self.literal, self.role = builder, identifier, tuple(shape), literal, role

    @property
    def id(self) -> int:
        if self._id is None:
            assert self.literal is not None
            self._id = self.builder.leaf(self.literal, self.role)
        return self._id

    @property
    def node(self) -> Node:
        return self.builder.nodes[self.id]

    @property
    def op(self) -> str:
        return self.node.op

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def value(self) -> Fraction | None:
        """The exact scalar, where this is a rational constant."""
        if self._id is None:
            return None
        text_value = self.node.attributes.get("value") if self.node.op == "constant" else None
        return None if text_value is None else Fraction(text_value)

    def argument(self, position: int = 0) -> Expression:
        node = self.builder.nodes[self.node.inputs[position]]
        return Expression(self.builder, node.id, node.shape)

    # arithmetic -----------------------------------------------------------------------------------------------
    def __add__(self, other: Any) -> Expression:
        return self.builder.add(self, other)

    def __radd__(self, other: Any) -> Expression:
        return self.builder.add(self.builder.wrap(other), self)

    def __sub__(self, other: Any) -> Expression:
        return self.builder.add(self, -self.builder.wrap(other))

    def __rsub__(self, other: Any) -> Expression:
        return self.builder.add(self.builder.wrap(other), -self)

    def __mul__(self, other: Any) -> Expression:
        return self.builder.mul(self, other)

    def __rmul__(self, other: Any) -> Expression:
        return self.builder.mul(self.builder.wrap(other), self)

    def __truediv__(self, other: Any) -> Expression:
        return self.builder.div(self, other)

    def __rtruediv__(self, other: Any) -> Expression:
        return self.builder.div(self.builder.wrap(other), self)

    def __neg__(self) -> Expression:
        return self.builder.neg(self)

    def __pow__(self, power: Number) -> Expression:
        read = exponent(power)
        if read != power:
            note = f"the exponent {power!r} is read as {text(read)}, whose nearest float64 it is"
            self.builder.memory.setdefault("notes", {})[note] = None
        return self.builder.power(self, read)

    def unary(self, op: str, **attributes: Attribute) -> Expression:
        """exp, log, relu, ...: any elementwise function of one variable."""
        return self.builder.unary(self, op, attributes)

    # reductions -----------------------------------------------------------------------------------------------
    def sum(self, dims: Sequence[int] | None = None, keepdim: bool = False) -> Expression:
        return self.builder.reduce(self, "sum", dims, keepdim)

    def mean(self, dims: Sequence[int] | None = None, keepdim: bool = False) -> Expression:
        chosen = range(self.ndim) if not dims else dims
        count = math.prod(self.shape[d] for d in chosen)
        return self.sum(dims, keepdim) * Fraction(1, count)

    def amax(self, dims: Sequence[int] | None = None, keepdim: bool = False) -> Expression:
        return self.builder.reduce(self, "amax", dims, keepdim)

    def logsumexp(self, dims: Sequence[int], keepdim: bool = False) -> Expression:
        return self.builder.reduce(self, "logsumexp", dims, keepdim)

    # layout ---------------------------------------------------------------------------------------------------
    def reshape(self, shape: Sequence[int]) -> Expression:
        return self.builder.reshape(self, tuple(shape))

    def permute(self, dims: Sequence[int]) -> Expression:
        return self.builder.permute(self, [d % self.ndim for d in dims])

    def transpose(self, first: int, second: int) -> Expression:
        order = list(range(self.ndim))
        if order:
            order[first], order[second] = order[second], order[first]
        return self.permute(order)

    def expand(self, shape: Sequence[int]) -> Expression:
        return self.builder.expand(self, tuple(shape))

    def slice(self, dim: int, start: int, stop: int, step: int = 1) -> Expression:
        return self.builder.slice(self, dim % self.ndim, start, stop, step)

    def select(self, dim: int, index: int) -> Expression:
        dim %= self.ndim
        index %= self.shape[dim]
        return self.slice(dim, index, index + 1).reshape(self.shape[:dim] + self.shape[dim + 1 :])

    def take(self, index: Tensor, dim: int) -> Expression:
        return self.builder.take(self, index, dim % self.ndim)
