"""A strong-convexity modulus that follows from the penalty: J - (mu/2) ||theta||^2 is convex."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from epigraph.calculus.lattice import CONVEX
from epigraph.calculus.propagate import Propagation
from epigraph.convexity.prove import Prover
from epigraph.objective.graph import Graph


def modulus(prover: Prover, active: Sequence[str]) -> float | None:
    """The largest mu that the squares of single parameters give, or None where some parameter has none.

    J is read as a sum with nonnegative factors; each term must be proved convex, and a term c x^2 of a parameter's
    entries x contributes 2 c to their modulus.  The result is rounded down.
    """
    graph = prover.graph
    walk = prover.walk(active)
    if not walk.output.has(CONVEX):
        return None
    found = {name: np.zeros(graph[i].shape) for name, i in graph.parameter_nodes.items() if name in walk.active}
    pending: list[tuple[int, float]] = [(graph.output, 1.0)]
    while pending:
        i, factor = pending.pop()
        node, facts = graph[i], walk.facts[i]
        if not facts.varies:
            continue
        if node.op in ("add", "sum", "reshape", "same") and _all_convex(prover, walk, i):
            pending.extend((j, factor) for j in node.inputs[: 1 if node.op == "same" else None])
        elif node.op == "mul" and (constant := _constant_factor(walk, node.inputs)) is not None:
            other, low = constant
            if walk.facts[other].has(CONVEX):
                pending.append((other, np.nextafter(factor * low, 0.0)))
        elif node.op == "power" and node.attributes["exponent"] == "2" and (name := _entries(graph, node.inputs[0])) in found:
            found[name] = np.nextafter(found[name] + 2 * factor, 0.0)
    least = min((float(v.min()) for v in found.values() if v.size), default=0.0)
    return least if least > 0 else None


def _all_convex(prover: Prover, walk: Propagation, i: int) -> bool:
    return all(walk.facts[j].has(CONVEX) or not walk.facts[j].varies for j in prover.graph[i].inputs)


def _constant_factor(walk: Propagation, inputs: tuple[int, ...]) -> tuple[int, float] | None:
    """(the varying operand, a lower bound of the constant one) where the latter is nonnegative."""
    for constant, other in (inputs, inputs[::-1]):
        if not walk.facts[constant].varies and (low := walk.facts[constant].interval.hull[0]) >= 0:
            return other, low
    return None


def _entries(graph: Graph, i: int) -> str | None:
    """The parameter of which this node is all entries in some order."""
    while graph[i].op in ("reshape", "permute"):
        i = graph[i].inputs[0]
    return graph[i].attributes["name"] if graph[i].op == "parameter" else None
