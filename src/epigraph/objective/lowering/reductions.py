"""Sums, means, variances, norms, extrema, products and log-sum-exp."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from epigraph.objective.builder import Builder, Expression, Number, rational
from epigraph.objective.lowering import extended, spectral
from epigraph.objective.lowering.conditions import truth
from epigraph.objective.lowering.registry import lowers, operator


def _dims(x: Expression, dim: int | Sequence[int] | None) -> list[int] | None:
    """The dimensions to reduce, or None for all; a number has none."""
    if dim is None or x.ndim == 0:
        return None
    return [dim] if isinstance(dim, int) else list(dim) or None


def _kept(x: Expression, dims: Sequence[int] | None) -> tuple[int, ...]:
    chosen = range(x.ndim) if dims is None else {d % x.ndim for d in dims}
    return tuple(1 if d in chosen else n for d, n in enumerate(x.shape))


@final
@dataclass(frozen=True)
class _Second:
    """The second output of an operator, for searches in floating point."""

    overload: str
    rest: tuple[Any, ...]

    def __call__(self, x: Tensor) -> Tensor:
        return operator(self.overload)(x, *self.rest)[1].to(x.dtype)


def positions_of(b: Builder, overload: str, x: Expression, shape: tuple[int, ...], rest: Sequence[Any]) -> Expression:
    """The positions that an operator returns beside its values: nothing is known of them."""
    return b.opaque(overload, [x], shape, _Second(overload, tuple(rest)))


@lowers("aten.sum.default")
def sum_all(b: Builder, x: Expression, dtype: Any) -> Expression:
    return x.sum()


@lowers("aten.sum.dim_IntList")
def sum_dims(b: Builder, x: Expression, dim: Any, keepdim: bool, dtype: Any) -> Expression:
    return x.sum(_dims(x, dim), keepdim)


@lowers("aten.mean.default")
def mean_all(b: Builder, x: Expression, dtype: Any) -> Expression:
    return x.mean()


@lowers("aten.mean.dim")
def mean_dims(b: Builder, x: Expression, dim: Any, keepdim: bool, dtype: Any) -> Expression:
    return x.mean(_dims(x, dim), keepdim)


def variance(x: Expression, dims: Sequence[int] | None, correction: Number, keepdim: bool) -> Expression:
    """Sum of squared deviations over (count - correction)."""
    chosen = list(range(x.ndim)) if not dims else [d % x.ndim for d in dims]
    count = math.prod(x.shape[d] for d in chosen)
    if count <= rational(correction):
        raise NotImplementedError("a variance without degrees of freedom")
    deviations = x - x.mean(chosen, keepdim=True)
    return (deviations**2).sum(chosen, keepdim) * (1 / (count - rational(correction)))


@lowers("aten.var.default")
def var_default(b: Builder, x: Expression, unbiased: bool) -> Expression:
    return variance(x, None, int(unbiased), False)


@lowers("aten.var.dim")
def var_dim(b: Builder, x: Expression, dim: Any, unbiased: bool, keepdim: bool) -> Expression:
    return variance(x, _dims(x, dim), int(unbiased), keepdim)


@lowers("aten.var.correction")
def var_correction(b: Builder, x: Expression, dim: Any, correction: Number | None, keepdim: bool) -> Expression:
    return variance(x, _dims(x, dim), 1 if correction is None else correction, keepdim)


@lowers("aten.std.default")
def std_default(b: Builder, x: Expression, unbiased: bool) -> Expression:
    return var_default(b, x, unbiased).unary("sqrt")


@lowers("aten.std.dim")
def std_dim(b: Builder, x: Expression, dim: Any, unbiased: bool, keepdim: bool) -> Expression:
    return var_dim(b, x, dim, unbiased, keepdim).unary("sqrt")


@lowers("aten.std.correction")
def std_correction(b: Builder, x: Expression, dim: Any, correction: Number | None, keepdim: bool) -> Expression:
    return var_correction(b, x, dim, correction, keepdim).unary("sqrt")


@lowers("aten.var_mean.correction")
def var_mean(
    b: Builder, x: Expression, dim: Any, correction: Number | None, keepdim: bool
) -> tuple[Expression, Expression]:
    return var_correction(b, x, dim, correction, keepdim), x.mean(_dims(x, dim), keepdim)


@lowers("aten.std_mean.correction")
def std_mean(
    b: Builder, x: Expression, dim: Any, correction: Number | None, keepdim: bool
) -> tuple[Expression, Expression]:
    return std_correction(b, x, dim, correction, keepdim), x.mean(_dims(x, dim), keepdim)


@lowers("aten.logsumexp.default", "aten.special_logsumexp.default")
def logsumexp(b: Builder, x: Expression, dim: Any, keepdim: bool) -> Expression:
    if x.ndim == 0:
        return x
    dims = _dims(x, dim) or list(range(x.ndim))
    out = extended.logsumexp(b, x, dims)
    return out.reshape(_kept(x, dims)) if keepdim else out


# extrema ----------------------------------------------------------------------------------------------------------
@lowers("aten.amax.default", exact=True)
def amax(b: Builder, x: Expression, dim: Any, keepdim: bool) -> Expression:
    dims = _dims(x, dim)
    out = extended.amax(b, x, dims)
    return out.reshape(_kept(x, dims)) if keepdim else out


@lowers("aten.amin.default", exact=True)
def amin(b: Builder, x: Expression, dim: Any, keepdim: bool) -> Expression:
    return -(-x).amax(_dims(x, dim), keepdim)


@lowers("aten.aminmax.default", exact=True)
def aminmax(b: Builder, x: Expression, dim: int | None, keepdim: bool) -> tuple[Expression, Expression]:
    return amin(b, x, dim, keepdim), amax(b, x, dim, keepdim)


@lowers("aten.max.default", exact=True)
def max_all(b: Builder, x: Expression) -> Expression:
    return extended.amax(b, x, None)


@lowers("aten.min.default", exact=True)
def min_all(b: Builder, x: Expression) -> Expression:
    return -(-x).amax()


@lowers("aten.max.dim", exact=True)
def max_dim(b: Builder, x: Expression, dim: int, keepdim: bool) -> tuple[Expression, Expression]:
    out = amax(b, x, dim, keepdim)
    return out, positions_of(b, "aten.max.dim", x, out.shape, (dim, keepdim))


@lowers("aten.min.dim", exact=True)
def min_dim(b: Builder, x: Expression, dim: int, keepdim: bool) -> tuple[Expression, Expression]:
    out = amin(b, x, dim, keepdim)
    return out, positions_of(b, "aten.min.dim", x, out.shape, (dim, keepdim))


# norms ------------------------------------------------------------------------------------------------------------
def norm(x: Expression, p: Number, dims: list[int] | None, keepdim: bool = False) -> Expression:
    """The vector p-norm: the largest or smallest entry in size, the number of entries that are not 0, or any p > 0."""
    if p == math.inf:
        return x.unary("abs").amax(dims, keepdim)
    if p == -math.inf:
        return -(-(x.unary("abs"))).amax(dims, keepdim)
    if p == 0:
        return truth(x.builder, x).sum(dims, keepdim)
    if p < 0:
        raise NotImplementedError(f"norm of order {p}")
    if p == 1:
        return x.unary("abs").sum(dims, keepdim)
    if p == 2:
        return (x**2).sum(dims, keepdim).unary("sqrt")
    exponent = rational(p)
    even = exponent.denominator == 1 and exponent % 2 == 0
    return ((x if even else x.unary("abs")) ** exponent).sum(dims, keepdim) ** (1 / exponent)


@lowers("aten.linalg_vector_norm.default")
def linalg_vector_norm(b: Builder, x: Expression, p: Number, dim: Any, keepdim: bool, dtype: Any) -> Expression:
    return norm(x, p, _dims(x, dim), keepdim)


@lowers("aten.norm.Scalar")
def norm_scalar(b: Builder, x: Expression, p: Number) -> Expression:
    return norm(x, p, None)


@lowers("aten.norm.ScalarOpt_dim")
def norm_dim(b: Builder, x: Expression, p: Number | None, dim: Any, keepdim: bool) -> Expression:
    return norm(x, 2 if p is None else p, _dims(x, dim), keepdim)


@lowers("aten.linalg_norm.default")
def linalg_norm(b: Builder, x: Expression, p: Number | None, dim: Any, keepdim: bool, dtype: Any) -> Expression:
    chosen = _dims(x, dim)
    if p is not None and (x.ndim if chosen is None else len(chosen)) > 1:
        return matrix_norm(b, x, p, [0, 1] if chosen is None else chosen, keepdim, dtype)
    return norm(x, 2 if p is None else p, chosen, keepdim)


@lowers("aten.linalg_matrix_norm.default")
def matrix_norm(b: Builder, x: Expression, p: Number, dims: Sequence[int], keepdim: bool, dtype: Any) -> Expression:
    """The largest (smallest for p < 0) sum of absolute values of a column (p = 1) or of a row (p = inf)."""
    if abs(p) not in (1, math.inf):
        return spectral.norm(b, x, p, list(dims), keepdim)
    rows, columns = (d % x.ndim for d in dims)
    added, compared = (rows, columns) if abs(p) == 1 else (columns, rows)
    sums = x.unary("abs").sum([added], keepdim=True)
    out = sums.amax([compared], keepdim=True) if p > 0 else -(-sums).amax([compared], keepdim=True)
    return out if keepdim else out.reshape(tuple(n for d, n in enumerate(out.shape) if d not in (rows, columns)))


@lowers("aten.linalg_norm.ord_str", "aten.linalg_matrix_norm.str_ord")
def matrix_norm_by_name(b: Builder, x: Expression, name: str, dims: Any, keepdim: bool, dtype: Any) -> Expression:
    if name != "fro":
        return spectral.norm(b, x, name, [0, 1] if dims is None else list(dims), keepdim)
    return norm(x, 2, _dims(x, dims), keepdim)


@lowers("aten.frobenius_norm.dim")
def frobenius_norm(b: Builder, x: Expression, dim: Any, keepdim: bool) -> Expression:
    return norm(x, 2, _dims(x, dim), keepdim)


@lowers("aten.dist.default")
def dist(b: Builder, x: Expression, y: Expression, p: Number) -> Expression:
    return norm(x - y, p, None)


@lowers("aten.cdist.default", "aten._cdist_forward.default")
def cdist(b: Builder, x: Expression, y: Expression, p: Number, mode: Any) -> Expression:
    left = x.reshape((*x.shape[:-1], 1, x.shape[-1]))
    right = y.reshape((*y.shape[:-2], 1, *y.shape[-2:]))
    return norm(left - right, p, [-1])


@lowers("aten._euclidean_dist.default")
def euclidean_dist(b: Builder, x: Expression, y: Expression) -> Expression:
    return cdist(b, x, y, 2, None)


@lowers("aten.pdist.default", "aten._pdist_forward.default")
def pdist(b: Builder, x: Expression, p: Number) -> Expression:
    """Distances of the rows i < j."""
    first, second = torch.triu_indices(x.shape[0], x.shape[0], 1)
    return norm(x.take(first, 0) - x.take(second, 0), p, [-1])


@lowers("aten.pairwise_distance.default")
def pairwise_distance(b: Builder, x: Expression, y: Expression, p: Number, eps: Number, keepdim: bool) -> Expression:
    return norm(x - y + b.rational(eps), p, [-1], keepdim)


# products and running reductions ----------------------------------------------------------------------------------
@lowers("aten.prod.default")
def prod_all(b: Builder, x: Expression, dtype: Any) -> Expression:
    return _product(x.reshape((x.numel,)))


@lowers("aten.prod.dim_int")
def prod_dim(b: Builder, x: Expression, dim: int, keepdim: bool, dtype: Any) -> Expression:
    if x.ndim == 0:
        return x
    out = _product(_first(x, dim))
    return out.reshape(_kept(x, [dim])) if keepdim else out


def _first(x: Expression, dim: int) -> Expression:
    """x with one dimension moved to the front."""
    axis = dim % x.ndim
    return x.permute([axis, *[d for d in range(x.ndim) if d != axis]])


def _product(x: Expression) -> Expression:
    if x.shape[0] > 64:
        raise NotImplementedError("product of more than 64 factors")
    out = x.select(0, 0)
    for i in range(1, x.shape[0]):
        out = out * x.select(0, i)
    return out


@lowers("aten.cumsum.default")
def cumsum(b: Builder, x: Expression, dim: int, dtype: Any) -> Expression:
    """A product with the triangle of ones."""
    if x.ndim == 0:
        return x
    axis = dim % x.ndim
    size = x.shape[axis]
    if size > 2048:
        raise NotImplementedError("cumulative sum over more than 2048 entries")
    order = [d for d in range(x.ndim) if d != axis] + [axis]
    upper = b.literal(torch.ones(size, size, dtype=torch.float64).triu())
    out = b.matmul(x.permute(order), upper)
    return out.permute([order.index(d) for d in range(x.ndim)])


def _running(b: Builder, x: Expression, dim: int, step: Callable[[Expression], Expression]) -> Expression:
    """step(first i entries along dim, moved to the front) for i = 1, 2, ..."""
    if x.ndim == 0:
        return x
    rows = _first(x, dim)
    if rows.shape[0] > 64:
        raise NotImplementedError("a running reduction over more than 64 entries")
    parts = [step(rows.slice(0, 0, i + 1)).reshape((1, *rows.shape[1:])) for i in range(rows.shape[0])]
    axis = dim % x.ndim
    order = [axis, *[d for d in range(x.ndim) if d != axis]]
    return b.concat(parts, 0).permute([order.index(d) for d in range(x.ndim)])


@lowers("aten.cumprod.default")
def cumprod(b: Builder, x: Expression, dim: int, dtype: Any) -> Expression:
    return _running(b, x, dim, _product)


@lowers("aten.logcumsumexp.default", "aten._logcumsumexp.default")
def logcumsumexp(b: Builder, x: Expression, dim: int) -> Expression:
    return _running(b, x, dim, lambda part: part.logsumexp([0]))


@lowers("aten.cummax.default", exact=True)
def cummax(b: Builder, x: Expression, dim: int) -> tuple[Expression, Expression]:
    out = _running(b, x, dim, lambda part: part.amax([0]))
    return out, positions_of(b, "aten.cummax.default", x, x.shape, (dim,))


@lowers("aten.cummin.default", exact=True)
def cummin(b: Builder, x: Expression, dim: int) -> tuple[Expression, Expression]:
    out = _running(b, x, dim, lambda part: -(-part).amax([0]))
    return out, positions_of(b, "aten.cummin.default", x, x.shape, (dim,))


@lowers("aten.trace.default")
def trace(b: Builder, x: Expression) -> Expression:
    index = torch.arange(min(x.shape)) * (x.shape[1] + 1)
    return x.reshape((x.numel,)).take(index, 0).sum()
