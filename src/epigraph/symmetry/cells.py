r"""A tensor as cells: blocks on which the index set is a plain product of leaves.

A cell is a strided view of its tensor with one axis per leaf.  On a cell a permutation acts along axes and a scaling
multiplies along axes, whatever views, concatenations and flattenings the tensor has been through.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, product
from typing import Any, NamedTuple, TypeVar, final

from epigraph.symmetry.atoms import FREE, Atom, Type, factors, positions, root, scope_of
from epigraph.symmetry.axes import at, forget, unscope


@final
class Place(NamedTuple):
    """A leaf in a cell: its dimension of the tensor, and the step of one index along that dimension."""

    dim: int
    atom: Atom
    step: int


@final
@dataclass(eq=False, slots=True)
class Cell:
    """A block of a tensor: where it starts along each dimension, the parts chosen there, and its leaves, outermost first."""

    start: tuple[int, ...]
    choices: tuple[tuple[int, ...], ...]
    places: tuple[Place, ...]

    atoms: list[Atom] = field(init=False)

    def __post_init__(self) -> None:
        self.atoms = [p.atom for p in self.places]

    def along(self, dim: int) -> list[int]:
        """Positions in ``places`` of the leaves along a dimension."""
        return [i for i, p in enumerate(self.places) if p.dim == dim]


Found = TypeVar("Found")
Match = list[tuple[int, list[int | None]]]


@final
class Cells:
    """The cells of many tensors, those of equal types made once: valid as long as no type changes."""

    def __init__(self) -> None:
        self._given: dict[tuple[Type, ...], list[Cell]] = {}
        self._known: dict[tuple[tuple[Atom, ...], ...], list[Cell]] = {}
        self._strips: dict[tuple[int, Sequence[Atom], int], list[Strip] | None] = {}
        self._index: dict[int, dict[tuple[tuple[int, ...], ...], int]] = {}
        self._memory: dict[tuple[int, int, Hashable], Any] = {}
        self._dependent: set[int] = set()

    def __call__(self, dims: Sequence[Type]) -> list[Cell]:
        """The cells of a tensor with these dimensions, in row-major order of the parts."""
        given = tuple(dims)
        found = self._given.get(given)
        if found is not None:
            return found
        key = tuple(tuple(factors(kind)) for kind in given)
        found = self._known.get(key)
        if found is None:
            strips = self._pieces(key)
            found = _expanded(key) if strips is None else list(_joined(strips))
            if strips is None:
                self._dependent.add(id(found))
            self._known[key] = found
            self._index[id(found)] = {c.choices: i for i, c in enumerate(found)}
        self._given[given] = found
        return found

    def depend(self, cells: list[Cell]) -> bool:
        """May some leaf of these cells depend on another?"""
        return id(cells) in self._dependent

    def index(self, cells: list[Cell]) -> dict[tuple[tuple[int, ...], ...], int]:
        """The position of each cell by the parts that are chosen in it."""
        return self._index[id(cells)]

    def _pieces(self, key: tuple[tuple[Atom, ...], ...]) -> list[list[Strip]] | None:
        """What each dimension is made of; None where one may depend on another."""
        out: list[list[Strip]] = []
        for dim, kind in enumerate(key):
            found = self._pieces_along(dim, kind, 1)
            if found is None:
                return None
            out.append(found)
        return out

    def _pieces_along(self, dim: int, kind: Type, step: int) -> list[Strip] | None:
        """Start, parts chosen and leaves of each piece of one dimension; concatenations have parts in common."""
        key = (dim, kind, step)
        if key not in self._strips:
            self._strips[key] = self._cut(dim, kind, step)
        return self._strips[key]

    def _cut(self, dim: int, kind: Type, step: int) -> list[Strip] | None:
        out: list[Strip] = [(0, (), ())]
        for _, atom, own in _steps(dim, kind, step):
            if scope_of(atom):
                return None
            inner: list[Strip] = [(0, (), (Place(dim, atom, own),))]
            if atom.parts is not None:
                inner = []
                for index, (part, (first, apart)) in enumerate(zip(atom.parts, positions(atom), strict=True)):
                    found = self._pieces_along(dim, part, own * apart)
                    if found is None:
                        return None
                    inner += [(s + first * own, (index, *c), p) for s, c, p in found]
            out = [(s + t, c + d, p + q) for s, c, p in out for t, d, q in inner]
        return out

    def memory(self, one: list[Cell], two: list[Cell], how: Hashable, make: Callable[[], Found]) -> Found:
        """What a function of two tensors' cells gave for equal ones."""
        key = (id(one), id(two), how)
        if key not in self._memory:
            self._memory[key] = make()
        return self._memory[key]


