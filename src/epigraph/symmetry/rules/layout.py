"""Operators that move entries without changing them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from operator import mul
from typing import final

import torch
from torch import Tensor

from epigraph.symmetry.atoms import Atom, Misfit, Type, factors, freeze, fresh, pinned, shuffled, size
from epigraph.symmetry.axes import choose, interleaved, joined, piece, unify
from epigraph.symmetry.cells import Cell
from epigraph.symmetry.charges import ZERO, Charges
from epigraph.symmetry.rules.base import Rule, agree, moved, projected, put, register, transfer
from epigraph.symmetry.trace import Step, Value, refactor


class Layout(Rule):
    """Moves entries: cells correspond one to one."""

    def charges(self, q: Charges, step: Step) -> None:
        (x,), out = step.inputs, step.output
        if q.still(x):
            put(q, step, [])
            return
        order = self.order(step)
        known = q.tilings.memory(x.cells, out.cells, (step.node.op, *order), lambda: self._moved(x, out, order))
        table = q.table(x)
        put(q, step, table if known is None else [[table[k][j] for j in places] for k, places in known])

    def _moved(self, x: Value, out: Value, order: Sequence[int]) -> list[tuple[int, list[int]]] | None:
        """For each cell of the result the operand's, and where its charges are in the operand's; empty where none fits.

        None where all are where they were.
        """
        rows: list[tuple[int, list[int]] | None] = [None] * len(out.cells)
        for k, (cell, m) in enumerate(zip(x.cells, self.partners(x, out, order), strict=True)):
            places = [j for d in order for j in cell.along(d)]
            if m is not None and [cell.atoms[j] for j in places] == out.cells[m].atoms:
                rows[m] = (k, [0, *(j + 1 for j in places)])
        found = [row for row in rows if row is not None]
        if not len(found) == len(rows) == len(x.cells):
            return []
        return found if any(row != (m, list(range(len(row[1])))) for m, row in enumerate(found)) else None

    def order(self, step: Step) -> Sequence[int]:
        """The dimensions of the operand in the order in which the result has them."""
        return range(len(step.inputs[0].shape))

    def partners(self, x: Value, out: Value, order: Sequence[int]) -> list[int | None]:
        """For each cell of the operand that of the result which holds its entries."""
        return [out.index.get(tuple(cell.choices[d] for d in order)) for cell in x.cells]


@register("reshape")
@final
class Reshape(Layout):
    """The same entries in the same order."""

    def axes(self, step: Step) -> list[Type]:
        (x,) = step.inputs
        try:
            return [_woven(kind) for kind in refactor(x.dims, step.output.shape)]
        except Misfit:
            for kind in x.dims:
                freeze(kind, pin=True)
            return [pinned(n) for n in step.output.shape]

    def partners(self, x: Value, out: Value, order: Sequence[int]) -> list[int | None]:
        there = {place: m for m, place in enumerate(_first_entries(out))}
        return [there.get(place) for place in _first_entries(x)]


def _woven(kind: Type) -> Type:
    """A product in which the parts of a concatenation alternate as what it is: their interleaving."""
    own = factors(kind)
    if own and own[-1].parts is not None and not any(map(factors, own[-1].parts)) and shuffled(own):
        return interleaved(own)
    return kind


def _first_entries(value: Value) -> list[int]:
    """Where each cell starts in row-major order."""
    strides = [prod(value.shape[d + 1 :]) for d in range(len(value.shape))]
    return [sum(map(mul, cell.start, strides)) for cell in value.cells]


@register("permute")
@final
class Permute(Layout):
    """The same entries, dimensions in another order."""

    def axes(self, step: Step) -> list[Type]:
        return [step.inputs[0].dims[d] for d in step.node.attributes["dims"]]

    def order(self, step: Step) -> Sequence[int]:
        return step.node.attributes["dims"]


@register("expand")
@final
class Expand(Rule):
    """Repeats entries: any permutation of the copies is the identity."""

    def axes(self, step: Step) -> list[Type]:
        (x,), shape = step.inputs, step.output.shape
        lead = len(shape) - len(x.shape)
        scope = frozenset(a for kind in x.dims for a in factors(kind))
        wide = [d < lead or x.shape[d - lead] != n for d, n in enumerate(shape)]
        return [fresh(n, scope) if wide[d] else x.dims[d - lead] for d, n in enumerate(shape)]

    def charges(self, q: Charges, step: Step) -> None:
        agree(q, step, step.inputs)


@register("slice")
@final
class Slice(Rule):
    """Some of the entries along one dimension."""

    def axes(self, step: Step) -> list[Type]:
        (x,), a = step.inputs, step.node.attributes
        dims, d = list(x.dims), a["dim"]
        length = step.output.shape[d]
        try:
            if a["step"] != 1 or length == 0:
                raise Misfit
            dims[d] = piece(x.dims[d], a["start"], a["stop"])
        except Misfit:
            freeze(x.dims[d], pin=True)
            dims[d] = pinned(length)
            step.notes["cut"] = True
            return dims
        if (found := factors(x.dims[d])) and found[0].parts is not None:
            dims = self._chosen(dims, d, found[0], a["start"], a["stop"], size(found[1:]))
        return dims

    def _chosen(self, dims: list[Type], d: int, outer: Atom, start: int, stop: int, inner: int) -> list[Type]:
        """Inner indices that depend on the sliced one, for the part that is taken."""
        return [kind if i == d else choose(kind, outer, start // inner, stop // inner) for i, kind in enumerate(dims)]

    def charges(self, q: Charges, step: Step) -> None:
        (x,), out, a = step.inputs, step.output, step.node.attributes
        d = a["dim"]
        if "cut" in step.notes:
            put(q, step, projected(q, x, out, [d], kept=True))
            return
        if not moved(q, x, out, [a["start"] if i == d else 0 for i in range(len(x.shape))]):
            put(q, step, [])


@register("concat")
@final
class Concat(Rule):
    """One after the other along a dimension."""

    def axes(self, step: Step) -> list[Type]:
        d = step.node.attributes["dim"]
        dims = list(step.inputs[0].dims)
        for value in step.inputs[1:]:
            for i, kind in enumerate(value.dims):
                if i != d:
                    unify(dims[i], kind)
        dims[d] = joined([value.dims[d] for value in step.inputs if value.shape[d]])
        return dims

    def charges(self, q: Charges, step: Step) -> None:
        out, d = step.output, step.node.attributes["dim"]
        rows: list[list[int] | None] = [None] * len(out.cells)
        offset = 0
        for value in step.inputs:
            stop = offset + value.shape[d]
            inside = [m for m, cell in enumerate(out.cells) if offset <= cell.start[d] < stop]
            if value.zero:
                for m, row in zip(inside, q.rows([out.cells[m] for m in inside]), strict=True):
                    rows[m] = row
            elif len(inside) == len(value.cells):
                for k, m in enumerate(inside):
                    rows[m] = transfer(q, value, k, out, m)
            offset = stop
        put(q, step, rows)


@register("take")
@final
class Take(Rule):
    """Chosen rows: the rows stay where they are, all else moves freely; rows that are all repeated move with their copies."""

    def axes(self, step: Step) -> list[Type]:
        d, x = step.node.attributes["dim"], step.inputs[0]
        dims = list(x.dims)
        times = _repeats(step.inputs[1].literal, x.shape[d])
        step.notes.update(times=times, extra=int(times > 1))
        if times:
            scope = frozenset(a for kind in dims for a in factors(kind))
            dims[d] = (*dims[d], *fresh(times, scope))
        else:
            freeze(dims[d], pin=True)
            dims[d] = pinned(step.output.shape[d])
        return dims

    def charges(self, q: Charges, step: Step) -> None:
        x, out, d = step.inputs[0], step.output, step.node.attributes["dim"]
        repeated = step.notes["times"] > 0
        rows: list[list[int] | None] = [None] * len(out.cells)
        for k, cell in enumerate(x.cells):
            key = tuple(() if i == d and not repeated else c for i, c in enumerate(cell.choices))
            m = out.index.get(key)
            kept = [j for i in range(len(x.shape)) if i != d or repeated for j in cell.along(i)]
            there = [] if m is None else [j for i in range(len(x.shape)) for j in self._places(step, out.cells[m], i)]
            if m is None or [cell.atoms[j] for j in kept] != [out.cells[m].atoms[j] for j in there]:
                put(q, step, [])
                return
            charges = q.table(x)[k]
            row = [charges[0]] + [ZERO] * len(out.cells[m].places)
            for j, i in zip(kept, there, strict=True):
                row[i + 1] = charges[j + 1]
            known = rows[m]
            for v, w in zip(row, known or (), strict=False):
                q.equal(v, w)  # several cells of the table lie in one of the result
            rows[m] = row
        put(q, step, rows)

    def _places(self, step: Step, cell: Cell, dim: int) -> list[int]:
        """The places of a cell of the result that the operand has as well."""
        own = cell.along(dim)
        if dim != step.node.attributes["dim"]:
            return own
        return own[: len(own) - step.notes["extra"]] if step.notes["times"] else []


def _repeats(index: Tensor | None, count: int) -> int:
    """r where the index is 0 r times, 1 r times, ... up to count - 1; else 0."""
    if index is None or count == 0 or index.numel() % count or index.numel() == 0:
        return 0
    times = index.numel() // count
    return times if torch.equal(index.cpu().long(), torch.arange(count).repeat_interleave(times)) else 0
