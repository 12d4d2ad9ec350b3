"""J and its gradient in balls, over a point or over all of a box, and the coefficients of the gradient's own derivative.

A result that is finite over a box of positive size says that J is twice continuously differentiable inside: every
operator is smooth on all of its argument's range, every locally constant one is constant there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from flint import arb, arb_series, ctx

from epigraph.certificate import ballfunctions as bf
from epigraph.certificate import layout
from epigraph.certificate.balls import Balls, lift
from epigraph.certificate.germs import Unknown
from epigraph.certificate.graph import Node, Program
from epigraph.certificate.reverse import ELEMENTWISE, STEPS, Gradient, NoGradient
from epigraph.certificate.series import SeriesArithmetic

EPS, TINY = 2.0**-52, 2.0**-480  # twice the unit of rounding; far above what underflow can lose
JETS = 3  # f, f' and f''

Tensors = Mapping[Any, np.ndarray]


@final
@dataclass(frozen=True, slots=True)
class Known:
    """Numbers x with |x - middle| <= radius, entry by entry."""

    middle: np.ndarray
    radius: np.ndarray


@final
@dataclass(frozen=True)
class Coefficients:
    """What ``vectors.hessian`` reads: factors by position, the slope of each curved node, and the masks of choices."""

    factors: Mapping[int, Known]
    slopes: Mapping[int, Known]
    masks: Mapping[int, np.ndarray]


@final
@dataclass(frozen=True)
class Evaluated:
    """J, its gradient by tensor (none: it is zero), and where they were asked for the coefficients."""

    value: arb
    slopes: Mapping[str, np.ndarray]
    coefficients: Coefficients


def known(values: np.ndarray, label: str) -> Known:
    """Balls, or exact numbers, as floats with radii.

    Raises:
        NoGradient: an entry is not finite.
    """
    if values.dtype != object and values.dtype.kind in "fb":
        return Known(values.astype(np.float64), np.broadcast_to(0.0, values.shape))
    few = values[
        (*(slice(0, 1) if step == 0 else slice(None) for step in values.strides), ...)
    ]  # repeated entries once
    flat = lift(few).reshape(-1).tolist()
    middle = np.array([float(v.mid()) for v in flat])
    radius = np.array([float((v - m).abs_upper()) for v, m in zip(flat, middle.tolist(), strict=True)])
    if not (np.isfinite(middle).all() and np.isfinite(radius).all()):
        raise NoGradient(f"{label} is not smooth here, or its enclosure is too wide")
    radius = radius * (1 + 4 * EPS) + TINY
    return Known(*(np.broadcast_to(t.reshape(few.shape), values.shape) for t in (middle, radius)))


def evaluate(
    gradient: Gradient, tensors: Tensors, point: Mapping[str, np.ndarray], bits: int, curved: bool
) -> Evaluated:
    """J and its gradient where the tensors of ``point`` (arrays of balls) take the place of those in ``tensors``.

    ``curved`` asks for coefficients as well.

    Raises:
        NoGradient: a kink, a jump or the end of a domain in the box.
    """
    cap = ctx.cap
    try:
        ctx.cap = JETS
        with ctx.workprec(bits):
            return _Run(gradient, {**tensors, **gradient.constants}, point, curved).run()
    finally:
        ctx.cap = cap


@final
class _Run:
    def __init__(self, gradient: Gradient, tensors: Tensors, point: Mapping[str, np.ndarray], curved: bool):
        self.gradient, self.tensors, self.point, self.curved = gradient, tensors, point, curved
        nodes = gradient.nodes
        self.balls = Balls(Program(nodes, gradient.value, tuple(range(len(nodes)))), tensors)
        self.series = SeriesArithmetic()
        self.jets: dict[int, dict[str, list[np.ndarray]]] = {}  # by position of the operand
        self.factors: dict[int, Known] = {}
        self.slopes: dict[int, Known] = {}
        self.masks: dict[int, np.ndarray] = {}
        self.wanted = _factors(gradient) if curved else frozenset()

    def run(self) -> Evaluated:
        g, values, last = self.gradient, {}, _last_uses(self.gradient)
        kept = {g.value, *g.slopes.values()}
        for position, node in enumerate(g.nodes):
            values[position] = self._value(position, node, values)
            if position in self.wanted:
                self.factors[position] = known(values[position], node.label)
            for done in last.get(position, ()):
                self.jets.pop(done, None)
                if done not in kept:
                    del values[done]
        slopes = {key: lift(values[position]) for key, position in g.slopes.items()}
        return Evaluated(
            lift(values[g.value]).reshape(-1)[0], slopes, Coefficients(self.factors, self.slopes, self.masks)
        )

    def _value(self, position: int, node: Node, values: Mapping[int, np.ndarray]) -> np.ndarray:
        if "value" in node.attributes:
            return self.balls.scalar(node.attributes["value"])
        if not node.inputs:
            key = node.attributes["tensor"]
            return self.point[key] if key in self.point else self.tensors[key]
        x = [values[i] for i in node.inputs]
        if node.op == "derivative" or (node.op in ELEMENTWISE and self.gradient.varies[position]):
            return self._elementwise(position, node, x[0])
        rule: Callable[..., np.ndarray] | None = getattr(self, f"_{node.op}", None)
        found = rule(node, *x) if rule else self.balls.apply(node, x[:1] if node.op == "take" else x)
        if node.op in STEPS:
            _require_exact(node, found)
        if node.op == "where" and self.curved:
            self.masks[position] = _mask(node, x[0])
        return found

    def _elementwise(self, position: int, node: Node, x: np.ndarray) -> np.ndarray:
        """f, or f' for a node ``derivative``; the next derivative is kept as its slope."""
        order = int(node.op == "derivative")
        op, attributes = (node.attributes["op"], node.attributes["of"]) if order else (node.op, node.attributes)
        jets, key = self.jets.setdefault(node.inputs[0], {}), f"{op} {sorted(attributes.items())}"
        if key not in jets:
            found = [self._jet(op, attributes, v) for v in lift(x).reshape(-1).tolist()]
            jets[key] = [_array([f[k] for f in found], x.shape) for k in range(JETS)]
        if self.curved and self.gradient.varies[position]:
            self.slopes[position] = known(jets[key][order + 1], node.label)
        return jets[key][order]

    def _jet(self, op: str, attributes: Mapping[str, Any], x: arb) -> tuple[arb, arb, arb]:
        """f, f' and f'' on a ball; no numbers where f is not smooth on all of it."""
        try:
            s = self.series.unary(op, attributes, arb_series([x, 1]))
            if x.is_finite():
                return bf.finite(s[0]), bf.finite(s[1]), bf.finite(2 * s[2])
        except (Unknown, ZeroDivisionError, ValueError):
            pass
        return bf.NAN, bf.NAN, bf.NAN

    # operators that the graphs of files do not have -------------------------------------------------------------------
    def _put(self, node: Node, x: np.ndarray, index: np.ndarray) -> np.ndarray:
        return put(lift(x), index, node, bf.ZERO)

    def _pad(self, node: Node, x: np.ndarray) -> np.ndarray:
        return pad(lift(x), node, bf.ZERO)

    def _greatest(self, node: Node, x: np.ndarray) -> np.ndarray:
        """1 at the entry that is above all others of its row."""
        dims = node.attributes["dims"]
        rest = tuple(d for d in range(x.ndim) if d not in dims)
        rows = layout.rows(lift(x), dims)
        out = np.full(rows.shape, bf.ZERO, dtype=object)
        for row, target in zip(rows.reshape(-1, rows.shape[-1]).tolist(), out.reshape(-1, rows.shape[-1]), strict=True):
            best = max(range(len(row)), key=lambda k: row[k].mid())
            target[best] = bf.ONE if all(k == best or row[best] > v for k, v in enumerate(row)) else bf.NAN
        order = (*rest, *dims)
        back = [order.index(d) for d in range(x.ndim)]
        return out.reshape([x.shape[d] for d in order]).transpose(back)


