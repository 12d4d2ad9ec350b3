r"""Critical points on the orbit of a continuous symmetry: one of them is made isolated by a gauge.

Let J be the same along the linear fields T_1, ..., T_m on its parameters (``motion``): g(x)'T(x) = 0 for all x.  With any matrix V and
F(x) = g(x) + V V'(x - c), the theorem of ``isolation`` holds for F, the gradient of J + |V'(x - c)|^2 / 2: exactly one zero x* in the
ball, and H + V V' has k negative eigenvalues there.  Where the m x m matrix T(x)'V is invertible on all of the ball,

    0 = T(x*)'F(x*) = T(x*)'V V'(x* - c)    gives    V'(x* - c) = 0  and  g(x*) = 0:

x* is a critical point of J, the only one of the ball in the plane V'(x - c) = 0, and J(x*) is the value of F's function.  H(x*) has the kernel
span T(x*), of dimension m: if H u = 0, some u - T a is orthogonal to V, and (H + V V')(u - T a) = 0.  As T' (H + V V') s = 0 for all s with V's = 0, the
k negative eigenvalues are those of H.  For k = 0 x* is a local minimum, strict in the plane, from which the symmetry fills a neighbourhood.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from epigraph.certificate.gradientvalues import EPS, TINY
from epigraph.certificate.isolation import UP, enclosure, frobenius
from epigraph.certificate.motion import Generator, Motion
from epigraph.certificate.reverse import Gradient, NoGradient

Tensors = Mapping[str, np.ndarray]


@final
@dataclass(frozen=True)
class Gauge:
    """V [n, m], and a radius up to which T(x)'V is invertible."""

    V: np.ndarray
    radius: float

    def added(self, H: np.ndarray, spread: float) -> tuple[np.ndarray, float]:
        """H + V V', and the bound of what is missing, for a symmetric H."""
        m = self.V.shape[1]
        whole = H + self.V @ self.V.T
        whole = (whole + whole.T) / 2
        rounding = (m + 8) * EPS * frobenius(self.V) ** 2 + 4 * EPS * frobenius(whole)
        return whole, (spread + rounding * UP) * UP + TINY


def gauged(
    gradient: Gradient, tensors: Tensors, keys: Sequence[str], radius: float, generators: Sequence[Generator]
) -> tuple[np.ndarray, float]:
    """``isolation.enclosure``, with V V' added where there are generators.

    Raises:
        NoGradient: J is not smooth on all of the box, or T(x)'V is not shown to be invertible on the ball.
    """
    H, spread = enclosure(gradient, tensors, keys, radius)
    if not generators:
        return H, spread
    found = gauge(generators, tensors, keys, float(np.abs(H).max(initial=2.0**-300)))
    if found is None or radius > found.radius:
        raise NoGradient("the directions of the symmetries are not shown to be independent on the ball")
    return found.added(H, spread)


def gauge(generators: Sequence[Generator], tensors: Tensors, keys: Sequence[str], size: float) -> Gauge | None:
    """An orthonormal basis of the velocities at the point, times the root of ``size``; None where they are dependent."""
    T = np.stack([velocity(g, tensors, keys) for g in generators], 1)
    n, m = T.shape
    if m > n or not np.isfinite(T).all():
        return None
    Q = np.linalg.qr(T)[0]
    V = Q * math.sqrt(size)
    G = T.T @ V
    try:
        R = np.linalg.inv(G)
    except np.linalg.LinAlgError:
        return None
    if not (np.isfinite(V).all() and np.isfinite(R).all()):
        return None
    # R (T(x)'V) = I + E with |E| < 1: what is computed of R G - I, rounding, and |R| |T(x) - T| |V|
    charge = (n + 16) * EPS
    rest = frobenius(R @ G - np.eye(m)) + charge * frobenius(R) * frobenius(G)
    rest += frobenius(R) * charge * frobenius(T) * frobenius(V) * UP
    speeds = [growth(g) for g in generators]
    errors = [(32 + 8 * sum(len(x.axes) for x in g.values()) + n) * EPS for g in generators]
    length = frobenius(np.concatenate([tensors[k].reshape(-1) for k in keys]))
    shifts = [_length(g) for g in generators]
    parts = zip(speeds, errors, shifts, strict=True)
    rest += frobenius(R) * frobenius(V) * math.hypot(*(e * (s * length + b) for s, e, b in parts)) * UP + TINY
    slope = frobenius(R) * frobenius(V) * math.hypot(*speeds) * UP
    if not rest < 0.5:
        return None
    return Gauge(V, (1 - rest) / slope * (1 - 64 * EPS) / 2 if slope > 0 else math.inf)


def velocity(generator: Generator, tensors: Tensors, keys: Sequence[str]) -> np.ndarray:
    """T(x) as floats, one parameter after the other."""
    out = []
    for key in keys:
        x = tensors[key].astype(np.float64)
        m = generator.get(key, Motion())
        total = m.scale * x
        for axis, matrix in m.axes.items():
            total = total + np.moveaxis(np.tensordot(matrix.astype(np.float64), x, (1, axis)), 0, axis)
        out.append((total if m.shift is None else total + m.shift).reshape(-1))
    return np.concatenate(out)


def growth(generator: Generator) -> float:
    """A bound of |T(x) - T(y)| / |x - y|."""
    sizes = [abs(m.scale) + sum(frobenius(a.astype(np.float64)) for a in m.axes.values()) for m in generator.values()]
    return max(sizes, default=0.0) * UP


def _length(generator: Generator) -> float:
    shifts = [m.shift.astype(np.float64) for m in generator.values() if m.shift is not None]
    return math.hypot(*(frobenius(s) for s in shifts)) if shifts else 0.0
