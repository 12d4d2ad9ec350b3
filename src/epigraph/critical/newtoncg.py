r"""Newton's method by products with the Hessian: steps from truncated conjugate gradients [1].

[1] T. Steihaug, The conjugate gradient method and trust regions in large scale optimization, SIAM J. Numer. Anal. 20 (1983).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from epigraph.critical.minimize import FINE, Inside, everywhere

Slopes = Callable[[Tensor], tuple[Tensor, Tensor]]
Product = Callable[[Tensor], Tensor]

EXACT = 2.0**-52  # a Newton step, relative to 1 + |x|, that changes nothing
PRODUCTS = 1000  # of one Newton step, at most
FORCING = 0.1, 1e-3  # residual of a Newton step, relative to the gradient: at most, and at the end
CLOSE = 1e-7  # gradient, relative to max(1, |J|), from which on it has to fall, and J only to stay
SMALL = 1e-18  # squared Newton decrement, relative to max(1, |J|)


@final
@dataclass(frozen=True)
class Refined:
    """A point, J and its gradient there; the Newton step that is left, its squared decrement, and how good the step is.

    ``residual`` is |H s + g| / |g|; ``convex`` tells whether no negative curvature was met on the way to s.
    """

    x: Tensor
    value: float
    gradient: Tensor
    step: Tensor
    decrement: float
    residual: float
    convex: bool
    products: int

    @property
    def critical(self) -> bool:
        """Gradient at most 1e-10 and squared decrement at most 1e-18, relative to max(1, |J|)."""
        scale = max(1.0, abs(self.value))
        return float(self.gradient.abs().max()) <= FINE * scale and abs(self.decrement) <= SMALL * scale


@final
@dataclass(frozen=True)
class Solved:
    """A Newton step, its residual relative to the gradient, and a direction of negative curvature where one was met."""

    step: Tensor
    residual: float
    negative: Tensor | None
    products: int


def conjugate_gradients(product: Product, gradient: Tensor, tolerance: float, most: int = PRODUCTS) -> Solved:
    """s with |H s + g| <= tolerance |g|, or as far as positive curvature or ``most`` products lead."""
    s, r = torch.zeros_like(gradient), -gradient
    p, square = r.clone(), float(r @ r)
    size = square**0.5
    for k in range(most):
        if square**0.5 <= tolerance * size or size == 0.0:
            return Solved(s, square**0.5 / max(size, 1e-300), None, k)
        Hp = product(p)
        curvature = float(p @ Hp)
        if curvature <= 0.0:
            return Solved(s, square**0.5 / size, p / p.norm(), k + 1)
        step = square / curvature
        s, r = s + step * p, r - step * Hp
        before, square = square, float(r @ r)
        p = r + square / before * p
    return Solved(s, square**0.5 / size, None, most)


def newton_cg(
    slopes: Slopes, product_at: Callable[[Tensor], Product], x: Tensor, *, steps: int = 60, inside: Inside = everywhere
) -> Refined:
    """From x [n] to a critical point, or as far as J falls; near the end as far as the gradient does.

    A step along negative curvature is the last one (``convex`` is false then): L-BFGS is faster where J is not convex.

    ``slopes`` gives J and its gradient at points [1, n]; ``product_at(x)`` the products with the Hessian there.  Costs some
    hundred products for each step.
    """
    value, gradient = _at(slopes, x)
    spent = 0
    for _ in range(steps):
        size = float(gradient.abs().max())
        close = size <= CLOSE * max(1.0, abs(value))
        tolerance = FORCING[1] if close else min(FORCING[0], size**0.5)
        solved = conjugate_gradients(product_at(x), gradient, tolerance)
        spent += solved.products
        decrement = -float(gradient @ solved.step)
        now = Refined(x, value, gradient, solved.step, decrement, solved.residual, solved.negative is None, spent)
        tiny = float(solved.step.norm()) <= EXACT * (1 + float(x.norm()))
        if tiny or (now.critical and solved.residual <= FORCING[1] and size <= 0.01 * FINE):
            return now
        moved = _finer(slopes, now, inside) if close else _lower(slopes, now, solved, inside)
        if moved is None:
            return now
        x, value, gradient = moved
        if solved.negative is not None:
            return replace(now, x=x, value=value, gradient=gradient, decrement=math.inf)
    return now


def _at(slopes: Slopes, x: Tensor) -> tuple[float, Tensor]:
    value, gradient = slopes(x[None])
    return float(value), gradient[0]


Moved = tuple[Tensor, float, Tensor]


def _finer(slopes: Slopes, now: Refined, inside: Inside) -> Moved | None:
    """The whole step, where the gradient falls and J stays within 1e-7 of itself."""
    x = now.x + now.step
    value, gradient = _at(slopes, x)
    stays = abs(value - now.value) <= 1e-7 * max(1.0, abs(now.value)) and bool(inside(x[None])[0])
    return (x, value, gradient) if stays and bool(gradient.abs().max() < now.gradient.abs().max()) else None


def _lower(slopes: Slopes, now: Refined, solved: Solved, inside: Inside) -> Moved | None:
    """The longest of the steps s, s/2, s/4, ... by which J falls; along negative curvature where that was met at once."""
    d = solved.step
    if solved.negative is not None and (float(d.norm()) == 0.0 or solved.residual > 0.5):
        uphill = float(solved.negative @ now.gradient) > 0
        d = d - solved.negative if uphill else d + solved.negative
    slope = float(now.gradient @ d)
    for k in range(40):
        t = 0.5**k
        x = now.x + t * d
        value, gradient = _at(slopes, x)
        lower = value <= now.value + 1e-4 * t * slope and bool(gradient.isfinite().all())
        if lower and bool(inside(x[None])[0]):
            return x, value, gradient
    return None
