"""Sorting and ranks: sort, topk, kthvalue, median.  Positions are given beside the values; nothing is known of them."""

from __future__ import annotations

import torch

from epigraph.objective.builder import Builder, Expression
from epigraph.objective.lowering.reductions import positions_of
from epigraph.objective.lowering.registry import lowers

Pair = tuple[Expression, Expression]


def ordered(b: Builder, x: Expression, dim: int, descending: bool = False) -> Expression:
    """The entries along a dimension in order."""
    if x.ndim == 0:
        return x
    made = b.make("sort", (x,), {"dim": dim % x.ndim}, x.shape)
    return made.take(torch.arange(x.shape[dim] - 1, -1, -1), dim) if descending else made


@lowers("aten.sort.default", exact=True)
def sort(b: Builder, x: Expression, dim: int, descending: bool) -> Pair:
    return ordered(b, x, dim, descending), positions_of(b, "aten.sort.default", x, x.shape, (dim, descending))


@lowers("aten.sort.stable", exact=True)
def sort_stable(b: Builder, x: Expression, stable: bool | None, dim: int, descending: bool) -> Pair:
    return sort(b, x, dim, descending)


@lowers("aten.msort.default", exact=True)
def msort(b: Builder, x: Expression) -> Expression:
    return ordered(b, x, 0)


@lowers("aten.topk.default", exact=True)
def topk(b: Builder, x: Expression, k: int, dim: int, largest: bool, ordering: bool) -> Pair:
    """The k largest entries in descending order, or the k smallest in ascending order."""
    if x.ndim == 0:
        return x, positions_of(b, "aten.topk.default", x, (), (k, dim, largest, ordering))
    if not ordering:
        raise NotImplementedError("topk without an order of its values")
    out = ordered(b, x, dim, descending=largest).slice(dim, 0, k)
    return out, positions_of(b, "aten.topk.default", x, out.shape, (k, dim, largest, ordering))


def _ranked(b: Builder, x: Expression, rank: int, dim: int, keepdim: bool) -> Expression:
    if x.ndim == 0:
        return x
    found = ordered(b, x, dim)
    return found.slice(dim, rank, rank + 1) if keepdim else found.select(dim, rank)


@lowers("aten.kthvalue.default", exact=True)
def kthvalue(b: Builder, x: Expression, k: int, dim: int, keepdim: bool) -> Pair:
    """The k-th smallest entry."""
    out = _ranked(b, x, k - 1, dim, keepdim)
    return out, positions_of(b, "aten.kthvalue.default", x, out.shape, (k, dim, keepdim))


@lowers("aten.median.default", exact=True)
def median(b: Builder, x: Expression) -> Expression:
    """The lower one of the two in the middle of an even number of entries."""
    return _ranked(b, x.reshape((x.numel,)), (x.numel - 1) // 2, 0, False)


@lowers("aten.median.dim", exact=True)
def median_dim(b: Builder, x: Expression, dim: int, keepdim: bool) -> Pair:
    rank = 0 if x.ndim == 0 else (x.shape[dim] - 1) // 2
    out = _ranked(b, x, rank, dim, keepdim)
    return out, positions_of(b, "aten.median.dim", x, out.shape, (dim, keepdim))
