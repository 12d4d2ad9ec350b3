"""Operators that move entries: views, slices, gathers, joins.  None of them computes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from epigraph.objective.builder import Builder, Expression
from epigraph.objective.lowering.indexing import flat_take, positions
from epigraph.objective.lowering.registry import lowers, operator


def infer(shape: Sequence[int], numel: int) -> tuple[int, ...]:
    """Replace one -1 of a view's shape."""
    known = math.prod(n for n in shape if n != -1)
    return tuple(numel // known if n == -1 else int(n) for n in shape)


@lowers(
    "aten.view.default", "aten.reshape.default", "aten._unsafe_view.default", "aten._reshape_alias.default", exact=True
)
def view(b: Builder, x: Expression, shape: Sequence[int], stride: Any = None) -> Expression:
    return x.reshape(infer(shape, x.numel))


@lowers("aten.view_as.default", "aten.reshape_as.default", exact=True)
def view_as(b: Builder, x: Expression, y: Expression) -> Expression:
    return x.reshape(y.shape)


@lowers("aten.flatten.using_ints", exact=True)
def flatten(b: Builder, x: Expression, start: int, end: int) -> Expression:
    if x.ndim == 0:
        return x.reshape((1,))
    start, end = start % x.ndim, end % x.ndim
    return x.reshape((*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :]))


@lowers("aten.unflatten.int", exact=True)
def unflatten(b: Builder, x: Expression, dim: int, sizes: Sequence[int]) -> Expression:
    dim %= x.ndim
    return x.reshape((*x.shape[:dim], *infer(sizes, x.shape[dim]), *x.shape[dim + 1 :]))


@lowers("aten.ravel.default", exact=True)
def ravel(b: Builder, x: Expression) -> Expression:
    return x.reshape((x.numel,))


@lowers("aten.squeeze.default", exact=True)
def squeeze(b: Builder, x: Expression) -> Expression:
    return x.reshape(tuple(n for n in x.shape if n != 1))


@lowers("aten.squeeze.dim", "aten.squeeze.dims", exact=True)
def squeeze_dim(b: Builder, x: Expression, dim: Any) -> Expression:
    chosen = {d % max(x.ndim, 1) for d in ([dim] if isinstance(dim, int) else dim)}
    return x.reshape(tuple(n for d, n in enumerate(x.shape) if not (d in chosen and n == 1)))


@lowers("aten.unsqueeze.default", exact=True)
def unsqueeze(b: Builder, x: Expression, dim: int) -> Expression:
    dim %= x.ndim + 1
    return x.reshape((*x.shape[:dim], 1, *x.shape[dim:]))


@lowers("aten.permute.default", exact=True)
def permute(b: Builder, x: Expression, dims: Sequence[int]) -> Expression:
    return x.permute(dims)


@lowers("aten.transpose_.default")
@lowers("aten.transpose.int", "aten.swapaxes.default", "aten.swapdims.default", exact=True)
def transpose(b: Builder, x: Expression, first: int, second: int) -> Expression:
    return x.transpose(first, second)


@lowers("aten.movedim.int", "aten.moveaxis.int", exact=True)
def movedim(b: Builder, x: Expression, source: int, destination: int) -> Expression:
    if x.ndim == 0:
        return x
    order = list(range(x.ndim))
    order.insert(destination % x.ndim, order.pop(source % x.ndim))
    return x.permute(order)


@lowers(
    "aten.t.default", "aten.mT.default", "aten.mH.default", "aten.matrix_H.default", "aten.adjoint.default", exact=True
)
def t(b: Builder, x: Expression) -> Expression:
    return x.transpose(-1, -2) if x.ndim >= 2 else x


@lowers("aten.numpy_T.default", exact=True)
def numpy_transpose(b: Builder, x: Expression) -> Expression:
    """All dimensions in reverse order."""
    return x.permute(list(range(x.ndim))[::-1])


@lowers("aten.expand.default", "aten.broadcast_to.default", exact=True)
def expand(b: Builder, x: Expression, shape: Sequence[int], implicit: bool = False) -> Expression:
    padded = (1,) * (len(shape) - x.ndim) + x.shape
    return x.expand(tuple(n if s == -1 else int(s) for s, n in zip(shape, padded, strict=True)))


