"""Matrix products and convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from epigraph.symmetry.atoms import Atom, Misfit, Type, factors, freeze, pinned, shuffled, size
from epigraph.symmetry.axes import apart, divide, interleaved, unify
from epigraph.symmetry.cells import Cell
from epigraph.symmetry.charges import Charges
from epigraph.symmetry.rules.base import Rule, moved, nothing, register
from epigraph.symmetry.trace import Step, Value, align


@register("matmul")
@final
class Matmul(Rule):
    """x y = (x g)(g^-1 y): opposite charges along what is summed."""

    def axes(self, step: Step) -> list[Type]:
        a, b = step.inputs
        unify(a.dims[-1], b.dims[-2])
        lead = step.output.shape[:-2]
        one = Value(a.dims[:-2], a.shape[:-2])
        two = Value(b.dims[:-2], b.shape[:-2])
        return [*align(lead, [one, two]), a.dims[-2], b.dims[-1]]

    def charges(self, q: Charges, step: Step) -> None:
        (a, b), out = step.inputs, step.output
        if not contract(q, a, b, out):
            nothing(q, [a, b, out])


def contract(q: Charges, a: Value, b: Value, out: Value) -> bool:
    """The equations of a matrix product; False where cells do not correspond."""
    middles = dict.fromkeys(c.choices[-1] for c in a.cells)
    rows: list[list[int]] = []
    for m, cell in enumerate(out.cells):
        for i, middle in enumerate(middles):
            left = _factor(q, a, (cell.choices[-2], middle), 1, out, m)
            right = _factor(q, b, (middle, cell.choices[-1]), 0, out, m)
            if left is None or right is None or [x for x, _ in left[1]] != [x for x, _ in right[1]]:
                return False
            for (_, v), (_, w) in zip(left[1], right[1], strict=True):
                q.equal(v, w, sign=-1)
            places = range(-1, len(cell.places))
            terms = [[(v, 1) for v in (left[0].get(j), right[0].get(j)) if v is not None] for j in places]
            if i == 0:
                rows.append([q.total(t, k) for t, k in zip(terms, [None, *cell.atoms], strict=True)])
            else:
                for v, t in zip(rows[m], terms, strict=True):
                    q.relate([(v, -1), *t])
    q.define(out, rows)
    return True


def _factor(
    q: Charges, value: Value, last: tuple[tuple[int, ...], tuple[int, ...]], summed: int, out: Value, m: int
) -> tuple[dict[int, int], list[tuple[Atom, int]]] | None:
    """The operand's charges behind each place of a cell of the product, and those along what is summed."""
    cell, lead, own = out.cells[m], len(out.shape) - 2, len(value.shape) - 2
    wide = [value.shape[d] == out.shape[lead - own + d] for d in range(own)]
    key = tuple(cell.choices[lead - own + d] if wide[d] else () for d in range(own))
    k = value.index.get((*key, *last))
    if k is None:
        return None
    theirs, charges = value.cells[k], q.table(value)[k]
    places = {-1: charges[0]}
    targets = [lead - own + d for d in range(own)] + [lead + 1 - summed]
    dims = [*range(own), own + 1 - summed]
    for d, target in zip(dims, targets, strict=True):
        if d < own and not wide[d]:
            continue
        here, there = cell.along(target), theirs.along(d)
        if [cell.atoms[i] for i in here] != [theirs.atoms[j] for j in there]:
            return None
        places |= {i: charges[j + 1] for i, j in zip(here, there, strict=True)}
    return places, [(theirs.atoms[j], charges[j + 1]) for j in theirs.along(own + summed)]


