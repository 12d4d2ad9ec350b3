r"""L-BFGS for many starts at once, in coordinates in which the Hessian is nearly one.

A lane remembers its last steps s and changes of the gradient y, and moves by the inverse Hessian that these give on top
of gamma 1 [1, in the compact form of 2].  With a *metric* A, such that A A^T is about the inverse of the Hessian, the same
is done in the coordinates A^-1 x: after a few gradients the lane converges as Newton's method does.

[1] D. C. Liu and J. Nocedal, On the limited memory BFGS method for large scale optimization, Math. Programming 45 (1989).
[2] R. H. Byrd, J. Nocedal and R. B. Schnabel, Representations of quasi-Newton matrices, Math. Programming 63 (1994).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Protocol, final

import torch
from torch import Tensor

Slopes = Callable[[Tensor], tuple[Tensor, Tensor]]
Inside = Callable[[Tensor], Tensor]

MEMORY = 30  # pairs that a lane remembers
FALL, SLOPE = 1e-4, 0.9  # Wolfe's conditions: share of the predicted fall of J, and of the slope that may be left
FLAT = 1e-14  # change of J, relative to max(1, |J|), that is rounding: there the slope alone decides
HALVINGS = 40  # trials of one line search


class Metric(Protocol):
    """Coordinates A^-1 x: A^T g of a gradient, and A d of a step."""

    def gradient(self, g: Tensor) -> Tensor: ...

    def step(self, d: Tensor) -> Tensor: ...


@final
class Plain:
    """A = 1."""

    def gradient(self, g: Tensor) -> Tensor:
        return g

    def step(self, d: Tensor) -> Tensor:
        return d


@final
@dataclass
class Lines:
    """Lanes in the middle of a line search along d, with t between ``low`` and ``high``.

    In the metric's coordinates: the direction ``inner``, the last steps S and changes Y [lanes, MEMORY, n], the latest at place
    ``count`` modulo MEMORY, and their products SY and YY.
    """

    x: Tensor
    value: Tensor
    gradient: Tensor
    d: Tensor
    inner: Tensor
    slope: Tensor
    t: Tensor
    low: Tensor
    high: Tensor
    trials: Tensor
    S: Tensor
    Y: Tensor
    SY: Tensor
    YY: Tensor
    count: Tensor
    lane: Tensor
    metric: list[Metric]

    def at(self, chosen: Tensor) -> Lines:
        """Some of the lanes, by their positions."""
        kept = {f.name: getattr(self, f.name)[chosen] for f in fields(self) if f.name != "metric"}
        return Lines(**kept, metric=[self.metric[i] for i in chosen.tolist()])


@final
@dataclass(frozen=True)
class Stand:
    """Where lanes are: points, J, gradients, and which of them got to the goal or cannot go on."""

    x: Tensor
    value: Tensor
    gradient: Tensor
    reached: Tensor
    stuck: Tensor

    def put(self, chosen: Tensor, new: Stand) -> None:
        """Some lanes went on."""
        for f in fields(self):
            getattr(self, f.name)[chosen] = getattr(new, f.name)


def quasi_newton(
    slopes: Slopes, start: Tensor, goal: float, budget: int, inside: Inside, metric: Sequence[Metric] | None = None
) -> Stand:
    """Lanes from ``start`` [lanes, n] until the gradient is at most ``goal`` max(1, |J|), or ``budget`` gradients are spent.

    ``metric`` has one for each lane.  Memory: 2 MEMORY n numbers for each lane.
    """
    value, gradient = slopes(start)
    nothing = torch.zeros(len(start), dtype=torch.bool, device=start.device)
    out = Stand(start.clone(), value.clone(), gradient.clone(), nothing, nothing.clone())
    good = value.isfinite() & gradient.isfinite().all(1) & inside(start)
    out.stuck[~good] = True
    now = _begun(start, value, gradient, metric).at(torch.nonzero(good)[:, 0])
    for _ in range(budget):
        size = now.gradient.abs().amax(1)
        reached = size <= goal * now.value.abs().clamp_min(1.0)
        stuck = ~reached & ((now.trials > HALVINGS) | (now.slope >= 0))
        over = reached | stuck
        if bool(over.any()):
            _write(out, now, over, reached, stuck)
            now = now.at(torch.nonzero(~over)[:, 0])
        if len(now.x) == 0:
            return out
        _trial(slopes, now, inside)
    left = torch.zeros_like(now.lane, dtype=torch.bool)
    _write(out, now, ~left, left, left)
    return out


def _begun(x: Tensor, value: Tensor, gradient: Tensor, metric: Sequence[Metric] | None) -> Lines:
    lanes, n = x.shape
    A: list[Metric] = [Plain()] * lanes if metric is None else list(metric)
    inner = -_inner(A, gradient)
    if metric is None:
        inner = inner / gradient.norm(dim=1, keepdim=True).clamp_min(1.0)
    d, zero = _outer(A, inner), x.new_zeros(lanes)
    S, Y = (x.new_zeros(lanes, MEMORY, n) for _ in "SY")
    SY, YY = (x.new_zeros(lanes, MEMORY, MEMORY) for _ in "SY")
    t, lane = _first(x, d), torch.arange(lanes, device=x.device)
    slope, far, trials = (d * gradient).sum(1), zero + torch.inf, zero.clone()
    return Lines(
        x, value, gradient, d, inner, slope, t, zero, far, trials, S, Y, SY, YY, torch.zeros_like(lane), lane, A
    )


def _first(x: Tensor, d: Tensor) -> Tensor:
    """The first t: one, or a step no longer than 1 + |x|."""
    return ((1 + x.norm(dim=1)) / d.norm(dim=1).clamp_min(1e-300)).clamp_max(1.0)


def _inner(metric: Sequence[Metric], g: Tensor) -> Tensor:
    return torch.stack([m.gradient(row) for m, row in zip(metric, g, strict=True)])


def _outer(metric: Sequence[Metric], d: Tensor) -> Tensor:
    return torch.stack([m.step(row) for m, row in zip(metric, d, strict=True)])


def _trial(slopes: Slopes, now: Lines, inside: Inside) -> None:
    """One gradient for every lane: the line search ends, or its interval is halved or doubled."""
    x = now.x + now.t[:, None] * now.d
    value, gradient = slopes(x)
    along = (gradient * now.d).sum(1)
    good = value.isfinite() & gradient.isfinite().all(1) & inside(x)
    falls = value <= now.value + FALL * now.t * now.slope
    level = value <= now.value + FLAT * now.value.abs().clamp_min(1.0)
    falls = good & (falls | level & (along <= (2 * FALL - 1) * now.slope))
    flatter = along >= SLOPE * now.slope
    done = torch.nonzero(falls & flatter)[:, 0]
    taken = now.t[done]
    now.trials += 1
    now.high = torch.where(falls, now.high, now.t)
    now.low = torch.where(falls & ~flatter, now.t, now.low)
    now.t = torch.where(now.high.isinf(), 2 * now.t, (now.low + now.high) / 2)
    if len(done):
        _advance(now, done, x[done], value[done], gradient[done], taken)


def _advance(now: Lines, done: Tensor, x: Tensor, value: Tensor, gradient: Tensor, taken: Tensor) -> None:
    """A step is taken: its pair joins the memory, and a new direction is found."""
    A, place = [now.metric[i] for i in done.tolist()], now.count[done] % MEMORY
    s, y = taken[:, None] * now.inner[done], _inner(A, gradient - now.gradient[done])
    curved = (s * y).sum(1) > 1e-12 * s.norm(dim=1) * y.norm(dim=1)
    s, y = torch.where(curved[:, None], s, 0.0), torch.where(curved[:, None], y, 0.0)
    now.S[done, place], now.Y[done, place] = s, y
    S, Y = now.S[done], now.Y[done]
    now.SY[done, :, place], now.SY[done, place] = _times(S, y), _times(Y, s)
    now.YY[done, :, place] = now.YY[done, place] = _times(Y, y)
    now.count[done] += 1
    now.x[done], now.value[done], now.gradient[done] = x, value, gradient
    now.inner[done] = inner = -_inverse(S, Y, now.SY[done], now.YY[done], now.count[done], _inner(A, gradient))
    now.d[done] = d = _outer(A, inner)
    now.slope[done] = (d * gradient).sum(1)
    now.t[done], now.low[done], now.high[done], now.trials[done] = _first(x, d), 0.0, torch.inf, 0.0


def _times(rows: Tensor, v: Tensor) -> Tensor:
    return (rows @ v.unsqueeze(-1))[..., 0]


def _inverse(S: Tensor, Y: Tensor, SY: Tensor, YY: Tensor, count: Tensor, g: Tensor) -> Tensor:
    """The inverse Hessian of the pairs times g: with R the upper triangle of S Y^T, oldest first, D its diagonal,

    gamma g + S^T R^-T ((D + gamma Y Y^T) R^-1 S g - gamma Y g) - gamma Y^T R^-1 S g.
    """
    order = (count[:, None] + torch.arange(MEMORY, device=g.device)) % MEMORY
    two = order[:, :, None].expand(-1, -1, MEMORY), order[:, None, :].expand(-1, MEMORY, -1)
    SY, YY = (M.gather(1, two[0]).gather(2, two[1]) for M in (SY, YY))
    D = SY.diagonal(dim1=1, dim2=2)
    blank = D == 0
    gamma = torch.where(blank[:, -1], 1.0, D[:, -1] / torch.where(blank, 1.0, YY.diagonal(dim1=1, dim2=2))[:, -1])
    R = SY.triu() + torch.diag_embed(blank.to(g))
    p, q = (_times(M, g).gather(1, order).unsqueeze(-1) for M in (S, Y))
    a = torch.linalg.solve_triangular(R, p, upper=True)
    weight = gamma[:, None, None]
    b = torch.linalg.solve_triangular(R.mT, D.unsqueeze(-1) * a + weight * (YY @ a - q), upper=False)
    back = torch.zeros_like(order).scatter(1, order, torch.arange(MEMORY, device=g.device).expand_as(order))
    a, b = (v[..., 0].gather(1, back).unsqueeze(1) for v in (a, b))
    return gamma[:, None] * g + (b @ S)[:, 0] - gamma[:, None] * (a @ Y)[:, 0]


def _write(out: Stand, now: Lines, over: Tensor, reached: Tensor, stuck: Tensor) -> None:
    lane = now.lane[over]
    out.x[lane], out.value[lane], out.gradient[lane] = now.x[over], now.value[over], now.gradient[over]
    out.reached[lane], out.stuck[lane] = reached[over], stuck[over]