@lowers("aten.expand_as.default", exact=True)
def expand_as(b: Builder, x: Expression, y: Expression) -> Expression:
    return x.expand(y.shape)


@lowers("aten.broadcast_tensors.default", exact=True)
def broadcast_tensors(b: Builder, tensors: Sequence[Expression]) -> tuple[Expression, ...]:
    shape = tuple(torch.broadcast_shapes(*(x.shape for x in tensors)))
    return tuple(x.expand(shape) for x in tensors)


@lowers("aten.repeat.default", exact=True)
def repeat(b: Builder, x: Expression, repeats: Sequence[int]) -> Expression:
    padded = (1,) * (len(repeats) - x.ndim) + x.shape
    inner = x.reshape(tuple(n for size in padded for n in (1, size)))
    wide = inner.expand(tuple(n for r, size in zip(repeats, padded, strict=True) for n in (r, size)))
    return wide.reshape(tuple(r * size for r, size in zip(repeats, padded, strict=True)))


@lowers("aten.tile.default", exact=True)
def tile(b: Builder, x: Expression, repeats: Sequence[int]) -> Expression:
    return repeat(b, x, [1] * (x.ndim - len(repeats)) + list(repeats))


@lowers("aten.repeat_interleave.self_int", exact=True)
def repeat_interleave(b: Builder, x: Expression, times: int, dim: int | None, size: Any) -> Expression:
    rows = x.reshape((x.numel,)) if dim is None or x.ndim == 0 else x
    axis = 0 if dim is None or x.ndim == 0 else dim
    return rows.take(torch.arange(rows.shape[axis]).repeat_interleave(times), axis)


@lowers("aten.slice.Tensor", exact=True)
def slice_tensor(b: Builder, x: Expression, dim: int, start: int | None, end: int | None, step: int) -> Expression:
    size = x.shape[dim % x.ndim]
    first, last, step = slice(start, end, step).indices(size)
    return x.slice(dim, first, last, step)


@lowers("aten.narrow.default", exact=True)
def narrow(b: Builder, x: Expression, dim: int, start: int, length: int) -> Expression:
    start %= x.shape[dim % x.ndim]
    return x.slice(dim, start, start + length)


@lowers("aten.select.int", exact=True)
def select(b: Builder, x: Expression, dim: int, index: int) -> Expression:
    return x.select(dim, index)


@lowers("aten.split.Tensor", "aten.unsafe_split.Tensor", exact=True)
def split(b: Builder, x: Expression, size: int, dim: int) -> tuple[Expression, ...]:
    total = x.shape[dim % x.ndim]
    return tuple(x.slice(dim, i, min(i + size, total)) for i in range(0, total, size))


@lowers("aten.split_with_sizes.default", "aten.split.sizes", "aten.unsafe_split_with_sizes.default", exact=True)
def split_with_sizes(b: Builder, x: Expression, sizes: Sequence[int], dim: int) -> tuple[Expression, ...]:
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return tuple(x.slice(dim, end - size, end) for size, end in zip(sizes, ends, strict=True))


