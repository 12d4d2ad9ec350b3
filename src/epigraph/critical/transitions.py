r"""Transition states: saddles of index 1, and the minima on both sides of each.

More of them are looked for between the minima: bands from each to the nearest copies of the others and of itself, and
eigenvectors followed uphill from each.  From every saddle of index 1 the path of steepest descent is followed on both
sides; where its ends are copies of one minimum the transition is a loop, and is kept.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from epigraph.critical.band import tops
from epigraph.critical.classify import Kind
from epigraph.critical.copies import orbit
from epigraph.critical.following import FAR, EigenvectorFollowing, SteepestDescent
from epigraph.critical.merge import VALUE
from epigraph.critical.minimize import Polished, joined, search
from epigraph.critical.result import Catalogue, CriticalPoint, Transition
from epigraph.critical.starts import KINDS, Moves, all_of, flatten, involutions, unflatten
from epigraph.symmetry.align import align

if TYPE_CHECKING:
    from epigraph.critical.explore import Explorer

ASIDE = 1e-3  # from the saddle to where descent begins, relative to 1 + |x|
PATH = 2000  # steps of a descent
LOWEST = 30  # minima between which bands are stretched
BANDS = 60  # bands in one go
COPIES = 400  # copies among which the nearest are looked for one by one
AROUND = 6  # searches uphill from each minimum
OUT, LOST = "outward, as far as it was followed", "not followed to its end"
LEFT = 0.01  # of the way from the saddle, that a path may leave to the polish
STEPS = 150  # of a search uphill
UPHILL = 120  # of them in one go


@final
@dataclass(frozen=True)
class Descents:
    """The ends of descents up to copies, and for each saddle the positions of its two ends (-1: none) with words for them."""

    points: tuple[CriticalPoint, ...]
    ends: list[tuple[int, int]]
    words: list[tuple[str, str]]
    x: list[Tensor]


def is_transition(p: CriticalPoint) -> bool:
    """Index 1 and no zero eigenvalues but those of symmetries; in one variable that is a maximum."""
    return p.kind in (Kind.saddle, Kind.maximum) and p.index == 1 and p.nullity == p.predicted and p.family == 1


def connected(explorer: Explorer, known: Catalogue) -> Catalogue:
    """A catalogue with its transitions, and what else is found on the way to them."""
    began = time.monotonic()
    points, _ = explorer.with_more(known.points, between(explorer, known.minima))
    states = [i for i, p in enumerate(points) if is_transition(p)]
    transitions: list[Transition] = []
    if states:
        paths = descended(explorer, [points[i] for i in states])
        points, home = explorer.with_more(points, paths.points)
        place = {-1: None} | dict(enumerate(home[len(home) - len(paths.points) :]))
        for i, (low, high), words, x in zip(states, paths.ends, paths.words, paths.x, strict=True):
            transitions.append(Transition(home[i], (place[low], place[high]), words, x))
    seconds = round(known.effort["seconds"] + time.monotonic() - began, 3)
    return explorer.compiled(points, {**known.effort, "seconds": seconds}, transitions)


def between(explorer: Explorer, minima: Sequence[CriticalPoint]) -> tuple[CriticalPoint, ...]:
    """Saddles found from the minima: over relaxed bands, and by eigenvectors followed uphill."""
    chosen = sorted((p for p in minima if p.nullity == p.predicted), key=lambda p: p.value)
    isolated = [flatten(explorer.dense, p.point) for p in chosen]
    if not isolated:
        return ()
    parts = [explorer.ended(all_of(_around(explorer, isolated), "uphill"), EigenvectorFollowing(1), STEPS)]
    first, second = _pairs(explorer, isolated)
    if len(first):
        explorer.say(f"relaxing {len(first)} bands between minima")
        top = tops(explorer.dense, first, second, explorer.seed)
        parts.append(explorer.ended(all_of(top, "band"), EigenvectorFollowing(1), STEPS))
    points = joined([p for p, _ in parts])
    return explorer.listed(points, torch.cat([kinds for _, kinds in parts]))[0]


def _around(explorer: Explorer, minima: Sequence[Tensor]) -> Tensor:
    """Points a little away from each minimum, in random directions."""
    each = max(1, min(AROUND, UPHILL // len(minima)))
    generator = torch.Generator().manual_seed(explorer.seed)
    x = torch.stack(list(minima)[:UPHILL]).repeat_interleave(each, 0)
    drawn = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    share = torch.tensor([0.1, 0.3], dtype=torch.float64)[torch.arange(len(x)) % 2]
    return x + (share * (1 + x.norm(dim=1)))[:, None] * drawn / drawn.norm(dim=1, keepdim=True)


def _pairs(explorer: Explorer, minima: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Ends of bands: each of the lowest minima with the nearest copies of each; the nearest first, as many as fit."""
    minima, flips = minima[:LOWEST], involutions(explorer.dense, explorer.found)
    few = [orbit(flips, b, COPIES) for b in minima]
    ranked: list[tuple[int, float, Tensor, Tensor]] = []
    for i, a in enumerate(minima):
        for copies in few[i:]:
            near = copies if len(copies) < COPIES else _nearest(explorer, flips, a, copies[0])
            distance = (near - a).norm(dim=1)
            order = distance.argsort()[:3]
            apart = [k for k in order.tolist() if float(distance[k]) > 1e-6 * (1 + float(a.norm()))]
            ranked += [(rank, float(distance[k]), a, near[k]) for rank, k in enumerate(apart)]
    chosen = sorted(ranked, key=lambda r: r[:2])[:BANDS]
    if not chosen:
        return torch.empty(0, explorer.dense.size), torch.empty(0, explorer.dense.size)
    return torch.stack([a for _, _, a, _ in chosen]), torch.stack([b for _, _, _, b in chosen])


