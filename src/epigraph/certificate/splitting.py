r"""J as a weighted sum of parts, found by one walk from the output through the operators that are linear.

J = affine + sum over parts of <weights, node>.  A part is a node whose entries are functions of one affine entry
(``carried``), products of two affine entries (``product``), a log-sum-exp of affine entries (``soft``), or anything else
(``rest``), of which convexity must be known from elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, final

import numpy as np

from epigraph.certificate.affine import HUGE, TINY, Numbers, Unsuited, joined
from epigraph.certificate.graph import Node
from epigraph.certificate.linear import MOVING, Linear
from epigraph.certificate.series import rational

Kind = Literal["carried", "product", "soft", "rest"]


@final
@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of the entries of a node: an exact factor times numbers."""

    factor: Fraction
    numbers: Numbers

    def exact(self, entry: int) -> Fraction | None:
        """The weight of an entry, None where it is known up to a radius only."""
        if self.numbers.radius is not None and self.numbers.radius[entry] > 0:
            return None
        return self.factor * Fraction(float(self.numbers.middle[entry]))

    def bounds(self, entry: int) -> tuple[Fraction, Fraction]:
        middle = Fraction(float(self.numbers.middle[entry]))
        radius = Fraction(0 if self.numbers.radius is None else float(self.numbers.radius[entry]))
        ends = sorted((self.factor * (middle - radius), self.factor * (middle + radius)))
        return ends[0], ends[1]

    def signs(self) -> np.ndarray:
        """-1, 0 or 1 for each entry, 2 where the sign is not known."""
        middle, radius = self.numbers.middle, self.numbers.radius
        out = np.sign(middle) * ((self.factor > 0) - (self.factor < 0))
        if radius is not None:
            out = np.where(radius >= np.abs(middle), np.where((radius == 0) | (self.factor == 0), 0, 2), out)
        return out.astype(np.int64)


@final
@dataclass(frozen=True, slots=True)
class Part:
    """A node and the weights of its entries."""

    position: int
    kind: Kind
    weights: Weights


def split(linear: Linear, sign: int) -> list[Part]:
    """The parts of sign J, nearest to the output first.  Raises ``Unsuited`` where weights are not known.

    Parts of weight zero are kept: J has a value only where they have one.
    """
    waiting: dict[int, list[Weights]] = {linear.program.output: [Weights(Fraction(sign), Numbers(np.ones(1)))]}
    parts: list[Part] = []
    for position in range(linear.program.output, -1, -1):
        if position not in waiting:
            continue
        if not linear.varies[position] or linear.affine(position):
            continue
        weights = _merged(waiting.pop(position))
        pushed = _push(linear, position, weights)
        if pushed is None:
            parts.append(Part(position, _kind(linear, position), weights))
            continue
        for operand, share in pushed:
            waiting.setdefault(operand, []).append(share)
        if linear.nodes[position].op == "log_softmax":
            parts.append(Part(position, "soft", weights))
    return parts


def _kind(linear: Linear, position: int) -> Kind:
    node = linear.nodes[position]
    if linear.carrier(position) is not None:
        return "carried"
    if node.op in ("mul", "matmul") and all(linear.affine(i) for i in node.inputs):
        return "product"
    if node.op == "logsumexp" and linear.affine(node.inputs[0]):
        return "soft"
    return "rest"


def _push(linear: Linear, position: int, w: Weights) -> list[tuple[int, Weights]] | None:
    """The weights of the operands of a linear operator, None for any other."""
    node = linear.nodes[position]
    n = w.numbers
    if node.op == "same":
        return [(_preferred(linear, position), w)]
    if node.op == "log_softmax":
        own = linear.affine(node.inputs[0])
        return [(node.inputs[0], w)] if own and linear.carrier(position) is None else None
    if node.op == "neg":
        return [(node.inputs[0], Weights(-w.factor, n))]
    if node.op == "add":
        return [(i, _gathered(w, linear.index(node, i), linear.nodes[i].numel)) for i in node.inputs]
    if node.op == "sum":
        return [(node.inputs[0], Weights(w.factor, n.take(linear.reduced(node))))]
    if node.op == "concat":
        return _concatenated(linear, node, w)
    if node.op in MOVING:
        i = node.inputs[0]
        return [(i, _gathered(w, linear.index(node, i), linear.nodes[i].numel))]
    if node.op in ("mul", "div", "matmul"):
        return _scaled(linear, node, w)
    return None


