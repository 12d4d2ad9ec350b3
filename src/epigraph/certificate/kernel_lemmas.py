r"""The lemma table: what may be claimed of each node from the claims, intervals and carriers of its operands.

BV04 is Boyd and Vandenberghe, Convex Optimization.  f, g are operands, a and b two points of the box, m between them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from epigraph.certificate import contraction, layout
from epigraph.certificate.graph import Node
from epigraph.certificate.kernel_claims import (
    Claims,
    Mask,
    both,
    composed,
    constant,
    either,
    negative,
    scaled,
    unpacked,
    where,
)
from epigraph.certificate.kernel_curves import CURVES, NO, YES, Curve
from epigraph.certificate.kernel_numbers import fraction
from epigraph.certificate.kernel_records import Record

Lemma = Callable[[Node, Sequence[Record]], Claims]


# one variable --------------------------------------------------------------------------------------------------------


def curve(node: Node, x: Record) -> Curve:
    return CURVES[node.op](node, x.lower, x.upper)


def _elementwise(node: Node, x: Sequence[Record]) -> Claims:
    found = composed(curve(node, x[0]), x[0].claims)
    found = either(found, where(x[0].lower == x[0].upper, Claims(YES, YES, YES, YES)))  # one argument, one value
    return either(found, _THROUGH[node.op](node, x[0])) if node.op in _THROUGH else found


def _through_log(node: Node, x: Record) -> Claims:
    """log g is convex or concave: that is the definition of log-convex and log-concave."""
    return Claims(convex=x.claims.log_convex, concave=x.claims.log_concave)


def _through_sqrt(node: Node, x: Record) -> Claims:
    """sqrt g is convex by definition of root-convex; its logarithm is half that of g."""
    g = x.claims
    return Claims(convex=g.root_convex, log_convex=g.log_convex, log_concave=g.log_concave)


def _through_power(node: Node, x: Record) -> Claims:
    """log g^p = p log g; (sqrt g)^(2p) is convex and increasing in sqrt g for 2p >= 1, and (sqrt g)^p for p >= 1.

    The claims about log g and sqrt g say that g >= 0.
    """
    p, g = fraction(node.attributes["exponent"]), x.claims
    if p < 0:
        return Claims(log_convex=g.log_concave, log_concave=g.log_convex)
    return Claims(convex=g.root_convex & np.bool_(2 * p >= 1), log_convex=g.log_convex, log_concave=g.log_concave,
                  root_convex=g.root_convex & np.bool_(p >= 1))  # fmt: skip


def _through_abs(node: Node, x: Record) -> Claims:
    """|g| = g where g >= 0, by its interval or because a claim says so."""
    return where((x.lower >= 0) | x.claims.nonnegative, x.claims)


def _through_relu(node: Node, x: Record) -> Claims:
    """max(g, 0) = g where g >= 0, and 0 where g <= 0."""
    return either(_through_abs(node, x), where(x.upper <= 0, constant(YES)))


_THROUGH: Mapping[str, Callable[[Node, Record], Claims]] = {
    "log": _through_log, "sqrt": _through_sqrt, "power": _through_power, "abs": _through_abs,
    "relu": _through_relu,
}  # fmt: skip


# arithmetic ----------------------------------------------------------------------------------------------------------


def _add(node: Node, x: Sequence[Record]) -> Claims:
    """Inequalities add [BV04 3.2.1].

    log(e^u + e^v) is convex and increasing, so that log-convexity adds [BV04 3.5.2]; sqrt(u^2 + v^2) is convex and
    increasing in u, v >= 0, so that root-convexity adds.  A constant shift keeps the order of the three values.
    """
    f, g = x[0].claims, x[1].claims
    shift = np.bool_(not x[1].varies), np.bool_(not x[0].varies)
    return Claims(
        f.convex & g.convex, f.concave & g.concave, (f.quasiconvex & shift[0]) | (g.quasiconvex & shift[1]),
        (f.quasiconcave & shift[0]) | (g.quasiconcave & shift[1]), f.log_convex & g.log_convex, NO,
        f.root_convex & g.root_convex,
    )  # fmt: skip


def _neg(node: Node, x: Sequence[Record]) -> Claims:
    return negative(x[0].claims)


def _mul(node: Node, x: Sequence[Record]) -> Claims:
    """A constant factor scales; logarithms of factors add; factors that are functions of one entry: see below."""
    f, g = x
    if not f.varies:
        return scaled(g.claims, f.lower >= 0, f.upper <= 0)
    if not g.varies:
        return scaled(f.claims, g.lower >= 0, g.upper <= 0)
    logs = Claims(
        log_convex=f.claims.log_convex & g.claims.log_convex, log_concave=f.claims.log_concave & g.claims.log_concave
    )
    return either(logs, _of_one_entry(f, g))


def _of_one_entry(f: Record, g: Record) -> Claims:
    """f g = +- u v with u = |f| and v = |g|, where f and g keep their signs.

    With s the weight of a in m,

        s u(a) v(a) + (1-s) u(b) v(b) - (s u(a) + (1-s) u(b)) (s v(a) + (1-s) v(b)) = s(1-s) (u(a)-u(b)) (v(a)-v(b)),

    which is >= 0 where u and v move the same way (then u, v convex: u v convex), and <= 0 where they move in opposite
    ways (then u, v concave: u v concave).
    """
    alike, against = _directions(f, g)
    found = Claims()
    for f_sign, f_side in ((1, f.lower >= 0), (-1, f.upper <= 0)):
        for g_sign, g_side in ((1, g.lower >= 0), (-1, g.upper <= 0)):
            u = f.claims if f_sign > 0 else negative(f.claims)
            v = g.claims if g_sign > 0 else negative(g.claims)
            together, apart = (alike, against) if f_sign == g_sign else (against, alike)
            product = Claims(u.convex & v.convex & np.bool_(together), u.concave & v.concave & np.bool_(apart))
            found = either(found, where(f_side & g_side, product if f_sign == g_sign else negative(product)))
    return found


def _directions(f: Record, g: Record) -> tuple[bool, bool]:
    """Do f and g move the same way, or oppositely, as monotone functions of the same entry of one affine node?"""
    pairs = [(u, v) for u in f.carriers for v in g.carriers if u[0] == v[0]] if f.shape == g.shape else []
    alike = any((u[1] and v[1]) or (u[2] and v[2]) for u, v in pairs)
    return alike, any((u[1] and v[2]) or (u[2] and v[1]) for u, v in pairs)


def _div(node: Node, x: Sequence[Record]) -> Claims:
    """A constant divisor of one sign scales.  Otherwise g >= 0, and points with g = 0 have no value.

    u^2/g is convex in (u, g) with g > 0, increasing in u >= 0, decreasing in g: convex for u = sqrt f convex, g concave
    [BV04 3.2.6].  k/g is convex for a constant k >= 0 and g concave.  log f - log g.
    Where g > 0, f/g <= t is f - t g <= 0, and f/g >= t is t g - f <= 0: for f >= 0 only t >= 0 matters, for f <= 0 only
    t <= 0, and for affine f, g every t gives a half-space [BV04 3.4.1].  k/g is a monotone function of g.
    """
    f, g = x
    c, d = f.claims, g.claims
    if not g.varies:
        return where((g.lower > 0) | (g.upper < 0), scaled(c, g.lower > 0, g.upper < 0))
    above, below = f.lower >= 0, f.upper <= 0
    fixed = np.bool_(not f.varies)
    nonnegative = Claims(
        convex=(c.root_convex & d.concave) | (fixed & above & d.concave), concave=fixed & below & d.concave,
        log_convex=c.log_convex & d.log_concave, log_concave=c.log_concave & d.log_convex,
    )  # fmt: skip
    positive = Claims(
        quasiconvex=(c.affine & d.affine)
        | (above & c.convex & d.concave)
        | (below & c.convex & d.convex)
        | (fixed & above & d.quasiconcave)
        | (fixed & below & d.quasiconvex),
        quasiconcave=(c.affine & d.affine)
        | (above & c.concave & d.convex)
        | (below & c.concave & d.concave)
        | (fixed & above & d.quasiconvex)
        | (fixed & below & d.quasiconcave),
    )
    return either(where(g.lower >= 0, nonnegative), where(g.lower > 0, positive))


def _maximum(node: Node, x: Sequence[Record]) -> Claims:
    """The epigraph of max(f, g) is the intersection of both [BV04 3.2.3], and so are the sublevel sets.

    The same for log f and sqrt f, since log and sqrt increase.  Where f >= g on the whole box, max(f, g) = f.
    max(., k) is nondecreasing for a constant k.
    """
    f, g = x
    c = both(f.claims, g.claims)
    level = (f.claims.quasiconcave & np.bool_(not g.varies)) | (g.claims.quasiconcave & np.bool_(not f.varies))
    met = Claims(c.convex, NO, c.quasiconvex, level, c.log_convex, NO, c.root_convex)
    return either(met, either(where(f.lower >= g.upper, f.claims), where(g.lower >= f.upper, g.claims)))


# sums of products ----------------------------------------------------------------------------------------------------


def _contraction(node: Node, x: Sequence[Record]) -> Claims:
    """Each result is a sum of products c_j f_j.

    One factor constant: the products scale and add [BV04 3.2.1]: convex where each f_j is convex unless c_j <= 0, and
    concave unless c_j >= 0.  Both varying: products and sums of log-convex functions are log-convex.
    """
    if x[0].varies and x[1].varies:
        return Claims(log_convex=np.bool_(_all(x[0].claims.log_convex) and _all(x[1].claims.log_convex)))
    first = x[0].varies
    f, c = (x[0], x[1]) if first else (x[1], x[0])
    up, down = _all(c.lower >= 0), _all(c.upper <= 0)
    shared = Claims(*(np.bool_(_all(m)) for m in f.claims))
    kept = scaled(shared, np.bool_(up), np.bool_(down))
    simple = Claims(kept.convex, kept.concave, NO, NO, kept.log_convex, NO, kept.root_convex)
    hopeless = f.bits.ndim == 0 and not (shared.convex | shared.concave)
    if simple.convex or simple.concave or hopeless:
        return simple
    rises, falls = (_full(np.asarray(m, dtype=np.float32), c.shape) for m in (c.upper > 0, c.lower < 0))
    bent = [_full(np.asarray(~m, dtype=np.float32), f.shape) for m in (f.claims.convex, f.claims.concave)]

    def count(a: Any, b: Any) -> Any:
        return _product(node, a, b) if first else _product(node, b, a)

    convex = (count(bent[0], rises) == 0) & (count(bent[1], falls) == 0)
    concave = (count(bent[1], rises) == 0) & (count(bent[0], falls) == 0)
    return either(simple, Claims(convex=convex, concave=concave))


def _product(node: Node, a: Any, b: Any) -> Any:
    """The contraction of two arrays of zeros and ones in float32: a sum of such terms is zero only where all are."""
    if node.op == "matmul":
        return a @ b
    return contraction.convolution(np.matmul, 0.0, a, b, node.attributes, node.shape).astype(np.float32)


def _all(mask: Mask) -> bool:
    return bool(np.all(mask))


def _full(array: Any, shape: tuple[int, ...]) -> Any:
    return np.broadcast_to(array, shape)


# reductions ----------------------------------------------------------------------------------------------------------


def _reduction(node: Node, x: Sequence[Record]) -> Claims:
    """The claims that all entries share, as for ``add`` and ``maximum``; a single entry stays what it is.

    log sum e^u is convex and increasing in every u [BV04 3.1.5].
    """
    dims, f = tuple(node.attributes["dims"]), x[0]
    c = Claims(*(m if m.ndim == 0 else _full(m, f.shape).all(axis=dims) for m in f.claims))
    if math.prod(f.shape[d] for d in dims) == 1:
        return c
    if node.op == "sum":
        return Claims(c.convex, c.concave, NO, NO, c.log_convex, NO, c.root_convex)
    if node.op == "amax":
        return Claims(c.convex, NO, c.quasiconvex, NO, c.log_convex, NO, c.root_convex)
    return Claims(convex=c.convex)


def _log_softmax(node: Node, x: Sequence[Record]) -> Claims:
    """-log sum_j e^(u_j - u_i), which is concave for a concave u_i among convex u_j [BV04 3.1.5].

    One entry gives 0; two give a monotone function of u_j - u_i, which is quasilinear for affine ones.
    """
    dim, f = node.attributes["dim"], x[0]
    if f.shape[dim] == 1:
        return constant(YES)
    convex, concave = (_full(m, f.shape) for m in (f.claims.convex, f.claims.concave))
    bent = ~convex
    others = bent.sum(axis=dim, keepdims=True) - bent == 0
    line = (convex & concave).all(axis=dim, keepdims=True) & np.bool_(f.shape[dim] == 2)
    return Claims(concave=concave & others, quasiconvex=line, quasiconcave=line)


def _sort(node: Node, x: Sequence[Record]) -> Claims:
    """The last entry of a line is its maximum, the first one its minimum; those between have no claim of their own."""
    dim, f = node.attributes["dim"], x[0]
    if f.shape[dim] == 1:
        return f.claims
    c = Claims(*(_full(m, f.shape).all(axis=dim, keepdims=True) for m in f.claims))
    place = np.arange(f.shape[dim]).reshape([-1 if d == dim else 1 for d in range(len(f.shape))])
    last, first = place == f.shape[dim] - 1, place == 0
    return Claims(c.convex & last, c.concave & first, c.quasiconvex & last, c.quasiconcave & first, c.log_convex & last,
                  c.log_concave & first, c.root_convex & last)  # fmt: skip


def _spectrum(node: Node, x: Sequence[Record]) -> Claims:
    """Of an affine matrix the greatest eigenvalue and the greatest singular value are convex: v'Uv and |Uv| are in U."""
    place, last = np.arange(node.shape[-1]), node.shape[-1] - 1
    affine = np.bool_(_all(x[0].claims.affine))
    return Claims(convex=affine & (place == last), concave=affine & (place == 0) & np.bool_(node.op == "eigvalsh"))


