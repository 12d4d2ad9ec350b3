"""Constant tensors made inside the objective."""

from __future__ import annotations

from typing import Any

from epigraph.objective.builder import Builder, Expression
from epigraph.objective.lowering.extended import scalar
from epigraph.objective.lowering.registry import EXACT, lowers

#: Operators that make or transform constants without rounding: evaluated at capture where all inputs are constants.
CONSTANTS = """
    argmax.default argmin.default argsort.default argsort.stable sort.default sort.stable topk.default
    one_hot.default arange.default arange.start arange.start_step zeros.default ones.default full.default
    eye.default eye.m scalar_tensor.default linspace.default tril_indices.default triu_indices.default isnan.default
    isinf.default isfinite.default nonzero.default nonzero_numpy.default argwhere.default where.default
    bincount.default unique_dim.default _unique2.default unique_consecutive.default searchsorted.Tensor
    bucketize.Tensor meshgrid.default meshgrid.indexing median.default median.dim mode.default isin.Tensor_Tensor
""".split()
EXACT.update(f"aten.{name}" for name in CONSTANTS)


def _shape(x: Expression, rest: Any) -> tuple[int, ...]:
    return tuple(rest[0]) if rest and isinstance(rest[0], (list, tuple)) else x.shape


@lowers(
    "aten.zeros_like.default",
    "aten.new_zeros.default",
    "aten.empty_like.default",
    "aten.new_empty.default",
    "aten.new_empty_strided.default",
)
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
