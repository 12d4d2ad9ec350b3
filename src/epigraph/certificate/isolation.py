r"""Exactly one critical point in a ball, of which index, and what J is there.

Let |S' H(x) S - D| <= q < 1 for the Hessian H at every x of the ball |x - c| <= r, with S a matrix of floats and D a diagonal of
signs.  Then S is invertible, H has as many negative eigenvalues as D throughout the ball (Sylvester), and the gradient g is injective
on it, for g(x) - g(y) = (mean of H)(x - y).  With eta = |S' g(c)| and rho = eta / (1 - q) the map y -> y - D S' g(c + S y) takes the ball
|y| <= rho into itself and contracts by q, as long as |S| rho <= r: there is a critical point x*, the only one in the ball, with

    |x* - c| <= |S| rho,    |J(x*) - J(c)| <= eta rho + (1 + q) rho^2 / 2,    |eigenvalues of H| >= (1 - q) / |S|^2.

J(c) and g(c) are enclosed in balls of many bits; H is a float matrix with a bound of what is missing over the whole ball
(``vectors``), and S = V |w|^(-1/2) comes from its eigenvectors and eigenvalues, of which nothing is assumed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from flint import arb, ctx

from epigraph.certificate.gradientvalues import EPS, TINY, Known, evaluate, known
from epigraph.certificate.reverse import Gradient, NoGradient
from epigraph.certificate.vectors import hessian

UP = 1 + 64 * EPS  # a few roundings, upwards
LEAST = 0.9  # the contraction below which a proof is worth having
ROOM = 2.0  # the ball has at least so many times the size that the error needs
SMALL = 2.0**-60  # of the box around a point: where J is evaluated on it, J is smooth at the point
BOX_BITS = 64  # of the balls that hold a whole box


@final
@dataclass(frozen=True)
class Isolated:
    """What was proved: one critical point within ``radius`` of the stored point, and within ``error`` of it.

    ``low`` and ``high`` enclose its value; every eigenvalue of the Hessian in the ball has at least the size ``curvature``, and
    ``index`` of them are negative.  ``contraction`` is q.
    """

    index: int
    radius: float
    error: float
    contraction: float
    curvature: float
    low: float
    high: float


@final
@dataclass(frozen=True)
class Centre:
    """J and its gradient at the centre, the latter as floats with radii, one parameter after the other."""

    value: arb
    slope: Known


@final
@dataclass(frozen=True)
class Congruence:
    """S with |S'HS - D| <= ``rest`` for the middle H of an enclosure; ``square`` bounds |S|^2."""

    S: np.ndarray
    rest: float
    square: float
    index: int


Point = Mapping[str, np.ndarray]


def centre(gradient: Gradient, tensors: Point, keys: Sequence[str], bits: int) -> Centre:
    """J and its gradient at the point that the tensors hold.

    Raises:
        NoGradient: J is not smooth there.
    """
    found = evaluate(gradient, tensors, {}, bits, curved=False)
    parts = []
    with ctx.workprec(bits):
        for key in keys:
            slope = found.slopes.get(key, np.zeros(tensors[key].shape))
            parts.append(known(slope, "the gradient"))
    flat = (np.concatenate([getattr(p, side).reshape(-1) for p in parts]) for side in ("middle", "radius"))
    if not found.value.is_finite():
        raise NoGradient("J has no finite value at the point")
    return Centre(found.value, Known(*flat))


def enclosure(gradient: Gradient, tensors: Point, keys: Sequence[str], radius: float) -> tuple[np.ndarray, float]:
    """A float matrix H, and a bound of |H(x) - H| for every x with |x_k - c_k| <= radius.

    Raises:
        NoGradient: J is not smooth on all of the box.
    """
    box = {}
    for key in keys:
        flat = tensors[key].reshape(-1).tolist()
        box[key] = np.empty(len(flat), dtype=object)
        box[key][:] = [arb(v, radius) for v in flat]
        box[key] = box[key].reshape(tensors[key].shape)
    found = evaluate(gradient, tensors, box, BOX_BITS, curved=True)
    return hessian(gradient, found.coefficients, tensors, keys)


def congruence(H: np.ndarray) -> Congruence | None:
    """S = V |w|^(-1/2) from the eigenvectors and eigenvalues of a symmetric matrix; None where that does not work."""
    try:
        w, V = np.linalg.eigh(H)
    except np.linalg.LinAlgError:
        return None
    if not len(w) or not np.isfinite(w).all() or not np.isfinite(V).all() or (w == 0).any():
        return None
    S = V / np.sqrt(np.abs(w))
    if not np.isfinite(S).all():
        return None
    n, length = len(w), frobenius(S)
    half, gram = H @ S, S.T @ S
    whole = S.T @ half
    charge = (n + 8) * EPS * length  # of a product with S, per unit of the other factor's length
    sums = max(float(np.abs(gram).sum(axis).max()) for axis in (0, 1))  # whichever of two equal triangles was rounded
    square = (sums * (1 + (n + 8) * EPS) + charge * length + TINY) * UP
    rest = frobenius(whole - np.diag(np.sign(w)))
    rest += charge * frobenius(half) + math.sqrt(square) * UP * charge * frobenius(H) + TINY
    return Congruence(S, rest * UP, square, int((w < 0).sum()))


def isolated(at: Centre, S: Congruence, spread: float, radius: float) -> Isolated | None:
    """The theorem on one ball; ``spread`` bounds what the Hessian differs from the matrix that S is made for."""
    q = contraction(S, spread)
    if not q < LEAST:
        return None
    eta = _length(S.S, at.slope)
    rho = eta / (1 - q) * UP
    error = math.sqrt(S.square) * rho * UP
    if not error <= radius / ROOM:
        return None
    slack = (eta * rho + (1 + q) / 2 * rho * rho) * UP + TINY
    with ctx.workprec(256):
        value = at.value + arb(0, slack)
        low, high = (float(v) for v in (value.lower(), value.upper()))
    low, high = math.nextafter(low, -math.inf), math.nextafter(high, math.inf)
    if not (math.isfinite(low) and math.isfinite(high)):
        return None
    return Isolated(S.index, radius, error, q, curvature(S, q), low, high)


def contraction(S: Congruence, spread: float) -> float:
    """An upper bound of q; ``spread`` bounds what the Hessian differs from the matrix that S is made for."""
    return (S.rest + S.square * spread * UP) * UP


def curvature(S: Congruence, q: float) -> float:
    """A number below the size of every eigenvalue, where the contraction q is less than one."""
    return (1 - q) / (S.square * UP) / UP


def away_from_zero(gradient: Gradient, tensors: Point, keys: Sequence[str]) -> tuple[int, float] | None:
    """How many eigenvalues of the Hessian at the point are negative, and a number below the size of all; None where none is shown.

    Raises:
        NoGradient: J is not smooth near the point.
    """
    H, spread = enclosure(gradient, tensors, keys, SMALL)
    S = congruence(H)
    if S is None or not (q := contraction(S, spread)) < 1:
        return None
    return S.index, curvature(S, q)


def frobenius(A: np.ndarray) -> float:
    """An upper bound of the Frobenius norm; NaN or infinite where an entry is."""
    return float(np.sqrt(np.square(A).sum())) * (1 + (A.size + 16) * EPS) + TINY


def _length(S: np.ndarray, slope: Known) -> float:
    """An upper bound of |S'g|."""
    slack = np.abs(S).T @ (slope.radius + (len(S) + 8) * EPS * np.abs(slope.middle))
    return (frobenius(S.T @ slope.middle) + frobenius(slack * (1 + (len(S) + 16) * EPS))) * UP