@lowers("aten.chunk.default", "aten.unsafe_chunk.default", exact=True)
def chunk(b: Builder, x: Expression, chunks: int, dim: int) -> tuple[Expression, ...]:
    return split(b, x, -(-x.shape[dim % x.ndim] // chunks), dim)


@lowers("aten.unbind.int", exact=True)
def unbind(b: Builder, x: Expression, dim: int) -> tuple[Expression, ...]:
    return tuple(x.select(dim, i) for i in range(x.shape[dim % x.ndim]))


@lowers("aten.cat.default", "aten.concat.default", "aten.concatenate.default", exact=True)
def cat(b: Builder, tensors: Sequence[Expression], dim: int) -> Expression:
    kept = [x for x in tensors if x.shape != (0,)]
    return b.concat(kept, dim % kept[0].ndim)


@lowers("aten.stack.default", exact=True)
def stack(b: Builder, tensors: Sequence[Expression], dim: int) -> Expression:
    return b.concat([unsqueeze(b, x, dim % (x.ndim + 1)) for x in tensors], dim % (tensors[0].ndim + 1))


@lowers("aten.hstack.default", exact=True)
def hstack(b: Builder, tensors: Sequence[Expression]) -> Expression:
    parts = [x.reshape((1,)) if x.ndim == 0 else x for x in tensors]
    return b.concat(parts, 0 if parts[0].ndim == 1 else 1)


@lowers("aten.vstack.default", "aten.row_stack.default", exact=True)
def vstack(b: Builder, tensors: Sequence[Expression]) -> Expression:
    return b.concat([x.reshape((1, x.numel)) if x.ndim < 2 else x for x in tensors], 0)


@lowers("aten.block_diag.default", exact=True)
def block_diag(b: Builder, tensors: Sequence[Expression]) -> Expression:
    blocks = [x.reshape((1,) * (2 - x.ndim) + x.shape) for x in tensors]
    width, left, rows = sum(x.shape[1] for x in blocks), 0, []
    for x in blocks:
        zeros = [b.rational(0).expand((x.shape[0], n)) for n in (left, width - left - x.shape[1])]
        rows.append(b.concat([part for part in (zeros[0], x, zeros[1]) if part.numel], 1))
        left += x.shape[1]
    return b.concat(rows, 0)


@lowers("aten.flip.default", exact=True)
def flip(b: Builder, x: Expression, dims: Sequence[int]) -> Expression:
    for dim in dims:
        x = x.take(torch.arange(x.shape[dim % x.ndim] - 1, -1, -1), dim)
    return x


@lowers("aten.roll.default", exact=True)
def roll(b: Builder, x: Expression, shifts: Sequence[int], dims: Sequence[int]) -> Expression:
    if not dims:
        return roll(b, x.reshape((x.numel,)), shifts, [0]).reshape(x.shape)
    for shift, dim in zip(shifts, dims, strict=True):
        x = x.take(torch.roll(torch.arange(x.shape[dim % x.ndim]), shift), dim)
    return x


@lowers("aten.diagonal.default", "aten.linalg_diagonal.default", exact=True)
def diagonal(b: Builder, x: Expression, offset: int, dim1: int, dim2: int) -> Expression:
    return flat_take(x, positions(x).diagonal(offset, dim1, dim2))


@lowers("aten.diag.default", exact=True)
def diag(b: Builder, x: Expression, offset: int) -> Expression:
    if x.ndim == 2:
        return diagonal(b, x, offset, 0, 1)
    mask = torch.diag(torch.ones(x.numel), offset)
    padded = torch.diag(torch.arange(x.numel), offset)
    return b.literal(mask) * flat_take(x, padded)


@lowers("aten.diag_embed.default", exact=True)
def diag_embed(b: Builder, x: Expression, offset: int, dim1: int, dim2: int) -> Expression:
    mask = torch.diag_embed(torch.ones(x.shape), offset, dim1, dim2)
    padded = torch.diag_embed(positions(x), offset, dim1, dim2)
    return b.literal(mask) * flat_take(x, padded)


@lowers("aten.tril.default", exact=True)
def tril(b: Builder, x: Expression, diagonal: int) -> Expression:
    return x * b.literal(torch.ones(x.shape[-2:], dtype=torch.float64).tril(diagonal))


@lowers("aten.triu.default", exact=True)
def triu(b: Builder, x: Expression, diagonal: int) -> Expression:
    return x * b.literal(torch.ones(x.shape[-2:], dtype=torch.float64).triu(diagonal))


# operators that PyTorch can apply to the positions of the entries -------------------------------------------------
def _rearranges(overload: str) -> None:
    """An operator that only moves or repeats entries: apply it to their positions, then take the entries."""

    def lower(b: Builder, x: Expression, *rest: Any) -> Expression:
        return flat_take(x, operator(overload)(positions(x).double(), *rest).long())

    lowers(overload, exact=True)(lower)


for _overload in (
    "pixel_shuffle.default",
    "pixel_unshuffle.default",
    "channel_shuffle.default",
    "native_channel_shuffle.default",
    "unfold.default",
    "rot90.default",
):
    _rearranges(f"aten.{_overload}")