@register("convolution")
@final
class Convolution(Rule):
    """A matrix product over channels at each offset; positions in space stay where they are."""

    def axes(self, step: Step) -> list[Type]:
        x, w = step.inputs
        groups = step.node.attributes["groups"]
        for kind in (*x.dims[2:], *w.dims[2:]):
            freeze(kind, pin=True)
        space = [pinned(n) for n in step.output.shape[2:]]
        channels = self.channels(x.dims[1], groups)
        if channels is not x.dims[1]:
            step.retyped = Value([x.dims[0], channels, *x.dims[2:]], x.shape)
        outer, made = self.outer(channels, w.dims[0], w.dims[1], groups)
        step.notes["groups"] = outer
        return [x.dims[0], made, *space]

    def channels(self, kind: Type, groups: int) -> Type:
        """The type of the channels, or behind a shuffle one of which each group is a part."""
        try:
            if 1 < groups < size(kind) and shuffled(kind):
                return apart(interleaved(kind), groups)
            divide(kind, groups)
            return kind
        except Misfit:
            pass
        try:
            return apart(kind, groups)
        except Misfit:
            return kind

    def outer(self, channels: Type, rows: Type, inner: Type, groups: int) -> tuple[Type, Type]:
        """The type of the groups, and of the result's channels."""
        if groups == 1:
            unify(channels, inner)
            return (), rows
        try:
            (group, within), (other, _) = divide(channels, groups), divide(rows, groups)
        except Misfit:
            for kind in (channels, rows, inner):
                freeze(kind, pin=True)
            return (), rows
        unify(group, other)
        unify(within, inner)
        return group, rows

    def charges(self, q: Charges, step: Step) -> None:
        (x, w), out = step.inputs, step.output
        if step.retyped is not None:
            if not moved(q, x, step.retyped):
                nothing(q, [x, step.retyped])
            x = step.retyped
        if not self.link(q, x, w, out, factors(step.notes["groups"])):
            nothing(q, [x, w, out])

    def link(self, q: Charges, x: Value, w: Value, out: Value, kind: Sequence[Atom]) -> bool:
        """The equations; False where cells do not correspond.  Groups are leaves, or one sum of single ones."""
        groups, chosen = len(kind), 0  # leaves, and choices, that say which group it is
        if any(atom.parts is not None for atom in kind):
            if len(kind) > 1 or any(map(factors, kind[0].parts or ())):
                return False
            groups, chosen = 0, 1
        rows: list[list[int]] = []
        one, two = q.table(x), q.table(w)
        lead: dict[tuple[tuple[int, ...], ...], list[int]] = {}  # a concatenation in space has several cells
        for i, cell in enumerate(x.cells):
            lead.setdefault(cell.choices[: 1 if groups else 2], []).append(i)
        for m, cell in enumerate(out.cells):
            whole: list[tuple[int, int]] = []
            for k, ours in enumerate(w.cells):
                if ours.choices[0] == cell.choices[1]:
                    inner = ours.choices[0][:chosen] + ours.choices[1]
                    found = lead.get((cell.choices[0],) if groups else (cell.choices[0], inner), [])
                    if not found:
                        return False
                    whole += [(i, k) for i in found]
            if not whole:
                return False
            for n, (i, k) in enumerate(whole):
                terms = self._cell(q, (x.cells[i], one[i]), (w.cells[k], two[k]), cell, groups)
                if terms is None:
                    return False
                if n == 0:
                    rows.append([q.total(t, a) for t, a in zip(terms, [None, *cell.atoms], strict=True)])
                else:
                    for v, t in zip(rows[m], terms, strict=True):
                        q.sums(v, t)
        q.define(out, rows)
        return True

    def _cell(
        self, q: Charges, left: tuple[Cell, list[int]], right: tuple[Cell, list[int]], c: Cell, groups: int
    ) -> list[list[tuple[int, int]]] | None:
        """What the charges of a cell of the result are sums of, with so many leaves for groups; None where cells differ."""
        (a, one), (b, two) = left, right
        rows, made, inner, channels = b.along(0), c.along(1), b.along(1), a.along(1)
        within = channels[groups:]
        if [a.atoms[j] for j in within] != [b.atoms[j] for j in inner]:
            return None
        if [a.atoms[j] for j in channels[:groups]] != [b.atoms[j] for j in rows[:groups]]:
            return None
        if [b.atoms[j] for j in rows] != [c.atoms[j] for j in made]:
            return None
        for v, u in zip(within, inner, strict=True):
            q.equal(one[v + 1], two[u + 1], sign=-1)
        terms: list[list[tuple[int, int]]] = [[] for _ in range(len(c.places) + 1)]
        terms[0] = [(one[0], 1), (two[0], 1)]
        for v, u in zip(made, rows, strict=True):
            terms[v + 1] = [(two[u + 1], 1)]
        for v, u in zip(made, channels[:groups], strict=False):
            terms[v + 1].append((one[u + 1], 1))
        for v, u in zip(a.along(0), c.along(0), strict=True):
            terms[u + 1] = [(one[v + 1], 1)]
        return terms
