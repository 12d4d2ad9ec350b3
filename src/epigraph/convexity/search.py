"""Searching in floating point for points at which a property fails.  Nothing is concluded here.

A candidate is a midpoint m and a displacement d.  Its defect is what the property forbids: J(m) - (J(m+d) + J(m-d))/2
for convexity, J(m) - max(J(m+d), J(m-d)) for quasiconvexity, and the mirror images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from epigraph.objective.domain import Domain
from epigraph.objective.evaluate import Evaluator

Hint = tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]  # a point and a direction, by name
KINDS = ("convex", "concave", "quasiconvex", "quasiconcave")
NOISE = 1e-9  # a relative defect below this is not pursued


@final
@dataclass(frozen=True)
class Candidate:
    """A suspected violation: the moving parameters' midpoint and displacement, flat, and the relative defect in floats."""

    kind: str
    m: Tensor
    d: Tensor
    defect: float
    refuter: str


def drawn_in(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Bounds moved inwards by 2^-30 of the width, at most 2^-30; a point stays a point."""
    margin = (high - low).clamp(max=1.0) * 2.0**-30
    return torch.where(margin > 0, low + margin, low), torch.where(margin > 0, high - margin, high)


@final
class View:
    """J in some blocks, the others fixed at a point; everything that does not move is computed once.

    ``wholes`` gives the shapes of the blocks where the base has size 1 along some dimensions: there the blocks stay
    constant, and the view has one variable for all their entries.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        base: Mapping[str, Tensor],
        domain: Domain,
        fixed: Mapping[str, Tensor] | None = None,
        wholes: Mapping[str, torch.Size] | None = None,
    ):
        self.evaluator, self.fixed = evaluator, dict(fixed or {})
        self.names = tuple(base)
        self.base = {k: v.detach().double() for k, v in base.items()}
        self.shapes = {k: v.shape for k, v in self.base.items()}
        self.wholes = {**self.shapes, **(wholes or {})}
        self.size = sum(v.numel() for v in self.base.values())
        graph = evaluator.graph
        self.work = sum(n.numel for n in graph if evaluator._moves[n.id]) + 1
        self.lower, self.upper = self._box(domain)
        self.bounded = bool(torch.isfinite(self.lower).any() or torch.isfinite(self.upper).any())
        self._batched = True

    def _box(self, domain: Domain) -> tuple[Tensor, Tensor]:
        """The domain drawn in by a little, so that no point lies on a boundary that may be meant as open."""
        sides = []
        for box, default in ((domain.lower, -math.inf), (domain.upper, math.inf)):
            parts = [
                box[n].expand(s).reshape(-1) if n in box else torch.full((s.numel(),), default, dtype=torch.float64)
                for n, s in self.shapes.items()
            ]
            sides.append(torch.cat(parts))
        return drawn_in(sides[0], sides[1])

    @property
    def origin(self) -> Tensor:
        """The base point, flat."""
        return torch.cat([self.base[n].reshape(-1) for n in self.names])

    def unflatten(self, x: Tensor) -> dict[str, Tensor]:
        """The blocks of a flat point."""
        return {n: v if v.shape == self.wholes[n] else v.expand(self.wholes[n]) for n, v in self.parts(x).items()}

    def parts(self, x: Tensor) -> dict[str, Tensor]:
        """The variables of each block, in the shapes of the base."""
        out, at = {}, 0
        for name, shape in self.shapes.items():
            out[name] = x[at : at + shape.numel()].reshape(shape)
            at += shape.numel()
        return out

    def value(self, x: Tensor) -> Tensor:
        """J at a flat point; differentiable."""
        return self.evaluator(self.unflatten(x))

    def values(self, points: Tensor) -> Tensor:
        """J at the rows of a matrix, batched where that works."""
        with torch.no_grad():
            chunk = max(1, min(len(points), int(4e6 / (self.work + self.size))))
            if self._batched and chunk > 1:
                try:
                    return torch.func.vmap(self.value, chunk_size=chunk)(points)
                except Exception:  # an operator without a batching rule: evaluate one by one
                    self._batched = False
            return torch.stack([self.value(p) for p in points])

    def summands(self, x: Tensor) -> float:
        """The scale of rounding of J at a point."""
        return self.evaluator.summands(self.unflatten(x))

    def inside(self, x: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(x, self.lower), self.upper)

    def reach(self, m: Tensor, d: Tensor) -> float:
        """The largest t <= 1 such that m +- t d stay in the box."""
        if not self.bounded:
            return 1.0
        moving = d != 0
        room = torch.minimum(self.upper - m, m - self.lower)
        ratio = torch.where(moving, room / d.abs().clamp_min(1e-300), torch.inf)
        return float(ratio.min().clamp(0, 1)) if len(ratio) else 1.0