def put(x: np.ndarray, index: np.ndarray, node: Node, zero: Any, lead: int = 0) -> np.ndarray:
    """Row k of x added to row index[k] of zeros."""
    dim = node.attributes["dim"] + lead
    out = np.full((*x.shape[:lead], *node.shape), zero, dtype=x.dtype)
    np.add.at(np.moveaxis(out, dim, 0), index.astype(np.int64), np.moveaxis(x, dim, 0))
    return out


def pad(x: np.ndarray, node: Node, zero: Any, lead: int = 0) -> np.ndarray:
    """The transpose of a slice."""
    a = node.attributes
    out = np.full((*x.shape[:lead], *node.shape), zero, dtype=x.dtype)
    out[(slice(None),) * (lead + a["dim"]) + (slice(a["start"], a["stop"], a["step"]),)] = x
    return out


def _array(values: Sequence[Any], shape: tuple[int, ...]) -> np.ndarray:
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out.reshape(shape)


def _require_exact(node: Node, values: np.ndarray) -> None:
    if values.dtype == object and not all(v.is_finite() and v.is_exact() for v in values.reshape(-1).tolist()):
        raise NoGradient(f"{node.label} jumps, or is at a tie")


def _mask(node: Node, condition: np.ndarray) -> np.ndarray:
    entries = lift(condition).reshape(-1).tolist()
    if not all(v == bf.ONE or v == bf.ZERO for v in entries):
        raise NoGradient(f"{node.label} may choose either side")
    return np.array([v == bf.ONE for v in entries], bool).reshape(condition.shape)


def _factors(gradient: Gradient) -> frozenset[int]:
    """Positions whose values multiply a derivative: factors beside one that varies, and the shares of log-sum-exp."""
    found = set()
    for position, node in enumerate(gradient.nodes):
        if not gradient.varies[position]:
            continue
        if node.op in ("mul", "matmul"):
            x, y = node.inputs
            found |= {b for a, b in ((x, y), (y, x)) if gradient.varies[a]}
        elif node.op == "logsumexp":
            found.add(gradient.shares[position])
    return frozenset(found)


def _last_uses(gradient: Gradient) -> dict[int, list[int]]:
    """For each position, what is read there for the last time."""
    last: dict[int, int] = {}
    for position, node in enumerate(gradient.nodes):
        last |= dict.fromkeys(node.inputs, position)
    out: dict[int, list[int]] = {}
    for i, position in last.items():
        out.setdefault(position, []).append(i)
    return out
