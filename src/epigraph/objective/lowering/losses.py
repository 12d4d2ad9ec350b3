"""Loss functions of torch.nn.functional as exact formulas."""

from __future__ import annotations

import math
from fractions import Fraction

import torch

from epigraph.objective.builder import Builder, Expression, Number, rational
from epigraph.objective.lowering.activations import piecewise
from epigraph.objective.lowering.indexing import constant
from epigraph.objective.lowering.reductions import norm
from epigraph.objective.lowering.registry import lowers

NONE, MEAN, SUM = 0, 1, 2


def reduced(x: Expression, reduction: int) -> Expression:
    """Apply PyTorch's reduction code: 0 none, 1 mean, 2 sum."""
    return x if reduction == NONE else x.mean() if reduction == MEAN else x.sum()


@lowers("aten.mse_loss.default")
def mse_loss(b: Builder, x: Expression, y: Expression, reduction: int) -> Expression:
    return reduced((x - y) ** 2, reduction)


@lowers("aten.l1_loss.default")
def l1_loss(b: Builder, x: Expression, y: Expression, reduction: int) -> Expression:
    return reduced((x - y).unary("abs"), reduction)


@lowers("aten.huber_loss.default")
def huber_loss(b: Builder, x: Expression, y: Expression, reduction: int, delta: Number) -> Expression:
    d, half = rational(delta), Fraction(1, 2)
    return reduced(piecewise(x - y, [-d, d], [[-half * d * d, -d], [0, 0, half], [-half * d * d, d]]), reduction)


@lowers("aten.smooth_l1_loss.default")
def smooth_l1_loss(b: Builder, x: Expression, y: Expression, reduction: int, beta: Number) -> Expression:
    d, half = rational(beta), Fraction(1, 2)
    if d == 0:
        return l1_loss(b, x, y, reduction)
    return reduced(piecewise(x - y, [-d, d], [[-half * d, -1], [0, 0, half / d], [-half * d, 1]]), reduction)


def _complement(b: Builder, y: Expression) -> Expression:
    """1 - y: as a constant tensor where float64 holds it exactly (labels on a grid of 2^-40), else as an expression."""
    if y.literal is None:
        return 1 - y
    scaled = y.literal.to(torch.float64) * 2.0**40
    exact = bool((scaled == scaled.round()).all()) and bool((scaled.abs() <= 2.0**41).all())
    return b.literal(1 - y.literal.to(torch.float64), "data") if exact else 1 - y


@lowers("aten.binary_cross_entropy_with_logits.default")
def bce_with_logits(
    b: Builder, z: Expression, y: Expression, weight: Expression | None, pos_weight: Expression | None, reduction: int
) -> Expression:
    """log(1 + e^z) - y z, equal to y log(1 + e^-z) + (1 - y) log(1 + e^z)."""
    positive = y if pos_weight is None else y * pos_weight
    split = positive * (-z).unary("softplus") + _complement(b, y) * z.unary("softplus")
    if pos_weight is None:
        out = b.same(z.unary("softplus") - y * z, split)
    else:
        weighted = 1 + (pos_weight - 1) * y
        out = b.same(split, weighted * z.unary("softplus") - positive * z)
    return reduced(out if weight is None else out * weight, reduction)


@lowers("aten.binary_cross_entropy.default")
def binary_cross_entropy(
    b: Builder, p: Expression, y: Expression, weight: Expression | None, reduction: int
) -> Expression:
    """PyTorch clamps both logarithms at -100; that is the function analysed."""
    logs = [b.maximum(v.unary("log"), b.rational(-100)) for v in (p, 1 - p)]
    out = -(y * logs[0] + _complement(b, y) * logs[1])
    return reduced(out if weight is None else out * weight, reduction)


@lowers("aten.soft_margin_loss.default")
def soft_margin_loss(b: Builder, x: Expression, y: Expression, reduction: int) -> Expression:
    return reduced((-(y * x)).unary("softplus"), reduction)


@lowers("aten.hinge_embedding_loss.default")
def hinge_embedding_loss(b: Builder, x: Expression, y: Expression, margin: Number, reduction: int) -> Expression:
    labels = constant(y)
    near, far = (labels != -1), (labels != 1)
    hinge = (b.rational(margin) - x).unary("relu")
    out = b.where(b.literal(far), hinge, b.rational(0)) + b.where(b.literal(near), x, b.rational(0))
    return reduced(out, reduction)


@lowers("aten.margin_ranking_loss.default")
def margin_ranking_loss(
    b: Builder, x: Expression, other: Expression, y: Expression, margin: Number, reduction: int
) -> Expression:
    return reduced((-y * (x - other) + b.rational(margin)).unary("relu"), reduction)


@lowers("aten.triplet_margin_loss.default")
def triplet_margin_loss(
    b: Builder,
    anchor: Expression,
    positive: Expression,
    negative: Expression,
    margin: Number,
    p: Number,
    eps: Number,
    swap: bool,
    reduction: int,
) -> Expression:
    def distance(u: Expression, v: Expression) -> Expression:
        return norm(u - v + b.rational(eps), p, [-1])

    far = distance(anchor, negative)
    far = b.minimum(far, distance(positive, negative)) if swap else far
    return reduced((distance(anchor, positive) - far + b.rational(margin)).unary("relu"), reduction)


@lowers("aten.cosine_embedding_loss.default")
def cosine_embedding_loss(
    b: Builder, x: Expression, other: Expression, y: Expression, margin: Number, reduction: int
) -> Expression:
    labels = constant(y)
    eps = b.rational(1e-12)
    lengths = ((x**2).sum([-1]) + eps) * ((other**2).sum([-1]) + eps)
    cosine = (x * other).sum([-1]) / lengths.unary("sqrt")
    apart = (cosine - b.rational(margin)).unary("relu")
    out = b.where(b.literal(labels == 1), 1 - cosine, b.where(b.literal(labels == -1), apart, b.rational(0)))
    return reduced(out, reduction)


@lowers("aten.kl_div.default")
def kl_div(b: Builder, log_q: Expression, p: Expression, reduction: int, log_target: bool) -> Expression:
    if log_target:
        return reduced(p.unary("exp") * (p - log_q), reduction)
    entropy = p.unary("xlogx")
    return reduced(entropy - p * log_q, reduction)


@lowers("aten.poisson_nll_loss.default")
def poisson_nll_loss(
    b: Builder, x: Expression, y: Expression, log_input: bool, full: bool, eps: Number, reduction: int
) -> Expression:
    out = x.unary("exp") - y * x if log_input else x - y * (x + b.rational(eps)).unary("log")
    if full:
        large = constant(y) > 1
        z = b.where(b.literal(large), y, b.rational(1))
        if y.literal is not None:
            z = b.literal(torch.where(large, y.literal, torch.ones_like(y.literal)), "data")
        stirling = z.unary("xlogx") - z + (2 * b.rational(math.pi) * z).unary("log") * Fraction(1, 2)
        out = out + b.where(b.literal(large), stirling, b.rational(0))
    return reduced(out, reduction)