def defects(low: Tensor, mid: Tensor, high: Tensor) -> dict[str, Tensor]:
    """Relative defects of the four properties; NaN and infinite values give -inf."""
    scale = torch.maximum(torch.maximum(low.abs(), mid.abs()), high.abs()).clamp_min(1e-300)
    gap = (mid - (low + high) / 2) / scale
    above, below = (mid - torch.maximum(low, high)) / scale, (torch.minimum(low, high) - mid) / scale
    usable = torch.isfinite(low) & torch.isfinite(mid) & torch.isfinite(high)
    named = {"convex": gap, "concave": -gap, "quasiconvex": above, "quasiconcave": below}
    return {k: torch.where(usable, v, -torch.inf) for k, v in named.items()}


def scan(
    view: View, starts: Tensor, ends: Tensor, count: int, kinds: Sequence[str], refuter: str
) -> dict[str, Candidate]:
    """The worst defects on segments, from ``count`` values on each and second differences at strides 1, 2, 4, ..."""
    steps = torch.linspace(0, 1, count, dtype=torch.float64)
    points = starts[:, None, :] + steps[None, :, None] * (ends - starts)[:, None, :]
    values = view.values(points.reshape(-1, view.size)).reshape(len(starts), count)
    best: dict[str, Candidate] = {}
    stride = 1
    while 2 * stride < count:
        found = defects(values[:, : -2 * stride], values[:, stride:-stride], values[:, 2 * stride :])
        for kind in kinds:
            worst = float(found[kind].max())
            if worst > max(NOISE, best[kind].defect if kind in best else 0.0):
                row, column = divmod(int(found[kind].argmax()), found[kind].shape[1])
                d = (ends[row] - starts[row]) * (stride / (count - 1))
                best[kind] = Candidate(kind, points[row, column + stride], d, worst, refuter)
        stride *= 2
    return best


LARGE = 1e6  # variables; above, a few steps only are tried along a direction
HEAVY = 1e7  # entries that one evaluation touches; above, the first clear violation is taken
CLEAR = 0.05  # a relative defect that is a clear violation
LADDER = (1.0, 10.0, 0.1, 100.0, 0.01, 1000.0)


def lines(
    view: View, kinds: Sequence[str], generator: torch.Generator, rounds: int, evaluations: float
) -> Iterator[dict[str, Candidate]]:
    """Lines through the base point, the origin and random points, at a ladder of scales; the best candidates of each rung."""
    if view.size > 1e6:
        return
    count = 129 if view.work < 2e4 else 33 if view.work < 2e6 else 17
    rows = int(max(2, min(24, evaluations / count)))
    for round_ in range(rounds):
        for scale in LADDER:
            starts, ends = _segments(view, scale, rows, generator, round_)
            yield scan(view, starts, ends, count, kinds, "line")


def _segments(view: View, scale: float, rows: int, generator: torch.Generator, round_: int) -> tuple[Tensor, Tensor]:
    """Segments of half-length about ``scale`` with various centres and directions, inside the box."""
    n = view.size
    normal = torch.randn(2, rows, n, generator=generator, dtype=torch.float64)
    centre = normal[0] * scale
    centre[0::3] = view.origin
    centre[1::6] = view.origin + 0.3 * centre[1::6]
    centre[4::6] = 0.0
    direction = normal[1]
    axes = torch.randint(n, (rows,), generator=generator)
    lone = torch.zeros_like(direction).scatter_(1, axes[:, None], 1.0)
    pair = lone.scatter(1, torch.randint(n, (rows, 1), generator=generator), 1.0)
    pick = (torch.arange(rows) + round_) % 4
    direction = torch.where(pick[:, None] == 1, lone, torch.where(pick[:, None] == 2, pair, direction))
    starts, ends = centre - scale * direction, centre + scale * direction
    return _boxed(view, starts, generator), _boxed(view, ends, generator)


def _boxed(view: View, x: Tensor, generator: torch.Generator) -> Tensor:
    """Points moved into the box: clamped where one side is open, drawn uniformly where both are closed."""
    both = torch.isfinite(view.lower) & torch.isfinite(view.upper)
    if bool(both.any()):
        low, high = torch.where(both, view.lower, 0.0), torch.where(both, view.upper, 1.0)
        drawn = low + (high - low) * torch.rand(x.shape, generator=generator, dtype=torch.float64)
        keep = (x >= view.lower) & (x <= view.upper)
        x = torch.where(both & ~keep, drawn, x)
    reflected = torch.where(x < view.lower, 2 * view.lower - x, torch.where(x > view.upper, 2 * view.upper - x, x))
    reflected = torch.where(torch.isfinite(reflected), reflected, x)
    return view.inside(reflected)


