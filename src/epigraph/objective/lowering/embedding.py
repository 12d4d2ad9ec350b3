"""Rows of a table, and their sums, means and maxima over bags."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from epigraph.objective.builder import Builder, Expression, Number
from epigraph.objective.lowering.indexing import constant_index, replaced, segments
from epigraph.objective.lowering.reductions import norm
from epigraph.objective.lowering.registry import lowers


@lowers("aten.embedding.default")
def embedding(
    b: Builder, weight: Expression, indices: Expression, padding: int, scale: bool, sparse: bool
) -> Expression:
    chosen = constant_index(indices)
    return weight.take(chosen, 0).reshape((*chosen.shape, *weight.shape[1:]))


@lowers("aten.embedding_renorm.default")
def embedding_renorm(b: Builder, weight: Expression, indices: Expression, most: Number, p: Number) -> Expression:
    """Rows that are used and whose p-norm exceeds ``most`` are scaled by most / (norm + 1e-7), as PyTorch does it."""
    used = constant_index(indices).unique()
    rows = weight.take(used, 0)
    lengths = norm(rows, p, [1], keepdim=True)
    scaled = rows * (b.rational(most) / (lengths + b.rational(1e-7)))
    chosen = b.where(b.compare(lengths, b.rational(most), "le"), rows, scaled)
    return replaced(b, weight, _cells(used, weight.shape[1]), chosen)


Bags = tuple[Expression, None, None, None]


@lowers("aten.embedding_bag.padding_idx", "aten.embedding_bag.default")
def embedding_bag(
    b: Builder,
    weight: Expression,
    indices: Expression,
    offsets: Expression,
    scale: bool,
    mode: int,
    sparse: bool,
    factors: Expression | None,
    include_last: bool,
    padding: int | None = None,
) -> Bags:
    """Row i is the sum (mode 0), mean (1) or maximum (2) of the rows of bag i; an empty bag is zero."""
    chosen, starts = constant_index(indices).reshape(-1), constant_index(offsets)
    count = len(starts) - int(include_last)
    labels = torch.bucketize(torch.arange(len(chosen)), starts[:count], right=True) - 1
    kept = torch.arange(len(chosen)) if padding is None or padding < 0 else torch.nonzero(chosen != padding).reshape(-1)
    rows = weight.take(chosen[kept], 0)
    if factors is not None:
        rows = rows * factors.take(kept, 0).reshape((len(kept), 1))
    out = b.rational(0).expand((count, weight.shape[1]))
    if len(kept) == 0:
        return out, None, None, None
    present, _, values = segments(b, rows, labels[kept], (_total, _mean, _largest)[mode])
    if len(present) == count:
        return values, None, None, None
    return replaced(b, out, _cells(present, weight.shape[1]), values), None, None, None


def _total(rows: Expression) -> Expression:
    return rows.sum([1])


def _mean(rows: Expression) -> Expression:
    return rows.sum([1]) * Fraction(1, rows.shape[1])


def _largest(rows: Expression) -> Expression:
    return rows.amax([1])


def _cells(rows: Tensor, width: int) -> Tensor:
    return rows[:, None] * width + torch.arange(width)


@lowers("aten._embedding_bag.default", "aten._embedding_bag_forward_only.default")
def embedding_bag_forward(
    b: Builder,
    weight: Expression,
    indices: Expression,
    offsets: Expression,
    scale: bool,
    mode: int,
    sparse: bool,
    factors: Any,
    include_last: bool,
    padding: int,
) -> Bags:
    return embedding_bag(b, weight, indices, offsets, scale, mode, sparse, factors, include_last, padding)
