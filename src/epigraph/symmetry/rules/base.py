"""What a symmetry rule is, and the equations that several operators share.

``axes`` gives the types of the result and makes those of the operands agree; ``charges`` adds the equations between
their scalings.  An operator without a rule pins everything it touches.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from fractions import Fraction

from epigraph.symmetry.axes import Type, freeze, pinned
from epigraph.symmetry.charges import Charges
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
def nothing(q: Charges, values: Sequence[Value]) -> None:
    """No scaling at all."""
    for value in values:
        q.vanish(*q.every(value))


def combine(q: Charges, step: Step, powers: Sequence[int | Fraction]) -> None:
    """The result's charge is the sum of the operands' charges times these powers, place by place."""
    out = step.output
    for k, cell in enumerate(out.cells):
        terms: list[dict[int, int | Fraction]] = [{q.of(out, k, j): -1} for j in range(-1, len(cell.places))]
        for value, power in zip(step.inputs, powers, strict=True):
            met = matched(value, out, k)
            if met is None:
                nothing(q, [*step.inputs, out])
                return
            other, places = met
            for j, place in enumerate([-1, *places]):
                if place is not None:
                    v = q.of(value, other, place)
                    terms[j][v] = terms[j].get(v, 0) + power
        for each in terms:
            q.relate(each)


def agree(q: Charges, step: Step, inputs: Sequence[Value]) -> None:
    """Operands and result have one charge; a dimension along which an operand is broadcast has none."""
    out = step.output
    alike = [v for v in inputs if not v.zero and v.cells is out.cells and v.shape == out.shape]
    for value in alike:
        q.share(out, value)
    others = [v for v in inputs if not v.zero and v not in alike]
    for k, cell in enumerate(out.cells if others else ()):
        for value in others:
            met = matched(value, out, k)
            if met is None:
                nothing(q, [*inputs, out])
                return
            other, places = met
            q.equal(q.of(out, k), q.of(value, other))
            for j in range(len(cell.places)):
                place = places[j]
                if place is None:
                    q.vanish(q.of(out, k, j))
                else:
                    q.equal(q.of(out, k, j), q.of(value, other, place))


def matched(value: Value, out: Value, k: int) -> tuple[int, list[int | None]] | None:
    """The operand's cell behind a cell of a broadcast result, and the operand's place for each of its places."""
    if value.cells is out.cells and value.shape == out.shape:  # nothing is broadcast, every type is the same
        return k, list(range(len(out.cells[k].places)))
    lead = len(out.shape) - len(value.shape)
    cell = out.cells[k]
    wide = [value.shape[d] == out.shape[d + lead] for d in range(len(value.shape))]
    key = tuple(cell.choices[d + lead] if wide[d] else () for d in range(len(value.shape)))
    other = value.index.get(key)
    if other is None:
        return None
    theirs = value.cells[other]
    places: list[int | None] = [None] * len(cell.places)
    for d, full in enumerate(wide):
        if full:
            here, there = cell.along(d + lead), theirs.along(d)
            if [cell.places[i].atom for i in here] != [theirs.places[i].atom for i in there]:
                return None
            for i, j in zip(here, there, strict=True):
                places[i] = j
    return other, places


def transfer(q: Charges, source: Value, k: int, target: Value, m: int) -> bool:
    """Two cells with the same leaves in the same order have the same charges."""
    if source.cells[k].atoms != target.cells[m].atoms:
        return False
    for j in range(-1, len(source.cells[k].places)):
        q.equal(q.of(source, k, j), q.of(target, m, j))
    return True


def odd(q: Charges, step: Step) -> None:
    """Sign flips pass, other factors do not."""
    if q.modulo_two:
        agree(q, step, step.inputs)
    else:
        nothing(q, [*step.inputs, step.output])


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
