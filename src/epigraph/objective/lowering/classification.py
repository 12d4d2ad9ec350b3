"""Loss functions of class scores as exact formulas: cross-entropy, negative log-likelihood, margins."""

from __future__ import annotations

from fractions import Fraction

import torch

from epigraph.objective.builder import Builder, Expression, Number, rational
from epigraph.objective.lowering.extended import logsumexp, split
from epigraph.objective.lowering.indexing import constant_index
from epigraph.objective.lowering.losses import MEAN, NONE, SUM, reduced
from epigraph.objective.lowering.registry import lowers


def _class_last(x: Expression) -> Expression:
    """[N, C, d1, ...] -> [N d1 ..., C]; a single row where there is no batch."""
    if x.ndim == 0:
        return x.reshape((1, 1))
    if x.ndim == 1:
        return x.reshape((1, x.shape[0]))
    order = [0, *range(2, x.ndim), 1]
    return x.permute(order).reshape((x.numel // x.shape[1], x.shape[1]))


def _pick(rows: Expression, labels: torch.Tensor) -> Expression:
    """rows[i, labels[i]]."""
    flat = torch.arange(rows.shape[0]) * rows.shape[1] + labels
    parts = split(rows.builder, rows)
    if parts is not None:
        if not bool(parts[0].reshape(-1)[flat].all()):
            raise NotImplementedError("a target whose logit is -inf")
        rows = parts[1]
    return rows.reshape((rows.numel,)).take(flat, 0)


def _labels(target: Expression) -> torch.Tensor:
    return constant_index(target).reshape(-1).to(torch.int64).cpu()


def _select_class(b: Builder, rows: Expression, labels: torch.Tensor, ignore: int) -> tuple[Expression, torch.Tensor]:
    kept = torch.nonzero(labels != ignore).reshape(-1)
    if len(kept) < len(labels):
        rows = rows.take(kept, 0)
    return rows, labels[kept]


def _nothing(b: Builder, reduction: int) -> Expression:
    if reduction == MEAN:
        raise NotImplementedError("every target is ignored, so the loss is undefined (0/0)")
    return b.rational(0)


def _weighted(
    b: Builder, losses: Expression, labels: torch.Tensor, weight: Expression | None, reduction: int
) -> Expression:
    if weight is None:
        return losses.mean() if reduction == MEAN else losses.sum()
    weights = weight.take(labels, 0)
    total = (losses * weights).sum()
    return total / weights.sum() if reduction == MEAN else total


@lowers("aten.cross_entropy_loss.default")
def cross_entropy_loss(
    b: Builder,
    x: Expression,
    target: Expression,
    weight: Expression | None,
    reduction: int,
    ignore_index: int,
    label_smoothing: Number,
) -> Expression:
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
        return _nothing(b, reduction)
    total = _hard_rows(b, rows, labels, weight, rational(label_smoothing)).sum()
    if reduction == SUM:
        return total
    return total * Fraction(1, len(labels)) if weight is None else total / weight.take(labels, 0).sum()


def _hard_rows(
    b: Builder, rows: Expression, labels: torch.Tensor, weight: Expression | None, eps: Fraction
) -> Expression:
    normaliser = logsumexp(b, rows, [1])
    if eps != 0 and split(b, rows) is not None:
        raise NotImplementedError("label smoothing over logits that are -inf")
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


def _soft_cross_entropy(
    b: Builder, x: Expression, target: Expression, weight: Expression | None, reduction: int, eps: Fraction
) -> Expression:
    rows, goal = _class_last(x), _class_last(target)
    classes = rows.shape[1]
    goal = goal if eps == 0 else goal * (1 - eps) + eps / classes
    goal = goal if weight is None else goal * weight
    if split(b, rows) is not None:
        raise NotImplementedError("class probabilities over logits that are -inf")
    losses = rows.logsumexp([1]) * goal.sum([1]) - (goal * rows).sum([1])
    if reduction == NONE:
        return losses.reshape(x.shape[:1] + x.shape[2:] if x.ndim > 1 else ())
    return losses.sum() * (Fraction(1, rows.shape[0]) if reduction == MEAN else 1)


@lowers("aten.nll_loss.default", "aten.nll_loss_nd.default", "aten.nll_loss2d.default")
def nll_loss(
    b: Builder, x: Expression, target: Expression, weight: Expression | None, reduction: int, ignore_index: int
) -> Expression:
    rows, labels = _class_last(x), _labels(target)
    if reduction == NONE:
        clean = torch.where(labels == ignore_index, 0, labels)
        losses = -_pick(rows, clean)
        losses = losses if weight is None else losses * weight.take(clean, 0)
        shape = x.shape[:1] + x.shape[2:] if x.ndim > 1 else ()
        return (losses * b.literal((labels != ignore_index).to(torch.float64))).reshape(shape)
    rows, labels = _select_class(b, rows, labels, ignore_index)
    if len(labels) == 0:
        return _nothing(b, reduction)
    return _weighted(b, -_pick(rows, labels), labels, weight, reduction)


@lowers("aten.nll_loss_forward.default", "aten.nll_loss2d_forward.default")
def nll_loss_forward(
    b: Builder, x: Expression, target: Expression, weight: Expression | None, reduction: int, ignore_index: int
) -> tuple[Expression, None]:
    return nll_loss(b, x, target, weight, reduction, ignore_index), None


@lowers("aten.multi_margin_loss.default")
def multi_margin_loss(
    b: Builder, x: Expression, target: Expression, p: Number, margin: Number, weight: Expression | None, reduction: int
) -> Expression:
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
    losses: list[Expression] = []
    for i in range(rows.shape[0]):
        chosen = labels[i].tolist()
        chosen = chosen[: chosen.index(-1)] if -1 in chosen else chosen
        others = [j for j in range(rows.shape[1]) if j not in chosen]
        if not chosen or not others:
            losses.append(b.rational(0).expand((1,)))
            continue
        row = rows.select(0, i)
        own = row.take(torch.tensor(chosen, dtype=torch.int64), 0).reshape((len(chosen), 1))
        rest = row.take(torch.tensor(others, dtype=torch.int64), 0).reshape((1, len(others)))
        losses.append(((1 - own + rest).unary("relu").sum() * Fraction(1, rows.shape[1])).reshape((1,)))
    out = b.concat(losses, 0)
    return reduced(out if x.ndim > 1 else out.reshape(()), reduction)


@lowers("aten.multilabel_margin_loss_forward.default")
def multilabel_margin_loss_forward(
    b: Builder, x: Expression, target: Expression, reduction: int
) -> tuple[Expression, None]:
    return multilabel_margin_loss(b, x, target, reduction), None
