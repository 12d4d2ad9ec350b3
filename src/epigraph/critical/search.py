"""``epigraph.minima(J)``: critical points in bulk."""

from __future__ import annotations

import math
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import final

import torch
from torch import Tensor

from epigraph.critical.classify import Kind, Nature, classify, escaping, margins, outbound, resolve
from epigraph.critical.completeness import completeness
from epigraph.critical.merge import Class, distinct, errors, merge
from epigraph.critical.minimize import AbsoluteNewton, Ended, Inside, Polished, Rule, everywhere, joined, polish, search
from epigraph.critical.result import Catalogue, CriticalPoint
from epigraph.critical.saddle import GradientLength, flat_stop
from epigraph.critical.starts import KINDS, Starts, flatten, starts, unflatten
from epigraph.errors import UsageError
from epigraph.hessian.dense import Dense
from epigraph.objective.objective import Objective
from epigraph.objective.point import point_of
from epigraph.objective.world import untouched
from epigraph.symmetry.result import Symmetries, symmetries
from epigraph.symmetry.stabiliser import stabiliser

LARGEST = 2000  # variables up to which a dense Hessian for each start is thought of
DECIDED = (Kind.minimum, Kind.saddle, Kind.maximum)
ESCAPE = 0.05  # length of the step from a saddle along its negative curvature


def minima(
    J: Objective,
    starts: int = 1000,
    *,
    saddles: bool = True,
    at: Sequence[Mapping[str, Tensor]] = (),
    seed: int = 0,
    progress: Callable[..., None] | None = None,
) -> Catalogue:
    r"""Critical points of J from many starts: found, polished, told apart, and merged where they are copies.

    Minima by damped Newton steps with the absolute values of the Hessian's eigenvalues; saddles, where asked for, by
    Levenberg and Marquardt's method on the gradient, and from each saddle down both sides again.  A point is kept where
    its gradient is at most 1e-10 max(1, |J|); the rest of the starts are counted in ``ends``.  Copies under the group of
    ``epigraph.symmetries`` are one point.  All of it is floating point with error bars: "tested".

    Args:
        J: the objective, with up to some thousand variables: each start costs dense Hessians.
        starts: number of starts, as many again for saddles: the origin, random ones on several scales, and ones that
            symmetries leave in place.
        saddles: look for saddles as well.
        at: further points to start from.
        seed: of the random starts.
        progress: called with one line before each stage.

    Raises:
        UsageError: more than 2000 variables, no start, a point that does not fit J.
        ObjectiveError, CaptureError: J has no graph, or an operator without known derivatives.

    Example:
        >>> import torch, epigraph
        >>> f = lambda w: 0.5 * (1 - w[0] * w[1]) ** 2 + 0.05 * (w**2).sum()
        >>> found = epigraph.minima(epigraph.Objective.from_function(f, {"w": torch.ones(2)}), 50)
        >>> [(p.kind.value, p.index, p.orbit, round(p.value, 6)) for p in found.points]
        [('minimum', 0, 2, 0.095), ('saddle', 1, 1, 0.5)]
    """
    if not isinstance(J, Objective):
        raise UsageError("E020", f"minima takes an Objective, not a {type(J).__name__}", hint="epigraph.Objective(...)")
    if starts < 1:
        raise UsageError("E060", f"{starts} starts", hint="--starts 1000")
    if J.size > LARGEST:
        what = f"J has {J.size} variables: a dense Hessian for each start is not for more than {LARGEST}"
        raise UsageError("E061", what, hint="a smaller model, or freeze some parameters")
    given = [point_of(J, p) for p in at]
    with untouched(*J.roots()), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return _Run(J, starts, saddles, seed, progress or (lambda *parts: None)).run(given)


@final
class _Run:
    def __init__(self, J: Objective, count: int, saddles: bool, seed: int, say: Callable[..., None]):
        self.J, self.count, self.with_saddles, self.seed, self.say = J, count, saddles, seed, say
        self.began = time.monotonic()
        say("capturing the graph")
        graph = J.graph()
        self.dense = Dense(graph, tuple(J.parameters))
        self.inside = _within(J, self.dense)
        say("looking for symmetries")
        self.found: Symmetries = symmetries(J, seed=seed)
        self.ends: Counter[str] = Counter()
        self.lowest = math.inf  # of J where starts ran to infinity

    def run(self, given: Sequence[Mapping[str, Tensor]]) -> Catalogue:
        generator = torch.Generator().manual_seed(self.seed)
        flat = [flatten(self.dense, p) for p in given]
        first = starts(self.dense, self.found, self.count, generator, flat)
        self.say(f"minimising from {len(first.x)} starts")
        points, kinds = [self._from(first, AbsoluteNewton())], [first.kind[self.kept]]
        if self.with_saddles:
            second = starts(self.dense, self.found, self.count, generator, flat)
            self.say(f"looking for saddles from {len(second.x)} starts")
            points.append(self._from(second, GradientLength()))
            kinds.append(second.kind[self.kept])
            third = self._downhill(joined(points))
            points.append(self._from(third, AbsoluteNewton()))
            kinds.append(third.kind[self.kept])
        return self._catalogue(joined(points), torch.cat(kinds))

    def _from(self, first: Starts, rule: Rule) -> Polished:
        """Search and polish; ``kept`` are the starts that came to a critical point, the others are counted."""
        end = search(self.dense, first.x, rule, inside=self.inside)
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

    def _catalogue(self, points: Polished, kinds: Tensor) -> Catalogue:
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
        return self._listed(listed)

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

    def _listed(self, points: Sequence[CriticalPoint]) -> Catalogue:
        """In order of value, with the positions that they then have."""
        order = sorted(range(len(points)), key=lambda i: (points[i].value, points[i].index))
        place = {old: new for new, old in enumerate(order)}
        listed = tuple(replace(points[i], doubtful=tuple(place[k] for k in points[i].doubtful)) for i in order)
        return Catalogue(
            self.J.describe(),
            listed,
            {k: v for k, v in self.ends.items() if v},
            completeness(self.J, listed),
            (*self.J.notes, *self.found.notes, *_notes(listed, self.lowest)),
            {
                "starts": self.count,
                "saddles": self.with_saddles,
                "seed": self.seed,
                "seconds": round(time.monotonic() - self.began, 3),
            },
        )


def _within(J: Objective, dense: Dense) -> Inside:
    """Which flat points lie in the domain."""
    if not (J.domain.lower or J.domain.upper):
        return everywhere

    def inside(x: Tensor) -> Tensor:
        wholes = [unflatten(dense, row) for row in x]
        return torch.tensor([all(J.domain.contains(k, v) for k, v in p.items()) for p in wholes], dtype=torch.bool)

    return inside


def _notes(points: Sequence[CriticalPoint], lowest: float) -> list[str]:
    notes = []
    if any(p.doubtful for p in points):
        notes.append("some points may be copies of others: the test for copies was not decided")
    if lowest < math.inf:
        below = lowest < min((p.value for p in points), default=math.inf)
        what = "an infimum is not attained" if below else "no minima"
        notes.append(f"some starts run to infinity, where J tends to {lowest:.6g} or less: {what}")
    return notes
