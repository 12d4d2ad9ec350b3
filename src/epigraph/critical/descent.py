r"""Down to a minimum from many starts at once, by damped Newton steps; few variables, so that Hessians are cheap.

Each lane moves by -(H + mu |H| 1)^-1 g with |H| the Frobenius norm: mu is raised until a Cholesky factor exists, which is
where the matrix is positive definite, and again where J does not fall.  Where H is indefinite that leads along its negative
curvature, away from saddles.  J alone is evaluated at a trial; gradient and Hessian follow where it was accepted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import final

import torch
from torch import Tensor

from epigraph.critical.metric import with_metrics
from epigraph.critical.minimize import (
    COARSE,
    FINE,
    LANES,
    NULL,
    PASSING,
    STALLED,
    STEP,
    Ended,
    Inside,
    everywhere,
    gathered,
    unended,
)
from epigraph.hessian.dense import Dense, Jet

EASIER, HARDER = 1 / 5, 4.0  # damping after a step that was accepted, and after one that was not
FEW = 100  # variables from which on most steps do without a Hessian
SHARPENED = 3  # steps without damping at the end
FIRST, LEAST = 1e-2, 1e-12  # damping at the start, and at least


@final
@dataclass
class Lanes:
    """Searches under way: points, jets, damping, and which of the starts each is."""

    x: Tensor
    value: Tensor
    gradient: Tensor
    hessian: Tensor
    damping: Tensor
    lane: Tensor

    def at(self, chosen: Tensor) -> Lanes:
        return Lanes(*(getattr(self, f.name)[chosen] for f in fields(self)))

    def move(self, chosen: Tensor, x: Tensor, jet: Jet) -> None:
        """Some lanes stand at other points now."""
        self.x[chosen], self.value[chosen] = x, jet.value
        self.gradient[chosen], self.hessian[chosen] = jet.gradient, jet.hessian


def descend(dense: Dense, start: Tensor, *, steps: int = 400, inside: Inside = everywhere) -> Ended:
    """Lanes from ``start`` [lanes, n] to where the gradient is small and the Hessian has no negative eigenvalue.

    ``inside`` tells which points are allowed; a step to any other is refused.  The lanes run on the device of ``dense``, and their
    ends come back to where they started.  Costs an evaluation of J and a Cholesky factor for each trial, a gradient and a Hessian
    for each step.
    """
    begun = start.to(dense.device)
    if dense.size > FEW:
        return gathered([with_metrics(dense, begun, inside)], start.device)
    end = unended(begun)
    for part in torch.arange(len(start), device=dense.device).split(max(1, LANES // dense.size**2)):
        _batch(dense, begun[part], part, end, steps, inside)
    return gathered([end], start.device)


def _batch(dense: Dense, start: Tensor, lane: Tensor, end: Ended, steps: int, inside: Inside) -> None:
    jet = dense.of(start)
    good = torch.nonzero(finite(jet.value, jet.gradient, jet.hessian) & inside(start))[:, 0]
    damping = torch.full_like(jet.value[good], FIRST)
    now = Lanes(start[good], jet.value[good], jet.gradient[good], jet.hessian[good], damping, lane[good])
    resting: list[Lanes] = []
    for _ in range(steps):
        rested = _rested(now)
        over = rested | (now.damping > STALLED)
        if bool(over.any()):
            record(end, now.at(over), rested[over])
            resting.append(now.at(rested))
            now = now.at(~over)
        if len(now.x) == 0:
            break
        _step(dense, now, inside)
    record(end, now, _rested(now))
    if resting:
        _sharpen(dense, joined(resting), end, inside)


def _sharpen(dense: Dense, now: Lanes, end: Ended, inside: Inside) -> None:
    """Newton steps without damping, each kept where the gradient falls and J stays within 1e-7 of itself."""
    now.damping[:] = LEAST
    for _ in range(SHARPENED):
        now = now.at(now.gradient.abs().amax(1) > 0.1 * FINE * now.value.abs().clamp_min(1.0))
        if len(now.x) == 0:
            return
        x = now.x - torch.cholesky_solve(now.gradient.unsqueeze(-1), _factors(now))[..., 0]
        jet = dense.of(x)
        close = (jet.value - now.value).abs() <= 1e-7 * now.value.abs().clamp_min(1.0)
        falls = jet.gradient.abs().amax(1) < now.gradient.abs().amax(1)
        better = torch.nonzero(close & falls & finite(jet.value, jet.gradient, jet.hessian) & inside(x))[:, 0]
        now = now.at(better)
        jet = Jet(jet.value[better], jet.gradient[better], jet.hessian[better])
        everyone = torch.ones_like(better, dtype=torch.bool)
        now.move(everyone, x[better], jet)
        record(end, now, everyone)


def _rested(now: Lanes) -> Tensor:
    """Is the gradient small, and the point not merely passing a saddle?"""
    gradient = now.gradient.abs().amax(1) / now.value.abs().clamp_min(1.0)
    small = gradient <= COARSE
    open_ = torch.nonzero(small & (gradient > PASSING))[:, 0]
    if len(open_):
        w = torch.linalg.eigvalsh(now.hessian[open_])
        small[open_] = w[:, 0] >= -NULL * w.abs().amax(1)
    return small


def _step(dense: Dense, now: Lanes, inside: Inside) -> None:
    """One trial for every lane."""
    factor = _factors(now)
    step = -torch.cholesky_solve(now.gradient.unsqueeze(-1), factor)[..., 0]
    x = now.x + step * (STEP / step.norm(dim=1, keepdim=True).clamp_min(STEP))
    lower = torch.nonzero((value_of(dense, x) < now.value) & inside(x))[:, 0]
    now.damping *= HARDER
    if len(lower):
        jet = dense.of(x[lower])
        good = finite(jet.value, jet.gradient, jet.hessian)
        moved = lower[good]
        now.move(moved, x[moved], Jet(jet.value[good], jet.gradient[good], jet.hessian[good]))
        now.damping[moved] = (now.damping[moved] * (EASIER / HARDER)).clamp_min(LEAST)


def _factors(now: Lanes) -> Tensor:
    """Cholesky factors of H + mu |H| 1, with mu raised where there are none."""
    size = now.hessian.flatten(1).norm(dim=1).clamp_min(1e-300)
    factor, failed = _factor(now.hessian, now.damping * size)
    left = torch.nonzero(failed)[:, 0]
    while len(left):
        now.damping[left] *= HARDER
        factor[left], failed = _factor(now.hessian[left], now.damping[left] * size[left])
        left = left[failed.bool()]
    return factor


def _factor(hessian: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    shifted = hessian.clone()
    shifted.diagonal(dim1=1, dim2=2).add_(shift[:, None])
    factor, failed = torch.linalg.cholesky_ex(shifted)
    return factor, failed


def value_of(dense: Dense, x: Tensor) -> Tensor:
    """J at points [lanes, n]."""
    return dense.values(x)[dense.program.output].reshape(-1).expand(len(x))


def finite(*numbers: Tensor) -> Tensor:
    """Lanes in which all of these are finite: a sum of them is not, where one is not."""
    total = torch.stack([t if t.ndim == 1 else t.flatten(1).sum(1) for t in numbers])
    return total.isfinite().all(0)


def record(end: Ended, now: Lanes, reached: Tensor) -> None:
    """Where lanes stand, written where they belong."""
    end.x[now.lane], end.value[now.lane] = now.x, now.value
    end.gradient[now.lane], end.reached[now.lane] = now.gradient.abs().amax(1), reached


def joined(parts: Sequence[Lanes]) -> Lanes:
    """The lanes of several, one after the other."""
    return Lanes(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(Lanes)))
