"""Padding with a constant or with entries of the tensor itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from epigraph.objective.builder import Builder, Expression
from epigraph.objective.lowering.extended import scalar
from epigraph.objective.lowering.registry import lowers


@lowers("aten.constant_pad_nd.default", "aten.pad.default", exact=True)
def pad(b: Builder, x: Expression, amounts: Sequence[int], mode: Any, value: Any = None) -> Expression:
    if isinstance(mode, str) and mode != "constant":
        return _pad_by_index(x, amounts, mode)
    fill = value if isinstance(mode, str) else mode
    for position in range(len(amounts) // 2):
        dim = x.ndim - 1 - position
        before, after = amounts[2 * position], amounts[2 * position + 1]
        x = x.slice(dim, max(0, -before), x.shape[dim] - max(0, -after))
        parts = [_filled(b, x, dim, before, fill), x, _filled(b, x, dim, after, fill)]
        x = b.concat([p for p in parts if p is not None], dim)
    return x


def _filled(b: Builder, x: Expression, dim: int, width: int, value: Any) -> Expression | None:
    if width <= 0:
        return None
    return scalar(b, value or 0).expand((*x.shape[:dim], width, *x.shape[dim + 1 :]))


def _pad_by_index(x: Expression, amounts: Sequence[int], mode: str) -> Expression:
    """reflect, replicate and circular padding select entries: find which by padding their positions."""
    for position in range(len(amounts) // 2):
        dim = x.ndim - 1 - position
        row = torch.arange(x.shape[dim], dtype=torch.float64).reshape(1, 1, -1)
        padded = torch.nn.functional.pad(row, (amounts[2 * position], amounts[2 * position + 1]), mode=mode)
        x = x.take(padded.reshape(-1).to(torch.int64), dim)
    return x


def _pad_lowering(spatial: int) -> None:
    def reflected(b: Builder, x: Expression, amounts: Sequence[int]) -> Expression:
        return _pad_by_index(x, amounts, "reflect")

    def replicated(b: Builder, x: Expression, amounts: Sequence[int]) -> Expression:
        return _pad_by_index(x, amounts, "replicate")

    lowers(f"aten.reflection_pad{spatial}d.default", exact=True)(reflected)
    lowers(f"aten.replication_pad{spatial}d.default", exact=True)(replicated)


for _spatial in (1, 2, 3):
    _pad_lowering(_spatial)


@lowers("aten._pad_circular.default", exact=True)
def pad_circular(b: Builder, x: Expression, amounts: Sequence[int]) -> Expression:
    return _pad_by_index(x, amounts, "circular")
