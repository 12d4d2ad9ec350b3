"""A strong-convexity modulus that follows from the penalty: J - (mu/2) ||theta||^2 is convex."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

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
    found = dict.fromkeys((name for name in graph.parameter_nodes if name in walk.active), Fraction(0))
    pending: list[tuple[int, Fraction]] = [(graph.output, Fraction(1))]
    while pending:
        i, factor = pending.pop()
        node, facts = graph[i], walk.facts[i]
        if not facts.varies or node.numel == 0:  # broadcast against nothing, a term is in no sum
            continue
        if node.op in ("add", "sum", "reshape", "same") and _all_convex(prover, walk, i):
            pending.extend((j, factor) for j in node.inputs[: 1 if node.op == "same" else None])
        elif node.op == "mul" and (constant := _constant_factor(walk, node.inputs)) is not None:
            other, low = constant
            if walk.facts[other].has(CONVEX):
                pending.append((other, factor * low))
        elif (
            node.op == "power"
            and node.attributes["exponent"] == "2"
            and (name := _entries(graph, node.inputs[0])) in found
        ):
            found[name] += 2 * factor
    least = min(found.values(), default=Fraction(0))
    return _below(least) if least > 0 else None


def _all_convex(prover: Prover, walk: Propagation, i: int) -> bool:
    return all(walk.facts[j].has(CONVEX) or not walk.facts[j].varies for j in prover.graph[i].inputs)


def _below(value: Fraction) -> float:
    """The greatest float64 not above a rational number."""
    near = float(value)
    return near if Fraction(near) <= value else math.nextafter(near, 0.0)


def _constant_factor(walk: Propagation, inputs: tuple[int, ...]) -> tuple[int, Fraction] | None:
    """(the varying operand, a lower bound of the constant one) where the latter is nonnegative."""
    for constant, other in (inputs, inputs[::-1]):
        if not walk.facts[constant].varies and math.inf > (low := walk.facts[constant].interval.hull[0]) >= 0:
            exact = walk.graph[constant].attributes.get("value")
            return other, Fraction(low) if exact is None else Fraction(exact)
    return None


def _entries(graph: Graph, i: int) -> str | None:
    """The parameter of which this node is all entries in some order."""
    while graph[i].op in ("reshape", "permute"):
        i = graph[i].inputs[0]
    return graph[i].attributes["name"] if graph[i].op == "parameter" else None
