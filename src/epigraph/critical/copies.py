"""The copies of flat points under permutations and sign flips, one by one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from epigraph.critical.starts import Moves

SAME = 1e-7  # distance, relative to 1 + |x|, within which two copies are one


def orbit(flips: Sequence[Moves], x: Tensor, limit: int) -> Tensor:
    """The points [copies, *shape] that generators move ``x`` [*shape] to, itself first; at most ``limit`` of them.

    The last axis of ``x`` is that of the parameters: several points are moved together by the same element.
    """
    every, fresh = x[None], x[None]
    close = SAME * (1 + float(x.norm()))
    while len(fresh) and len(every) < limit:
        moved = [flip(fresh) for flip in flips]
        fresh = _new(torch.cat(moved), every, close) if moved else every[:0]
        every = torch.cat([every, fresh])
    return every[:limit]


def copies_of(flips: Sequence[Moves], points: Tensor, limit: int) -> Tensor:
    """Points [m, n] with their copies, each once; with a limit to the copies of all, an equal share for each point."""
    out, each = points[:0], max(1, limit // max(1, len(points)))
    for x in points:
        if len(out) == 0 or float((out - x).norm(dim=1).min()) > SAME * (1 + float(x.norm())):
            out = torch.cat([out, orbit(flips, x, each)])
    return out


def _new(candidates: Tensor, known: Tensor, close: float) -> Tensor:
    """Those that are near to none of the known ones, each once."""
    flat = candidates.flatten(1)
    far = torch.cdist(flat, known.flatten(1)).amin(1) > close
    flat, candidates = flat[far], candidates[far]
    if len(flat) == 0:
        return candidates
    near = torch.cdist(flat, flat) <= close
    first = near.to(torch.int8).argmax(1) == torch.arange(len(flat))
    return candidates[first]
