r"""Which points are one: the same coordinates, or copies under the group of J.

Two points are candidates where their values and their spectra agree within their error bars; both are invariant under
the group.  Among candidates, points with the same coordinates are one point, and ``same`` decides about copies.  The
value alone never merges anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import torch
from torch import Tensor

from epigraph.critical.classify import Kind, Nature
from epigraph.critical.minimize import Polished
from epigraph.critical.starts import unflatten
from epigraph.hessian.dense import Dense
from epigraph.symmetry.canonical import same
from epigraph.symmetry.result import Symmetries

VALUE = 1e-9  # difference of two values, relative to max(1, |J|), up to which they may be one
RESTARTS = 20  # of the search for an element of the group
ENOUGH = 10  # undecided pairs after which a class on a continuous orbit is a family
CLOSE = 1e-9  # distance, relative to 1 + |x|, within which coordinates are the same


@final
@dataclass
class Class:
    """Points that are copies of the first one; ``doubtful``: earlier classes that may hold copies of it as well.

    ``open``: how many of the members have the same invariants but were not shown to be copies, where points are not
    isolated and a list of each would be endless.
    """

    members: list[int]
    doubtful: list[int]
    open: int = 0


def errors(points: Polished) -> Tensor:
    """How far each point may be from the critical point it approximates: ten Newton steps, and rounding."""
    return 10 * points.step.norm(dim=1) + CLOSE * (1 + points.x.norm(dim=1))


def distinct(points: Polished) -> list[list[int]]:
    """Groups of lanes with the same coordinates, each with its best polished lane first."""
    order = torch.argsort(points.jet.value)
    error = errors(points)
    out: list[list[int]] = []
    for block in _runs(points.jet.value[order], VALUE):
        left = order[block]
        while len(left):
            head = left[0]
            distance = (points.x[left] - points.x[head]).norm(dim=1)
            near = distance <= error[left] + error[head]
            lanes = left[near].tolist()
            out.append(sorted(lanes, key=lambda k: (float(points.gradient[k]), k)))
            left = left[~near]
    return out


def _runs(values: Tensor, gap: float) -> list[slice]:
    """Stretches of sorted values in which no neighbours are farther apart than ``gap``, relative to max(1, |v|)."""
    if len(values) == 0:
        return []
    cut = (values.diff() > gap * values[1:].abs().clamp_min(1.0)).nonzero()[:, 0] + 1
    ends = [0, *cut.tolist(), len(values)]
    return [slice(a, b) for a, b in pairwise(ends)]


def merge(dense: Dense, found: Symmetries, points: Polished, margin: Tensor, natures: Sequence[Nature]) -> list[Class]:
    """The classes of distinct points; ``natures`` and ``margin`` (of their eigenvalues) say which are isolated.

    Points with more zero eigenvalues than predicted are not isolated in general, nor are points on kinks.  Those of one
    kind and value (and index and nullity) are listed as one family; whether it is connected is not asked.
    """
    error = errors(points)
    classes: list[Class] = []
    for k in range(len(natures)):
        new = Class([k], [])
        for c, home in enumerate(classes):
            verdict = _one(dense, found, points, margin, error, natures, home, k)
            if verdict in ("same", "family"):
                home.members.append(k)
                home.open += verdict == "family"
                break
            if verdict == "undecided":
                new.doubtful.append(c)
        else:
            classes.append(new)
    return classes


def _one(
    dense: Dense,
    found: Symmetries,
    points: Polished,
    margin: Tensor,
    error: Tensor,
    natures: Sequence[Nature],
    home: Class,
    j: int,
) -> str:
    """One of same, different, undecided; or family, where undecided would be said of each of a continuum."""
    i = home.members[0]
    one, two = natures[i], natures[j]
    if one.kind != two.kind or not close(points, i, j):
        return "different"
    if float((points.x[i] - points.x[j]).norm()) <= float(error[i] + error[j]):
        return "same"
    if one.kind is Kind.nonsmooth:
        return "family"
    if (one.index, one.nullity) != (two.index, two.nullity):
        return "different"
    if one.family or home.open >= ENOUGH:
        return "family"
    if one.nullity == 0 and not alike(points, margin, i, j):
        return "different"  # along a continuous orbit the spectrum changes
    tolerance = float((error[i] + error[j]) / points.x[i].norm().clamp_min(1e-300))
    wholes = (unflatten(dense, points.x[k]) for k in (i, j))
    verdict = same(found, *wholes, tolerance=tolerance, restarts=RESTARTS if one.nullity == 0 else 1).verdict
    return "family" if verdict == "undecided" and one.nullity else verdict


def close(points: Polished, i: int, j: int) -> bool:
    """Do the values agree?"""
    value = points.jet.value
    return float((value[i] - value[j]).abs()) <= VALUE * max(1.0, float(value[i].abs()))


def alike(points: Polished, margin: Tensor, i: int, j: int) -> bool:
    """Do the spectra agree within their error bars?"""
    bar = float(margin[i] + margin[j]) + VALUE * float(points.w[i].abs().max())
    return float((points.w[i] - points.w[j]).abs().max()) <= bar
