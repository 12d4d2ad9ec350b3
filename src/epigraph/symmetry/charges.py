r"""Scalings as charges: integers that say by which power of a unit's factor each tensor is multiplied.

A transformation multiplies the entries of every tensor of the graph, cell by cell, by a product of factors: one for
each leaf of the cell, raised to that leaf's charge, and one for the cell as a whole.  That an operator commutes with it
is a linear equation between charges: a product adds them, a contraction wants opposite ones, a sum equal ones.  The
solutions over the rationals are rescalings by positive factors, those over the field of two elements are sign flips.
What no rule mentions has charge zero, so a forgotten equation loses a symmetry and invents none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import final

from epigraph.symmetry.axes import Atom
from epigraph.symmetry.cells import Cell, Cells
from epigraph.symmetry.trace import Step, Value

ZERO = 0
Variable = int
Table = list[list[Variable]]
Number = int | Fraction  # whole numbers as int, which is much faster


def quotient(a: Number, b: Number) -> Number:
    """a / b, an int where it is whole."""
    if b in (1, -1):
        return a * b
    out = Fraction(a) / b
    return out.numerator if out.denominator == 1 else out


@final
class Charges:
    """Linear equations between the charges of a graph's values, over the rationals or modulo 2.

    A charge is a small integer, 0 where it vanishes.  No equation links charges of different leaves, so that only the
    leaves of ``tensors`` have any; a value whose charges are those of another one shares its table.
    """

    def __init__(self, tensors: Iterable[Value], tilings: Cells, modulo_two: bool):
        self.modulo_two, self.tilings = modulo_two, tilings
        self.kinds: list[Atom | None] = [None]
        self._moving = {a for v in tensors for c in v.cells for a in c.atoms if not a.pinned}
        self._tables: dict[Value, Table] = {}
        self._parent: list[int] = [0]
        self._ratio: list[Number] = [1]
        self._equations: list[dict[Variable, Number]] = []

    def _new(self, kind: Atom | None) -> Variable:
        self._parent.append(len(self._parent))
        self._ratio.append(1)
        self.kinds.append(kind)
        return len(self._parent) - 1

    def table(self, value: Value) -> Table:
        """For each cell of a tensor its own charge, then those of its leaves."""
        found = self._tables.get(value)
        if found is None:
            if value.fixed and not value.zero:
                found = _zeros(value)
            else:
                found = [self.row(cell) for cell in value.cells]
            self._tables[value] = found
        return found

    def row(self, cell: Cell) -> list[Variable]:
        """New charges for a cell."""
        return [self._new(None), *map(self._leaf, cell.atoms)]

    def _leaf(self, atom: Atom) -> Variable:
        return self._new(atom) if atom in self._moving else ZERO

    def define(self, value: Value, table: Table) -> None:
        """The charges of a tensor."""
        known = self._tables.setdefault(value, table)
        if known is not table:
            for row, other in zip(known, table, strict=True):
                for v, w in zip(row, other, strict=True):
                    self.equal(v, w)

    def vanish_all(self, value: Value) -> None:
        """Nothing scales a tensor."""
        if value in self._tables:
            for row in self._tables[value]:
                self.vanish(*row)
        self._tables[value] = _zeros(value)

    def total(self, terms: Iterable[tuple[Variable, Number]], kind: Atom | None) -> Variable:
        """A charge that is a sum of coefficient times charge."""
        row = self._reduced(terms)
        if not row:
            return ZERO
        made = next(iter(row))
        if len(row) == 1:
            ratio = row[made]
            if ratio != 1:
                self._parent.append(made)
                self._ratio.append(ratio)
                self.kinds.append(kind)
                made = len(self._parent) - 1
            return made
        made = self._new(kind)
        self._equations.append({made: 1 if self.modulo_two else -1, **row})
        return made

    # equations ------------------------------------------------------------------------------------------------
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

    def vanish(self, *variables: Variable) -> None:
        """Charges that are 0."""
        for v in variables:
            if v != ZERO:
                self._parent[self.find(v)[0]] = ZERO

    def equal(self, v: Variable, w: Variable) -> None:
        """v = w."""
        if v == w:
            return
        (x, r), (y, s) = self.find(v), self.find(w)
        if x == y:
            if x != ZERO and r != s and not (self.modulo_two and (r - s) % 2 == 0):
                self.vanish(x)
        elif y == ZERO:
            self._parent[x] = ZERO
        elif x == ZERO:
            self._parent[y] = ZERO
        else:
            self._parent[x], self._ratio[x] = y, 1 if self.modulo_two else quotient(s, r)

    def relate(self, terms: Iterable[tuple[Variable, Number]]) -> None:
        """The sum of coefficient times variable is 0."""
        reduced = self._reduced(terms)
        if not self._settle(reduced):
            self._equations.append(reduced)

    def _reduced(self, terms: Iterable[tuple[Variable, Number]]) -> dict[Variable, Number]:
        out: dict[Variable, Number] = {}
        for v, c in terms:
            if v != ZERO:
                u, r = self.find(v)
                if u != ZERO:
                    self._add(out, u, r * c)
        return out

    def _add(self, row: dict[Variable, Number], v: Variable, amount: Number) -> None:
        total = row.pop(v, 0) + amount
        total = total % 2 if self.modulo_two else total
        if total:
            row[v] = total

    def _settle(self, terms: Mapping[Variable, Number]) -> bool:
        """Take in an equation of at most two variables."""
        if len(terms) > 2:
            return False
        if len(terms) == 1:
            self._parent[next(iter(terms))] = ZERO
        elif terms:
            (v, a), (w, b) = terms.items()
            self._parent[v], self._ratio[v] = w, 1 if self.modulo_two else quotient(-b, a)
        return True

    # solutions ------------------------------------------------------------------------------------------------
    def solve(self) -> list[dict[Variable, Number]]:
        """A basis of the solutions, as values of the representatives that are not zero."""
        self._simplify()
        pivots: dict[Variable, dict[Variable, Number]] = {}
        users: dict[Variable, set[Variable]] = {}  # the pivots whose rows have a variable
        for terms in self._equations:
            row = self._eliminate(self._reduced(terms.items()), pivots)
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
        free = [v for v in range(1, len(self._parent)) if self._parent[v] == v and v not in pivots]
        columns: dict[Variable, dict[Variable, Number]] = {v: {v: 1} for v in free}
        for v, row in pivots.items():
            for u, c in row.items():
                if u != v:
                    columns[u][v] = -c % 2 if self.modulo_two else -c
        return list(columns.values())

    def _simplify(self) -> None:
        while True:
            kept = [e for e in (self._reduced(e.items()) for e in self._equations) if not self._settle(e)]
            done = len(kept) == len(self._equations)
            self._equations = kept
            if done:
                return

    def _eliminate(
        self, row: dict[Variable, Number], pivots: Mapping[Variable, dict[Variable, Number]]
    ) -> dict[Variable, Number]:
        for v in list(row):
            if v in row and v in pivots:
                self._combine(row, pivots[v], -row[v])
        return row

    def _combine(self, one: dict[Variable, Number], two: Mapping[Variable, Number], factor: Number) -> None:
        """one += factor * two."""
        for u, c in two.items():
            self._add(one, u, factor * c)

    def evaluate(self, solution: Mapping[Variable, Number], v: Variable) -> Number:
        """A charge in a solution."""
        u, r = self.find(v)
        return solution.get(u, 0) * r


def solutions(
    tensors: Iterable[Value], steps: Sequence[Step], output: Value, tilings: Cells, modulo_two: bool
) -> Charges:
    """The equations of all steps for what scales ``tensors``; J itself must not change."""
    from epigraph.symmetry.rules import rule_of

    system = Charges(tensors, tilings, modulo_two)
    for step in steps:
        rule_of(step.node.op).charges(system, step)
    system.vanish_all(output)
    return system


def atoms_of(system: Charges, solution: Mapping[Variable, Number]) -> set[Atom | None]:
    """Which leaves a solution scales; None for whole cells."""
    return {system.kinds[v] for v in solution}


def _zeros(value: Value) -> Table:
    return [[ZERO] * (len(cell.places) + 1) for cell in value.cells]
