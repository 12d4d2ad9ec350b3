r"""Between which power means of f(a) and f(b) the value f(m) lies, worked out node by node from checked records.

M_r(u, v) = (s u^r + (1-s) v^r)^(1/r) for u, v >= 0, with M_0 = u^s v^(1-s), M_-inf = min, M_inf = max, and 0 for r <= 0
where u v = 0.  ``over`` = r says |f|(m) <= M_r and ``under`` = r says |f|(m) >= M_r, for an f of constant sign.  M_r does
not decrease with r, so the least ``over`` and the greatest ``under`` say most; None says nothing.

Nothing of this is in the file: the kernel derives it on the way and uses it for claims.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from epigraph.certificate.graph import Node
from epigraph.certificate.kernel_claims import Claims, negative
from epigraph.certificate.kernel_numbers import fraction
from epigraph.certificate.kernel_records import Record

INF = math.inf
Exponent = Fraction | float | None
MOVED = ("reshape", "permute", "expand", "slice", "take")


class Bounds(NamedTuple):
    """What is known of |f|, and the sign of f: 1, -1, or 0 where it is not known (then nothing else is)."""

    over: Exponent = None
    under: Exponent = None
    sign: int = 0


UNKNOWN = Bounds()


def claims(b: Bounds) -> Claims:
    """The claims that the bounds contain: over 1, 1/2, 0 are convexity of |f|, sqrt |f|, log |f|, and so on."""
    if not b.sign:
        return Claims()
    over = INF if b.over is None else b.over
    under = -INF if b.under is None else b.under
    found = Claims(
        np.bool_(b.over is not None and over <= 1), np.bool_(b.under is not None and under >= 1),
        np.bool_(b.over is not None), np.bool_(b.under is not None),
        np.bool_(b.over is not None and over <= 0), np.bool_(b.under is not None and under >= 0),
        np.bool_(b.over is not None and 2 * over <= 1),
    )  # fmt: skip
    return found if b.sign > 0 else negative(found)


def read(x: Record, derived: Bounds) -> Bounds:
    """What the claims of a record say, joined with what was derived for the node."""
    sign = _sign(x)
    if not x.varies:
        return Bounds(-INF, INF, sign) if sign else UNKNOWN
    c = Claims(*(np.bool_(np.all(m)) for m in x.claims))
    if c.nonnegative:
        sign = 1
    if not sign:
        return derived
    if sign < 0:
        c = negative(c)
    steps = (
        (c.log_convex, Fraction(0)),
        (c.root_convex, Fraction(1, 2)),
        (c.convex, Fraction(1)),
        (c.quasiconvex, INF),
    )
    falls = ((c.concave, Fraction(1)), (c.log_concave, Fraction(0)), (c.quasiconcave, -INF))
    over, under = next((r for said, r in steps if said), None), next((r for said, r in falls if said), None)
    return _together(Bounds(over, under, sign), derived)


def _sign(x: Record) -> int:
    return 1 if bool(np.all(x.lower >= 0)) else -1 if bool(np.all(x.upper <= 0)) else 0


def _together(b: Bounds, c: Bounds) -> Bounds:
    """Two statements about one function."""
    if not b.sign or not c.sign:
        return b if b.sign else c
    if b.sign != c.sign:
        return b
    return Bounds(_pick(min, b.over, c.over), _pick(max, b.under, c.under), b.sign)


def _pick(better: Callable[..., Fraction | float], r: Exponent, q: Exponent) -> Exponent:
    return q if r is None else r if q is None else better(r, q)


def _common(each: Sequence[Bounds]) -> Bounds:
    """What several functions of one sign share: for max, for a choice, for entries side by side."""
    if any(b.sign != each[0].sign for b in each):
        return UNKNOWN
    overs, unders = [b.over for b in each], [b.under for b in each]
    return Bounds(None if None in overs else max(r for r in overs if r is not None),
                  None if None in unders else min(r for r in unders if r is not None), each[0].sign)  # fmt: skip


def _summed(b: Bounds) -> Bounds:
    """Minkowski: M_r(f) + M_r(g) <= M_r(f + g) for r <= 1, >= for r >= 1; weaker bounds do not add."""
    over = b.over if b.over is not None and b.over <= 1 else None
    return Bounds(over, b.under if b.under is not None and b.under >= 1 else None, b.sign)


def _add(node: Node, x: Sequence[Record], b: Sequence[Bounds], out: Record) -> Bounds:
    """Sums of one sign; otherwise |f + g| = u - k with u >= k >= 0, u = (u - k) + k.

    r <= 1: (u - k)(m) >= M_r(u) - M_r(k) >= M_r(u - k).  r >= 1: (u - k)(m) <= M_r(u) - M_r(k) <= M_r(u - k).
    """
    f, g = b
    if f.sign == g.sign:
        return _summed(_common(b))
    sign = _sign(out)
    if not (f.sign and g.sign and sign):
        return UNKNOWN
    u, k = (f, g) if f.sign == sign else (g, f)
    over = under = None
    if u.under is not None and k.over is not None and k.over <= min(u.under, 1):
        under = min(u.under, Fraction(1))
    if u.over is not None and k.under is not None and k.under >= max(u.over, 1):
        over = max(u.over, Fraction(1))
    return Bounds(over, under, sign)


def _power(node: Node, x: Sequence[Record], b: Sequence[Bounds], out: Record) -> Bounds:
    """M_r(f)^e = M_(r/e)(f^e), and f -> f^e keeps or turns the order.  e < 0 needs f != 0 inside the box."""
    e = Fraction(1, 2) if node.op == "sqrt" else fraction(node.attributes["exponent"])
    f = b[0]
    if not f.sign and bool(np.all(x[0].claims.affine)) and e > 0 and e.denominator == 1 and e.numerator % 2 == 0:
        f = Bounds(Fraction(1), None, 1)  # |f| is convex, and f^e = |f|^e
    if not f.sign or e == 0 or (f.sign < 0 and e.denominator != 1):
        return UNKNOWN
    base = f if e > 0 else _inverse(x[0], f)
    sign = f.sign if e.denominator == 1 and e.numerator % 2 else 1
    return Bounds(_over(base.over, abs(e)), _over(base.under, abs(e)), sign)


def squared_difference(nodes: Sequence[Node], position: int, bounds: Callable[[int], Bounds]) -> Claims:
    """(u - v)^2 = u^2 - 2 u v + v^2 for u, v >= 0 with M_2 <= u, v <= M_2: u^2, v^2 are affine, u v >= M_1(u v) concave."""
    node = nodes[position]
    if node.op != "power" or fraction(node.attributes["exponent"]) != 2 or nodes[node.inputs[0]].op != "add":
        return Claims()
    terms = nodes[node.inputs[0]].inputs
    negative = [nodes[i].op == "neg" for i in terms]
    if sum(negative) != 1:
        return Claims()
    roots = [bounds(nodes[i].inputs[0] if minus else i) for i, minus in zip(terms, negative, strict=True)]
    fits = all(
        b.sign > 0 and b.over is not None and b.over <= 2 and b.under is not None and b.under >= 2 for b in roots
    )
    return Claims(convex=np.bool_(fits))


def determinant(size: int) -> Bounds:
    """Of positive semidefinite matrices A, B of size n: det(A + B)^(1/n) >= det(A)^(1/n) + det(B)^(1/n) (Minkowski)."""
    return Bounds(None, Fraction(1, size), 1)


def _over(r: Exponent, e: Fraction) -> Exponent:
    return r / e if isinstance(r, Fraction) else r


def _inverse(x: Record, f: Bounds) -> Bounds:
    """1/f: M_r(f) = 1 / M_-r(1/f).

    f has no zero inside: by its interval; or M_r <= f with r > 0, so that a zero inside a segment makes it zero at both
    ends; or f <= M_r with r <= 0, so that a zero at an end makes it zero inside.  In both cases J has no value anywhere.
    """
    away = bool(np.all(x.lower > 0) or np.all(x.upper < 0))
    if not (away or (f.under is not None and f.under > 0) or (f.over is not None and f.over <= 0)):
        return UNKNOWN
    return Bounds(None if f.under is None else -f.under, None if f.over is None else -f.over, f.sign)


def _times(f: Bounds, g: Bounds) -> Bounds:
    """The product; what bounds it from below is the reciprocal of what bounds 1/(f g) from above."""
    if not f.sign * g.sign:
        return UNKNOWN
    low = _hoelder(*(None if r is None else -r for r in (f.under, g.under)))
    return Bounds(_hoelder(f.over, g.over), None if low is None else -low, f.sign * g.sign)


def _hoelder(p: Exponent, q: Exponent) -> Exponent:
    """The least r with M_p(f) M_q(g) <= M_r(f g) for all f, g >= 0.

    p, q < 0: Hoelder for 1/f and 1/g, 1/r = 1/p + 1/q.  p = q = 0: equality, and M_p <= M_0 for p < 0.  p > 0 > q with
    1/r = 1/p + 1/q > 0: M_p(f) <= M_r(f g) M_-q(1/g), Hoelder for f = (f g)(1/g); r = inf where the sum is 0.  A factor
    with p = -inf is constant.
    """
    if p is None or q is None:
        return None
    if p > q:
        p, q = q, p
    if p == -INF:
        return q
    if q <= 0:
        return Fraction(0) if q == 0 else 1 / (1 / Fraction(p) + 1 / Fraction(q))
    if p >= 0 or q == INF:
        return None
    inverse = 1 / Fraction(p) + 1 / Fraction(q)
    return None if inverse < 0 else INF if inverse == 0 else 1 / inverse


Lemma = Callable[[Node, Sequence[Record], Sequence[Bounds], Record], Bounds]


def _maximum(node: Node, x: Sequence[Record], b: Sequence[Bounds], out: Record) -> Bounds:
    """max(f, g) is at most the larger of the means; max(-f, -g) = -min(f, g)."""
    found = _common(b)
    return found._replace(under=None) if found.sign > 0 else found._replace(over=None)


LEMMAS: Mapping[str, Lemma] = {
    "add": _add, "power": _power, "sqrt": _power, "maximum": _maximum, "amax": _maximum,
    "sum": lambda node, x, b, out: _summed(b[0]),
    "mul": lambda node, x, b, out: _times(*b),
    "div": lambda node, x, b, out: _times(b[0], _inverse(x[1], b[1])),
    **dict.fromkeys(("matmul", "convolution"), lambda node, x, b, out: _summed(_times(*b))),
    **dict.fromkeys(MOVED, lambda node, x, b, out: b[0]),
    "concat": lambda node, x, b, out: _common(b),
    "where": lambda node, x, b, out: UNKNOWN if x[0].varies else _common(b[1:]),
    "neg": lambda node, x, b, out: b[0]._replace(sign=-b[0].sign),
    "abs": lambda node, x, b, out: b[0]._replace(sign=abs(b[0].sign)),
    "same": lambda node, x, b, out: _joined(b),
}  # fmt: skip


def _joined(b: Sequence[Bounds]) -> Bounds:
    found = b[0]
    for other in b[1:]:
        found = _together(found, other)
    return found


# means of e^f ---------------------------------------------------------------------------------------------------------


def exponential(x: Record, derived: Bounds) -> Bounds:
    """What is known of e^f: by its own claims log e^f = f, M_0 from above for a convex f and from below for a concave one."""
    if not x.varies:
        return Bounds(-INF, INF, 1)
    own = Bounds(Fraction(0) if np.all(x.claims.convex) else None, Fraction(0) if np.all(x.claims.concave) else None, 1)
    return _together(own, derived)


def derive_exponential(
    node: Node, below: Sequence[Node], x: Sequence[Record], plain: Sequence[Bounds], derived: Sequence[Bounds]
) -> Bounds:
    """The bounds of e^f for the node f.

    e^log f = f for f > 0.  e^(f+g) = e^f e^g; for a sum of n entries with a bound M_r each, r/n, by Hoelder.  e^(c f) is a
    power.  The maximum, the sum of exponentials and 1 + e^f are maxima and sums of the exponentials.
    """
    e = [exponential(r, d) for r, d in zip(x, derived, strict=True)]
    if node.op == "log":
        found = read(x[0], plain[0])
        return found if found.sign > 0 else UNKNOWN
    if node.op in MOVED:
        return e[0]
    if node.op == "add":
        return _times(*e)
    if node.op == "neg":
        return _scaled(e[0], Fraction(-1))
    if node.op == "mul":
        for f, c in ((e[0], below[1]), (e[1], below[0])):
            if "value" in c.attributes:
                return _scaled(f, fraction(c.attributes["value"]))
        return UNKNOWN
    if node.op == "sum":
        n = math.prod(x[0].shape[d] for d in node.attributes["dims"])
        over, under = e[0].over, e[0].under
        return Bounds(over / n if n and over is not None and -INF < over <= 0 else None,
                      under / n if n and under is not None and INF > under >= 0 else None, 1)  # fmt: skip
    if node.op == "concat":
        return _common(e)
    if node.op in ("maximum", "amax"):
        return _common(e)._replace(under=None)
    if node.op == "logsumexp":
        return _summed(e[0])
    return _summed(_common((e[0], Bounds(-INF, INF, 1)))) if node.op == "softplus" else UNKNOWN


def _scaled(f: Bounds, c: Fraction) -> Bounds:
    """(e^f)^c."""
    if c == 0:
        return UNKNOWN
    if c < 0:
        f = Bounds(None if f.under is None else -f.under, None if f.over is None else -f.over, 1)
    return Bounds(_over(f.over, abs(c)), _over(f.under, abs(c)), 1)


def derive(node: Node, x: Sequence[Record], derived: Sequence[Bounds], out: Record) -> Bounds:
    """The bounds of a node from its operands' records and from what was derived for them."""
    if node.op not in LEMMAS or not out.varies:
        return UNKNOWN
    return LEMMAS[node.op](node, x, [read(r, d) for r, d in zip(x, derived, strict=True)], out)
