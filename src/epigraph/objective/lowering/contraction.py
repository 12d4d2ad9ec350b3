"""Products of two tensors: linear maps, matrix products, convolutions."""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from epigraph.objective.builder import Builder, Expression, Number
from epigraph.objective.lowering.registry import lowers


@lowers("aten.linear.default")
def linear(b: Builder, x: Expression, weight: Expression, bias: Expression | None) -> Expression:
    out = b.matmul(x, weight.transpose(-1, -2) if weight.ndim == 2 else weight)
    return out if bias is None else out + bias


@lowers("aten.matmul.default", "aten.mm.default", "aten.bmm.default", "aten.mv.default", "aten.dot.default", "aten.vdot.default")
def matmul(b: Builder, x: Expression, y: Expression) -> Expression:
    return b.matmul(x, y)


@lowers("aten.addmm.default", "aten.addmv.default", "aten.baddbmm.default")
def addmm(b: Builder, c: Expression, x: Expression, y: Expression, beta: Number, alpha: Number) -> Expression:
    return c * b.rational(beta) + b.matmul(x, y) * b.rational(alpha)


@lowers("aten.outer.default", "aten.ger.default")
def outer(b: Builder, x: Expression, y: Expression) -> Expression:
    return x.reshape((x.numel, 1)) * y.reshape((1, y.numel))


@lowers("aten.linalg_vecdot.default")
def vecdot(b: Builder, x: Expression, y: Expression, dim: int) -> Expression:
    return (x * y).sum([dim])


@lowers("aten.bilinear.default")
def bilinear(b: Builder, x: Expression, y: Expression, weight: Expression, bias: Expression | None) -> Expression:
    lead = x.shape[:-1]
    left = x.reshape((*lead, 1, 1, x.shape[-1]))
    right = y.reshape((*lead, 1, y.shape[-1], 1))
    out = b.matmul(b.matmul(left, weight), right).reshape((*lead, weight.shape[0]))
    return out if bias is None else out + bias


@lowers("aten.einsum.default")
def einsum(b: Builder, equation: str, operands: Sequence[Expression], path: Any) -> Expression:
    if "." in equation:
        raise NotImplementedError("einsum with an ellipsis")
    left, _, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if "->" not in equation:
        right = "".join(sorted(c for c in set(left) - {","} if left.count(c) == 1))
    current, labels = operands[0], terms[0]
    for position, (operand, label) in enumerate(zip(operands[1:], terms[1:], strict=True)):
        later = set("".join(terms[position + 2 :])) | set(right)
        current, labels = _einsum_pair(b, current, labels, operand, label, later)
    return _einsum_finish(current, labels, right)


def _einsum_pair(b: Builder, x: Expression, xs: str, y: Expression, ys: str, later: set[str]) -> tuple[Expression, str]:
    if len(set(xs)) < len(xs) or len(set(ys)) < len(ys):
        raise NotImplementedError("einsum with a repeated index in one operand")
    x, xs = _sum_away(x, xs, set(ys) | later)
    y, ys = _sum_away(y, ys, set(xs) | later)
    batch = [c for c in xs if c in ys and c in later]
    shared = [c for c in xs if c in ys and c not in later]
    own_x, own_y = [c for c in xs if c not in ys], [c for c in ys if c not in xs]
    size = dict(zip(xs, x.shape, strict=True)) | dict(zip(ys, y.shape, strict=True))
    if not own_x and not own_y:
        product = x * y.permute([ys.index(c) for c in xs])
        return product.sum([xs.index(c) for c in shared]) if shared else product, "".join(c for c in xs if c not in shared)
    count = [math.prod(size[c] for c in group) for group in (own_x, shared, own_y)]
    lead = [size[c] for c in batch]
    left = x.permute([xs.index(c) for c in (*batch, *own_x, *shared)]).reshape((*lead, count[0], count[1]))
    right = y.permute([ys.index(c) for c in (*batch, *shared, *own_y)]).reshape((*lead, count[1], count[2]))
    out = b.matmul(left, right).reshape((*lead, *(size[c] for c in own_x), *(size[c] for c in own_y)))
    return out, "".join([*batch, *own_x, *own_y])


def _sum_away(x: Expression, labels: str, kept: set[str]) -> tuple[Expression, str]:
    gone = [d for d, c in enumerate(labels) if c not in kept]
    return (x.sum(gone), "".join(c for c in labels if c in kept)) if gone else (x, labels)


def _einsum_finish(x: Expression, labels: str, right: str) -> Expression:
    if len(set(labels)) < len(labels):
        raise NotImplementedError("einsum with a repeated index in one operand")
    x, labels = _sum_away(x, labels, set(right))
    return x.permute([labels.index(c) for c in right]) if right else x


def _spread(value: int | Sequence[int], count: int) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * count if len(values) == 1 else values


def convolution(b: Builder, x: Expression, w: Expression, bias: Expression | None, stride: Any, padding: Any, dilation: Any,
                groups: int) -> Expression:
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


@lowers("aten.conv1d.default", "aten.conv2d.default", "aten.conv3d.default")
def conv(b: Builder, x: Expression, w: Expression, bias: Expression | None, stride: Any, padding: Any, dilation: Any,
         groups: int) -> Expression:
    return convolution(b, x, w, bias, stride, padding, dilation, groups)


@lowers("aten.conv1d.padding", "aten.conv2d.padding", "aten.conv3d.padding")
def conv_padding(b: Builder, x: Expression, w: Expression, bias: Expression | None, stride: Any, padding: str, dilation: Any,
                 groups: int) -> Expression:
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
def convolution_general(b: Builder, x: Expression, w: Expression, bias: Expression | None, stride: Any, padding: Any,
                        dilation: Any, transposed: bool, output_padding: Any, groups: int, *flags: Any) -> Expression:
    if transposed:
        return conv_transpose(b, x, w, bias, stride, padding, output_padding, groups, dilation)
    return convolution(b, x, w, bias, stride, padding, dilation, groups)


@lowers("aten.conv_transpose1d.default", "aten.conv_transpose2d.input", "aten.conv_transpose3d.input")
def conv_transpose(b: Builder, x: Expression, w: Expression, bias: Expression | None, stride: Any, padding: Any,
                   output_padding: Any, groups: int, dilation: Any) -> Expression:
    """A convolution of the input with zeros between its entries, by the flipped kernel."""
    spatial = w.ndim - 2
    if x.ndim == spatial + 1:
        out = conv_transpose(b, x.reshape((1, *x.shape)), w, bias, stride, padding, output_padding, groups, dilation)
        return out.reshape(out.shape[1:])
    settings = zip(*(_spread(v, spatial) for v in (stride, padding, output_padding, dilation)), w.shape[2:], strict=True)
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
