r"""Permutations and signs that bring one point near another: assignments, one index set at a time.

The squared distance to g b, as a function of the permutation and signs of one index set with all else held, is a linear
assignment problem, solved exactly; signs enter as the better of both in each cost.  With one index set this is the
minimum over the group.  With several it is coordinate descent, which may end too high, so a lower bound is computed as
well: for each index set, an assignment whose costs use only what no other permutation or sign can change.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import final

import torch
from torch import Tensor

from epigraph.symmetry.group import Block, Element, Group, Permutations, Scaling

Point = dict[str, Tensor]
Mover = int | None
Pair = tuple[Tensor, Tensor]
DIRECT = 1_000_000


@final
@dataclass(frozen=True)
class Slab:
    """The part of a tensor that an index set moves, as (copies, units, rest); which signs flip it; the other movers in it."""

    values: Tensor
    parity: tuple[int, ...]
    others: frozenset[Mover]


@final
class Matcher:
    """Searches the permutations and signs of a group."""

    def __init__(self, group: Group):
        self.group = group
        self.permuted = {g.set for g in group.permutations}
        self.signs: dict[Mover, list[int]] = {}
        for i, g in enumerate(group.generators):
            if isinstance(g, Scaling) and g.kind == "sign":
                self.signs.setdefault(g.set, []).append(i)
        self.movers: list[Mover] = [*sorted({*self.permuted, *(s for s in self.signs if s is not None)})]
        if None in self.signs:
            self.movers.append(None)
        self._near = self._neighbours()

    def _neighbours(self) -> dict[Mover, set[Mover]]:
        """For each mover those that share a block with it; what moves whole blocks is near to everything."""
        near: dict[Mover, set[Mover]] = {m: ({None} if None in self.movers else set()) for m in self.movers}
        for blocks in self.group.blocks.values():
            for block in blocks:
                here = {s for s in block.sets if s in near}
                for mover in here:
                    twice = block.sets.count(mover) > 1
                    near[mover] |= here if twice else here - {mover}
        if None in near:
            near[None] = set(self.movers) - {None}
        return near

    # what a mover sees ----------------------------------------------------------------------------------------
    def slabs(self, mover: Mover, point: Mapping[str, Tensor], once: bool = False) -> list[Slab]:
        """The blocks with an index set; ``once``: a block that has it along two axes is given for the first only."""
        out: list[Slab] = []
        generators = [self.group.generators[i] for i in self.signs.get(mover, [])]
        for name, blocks in self.group.blocks.items():
            for k, block in enumerate(blocks):
                charges = [g.charges for g in generators if isinstance(g, Scaling)]
                own = [a for a, s in enumerate(block.sets) if s == mover] if mover is not None else [-1]
                if mover is None and not any(c.get((name, k, -1)) for c in charges):
                    continue
                for axis in own[:1] if once else own:
                    parity = tuple(c.get((name, k, axis), 0) % 2 for c in charges)
                    value = point[name].contiguous().as_strided(block.sizes, block.strides, block.offset)
                    out.append(Slab(self._units(value, block, mover, axis), parity, self._others(name, k, mover, own)))
        return out

    def _units(self, value: Tensor, block: Block, mover: Mover, axis: int) -> Tensor:
        if mover is None:
            return value.reshape(1, 1, -1)
        scope = [block.sets.index(s) for s in self.group.sets[mover].scope]
        rest = [d for d in range(value.ndim) if d != axis and d not in scope]
        copies, units = self.group.copies(mover), self.group.sets[mover].size
        return value.permute([*scope, axis, *rest]).reshape(copies, units, -1)

    def _others(self, name: str, k: int, mover: Mover, own: Sequence[int]) -> frozenset[Mover]:
        block = self.group.blocks[name][k]
        found: set[Mover] = {s for s in block.sets if s in self.movers and s != mover}
        found |= self.above(mover)
        if len(own) > 1:
            found.add(mover)
        wholes = [self.group.generators[i] for i in self.signs.get(None, [])]
        if mover is not None and any(isinstance(g, Scaling) and (name, k, -1) in g.charges for g in wholes):
            found.add(None)
        return frozenset(found)

    def above(self, mover: Mover) -> set[Mover]:
        """The movers that permute the copies of a mover."""
        return set() if mover is None else {s for s in self.group.sets[mover].scope if s in self.movers}

    def options(self, mover: Mover) -> list[tuple[int, ...]]:
        """The choices of signs of one unit, the identity first."""
        return list(product((1, -1), repeat=len(self.signs.get(mover, []))))

    @staticmethod
    def sign(signs: Sequence[int], parity: Sequence[int]) -> int:
        """The sign that a slab gets under a choice."""
        return math.prod(s for s, p in zip(signs, parity, strict=True) if p)

    # one assignment -------------------------------------------------------------------------------------------
    def assign(self, mover: Mover, a: Point, b: Point, known: frozenset[Mover] | None) -> Element:
        """The best element of one mover; ``known``: only what involves no other movers than these is looked at.

        Costs are differences of products where that is much faster: their rounding may misplace units that nearly tie.
        """
        pairs = list(zip(self.slabs(mover, a), self.slabs(mover, b), strict=True))
        seen = [(x, y, True) for x, y in pairs if known is None or x.others <= known]
        if known is not None and not any(float(x.values.abs().sum()) for x, _, _ in seen):
            seen = [(x, y, x.others <= known) for x, y in pairs]
        return self.element(mover, self._costs(mover, seen, _distances))

    def _costs(
        self, mover: Mover, seen: Sequence[tuple[Slab, Slab, bool]], squares: Callable[[Tensor, Tensor, bool], Pair]
    ) -> Tensor:
        """(signs, copies, units, units): the squared distance of two units under each choice of signs.

        A pair that is not exact is compared by sorted sizes: no permutation or sign brings it nearer.
        """
        options = self.options(mover)
        copies = self.group.copies(mover)
        units = 1 if mover is None else self.group.sets[mover].size
        totals = torch.zeros(len(options), copies, units, units, dtype=torch.float64)
        for exact, parity in dict.fromkeys((exact, x.parity) for x, _, exact in seen):
            chosen = [(x.values, y.values) for x, y, e in seen if (e, x.parity) == (exact, parity)]
            if not exact:
                chosen = [(u.abs().sort(-1).values, v.abs().sort(-1).values) for u, v in chosen]
            u, v = (torch.cat(parts, -1) for parts in zip(*chosen, strict=True))
            near, far = squares(u, v, exact and any(parity))
            for k, signs in enumerate(options):
                totals[k] += near if not exact or self.sign(signs, parity) > 0 else far
        return totals

    def gains(self, mover: Mover, a: Point, b: Point) -> Tensor:
        """(signs, copies, units, units): the products of two units' weights under each choice of signs, times -2."""
        pairs = zip(self.slabs(mover, a), self.slabs(mover, b), strict=True)
        return self._costs(mover, [(x, y, True) for x, y in pairs], _products)

    def element(self, mover: Mover, costs: Tensor) -> Element:
        """The permutation and signs of least cost."""
        cost, choice = costs.min(0)
        images = torch.arange(cost.shape[-1]).expand(cost.shape[:-1]).clone()
        if mover in self.permuted:
            images = torch.stack([_assignment(c) for c in cost])
        picked = choice.gather(-1, images[..., None])[..., 0]
        shape = self.group.shape_of(mover)
        signs = torch.tensor(self.options(mover), dtype=torch.float64)
        factors = {g: signs[picked, k].reshape(shape) for k, g in enumerate(self.signs.get(mover, []))}
        permutations = {mover: images.reshape(shape)} if mover in self.permuted and mover is not None else {}
        return Element(permutations, factors)

    # search ---------------------------------------------------------------------------------------------------
    def nearest(
        self,
        a: Point,
        b: Point,
        restarts: int,
        seed: int,
        enough: float,
        least: float = 1e-12,
        begin: Sequence[Element] | None = None,
    ) -> tuple[tuple[Element, ...], float]:
        """Elements to apply to b one after the other, and the distance that is left; stops early at ``enough``.

        The search starts from ``begin``, else layer by layer from what stays in place; restarts from random elements.
        A step that shortens the distance by less than the share ``least`` of it counts as none.
        """
        generator = torch.Generator().manual_seed(seed)
        best: tuple[tuple[Element, ...], float] = ((), distance(a, b))
        for attempt in range(1 + restarts):
            if best[1] <= enough:
                break
            start = list(begin or ())
            if attempt:
                positions = [i for i, g in enumerate(self.group.generators) if g.kind != "scale"]
                start = [self.group.random(generator, positions)]
            found = self._descend(a, b, start, not attempt and begin is None, least)
            best = min(best, found, key=lambda f: f[1])
        return best

    def _descend(
        self, a: Point, b: Point, start: list[Element], greedy: bool, least: float
    ) -> tuple[tuple[Element, ...], float]:
        elements = list(start)
        for element in elements:
            b = self.group.apply(element, b)
        if greedy:
            for mover, known in self._order(a):
                element = self.assign(mover, a, b, known)
                elements, b = [*elements, element], self.group.apply(element, b)
        reached = distance(a, b)
        waiting = list(self.movers) if len(self.movers) > 1 or not greedy else []
        while waiting:  # a mover is looked at again once another one in its tensors has moved
            mover = waiting.pop(0)
            element = self.assign(mover, a, b, None)
            moved = self.group.apply(element, b)
            left = distance(a, moved)
            if left < reached * (1 - least):
                elements, b, reached = [*elements, element], moved, left
                waiting += [m for m in self.movers if m in self._near[mover] and m not in waiting]
        return tuple(elements), reached

    def _order(self, a: Point) -> list[tuple[Mover, frozenset[Mover]]]:
        """Movers from those that touch what stays in place to those that touch known ones only, with what is known then."""
        known: frozenset[Mover] = frozenset()
        left, out = list(self.movers), []
        while left:
            shares = []
            for mover in left:
                slabs = self.slabs(mover, a)
                energy = [float((s.values**2).sum()) for s in slabs]
                seen = sum(e for e, s in zip(energy, slabs, strict=True) if s.others <= known)
                shares.append(seen / max(sum(energy), 1e-300))
            mover = left.pop(shares.index(max(shares)))
            out.append((mover, known))
            known |= {mover}
        return out

    def lower_bound(self, a: Point, b: Point) -> float:
        """No element brings b nearer to a than this."""
        still = sum(float(((x - y) ** 2).sum()) for x, y in self._unmoved(a, b))
        best = 0.0
        for mover in self.movers:
            if self.above(mover):
                continue  # its copies are permuted: comparing them one by one bounds nothing
            pairs = zip(self.slabs(mover, a, once=True), self.slabs(mover, b, once=True), strict=True)
            cost = self._costs(mover, [(x, y, not x.others) for x, y in pairs], _squares).amin(0)
            total = 0.0
            for c in cost:
                images = _assignment(c) if mover in self.permuted else torch.arange(len(c))
                total += float(c.gather(-1, images[:, None]).sum())
            best = max(best, total)
        return max(still + best, 0.0) ** 0.5

    def _unmoved(self, a: Point, b: Point) -> list[tuple[Tensor, Tensor]]:
        """The blocks that no permutation or sign touches, and the tensors that J does not use."""
        wholes = [self.group.generators[i] for i in self.signs.get(None, [])]
        out = [(a[n], b[n]) for n in a if n not in self.group.blocks]
        for name, blocks in self.group.blocks.items():
            for k, block in enumerate(blocks):
                whole = any(isinstance(g, Scaling) and (name, k, -1) in g.charges for g in wholes)
                if not whole and not any(s in self.movers for s in block.sets):
                    views = [p[name].contiguous().as_strided(block.sizes, block.strides, block.offset) for p in (a, b)]
                    out.append((views[0], views[1]))
        return out


