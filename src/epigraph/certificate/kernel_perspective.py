r"""Products s h that are perspectives, checked with the lemma table on the nodes between a ratio and the product.

Let s >= 0 be affine, t = x/s, and h = phi(t).  With s_m = (1-w) s_a + w s_b and x_m the same mean, t_m is the mean of t_a
and t_b with the weights (1-w) s_a / s_m and w s_b / s_m, so that the inequality of a convex phi at t_a, t_m, t_b, times
s_m, is that of s phi(x/s) [BV04 3.2.6].  Where x is convex and not affine, x(m) <= x_m, and phi must not fall; concave
and phi must not rise.  Several x over one s are one vector.  With the roles exchanged s phi(s/x) = s psi(x/s), and
psi(t) = phi(1/t) is read with 1/t, convex and log-convex for t > 0, in the place of the ratio.  log x - log s is log t.

A product of two functions of the same entries z is one function phi of z, read off in the same way with z as the
variable, and composed with the claims of z [BV04 3.2.4].

x log x - x log y = x log(x/y) is the perspective of -log, with y in the place of x and x in that of s; it falls in y.
(x - y)(log x - log y) is the sum of two of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from epigraph.certificate.graph import Node
from epigraph.certificate.kernel_carriers import carried
from epigraph.certificate.kernel_claims import Claims, closure, scaled
from epigraph.certificate.kernel_curves import CURVES
from epigraph.certificate.kernel_lemmas import LEMMAS
from epigraph.certificate.kernel_records import Record

MOST = 60  # nodes between
ENTRYWISE = frozenset((*CURVES, "add", "neg", "mul", "div", "maximum"))
Records = Mapping[int, Record]


class Quotient(NamedTuple):
    """Node ``at`` is x/y, or log x - log y."""

    at: int
    x: int
    y: int
    logs: bool


def claims(nodes: Sequence[Node], position: int, records: Records) -> Claims:
    """Convexity or concavity of a product or sum of this kind, nothing for any other node."""
    node = nodes[position]
    if node.op == "mul":
        a, b = node.inputs
        if records[a].varies and records[b].varies:
            for s, h in ((a, b), (b, a)):
                convex, concave = _perspective(nodes, node, records, s, h)
                if convex or concave:
                    return Claims(convex=np.bool_(convex), concave=np.bool_(concave))
            return _shared(nodes, position, records)
    if node.op == "div":
        return _over_parameter(nodes, node, records)
    if node.op == "add" and _entropy(nodes, node, records):
        return Claims(convex=np.bool_(True))
    return Claims()


def _over_parameter(nodes: Sequence[Node], node: Node, records: Records) -> Claims:
    """f/y for a held parameter y >= 0, or y <= 0: each y inside the box scales f, and y = 0 lies on its edge."""
    f, y = (records[i] for i in node.inputs)
    if y.varies or nodes[node.inputs[1]].op != "parameter":
        return Claims()
    shared = Claims(*(np.bool_(np.all(m)) for m in f.claims))
    return (
        scaled(shared, np.bool_(np.all(y.lower >= 0)), np.bool_(np.all(y.upper <= 0)))
        if (np.all(y.lower >= 0) or np.all(y.upper <= 0))
        else Claims()
    )


def _perspective(nodes: Sequence[Node], node: Node, records: Records, s: int, h: int) -> tuple[bool, bool]:
    found = _quotients(nodes, records, h)
    if found is None:
        return False, False
    quotients, between = found
    shapes = {nodes[i].shape for i in (s, *between, *(q.at for q in quotients))}
    entrywise = shapes == {node.shape} and all(nodes[i].op in ENTRYWISE for i in between)
    if not (entrywise or nodes[s].numel == 1):
        return False, False
    q = quotients[0]
    logarithm = h == q.at if q.logs else nodes[h].op == "log" and nodes[h].inputs[0] == q.at
    if len(quotients) == 1 and logarithm and entrywise and _is_difference(nodes, s, q.x, q.y):
        return _affine_nonnegative(records, q.x) and _affine_nonnegative(records, q.y), False
    if not _affine_nonnegative(records, s):
        return False, False
    turned = len(quotients) == 1 and q.y != s
    if (turned and q.x != s) or (not turned and any(p.y != s for p in quotients)):
        return False, False
    others = [records[p.y if turned else p.x] for p in quotients]
    if (turned or any(p.logs for p in quotients)) and not all(bool(np.all(r.lower >= 0)) for r in others):
        return False, False
    phi = _phi(nodes, records, quotients, between, h, turned)
    affine = all(bool(np.all(r.claims.affine)) for r in others)
    if len(quotients) > 1 and not affine:
        return False, False
    rises, falls = _direction(phi, {p.at for p in quotients})
    bent, sunk = (bool(np.all(m)) for m in (others[0].claims.convex, others[0].claims.concave))
    upward = affine or (rises and bent) or (falls and sunk)
    downward = affine or (rises and sunk) or (falls and bent)
    return bool(np.all(phi.claims.convex)) and upward, bool(np.all(phi.claims.concave)) and downward


def _shared(nodes: Sequence[Node], position: int, records: Records) -> Claims:
    node = nodes[position]
    inner = [j for i in node.inputs if nodes[i].op in CURVES for j in nodes[i].inputs]
    for z in dict.fromkeys((*node.inputs, *inner)):
        own = records[z]
        bent, sunk = bool(np.all(own.claims.convex)), bool(np.all(own.claims.concave))
        between = _between(nodes, records, position, z)
        if bent is sunk or between is None:
            continue
        if any(nodes[i].op not in ENTRYWISE or nodes[i].shape != node.shape for i in (*between, position)):
            continue
        if own.shape != node.shape:
            continue
        line = closure(Claims(convex=np.bool_(True), concave=np.bool_(True)), own.lower >= 0).bits()
        phi = _follow(nodes, records, {z: replace(own, bits=line, carrier=(z, 1), varies=True)}, [*between, position])
        rises, falls = _direction(phi, {z})
        up, down = (rises and bent) or (falls and sunk), (rises and sunk) or (falls and bent)
        return Claims(convex=np.bool_(up and bool(np.all(phi.claims.convex))),
                      concave=np.bool_(down and bool(np.all(phi.claims.concave))))  # fmt: skip
    return Claims()


def _between(nodes: Sequence[Node], records: Records, h: int, z: int) -> list[int] | None:
    """The nodes on the ways from z to h, both left out; None where h depends on something else that varies."""
    found: set[int] = set()
    pending = list(nodes[h].inputs)
    while pending:
        i = pending.pop()
        if i == z or i in found or not records[i].varies:
            continue
        if nodes[i].op == "parameter" or len(found) == MOST:
            return None
        found.add(i)
        pending.extend(nodes[i].inputs)
    return sorted(found)


def _affine_nonnegative(records: Records, i: int) -> bool:
    r = records[i]
    return bool(np.all(r.claims.affine)) and bool(np.all(r.lower >= 0))


def _quotients(nodes: Sequence[Node], records: Records, h: int) -> tuple[list[Quotient], list[int]] | None:
    """The quotients on which h depends, through the nodes between, and on nothing else that varies."""
    found: dict[int, Quotient] = {}
    between: set[int] = set()
    pending = [h]
    while pending:
        i = pending.pop()
        if i in between or i in found or not records[i].varies:
            continue
        quotient = _quotient(nodes, i)
        if quotient is not None:
            found[i] = quotient
        elif nodes[i].op == "parameter" or len(between) == MOST:
            return None
        else:
            between.add(i)
            pending.extend(nodes[i].inputs)
    return ([found[i] for i in sorted(found)], sorted(between)) if found else None


def _quotient(nodes: Sequence[Node], i: int) -> Quotient | None:
    node = nodes[i]
    if node.op == "div":
        return Quotient(i, node.inputs[0], node.inputs[1], False)
    if node.op != "add":
        return None
    for a, b in (node.inputs, node.inputs[::-1]):
        if nodes[a].op == "log" and nodes[b].op == "neg" and nodes[nodes[b].inputs[0]].op == "log":
            return Quotient(i, nodes[a].inputs[0], nodes[nodes[b].inputs[0]].inputs[0], True)
    return None


def _is_difference(nodes: Sequence[Node], s: int, x: int, y: int) -> bool:
    """Is s the node x - y?"""
    if nodes[s].op != "add":
        return False
    return any(a == x and nodes[b].op == "neg" and nodes[b].inputs[0] == y
               for a, b in (nodes[s].inputs, nodes[s].inputs[::-1]))  # fmt: skip


def _phi(
    nodes: Sequence[Node], records: Records, quotients: Sequence[Quotient], between: Sequence[int], h: int, turned: bool
) -> Record:
    """The record of h with t as the one variable; the recorded intervals hold for it as well."""
    known: dict[int, Record] = {}
    for q in quotients:
        bits: Any = _variable(q, turned, records[q.at])
        known[q.at] = replace(records[q.at], bits=bits, carrier=(q.at, -1 if turned else 1), varies=True)
    return _follow(nodes, records, known, between) if h not in known else known[h]


def _follow(nodes: Sequence[Node], records: Records, start: Records, order: Sequence[int]) -> Record:
    """The record of the last node in this order as a function of the variables in ``start``."""
    known = dict(start)
    for i in order:
        node = nodes[i]
        operands = [known.get(j, records[j]) for j in node.inputs]
        bits = closure(LEMMAS[node.op](node, operands), records[i].lower >= 0).bits()
        way = next(((b, 1 if up else -1 if down else 0) for b, up, down in carried(node, operands) if b in start), None)
        known[i] = replace(records[i], bits=bits, carrier=way, varies=True)
    return known[order[-1]]


def _variable(q: Quotient, turned: bool, record: Record) -> Any:
    """Claims of t, of log t, and for t > 0 of 1/t and -log t."""
    yes = np.bool_(True)
    if q.logs:
        own = Claims(convex=yes) if turned else Claims(concave=yes)
    else:
        own = Claims(convex=yes, log_convex=yes) if turned else Claims(convex=yes, concave=yes)
    return closure(own, record.lower >= 0).bits()


def _direction(phi: Record, at: set[int]) -> tuple[bool, bool]:
    """Does phi rise, or fall, in t?"""
    ways = [way for base, way in [phi.carrier] if base in at] if phi.carrier is not None else []
    return 1 in ways, -1 in ways


def _entropy(nodes: Sequence[Node], node: Node, records: Records) -> bool:
    """x log x - x log y with an affine x >= 0 and a concave y >= 0."""
    for a, b in (node.inputs, node.inputs[::-1]):
        if nodes[a].op != "xlogx" or nodes[b].op != "neg" or nodes[nodes[b].inputs[0]].op != "mul":
            continue
        x, product = nodes[a].inputs[0], nodes[nodes[b].inputs[0]]
        for s, log in (product.inputs, product.inputs[::-1]):
            if s == x and nodes[log].op == "log" and nodes[x].shape == nodes[log].shape == node.shape:
                y = records[nodes[log].inputs[0]]
                return _affine_nonnegative(records, x) and bool(np.all(y.claims.concave) and np.all(y.lower >= 0))
    return False
