r"""The Hessian over a box: gradients of all nodes as float vectors, each with a radius in the Euclidean norm.

A node of the graph of J's gradient (``reverse``) depends on the n parameters; the gradient of its entry i is a vector v_i of R^n.
At every point of the box |v_i - c_i| <= rho_i, with floats c_i that do not depend on the point.  The chain rule multiplies
vectors by numbers known up to a radius and adds them up, so that

    v = sum_k a_k x_k,  |a_k - m_k| <= r_k     gives     rho = sum_k (|m_k| + r_k) rho_k + r_k |c_k| + rounding

with one product of float matrices for the c_k and one that is n times smaller for the radii.  Entries of J's gradient have the rows
of the Hessian as vectors: H lies within sqrt(sum rho_i^2) of the matrix of the c_i, in the Frobenius norm.

**Rounding.**  For sums of products of floats in any order, with or without fused operations, the error is at most gamma_k = k u / (1 - k u)
times the sum of absolute values, k the number of terms and u = 2^-53, as long as nothing overflows, plus some 2^-1074 for each
operation that underflows.  Charged is k 2^-52 times the sum of lengths, which exceeds it by the triangle inequality, and 2^-480.  A product
of matrices that saves multiplications (Strassen) would not obey this; the libraries that NumPy comes with have none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from epigraph.certificate.gradientvalues import EPS, TINY, Coefficients, Known, Tensors, pad, put
from epigraph.certificate.graph import Node
from epigraph.certificate.reverse import Gradient, NoGradient

CHUNK_BYTES = 192 * 2**20
ROUNDING = 16 * EPS  # a few roundings
Move = Callable[[np.ndarray, int], np.ndarray]


@final
@dataclass(frozen=True, slots=True)
class Vectors:
    """Vectors near the columns of ``middle`` [d, ...], within ``radius``; ``length`` bounds |middle|, entry by entry."""

    middle: np.ndarray
    radius: np.ndarray
    length: np.ndarray


def vectors(middle: np.ndarray, radius: np.ndarray) -> Vectors:
    """Vectors with their lengths; every number must be finite."""
    length = np.sqrt(np.einsum("i...,i...->...", middle, middle)) * (1 + (len(middle) + 16) * EPS) + TINY
    if not (np.isfinite(length).all() and np.isfinite(radius).all()):
        raise NoGradient("the enclosure of the Hessian overflows")
    return Vectors(middle, radius, length)


def hessian(
    gradient: Gradient, coefficients: Coefficients, tensors: Tensors, keys: Sequence[str]
) -> tuple[np.ndarray, float]:
    """A symmetric matrix H of floats and a bound of |H(x) - H| over the box, in the parameters ``keys`` one after the other.

    The cost is that of n/2 or fewer evaluations of J's gradient in float64 and of n^2 memory.
    """
    shapes = {key: tensors[key].shape for key in keys}
    counts = [math.prod(shapes[key]) for key in keys]
    n, start = sum(counts), 0
    H, spread = np.zeros((n, n)), 0.0
    sweep = _Sweep(gradient, coefficients, {**tensors, **gradient.constants})
    for key, count in zip(keys, counts, strict=True):
        if key in gradient.slopes:
            step = sweep.chunk(key)
            for first in range(0, count, step):
                last = min(count, first + step)
                rows = sweep.rows(key, shapes[key], first, last)
                spread += _filled(H[start + first : start + last], rows, gradient.slopes, keys, counts)
        start += count
    spread *= 1 + (2 * n + 16) * EPS
    size = float(np.sqrt(np.square(H).sum())) * (1 + (n * n + 16) * EPS)
    return (H + H.T) / 2, math.sqrt(spread) * (1 + ROUNDING) + EPS * size + TINY


def _filled(
    target: np.ndarray,
    rows: Mapping[int, Vectors],
    slopes: Mapping[str, int],
    keys: Sequence[str],
    counts: Sequence[int],
) -> float:
    """Rows of the Hessian put in their place; a bound of the sum of the squares of all radii."""
    at, total = 0, 0.0
    for key, count in zip(keys, counts, strict=True):
        found = rows.get(slopes[key]) if key in slopes else None
        if found is not None:
            target[:, at : at + count] = found.middle.reshape(len(target), count)
            total += float(np.square(found.radius).sum()) * (1 + (count + 16) * EPS)
        at += count
    return total


@final
class _Sweep:
    """Derivatives of every node of the gradient's graph along some coordinates at once."""

    def __init__(self, gradient: Gradient, coefficients: Coefficients, tensors: Tensors):
        self.gradient, self.known, self.tensors = gradient, coefficients, tensors
        self.plans: dict[str, list[tuple[int, list[int]]]] = {}

    def plan(self, key: str) -> list[tuple[int, list[int]]]:
        if key not in self.plans:
            self.plans[key] = plan(self.gradient, key)
        return self.plans[key]

    def chunk(self, key: str) -> int:
        """How many coordinates to take at once."""
        return max(1, int(CHUNK_BYTES / 8 // max(1, self._widest(key))))

    def _widest(self, key: str) -> int:
        """The most entries that are alive at one time."""
        alive = most = 0
        sizes: dict[int, int] = {}
        for position, done in self.plan(key):
            sizes[position] = self.gradient.nodes[position].numel
            alive += 2 * sizes[position]
            most = max(most, alive)
            alive -= sizes[position] + sum(sizes[i] for i in done)
        return most

    def rows(self, key: str, shape: Sequence[int], first: int, last: int) -> dict[int, Vectors]:
        """Derivatives of the gradient's nodes along the coordinates ``first`` to ``last`` of a tensor."""
        found: dict[int, Vectors] = {}
        for position, done in self.plan(key):
            node = self.gradient.nodes[position]
            if node.op == "parameter":
                unit = np.zeros((last - first, math.prod(shape)))
                unit[np.arange(last - first), np.arange(first, last)] = 1.0
                found[position] = vectors(unit.reshape(-1, *shape), np.zeros(shape))
            else:
                found[position] = self._apply(position, node, [found.get(i) for i in node.inputs])
            for i in done:
                del found[i]
        return found

    def _apply(self, position: int, node: Node, x: Sequence[Vectors | None]) -> Vectors:
        if position in self.known.slopes:
            return scaled(_one(x), self.known.slopes[position])
        if node.op in ("mul", "matmul"):
            return self._product(node, x)
        if node.op == "add":
            return _sum([v for v in x if v is not None])
        if node.op == "sum":
            return total(_one(x), node.attributes["dims"])
        if node.op == "logsumexp":
            return total(scaled(_one(x), self.known.factors[self.gradient.shares[position]]), node.attributes["dims"])
        if node.op == "put":
            return self._put(node, _one(x))
        if node.op == "where":
            return self._chosen(position, node, x[1], x[2])
        if node.op == "concat":
            return self._joined(node, x)
        return moved(_one(x), self._move(node))

    def _product(self, node: Node, x: Sequence[Vectors | None]) -> Vectors:
        parts = []
        for k, v in enumerate(x):
            if v is not None:
                other = self.known.factors[node.inputs[1 - k]]
                parts.append(scaled(v, other) if node.op == "mul" else multiplied(v, other, k == 0))
        return _sum(parts)

    def _put(self, node: Node, x: Vectors) -> Vectors:
        index = self.tensors[self.gradient.nodes[node.inputs[1]].attributes["tensor"]]
        count = int(np.bincount(index.astype(np.int64)).max(initial=1))
        radius, length = (put(t, index, node, 0.0) for t in (x.radius, x.length))
        middle = put(x.middle, index, node, 0.0, 1)
        return vectors(middle, (radius + (count + 8) * EPS * length) * (1 + (count + 16) * EPS) + TINY)

    def _chosen(self, position: int, node: Node, x: Vectors | None, y: Vectors | None) -> Vectors:
        mask = np.broadcast_to(self.known.masks[position], node.shape)

        def pick(a: np.ndarray | float, b: np.ndarray | float) -> np.ndarray:
            return np.where(mask, a, b)

        parts = [(0.0, 0.0) if v is None else (v.middle, v.radius) for v in (x, y)]
        return vectors(*(pick(a, b) for a, b in zip(*parts, strict=True)))

    def _joined(self, node: Node, x: Sequence[Vectors | None]) -> Vectors:
        dim, some = node.attributes["dim"], next(v for v in x if v is not None)
        shapes = [self.gradient.nodes[i].shape for i in node.inputs]
        middles = [np.zeros((len(some.middle), *s)) if v is None else v.middle for v, s in zip(x, shapes, strict=True)]
        radii = [np.zeros(s) if v is None else v.radius for v, s in zip(x, shapes, strict=True)]
        return vectors(np.concatenate(middles, dim + 1), np.concatenate(radii, dim))

    def _move(self, node: Node) -> Move:
        """An operator that only moves entries, on an array with some leading axes."""
        a = node.attributes
        if node.op == "neg":
            return lambda t, lead: -t if lead else t
        if node.op == "reshape":
            return lambda t, lead: t.reshape((*t.shape[:lead], *a["shape"]))
        if node.op == "expand":
            return lambda t, lead: np.broadcast_to(t, (*t.shape[:lead], *a["shape"]))
        if node.op == "permute":
            return lambda t, lead: t.transpose(*range(lead), *(lead + d for d in a["dims"]))
        if node.op == "slice":
            cut = slice(a["start"], a["stop"], a["step"])
            return lambda t, lead: t[(slice(None),) * (lead + a["dim"]) + (cut,)]
        if node.op == "pad":
            return lambda t, lead: pad(t, node, 0.0, lead)
        if node.op == "take":
            index = self.tensors[self.gradient.nodes[node.inputs[1]].attributes["tensor"]].astype(np.int64)
            return lambda t, lead: np.take(t, index, axis=lead + a["dim"])
        raise AssertionError(f"{node.op} has no derivative")


def plan(gradient: Gradient, key: str) -> list[tuple[int, list[int]]]:
    """The nodes that depend on a tensor and lead to the gradient, in order, each with what it reads for the last time."""
    nodes, reached, kept = gradient.nodes, set(), frozenset(gradient.slopes.values())
    for position, node in enumerate(nodes):
        leaf = node.op == "parameter" and node.attributes["tensor"] == key
        if gradient.varies[position] and (leaf or any(i in reached for i in node.inputs)):
            reached.add(position)
    needed: set[int] = set()
    for position in sorted(reached, reverse=True):
        if position in kept or position in needed:
            needed |= {position, *(i for i in nodes[position].inputs if i in reached)}
    last: dict[int, int] = {}
    for position in sorted(needed):
        last |= {i: position for i in nodes[position].inputs if i in needed}
    done: dict[int, list[int]] = {}
    for i, position in last.items():
        if i not in kept:
            done.setdefault(position, []).append(i)
    return [(position, done.get(position, [])) for position in sorted(needed)]


def moved(x: Vectors, move: Move) -> Vectors:
    """Entries moved, repeated, dropped or joined by zeros."""
    return Vectors(move(x.middle, 1), move(x.radius, 0), move(x.length, 0))


def _one(x: Sequence[Vectors | None]) -> Vectors:
    return next(v for v in x if v is not None)


def _sum(parts: Sequence[Vectors]) -> Vectors:
    """The sum of one or two."""
    if len(parts) == 1:
        return parts[0]
    x, y = parts
    middle = x.middle + y.middle
    return vectors(middle, (x.radius + y.radius + EPS * (x.length + y.length)) * (1 + ROUNDING) + TINY)


def total(x: Vectors, dims: Sequence[int]) -> Vectors:
    """The sum over some axes of the node."""
    if not dims:
        return x
    count = math.prod(x.radius.shape[d] for d in dims)
    radius = (x.radius + (count + 8) * EPS * x.length).sum(tuple(dims)) * (1 + (count + 16) * EPS) + TINY
    return vectors(x.middle.sum(tuple(d + 1 for d in dims)), radius)


def scaled(x: Vectors, factor: Known) -> Vectors:
    """Every vector times its own number."""
    near = np.abs(factor.middle)
    radius = (near + factor.radius) * x.radius + (factor.radius + 2 * EPS * near) * x.length
    return vectors(x.middle * factor.middle, radius * (1 + ROUNDING) + TINY)


def multiplied(x: Vectors, factor: Known, left: bool) -> Vectors:
    """The product with a matrix of numbers, the vectors on its left or on its right."""
    near = np.abs(factor.middle)
    count = factor.middle.shape[-2 if left else -1]
    size, slack = near + factor.radius, factor.radius + (count + 8) * EPS * near
    if left:
        middle, radius = _times(x.middle, factor.middle), x.radius @ size + x.length @ slack
    else:
        middle, radius = _on_the_left(factor.middle, x.middle), size @ x.radius + slack @ x.length
    return vectors(middle, radius * (1 + (count + 16) * EPS) + TINY)


def _times(x: np.ndarray, m: np.ndarray) -> np.ndarray:
    """x m for many matrices x, as one product of matrices where m is one: threads then have something to share."""
    if m.ndim > 2:
        return x @ m
    return (x.reshape(-1, m.shape[0]) @ m).reshape(*x.shape[:-1], m.shape[1])


def _on_the_left(m: np.ndarray, x: np.ndarray) -> np.ndarray:
    """m x for many matrices x."""
    if m.ndim > 2:
        return m @ x
    rows = np.moveaxis(x, -2, 0)
    found = (m @ rows.reshape(m.shape[1], -1)).reshape(m.shape[0], *rows.shape[1:])
    return np.moveaxis(found, 0, -2)
