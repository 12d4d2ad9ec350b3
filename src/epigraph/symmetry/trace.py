"""One pass over a graph that gives each tensor the types of its dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor

from epigraph.objective.evaluate import KERNELS, number
from epigraph.objective.graph import Graph, Node
from epigraph.symmetry.atoms import UNIT, Type, freeze, fresh, pinned
from epigraph.symmetry.axes import unify
from epigraph.symmetry.cells import Cell, Cells


@final
@dataclass(eq=False, slots=True)
class Value:
    """A tensor of the graph: the types of its dimensions; ``fixed`` if no transformation moves it, ``zero`` if it is 0."""

    dims: list[Type]
    shape: tuple[int, ...]
    fixed: bool = False
    zero: bool = False
    literal: Tensor | None = None
    cells: list[Cell] = field(init=False)
    index: dict[tuple[tuple[int, ...], ...], int] = field(init=False)

    def settle(self, every: Cells) -> None:
        """Make the cells, once no type changes any more; values of equal types share them."""
        self.cells = every(self.dims)
        self.index = every.index(self.cells)


@final
@dataclass(slots=True)
class Step:
    """One node with the values that it takes and gives, and what its rule wants to remember."""

    node: Node
    inputs: list[Value]
    output: Value
    retyped: Value | None = None  # the first operand with types that fit the operator
    notes: dict[str, Any] = field(default_factory=dict)


def needed(graph: Graph) -> list[int]:
    """The nodes that the output needs, by the first form of each ``same`` node."""
    seen, pending = set(), [graph.output]
    while pending:
        i = pending.pop()
        if i not in seen:
            seen.add(i)
            node = graph[i]
            pending += node.inputs[:1] if node.op == "same" else node.inputs
    return sorted(seen)


@final
class Tracer:
    """Builds the values of a graph by the rules; constants get types of their own at each use."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.varies = graph.depends()
        self.values: dict[int, Value] = {}
        self.steps: list[Step] = []
        self._constants: dict[int, tuple[Tensor | None, bool]] = {}

    def run(self) -> None:
        """Types for every node that depends on a parameter and that the output needs."""
        from epigraph.symmetry.rules import rule_of

        for i in needed(self.graph):
            node = self.graph[i]
            if not self.varies[i]:
                continue
            if node.op == "parameter":
                self.values[i] = Value(_parameter(node.shape), node.shape)
                continue
            inputs = [self._operand(k) for k in (node.inputs[:1] if node.op == "same" else node.inputs)]
            step = Step(node, inputs, Value([], node.shape))
            step.output.dims = rule_of(node.op).axes(step)
            self.values[i] = step.output
            self.steps.append(step)

    def _operand(self, identifier: int) -> Value:
        return self.values[identifier] if self.varies[identifier] else self._constant(identifier)

    def _constant(self, identifier: int) -> Value:
        """Data freeze their axes; another constant freezes those along which it is not uniform.

        What permutes a uniform axis may depend on all others.
        """
        node = self.graph[identifier]
        tensor, given = self._evaluated(identifier)
        dims = [fresh(n) for n in node.shape]
        every = frozenset(atom for kind in dims for atom in kind)
        for atom in every if len(every) > 1 else ():
            atom.scopes = [every - {atom}]
        for d, kind in enumerate(dims):
            if given or tensor is None or not _uniform(tensor, d):
                freeze(kind)
        zero = tensor is not None and not given and bool((tensor == 0).all())
        return Value(dims, node.shape, fixed=True, zero=zero, literal=tensor)

    def _evaluated(self, identifier: int) -> tuple[Tensor | None, bool]:
        """The value of a constant node (None for data and what is made of it), and whether data are in it."""
        if identifier not in self._constants:
            node = self.graph[identifier]
            if not node.inputs:
                self._constants[identifier] = self._leaf(node)
            else:
                below = [self._evaluated(i) for i in node.inputs]
                given = any(g for _, g in below) or node.op not in KERNELS
                values = [v for v, _ in below if v is not None]
                self._constants[identifier] = (None if given else KERNELS[node.op](node.attributes, values)), given
        return self._constants[identifier]

    def _leaf(self, node: Node) -> tuple[Tensor | None, bool]:
        if "value" in node.attributes:
            return torch.tensor(number(node.attributes["value"]), dtype=torch.float64), False
        leaf = self.graph.tensors[node.attributes["tensor"]]
        if leaf.role == "data":
            return None, True
        return (leaf.tensor if leaf.role == "index" else leaf.tensor.double()), False


def _parameter(shape: Sequence[int]) -> list[Type]:
    """Index sets of a parameter; of a stack (experts, heads, groups of a convolution) others may depend on the first."""
    first = fresh(shape[0]) if shape else UNIT
    scope = frozenset(first if len(shape) > 2 else ())
    return [first, *(fresh(n, scope) for n in shape[1:])] if shape else []


def _uniform(tensor: Tensor, dim: int) -> bool:
    return tensor.shape[dim] == 0 or bool((tensor == tensor.narrow(dim, 0, 1)).all())


def align(shape: Sequence[int], values: Sequence[Value]) -> list[Type]:
    """The types of a broadcast result: operands that have a dimension at full size agree on it."""
    out: list[Type] = []
    for d, n in enumerate(shape):
        kinds = []
        for value in values:
            own = d - len(shape) + len(value.shape)
            if own >= 0 and value.shape[own] == n > 1:
                kinds.append(value.dims[own])
        for kind in kinds[1:]:
            if kind is not kinds[0]:
                unify(kinds[0], kind)
        out.append(kinds[0] if kinds else UNIT if n == 1 else pinned(n))
    return out


def refactor(kinds: Sequence[Type], shape: Sequence[int]) -> list[Type]:
    """The types after a reshape: the same factors in the same order, cut at other places; raises ``Misfit``."""
    from epigraph.symmetry.axes import divide

    rest: Type = tuple(a for kind in kinds for a in kind)
    out: list[Type] = []
    for n in shape:
        first, rest = divide(rest, n)
        out.append(first)
    return out
