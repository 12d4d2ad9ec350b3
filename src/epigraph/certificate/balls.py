"""Evaluation in Arb balls: object arrays of ``arb``; constants stay NumPy arrays until arithmetic needs them.

Every entry is a ball that contains the real value, or ``NAN`` where the value is undefined or the ball too wide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cmp_to_key
from typing import Any, final

import numpy as np
from flint import arb, arb_mat, fmpq

from epigraph.certificate import ballfunctions as bf
from epigraph.certificate import contraction, layout, spectra
from epigraph.certificate.graph import Node, Program
from epigraph.certificate.points import Dyadic

UNDECIDED = bf.hull(bf.ZERO, bf.ONE)


def lift(array: np.ndarray) -> np.ndarray:
    """A NumPy array of exact numbers as an array of exact balls."""
    if array.dtype == object:
        return array
    out = np.empty(array.size, dtype=object)
    out[:] = list(map(arb, array.ravel().tolist()))
    return out.reshape(array.shape)


def _wrap(value: Any) -> np.ndarray:
    return np.asarray(value, dtype=object)


def each(f: Callable[..., Any], *arrays: np.ndarray) -> np.ndarray:
    """f on the entries of broadcast arrays."""
    return _wrap(np.frompyfunc(f, len(arrays), 1)(*map(lift, arrays)))


def _divide(x: arb, y: arb) -> arb:
    return bf.finite(x / y) if y.is_finite() and (y > 0 or y < 0) else bf.NAN


def _less(x: arb, y: arb) -> arb:
    return bf.ONE if x < y else bf.ZERO if x >= y else _undecided(x, y)


def _less_equal(x: arb, y: arb) -> arb:
    return bf.ONE if x <= y else bf.ZERO if x > y else _undecided(x, y)


def _equal(x: arb, y: arb) -> arb:
    return bf.ONE if x == y else bf.ZERO if x < y or x > y else _undecided(x, y)


def _undecided(x: arb, y: arb) -> arb:
    return UNDECIDED if x.is_finite() and y.is_finite() else bf.NAN


RELATIONS = {"lt": _less, "le": _less_equal, "eq": _equal}


def _choose(certain: bool) -> Callable[[arb, arb, arb], arb]:
    def call(c: arb, x: arb, y: arb) -> arb:
        if c == bf.ONE:
            return x
        if c == bf.ZERO:
            return y
        return bf.finite(x.union(y)) if certain and c.is_finite() and x.is_finite() and y.is_finite() else bf.NAN

    return call


def _shifted_exponentials(row: list[arb]) -> tuple[arb, arb]:
    """An exact number c near the largest entry, and log sum exp(x - c); the same c must be added back."""
    c = max((x.mid() for x in row), key=lambda v: v)
    total = bf.ZERO
    for x in row:
        total = total + (x - c).exp()
    return c, bf.log(total) if total.is_finite() else bf.NAN


def _compared(x: Any, y: Any) -> int:
    """The order of two exact numbers."""
    return -1 if x < y else 1 if x > y else 0


def _sorted(row: list[arb]) -> list[arb]:
    if not all(x.is_finite() for x in row):
        return [bf.NAN] * len(row)
    order = cmp_to_key(_compared)
    if all(x.rad() == 0 for x in row):
        return sorted(row, key=order)
    lower, upper = (sorted(ends, key=order) for ends in ([x.lower() for x in row], [x.upper() for x in row]))
    return [low.union(high) for low, high in zip(lower, upper, strict=True)]


def undefined(array: np.ndarray) -> np.ndarray:
    """Where the entries are not finite; a stride-0 array of one False for constants, which always are."""
    if array.dtype != object:
        return np.broadcast_to(np.zeros((), dtype=bool), array.shape)
    return np.logical_not(np.asarray(np.frompyfunc(arb.is_finite, 1, 1)(array), dtype=bool))


def _replaced(array: np.ndarray, where: np.ndarray, value: arb) -> np.ndarray:
    """A copy of the array with ``value`` at some entries."""
    if not where.any():
        return array
    out = lift(array).copy()
    out[where] = value
    return out


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return contraction.oriented(arb_mat, a, b)


@final
class Balls:
    """The engine "arb" for one program; the precision is FLINT's global ``ctx.prec``."""

    def __init__(self, program: Program, tensors: Mapping[str, np.ndarray]):
        self._program, self._tensors = program, tensors
        self._indicators = layout.indicators(program)

    def leaf(self, value: np.ndarray | Dyadic) -> np.ndarray:
        if isinstance(value, np.ndarray):
            return value
        out = np.empty(value.mantissas.size, dtype=object)
        out[:] = [arb((m, value.exponent)) for m in value.mantissas.ravel().tolist()]
        return out.reshape(value.mantissas.shape)

    def scalar(self, value: fmpq) -> np.ndarray:
        return _wrap(arb(value))

    def result(self, value: np.ndarray) -> arb:
        return lift(value).reshape(-1)[0]

    def apply(self, node: Node, operands: list[np.ndarray]) -> np.ndarray:
        """The value of a node from the values of its operands."""
        if node.op in bf.FUNCTIONS:
            return each(bf.FUNCTIONS[node.op], operands[0])
        if node.op in layout.LAYOUT:
            return layout.arrange(node, operands[0])
        return getattr(self, f"_{node.op}")(node, *operands)

    def _take(self, node: Node, x: np.ndarray) -> np.ndarray:
        return layout.take(self._program, node, x, self._tensors)

    def _concat(self, node: Node, *parts: np.ndarray) -> np.ndarray:
        return np.concatenate([lift(p) for p in parts], axis=node.attributes["dim"])

    def _neg(self, node: Node, x: np.ndarray) -> np.ndarray:
        return np.asarray(-x) if x.dtype.kind == "f" else _wrap(-lift(x))

    def _add(self, node: Node, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return _wrap(lift(x) + lift(y))

    def _mul(self, node: Node, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if node.inputs[0] == node.inputs[1]:
            return each(bf.square, x)
        return _wrap(lift(x) * lift(y))

    def _div(self, node: Node, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return each(_divide, x, y)

    def _maximum(self, node: Node, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return each(arb.max, x, y)

    def _compare(self, node: Node, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return each(RELATIONS[node.attributes["relation"]], x, y)

    def _where(self, node: Node, c: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return each(_choose(node.inputs[0] in self._indicators), c, x, y)

    def _power(self, node: Node, x: np.ndarray) -> np.ndarray:
        return each(bf.power(node.attributes["exponent"]), x)

    def _elu(self, node: Node, x: np.ndarray) -> np.ndarray:
        return each(bf.elu(node.attributes["alpha"]), x)

    def _piecewise(self, node: Node, x: np.ndarray) -> np.ndarray:
        return each(bf.piecewise(node.attributes["knots"], node.attributes["pieces"]), x)

    def _sum(self, node: Node, x: np.ndarray) -> np.ndarray:
        entries = layout.rows(lift(x), node.attributes["dims"])
        if entries.shape[-1] == 0:
            return _wrap(np.full(node.shape, bf.ZERO, dtype=object))
        return _wrap(np.add.reduce(entries, axis=-1))

    def _amax(self, node: Node, x: np.ndarray) -> np.ndarray:
        return _wrap(np.frompyfunc(arb.max, 2, 1).reduce(layout.rows(lift(x), node.attributes["dims"]), axis=-1))

    def _logsumexp(self, node: Node, x: np.ndarray) -> np.ndarray:
        entries = layout.rows(lift(x), node.attributes["dims"])
        out = np.empty(node.numel, dtype=object)
        for i, row in enumerate(entries.reshape(node.numel, entries.shape[-1]).tolist()):
            shift, logarithm = _shifted_exponentials(row)
            out[i] = logarithm + shift
        return out.reshape(node.shape)

    def _log_softmax(self, node: Node, x: np.ndarray) -> np.ndarray:
        moved = np.moveaxis(lift(x), node.attributes["dim"], -1)
        out = np.empty(moved.shape, dtype=object)
        lines, sources = out.reshape(-1, moved.shape[-1]), moved.reshape(-1, moved.shape[-1])
        for i, row in enumerate(sources.tolist()):
            shift, logarithm = _shifted_exponentials(row)
            lines[i] = [(v - shift) - logarithm for v in row]
        return np.moveaxis(out, -1, node.attributes["dim"])

    def _sort(self, node: Node, x: np.ndarray) -> np.ndarray:
        """The k-th entry lies between the k-th of all lower ends and the k-th of all upper ends."""
        dim = node.attributes["dim"]
        moved = np.moveaxis(lift(x), dim, -1)
        out = np.empty(moved.shape, dtype=object)
        lines, sources = out.reshape(-1, moved.shape[-1]), moved.reshape(-1, moved.shape[-1])
        for i, row in enumerate(sources.tolist()):
            lines[i] = _sorted(row)
        return np.moveaxis(out, -1, dim)

    def _eigvalsh(self, node: Node, x: np.ndarray) -> np.ndarray:
        matrices = lift(x)
        return self._spectra(node, _wrap((matrices + matrices.swapaxes(-1, -2)) / 2), spectra.eigenvalues)

    def _svdvals(self, node: Node, x: np.ndarray) -> np.ndarray:
        wide = lift(x) if x.shape[-2] <= x.shape[-1] else lift(x).swapaxes(-1, -2)
        return self._spectra(node, wide, spectra.singular_values)

    def _det(self, node: Node, x: np.ndarray) -> np.ndarray:
        out = np.empty(node.numel, dtype=object)
        for i, matrix in enumerate(lift(x).reshape(-1, *x.shape[-2:]).tolist()):
            known = all(v.is_finite() for row in matrix for v in row)
            out[i] = bf.finite(arb_mat(matrix).det()) if known else bf.NAN
        return out.reshape(node.shape)

    def _spectra(self, node: Node, matrices: np.ndarray, values: Callable[[Any], Any]) -> np.ndarray:
        out = np.empty(node.shape, dtype=object)
        lines = out.reshape(-1, node.shape[-1])
        for i, matrix in enumerate(matrices.reshape(-1, *matrices.shape[-2:])):
            rows = matrix.tolist()
            found = values(rows) if all(v.is_finite() for row in rows for v in row) else None
            lines[i] = [bf.NAN] * node.shape[-1] if found is None else _sorted(found)
        return out

    def _matmul(self, node: Node, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        left, right = undefined(a), undefined(b)
        if not left.any() and not right.any():
            return contraction.matmul(_product, bf.ZERO, a, b)
        out = contraction.matmul(_product, bf.ZERO, _replaced(a, left, bf.ZERO), _replaced(b, right, bf.ZERO))
        rows, columns = left.any(axis=-1, keepdims=True), right.any(axis=-2, keepdims=True)
        return _replaced(out, np.broadcast_to(rows | columns, out.shape), bf.NAN)

    def _convolution(self, node: Node, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        if undefined(x).any() or undefined(w).any():
            return np.full(node.shape, bf.NAN, dtype=object)
        zero = bf.ZERO if x.dtype == object else 0
        return contraction.convolution(_product, zero, x, w, node.attributes, node.shape)