def symmetric(view: View, kinds: Sequence[str], refuter: str = "sign-symmetric midpoint") -> dict[str, Candidate]:
    """The base point and its negative in the moving blocks, with zero between them: three evaluations."""
    x = view.origin
    zero = view.inside(torch.zeros_like(x))
    d = (x - zero) * view.reach(zero, x - zero)
    return _judge(view, zero, d, kinds, refuter)


def _judge(view: View, m: Tensor, d: Tensor, kinds: Sequence[str], refuter: str) -> dict[str, Candidate]:
    if not bool((d != 0).any()):
        return {}
    low, mid, high = view.values(torch.stack([m - d, m, m + d]))
    found = defects(low, mid, high)
    return {k: Candidate(k, m, d, float(found[k]), refuter) for k in kinds if float(found[k]) > NOISE}


def along(
    view: View, point: Mapping[str, np.ndarray], direction: Mapping[str, np.ndarray], kind: str
) -> dict[str, Candidate]:
    """Steps of several lengths from a point along a direction, blocks that are not named at zero."""
    m, d = (
        torch.cat(
            [torch.as_tensor(x.get(n, np.zeros(s)), dtype=torch.float64).reshape(-1) for n, s in view.shapes.items()]
        )
        for x in (point, direction)
    )
    m, best = view.inside(m), dict[str, Candidate]()
    for size in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0):
        _merge(best, _judge(view, m, size * d * view.reach(m, size * d), [kind], "direction of least curvature"))
    return best


def product_direction(
    view: View, head: Sequence[str], kinds: Sequence[str], generator: torch.Generator
) -> dict[str, Candidate]:
    """At head = 0 a product head * features has the indefinite Hessian [[0, c], [c', B]]: one product finds c.

    ``head`` are the blocks of the later factor; the other moving blocks are those of the earlier one.
    """
    in_head = torch.cat([torch.full((s.numel(),), n in head, dtype=torch.bool) for n, s in view.shapes.items()])
    m = view.inside(torch.where(in_head, 0.0, view.origin))
    best: dict[str, Candidate] = {}
    for attempt in range(3):
        x = m.clone().requires_grad_(True)
        value = view.value(x)
        if not value.requires_grad:
            return best
        (gradient,) = torch.autograd.grad(value, x, create_graph=True)
        direction = torch.where(in_head, gradient.detach(), 0.0)
        if attempt or float(direction.norm()) < 1e-12:
            noise = torch.randn(view.size, generator=generator, dtype=torch.float64)
            direction = torch.where(in_head, noise, 0.0)
        direction = direction / direction.norm().clamp_min(1e-300)
        if not gradient.requires_grad:
            return best
        (mixed,) = torch.autograd.grad((gradient * direction).sum(), x, allow_unused=True)
        if mixed is None:
            return best
        mixed = torch.where(in_head, 0.0, mixed.detach())
        if not bool(torch.isfinite(mixed).all()) or float(mixed.norm()) < 1e-14:
            continue
        other = -mixed / mixed.norm()
        _merge(best, _ladder_pairs(view, m, direction, other, kinds))
        if all(k in best for k in kinds):
            break
    return best


def _ladder_pairs(view: View, m: Tensor, first: Tensor, second: Tensor, kinds: Sequence[str]) -> dict[str, Candidate]:
    """Displacements a * first + b * second over a grid of magnitudes and both signs, b = 0 included."""
    sizes = [0.05, 0.2, 0.7, 2.0, 6.0, 20.0]
    steps = [(a, 0.0) for a in sizes] + [(a, s * b) for a in sizes for b in sizes for s in (1, -1)]
    heavy = view.size > LARGE or view.work > HEAVY
    if heavy:
        steps = [(a, s * a) for a in (2.0, 6.0, 20.0, 0.7) for s in (1, -1)]
    middle = view.values(m[None])
    best: dict[str, Candidate] = {}
    rows = 2 if heavy else max(1, min(len(steps), int(4e6 / view.size)))
    for start in range(0, len(steps), rows):
        moves = torch.stack([a * first + b * second for a, b in steps[start : start + rows]])
        moves *= torch.tensor([view.reach(m, d) for d in moves], dtype=torch.float64)[:, None]
        found = defects(view.values(m - moves), middle.expand(len(moves)), view.values(m + moves))
        for kind in kinds:
            worst = int(found[kind].argmax())
            defect = float(found[kind][worst])
            if defect > max(NOISE, best[kind].defect if kind in best else 0.0):
                best[kind] = Candidate(kind, m, moves[worst].clone(), defect, "product direction at a zero factor")
        if heavy and all(k in best and best[k].defect > CLEAR for k in kinds):
            break
    return best


