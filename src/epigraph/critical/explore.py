"""One objective searched for critical points, batch after batch of starts."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor

from epigraph.critical.certify import certified
from epigraph.critical.classify import Kind, Nature, classify, escaping, margins, outbound, resolve
from epigraph.critical.completeness import coercive, completeness
from epigraph.critical.copies import copies_of
from epigraph.critical.deflation import Deflated
from epigraph.critical.descent import descend
from epigraph.critical.following import EigenvectorFollowing, SteepestDescent
from epigraph.critical.joining import classes, united
from epigraph.critical.merge import Class, distinct, errors, merge
from epigraph.critical.minimize import FINER, Inside, Polished, Rule, everywhere, joined, polish, search
from epigraph.critical.minimize import Ended as Search
from epigraph.critical.result import Catalogue, CriticalPoint, Transition, arranged
from epigraph.critical.saddle import GradientLength, flat_stop
from epigraph.critical.starts import KINDS, Starts, all_of, flatten, involutions, starts, unflatten
from epigraph.hessian.dense import Dense
from epigraph.objective.objective import Objective
from epigraph.symmetry.result import Symmetries, symmetries
from epigraph.symmetry.stabiliser import stabiliser

Ended = tuple[Polished, Tensor]  # critical points, and the kind of start that led to each
DECIDED = (Kind.minimum, Kind.saddle, Kind.maximum)
INDICES = 8  # highest index that eigenvectors are followed to
FURTHER = 60  # steps of a search that the polish came too early for
STEPS = 150  # of searches whose last lanes seldom come to an end
DEFLATED = 2000  # points and copies that are taken out of a search
ESCAPE = 0.05  # length of the step from a saddle along its negative curvature


@final
class Explorer:
    """Searches one objective, batch after batch; the graph, its program and its symmetries are made once."""

    def __init__(
        self,
        J: Objective,
        saddles: bool,
        certify: bool,
        seed: int,
        say: Callable[..., None],
        device: torch.device | str = "cpu",
    ):
        self.J, self.with_saddles, self.certify, self.seed, self.say = J, saddles, certify, seed, say
        say("capturing the graph")
        self.dense = Dense(J.graph(), tuple(J.parameters), device)
        self.inside = within(J, self.dense)
        self.slack = coercive(J) != ""
        say("looking for symmetries")
        self.found: Symmetries = symmetries(J, seed=seed)

    def catalogue(self, count: int, given: Sequence[Mapping[str, Tensor]] = (), first: int = 0) -> Catalogue:
        """The points that starts ``first`` to ``first + count`` lead to; the same starts give the same points."""
        began = time.monotonic()
        self.count_anew()
        generator = torch.Generator().manual_seed((self.seed * 2**32 + first) % 2**63)
        points, kinds = self._points(count, [flatten(self.dense, p) for p in given], generator)
        effort = {"starts": count, "saddles": self.with_saddles, "seed": self.seed}
        listed = self.proved(self.listed(points, kinds)[0])
        return self.compiled(listed, {**effort, "seconds": round(time.monotonic() - began, 3)})

    def compiled(
        self, points: Sequence[CriticalPoint], effort: Mapping[str, Any], transitions: Sequence[Transition] = ()
    ) -> Catalogue:
        """A catalogue of what was found since counting began."""
        listed, states, _ = arranged(points, transitions)
        return Catalogue(
            self.J.describe(),
            listed,
            {k: v for k, v in self.ends.items() if v},
            completeness(self.J, listed),
            (*self.J.notes, *self.found.notes, *bounded(self.J), *notes(listed, self.lowest, states)),
            effort,
            states,
            tuple(involutions(self.dense, self.found)) if states else (),
        )

    def count_anew(self) -> None:
        """Forget what became of the starts so far."""
        self.ends: Counter[str] = Counter()
        self.lowest = math.inf  # of J where starts ran to infinity

    def proved(self, points: Sequence[CriticalPoint]) -> tuple[CriticalPoint, ...]:
        """With certificates, where these are asked for."""
        if self.certify and points:
            self.say(f"certifying {len(points)} points")
            return certified(self.J, tuple(points), self.found)
        return tuple(points)

    def fresh(self, known: Sequence[CriticalPoint], new: Sequence[CriticalPoint]) -> tuple[CriticalPoint, ...]:
        """The new points, those of them proved that are copies of no known one."""
        if not self.certify:
            return tuple(new)
        heads = [c.members[0] - len(known) for c in classes(self.dense, self.found, [*known, *new])]
        own = [k for k in heads if k >= 0]
        proofs = dict(zip(own, self.proved([new[k] for k in own]), strict=True))
        return tuple(proofs.get(k, p) for k, p in enumerate(new))

    def with_more(
        self, known: Sequence[CriticalPoint], new: Sequence[CriticalPoint]
    ) -> tuple[list[CriticalPoint], list[int]]:
        """Both as one list, and the position in it of each of both."""
        return united(self.dense, self.found, known, self.fresh(known, new))

    def _points(self, count: int, given: Sequence[Tensor], generator: torch.Generator) -> tuple[Polished, Tensor]:
        first = starts(self.dense, self.found, count, generator, given)
        self.say(f"minimising from {len(first.x)} starts")
        parts = [self.ended(first)]
        if self.with_saddles:
            quarter = count // 4
            second = starts(self.dense, self.found, count - 2 * quarter, generator, given).named("least squares")
            self.say(f"looking for saddles from {len(second.x)} starts")
            parts.append(self.ended(second, GradientLength()))
            parts += self._followed(quarter, generator, _whole(parts)[0])
            parts += self._deflated(quarter, generator, _whole(parts)[0])
            parts.append(self.ended(self._downhill(_whole(parts)[0])))
        return _whole(parts)

    def _followed(self, count: int, generator: torch.Generator, known: Polished) -> list[Ended]:
        """Eigenvectors followed to each index up to one above the highest that is known."""
        negative = (known.w < -margins(self.dense, known)[:, None]).sum(1) if len(known.x) else torch.zeros(1)
        highest = min(int(negative.max()) + 1, self.dense.size, INDICES, count)
        begun = starts(self.dense, self.found, count, generator).named("following")
        self.say(f"following eigenvectors from {count} starts")
        lanes = [torch.arange(k, count, highest) for k in range(highest)]
        return [self.ended(begun.at(own), EigenvectorFollowing(k + 1), STEPS) for k, own in enumerate(lanes)]

    def _deflated(self, count: int, generator: torch.Generator, known: Polished) -> list[Ended]:
        """Searches that points known so far, with their copies, are taken out of."""
        heads = [g[0] for g in distinct(known)][:DEFLATED]
        away = copies_of(involutions(self.dense, self.found), known.x[heads], DEFLATED)
        if count == 0 or len(away) == 0:
            return []
        self.say(f"looking for others than {len(away)} known points")
        begun = starts(self.dense, self.found, count, generator).named("deflation")
        return [self.ended(begun, Deflated(away.to(self.dense.device)), STEPS)]

    def ended(self, first: Starts, rule: Rule | None = None, steps: int = 400) -> Ended:
        """Search, downhill without a rule, and polish: the critical points, and the kind of start of each.

        The other starts are counted.
        """
        end = (
            descend(self.dense, first.x, inside=self.inside)
            if rule is None
            else search(self.dense, first.x, rule, steps=steps, inside=self.inside)
        )
        polished = self.polished(end.x[end.reached], rule or SteepestDescent())
        good = polished.critical
        away = self.outbound(polished)
        self.ends["critical"] += int(good.sum())
        self.ends["not polished"] += int((~good & ~away).sum())
        self._gone(polished.at(away))
        self._count_lost(end)
        return polished.at(good), first.kind[end.reached][good]

    def polished(self, x: Tensor, rule: Rule) -> Polished:
        """Ends of a search polished; where the polish fails, after more steps of the search."""
        first = polish(self.dense, x, inside=self.inside)
        good, bad = (torch.nonzero(lanes)[:, 0] for lanes in (first.critical, ~first.critical))
        if len(bad) == 0:
            return first
        end = search(self.dense, first.x[bad], rule, steps=FURTHER, inside=self.inside, until=FINER)
        second = polish(self.dense, end.x, inside=self.inside)
        return joined([first.at(good), second]).at(torch.cat([good, bad]).argsort())

    def outbound(self, points: Polished) -> Tensor:
        """Which of the points that are not critical run to infinity; none where J is shown to grow in every direction."""
        return ~points.critical & outbound(points) & self.slack

    def _gone(self, points: Polished) -> None:
        self.ends["to infinity"] += len(points.x)
        if len(points.x):
            self.lowest = min(self.lowest, float(points.jet.value.min()))

    def _count_lost(self, end: Search) -> None:
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
        return all_of(torch.cat([points.x[chosen] + step, points.x[chosen] - step]), "saddle")

    def listed(self, points: Polished, kinds: Tensor) -> tuple[tuple[CriticalPoint, ...], list[int]]:
        """The points up to copies, and the position of each lane among them; -1 where it runs to infinity."""
        margin = margins(self.dense, points)
        away = escaping(self.dense, points, margin) & self.slack
        self._gone(points.at(away))
        stays = torch.nonzero(~away)[:, 0]
        home = torch.full((len(points.x),), -1)
        points, kinds, margin = points.at(stays), kinds[stays], margin[stays]
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
        for position, own in enumerate(lanes):
            home[stays[own]] = position
        listed = [
            self._point(heads, c.members[0], natures, predicted, wholes, c, sources)
            for c, sources in zip(classes, counted, strict=True)
        ]
        ordered, _, place = arranged(listed)
        return ordered, [-1 if k < 0 else place[k] for k in home.tolist()]

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


def _whole(parts: Sequence[Ended]) -> Ended:
    """Several searches as one."""
    return joined([p for p, _ in parts]), torch.cat([kinds for _, kinds in parts])


def within(J: Objective, dense: Dense) -> Inside:
    """Which flat points lie in the domain."""
    if not (J.domain.lower or J.domain.upper):
        return everywhere

    def inside(x: Tensor) -> Tensor:
        wholes = [unflatten(dense, row) for row in x.cpu()]
        held = [all(J.domain.contains(k, v) for k, v in p.items()) for p in wholes]
        return torch.tensor(held, dtype=torch.bool, device=x.device)

    return inside


def bounded(J: Objective) -> list[str]:
    """What is not looked for where J has a domain."""
    if not (J.domain.lower or J.domain.upper):
        return []
    return ["points on the boundary of the domain are not looked for: minima there are missing"]


def notes(points: Sequence[CriticalPoint], lowest: float, transitions: Sequence[Transition] = ()) -> list[str]:
    """What has to be said beside the list; ``lowest``: the least J of a start that ran to infinity."""
    out = []
    if any(p.doubtful for p in points):
        out.append("some points may be copies of others: the test for copies was not decided")
    lost = sum(None in t.ends for t in transitions)
    if lost:
        out.append(f"saddles of index 1 with a side that leads to no critical point that was found: {lost}")
    if lowest < math.inf:
        below = lowest < min((p.value for p in points), default=math.inf)
        what = "an infimum is not attained" if below else "no minima"
        out.append(f"some starts run to infinity, where J tends to {lowest:.6g} or less: {what}")
    return out
