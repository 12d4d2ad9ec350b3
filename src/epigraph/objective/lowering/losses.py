"""Loss functions of torch.nn.functional as exact formulas."""
from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import torch

from epigraph.objective.builder import Builder, Expression, Number, rational
from epigraph.objective.lowering.activations import piecewise
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
def bce_with_logits(b: Builder, z: Expression, y: Expression, weight: Expression | None, pos_weight: Expression | None,
                    reduction: int) -> Expression:
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
def binary_cross_entropy(b: Builder, p: Expression, y: Expression, weight: Expression | None, reduction: int) -> Expression:
    """PyTorch clamps both logarithms at -100; that is the function analysed."""
    logs = [b.maximum(v.unary("log"), b.rational(-100)) for v in (p, 1 - p)]
    out = -(y * logs[0] + _complement(b, y) * logs[1])
    return reduced(out if weight is None else out * weight, reduction)


@lowers("aten.soft_margin_loss.default")
def soft_margin_loss(b: Builder, x: Expression, y: Expression, reduction: int) -> Expression:
    return reduced((-(y * x)).unary("softplus"), reduction)


@lowers("aten.hinge_embedding_loss.default")
def hinge_embedding_loss(b: Builder, x: Expression, y: Expression, margin: Number, reduction: int) -> Expression:
    if y.literal is None:
        raise NotImplementedError("targets that depend on a parameter")
    near, far = (y.literal != -1), (y.literal != 1)
    hinge = (b.rational(margin) - x).unary("relu")
    out = b.where(b.literal(far), hinge, b.rational(0)) + b.where(b.literal(near), x, b.rational(0))
    return reduced(out, reduction)


@lowers("aten.margin_ranking_loss.default")
def margin_ranking_loss(b: Builder, x: Expression, other: Expression, y: Expression, margin: Number, reduction: int) -> Expression:
    return reduced((-y * (x - other) + b.rational(margin)).unary("relu"), reduction)


@lowers("aten.triplet_margin_loss.default")
def triplet_margin_loss(b: Builder, anchor: Expression, positive: Expression, negative: Expression, margin: Number, p: Number,
                        eps: Number, swap: bool, reduction: int) -> Expression:
    def distance(u: Expression, v: Expression) -> Expression:
        return norm(u - v + b.rational(eps), p, [-1])

    far = distance(anchor, negative)
    far = b.minimum(far, distance(positive, negative)) if swap else far
    return reduced((distance(anchor, positive) - far + b.rational(margin)).unary("relu"), reduction)


@lowers("aten.cosine_embedding_loss.default")
def cosine_embedding_loss(b: Builder, x: Expression, other: Expression, y: Expression, margin: Number, reduction: int) -> Expression:
    if y.literal is None:
        raise NotImplementedError("targets that depend on a parameter")
    eps = b.rational(1e-12)
    lengths = ((x**2).sum([-1]) + eps) * ((other**2).sum([-1]) + eps)
    cosine = (x * other).sum([-1]) / lengths.unary("sqrt")
    apart = (cosine - b.rational(margin)).unary("relu")
    out = b.where(b.literal(y.literal == 1), 1 - cosine, b.where(b.literal(y.literal == -1), apart, b.rational(0)))
    return reduced(out, reduction)


@lowers("aten.kl_div.default")
def kl_div(b: Builder, log_q: Expression, p: Expression, reduction: int, log_target: bool) -> Expression:
    if log_target:
        return reduced(p.unary("exp") * (p - log_q), reduction)
    entropy = p.unary("xlogx")
    return reduced(entropy - p * log_q, reduction)


@lowers("aten.poisson_nll_loss.default")
def poisson_nll_loss(b: Builder, x: Expression, y: Expression, log_input: bool, full: bool, eps: Number, reduction: int) -> Expression:
    out = x.unary("exp") - y * x if log_input else x - y * (x + b.rational(eps)).unary("log")
    if full:
        if y.literal is None:
            raise NotImplementedError("targets that depend on a parameter")
        pi = b.rational(math.pi)
        stirling = y.unary("xlogx") - y + (2 * pi * y).unary("log") * Fraction(1, 2)
        out = out + b.where(b.literal(y.literal > 1), stirling, b.rational(0))
    return reduced(out, reduction)


