"""Sliding blocks of an image as columns, and back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from epigraph.objective.builder import Builder, Expression
from epigraph.objective.lowering.indexing import replaced, segments
from epigraph.objective.lowering.registry import lowers

Sizes = Sequence[int]


def _columns(channels: int, size: Sizes, kernel: Sizes, dilation: Sizes, padding: Sizes, stride: Sizes) -> Tensor:
    """For each entry of the columns the pixel that it shows, counted from 1, or 0 for padding."""
    pixels = torch.arange(1, channels * size[0] * size[1] + 1, dtype=torch.float64).reshape(1, channels, *size)
    return F.unfold(pixels, tuple(kernel), tuple(dilation), tuple(padding), tuple(stride))[0].long()


@lowers("aten.im2col.default", exact=True)
def im2col(b: Builder, x: Expression, kernel: Sizes, dilation: Sizes, padding: Sizes, stride: Sizes) -> Expression:
    if x.ndim == 3:
        out = im2col(b, x.reshape((1, *x.shape)), kernel, dilation, padding, stride)
        return out.reshape(out.shape[1:])
    index = _columns(x.shape[1], x.shape[2:], kernel, dilation, padding, stride)
    rows = x.reshape((x.shape[0], x.numel // x.shape[0]))
    if bool((index == 0).any()):
        rows = b.concat([b.rational(0).expand((x.shape[0], 1)), rows], 1)
    else:
        index = index - 1
    return rows.take(index.reshape(-1), 1).reshape((x.shape[0], *index.shape))


@lowers("aten.col2im.default")
def col2im(
    b: Builder, x: Expression, size: Sizes, kernel: Sizes, dilation: Sizes, padding: Sizes, stride: Sizes
) -> Expression:
    """Each pixel is the sum of the entries that show it."""
    if x.ndim == 2:
        out = col2im(b, x.reshape((1, *x.shape)), size, kernel, dilation, padding, stride)
        return out.reshape(out.shape[1:])
    count, channels = x.shape[0], x.shape[1] // (kernel[0] * kernel[1])
    labels = _columns(channels, size, kernel, dilation, padding, stride).reshape(-1)
    inside = torch.nonzero(labels > 0).reshape(-1)
    entries = x.reshape((count, x.numel // count)).permute([1, 0]).take(inside, 0)
    present, _, sums = segments(b, entries, labels[inside] - 1, lambda rows: rows.sum([1]))
    pixels = channels * size[0] * size[1]
    if len(present) < pixels:
        cells = present[:, None] * count + torch.arange(count)
        sums = replaced(b, b.rational(0).expand((pixels, count)), cells, sums)
    return sums.permute([1, 0]).reshape((count, channels, *size))
