r"""The chain rule to second order for every operator, in balls.

Beside its value x a node carries x' = d/ds x(theta + s u) for each direction u, and
x'' = d2/ds dt x(theta + s u + t w) for each pair (u, w), all at s = t = 0:

    (x y)'' = x'' y + x'_u y'_w + x'_w y'_u + x y''        f(x)'' = f'(x) x'' + f''(x) x'_u x'_w

An entry at which an operator has no second derivative (a kink, a tie, the end of a domain) becomes ``NAN`` in its value, whether or
not a direction moves it.  So a finite value at the output says that J is twice continuously differentiable around the point
in everything that varies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, final

import numpy as np
from flint import arb, arb_series

from epigraph.certificate import ballfunctions as bf
from epigraph.certificate import layout
from epigraph.certificate.balls import Balls, each, lift, undefined
from epigraph.certificate.germs import Unknown
from epigraph.certificate.graph import Node, Program
from epigraph.certificate.secondvalues import (
    NOWHERE,
    Part,
    Second,
    chosen,
    concatenated,
    each_slice,
    plus,
    raised,
    wide,
)
from epigraph.certificate.series import SeriesArithmetic

LINEAR = frozenset(("neg", "sum", "reshape", "permute", "expand", "slice", "same", "take"))
UNKNOWN = frozenset(("eigvalsh", "svdvals", "det"))  # operators that are not differentiated here
INVERSE: Mapping[str, Any] = {"exponent": "-1"}
Bilinear = Callable[[np.ndarray, np.ndarray], np.ndarray]


@final
class ChainRule:
    """The operators on values with derivatives; ``pairs`` are those of second derivatives, ``varying`` positions of nodes.

    ``obstacle`` is the label of the first node at which a second derivative was missing, and why.  ``ctx.cap`` must be 3.
    """

    def __init__(
        self,
        program: Program,
        tensors: Mapping[str, np.ndarray],
        pairs: Sequence[tuple[int, int]],
        varying: Sequence[int],
    ):
        self.balls = Balls(program, tensors)
        self.obstacle: tuple[str, str] | None = None
        self._i, self._j = (np.array([p[k] for p in pairs], np.int64) for k in (0, 1))
        self._varying, self._indicators = frozenset(varying), layout.indicators(program)
        self._series = SeriesArithmetic()

    def apply(self, node: Node, x: Sequence[Second]) -> Second:
        """The node from its operands, at least one of which varies."""
        if node.op in LINEAR:
            return x[0].mapped(lambda t: self.balls.apply(node, [t]))
        if node.op in UNKNOWN:
            return self._checked(node, Second(np.full(node.shape, bf.NAN, dtype=object)), "is not differentiated")
        rule = getattr(self, f"_{node.op}", None)
        return rule(node, *x) if rule is not None else self._curved(node, x[0], node.op, node.attributes)

    def _checked(self, node: Node, found: Second, why: str) -> Second:
        """The same value; the first node with entries that are no numbers is kept in words."""
        if self.obstacle is None and (missing := int(np.count_nonzero(undefined(lift(found.value))))):
            count = f", in {missing} of {found.value.size} entries" if found.value.size > 1 else ""
            self.obstacle = (node.label, why + count)
        return found

    # sums and products ------------------------------------------------------------------------------------------------
    def _add(self, node: Node, x: Second, y: Second) -> Second:
        first = plus(wide(x.first, node.shape), wide(y.first, node.shape))
        second = plus(wide(x.second, node.shape), wide(y.second, node.shape))
        return Second(self.balls.apply(node, [x.value, y.value]), first, second)

    def _concat(self, node: Node, *parts: Second) -> Second:
        return concatenated(parts, self.balls.apply(node, [p.value for p in parts]), node.attributes["dim"])

    def _mul(self, node: Node, x: Second, y: Second) -> Second:
        rank = len(node.shape)
        x, y = (Second(v.value, raised(v.first, rank), raised(v.second, rank)) for v in (x, y))
        return self._product(x, y, lambda a, b: np.asarray(lift(a) * lift(b), dtype=object))

    def _div(self, node: Node, x: Second, y: Second) -> Second:
        return self._mul(node, x, self._curved(node, y, "power", INVERSE))

    def _matmul(self, node: Node, x: Second, y: Second) -> Second:
        """One product of joined matrices where a factor is constant: that one is converted once."""
        if x.still:
            return y.joined(lambda t: self.balls.apply(node, [x.value, t]), -1)
        if y.still:
            return x.joined(lambda t: self.balls.apply(node, [t, y.value]), -2)
        return self._product(x, y, lambda a, b: self.balls.apply(node, [a, b]))

    def _convolution(self, node: Node, x: Second, w: Second) -> Second:
        return self._product(x, w, lambda a, b: self.balls.apply(node, [a, b]))

    def _product(self, x: Second, y: Second, f: Bilinear) -> Second:
        """The product rule for a bilinear f."""
        left, right = (lambda t: f(t, y.value)), (lambda t: f(x.value, t))
        first = plus(each_slice(x.first, left), each_slice(y.first, right))
        second = plus(each_slice(x.second, left), each_slice(y.second, right))
        if x.first is not None and y.first is not None:
            cross = []
            for i, j in zip(self._i.tolist(), self._j.tolist(), strict=True):
                part = f(x.first[i, ...], y.first[j, ...])
                cross.append(part + (part if i == j else f(x.first[j, ...], y.first[i, ...])))
            second = plus(second, np.stack(cross))
        return Second(f(x.value, y.value), first, second)

    # functions of one variable ----------------------------------------------------------------------------------------
    def _curved(self, node: Node, x: Second, op: str, attributes: Mapping[str, Any]) -> Second:
        found = [self._derivatives(op, attributes, v) for v in lift(x.value).reshape(-1).tolist()]
        value, slope, bend = (_array([p[k] for p in found], x.value.shape) for k in range(3))
        first = None if x.first is None else slope * x.first
        second = None if x.second is None else slope * x.second
        if x.first is not None:
            second = plus(second, bend * (x.first[self._i] * x.first[self._j]))
        return self._checked(node, Second(value, first, second), "is at a kink or at the end of its domain")

    def _derivatives(self, op: str, attributes: Mapping[str, Any], x: arb) -> tuple[arb, arb, arb]:
        """f, f' and f'' on a ball; no numbers where f is not smooth on all of it."""
        try:
            s = self._series.unary(op, attributes, arb_series([x, 1]))
            found = s[0], s[1], 2 * s[2]
            if x.is_finite() and all(v.is_finite() for v in found):
                return found
        except (Unknown, ZeroDivisionError, ValueError):
            pass
        return bf.NAN, bf.NAN, bf.NAN

    # locally constant functions and choices ---------------------------------------------------------------------------
    def _sign(self, node: Node, x: Second) -> Second:
        return self._checked(node, Second(each(_sign, x.value)), "jumps")

    def _floor(self, node: Node, x: Second) -> Second:
        return self._checked(node, Second(each(_floor, x.value)), "jumps")

    def _compare(self, node: Node, x: Second, y: Second) -> Second:
        below = bf.ZERO if node.attributes["relation"] == "eq" else bf.ONE
        value = each(lambda a, b: below if a < b else bf.ZERO if a > b else bf.NAN, x.value, y.value)
        return self._checked(node, Second(value), "compares two equal numbers")

    def _where(self, node: Node, c: Second, x: Second, y: Second) -> Second:
        value = lift(c.value)
        if node.inputs[0] in self._varying and node.inputs[0] not in self._indicators:
            value = np.full(c.value.shape, bf.NAN, dtype=object)
        side = np.broadcast_to(_array([_truth(v) for v in value.reshape(-1)], value.shape), node.shape)
        return self._checked(node, chosen(side, x, y), "has no value")

    def _maximum(self, node: Node, x: Second, y: Second) -> Second:
        side = each(lambda a, b: 1 if a > b else 0 if a < b else -1, x.value, y.value)
        return self._checked(node, chosen(side, x, y), "has two equal operands")

    def _amax(self, node: Node, x: Second) -> Second:
        dims = node.attributes["dims"]
        lines = layout.rows(lift(x.value), dims)
        lines = lines.reshape(-1, lines.shape[-1])
        best = np.array([_greatest(line) for line in lines.tolist()], np.int64)

        def taken(t: np.ndarray) -> np.ndarray:
            found = layout.rows(lift(t), dims).reshape(lines.shape)[np.arange(len(best)), best]
            return np.where(best >= 0, found, NOWHERE).reshape(node.shape)

        return self._checked(node, x.mapped(taken), "has two greatest entries")

    def _sort(self, node: Node, x: Second) -> Second:
        dim = node.attributes["dim"]
        lines = np.moveaxis(lift(x.value), dim, -1)
        orders = [_order(line) for line in lines.reshape(-1, lines.shape[-1]).tolist()]
        known = np.array([order is not None for order in orders], bool).reshape(*lines.shape[:-1], 1)
        index = np.array([order or range(lines.shape[-1]) for order in orders], np.int64).reshape(lines.shape)

        def moved(t: np.ndarray) -> np.ndarray:
            found = np.take_along_axis(np.moveaxis(lift(t), dim, -1), index, -1)
            return np.moveaxis(np.where(known, found, NOWHERE), -1, dim)

        return self._checked(node, x.mapped(moved), "has two equal entries")

    # log-sum-exp ------------------------------------------------------------------------------------------------------
    def _logsumexp(self, node: Node, x: Second) -> Second:
        dims = node.attributes["dims"]
        value = self.balls.apply(node, [x.value])
        share = each(arb.exp, layout.rows(lift(x.value), dims) - value[..., None])
        first, second = (each_slice(t, lambda t: layout.rows(t, dims)) for t in (x.first, x.second))
        return self._checked(node, Second(value, *self._averages(share, first, second)), "has no value")

    def _log_softmax(self, node: Node, x: Second) -> Second:
        """x minus its log-sum-exp."""
        dim = node.attributes["dim"]
        value = self.balls.apply(node, [x.value])
        first, second = (each_slice(t, lambda t: np.moveaxis(t, dim, -1)) for t in (x.first, x.second))
        averages = self._averages(np.moveaxis(each(arb.exp, value), dim, -1), first, second)
        first, second = (
            None if t is None else -np.broadcast_to(np.expand_dims(t, dim + 1), (len(t), *node.shape)) for t in averages
        )
        return self._checked(node, Second(value, plus(x.first, first), plus(x.second, second)), "has no value")

    def _averages(self, share: np.ndarray, first: Part, second: Part) -> tuple[Part, Part]:
        """L' = sum p x' and L'' = sum p (x'' + x'_u x'_w) - L'_u L'_w over the last axis, with p the softmax."""
        if first is None:
            return None, None if second is None else _total(share * second)
        mean = _total(share * first)
        inner = plus(second, first[self._i] * first[self._j])
        return mean, _total(share * inner) - mean[self._i] * mean[self._j]


