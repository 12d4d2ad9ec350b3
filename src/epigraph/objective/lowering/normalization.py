"""Normalisations: batch (both modes), layer, group, instance, root mean square, and plain rescaling to unit norm."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch

from epigraph.objective.builder import Builder, Expression, Number
from epigraph.objective.lowering.reductions import norm
from epigraph.objective.lowering.registry import lowers


def standardize(b: Builder, x: Expression, dims: Sequence[int], eps: Number) -> Expression:
    """(x - mean) / sqrt(var + eps) over dims, with the biased variance."""
    centred = x - x.mean(dims, keepdim=True)
    spread = (centred**2).mean(dims, keepdim=True) + b.rational(eps)
    return centred / spread.unary("sqrt")


def _per_channel(v: Expression, ndim: int) -> Expression:
    return v.reshape((1, v.numel) + (1,) * (ndim - 2))


@lowers("aten.batch_norm.default")
def batch_norm(
    b: Builder,
    x: Expression,
    weight: Expression | None,
    bias: Expression | None,
    mean: Expression | None,
    var: Expression | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn: bool = False,
) -> Expression:
    if training or mean is None or var is None:
        out = standardize(b, x, [d for d in range(x.ndim) if d != 1], eps)
    else:
        scale = (_per_channel(var, x.ndim) + b.rational(eps)) ** Fraction(-1, 2)
        out = (x - _per_channel(mean, x.ndim)) * scale
    out = out if weight is None else out * _per_channel(weight, x.ndim)
    return out if bias is None else out + _per_channel(bias, x.ndim)


@lowers("aten._native_batch_norm_legit_no_training.default")
def batch_norm_inference(
    b: Builder, x: Expression, weight: Any, bias: Any, mean: Any, var: Any, momentum: float, eps: float
) -> tuple[Expression, None, None]:
    return batch_norm(b, x, weight, bias, mean, var, False, momentum, eps), None, None


@lowers("aten.native_batch_norm.default", "aten._native_batch_norm_legit.default")
def native_batch_norm(
    b: Builder, x: Expression, weight: Any, bias: Any, mean: Any, var: Any, training: bool, momentum: float, eps: float
) -> tuple[Expression, None, None]:
    return batch_norm(b, x, weight, bias, mean, var, training, momentum, eps), None, None


@lowers("aten.cudnn_batch_norm.default")
def cudnn_batch_norm(
    b: Builder, x: Expression, weight: Any, bias: Any, mean: Any, var: Any, training: bool, momentum: float, eps: float
) -> tuple[Expression, None, None, None]:
    return batch_norm(b, x, weight, bias, mean, var, training, momentum, eps), None, None, None


@lowers("aten._native_batch_norm_legit_functional.default")
def batch_norm_functional(
    b: Builder, x: Expression, weight: Any, bias: Any, mean: Any, var: Any, training: bool, momentum: float, eps: float
) -> tuple[Expression, None, None, None, None]:
    return batch_norm(b, x, weight, bias, mean, var, training, momentum, eps), None, None, None, None


@lowers("aten._native_batch_norm_legit.no_stats")
def batch_norm_no_stats(
    b: Builder, x: Expression, weight: Any, bias: Any, training: bool, momentum: float, eps: float
) -> tuple[Expression, None, None]:
    return batch_norm(b, x, weight, bias, None, None, True, momentum, eps), None, None


@lowers("aten.layer_norm.default")
def layer_norm(
    b: Builder,
    x: Expression,
    shape: Sequence[int],
    weight: Expression | None,
    bias: Expression | None,
    eps: float,
    cudnn: bool = False,
) -> Expression:
    out = standardize(b, x, list(range(x.ndim - len(shape), x.ndim)), eps)
    out = out if weight is None else out * weight
    return out if bias is None else out + bias


@lowers("aten.native_layer_norm.default")
def native_layer_norm(
    b: Builder, x: Expression, shape: Sequence[int], weight: Any, bias: Any, eps: float
) -> tuple[Expression, None, None]:
    return layer_norm(b, x, shape, weight, bias, eps), None, None


@lowers("aten.group_norm.default")
def group_norm(
    b: Builder,
    x: Expression,
    groups: int,
    weight: Expression | None,
    bias: Expression | None,
    eps: float,
    cudnn: bool = False,
) -> Expression:
    grouped = x.reshape((x.shape[0], groups, x.numel // (x.shape[0] * groups)))
    out = standardize(b, grouped, [2], eps).reshape(x.shape)
    out = out if weight is None else out * _per_channel(weight, x.ndim)
    return out if bias is None else out + _per_channel(bias, x.ndim)


@lowers("aten.native_group_norm.default")
def native_group_norm(
    b: Builder, x: Expression, weight: Any, bias: Any, samples: int, channels: int, size: int, groups: int, eps: float
) -> tuple[Expression, None, None]:
    return group_norm(b, x, groups, weight, bias, eps), None, None


@lowers("aten.instance_norm.default")
def instance_norm(
    b: Builder,
    x: Expression,
    weight: Expression | None,
    bias: Expression | None,
    mean: Expression | None,
    var: Expression | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn: bool,
) -> Expression:
    if not use_input_stats:
        return batch_norm(b, x, weight, bias, mean, var, False, momentum, eps)
    out = standardize(b, x, list(range(2, x.ndim)), eps)
    out = out if weight is None else out * _per_channel(weight, x.ndim)
    return out if bias is None else out + _per_channel(bias, x.ndim)


@lowers("aten.rms_norm.default")
def rms_norm(
    b: Builder, x: Expression, shape: Sequence[int], weight: Expression | None, eps: float | None
) -> Expression:
    """x / sqrt(mean of x^2 + eps); without eps PyTorch takes the machine precision of x's type."""
    dims = list(range(x.ndim - len(shape), x.ndim))
    epsilon = _machine_precision(b) if eps is None else eps
    out = x / ((x**2).mean(dims, keepdim=True) + b.rational(epsilon)).unary("sqrt")
    return out if weight is None else out * weight


def _machine_precision(b: Builder) -> float:
    types = {p.dtype for p in b.parameters.values()}
    if len(types) != 1:
        raise NotImplementedError("rms_norm without eps among parameters of several types")
    return torch.finfo(types.pop()).eps


@lowers("aten.cosine_similarity.default")
def cosine_similarity(b: Builder, x: Expression, y: Expression, dim: int, eps: float) -> Expression:
    shape = tuple(torch.broadcast_shapes(x.shape, y.shape))
    x, y, floor = x.expand(shape), y.expand(shape), b.rational(eps)
    lengths = [b.maximum(norm(v, 2, [dim]), floor) for v in (x, y)]
    return (x * y).sum([dim]) / (lengths[0] * lengths[1])


@lowers("aten._weight_norm.default")
def weight_norm(b: Builder, v: Expression, g: Expression, dim: int) -> Expression:
    return v * (g / norm_except(b, v, 2, dim))


@lowers("aten._weight_norm_interface.default")
def weight_norm_interface(b: Builder, v: Expression, g: Expression, dim: int) -> tuple[Expression, Expression]:
    return weight_norm(b, v, g, dim), norm_except(b, v, 2, dim)


@lowers("aten.norm_except_dim.default")
def norm_except(b: Builder, v: Expression, p: int, dim: int) -> Expression:
    """The norm of each slice along ``dim``, or of the whole tensor for -1."""
    if dim == -1:
        return norm(v, p, None)
    return norm(v, p, [d for d in range(v.ndim) if d != dim], keepdim=True)