def matched(
    small: list[Cell], index: Mapping[tuple[tuple[int, ...], ...], int], large: list[Cell], wide: Sequence[bool]
) -> Match | None:
    """For each cell of a broadcast result the operand's cell behind it, and the operand's place for each place there.

    ``wide`` says of each dimension of the operand whether it has its full size; None where cells do not correspond.
    """
    out: Match = []
    lead = len(large[0].start) - len(wide) if large else 0
    dims = [d for d, full in enumerate(wide) if full]
    for cell in large:
        choices: list[tuple[int, ...]] = [()] * len(wide)
        for d in dims:
            choices[d] = cell.choices[d + lead]
        other = index.get(tuple(choices))
        if other is None:
            return None
        theirs = small[other]
        here = [i for d in dims for i in cell.along(d + lead)]
        there = [j for d in dims for j in theirs.along(d)]
        if [cell.atoms[i] for i in here] != [theirs.atoms[j] for j in there]:
            return None
        places: list[int | None] = [None] * len(cell.places)
        for i, j in zip(here, there, strict=True):
            places[i] = j
        out.append((other, places))
    return out


Strip = tuple[int, tuple[int, ...], tuple[Place, ...]]


def _joined(strips: Sequence[Sequence[Strip]]) -> Iterator[Cell]:
    """The cells of a tensor whose dimensions are made of these pieces."""
    if not strips:
        yield Cell((), (), ())
        return
    for pieces in product(*strips):
        start, choices, places = zip(*pieces, strict=True)
        yield Cell(start, choices, tuple(chain.from_iterable(places)))


def _expanded(dims: Sequence[Type]) -> list[Cell]:
    pending: list[tuple[int, Atom, int]] = []
    for dim, kind in enumerate(dims):
        pending += _steps(dim, kind, 1)
    count = len(dims)
    return list(_expand((0,) * count, ((),) * count, (), pending))


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
        for index, (part, (first, apart)) in enumerate(zip(atom.parts, positions(atom), strict=True)):
            here = _steps(dim, part, step * apart)
            before = _chosen(pending[:position], atom, index)
            rest = _chosen(pending[position + 1 :], atom, index)
            moved = tuple(s + first * step if d == dim else s for d, s in enumerate(start))
            picked = tuple((*c, index) if d == dim else c for d, c in enumerate(choices))
            yield from _expand(moved, picked, done, [*before, *here, *rest])
        return
    yield Cell(start, choices, (*done, *(Place(d, a, s) for d, a, s in pending)))


def _chosen(pending: Sequence[tuple[int, Atom, int]], outer: Atom, index: int) -> list[tuple[int, Atom, int]]:
    """Leaves that depend on a sum, for one of its parts."""
    out: list[tuple[int, Atom, int]] = []
    for d, atom, step in pending:
        out += [(d, atom, step)] if atom is outer else _steps(d, at((atom,), outer, index), step)
    return out


def narrow_scopes(tensors: Sequence[Sequence[Type]]) -> Cells:
    """Keep of each leaf's scope what every tensor with the leaf has exactly once; repeat until nothing changes."""
    tensors = list(dict.fromkeys(tuple(dims) for dims in tensors))
    for dims in tensors:
        atoms = [a for kind in dims for a in factors(kind)]
        if len(set(atoms)) < len(atoms):
            for atom, times in Counter(atoms).items():
                if times > 1 and atom.parts is not None:
                    forget(atom)
    while True:
        every = Cells()
        found = _shared_scopes(every, tensors)
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
            return every


def _shared_scopes(every: Cells, tensors: Sequence[Sequence[Type]]) -> dict[Atom, frozenset[Atom]]:
    """Of each leaf's scope what every tensor with the leaf has exactly once."""
    found: dict[Atom, frozenset[Atom]] = {}
    done = set[int]()
    for dims in tensors:
        same = every(dims)
        if id(same) in done:
            continue
        done.add(id(same))
        if not every.depend(same):
            found |= {a: FREE for cell in same for a in cell.atoms if a.cases}
            continue
        for cell in same:
            if len(set(cell.atoms)) == len(cell.atoms):
                once, often = set(cell.atoms), set[Atom]()
            else:
                seen = Counter(cell.atoms)
                once, often = {a for a, n in seen.items() if n == 1}, {a for a, n in seen.items() if n > 1}
            for atom in once:
                scope = found.get(atom)
                if scope is None:
                    scope = scope_of(atom)
                found[atom] = scope & once if scope else scope
            for atom in often:
                found[atom] = frozenset()
    return found


def copies(atom: Atom) -> int:
    """How many independent permutations a leaf stands for: one per index of what it depends on."""
    return math.prod(a.size for a in scope_of(atom))
