r"""Does J stay the same along a linear vector field on its parameters?  Proved by the rules of the graph, in integers.

A generator moves each parameter x by x' = sum_a M_a x + s, with integer matrices M_a that act on its axes and an integer shift s.
What it does to a node is written in the same way: v' = (derivative of v along the field) is

    v' = scale v + sum over axes a of M_a v + s + sum of unknown parts, each the same along some axes.

Then v' = 0 at the output says that the gradient of J is orthogonal to the field wherever J is differentiable.  What no rule can
write in this form is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import final

import numpy as np

from epigraph.certificate.graph import Node, Program, Shape
from epigraph.certificate.series import rational

LARGEST = 2**20  # an entry of a matrix or a shift: no integer here comes near 2^63
Parts = frozenset[frozenset[int]]  # for each unknown part the axes along which it is the same


class Moves(Exception):
    """A node of which it is not shown how it moves, or an output that moves."""


@final
@dataclass(frozen=True)
class Motion:
    """How a node moves; matrices have a zero in their first place, so that ``scale`` is unique."""

    scale: int = 0
    axes: Mapping[int, np.ndarray] = field(default_factory=dict)
    shift: np.ndarray | None = None
    parts: Parts = frozenset()

    @property
    def still(self) -> bool:
        return not (self.scale or self.axes or self.shift is not None or self.parts)

    @property
    def linear(self) -> bool:
        """Is nothing added to the linear part?"""
        return self.shift is None and not self.parts

    @property
    def diagonal(self) -> bool:
        return all(not np.any(m - np.diag(np.diagonal(m))) for m in self.axes.values())


STILL = Motion()


def motion(
    scale: int, axes: Mapping[int, np.ndarray], shift: np.ndarray | None = None, parts: Parts = frozenset()
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
    if frozenset() in parts:
        raise Moves("a part that is known along no axis")
    return Motion(scale, kept, shift, parts)


Generator = Mapping[str, Motion]  # by key of the parameter's tensor; what is absent does not move


def require_still(program: Program, generator: Generator) -> None:
    """Raise ``Moves`` unless J is the same along the field."""
    found: dict[int, Motion] = {}
    for position in program.live:
        node = program.nodes[position]
        found[position] = _node(program, node, generator, found)
    if not found[program.output].still:
        raise Moves("J moves")


def _node(program: Program, node: Node, generator: Generator, found: Mapping[int, Motion]) -> Motion:
    if node.op == "parameter":
        return generator.get(node.attributes["tensor"], STILL)
    x = [found[i] for i in node.operands]
    shapes = [program.nodes[i].shape for i in node.operands]
    if all(m.still for m in x):
        return STILL
    rule = _RULES.get(node.op)
    if rule is not None:
        return rule(node, x, shapes)
    if node.op == "sum":
        inner = program.nodes[node.inputs[0]]
        if _squared(program, inner, found) and set(found[inner.inputs[0]].axes) <= set(node.attributes["dims"]):
            return STILL
        return _sum(node, x, shapes)
    if node.op in ("mul", "power") and _squared(program, node, found):
        return Motion(parts=frozenset((frozenset((-1,)),)))  # known to the sum alone
    if node.op in ("mul", "div"):
        return _product(node, x, shapes)
    if node.op == "power":
        return _power(node, x, shapes)
    raise Moves(f"{node.label} moves in a way that is not known")


def _squared(program: Program, node: Node, found: Mapping[int, Motion]) -> bool:
    """Is this x^2 for an x that turns, x' = M x with skew matrices M?  Then the sum of all entries is still."""
    same = node.op == "mul" and node.inputs[0] == node.inputs[1]
    if not same and not (node.op == "power" and rational(node.attributes["exponent"]) == 2):
        return False
    x = found[node.inputs[0]]
    return bool(x.axes) and x.scale == 0 and x.linear and all(not (m + m.T).any() for m in x.axes.values())


# broadcasting -------------------------------------------------------------------------------------------------------
def wide(m: Motion, shape: Shape, target: Shape) -> Motion:
    """The motion of a tensor that is broadcast."""
    ahead = len(target) - len(shape)
    axes, scale = {}, m.scale
    for axis, matrix in m.axes.items():
        if shape[axis] != target[ahead + axis]:
            raise Moves("a matrix on an axis that is repeated")
        axes[ahead + axis] = matrix
    shift = None if m.shift is None else np.broadcast_to(m.shift, target)
    repeated = frozenset(d for d, n in enumerate(target) if d < ahead or (shape[d - ahead] == 1 and n != 1))
    parts = frozenset(frozenset(a + ahead for a in p if a >= 0) | repeated for p in m.parts)
    if any(-1 in p for p in m.parts):
        raise Moves("a square that is not summed")
    return motion(scale, axes, shift, parts)


