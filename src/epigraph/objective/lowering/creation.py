"""Constant tensors made inside the objective."""
from __future__ import annotations

from typing import Any

from epigraph.objective.builder import Builder, Expression
from epigraph.objective.lowering.extended import scalar
from epigraph.objective.lowering.registry import EXACT, lowers

#: Operators that make or transform constants without rounding; evaluated at capture where all inputs are exact constants.
EXACT.update({
    "aten.argmax.default", "aten.argmin.default", "aten.argsort.default", "aten.argsort.stable", "aten.sort.default",
    "aten.sort.stable", "aten.topk.default", "aten.one_hot.default", "aten.arange.default", "aten.arange.start",
    "aten.arange.start_step", "aten.zeros.default", "aten.ones.default", "aten.full.default", "aten.eye.default", "aten.eye.m",
    "aten.scalar_tensor.default", "aten.linspace.default", "aten.tril_indices.default", "aten.triu_indices.default",
    "aten.isnan.default", "aten.isinf.default", "aten.isfinite.default", "aten.nonzero.default", "aten.nonzero_numpy.default",
    "aten.argwhere.default", "aten.where.default", "aten.bincount.default", "aten.unique_dim.default", "aten._unique2.default",
    "aten.unique_consecutive.default", "aten.searchsorted.Tensor", "aten.bucketize.Tensor", "aten.meshgrid.default",
    "aten.meshgrid.indexing", "aten.median.default", "aten.median.dim", "aten.mode.default", "aten.isin.Tensor_Tensor",
})


def _shape(x: Expression, rest: Any) -> tuple[int, ...]:
    return tuple(rest[0]) if rest and isinstance(rest[0], (list, tuple)) else x.shape


@lowers("aten.zeros_like.default", "aten.new_zeros.default", "aten.empty_like.default", "aten.new_empty.default",
        "aten.new_empty_strided.default")
def zeros(b: Builder, x: Expression, *rest: Any) -> Expression:
    """Zeros; also for memory that is not initialised, which a program must write before it reads it."""
    return b.rational(0).expand(_shape(x, rest))


@lowers("aten.ones_like.default", "aten.new_ones.default")
def ones(b: Builder, x: Expression, *rest: Any) -> Expression:
    return b.rational(1).expand(_shape(x, rest))


@lowers("aten.full_like.default", exact=True)
def full_like(b: Builder, x: Expression, value: Any, *rest: Any) -> Expression:
    return scalar(b, value).expand(x.shape)


@lowers("aten.new_full.default", exact=True)
def new_full(b: Builder, x: Expression, shape: Any, value: Any, *rest: Any) -> Expression:
    return scalar(b, value).expand(tuple(shape))
