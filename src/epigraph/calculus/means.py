r"""Power means: how far f lies below, or above, the means of its values at two points.

For u, v >= 0 and a weight s let M_r(u, v) = (s u^r + (1-s) v^r)^(1/r), the geometric mean for r = 0, the minimum and the
maximum for r = -inf and inf; for r <= 0 it is 0 where u or v is.  M_r increases with r [Hardy, Littlewood, Polya 2.9].
With f >= 0 and m = s a + (1-s) b a fact says

    upper = r    f(m) <= M_r(f(a), f(b)): f^r is convex for r > 0, log f for r = 0, f^r concave for r < 0
    lower = r    f(m) >= M_r(f(a), f(b)): the opposite

("r-convex" in [Avriel 1972]).  So upper = 1 is convex, 1/2 root-convex, 0 log-convex, inf quasiconvex; a constant has
upper = -inf and lower = inf.  The rules are the inequalities of the means:

    powers      M_r(f)^e = M_(r/e)(f^e); a power e < 0 turns the inequality round
    sums        M_r(f + g) >= M_r(f) + M_r(g) for r <= 1, <= for r >= 1 (Minkowski): upper <= 1 and lower >= 1 add
    differences by the same: f - k >= 0 has lower = r where f has, r <= 1 and k has upper = r; upper = r >= 1 likewise
    products    M_p(f) M_q(g) and M_r(f g) with 1/r = 1/p + 1/q are ordered by Hoelder's inequality
    maxima      the larger upper holds for both; minima the smaller lower

The means of e^f are followed as well: sums of f multiply e^f, multiples of f are powers of it, log undoes and exp reads
it, so that exp(mean(log x)) is the geometric mean that it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from epigraph.calculus.interval import Interval
from epigraph.calculus.lattice import (
    AFFINE,
    CONCAVE,
    CONVEX,
    LOGCONCAVE,
    LOGCONVEX,
    QCONCAVE,
    QCONVEX,
    ROOTCONVEX,
    Bits,
    Facts,
    Means,
    negate,
    uniform,
)
from epigraph.objective.graph import Node

INF = math.inf
Order = Fraction | float | None  # a Fraction, or an infinite float
NOTHING = Means()
KEPT = frozenset(("reshape", "permute", "expand", "slice", "take"))


def means_of(f: Facts) -> Means:
    """The best of what was carried along and of what the claims say."""
    sign = 1 if _all(f.interval.nonnegative) else -1 if _all(f.interval.nonpositive) else 0
    if not f.varies:
        return Means(-INF, INF, sign) if sign else NOTHING
    bits = uniform(f.bits)
    if bits & (LOGCONVEX | LOGCONCAVE | ROOTCONVEX):
        sign = 1
    if sign == 0:
        return f.means
    plain = bits if sign > 0 else int(negate(bits))
    upper = _first((plain & LOGCONVEX, Fraction(0)), (plain & ROOTCONVEX, Fraction(1, 2)), (plain & CONVEX, Fraction(1)),
                   (plain & QCONVEX, INF))  # fmt: skip
    lower = _first((plain & CONCAVE, Fraction(1)), (plain & LOGCONCAVE, Fraction(0)), (plain & QCONCAVE, -INF))
    return _best(f.means, Means(upper, lower, sign)) if f.means.sign == sign else Means(upper, lower, sign)


def _first(*pairs: tuple[int, Order]) -> Order:
    return next((order for known, order in pairs if known), None)


def bits_of(f: Means) -> Bits:
    """The claims that the means say."""
    if f.sign == 0:
        return 0
    bits = 0
    if f.upper is not None:
        bits |= QCONVEX | (CONVEX if f.upper <= 1 else 0)
        bits |= (ROOTCONVEX if f.upper <= Fraction(1, 2) else 0) | (LOGCONVEX if f.upper <= 0 else 0)
    if f.lower is not None:
        bits |= QCONCAVE | (CONCAVE if f.lower >= 1 else 0) | (LOGCONCAVE if f.lower >= 0 else 0)
    return bits if f.sign > 0 else negate(bits)


def after(node: Node, x: Sequence[Facts], out: Interval) -> Means:
    """The means of a node from those of its operands and from its interval."""
    op = node.op
    if op in KEPT:
        return means_of(x[0])
    if op in ("sqrt", "power"):
        return _power(x[0], Fraction(1, 2) if op == "sqrt" else Fraction(node.attributes["exponent"]))
    if op == "same":
        found = [means_of(f) for f in x]
        best = found[0]
        for other in found[1:]:
            best = _best(best, other) if other.sign == best.sign else best if best.sign else other
        return best
    if op == "where":
        return NOTHING if x[0].varies else _weakest([means_of(f) for f in x[1:]])
    if op == "concat":
        return _weakest([means_of(f) for f in x])
    if op in ("maximum", "amax"):
        return _maximum([means_of(f) for f in x])
    if op == "add":
        return _sum(means_of(x[0]), means_of(x[1]), out)
    if op == "sum":
        return _added(means_of(x[0]))
    if op in ("mul", "matmul", "convolution"):
        found = _product(means_of(x[0]), means_of(x[1]))
        return found if op == "mul" else _added(found)
    if op == "exp":
        return exponentials_of(x[0])
    if op == "div":
        return _product(means_of(x[0]), _reciprocal(x[1]))
    if op == "neg":
        found = means_of(x[0])
        return found._replace(sign=-found.sign)
    return means_of(x[0])._replace(sign=1) if op == "abs" and means_of(x[0]).sign else NOTHING


def exponentials_of(f: Facts) -> Means:
    """The means of e^f, from the claims where nothing better is known."""
    if not f.varies:
        return Means(-INF, INF, 1)
    plain = Means(Fraction(0) if f.has(CONVEX) else None, Fraction(0) if f.has(CONCAVE) else None, 1)
    return _best(plain, f.exponentials) if f.exponentials.sign else plain


def logarithms(node: Node, x: Sequence[Facts], below: Sequence[Node]) -> Means:
    """The means of e^f for the node f, where its operator says more than the claims."""
    op = node.op
    if op == "log":
        found = means_of(x[0])
        return found if found.sign > 0 else NOTHING
    if op in KEPT:
        return exponentials_of(x[0])
    if op == "add":
        return _product(*map(exponentials_of, x))
    if op == "neg":
        return _turned(exponentials_of(x[0]))
    if op == "mul":
        exact = [n.attributes.get("value") for n in below]
        pairs = ((x[0], exact[1]), (x[1], exact[0]))
        return next((_raised(exponentials_of(f), Fraction(c)) for f, c in pairs if c is not None), NOTHING)
    if op == "sum":
        return _multiplied(exponentials_of(x[0]), math.prod(below[0].shape[d] for d in node.attributes["dims"]))
    if op == "concat":
        return _weakest([exponentials_of(f) for f in x])
    if op in ("maximum", "amax"):
        return _maximum([exponentials_of(f) for f in x])
    if op == "logsumexp":
        return _added(exponentials_of(x[0]))
    if op == "softplus":
        return _added(_weakest((Means(-INF, INF, 1), exponentials_of(x[0]))))
    return NOTHING


def _multiplied(f: Means, count: int) -> Means:
    """A product of several functions that share these means."""
    lower = f.lower / count if isinstance(f.lower, Fraction) and f.lower >= 0 and count else None
    upper = f.upper / count if isinstance(f.upper, Fraction) and f.upper <= 0 and count else None
    return Means(upper, lower, 1)


def _raised(f: Means, e: Fraction) -> Means:
    """(e^f)^e for an exact number e."""
    if e == 0:
        return NOTHING
    found = f if e > 0 else _turned(f)
    return Means(_divided(found.upper, abs(e)), _divided(found.lower, abs(e)), 1)


def determinant(size: int) -> Means:
    """det^(1/n) is concave on positive semidefinite matrices, by Minkowski [Horn and Johnson 7.8.21]."""
    return Means(None, Fraction(1, size), 1)


def _best(f: Means, g: Means) -> Means:
    """Both are known of one function."""
    uppers, lowers = [v for v in (f.upper, g.upper) if v is not None], [v for v in (f.lower, g.lower) if v is not None]
    return Means(min(uppers, default=None), max(lowers, default=None), f.sign)


def _weakest(each: Sequence[Means]) -> Means:
    """What all of several functions of one sign have."""
    if len({f.sign for f in each}) != 1:
        return NOTHING
    uppers, lowers = [f.upper for f in each], [f.lower for f in each]
    return Means(_greatest(uppers), _least(lowers), each[0].sign)


def _greatest(orders: Sequence[Order]) -> Order:
    return None if None in orders else max(v for v in orders if v is not None)


def _least(orders: Sequence[Order]) -> Order:
    return None if None in orders else min(v for v in orders if v is not None)


def _maximum(each: Sequence[Means]) -> Means:
    """max(f, g) <= max of the means; max(-f, -g) = -min(f, g)."""
    found = _weakest(each)
    return found._replace(lower=None) if found.sign > 0 else found._replace(upper=None)


def _added(f: Means) -> Means:
    """A sum of functions of one sign that share these means."""
    return Means(f.upper if f.upper is not None and f.upper <= 1 else None,
                 f.lower if f.lower is not None and f.lower >= 1 else None, f.sign)  # fmt: skip


def _sum(f: Means, g: Means, out: Interval) -> Means:
    if f.sign * g.sign > 0:
        return _added(_weakest((f, g)))
    if f.sign * g.sign == 0:
        return NOTHING
    sign = 1 if _all(out.nonnegative) else -1 if _all(out.nonpositive) else 0
    large, small = (f, g) if f.sign == sign else (g, f)
    return _difference(large, small)._replace(sign=sign) if sign else NOTHING


def _difference(f: Means, k: Means) -> Means:
    """f - k >= 0."""
    lower = None if f.lower is None else min(f.lower, Fraction(1))
    upper = None if f.upper is None else max(f.upper, Fraction(1))
    return Means(upper if upper is not None and k.lower is not None and upper <= k.lower else None,
                 lower if lower is not None and k.upper is not None and lower >= k.upper else None)  # fmt: skip


def square_of_difference(nodes: Sequence[Node], node: Node, facts: Sequence[Facts]) -> bool:
    """(f - g)^2 = f^2 + g^2 - 2 f g is convex where f^2 and g^2 are, and f g is concave: f, g with upper = lower = 2."""
    if node.op != "power" or node.attributes["exponent"] != "2" or nodes[node.inputs[0]].op != "add":
        return False
    a, b = nodes[node.inputs[0]].inputs
    roots = [nodes[i].inputs[0] if nodes[i].op == "neg" else i for i in (a, b)]
    found = [means_of(facts[i]) for i in roots]
    opposite = (nodes[a].op == "neg") is not (nodes[b].op == "neg")
    return opposite and all(f.sign > 0 and _within_two(f) for f in found)


def _within_two(f: Means) -> bool:
    return f.upper is not None and f.lower is not None and f.upper <= 2 <= f.lower


def _power(f: Facts, e: Fraction) -> Means:
    found = means_of(f)
    if found.sign == 0 and f.has(AFFINE) and e > 0 and e % 2 == 0:
        found = Means(Fraction(1), None, 1)  # |f|
    if found.sign == 0 or e == 0 or (found.sign < 0 and e.denominator > 1):
        return NOTHING
    sign = -1 if found.sign < 0 and e % 2 == 1 else 1
    if e < 0:
        found, e = _turned(found) if _never_zero(f, found) else NOTHING, -e
    return Means(_divided(found.upper, e), _divided(found.lower, e), sign)


def _divided(order: Order, e: Fraction) -> Order:
    return order / e if isinstance(order, Fraction) else order


def _turned(f: Means) -> Means:
    """1/f."""
    return Means(None if f.lower is None else -f.lower, None if f.upper is None else -f.upper, f.sign)


def _reciprocal(f: Facts) -> Means:
    found = means_of(f)
    return _turned(found) if _never_zero(f, found) else NOTHING


def _never_zero(f: Facts, found: Means) -> bool:
    """Away from zero; or a positive power of it is concave, so that it vanishes at the edge of the box only; or

    M_r for r <= 0 bounds it from above, so that one zero inside would make it zero everywhere.
    """
    away = _all(f.interval.positive) or _all(f.interval.negative)
    return away or (found.lower is not None and found.lower > 0) or (found.upper is not None and found.upper <= 0)


def _product(f: Means, g: Means) -> Means:
    if f.sign * g.sign == 0:
        return NOTHING
    lower = _joint(*(None if v is None else -v for v in (f.lower, g.lower)))
    return Means(_joint(f.upper, g.upper), None if lower is None else -lower, f.sign * g.sign)


def _joint(p: Order, q: Order) -> Order:
    """r with M_p(f) M_q(g) <= M_r(f g), by Hoelder's inequality, where there is one."""
    if p is None or q is None:
        return None
    if -INF in (p, q):
        return max(p, q)  # a constant factor
    if max(p, q) == INF:
        return None
    if 0 in (p, q):
        return Fraction(0) if max(p, q) == 0 else None
    total = 1 / Fraction(p) + 1 / Fraction(q)
    if p > 0 and q > 0:
        return None
    if p < 0 and q < 0:
        return 1 / total
    return 1 / total if total > 0 else INF if total == 0 else None


def _all(mask: object) -> bool:
    return mask if isinstance(mask, bool) else bool(np.all(mask))  # type: ignore[call-overload]
