"""Every node of a graph at one point, in Arb: written for these tests from the definitions, with no part of the package.

A value that is undefined, or not settled at the precision, is NaN: nothing is concluded from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from flint import arb, ctx, fmpq

from epigraph.objective.graph import Graph, Node

NAN = arb("nan")
ZERO, ONE = arb(0), arb(1)


def rational(text: str) -> arb:
    exact = Fraction(text)
    return arb(fmpq(exact.numerator, exact.denominator))


def defined(x: arb) -> arb:
    return x if x.is_finite() else NAN


def _log(x: arb) -> arb:
    return x.log() if x > 0 else NAN


def _sqrt(x: arb) -> arb:
    return x.sqrt() if x >= 0 else NAN


def _power(exponent: str) -> Callable[[arb], arb]:
    e = Fraction(exponent)

    def whole(x: arb) -> arb:
        if e < 0 and not (x > 0 or x < 0):
            return NAN
        out = ONE
        for _ in range(abs(int(e))):
            out = out * x
        return out if e > 0 else ONE / out

    def broken(x: arb) -> arb:
        if x == 0:
            return ZERO if e > 0 else NAN
        return (x.log() * rational(exponent)).exp() if x > 0 else NAN

    return whole if e.denominator == 1 else broken


def _softplus(x: arb) -> arb:
    return x + (-x).exp().log1p() if x > 0 else x.exp().log1p()


def _sigmoid(x: arb) -> arb:
    return ONE / (ONE + (-x).exp()) if x > 0 else x.exp() / (ONE + x.exp())


def _xlogx(x: arb) -> arb:
    return ZERO if x == 0 else x * x.log() if x > 0 else NAN


def _phi(x: arb) -> arb:
    return (-x / arb(2).sqrt()).erfc() / 2


def _sign(x: arb) -> arb:
    return ONE if x > 0 else -ONE if x < 0 else ZERO if x == 0 else NAN


def _floor(x: arb) -> arb:
    out = x.floor()
    return out if out.is_exact() else NAN


def _piecewise(knots: Sequence[str], pieces: Sequence[Sequence[str]]) -> Callable[[arb], arb]:
    places = [rational(k) for k in knots]

    def piece(i: int, x: arb) -> arb:
        total = ZERO
        for c in reversed(pieces[i]):
            total = total * x + rational(c)
        return total

    def call(x: arb) -> arb:
        first = sum(1 for k in places if x > k)
        last = sum(1 for k in places if not x < k)
        out = piece(first, x)
        for i in range(first + 1, last + 1):
            out = out.union(piece(i, x))
        return out

    return call


def _elu(alpha: str) -> Callable[[arb], arb]:
    def call(x: arb) -> arb:
        left = rational(alpha) * x.expm1()
        return x if x > 0 else left if x <= 0 else x.union(left)

    return call


def _maximum(x: arb, y: arb) -> arb:
    return x if x >= y else y if y >= x else x.max(y)


def _relation(name: str) -> Callable[[arb, arb], arb]:
    def call(x: arb, y: arb) -> arb:
        yes, no = {"lt": (x < y, x >= y), "le": (x <= y, x > y), "eq": (x == y, x < y or x > y)}[name]
        return ONE if yes else ZERO if no else NAN

    return call


def _where(c: arb, x: arb, y: arb) -> arb:
    return x if c == 1 else y if c == 0 else NAN


UNARY: dict[str, Callable[[arb], arb]] = {
    "neg": lambda x: -x,
    "exp": lambda x: x.exp(),
    "log": _log,
    "sqrt": _sqrt,
    "abs": lambda x: abs(x),
    "relu": lambda x: _maximum(x, ZERO),
    "sigmoid": _sigmoid,
    "tanh": lambda x: x.tanh(),
    "softplus": _softplus,
    "erf": lambda x: x.erf(),
    "log_ndtr": lambda x: _log(_phi(x)),
    "sin": lambda x: x.sin(),
    "cos": lambda x: x.cos(),
    "atan": lambda x: x.atan(),
    "xlogx": _xlogx,
    "silu": lambda x: x * _sigmoid(x),
    "gelu": lambda x: x * _phi(x),
    "mish": lambda x: x * _softplus(x).tanh(),
    "sign": _sign,
    "floor": _floor,
}
BINARY: dict[str, Callable[[arb, arb], arb]] = {
    "add": lambda x, y: x + y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y if x.is_finite() and (y > 0 or y < 0) else NAN,
    "maximum": _maximum,
}


def each(f: Callable[..., arb], *arrays: np.ndarray) -> np.ndarray:
    """f on the entries of broadcast arrays; NaN in, NaN out."""

    def call(*given: arb | int) -> arb:
        x = [v if isinstance(v, arb) else arb(v) for v in given]  # a sum of nothing is the int 0
        return defined(f(*x)) if all(v.is_finite() for v in x) else NAN

    return np.asarray(np.frompyfunc(call, len(arrays), 1)(*arrays), dtype=object)


def lift(array: np.ndarray) -> np.ndarray:
    out = np.empty(array.size, dtype=object)
    out[:] = [arb(v) for v in array.reshape(-1).tolist()]
    return out.reshape(array.shape)


def _fold(f: Callable[[list[arb]], arb], x: np.ndarray, axes: Sequence[int], shape: tuple[int, ...]) -> np.ndarray:
    kept = [d for d in range(x.ndim) if d not in axes]
    rows = x.transpose([*kept, *axes]).reshape(int(np.prod([x.shape[d] for d in kept], dtype=int)), -1)
    out = np.empty(len(rows), dtype=object)
    out[:] = [defined(f(list(r))) if all(v.is_finite() for v in r) else NAN for r in rows]
    return out.reshape(shape)


def _sum(row: list[arb]) -> arb:
    return sum(row, ZERO)


def _amax(row: list[arb]) -> arb:
    out = row[0]
    for v in row[1:]:
        out = _maximum(out, v)
    return out


def _log_sum_exp(row: list[arb]) -> arb:
    top = max(row, key=lambda v: float(v.mid())).mid()
    return top + _log(_sum([(v - top).exp() for v in row]))


def _matmul(x: np.ndarray, y: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    x, y = np.broadcast_to(x, (*shape[:-2], *x.shape[-2:])), np.broadcast_to(y, (*shape[:-2], *y.shape[-2:]))
    terms = each(lambda a, b: a * b, x[..., :, :, None], y[..., None, :, :])
    return _fold(_sum, terms, [terms.ndim - 2], shape)


def _convolution(x: np.ndarray, w: np.ndarray, node: Node) -> np.ndarray:
    a = node.attributes
    (stride,), (padding,), (dilation,) = a["stride"], a["padding"], a["dilation"]
    out = np.empty(node.shape, dtype=object)
    for n, o, i in np.ndindex(*node.shape):
        at = [i * stride + k * dilation - padding for k in range(w.shape[-1])]
        out[n, o, i] = _sum(
            [x[n, c, p] * w[o, c, k] for c in range(x.shape[1]) for k, p in enumerate(at) if 0 <= p < x.shape[2]]
        )
    return out


def _sort(x: np.ndarray, dim: int) -> np.ndarray:
    """By exchanges of neighbours, so that balls that overlap stay enclosures of the ranked entries."""
    rows = [list(row) for row in np.moveaxis(x, dim, -1).reshape(-1, x.shape[dim])]
    for row in rows:
        for last in range(len(row) - 1, 0, -1):
            for k in range(last):
                p, q = row[k], row[k + 1]
                both = p.is_finite() and q.is_finite()
                row[k], row[k + 1] = (-_maximum(-p, -q), _maximum(p, q)) if both else (NAN, NAN)
    out = np.empty(x.size, dtype=object)
    out[:] = [v for row in rows for v in row]
    return np.moveaxis(out.reshape(np.moveaxis(x, dim, -1).shape), -1, dim)


def _apply(node: Node, x: list[Any]) -> np.ndarray:
    op, a = node.op, node.attributes
    if op in UNARY:
        return each(UNARY[op], x[0])
    if op in BINARY:
        return each(BINARY[op], *x)
    special = {"power": ("exponent",), "piecewise": ("knots", "pieces"), "elu": ("alpha",)}
    if op in special:
        return each({"power": _power, "piecewise": _piecewise, "elu": _elu}[op](*(a[k] for k in special[op])), x[0])
    if op in ("sum", "amax", "logsumexp"):
        return _fold({"sum": _sum, "amax": _amax, "logsumexp": _log_sum_exp}[op], x[0], a["dims"], node.shape)
    if op == "log_softmax":
        shape = tuple(n for d, n in enumerate(node.shape) if d != a["dim"])
        return each(BINARY["add"], x[0], -np.expand_dims(_fold(_log_sum_exp, x[0], [a["dim"]], shape), a["dim"]))
    if op == "matmul":
        return _matmul(x[0], x[1], node.shape)
    if op == "convolution":
        return _convolution(x[0], x[1], node)
    if op == "where":
        return np.asarray(np.frompyfunc(_where, 3, 1)(*x), dtype=object)
    if op == "compare":
        return each(_relation(a["relation"]), *x)
    if op == "same":
        return x[0]
    if op == "sort":
        return _sort(x[0], a["dim"])
    return _layout(node, x)


def _layout(node: Node, x: list[Any]) -> np.ndarray:
    a = node.attributes
    if node.op == "reshape":
        return x[0].reshape(a["shape"])
    if node.op == "permute":
        return x[0].transpose(a["dims"])
    if node.op == "expand":
        return np.broadcast_to(x[0], a["shape"])
    if node.op == "slice":
        return x[0][(slice(None),) * a["dim"] + (slice(a["start"], a["stop"], a["step"]),)]
    if node.op == "take":
        return np.take(x[0], x[1], axis=a["dim"])
    return np.concatenate(x, axis=a["dim"])


def values(graph: Graph, point: Mapping[str, np.ndarray], bits: int = 192) -> list[np.ndarray]:
    """Every node, as arrays of balls; ``point`` holds floats or exact balls."""
    out: list[np.ndarray] = []
    with ctx.workprec(bits):
        for node in graph:
            if node.op == "parameter":
                value = point[node.attributes["name"]]
                out.append(value if value.dtype == object else lift(value))
            elif "value" in node.attributes:
                out.append(np.array(rational(node.attributes["value"]), dtype=object))
            elif node.op == "constant":
                leaf = graph.tensors[node.attributes["tensor"]]
                array = leaf.tensor.numpy()
                out.append(array if leaf.role == "index" else lift(array.astype(np.float64)))
            else:
                out.append(_apply(node, [out[i] for i in node.inputs]))
    return out


def midpoint(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The exact midpoint, as balls without radius."""
    with ctx.workprec(2200):
        return {k: each(lambda x, y: (x + y) / 2, lift(a[k]), lift(b[k])) for k in a}
