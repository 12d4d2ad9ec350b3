r"""Does J treat the rows of its data apart, until it sums them?

Each node of a program gets a role.  *Weights*: every entry is a function of one parameter's entry.  *Samples*: the leading
axis is made of equal stretches, one for each sample, and a stretch depends on its own sample's data and on the
parameters.  *Tail*: J is affine in what follows.  Where every node has a role, ``samples.py`` assembles the Hessian from what each
sample sees of the parameters.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from epigraph.hessian.assemble import STEPS
from epigraph.hessian.curved import Elementwise
from epigraph.hessian.engine import Engine
from epigraph.hessian.linear import Linear
from epigraph.hessian.operators import OPERATORS
from epigraph.objective.graph import Graph, Node

MOVES = ("permute", "reshape", "expand", "slice")  # entries in other places
ALONG = (
    "logsumexp",
    "amax",
    "sum",
    "sort",
    "log_softmax",
    "slice",
    "concat",
)  # act along axes, row by row on the others


class Role(enum.Enum):
    """What a node is to the samples and the parameters."""

    constant = enum.auto()
    weights = enum.auto()
    samples = enum.auto()
    tail = enum.auto()


@final
@dataclass(frozen=True)
class Plan:
    """The role of each node; ``index``: which parameter's entry each entry of a node of weights is a function of.

    ``plain``: nodes of weights whose entries are the parameters' themselves.  ``seeds``: at most so many numbers of the
    parameters are seen by one sample.
    """

    roles: tuple[Role, ...]
    samples: int
    index: Mapping[int, Tensor]
    plain: frozenset[int]
    seeds: int

    def numbers(self, widest: int, size: int) -> int:
        """How many numbers one lane holds at once, about."""
        return self.seeds * (self.seeds * self.samples + 2 * widest + size) + 3 * size * size


def plan_of(e: Engine, graph: Graph, places: Mapping[int, Tensor], leaves: Mapping[int, Tensor]) -> Plan | None:
    """The plan for parameters at some nodes, given where each entry stands among all; None where J has another form."""
    reader = _Reader(e, graph, dict(places), leaves)
    return reader.run()


@final
class _Reader:
    def __init__(self, e: Engine, graph: Graph, index: dict[int, Tensor], leaves: Mapping[int, Tensor]):
        self.e, self.graph, self.index, self.leaves = e, graph, index, leaves
        self.roles: list[Role] = []
        self.plain: set[int] = set(index)
        self.used: set[int] = set()
        self.count, self.seeds = 0, 0

    def run(self) -> Plan | None:
        for node in self.graph:
            role = self._role(node)
            if role is None:
                return None
            self.roles.append(role)
        if self.count == 0 or self.roles[self.graph.output] is not Role.tail:
            return None
        return Plan(tuple(self.roles), self.count, self.index, frozenset(self.plain), self.seeds)

    def _role(self, node: Node) -> Role | None:
        if node.id in self.plain:
            return Role.weights
        moving = [i for i in node.inputs if self.roles[i] is not Role.constant]
        if not moving or node.op in STEPS:
            return Role.constant
        kinds = {self.roles[i] for i in moving}
        if Role.tail not in kinds:
            found = self._weights(node, moving) if kinds == {Role.weights} else self._samples(node, moving)
            if found is not None:
                return found
        return Role.tail if _affine(node, moving) else None

    def _weights(self, node: Node, moving: Sequence[int]) -> Role | None:
        """Weights while each entry is a function of one; a matrix of data times weights begins the samples."""
        first = moving[0]
        if node.op == "matmul" and self._enters(node, moving):
            return Role.samples
        if node.op in MOVES:
            shapes = [self.graph[first].shape]
            self.index[node.id] = OPERATORS[node.op].value(self.e, node, [self.index[first]], shapes)[0]
            self.plain |= {node.id} if first in self.plain else set()
            return Role.weights
        same = all(torch.equal(self.index[i], self.index[first]) for i in moving)
        kept = node.op in ("neg", "add", "mul") or isinstance(OPERATORS.get(node.op), Elementwise)
        if kept and same:
            self.index[node.id] = self.index[first]
            return Role.weights
        return Role.tail if node.op == "mul" else None

    def _samples(self, node: Node, moving: Sequence[int]) -> Role | None:
        if node.op == "matmul" and self.roles[node.inputs[1]] is Role.weights:
            return Role.samples if self._enters(node, moving) else None
        for i in moving:
            if self.roles[i] is Role.weights and not self._expanded(i):
                return None
        return Role.samples if self._apart(node) else None

    def _enters(self, node: Node, moving: Sequence[int]) -> bool:
        """Is it a matrix with a row for each sample times a matrix of parameters?"""
        rows, weights = node.inputs
        if (
            len(node.shape) != 2
            or weights not in self.plain
            or rows in self.index
            or not self._once(self.index[weights])
        ):
            return False
        if self.count == 0 and self.roles[rows] is Role.constant and node.shape[0] > 1:
            self.count = node.shape[0]
        self.seeds += node.shape[1]
        return node.shape[0] == self.count

    def _expanded(self, i: int) -> bool:
        """Are these parameters, the same for every sample?"""
        index = self.index[i]
        if i not in self.plain or index.shape[0] != self.count or not bool((index == index[:1]).all()):
            return False
        self.seeds += index[0].numel()
        return self._once(index[0])

    def _once(self, index: Tensor) -> bool:
        """Are these parameters different ones, that no sample has met before?"""
        found = set(index.reshape(-1).tolist())
        fresh = len(found) == index.numel() and not found & self.used
        self.used |= found
        return fresh

    def _apart(self, node: Node) -> bool:
        """Does each stretch of the result depend on its own sample only?"""
        a, shape = node.attributes, node.shape
        if not shape or shape[0] % self.count or any(self.graph[i].shape[:1] == () for i in node.inputs[:1]):
            return False
        match node.op:
            case "take":
                return a["dim"] != 0 or self._in_order(node)
            case "permute":
                return a["dims"][0] == 0
            case "expand":
                return self.graph[node.inputs[0]].shape[0] == shape[0]
            case "matmul":
                return len(shape) > 2 or self.roles[node.inputs[1]] is Role.constant
            case op if op in ALONG:
                return 0 not in a.get("dims", [a.get("dim")])
        known = node.op in ("add", "mul", "neg", "where", "reshape")
        return known or isinstance(OPERATORS.get(node.op), Elementwise)

    def _in_order(self, node: Node) -> bool:
        """Do rows taken along the leading axis stay with their samples?"""
        source = self.graph[node.inputs[0]].shape[0]
        if source % self.count or self.roles[node.inputs[1]] is not Role.constant:
            return False
        taken = self.leaves.get(node.inputs[1])
        if taken is None:
            return False
        each = node.shape[0] // self.count
        here = torch.arange(node.shape[0], device=taken.device) // each
        return bool(torch.equal(taken.reshape(-1).long() // (source // self.count), here))


def _affine(node: Node, moving: Sequence[int]) -> bool:
    if node.op in ("mul", "matmul"):
        return len(moving) == 1
    if node.op == "where":
        return node.inputs[0] not in moving
    return isinstance(OPERATORS.get(node.op), Linear) or node.op in ("add", "take", "concat")
