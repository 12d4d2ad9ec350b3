r"""What can be claimed of the entries of a node, as seven masks, and what follows from what.

A claim is about all points a, b of the box that agree in the parameters which are not active, and all m between them,
at which the node has a value.  All lemmas here are implications between inequalities at one such triple, so that they
need no topology and hold entry by entry.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from epigraph.certificate.kernel_curves import NO, YES, Curve

Mask = Any  # NDArray of bool that broadcasts to the node's shape


class Claims(NamedTuple):
    """Masks in the order of the bits: 1 convex, 2 concave, 4 quasiconvex, ..., 64 root-convex (f >= 0, sqrt f convex).

    The logarithmic claims say f >= 0 as well: f(m) <= f(a)^s f(b)^(1-s), or >=.
    """

    convex: Mask = NO
    concave: Mask = NO
    quasiconvex: Mask = NO
    quasiconcave: Mask = NO
    log_convex: Mask = NO
    log_concave: Mask = NO
    root_convex: Mask = NO

    @property
    def affine(self) -> Mask:
        return self.convex & self.concave

    @property
    def quasilinear(self) -> Mask:
        return self.quasiconvex & self.quasiconcave

    @property
    def nonnegative(self) -> Mask:
        """f >= 0 because a claim says so."""
        return self.log_convex | self.log_concave | self.root_convex

    def bits(self) -> Mask:
        """As unsigned 8-bit integers."""
        found: Any = np.uint8(0)
        for k, mask in enumerate(self):
            found = found | np.asarray(mask).astype(np.uint8) << np.uint8(k)
        return np.asarray(found, dtype=np.uint8)


def unpacked(bits: Mask) -> Claims:
    return Claims(*(np.asarray(bits >> np.uint8(k) & np.uint8(1)).astype(bool) for k in range(7)))


def where(mask: Mask, c: Claims) -> Claims:
    """The claims in the entries of the mask, none elsewhere."""
    return Claims(*(mask & m for m in c))


def both(c: Claims, d: Claims) -> Claims:
    return Claims(*(m & n for m, n in zip(c, d, strict=True)))


def either(c: Claims, d: Claims) -> Claims:
    return Claims(*(m | n for m, n in zip(c, d, strict=True)))


def constant(nonnegative: Mask) -> Claims:
    """A function that does not vary: all three values are equal."""
    return Claims(YES, YES, YES, YES, nonnegative, nonnegative, nonnegative)


def negative(c: Claims) -> Claims:
    """-f: both inequalities turn round; nothing is left of log f and sqrt f."""
    return Claims(c.concave, c.convex, c.quasiconcave, c.quasiconvex)


def scaled(c: Claims, nonnegative: Mask, nonpositive: Mask) -> Claims:
    """k f for a constant k of known sign [BV04 3.2.1]; affine and quasilinear functions keep that for every k."""
    free = Claims(c.affine, c.affine, c.quasilinear, c.quasilinear)
    return either(free, either(where(nonnegative, c), where(nonpositive, negative(c))))


def closure(c: Claims, nonnegative: Mask) -> Claims:
    """Everything that follows, given where f >= 0.

    sqrt f = e^(log f / 2) is convex where log f is, and f = (sqrt f)^2 where sqrt f >= 0 is: increasing convex
    functions of convex ones [BV04 3.2.4].  Where f >= 0 is concave, log f is [BV04 3.5.1].  Convex => quasiconvex,
    concave or log-concave => quasiconcave [BV04 3.4.1].  A nonnegative affine function and zero need no further rule.
    """
    root = c.root_convex | c.log_convex
    convex = c.convex | root
    log_concave = c.log_concave | (c.concave & nonnegative)
    return Claims(convex, c.concave, c.quasiconvex | convex, c.quasiconcave | c.concave | log_concave, c.log_convex,
                  log_concave, root)  # fmt: skip


def composed(f: Curve, g: Claims) -> Claims:
    """f(g) for a function f of one variable with the properties ``f`` on an interval that contains the values of g.

    f convex: f(g(m)) <= f(s g(a) + (1-s) g(b)) <= s f(g(a)) + (1-s) f(g(b)) where the first step is an equality (g
    affine), or f nondecreasing and g convex, or f nonincreasing and g concave; the same for log f and sqrt f, which
    are as monotone as f [BV04 3.2.4, 3.5.2].  f monotone: g(m) <= max(g(a), g(b)) passes through f, turned round
    where f falls.  f quasiconvex: g quasilinear puts g(m) between g(a) and g(b) [BV04 3.4.4].
    """
    convex = g.affine | (f.up & g.convex) | (f.down & g.concave)  # f(g) is convex where f is
    concave = g.affine | (f.up & g.concave) | (f.down & g.convex)
    return Claims(
        f.convex & convex,
        f.concave & concave,
        (f.up & g.quasiconvex) | (f.down & g.quasiconcave) | ((f.valley | f.convex) & g.quasilinear),
        (f.up & g.quasiconcave) | (f.down & g.quasiconvex) | ((f.hill | f.concave) & g.quasilinear),
        f.log_convex & convex,
        f.log_concave & concave,
        f.root_convex & convex,
    )
