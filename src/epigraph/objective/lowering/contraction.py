"""Products of two tensors: linear maps, matrix products, convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from epigraph.objective.builder import Builder, Expression, Number
from epigraph.objective.lowering.registry import lowers


@lowers("aten.linear.default")
def linear(b: Builder, x: Expression, weight: Expression, bias: Expression | None) -> Expression:
    out = b.matmul(x, weight.transpose(-1, -2) if weight.ndim == 2 else weight)
    return out if bias is None else out + bias


@lowers(
    "aten.matmul.default",
    "aten.linalg_matmul.default",
    "aten.mm.default",
    "aten.bmm.default",
    "aten.mv.default",
    "aten.dot.default",
    "aten.vdot.default",
)
def matmul(b: Builder, x: Expression, y: Expression) -> Expression:
    return b.matmul(x, y)


@lowers("aten.addmm.default", "aten.addmv.default", "aten.baddbmm.default")
def addmm(b: Builder, c: Expression, x: Expression, y: Expression, beta: Number, alpha: Number) -> Expression:
    return _blend(b, c, beta, b.matmul(x, y) * b.rational(alpha))


def _blend(b: Builder, c: Expression, beta: Number, product: Expression) -> Expression:
    """beta c + product; with beta = 0, c is not read."""
    return product if beta == 0 else c * b.rational(beta) + product


@lowers("aten.addbmm.default")
def addbmm(b: Builder, c: Expression, x: Expression, y: Expression, beta: Number, alpha: Number) -> Expression:
    return _blend(b, c, beta, b.matmul(x, y).sum([0]) * b.rational(alpha))


@lowers("aten.addr.default")
def addr(b: Builder, c: Expression, x: Expression, y: Expression, beta: Number, alpha: Number) -> Expression:
    return _blend(b, c, beta, outer(b, x, y) * b.rational(alpha))


@lowers("aten.outer.default", "aten.ger.default")
def outer(b: Builder, x: Expression, y: Expression) -> Expression:
    return x.reshape((x.numel, 1)) * y.reshape((1, y.numel))


@lowers("aten.linalg_vecdot.default")
def vecdot(b: Builder, x: Expression, y: Expression, dim: int) -> Expression:
    return (x * y).sum([dim])


@lowers("aten.linalg_cross.default")
def cross(b: Builder, x: Expression, y: Expression, dim: int) -> Expression:
    """x_1 y_2 - x_2 y_1 and so on around the three entries along ``dim``."""
    shape = tuple(torch.broadcast_shapes(x.shape, y.shape))
    ahead, behind = torch.tensor([1, 2, 0]), torch.tensor([2, 0, 1])
    x, y = x.expand(shape), y.expand(shape)
    return x.take(ahead, dim) * y.take(behind, dim) - x.take(behind, dim) * y.take(ahead, dim)


@lowers("aten.bilinear.default")
def bilinear(b: Builder, x: Expression, y: Expression, weight: Expression, bias: Expression | None) -> Expression:
    lead = x.shape[:-1]
    left = x.reshape((*lead, 1, 1, x.shape[-1]))
    right = y.reshape((*lead, 1, y.shape[-1], 1))
    out = b.matmul(b.matmul(left, weight), right).reshape((*lead, weight.shape[0]))
    return out if bias is None else out + bias


@lowers("aten._trilinear.default")
def trilinear(
    b: Builder,
    x: Expression,
    y: Expression,
    z: Expression,
    xs: Sequence[int],
    ys: Sequence[int],
    zs: Sequence[int],
    summed: Sequence[int],
    unroll: int,
) -> Expression:
    """The product of three tensors, given new dimensions of size 1, summed over some dimensions."""
    wide = []
    for tensor, new in ((x, xs), (y, ys), (z, zs)):
        for dim in new:
            tensor = tensor.reshape((*tensor.shape[:dim], 1, *tensor.shape[dim:]))
        wide.append(tensor)
    return (wide[0] * wide[1] * wide[2]).sum(list(summed)) if summed else wide[0] * wide[1] * wide[2]


def _spread(value: int | Sequence[int], count: int) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * count if len(values) == 1 else values


@lowers("aten.conv1d.default", "aten.conv2d.default", "aten.conv3d.default")
def convolution(
    b: Builder,
    x: Expression,
    w: Expression,
    bias: Expression | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> Expression:
    """Cross-correlation with zero padding; an input without batch dimension gets one."""
    spatial = w.ndim - 2
    if x.ndim == spatial + 1:
        out = convolution(b, x.reshape((1, *x.shape)), w, bias, stride, padding, dilation, groups)
        return out.reshape(out.shape[1:])
    strides, pads, dilations = (_spread(v, spatial) for v in (stride, padding, dilation))
    sizes = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(x.shape[2:], w.shape[2:], strides, pads, dilations, strict=True)
    ]
    attributes = {"stride": strides, "padding": pads, "dilation": dilations, "groups": groups}
    out = b.make("convolution", (x, w), attributes, (x.shape[0], w.shape[0], *sizes))
    return out if bias is None else out + bias.reshape((bias.numel,) + (1,) * spatial)


@lowers("aten.conv1d.padding", "aten.conv2d.padding", "aten.conv3d.padding")
def conv_padding(
    b: Builder,
    x: Expression,
    w: Expression,
    bias: Expression | None,
    stride: Any,
    padding: str,
    dilation: Any,
    groups: int,
) -> Expression:
    spatial = w.ndim - 2
    if padding == "valid":
        return convolution(b, x, w, bias, stride, 0, dilation, groups)
    totals = [d * (k - 1) for d, k in zip(_spread(dilation, spatial), w.shape[2:], strict=True)]
    for offset, total in enumerate(totals):
        dim = x.ndim - spatial + offset
        x = _zero_pad(b, x, dim, total // 2, total - total // 2)
    return convolution(b, x, w, bias, stride, 0, dilation, groups)


def _zero_pad(b: Builder, x: Expression, dim: int, before: int, after: int) -> Expression:
    parts = [b.rational(0).expand((*x.shape[:dim], n, *x.shape[dim + 1 :])) if n else None for n in (before, after)]
    return b.concat([p for p in (parts[0], x, parts[1]) if p is not None], dim)


@lowers("aten.convolution.default", "aten._convolution.default")
def convolution_general(
    b: Builder,
    x: Expression,
    w: Expression,
    bias: Expression | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
    *flags: Any,
) -> Expression:
    if transposed:
        return conv_transpose(b, x, w, bias, stride, padding, output_padding, groups, dilation)
    return convolution(b, x, w, bias, stride, padding, dilation, groups)


@lowers("aten.conv_transpose1d.default", "aten.conv_transpose2d.input", "aten.conv_transpose3d.input")
def conv_transpose(
    b: Builder,
    x: Expression,
    w: Expression,
    bias: Expression | None,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> Expression:
    """A convolution of the input with zeros between its entries, by the flipped kernel."""
    spatial = w.ndim - 2
    if x.ndim == spatial + 1:
        out = conv_transpose(b, x.reshape((1, *x.shape)), w, bias, stride, padding, output_padding, groups, dilation)
        return out.reshape(out.shape[1:])
    settings = zip(
        *(_spread(v, spatial) for v in (stride, padding, output_padding, dilation)), w.shape[2:], strict=True
    )
    for offset, (s, p, extra, d, k) in enumerate(settings):
        dim = 2 + offset
        if s > 1:
            x = _insert_zeros(b, x, dim, s)
        edge = d * (k - 1) - p
        x = _zero_pad(b, x, dim, max(edge, 0), max(edge + extra, 0))
        if edge < 0:
            x = x.slice(dim, -edge, x.shape[dim] + min(edge + extra, 0))
        w = w.take(torch.arange(k - 1, -1, -1), dim)
    inside = w.shape[0] // groups
    grouped = w.reshape((groups, inside, *w.shape[1:])).transpose(1, 2)
    kernel = grouped.reshape((groups * w.shape[1], inside, *w.shape[2:]))
    return convolution(b, x, kernel, bias, 1, 0, dilation, groups)


def _insert_zeros(b: Builder, x: Expression, dim: int, stride: int) -> Expression:
    zeros = b.rational(0).expand((*x.shape[: dim + 1], stride - 1, *x.shape[dim + 1 :]))
    spread = b.concat([x.reshape((*x.shape[: dim + 1], 1, *x.shape[dim + 1 :])), zeros], dim + 1)
    full = spread.reshape((*x.shape[:dim], x.shape[dim] * stride, *x.shape[dim + 1 :]))
    return full.slice(dim, 0, x.shape[dim] * stride - (stride - 1))
