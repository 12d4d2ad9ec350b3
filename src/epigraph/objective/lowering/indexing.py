"""Reading and writing entries at constant positions: gather, scatter, index, and sums over groups of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from epigraph.objective.builder import Builder, Expression
from epigraph.objective.lowering.conditions import truth
from epigraph.objective.lowering.extended import known
from epigraph.objective.lowering.registry import lowers


def constant(x: Expression) -> Tensor:
    """The entries of a tensor that does not vary, with the rounding of a float64 evaluation where it was computed."""
    from epigraph.objective.evaluate import constant_value

    found = known(x.builder, x)
    if found is None and x.builder.varies[x.id]:
        raise NotImplementedError("indices, labels or masks that depend on a parameter")
    return (constant_value(x.builder, x) if found is None else found).cpu()


def constant_index(index: Expression) -> Tensor:
    """The whole numbers of an index, which must not depend on a parameter."""
    found = constant(index)
    if not found.is_floating_point():
        return found
    if not torch.equal(found, found.round()):
        raise NotImplementedError("indices that are no whole numbers")
    return found.to(torch.int64)


def _selector(index: Expression) -> Tensor:
    """An index that may be a mask: whether it is one must be known."""
    found = known(index.builder, index)
    if found is None or found.is_floating_point():
        raise NotImplementedError("an index that is no constant")
    return found.cpu()


def positions(x: Expression) -> Tensor:
    """0, 1, 2, ... in x's shape."""
    return torch.arange(x.numel).reshape(x.shape)


def flat_take(x: Expression, index: Tensor) -> Expression:
    """x.reshape(-1)[index], with index's shape."""
    return x.reshape((x.numel,)).take(index, 0).reshape(tuple(index.shape))


# reading ----------------------------------------------------------------------------------------------------------
@lowers("aten.index_select.default", exact=True)
def index_select(b: Builder, x: Expression, dim: int, index: Expression) -> Expression:
    if x.ndim == 0:
        return x
    return x.take(constant_index(index), dim)


@lowers("aten.gather.default", exact=True)
def gather(b: Builder, x: Expression, dim: int, index: Expression, sparse: bool) -> Expression:
    return flat_take(x, positions(x).gather(dim, constant_index(index)))


@lowers("aten.take.default", exact=True)
def take(b: Builder, x: Expression, index: Expression) -> Expression:
    return flat_take(x, constant_index(index))


@lowers("aten.take_along_dim.default", exact=True)
def take_along_dim(b: Builder, x: Expression, index: Expression, dim: int | None) -> Expression:
    chosen = constant_index(index)
    return flat_take(
        x, positions(x).take_along_dim(chosen) if dim is None else positions(x).take_along_dim(chosen, dim)
    )


def _indices(indices: Sequence[Expression | None]) -> list[Tensor | None]:
    return [None if i is None else _selector(i) for i in indices]


@lowers("aten.index.Tensor", "aten._unsafe_index.Tensor", exact=True)
def index(b: Builder, x: Expression, indices: Sequence[Expression | None]) -> Expression:
    chosen = _indices(indices)
    present = [(d, i) for d, i in enumerate(chosen) if i is not None]
    if len(present) == 1 and present[0][1].ndim == 1 and present[0][1].dtype not in (torch.bool, torch.uint8):
        return x.take(present[0][1], present[0][0])
    return flat_take(x, torch.ops.aten.index.Tensor(positions(x), chosen))


@lowers("aten.masked_select.default", exact=True)
def masked_select(b: Builder, x: Expression, mask: Expression) -> Expression:
    shape = tuple(torch.broadcast_shapes(x.shape, mask.shape))
    wide = x.expand(shape)
    return flat_take(wide, positions(wide)[_mask(mask).expand(shape)])


def _mask(x: Expression) -> Tensor:
    return constant(x) != 0


