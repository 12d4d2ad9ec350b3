"""Points found at different times as one list: each new one counted at the known one of which it is a copy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from epigraph.critical.classify import Nature
from epigraph.critical.merge import Class, merge
from epigraph.critical.minimize import Polished, newton
from epigraph.critical.result import CriticalPoint
from epigraph.critical.starts import flatten
from epigraph.hessian.dense import Dense, Jet
from epigraph.symmetry.result import Symmetries


def classes(dense: Dense, found: Symmetries, every: Sequence[CriticalPoint]) -> list[Class]:
    """Which of these points are copies of each other."""
    if not every:
        return []
    x = torch.stack([flatten(dense, p.point) for p in every])
    margin = torch.tensor([p.margin for p in every], dtype=torch.float64)
    natures = [Nature(p.kind, p.index, p.nullity, p.margin, p.reason, p.nullity > p.predicted) for p in every]
    whole = all(p.whole_spectrum for p in every)
    return merge(dense, found, newton(x, dense.of(x)) if whole else _told(x, every), margin, natures)


def _told(x: Tensor, every: Sequence[CriticalPoint]) -> Polished:
    """Points of a large model in the form that copies are told apart in, from what is written of them.

    Of the Newton step s that is left the length is bounded at a minimum, by s^T H s / w with the least eigenvalue w; elsewhere
    it counts as none, and copies are then told apart by the group's own test.
    """
    value, decrement, least = (
        torch.tensor(t, dtype=torch.float64)
        for t in zip(*((p.value, p.decrement, float(p.spectrum[0])) for p in every), strict=True)
    )
    isolated = torch.tensor([p.index == 0 and p.nullity == 0 and float(p.spectrum[0]) > p.margin for p in every])
    length = torch.where(isolated, (decrement / least.abs().clamp_min(1e-300)).sqrt(), 0.0)
    step = torch.zeros_like(x)
    step[:, 0] = length  # its direction is not asked for
    jet = Jet(value, torch.zeros_like(x), torch.zeros(len(x), 0, 0, dtype=torch.float64))
    return Polished(x, jet, least[:, None], step, decrement, step)


def united(
    dense: Dense, found: Symmetries, known: Sequence[CriticalPoint], new: Sequence[CriticalPoint]
) -> tuple[list[CriticalPoint], list[int]]:
    """The known points and what is new among the others, and the position there of each of both."""
    every = [*known, *new]
    if not new:
        return list(known), list(range(len(known)))
    out: list[CriticalPoint] = []
    home = [0] * len(every)
    for c in classes(dense, found, every):
        members = [every[m] for m in c.members]
        sources = sum((Counter(p.sources) for p in members), Counter())
        family = sum(p.family for p in members) if c.open else members[0].family
        counts = {"found": sum(p.found for p in members), "sources": dict(sources), "family": family}
        for m in c.members:
            home[m] = len(out)
        out.append(replace(members[0], **counts, doubtful=tuple(c.doubtful)))
    return out, home
