"""Matrix products and convolutions."""

from __future__ import annotations

from fractions import Fraction
from typing import final

from epigraph.symmetry.axes import Atom, Misfit, Type, divide, factors, freeze, pinned, unify
from epigraph.symmetry.charges import Charges
from epigraph.symmetry.rules.base import Rule, nothing, register
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
    for m, cell in enumerate(out.cells):
        for middle in middles:
            left = _factor(q, a, (cell.choices[-2], middle), 1, out, m)
            right = _factor(q, b, (middle, cell.choices[-1]), 0, out, m)
            if left is None or right is None or [x for x, _ in left[1]] != [x for x, _ in right[1]]:
                return False
            for (_, v), (_, w) in zip(left[1], right[1], strict=True):
                q.relate({v: 1, w: 1} if v != w else {v: 2})
            for j in range(-1, len(cell.places)):
                terms: dict[int, int | Fraction] = {q.of(out, m, j): -1}
                for v in (left[0].get(j), right[0].get(j)):
                    if v is not None:
                        terms[v] = terms.get(v, 0) + 1
                q.relate(terms)
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
    theirs = value.cells[k]
    places = {-1: q.of(value, k)}
    targets = [lead - own + d for d in range(own)] + ([lead] if summed else []) + ([] if summed else [lead + 1])
    dims = [*range(own), own + 1 - summed]
    for d, target in zip(dims, targets, strict=True):
        if d < own and not wide[d]:
            continue
        here, there = cell.along(target), theirs.along(d)
        if [cell.places[i].atom for i in here] != [theirs.places[j].atom for j in there]:
            return None
        places |= {i: q.of(value, k, j) for i, j in zip(here, there, strict=True)}
    return places, [(theirs.places[j].atom, q.of(value, k, j)) for j in theirs.along(own + summed)]


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
        outer, made = self.outer(x.dims[1], w.dims[0], w.dims[1], groups)
        step.notes["groups"] = outer
        return [x.dims[0], made, *space]

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
        if not self.link(q, x, w, out, set(factors(step.notes["groups"]))):
            nothing(q, [x, w, out])

    def link(self, q: Charges, x: Value, w: Value, out: Value, groups: set[object]) -> bool:
        """The equations; False where cells do not correspond or where groups are a sum of several."""
        if _has_sums(groups):
            return False
        for m, cell in enumerate(out.cells):
            for k, ours in enumerate(w.cells):
                if ours.choices[0] != cell.choices[1]:
                    continue
                j = x.index.get((cell.choices[0], ours.choices[1], *((),) * (len(x.shape) - 2)))
                if j is None and not groups:
                    return False
                for position in [j] if j is not None else range(len(x.cells)):
                    if not self._cell(q, (x, position), (w, k), (out, m), groups):
                        return False
        return True

    def _cell(
        self,
        q: Charges,
        left: tuple[Value, int],
        right: tuple[Value, int],
        result: tuple[Value, int],
        groups: set[object],
    ) -> bool:
        (x, i), (w, k), (out, m) = left, right, result
        a, b, c = x.cells[i], w.cells[k], out.cells[m]
        channels, rows, made = a.along(1), b.along(0), c.along(1)
        shared = [j for j in channels if a.places[j].atom in groups]
        within = [j for j in channels if a.places[j].atom not in groups]
        inner = b.along(1)
        atoms = [[cell.places[j].atom for j in js] for cell, js in ((a, within), (b, inner), (b, rows), (c, made))]
        if atoms[0] != atoms[1] or atoms[2] != atoms[3]:
            return False
        for v, u in zip(within, inner, strict=True):
            q.relate({q.of(x, i, v): 1, q.of(w, k, u): 1})
        carried = {a.places[j].atom: q.of(x, i, j) for j in shared}
        for v, u in zip(made, rows, strict=True):
            terms: dict[int, int | Fraction] = {q.of(out, m, v): -1, q.of(w, k, u): 1}
            if (atom := b.places[u].atom) in carried:
                terms[carried[atom]] = 1
            q.relate(terms)
        q.relate({q.of(out, m): -1, q.of(x, i): 1, q.of(w, k): 1})
        samples = zip(a.along(0), c.along(0), strict=True)
        for v, u in samples:
            q.equal(q.of(x, i, v), q.of(out, m, u))
        return True


def _has_sums(groups: set[object]) -> bool:
    return any(getattr(atom, "parts", None) is not None for atom in groups)