def curved(op: str) -> bool:
    """Is the operator a function of one variable that is differentiated through power series?"""
    return op == "div" or not (op in LINEAR or op in UNKNOWN or hasattr(ChainRule, f"_{op}"))


def _array(values: Sequence[Any], shape: tuple[int, ...]) -> np.ndarray:
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out.reshape(shape)


def _total(t: np.ndarray) -> np.ndarray:
    return np.asarray(np.add.reduce(t, axis=-1), dtype=object)


def _sign(x: arb) -> arb:
    return bf.ONE if x > 0 else -bf.ONE if x < 0 else bf.NAN


def _floor(x: arb) -> arb:
    """The floor of a ball that no integer touches."""
    down = x.floor()
    return down if down.is_exact() and x > down and x < down + 1 else bf.NAN


def _truth(c: arb) -> int:
    return 1 if c == bf.ONE else 0 if c == bf.ZERO else -1


def _greatest(line: Sequence[arb]) -> int:
    """The place of the entry that is above all others, or -1."""
    if not all(v.is_finite() for v in line):
        return -1
    best = max(range(len(line)), key=lambda k: line[k].mid())
    return best if all(k == best or line[best] > v for k, v in enumerate(line)) else -1


def _order(line: Sequence[arb]) -> list[int] | None:
    """The order of entries of which no two overlap."""
    if not all(v.is_finite() for v in line):
        return None
    order = sorted(range(len(line)), key=lambda k: line[k].mid())
    return order if all(line[a] < line[b] for a, b in pairwise(order)) else None
