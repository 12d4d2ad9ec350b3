"""Is J unchanged?  Random elements at random points, in float64; what fails is found by halving and dropped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor

from epigraph.objective.domain import Domain
from epigraph.objective.evaluate import Evaluator
from epigraph.objective.graph import Graph
from epigraph.symmetry.group import Element, Generator, Group

TOLERANCE = 1e-12
Base = tuple[dict[str, Tensor], float, float]  # a point, J there, and the scale of J's rounding


@final
@dataclass(frozen=True)
class Verification:
    """What the check saw: the largest relative change of J, the change when one tensor is left behind, trials, drops.

    ``control`` is None where no generator moves more than one tensor.
    """

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

    def points(self, count: int) -> list[Base]:
        """Random points at which J is finite, with J and the scale of its rounding there."""
        found: list[Base] = []
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

    def elements(self, positions: Sequence[int]) -> list[Element]:
        """Permutations without fixed points; each sign is -1 in the first or in the second, the third is independent."""
        first, second, third = (self.group.random(self.generator, positions, cycles=True) for _ in range(3))
        flipped = {
            k: -v if self.group.generators[k].kind == "sign" else second.factors[k] for k, v in first.factors.items()
        }
        return [first, replace(second, factors=flipped), third]

    def change(self, element: Element, base: Base, leave: str | None = None) -> float:
        """The change of J under an element, relative to the size of J or of its summands; ``leave`` is not moved."""
        point, value, scale = base
        moved = self.group.apply(element, point)
        if leave is not None:
            moved[leave] = point[leave]
        after = self.value(moved)
        if not math.isfinite(after):
            return math.inf
        change = abs(after - value) / max(scale, 1e-300)
        if TOLERANCE < change < 1e-6:  # where sums cancel, their terms give the scale
            change = abs(after - value) / max(abs(value), self.evaluator.summands(point))
        return change

    def worst(self, positions: Sequence[int], bases: Sequence[Base]) -> float:
        """The largest change of J that a few elements make, at all points."""
        return max(self.change(e, base) for base in bases for e in self.elements(positions))

    def failing(self, positions: Sequence[int], bases: Sequence[Base]) -> list[int]:
        """The generators that change J, found by halving."""
        if not positions or self.worst(positions, bases) <= TOLERANCE:
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
    error = checker.worst(kept, bases) if kept else None
    control = _control(checker, kept, bases[0])
    dropped = tuple(group.generators[i] for i in sorted(failed))
    kept_group = group.only([group.generators[i] for i in kept])
    return kept_group, Verification(error, control, len(bases), dropped)


def _control(checker: Checker, kept: Sequence[int], base: Base) -> float | None:
    """The change of J when one of several tensors that a generator moves stays where it was: it must not be small."""
    for position in kept:
        tensors = list(dict.fromkeys(p["tensor"] for p in checker.group.places(checker.group.generators[position])))
        if len(tensors) > 1:
            return max(checker.change(e, base, tensors[-1]) for e in checker.elements([position]))
    return None