# classification ---------------------------------------------------------------------------------------------------
def _class_last(x: Expression) -> Expression:
    """[N, C, d1, ...] -> [N d1 ..., C]; a single row where there is no batch."""
    if x.ndim == 1:
        return x.reshape((1, x.shape[0]))
    order = [0, *range(2, x.ndim), 1]
    return x.permute(order).reshape((x.numel // x.shape[1], x.shape[1]))


def _pick(rows: Expression, labels: torch.Tensor) -> Expression:
    """rows[i, labels[i]]."""
    flat = torch.arange(rows.shape[0]) * rows.shape[1] + labels
    return rows.reshape((rows.numel,)).take(flat, 0)


def _labels(target: Expression) -> torch.Tensor:
    if target.literal is None:
        raise NotImplementedError("class labels that depend on a parameter")
    return target.literal.reshape(-1).to(torch.int64).cpu()


def _select_class(b: Builder, rows: Expression, labels: torch.Tensor, ignore: int) -> tuple[Expression, torch.Tensor]:
    kept = torch.nonzero(labels != ignore).reshape(-1)
    if len(kept) < len(labels):
        rows = rows.take(kept, 0)
    return rows, labels[kept]


def _weighted(b: Builder, losses: Expression, labels: torch.Tensor, weight: Expression | None, reduction: int) -> Expression:
    if weight is None:
        return losses.mean() if reduction == MEAN else losses.sum()
    weights = weight.take(labels, 0)
    total = (losses * weights).sum()
    return total / weights.sum() if reduction == MEAN else total


@lowers("aten.cross_entropy_loss.default")
def cross_entropy_loss(b: Builder, x: Expression, target: Expression, weight: Expression | None, reduction: int,
                       ignore_index: int, label_smoothing: Number) -> Expression:
    """log-sum-exp minus the target's logit; probability targets and smoothing by their exact formulas."""
    soft = target.shape == x.shape and (target.literal is None or target.literal.is_floating_point())
    if soft:
        return _soft_cross_entropy(b, x, target, weight, reduction, rational(label_smoothing))
    lead = x.shape[:1] + x.shape[2:] if x.ndim > 1 else ()
    labels = _labels(target)
    if reduction == NONE:
        rows = _class_last(x)
        clean = torch.where(labels == ignore_index, 0, labels)
        losses = _hard_rows(b, rows, clean, weight, rational(label_smoothing))
        return (losses * b.literal((labels != ignore_index).to(torch.float64))).reshape(lead)
    rows, labels = _select_class(b, _class_last(x), labels, ignore_index)
    if len(labels) == 0:
        raise NotImplementedError("every target is ignored, so the loss is undefined (0/0)")
    total = _hard_rows(b, rows, labels, weight, rational(label_smoothing)).sum()
    if reduction == SUM:
        return total
    return total * Fraction(1, len(labels)) if weight is None else total / weight.take(labels, 0).sum()


def _hard_rows(b: Builder, rows: Expression, labels: torch.Tensor, weight: Expression | None, eps: Fraction) -> Expression:
    normaliser = rows.logsumexp([1])
    losses = normaliser - _pick(rows, labels)
    losses = losses if weight is None else losses * weight.take(labels, 0)
    if eps == 0:
        return losses
    classes = rows.shape[1]
    if weight is None:
        spread = normaliser - rows.mean([1])
    else:
        spread = (normaliser * weight.sum() - (rows * weight).sum([1])) * Fraction(1, classes)
    plain = losses * (1 - eps) + spread * eps
    if weight is not None:
        return plain
    # the same with the normaliser's coefficients added up: (1 - eps) + eps = 1, whatever the sign of eps
    joined = normaliser - _pick(rows, labels) * (1 - eps) - rows.mean([1]) * eps
    return b.same(joined, plain)


def _soft_cross_entropy(b: Builder, x: Expression, target: Expression, weight: Expression | None, reduction: int,
                        eps: Fraction) -> Expression:
    rows, goal = _class_last(x), _class_last(target)
    classes = rows.shape[1]
    goal = goal if eps == 0 else goal * (1 - eps) + eps / classes
    goal = goal if weight is None else goal * weight
    losses = rows.logsumexp([1]) * goal.sum([1]) - (goal * rows).sum([1])
    if reduction == NONE:
        return losses.reshape(x.shape[:1] + x.shape[2:] if x.ndim > 1 else ())
    return losses.sum() * (Fraction(1, rows.shape[0]) if reduction == MEAN else 1)


@lowers("aten.nll_loss.default", "aten.nll_loss_nd.default", "aten.nll_loss2d.default")
def nll_loss(b: Builder, x: Expression, target: Expression, weight: Expression | None, reduction: int, ignore_index: int) -> Expression:
    rows, labels = _class_last(x), _labels(target)
    if reduction == NONE:
        clean = torch.where(labels == ignore_index, 0, labels)
        losses = -_pick(rows, clean)
        losses = losses if weight is None else losses * weight.take(clean, 0)
        shape = x.shape[:1] + x.shape[2:] if x.ndim > 1 else ()
        return (losses * b.literal((labels != ignore_index).to(torch.float64))).reshape(shape)
    rows, labels = _select_class(b, rows, labels, ignore_index)
    if len(labels) == 0:
        raise NotImplementedError("every target is ignored, so the loss is undefined (0/0)")
    return _weighted(b, -_pick(rows, labels), labels, weight, reduction)


@lowers("aten.nll_loss_forward.default", "aten.nll_loss2d_forward.default")
def nll_loss_forward(b: Builder, x: Expression, target: Expression, weight: Expression | None, reduction: int,
                     ignore_index: int) -> tuple[Expression, None]:
    return nll_loss(b, x, target, weight, reduction, ignore_index), None


@lowers("aten.multi_margin_loss.default")
def multi_margin_loss(b: Builder, x: Expression, target: Expression, p: Number, margin: Number, weight: Expression | None,
                      reduction: int) -> Expression:
    """Mean over classes j != y of max(0, margin - x_y + x_j)^p."""
    rows, labels = _class_last(x), _labels(target)
    n, classes = rows.shape
    own = _pick(rows, labels).reshape((n, 1))
    terms = (b.rational(margin) - own + rows).unary("relu") ** rational(p)
    if weight is not None:
        terms = terms * weight.take(labels, 0).reshape((n, 1))
    mask = torch.ones(n, classes, dtype=torch.float64)
    mask[torch.arange(n), labels] = 0
    losses = (terms * b.literal(mask)).sum([1]) * Fraction(1, classes)
    return reduced(losses if x.ndim > 1 else losses.reshape(()), reduction)


@lowers("aten.multilabel_margin_loss.default")
def multilabel_margin_loss(b: Builder, x: Expression, target: Expression, reduction: int) -> Expression:
    rows = _class_last(x)
    labels = _labels(target).reshape(rows.shape)
    losses = []
    for i in range(rows.shape[0]):
        chosen = labels[i].tolist()
        chosen = chosen[: chosen.index(-1)] if -1 in chosen else chosen
        others = [j for j in range(rows.shape[1]) if j not in chosen]
        row = rows.select(0, i)
        own = row.take(torch.tensor(chosen, dtype=torch.int64), 0).reshape((len(chosen), 1))
        rest = row.take(torch.tensor(others, dtype=torch.int64), 0).reshape((1, len(others)))
        losses.append(((1 - own + rest).unary("relu").sum() * Fraction(1, rows.shape[1])).reshape((1,)))
    out = b.concat(losses, 0)
    return reduced(out if x.ndim > 1 else out.reshape(()), reduction)


