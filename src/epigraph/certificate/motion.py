r"""Does J stay the same along a linear vector field on its parameters?  Proved by the rules of the graph, in integers.

A generator moves each parameter x by x' = sum_a M_a x + s, with integer matrices M_a that act on its axes and an integer shift s.
What it does to a node is written in the same way: its derivative along the field is

    v' = scale v + sum over axes a of M_a v + s + sum over symbols u of c_u u[labels],

where u are numbers that are not known, each entry of the node having one of them, and c_u integers.  The gradient of J is orthogonal
to the field wherever J is differentiable if v' = 0 at the output.  What no rule can write in this form is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import final

import numpy as np

from epigraph.certificate.graph import Node, Program, Shape
from epigraph.certificate.series import rational

LARGEST = 2**20  # an entry of a matrix or a shift: no integer here comes near 2^63
Parts = Mapping[Hashable, tuple[int, np.ndarray]]  # c_u and the labels, by symbol
Tensors = Mapping[str, np.ndarray]
Move = Callable[[np.ndarray], np.ndarray]


class Moves(Exception):
    """A node of which it is not shown how it moves, or an output that moves."""


@final
@dataclass(frozen=True)
class Motion:
    """How a node moves; matrices have a zero in their first place, so that ``scale`` is unique.

    ``square``: the node is x^2 entry by entry, and x' = M_a x with skew matrices on these axes; nothing else is said.
    """

    scale: int = 0
    axes: Mapping[int, np.ndarray] = field(default_factory=dict)
    shift: np.ndarray | None = None
    parts: Parts = field(default_factory=dict)
    square: frozenset[int] = frozenset()

    @property
    def still(self) -> bool:
        return not (self.scale or self.axes or self.shift is not None or self.parts or self.square)

    @property
    def rescaled(self) -> bool:
        """Is every entry multiplied by a number, and nothing else?"""
        diagonal = all(not np.any(m - np.diag(np.diagonal(m))) for m in self.axes.values())
        return diagonal and self.shift is None and not self.parts


STILL = Motion()
Generator = Mapping[str, Motion]  # by key of the parameter's tensor; what is absent does not move


def motion(
    scale: int, axes: Mapping[int, np.ndarray], shift: np.ndarray | None = None, parts: Parts | None = None
) -> Motion:
    """A motion in its one form."""
    kept = {}
    for t in (*axes.values(), *(() if shift is None else (shift,))):
        if t.size and max(int(t.max()), -int(t.min())) > LARGEST:
            raise Moves("integers that are too large")
    for axis, m in axes.items():
        first = int(m[0, 0]) if m.size else 0
        scale += first
        rest = m - first * np.eye(len(m), dtype=np.int64)
        if rest.any():
            kept[axis] = rest
    if shift is not None and not shift.any():
        shift = None
    return Motion(scale, kept, shift, {u: p for u, p in (parts or {}).items() if p[0]})


def require_still(program: Program, tensors: Tensors, generator: Generator) -> None:
    """Raise ``Moves`` unless J is the same along the field; of ``tensors`` the constants are read."""
    found: dict[int, Motion] = {}
    for position in program.live:
        node = program.nodes[position]
        if node.op == "parameter":
            found[position] = generator.get(node.attributes["tensor"], STILL)
        elif all(found[i].still for i in node.operands):
            found[position] = STILL
        else:
            found[position] = _Rules(program, tensors, node, [found[i] for i in node.operands]).motion()
    if not found[program.output].still:
        raise Moves("J moves")


@final
class _Rules:
    """The motion of one node from those of its operands, not all of which are still."""

    def __init__(self, program: Program, tensors: Tensors, node: Node, x: Sequence[Motion]):
        self.program, self.tensors, self.node, self.x = program, tensors, node, x
        self.shapes = [program.nodes[i].shape for i in node.operands]

    def motion(self) -> Motion:
        rule: Callable[[], Motion] | None = getattr(self, f"_{self.node.op}", None)
        if rule is None or (any(m.square for m in self.x) and self.node.op != "sum"):
            raise self.refused("moves in a way that is not known")
        return rule()

    def refused(self, why: str) -> Moves:
        return Moves(f"{self.node.label}: {why}")

    # sums and products ------------------------------------------------------------------------------------------------
    def wide(self, k: int, target: Shape) -> Motion:
        """The motion of an operand that is broadcast."""
        m, shape = self.x[k], self.shapes[k]
        ahead = len(target) - len(shape)
        if any(shape[axis] != target[ahead + axis] for axis in m.axes):
            raise self.refused("a matrix on an axis that is repeated")
        return moved(m, {axis: ahead + axis for axis in m.axes}, lambda t: np.broadcast_to(t, target))

    def _add(self) -> Motion:
        a, b = (self.wide(k, self.node.shape) for k in (0, 1))
        same = a.scale == b.scale and a.axes.keys() == b.axes.keys()
        if not same or any((a.axes[k] != b.axes[k]).any() for k in a.axes):
            raise self.refused("the operands move differently")
        shift = b.shift if a.shift is None else a.shift if b.shift is None else a.shift + b.shift
        return motion(a.scale, a.axes, shift, self._joined(a.parts, b.parts))

    def _joined(self, a: Parts, b: Parts) -> Parts:
        out = dict(a)
        for symbol, (c, labels) in b.items():
            if symbol in out and not np.array_equal(out[symbol][1], labels):
                raise self.refused("unknown parts that do not match")
            out[symbol] = (c + (out[symbol][0] if symbol in out else 0), labels)
        return out

    def _neg(self) -> Motion:
        (m,) = self.x
        parts = {u: (-c, labels) for u, (c, labels) in m.parts.items()}
        return motion(m.scale, m.axes, None if m.shift is None else -m.shift, parts)

    def _mul(self) -> Motion:
        if self.node.inputs[0] == self.node.inputs[1] and self._turns():
            return Motion(square=frozenset(self.x[0].axes))
        one = next((k for k in (1, 0) if self.x[k].still and all(n == 1 for n in self.shapes[k])), None)
        return self._rescaled(1) if one is None else self._times(one)

    def _times(self, one: int) -> Motion:
        """A factor of one number that is still: what is added is multiplied by it, and no longer known."""
        m, position = self.wide(1 - one, self.node.shape), self.node.inputs[one]
        parts: dict[Hashable, tuple[int, np.ndarray]] = {(u, position): p for u, p in m.parts.items()}
        if m.shift is not None:
            parts[("shift", position)] = (1, m.shift)  # the unknown number of label k is k times the factor
        return motion(m.scale, m.axes, None, parts)

    def _div(self) -> Motion:
        return self._rescaled(-1)

    def _rescaled(self, sign: int) -> Motion:
        a, b = (self.wide(k, self.node.shape) for k in (0, 1))
        if not (a.rescaled and b.rescaled):
            raise self.refused("a product of what is not only rescaled")
        axes = {k: np.asarray(a.axes.get(k, 0) + sign * b.axes.get(k, 0)) for k in a.axes.keys() | b.axes.keys()}
        return motion(a.scale + sign * b.scale, axes)

    def _turns(self) -> bool:
        """x' = M x with skew matrices, one for each axis that moves?"""
        (m, *_) = self.x
        plain = m.shift is None and not m.parts and not m.scale
        return bool(m.axes) and plain and all(not (a + a.T).any() for a in m.axes.values())

    def _power(self) -> Motion:
        (m,), exponent = self.x, Fraction(rational(self.node.attributes["exponent"]))
        if exponent == 2 and self._turns():
            return Motion(square=frozenset(m.axes))
        if not m.rescaled or exponent.denominator != 1 or abs(exponent) > 64:
            raise self.refused("a power of what is not only rescaled")
        return motion(m.scale * int(exponent), {k: a * int(exponent) for k, a in m.axes.items()})

    def _matmul(self) -> Motion:
        r"""(M a + a N')b + a(P b + b Q') = M ab + ab Q' + a (N' + P) b, where N' + P must be a multiple of the identity."""
        shape, rank, inner = self.node.shape, len(self.node.shape), self.shapes[0][-1]
        a, b = (self.wide(k, (*shape[:-2], *self.shapes[k][-2:])) for k in (0, 1))
        scale = 0
        if rank - 1 in a.axes or rank - 2 in b.axes:
            zero = np.zeros((inner, inner), np.int64)
            between = a.axes.get(rank - 1, zero).T + b.axes.get(rank - 2, zero)
            scale = int(between[0, 0])
            if (between - scale * np.eye(inner, dtype=np.int64)).any():
                raise self.refused("the motions of the inner axes do not cancel")
        if any(k < rank - 2 for m in (a, b) for k in m.axes):
            raise self.refused("a motion of leading axes")
        axes = {k: m for k, m in a.axes.items() if k == rank - 2} | {k: m for k, m in b.axes.items() if k == rank - 1}
        parts: dict[Hashable, tuple[int, np.ndarray]] = {}
        for side, m, axis in (("left", a, rank - 2), ("right", b, rank - 1)):
            if m.shift is not None or m.parts:  # the same along an axis: so is the product with the other factor
                if any(not _same(t, axis) for t in _arrays(m)):
                    raise self.refused("a part that is multiplied by a matrix")
                short = tuple(1 if d == axis else n for d, n in enumerate(shape))
                labels = np.arange(int(np.prod(short)), dtype=np.int64).reshape(short)
                parts[(self.node.label, side)] = (1, np.broadcast_to(labels, shape))
        return motion(a.scale + b.scale + scale, axes, None, parts)

    # reductions -------------------------------------------------------------------------------------------------------
    def _sum(self) -> Motion:
        (m,), dims = self.x, self.node.attributes["dims"]
        if m.square:
            if m.square <= set(dims):
                return STILL
            raise self.refused("squares that are not summed over all that turns")
        if any(k in dims for k in m.axes) or m.parts:
            raise self.refused("the summed axes move")
        rest = [d for d in range(len(self.shapes[0])) if d not in dims]
        shift = None if m.shift is None else m.shift.sum(tuple(dims))
        return motion(m.scale, {rest.index(k): v for k, v in m.axes.items()}, shift)

    def _shifted_rows(self, dims: Sequence[int]) -> Motion:
        """The operand, which only has something added that is the same along ``dims``."""
        (m,) = self.x
        if m.scale or m.axes or any(not _same(t, d) for t in _arrays(m) for d in dims):
            raise self.refused("the operand moves by more than a shift of each row")
        return m

    def _logsumexp(self) -> Motion:
        dims = self.node.attributes["dims"]
        first = tuple(0 if d in dims else slice(None) for d in range(len(self.shapes[0])))
        return moved(self._shifted_rows(dims), {}, lambda t: t[(*first, ...)])

    def _log_softmax(self) -> Motion:
        self._shifted_rows([self.node.attributes["dim"]])
        return STILL

    # functions that are homogeneous -----------------------------------------------------------------------------------
    def _relu(self) -> Motion:
        """f(q x) = q f(x) for q > 0, so that f'(x) x = f(x)."""
        if not self.x[0].rescaled:
            raise self.refused("the operand is not only rescaled")
        return self.x[0]

    _abs = _relu

    def _piecewise(self) -> Motion:
        pieces = [[rational(c) for c in p] for p in self.node.attributes["pieces"]]
        bent = any(c for p in pieces for k, c in enumerate(p) if k != 1)
        if bent or any(rational(k) for k in self.node.attributes["knots"]):
            raise self.refused("not homogeneous")
        return self._relu()

    # entries that change places ---------------------------------------------------------------------------------------
    def _same(self) -> Motion:
        return self.x[0]

    def _permute(self) -> Motion:
        dims = self.node.attributes["dims"]
        return moved(self.x[0], {d: k for k, d in enumerate(dims)}, lambda t: t.transpose(dims))

    def _reshape(self) -> Motion:
        """Axes of length one come and go; others that are joined or split may not have matrices."""
        before, after = ([d for d, n in enumerate(s) if n != 1] for s in (self.shapes[0], self.node.shape))
        kept = [self.shapes[0][d] for d in before] == [self.node.shape[d] for d in after]
        if self.x[0].axes and not kept:
            raise self.refused("axes that move are joined or split")
        place = dict(zip(before, after, strict=True)) if kept else {}
        return moved(self.x[0], place, lambda t: t.reshape(self.node.shape))

    def _expand(self) -> Motion:
        return self.wide(0, self.node.shape)

    def _take(self) -> Motion:
        dim = self.node.attributes["dim"]
        if dim in self.x[0].axes:
            raise self.refused("entries are taken along an axis that moves")
        index = self.tensors[self.program.nodes[self.node.inputs[1]].attributes["tensor"]].astype(np.int64)
        return moved(self.x[0], {k: k for k in self.x[0].axes}, lambda t: np.take(t, index, axis=dim))

    def _slice(self) -> Motion:
        """Along an axis that is cut, entries may be rescaled."""
        m, a = self.x[0], self.node.attributes
        dim, cut = a["dim"], slice(a["start"], a["stop"], a["step"])
        found = moved(m, {k: k for k in m.axes if k != dim}, lambda t: t[(slice(None),) * dim + (cut,)])
        if dim not in m.axes:
            return found
        diagonal = np.diagonal(m.axes[dim])
        if (m.axes[dim] - np.diag(diagonal)).any():
            raise self.refused("entries are taken along an axis that moves")
        return motion(found.scale, {**found.axes, dim: np.diag(diagonal[cut])}, found.shift, found.parts)


def moved(m: Motion, place: Mapping[int, int], move: Move) -> Motion:
    """A motion whose entries change places; matrices on axes that ``place`` does not name are dropped."""
    axes = {place[k]: v for k, v in m.axes.items() if k in place}
    parts = {u: (c, move(labels)) for u, (c, labels) in m.parts.items()}
    return motion(m.scale, axes, None if m.shift is None else move(m.shift), parts)


def _arrays(m: Motion) -> list[np.ndarray]:
    return [*(() if m.shift is None else (m.shift,)), *(labels for _, labels in m.parts.values())]


def _same(t: np.ndarray, axis: int) -> bool:
    return not t.size or not bool((t != np.take(t, [0], axis=axis)).any())
