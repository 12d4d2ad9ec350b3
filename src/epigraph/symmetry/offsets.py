"""Constants that later biases can carry: units with f(-x) = 2c - f(x), read by a linear map with a bias."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from epigraph.objective.graph import Graph, Node
from epigraph.symmetry.atoms import Type
from epigraph.symmetry.group import Offset
from epigraph.symmetry.trace import Step, Tracer


def centred(tracer: Tracer, able: Callable[[str, str, Type], bool]) -> list[Offset]:
    """Marks the steps whose constants are carried by biases, and says by which.

    Everything that reads the step must be layout and then a product with a parameter to which another parameter is
    added that is used nowhere else.  A convolution must not pad: zeros beyond the border carry no constant.
    ``able``: may this weight and this bias, where the product has an axis of this type in place of what it reads?
    """
    from epigraph.symmetry.rules import rule_of

    centres = [(step, c) for step in tracer.steps if (c := rule_of(step.node.op).centre(step)) is not None]
    readers: dict[int, list[Node]] = {}
    for step in tracer.steps if centres else ():
        for i in step.node.inputs:
            readers.setdefault(i, []).append(step.node)
    found: list[Offset] = []
    for step, centre in centres:
        pairs = _carried(step, tracer, readers)
        if pairs and all(able(*pair) for pair in pairs):
            step.notes["centre"] = centre
            found += [Offset(weight, bias, float(centre)) for weight, bias, _ in pairs]
    return found


def _carried(step: Step, tracer: Tracer, readers: Mapping[int, list[Node]]) -> list[tuple[str, str, Type]]:
    """Weight, bias and type of the result of each map that reads a step; empty where something else reads it."""
    pairs: list[tuple[str, str, Type]] = []
    graph = tracer.graph
    pending = [step.node.id]
    while pending:
        i = pending.pop()
        if i == graph.output or not readers.get(i):
            return []
        for node in readers[i]:
            if node.op in ("reshape", "permute"):
                pending.append(node.id)
                continue
            pair = _map(i, node, graph, readers)
            if pair is None:
                return []
            own = -1 if node.op == "matmul" and node.inputs[0] == i else -2 if node.op == "matmul" else 1
            pairs.append((*pair, tracer.values[node.id].dims[own]))
    return pairs


def _map(i: int, node: Node, graph: Graph, readers: Mapping[int, list[Node]]) -> tuple[str, str] | None:
    if node.op not in ("matmul", "convolution") or node.inputs.count(i) != 1:
        return None
    if node.op == "convolution" and (any(node.attributes["padding"]) or node.inputs[0] != i):
        return None
    (other,) = (k for k in node.inputs if k != i)
    weight = _parameter(other, graph, ("reshape", "permute"))
    after = readers.get(node.id, [])
    while len(after) == 1 and after[0].op in ("reshape", "permute"):
        node, after = after[0], readers.get(after[0].id, [])
    if weight is None or len(after) != 1 or after[0].op != "add" or after[0].inputs.count(node.id) != 1:
        return None
    (added,) = (k for k in after[0].inputs if k != node.id)
    bias = _parameter(added, graph, ("reshape", "permute", "expand"))
    if bias is None or len(_uses(added, graph, readers)) != 1:
        return None
    return weight, bias


def _parameter(i: int, graph: Graph, layout: tuple[str, ...]) -> str | None:
    """The parameter behind layout operators."""
    while graph[i].op in layout:
        i = graph[i].inputs[0]
    return graph[i].attributes["name"] if graph[i].op == "parameter" else None


def _uses(i: int, graph: Graph, readers: Mapping[int, list[Node]]) -> list[Node]:
    """All that reads a value or what it is a layout of."""
    out = list(readers.get(i, []))
    while graph[i].op != "parameter":
        i = graph[i].inputs[0]
        out += [n for n in readers.get(i, []) if n.op not in ("reshape", "permute", "expand")]
        out += [n for n in readers.get(i, [])[1:] if n.op in ("reshape", "permute", "expand")]
    return out
