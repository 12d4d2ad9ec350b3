r"""A tensor as cells: blocks on which the index set is a plain product of leaves.

A cell is a strided view of its tensor with one axis per leaf.  On a cell a permutation acts along axes and a scaling
multiplies along axes, whatever views, concatenations and flattenings the tensor has been through.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

from epigraph.symmetry.axes import Atom, Type, at, factors, forget, root, scope_of, size, unscope


@final
@dataclass(frozen=True)
class Place:
    """A leaf in a cell: its dimension of the tensor, and the step of one index along that dimension."""

    dim: int
    atom: Atom
    step: int


@final
@dataclass(frozen=True)
class Cell:
    """A block of a tensor: where it starts along each dimension, the parts chosen there, and its leaves, outermost first."""

    start: tuple[int, ...]
    choices: tuple[tuple[int, ...], ...]
    places: tuple[Place, ...]

    def along(self, dim: int) -> list[int]:
        """Positions in ``places`` of the leaves along a dimension."""
        return [i for i, p in enumerate(self.places) if p.dim == dim]

    @property
    def atoms(self) -> list[Atom]:
        return [p.atom for p in self.places]


def cells(dims: Sequence[Type]) -> list[Cell]:
    """The cells of a tensor with these dimensions, in row-major order of the parts."""
    pending: list[tuple[int, Atom, int]] = []
    for dim, kind in enumerate(dims):
        pending += _steps(dim, kind, 1)
    count = len(dims)
    return list(_expand((0,) * count, ((),) * count, (), pending))


@final
class Cells:
    """The cells of many tensors, those of equal types made once: valid as long as no type changes."""

    def __init__(self) -> None:
        self._known: dict[tuple[tuple[Atom, ...], ...], list[Cell]] = {}

    def __call__(self, dims: Sequence[Type]) -> list[Cell]:
        key = tuple(tuple(factors(kind)) for kind in dims)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = cells(key)
        return found


def _steps(dim: int, kind: Sequence[Atom], step: int) -> list[tuple[int, Atom, int]]:
    out: list[tuple[int, Atom, int]] = []
    for atom in reversed(factors(kind)):
        out.append((dim, atom, step))
        step *= atom.size
    return out[::-1]


def _expand(
    start: tuple[int, ...],
    choices: tuple[tuple[int, ...], ...],
    done: tuple[Place, ...],
    pending: list[tuple[int, Atom, int]],
) -> Iterable[Cell]:
    for position, (dim, atom, step) in enumerate(pending):
        if atom.parts is None:
            continue
        offset = 0
        for index, part in enumerate(atom.parts):
            here = _steps(dim, part, step)
            before = _chosen(pending[:position], atom, index)
            rest = _chosen(pending[position + 1 :], atom, index)
            moved = tuple(s + offset * step if d == dim else s for d, s in enumerate(start))
            picked = tuple((*c, index) if d == dim else c for d, c in enumerate(choices))
            yield from _expand(moved, picked, done, [*before, *here, *rest])
            offset += size(part)
        return
    yield Cell(start, choices, (*done, *(Place(d, a, s) for d, a, s in pending)))


def _chosen(pending: Sequence[tuple[int, Atom, int]], outer: Atom, index: int) -> list[tuple[int, Atom, int]]:
    """Leaves that depend on a sum, for one of its parts."""
    out: list[tuple[int, Atom, int]] = []
    for d, atom, step in pending:
        out += [(d, atom, step)] if atom is outer else _steps(d, at((atom,), outer, index), step)
    return out


def narrow_scopes(tensors: Sequence[Sequence[Type]]) -> None:
    """Keep of each leaf's scope what every tensor with the leaf has exactly once; repeat until nothing changes."""
    for dims in tensors:
        for atom, times in Counter(a for kind in dims for a in factors(kind)).items():
            if times > 1 and atom.parts is not None:
                forget(atom)
    while True:
        found: dict[Atom, frozenset[Atom]] = {}
        every, done = Cells(), set[int]()
        for dims in tensors:
            same = every(dims)
            if id(same) in done:
                continue
            done.add(id(same))
            for cell in same:
                seen = Counter(cell.atoms)
                for atom in seen:
                    scope = found.get(atom)
                    if scope is None:
                        scope = scope_of(atom)
                    if scope:
                        scope = frozenset(a for a in scope if seen[a] == 1) if seen[atom] == 1 else frozenset()
                    found[atom] = scope
        changed = False
        for atom, scope in found.items():
            if root(atom) is not atom or atom.parts is not None:
                continue
            for outer in scope_of(atom) - scope:
                unscope(atom, outer)
                changed = True
            for over, _ in list(atom.cases):
                if root(over) not in scope:
                    unscope(atom, root(over))
                    changed = True
        if not changed:
            return


def copies(atom: Atom) -> int:
    """How many independent permutations a leaf stands for: one per index of what it depends on."""
    return math.prod(a.size for a in scope_of(atom))
