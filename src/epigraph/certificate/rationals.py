"""Evaluation in rational numbers: integers over one common denominator per tensor.

A tensor is an array of integers (``int64`` as long as nothing is computed, then ``fmpz``) and a denominator, an
``fmpz``; nothing is ever rounded.  Denominators are powers of two times what divisions and rational constants bring.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from flint import fmpq, fmpz, fmpz_mat

from epigraph.certificate import contraction, layout
from epigraph.certificate.graph import Node, Program
from epigraph.certificate.points import Dyadic, dyadic

OPERATORS = frozenset(
    "parameter constant add neg mul div maximum power matmul convolution where compare sum amax reshape permute expand "
    "slice concat take same sort det abs relu piecewise sign floor".split()
)
ZERO, ONE = fmpz(0), fmpz(1)


class Undefined(ArithmeticError):
    """A function was evaluated outside its domain."""


@final
@dataclass(frozen=True, slots=True)
class Rational:
    """The tensor ``integers / denominator``; the denominator is positive."""

    integers: np.ndarray
    denominator: fmpz

    @property
    def objects(self) -> np.ndarray:
        """The integers as an object array of ``fmpz``."""
        if self.integers.dtype == object:
            return self.integers
        out = np.empty(self.integers.size, dtype=object)
        out[:] = list(map(fmpz, self.integers.ravel().tolist()))
        return out.reshape(self.integers.shape)

    def over(self, denominator: fmpz) -> np.ndarray:
        """The integers over a multiple of the denominator."""
        factor = denominator // self.denominator
        return self.objects if factor == 1 else _wrap(self.objects * factor)


def _wrap(value: Any) -> np.ndarray:
    return np.asarray(value, dtype=object)


def _each(f: Callable[..., Any], *arrays: np.ndarray) -> np.ndarray:
    return _wrap(np.frompyfunc(f, len(arrays), 1)(*arrays))


def _common(*values: Rational) -> tuple[fmpz, list[np.ndarray]]:
    """The operands' integers over their least common denominator."""
    denominator = ONE
    for v in values:
        denominator = denominator.lcm(v.denominator)
    return denominator, [v.over(denominator) for v in values]


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return contraction.oriented(fmpz_mat, a, b)


def _choose(one: fmpz) -> Callable[[fmpz, fmpz, fmpz], fmpz]:
    def call(c: fmpz, x: fmpz, y: fmpz) -> fmpz:
        if c == one:
            return x
        if c == 0:
            return y
        raise Undefined("a condition that is neither 0 nor 1")

    return call


