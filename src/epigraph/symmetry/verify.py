"""Is J unchanged?  Random elements at random points, in float64; what fails is found by halving and dropped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from epigraph.objective.domain import Domain
from epigraph.objective.evaluate import Evaluator
from epigraph.objective.graph import Graph
from epigraph.symmetry.group import Generator, Group

TOLERANCE = 1e-12


@final
@dataclass(frozen=True)
class Verification:
    """What the check saw: the largest relative change of J, the change when one tensor is left behind, trials, drops."""

    error: float | None
    control: float | None
    trials: int
    dropped: tuple[Generator, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {"error": self.error, "control": self.control, "trials": self.trials, "dropped": len(self.dropped)}


@final
class Checker:
    """Compares J before and after elements at points where every parameter and buffer is random."""

    def __init__(self, graph: Graph, domain: Domain, buffers: Sequence[str], group: Group, seed: int):
        self.graph, self.domain, self.buffers, self.group = graph, domain, frozenset(buffers), group
        self.evaluator = Evaluator(graph)
        self.generator = torch.Generator().manual_seed(seed)

    def points(self, count: int) -> list[tuple[dict[str, Tensor], float, float]]:
        """Random points at which J is finite, with J and the scale of its rounding there."""
        found: list[tuple[dict[str, Tensor], float, float]] = []
        for attempt in range(8 * count):
            point = self._draw(("fan", "near", "positive")[attempt // count % 3])
            value = self.value(point)
            if math.isfinite(value):
                found.append((point, value, abs(value)))
            if len(found) == count:
                break
        return found

    def value(self, point: Mapping[str, Tensor]) -> float:
        with torch.no_grad():
            return float(self.evaluator(point))

    def _draw(self, style: str) -> dict[str, Tensor]:
        out: dict[str, Tensor] = {}
        for name, given in self.graph.parameters.items():
            noise = torch.randn(given.shape, generator=self.generator, dtype=torch.float64)
            if name in self.buffers:
                value = 0.5 + torch.rand(given.shape, generator=self.generator, dtype=torch.float64)
            elif style == "near":
                value = given.detach().double() * (1 + 0.3 * noise) + 0.05 * noise.flip(0) if noise.ndim else noise
            elif style == "positive":
                value = noise.abs() + 0.1
            elif given.ndim >= 2:
                value = noise * math.sqrt(given.shape[0] / max(given.numel(), 1))
            else:
                value = 0.3 + 0.5 * noise
            out[name] = self.domain.inside(name, value, self.generator)
        return out

    def change(
        self, positions: Sequence[int], base: tuple[dict[str, Tensor], float, float], leave: str | None
    ) -> float:
        """The relative change of J under a random element of some generators; ``leave`` is not moved."""
        point, value, scale = base
        element = self.group.random(self.generator, positions)
        moved = self.group.apply(element, point)
        if leave is not None:
            moved[leave] = point[leave]
        after = self.value(moved)
        difference = abs(after - value)
        return difference / max(scale, 1e-300) if math.isfinite(after) else math.inf

    def holds(self, positions: Sequence[int], bases: Sequence[tuple[dict[str, Tensor], float, float]]) -> bool:
        return all(self._change_or_rounding(positions, base) <= TOLERANCE for base in bases)

    def _change_or_rounding(self, positions: Sequence[int], base: tuple[dict[str, Tensor], float, float]) -> float:
        change = self.change(positions, base, None)
        if TOLERANCE < change < 1e-6:  # sums that cancel: their terms give the scale
            point, value, _ = base
            change = self.change(positions, (point, value, max(abs(value), self.evaluator.summands(point))), None)
        return change

    def failing(self, positions: Sequence[int], bases: Sequence[tuple[dict[str, Tensor], float, float]]) -> list[int]:
        """The generators that change J, found by halving."""
        if not positions or self.holds(positions, bases):
            return []
        if len(positions) == 1:
            return list(positions)
        middle = len(positions) // 2
        return self.failing(positions[:middle], bases) + self.failing(positions[middle:], bases)


def verify(
    graph: Graph, domain: Domain, buffers: Sequence[str], group: Group, seed: int = 0, trials: int = 2
) -> tuple[Group, Verification]:
    """The group of the generators that leave J unchanged, and what was seen."""
    checker = Checker(graph, domain, buffers, group, seed)
    everything = list(range(len(group.generators)))
    if not everything:
        return group, Verification(None, None, 0)
    bases = checker.points(trials)
    if not bases:
        return group.only([]), Verification(None, None, 0, group.generators)
    failed = set(checker.failing(everything, bases))
    kept = [i for i in everything if i not in failed]
    error = max((checker._change_or_rounding(kept, base) for base in bases), default=None) if kept else None
    control = _control(checker, kept, bases[0])
    dropped = tuple(group.generators[i] for i in sorted(failed))
    kept_group = group.only([group.generators[i] for i in kept])
    return kept_group, Verification(error, control, len(bases), dropped)


def _control(checker: Checker, kept: Sequence[int], base: tuple[dict[str, Tensor], float, float]) -> float | None:
    """The change of J when the last tensor of each moved set is left where it was: it must not be small."""
    if not kept:
        return None
    group = checker.group
    place = group.places(group.generators[kept[0]])
    return checker.change(kept, base, place[-1]["tensor"]) if place else None
