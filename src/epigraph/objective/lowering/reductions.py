"""Sums, means, variances, norms, extrema and log-sum-exp."""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from epigraph.objective.builder import Builder, Expression, Number, rational
from epigraph.objective.lowering.registry import lowers


def _dims(dim: int | Sequence[int] | None) -> list[int] | None:
    if dim is None:
        return None
    return [dim] if isinstance(dim, int) else list(dim) or None


@lowers("aten.sum.default")
def sum_all(b: Builder, x: Expression, dtype: Any) -> Expression:
    return x.sum()


@lowers("aten.sum.dim_IntList")
def sum_dims(b: Builder, x: Expression, dim: Any, keepdim: bool, dtype: Any) -> Expression:
    return x.sum(_dims(dim), keepdim)


@lowers("aten.mean.default")
def mean_all(b: Builder, x: Expression, dtype: Any) -> Expression:
    return x.mean()


@lowers("aten.mean.dim")
def mean_dims(b: Builder, x: Expression, dim: Any, keepdim: bool, dtype: Any) -> Expression:
    return x.mean(_dims(dim), keepdim)


def variance(x: Expression, dims: Sequence[int] | None, correction: Number, keepdim: bool) -> Expression:
    """Sum of squared deviations over (count - correction)."""
    chosen = list(range(x.ndim)) if not dims else [d % x.ndim for d in dims]
    count = math.prod(x.shape[d] for d in chosen)
    deviations = x - x.mean(chosen, keepdim=True)
    return (deviations**2).sum(chosen, keepdim) * (1 / (count - rational(correction)))


@lowers("aten.var.default")
def var_default(b: Builder, x: Expression, unbiased: bool) -> Expression:
    return variance(x, None, int(unbiased), False)


@lowers("aten.var.dim")
def var_dim(b: Builder, x: Expression, dim: Any, unbiased: bool, keepdim: bool) -> Expression:
    return variance(x, _dims(dim), int(unbiased), keepdim)


@lowers("aten.var.correction")
def var_correction(b: Builder, x: Expression, dim: Any, correction: Number | None, keepdim: bool) -> Expression:
    return variance(x, _dims(dim), 1 if correction is None else correction, keepdim)


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
def var_mean(b: Builder, x: Expression, dim: Any, correction: Number | None, keepdim: bool) -> tuple[Expression, Expression]:
    return var_correction(b, x, dim, correction, keepdim), x.mean(_dims(dim), keepdim)


@lowers("aten.logsumexp.default", "aten.special_logsumexp.default")
def logsumexp(b: Builder, x: Expression, dim: Any, keepdim: bool) -> Expression:
    return x if x.ndim == 0 else x.logsumexp(_dims(dim) or [], keepdim)


@lowers("aten.amax.default", exact=True)
def amax(b: Builder, x: Expression, dim: Any, keepdim: bool) -> Expression:
    return x.amax(_dims(dim), keepdim)


@lowers("aten.amin.default", exact=True)
def amin(b: Builder, x: Expression, dim: Any, keepdim: bool) -> Expression:
    return -(-x).amax(_dims(dim), keepdim)


@lowers("aten.max.default", exact=True)
def max_all(b: Builder, x: Expression) -> Expression:
    return x.amax()


@lowers("aten.min.default", exact=True)
def min_all(b: Builder, x: Expression) -> Expression:
    return -(-x).amax()


@lowers("aten.max.dim", exact=True)
def max_dim(b: Builder, x: Expression, dim: int, keepdim: bool) -> tuple[Expression, None]:
    return x.amax([dim], keepdim) if x.ndim else x, None


@lowers("aten.min.dim", exact=True)
def min_dim(b: Builder, x: Expression, dim: int, keepdim: bool) -> tuple[Expression, None]:
    return -(-x).amax([dim], keepdim) if x.ndim else x, None


