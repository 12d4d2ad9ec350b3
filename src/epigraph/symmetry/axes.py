r"""Index sets of tensors as types, and their unification.

A *type* describes the index set of one dimension: a tuple of *atoms*, outermost first, whose sizes multiply to the
size of the dimension; the empty tuple is a dimension of size 1.  An atom is

- a leaf: an index set on which a permutation may act (``frozen``: only the identity; ``pinned``: and no scaling);
- another atom, or a product of atoms, once it has been unified with one (``view`` and ``flatten``);
- a sum of types: the concatenation of index sets (``cat``, ``split``, ``slice``), or their interleaving (a shuffle of
  channels that is cut across).

That an operator commutes with a transformation is an equation between types, and ``unify`` solves it, refining atoms
where an axis is split or cut.  What does not fit is pinned: the transformation is then a smaller one, never a wrong one.

When an axis splits into an outer and an inner part, the inner permutation may differ from one outer index to the next
(in each head of attention another one): the outer atom is in the inner one's *scope*.  Where the outer atom is a sum,
the inner one has a *case* for each of its parts.  A dependence is kept only where every tensor that has the inner
index has the outer one as well (``epigraph.symmetry.cells``).
"""

from __future__ import annotations

from collections.abc import Sequence

from epigraph.symmetry.atoms import (
    Atom,
    Misfit,
    Type,
    factors,
    freeze,
    leaves,
    positions,
    resolved,
    restrict,
    root,
    scope_of,
    size,
)


# the parts of a sum -----------------------------------------------------------------------------------------------
def at(kind: Sequence[Atom], outer: Atom, index: int) -> Type:
    """A type where the part ``index`` of the sum ``outer`` has been chosen."""
    out: list[Atom] = []
    for atom in factors(kind):
        if atom is outer:
            out += factors((outer.parts or ())[index])
        elif atom.parts is not None:
            parts = tuple(at(p, outer, index) for p in atom.parts)
            kept = all(factors(p) == factors(q) for p, q in zip(parts, atom.parts, strict=True))
            out.append(atom if kept else Atom(atom.size, list(atom.scopes), parts=parts, weave=atom.weave))
        elif outer in scope_of(atom):
            out += factors(_cases(atom, outer)[index])
        else:
            out.append(atom)
    return tuple(out)


def _cases(atom: Atom, outer: Atom) -> list[Type]:
    found = [c for h, c in atom.cases if root(h) is outer]
    if found:
        return found[0]
    made: list[Type] = []
    for part in outer.parts or ():
        case = atom.child(atom.size)
        case.scopes = [frozenset(s - {outer}) | frozenset(factors(part)) for s in resolved(atom)]
        made.append((case,))
    atom.cases.append((outer, made))
    outer.dependents.append(atom)
    return made


def unscope(atom: Atom, outer: Atom) -> None:
    """An atom shall not depend on ``outer``: its cases become one."""
    atom = root(atom)
    if atom.product is not None or atom.parts is not None:
        for part in [(a,) for a in atom.product or ()] + list(atom.parts or ()):
            for inner in factors(part):
                unscope(inner, outer)
        return
    found = [c for h, c in atom.cases if root(h) is outer]
    atom.cases = [(h, c) for h, c in atom.cases if root(h) is not outer]
    atom.scopes = [s - {outer} for s in resolved(atom)]
    for cases in found:
        for case in cases:
            unify((atom,), case)


# taking apart -----------------------------------------------------------------------------------------------------
def divide(kind: Sequence[Atom], outer: int) -> tuple[Type, Type]:
    """The outermost ``outer`` indices of a type and the rest; raises ``Misfit``."""
    taken: list[Atom] = []
    rest = factors(kind)
    while outer > 1:
        if not rest:
            raise Misfit
        atom = rest.pop(0)
        if outer % atom.size == 0:
            taken.append(atom)
            outer //= atom.size
        elif atom.size % outer == 0:
            first, second = split(atom, outer)
            taken += first
            return tuple(taken), (*second, *rest)
        else:
            raise Misfit
    return tuple(taken), tuple(rest)


