r"""Sums of sorted entries, and of entries of a log-softmax: claims that no single entry has.

Each entry of a node is followed as w B[i]: a weight in a known interval times one entry of a base B, which is a ``sort``
or a ``log_softmax``.  Where such entries are summed, their weights decide:

sort of u, ascending along one dimension: with S_k the sum of the k largest, the maximum over all choices of k entries of
their sum, sum_k w_k u_(k) = w_1 S_n + sum_k (w_(k+1) - w_k) S_(n-k).  Each S_k is convex in u and rises with it, and S_n
is linear, so for nondecreasing w the sum is convex where u is affine; where u is convex if w_1 >= 0 too; where u is
concave if w_n <= 0 (then -w falls to -w_n >= 0, and the same holds with sums of the k smallest, which are concave).
For w turned round the sum is concave under the opposite conditions.

eigvalsh of an affine matrix U: S_k = max tr(U P) over projections P of rank k is convex in U and S_n is linear [Fan 1949].
svdvals: S_k is a norm for every k [Fan 1951], as S_k of a convex u.

log_softmax of an affine u: sum_k w_k (u_k - L) is affine minus (sum_k w_k) L with a convex L.

Sums over several lines of a tensor have the claim that the sum over each of them has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from epigraph.certificate import layout
from epigraph.certificate.graph import Node
from epigraph.certificate.kernel_claims import Claims
from epigraph.certificate.kernel_numbers import INF, at_least_total, error_of_product
from epigraph.certificate.kernel_records import Record

SPECTRA = ("eigvalsh", "svdvals")
ENTRIES = 4_000_000  # of the largest array that is made here


class Base(NamedTuple):
    """The operator, its shape and dimension, and what all entries of its operand are."""

    op: str
    shape: tuple[int, ...]
    dim: int
    convex: bool
    concave: bool


class Linear(NamedTuple):
    """Entries w B[i]: the flat number i and bounds of w, arrays of the node's shape."""

    base: Base
    index: Any
    low: Any
    high: Any

    def each(self, move: Any) -> Linear:
        return Linear(self.base, *map(move, self[1:]))


def follow(node: Node, x: Sequence[Record], known: Sequence[Linear | None]) -> Linear | None:
    """The entries of a node as multiples of entries of a base, where they are that."""
    if node.op in ("sort", "log_softmax", *SPECTRA):
        return _base(node, x[0])
    f = next((k for k in known if k is not None), None)
    if f is None or node.numel > ENTRIES:
        return None
    if node.op == "neg":
        return Linear(f.base, f.index, -f.high, -f.low)
    if node.op in layout.LAYOUT and node.op != "same":
        return f.each(lambda array: layout.arrange(node, array))
    if node.op == "take" and known[0] is not None:
        places = np.asarray(x[1].data).astype(np.int64)
        return f.each(lambda array: np.take(array, places, axis=node.attributes["dim"]))
    return _scaled(node, x, known) if node.op == "mul" else None


def _base(node: Node, u: Record) -> Linear | None:
    convex, concave = bool(np.all(u.claims.convex)), bool(np.all(u.claims.concave))
    if node.numel > ENTRIES or not (convex or concave) or (node.op != "sort" and not (convex and concave)):
        return None
    ones = np.ones(node.shape)
    dim = len(node.shape) - 1 if node.op in SPECTRA else node.attributes["dim"]
    base = Base(node.op, node.shape, dim, convex, concave and node.op != "svdvals")
    return Linear(base, np.arange(node.numel).reshape(node.shape), ones, ones)


def _scaled(node: Node, x: Sequence[Record], known: Sequence[Linear | None]) -> Linear | None:
    """A constant factor.  A single number scales all sums alike, so that its sign is enough."""
    for f, c, own in ((known[0], x[1], x[0]), (known[1], x[0], x[1])):
        if f is None or c.varies or own.shape != node.shape:
            continue
        if math.prod(c.shape) == 1:
            if bool(np.all(c.lower >= 0)):
                return f
            return Linear(f.base, f.index, -f.high, -f.low) if bool(np.all(c.upper <= 0)) else None
        return Linear(f.base, f.index, *_products((f.low, f.high), (c.lower, c.upper), node.shape))
    return None


