"""What a symmetry rule is, and the equations that several operators share.

``axes`` gives the types of the result and makes those of the operands agree; ``charges`` adds the equations between
their scalings.  An operator without a rule pins everything it touches.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from fractions import Fraction
from operator import add

from epigraph.symmetry.atoms import Type, freeze, pinned
from epigraph.symmetry.cells import Match, matched
from epigraph.symmetry.charges import ZERO, Charges, Kind
from epigraph.symmetry.trace import Step, Value, align

RULES: dict[str, Rule] = {}


class Rule(ABC):
    """What is known of one operator."""

    @abstractmethod
    def axes(self, step: Step) -> list[Type]:
        """The types of the result; operands are unified as the operator demands."""

    @abstractmethod
    def charges(self, q: Charges, step: Step) -> None:
        """The equations between the charges of operands and result."""

    def centre(self, step: Step) -> Fraction | None:
        """c where f(-x) = 2c - f(x) with c not 0: the operator is odd up to a constant that later biases may carry."""
        return None


def register(*ops: str) -> Callable[[type[Rule]], type[Rule]]:
    """Register the rule of some operators; a second one for the same operator raises."""

    def add(cls: type[Rule]) -> type[Rule]:
        for op in ops:
            if op in RULES:
                raise ValueError(f"two symmetry rules for {op}")
            RULES[op] = cls()
        return cls

    return add


def rule_of(op: str) -> Rule:
    """The rule of an operator; nothing commutes with one that has none."""
    return RULES.get(op, _NOTHING)


# equations that several operators share ----------------------------------------------------------------------------
def nothing(q: Charges, values: Sequence[Value], kind: Kind | None = None) -> None:
    """No scaling at all, or none of a kind."""
    for value in values:
        q.vanish_all(value, kind)


def combine(q: Charges, step: Step, powers: Sequence[int | Fraction], kind: Kind | None = None) -> None:
    """The result's charge is the sum of the operands' charges times these powers, place by place."""
    out, parts = step.output, []
    moving = [i for i, value in enumerate(step.inputs) if not q.still(value)]  # others carry no charge
    for i in moving:
        met = behind(q, step.inputs[i], out)
        if met is None:
            nothing(q, [*step.inputs, out])
            return
        parts.append((q.table(step.inputs[i]), met, powers[i]))
    if not parts:
        nothing(q, [out])
        return
    if len(moving) == 1 and powers[moving[0]] == 1 and _alike(step.inputs[moving[0]], out):
        q.define(out, parts[0][0])
        return
    rows = []
    for k, cell in enumerate(out.cells):
        here = [(table[met[k][0]], met[k][1], power) for table, met, power in parts]
        row = [q.total([(charges[0], power) for charges, _, power in here], None, kind)]
        for j, atom in enumerate(cell.atoms):
            terms = [(v, power) for c, places, power in here if (p := places[j]) is not None and (v := c[p + 1])]
            row.append(q.total(terms, atom, kind) if terms else ZERO)
        rows.append(row)
    q.define(out, rows)


def agree(q: Charges, step: Step, inputs: Sequence[Value], kind: Kind | None = None) -> None:
    """Operands and result have one charge; a dimension along which an operand is broadcast has none."""
    out = step.output
    if kind is None and any(q.still(v) for v in inputs):
        nothing(q, [*(v for v in inputs if not v.zero), out])
        return
    others = []
    for value in (v for v in inputs if not v.zero):
        if _alike(value, out):
            q.define(out, q.table(value), kind)
        else:
            others.append(value)
    for value in others:
        met = behind(q, value, out)
        if met is None:
            nothing(q, [*inputs, out], kind)
            return
        theirs = [(q.table(value)[other], places) for other, places in met]
        q.define(out, [[c[0], *(ZERO if j is None else c[j + 1] for j in places)] for c, places in theirs], kind)


def _alike(value: Value, out: Value) -> bool:
    return value.cells is out.cells and value.shape == out.shape


def behind(q: Charges, value: Value, out: Value) -> Match | None:
    """For each cell of a broadcast result, the operand's cell behind it and the operand's place for each of its places."""
    if _alike(value, out):
        return [(k, list(range(len(cell.places)))) for k, cell in enumerate(out.cells)]
    lead = len(out.shape) - len(value.shape)
    wide = tuple(n == out.shape[d + lead] for d, n in enumerate(value.shape))
    return q.tilings.memory(value.cells, out.cells, wide, lambda: matched(value.cells, value.index, out.cells, wide))


def transfer(q: Charges, source: Value, k: int, target: Value, m: int) -> list[int] | None:
    """The charges of a cell, where another one has the same leaves in the same order; else None."""
    return q.table(source)[k] if source.cells[k].atoms == target.cells[m].atoms else None


def moved(q: Charges, source: Value, target: Value, start: Sequence[int] = ()) -> bool:
    """The charges of a tensor that is a part of another, from ``start`` on; False where cells do not correspond."""
    there = {cell.start: k for k, cell in enumerate(source.cells)}
    rows: list[list[int]] = []
    for m, cell in enumerate(target.cells):
        k = there.get(tuple(map(add, cell.start, start)) if start else cell.start)
        row = None if k is None else transfer(q, source, k, target, m)
        if row is None:
            return False
        rows.append(row)
    q.define(target, rows)
    return True


def put(q: Charges, step: Step, rows: Sequence[list[int] | None]) -> None:
    """The charges of the result's cells; where one is None, nothing scales operands and result."""
    known = [row for row in rows if row is not None]
    if len(known) == len(rows) == len(step.output.cells):
        q.define(step.output, known)
    else:
        nothing(q, [*step.inputs, step.output])