def _merge(best: dict[str, Candidate], found: Mapping[str, Candidate]) -> None:
    for kind, candidate in found.items():
        if kind not in best or candidate.defect > best[kind].defect:
            best[kind] = candidate


def ascent(view: View, kind: str, generator: torch.Generator, steps: int = 60) -> Candidate | None:
    """Adam on (m, d), maximising the relative defect of convexity or concavity; stops at one per cent."""
    sign = 1.0 if kind == "convex" else -1.0
    scale = view.origin.abs().mean().clamp_min(0.1)
    m = (view.origin + 0.3 * scale * torch.randn(view.size, generator=generator, dtype=torch.float64)).requires_grad_(
        True
    )
    d = (scale * torch.randn(view.size, generator=generator, dtype=torch.float64)).requires_grad_(True)
    optimizer = torch.optim.Adam([m, d], lr=0.1 * float(scale))
    best: Candidate | None = None
    for _ in range(steps):
        low, mid, high = (view.value(p) for p in (m - d, m, m + d))
        gap = sign * (mid - (low + high) / 2) / torch.stack([low.abs(), mid.abs(), high.abs()]).max().clamp_min(1e-300)
        if not bool(torch.isfinite(gap)) or not gap.requires_grad:
            break
        here = view.inside(m.detach())
        move = d.detach() * view.reach(here, d.detach())
        found = _judge(view, here, move, [kind], "gap ascent").get(kind)
        if found is not None and (best is None or found.defect > best.defect):
            best = found
        if best is not None and best.defect > 0.01:
            break
        optimizer.zero_grad()
        m.grad, d.grad = torch.autograd.grad(-gap, (m, d))
        optimizer.step()
    return best


def ritz(view: View, kinds: Sequence[str], generator: torch.Generator, steps: int = 15) -> dict[str, Candidate]:
    """Lanczos at the base point; lines along every Ritz vector whose value has the forbidden sign."""
    m = view.inside(view.origin)
    product = _hessian_product(view, m)
    if product is None:
        return {}
    if not bool(torch.isfinite(product(torch.ones(view.size, dtype=torch.float64))).all()):
        return {}
    vectors, values = _lanczos(product, view.size, min(steps, view.size), generator)
    best: dict[str, Candidate] = {}
    for value, vector in zip(values.tolist(), vectors, strict=True):
        for size in (0.03, 0.1, 0.3, 1.0, 3.0, 10.0):
            d = size * vector
            _merge(
                best,
                _judge(
                    view, m, d * view.reach(m, d), [k for k in kinds if ("convex" in k) == (value < 0)], "Ritz vector"
                ),
            )
    return best


def _hessian_product(view: View, m: Tensor) -> Callable[[Tensor], Tensor] | None:
    x = m.clone().requires_grad_(True)
    value = view.value(x)
    if not value.requires_grad:
        return None
    (gradient,) = torch.autograd.grad(value, x, create_graph=True)
    if not gradient.requires_grad:
        return None
    return lambda v: torch.autograd.grad((gradient * v).sum(), x, retain_graph=True)[0].detach()


def _lanczos(
    product: Callable[[Tensor], Tensor], n: int, steps: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Ritz vectors (rows) and values, with full reorthogonalisation."""
    q = torch.randn(n, generator=generator, dtype=torch.float64)
    basis, alphas, betas = [q / q.norm()], [], []
    for _ in range(steps):
        w = product(basis[-1])
        alphas.append(float(basis[-1] @ w))
        Q = torch.stack(basis)
        for _ in range(2):
            w = w - Q.T @ (Q @ w)
        beta = float(w.norm())
        if beta < 1e-10 or len(basis) == steps:
            break
        betas.append(beta)
        basis.append(w / beta)
    k = len(alphas)
    T = torch.diag(torch.tensor(alphas, dtype=torch.float64))
    if k > 1:
        off = torch.tensor(betas[: k - 1], dtype=torch.float64)
        T = T + torch.diag(off, 1) + torch.diag(off, -1)
    values, S = torch.linalg.eigh(T)
    return S.T @ torch.stack(basis[:k]), values
