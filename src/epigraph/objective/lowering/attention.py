"""Scaled dot-product attention."""
from __future__ import annotations

import math
from typing import Any

import torch

from epigraph.objective.builder import Builder, Expression
from epigraph.objective.lowering.registry import RandomOperator, lowers


@lowers("aten.scaled_dot_product_attention.default")
def attention(b: Builder, query: Expression, key: Expression, value: Expression, mask: Expression | None, dropout: float,
              causal: bool, scale: float | None, enable_gqa: bool) -> Expression:
    """softmax(q k^T scale + mask) v; the default scale is 1/sqrt(d), the real number."""
    if dropout > 0:
        raise RandomOperator("dropout draws a random mask in training mode")
    if enable_gqa:
        key, value = (_repeat_heads(v, query.shape[-3] // v.shape[-3]) for v in (key, value))
    scores = b.matmul(query, key.transpose(-1, -2)) * _scale(b, query.shape[-1], scale)
    if causal:
        shape = scores.shape[-2:]
        return b.matmul(_masked_softmax(b, scores, torch.ones(shape, dtype=torch.bool).tril()), value)
    if mask is not None and mask.literal is not None and _is_mask(mask.literal):
        allowed = mask.literal if mask.literal.dtype == torch.bool else mask.literal == 0
        return b.matmul(_masked_softmax(b, scores, allowed), value)
    scores = scores if mask is None else scores + mask
    return b.matmul(b.make("log_softmax", (scores,), {"dim": scores.ndim - 1}, scores.shape).unary("exp"), value)


def _scale(b: Builder, width: int, scale: float | None) -> Expression:
    if scale is not None:
        return b.rational(scale)
    root = math.isqrt(width)
    return 1 / b.rational(root) if root * root == width else b.rational(width).unary("sqrt") ** -1


def _is_mask(tensor: torch.Tensor) -> bool:
    """A Boolean mask, or an additive one of zeros and minus infinities."""
    return tensor.dtype == torch.bool or bool(((tensor == 0) | (tensor == -torch.inf)).all())


def _masked_softmax(b: Builder, scores: Expression, allowed: torch.Tensor) -> Expression:
    """Weights e^s over the allowed entries only."""
    weights = scores.unary("exp") * b.literal(allowed.to(torch.float64))
    return weights / weights.sum([-1], keepdim=True)


def _repeat_heads(x: Expression, times: int) -> Expression:
    lead, heads = x.shape[:-3], x.shape[-3]
    wide = x.reshape((*lead, heads, 1, *x.shape[-2:])).expand((*lead, heads, times, *x.shape[-2:]))
    return wide.reshape((*lead, heads * times, *x.shape[-2:]))


@lowers("aten._scaled_dot_product_flash_attention_for_cpu.default")
def flash_attention(b: Builder, query: Expression, key: Expression, value: Expression, dropout: float, causal: bool,
                    mask: Expression | None, scale: float | None) -> tuple[Any, ...]:
    return attention(b, query, key, value, mask, dropout, causal, scale, False), None
