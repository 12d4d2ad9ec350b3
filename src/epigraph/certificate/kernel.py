r"""The kernel: checks a derivation of a property of J step by step, with its own lemmas and its own arithmetic.

A derivation records for every node of the graph which of seven claims its entries have, an interval that contains
their values, and for some nodes a carrier: an affine node of which every entry is a function, entry by entry.  Each
record is checked against the records of its operands alone: the interval by exact or ball arithmetic
(``kernel_ranges``), the claims by the lemma table (``kernel_lemmas``), the carrier and the dependence by structure.

What has been proved when ``recheck`` returns: for all points a, b of the box that agree in the parameters which are not
active, and all m between them, if every operator that J uses has a value at a, b and m, then the inequality of the
property holds for J(a), J(b), J(m).  At points of the boundary where an operator has no value J is meant as its limit,
and where there is none as +inf (-inf for concavity and its relatives): a convex function stays convex under this
extension, since the midpoint map of a box is open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np

from epigraph.certificate import kernel_linear, kernel_means, kernel_perspective, kernel_quadratics
from epigraph.certificate.graph import Node, Program
from epigraph.certificate.kernel_carriers import carried
from epigraph.certificate.kernel_claims import Claims, closure, constant, either, where
from epigraph.certificate.kernel_lemmas import LEMMAS
from epigraph.certificate.kernel_numbers import fraction
from epigraph.certificate.kernel_ranges import CHECKS, contains_constant
from epigraph.certificate.kernel_records import CODES, PROPERTIES, Reading, Record, read, reject
from epigraph.certificate.kernel_same import equal_operands
from epigraph.certificate.shapes import check_indices, metas, program

__all__ = ["CODES", "PROPERTIES", "check", "recheck", "statement"]

_ADJECTIVES = dict(
    zip(PROPERTIES, ("convex", "concave", "quasiconvex", "quasiconcave", "log-convex", "log-concave"), strict=True)
)


def recheck(graph: Mapping[str, Any], tensors: Mapping[str, np.ndarray], derivation: Mapping[str, Any]) -> None:
    """Check a derivation against the graph of a certificate.

    Args:
        graph: ``{"nodes": [...], "output": id}`` as in a manifest.
        tensors: all tensors of the file by key: constants, parameters, and the arrays that the derivation refers to.
        derivation: ``{"property", "active", "domain", "nodes"}``.

    Raises:
        CertificateError: E41x where the graph is malformed, E451 where the derivation is, E452 to E454 at the first
            record that does not follow from those of its operands, E455 where the last one is not the goal.

    Cost: linear in the sizes of the tensors, about 5 microseconds for an entry that passes an elementary function with
    a bound of its own; nothing per entry where a node's record is uniform.
    """
    checked = program(dict(graph), metas(tensors))
    check_indices(checked, tensors)
    check(checked, [node["id"] for node in graph["nodes"]], tensors, derivation)


def check(
    checked: Program, identifiers: Sequence[int], tensors: Mapping[str, np.ndarray], derivation: Mapping[str, Any]
) -> None:
    """``recheck`` for a graph that has been checked; ``identifiers`` of its nodes in order."""
    ids = {identifier: position for position, identifier in enumerate(identifiers)}
    reading = read(derivation, checked, ids, tensors)
    _Kernel(checked, tensors, reading).run()


def statement(derivation: Mapping[str, Any]) -> str:
    """What a derivation that has been checked says, in one sentence."""
    names = list(derivation["active"])
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    boxed = sorted(name for name, pair in derivation["domain"].items() if any(side is not None for side in pair))
    where = f"on the box that the file states for {', '.join(boxed[:6])}" if boxed else "on the whole space"
    where += f" and {len(boxed) - 6} more" if len(boxed) > 6 else ""
    return (
        f"The function J of the graph in this file is {_ADJECTIVES[derivation['property']]} in ({shown}) {where}, "
        "for every value of any other parameters there."
    )


@final
class _Kernel:
    def __init__(self, checked: Program, tensors: Mapping[str, np.ndarray], reading: Reading):
        self._program, self._tensors, self._reading = checked, tensors, reading
        self._varies = self._dependence()
        self._needed = self._ancestors()
        self._means: dict[int, kernel_means.Bounds] = {}
        self._exponentials: dict[int, kernel_means.Bounds] = {}
        self._linear: dict[int, kernel_linear.Linear | None] = {}
        self._quadratics = kernel_quadratics.Quadratics(checked, tensors, reading.active)

    def run(self) -> None:
        for position, node in enumerate(self._program.nodes):
            if position in self._needed or position in self._reading.records:
                self._node(position, node)
        goal = PROPERTIES.index(self._reading.property)
        record = self._reading.records[self._program.output]
        if not bool(np.all(record.claims[goal])):
            reject("E455", f"the output is not claimed to be {self._reading.property}",
                   where=self._program.nodes[self._program.output].label, why=f"its record: {record}")  # fmt: skip

    def _dependence(self) -> list[bool]:
        found: list[bool] = []
        for node in self._program.nodes:
            own = node.op == "parameter" and node.attributes["name"] in self._reading.active
            found.append(own or any(found[i] for i in node.inputs))
        return found

    def _ancestors(self) -> set[int]:
        needed = {self._program.output}
        for position in range(self._program.output, -1, -1):
            if position in needed:
                needed.update(self._program.nodes[position].inputs)
        return needed

    def _node(self, position: int, node: Node) -> None:
        record = self._record(position, node)
        operands = [self._record(i, node) for i in node.inputs]
        place = f"{node.label.split(',')[0]}, {node.op}"
        if record.varies is not self._varies[position]:
            said = "depending" if record.varies else "not depending"
            reject("E454", f"recorded as {said} on an active parameter", where=place, why="its inputs say otherwise")
        chosen = list(range(len(operands)))
        if node.op == "same":
            chosen = equal_operands(self._program, node, self._tensors)
            operands = [operands[k] for k in chosen]
        self._interval(node, record, operands, place)
        self._mean_bounds(position, node, record, operands, chosen)
        linear = [self._linear[i] for i in node.inputs]
        self._linear[position] = kernel_linear.follow(node, operands, linear) if record.varies else None
        self._claims(node, record, operands, place)
        self._carrier(node, record, operands, place)

    def _mean_bounds(
        self, position: int, node: Node, record: Record, operands: Sequence[Record], chosen: Sequence[int]
    ) -> None:
        inputs = [node.inputs[k] for k in chosen]
        means, powers = [self._means[i] for i in inputs], [self._exponentials[i] for i in inputs]
        below = [self._program.nodes[i] for i in inputs]
        unknown = kernel_means.UNKNOWN
        of_exp = node.op == "exp" and record.varies
        found = kernel_means.exponential(operands[0], powers[0]) if of_exp else unknown
        self._means[position] = found if of_exp else kernel_means.derive(node, operands, means, record)
        if node.op == "det" and record.varies and self._quadratics.definite(node.inputs[0], self._reading.domain):
            self._means[position] = kernel_means.determinant(below[0].shape[-1])
        varies = record.varies and inputs
        self._exponentials[position] = (
            kernel_means.derive_exponential(node, below, operands, means, powers) if varies else unknown
        )

    def _record(self, position: int, node: Node) -> Record:
        found = self._reading.records.get(position)
        if found is None:
            reject("E451", f"no record for node number {position}, which J needs", where=node.label)
        return found

    def _interval(self, node: Node, record: Record, operands: Sequence[Record], place: str) -> None:
        if node.op == "constant":
            value = node.attributes.get("value")
            if not contains_constant(record, None if value is None else fraction(value)):
                reject("E452", "the interval does not contain the constant", where=place, why=f"recorded: {record}")
            return
        if node.op == "parameter":
            low, high = self._reading.domain.get(node.attributes["name"], (np.asarray(-np.inf), np.asarray(np.inf)))
            lower, upper = bool(np.all(record.lower <= low)), bool(np.all(record.upper >= high))
        else:
            lower, upper = CHECKS[node.op](node, operands, record)
        if not (lower and upper):
            side = "lower bound is too high" if not lower else "upper bound is too low"
            reject("E452", f"the interval does not follow: its {side}", where=place, why=_listed(record, operands))

    def _claims(self, node: Node, record: Record, operands: Sequence[Record], place: str) -> None:
        nonnegative = record.lower >= 0
        if not record.varies:
            allowed = constant(nonnegative)
        elif node.op == "parameter":
            allowed = Claims(np.True_, np.True_)
        else:
            allowed = LEMMAS[node.op](node, operands)
            if any(up or down for _, up, down in carried(node, operands)):  # monotone in an affine entry: half-spaces
                allowed = allowed._replace(quasiconvex=np.True_, quasiconcave=np.True_)
            allowed = either(allowed, where(record.lower == record.upper, constant(nonnegative)))  # one value only
            allowed = either(allowed, self._structural(node, record.position, operands))
        spare = record.bits & ~closure(allowed, nonnegative).bits()
        if np.any(spare) and record.varies:
            allowed = either(allowed, self._quadratics.claims(record.position, self._reading.records))
            spare = record.bits & ~closure(allowed, nonnegative).bits()
        if np.any(spare):
            missing = int(np.bitwise_or.reduce(spare, axis=None))
            names = [name for k, name in enumerate(Claims._fields) if missing >> k & 1]
            count = int(np.count_nonzero(spare))
            entries = f" in {count} of {spare.size} entries" if spare.size > 1 else ""
            reject("E453", f"no lemma gives: {', '.join(names)}{entries}", where=place, why=_listed(record, operands))

    def _structural(self, node: Node, position: int, operands: Sequence[Record]) -> Claims:
        """What follows from more than the operands' records: see the modules named here."""
        nodes, records = self._program.nodes, self._reading.records
        found = kernel_means.claims(self._means[position])
        found = either(found, kernel_means.squared_difference(nodes, position, self._bounds))
        found = either(found, kernel_perspective.claims(nodes, position, records))
        return either(found, kernel_linear.claims(node, operands, [self._linear[i] for i in node.inputs]))

    def _bounds(self, position: int) -> kernel_means.Bounds:
        return kernel_means.read(self._reading.records[position], self._means[position])

    def _carrier(self, node: Node, record: Record, operands: Sequence[Record], place: str) -> None:
        if record.carrier is None:
            return
        base, direction = record.carrier
        possible = [(record.position, True, False)] if record.affine else []
        possible += carried(node, operands) if record.varies else []
        for found, up, down in possible:
            if found == base and (direction == 0 or (direction > 0 and up) or (direction < 0 and down)):
                return
        word = {1: "a nondecreasing", -1: "a nonincreasing", 0: "a"}[direction]
        what = f"not shown to be, entry by entry, {word} function of the affine node number {base}"
        reject("E454", what, where=place, why=_listed(record, operands))


def _listed(record: Record, operands: Sequence[Record]) -> str:
    """The record and those of the operands, for a message."""
    lines = [f"operand {k}: {x}" for k, x in enumerate(operands[:4])]
    return "; ".join([f"recorded: {record}", *lines])