def blurred(m: Motion) -> Parts:
    """The shift and the unknown parts, as parts alone."""
    if any(-1 in p for p in m.parts):
        raise Moves("a square that is not summed")
    if m.shift is None:
        return m.parts
    same = frozenset(d for d in range(m.shift.ndim) if not (m.shift != np.take(m.shift, [0], axis=d)).any())
    return m.parts | {same}


# rules --------------------------------------------------------------------------------------------------------------
def _add(node: Node, x: Sequence[Motion], shapes: Sequence[Shape]) -> Motion:
    a, b = (wide(m, s, node.shape) for m, s in zip(x, shapes, strict=True))
    same = a.scale == b.scale and a.axes.keys() == b.axes.keys()
    if not same or any((a.axes[k] != b.axes[k]).any() for k in a.axes):
        raise Moves(f"{node.label}: the operands move differently")
    shift = b.shift if a.shift is None else a.shift if b.shift is None else a.shift + b.shift
    return motion(a.scale, a.axes, shift, a.parts | b.parts)


def _neg(node: Node, x: Sequence[Motion], shapes: Sequence[Shape]) -> Motion:
    return motion(x[0].scale, x[0].axes, None if x[0].shift is None else -x[0].shift, x[0].parts)


def _product(node: Node, x: Sequence[Motion], shapes: Sequence[Shape]) -> Motion:
    """x y or x / y: what multiplies entries adds up; a factor of one number that is still lets everything pass."""
    one = next((k for k in (1, 0) if x[k].still and not any(n != 1 for n in shapes[k])), None)
    if one is not None and not (node.op == "div" and one == 0):
        m = wide(x[1 - one], shapes[1 - one], node.shape)
        return motion(m.scale, m.axes, None, blurred(m))
    a, b = (wide(m, s, node.shape) for m, s in zip(x, shapes, strict=True))
    if not (a.linear and b.linear and a.diagonal and b.diagonal):
        raise Moves(f"{node.label}: a product of what is not only rescaled")
    sign = -1 if node.op == "div" else 1
    axes = {k: a.axes.get(k, 0) + sign * b.axes.get(k, 0) for k in a.axes.keys() | b.axes.keys()}
    return motion(a.scale + sign * b.scale, {k: np.asarray(m) for k, m in axes.items()})


def _power(node: Node, x: Sequence[Motion], shapes: Sequence[Shape]) -> Motion:
    exponent = Fraction(rational(node.attributes["exponent"]))
    if not x[0].linear or not x[0].diagonal or exponent.denominator != 1 or abs(exponent) > 64:
        raise Moves(f"{node.label}: a power of what is not only rescaled")
    return motion(x[0].scale * int(exponent), {k: m * int(exponent) for k, m in x[0].axes.items()})


def _homogeneous(node: Node, x: Sequence[Motion], shapes: Sequence[Shape]) -> Motion:
    """f(q x) = q f(x) for q > 0: relu, abs, and pieces that are linear on both sides of zero."""
    if node.op == "piecewise":
        lines = [[rational(c) for c in p] for p in node.attributes["pieces"]]
        bent = any(any(c for k, c in enumerate(p) if k != 1) for p in lines)
        if bent or any(rational(k) for k in node.attributes["knots"]):
            raise Moves(f"{node.label} is not homogeneous")
    if not x[0].linear or not x[0].diagonal:
        raise Moves(f"{node.label}: the operand is not only rescaled")
    return x[0]


def _matmul(node: Node, x: Sequence[Motion], shapes: Sequence[Shape]) -> Motion:
    r"""(M a + a N')b + a(P b + b Q') = M ab + ab Q' + a (N' + P) b, where N' + P must be a multiple of the identity."""
    lead, rank = node.shape[:-2], len(node.shape)
    a, b = (wide(m, s, (*lead, *s[-2:])) for m, s in zip(x, shapes, strict=True))
    inner = shapes[0][-1]
    zero = np.zeros((inner, inner), np.int64)
    between = a.axes.get(rank - 1, zero).T + b.axes.get(rank - 2, zero)
    scale = int(between[0, 0]) if inner else 0
    if (between - scale * np.eye(inner, dtype=np.int64)).any():
        raise Moves(f"{node.label}: the motions of the inner axes do not cancel")
    axes = {k: m for k, m in a.axes.items() if k == rank - 2}
    axes |= {k: m for k, m in b.axes.items() if k == rank - 1}
    if any(k < rank - 2 for m in (a, b) for k in m.axes):
        raise Moves(f"{node.label}: a motion of leading axes")
    left = frozenset(p - {rank - 1} for p in blurred(a))  # the same along rows, or along a leading axis ...
    right = frozenset(p - {rank - 2} for p in blurred(b))
    left = frozenset(p & {rank - 2} for p in left)  # ... along which the other factor varies
    right = frozenset(p & {rank - 1} for p in right)
    return motion(a.scale + b.scale + scale, axes, None, left | right)


