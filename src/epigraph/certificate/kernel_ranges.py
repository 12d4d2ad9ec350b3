"""Does the recorded interval of a node contain every value that its operands' recorded intervals allow?

Each check answers for the lower and for the upper end.  Arithmetic is compared exactly; elementary functions through
Arb balls; sums exactly; matrix products in float64 with the bound (n + 2) u on the rounding error of a sum of n
products (u = 2^-53), and in rational numbers where that does not decide.  Values are finite; 0 times no bound is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from flint import arb, ctx

from epigraph.certificate import layout
from epigraph.certificate.graph import Node
from epigraph.certificate.kernel_curves import least, quadrants, turn
from epigraph.certificate.kernel_ends import ends, piecewise_range
from epigraph.certificate.kernel_numbers import (
    INF,
    PRECISION,
    Array,
    at_least_product,
    at_least_sum,
    at_least_total,
    fraction,
    fraction_down,
    fraction_up,
    rounded_down,
    rounded_up,
)
from epigraph.certificate.kernel_products import contains_products
from epigraph.certificate.kernel_records import Record

Pair = tuple[bool, bool]
Check = Callable[[Node, Sequence[Record], Record], Pair]


def _all(mask: Any) -> bool:
    return bool(np.all(mask))


def _within(out: Record, lower: Array, upper: Array) -> Pair:
    """Do the recorded bounds enclose these bounds of the values?"""
    return _all(out.lower <= lower), _all(out.upper >= upper)


# arithmetic ----------------------------------------------------------------------------------------------------------


def _add(node: Node, x: Sequence[Record], out: Record) -> Pair:
    f, g = x
    return _all(at_least_sum(out.lower, f.lower, g.lower)), _all(at_least_sum(-out.upper, -f.upper, -g.upper))


def _neg(node: Node, x: Sequence[Record], out: Record) -> Pair:
    return _within(out, -x[0].upper, -x[0].lower)


def _mul(node: Node, x: Sequence[Record], out: Record) -> Pair:
    """A product is least and greatest at corners of the box of its factors."""
    f, g = x
    corners = [(a, b) for a in (f.lower, f.upper) for b in (g.lower, g.upper)]
    return (all(_all(at_least_product(out.lower, a, b)) for a, b in corners),
            all(_all(at_least_product(-out.upper, -a, b)) for a, b in corners))  # fmt: skip


def _div(node: Node, x: Sequence[Record], out: Record) -> Pair:
    """The same for x/y with y > 0 or y < 0; y = 0 gives no value.

    Where y takes both signs and x may be nonzero, the quotient may be any number.
    """
    f, g = x
    f_lower, f_upper, g_lower, g_upper, lower, upper = np.broadcast_arrays(
        f.lower, f.upper, g.lower, g.upper, out.lower, out.upper)  # fmt: skip
    turned = (g_upper <= 0) & (g_lower < 0)
    f_lower, f_upper = np.where(turned, -f_upper, f_lower), np.where(turned, -f_lower, f_upper)
    g_lower, g_upper = np.where(turned, -g_upper, g_lower), np.where(turned, -g_lower, g_upper)
    zero, mixed = (f_lower == 0) & (f_upper == 0), g_lower < 0
    low = _at_least_quotient(lower, f_lower, g_lower, g_upper)
    high = _at_least_quotient(-upper, -f_upper, g_lower, g_upper)
    low = np.where(zero, lower <= 0, np.where(mixed, lower == -INF, low))
    high = np.where(zero, upper >= 0, np.where(mixed, upper == INF, high))
    return _all(low), _all(high)


def _at_least_quotient(bound: Array, a: Array, y_lower: Array, y_upper: Array) -> Array:
    """bound <= a/y for all y in [y_lower, y_upper], y > 0, that is bound y <= a there."""
    ok = bound == -INF
    finite = np.where(ok, 0.0, bound)
    ok = ok | ((a > -INF) & (finite <= 0) & (a >= 0))
    y = np.where(finite > 0, y_upper, y_lower)  # where bound y is greatest
    possible = (a > -INF) & (y < INF)  # bound > 0 and y unbounded: a/y comes near 0
    safe = np.where(possible, a, 0.0), np.where(possible, y, 1.0)
    exact = at_least_product(-safe[0], -finite, safe[1])
    return ok | (possible & exact)


def _maximum(node: Node, x: Sequence[Record], out: Record) -> Pair:
    return _within(out, np.maximum(x[0].lower, x[1].lower), np.maximum(x[0].upper, x[1].upper))


# reductions ----------------------------------------------------------------------------------------------------------


def _sum(node: Node, x: Sequence[Record], out: Record) -> Pair:
    f, dims = x[0], node.attributes["dims"]
    if f.lower.ndim == 0 and f.upper.ndim == 0:
        count = float(math.prod(f.shape[d] for d in dims))
        return _all(at_least_product(out.lower, f.lower, count)), _all(at_least_product(-out.upper, -f.upper, count))
    return _total(f.lower, f, dims, out.lower, node), _total(-f.upper, f, dims, -out.upper, node)


def _total(values: Array, f: Record, dims: tuple[int, ...], bound: Array, node: Node) -> bool:
    """bound <= the sum of the values along the dimensions, for every entry."""
    if _all(bound == -INF):
        return True
    rows = layout.rows(np.broadcast_to(values, f.shape), dims)
    lines = rows.reshape(node.numel, rows.shape[-1]).tolist()
    bounds = np.broadcast_to(bound, node.shape).reshape(-1).tolist()
    return all(at_least_total(b, line) for b, line in zip(bounds, lines, strict=True))


def _amax(node: Node, x: Sequence[Record], out: Record) -> Pair:
    dims = tuple(node.attributes["dims"])
    return _within(
        out, *(v if v.ndim == 0 else np.broadcast_to(v, x[0].shape).max(axis=dims) for v in (x[0].lower, x[0].upper))
    )


def _sort(node: Node, x: Sequence[Record], out: Record) -> Pair:
    """The k-th entry does not fall when any entry rises."""
    f = x[0]
    return _within(
        out, *(v if v.ndim == 0 else np.sort(np.broadcast_to(v, f.shape), node.attributes["dim"])
               for v in (f.lower, f.upper))
    )  # fmt: skip


def _spectrum(node: Node, x: Sequence[Record], out: Record) -> Pair:
    """No larger in size than the largest sum of sizes along a row or column; singular values are not negative."""
    low, high = x[0].hull()
    bound = np.asarray(max(-low, high, 0.0))
    side = np.asarray(float(max(x[0].shape[-2:])))
    above = _all(at_least_product(-out.upper, -bound, side))
    below = _all(out.lower <= 0) if node.op == "svdvals" else False
    return below or _all(at_least_product(out.lower, -bound, side)), above


def _unbounded(node: Node, x: Sequence[Record], out: Record) -> Pair:
    return _all(out.lower == -INF), _all(out.upper == INF)


def _logsumexp(node: Node, x: Sequence[Record], out: Record) -> Pair:
    """Increasing in every entry."""
    f, dims = x[0], node.attributes["dims"]
    count = math.prod(f.shape[d] for d in dims)
    with ctx.workprec(PRECISION):
        return (_all(out.lower <= _log_totals(f.lower, f, dims, count, rounded_down, node, out.lower)),
                _all(out.upper >= _log_totals(f.upper, f, dims, count, rounded_up, node, out.upper)))  # fmt: skip


def _log_totals(values: Array, f: Record, dims: Any, count: int, rounded: Any, node: Node, wanted: Array) -> Array:
    if _all(np.isinf(wanted)):
        return wanted  # no bound is recorded
    if values.ndim == 0:
        return np.asarray(values) if np.isinf(values) else np.asarray(rounded(arb(float(values)) + arb(count).log()))
    rows = layout.rows(np.broadcast_to(values, f.shape), dims).reshape(node.numel, count)
    return np.array([_log_total(row, rounded) for row in rows.tolist()]).reshape(node.shape)


def _log_total(row: list[float], rounded: Any) -> float:
    top = max(row)
    if math.isinf(top):
        return top
    total = arb(0)
    for v in row:
        if v - top > -1e4:
            total += (arb(v) - arb(top)).exp()
        elif rounded is rounded_up:
            total += arb(-9_999).exp()  # v - top is rounded
    return rounded(arb(top) + total.log())


def _log_softmax(node: Node, x: Sequence[Record], out: Record) -> Pair:
    """At most 0, and x_i - L for L between the values of log-sum-exp at the lower and at the upper bounds."""
    f, dim = x[0], node.attributes["dim"]
    if f.shape[dim] == 1:
        return _within(out, np.asarray(0.0), np.asarray(0.0))
    rows = Node("logsumexp", node.inputs, {"dims": (dim,)}, f.shape[:dim] + f.shape[dim + 1 :], node.label)
    with ctx.workprec(PRECISION):
        least, most = (_log_totals(v, f, (dim,), f.shape[dim], rounded, rows, np.asarray(0.0))
                       for v, rounded in ((f.lower, rounded_down), (f.upper, rounded_up)))  # fmt: skip
    least, most = (v if v.ndim == 0 else np.expand_dims(v, dim) for v in (least, most))
    below = at_least_sum(out.lower, f.lower, -most)
    above = (out.upper >= 0) | at_least_sum(-out.upper, -f.upper, least)
    return _all(below), _all(above)


# functions of one variable -------------------------------------------------------------------------------------------


def _span(x: Record, out: Record) -> tuple[Array, Array]:
    """The operand's bounds per entry, or over all entries where the recorded result is uniform."""
    if out.lower.ndim == 0 and out.upper.ndim == 0:
        return tuple(np.asarray(v) for v in x.hull())  # type: ignore[return-value]
    return x.lower, x.upper


