"""One objective searched for critical points, batch after batch of starts."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import final

import torch
from torch import Tensor

from epigraph.critical.certify import certified
from epigraph.critical.classify import Kind, Nature, classify, escaping, margins, outbound, resolve
from epigraph.critical.completeness import completeness
from epigraph.critical.descent import descend
from epigraph.critical.merge import Class, distinct, errors, merge
from epigraph.critical.minimize import Ended, Inside, Polished, Rule, everywhere, joined, polish, search
from epigraph.critical.result import Catalogue, CriticalPoint
from epigraph.critical.saddle import GradientLength, flat_stop
from epigraph.critical.starts import KINDS, Starts, flatten, starts, unflatten
from epigraph.hessian.dense import Dense
from epigraph.objective.objective import Objective
from epigraph.symmetry.result import Symmetries, symmetries
from epigraph.symmetry.stabiliser import stabiliser

DECIDED = (Kind.minimum, Kind.saddle, Kind.maximum)
ESCAPE = 0.05  # length of the step from a saddle along its negative curvature


@final
class Explorer:
    """Searches one objective, batch after batch; the graph, its program and its symmetries are made once."""

    def __init__(self, J: Objective, saddles: bool, certify: bool, seed: int, say: Callable[..., None]):
        self.J, self.with_saddles, self.certify, self.seed, self.say = J, saddles, certify, seed, say
        say("capturing the graph")
        self.dense = Dense(J.graph(), tuple(J.parameters))
        self.inside = within(J, self.dense)
        say("looking for symmetries")
        self.found: Symmetries = symmetries(J, seed=seed)

    def catalogue(self, count: int, given: Sequence[Mapping[str, Tensor]] = (), first: int = 0) -> Catalogue:
        """The points that starts ``first`` to ``first + count`` lead to; the same starts give the same points."""
        began = time.monotonic()
        self.ends: Counter[str] = Counter()
        self.lowest = math.inf  # of J where starts ran to infinity
        generator = torch.Generator().manual_seed((self.seed * 2**32 + first) % 2**63)
        points, kinds = self._points(count, [flatten(self.dense, p) for p in given], generator)
        effort = {"starts": count, "saddles": self.with_saddles, "seed": self.seed}
        listed = self._listed(points, kinds)
        if self.certify:
            self.say(f"certifying {len(listed)} points")
            listed = certified(self.J, listed, self.found)
        return Catalogue(
            self.J.describe(),
            listed,
            {k: v for k, v in self.ends.items() if v},
            completeness(self.J, listed),
            (*self.J.notes, *self.found.notes, *bounded(self.J), *notes(listed, self.lowest)),
            {**effort, "seconds": round(time.monotonic() - began, 3)},
        )

    def _points(self, count: int, given: Sequence[Tensor], generator: torch.Generator) -> tuple[Polished, Tensor]:
        first = starts(self.dense, self.found, count, generator, given)
        self.say(f"minimising from {len(first.x)} starts")
        points, kinds = [self._from(first)], [first.kind[self.kept]]
        if self.with_saddles:
            second = starts(self.dense, self.found, count, generator, given)
            self.say(f"looking for saddles from {len(second.x)} starts")
            points.append(self._from(second, GradientLength()))
            kinds.append(second.kind[self.kept])
            third = self._downhill(joined(points))
            points.append(self._from(third))
            kinds.append(third.kind[self.kept])
        return joined(points), torch.cat(kinds)

    def _from(self, first: Starts, rule: Rule | None = None) -> Polished:
        """Search, downhill where there is no rule, and polish; ``kept`` are the starts that came to a critical point, the others are counted."""
        end = (
            descend(self.dense, first.x, inside=self.inside)
            if rule is None
            else search(self.dense, first.x, rule, inside=self.inside)
        )
        polished = polish(self.dense, end.x[end.reached], inside=self.inside)
        good = polished.critical
        away = ~good & outbound(polished)
        self.ends["critical"] += int(good.sum())
        self.ends["not polished"] += int((~good & ~away).sum())
        self._gone(polished.at(away))
        self._count_lost(end)
        self.kept = torch.nonzero(end.reached)[:, 0][good]
        return polished.at(good)

    def _gone(self, points: Polished) -> None:
        self.ends["to infinity"] += len(points.x)
        if len(points.x):
            self.lowest = min(self.lowest, float(points.jet.value.min()))

    def _count_lost(self, end: Ended) -> None:
        lost = ~end.reached
        finite = lost & end.gradient.isfinite()
        self.ends["no finite value"] += int((lost & ~finite).sum())
        if bool(finite.any()):
            flat = flat_stop(self.dense.of(end.x[finite]))
            self.ends["gradient-flat"] += int(flat.sum())
            self.ends["not converged"] += int((~flat).sum())

    def _downhill(self, points: Polished) -> Starts:
        """Two starts beside each saddle, one on either side along its most negative curvature; one saddle of each value."""
        bar = margins(self.dense, points)
        saddle = torch.nonzero(points.w[:, 0] < -bar)[:, 0]
        values = points.jet.value[saddle]
        order = values.argsort()
        rounded = (values[order] * 1e9).round()
        fresh = torch.cat([torch.ones(1, dtype=torch.bool), rounded.diff() > 0])[: len(order)]
        chosen = saddle[order[fresh]]
        _, V = torch.linalg.eigh(points.jet.hessian[chosen])
        step = ESCAPE * V[:, :, 0]
        x = torch.cat([points.x[chosen] + step, points.x[chosen] - step])
        return Starts(x, torch.full((len(x),), KINDS.index("saddle")))

    def _listed(self, points: Polished, kinds: Tensor) -> tuple[CriticalPoint, ...]:
        margin = margins(self.dense, points)
        away = escaping(self.dense, points, margin)
        self._gone(points.at(away))
        points, kinds, margin = points.at(~away), kinds[~away], margin[~away]
        groups = distinct(points)
        self.say(f"index and nullity of {len(groups)} points")
        first = torch.tensor([g[0] for g in groups], dtype=torch.long)
        heads, margin = points.at(first), margin[first]
        wholes = [unflatten(self.dense, x) for x in heads.x]
        predicted = [self.found.flat(p) for p in wholes]
        natures = classify(self.dense, heads, margin, predicted)
        self.say(f"merging the copies among {len(groups)} points")
        classes = merge(self.dense, self.found, heads, margin, natures)
        lanes = [[k for m in c.members for k in groups[m]] for c in classes]
        counted = [Counter(KINDS[k] for k in kinds[own].tolist()) for own in lanes]
        listed = [
            self._point(heads, c.members[0], natures, predicted, wholes, c, sources)
            for c, sources in zip(classes, counted, strict=True)
        ]
        return in_order(listed)

    def _point(
        self,
        heads: Polished,
        i: int,
        natures: Sequence[Nature],
        predicted: Sequence[int],
        wholes: Sequence[dict[str, Tensor]],
        members: Class,
        sources: Mapping[str, int],
    ) -> CriticalPoint:
        nature = resolve(self.dense, heads, i, natures[i], self.inside, self.seed)
        point, error = self.found.point(wholes[i]), float(errors(heads.at(torch.tensor([i]))))
        fixing = stabiliser(self.found.group, point, absolute=error)
        return CriticalPoint(
            kind=nature.kind,
            evidence="tested" if nature.kind in DECIDED else "undecided",
            value=float(heads.jet.value[i]),
            index=nature.index,
            nullity=nature.nullity,
            predicted=predicted[i],
            margin=nature.margin,
            spectrum=heads.w[i].clone(),
            gradient_norm=float(heads.gradient[i]),
            decrement=float(heads.decrement[i]),
            orbit=fixing.orbit,
            exact_orbit=fixing.exact and not nature.nullity,
            family=1 + members.open,
            found=sum(sources.values()),
            sources=dict(sources),
            doubtful=tuple(members.doubtful),
            reason=nature.reason,
            point=wholes[i],
        )


def in_order(points: Sequence[CriticalPoint]) -> tuple[CriticalPoint, ...]:
    """By value, with the positions that they then have in ``doubtful``."""
    order = sorted(range(len(points)), key=lambda i: (points[i].value, points[i].index))
    place = {old: new for new, old in enumerate(order)}
    return tuple(replace(points[i], doubtful=tuple(place[k] for k in points[i].doubtful)) for i in order)


def within(J: Objective, dense: Dense) -> Inside:
    """Which flat points lie in the domain."""
    if not (J.domain.lower or J.domain.upper):
        return everywhere

    def inside(x: Tensor) -> Tensor:
        wholes = [unflatten(dense, row) for row in x]
        return torch.tensor([all(J.domain.contains(k, v) for k, v in p.items()) for p in wholes], dtype=torch.bool)

    return inside


def bounded(J: Objective) -> list[str]:
    """What is not looked for where J has a domain."""
    if not (J.domain.lower or J.domain.upper):
        return []
    return ["points on the boundary of the domain are not looked for: minima there are missing"]


def notes(points: Sequence[CriticalPoint], lowest: float) -> list[str]:
    """What has to be said beside the list; ``lowest``: the least J of a start that ran to infinity."""
    out = []
    if any(p.doubtful for p in points):
        out.append("some points may be copies of others: the test for copies was not decided")
    if lowest < math.inf:
        below = lowest < min((p.value for p in points), default=math.inf)
        what = "an infimum is not attained" if below else "no minima"
        out.append(f"some starts run to infinity, where J tends to {lowest:.6g} or less: {what}")
    return out
