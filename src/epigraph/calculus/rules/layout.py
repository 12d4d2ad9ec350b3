"""reshape, permute, expand, slice, concat, take, same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from epigraph.calculus import interval as iv
from epigraph.calculus.interval import Interval
from epigraph.calculus.lattice import Bits, Facts, uniform
from epigraph.calculus.rule import Layout, Rule, Shapes, register
from epigraph.objective.graph import Node


@register("reshape")
@final
class Reshape(Layout):
    """The same entries in another shape."""

    lemma = "entries keep their claims when they move"

    def move(self, node: Node) -> Callable[[NDArray], NDArray]:
        return lambda a: a.reshape(node.shape)

    def carrier(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> tuple[int, int] | None:
        return x[0].carrier  # entries correspond in row-major order


@register("permute")
@final
class Permute(Layout):
    """Axes in another order."""

    lemma = Reshape.lemma

    def move(self, node: Node) -> Callable[[NDArray], NDArray]:
        return lambda a: a.transpose(node.attributes["dims"])


@register("expand")
@final
class Expand(Layout):
    """Entries repeated by broadcasting."""

    lemma = Reshape.lemma

    def move(self, node: Node) -> Callable[[NDArray], NDArray]:
        return lambda a: np.broadcast_to(a, node.shape)


@register("slice")
@final
class Slice(Layout):
    """A range of one axis."""

    lemma = Reshape.lemma

    def move(self, node: Node) -> Callable[[NDArray], NDArray]:
        a = node.attributes
        index = (slice(None),) * a["dim"] + (slice(a["start"], a["stop"], a["step"]),)
        return lambda array: array[index]


@register("concat")
@final
class Concat(Rule):
    """Entries of several tensors side by side."""

    lemma = Reshape.lemma

    def interval(self, node: Node, x: Sequence[Interval], shapes: Shapes) -> Interval:
        if all(p.uniform for p in x) and len({p.hull for p in x}) == 1:
            return x[0]
        parts = [p.arrays(s) for p, s in zip(x, shapes, strict=True)]
        dim = node.attributes["dim"]
        return Interval(np.concatenate([p[0] for p in parts], dim), np.concatenate([p[1] for p in parts], dim))

    def claims(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> Bits:
        if all(isinstance(f.bits, int) for f in x) and len({f.bits for f in x if isinstance(f.bits, int)}) == 1:
            return x[0].bits
        arrays = [np.broadcast_to(np.asarray(f.bits, dtype=np.uint8), s) for f, s in zip(x, shapes, strict=True)]
        return np.concatenate(arrays, node.attributes["dim"])

    def degree(self, node: Node, x: Sequence[Facts]) -> int:
        return -1 if any(f.degree < 0 for f in x) else max(f.degree for f in x)


@register("take")
@final
class Take(Rule):
    """Rows chosen by constant indices."""

    lemma = Reshape.lemma

    def interval(self, node: Node, x: Sequence[Interval], shapes: Shapes) -> Interval:
        index = _index(x[1], shapes[1])
        if index is None:
            return Interval(*x[0].hull)
        return x[0].map(lambda a: np.take(a, index, node.attributes["dim"]), shapes[0])

    def claims(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> Bits:
        index = _index(x[1].interval, shapes[1])
        if isinstance(x[0].bits, int) or index is None:
            return uniform(x[0].bits)
        return np.take(np.broadcast_to(x[0].bits, shapes[0]), index, node.attributes["dim"])

    def degree(self, node: Node, x: Sequence[Facts]) -> int:
        return x[0].degree


def _index(x: Interval, shape: tuple[int, ...]) -> NDArray[np.int64] | None:
    """The indices, where their interval is a point; None where it holds very many by their bounds."""
    if x.lower is not x.upper and not np.array_equal(x.lower, x.upper):
        return None
    return np.broadcast_to(x.lower, shape).astype(np.int64)


@register("same")
@final
class Same(Rule):
    """Operands that are equal as real functions: what holds for one holds for all."""

    lemma = "equal functions share their claims"

    def interval(self, node: Node, x: Sequence[Interval], shapes: Shapes) -> Interval:
        out = x[0]
        for other in x[1:]:
            out = iv.intersect(out, other)
        return out

    def claims(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> Bits:
        out = x[0].bits
        for other in x[1:]:
            out = out | other.bits
        return out

    def carrier(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> tuple[int, int] | None:
        known = [f.carrier for f in x if f.carrier is not None]
        return next((c for c in known if c[1] != 0), known[0] if known else None)

    def degree(self, node: Node, x: Sequence[Facts]) -> int:
        known = [f.degree for f in x if f.degree >= 0]
        return min(known) if known else -1
