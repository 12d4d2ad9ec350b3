"""The graph of a polynomial evaluated in polynomials: J itself, with rational coefficients, in all its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, final

import numpy as np
from flint import Ordering, fmpq, fmpq_mpoly_ctx

from epigraph.certificate import layout
from epigraph.certificate.affine import Unsuited
from epigraph.certificate.graph import Node, Program

VARIABLES = 24
TERMS = 20_000
ENTRIES = 50_000
Polynomial = Any  # fmpq_mpoly


def number(value: Any) -> fmpq:
    """A literal number, exactly."""
    if isinstance(value, fmpq):
        return value
    exact = Fraction(value)
    return fmpq(exact.numerator, exact.denominator)


@final
class Ring:
    """Polynomials in the entries of the parameters, x_0, x_1, ... in the order of the nodes, and in v_0, v_1, ..."""

    def __init__(self, program: Program, tensors: Mapping[str, np.ndarray], active: Sequence[str]):
        self._program, self._tensors = program, tensors
        self.offsets: dict[str, int] = {}
        self.count = 0
        live = _needed(program)
        if sum(program.nodes[p].numel for p in live) > ENTRIES:
            raise Unsuited
        for p in sorted(live):
            node = program.nodes[p]
            if node.op == "parameter":
                self.offsets[node.attributes["name"]] = self.count
                self.count += node.numel
        names = [n for n in self.offsets if n in active]
        sizes = {n.attributes["name"]: n.numel for n in program.nodes if n.op == "parameter"}
        self.active = [self.offsets[n] + k for n in names for k in range(sizes[n])]
        if not self.active or self.count > VARIABLES:
            raise Unsuited
        letters = [f"x{k}" for k in range(self.count)] + [f"v{k}" for k in range(len(self.active))]
        self.context = fmpq_mpoly_ctx.get(tuple(letters), Ordering.lex)
        self.variables = self.context.gens()
        self.live = live

    def objective(self) -> Polynomial:
        """J; raises ``Unsuited`` where an operator is not polynomial."""
        values: dict[int, np.ndarray] = {}
        for p in sorted(self.live):
            node = self._program.nodes[p]
            values[p] = self._value(node, [values[i] for i in node.operands])
            if any(len(v) > TERMS for v in values[p].reshape(-1).tolist()):
                raise Unsuited
        return values[self._program.output].reshape(-1)[0]

    def form(self, J: Polynomial) -> Polynomial:
        """v' J''(x) v, with J'' in the active variables."""
        total = self.context.constant(0)
        directions = self.variables[self.count :]
        for k, i in enumerate(self.active):
            first = J.derivative(i)
            for m, j in enumerate(self.active):
                if m >= k:
                    total += (1 if m == k else 2) * first.derivative(j) * directions[k] * directions[m]
        return total

    def _value(self, node: Node, x: Sequence[np.ndarray]) -> np.ndarray:
        if node.op == "parameter":
            at = self.offsets[node.attributes["name"]]
            return _array([self.variables[at + k] for k in range(node.numel)], node.shape)
        if node.op == "constant":
            values = [node.attributes["value"]] if "value" in node.attributes else self._tensor(node)
            return _array([self.context.constant(number(v)) for v in values], node.shape)
        if node.op in layout.LAYOUT:
            return layout.arrange(node, x[0])
        if node.op == "take":
            return layout.take(self._program, node, x[0], self._tensors)
        if node.op == "concat":
            return np.concatenate(x, axis=node.attributes["dim"])
        return self._arithmetic(node, x)

    def _tensor(self, node: Node) -> list[Any]:
        return self._tensors[node.attributes["tensor"]].reshape(-1).tolist()

    def _arithmetic(self, node: Node, x: Sequence[np.ndarray]) -> np.ndarray:
        if node.op == "add":
            return _wrapped(x[0] + x[1])
        if node.op == "neg":
            return _wrapped(-x[0])
        if node.op == "mul":
            return _wrapped(x[0] * x[1])
        if node.op == "div":
            return _wrapped(x[0] * np.frompyfunc(self._inverse, 1, 1)(x[1]))
        if node.op == "power" and node.attributes["exponent"].q == 1 and 0 <= int(node.attributes["exponent"].p) <= 32:
            e = int(node.attributes["exponent"].p)
            return _wrapped(np.frompyfunc(lambda v: v**e, 1, 1)(x[0]))
        if node.op == "sum":
            entries = layout.rows(x[0], node.attributes["dims"])
            return _wrapped(np.add.reduce(entries, axis=-1, initial=self.context.constant(0)))
        if node.op == "matmul":
            return _wrapped(np.matmul(x[0], x[1]))
        raise Unsuited

    def _inverse(self, value: Polynomial) -> Polynomial:
        if not value.is_constant() or value.is_zero():
            raise Unsuited
        return self.context.constant(1 / value.leading_coefficient())


def _wrapped(value: Any) -> np.ndarray:
    """An array as it is; a single polynomial, which NumPy would take for a sequence, as an array without dimensions."""
    if isinstance(value, np.ndarray):
        return value
    out = np.empty((), dtype=object)
    out[()] = value
    return out


def _array(values: Sequence[Any], shape: tuple[int, ...]) -> np.ndarray:
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out.reshape(shape)


def _needed(program: Program) -> set[int]:
    needed = {program.output}
    for p in range(program.output, -1, -1):
        if p in needed:
            needed.update(program.nodes[p].operands)
    return needed
