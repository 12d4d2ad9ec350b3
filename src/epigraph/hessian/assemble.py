r"""One walk for value, gradient and Hessian, in any engine.

    H = sum over nodes of (grad x)^T (g . d^2 f) (grad x)

with f the node's operator, x its operands, grad x their tangents in all active parameters, and g = dJ/d(node): a
sweep forward for values and tangents, one back for adjoints, then one matrix product for each curved node.  This is
the chain rule for second derivatives; with n parameters and N entries in the largest node it costs n N numbers for
the tangents and n^2 N operations for a product.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final

from epigraph.errors import CaptureError
from epigraph.hessian.engine import Engine, Value
from epigraph.hessian.linear import Linear
from epigraph.hessian.operators import OPERATORS
from epigraph.hessian.sweep import Shapes, plus
from epigraph.objective.graph import Graph, Node

STEPS = ("sign", "floor", "compare")  # have no tangent
AFFINE = ("add", "take", "concat", "where", "sort", "amax")  # and what is linear: no second derivative
MARK = object()  # in place of a tangent that no term of the Hessian needs


def curved_later(graph: Graph, moving: Mapping[int, Any]) -> list[bool]:
    """Which nodes' tangents enter a term of the Hessian?  Those of nodes that are used affinely from there on do not.

    With marks in place of tangents there are no terms.
    """
    varies, wanted = [False] * len(graph), [False] * len(graph)
    if all(t is MARK for t in moving.values()):
        return wanted
    for node in graph:
        varies[node.id] = node.id in moving or any(varies[i] for i in node.inputs)
    for node in reversed(graph.nodes):
        own = [i for i in node.inputs if varies[i]]
        affine = isinstance(OPERATORS.get(node.op), Linear) or node.op in AFFINE
        straight = affine or (node.op in ("mul", "matmul") and len(own) < 2)
        if wanted[node.id] or not straight:
            for i in own:
                wanted[i] = True
    return wanted


@final
class Walk:
    """Values and tangents of all nodes, then adjoints; ``terms`` gives the summands of the Hessian one by one."""

    def __init__(self, engine: Engine, graph: Graph, leaves: Mapping[int, Value], tangents: Mapping[int, Value]):
        """``leaves``: values of parameters and constants by node; ``tangents``: of the active parameters."""
        self.e, self.graph = engine, graph
        self.values: list[Value] = []
        self.tangents: list[Value | None] = []
        self.memory: list[Any] = []
        self._wanted = curved_later(graph, tangents)
        for node in graph:
            if not node.inputs:
                self._append(leaves[node.id], tangents.get(node.id), None)
            else:
                self._append(*self._forward(node))
        self.adjoints: dict[int, Value] = {}

    def _append(self, value: Value, tangent: Value | None, memory: Any) -> None:
        self.values.append(value)
        self.tangents.append(tangent)
        self.memory.append(memory)

    def _forward(self, node: Node) -> tuple[Value, Value | None, Any]:
        operator = OPERATORS.get(node.op)
        if operator is None:
            raise CaptureError(
                "E320",
                f"no derivative is known for {node.attributes.get('target', node.op)}",
                where=node.origin.location,
                hint="write it with operators that are known",
            )
        x, dx, shapes = self._operands(node)
        value, memory = operator.value(self.e, node, x, shapes)
        if all(d is None for d in dx):
            return value, None, None
        if not self._wanted[node.id]:
            return value, None if node.op in STEPS else MARK, memory
        return value, operator.tangent(self.e, node, x, dx, memory, shapes), memory

    def _operands(self, node: Node) -> tuple[Sequence[Value], Sequence[Value | None], Shapes]:
        i = node.inputs
        return [self.values[k] for k in i], [self.tangents[k] for k in i], [self.graph[k].shape for k in i]

    def backward(self, seed: Value) -> None:
        """Adjoints of all nodes that vary, from that of the output."""
        self.adjoints[self.graph.output] = seed
        for node in reversed(self.graph.nodes[: self.graph.output + 1]):
            g = self.adjoints.get(node.id)
            if g is None or not node.inputs or self.tangents[node.id] is None:
                continue
            x, dx, shapes = self._operands(node)
            for k, i in enumerate(node.inputs):
                if dx[k] is not None:
                    given = OPERATORS[node.op].adjoint(self.e, node, x, g, k, self.memory[node.id], shapes)
                    self.adjoints[i] = plus(self.e, self.adjoints.get(i), given)

    def terms(self) -> Iterator[tuple[Value, Value, int]]:
        """(X, Y, k), each [parameters, entries]: X Y^T for k = 1, -X Y^T for k = -1, X Y^T + Y X^T for k = 2."""
        for node in self.graph:
            g = self.adjoints.get(node.id)
            if g is None or not node.inputs or self.tangents[node.id] is None:
                continue
            x, dx, _ = self._operands(node)
            yield from OPERATORS[node.op].second(self.e, node, x, dx, g, self.memory[node.id])
