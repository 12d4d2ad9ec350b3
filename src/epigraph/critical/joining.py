"""Points found at different times as one list: each new one counted at the known one of which it is a copy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch

from epigraph.critical.classify import Nature
from epigraph.critical.merge import Class, merge
from epigraph.critical.minimize import newton
from epigraph.critical.result import CriticalPoint
from epigraph.critical.starts import flatten
from epigraph.hessian.dense import Dense
from epigraph.symmetry.result import Symmetries


def classes(dense: Dense, found: Symmetries, every: Sequence[CriticalPoint]) -> list[Class]:
    """Which of these points are copies of each other."""
    if not every:
        return []
    x = torch.stack([flatten(dense, p.point) for p in every])
    margin = torch.tensor([p.margin for p in every], dtype=torch.float64)
    natures = [Nature(p.kind, p.index, p.nullity, p.margin, p.reason, p.nullity > p.predicted) for p in every]
    return merge(dense, found, newton(x, dense.of(x)), margin, natures)


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