# entries that move ---------------------------------------------------------------------------------------------------


def _layout(node: Node, x: Sequence[Record]) -> Claims:
    bits = x[0].bits
    return unpacked(bits if bits.ndim == 0 else layout.arrange(node, bits))


def _concat(node: Node, x: Sequence[Record]) -> Claims:
    return unpacked(np.concatenate([_full(f.bits, f.shape) for f in x], axis=node.attributes["dim"]))


def _take(node: Node, x: Sequence[Record]) -> Claims:
    bits = x[0].bits
    index = np.asarray(x[1].data).astype(np.int64)
    return unpacked(bits if bits.ndim == 0 else np.take(bits, index, axis=node.attributes["dim"]))


def _same(node: Node, x: Sequence[Record]) -> Claims:
    """The operands here are those that have been shown equal to the first one: claims of each hold for all."""
    found = x[0].claims
    for other in x[1:]:
        found = either(found, other.claims)
    return found


# conditions ----------------------------------------------------------------------------------------------------------


def _where(node: Node, x: Sequence[Record]) -> Claims:
    """A condition that is decided on the box selects one operand; one that does not vary selects one for all points."""
    c, f, g = x
    decided = either(where(c.lower > 0, f.claims), where(c.upper <= 0, g.claims))
    return decided if c.varies else either(decided, both(f.claims, g.claims))


