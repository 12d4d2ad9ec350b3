"""The graph as the Hessian reads it: fewer operators, equal shapes in sums and products, and only what J needs.

    div(x, y)         mul(x, y^-1)
    maximum(x, y)     y + relu(x - y)
    convolution       a matrix product with the windows of the padded input
    same(x, ...)      x

Operands that broadcast are expanded first, so that transposes need no rule for broadcasting.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, final

import torch

from epigraph.objective.graph import Graph, Leaf, Node, Origin


def program(graph: Graph) -> Graph:
    """The same real function J with the operators that ``operators.py`` knows."""
    return _Writer(graph).run()


@final
class _Writer:
    def __init__(self, graph: Graph):
        self.graph = graph
        self.nodes: list[Node] = []
        self.tensors: dict[str, Leaf] = dict(graph.tensors)
        self.place: dict[int, int] = {}
        self.opaque: dict[int, Any] = {}
        self.origin = Origin("")

    def run(self) -> Graph:
        for node in (self.graph[i] for i in _needed(self.graph)):
            self.origin = node.origin
            rewrite = getattr(self, f"on_{node.op}", None)
            inputs = [self.place[i] for i in node.inputs[: 1 if node.op == "same" else None]]
            self.place[node.id] = (
                rewrite(node, inputs) if rewrite else self._add_node(node.op, inputs, node.attributes, node.shape)
            )
            if node.id in self.graph.opaque:
                self.opaque[self.place[node.id]] = self.graph.opaque[node.id]
        output = self.place[self.graph.output]
        return Graph(tuple(self.nodes), output, self.tensors, self.graph.parameters, self.opaque)

    # building blocks ------------------------------------------------------------------------------------------
    def _add_node(self, op: str, inputs: Sequence[int], attributes: Mapping[str, Any], shape: Sequence[int]) -> int:
        identifier = len(self.nodes)
        self.nodes.append(Node(identifier, op, tuple(inputs), dict(attributes), tuple(shape), self.origin))
        return identifier

    def _shape(self, i: int) -> tuple[int, ...]:
        return self.nodes[i].shape

    def _expanded(self, i: int, shape: tuple[int, ...]) -> int:
        if self._shape(i) == shape:
            return i
        full = (1,) * (len(shape) - len(self._shape(i))) + self._shape(i)
        i = self._reshaped(i, full)
        return i if full == shape else self._add_node("expand", [i], {"shape": list(shape)}, shape)

    def _reshaped(self, i: int, shape: tuple[int, ...]) -> int:
        return i if self._shape(i) == shape else self._add_node("reshape", [i], {"shape": list(shape)}, shape)

    def _unary(self, op: str, i: int, **attributes: Any) -> int:
        return self._add_node(op, [i], attributes, self._shape(i))

    def _constant(self, tensor: torch.Tensor, role: str = "constant") -> int:
        key = f"program{len(self.tensors)}"
        self.tensors[key] = Leaf(tensor, role)
        return self._add_node("constant", [], {"tensor": key}, tensor.shape)

    # operators ------------------------------------------------------------------------------------------------
    def on_same(self, node: Node, x: list[int]) -> int:
        return x[0]

    def on_broadcast(self, node: Node, x: list[int]) -> int:
        return self._add_node(node.op, [self._expanded(i, node.shape) for i in x], node.attributes, node.shape)

    on_add = on_mul = on_where = on_compare = on_broadcast

    def on_expand(self, node: Node, x: list[int]) -> int:
        return self._expanded(x[0], node.shape)

    def on_div(self, node: Node, x: list[int]) -> int:
        inverse = self._unary("power", x[1], exponent="-1")
        operands = [self._expanded(i, node.shape) for i in (x[0], inverse)]
        return self._add_node("mul", operands, {}, node.shape)

    def on_maximum(self, node: Node, x: list[int]) -> int:
        a, b = (self._expanded(i, node.shape) for i in x)
        difference = self._add_node("add", [a, self._unary("neg", b)], {}, node.shape)
        return self._add_node("add", [b, self._unary("relu", difference)], {}, node.shape)

    def on_matmul(self, node: Node, x: list[int]) -> int:
        lead = node.shape[:-2]
        operands = [self._expanded(i, (*lead, *self._shape(i)[-2:])) for i in x]
        return self._add_node("matmul", operands, {}, node.shape)

    def on_convolution(self, node: Node, x: list[int]) -> int:
        """Windows of the padded input, as rows chosen by constant indices, times the weights of each group."""
        a, (source, weight) = node.attributes, x
        (batch, channels, *space), (out, _, *kernel) = self._shape(source), self._shape(weight)
        groups, results = a["groups"], list(node.shape[2:])
        index = _windows(space, kernel, results, a["stride"], a["padding"], a["dilation"])
        cells, taps, places = math.prod(space), math.prod(kernel), math.prod(results)
        flat = self._reshaped(source, (batch, channels, cells))
        zero = self._expanded(self._constant(torch.zeros((1, 1, 1), dtype=torch.float64)), (batch, channels, 1))
        padded = self._add_node("concat", [flat, zero], {"dim": 2}, (batch, channels, cells + 1))
        chosen = self._constant(index, "index")
        windows = self._add_node("take", [padded, chosen], {"dim": 2}, (batch, channels, taps * places))
        rows = channels // groups * taps
        columns = self._reshaped(windows, (batch, groups, rows, places))
        weights = self._expanded(
            self._reshaped(weight, (1, groups, out // groups, rows)), (batch, groups, out // groups, rows)
        )
        result = self._add_node("matmul", [weights, columns], {}, (batch, groups, out // groups, places))
        return self._reshaped(result, node.shape)


def _needed(graph: Graph) -> list[int]:
    """Nodes behind the output, where ``same`` needs its first form only."""
    seen, pending = set(), [graph.output]
    while pending:
        i = pending.pop()
        if i not in seen:
            seen.add(i)
            pending += graph[i].inputs[: 1 if graph[i].op == "same" else None]
    return sorted(seen)


def _windows(
    space: Sequence[int],
    kernel: Sequence[int],
    results: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> torch.Tensor:
    """For each tap and each result, the flat index of the input's entry; one past the last is a padded zero."""
    cells, out = math.prod(space), []
    for tap in product(*map(range, kernel)):
        for place in product(*map(range, results)):
            at = [p * s - q + t * d for p, s, q, t, d in zip(place, stride, padding, tap, dilation, strict=True)]
            inside = all(0 <= v < n for v, n in zip(at, space, strict=True))
            flat = 0
            for v, n in zip(at, space, strict=True):
                flat = flat * n + v
            out.append(flat if inside else cells)
    return torch.tensor(out, dtype=torch.int64)
