r"""Scalings as charges: integers that say by which power of a unit's factor each tensor is multiplied.

A transformation multiplies the entries of every tensor of the graph, cell by cell, by a product of factors: one for
each leaf of the cell, raised to that leaf's charge, and one for the cell as a whole.  That an operator commutes with it
is a linear equation between charges: a product adds them, a contraction wants opposite ones, a sum equal ones.  The
solutions over the rationals are rescalings by positive factors, those over the field of two elements are sign flips.
What no rule mentions has charge zero, so a forgotten equation loses a symmetry and invents none.

Most equations hold for both; a rule may state others for one kind, "scale" or "sign", only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Literal, TypeVar, final

from epigraph.symmetry.atoms import Atom
from epigraph.symmetry.cells import Cell, Cells
from epigraph.symmetry.trace import Step, Value

ZERO = 0
Key = TypeVar("Key")
Kind = Literal["scale", "sign"]
Variable = int
Table = list[list[Variable]]
Number = int | Fraction  # whole numbers as int, which is much faster
Terms = Iterable[tuple[Variable, Number]]
Row = dict[Variable, Number]


def quotient(a: Number, b: Number) -> Number:
    """a / b, an int where it is whole."""
    if b in (1, -1):
        return a * b
    out = Fraction(a) / b
    return out.numerator if out.denominator == 1 else out


class Classes:
    """Variables that are multiples of each other: each a whole multiple of a representative; that of ZERO vanishes."""

    def __init__(self, parent: list[Variable], ratio: list[Number]):
        self._parent, self._ratio = parent, ratio

    def find(self, v: Variable) -> tuple[Variable, Number]:
        """(u, r) with v = r u, u a representative; u is 0 where v vanishes."""
        parent = self._parent[v]
        if parent == v:
            return v, 1
        if self._parent[parent] == parent:
            return parent, self._ratio[v]
        path: list[Variable] = []
        while self._parent[v] != v:
            path.append(v)
            v = self._parent[v]
        ratio: Number = 1
        for w in reversed(path):  # from the representative down, so that each gets the whole ratio
            ratio = ratio * self._ratio[w]
            self._parent[w], self._ratio[w] = v, ratio
        return v, ratio

    def reduced(self, terms: Terms, modulus: int = 0) -> Row:
        """A sum of coefficient times variable, in representatives."""
        out: Row = {}
        parent = self._parent
        for v, c in terms:
            u = parent[v]
            if u != v:
                u, r = self.find(v)
                c = r * c
            if u:
                out[u] = out[u] + c if u in out else c
        if modulus:
            out = {u: c % modulus for u, c in out.items()}
        return {u: c for u, c in out.items() if c} if 0 in out.values() else out


def add(row: Row, v: Variable, amount: Number, modulus: int) -> None:
    """row += amount * v."""
    total = row.pop(v, 0) + amount
    total = total % modulus if modulus else total
    if total:
        row[v] = total


@final
class Charges(Classes):
    """Linear equations between the charges of a graph's values.

    A charge is a small integer, 0 where it vanishes.  No equation links charges of different leaves, so that only the
    leaves of ``tensors`` have any; a value whose charges are those of another one shares its table.
    """

    def __init__(self, tensors: Iterable[Value], tilings: Cells):
        super().__init__([0], [1])
        self.tilings = tilings
        self.kinds: list[Atom | None] = [None]  # whose factor a charge belongs to; None for that of a whole cell
        self.equations: list[Row] = []
        self.only: dict[Kind, list[Row]] = {"scale": [], "sign": []}
        self.gone: dict[Kind, set[Variable]] = {"scale": set(), "sign": set()}
        cells = {id(v.cells): v.cells for v in tensors}
        self._moving = {a for each in cells.values() for c in each for a in c.atoms if not a.pinned}
        self._tables: dict[Value, Table] = {}
        self._still: set[Value] = set()

    def still(self, value: Value) -> bool:
        """Is it known that nothing scales a tensor?  A constant 0 may be scaled by anything."""
        return value in self._still or (value.fixed and not value.zero)

    def _new(self, kind: Atom | None) -> Variable:
        made = len(self._parent)
        self._parent.append(made)
        self._ratio.append(1)
        self.kinds.append(kind)
        return made

    # tables ---------------------------------------------------------------------------------------------------
    def table(self, value: Value) -> Table:
        """For each cell of a tensor its own charge, then those of its leaves."""
        found = self._tables.get(value)
        if found is None:
            found = _zeros(value) if self.still(value) else self.rows(value.cells)
            self._tables[value] = found
        return found

    def rows(self, cells: Sequence[Cell]) -> Table:
        """New charges for some cells."""
        first, kinds = len(self._parent), self.kinds
        made: Table = []
        for cell in cells:
            row = [len(kinds)]
            kinds.append(None)
            for atom in cell.atoms:
                row.append(len(kinds) if atom in self._moving else ZERO)
                if atom in self._moving:
                    kinds.append(atom)
            made.append(row)
        self._parent.extend(range(first, len(kinds)))
        self._ratio.extend([1] * (len(kinds) - first))
        return made

    def define(self, value: Value, table: Table, kind: Kind | None = None) -> None:
        """The charges of a tensor; with a kind, for that kind only."""
        known = self._tables.setdefault(value, table) if kind is None else self.table(value)
        if known is not table:
            for row, other in zip(known, table, strict=True):
                for v, w in zip(row, other, strict=True):
                    if v != w:
                        self.equal(v, w, kind)

    def vanish_all(self, value: Value, kind: Kind | None = None) -> None:
        """Nothing scales a tensor."""
        if kind is not None:
            self.gone[kind].update(v for row in self.table(value) for v in row)
            return
        if not self.still(value):
            for row in self._tables.pop(value, ()):
                self.vanish(*row)
            self._still.add(value)

    # equations ------------------------------------------------------------------------------------------------
    def vanish(self, *variables: Variable) -> None:
        """Charges that are 0."""
        for v in variables:
            self.equal(v, ZERO)

    def equal(self, v: Variable, w: Variable, kind: Kind | None = None, sign: int = 1) -> None:
        """v = w, or v = -w where ``sign`` is -1."""
        if kind is not None:
            self.only[kind].append({v: 1, w: -sign})
            return
        (x, r), (y, s) = self.find(v), self.find(w)
        if x == y or abs(r) != 1 or abs(s) != 1:
            self.relate([(v, 1), (w, -sign)])
        else:  # the older one stays, so that few have to be followed
            older, newer = (x, y) if x < y else (y, x)
            self._parent[newer], self._ratio[newer] = older, r * s * sign

    def relate(self, terms: Terms, kind: Kind | None = None) -> None:
        """The sum of coefficient times variable is 0."""
        if kind is not None:
            self.only[kind].append(dict(terms))
            return
        row = self.reduced(terms)
        if len(row) == 1 and abs(next(iter(row.values()))) == 1:
            self._parent[next(iter(row))] = ZERO
        elif len(row) == 2 and any(abs(c) == 1 for c in row.values()):
            (v, a), (w, b) = row.items()
            if abs(a) != 1:
                v, a, w, b = w, b, v, a
            self._parent[v], self._ratio[v] = w, -b * a
        elif row:
            self.equations.append(row)

    def sums(self, v: Variable, terms: Sequence[tuple[Variable, Number]]) -> None:
        """v is a sum of coefficient times charge."""
        if not terms:
            self.equal(v, ZERO)
        elif len(terms) == 1 and terms[0][1] == 1:
            self.equal(v, terms[0][0])
        else:
            self.relate([(v, -1), *terms])

    def total(self, terms: Sequence[tuple[Variable, Number]], atom: Atom | None, kind: Kind | None = None) -> Variable:
        """A charge that is a sum of coefficient times charge."""
        if len(terms) == 1 and terms[0][1] == 1:
            return terms[0][0]
        row = self.reduced(terms)
        if not row:
            return ZERO
        first, ratio = next(iter(row.items()))
        if len(row) == 1 and ratio == 1:
            return first
        made = self._new(atom)
        if len(row) == 1 and kind is None:
            self._parent[made], self._ratio[made] = first, ratio
        else:
            (self.equations if kind is None else self.only[kind]).append({made: -1, **row})
        return made


def _zeros(value: Value) -> Table:
    return [[ZERO] * (len(cell.places) + 1) for cell in value.cells]


@final
class Solution(Classes):
    """The charges of one kind: all equations solved, over the rationals or modulo 2."""

    def __init__(self, charges: Charges, kind: Kind):
        super().__init__(list(charges._parent), list(charges._ratio))
        self.modulus = 2 if kind == "sign" else 0
        self.atoms = charges.kinds
        self._own: dict[bool, list[Variable]] = {True: [], False: []}
        for v, (u, atom) in enumerate(zip(self._parent, self.atoms, strict=True)):
            if u == v != ZERO:
                self._own[atom is None].append(v)
        for v in charges.gone[kind]:
            self._parent[self.find(v)[0]] = ZERO
        both = [*charges.only[kind], *charges.equations]
        self._equations = {
            own: [e for e in both if (self.atoms[next(iter(e))] is None) is own] for own in (True, False)
        }

    def basis(self, whole: bool) -> list[Row]:
        """The solutions for single units, or those for ``whole`` cells, as values of the representatives that are not 0."""
        pivots = self._pivots(self._simplified(self._equations[whole]))
        free = [v for v in self._own[whole] if self._parent[v] == v and v not in pivots]
        columns: dict[Variable, Row] = {v: {v: 1} for v in free}
        for v, row in pivots.items():
            for u, c in row.items():
                if u != v:
                    columns[u][v] = -c % 2 if self.modulus else -c
        return list(columns.values())

    def gathered(self, keys: Sequence[Key], variables: Sequence[Variable]) -> dict[Variable, list[tuple[Key, Number]]]:
        """The keys of the variables in each class, with the multiples of the representative that these are."""
        out: dict[Variable, list[tuple[Key, Number]]] = {}
        parent = self._parent
        for key, v in zip(keys, variables, strict=True):
            u = parent[v]
            if u:
                u, ratio = (v, 1) if u == v else self.find(v)
                if u:
                    out.setdefault(u, []).append((key, ratio))
        return out

    def vanish(self, v: Variable) -> None:
        """One more charge that is 0."""
        self._parent[self.find(v)[0]] = ZERO

    def _settled(self, terms: Row) -> bool:
        """Take in an equation of at most two variables."""
        if len(terms) > 2:
            return False
        if terms:
            v, a = next(iter(terms.items()))
            self._parent[v] = ZERO
            self._merged.add(v)
        if len(terms) == 2:
            _, (w, b) = terms.items()
            self._parent[v], self._ratio[v] = w, 1 if self.modulus else quotient(-b, a)
        return True

    def _simplified(self, equations: list[Row]) -> list[Row]:
        """The equations of more than two variables, once the others have been taken in."""
        self._merged: set[Variable] = set()
        rows = (self.reduced(e.items(), self.modulus) for e in equations)
        kept = [e for e in rows if not self._settled(e)]
        while self._merged:
            merged, self._merged = self._merged, set()
            rows = (e if merged.isdisjoint(e) else self.reduced(e.items(), self.modulus) for e in kept)
            kept = [e for e in rows if not self._settled(e)]
        return kept

    def _pivots(self, equations: list[Row]) -> dict[Variable, Row]:
        """Each equation solved for one variable, which no other one has."""
        pivots: dict[Variable, Row] = {}
        users: dict[Variable, set[Variable]] = {}  # the pivots whose rows have a variable
        for terms in equations:
            row = dict(terms)
            for v in list(row):
                if v in row and v in pivots:
                    self._combine(row, pivots[v], -row[v])
            if not row:
                continue
            v = next(iter(row))
            scale = row[v]
            row = {u: quotient(c, scale) for u, c in row.items()}
            for other in users.pop(v, set()):
                known = pivots[other]
                self._combine(known, row, -known[v])
                for u in row:
                    (set.add if u in known else set.discard)(users.setdefault(u, set()), other)
            pivots[v] = row
            for u in row:
                if u != v:
                    users.setdefault(u, set()).add(v)
        return pivots

    def _combine(self, one: Row, two: Mapping[Variable, Number], factor: Number) -> None:
        """one += factor * two."""
        for u, c in two.items():
            add(one, u, factor * c, self.modulus)

    def atom(self, solution: Mapping[Variable, Number]) -> Atom | None:
        """The leaf that a solution scales; None for whole cells."""
        return self.atoms[next(iter(solution))]


def equations(tensors: Iterable[Value], steps: Sequence[Step], output: Value, tilings: Cells) -> Charges:
    """The equations of all steps for what scales ``tensors``; J itself must not change."""
    from epigraph.symmetry.rules import rule_of

    system = Charges(tensors, tilings)
    for step in steps:
        rule_of(step.node.op).charges(system, step)
    system.vanish_all(output)
    return system
