"""The same function with every tensor stored once along the dimensions over which it is constant.

A weight that is zero everywhere, a bias spread over an image, a mean over equal numbers: evaluated entry by entry they
cost as much as any other tensor.  ``compact`` rewrites a program into one whose nodes have size 1 along such
dimensions; each new node, broadcast to the old shape, is the old node.  Evaluators, schedules and estimates of cost
then run on the new program, and what is constant costs one entry.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from flint import fmpq

from epigraph.certificate.graph import Node, Program, Shape
from epigraph.certificate.points import Delta
from epigraph.certificate.signs import Signs

#: Operators that map zero operands to zero.
KEEPS_ZERO = frozenset(
    "add neg maximum sum amax reshape permute expand slice concat take abs relu sqrt tanh erf sin atan silu gelu mish elu "
    "sign floor same".split()
)
ENTRYWISE = frozenset(
    "add neg mul div maximum where compare power exp log sqrt abs relu sigmoid tanh softplus erf log_ndtr sin cos atan xlogx "
    "silu gelu mish elu piecewise sign floor".split()
)
Point = Mapping[str, Delta]
Compacted = tuple[Program, dict[str, np.ndarray], list[Point]]


def compact(program: Program, tensors: Mapping[str, np.ndarray], points: Sequence[Point]) -> Compacted:
    """A program of equal value at all points, with its tensors and displacements; costs a pass over the data."""
    return _Compactor(program, tensors, points).run()


class _Compactor:
    """One rewriting: new nodes as they are made, and where each old node has gone."""

    def __init__(self, program: Program, tensors: Mapping[str, np.ndarray], points: Sequence[Point]):
        self.program, self.tensors, self.points = program, tensors, points
        self.nodes: list[Node] = []
        self.at: dict[int, int] = {}
        self.zero: set[int] = set()  # new nodes that are zero everywhere
        self.signs = Signs()
        self.constants: dict[int, np.ndarray] = {}  # new leaves that do not move
        self.cores: dict[str, np.ndarray] = {}
        self.moves: list[dict[str, Delta]] = [{} for _ in points]
        self._zeros: dict[int, int] = {}

    def run(self) -> Compacted:
        for position in self.program.live:
            self.at[position] = self._rewrite(self.program.nodes[position])
        nodes, output = tuple(self.nodes), self.at[self.program.output]
        return Program(nodes, output, _live(nodes, output)), self.cores, list(self.moves)

    # making nodes ---------------------------------------------------------------------------------------------
    def shape(self, new: int) -> Shape:
        return self.nodes[new].shape

    def emit(self, node: Node, op: str, inputs: tuple[int, ...], size: Sequence[int], **attributes: object) -> int:
        """A new node in the place of an old one, whose attributes it takes over unless others are given."""
        made = replace(node, op=op, inputs=inputs, attributes=attributes or node.attributes, shape=tuple(size))
        self.nodes.append(made)
        new = len(self.nodes) - 1
        if inputs:
            self.signs.add(new, made, self.nodes, self.constants)
        return new

    def _zero(self, node: Node) -> int:
        """The number zero with one dimension of size 1 for each dimension of the old node."""
        rank = len(node.shape)
        if rank not in self._zeros:
            new = self._scalar(node, 0)
            self._zeros[rank] = self.emit(node, "reshape", (new,), (1,) * rank, shape=(1,) * rank) if rank else new
            self.zero.add(self._zeros[rank])
        return self._zeros[rank]

    def _scalar(self, node: Node, value: int) -> int:
        new = self.emit(node, "constant", (), (), value=fmpq(value))
        self.signs.leaf(new, np.array(value))
        return new

    def _times(self, node: Node, new: int, factor: int) -> int:
        return new if factor == 1 else self.emit(node, "mul", (self._scalar(node, factor), new), self.shape(new))

    def full(self, node: Node, new: int, sizes: Mapping[int, int]) -> int:
        """The node with some dimensions brought to their old sizes."""
        wanted = tuple(sizes.get(d, n) for d, n in enumerate(self.shape(new)))
        return new if wanted == self.shape(new) else self.emit(node, "expand", (new,), wanted, shape=wanted)

    # old nodes ------------------------------------------------------------------------------------------------
    def _rewrite(self, node: Node) -> int:
        inputs = tuple(self.at[i] for i in node.operands)
        if not inputs:
            return self._leaf(node)
        if self._vanishes(node, inputs) and 0 not in node.shape:
            return self._zero(node)
        if node.op in ENTRYWISE:
            return self.emit(node, node.op, inputs, np.broadcast_shapes(*(self.shape(i) for i in inputs)))
        rule = getattr(self, f"_{node.op}", None)
        if rule is not None:
            return rule(node, *inputs)
        old = [dict(enumerate(self.program.nodes[i].shape)) for i in node.operands]
        return self.emit(
            node, node.op, tuple(self.full(node, i, s) for i, s in zip(inputs, old, strict=True)), node.shape
        )

    def _vanishes(self, node: Node, inputs: tuple[int, ...]) -> bool:
        """Is the value zero because an operand is, every other operand having a value?"""
        if node.op in KEEPS_ZERO:
            return all(i in self.zero for i in inputs)
        product = node.op in ("mul", "matmul", "convolution")
        return product and any(i in self.zero for i in inputs) and all(i in self.signs.defined for i in inputs)

    def _leaf(self, node: Node) -> int:
        if "value" in node.attributes:
            new = self.emit(node, node.op, (), ())
            value = node.attributes["value"]
            self.signs.leaf(new, np.array((value > 0) - (value < 0)))
            if value == 0:
                self.zero.add(new)
            return new
        key = node.attributes["tensor"]
        if key not in self.cores:
            self._store(key)
        core = self.cores[key]
        moving = any(key in move for move in self.moves)
        if not moving and core.size == 1 and core.reshape(-1)[0] == 0:
            return self._zero(node)
        new = self.emit(node, node.op, (), core.shape)
        self.signs.leaf(new, None if moving else core)
        if not moving:
            self.constants[new] = core
        return new

    def _store(self, key: str) -> None:
        """The tensor and its displacements, with size 1 along the dimensions over which all of them are constant."""
        moving = [point[key] for point in self.points if key in point]
        arrays = [self.tensors[key], *(d.steps for d in moving)]
        for dim in range(arrays[0].ndim):
            if arrays[0].shape[dim] > 1 and all(_constant_along(a, dim) for a in arrays):
                arrays = [a[(slice(None),) * dim + (slice(0, 1),)] for a in arrays]
        self.cores[key] = arrays[0]
        steps = iter(arrays[1:])
        for point, move in zip(self.points, self.moves, strict=True):
            if key in point:
                move[key] = replace(point[key], steps=next(steps))

    # reductions
    def _sum(self, node: Node, x: int) -> int:
        dims, old = node.attributes["dims"], self._old_shape(node)
        factor = math.prod(old[d] for d in dims if self.shape(x)[d] == 1)
        return self._times(node, self.emit(node, "sum", (x,), self._dropped(x, dims)), factor)

    def _amax(self, node: Node, x: int) -> int:
        return self.emit(node, "amax", (x,), self._dropped(x, node.attributes["dims"]))

    def _logsumexp(self, node: Node, x: int) -> int:
        dims, old = node.attributes["dims"], self._old_shape(node)
        x = self.full(node, x, {d: old[d] for d in dims})
        return self.emit(node, "logsumexp", (x,), self._dropped(x, dims))

    def _log_softmax(self, node: Node, x: int) -> int:
        dim = node.attributes["dim"]
        x = self.full(node, x, {dim: node.shape[dim]})
        return self.emit(node, "log_softmax", (x,), self.shape(x))

    def _old_shape(self, node: Node, operand: int = 0) -> Shape:
        return self.program.nodes[node.inputs[operand]].shape

    def _dropped(self, x: int, dims: Sequence[int]) -> Shape:
        return tuple(n for d, n in enumerate(self.shape(x)) if d not in dims)

    # layout
    def _same(self, node: Node, x: int) -> int:
        return x

    def _permute(self, node: Node, x: int) -> int:
        return self.emit(node, "permute", (x,), [self.shape(x)[d] for d in node.attributes["dims"]])

    def _expand(self, node: Node, x: int) -> int:
        new = (1,) * (len(node.shape) - len(self.shape(x))) + self.shape(x)
        return x if new == self.shape(x) else self.emit(node, "reshape", (x,), new, shape=new)

    def _slice(self, node: Node, x: int) -> int:
        dim = node.attributes["dim"]
        if self.shape(x)[dim] == 1 and node.shape[dim] > 0:
            return x
        core = self.shape(x)
        return self.emit(node, "slice", (x,), (*core[:dim], node.shape[dim], *core[dim + 1 :]))

    def _take(self, node: Node, x: int) -> int:
        dim, core = node.attributes["dim"], self.shape(x)
        if core[dim] == 1 and node.shape[dim] > 0:
            return x
        index = self.program.nodes[node.inputs[1]]
        key = index.attributes["tensor"]
        self.cores[key] = self.tensors[key]
        inputs = (x, self.emit(index, "constant", (), index.shape))
        return self.emit(node, "take", inputs, (*core[:dim], node.shape[dim], *core[dim + 1 :]))

    def _concat(self, node: Node, *parts: int) -> int:
        dim = node.attributes["dim"]
        shapes = [list(self.shape(p)) for p in parts]
        for shape, i in zip(shapes, node.inputs, strict=True):
            shape[dim] = self.program.nodes[i].shape[dim]
        sides = np.broadcast_shapes(*([*s[:dim], 1, *s[dim + 1 :]] for s in shapes))
        wide = [
            self.full(node, p, dict(enumerate((*sides[:dim], s[dim], *sides[dim + 1 :]))))
            for p, s in zip(parts, shapes, strict=True)
        ]
        return self.emit(node, "concat", tuple(wide), (*sides[:dim], node.shape[dim], *sides[dim + 1 :]))

    def _reshape(self, node: Node, x: int) -> int:
        old, core, new = self._old_shape(node), self.shape(x), list(node.shape)
        if 0 not in old:
            opened: dict[int, int] = {}
            for before, after in _groups(old, node.shape):
                if all(core[d] == 1 for d in before):
                    new[after.start : after.stop] = [1] * len(after)
                else:
                    opened |= {d: old[d] for d in before}
            x = self.full(node, x, opened)
        return self.emit(node, "reshape", (x,), new, shape=tuple(new))

    # products
    def _matmul(self, node: Node, a: int, b: int) -> int:
        inner = self._old_shape(node)[-1]
        left, right = self.shape(a), self.shape(b)
        constant = left[-1] == right[-2] == 1
        if not constant:
            a, b = (
                self.full(node, a, {len(left) - 1: inner}),
                self.full(node, b, {len(right) - 2: inner}),
            )
        lead = np.broadcast_shapes(left[:-2], right[:-2])
        out = self.emit(node, "matmul", (a, b), (*lead, left[-2], right[-1]))
        return self._times(node, out, inner) if constant else out

    def _convolution(self, node: Node, x: int, w: int) -> int:
        old_x, old_w = self._old_shape(node), self._old_shape(node, 1)
        x, w = (self.full(node, v, dict(enumerate(s[2:], 2))) for v, s in ((x, old_x), (w, old_w)))
        groups, channels, factor = node.attributes["groups"], old_w[1], 1
        one_channel, one_filter = self.shape(x)[1] == 1, self.shape(w)[0] == 1
        if groups > 1 and not (one_channel and one_filter):
            x, w = self.full(node, x, {1: old_x[1]}), self.full(node, w, {0: old_w[0], 1: channels})
        else:
            groups = 1  # every group sees the same channels and applies the same filters
            if one_channel and self.shape(w)[1] == 1:
                factor = channels
            else:
                x, w = self.full(node, x, {1: channels}), self.full(node, w, {1: channels})
        shape = (self.shape(x)[0], self.shape(w)[0], *node.shape[2:])
        out = self.emit(node, "convolution", (x, w), shape, **{**node.attributes, "groups": groups})
        return self._times(node, out, factor)


def _constant_along(array: np.ndarray, dim: int) -> bool:
    """Are all entries that differ in one index only equal?  -0 is 0."""
    if array.shape[dim] == 1 or array.strides[dim] == 0:
        return True
    first, last = (array[(slice(None),) * dim + (slice(i, i + 1),)] for i in (0, array.shape[dim] - 1))
    return bool(np.array_equal(first, last)) and bool((array == first).all())


def _groups(old: Shape, new: Shape) -> Iterator[tuple[range, range]]:
    """The least ranges of dimensions that a reshape turns into each other."""
    i = j = 0
    while i < len(old) or j < len(new):
        before, after, p, q = i, j, 1, 1
        if i < len(old):
            p, i = old[i], i + 1
        if j < len(new):
            q, j = new[j], j + 1
        while p != q:
            if p < q:
                p, i = p * old[i], i + 1
            else:
                q, j = q * new[j], j + 1
        yield range(before, i), range(after, j)


def _live(nodes: Sequence[Node], output: int) -> tuple[int, ...]:
    needed = {output}
    for i in range(output, -1, -1):
        if i in needed:
            needed.update(nodes[i].operands)
    return tuple(sorted(needed))