def _sum(node: Node, x: Sequence[Motion], shapes: Sequence[Shape]) -> Motion:
    dims, (m,) = node.attributes["dims"], x
    if any(k in dims for k in m.axes) or any(-1 in p for p in m.parts):
        raise Moves(f"{node.label}: the summed axes move")
    place = {d: k for k, d in enumerate(d for d in range(len(shapes[0])) if d not in dims)}
    shift = None if m.shift is None else m.shift.sum(tuple(dims))
    parts = frozenset(frozenset(place[a] for a in p if a in place) for p in m.parts)
    return motion(m.scale, {place[k]: v for k, v in m.axes.items()}, shift, parts)


def _log_softmax(node: Node, x: Sequence[Motion], shapes: Sequence[Shape]) -> Motion:
    m, dim = x[0], node.attributes["dim"]
    if m.scale or m.axes or any(dim not in p for p in blurred(m)):
        raise Moves(f"{node.label}: the operand moves by more than a shift of each row")
    return STILL


def _permute(node: Node, x: Sequence[Motion], shapes: Sequence[Shape]) -> Motion:
    dims, m = node.attributes["dims"], x[0]
    place = {d: k for k, d in enumerate(dims)}
    shift = None if m.shift is None else m.shift.transpose(dims)
    parts = frozenset(frozenset(place.get(a, a) for a in p) for p in m.parts)
    return motion(m.scale, {place[k]: v for k, v in m.axes.items()}, shift, parts)


def _reshape(node: Node, x: Sequence[Motion], shapes: Sequence[Shape]) -> Motion:
    """Axes of length one come and go; else only a common factor passes."""
    m, (before,) = x[0], shapes
    long = [[d for d, n in enumerate(s) if n != 1] for s in (before, node.shape)]
    if [before[d] for d in long[0]] != [node.shape[d] for d in long[1]]:
        if m.axes or not m.linear:
            raise Moves(f"{node.label}: axes that move are joined or split")
        return m
    place = dict(zip(*long, strict=True))
    fresh = frozenset(d for d, n in enumerate(node.shape) if n == 1)
    shift = None if m.shift is None else m.shift.reshape(node.shape)
    parts = frozenset(frozenset(place[a] for a in p if a in place) | fresh for p in m.parts if -1 not in p)
    if any(-1 in p for p in m.parts):
        raise Moves("a square that is not summed")
    return motion(m.scale, {place[k]: v for k, v in m.axes.items() if k in place}, shift, parts)


def _expand(node: Node, x: Sequence[Motion], shapes: Sequence[Shape]) -> Motion:
    return wide(x[0], shapes[0], node.shape)


def _first(node: Node, x: Sequence[Motion], shapes: Sequence[Shape]) -> Motion:
    return x[0]


_RULES = {
    "add": _add,
    "neg": _neg,
    "matmul": _matmul,
    "relu": _homogeneous,
    "abs": _homogeneous,
    "piecewise": _homogeneous,
    "log_softmax": _log_softmax,
    "permute": _permute,
    "reshape": _reshape,
    "expand": _expand,
    "same": _first,
    "take": lambda node, x, shapes: _taken(node, x),
    "slice": lambda node, x, shapes: _taken(node, x),
}


def _taken(node: Node, x: Sequence[Motion]) -> Motion:
    """Entries chosen along one axis, which may be rescaled entry by entry where the choice is a range."""
    m, dim, a = x[0], node.attributes["dim"], node.attributes
    if m.shift is not None or any(-1 in p for p in m.parts):
        raise Moves(f"{node.label}: entries are taken of what is shifted")
    if dim not in m.axes:
        return m
    diagonal = np.diagonal(m.axes[dim])
    if node.op == "take" or (m.axes[dim] - np.diag(diagonal)).any():
        raise Moves(f"{node.label}: entries are taken along an axis that moves")
    chosen = np.diag(diagonal[a["start"] : a["stop"] : a["step"]])
    return motion(m.scale, {**m.axes, dim: chosen}, None, m.parts)
