r"""Biases that later biases undo: b1 + d and b2 - W d give the same network where only linear maps lie between them.

A layer's bias passes unchanged through what is linear, and through a weighted mean (values under attention), into the
maps W_k that read it; their own biases b_k can take it back.  Infinitesimally the gradients satisfy
G(b1) = sum_k W_k' G(b_k), at every point.  Which maps belong to a bias is read off these equations at random points;
what comes out is verified with finite elements elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import final

import torch
from torch import Tensor

from epigraph.objective.graph import Graph
from epigraph.symmetry.group import Group

Point = Mapping[str, Tensor]
Key = tuple[str, int]
Reader = tuple[Key | None, Key]
NEAR = 1e-9
MOST = 20_000  # pairs of a bias and a map
FEW = 8  # maps that read one bias


def view(group: Group, key: Key, tensors: Point) -> Tensor:
    """A block of a tensor, one axis per index set."""
    block = group.blocks[key[0]][key[1]]
    return tensors[key[0]].contiguous().as_strided(block.sizes, block.strides, block.offset)


def used_in(graph: Graph, op: str) -> dict[str, int]:
    """The parameters that only one operator reads, up to layout, and the first node that does."""
    names: dict[int, str] = {i: n for n, i in graph.parameter_nodes.items()}
    used: dict[str, set[str]] = {}
    first: dict[str, int] = {}
    for node in graph:
        for i in node.inputs:
            if i in names and node.op in ("reshape", "permute", "expand", "slice"):
                names[node.id] = names[i]
            elif i in names:
                used.setdefault(names[i], set()).add(node.op)
                first.setdefault(names[i], node.id)
    return {name: first[name] for name, ops in used.items() if ops == {op}}


@final
@dataclass(frozen=True)
class Compensation:
    """A block may be shifted by anything; each of ``readers`` is a map and the block that takes the shift back.

    A map None is the identity: two biases of one stream.
    """

    tensor: str
    block: int
    readers: tuple[Reader, ...]
    kind: str = "compensation"

    def dimension(self, group: Group) -> int:
        return group.blocks[self.tensor][self.block].numel

    def shifted(self, group: Group, point: Point, amount: Tensor) -> dict[str, Tensor]:
        """A point where the block has been shifted, and the shift undone."""
        moved = {k: v.clone(memory_format=torch.contiguous_format) for k, v in point.items()}
        view(group, (self.tensor, self.block), moved).add_(amount)
        for weight, bias in self.readers:
            own, out = (group.blocks[name][k].sets for name, k in ((self.tensor, self.block), bias))
            view(group, bias, moved).sub_(_contract(group, weight, point, amount, own, out))
        return moved

    def move(self, group: Group, point: Point, generator: torch.Generator) -> dict[str, Tensor]:
        """A point moved by a random amount."""
        sizes = group.blocks[self.tensor][self.block].sizes
        return self.shifted(group, point, torch.randn(sizes, generator=generator, dtype=torch.float64))

    def undone(self, group: Group, point: Point) -> dict[str, Tensor]:
        """A point where the block is 0."""
        return self.shifted(group, point, -view(group, (self.tensor, self.block), point))

    def tangents(self, group: Group, point: Point) -> list[dict[str, Tensor]]:
        """The velocities of a basis of shifts."""
        sizes = group.blocks[self.tensor][self.block].sizes
        out = []
        for unit in torch.eye(self.dimension(group), dtype=torch.float64):
            moved = self.shifted(group, point, unit.reshape(sizes))
            out.append({k: moved[k] - point[k] for k in point})
        return out


def _contract(
    group: Group, weight: Key | None, point: Point, vector: Tensor, own: Sequence[int], out: Sequence[int]
) -> Tensor:
    """Sum over the axes of a map that a vector has, and over those that neither has; the axes of ``out`` are left."""
    if weight is None:
        return vector.permute([own.index(s) for s in out])
    sets = group.blocks[weight[0]][weight[1]].sets
    letters = {s: chr(ord("a") + i) for i, s in enumerate(dict.fromkeys(sets))}
    names = ["".join(letters[s] for s in each) for each in (sets, own, out)]
    return torch.einsum(f"{names[0]},{names[1]}->{names[2]}", view(group, weight, point), vector)


def compensations(
    group: Group, points: Sequence[Point], gradients: Sequence[Point], added: Mapping[str, int], taken: Collection[Key]
) -> list[Compensation]:
    """The biases whose shift the gradients at a few points allow to be undone.

    ``added``: the parameters that are only added, and where first; ``taken``: the blocks with shifts of their own.  With
    more than 20,000 pairs of a bias and a reader nothing is looked for.
    """
    by_sets: dict[frozenset[int], list[Key]] = {}
    for name, blocks in group.blocks.items():
        for k, block in enumerate(blocks):
            if len(set(block.sets)) == len(block.sets):
                by_sets.setdefault(frozenset(block.sets), []).append((name, k))
    biases = {
        sets: sorted((key for key in keys if key[0] in added), key=lambda key: added[key[0]])
        for sets, keys in by_sets.items()
    }
    maps = _maps(by_sets, biases)
    options: dict[Key, list[Reader]] = {}
    for sets, keys in biases.items():
        for i, key in enumerate(keys):
            if key not in taken and sets:  # the identity to later ones only, lest a pair counts twice
                options[key] = [*((None, k) for k in keys[i + 1 :]), *(r for r in maps.get(sets, []) if key not in r)]
    if sum(map(len, options.values())) > MOST:
        return []
    found = ((key, _solved(group, key, readers, points, gradients)) for key, readers in options.items())
    return [Compensation(*key, chosen) for key, chosen in found if chosen]


def _maps(
    by_sets: Mapping[frozenset[int], list[Key]], biases: Mapping[frozenset[int], list[Key]]
) -> dict[frozenset[int], list[Reader]]:
    """For the axes of each bias, the maps that have these axes, each with the biases that have other axes of it."""
    out: dict[frozenset[int], list[Reader]] = {}
    for sets, weights in by_sets.items():
        for size in range(1, len(sets) + 1):
            for own in map(frozenset, combinations(sorted(sets), size)):
                if not biases.get(own):
                    continue
                rest = sets - own
                back = [
                    b for n in range(len(rest) + 1) for c in combinations(rest, n) for b in biases.get(frozenset(c), [])
                ]
                out.setdefault(own, []).extend((w, b) for w in weights for b in back if w != b)
    return out


def _solved(
    group: Group, key: Key, readers: Sequence[Reader], points: Sequence[Point], gradients: Sequence[Point]
) -> tuple[Reader, ...]:
    """The readers whose gradients add up to that of a block: of few all at once, else one more at a time."""
    wanted = torch.cat([view(group, key, g).reshape(-1) for g in gradients])
    size = float(wanted.abs().max())
    if not readers or size == 0:
        return ()
    own = group.blocks[key[0]][key[1]].sets
    columns = []
    for weight, bias in readers:
        out = group.blocks[bias[0]][bias[1]].sets
        parts = [
            _contract(group, weight, point, view(group, bias, gradient), out, own).reshape(-1)
            for point, gradient in zip(points, gradients, strict=True)
        ]
        columns.append(torch.cat(parts))
    matrix = torch.stack(columns, 1)
    if len(readers) < len(wanted):  # all at once
        answer = torch.linalg.lstsq(matrix, wanted[:, None], driver="gelsd").solution[:, 0].round().clamp(0, 1)
        if float((matrix @ answer - wanted).abs().max()) <= NEAR * size:
            return tuple(r for r, c in zip(readers, answer.tolist(), strict=True) if c)
    norms = matrix.norm(dim=0).clamp_min(1e-13 * size)
    chosen: list[int] = []
    left = wanted
    while len(chosen) < min(FEW, len(readers), len(wanted) - 1):
        scores = (matrix.mT @ left).abs() / norms
        scores[chosen] = -1.0
        chosen.append(int(scores.argmax()))
        answer = torch.linalg.lstsq(matrix[:, chosen], wanted[:, None], driver="gelsd").solution[:, 0]
        left = wanted - matrix[:, chosen] @ answer
        if float(left.abs().max()) <= NEAR * size:
            return tuple(readers[i] for i in chosen) if bool(((answer - 1).abs() < 1e-6).all()) else ()
    return ()
