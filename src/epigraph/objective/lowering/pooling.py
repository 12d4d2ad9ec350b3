"""Pooling, one dimension after the other: windows are gathered along it, then summed or maximised.

Sums and maxima over boxes are separable, so a kernel of k^d entries costs d gathers of k times the tensor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch

from epigraph.objective.builder import Builder, Expression
from epigraph.objective.lowering.reductions import positions_of
from epigraph.objective.lowering.registry import lowers

Window = tuple[list[int], int]  # the positions inside the tensor, and how many entries PyTorch counts with padding


def _spread(value: Any, count: int) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * count if len(values) == 1 else values


def windows(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil: bool) -> list[Window]:
    """The windows along one dimension; the last may stick out where ``ceil``."""
    reach = size + 2 * padding - dilation * (kernel - 1) - 1
    count = (-(-reach // stride) if ceil else reach // stride) + 1
    if ceil and (count - 1) * stride >= size + padding:
        count -= 1
    starts = [i * stride - padding for i in range(count)]
    return [
        (
            [q for q in range(a, a + dilation * (kernel - 1) + 1, dilation) if 0 <= q < size],
            min(a + kernel, size + padding) - a,
        )
        for a in starts
    ]


def adaptive_windows(size: int, count: int) -> list[Window]:
    """Windows from floor(i size / count) to ceil((i + 1) size / count)."""
    spans = [range(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]
    return [(list(span), len(span)) for span in spans]


def _pooled(b: Builder, x: Expression, axes: Sequence[Sequence[Window]], maximum: bool) -> Expression:
    dims = list(range(x.ndim - len(axes), x.ndim))
    if all(len(axis) == 1 and axis[0][0] == list(range(x.shape[d])) for d, axis in zip(dims, axes, strict=True)):
        return x.amax(dims, keepdim=True) if maximum else x.sum(dims, keepdim=True)
    for offset, axis in enumerate(axes):
        x = _along(b, x, x.ndim - len(axes) + offset, [w for w, _ in axis], maximum)
    return x


def _along(b: Builder, x: Expression, dim: int, axis: Sequence[Sequence[int]], maximum: bool) -> Expression:
    """Maximum or sum over the windows along one dimension; short windows repeat their first entry."""
    longest = max(len(w) for w in axis)
    if longest == 0 or (maximum and any(not w for w in axis)):
        raise NotImplementedError("a pooling window that holds padding only")
    if longest == 1 and [w[0] for w in axis if w] == list(range(x.shape[dim])):
        return x
    index = torch.tensor([[*w, *[w[0] if w else 0] * (longest - len(w))] for w in axis])
    flat, first = index.reshape(-1), int(index[0, 0])
    consecutive = torch.equal(flat, torch.arange(first, first + flat.numel()))
    rows = x.slice(dim, first, first + flat.numel()) if consecutive else x.take(flat, dim)
    rows = rows.reshape((*x.shape[:dim], len(axis), longest, *x.shape[dim + 1 :]))
    if maximum:
        return rows.amax([dim + 1])
    if any(len(w) < longest for w in axis):
        mask = torch.tensor([[1.0] * len(w) + [0.0] * (longest - len(w)) for w in axis], dtype=torch.float64)
        rows = rows * b.literal(mask.reshape(len(axis), longest, *[1] * (x.ndim - dim - 1)))
    return rows.sum([dim + 1])


def _divided(b: Builder, x: Expression, divisors: Sequence[Sequence[int]]) -> Expression:
    """x over the product of one divisor per dimension."""
    if all(len(set(axis)) == 1 for axis in divisors):
        return x * Fraction(1, math.prod(axis[0] for axis in divisors))
    table = torch.ones((), dtype=torch.float64)
    for axis in divisors:
        table = table[..., None] * torch.tensor(axis, dtype=torch.float64)
    return x / b.literal(table)


def _settings(
    x: Expression, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool, spatial: int
) -> list[list[Window]]:
    kernels = _spread(kernel, spatial)
    strides = _spread(stride, spatial) if stride else kernels
    rows = zip(
        x.shape[x.ndim - spatial :],
        kernels,
        strides,
        _spread(padding, spatial),
        _spread(dilation, spatial),
        strict=True,
    )
    return [windows(*row, ceil) for row in rows]


def _max_pool_lowering(spatial: int) -> None:
    name = f"aten.max_pool{spatial}d_with_indices.default"

    def plain(
        b: Builder, x: Expression, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool
    ) -> Expression:
        return _pooled(b, x, _settings(x, kernel, stride, padding, dilation, ceil, spatial), maximum=True)

    def indexed(b: Builder, x: Expression, *rest: Any) -> tuple[Expression, Expression]:
        out = plain(b, x, *rest)
        return out, positions_of(b, name, x, out.shape, rest)

    lowers(f"aten.max_pool{spatial}d.default", exact=True)(plain)
    lowers(name, exact=True)(indexed)


def _avg_pool_lowering(spatial: int) -> None:
    def average(
        b: Builder,
        x: Expression,
        kernel: Any,
        stride: Any,
        padding: Any,
        ceil: bool,
        count_include_pad: bool,
        divisor: int | None = None,
    ) -> Expression:
        axes = _settings(x, kernel, stride, padding, 1, ceil, spatial)
        total = _pooled(b, x, axes, maximum=False)
        if divisor is not None:
            return total * Fraction(1, divisor)
        return _divided(b, total, [[span if count_include_pad else len(w) for w, span in axis] for axis in axes])

    lowers(f"aten.avg_pool{spatial}d.default")(average)


def _adaptive_lowering(spatial: int) -> None:
    name = f"aten.adaptive_max_pool{spatial}d.default"

    def axes(x: Expression, size: Any) -> list[list[Window]]:
        sizes = zip(x.shape[x.ndim - spatial :], _spread(size, spatial), strict=True)
        return [adaptive_windows(n, n if m is None else m) for n, m in sizes]

    def average(b: Builder, x: Expression, size: Any) -> Expression:
        chosen = axes(x, size)
        return _divided(b, _pooled(b, x, chosen, maximum=False), [[span for _, span in axis] for axis in chosen])

    def maximum(b: Builder, x: Expression, size: Any) -> tuple[Expression, Expression]:
        out = _pooled(b, x, axes(x, size), maximum=True)
        return out, positions_of(b, name, x, out.shape, (size,))

    lowers(f"aten.adaptive_avg_pool{spatial}d.default")(average)
    lowers(name, exact=True)(maximum)
    if spatial > 1:
        lowers(f"aten._adaptive_avg_pool{spatial}d.default")(average)


for _spatial in (1, 2, 3):
    _max_pool_lowering(_spatial)
    _avg_pool_lowering(_spatial)
    _adaptive_lowering(_spatial)
