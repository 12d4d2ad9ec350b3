"""What can be known of a node: seven claims per entry, as bits, uniform (an int) or per entry (an array).

A claim is a proved statement; its absence says nothing.  Facts have no truth value: ``if facts:`` raises.

==========  ===================================================================================================
CONVEX      convex on the box
CONCAVE     concave on the box; both: affine
QCONVEX     quasiconvex: every sublevel set is convex
QCONCAVE    quasiconcave: every superlevel set is convex
LOGCONVEX   f >= 0 and f(s x + (1-s) y) <= f(x)^s f(y)^(1-s)
LOGCONCAVE  f >= 0 and the opposite inequality
ROOTCONVEX  f >= 0 and sqrt(f) is convex
==========  ===================================================================================================
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, final

import numpy as np
from numpy.typing import NDArray

from epigraph.calculus.interval import Interval, Mask

if TYPE_CHECKING:
    from epigraph.calculus.combinations import Combination

Bits = int | NDArray[np.integer[Any]]

CONVEX, CONCAVE, QCONVEX, QCONCAVE, LOGCONVEX, LOGCONCAVE, ROOTCONVEX = (1 << k for k in range(7))
AFFINE = CONVEX | CONCAVE
QUASILINEAR = QCONVEX | QCONCAVE
ALL = 127
NAMES = {
    CONVEX: "convex",
    CONCAVE: "concave",
    QCONVEX: "quasiconvex",
    QCONCAVE: "quasiconcave",
    LOGCONVEX: "log_convex",
    LOGCONCAVE: "log_concave",
    ROOTCONVEX: "root_convex",
}


class Means(NamedTuple):
    """Between which power means of f(a) and f(b) the value |f(m)| lies, for an f of this sign (``calculus/means.py``)."""

    upper: Fraction | float | None = None
    lower: Fraction | float | None = None
    sign: int = 0


@final
class Facts:
    """The claims about a node, its interval, and structural facts.

    ``carrier``: (node, direction): every entry is a function of the same entry of that affine node, nondecreasing
    (+1), nonincreasing (-1) or neither (0).  ``degree``: an upper bound of the polynomial degree in the active
    parameters, -1 where the node is no polynomial in them.  ``varies``: depends on an active parameter.  ``means``: what
    all entries share beyond the claims, ``exponentials`` the same of e^f.  ``combination``: entries as multiples of sorted ones (``combinations.py``).
    """

    __slots__ = ("bits", "carrier", "combination", "degree", "exponentials", "interval", "means", "varies")

    def __init__(
        self,
        bits: Bits,
        interval: Interval,
        carrier: tuple[int, int] | None = None,
        degree: int = -1,
        varies: bool = True,
        means: Means = Means(),  # noqa: B008  (immutable)
        combination: Combination | None = None,
        exponentials: Means = Means(),  # noqa: B008
    ):
        self.bits, self.interval, self.carrier, self.degree, self.varies = bits, interval, carrier, degree, varies
        self.means, self.combination, self.exponentials = means, combination, exponentials

    def __bool__(self) -> NoReturn:
        raise TypeError("facts have no truth value; ask for one claim with .has(CONVEX)")

    def has(self, claim: int) -> bool:
        """Do all entries have all these claims?"""
        return uniform(self.bits) & claim == claim

    def __repr__(self) -> str:
        names = [NAMES[1 << k] for k in range(7) if uniform(self.bits) >> k & 1]
        return f"Facts({', '.join(names) or 'nothing known'}; {self.interval})"


def uniform(bits: Bits) -> int:
    """The claims that all entries share."""
    return bits if isinstance(bits, int) else int(np.bitwise_and.reduce(bits, axis=None)) if bits.size else ALL


def pack(bits: Bits) -> Bits:
    """An array whose entries agree becomes an int."""
    if isinstance(bits, int):
        return bits
    low = int(np.bitwise_and.reduce(bits, axis=None)) if bits.size else ALL
    high = int(np.bitwise_or.reduce(bits, axis=None)) if bits.size else ALL
    return low if low == high else bits


def when(mask: Mask, bits: Bits) -> Bits:
    """The bits where the mask holds, none elsewhere."""
    if isinstance(mask, (bool, np.bool_)):
        return bits if mask else 0
    return np.where(mask, np.asarray(bits, dtype=np.uint8), np.uint8(0))


def negate(bits: Bits) -> Bits:
    """Claims of -f: convex and concave change places, and so do the quasi claims; the others are lost."""
    return ((bits & CONVEX) << 1) | ((bits & CONCAVE) >> 1) | ((bits & QCONVEX) << 1) | ((bits & QCONCAVE) >> 1)


def close(bits: Bits, nonnegative: Mask) -> Bits:
    """Add what follows.

    log-convex => root-convex => convex => quasiconvex (e^(g/2) and the square are increasing and convex on the range);
    concave and nonnegative => log-concave => quasiconcave (the logarithm is concave and increasing).
    """
    bits = bits | ((bits & LOGCONVEX) << 2)
    bits = bits | ((bits & ROOTCONVEX) >> 6)
    bits = bits | ((bits & AFFINE) << 2)
    bits = bits | when(nonnegative, (bits & CONCAVE) << 4)
    return bits | ((bits & LOGCONCAVE) >> 2)


def constant_bits(interval: Interval) -> Bits:
    """Claims of a node that does not vary."""
    return AFFINE | QUASILINEAR | when(interval.nonnegative, LOGCONVEX | LOGCONCAVE | ROOTCONVEX)


def compose(
    inner: Bits,
    *,
    increasing: Mask,
    decreasing: Mask,
    convex: Mask,
    concave: Mask,
    log_convex: Mask = False,
    log_concave: Mask = False,
    root_convex: Mask = False,
    valley: Mask = False,
    hill: Mask = False,
) -> Bits:
    """Claims of f(g) from properties of f on the range of g: the composition rules.

    f(g) is convex where f is convex and g is affine, or f also nondecreasing and g convex, or f nonincreasing and g
    concave; likewise for log f and sqrt f.  A monotone f keeps or exchanges the quasi claims; a quasiconvex f
    (``valley``) of a quasilinear g is quasiconvex, since {l <= g <= u} is an intersection of convex sets.
    """
    up = when(increasing, inner & CONVEX) | when(decreasing, (inner & CONCAVE) >> 1)  # bit CONVEX: convexity survives
    lo = when(increasing, (inner & CONCAVE) >> 1) | when(decreasing, inner & CONVEX)  # bit CONVEX: concavity survives
    affine = (inner & CONVEX) & ((inner & CONCAVE) >> 1)
    up, lo = up | affine, lo | affine
    quasilinear = ((inner & QCONVEX) >> 2) & ((inner & QCONCAVE) >> 3)
    out = when(convex, up) | when(concave, lo) * CONCAVE | when(log_convex, up) * LOGCONVEX
    out = out | when(log_concave, lo) * LOGCONCAVE | when(root_convex, up) * ROOTCONVEX
    out = out | when(increasing, inner & QUASILINEAR) | when(decreasing, negate(inner) & QUASILINEAR)
    return out | when(_or(convex, valley), quasilinear) * QCONVEX | when(_or(concave, hill), quasilinear) * QCONCAVE


def _or(x: Mask, y: Mask) -> Mask:
    return x or y if isinstance(x, bool) and isinstance(y, bool) else np.logical_or(x, y)
