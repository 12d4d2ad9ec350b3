"""Smooth increasing functions of one variable: exp, log, sqrt, softplus, sigmoid, tanh, erf, atan, log_ndtr."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from epigraph.calculus import interval as iv
from epigraph.calculus.interval import Bound, Interval, Mask
from epigraph.calculus.lattice import LOGCONCAVE, LOGCONVEX, ROOTCONVEX, Bits, Facts
from epigraph.calculus.rule import Elementwise, register
from epigraph.objective.graph import Node


def by_torch(name: str, x: Bound) -> NDArray[np.float64]:
    """A function of ``torch.special`` in float64."""
    import torch

    return getattr(torch.special, name)(torch.from_numpy(np.array(x, dtype=np.float64))).numpy()


class Increasing(Elementwise):
    """A nondecreasing function, its range from its values at the ends, a known image and points on its graph."""

    image: tuple[float, float] = (-math.inf, math.inf)
    through: tuple[tuple[float, float], ...] = ()
    units: float = iv.LIBM
    absolute: float = 0.0

    def value(self, x: Bound) -> Bound:
        raise NotImplementedError

    def range(self, node: Node, x: Interval) -> Interval:
        out = iv.clip(iv.monotone(x, self.value, units=self.units, absolute=self.absolute), *self.image)
        for point, value in self.through:
            out = iv.pin(x, out, point, value)
        return out

    def slope(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        return True, False


@register("exp")
@final
class Exp(Increasing):
    """e^x: convex, increasing, log-affine [BV04 3.1.5]."""

    lemma = "the exponential is convex and increasing"
    image = (0.0, math.inf)
    through = ((0.0, 1.0),)

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
    through = ((1.0, 0.0),)

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
        if x[0].interval.hull[0] < 0:
            return f"the argument of the logarithm ranges over {x[0].interval}, beyond its domain"
        return super().reason(node, x)


@register("sqrt")
@final
class Sqrt(Increasing):
    """The square root on x >= 0: concave, increasing; convex for a root-convex argument (norms)."""

    lemma = "the square root is concave and increasing"
    image = (0.0, math.inf)
    through = ((0.0, 0.0), (1.0, 1.0))

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
        if x[0].interval.hull[0] < 0:
            return f"the argument of the square root ranges over {x[0].interval}, beyond its domain"
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
    through: tuple[tuple[float, float], ...] = ((0.0, 0.0),)

    def curvature(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        return x.nonpositive, x.nonnegative

    def logarithmic(self, node: Node, x: Interval) -> tuple[Mask, Mask, Mask]:
        return False, x.nonnegative, False


@register("sigmoid")
@final
class Sigmoid(Sigmoidal):
    """1/(1 + e^-x): log-concave, since -log of it is softplus(-x); root-convex for x <= -log 2."""

    image = (0.0, 1.0)
    through = ((0.0, 0.5),)
    units = 2048  # the rounded exponent is at most 745

    def value(self, x: Bound) -> Bound:
        return np.exp(-np.logaddexp(-np.asarray(x), 0.0))

    def logarithmic(self, node: Node, x: Interval) -> tuple[Mask, Mask, Mask]:
        return False, True, x.upper <= -0.6931471805599454


@register("tanh")
@final
class Tanh(Sigmoidal):
    """The hyperbolic tangent: log-concave where it is nonnegative (it is concave there)."""

    image = (-1.0, 1.0)

    def value(self, x: Bound) -> Bound:
        return np.tanh(x)


@register("erf")
@final
class Erf(Sigmoidal):
    """The error function: log-concave where it is nonnegative (it is concave there)."""

    image = (-1.0, 1.0)
    absolute = 1e-300

    def value(self, x: Bound) -> Bound:
        return by_torch("erf", x)


@register("atan")
@final
class Atan(Sigmoidal):
    """The arc tangent: log-concave where it is nonnegative (it is concave there)."""

    image = (math.nextafter(-math.pi / 2, -2), math.nextafter(math.pi / 2, 2))

    def value(self, x: Bound) -> Bound:
        return np.arctan(x)


@register("log_ndtr")
@final
class LogNdtr(Increasing):
    """log Phi(x): concave, increasing, negative [BV04 3.5.2: the integral of a log-concave density is log-concave]."""

    lemma = "the logarithm of the normal distribution function is concave and increasing"
    image = (-math.inf, 0.0)
    units = 2.0**20
    absolute = 1e-12

    def value(self, x: Bound) -> Bound:
        return by_torch("log_ndtr", x)

    def curvature(self, node: Node, x: Interval) -> tuple[Mask, Mask]:
        return False, True
