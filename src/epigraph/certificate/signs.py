"""Which nodes of a program have a value whatever their operands are, by their signs: zero times such a node is zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import numpy as np

from epigraph.certificate.graph import Node

ANY, NONNEGATIVE, POSITIVE = -1, 0, 1

#: Operators with a real value for all real operands, and no sign worth following.
TOTAL = frozenset("neg log_softmax logsumexp log_ndtr sin cos piecewise".split())
ALWAYS_POSITIVE = frozenset({"exp", "sigmoid", "softplus"})
#: Increasing with f(0) = 0: what is not negative stays so, and a positive value may round to nothing.
THROUGH_ZERO = frozenset("tanh erf atan silu gelu mish elu sign floor".split())
MOVES = frozenset("reshape permute expand slice take same amax".split())


@final
class Signs:
    """For each node, in the order in which they are added: has it a value at all points, and is it >= 0 or > 0?"""

    def __init__(self) -> None:
        self.defined: set[int] = set()
        self._least: dict[int, int] = {}

    def leaf(self, new: int, values: np.ndarray | None) -> None:
        """A finite leaf; ``values`` where it is the same at all points."""
        self.defined.add(new)
        if values is not None and values.size:
            least = values.min()
            self._least[new] = POSITIVE if least > 0 else NONNEGATIVE if least >= 0 else ANY

    def of(self, new: int) -> int:
        return self._least.get(new, ANY)

    def add(self, new: int, node: Node, nodes: Sequence[Node], constants: Mapping[int, np.ndarray]) -> None:
        """A node whose inputs are positions in ``nodes``; ``constants`` gives the leaves that do not move."""
        if not all(i in self.defined for i in node.operands):
            return
        signs = [self.of(i) if 0 not in nodes[i].shape else ANY for i in node.operands]
        found = self._unary(node, signs[0]) if len(signs) == 1 else self._joined(node, signs)
        if found is None:
            return
        self.defined.add(new)
        if node.op == "sum" and found == NONNEGATIVE and self._masked(node, nodes, constants):
            found = POSITIVE
        self._least[new] = found

    def _unary(self, node: Node, sign: int) -> int | None:
        """The sign of f(x), or None where f(x) may have no value."""
        if node.op in TOTAL:
            return ANY
        if node.op in ALWAYS_POSITIVE:
            return POSITIVE
        if node.op in ("relu", "abs"):
            return max(sign, NONNEGATIVE)
        if node.op in THROUGH_ZERO:
            return min(sign, NONNEGATIVE)
        if node.op in MOVES or node.op == "concat":
            return sign
        if node.op == "sum":
            return sign
        if node.op == "sqrt":
            return sign if sign >= NONNEGATIVE else None
        if node.op in ("log", "xlogx"):
            return ANY if sign == POSITIVE else None
        return self._power(node, sign) if node.op == "power" else None

    @staticmethod
    def _power(node: Node, sign: int) -> int | None:
        exponent = node.attributes["exponent"]
        if exponent.q == 1 and exponent >= 0:
            return max(sign, NONNEGATIVE) if int(exponent.p) % 2 == 0 else sign
        return POSITIVE if sign == POSITIVE else None

    def _joined(self, node: Node, signs: Sequence[int]) -> int | None:
        if node.op == "add":
            return max(signs) if min(signs) >= NONNEGATIVE else ANY
        if node.op == "maximum":
            return max(signs)
        if node.op == "mul":
            return max(signs[0], NONNEGATIVE) if len(set(node.inputs)) == 1 else min(signs)
        if node.op == "div":
            return min(signs) if signs[1] == POSITIVE else None
        if node.op in ("matmul", "convolution"):
            return min(*signs, NONNEGATIVE)
        if node.op == "concat":
            return min(signs)
        return NONNEGATIVE if node.op == "compare" else None

    def _masked(self, node: Node, nodes: Sequence[Node], constants: Mapping[int, np.ndarray]) -> bool:
        """Is it a sum of positive terms times a constant mask with a positive entry in every sum?"""
        product = nodes[node.inputs[0]]
        if product.op != "mul":
            return False
        for term, mask in (product.inputs, product.inputs[::-1]):
            if self.of(term) == POSITIVE and self.of(mask) >= NONNEGATIVE and mask in constants:
                wide = np.broadcast_to(constants[mask], product.shape)
                return bool((wide.max(axis=tuple(node.attributes["dims"])) > 0).all())
        return False
