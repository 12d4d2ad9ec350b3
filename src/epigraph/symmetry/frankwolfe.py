r"""All permutations and signs at once, relaxed: Frank-Wolfe over signed doubly stochastic matrices.

Coordinate descent moves one index set with all others held.  Here each index set has a matrix of weights over (sign, unit,
unit), a mixture of signed permutations, and the inner product of the first point with the mixed second one is maximised:
its gradient is the table of gains of each set with the others mixed, the best vertex one assignment per set, and the step
is the maximum of the parabola through what is known at both ends.  The mixture is rounded by assignments.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from epigraph.symmetry.group import Element
from epigraph.symmetry.matching import Matcher, Point

STEPS = 30
ENOUGH = 1e-4  # the search ends when a step moves the mixture by less than this share


@final
class Mixture:
    """For each index set the weights of the mixture, (signs, copies, units, units)."""

    def __init__(self, matcher: Matcher):
        self.matcher = matcher
        self.movers = [m for m in matcher.movers if m is not None and m in matcher.permuted and not matcher.above(m)]
        self.weights: dict[int, Tensor] = {}
        for mover in self.movers:
            options, n = len(matcher.options(mover)), matcher.group.sets[mover].size
            start = torch.full((options, matcher.group.copies(mover), n, n), 0.0, dtype=torch.float64)
            start[0] = (torch.eye(n, dtype=torch.float64) + 1 / n) / 2  # the identity and the mean of all permutations
            self.weights[mover] = start

    def moved(self, b: Point, skip: int | None = None) -> Point:
        """The second point mixed along all sets but one."""
        group, out = self.matcher.group, {k: v.contiguous().clone() for k, v in b.items()}
        for name, blocks in group.blocks.items():
            for k, block in enumerate(blocks):
                view = out[name].as_strided(block.sizes, block.strides, block.offset)
                value = view.clone()
                for axis, s in enumerate(block.sets):
                    if s in self.weights and s != skip:
                        value = self._mixed(value, s, name, k, axis, block.sets)
                view.copy_(value)
        return out

    def _mixed(self, value: Tensor, mover: int, name: str, k: int, axis: int, sets: tuple[int, ...]) -> Tensor:
        group, weights = self.matcher.group, self.weights[mover]
        charges = [group.generators[i].charges for i in self.matcher.signs.get(mover, [])]  # type: ignore[union-attr]
        parity = [c.get((name, k, axis), 0) % 2 for c in charges]
        signs = torch.tensor([self.matcher.sign(o, parity) for o in self.matcher.options(mover)], dtype=torch.float64)
        matrix = (signs[:, None, None, None] * weights).sum(0)
        scope = [sets.index(s) for s in group.sets[mover].scope]
        order = [*scope, axis, *(d for d in range(value.ndim) if d != axis and d not in scope)]
        turned = value.permute(order)
        flat = turned.reshape(matrix.shape[0], matrix.shape[1], -1)
        mixed = (matrix @ flat).reshape(turned.shape)
        return mixed.permute([order.index(d) for d in range(value.ndim)])


def frank_wolfe(matcher: Matcher, a: Point, b: Point, steps: int = STEPS) -> tuple[Element, ...]:
    """The element to which the mixture is rounded; index sets whose copies are permuted stay as they are.

    Costs a product of matrices per tensor and an assignment per index set in each of ``steps`` steps.
    """
    mixture = Mixture(matcher)
    for _ in range(steps):
        slopes = {m: -matcher.gains(m, a, mixture.moved(b, m)) / 2 for m in mixture.movers}
        vertices = {m: _vertex(matcher, m, slope) for m, slope in slopes.items()}
        rise = sum(float((slopes[m] * (vertices[m] - mixture.weights[m])).sum()) for m in mixture.movers)
        here = _product(a, mixture.moved(b))
        old = dict(mixture.weights)
        mixture.weights = vertices
        bend = _product(a, mixture.moved(b)) - here - rise
        step = 1.0 if bend >= 0 else min(1.0, -rise / (2 * bend))
        mixture.weights = {m: (1 - step) * old[m] + step * vertices[m] for m in mixture.movers}
        if step < ENOUGH or rise <= ENOUGH * abs(here):
            break
    return tuple(matcher.element(m, -mixture.weights[m]) for m in mixture.movers)


def _vertex(matcher: Matcher, mover: int, slope: Tensor) -> Tensor:
    """The signed permutation of most gain, as weights."""
    element = matcher.element(mover, -slope)
    images = element.permutations[mover].reshape(slope.shape[1:3])
    choice = slope.amax(0).ne(slope).int().argmin(0)  # the signs of the best entry
    rows = torch.zeros_like(slope)
    picked = choice.gather(-1, images[..., None])
    for k in range(len(slope)):
        rows[k].scatter_(-1, images[..., None], (picked == k).to(slope.dtype))
    return rows


def _product(a: Point, b: Point) -> float:
    return float(sum((a[k] * b[k]).sum() for k in a))
