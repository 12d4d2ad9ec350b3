r"""Biases that later biases undo: b1 + d and b2 - W d give the same network where only linear maps lie between them.

A layer's bias passes unchanged through what is linear, and through a weighted mean (values under attention), into the
maps W_k that read it; their own biases b_k can take it back.  Infinitesimally the gradients satisfy
G(b1) = sum_k W_k' G(b_k), at every point.  The maps that belong to a bias are found by solving these equations for
coefficients 0 and 1 at random points; what comes out is verified with finite elements elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import final

import torch
from torch import Tensor

from epigraph.symmetry.group import Block, Group

Point = Mapping[str, Tensor]
Key = tuple[str, int]
Reader = tuple[Key | None, Key]
NEAR = 1e-9
MOST = 64  # maps that are tried for one bias


def view(group: Group, key: Key, tensors: Point) -> Tensor:
    """A block of a tensor, one axis per index set."""
    block = group.blocks[key[0]][key[1]]
    return tensors[key[0]].contiguous().as_strided(block.sizes, block.strides, block.offset)


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
    group: Group, points: Sequence[Point], gradients: Sequence[Point], taken: set[Key]
) -> list[Compensation]:
    """The biases whose shift the gradients at a few points allow to be undone; ``taken``: blocks with shifts of their own."""
    by_sets: dict[frozenset[int], list[Key]] = {}
    for name, blocks in group.blocks.items():
        for k, block in enumerate(blocks):
            if len(set(block.sets)) == len(block.sets):
                by_sets.setdefault(frozenset(block.sets), []).append((name, k))
    readers: dict[frozenset[int], list[Reader]] = {}
    for sets, weights in by_sets.items():
        for size in range(1, len(sets) + 1):
            for own in map(frozenset, combinations(sorted(sets), size)):
                biases = [b for out in _subsets(sets - own) for b in by_sets.get(out, []) if out or len(sets) == size]
                if own in by_sets and biases and len(weights) * len(biases) <= MOST**2:
                    found = readers.setdefault(own, [])
                    found += [(w, b) for w in weights for b in biases if w != b]
    out: list[Compensation] = []
    for sets, keys in by_sets.items():
        for key in keys if sets in readers else []:
            block = group.blocks[key[0]][key[1]]
            later: list[Reader] = [(None, k) for k in keys[keys.index(key) + 1 :]]  # one way, lest a pair counts twice
            options = [*later, *readers[sets]]
            if key not in taken and (chosen := _solved(group, key, block, options, points, gradients)):
                out.append(Compensation(*key, chosen))
    return out


def _subsets(sets: frozenset[int]) -> list[frozenset[int]]:
    return [frozenset(c) for size in range(len(sets), -1, -1) for c in combinations(sorted(sets), size)]


def _solved(
    group: Group,
    key: Key,
    block: Block,
    readers: Sequence[Reader],
    points: Sequence[Point],
    gradients: Sequence[Point],
) -> tuple[Reader, ...]:
    """The readers whose gradients add up to that of a block; none where that is not so."""
    wanted = torch.cat([view(group, key, g).reshape(-1) for g in gradients])
    options = [r for r in readers if key not in r]
    if not options or float(wanted.abs().max()) == 0 or min(len(options), MOST) >= len(wanted):
        return ()
    columns = []
    for weight, bias in options[:MOST]:
        parts = []
        for point, gradient in zip(points, gradients, strict=True):
            out = group.blocks[bias[0]][bias[1]].sets
            parts.append(_contract(group, weight, point, view(group, bias, gradient), out, block.sets).reshape(-1))
        columns.append(torch.cat(parts))
    matrix = torch.stack(columns, 1)
    used = matrix.abs().amax(0) > 1e-13 * wanted.abs().max()
    answer = torch.zeros(matrix.shape[1], dtype=torch.float64)
    if bool(used.any()):
        answer[used] = torch.linalg.lstsq(matrix[:, used], wanted[:, None], driver="gelsd").solution[:, 0]
    exact = answer.round().clamp(0, 1)
    if float((matrix @ exact - wanted).abs().max()) > NEAR * float(wanted.abs().max()):
        return ()
    return tuple(r for r, c in zip(options[:MOST], exact.tolist(), strict=True) if c)
