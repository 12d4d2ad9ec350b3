r"""What the curvature lemma reads off a graph: constants, linear maps, and nodes that are functions of one affine entry.

``Linear`` walks through the graph once.  Of each node it finds whether it depends on the active parameters, the index
map of operators that only move entries, the linear part of affine nodes, and the carrier: an affine node z and for each
entry e an index i(e) such that entry e is a function of z[i(e)] alone, or of nothing (-1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, final

import numpy as np
from flint import arb, ctx

from epigraph.certificate import affine, layout
from epigraph.certificate.affine import Numbers, Rows, Unsuited
from epigraph.certificate.balls import Balls, lift
from epigraph.certificate.graph import Node, Program
from epigraph.certificate.kernel_same import equal_operands

PRECISION = 128
CONSTANT_LIMIT = 200_000
BOX = tuple[Any, Any]
UNARY = frozenset(
    "neg exp log sqrt abs relu sigmoid tanh softplus erf log_ndtr sin cos atan xlogx silu gelu mish elu piecewise sign "
    "power".split()
)
BROADCAST = frozenset(("add", "mul", "div", "maximum", "where", "compare"))
MOVING = frozenset(("reshape", "permute", "expand", "slice", "take", "concat", "same"))
REDUCING = frozenset(("sum", "amax", "logsumexp"))


class Carrier(NamedTuple):
    """An affine node, and for each entry the index of its entry there, -1 where the entry is constant."""

    base: int
    index: np.ndarray


@final
class Linear:
    """The facts about one program for a choice of active parameters; ``domain`` has closed boxes by name."""

    def __init__(
        self, program: Program, tensors: Mapping[str, np.ndarray], active: Sequence[str], domain: Mapping[str, BOX]
    ):
        self.program, self.tensors, self.domain = program, tensors, domain
        self.nodes = program.nodes
        self.offsets: dict[str, int] = {}
        self.size = 0
        for node in self.nodes:
            if node.op == "parameter" and node.attributes["name"] in active:
                self.offsets[node.attributes["name"]] = self.size
                self.size += node.numel
        self.forms = {
            p: tuple(n.inputs[k] for k in equal_operands(program, n, tensors))
            for p, n in enumerate(self.nodes)
            if n.op == "same"
        }
        self.varies = self._dependence()
        self.live = self._needed()
        self._constants: dict[int, np.ndarray] = {}
        self._rows: dict[int, Rows | None] = {}
        self._carriers: dict[int, Carrier | None] = {}

    def _dependence(self) -> list[bool]:
        found: list[bool] = []
        for node in self.nodes:
            own = node.op == "parameter" and node.attributes["name"] in self.offsets
            found.append(own or any(found[i] for i in node.inputs))
        return found

    def _needed(self) -> set[int]:
        needed = {self.program.output}
        for p in range(self.program.output, -1, -1):
            if p in needed:
                needed.update(self.forms.get(p, self.nodes[p].inputs))
        return needed

    # constants ---------------------------------------------------------------------------------------------------
    def constant(self, position: int) -> np.ndarray:
        """The values of a node that does not vary: floats, or balls; not finite where they are not known."""
        if position not in self._constants:
            node = self.nodes[position]
            engine = Balls(self.program, self.tensors)
            if "value" in node.attributes:
                found = engine.scalar(node.attributes["value"])
            elif node.op == "constant":
                found = self.tensors[node.attributes["tensor"]]
            elif node.op == "parameter":
                found = self._held(node)
            else:
                if node.numel > CONSTANT_LIMIT and node.op not in layout.LAYOUT:
                    raise Unsuited
                with ctx.workprec(PRECISION):
                    found = engine.apply(node, [self.constant(i) for i in node.operands])
            self._constants[position] = found
        return self._constants[position]

    def _held(self, node: Node) -> np.ndarray:
        """A parameter that is held at any value of its box."""
        pair = self.domain.get(node.attributes["name"], (-math.inf, math.inf))
        low, high = (np.broadcast_to(np.asarray(s, np.float64), node.shape).reshape(-1) for s in pair)
        out = np.empty(node.numel, dtype=object)
        for k, (a, b) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
            out[k] = arb(a).union(arb(b)) if math.isfinite(a) and math.isfinite(b) else arb("nan")
        return out.reshape(node.shape)

    def numbers(self, position: int) -> Numbers:
        """A constant as floats with radii; raises ``Unsuited`` where it is not known."""
        value = self.constant(position)
        if value.dtype != object:
            middle = value.reshape(-1).astype(np.float64)
            if value.dtype.kind in "iu" and not np.array_equal(middle.astype(value.dtype), value.reshape(-1)):
                raise Unsuited
            if not bool(np.isfinite(middle).all()):
                raise Unsuited
            return Numbers(middle)
        balls = value.reshape(-1).tolist()
        if not all(b.is_finite() for b in balls):
            raise Unsuited
        middle = np.array([float(b.mid()) for b in balls], dtype=np.float64)
        if not bool(np.isfinite(middle).all()):
            raise Unsuited
        with ctx.workprec(PRECISION):
            gaps = [b - arb(m) for b, m in zip(balls, middle.tolist(), strict=True)]
            far = np.array([float(g.abs_upper()) for g in gaps], dtype=np.float64)
        radius = np.where([not g.is_zero() for g in gaps], np.nextafter(far, np.inf), 0.0)  # gaps may underflow
        return Numbers(middle, radius if radius.any() else None)

    # index maps -----------------------------------------------------------------------------------------------------
    def moved(self, node: Node, array: np.ndarray, operand: int) -> np.ndarray:
        """A flat array over an operand's entries, as a flat array over the node's (no reductions, no products)."""
        shaped = array.reshape(self.nodes[operand].shape)
        if node.op == "take":
            return layout.take(self.program, node, shaped, self.tensors).reshape(-1)
        if node.op in layout.LAYOUT:
            return layout.arrange(node, shaped).reshape(-1)
        return np.broadcast_to(shaped, node.shape).reshape(-1)

    def index(self, node: Node, operand: int) -> np.ndarray:
        return self.moved(node, np.arange(self.nodes[operand].numel), operand)

    # linear parts -----------------------------------------------------------------------------------------------------
    def rows(self, position: int) -> Rows | None:
        """The linear part of an affine node, None for any other."""
        if position not in self._rows:
            node = self.nodes[position]
            self._rows[position] = affine.empty(node.numel) if not self.varies[position] else self._linear(position)
        return self._rows[position]

    def _linear(self, position: int) -> Rows | None:
        node = self.nodes[position]
        if node.op == "parameter":
            return affine.identity(node.numel, self.offsets[node.attributes["name"]])
        if node.op == "same":
            return next((r for i in self.forms[position] if (r := self.rows(i)) is not None), None)
        inputs = node.inputs[:1] if node.op == "take" else node.inputs
        if node.op in ("mul", "matmul", "div"):
            return self._scaled(node)
        if node.op not in MOVING and node.op not in ("add", "neg", "sum"):
            return None
        parts = [self.rows(i) for i in inputs]
        if any(p is None for p in parts):
            return None
        found: list[Rows] = [p for p in parts if p is not None]
        if node.op == "neg":
            return -found[0]
        if node.op == "sum":
            return affine.summed(found[0], self.reduced(node), node.numel)
        if node.op == "concat":
            return affine.stacked(found).take(np.argsort(self.concatenated(node), kind="stable"))
        moved = [p.take(self.index(node, i)) for p, i in zip(found, inputs, strict=True)]
        return moved[0] if len(moved) == 1 else affine.added(moved)

    def _scaled(self, node: Node) -> Rows | None:
        """A product with a constant factor, or a quotient by one."""
        x, y = node.inputs
        first = self.varies[x]
        if first and self.varies[y]:
            return None
        varying, other = (x, y) if first else (y, x)
        own = self.rows(varying)
        if own is None or (node.op == "div" and not first):
            return None
        if node.op == "matmul":
            return affine.product(own, self.pairs(node, varying, other), self.numbers(other), node.numel)
        factors = self.reciprocals(other) if node.op == "div" else self.numbers(other)
        return own.take(self.index(node, varying)).scaled(factors.take(self.index(node, other)))

    def pairs(self, node: Node, operand: int, other: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The terms of a matrix product, from the side of one operand."""
        shapes = self.nodes[operand].shape, self.nodes[other].shape
        return affine.pairs(*shapes, node.shape, node.inputs[0] == operand)

    def reciprocals(self, position: int) -> Numbers:
        value = lift(self.constant(position)).reshape(-1)
        with ctx.workprec(PRECISION):
            out = np.empty(value.size, dtype=object)
            out[:] = [1 / v if v > 0 or v < 0 else arb("nan") for v in value]
        self._constants[-1 - position] = out
        return self.numbers(-1 - position)

    def reduced(self, node: Node) -> np.ndarray:
        """For each entry of the operand the entry of the reduction to which it belongs."""
        shape = self.nodes[node.inputs[0]].shape
        kept = tuple(1 if d in node.attributes["dims"] else s for d, s in enumerate(shape))
        return np.broadcast_to(np.arange(node.numel).reshape(kept), shape).reshape(-1)

    def concatenated(self, node: Node) -> np.ndarray:
        """For each entry of the operands, one operand after the other, its place in the result."""
        shapes = [self.nodes[i].shape for i in node.inputs]
        whole = np.arange(node.numel).reshape(node.shape)
        cuts = np.cumsum([s[node.attributes["dim"]] for s in shapes])[:-1]
        return np.concatenate([p.reshape(-1) for p in np.split(whole, cuts, axis=node.attributes["dim"])])

    # carriers -----------------------------------------------------------------------------------------------------------
    def carrier(self, position: int) -> Carrier | None:
        """The carrier of a node that varies; affine nodes without one carry themselves."""
        if position not in self._carriers:
            found = self._carried(position)
            if found is None and self._structurally_affine[position]:
                found = Carrier(position, np.arange(self.nodes[position].numel))
            self._carriers[position] = found
        return self._carriers[position]

    def affine(self, position: int) -> bool:
        """Is the node affine by its structure?"""
        return self._structurally_affine[position]

    @cached_property
    def _structurally_affine(self) -> list[bool]:
        found: list[bool] = []
        for p, node in enumerate(self.nodes):
            inputs = node.inputs[:1] if node.op == "take" else node.inputs
            varying = [i for i in inputs if self.varies[i]]
            if not self.varies[p]:
                found.append(True)
            elif node.op == "same":
                found.append(any(found[i] for i in self.forms[p]))
            elif node.op in ("mul", "matmul"):
                found.append(len(varying) == 1 and found[varying[0]])
            elif node.op == "div":
                found.append(not self.varies[node.inputs[1]] and found[node.inputs[0]])
            else:
                found.append(
                    node.op == "parameter"
                    or ((node.op in MOVING or node.op in ("add", "neg", "sum")) and all(found[i] for i in varying))
                )
        return found

    def _carried(self, position: int) -> Carrier | None:
        node = self.nodes[position]
        if node.op == "same":
            known = [self.carrier(i) for i in self.forms[position]]
            return next((c for c in known if c is not None), None)
        if node.op == "matmul":
            return self._single(node)
        if node.op in REDUCING:
            return self._grouped(node.inputs[0], self.members(node))
        if node.op == "log_softmax":
            return self._grouped(node.inputs[0], self.line(node))
        if node.op not in UNARY and node.op not in BROADCAST and node.op not in MOVING:
            return None
        if node.op == "concat":
            base, parts = self._common(node.inputs)
            return None if base is None else Carrier(base, np.concatenate(parts)[np.argsort(self.concatenated(node))])
        inputs = node.inputs[:1] if node.op == "take" else node.inputs
        base, parts = self._common(inputs)
        if base is None:
            return None
        return _merged(base, [self.moved(node, p, i) for p, i in zip(parts, inputs, strict=True)])

    def _common(self, inputs: Sequence[int]) -> tuple[int | None, list[np.ndarray]]:
        """The one base of all operands that vary, and the index maps of all operands."""
        base, parts = None, []
        for i in inputs:
            if not self.varies[i]:
                parts.append(np.full(self.nodes[i].numel, -1))
                continue
            found = self.carrier(i)
            if found is None or base not in (None, found.base):
                return None, []
            base = found.base
            parts.append(found.index)
        return base, parts

    def _grouped(self, operand: int, members: np.ndarray) -> Carrier | None:
        """Entries that are functions of several entries of the operand: all must have one index."""
        found = self.carrier(operand)
        if found is None or members.shape[1] == 0:  # nothing is reduced
            return None
        return _merged(found.base, list(found.index[members].T))

    def _single(self, node: Node) -> Carrier | None:
        """A matrix product of functions of one single entry."""
        base, parts = self._common(node.inputs)
        if base is None:
            return None
        used = np.unique(np.concatenate(parts))
        used = used[used >= 0]
        return Carrier(base, np.full(node.numel, used[0])) if len(used) == 1 else None

    def members(self, node: Node) -> np.ndarray:
        """For each entry of a reduction the entries that it reduces: shape [entries, count]."""
        entries = np.arange(self.nodes[node.inputs[0]].numel).reshape(self.nodes[node.inputs[0]].shape)
        count = math.prod(self.nodes[node.inputs[0]].shape[d] for d in node.attributes["dims"])
        return layout.rows(entries, node.attributes["dims"]).reshape(node.numel, count)

    def line(self, node: Node) -> np.ndarray:
        """For each entry of log_softmax the entries of its line."""
        entries = np.arange(node.numel).reshape(node.shape)
        moved = np.moveaxis(entries, node.attributes["dim"], -1)
        wide = np.broadcast_to(moved[..., None, :], (*moved.shape, moved.shape[-1]))
        return np.moveaxis(wide, -2, node.attributes["dim"]).reshape(node.numel, -1)

    def factors(self, node: Node, entry: int) -> tuple[list[int], list[int]]:
        """The entries of the row and of the column that make one entry of a matrix product."""
        *batch, i, k = np.unravel_index(entry, node.shape)
        a, b = (
            np.broadcast_to(
                np.arange(self.nodes[p].numel).reshape(self.nodes[p].shape),
                (*node.shape[:-2], *self.nodes[p].shape[-2:]),
            )
            for p in node.inputs
        )
        return a[(*batch, i)].tolist(), b[tuple(batch)][:, k].tolist()


def _merged(base: int, parts: Sequence[np.ndarray]) -> Carrier | None:
    """Index maps of several operands as one, where they agree wherever both depend on something."""
    out = parts[0]
    for part in parts[1:]:
        if bool(np.any((out >= 0) & (part >= 0) & (out != part))):
            return None
        out = np.maximum(out, part)
    return Carrier(base, out)
