r"""Perspectives: s phi(x/s) for s >= 0, and what is one in disguise.

(x, s) -> s phi(x/s) is convex where phi is [BV04 3.2.6], jointly in x and s, for vectors x as well; it rises in x where
phi does.  s phi(s/x) is s psi(x/s) with psi(t) = phi(1/t): s log(s/x) is the perspective of -log, and convex (relative
entropy).  Such a phi is looked for in products: a walk over the nodes between the ratio and the product, with the ratio,
or its logarithm written as log n - log d, as the one variable, says what phi is.  The same walk reads products such as
z e^z as one function of z, which is composed with z like any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from epigraph.calculus.interval import WHOLE, Interval
from epigraph.calculus.lattice import AFFINE, CONCAVE, CONVEX, Bits, Facts, close, compose, uniform
from epigraph.calculus.rule import RULES, Elementwise
from epigraph.calculus.rules.arithmetic import scaled
from epigraph.objective.graph import Node

NODES = 40  # between the ratio and the product
POINTWISE = frozenset(("add", "neg", "mul", "div", "maximum"))


class Ratio(NamedTuple):
    """A node that is x/y (or log x - log y) for earlier nodes x and y."""

    node: int
    above: int
    below: int
    logarithm: bool


def claims(nodes: Sequence[Node], node: Node, facts: Sequence[Facts]) -> Bits:
    """Claims of a product, or of x log x - x log y."""
    if node.op == "mul" and all(facts[i].varies for i in node.inputs):
        first, second = node.inputs
        found = _product(nodes, node, facts, first, second) | _product(nodes, node, facts, second, first)
        return found | _shared(nodes, node, facts)
    if node.op == "div":
        return _over_parameter(nodes, node, facts)
    return _entropy(nodes, node, facts) if node.op == "add" else 0


def _over_parameter(nodes: Sequence[Node], node: Node, facts: Sequence[Facts]) -> Bits:
    """f / y for a parameter y >= 0 that is held: scaling; y = 0 is an edge of the box, where there is no value."""
    above, below = (facts[i] for i in node.inputs)
    if below.varies or nodes[node.inputs[1]].op != "parameter":
        return 0
    fits = _all(below.interval.nonnegative) or _all(below.interval.nonpositive)
    return scaled(uniform(above.bits), below.interval) if fits else 0


def _product(nodes: Sequence[Node], node: Node, facts: Sequence[Facts], s: int, h: int) -> Bits:
    """s h, with h a function of a ratio of s; nothing where h is flat, since the kernel gives a constant no direction."""
    found = _ratios(nodes, facts, h)
    if found is None or np.any(facts[h].interval.lower == facts[h].interval.upper):
        return 0
    ratios, between = found
    first = ratios[0]
    alike = all(nodes[s].shape == nodes[r.node].shape == node.shape for r in ratios)
    if not (nodes[s].numel == 1 or (alike and all(_pointwise(nodes[i], node.shape) for i in between))):
        return 0
    logarithm = h == first.node if first.logarithm else nodes[h].op == "log" and nodes[h].inputs[0] == first.node
    if len(ratios) == 1 and logarithm and alike and _jeffreys(nodes, facts, first, s):
        return CONVEX
    own = facts[s]
    if not (own.has(AFFINE) and _all(own.interval.nonnegative)):
        return 0
    if all(r.below == s for r in ratios):
        inverse, others = False, [facts[r.above] for r in ratios]
    elif len(ratios) == 1 and first.above == s:
        inverse, others = True, [facts[first.below]]
    else:
        return 0
    if (inverse or first.logarithm) and not all(_all(f.interval.nonnegative) for f in others):
        return 0
    if len(ratios) > 1 and not all(f.has(AFFINE) and not r.logarithm for f, r in zip(others, ratios, strict=True)):
        return 0
    start = {r.node: _start(r.node, facts[r.node].interval, inverse, r.logarithm) for r in ratios}
    return _of_pair(_walk(nodes, facts, start, [i for i in between if i != h], nodes[h], facts[h].interval), others[0])


def _shared(nodes: Sequence[Node], node: Node, facts: Sequence[Facts]) -> Bits:
    """phi(z) for a product of two functions of the same entries z of a node that is not affine."""
    below = [(i, *nodes[i].inputs[:1]) for i in node.inputs if isinstance(RULES.get(nodes[i].op), Elementwise)]
    for z in dict.fromkeys((*node.inputs, *(i for pair in below for i in pair))):
        inner = facts[z]
        if inner.has(AFFINE) or not (inner.has(CONVEX) or inner.has(CONCAVE)) or nodes[z].shape != node.shape:
            continue
        between = _above(nodes, facts, node.id, z)
        if between is None or not all(_pointwise(nodes[i], node.shape) for i in between):
            continue
        start = {z: Facts(close(AFFINE, inner.interval.nonnegative), inner.interval, (z, 1))}
        phi = _walk(nodes, facts, start, [i for i in between if i != node.id], node, WHOLE)
        direction = phi.carrier[1] if phi.carrier is not None else 0
        return compose(uniform(inner.bits), increasing=direction > 0, decreasing=direction < 0,
                       convex=phi.has(CONVEX), concave=phi.has(CONCAVE)) & AFFINE  # fmt: skip
    return 0


def _above(nodes: Sequence[Node], facts: Sequence[Facts], h: int, z: int) -> list[int] | None:
    """The nodes through which h depends on z, where it depends on nothing else."""
    pending, between = [h], set[int]()
    while pending:
        i = pending.pop()
        if i == z or i in between or (i != h and not facts[i].varies):
            continue
        if nodes[i].op == "parameter" or len(between) >= NODES:
            return None
        between.add(i)
        pending.extend(nodes[i].inputs)
    return sorted(between)


def _of_pair(phi: Facts, other: Facts) -> Bits:
    """s psi(x/s) from the claims of psi and of x, with psi a function of one affine variable."""
    direction = phi.carrier[1] if phi.carrier is not None else 0
    found = compose(AFFINE if other.has(AFFINE) else uniform(other.bits) & AFFINE, increasing=direction > 0,
                    decreasing=direction < 0, convex=phi.has(CONVEX), concave=phi.has(CONCAVE))  # fmt: skip
    return found & AFFINE


def _ratios(nodes: Sequence[Node], facts: Sequence[Facts], h: int) -> tuple[list[Ratio], list[int]] | None:
    """The ratios through which alone h depends on active parameters, and the nodes between, in order."""
    pending, between, ratios = [h], set[int](), set[Ratio]()
    while pending:
        i = pending.pop()
        if i in between or not facts[i].varies:
            continue
        found = _as_ratio(nodes, i)
        if found is not None:
            ratios.add(found)
            continue
        if nodes[i].op == "parameter" or len(between) >= NODES:
            return None
        between.add(i)
        pending.extend(nodes[i].inputs)
    return (sorted(ratios), sorted(between)) if ratios else None


def _as_ratio(nodes: Sequence[Node], i: int) -> Ratio | None:
    node = nodes[i]
    if node.op == "div":
        return Ratio(i, node.inputs[0], node.inputs[1], False)
    if node.op == "add":
        for a, b in (node.inputs, node.inputs[::-1]):
            log, minus = nodes[a], nodes[b]
            if log.op == "log" and minus.op == "neg" and (other := nodes[minus.inputs[0]]).op == "log":
                return Ratio(i, log.inputs[0], other.inputs[0], True)
    return None


def _pointwise(node: Node, shape: tuple[int, ...]) -> bool:
    return node.shape == shape and (node.op in POINTWISE or isinstance(RULES[node.op], Elementwise))


def _walk(
    nodes: Sequence[Node],
    facts: Sequence[Facts],
    start: Mapping[int, Facts],
    between: Sequence[int],
    h: Node,
    bound: Interval,
) -> Facts:
    """Facts of the node h as a function of the variables in ``start``, through the nodes between."""
    known = dict(start)
    for node, interval in [*((nodes[i], facts[i].interval) for i in between), (h, bound)]:
        if node.id in start:
            continue
        operands = [known.get(j, facts[j]) for j in node.inputs]
        shapes = [nodes[j].shape for j in node.inputs]
        rule = RULES[node.op]
        bits = close(rule.claims(node, operands, shapes), interval.nonnegative)
        known[node.id] = Facts(bits, interval, rule.carrier(node, operands, shapes))
    return known[h.id]


def _start(node: int, bound: Interval, inverse: bool, logarithm: bool) -> Facts:
    """t > 0 or any t; 1/t, log t or -log t for t > 0."""
    if logarithm:
        bits = CONVEX if inverse else CONCAVE
    elif inverse:
        bits = RULES["power"].claims(Node(node, "power", (), {"exponent": "-1"}, ()), [
            Facts(AFFINE, Interval(0.0, np.inf))], [()])  # fmt: skip
    else:
        bits = AFFINE
    return Facts(close(bits, bound.nonnegative), bound, (node, -1 if inverse else 1))


def _jeffreys(nodes: Sequence[Node], facts: Sequence[Facts], ratio: Ratio, s: int) -> bool:
    """(x - y)(log x - log y) = x log(x/y) + y log(y/x), for affine x and y."""
    difference = nodes[s]
    if difference.op != "add":
        return False
    pairs = [(a, nodes[b].inputs[0]) for a, b in (difference.inputs, difference.inputs[::-1]) if nodes[b].op == "neg"]
    return (ratio.above, ratio.below) in pairs and all(
        facts[i].has(AFFINE) and _all(facts[i].interval.nonnegative) for i in (ratio.above, ratio.below)
    )


def _entropy(nodes: Sequence[Node], node: Node, facts: Sequence[Facts]) -> Bits:
    """x log x - x log y for affine x and concave y, the latter since it falls in y."""
    for a, b in (node.inputs, node.inputs[::-1]):
        first, second = nodes[a], nodes[b]
        if first.op != "xlogx" or second.op != "neg" or nodes[second.inputs[0]].op != "mul":
            continue
        x, product = first.inputs[0], nodes[second.inputs[0]]
        for s, log in (product.inputs, product.inputs[::-1]):
            if s == x and nodes[log].op == "log" and nodes[s].shape == nodes[log].shape == node.shape:
                y = facts[nodes[log].inputs[0]]
                fits = facts[x].has(AFFINE) and _all(facts[x].interval.nonnegative) and y.has(CONCAVE)
                return CONVEX if fits and _all(y.interval.nonnegative) else 0
    return 0


def _all(mask: object) -> bool:
    return mask if isinstance(mask, bool) else bool(np.all(mask))  # type: ignore[call-overload]