def projected(q: Charges, x: Value, out: Value, dims: Sequence[int], kept: bool) -> list[list[int] | None]:
    """The charges that all cells along some dimensions have in common; empty where cells do not correspond.

    The result has lost these dimensions, or has others in their place that nothing scales (``kept``).
    """
    rows: list[list[int] | None] = [None] * len(out.cells)
    gone = [] if kept else dims
    new = [d for d in range(len(x.shape)) if d not in gone]
    for cell, charges in zip(x.cells, q.table(x), strict=True):
        m = out.index.get(tuple(() if d in dims else cell.choices[d] for d in new))
        here = [j for j, p in enumerate(cell.places) if p.dim not in dims]
        there = [] if m is None else [j for j, p in enumerate(out.cells[m].places) if new[p.dim] not in dims]
        if m is None or [cell.atoms[j] for j in here] != [out.cells[m].atoms[j] for j in there]:
            return []
        row = [charges[0]] + [ZERO] * len(out.cells[m].places)
        for j, i in zip(here, there, strict=True):
            row[i + 1] = charges[j + 1]
        for v, w in zip(row, rows[m] or (), strict=False):
            q.equal(v, w)
        rows[m] = row
    return rows


def odd(q: Charges, step: Step) -> None:
    """Sign flips pass, other factors do not."""
    agree(q, step, step.inputs)
    nothing(q, [step.output], "scale")


def homogeneous(q: Charges, step: Step, inputs: Sequence[Value]) -> None:
    """Positive factors pass, sign flips do not."""
    agree(q, step, inputs)
    nothing(q, [step.output], "sign")


class Elementwise(Rule):
    """An entry of the result depends on the same entries of the operands."""

    def axes(self, step: Step) -> list[Type]:
        return align(step.output.shape, step.inputs)


class Nothing(Rule):
    """Commutes with nothing that is known here."""

    def axes(self, step: Step) -> list[Type]:
        for value in step.inputs:
            for kind in value.dims:
                freeze(kind, pin=True)
        return [pinned(n) for n in step.output.shape]

    def charges(self, q: Charges, step: Step) -> None:
        nothing(q, [*step.inputs, step.output])


_NOTHING = Nothing()
