"""Smooth functions of one variable.

Inflection points and turning points that are irrational are held as an inner and an outer float64, so that a claim is
made only on an interval on which a test proves it with Arb.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import final

import numpy as np

from epigraph.calculus import interval as iv
from epigraph.calculus.interval import Bound, Interval, Mask
from epigraph.calculus.lattice import (
    CONCAVE,
    CONVEX,
    LOGCONCAVE,
    LOGCONVEX,
    ROOTCONVEX,
    Bits,
    Facts,

)
from epigraph.calculus.rule import Elementwise, register
from epigraph.objective.graph import Node


class Increasing(Elementwise):
    """A nondecreasing function, its range from its values at the ends and a known image."""

    image: tuple[float, float] = (-math.inf, math.inf)
    absolute: float = 0.0

    def value(self, x: Bound) -> Bound:
        raise NotImplementedError

    def range(self, node: Node, x: Interval) -> Interval:
        return iv.clip(iv.monotone(x, self.value, absolute=self.absolute), *self.image)

    def slope(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        return True, False


@register("exp")
@final
class Exp(Increasing):
    """e^x: convex, increasing, log-affine."""

    lemma = "the exponential is convex and increasing"
    image = (0.0, math.inf)

    def value(self, x: Bound) -> Bound:
        return np.exp(x)

    def curvature(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        return True, False

    def logarithmic(self, node: Node, x: Interval) -> tuple[Mask, Mask, Mask]:
        return True, True, True


@register("log")
@final
class Log(Increasing):
    """log x on x >= 0 (-inf at 0): concave, increasing; the logarithm of a log-convex function is convex."""

    lemma = "the logarithm is concave and increasing"

    def value(self, x: Bound) -> Bound:
        return np.log(np.maximum(x, 0.0))

    def slope(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        return x.nonnegative, False

    def curvature(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        return False, x.nonnegative

    def logarithmic(self, node: Node, x: Interval) -> tuple[Mask, Mask, Mask]:
        return False, x.lower >= 1, False

    def special(self, node: Node, x: Facts) -> Bits:
        return ((x.bits & LOGCONVEX) >> 4) | ((x.bits & LOGCONCAVE) >> 4)

    def reason(self, node: Node, x: Sequence[Facts]) -> str:
        low, high = x[0].interval.hull
        if low < 0:
            return f"the argument of the logarithm ranges over [{low:.3g}, {high:.3g}], where it is not defined throughout"
        return super().reason(node, x)


@register("sqrt")
@final
class Sqrt(Increasing):
    """The square root on x >= 0: concave, increasing; convex for a root-convex argument (norms)."""

    lemma = "the square root is concave and increasing"
    image = (0.0, math.inf)

    def value(self, x: Bound) -> Bound:
        return np.sqrt(np.maximum(x, 0.0))

    def slope(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        return x.nonnegative, False

    def curvature(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        return False, x.nonnegative

    def logarithmic(self, node: Node, x: Interval) -> tuple[Mask, Mask, Mask]:
        return False, x.nonnegative, False

    def special(self, node: Node, x: Facts) -> Bits:
        return ((x.bits & ROOTCONVEX) >> 6) | (x.bits & (LOGCONVEX | LOGCONCAVE))

    def reason(self, node: Node, x: Sequence[Facts]) -> str:
        low, high = x[0].interval.hull
        if low < 0:
            return f"the argument of the square root ranges over [{low:.3g}, {high:.3g}], where it is not defined throughout"
        return super().reason(node, x)


@register("softplus")
@final
class Softplus(Increasing):
    """log(1 + e^x): convex, increasing, log-concave; log-sum-exp at (0, x) [BV04 3.1.5]."""

    lemma = "softplus is convex and increasing"
    image = (0.0, math.inf)

    def value(self, x: Bound) -> Bound:
        return np.logaddexp(x, 0.0)

    def curvature(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        return True, False

    def logarithmic(self, node: Node, x: Interval) -> tuple[Mask, Mask, Mask]:
        return False, True, False


class Sigmoidal(Increasing):
    """Increasing, odd about a point on the axis of ordinates: convex for x <= 0, concave for x >= 0."""

    lemma = "convex left of zero, concave right of zero, increasing"

    def curvature(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        return x.nonpositive, x.nonnegative


@register("sigmoid")
@final
class Sigmoid(Sigmoidal):
    """1/(1 + e^-x): log-concave since -log is softplus(-x); sqrt and log of it are convex nowhere."""

    image = (0.0, 1.0)

    def value(self, x: Bound) -> Bound:
        return np.exp(-np.logaddexp(-np.asarray(x), 0.0))

    def range(self, node: Node, x: Interval) -> Interval:
        return iv.clip(iv.monotone(x, self.value, units=2048), *self.image)

    def logarithmic(self, node: Node, x: Interval) -> tuple[Mask, Mask, Mask]:
        return False, True, False


@register("tanh")
@final
class Tanh(Sigmoidal):
    """tanh x: log-concave where it is nonnegative."""

    image = (-1.0, 1.0)

    def value(self, x: Bound) -> Bound:
        return np.tanh(x)

    def logarithmic(self, node: Node, x: Interval) -> tuple[Mask, Mask, Mask]:
        return False, x.nonnegative, False


@register("erf")
@final
class Erf(Sigmoidal):
    """The error function: log-concave where it is nonnegative (it is concave there)."""

    image = (-1.0, 1.0)
    absolute = 1e-300

    def value(self, x: Bound) -> Bound:
        import torch

        return torch.erf(torch.as_tensor(np.asarray(x, dtype=np.float64))).numpy()

    def logarithmic(self, node: Node, x: Interval) -> tuple[Mask, Mask, Mask]:
        return False, x.nonnegative, False


@register("atan")
@final
class Atan(Sigmoidal):
    """The arc tangent."""

    image = (math.nextafter(-math.pi / 2, -2), math.nextafter(math.pi / 2, 2))

    def value(self, x: Bound) -> Bound:
        return np.arctan(x)

    def logarithmic(self, node: Node, x: Interval) -> tuple[Mask, Mask, Mask]:
        return False, x.nonnegative, False


@register("log_ndtr")
@final
class LogNdtr(Increasing):
    """log Phi(x): concave, increasing, negative [BV04 3.5.2: the integral of a log-concave density is log-concave]."""

    lemma = "the logarithm of the normal distribution function is concave and increasing"
    image = (-math.inf, 0.0)

    def value(self, x: Bound) -> Bound:
        import torch

        return torch.special.log_ndtr(torch.as_tensor(np.asarray(x, dtype=np.float64))).numpy()

    def range(self, node: Node, x: Interval) -> Interval:
        return iv.clip(iv.monotone(x, self.value, units=2.0**20, absolute=1e-12), *self.image)

    def curvature(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        return False, True


@register("power")
@final
class Power(Elementwise):
    """x^p.  Even p: convex, root-convex.  Odd p > 1: convex on x >= 0, concave on x <= 0.  Other p: on x >= 0 only,

    convex for p >= 1 and p <= 0, concave for 0 <= p <= 1 [BV04 3.1.5]; odd p < 0 on x <= 0: concave, decreasing; even
    p < 0 there: convex, increasing.  Where x = 0 and p < 0 the value is +inf on a box that ends there.
    """

    lemma = "the curvature of x^p follows from p and the sign of x"

    @staticmethod
    def exponent(node: Node) -> Fraction:
        return Fraction(node.attributes["exponent"])

    def range(self, node: Node, x: Interval) -> Interval:
        p = self.exponent(node)
        if p.denominator == 1 and p > 0:
            return self._whole_power(int(p), x)
        if p.denominator == 1:
            inner = self._whole_power(-int(p), x)
            return iv.reciprocal(inner)
        safe = iv.clip(x, 0.0, math.inf)
        out = iv.monotone(safe, lambda b: np.power(b, float(p)), increasing=p > 0, units=64)
        out = self._fractional_slack(out, p, safe)
        return iv.clip(out, 0.0, math.inf)

    @staticmethod
    def _fractional_slack(out: Interval, p: Fraction, x: Interval) -> Interval:
        """The exponent may be a rounded float: allow for |log x| half an ulp of p."""
        if Fraction(float(p)) == p:
            return out
        units = 64 + 2.0 * max(1.0, max((abs(math.log(b)) for b in x.hull if 0 < b < math.inf), default=1.0) * abs(float(p)))
        return iv.widen(out.lower, out.upper, units)

    @staticmethod
    def _whole_power(p: int, x: Interval) -> Interval:
        def value(b: Bound) -> Bound:
            return np.power(b, float(p))

        if p % 2:
            return iv.monotone(x, value, units=8 + p)
        from epigraph.calculus.rules.kinked import Abs

        return iv.clip(iv.monotone(Abs().range(None, x), value, units=8 + p), 0.0, math.inf)  # type: ignore[arg-type]

    def slope(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        p = self.exponent(node)
        right, left = x.nonnegative, x.nonpositive
        if p.denominator > 1:
            return (right, False) if p > 0 else (False, right)
        if p > 0:
            return (True, False) if p % 2 else (right, left)
        return (False, right | left) if p % 2 else (left, right)

    def curvature(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        p = self.exponent(node)
        right, left = x.nonnegative, x.nonpositive
        if p.denominator > 1:
            return (right, False) if p > 1 or p < 0 else (False, right)
        if p > 0:
            return (right, left) if p % 2 else (True, False)
        return (right, left) if p % 2 else (right | left, False)

    def logarithmic(self, node: Node, x: Interval) -> tuple[Mask, Mask, Mask]:
        p = self.exponent(node)
        even = p.denominator == 1 and p % 2 == 0
        side = x.nonnegative | x.nonpositive if even else x.nonnegative
        root = (True if even else x.nonnegative) if p >= 2 else False
        return (False, side, root) if p > 0 else (side, False, side)

    def special(self, node: Node, x: Facts) -> Bits:
        """Powers of log- and root-claims: logs scale; sqrt(f)^(2p) is convex for p >= 1/2 and its root for p >= 1."""
        p = self.exponent(node)
        if p < 0:
            return ((x.bits & LOGCONVEX) << 1) | ((x.bits & LOGCONCAVE) >> 1)
        out = x.bits & (LOGCONVEX | LOGCONCAVE)
        if p >= 1:
            out = out | (x.bits & ROOTCONVEX)
        elif p >= Fraction(1, 2):
            out = out | ((x.bits & ROOTCONVEX) >> 6)
        return out

    def degree(self, node: Node, x: Sequence[Facts]) -> int:
        p = self.exponent(node)
        return x[0].degree * int(p) if x[0].degree >= 0 and p.denominator == 1 and p > 0 else -1

    def reason(self, node: Node, x: Sequence[Facts]) -> str:
        p, (low, high) = self.exponent(node), x[0].interval.hull
        if (p < 0 or p.denominator > 1) and low < 0:
            return f"the argument of the power {p} ranges over [{low:.3g}, {high:.3g}], where it is not defined throughout"
        if p == 2:
            return ("the square of a function that is convex or concave and takes both signs has no fixed curvature"
                    if not (x[0].has(CONVEX) and x[0].has(CONCAVE)) else "the square is lost")
        return super().reason(node, x)


@register("xlogx")
@final
class XLogX(Elementwise):
    """x log x on x >= 0, with 0 at 0: convex; decreasing to 1/e, then increasing [BV04 3.1.5]."""

    lemma = "x log x is convex on x >= 0"
    turn = (0.36787944117144228, 0.36787944117144239)  # floats below and above 1/e

    def range(self, node: Node, x: Interval) -> Interval:
        return unimodal(x, lambda b: np.where(np.asarray(b) > 0, b * np.log(np.maximum(b, 1e-320)), 0.0), self.turn, -0.36787944117144245)

    def slope(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        return x.lower >= self.turn[1], x.nonnegative & (x.upper <= self.turn[0])

    def curvature(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        return x.nonnegative, False


def unimodal(x: Interval, value: Callable[[Bound], Bound], turn: tuple[float, float], least: float) -> Interval:
    """Range of a function that falls to its minimum near ``turn`` and rises after; ``least`` is below the minimum.

    The value may be unbounded or tend to a limit at the ends; NaN from inf * 0 is the limit 0.
    """
    def ends(b: Bound) -> Bound:
        with np.errstate(all="ignore"):
            v = np.asarray(value(b), dtype=np.float64)
        return np.where(np.isnan(v), 0.0, v)

    left, right = ends(x.lower), ends(x.upper)
    wide = iv.widen(np.minimum(left, right), np.maximum(left, right), units=64, absolute=1e-13)
    inside = (x.lower <= turn[1]) & (x.upper >= turn[0])
    low = np.where(inside, least, np.maximum(wide.lower, least))
    return Interval(_plain(low), _plain(wide.upper))


def _plain(v: Bound) -> Bound:
    return float(v) if np.ndim(v) == 0 else v


class Bump(Elementwise):
    """x s(x) for a sigmoidal s: falls to a negative minimum, rises after; convex on an interval about zero only."""

    turn: tuple[float, float]
    least: float
    knees: tuple[float, float]  # inside: convex on [knees[0], knees[1]]
    outer: tuple[float, float]  # outside: concave below outer[0] and above outer[1]

    def value(self, x: Bound) -> Bound:
        raise NotImplementedError

    def range(self, node: Node, x: Interval) -> Interval:
        out = unimodal(x, self.value, self.turn, self.least)
        falling = x.upper <= self.turn[0]
        high = np.where(falling, np.minimum(out.upper, 0.0), out.upper)
        return Interval(out.lower, _plain(high))

    def slope(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        return x.lower >= self.turn[1], x.upper <= self.turn[0]

    def curvature(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        return x.within(*self.knees), (x.upper <= self.outer[0]) | (x.lower >= self.outer[1])

    def shape(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        return True, False


@register("silu")
@final
class Silu(Bump):
    """x sigmoid(x): convex exactly on |x| <= 2.39935728..., minimum at -1.27846454...; falls, then rises."""

    lemma = "x sigmoid(x) is convex on |x| <= 2.3993 and concave beyond"
    turn = (-1.2784645427610739, -1.2784645427610737)
    least = -0.27846454276107385
    knees = (-2.3993572805154672, 2.3993572805154672)
    outer = (-2.3993572805154681, 2.3993572805154681)

    def value(self, x: Bound) -> Bound:
        return x * np.exp(-np.logaddexp(-np.asarray(x), 0.0))


@register("gelu")
@final
class Gelu(Bump):
    """x Phi(x): f'' = phi(x)(2 - x^2), so convex exactly on |x| <= sqrt 2; minimum at -0.75179152..."""

    lemma = "x Phi(x) is convex on |x| <= sqrt(2) and concave beyond"
    turn = (-0.75179152467700007, -0.75179152467699)
    least = -0.16997120747990369
    knees = (-1.4142135623730949, 1.4142135623730949)
    outer = (-1.4142135623730952, 1.4142135623730952)

    def value(self, x: Bound) -> Bound:
        import torch

        t = torch.as_tensor(np.asarray(x, dtype=np.float64))
        return (t * 0.5 * torch.special.erfc(-t / math.sqrt(2))).numpy()


@register("mish")
@final
class Mish(Bump):
    """x tanh(softplus(x)): convex between its two inflection points, near -2.2564 and 1.4906."""

    lemma = "x tanh(softplus(x)) is convex between its inflection points"
    turn = (-1.1924312, -1.1924311)
    least = -0.30884021
    knees = (-2.2563, 1.4905)
    outer = (-2.2566, 1.4909)

    def value(self, x: Bound) -> Bound:
        return x * np.tanh(np.logaddexp(x, 0.0))


class Wave(Elementwise):
    """sine or cosine on an interval shorter than half a period, by the quadrant; otherwise nothing but [-1, 1]."""

    phase: int  # f(x) = sin(x + phase pi / 2)

    def _quadrants(self, x: Interval) -> tuple[Bound, Bound]:
        """Bounds of (x / (pi/2) + phase), rounded outward; NaN where unbounded or too large to place."""
        scale = 2 / math.pi
        with np.errstate(invalid="ignore"):
            low, high = np.asarray(x.lower) * scale, np.asarray(x.upper) * scale
            slack = 1e-12 * (1 + np.abs(low) + np.abs(high))
            usable = (np.abs(low) < 1e6) & (np.abs(high) < 1e6)
            low, high = np.where(usable, low - slack, np.nan), np.where(usable, high + slack, np.nan)
        return low + self.phase, high + self.phase

    def _inside(self, x: Interval, start: int) -> Mask:
        """Does the interval lie in [start, start + 2] quadrants modulo 4?"""
        low, high = self._quadrants(x)
        with np.errstate(invalid="ignore"):
            base = np.floor((low - start) / 4) * 4 + start
            found = (low >= base) & (high <= base + 2)
        return bool(found) if np.ndim(found) == 0 else found

    def range(self, node: Node, x: Interval) -> Interval:
        def value(b: Bound) -> Bound:
            return np.sin(b) if self.phase == 0 else np.cos(b)

        with np.errstate(invalid="ignore"):
            ends = [np.nan_to_num(value(b)) for b in (np.asarray(x.lower), np.asarray(x.upper))]
        low, high = np.minimum(*ends) - 1e-12, np.maximum(*ends) + 1e-12
        rising, falling = self._inside(x, -1), self._inside(x, 1)
        monotone = np.logical_or(rising, falling)
        hill, valley = self._inside(x, 0), self._inside(x, 2)
        low = np.where(monotone | np.asarray(hill), np.maximum(low, -1.0), -1.0)
        high = np.where(monotone | np.asarray(valley), np.minimum(high, 1.0), 1.0)
        return Interval(_plain(low), _plain(high))

    def slope(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        return self._inside(x, -1), self._inside(x, 1)

    def curvature(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        return self._inside(x, 2), self._inside(x, 0)


@register("sin")
@final
class Sin(Wave):
    """sin x: concave on [0, pi], convex on [pi, 2 pi]."""

    lemma = "sine is concave on [0, pi] and convex on [pi, 2 pi]"
    phase = 0


@register("cos")
@final
class Cos(Wave):
    """cos x = sin(x + pi/2)."""

    lemma = "cosine is concave on [-pi/2, pi/2] and convex on [pi/2, 3 pi/2]"
    phase = 1


