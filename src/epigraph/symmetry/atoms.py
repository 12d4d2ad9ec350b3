r"""Index sets of tensors: atoms, what they are made of, and what they may depend on (see ``epigraph.symmetry.axes``)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import final


class Misfit(Exception):
    """Two index sets cannot be matched without cutting one across its structure."""


@final
@dataclass(eq=False, slots=True)
class Atom:
    """An index set of ``size`` elements.  It may depend on the atoms that are in every one of ``scopes``."""

    size: int
    scopes: list[frozenset[Atom]] = field(default_factory=lambda: [frozenset()])
    frozen: bool = False
    pinned: bool = False
    bare: bool = False  # nothing in it depends on anything outside
    alias: Atom | None = None
    product: tuple[Atom, ...] | None = None
    parts: tuple[Type, ...] | None = None
    weave: tuple[tuple[int, int], ...] | None = (
        None  # first place and step of each part that is interleaved with others
    )
    cases: list[tuple[Atom, list[Type]]] = field(default_factory=list)
    dependents: list[Atom] = field(default_factory=list)

    def child(self, count: int) -> Atom:
        """A new atom with this one's flags and scopes."""
        return Atom(count, list(self.scopes), self.frozen, self.pinned)


Type = tuple[Atom, ...]
UNIT: Type = ()
FREE: frozenset[Atom] = frozenset()


def root(atom: Atom) -> Atom:
    """What an atom has become."""
    while atom.alias is not None:
        atom = atom.alias
    return atom


def factors(kind: Sequence[Atom]) -> list[Atom]:
    """The leaves and sums whose product a type is, outermost first."""
    out: list[Atom] = []
    for atom in kind:
        found = atom if atom.alias is None else root(atom)
        if found.product is None:
            out.append(found)
        else:
            out += factors(found.product)
    return out


def size(kind: Sequence[Atom]) -> int:
    return math.prod(a.size for a in kind)


def leaves(kind: Sequence[Atom], seen: set[Atom] | None = None) -> Iterator[Atom]:
    """Every leaf of a type, through sums and cases, once."""
    seen = set() if seen is None else seen
    for atom in factors(kind):
        if atom in seen:
            continue
        seen.add(atom)
        for part in atom.parts or ():
            yield from leaves(part, seen)
        for _, cases in atom.cases:
            for case in cases:
                yield from leaves(case, seen)
        if atom.parts is None:
            yield atom


def resolved(atom: Atom) -> list[frozenset[Atom]]:
    """The scopes in terms of what their atoms have become."""
    return [frozenset(factors(tuple(s))) for s in atom.scopes]


def scope_of(atom: Atom) -> frozenset[Atom]:
    """The atoms on which an atom may depend."""
    return frozenset.intersection(*resolved(atom)) if all(atom.scopes) else FREE


def fresh(count: int, scope: frozenset[Atom] = frozenset()) -> Type:
    return UNIT if count == 1 else (Atom(count, [scope]),)


def freeze(kind: Sequence[Atom], pin: bool = False) -> None:
    """No permutation but the identity; with ``pin``, no scaling either."""
    for leaf in list(leaves(kind)):
        leaf.frozen = True
        leaf.pinned = leaf.pinned or pin
        if leaf.pinned:
            leaf.scopes = [FREE]  # nothing acts on it


def pinned(count: int) -> Type:
    kind = fresh(count)
    freeze(kind, pin=True)
    return kind


def restrict(kind: Sequence[Atom], scopes: Sequence[frozenset[Atom]]) -> None:
    """What a type is made of depends on nothing else than its other factors and what is in ``scopes``."""
    own = factors(kind)
    for atom in own:
        if atom.bare:
            continue
        allowed = [s.union(a for a in own if a is not atom) for s in scopes] if len(own) > 1 else scopes
        atom.bare = not all(allowed)
        if all(atom.scopes):
            atom.scopes = fewest([*atom.scopes, *allowed])
        for part in atom.parts or ():
            restrict(part, allowed)


def fewest(scopes: list[frozenset[Atom]]) -> list[frozenset[Atom]]:
    """Scopes with the same intersection."""
    return list(dict.fromkeys(scopes)) if all(scopes) else [FREE]


def positions(atom: Atom) -> tuple[tuple[int, int], ...]:
    """For each part of a sum its first place, and the step from one of its indices to the next."""
    if atom.weave is not None:
        return atom.weave
    ends = accumulate((size(p) for p in atom.parts or ()), initial=0)
    return tuple((start, 1) for start, _ in zip(ends, atom.parts or (), strict=False))


def shuffled(kind: Sequence[Atom]) -> bool:
    """Is it a product (b, a) in which b depends on a?"""
    own = factors(kind)
    return any(own[-1] in scope_of(atom) for atom in own[:-1])
