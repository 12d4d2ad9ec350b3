"""A failing objective made small and printed as code that builds it again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from soak_generate import Case

from epigraph.calculus.propagate import intervals
from epigraph.objective.domain import Domain
from epigraph.objective.graph import Graph, Node

Fails = Callable[[Case], bool]


def smaller(case: Case, fails: Fails) -> Case:
    """The case cut down while it still fails: an inner node as the output, then inner nodes as parameters on their ranges."""
    for i in range(len(case.graph)):
        if case.graph[i].numel == 1 and case.graph.depends(case.active)[i]:
            cut = rebuilt(case, i, {})
            if cut is not None and fails(cut):
                case = cut
                break
    i = 0
    while i < len(case.graph):
        node = case.graph[i]
        if node.inputs and i != case.graph.output:
            cut = rebuilt(case, case.graph.output, {i: f"t{i}"})
            if cut is not None and len(cut.graph) < len(case.graph) and fails(cut):
                case, i = cut, -1
        i += 1
    return case


def rebuilt(case: Case, output: int, replaced: dict[int, str]) -> Case | None:
    """The part of the graph that an output needs, some nodes replaced by parameters with the nodes' intervals as box."""
    graph, bounds = case.graph, intervals(case.graph, case.domain)
    needed, pending = set(), [output]
    while pending:
        i = pending.pop()
        if i not in needed:
            needed.add(i)
            pending.extend(() if i in replaced else graph[i].inputs)
    place = {old: new for new, old in enumerate(sorted(needed))}
    nodes, parameters, lower, upper = [], {}, dict(case.domain.lower), dict(case.domain.upper)
    varies = graph.depends(case.active)
    active = []
    for old in sorted(needed):
        node = graph[old]
        if old in replaced:
            name = replaced[old]
            nodes.append(Node(place[old], "parameter", (), {"name": name}, node.shape))
            for side, bound in ((lower, bounds[old].lower), (upper, bounds[old].upper)):
                if np.isfinite(bound).all():
                    side[name] = torch.tensor(np.broadcast_to(bound, node.shape).copy(), dtype=torch.float64)
        else:
            nodes.append(Node(place[old], node.op, tuple(place[i] for i in node.inputs), node.attributes, node.shape))
        if nodes[-1].op == "parameter":
            name = nodes[-1].attributes["name"]
            parameters[name] = torch.zeros(node.shape, dtype=torch.float64)
            if varies[old]:
                active.append(name)
    if not active or nodes[place[output]].numel != 1:
        return None
    box = [{n: v for n, v in side.items() if n in parameters} for side in (lower, upper)]
    return Case(Graph(tuple(nodes), place[output], graph.tensors, parameters), Domain(*box), tuple(active), case.style)


def code(case: Case) -> str:
    """Python that builds the case again."""
    lines = ["b = Builder()"]
    for node in case.graph:
        inputs = ", ".join(f"n{i}" for i in node.inputs)
        if node.op == "parameter":
            value = f"torch.zeros({node.shape}, dtype=torch.float64)"
            lines.append(f'n{node.id} = b.parameter("{node.attributes["name"]}", {value})')
        elif "value" in node.attributes:
            lines.append(f'n{node.id} = b.rational(Fraction("{node.attributes["value"]}"))')
        elif node.op == "constant":
            tensor = case.graph.tensors[node.attributes["tensor"]].tensor
            text = f"torch.tensor({tensor.tolist()}, dtype={tensor.dtype})"
            lines.append(f"n{node.id} = b.literal({text}, {case.graph.tensors[node.attributes['tensor']].role!r})")
        else:
            lines.append(f'n{node.id} = b.make("{node.op}", [{inputs}], {dict(node.attributes)}, {node.shape})')
    sides = [
        "{" + ", ".join(f'"{n}": torch.tensor({v.tolist()}, dtype=torch.float64)' for n, v in side.items()) + "}"
        for side in (case.domain.lower, case.domain.upper)
    ]
    lines.append(
        f"graph, domain, active = b.graph(n{case.graph.output}), Domain({sides[0]}, {sides[1]}), {case.active}"
    )
    return "\n".join(lines)