@final
class Rationals:
    """The engine "exact" for one program."""

    def __init__(self, program: Program, tensors: Mapping[str, np.ndarray]):
        self._program, self._tensors = program, tensors

    def leaf(self, value: np.ndarray | Dyadic) -> Rational:
        found = value if isinstance(value, Dyadic) else dyadic(value)
        integers = found.mantissas if found.mantissas.dtype == np.int64 else _each(fmpz, found.mantissas)
        if found.exponent > 0:
            return Rational(_wrap(Rational(integers, ONE).objects * (ONE << found.exponent)), ONE)
        return Rational(integers, ONE << -found.exponent)

    def scalar(self, value: fmpq) -> Rational:
        return Rational(_wrap(value.p), value.q)

    def result(self, value: Rational) -> fmpq:
        return fmpq(value.objects.reshape(-1)[0], value.denominator)

    def apply(self, node: Node, operands: list[Rational]) -> Rational:
        """The value of a node from the values of its operands; raises ``Undefined`` outside a domain."""
        if node.op in layout.LAYOUT:
            (x,) = operands[:1]
            return Rational(layout.arrange(node, x.integers), x.denominator)
        return getattr(self, f"_{node.op}")(node, *operands)

    def _take(self, node: Node, x: Rational) -> Rational:
        return Rational(layout.take(self._program, node, x.integers, self._tensors), x.denominator)

    def _concat(self, node: Node, *parts: Rational) -> Rational:
        denominator, arrays = _common(*parts)
        return Rational(np.concatenate(arrays, axis=node.attributes["dim"]), denominator)

    def _neg(self, node: Node, x: Rational) -> Rational:
        return Rational(_wrap(-x.objects), x.denominator)

    def _add(self, node: Node, x: Rational, y: Rational) -> Rational:
        denominator, (left, right) = _common(x, y)
        return Rational(_wrap(left + right), denominator)

    def _mul(self, node: Node, x: Rational, y: Rational) -> Rational:
        return Rational(_wrap(x.objects * y.objects), x.denominator * y.denominator)

    def _div(self, node: Node, x: Rational, y: Rational) -> Rational:
        divisors = y.objects
        common = ONE
        for d in set(divisors.ravel().tolist()):
            if d == 0:
                raise Undefined("division by zero")
            common = common.lcm(d)
        factors = _each(lambda d: common // d, divisors)
        return Rational(_wrap(x.objects * factors * y.denominator), x.denominator * common)

    def _maximum(self, node: Node, x: Rational, y: Rational) -> Rational:
        denominator, arrays = _common(x, y)
        return Rational(_each(max, *arrays), denominator)

    def _power(self, node: Node, x: Rational) -> Rational:
        exponent = int(node.attributes["exponent"].p)
        if exponent >= 0:
            return Rational(_each(lambda v: v**exponent, x.objects), x.denominator**exponent)
        ones = Rational(_wrap(np.full(x.integers.shape, ONE, dtype=object)), ONE)
        positive = Rational(_each(lambda v: v**-exponent, x.objects), x.denominator**-exponent)
        return self._div(node, ones, positive)

    def _matmul(self, node: Node, a: Rational, b: Rational) -> Rational:
        value = contraction.matmul(_product, ZERO, a.integers, b.integers)
        return Rational(value, a.denominator * b.denominator)

    def _convolution(self, node: Node, x: Rational, w: Rational) -> Rational:
        value = contraction.convolution(_product, 0, x.integers, w.integers, node.attributes, node.shape)
        return Rational(value, x.denominator * w.denominator)

    def _where(self, node: Node, c: Rational, x: Rational, y: Rational) -> Rational:
        denominator, (left, right) = _common(x, y)
        return Rational(_each(_choose(c.denominator), c.objects, left, right), denominator)

    def _compare(self, node: Node, x: Rational, y: Rational) -> Rational:
        _, (left, right) = _common(x, y)
        relations: Mapping[str, Callable[[fmpz, fmpz], bool]] = {
            "lt": lambda u, v: u < v,
            "le": lambda u, v: u <= v,
            "eq": lambda u, v: u == v,
        }
        holds = relations[node.attributes["relation"]]
        return Rational(_each(lambda u, v: ONE if holds(u, v) else ZERO, left, right), ONE)

    def _sum(self, node: Node, x: Rational) -> Rational:
        entries = layout.rows(x.objects, node.attributes["dims"])
        if entries.shape[-1] == 0:
            return Rational(_wrap(np.full(node.shape, ZERO, dtype=object)), ONE)
        return Rational(_wrap(np.add.reduce(entries, axis=-1)), x.denominator)

    def _amax(self, node: Node, x: Rational) -> Rational:
        entries = layout.rows(x.objects, node.attributes["dims"])
        return Rational(_wrap(np.frompyfunc(max, 2, 1).reduce(entries, axis=-1)), x.denominator)

    def _det(self, node: Node, x: Rational) -> Rational:
        size = x.integers.shape[-1]
        out = np.empty(node.numel, dtype=object)
        out[:] = [fmpz_mat(matrix).det() for matrix in x.objects.reshape(-1, size, size).tolist()]
        return Rational(out.reshape(node.shape), x.denominator**size)

    def _sort(self, node: Node, x: Rational) -> Rational:
        dim = node.attributes["dim"]
        moved = np.moveaxis(x.objects, dim, -1)
        lines = [sorted(line) for line in moved.reshape(-1, moved.shape[-1]).tolist()]
        out = np.empty(moved.size, dtype=object)
        out[:] = [v for line in lines for v in line]
        return Rational(np.moveaxis(out.reshape(moved.shape), -1, dim), x.denominator)

    def _abs(self, node: Node, x: Rational) -> Rational:
        return Rational(_each(abs, x.objects), x.denominator)

    def _relu(self, node: Node, x: Rational) -> Rational:
        return Rational(_each(lambda v: v if v > 0 else ZERO, x.objects), x.denominator)

    def _sign(self, node: Node, x: Rational) -> Rational:
        return Rational(_each(lambda v: ONE if v > 0 else -ONE if v < 0 else ZERO, x.objects), ONE)

    def _floor(self, node: Node, x: Rational) -> Rational:
        return Rational(_each(lambda v: v // x.denominator, x.objects), ONE)

    def _piecewise(self, node: Node, x: Rational) -> Rational:
        """Integers over D = L d^2, with d the denominator of x and L that of all coefficients."""
        knots, pieces = node.attributes["knots"], node.attributes["pieces"]
        d = x.denominator
        common = ONE
        for coefficient in (c for piece in pieces for c in piece):
            common = common.lcm(coefficient.q)
        scaled = [[(c * common).p * d ** (2 - i) for i, c in enumerate(piece)] for piece in pieces]
        bounds = [(k.p * d, k.q) for k in knots]

        def call(v: fmpz) -> fmpz:
            index = 0
            while index < len(bounds) and v * bounds[index][1] > bounds[index][0]:
                index += 1
            total = ZERO
            for c in reversed(scaled[index]):
                total = total * v + c
            return total

        return Rational(_each(call, x.objects), common * d**2)