def _squares(u: Tensor, v: Tensor, flipped: bool) -> Pair:
    """Squared distances of all rows of u and v, and of u and -v; (copies, units, units)."""
    near = _differences(u, v)
    return near, _differences(u, -v) if flipped else near


def _differences(u: Tensor, v: Tensor) -> Tensor:
    """Squared distances of rows: differences first, so that none cancels."""
    if u.numel() * u.shape[1] <= DIRECT:
        return ((u[:, :, None] - v[:, None]) ** 2).sum(-1)
    out = torch.empty(u.shape[0], u.shape[1], v.shape[1], dtype=u.dtype)
    rows = max(1, DIRECT // max(v[0].numel(), 1))
    for c in range(u.shape[0]):
        for start in range(0, u.shape[1], rows):
            out[c, start : start + rows] = ((u[c, start : start + rows, None] - v[c, None]) ** 2).sum(-1)
    return out


def _distances(u: Tensor, v: Tensor, flipped: bool) -> Pair:
    """The same, up to what is constant in each row and each column, by products where there are many numbers."""
    return _squares(u, v, flipped) if u.numel() * u.shape[1] <= DIRECT else _products(u, v, flipped)


def _products(u: Tensor, v: Tensor, flipped: bool) -> Pair:
    near = u @ (-2 * v).mT
    return near, -near if flipped else near


def _assignment(cost: Tensor) -> Tensor:
    """Which unit of b goes to each unit of a, at least total cost."""
    from scipy.optimize import linear_sum_assignment

    _, columns = linear_sum_assignment(cost.numpy())
    return torch.from_numpy(columns)


def distance(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    """The Euclidean distance of two points."""
    return sum(float(((a[k].double() - b[k].double()) ** 2).sum()) for k in a) ** 0.5


__all__ = ["Matcher", "Permutations", "distance"]
