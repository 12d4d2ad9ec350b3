"""The gradient of J as a graph of its own: the adjoint of every node, written in the operators of J and four more.

==============  =================================================================================================
``derivative``  f' of an elementwise operator f at its operand; attributes ``op`` and ``of``, the attributes of f
``put``         the transpose of ``take``: row k is added to row index[k] of zeros
``pad``         the transpose of ``slice``: entries spread out over zeros
``greatest``    1 at the greatest entry along some dimensions, 0 elsewhere
==============  =================================================================================================

Sums and products have operands of equal shapes here; quotients, maxima, convolutions and log-softmax are written by others.
Locally constant operators have no adjoint: whoever evaluates the graph must see that they are constant where it is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from flint import fmpq

from epigraph.certificate.graph import Node, Program, Shape

STEPS = frozenset(("sign", "floor", "compare", "greatest"))
UNKNOWN = frozenset(("sort", "eigvalsh", "svdvals", "det"))  # operators that are not differentiated here
ELEMENTWISE = frozenset(
    "exp log sqrt abs relu sigmoid tanh softplus erf log_ndtr sin cos atan xlogx silu gelu mish power elu piecewise".split()
)


class NoGradient(Exception):
    """Why the gradient is not written, or not known: an operator, a kink, the end of a domain."""


@final
@dataclass(frozen=True)
class Gradient:
    """The nodes in order; where J is among them, and where its gradient in each tensor is (none: it is zero).

    ``constants`` are index tensors that the file does not have; ``shares`` the softmax of each ``logsumexp``.
    """

    nodes: tuple[Node, ...]
    value: int
    slopes: Mapping[str, int]
    constants: Mapping[Any, np.ndarray]
    shares: Mapping[int, int]
    varies: tuple[bool, ...]


def gradient(program: Program, active: set[str]) -> Gradient:
    """The graph of J and of its gradient in the tensors ``active``.

    Raises:
        NoGradient: an operator that is not differentiated here.
    """
    return _Writer(program, active).run()


@final
class _Writer:
    def __init__(self, program: Program, active: set[str]):
        self.program, self.active = program, active
        self.nodes: list[Node] = []
        self.varies: list[bool] = []
        self.known: dict[Any, int] = {}
        self.constants: dict[Any, np.ndarray] = {}
        self.shares: dict[int, int] = {}
        self.label = ""

    def run(self) -> Gradient:
        place: dict[int, int] = {}
        for position in self.program.live:
            node = self.program.nodes[position]
            self.label = node.label
            place[position] = self._forward(node, [place[i] for i in node.operands])
        value = place[self.program.output]
        slopes = self._backward(value)
        return Gradient(tuple(self.nodes), value, slopes, self.constants, self.shares, tuple(self.varies))

    # building blocks --------------------------------------------------------------------------------------------------
    def _add(self, op: str, inputs: Sequence[int], shape: Shape, /, **attributes: Any) -> int:
        """A node, or the one that is there already."""
        key = (op, tuple(inputs), tuple(shape), repr(sorted(attributes.items())))
        if key not in self.known:
            self.known[key] = len(self.nodes)
            self.nodes.append(Node(op, tuple(inputs), attributes, tuple(shape), self.label))
            leaf = op == "parameter" and attributes["tensor"] in self.active
            constant = op in STEPS
            self.varies.append(leaf or (not constant and any(self.varies[i] for i in inputs)))
        return self.known[key]

    def shape(self, i: int) -> Shape:
        return self.nodes[i].shape

    def reshaped(self, i: int, shape: Sequence[int]) -> int:
        return i if self.shape(i) == tuple(shape) else self._add("reshape", [i], tuple(shape), shape=tuple(shape))

    def expanded(self, i: int, shape: Shape) -> int:
        full = self.reshaped(i, (1,) * (len(shape) - len(self.shape(i))) + self.shape(i))
        return full if self.shape(full) == shape else self._add("expand", [full], shape, shape=shape)

    def repeated(self, i: int, dims: Sequence[int], shape: Shape) -> int:
        """What a reduction over ``dims`` dropped is put back and repeated."""
        return self.expanded(self.reshaped(i, [1 if d in dims else n for d, n in enumerate(shape)]), shape)

    def scalar(self, value: int, shape: Shape) -> int:
        return self.expanded(self._add("constant", [], (), value=fmpq(value)), shape)

    def plus(self, x: int, y: int) -> int:
        return self._add("add", [x, y], self.shape(x))

    def minus(self, x: int, y: int) -> int:
        return self.plus(x, self._add("neg", [y], self.shape(y)))

    def times(self, x: int, y: int) -> int:
        return self._add("mul", [x, y], self.shape(x))

    def chosen(self, c: int, x: int, y: int) -> int:
        return self._add("where", [c, x, y], self.shape(x))

    def turned(self, i: int) -> int:
        *lead, rows, columns = self.shape(i)
        dims = (*range(len(lead)), len(lead) + 1, len(lead))
        return self._add("permute", [i], (*lead, columns, rows), dims=dims)

    def matmul(self, x: int, y: int) -> int:
        return self._add("matmul", [x, y], (*self.shape(x)[:-1], self.shape(y)[-1]))

    def taken(self, i: int, index: np.ndarray, dim: int) -> int:
        key = ("index", len(self.nodes))  # no key of a file is a tuple
        self.constants[key] = index
        chosen = self._add("constant", [], index.shape, tensor=key)
        shape = self.shape(i)
        return self._add("take", [i, chosen], (*shape[:dim], len(index), *shape[dim + 1 :]), dim=dim)

    # forward ----------------------------------------------------------------------------------------------------------
    def _forward(self, node: Node, x: list[int]) -> int:
        if node.op in UNKNOWN and any(self.varies[i] for i in x):
            raise NoGradient(f"{node.label} is not differentiated")
        rule = getattr(self, f"_on_{node.op}", None)
        if rule is not None:
            return rule(node, x)
        return self._add(node.op, x, node.shape, **node.attributes)

    def _on_same(self, node: Node, x: list[int]) -> int:
        return x[0]

    def _on_broadcast(self, node: Node, x: list[int]) -> int:
        return self._add(node.op, [self.expanded(i, node.shape) for i in x], node.shape, **node.attributes)

    _on_add = _on_mul = _on_where = _on_compare = _on_broadcast

    def _on_expand(self, node: Node, x: list[int]) -> int:
        return self.expanded(x[0], node.shape)

    def _on_reshape(self, node: Node, x: list[int]) -> int:
        return self.reshaped(x[0], node.shape)

    def _on_take(self, node: Node, x: list[int]) -> int:
        index = self.program.nodes[node.inputs[1]]
        chosen = self._add("constant", [], index.shape, **index.attributes)
        return self._add("take", [x[0], chosen], node.shape, **node.attributes)

    def _on_div(self, node: Node, x: list[int]) -> int:
        inverse = self._add("power", [x[1]], self.shape(x[1]), exponent=fmpq(-1))
        return self.times(self.expanded(x[0], node.shape), self.expanded(inverse, node.shape))

    def _on_maximum(self, node: Node, x: list[int]) -> int:
        a, b = (self.expanded(i, node.shape) for i in x)
        return self.chosen(self._add("compare", [b, a], node.shape, relation="lt"), a, b)

    def _on_amax(self, node: Node, x: list[int]) -> int:
        shape = self.shape(x[0])
        mask = self._add("greatest", x, shape, dims=node.attributes["dims"])
        kept = self.chosen(mask, x[0], self.scalar(0, shape))
        return self._add("sum", [kept], node.shape, dims=node.attributes["dims"])

    def _on_matmul(self, node: Node, x: list[int]) -> int:
        lead = node.shape[:-2]
        return self.matmul(*(self.expanded(i, (*lead, *self.shape(i)[-2:])) for i in x))

    def _on_logsumexp(self, node: Node, x: list[int]) -> int:
        dims, shape = node.attributes["dims"], self.shape(x[0])
        found = self._add("logsumexp", x, node.shape, dims=dims)
        rest = self.minus(x[0], self.repeated(found, dims, shape))
        self.shares[found] = self._add("exp", [rest], shape)
        return found

    def _on_log_softmax(self, node: Node, x: list[int]) -> int:
        dims = (node.attributes["dim"],)
        short = tuple(n for d, n in enumerate(node.shape) if d not in dims)
        total = self._on_logsumexp(Node("logsumexp", (), {"dims": dims}, short, node.label), x)
        return self.minus(x[0], self.repeated(total, dims, node.shape))

    def _on_convolution(self, node: Node, x: list[int]) -> int:
        """Windows of the padded input, as rows that a constant index takes, times the weights of each group."""
        a, (source, weight) = node.attributes, x
        (batch, channels, *space), (out, _, *kernel) = self.shape(source), self.shape(weight)
        groups, results = a["groups"], node.shape[2:]
        index = _windows(space, kernel, results, a)
        cells, taps, places = math.prod(space), math.prod(kernel), math.prod(results)
        flat = self.reshaped(source, (batch, channels, cells))
        padded = self._add("concat", [flat, self.scalar(0, (batch, channels, 1))], (batch, channels, cells + 1), dim=2)
        rows = channels // groups * taps
        columns = self.reshaped(self.taken(padded, index, 2), (batch, groups, rows, places))
        shape = (batch, groups, out // groups, rows)
        weights = self.expanded(self.reshaped(weight, (1, *shape[1:])), shape)
        return self.reshaped(self.matmul(weights, columns), node.shape)

    # backward ---------------------------------------------------------------------------------------------------------
    def _backward(self, value: int) -> dict[str, int]:
        adjoints = {value: self.scalar(1, self.shape(value))}
        slopes = {}
        for position in range(value, -1, -1):
            node, g = self.nodes[position], adjoints.pop(position, None)
            if g is None or not self.varies[position]:
                continue
            self.label = node.label
            if node.op == "parameter":
                slopes[node.attributes["tensor"]] = g
                continue
            for i, make in zip(node.inputs, self._adjoints(node, position, g), strict=False):
                if self.varies[i]:
                    given = make()
                    adjoints[i] = self.plus(adjoints[i], given) if i in adjoints else given
        return slopes

    def _adjoints(self, node: Node, position: int, g: int) -> list[Callable[[], int]]:
        """What the node gives to each operand, made only where it is needed."""
        if node.op in ELEMENTWISE:
            attributes = {"op": node.op, "of": dict(node.attributes)}
            return [lambda: self.times(g, self._add("derivative", node.inputs, node.shape, **attributes))]
        return getattr(self, f"_back_{node.op}")(node, position, g)

    def _back_add(self, node: Node, position: int, g: int) -> list[Callable[[], int]]:
        return [lambda: g, lambda: g]

    def _back_neg(self, node: Node, position: int, g: int) -> list[Callable[[], int]]:
        return [lambda: self._add("neg", [g], node.shape)]

    def _back_mul(self, node: Node, position: int, g: int) -> list[Callable[[], int]]:
        x, y = node.inputs
        return [lambda: self.times(g, y), lambda: self.times(g, x)]

    def _back_matmul(self, node: Node, position: int, g: int) -> list[Callable[[], int]]:
        x, y = node.inputs
        return [lambda: self.matmul(g, self.turned(y)), lambda: self.matmul(self.turned(x), g)]

    def _back_where(self, node: Node, position: int, g: int) -> list[Callable[[], int]]:
        c, zero = node.inputs[0], self.scalar(0, node.shape)
        return [lambda: zero, lambda: self.chosen(c, g, zero), lambda: self.chosen(c, zero, g)]

    def _back_sum(self, node: Node, position: int, g: int) -> list[Callable[[], int]]:
        return [lambda: self.repeated(g, node.attributes["dims"], self.shape(node.inputs[0]))]

    def _back_logsumexp(self, node: Node, position: int, g: int) -> list[Callable[[], int]]:
        whole = self.repeated(g, node.attributes["dims"], self.shape(node.inputs[0]))
        return [lambda: self.times(whole, self.shares[position])]

    def _back_reshape(self, node: Node, position: int, g: int) -> list[Callable[[], int]]:
        return [lambda: self.reshaped(g, self.shape(node.inputs[0]))]

    def _back_permute(self, node: Node, position: int, g: int) -> list[Callable[[], int]]:
        dims = node.attributes["dims"]
        inverse = tuple(dims.index(d) for d in range(len(dims)))
        return [lambda: self._add("permute", [g], self.shape(node.inputs[0]), dims=inverse)]

    def _back_expand(self, node: Node, position: int, g: int) -> list[Callable[[], int]]:
        shape = self.shape(node.inputs[0])
        dims = tuple(d for d, (n, m) in enumerate(zip(shape, node.shape, strict=True)) if n != m)
        short = tuple(n for d, n in enumerate(node.shape) if d not in dims)
        return [lambda: self.reshaped(self._add("sum", [g], short, dims=dims), shape)]

    def _back_slice(self, node: Node, position: int, g: int) -> list[Callable[[], int]]:
        return [lambda: self._add("pad", [g], self.shape(node.inputs[0]), **node.attributes)]

    def _back_take(self, node: Node, position: int, g: int) -> list[Callable[[], int]]:
        inputs = [g, node.inputs[1]]
        return [lambda: self._add("put", inputs, self.shape(node.inputs[0]), dim=node.attributes["dim"])]

    def _back_concat(self, node: Node, position: int, g: int) -> list[Callable[[], int]]:
        dim, start, out = node.attributes["dim"], 0, []
        for i in node.inputs:
            shape = self.shape(i)
            cut = {"dim": dim, "start": start, "stop": start + shape[dim], "step": 1}
            out.append(lambda shape=shape, cut=cut: self._add("slice", [g], shape, **cut))
            start += shape[dim]
        return out


def _windows(space: Sequence[int], kernel: Sequence[int], results: Sequence[int], a: Mapping[str, Any]) -> np.ndarray:
    """For each tap and each result, the flat index of the input's entry; one past the last is a padded zero."""
    rank = len(space)
    flat, inside = np.zeros((1,) * (2 * rank), np.int64), np.ones((1,) * (2 * rank), bool)
    for d, (size, taps, places) in enumerate(zip(space, kernel, results, strict=True)):
        steps = np.arange(places) * a["stride"][d] - a["padding"][d]
        at = np.arange(taps)[:, None] * a["dilation"][d] + steps
        at = at.reshape([n if k in (d, rank + d) else 1 for k, n in enumerate((*kernel, *results))])
        flat, inside = flat * size + at, inside & (at >= 0) & (at < size)
    return np.where(inside, flat, math.prod(space)).reshape(-1)