def _increasing(node: Node, x: Sequence[Record], out: Record) -> Pair:
    low, high = _span(x[0], out)
    return (_all(out.lower == -INF) or _all(out.lower <= ends(node, low)[0]),
            _all(out.upper == INF) or _all(out.upper >= ends(node, high)[1]))  # fmt: skip


def _valley(node: Node, x: Sequence[Record], out: Record) -> Pair:
    """Falls to its minimum near ``turn`` and rises after: least there or at an end, greatest at an end."""
    low, high = _span(x[0], out)
    below, above = (0.0, 0.0) if node.op == "elu" else turn(node.op)
    bottom = 0.0 if node.op == "elu" else least(node.op)
    (left, left_up), (right, right_up) = ends(node, low), ends(node, high)
    inside = (low <= above) & (high >= below)
    lower = np.where(inside, bottom, np.minimum(left, right))
    upper = np.maximum(left_up, right_up)
    if node.op in ("silu", "gelu", "mish"):
        upper = np.where(high <= 0, np.minimum(upper, 0.0), upper)
    return _within(out, lower, upper)


def _elu(node: Node, x: Sequence[Record], out: Record) -> Pair:
    return _increasing(node, x, out) if node.attributes["alpha"] >= 0 else _valley(node, x, out)


def _abs(node: Node, x: Sequence[Record], out: Record) -> Pair:
    f = x[0]
    inside = (f.lower <= 0) & (f.upper >= 0)
    sizes = np.abs(f.lower), np.abs(f.upper)
    return _within(out, np.where(inside, 0.0, np.minimum(*sizes)), np.maximum(*sizes))