# writing ----------------------------------------------------------------------------------------------------------
def replaced(b: Builder, x: Expression, places: Tensor, source: Expression) -> Expression:
    """x with its entries at the flat ``places`` replaced by those of ``source``."""
    places = places.reshape(-1)
    if places.unique().numel() < places.numel():
        raise NotImplementedError("two writes to one entry")
    order = torch.arange(x.numel)
    order[places] = x.numel + torch.arange(places.numel())
    joined = b.concat([x.reshape((x.numel,)), source.reshape((source.numel,))], 0)
    return joined.take(order, 0).reshape(x.shape)


Reduction = Callable[[Expression], Expression]


def segments(b: Builder, rows: Expression, labels: Tensor, reduce: Reduction) -> tuple[Tensor, Tensor, Expression]:
    """Reduce the rows that share a label: (labels that occur, how often, one row for each).

    ``reduce`` maps [k, count, ...] to [k, ...]; labels with the same count are reduced together.
    """
    present, counts = labels.unique(return_counts=True)
    order, starts = labels.argsort(stable=True), counts.cumsum(0) - counts
    parts, places = [], []
    for count in counts.unique().tolist():
        which = torch.nonzero(counts == count).reshape(-1)
        chosen = order[starts[which][:, None] + torch.arange(count)]
        parts.append(reduce(rows.take(chosen, 0).reshape((len(which), count, *rows.shape[1:]))))
        places.append(which)
    joined = b.concat(parts, 0)
    return present, counts, joined if len(parts) == 1 else joined.take(torch.cat(places).argsort(), 0)


def _sum(rows: Expression) -> Expression:
    return rows.sum([1])


def accumulated(b: Builder, x: Expression, places: Tensor, source: Expression) -> Expression:
    """x plus, at each of the flat ``places``, the entries of ``source`` that go there."""
    present, _, sums = segments(b, source.reshape((source.numel,)), places.reshape(-1), _sum)
    return replaced(b, x, present, x.reshape((x.numel,)).take(present, 0) + sums)


def _scatter_places(x: Expression, dim: int, index: Tensor) -> Tensor:
    """Where scatter writes: the positions that gather reads."""
    if x.ndim == 0:
        return torch.zeros((1,), dtype=torch.int64)
    wide = positions(x)[tuple(slice(n) if d != dim % x.ndim else slice(None) for d, n in enumerate(index.shape))]
    return wide.gather(dim, index)


def _corner(source: Expression, index: Tensor) -> Expression:
    """The part of the source that an index of this shape uses."""
    for dim, size in enumerate(index.shape):
        source = source.slice(dim, 0, size)
    return source


@lowers("aten.scatter.src", exact=True)
def scatter(b: Builder, x: Expression, dim: int, index: Expression, source: Expression) -> Expression:
    chosen = constant_index(index)
    return replaced(b, x, _scatter_places(x, dim, chosen), _corner(source, chosen))


@lowers("aten.scatter.value", exact=True)
def scatter_value(b: Builder, x: Expression, dim: int, index: Expression, value: Any) -> Expression:
    places = _scatter_places(x, dim, constant_index(index)).unique()
    return replaced(b, x, places, b.wrap(value).expand((places.numel(),)))


@lowers("aten.scatter_add.default")
def scatter_add(b: Builder, x: Expression, dim: int, index: Expression, source: Expression) -> Expression:
    chosen = constant_index(index)
    return accumulated(b, x, _scatter_places(x, dim, chosen), _corner(source, chosen))


@lowers("aten.scatter_reduce.two")
def scatter_reduce(
    b: Builder, x: Expression, dim: int, index: Expression, source: Expression, reduce: str, include_self: bool
) -> Expression:
    chosen = constant_index(index)
    places, rows = _scatter_places(x, dim, chosen).reshape(-1), _corner(source, chosen)
    negative = reduce == "amin"
    kinds: dict[str, Reduction] = {
        "sum": _sum,
        "mean": _sum,
        "amax": lambda r: r.amax([1]),
        "amin": lambda r: (-r).amax([1]),
    }
    if reduce not in kinds:
        raise NotImplementedError(f"scatter_reduce with {reduce}")
    present, counts, values = segments(b, rows.reshape((rows.numel,)), places, kinds[reduce])
    old = x.reshape((x.numel,)).take(present, 0)
    if reduce in ("sum", "mean"):
        values = values + old if include_self else values
        values = values / b.literal((counts + int(include_self)).double()) if reduce == "mean" else values
    elif include_self:
        values = b.maximum(-old if negative else old, values)
    return replaced(b, x, present, -values if negative else values)


