"""What ``epigraph.symmetries`` returns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from epigraph.symmetry.compensation import Compensation
from epigraph.symmetry.continuous import Flow, Gauged, Linear, Shift, continuous, describe, tangent_rank
from epigraph.symmetry.counting import digits
from epigraph.symmetry.discover import captured, discover
from epigraph.symmetry.group import Element, Generator, Group, Permutations
from epigraph.symmetry.oracle import interpolated
from epigraph.symmetry.stabiliser import Stabiliser, stabiliser
from epigraph.symmetry.verify import Checker, Verification, verify

if TYPE_CHECKING:
    from epigraph.objective.graph import Graph
    from epigraph.objective.objective import Objective

LARGEST = 20_000_000  # directions times parameters, for the rank of the directions at a point


@final
@dataclass(frozen=True)
class Symmetries:
    """The verified group of an objective: generators, order, dimension, and what it does to named tensors.

    ``order`` counts permutations and sign flips exactly; ``dimension`` is that of the continuous part: positive
    rescalings, and the ``flows``: general linear maps, rotations, shifts.
    ``buffers`` are the running statistics that move with the parameters; a generator that moves one is a symmetry of J
    alone only where those statistics agree.
    """

    group: Group
    flows: tuple[Flow, ...]
    verification: Verification
    buffers: tuple[str, ...]
    values: Mapping[str, Tensor]
    notes: tuple[str, ...]
    graph: Graph

    @property
    def order(self) -> int:
        return self.group.order

    @property
    def dimension(self) -> int:
        total = self.group.dimension + self._shifts()
        for flow in self.flows:
            if isinstance(flow, Compensation | Gauged):
                total += flow.dimension(self.group)
            elif isinstance(flow, Linear):  # the diagonal of GL(n) is among the rescalings
                copies, n = self.group.copies(flow.set), self.group.sets[flow.set].size
                total += flow.dimension(self.group) - (copies * n if flow.kind == "linear" else 0)
        return total

    def _shifts(self) -> int:
        """The dimension of the shifts; those along several axes of one block overlap."""
        axes: dict[tuple[str, int], set[int | None]] = {}
        for flow in self.flows:
            if isinstance(flow, Shift):
                axes.setdefault((flow.tensor, flow.block), set()).add(flow.axis)
        total = 0
        for (name, k), chosen in axes.items():
            sizes = self.group.blocks[name][k].sizes
            total += math.prod(sizes)
            total -= 0 if None in chosen else math.prod(n - 1 if d in chosen else n for d, n in enumerate(sizes))
        return total

    def flat(self, point: Mapping[str, Tensor] | None = None) -> int:
        """The dimension of the orbit at a point: the Hessian of J has at least so many zero eigenvalues at a critical one.

        Directions that move a buffer are left out.  Costs a singular value decomposition of directions by parameters:
        for small models.
        """
        whole = self.point(point)
        return tangent_rank(self.group, self.flows, whole, self.buffers)

    def zeros(self, point: Mapping[str, Tensor] | None = None) -> int:
        r"""How many zero eigenvalues the Hessian of J must have at a critical point.

        At least ``flat``.  Where J is a sum of squares and all of them vanish there, the Hessian is a Gauss-Newton matrix
        of one row per sample and output, so that it has at least P - N C.  Costs a gradient more than ``flat``.
        """
        whole = self.point(point)
        orbit = tangent_rank(self.group, self.flows, whole, self.buffers)
        rows = interpolated(self.graph, whole)
        size = sum(v.numel() for k, v in whole.items() if k not in self.buffers)
        return orbit if rows is None else max(orbit, size - rows)

    def stabiliser(self, point: Mapping[str, Tensor] | None = None) -> Stabiliser:
        """How many permutations and sign flips leave a point where it is, and so how many copies it has."""
        return stabiliser(self.group, self.point(point))

    def at(self, point: Mapping[str, Tensor] | None = None) -> dict[str, Any]:
        """Stabiliser, copies and flat directions at a point, as data; no flat directions where that is too large to compute."""
        fixing = self.stabiliser(point)
        small = self.dimension * sum(v.numel() for v in self.values.values()) <= LARGEST
        return {
            "stabiliser": digits(fixing.order),
            "copies": digits(fixing.orbit),
            "exact": fixing.exact,
            "flat": self.zeros(point) if small else None,
        }

    @property
    def permutations(self) -> tuple[Permutations, ...]:
        return self.group.permutations

    def random(self, seed: int = 0) -> Element:
        """A random element of the group."""
        return self.group.random(torch.Generator().manual_seed(seed))

    def apply(self, element: Element, point: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """A point (by default the user's) moved by an element, in float64; buffers included where they move."""
        return self.group.apply(element, self.point(point))

    def point(self, point: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """All parameters and moving buffers in float64, those not given as J has them."""
        return {k: v.detach().double() for k, v in {**self.values, **(point or {})}.items()}

    def describe(self) -> list[dict[str, Any]]:
        """Each generator in words and as data."""
        return [*(self._record(g) for g in self.group.generators), *(describe(self.group, f) for f in self.flows)]

    def _record(self, generator: Generator) -> dict[str, Any]:
        group, own = self.group, generator.set
        units = 1 if own is None else group.sets[own].size
        copies = group.copies(own)
        places = group.places(generator)
        names = list(dict.fromkeys(p["tensor"] for p in places))
        words = {"permutation": "permute", "sign": "flip the sign of", "scale": "rescale"}[generator.kind]
        what = (
            "whole tensors"
            if own is None
            else f"{units} units" + (f" in each of {copies} groups" if copies > 1 else "")
        )
        return {
            "kind": generator.kind,
            "units": units,
            "copies": copies,
            "words": f"{words} {what}: {', '.join(names)}",
            "moves": places,
            "buffers": [n for n in names if n in self.buffers],
        }

    def to_dict(self) -> dict[str, Any]:
        """One JSON object."""
        return {
            "schema": "epigraph/symmetry/1",
            "order": digits(self.order),
            "dimension": self.dimension,
            "permutation_groups": len(self.permutations),
            "generators": self.describe(),
            "verification": self.verification.to_dict(),
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        digits = f"{self.order}" if self.order < 10**12 else f"about 10^{math.log10(self.order):.1f}"
        return (
            f"Symmetries(order {digits}, {len(self.permutations)} permutation groups, "
            f"{self.dimension} continuous dimensions, verified to {self.verification.error})"
        )


def symmetries(J: Objective, *, seed: int = 0, trials: int = 2) -> Symmetries:
    r"""The transformations of the parameters that leave J unchanged, found from its graph and verified.

    Permutations of hidden units and channels (whole ones, and within heads), sign flips at odd activations, positive
    rescalings at homogeneous ones.  Data and the domain are respected: what the data distinguish stays in place, and
    weight decay removes the rescalings.  Every generator is checked in float64 with all parameters and buffers random:
    J must agree to 1e-12 relative to its value (or its largest summand); what fails is dropped and named in ``notes``.

    The group is the one that the rules find: a subgroup of the full symmetry group, never more than it.

    Args:
        J: the objective.
        seed: seed of the random points and elements.
        trials: points at which the group is checked.

    Raises:
        ObjectiveError, CaptureError: J has no graph.

    Example:
        >>> import torch, epigraph
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
        >>> J = epigraph.Objective(model, torch.nn.MSELoss(), torch.randn(8, 2), torch.randn(8, 1))
        >>> epigraph.symmetries(J).order
        48
    """
    moved, buffers, note = captured(J)
    graph = moved.graph()
    found = discover(graph, moved.domain, buffers)
    group, seen = verify(graph, moved.domain, buffers, found, seed, trials)
    flows, failed = continuous(Checker(graph, moved.domain, buffers, group, seed + 1))
    notes = [note] if note else []
    if failed:
        notes.append(f"{len(failed)} continuous symmetries that a gradient suggested do not hold and are left out")
    if seen.dropped:
        words = "; ".join(f"{g.kind} of {_first(found, g)}" for g in seen.dropped)
        notes.append(f"{len(seen.dropped)} generators found by the rules changed J and are left out: {words}")
    values = {k: v.detach() for k, v in moved.parameters.items()}
    return Symmetries(group, flows, seen, buffers, values, tuple(notes), graph)


def _first(group: Group, generator: Generator) -> str:
    places = group.places(generator)
    return places[0]["tensor"] if places else "nothing"
