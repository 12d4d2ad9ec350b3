"""Operators that move entries: views, slices, gathers, joins.  None of them computes."""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from epigraph.objective.builder import Builder, Expression
from epigraph.objective.lowering.registry import lowers


def infer(shape: Sequence[int], numel: int) -> tuple[int, ...]:
    """Replace one -1 of a view's shape."""
    known = math.prod(n for n in shape if n != -1)
    return tuple(numel // known if n == -1 else int(n) for n in shape)


@lowers("aten.view.default", "aten.reshape.default", "aten._unsafe_view.default", exact=True)
def view(b: Builder, x: Expression, shape: Sequence[int]) -> Expression:
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


@lowers("aten.transpose.int", "aten.swapaxes.default", exact=True)
def transpose(b: Builder, x: Expression, first: int, second: int) -> Expression:
    return x.transpose(first, second)


@lowers("aten.movedim.int", exact=True)
def movedim(b: Builder, x: Expression, source: int, destination: int) -> Expression:
    order = list(range(x.ndim))
    order.insert(destination % x.ndim, order.pop(source % x.ndim))
    return x.permute(order)


@lowers("aten.t.default", "aten.numpy_T.default", "aten.mT.default", "aten.adjoint.default", "aten.linalg_matrix_transpose.default", exact=True)
def t(b: Builder, x: Expression) -> Expression:
    return x.transpose(-1, -2) if x.ndim >= 2 else x


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


@lowers("aten.split.Tensor", exact=True)
def split(b: Builder, x: Expression, size: int, dim: int) -> tuple[Expression, ...]:
    total = x.shape[dim % x.ndim]
    return tuple(x.slice(dim, i, min(i + size, total)) for i in range(0, total, size))


@lowers("aten.split_with_sizes.default", "aten.split.sizes", exact=True)
def split_with_sizes(b: Builder, x: Expression, sizes: Sequence[int], dim: int) -> tuple[Expression, ...]:
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return tuple(x.slice(dim, end - size, end) for size, end in zip(sizes, ends, strict=True))


@lowers("aten.chunk.default", exact=True)
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


@lowers("aten.vstack.default", exact=True)
def vstack(b: Builder, tensors: Sequence[Expression]) -> Expression:
    return b.concat([x.reshape((1, x.numel)) if x.ndim < 2 else x for x in tensors], 0)


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


@lowers("aten.index_select.default", exact=True)
def index_select(b: Builder, x: Expression, dim: int, index: Expression) -> Expression:
    return x.take(constant_index(index), dim)


def constant_index(index: Expression) -> torch.Tensor:
    """The integers of an index, which must not depend on a parameter."""
    if index.literal is None:
        raise NotImplementedError("indices that depend on a parameter")
    return index.literal


def flat_take(x: Expression, index: torch.Tensor) -> Expression:
    """x.reshape(-1)[index], with index's shape."""
    return x.reshape((x.numel,)).take(index, 0).reshape(tuple(index.shape))


@lowers("aten.gather.default", exact=True)
def gather(b: Builder, x: Expression, dim: int, index: Expression, sparse: bool) -> Expression:
    positions = torch.arange(x.numel).reshape(x.shape)
    return flat_take(x, positions.gather(dim, constant_index(index).cpu()))


@lowers("aten.take_along_dim.default", exact=True)
def take_along_dim(b: Builder, x: Expression, index: Expression, dim: int | None) -> Expression:
    positions = torch.arange(x.numel).reshape(x.shape)
    chosen = constant_index(index).cpu()
    return flat_take(x, positions.take_along_dim(chosen) if dim is None else positions.take_along_dim(chosen, dim))


@lowers("aten.index.Tensor", "aten._unsafe_index.Tensor", exact=True)
def index(b: Builder, x: Expression, indices: Sequence[Expression | None]) -> Expression:
    chosen = [None if i is None else constant_index(i).cpu() for i in indices]
    present = [(d, i) for d, i in enumerate(chosen) if i is not None]
    if len(present) == 1 and present[0][1].ndim == 1 and present[0][1].dtype not in (torch.bool, torch.uint8):
        return x.take(present[0][1], present[0][0])
    positions = torch.arange(x.numel).reshape(x.shape)
    return flat_take(x, torch.ops.aten.index.Tensor(positions, chosen))


@lowers("aten.embedding.default")
def embedding(b: Builder, weight: Expression, indices: Expression, padding: int, scale: bool, sparse: bool) -> Expression:
    chosen = constant_index(indices)
    return weight.take(chosen, 0).reshape((*chosen.shape, weight.shape[1]))


@lowers("aten.select_scatter.default")
def select_scatter(b: Builder, x: Expression, source: Expression, dim: int, position: int) -> Expression:
    dim %= x.ndim
    position %= x.shape[dim]
    return slice_scatter(b, x, unsqueeze(b, source, dim), dim, position, position + 1, 1)


@lowers("aten.slice_scatter.default")
def slice_scatter(b: Builder, x: Expression, source: Expression, dim: int, start: int | None, end: int | None, step: int) -> Expression:
    dim %= x.ndim
    rows = torch.arange(x.shape[dim])
    order = rows.clone()
    order[slice(start, end, step)] = x.shape[dim] + torch.arange(source.shape[dim])
    return b.concat([x, source], dim).take(order, dim)


@lowers("aten.diagonal.default", exact=True)
def diagonal(b: Builder, x: Expression, offset: int, dim1: int, dim2: int) -> Expression:
    positions = torch.arange(x.numel).reshape(x.shape)
    return flat_take(x, positions.diagonal(offset, dim1, dim2))


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
    padded = torch.diag_embed(torch.arange(x.numel).reshape(x.shape), offset, dim1, dim2)
    return b.literal(mask) * flat_take(x, padded)


@lowers("aten.tril.default", exact=True)
def tril(b: Builder, x: Expression, diagonal: int) -> Expression:
    return x * b.literal(torch.ones(x.shape[-2:], dtype=torch.float64).tril(diagonal))


@lowers("aten.triu.default", exact=True)
def triu(b: Builder, x: Expression, diagonal: int) -> Expression:
    return x * b.literal(torch.ones(x.shape[-2:], dtype=torch.float64).triu(diagonal))


@lowers("aten.constant_pad_nd.default", "aten.pad.default", exact=True)
def pad(b: Builder, x: Expression, amounts: Sequence[int], mode: Any, value: Any = None) -> Expression:
    if isinstance(mode, str) and mode != "constant":
        return _pad_by_index(x, amounts, mode)
    fill = value if isinstance(mode, str) else mode
    for position in range(len(amounts) // 2):
        dim = x.ndim - 1 - position
        before, after = amounts[2 * position], amounts[2 * position + 1]
        x = x.slice(dim, max(0, -before), x.shape[dim] - max(0, -after))
        parts = [_filled(b, x, dim, before, fill), x, _filled(b, x, dim, after, fill)]
        x = b.concat([p for p in parts if p is not None], dim)
    return x


def _filled(b: Builder, x: Expression, dim: int, width: int, value: Any) -> Expression | None:
    if width <= 0:
        return None
    return b.rational(value or 0).expand((*x.shape[:dim], width, *x.shape[dim + 1 :]))


def _pad_by_index(x: Expression, amounts: Sequence[int], mode: str) -> Expression:
    """reflect, replicate and circular padding select entries: find which by padding their positions."""
    for position in range(len(amounts) // 2):
        dim = x.ndim - 1 - position
        row = torch.arange(x.shape[dim], dtype=torch.float64).reshape(1, 1, -1)
        padded = torch.nn.functional.pad(row, (amounts[2 * position], amounts[2 * position + 1]), mode=mode)
        x = x.take(padded.reshape(-1).to(torch.int64), dim)
    return x


@lowers("aten.clone.default", "aten.contiguous.default", "aten.alias.default", "aten.detach.default", "aten.detach_.default",
        "aten.lift_fresh_copy.default", "aten.lift_fresh.default", "aten.to.dtype", "aten.to.device", "aten.to.dtype_layout",
        "aten.to.other", "aten._to_copy.default", "aten.type_as.default", "aten.positive.default", "aten.resolve_conj.default",
        "aten.resolve_neg.default", "aten.float.default", "aten.double.default", "aten.view.dtype")
def identity(b: Builder, x: Expression, *rest: Any) -> Expression:
    """Copies and casts between floating types are the identity on real numbers; casts to integers are caught at capture."""
    return x