def _rows(x: Expression, dim: int, index: Tensor) -> Tensor:
    """Flat places of the chosen rows along dim, in the shape of those rows."""
    return positions(x).index_select(dim, index.reshape(-1))


@lowers("aten.index_add.default")
def index_add(b: Builder, x: Expression, dim: int, index: Expression, source: Expression, alpha: Any) -> Expression:
    return accumulated(b, x, _rows(x, dim, constant_index(index)), source * b.rational(alpha))


@lowers("aten.index_copy.default", exact=True)
def index_copy(b: Builder, x: Expression, dim: int, index: Expression, source: Expression) -> Expression:
    return replaced(b, x, _rows(x, dim, constant_index(index)), source)


@lowers("aten.index_fill.int_Scalar", "aten.index_fill.int_Tensor", exact=True)
def index_fill(b: Builder, x: Expression, dim: int, index: Expression, value: Any) -> Expression:
    places = _rows(x, dim, constant_index(index)).unique()
    return replaced(b, x, places, b.wrap(value).expand((places.numel(),)))


@lowers("aten.index_put.default", "aten._unsafe_index_put.default", exact=True)
def index_put(
    b: Builder, x: Expression, indices: Sequence[Expression | None], source: Expression, accumulate: bool
) -> Expression:
    if len(indices) == 1 and indices[0] is not None and known(b, indices[0]) is None and source.numel == 1:
        return _where_mask(b, x, indices[0], source.reshape(()), accumulate)
    places = torch.ops.aten.index.Tensor(positions(x), _indices(indices))
    values = source.expand(tuple(places.shape))
    return accumulated(b, x, places, values) if accumulate else replaced(b, x, places, values)


def _where_mask(b: Builder, x: Expression, mask: Expression, value: Expression, accumulate: bool) -> Expression:
    """x[mask] = value, or x[mask] += value, for a mask that depends on parameters."""
    if truth(b, mask) is not mask or mask.shape != x.shape[: mask.ndim]:
        raise NotImplementedError("an index that is no constant")
    wide = mask.reshape((*mask.shape, *[1] * (x.ndim - mask.ndim)))
    return b.where(wide, x + value if accumulate else value, x)


@lowers("aten.masked_scatter.default", exact=True)
def masked_scatter(b: Builder, x: Expression, mask: Expression, source: Expression) -> Expression:
    places = positions(x)[_mask(mask).expand(x.shape)]
    return replaced(b, x, places, source.reshape((source.numel,)).slice(0, 0, places.numel()))


@lowers("aten.select_scatter.default", exact=True)
def select_scatter(b: Builder, x: Expression, source: Expression, dim: int, position: int) -> Expression:
    return replaced(b, x, positions(x).select(dim, position), source)


@lowers("aten.slice_scatter.default", exact=True)
def slice_scatter(
    b: Builder, x: Expression, source: Expression, dim: int, start: int | None, end: int | None, step: int
) -> Expression:
    chosen = (slice(None),) * (dim % x.ndim) + (slice(start, end, step),)
    places = positions(x)[chosen]
    return replaced(b, x, places, source.expand(tuple(places.shape)))


@lowers("aten.diagonal_scatter.default", exact=True)
def diagonal_scatter(b: Builder, x: Expression, source: Expression, offset: int, dim1: int, dim2: int) -> Expression:
    return replaced(b, x, positions(x).diagonal(offset, dim1, dim2), source)