def _compare(node: Node, x: Sequence[Record]) -> Claims:
    """The indicator of {f < g}, {f <= g} or {f = g}: log-concave for a convex set, quasiconvex for a convex complement.

    With f convex and g concave, or f quasiconvex and g constant, or f constant and g quasiconcave, the sets {f < g} and
    {f <= g} are convex; with the roles exchanged their complements {f >= g} and {f > g} are.
    """
    f, g = x[0].claims, x[1].claims
    free = np.bool_(not x[0].varies), np.bool_(not x[1].varies)
    below = (f.convex & g.concave) | (free[1] & f.quasiconvex) | (free[0] & g.quasiconcave)
    above = (f.concave & g.convex) | (free[1] & f.quasiconcave) | (free[0] & g.quasiconvex)
    if node.attributes["relation"] == "eq":
        return Claims(quasiconcave=below & above, log_concave=below & above)
    return Claims(quasiconvex=above, quasiconcave=below, log_concave=below)


LEMMAS: Mapping[str, Lemma] = {
    **dict.fromkeys(CURVES, _elementwise), "add": _add, "neg": _neg, "mul": _mul, "div": _div, "maximum": _maximum,
    "matmul": _contraction, "convolution": _contraction, "sum": _reduction, "amax": _reduction, "logsumexp": _reduction,
    "log_softmax": _log_softmax, "sort": _sort, "eigvalsh": _spectrum,
    "svdvals": _spectrum, "det": lambda node, x: Claims(), "reshape": _layout, "permute": _layout, "expand": _layout, "slice": _layout,
    "concat": _concat, "take": _take, "same": _same, "where": _where, "compare": _compare,
}  # fmt: skip
