r"""Weighted sums of entries that have no curvature of their own: order statistics, and log-softmax.

x_(1) <= ... <= x_(n) are the sorted entries.  With S_k the sum of the k largest, which is the maximum of the sums of k
entries and so convex and nondecreasing in x [BV04 3.1.5, 3.2.3],

    sum_k w_k x_(k) = w_1 S_n + sum_k (w_(k+1) - w_k) S_(n-k),

is convex for nondecreasing weights where x is affine, or convex and w_1 >= 0, or concave and w_n <= 0 (ordered weighted
norms, means of the worst cases, the range).  In a log-softmax x_k - L all entries share the convex L: with an affine x a
weighted sum is convex where the weights sum to at most 0.  The eigenvalues of an affine symmetric matrix are like the
sorted entries of an affine x, its singular values like those of a convex one [Fan 1951].  Entries w_k B_k of such a B are followed through products
with constants, slices and selections until they are summed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from epigraph.calculus import interval as iv
from epigraph.calculus.interval import Interval, Mask
from epigraph.calculus.lattice import AFFINE, CONCAVE, CONVEX, Bits, Facts, uniform
from epigraph.objective.graph import Node

Shape = tuple[int, ...]
SPECTRA = ("eigvalsh", "svdvals")
LIMIT = 4_000_000  # entries of the weights that are followed


class Combination(NamedTuple):
    """Entries w B[place] along ``dim``, with B the sorted entries (or the log-softmax) of ``size`` numbers.

    ``bits``: claims that all those numbers share.  ``weights`` broadcasts to the node's shape; its sign is that of the
    factors, whose common positive multiples are left out.
    """

    ordered: bool
    bits: int
    dim: int
    size: int
    places: NDArray[np.int64]
    weights: Interval


def after(node: Node, x: Sequence[Facts], shapes: Sequence[Shape]) -> Combination | None:
    """The combination that a node is, from those of its operands."""
    if node.op in ("sort", "log_softmax", *SPECTRA):
        return _start(node, x[0])
    found = next((f.combination for f in x if f.combination is not None), None)
    if found is None or math.prod(node.shape) > LIMIT:
        return None
    if node.op == "neg":
        return found._replace(weights=iv.neg(found.weights))
    if node.op == "mul":
        return _scaled(node, x, shapes)
    if node.op in ("slice", "take") and x[0].combination is not None:
        return _chosen(node, found, x, shapes[0])
    if node.op == "permute":
        dims = node.attributes["dims"]
        return found._replace(dim=dims.index(found.dim), weights=_moved(found, shapes[0], lambda a: a.transpose(dims)))
    return _reshaped(node, found, shapes[0]) if node.op == "reshape" else None


def _start(node: Node, x: Facts) -> Combination | None:
    bits = uniform(x.bits) & AFFINE
    if not (bits == AFFINE or (bits and node.op == "sort")):
        return None
    dim = len(node.shape) - 1 if node.op in SPECTRA else node.attributes["dim"]
    size = node.shape[dim]
    bits = CONVEX if node.op == "svdvals" else bits
    return Combination(node.op != "log_softmax", bits, dim, size, np.arange(size), Interval.point(1.0))


def _moved(c: Combination, shape: Shape, layout: object) -> Interval:
    return c.weights.map(layout, shape)  # type: ignore[arg-type]


def _scaled(node: Node, x: Sequence[Facts], shapes: Sequence[Shape]) -> Combination | None:
    """A constant factor: of a number only the sign matters."""
    for f, c, shape, other in ((x[0], x[1], *shapes), (x[1], x[0], *shapes[::-1])):
        if f.combination is None or c.varies or shape != node.shape:
            continue
        if math.prod(other) == 1:
            low, high = c.interval.hull
            sign = 1 if low >= 0 else -1 if high <= 0 else 0
            turned = f.combination._replace(weights=iv.neg(f.combination.weights))
            return f.combination if sign > 0 else turned if sign < 0 else None
        return f.combination._replace(weights=iv.mul(f.combination.weights, Interval(*c.interval.arrays(other))))
    return None


def _chosen(node: Node, c: Combination, x: Sequence[Facts], shape: Shape) -> Combination | None:
    a = node.attributes
    if node.op == "take":
        if not np.array_equal(x[1].interval.lower, x[1].interval.upper):
            return None
        index: NDArray[np.int64] | slice = np.atleast_1d(x[1].interval.lower).astype(np.int64)
    else:
        index = slice(a["start"], a["stop"], a["step"])
    if isinstance(index, np.ndarray) and index.shape != (node.shape[a["dim"]],):
        index = np.broadcast_to(index, (node.shape[a["dim"]],))
    places = c.places[index] if a["dim"] == c.dim else c.places
    cut = (slice(None),) * a["dim"] + (index,)
    return c._replace(places=places, weights=_moved(c, shape, lambda array: array[cut]))


def _reshaped(node: Node, c: Combination, shape: Shape) -> Combination | None:
    """Dimensions of size one come and go."""
    if shape[c.dim] == 1 or [n for n in shape if n != 1] != [n for n in node.shape if n != 1]:
        return None
    number = sum(1 for n in shape[: c.dim] if n != 1)
    dim = [d for d, n in enumerate(node.shape) if n != 1][number]
    return c._replace(dim=dim, weights=_moved(c, shape, lambda array: array.reshape(node.shape)))


def claims(node: Node, x: Sequence[Facts], shapes: Sequence[Shape]) -> Bits:
    """Claims of a sum over the dimension of a combination, or of its product with a constant matrix."""
    c = x[0].combination
    if c is None:
        return 0
    if node.op == "sum" and c.dim in node.attributes["dims"]:
        low, high = c.weights.arrays(shapes[0])
        order = [d for d in range(low.ndim) if d != c.dim] + [c.dim]
        kept = [d for d in order[:-1] if d not in node.attributes["dims"]]
        gone = tuple(i for i, d in enumerate(order[:-1]) if d not in kept)
        convex, concave = _curved(c, low.transpose(order), high.transpose(order))
        return _bits(np.asarray(convex.all(axis=gone)), np.asarray(concave.all(axis=gone)))
    if node.op == "matmul" and not x[1].varies and len(shapes[0]) == len(shapes[1]) == 2 and c.dim == 1:
        if math.prod(node.shape) * shapes[1][0] > LIMIT:
            return 0
        left, right = c.weights.arrays(shapes[0]), x[1].interval.arrays(shapes[1])
        weights = iv.mul(Interval(*(v[:, None, :] for v in left)), Interval(*(v.T[None] for v in right)))
        convex, concave = _curved(c, *weights.arrays((*node.shape, shapes[1][0])))
        return _bits(convex, concave)
    return 0


def _bits(convex: Mask, concave: Mask) -> Bits:
    return np.asarray(np.where(convex, CONVEX, 0) | np.where(concave, CONCAVE, 0), dtype=np.uint8)


def _curved(c: Combination, low: NDArray, high: NDArray) -> tuple[NDArray, NDArray]:
    """(convex, concave) of the sums over the last axis with weights in [low, high]."""
    if not c.ordered:
        total = iv.total(Interval(low, high), (low.ndim - 1,), low.shape)
        lower, upper = total.arrays(low.shape[:-1])
        return upper <= 0, lower >= 0
    if len(np.unique(c.places)) < len(c.places):
        nothing = np.zeros(low.shape[:-1], dtype=bool)
        return nothing, nothing
    full = []
    for side in (low, high):
        weights = np.zeros((*side.shape[:-1], c.size))
        weights[..., c.places] = side
        full.append(weights)
    low, high = full
    rises = (low[..., 1:] >= high[..., :-1]).all(axis=-1)
    falls = (high[..., 1:] <= low[..., :-1]).all(axis=-1)
    first, last = (low[..., 0], high[..., 0]), (low[..., -1], high[..., -1])
    affine, up, down = c.bits == AFFINE, c.bits == CONVEX, c.bits == CONCAVE
    convex = rises & (affine | (up & (first[0] >= 0)) | (down & (last[1] <= 0)))
    concave = falls & (affine | (down & (last[0] >= 0)) | (up & (first[1] <= 0)))
    return convex, concave
