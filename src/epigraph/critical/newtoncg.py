r"""Newton's method by products with the Hessian: steps from truncated conjugate gradients in a trust region [1].

The path of conjugate gradients is longer the further it is followed [1], in the norm of the preconditioner.  It ends at the
wanted residual, where curvature is negative, or at the edge of the region.  Some stops on it are kept: where the whole way is
too far, a nearer stop is tried, which takes a gradient and no product.  Vectors and products of long paths teach a preconditioner.

Products may come in float32, gradients are in float64: the error of a product makes a step less good, and the gradient at its end tells.
What is said of a point in the end rests on products in float64.

[1] T. Steihaug, The conjugate gradient method and trust regions in large scale optimization, SIAM J. Numer. Anal. 20 (1983).
[2] C. C. Paige and M. A. Saunders, Solution of sparse indefinite systems of linear equations, SIAM J. Numer. Anal. 12 (1975).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from epigraph.critical.lowrank import LowRank, learnt, nothing
from epigraph.critical.minimize import FINE, Inside, everywhere
from epigraph.errors import ObjectiveError

Slopes = Callable[[Tensor], tuple[Tensor, Tensor]]
Product = Callable[[Tensor], Tensor]
Products = Callable[[Tensor, bool], Product]

EXACT = 2.0**-52  # a Newton step, relative to 1 + |x|, that changes nothing
PRODUCTS = 1000  # of one Newton step, at most
FORCING = 0.1, 0.03, 1e-3  # residual of a Newton step, relative to the gradient: at most, near the end, and at the end
CLOSE = 1e-7  # gradient, relative to max(1, |J|), from which on steps are taken more exactly
SMALL = 1e-18  # squared Newton decrement, relative to max(1, |J|)
LEVEL = 1e-13  # change of J, relative to max(1, |J|), that is rounding: there the gradient has to fall
FURTHER = 1.5  # growth of the path between two stops
WIDER, NEARER = 2.5, 1.5  # the next region, relative to a step that went well, and to one that was cut short
FALLS = 0.1  # share of the fall that the model promises
KEPT, NUMBERS = 200, 2**25  # pairs that are kept of one path, and numbers in them
LONG = 60  # products of a path that a preconditioner is learnt from
REFINEMENTS = 6  # of the last step


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
class Stop:
    """A step s on the path, its length in the preconditioner's norm, and the change of J that the quadratic model tells."""

    step: Tensor
    length: float
    change: float


@final
@dataclass
class Path:
    """Stops of conjugate gradients, the nearest first; the residual at the end, and the vectors that were multiplied."""

    stops: list[Stop] = field(default_factory=list)
    residual: float = 1.0
    negative: bool = False
    products: int = 0
    rows: list[Tensor] = field(default_factory=list)
    images: list[Tensor] = field(default_factory=list)

    def keep(self, step: Tensor, image: Tensor, gradient: Tensor, length: float, end: bool) -> None:
        """A stop, where the path has grown enough since the last one, and at its end."""
        if end or not self.stops or length >= FURTHER * self.stops[-1].length:
            self.stops.append(Stop(step, length, float(gradient @ step + 0.5 * (step @ image))))


