"""Pooling: windows are gathered, then summed or maximised."""
from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch

from epigraph.objective.builder import Builder, Expression
from epigraph.objective.lowering.registry import lowers


def _spread(value: Any, count: int) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * count if len(values) == 1 else values


def _starts(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil: bool) -> list[int]:
    """First position of each window along one dimension (may lie in the padding)."""
    reach = size + 2 * padding - dilation * (kernel - 1) - 1
    count = (-(-reach // stride) if ceil else reach // stride) + 1
    if ceil and (count - 1) * stride >= size + padding:
        count -= 1
    return [i * stride - padding for i in range(count)]


def windows(sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int],
            ceil: bool) -> tuple[list[int], list[list[int]]]:
    """Output sizes and, for each window, the flat positions of its entries inside the input."""
    axes = []
    for n, k, s, p, d in zip(sizes, kernel, stride, padding, dilation, strict=True):
        axes.append([[q for q in range(a, a + d * (k - 1) + 1, d) if 0 <= q < n] for a in _starts(n, k, s, p, d, ceil)])
    flat: list[list[int]] = [[0]]
    for axis, n in zip(axes, sizes, strict=True):
        flat = [[base * n + q for base in window for q in places] for window in flat for places in axis]
    return [len(a) for a in axes], flat


def _gather(x: Expression, spatial: int, flat: list[list[int]], repeat: bool) -> tuple[Expression, int]:
    """[N, C, windows, longest window]; shorter windows repeat their first entry where ``repeat``."""
    longest = max(len(w) for w in flat)
    index = torch.tensor([w + [w[0]] * (longest - len(w)) for w in flat])
    lead = x.shape[: x.ndim - spatial]
    rows = x.reshape((*lead, math.prod(x.shape[x.ndim - spatial :]))).take(index, len(lead))
    return rows.reshape((*lead, len(flat), longest)), longest


def max_pool(b: Builder, x: Expression, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool, spatial: int) -> Expression:
    kernels = _spread(kernel, spatial)
    strides = _spread(stride, spatial) if stride else kernels
    sizes = x.shape[x.ndim - spatial :]
    out, flat = windows(sizes, kernels, strides, _spread(padding, spatial), _spread(dilation, spatial), ceil)
    gathered, _ = _gather(x, spatial, flat, repeat=True)
    return gathered.amax([-1]).reshape((*x.shape[: x.ndim - spatial], *out))


def _max_pool_lowering(spatial: int) -> None:
    def plain(b: Builder, x: Expression, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> Expression:
        return max_pool(b, x, kernel, stride, padding, dilation, ceil, spatial)

    def indexed(b: Builder, x: Expression, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> tuple[Expression, None]:
        return plain(b, x, kernel, stride, padding, dilation, ceil), None

    lowers(f"aten.max_pool{spatial}d.default", exact=True)(plain)
    lowers(f"aten.max_pool{spatial}d_with_indices.default", exact=True)(indexed)


for _spatial in (1, 2, 3):
    _max_pool_lowering(_spatial)


def avg_pool(b: Builder, x: Expression, kernel: Any, stride: Any, padding: Any, ceil: bool, count_include_pad: bool,
             divisor: int | None, spatial: int) -> Expression:
    kernels = _spread(kernel, spatial)
    strides = _spread(stride, spatial) if stride else kernels
    pads = _spread(padding, spatial)
    sizes = x.shape[x.ndim - spatial :]
    out, flat = windows(sizes, kernels, strides, pads, [1] * spatial, ceil)
    counts = [len(w) for w in flat]
    if divisor is not None:
        divisors = [divisor] * len(flat)
    elif count_include_pad:
        spans = [
            [min(a + k, n + p) - a for a in _starts(n, k, s, p, 1, ceil)]
            for n, k, s, p in zip(sizes, kernels, strides, pads, strict=True)
        ]
        divisors = [1]
        for axis in spans:
            divisors = [d * a for d in divisors for a in axis]
    else:
        divisors = counts
    return _mean_of_windows(b, x, spatial, flat, divisors).reshape((*x.shape[: x.ndim - spatial], *out))


def _mean_of_windows(b: Builder, x: Expression, spatial: int, flat: list[list[int]], divisors: list[int]) -> Expression:
    gathered, longest = _gather(x, spatial, flat, repeat=True)
    if any(len(w) < longest for w in flat):
        mask = torch.tensor([[1.0] * len(w) + [0.0] * (longest - len(w)) for w in flat], dtype=torch.float64)
        gathered = gathered * b.literal(mask)
    total = gathered.sum([-1])
    if len(set(divisors)) == 1:
        return total * Fraction(1, divisors[0])
    return total / b.literal(torch.tensor(divisors, dtype=torch.float64))


@lowers("aten.avg_pool1d.default")
def avg_pool1d(b: Builder, x: Expression, kernel: Any, stride: Any, padding: Any, ceil: bool, count_include_pad: bool) -> Expression:
    return avg_pool(b, x, kernel, stride, padding, ceil, count_include_pad, None, 1)


@lowers("aten.avg_pool2d.default")
def avg_pool2d(b: Builder, x: Expression, kernel: Any, stride: Any, padding: Any, ceil: bool, count_include_pad: bool,
               divisor: int | None) -> Expression:
    return avg_pool(b, x, kernel, stride, padding, ceil, count_include_pad, divisor, 2)


@lowers("aten.avg_pool3d.default")
def avg_pool3d(b: Builder, x: Expression, kernel: Any, stride: Any, padding: Any, ceil: bool, count_include_pad: bool,
               divisor: int | None) -> Expression:
    return avg_pool(b, x, kernel, stride, padding, ceil, count_include_pad, divisor, 3)


def _adaptive_windows(sizes: Sequence[int], out: Sequence[int]) -> list[list[int]]:
    flat: list[list[int]] = [[0]]
    for n, m in zip(sizes, out, strict=True):
        axis = [list(range(i * n // m, -(-(i + 1) * n // m))) for i in range(m)]
        flat = [[base * n + q for base in window for q in places] for window in flat for places in axis]
    return flat


def _adaptive(b: Builder, x: Expression, size: Any, spatial: int, maximum: bool) -> Expression:
    sizes = x.shape[x.ndim - spatial :]
    out = [n if m is None else m for m, n in zip(_spread(size, spatial), sizes, strict=True)]
    lead = x.shape[: x.ndim - spatial]
    if math.prod(out) == 1:
        dims = list(range(x.ndim - spatial, x.ndim))
        return (x.amax(dims) if maximum else x.mean(dims)).reshape((*lead, *out))
    flat = _adaptive_windows(sizes, out)
    if maximum:
        return _gather(x, spatial, flat, repeat=True)[0].amax([-1]).reshape((*lead, *out))
    return _mean_of_windows(b, x, spatial, flat, [len(w) for w in flat]).reshape((*lead, *out))


def _adaptive_lowering(spatial: int) -> None:
    def average(b: Builder, x: Expression, size: Any) -> Expression:
        return _adaptive(b, x, size, spatial, maximum=False)

    def maximum(b: Builder, x: Expression, size: Any) -> tuple[Expression, None]:
        return _adaptive(b, x, size, spatial, maximum=True), None

    lowers(f"aten.adaptive_avg_pool{spatial}d.default")(average)
    lowers(f"aten.adaptive_max_pool{spatial}d.default", exact=True)(maximum)
    if spatial > 1:
        lowers(f"aten._adaptive_avg_pool{spatial}d.default")(average)


for _spatial in (1, 2, 3):
    _adaptive_lowering(_spatial)
