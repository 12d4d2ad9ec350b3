"""When two weight vectors are the same network: ``same``, and a representative of the orbit: ``canonical``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor

from epigraph.symmetry.balance import balance
from epigraph.symmetry.compensation import Compensation
from epigraph.symmetry.continuous import Gauged, Linear, Shift
from epigraph.symmetry.group import Element
from epigraph.symmetry.linearmaps import linear_distance, only_linear
from epigraph.symmetry.matching import Matcher, Slab, distance
from epigraph.symmetry.result import Symmetries

TOLERANCE = 1e-9


@final
@dataclass(frozen=True)
class Sameness:
    """Are two points one network?  ``distance`` is what the best element leaves, ``bound`` what every element leaves.

    Both are Euclidean, between the points of least norm among all rescalings.  "same": ``distance`` is at most the
    tolerance; "different": ``bound`` is above it; "undecided" between them, or where a unit can be scaled away.
    ``elements``, applied to the balanced second point one after the other, give the balanced first one up to ``distance``
    (both centred, where sigmoids have signs: ``Group.centred``).
    """

    verdict: Literal["same", "different", "undecided"]
    distance: float
    bound: float
    tolerance: float
    elements: tuple[Element, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"verdict": self.verdict, "distance": self.distance, "bound": self.bound, "tolerance": self.tolerance}


def same(
    found: Symmetries,
    first: Mapping[str, Tensor],
    second: Mapping[str, Tensor],
    *,
    tolerance: float = TOLERANCE,
    restarts: int = 20,
    seed: int = 0,
) -> Sameness:
    r"""Is there an element g of the group with first = g second?

    Exact for one hidden layer: the least distance over all permutations and signs is one assignment problem.  For
    deeper networks a search (coordinate descent with restarts) finds elements, and a lower bound on the distance shows
    that there is none; between the two the answer is "undecided".  General linear maps are found by linear equations
    where they are the whole group; otherwise they and rotations are not searched, and the answer is "same" or "undecided".

    Args:
        found: the group, from ``epigraph.symmetries(J)``.
        first: a point by parameter name; buffers that move count as well, as J has them where they are not given.
        second: another.
        tolerance: largest distance that counts as equal, relative to the norm of the first point.
        restarts: random starts of the search.
        seed: of the restarts.

    Example:
        >>> import torch, epigraph
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
        >>> found = epigraph.symmetries(epigraph.Objective(net, torch.nn.MSELoss(), torch.randn(8, 2), torch.randn(8, 1)))
        >>> theta = found.apply(found.random(1))
        >>> epigraph.same(found, theta, found.apply(found.random(2), theta)).verdict
        'same'
    """
    flow = only_linear(found.group, found.flows)
    if flow is not None:
        return _by_linear_maps(found, flow, first, second, tolerance)
    group = found.group.linear
    one, two = (balance(group, found.group.centred(_without_shifts(found, p))) for p in (first, second))
    limit = tolerance * max(sum(float((v**2).sum()) for v in one.point.values()) ** 0.5, 1e-300)
    matcher = Matcher(group)
    bound = matcher.lower_bound(one.point, two.point)
    if not (one.attained and two.attained):
        return Sameness("undecided", distance(one.point, two.point), bound, limit, ())
    linear = any(isinstance(f, Linear | Gauged) for f in found.flows)
    if bound > limit and not linear:
        return Sameness("different", distance(one.point, two.point), bound, limit, ())
    elements, left = matcher.nearest(one.point, two.point, restarts, seed, limit)
    return Sameness("same" if left <= limit else "undecided", left, bound, limit, elements)


def _by_linear_maps(
    found: Symmetries, flow: Linear, first: Mapping[str, Tensor], second: Mapping[str, Tensor], tolerance: float
) -> Sameness:
    """Sameness under the general linear maps of one index set; the distance is between the points as they are."""
    one, two = found.point(first), found.point(second)
    limit = tolerance * max(sum(float((v**2).sum()) for v in one.values()) ** 0.5, 1e-300)
    left, bound = linear_distance(found.group, flow, one, two)
    verdict = "same" if left <= limit else "different" if bound > limit else "undecided"
    return Sameness(verdict, left, bound, limit, ())


def canonical(found: Symmetries, point: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A representative of the orbit: least norm among rescalings, then signs and order of units fixed by their weights.

    Layer by layer, from what stays in place: each unit's weights towards what is already in order are made to begin
    with a positive number where a sign is free, and units are sorted by them.  Equal up to rounding on an orbit unless
    units nearly tie; ``same`` decides in any case.
    """
    group = found.group.linear
    moved = balance(group, found.group.centred(_without_shifts(found, point))).point
    matcher = Matcher(group)
    for mover, known in matcher._order(moved):
        moved = group.apply(_ordering(matcher, mover, known, moved), moved)
    return found.group.centred(moved, -1)


def _without_shifts(found: Symmetries, point: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The point of least norm among all shifts, with the biases that later ones undo at 0."""
    moved = {k: v.clone() for k, v in found.point(point).items()}
    undone = [f for f in found.flows if isinstance(f, Compensation)]
    for flow in undone * len(undone):  # one may shift what another has just brought to 0
        moved = flow.undone(found.group, moved)
    for flow in found.flows:
        if isinstance(flow, Shift):
            block = found.group.blocks[flow.tensor][flow.block]
            view = moved[flow.tensor].as_strided(block.sizes, block.strides, block.offset)
            view -= view.clone() if flow.axis is None else view.mean(flow.axis, keepdim=True)
    return moved


def _ordering(matcher: Matcher, mover: int | None, known: frozenset[int | None], point: dict[str, Tensor]) -> Element:
    """Signs and order of one mover's units, from the slabs that involve known movers only."""
    count = len(matcher.signs.get(mover, []))
    every = matcher.slabs(mover, point)
    slabs = [s for s in every if s.others <= known]
    if not slabs:  # sorted sizes do not depend on the order and the signs that are still open
        slabs = [Slab(s.values.abs().sort(-1).values, (0,) * count, s.others) for s in every]
    values = torch.cat([s.values for s in slabs], -1)
    options = matcher.options(mover)
    keys = []
    for signs in options:
        weights = [matcher.sign(signs, s.parity) for s in slabs]
        keys.append(torch.cat([w * s.values for w, s in zip(weights, slabs, strict=True)], -1))
    copies, units = values.shape[:2]
    shape = matcher.group.shape_of(mover)
    chosen = torch.zeros(copies, units, dtype=torch.long)
    order = torch.arange(units).expand(copies, units).clone()
    grain = 1e-9 * float(values.abs().max()) if values.numel() else 0.0
    for c in range(copies):
        rows = []
        for u in range(units):
            tuples = [tuple((torch.round(k[c, u] / max(grain, 1e-300)) * grain).tolist()) for k in keys]
            chosen[c, u] = max(range(len(options)), key=tuples.__getitem__)
            rows.append(tuples[int(chosen[c, u])])
        if mover in matcher.permuted:
            order[c] = torch.tensor(sorted(range(units), key=lambda u, rows=rows: rows[u], reverse=True))
    table = torch.tensor(options, dtype=torch.float64)
    picked = chosen.gather(-1, order)
    factors = {g: table[picked, k].reshape(shape) for k, g in enumerate(matcher.signs.get(mover, []))}
    return Element({mover: order.reshape(shape)} if mover in matcher.permuted and mover is not None else {}, factors)
