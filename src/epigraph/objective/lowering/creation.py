"""Constant tensors made inside the objective; all are evaluated at capture, so a lowering is only a marker."""
from __future__ import annotations

from typing import Any

from epigraph.objective.builder import Builder, Expression
from epigraph.objective.lowering.registry import EXACT, lowers

#: Operators that make or transform constants without rounding; evaluated at capture where all inputs are exact constants.
EXACT.update({
    "aten.argmax.default", "aten.argmin.default", "aten.argsort.default", "aten.sort.default", "aten.topk.default",
    "aten.one_hot.default", "aten.arange.default", "aten.arange.start", "aten.arange.start_step", "aten.zeros.default",
    "aten.ones.default", "aten.full.default", "aten.zeros_like.default", "aten.ones_like.default", "aten.full_like.default",
    "aten.new_zeros.default", "aten.new_ones.default", "aten.new_full.default", "aten.eye.default", "aten.eye.m",
    "aten.scalar_tensor.default", "aten.linspace.default", "aten.tril_indices.default", "aten.triu_indices.default",
    "aten.isnan.default", "aten.isinf.default", "aten.isfinite.default", "aten.bitwise_not.default", "aten.bitwise_and.Tensor",
    "aten.bitwise_or.Tensor", "aten.logical_and.default", "aten.logical_or.default", "aten.nonzero.default", "aten.round.default",
    "aten.any.default", "aten.all.default", "aten.any.dim", "aten.all.dim", "aten.clone.default", "aten.detach.default",
    "aten.lift_fresh_copy.default", "aten.lift_fresh.default", "aten.contiguous.default", "aten.alias.default",
    "aten.new_tensor.default", "aten.masked_select.default", "aten.bincount.default", "aten.unique_dim.default",
    "aten.searchsorted.Tensor", "aten.bucketize.Tensor", "aten.repeat_interleave.self_int", "aten.meshgrid.default",
})


@lowers("aten.zeros_like.default", "aten.new_zeros.default")
def zeros(b: Builder, x: Expression, *rest: Any) -> Expression:
    shape = rest[0] if rest and isinstance(rest[0], (list, tuple)) else x.shape
    return b.rational(0).expand(tuple(shape))


@lowers("aten.ones_like.default", "aten.new_ones.default")
def ones(b: Builder, x: Expression, *rest: Any) -> Expression:
    shape = rest[0] if rest and isinstance(rest[0], (list, tuple)) else x.shape
    return b.rational(1).expand(tuple(shape))


@lowers("aten.full_like.default")
def full_like(b: Builder, x: Expression, value: Any, *rest: Any) -> Expression:
    return b.wrap(value).expand(x.shape)


@lowers("aten.new_full.default")
def new_full(b: Builder, x: Expression, shape: Any, value: Any, *rest: Any) -> Expression:
    return b.wrap(value).expand(tuple(shape))
