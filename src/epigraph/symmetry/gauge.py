r"""Symmetries that hold once the gains of normalisation layers are 1 and their shifts 0.

A norm's gain g and shift b can be moved into the map that reads them: W(g x + b) + c = (W diag g) x + (W b + c).  Both
moves are symmetries, a rescaling and a compensation.  In that *gauge* the stream before the norm may be rotated (under a
layer norm: keeping the mean), and the readers of a layer norm may be shifted along the mean, which it never sends.
A gauged symmetry fixes the gauge, moves, and goes back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from epigraph.objective.graph import Graph
from epigraph.symmetry.compensation import Compensation, Key, Point, used_in, view
from epigraph.symmetry.group import Element, Group, Scaling


@final
@dataclass(frozen=True)
class Gauge:
    """Gains with the positions of the rescalings that make them 1, and the shifts that are brought to 0."""

    gains: tuple[tuple[int, Key], ...]
    shifts: tuple[Compensation, ...]

    @property
    def held(self) -> frozenset[str]:
        """The tensors that the gauge fixes."""
        return frozenset([key[0] for _, key in self.gains] + [f.tensor for f in self.shifts])

    def fixed(self, group: Group, point: Point) -> dict[str, Tensor]:
        """A point in the gauge."""
        moved = dict(point)
        for flow in self.shifts:
            moved = flow.undone(group, moved)
        return group.apply(Element(factors=self._factors(group, point, -1)), moved)

    def restored(self, group: Group, point: Point, like: Point) -> dict[str, Tensor]:
        """A point with the gains and shifts of another."""
        moved = group.apply(Element(factors=self._factors(group, like, 1)), point)
        for flow in reversed(self.shifts):
            moved = flow.shifted(group, moved, view(group, (flow.tensor, flow.block), like))
        return moved

    def _factors(self, group: Group, point: Point, power: int) -> dict[int, Tensor]:
        found = {}
        for position, key in self.gains:
            scaling = group.generators[position]
            assert isinstance(scaling, Scaling)
            found[position] = view(group, key, point) ** (power * scaling.charges[(*key, 0)])
        return found


def gauge(graph: Graph, group: Group, flows: tuple[object, ...]) -> Gauge:
    """The gauge of a network: each gain that one rescaling moves alone, with the shifts that this rescaling moves."""
    multiplied = used_in(graph, "mul")
    gains: list[tuple[int, Key]] = []
    shifts: list[Compensation] = []
    for position, scaling in enumerate(group.generators):
        if not isinstance(scaling, Scaling) or scaling.kind != "scale" or scaling.set is None:
            continue
        if group.sets[scaling.set].scope or set(map(abs, scaling.charges.values())) != {1}:
            continue
        vectors = [(n, k) for (n, k, _) in scaling.charges if group.blocks[n][k].sets == (scaling.set,)]
        own = [key for key in vectors if key[0] in multiplied]
        if len(own) == 1 and own[0] not in [key for _, key in gains]:
            gains.append((position, own[0]))
            shifts += [f for f in flows if isinstance(f, Compensation) and (f.tensor, f.block) in vectors]
    return Gauge(tuple(gains), tuple(shifts))
