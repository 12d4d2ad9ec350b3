"""Einstein summation as a chain of matrix products."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from epigraph.objective.builder import Builder, Expression
from epigraph.objective.lowering.registry import lowers


@lowers("aten.einsum.default")
def einsum(b: Builder, equation: str, operands: Sequence[Expression], path: Any) -> Expression:
    terms, right = _parse(equation, operands)
    pairs = [_diagonal(x, labels) for x, labels in zip(operands, terms, strict=True)]
    sizes: dict[str, int] = {}
    for x, labels in pairs:
        for c, n in zip(labels, x.shape, strict=True):
            sizes[c] = max(n, sizes.get(c, 1))
    terms = [labels for _, labels in pairs]
    wide = [x.expand(tuple(sizes[c] for c in labels)) for x, labels in pairs]
    current, labels = wide[0], terms[0]
    for position, (operand, label) in enumerate(zip(wide[1:], terms[1:], strict=True)):
        later = set("".join(terms[position + 2 :])) | set(right)
        current, labels = _pair(b, current, labels, operand, label, later)
    current, labels = _sum_away(current, labels, set(right))
    return current.permute([labels.index(c) for c in right]) if right else current


def _parse(equation: str, operands: Sequence[Expression]) -> tuple[list[str], str]:
    """The labels of each operand and of the result; an ellipsis is written out with digits, the last dimension as 0."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms, dots = [], ""
    for term, x in zip(left.split(","), operands, strict=True):
        count = x.ndim - len(term.replace("...", ""))
        digits = "".join(chr(ord("0") + i) for i in reversed(range(count)))
        if "..." in term and len(digits) > len(dots):
            dots = digits
        terms.append(term.replace("...", digits))
    if arrow:
        return terms, right.replace("...", dots)
    letters = "".join(terms)
    return terms, dots + "".join(sorted(c for c in set(letters) - set(dots) if letters.count(c) == 1))


def _diagonal(x: Expression, labels: str) -> tuple[Expression, str]:
    """Entries whose repeated indices agree."""
    for c in labels:
        while labels.count(c) > 1:
            first = labels.index(c)
            second = labels.index(c, first + 1)
            positions = torch.arange(x.numel).reshape(x.shape).diagonal(0, first, second)
            x = x.reshape((x.numel,)).take(positions, 0).reshape(tuple(positions.shape))
            labels = _without(labels, first, second) + c
    return x, labels


def _without(labels: str, first: int, second: int) -> str:
    return "".join(c for i, c in enumerate(labels) if i not in (first, second))


def _pair(b: Builder, x: Expression, xs: str, y: Expression, ys: str, later: set[str]) -> tuple[Expression, str]:
    x, xs = _sum_away(x, xs, set(ys) | later)
    y, ys = _sum_away(y, ys, set(xs) | later)
    batch = [c for c in xs if c in ys and c in later]
    shared = [c for c in xs if c in ys and c not in later]
    own_x, own_y = [c for c in xs if c not in ys], [c for c in ys if c not in xs]
    size = dict(zip(xs, x.shape, strict=True)) | dict(zip(ys, y.shape, strict=True))
    if not own_x and not own_y:
        product = x * y.permute([ys.index(c) for c in xs])
        return product.sum([xs.index(c) for c in shared]) if shared else product, "".join(
            c for c in xs if c not in shared
        )
    count = [math.prod(size[c] for c in group) for group in (own_x, shared, own_y)]
    lead = [size[c] for c in batch]
    left = x.permute([xs.index(c) for c in (*batch, *own_x, *shared)]).reshape((*lead, count[0], count[1]))
    right = y.permute([ys.index(c) for c in (*batch, *shared, *own_y)]).reshape((*lead, count[1], count[2]))
    out = b.matmul(left, right).reshape((*lead, *(size[c] for c in own_x), *(size[c] for c in own_y)))
    return out, "".join([*batch, *own_x, *own_y])


def _sum_away(x: Expression, labels: str, kept: set[str]) -> tuple[Expression, str]:
    gone = [d for d, c in enumerate(labels) if c not in kept]
    return (x.sum(gone), "".join(c for c in labels if c in kept)) if gone else (x, labels)
