r"""Functions of one variable inside a graph: which entries are the same function, and their values in any arithmetic.

An entry of a carried node is a function phi(z) of one entry z of its carrier.  Entries with equal constants are the same
function and have one label.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, final

import numpy as np
from flint import arb

from epigraph.certificate.balls import lift
from epigraph.certificate.germs import Unknown, number
from epigraph.certificate.linear import BROADCAST, MOVING, REDUCING, UNARY, Linear

GROUP_LIMIT = 64

Term = tuple[int, int, Fraction]  # node, entry, weight


@final
class Functions:
    """The functions of one variable in a graph."""

    def __init__(self, linear: Linear):
        self.linear = linear
        self._labels: dict[int, np.ndarray] = {}
        self._maps: dict[tuple[int, int], np.ndarray] = {}

    # equal functions --------------------------------------------------------------------------------------------------
    def labels(self, position: int) -> np.ndarray:
        """For each entry a number; entries with equal numbers are equal functions of their entry of the carrier."""
        if position not in self._labels:
            found = self._label(position)
            self._labels[position] = np.unique(found, axis=0, return_inverse=True)[1].reshape(-1)
        return self._labels[position]

    def _label(self, position: int) -> np.ndarray:
        linear, node = self.linear, self.linear.nodes[position]
        carrier = linear.carrier(position) if linear.varies[position] else None
        if carrier is not None and carrier.base == position:
            return np.zeros(node.numel, np.int64)
        if node.op == "constant":
            return self._values(position)
        if node.op == "same":
            return self.labels(self._form(position))
        if node.op in MOVING and node.op not in ("concat", "take"):
            return linear.moved(node, self.labels(node.inputs[0]), node.inputs[0])
        if node.op == "take":
            return linear.moved(node, self.labels(node.inputs[0]), node.inputs[0])
        if node.op in UNARY or node.op in BROADCAST:
            columns = [linear.moved(node, self.labels(i), i) for i in node.inputs]
            return np.stack(columns, axis=1)
        if node.op in (*REDUCING, "log_softmax"):
            members = linear.line(node) if node.op == "log_softmax" else linear.members(node)
            if members.shape[1] <= GROUP_LIMIT:
                own = self.labels(node.inputs[0])[members]
                if node.op == "log_softmax":
                    own = np.concatenate([own, self.labels(node.inputs[0])[:, None]], axis=1)
                return own
        if node.op == "concat":
            return self._concatenated(position)
        return np.arange(node.numel)

    def _values(self, position: int) -> np.ndarray:
        value = self.linear.constant(position)
        if value.dtype == object:
            return np.zeros(value.size, np.int64) if value.size == 1 else np.arange(value.size)
        return np.unique(value.reshape(-1), return_inverse=True)[1].reshape(-1)

    def _concatenated(self, position: int) -> np.ndarray:
        node = self.linear.nodes[position]
        parts = [
            np.stack([self.labels(i), np.full(self.linear.nodes[i].numel, k)], 1) for k, i in enumerate(node.inputs)
        ]
        return np.concatenate(parts)[np.argsort(self.linear.concatenated(node))]

    def _form(self, position: int) -> int:
        """The operand of ``same`` that is read: the first one with a carrier."""
        linear = self.linear
        forms = linear.forms[position]
        return next((i for i in forms if not linear.varies[i] or linear.carrier(i) is not None), forms[0])

    # evaluation ---------------------------------------------------------------------------------------------------------
    def evaluate(self, terms: Sequence[Term], arithmetic: Any, variable: Any) -> Any:
        """sum of weight phi(z), with z the variable, in one of the arithmetics of ``jets``."""
        walk = _Walk(self, arithmetic, variable)
        total = None
        for position, entry, weight in terms:
            part = walk.value(position, entry)
            if weight != 1:
                part = -part if weight == -1 else part * arithmetic.constant(number(weight))
            total = part if total is None else total + part
        return total

    def source(self, position: int, operand: int) -> np.ndarray:
        """For each entry the entry of the operand that it reads."""
        key = (position, operand)
        if key not in self._maps:
            self._maps[key] = self.linear.index(self.linear.nodes[position], operand)
        return self._maps[key]


@final
class _Walk:
    """One evaluation: values of entries by (node, entry)."""

    def __init__(self, functions: Functions, arithmetic: Any, variable: Any):
        self._functions, self._arithmetic, self._variable = functions, arithmetic, variable
        self._linear = functions.linear
        self._known: dict[tuple[int, int], Any] = {}

    def value(self, position: int, entry: int) -> Any:
        key = (position, entry)
        if key not in self._known:
            self._known[key] = self._make(position, entry)
        return self._known[key]

    def _make(self, position: int, entry: int) -> Any:
        linear, node = self._linear, self._linear.nodes[position]
        if not linear.varies[position]:
            return self._arithmetic.constant(self._constant(position, entry))
        carrier = linear.carrier(position)
        if carrier is None:
            raise Unknown
        if carrier.base == position:
            return self._variable
        if node.op == "same":
            return self.value(self._functions._form(position), entry)
        if node.op in (*REDUCING, "log_softmax", "matmul", "concat"):
            return self._several(node.op, position, entry)
        inputs = node.inputs[:1] if node.op == "take" else node.inputs
        operands = [self.value(i, int(self._functions.source(position, i)[entry])) for i in inputs] \
            if node.op != "where" else []  # fmt: skip
        if node.op in MOVING:
            return operands[0]
        if node.op in UNARY:
            return self._arithmetic.unary(node.op, node.attributes, operands[0])
        return self._binary(node.op, position, entry, operands)

    def _binary(self, op: str, position: int, entry: int, x: Sequence[Any]) -> Any:
        if op == "add":
            return x[0] + x[1]
        if op == "mul":
            return x[0] * x[1]
        if op == "div":
            return self._arithmetic.divide(x[0], x[1])
        if op == "maximum":
            return self._arithmetic.maximum(x[0], x[1])
        if op == "compare":
            relation = self._linear.nodes[position].attributes["relation"]
            return self._arithmetic.constant(arb(int(self._arithmetic.less(relation, x[0], x[1]))))
        if op == "where":
            return self._chosen(position, entry)
        raise Unknown

    def _chosen(self, position: int, entry: int) -> Any:
        """The branch of ``where`` whose constant condition is known; conditions that vary are not decided here."""
        condition, *branches = self._linear.nodes[position].inputs
        place = [int(self._functions.source(position, i)[entry]) for i in (condition, *branches)]
        if self._linear.varies[condition]:
            raise Unknown
        chosen = self._constant(condition, place[0])
        if not (chosen == 1 or chosen == 0):
            raise Unknown
        k = 0 if chosen == 1 else 1
        return self.value(branches[k], place[1 + k])

    def _constant(self, position: int, entry: int) -> arb:
        found = self._linear.constant(position).reshape(-1)[entry]
        ball = found if isinstance(found, arb) else lift(np.asarray(found)).reshape(-1)[0]
        if not ball.is_finite():
            raise Unknown
        return ball

    def _several(self, op: str, position: int, entry: int) -> Any:
        linear, node = self._linear, self._linear.nodes[position]
        if op == "concat":
            place = int(np.argsort(linear.concatenated(node))[entry])
            for i in node.inputs:
                if place < linear.nodes[i].numel:
                    return self.value(i, place)
                place -= linear.nodes[i].numel
        if op == "matmul":
            left, right = linear.factors(node, entry)
            pairs = zip(left, right, strict=True)
            return _sum([self.value(node.inputs[0], a) * self.value(node.inputs[1], b) for a, b in pairs])
        members = (linear.line(node) if op == "log_softmax" else linear.members(node))[entry].tolist()
        values = [self.value(node.inputs[0], e) for e in members]
        if op == "sum":
            return _sum(values)
        if op == "amax":
            out = values[0]
            for v in values[1:]:
                out = self._arithmetic.maximum(out, v)
            return out
        out = self._log_sum_exp(values)
        return out if op == "logsumexp" else self.value(node.inputs[0], entry) - out

    def _log_sum_exp(self, values: Sequence[Any]) -> Any:
        """x_0 + log(1 + sum e^(x_k - x_0))."""
        unary = self._arithmetic.unary
        one = self._arithmetic.constant(arb(1))
        rest = [unary("exp", {}, v - values[0]) for v in values[1:]]
        return values[0] if not rest else values[0] + unary("log", {}, _sum([one, *rest]))


def _sum(values: Sequence[Any]) -> Any:
    out = values[0]
    for v in values[1:]:
        out = out + v
    return out