def split(atom: Atom, outer: int) -> tuple[Type, Type]:
    """A leaf or a sum as a product (outer, inner); the inner index may depend on the outer one."""
    inner = atom.size // outer
    if atom.weave is not None:
        pieces = [piece((atom,), i * inner, (i + 1) * inner) for i in range(outer)]
        atom.parts, atom.weave = tuple(pieces), None
    if any(size(p) % inner for p in atom.parts or ()):
        raise Misfit
    forget(atom)
    first, second = atom.child(outer), atom.child(inner)
    second.scopes = [s | {first} for s in atom.scopes]
    if atom.parts is not None:
        pairs = [divide(p, size(p) // inner) for p in atom.parts]
        first.parts = tuple(p[0] for p in pairs)
        second.cases.append((first, [p[1] for p in pairs]))
        first.dependents.append(second)
    for over, cases in atom.cases:
        pairs = [divide(c, outer) for c in cases]
        first.cases.append((over, [p[0] for p in pairs]))
        second.cases.append((over, [p[1] for p in pairs]))
        root(over).dependents += [first, second]
    atom.product, atom.cases = (first, second), []
    return (first,), (second,)


def forget(outer: Atom) -> None:
    """Nothing depends on this atom any more."""
    waiting, outer.dependents = outer.dependents, []
    for atom in waiting:
        unscope(atom, outer)


def cut(kind: Sequence[Atom], position: int) -> tuple[list[Type], list[Type]]:
    """The parts before a position and those from it on; raises ``Misfit``."""
    head, *tail = factors(kind)
    inner = size(tail)
    if position % inner:
        return cut(interleaved(kind), position)
    _cut_atom(head, position // inner)
    before: list[Type] = []
    after: list[Type] = []
    total = 0
    for index, part in enumerate(head.parts or ()):
        whole = (*part, *at(tail, head, index))
        if total < position < total + size(whole):
            more = cut(whole, position - total)
            before += more[0]
            after += more[1]
        else:
            (before if total < position else after).append(whole)
        total += size(whole)
    return before, after


def _cut_atom(atom: Atom, position: int) -> None:
    """Make a leaf a sum of two; a sum stays, since its part is cut in its turn."""
    if atom.weave is not None:
        _cut_weave(atom, position)
    elif atom.parts is None:
        _make_sum(atom, (position, atom.size - position))


def _make_sum(atom: Atom, sizes: Sequence[int]) -> None:
    """Make a leaf a sum."""
    kept, atom.cases = atom.cases, []
    atom.parts = tuple(() if n == 1 else (atom.child(n),) for n in sizes)
    for over, cases in kept:
        for index, case in enumerate(cases):
            unify(at((atom,), root(over), index), case)


# interleaved parts ------------------------------------------------------------------------------------------------
def interleaved(kind: Sequence[Atom]) -> Type:
    """A product (b, a) as the index sets that b is for each index of a, interleaved; raises ``Misfit``.

    This may be cut anywhere, each b at a place of its own, as behind a shuffle of channels.
    """
    *outer, last = factors(kind)
    if last.parts is None and not last.pinned:
        _make_sum(last, [1] * last.size)
    if last.parts is None or len(last.parts) < last.size:
        raise Misfit
    parts = [at(outer, last, k) for k in range(last.size)]
    return _woven(parts, [(k, last.size) for k in range(last.size)])


def _woven(parts: Sequence[Type], places: Sequence[tuple[int, int]]) -> Type:
    """Index sets that lie at these places."""
    if len(parts) == 1:
        return parts[0]
    return (Atom(sum(size(p) for p in parts), parts=tuple(parts), weave=tuple(places)),)


def _cut_weave(atom: Atom, position: int) -> None:
    """Make an interleaved sum a concatenation of two such sums."""
    forget(atom)
    sides: tuple[list[tuple[Type, tuple[int, int]]], list[tuple[Type, tuple[int, int]]]] = ([], [])
    for part, (start, step) in zip(atom.parts or (), positions(atom), strict=True):
        count = size(part)
        before = min(max(-((start - position) // step), 0), count)
        if before:
            sides[0].append((piece(part, 0, before), (start, step)))
        if before < count:
            sides[1].append((piece(part, before, count), (start + before * step - position, step)))
    atom.parts, atom.weave = tuple(_woven(*zip(*side, strict=True)) for side in sides), None


def apart(kind: Sequence[Atom], count: int) -> Type:
    """The concatenation of ``count`` equal pieces of a type; raises ``Misfit``."""
    each = size(kind) // count
    return joined([piece(kind, i * each, (i + 1) * each) for i in range(count)])


def piece(kind: Sequence[Atom], start: int, stop: int) -> Type:
    """The indices start, ..., stop - 1 of a type; raises ``Misfit``."""
    total = size(kind)
    if stop < total:
        kind = joined(cut(kind, stop)[0])
    if start > 0:
        kind = joined(cut(kind, start)[1])
    return tuple(kind)


def joined(parts: Sequence[Type]) -> Type:
    """The concatenation of index sets."""
    return parts[0] if len(parts) == 1 else (Atom(sum(size(p) for p in parts), parts=tuple(parts)),)


def choose(kind: Sequence[Atom], outer: Atom, start: int, stop: int) -> Type:
    """A type where the indices start, ..., stop - 1 of a sum have been chosen: one part of it, or no dependence on it."""
    total = 0
    for index, part in enumerate(outer.parts or () if outer.weave is None else ()):
        if (total, total + size(part)) == (start, stop):
            return at(kind, outer, index)
        if total <= start and stop <= total + size(part):
            own = factors(part)
            if len(own) == 1 and own[0].parts is not None:
                return choose(at(kind, outer, index), own[0], start - total, stop - total)
        total += size(part)
    for leaf in list(leaves(kind)):
        if outer in scope_of(leaf):
            unscope(leaf, outer)
    return tuple(factors(kind))


# unification ------------------------------------------------------------------------------------------------------
def unify(one: Sequence[Atom], two: Sequence[Atom]) -> None:
    """Make two types of one size equal; what does not fit is pinned."""
    try:
        _unify(factors(one), factors(two))
    except Misfit:
        freeze(one, pin=True)
        freeze(two, pin=True)


def _unify(left: list[Atom], right: list[Atom]) -> None:
    while left and right:
        f, g = left[0], right[0]
        if not (f.alias is f.product is g.alias is g.product is None):  # something before has refined them
            left[:1], right[:1] = factors(left[:1]), factors(right[:1])
        elif f.size == g.size:
            del left[0], right[0]
            _merge(f, g)
        elif _absorbed(f, right) or _absorbed(g, left):
            del (left if f.size > g.size else right)[0]
        elif f.size % g.size == 0:
            split(f, g.size)
        elif g.size % f.size == 0:
            split(g, f.size)
        else:
            raise Misfit
    if left or right:
        raise Misfit


def _absorbed(atom: Atom, others: list[Atom]) -> bool:
    """Make a leaf the product of the first few others, which keep what they depend on among themselves."""
    if atom.parts is not None or atom.cases or atom.size <= others[0].size:
        return False
    total, rest = 1, factors(others)
    while total < atom.size and rest:
        total *= rest.pop(0).size
    if total != atom.size:
        return False
    own = factors(others)
    own = own[: len(own) - len(rest)]
    if atom in own or atom.frozen:
        return False
    others[:] = rest
    atom.product = tuple(own)
    restrict(own, atom.scopes)
    return True


def _merge(f: Atom, g: Atom) -> None:
    if f is g:
        return
    if f.parts is not None and g.parts is None:
        f, g = g, f
    if f.parts is not None and g.parts is not None:
        _align(f, g)
        if [size(p) for p in f.parts] != [size(p) for p in g.parts]:
            forget(f)
    if f.pinned or g.pinned or f.frozen or g.frozen:
        pin = f.pinned or g.pinned
        freeze((f,), pin)
        freeze((g,), pin)
    f.alias = g
    g.dependents += f.dependents
    restrict((g,), f.scopes)
    for over, cases in f.cases:
        _adopt(g, root(over), cases)
    f.cases = []


def _adopt(atom: Atom, over: Atom, cases: list[Type]) -> None:
    """The cases that an atom has as well, since it has become one with another."""
    if over.parts is None:
        return
    if atom.parts is None and any(factors(c) == [atom] for c in cases):
        for case in cases:
            unify((atom,), case)
        unscope(atom, over)
        return
    for index, case in enumerate(cases):
        own = at((atom,), over, index)
        unify(own, case)


def _align(f: Atom, g: Atom) -> None:
    """Two sums become equal part by part, cut further where one has a boundary inside the other's part."""
    if f.weave is not None and g.weave is not None:
        if f.weave != g.weave:
            raise Misfit
        for p, q in zip(f.parts or (), g.parts or (), strict=True):
            unify(p, q)
        return
    left, right = _flat((f,)), _flat((g,))
    while left and right:
        p, q = left[0], right[0]
        if size(p) == size(q):
            del left[0], right[0]
            unify(p, q)
        elif size(p) > size(q):
            before, after = cut(p, size(q))
            left[:1] = [*before, *after]
        else:
            before, after = cut(q, size(p))
            right[:1] = [*before, *after]


def _flat(kind: Sequence[Atom]) -> list[Type]:
    """The parts of a sum, of its parts, and so on; a type that is no sum is its only part."""
    own = factors(kind)
    if len(own) == 1 and own[0].parts is not None and own[0].weave is None:
        return [p for part in own[0].parts for p in _flat(part)]
    return [tuple(own)]