def norm(x: Expression, p: Number, dims: list[int] | None, keepdim: bool = False) -> Expression:
    """The vector p-norm; p = 2, 1, 0 excluded, inf, or any p > 0."""
    if p == math.inf:
        return x.unary("abs").amax(dims, keepdim) if x.ndim else x.unary("abs")
    if p == -math.inf or p <= 0:
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
    return norm(x, p, _dims(dim), keepdim)


@lowers("aten.norm.Scalar")
def norm_scalar(b: Builder, x: Expression, p: Number) -> Expression:
    return norm(x, p, None)


@lowers("aten.norm.ScalarOpt_dim")
def norm_dim(b: Builder, x: Expression, p: Number | None, dim: Any, keepdim: bool) -> Expression:
    return norm(x, 2 if p is None else p, _dims(dim), keepdim)


@lowers("aten.linalg_norm.default")
def linalg_norm(b: Builder, x: Expression, p: Number | None, dim: Any, keepdim: bool, dtype: Any) -> Expression:
    chosen = _dims(dim)
    if p is not None and (x.ndim if chosen is None else len(chosen)) > 1:
        raise NotImplementedError("matrix norm of an order other than Frobenius")
    return norm(x, 2 if p is None else p, chosen, keepdim)


@lowers("aten.frobenius_norm.dim")
def frobenius_norm(b: Builder, x: Expression, dim: Any, keepdim: bool) -> Expression:
    return norm(x, 2, _dims(dim), keepdim)


@lowers("aten.dist.default")
def dist(b: Builder, x: Expression, y: Expression, p: Number) -> Expression:
    return norm(x - y, p, None)


@lowers("aten.cdist.default")
def cdist(b: Builder, x: Expression, y: Expression, p: Number, mode: Any) -> Expression:
    left = x.reshape((*x.shape[:-1], 1, x.shape[-1]))
    right = y.reshape((*y.shape[:-2], 1, *y.shape[-2:]))
    return norm(left - right, p, [-1])


@lowers("aten.pairwise_distance.default")
def pairwise_distance(b: Builder, x: Expression, y: Expression, p: Number, eps: Number, keepdim: bool) -> Expression:
    return norm(x - y + b.rational(eps), p, [-1], keepdim)


@lowers("aten.prod.default")
def prod_all(b: Builder, x: Expression, dtype: Any) -> Expression:
    return _product(b, x.reshape((x.numel,)))


@lowers("aten.prod.dim_int")
def prod_dim(b: Builder, x: Expression, dim: int, keepdim: bool, dtype: Any) -> Expression:
    axis = dim % x.ndim
    order = [axis, *[d for d in range(x.ndim) if d != axis]]
    out = _product(b, x.permute(order))
    return out.reshape(tuple(1 if d == axis else n for d, n in enumerate(x.shape))) if keepdim else out


def _product(b: Builder, x: Expression) -> Expression:
    if x.shape[0] > 64:
        raise NotImplementedError("product of more than 64 factors")
    out = x.select(0, 0)
    for i in range(1, x.shape[0]):
        out = out * x.select(0, i)
    return out


@lowers("aten.cumsum.default")
def cumsum(b: Builder, x: Expression, dim: int, dtype: Any) -> Expression:
    if x.ndim == 0:
        return x
    axis = dim % x.ndim
    size = x.shape[axis]
    if size > 2048:
        raise NotImplementedError("cumulative sum over more than 2048 entries")
    order = [d for d in range(x.ndim) if d != axis] + [axis]
    moved = x.permute(order)
    upper = b.literal(torch.ones(size, size, dtype=torch.float64).triu())
    out = b.matmul(moved, upper)
    return out.permute([order.index(d) for d in range(x.ndim)])


@lowers("aten.trace.default")
def trace(b: Builder, x: Expression) -> Expression:
    size = min(x.shape)
    index = torch.arange(size) * (x.shape[1] + 1)
    return x.reshape((x.numel,)).take(index, 0).sum()
