"""Scaled dot-product attention."""

from __future__ import annotations

import math
from typing import Any

import torch

from epigraph.objective.builder import Builder, Expression
from epigraph.objective.lowering.conditions import truth
from epigraph.objective.lowering.extended import masked_softmax, safe_softmax
from epigraph.objective.lowering.registry import RandomOperator, lowers


@lowers("aten.scaled_dot_product_attention.default")
def attention(
    b: Builder,
    query: Expression,
    key: Expression,
    value: Expression,
    mask: Expression | None,
    dropout: float,
    causal: bool,
    scale: float | None,
    enable_gqa: bool,
) -> Expression:
    """softmax(q k^T scale + mask) v; the default scale is 1/sqrt(d), the real number; a row without entries is zero."""
    if dropout > 0:
        raise RandomOperator("dropout draws a random mask in training mode")
    if enable_gqa:
        key, value = (_repeat_heads(v, query.shape[-3] // v.shape[-3]) for v in (key, value))
    scores = b.matmul(query, key.transpose(-1, -2)) * _scale(b, query.shape[-1], scale)
    last = scores.ndim - 1
    if causal:
        allowed = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        return b.matmul(masked_softmax(b, scores, allowed, last), value)
    if mask is not None and mask.literal is not None and mask.literal.dtype == torch.bool:
        return b.matmul(masked_softmax(b, _wide(scores, mask), mask.literal, last, empty_rows=True), value)
    if mask is not None and mask.literal is None and truth(b, mask) is mask:
        raise NotImplementedError("a mask of truth values that is no constant")
    return b.matmul(safe_softmax(b, scores if mask is None else scores + mask, last, None), value)


def _wide(scores: Expression, mask: Expression) -> Expression:
    return scores.expand(tuple(torch.broadcast_shapes(scores.shape, mask.shape)))


def _scale(b: Builder, width: int, scale: float | None) -> Expression:
    if scale is not None:
        return b.rational(scale)
    root = math.isqrt(width)
    return 1 / b.rational(root) if root * root == width else b.rational(width).unary("sqrt") ** -1


def _repeat_heads(x: Expression, times: int) -> Expression:
    lead, heads = x.shape[:-3], x.shape[-3]
    wide = x.reshape((*lead, heads, 1, *x.shape[-2:])).expand((*lead, heads, times, *x.shape[-2:]))
    return wide.reshape((*lead, heads * times, *x.shape[-2:]))


@lowers("aten._scaled_dot_product_flash_attention_for_cpu.default")
def flash_attention(
    b: Builder,
    query: Expression,
    key: Expression,
    value: Expression,
    dropout: float,
    causal: bool,
    mask: Expression | None,
    scale: float | None,
) -> tuple[Any, ...]:
    return attention(b, query, key, value, mask, dropout, causal, scale, False), None
