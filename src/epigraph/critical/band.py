r"""Nudged elastic bands: chains of images between two points that relax onto a path over a saddle.

Each image feels the gradient across the band and springs along it (Jonsson, Mills and Jacobsen 1998), with the tangent
of Henkelman and Jonsson 2000; in the second half of the steps the highest image climbs instead: its force along the band
is turned round.  All bands move together, by damped dynamics (FIRE, Bitzek and others 2006).  The highest images are
where a search for a saddle of index 1 begins; their values are upper bounds of a barrier at best.
"""

from __future__ import annotations

import torch
from torch import Tensor

from epigraph.hessian.dense import Dense

IMAGES = 11  # between the two ends
STEPS = 160
KICK = 0.02  # of the distance of the ends: random part of the first band, without which it may keep to a symmetry
FARTHEST = 0.1  # longest move of an image in a step


def tops(dense: Dense, first: Tensor, second: Tensor, seed: int = 0) -> Tensor:
    """The local maxima [k, n] of J along relaxed bands from ``first`` to ``second``, [bands, n] each.

    Costs images times steps gradients for each band, a sweep forward and one back over all of them at once.
    """
    band = _straight(first, second, seed)
    limit = _slowest(dense, first, second)
    velocity, dt = torch.zeros_like(band), 0.3 * limit
    mixing, patience = torch.full_like(dt, 0.1), torch.zeros_like(dt)
    for step in range(STEPS):
        value, gradient = _along(dense, band)
        force = _force(band, value, gradient, climbing=step >= STEPS // 2)
        power = (force * velocity).sum((1, 2))
        forward = power > 0
        size = velocity.flatten(1).norm(dim=1) / force.flatten(1).norm(dim=1).clamp_min(1e-300)
        mixed = (1 - mixing)[:, None, None] * velocity + (mixing * size)[:, None, None] * force
        velocity = torch.where(forward[:, None, None], mixed, 0.0)
        patience = torch.where(forward, patience + 1, 0.0)
        eager = forward & (patience > 5)
        dt = torch.where(eager, (1.1 * dt).minimum(limit), torch.where(forward, dt, 0.5 * dt))
        mixing = torch.where(eager, 0.99 * mixing, torch.where(forward, mixing, 0.1))
        velocity = velocity + dt[:, None, None] * force
        move = dt[:, None, None] * velocity
        band = band + move * (FARTHEST / move.norm(dim=2, keepdim=True).clamp_min(FARTHEST))
    return _peaks(band, _along(dense, band)[0])


def _straight(first: Tensor, second: Tensor, seed: int) -> Tensor:
    """[bands, images + 2, n]: evenly spaced, the inner ones moved a little."""
    share = torch.linspace(0, 1, IMAGES + 2, dtype=torch.float64)[:, None]
    band = first[:, None] + share * (second - first)[:, None]
    generator = torch.Generator().manual_seed(seed)
    kick = torch.randn(len(band), 1, band.shape[2], generator=generator, dtype=torch.float64)
    length = (second - first).norm(dim=1)[:, None, None]
    bend = (share * (1 - share) * 4)[None]
    return band + KICK * length * bend * kick / kick.norm(dim=2, keepdim=True).clamp_min(1e-300)


def _slowest(dense: Dense, first: Tensor, second: Tensor) -> Tensor:
    """The longest time step [bands] that the largest curvature at the ends allows."""
    curvature = [torch.linalg.eigvalsh(dense.of(x).hessian).abs().amax(1) for x in (first, second)]
    return curvature[0].maximum(curvature[1]).clamp_min(1e-12).rsqrt()


def _along(dense: Dense, band: Tensor) -> tuple[Tensor, Tensor]:
    value, gradient = dense.slopes(band.flatten(0, 1))
    finite = value.isfinite() & gradient.isfinite().all(1)
    gradient = torch.where(finite[:, None], gradient, 0.0)
    return value.reshape(band.shape[:2]), gradient.reshape(band.shape)


def _force(band: Tensor, value: Tensor, gradient: Tensor, climbing: bool) -> Tensor:
    """What moves each image [bands, images + 2, n]; the ends stay."""
    ahead, behind = band[:, 2:] - band[:, 1:-1], band[:, 1:-1] - band[:, :-2]
    tangent = _tangent(value, ahead, behind)
    g = gradient[:, 1:-1]
    along = (g * tangent).sum(2, keepdim=True)
    stiffness = g.flatten(1).norm(dim=1)[:, None, None] / (ahead.norm(dim=2).sum(1)[:, None, None]).clamp_min(1e-300)
    spring = stiffness * (ahead.norm(dim=2, keepdim=True) - behind.norm(dim=2, keepdim=True))
    force = -g + (along + spring) * tangent
    if climbing:
        top = value[:, 1:-1].argmax(1)[:, None, None] == torch.arange(IMAGES)[None, :, None]
        force = torch.where(top, -g + 2 * along * tangent, force)
    out = torch.zeros_like(band)
    out[:, 1:-1] = force
    return out


def _tangent(value: Tensor, ahead: Tensor, behind: Tensor) -> Tensor:
    """Towards the higher neighbour; at an extremum both, weighted by the differences."""
    rise, fall = value[:, 2:] - value[:, 1:-1], value[:, 1:-1] - value[:, :-2]
    large, small = rise.abs().maximum(fall.abs()), rise.abs().minimum(fall.abs())
    upwards = value[:, 2:] > value[:, :-2]
    one, two = torch.where(upwards, large, small)[..., None], torch.where(upwards, small, large)[..., None]
    monotone_up, monotone_down = ((rise > 0) & (fall > 0))[..., None], ((rise < 0) & (fall < 0))[..., None]
    tangent = torch.where(monotone_up, ahead, torch.where(monotone_down, behind, one * ahead + two * behind))
    return tangent / tangent.norm(dim=2, keepdim=True).clamp_min(1e-300)


def _peaks(band: Tensor, value: Tensor) -> Tensor:
    """Inner images above both neighbours, and the highest inner one of each band."""
    inner = value[:, 1:-1]
    peak = (inner >= value[:, :-2]) & (inner >= value[:, 2:])
    peak |= inner.argmax(1)[:, None] == torch.arange(IMAGES)
    return band[:, 1:-1][peak & inner.isfinite()]