def _exact(function: Callable[[Array], Array]) -> Check:
    def check(node: Node, x: Sequence[Record], out: Record) -> Pair:
        return _within(out, function(x[0].lower), function(x[0].upper))

    return check


def _power(node: Node, x: Sequence[Record], out: Record) -> Pair:
    """Through |x| for even p; odd p < 0 falls on either side of 0; x >= 0 only where p is no integer."""
    p = fraction(node.attributes["exponent"])
    low, high = _span(x[0], out)
    if p.denominator > 1:
        defined = high >= 0
        low, high = np.maximum(low, 0.0), np.maximum(high, 0.0)
        lower, upper = _ordered(node, low, high, rising=p > 0)
        return _all((out.lower <= lower) | ~defined), _all((out.upper >= upper) | ~defined)
    if p % 2 == 0:
        inside = (low <= 0) & (high >= 0)
        sizes = np.abs(low), np.abs(high)
        return _within(
            out, *_ordered(node, np.where(inside, 0.0, np.minimum(*sizes)), np.maximum(*sizes), rising=p >= 0)
        )
    if p > 0:
        return _within(out, *_ordered(node, low, high, rising=True))
    lower, upper = _ordered(node, low, high, rising=False)
    across, left = (low < 0) & (high > 0), (low < 0) & (high == 0)
    return _within(
        out, np.where(across | left, -INF, lower), np.where(across, INF, np.where(left, ends(node, low)[1], upper))
    )


def _ordered(node: Node, low: Array, high: Array, rising: bool) -> tuple[Array, Array]:
    first, last = (low, high) if rising else (high, low)
    return ends(node, first)[0], ends(node, last)[1]


def _piecewise(node: Node, x: Sequence[Record], out: Record) -> Pair:
    low, high = np.broadcast_arrays(*_span(x[0], out))
    pairs = zip(low.reshape(-1).tolist(), high.reshape(-1).tolist(), strict=True)
    found = [piecewise_range(node, a, b) for a, b in pairs]
    lower = np.array([v if isinstance(v, float) else fraction_down(v) for v, _ in found]).reshape(low.shape)
    upper = np.array([v if isinstance(v, float) else fraction_up(v) for _, v in found]).reshape(low.shape)
    return _within(out, lower, upper)