def _products(a: Any, b: Any, shape: Any) -> tuple[Any, Any]:
    """Bounds of products: exact where float64 holds the product, else one float further out."""
    low, high = [], []
    for u in a:
        for v in b:
            left, right = (np.broadcast_to(w, shape).reshape(-1) for w in (u, v))
            with np.errstate(invalid="ignore", over="ignore", under="ignore"):
                p = np.multiply(left, right)
            p = np.where(np.isnan(p), 0.0, p)
            plain = (left != 0) & (right != 0) & np.isfinite(p)
            error = np.where(np.isinf(p), np.nan, 0.0)
            error[plain] = error_of_product(left[plain], right[plain], p[plain])
            low.append(np.where(error >= 0, p, np.nextafter(p, -INF)))
            high.append(np.where(error <= 0, p, np.nextafter(p, INF)))
    return np.minimum.reduce(low).reshape(shape), np.maximum.reduce(high).reshape(shape)


def claims(node: Node, x: Sequence[Record], known: Sequence[Linear | None]) -> Claims:
    """Claims of a sum of such entries, or of their products with a constant matrix."""
    f = known[0] if known else None
    if f is None:
        return Claims()
    if node.op == "sum":
        dims = tuple(node.attributes["dims"])
        index, low, high = (layout.rows(array, dims) for array in f[1:])
        return _summed(f.base, index, low, high, node.shape)
    two = node.op == "matmul" and len(x[0].shape) == len(x[1].shape) == 2 and not x[1].varies
    if not two or node.numel * x[1].shape[0] > ENTRIES:
        return Claims()
    shape = (*node.shape, x[1].shape[0])
    matrix = [np.broadcast_to(v, x[1].shape).T[None] for v in (x[1].lower, x[1].upper)]
    low, high = _products((f.low[:, None, :], f.high[:, None, :]), matrix, shape)
    return _summed(f.base, np.broadcast_to(f.index[:, None, :], shape), low, high, node.shape)


def _summed(base: Base, index: Any, low: Any, high: Any, shape: tuple[int, ...]) -> Claims:
    """Sums over the last dimension, one after the other."""
    count = index.shape[-1]
    lines = [array.reshape(-1, count) for array in (index, low, high)]
    if len(lines[0]) * max(count, math.prod(base.shape)) > ENTRIES:
        return Claims()
    decide = _shifted if base.op == "log_softmax" else _ordered
    found = [decide(base, i, a, b) for i, a, b in zip(*lines, strict=True)]
    masks = np.array(found, dtype=bool).reshape(-1, 2)
    return Claims(convex=masks[:, 0].reshape(shape), concave=masks[:, 1].reshape(shape))


def _ordered(base: Base, index: Any, low: Any, high: Any) -> tuple[bool, bool]:
    """Convex, concave: an entry of the base that does not occur has the weight 0, one that occurs twice says nothing."""
    if len(set(index.tolist())) < len(index):
        return False, False
    sides = []
    for side in (low, high):
        weights = np.zeros(math.prod(base.shape))
        weights[index] = side
        sides.append(np.moveaxis(weights.reshape(base.shape), base.dim, -1))
    low, high = sides
    if low.shape[-1] == 0:
        return False, False
    rises, falls = bool(np.all(low[..., 1:] >= high[..., :-1])), bool(np.all(high[..., 1:] <= low[..., :-1]))
    linear = base.convex and base.concave
    up = (
        linear
        or (base.convex and bool(np.all(low[..., 0] >= 0)))
        or (base.concave and bool(np.all(high[..., -1] <= 0)))
    )
    down = (
        linear
        or (base.concave and bool(np.all(low[..., -1] >= 0)))
        or (base.convex and bool(np.all(high[..., 0] <= 0)))
    )
    return rises and up, falls and down


def _shifted(base: Base, index: Any, low: Any, high: Any) -> tuple[bool, bool]:
    """The weights of each line are summed exactly."""
    size = base.shape[base.dim]
    inner = math.prod(base.shape[base.dim + 1 :])
    line = index // (size * inner) * inner + index % inner
    convex = concave = True
    for number in np.unique(line):
        chosen = line == number
        convex = convex and at_least_total(0.0, (-high[chosen]).tolist())
        concave = concave and at_least_total(0.0, low[chosen].tolist())
    return convex, concave