def conjugate_gradients(
    product: Product, gradient: Tensor, tolerance: float, M: LowRank, radius: float = math.inf, most: int = PRODUCTS
) -> Path:
    """The path to s with |H s + g| <= tolerance |g| in the norm of M^-1, or as far as it leads within the radius."""
    out, room = Path(), min(KEPT, NUMBERS // (2 * len(gradient)))
    s, image, r = torch.zeros_like(gradient), torch.zeros_like(gradient), -gradient
    z = M.solve(r)
    p, square = z.clone(), float(r @ z)
    start, length, along, across = square, 0.0, 0.0, square  # squares: |r|, |s|, (s, p), |p| in the norms of M
    while out.products < most and square > tolerance**2 * start:
        Hp = product(p)
        out.products += 1
        if len(out.rows) < room:
            out.rows.append(p)
            out.images.append(Hp)
        curvature = float(p @ Hp)
        t = square / curvature if curvature > 0 else math.inf
        if curvature <= 0 or length + t * (2 * along + t * across) >= radius**2:
            out.negative = curvature <= 0
            reach = radius if math.isfinite(radius) else max(1.0, 2 * length**0.5)
            t = (math.sqrt(max(along**2 + across * (reach**2 - length), 0.0)) - along) / across
            out.keep(s + t * p, image + t * Hp, gradient, reach, True)
            out.residual = (square / start) ** 0.5
            return out
        s, image, r = s + t * p, image + t * Hp, r - t * Hp
        length += t * (2 * along + t * across)
        z = M.solve(r)
        before, square = square, float(r @ z)
        along, across = square / before * (along + t * across), square + (square / before) ** 2 * across
        p = z + square / before * p
        out.keep(s, image, gradient, length**0.5, square <= tolerance**2 * start)
    out.residual = (square / max(start, 1e-300)) ** 0.5
    if not out.stops or out.stops[-1].step is not s:
        out.keep(s, image, gradient, length**0.5, True)
    return out


def minimal_residual(
    product: Product, gradient: Tensor, tolerance: float, most: int = PRODUCTS
) -> tuple[Tensor, float, int]:
    """s with |H s + g| <= tolerance |g|, the share that is left and the products; H need not be positive [2]."""
    size = float(gradient.norm())
    s, v, older = torch.zeros_like(gradient), -gradient / max(size, 1e-300), torch.zeros_like(gradient)
    w = wider = older
    left, beta, turn, last = size, 0.0, (1.0, 0.0), (1.0, 0.0)  # rotations as (cosine, sine)
    k = 0
    while k < most and abs(left) > tolerance * size:
        k += 1
        image = product(v)
        alpha = float(v @ image)
        image = image - alpha * v - beta * older
        following = float(image.norm())
        first = turn[0] * alpha - last[0] * turn[1] * beta
        rho = max(math.hypot(first, following), 1e-300)
        w, wider = (v - (turn[1] * alpha + last[0] * turn[0] * beta) * w - last[1] * beta * wider) / rho, w
        turn, last = (first / rho, following / rho), turn
        s, left = s + turn[0] * left * w, -turn[1] * left
        older, v, beta = v, image / max(following, 1e-300), following
    return s, abs(left) / max(size, 1e-300), k


def newton_cg(
    slopes: Slopes,
    products: Products,
    x: Tensor,
    *,
    steps: int = 200,
    most: int = 6000,
    inside: Inside = everywhere,
    coarse: bool = False,
) -> Refined:
    """From x [n] to a critical point, or as far as J falls; near the end as far as the gradient does.

    Args:
        slopes: gives J and its gradient at points [1, n].
        products: ``products(x, coarse)`` gives the products with the Hessian at x, in float32 where it is ``coarse``.
        x: the start.
        steps: Newton steps at most.
        most: products at most.
        inside: which points are allowed.
        coarse: begin with products in float32.
    """
    return _Search(slopes, products, inside, coarse, x).run(steps, most)


@final
class _Search:
    """One search under way."""

    def __init__(self, slopes: Slopes, products: Products, inside: Inside, coarse: bool, x: Tensor):
        self.slopes, self.products, self.inside, self.coarse = slopes, products, inside, coarse
        self.x = x
        self.value, self.gradient = self._at(x)
        self.M = nothing(x)
        self.radius = 1.0 + float(x.norm())
        self.spent = 0

    def _at(self, x: Tensor) -> tuple[float, Tensor]:
        value, gradient = self.slopes(x[None])
        return float(value), gradient[0]

    def run(self, steps: int, most: int) -> Refined:
        for _ in range(steps):
            scale, size = max(1.0, abs(self.value)), float(self.gradient.abs().max())
            if size <= 0.01 * FINE * scale or self.spent >= most:
                break
            try:
                path = self._path(FORCING[1] if size <= CLOSE * scale else FORCING[0], most - self.spent)
                moved = not (path.negative and size <= FINE * scale) and self._advance(path)
            except ObjectiveError:  # a product that is not finite in float32
                if not self.coarse:
                    raise
                moved = False
            if not moved:
                if not self.coarse:
                    break
                self.coarse = False
        return self._last(most)

    def _path(self, tolerance: float, most: int) -> Path:
        """The way that conjugate gradients lead from here; a long one improves the preconditioner."""
        product, (g, scale) = self.products(self.x, self.coarse), self._scaled(self.gradient)
        M = self.M
        path = conjugate_gradients(product, g, tolerance, M, self.radius / scale, min(PRODUCTS, most))
        self.spent += path.products
        if path.products >= max(LONG, 1.5 * M.rank):
            images = [product(u) for u in M.U]
            self.spent += M.rank
            self.M = learnt([*M.U, *path.rows], [*images, *path.images], M)
            self.radius *= (self.M.sigma / M.sigma) ** 0.5
            path.stops = [_rescaled(s, (self.M.sigma / M.sigma) ** 0.5) for s in path.stops]
        path.stops = [Stop(s.step.double() * scale, s.length * scale, s.change * scale**2) for s in path.stops]
        return path

    def _scaled(self, g: Tensor) -> tuple[Tensor, float]:
        """A gradient as the products take it, with largest entry 1, and that entry; the preconditioner comes along."""
        scale = float(g.abs().max())
        g = (g / scale).float() if self.coarse else g / scale
        if self.M.U.dtype != g.dtype:
            self.M = nothing(g)
        return g, scale

    def _advance(self, path: Path) -> bool:
        """To the furthest stop at which J is as low as the model tells; false where there is none."""
        last = path.stops[-1]
        shorter = [
            Stop(path.stops[0].step * t, path.stops[0].length * t, path.stops[0].change * t) for t in (0.25, 0.06)
        ]
        for stop in [*reversed(path.stops), *shorter]:
            x = self.x + stop.step
            if not bool(self.inside(x[None])[0]):
                continue
            value, gradient = self._at(x)
            if math.isfinite(value) and bool(gradient.isfinite().all()) and self._lower(stop, value, gradient):
                self.radius = max(self.radius, WIDER * stop.length) if stop is last else NEARER * stop.length
                self.x, self.value, self.gradient = x, value, gradient
                return True
        return False

    def _lower(self, stop: Stop, value: float, gradient: Tensor) -> bool:
        if -stop.change > LEVEL * max(1.0, abs(self.value)):
            return value <= self.value + FALLS * stop.change
        level = abs(value - self.value) <= LEVEL * 100 * max(1.0, abs(self.value))
        return level and float(gradient.norm()) < float(self.gradient.norm())

    def _last(self, most: int) -> Refined:
        """The Newton step that is left, with a residual from products in float64, and what it tells of the point."""
        exact, size = self.products(self.x, False), float(self.gradient.norm())
        s, r = torch.zeros_like(self.gradient), self.gradient
        convex, residual = True, 1.0 if size > 0 else 0.0
        for _ in range(REFINEMENTS if math.isfinite(size) and size > 0 and self.spent < most else 0):
            g, scale = self._scaled(r)
            path = conjugate_gradients(self.products(self.x, self.coarse), g, FORCING[1], self.M)
            self.spent += path.products + 1
            if path.negative:
                s, residual, spent = minimal_residual(exact, self.gradient, FORCING[2])
                self.spent, convex = self.spent + spent, False
                break
            s = s + path.stops[-1].step.double() * scale
            before, r = residual, self.gradient + exact(s)
            residual = float(r.norm()) / size
            if residual <= FORCING[2] or residual > 0.5 * before:
                break
        return Refined(self.x, self.value, self.gradient, s, -float(self.gradient @ s), residual, convex, self.spent)


def _rescaled(stop: Stop, factor: float) -> Stop:
    return Stop(stop.step, stop.length * factor, stop.change)