def _nearest(explorer: Explorer, flips: Sequence[Moves], a: Tensor, b: Tensor) -> Tensor:
    """Of copies too many to list: the one of b nearest to a, and those that one generator moves it to."""
    wholes = (unflatten(explorer.dense, x) for x in (a, b))
    near = flatten(explorer.dense, align(explorer.found, *wholes).point)
    return torch.stack([near, *(flip(near) for flip in flips)])


def descended(explorer: Explorer, saddles: Sequence[CriticalPoint]) -> Descents:
    """Steepest descent on both sides of each saddle, all at once."""
    x = torch.stack([flatten(explorer.dense, p.point) for p in saddles])
    explorer.say(f"descending on both sides of {len(x)} saddles")
    jet = explorer.dense.of(x)
    top, (_, V) = jet.value, torch.linalg.eigh(jet.hessian)
    aside = ASIDE * (1 + x.norm(dim=1))[:, None] * V[:, :, 0]
    begun = torch.stack([x + aside, x - aside], 1).flatten(0, 1)  # the two sides of a saddle are neighbours
    end = search(explorer.dense, begun, SteepestDescent(), steps=PATH, inside=explorer.inside)
    polished = explorer.polished(end.x, SteepestDescent())
    good = (
        end.reached & polished.critical & _arrived(x.repeat_interleave(2, 0), top.repeat_interleave(2), end.x, polished)
    )
    away = ~end.reached & (end.x.norm(dim=1) > FAR / 2) | end.reached & explorer.outbound(polished)
    for word, lanes in (("critical", good), ("to infinity", away), ("not converged", ~good & ~away)):
        explorer.ends[word] += int(lanes.sum())
    kinds = torch.full((int(good.sum()),), KINDS.index("transition"))
    points, homes = explorer.listed(polished.at(good), kinds)
    home = torch.full((len(good),), -1)
    home[good] = torch.tensor(homes, dtype=torch.long)
    words = ["" if h >= 0 else OUT if o else LOST for h, o in zip(home.tolist(), good | away, strict=True)]
    places = torch.where((home >= 0)[:, None], polished.x, torch.nan)
    level = torch.where(home >= 0, polished.jet.value, torch.inf)
    out = Descents(points, [], [], [])
    for i in range(len(x)):
        low, high = sorted((2 * i, 2 * i + 1), key=level.tolist().__getitem__)
        out.ends.append((int(home[low]), int(home[high])))
        out.words.append((words[low], words[high]))
        out.x.append(torch.stack([x[i], places[low], places[high]]))
    return out


def _arrived(saddles: Tensor, top: Tensor, x: Tensor, polished: Polished) -> Tensor:
    """Which paths led to where the polish ends: below the saddle by more than values may differ by, and near their own end.

    Where slopes are small beside J a path rests at its start, and the polish goes back to the saddle, or anywhere.
    """
    fall = top - polished.jet.value
    rest, way = (polished.x - x).norm(dim=1), (x - saddles).norm(dim=1)
    return (fall > VALUE * top.abs().clamp_min(1.0)) & (rest <= LEFT * way)
