"""One walk through the graph: intervals once, claims for any choice of active parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import numpy as np
import torch

from epigraph.calculus import (
    combinations,
    perspective,
    rules,  # noqa: F401  (registers the rules)
)
from epigraph.calculus import interval as iv
from epigraph.calculus.interval import Interval
from epigraph.calculus.lattice import AFFINE, CONVEX, Bits, Facts, Means, close, constant_bits, pack, uniform
from epigraph.calculus.means import after, bits_of, determinant, logarithms, square_of_difference
from epigraph.calculus.optional import Optional
from epigraph.calculus.quadratic import Quadratics
from epigraph.calculus.rule import RULES
from epigraph.objective.domain import Domain
from epigraph.objective.graph import Graph, Node

LARGE = 1_000_000  # constants of more entries that would need a float64 copy are held by their least and greatest entry


def leaf_interval(graph: Graph, node: Node, domain: Domain) -> Interval:
    """A constant's own value; a parameter's box."""
    if node.op == "parameter":
        name = node.attributes["name"]
        bounds = [
            box[name].numpy() if name in box else default
            for box, default in ((domain.lower, -iv.INF), (domain.upper, iv.INF))
        ]
        return Interval(*(float(b) if np.ndim(b) == 0 else np.broadcast_to(b, node.shape) for b in bounds))
    if "value" in node.attributes:
        return _rational(node.attributes["value"])
    tensor = graph.tensors[node.attributes["tensor"]].tensor
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        return iv.WHOLE
    if tensor.dtype != torch.float64 and tensor.numel() > LARGE:
        return Interval(float(tensor.min()), float(tensor.max()))
    array = tensor.detach().cpu().double().numpy()
    return Interval.point(float(array) if array.ndim == 0 else array)


def _rational(text: str) -> Interval:
    from fractions import Fraction

    exact = Fraction(text)
    try:
        near = float(exact)
    except OverflowError:
        return Interval(iv.MAX, iv.INF) if exact > 0 else Interval(-iv.INF, -iv.MAX)
    if Fraction(near) == exact:
        return Interval.point(near)
    return Interval(near if Fraction(near) < exact else iv.down(near), near if Fraction(near) > exact else iv.up(near))


def intervals(graph: Graph, domain: Domain) -> list[Interval]:
    """Bounds of every node over the whole domain; they hold whatever is active."""
    out: list[Interval] = []
    nodes = graph.nodes
    for node in nodes:
        if node.inputs:
            operands = [out[i] for i in node.inputs]
            out.append(RULES[node.op].interval(node, operands, [nodes[i].shape for i in node.inputs]))
        else:
            out.append(leaf_interval(graph, node, domain))
    return out


@final
class Propagation:
    """Facts of every node for one choice of active parameters, the others held at any value of the domain."""

    __slots__ = ("active", "facts", "graph", "lemmas")

    def __init__(self, graph: Graph, bounds: Sequence[Interval], active: Sequence[str], lemmas: Optional | None = None):
        self.graph, self.active, self.lemmas = graph, frozenset(active), lemmas or Optional()
        self.facts = self._walk(bounds)

    def _walk(self, bounds: Sequence[Interval]) -> list[Facts]:
        facts: list[Facts] = []
        nodes, quadratics, run = self.graph.nodes, Quadratics(self.graph, self.active), self.lemmas.run
        for node in nodes:
            bound = bounds[node.id]
            if node.op == "parameter":
                active = node.attributes["name"] in self.active
                facts.append(_parameter(node, bound) if active else Facts(constant_bits(bound), bound, None, 0, False))
                continue
            if node.op == "constant" and bound is iv.WHOLE:
                facts.append(Facts(0, iv.WHOLE))  # an infinite constant is no real number: nothing is known below it
                continue
            operands = [facts[i] for i in node.inputs]
            if not any(f.varies for f in operands):
                facts.append(Facts(constant_bits(bound), bound, None, 0, False))
                continue
            below = [nodes[i] for i in node.inputs]
            extra = run("the lemma of perspectives", 0, perspective.claims, nodes, node, facts)
            root = node.op == "det" and run("the lemma of quadratics", False, quadratics.definite, below[0], facts)
            square = run("the lemma of squared differences", False, square_of_difference, nodes, node, facts)
            made = self._apply(node, operands, below, bound, extra | (CONVEX if square else 0), root)
            found = run("the lemma of quadratics", 0, quadratics.claims, node, facts, made.bits)
            made.bits = pack(close(made.bits | found, bound.nonnegative))
            facts.append(made)
        return facts

    def _apply(
        self, node: Node, operands: list[Facts], below: list[Node], bound: Interval, extra: Bits, root: bool
    ) -> Facts:
        rule, shapes, run = RULES[node.op], [n.shape for n in below], self.lemmas.run
        mean, ranked, nothing = "the lemma of power means", "the lemma of ranked entries", Means()
        means = determinant(below[0].shape[-1]) if root else run(mean, nothing, after, node, operands, bound)
        found = extra | rule.claims(node, operands, shapes) | run(mean, 0, bits_of, means)
        bits = pack(close(found | run(ranked, 0, combinations.claims, node, operands, shapes), bound.nonnegative))
        carrier = rule.carrier(node, operands, shapes)
        if carrier is None and uniform(bits) & AFFINE == AFFINE:
            carrier = (node.id, 1)
        combination = run(ranked, None, combinations.after, node, operands, shapes)
        exponentials = run(mean, nothing, logarithms, node, operands, below)
        degree = rule.degree(node, operands)
        return Facts(bits, bound, carrier, degree, means=means, combination=combination, exponentials=exponentials)

    @property
    def output(self) -> Facts:
        return self.facts[self.graph.output]


def _parameter(node: Node, bound: Interval) -> Facts:
    return Facts(close(AFFINE, bound.nonnegative), bound, (node.id, 1), 1)


def always_equal(graph: Graph, value: float, domain: Mapping[str, object] | None = None) -> bool:
    """Is the graph's output this value for all parameters, by interval arithmetic alone?"""
    bound = intervals(graph, Domain())[graph.output]
    return bound.hull == (value, value)


__all__ = ["Propagation", "always_equal", "intervals"]