def _wave(node: Node, x: Sequence[Record], out: Record) -> Pair:
    """Between the values at the ends; 1 where the interval has a quadrant boundary 4k + 1, -1 where it has one 4k -

    1.
    """
    low, high = _span(x[0], out)
    first, last = quadrants(node.op, low)[1], quadrants(node.op, high)[0]  # the multiples of pi/2 inside
    unknown = ~(np.isfinite(first) & np.isfinite(last))
    with np.errstate(invalid="ignore"):
        peak = ~(np.floor((last - 1) / 4) * 4 + 1 < first) | unknown  # some 4k + 1 in [first, last]
        trough = ~(np.floor((last + 1) / 4) * 4 - 1 < first) | unknown  # some 4k - 1
    safe = np.where(np.isfinite(low) & ~unknown, low, 0.0), np.where(np.isfinite(high) & ~unknown, high, 0.0)
    (a, a_up), (b, b_up) = ends(node, safe[0]), ends(node, safe[1])
    lower = np.maximum(np.where(trough, -1.0, np.minimum(a, b)), -1.0)
    return _within(out, lower, np.minimum(np.where(peak, 1.0, np.maximum(a_up, b_up)), 1.0))


# entries that move, conditions ---------------------------------------------------------------------------------------


def _moved(arrange: Callable[[Node, Array, Sequence[Record]], Array]) -> Check:
    def check(node: Node, x: Sequence[Record], out: Record) -> Pair:
        return _within(out, *(v if v.ndim == 0 else arrange(node, v, x) for v in (x[0].lower, x[0].upper)))

    return check


def _taken(node: Node, value: Array, x: Sequence[Record]) -> Array:
    return np.take(value, np.asarray(x[1].data).astype(np.int64), axis=node.attributes["dim"])


def _concat(node: Node, x: Sequence[Record], out: Record) -> Pair:
    dim = node.attributes["dim"]
    return _within(
        out,
        *(np.concatenate([np.broadcast_to(getattr(f, side), f.shape) for f in x], dim) for side in ("lower", "upper")),
    )


def _same(node: Node, x: Sequence[Record], out: Record) -> Pair:
    """In the intervals of all operands that have been shown equal."""
    lower, upper = x[0].lower, x[0].upper
    for other in x[1:]:
        lower, upper = np.maximum(lower, other.lower), np.minimum(upper, other.upper)
    return _within(out, lower, upper)


def _where(node: Node, x: Sequence[Record], out: Record) -> Pair:
    c, f, g = x
    yes, no = c.lower > 0, c.upper <= 0
    lower = np.where(yes, f.lower, np.where(no, g.lower, np.minimum(f.lower, g.lower)))
    return _within(out, lower, np.where(yes, f.upper, np.where(no, g.upper, np.maximum(f.upper, g.upper))))


def _compare(node: Node, x: Sequence[Record], out: Record) -> Pair:
    f, g = x
    if node.attributes["relation"] == "lt":
        holds, fails = f.upper < g.lower, f.lower >= g.upper
    elif node.attributes["relation"] == "le":
        holds, fails = f.upper <= g.lower, f.lower > g.upper
    else:
        holds = (f.lower == f.upper) & (g.lower == g.upper) & (f.lower == g.lower)
        fails = (f.upper < g.lower) | (f.lower > g.upper)
    return _within(out, np.where(holds, 1.0, 0.0), np.where(fails, 0.0, 1.0))


CHECKS: Mapping[str, Check] = {
    "add": _add, "neg": _neg, "mul": _mul, "div": _div, "maximum": _maximum, "sum": _sum, "amax": _amax,
    "logsumexp": _logsumexp, "log_softmax": _log_softmax, "matmul": contains_products, "convolution": contains_products,
    **dict.fromkeys(("exp", "log", "sqrt", "sigmoid", "tanh", "softplus", "erf", "log_ndtr", "atan"), _increasing),
    **dict.fromkeys(("xlogx", "silu", "gelu", "mish"), _valley), "elu": _elu, "abs": _abs,
    "relu": _exact(lambda v: np.maximum(v, 0.0)), "sign": _exact(np.sign), "floor": _exact(np.floor), "power": _power,
    "piecewise": _piecewise, "sin": _wave, "cos": _wave,
    **dict.fromkeys(("reshape", "permute", "expand", "slice"), _moved(lambda node, v, x: layout.arrange(node, v))),
    "sort": _sort, "eigvalsh": _spectrum, "svdvals": _spectrum, "det": _unbounded, "take": _moved(_taken),
    "concat": _concat, "same": _same, "where": _where, "compare": _compare,
}  # fmt: skip


def contains_constant(record: Record, value: Fraction | None) -> bool:
    """Do the bounds enclose a rational scalar, or the finite entries of a constant tensor, exactly?"""
    if value is not None:
        low, high = record.hull()
        return _below(low, value) and _below(-high, -value)
    data = np.asarray(record.data)
    if data.dtype.kind in "iu" and data.size and max(abs(int(data.max())), abs(int(data.min()))) > 2**53:
        data = data.astype(object)
    elif data.dtype.kind == "f" and not np.isfinite(data).all():
        return False
    return _all(record.lower <= data) and _all(record.upper >= data)


def _below(bound: float, value: Fraction) -> bool:
    return bound == -INF or (bound < INF and Fraction(bound) <= value)
