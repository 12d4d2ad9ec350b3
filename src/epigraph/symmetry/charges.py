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
from epigraph.symmetry.trace import Step, Value

GLOBAL = -1
Variable = int
Number = int | Fraction  # whole numbers as int, which is much faster


def quotient(a: Number, b: Number) -> Number:
    """a / b, an int where it is whole."""
    if b in (1, -1):
        return a * b
    out = Fraction(a) / b
    return out.numerator if out.denominator == 1 else out


@final
class Charges:
    """Linear equations between the charges of a graph's values, over the rationals or modulo 2."""

    def __init__(self, values: Iterable[Value], modulo_two: bool):
        self.modulo_two = modulo_two
        self.owner: list[tuple[Value, int, int]] = []
        self._first: dict[tuple[Value, int], int] = {}
        self._parent: list[int] = []
        self._ratio: list[Number] = []
        self._equations: list[dict[Variable, Number]] = []
        self._zero = self._new()
        self.owner.append((Value([], ()), 0, 0))
        for value in values:
            for k, cell in enumerate(value.cells):
                self._first[value, k] = len(self._parent)
                for j in range(-1, len(cell.places)):
                    made = self._new()
                    self.owner.append((value, k, j))
                    if (value.fixed and not value.zero) or (j >= 0 and cell.places[j].atom.pinned):
                        self.vanish(made)

    def _new(self) -> Variable:
        self._parent.append(len(self._parent))
        self._ratio.append(1)
        return len(self._parent) - 1

    def of(self, value: Value, cell: int, place: int = GLOBAL) -> Variable:
        """The charge of a leaf in a cell, or of the cell as a whole."""
        return self._first[value, cell] + place + 1

    def every(self, value: Value) -> Iterable[Variable]:
        """All charges of a tensor."""
        for k, cell in enumerate(value.cells):
            for j in range(-1, len(cell.places)):
                yield self.of(value, k, j)

    def share(self, one: Value, two: Value) -> None:
        """Two tensors with the same cells have the same charges, one by one."""
        if one.cells:
            first, second = self._first[one, 0], self._first[two, 0]
            for k in range(self._count(one)):
                self.equal(first + k, second + k)

    def _count(self, value: Value) -> int:
        return self._first[value, len(value.cells) - 1] + len(value.cells[-1].places) + 1 - self._first[value, 0]

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
            self._parent[self.find(v)[0]] = self._zero

    def equal(self, v: Variable, w: Variable) -> None:
        """v = w."""
        (x, r), (y, s) = self.find(v), self.find(w)
        if x == y:
            if x != self._zero and r != s and not (self.modulo_two and (r - s) % 2 == 0):
                self.vanish(x)
        elif y == self._zero:
            self._parent[x] = self._zero
        elif x == self._zero:
            self._parent[y] = self._zero
        else:
            self._parent[x], self._ratio[x] = y, 1 if self.modulo_two else quotient(s, r)

    def relate(self, terms: Mapping[Variable, Number]) -> None:
        """The sum of coefficient times variable is 0."""
        reduced = self._reduced(terms)
        if not self._settle(reduced):
            self._equations.append(reduced)

    def _reduced(self, terms: Mapping[Variable, Number]) -> dict[Variable, Number]:
        out: dict[Variable, Number] = {}
        for v, c in terms.items():
            u, r = self.find(v)
            if u != self._zero:
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
            self._parent[next(iter(terms))] = self._zero
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
            row = self._eliminate(self._reduced(terms), pivots)
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
        free = [v for v in range(len(self._parent)) if self._parent[v] == v and v not in pivots and v != self._zero]
        columns: dict[Variable, dict[Variable, Number]] = {v: {v: 1} for v in free}
        for v, row in pivots.items():
            for u, c in row.items():
                if u != v:
                    columns[u][v] = -c % 2 if self.modulo_two else -c
        return list(columns.values())

    def _simplify(self) -> None:
        while True:
            kept = [e for e in map(self._reduced, self._equations) if not self._settle(self._reduced(e))]
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


def solutions(values: Sequence[Value], steps: Sequence[Step], output: Value, modulo_two: bool) -> Charges:
    """The equations of all steps; J itself must not change."""
    from epigraph.symmetry.rules import rule_of

    system = Charges(values, modulo_two)
    system.vanish(*system.every(output))
    for step in steps:
        rule_of(step.node.op).charges(system, step)
    return system


def atoms_of(system: Charges, solution: Mapping[Variable, Number]) -> set[Atom | None]:
    """Which leaves a solution scales; None for whole cells."""
    found: set[Atom | None] = set()
    for v in solution:
        value, cell, place = system.owner[v]
        found.add(None if place < 0 else value.cells[cell].places[place].atom)
    return found