def _preferred(linear: Linear, position: int) -> int:
    forms = linear.forms[position]
    for good in (linear.affine, lambda i: linear.carrier(i) is not None):
        for i in forms:
            if good(i):
                return i
    return next((i for i in forms if _kind(linear, i) != "rest"), forms[0])


def _concatenated(linear: Linear, node: Node, w: Weights) -> list[tuple[int, Weights]]:
    place, out, at = linear.concatenated(node), [], 0
    for i in node.inputs:
        size = linear.nodes[i].numel
        out.append((i, Weights(w.factor, w.numbers.take(place[at : at + size]))))
        at += size
    return out


def _scaled(linear: Linear, node: Node, w: Weights) -> list[tuple[int, Weights]] | None:
    """A product with a constant, or a quotient by one."""
    x, y = node.inputs
    if (linear.varies[x] and linear.varies[y]) or (node.op == "div" and linear.varies[y]):
        return None
    varying, other = (x, y) if linear.varies[x] else (y, x)
    if node.op == "matmul":
        source, weight, target = linear.pairs(node, varying, other)
        terms = w.numbers.take(target).times(linear.numbers(other).take(weight))
        return [(varying, Weights(w.factor, terms.gathered(source, linear.nodes[varying].numel)))]
    back = linear.index(node, varying)
    exact = _scalar(linear, other)
    if exact is not None and (exact != 0 or node.op == "mul"):
        scaled = Weights(w.factor * exact if node.op == "mul" else w.factor / exact, w.numbers)
        return [(varying, _gathered(scaled, back, linear.nodes[varying].numel))]
    factors = linear.reciprocals(other) if node.op == "div" else linear.numbers(other)
    terms = w.numbers.times(factors.take(linear.index(node, other)))
    return [(varying, _gathered(Weights(w.factor, terms), back, linear.nodes[varying].numel))]


def _scalar(linear: Linear, position: int) -> Fraction | None:
    """The exact value of a constant that is one number."""
    attributes = linear.nodes[position].attributes
    if "value" in attributes:
        return rational(attributes["value"])
    if linear.nodes[position].numel != 1 or linear.nodes[position].op != "constant":
        return None
    return Fraction(float(linear.numbers(position).middle[0]))


def _gathered(w: Weights, where: np.ndarray, count: int) -> Weights:
    return Weights(w.factor, w.numbers.gathered(where, count))


def _merged(found: list[Weights]) -> Weights:
    """The sum of several weights of one node; equal factors and equal numbers are added exactly."""
    total = found[0]
    for w in found[1:]:
        total = _sum(total, w)
    return total


def _sum(v: Weights, w: Weights) -> Weights:
    if v.factor == 0 or w.factor == 0:
        return w if v.factor == 0 else v
    count = len(v.numbers.middle)
    exact = v.numbers.radius is None and w.numbers.radius is None
    if exact and np.array_equal(v.numbers.middle, w.numbers.middle):
        return Weights(v.factor + w.factor, v.numbers)
    where = np.tile(np.arange(count), 2)
    ratio = w.factor / v.factor
    if not Fraction(TINY) < abs(ratio) < Fraction(HUGE):
        raise Unsuited
    near = float(ratio)
    if Fraction(near) == ratio:
        other = w.numbers.times(Numbers(np.full(count, near)))
    else:
        other = w.numbers.times(Numbers(np.full(count, near), np.full(count, abs(near) * 2.0**-52)))
    return Weights(v.factor, joined([v.numbers, other]).gathered(where, count))


__all__ = ["Part", "Unsuited", "Weights", "split"]
