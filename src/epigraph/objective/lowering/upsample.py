"""Interpolation of images: constant linear maps along each dimension, with rational weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import torch

from epigraph.objective.builder import Builder, Expression
from epigraph.objective.lowering.layout import flat_take, positions
from epigraph.objective.lowering.registry import lowers, operator

Weights = list[dict[int, Fraction]]  # for each entry of the result, the weight of each entry that it is made of


def _ratio(size: int, out: int, aligned: bool, scale: float | None) -> Fraction:
    """Distance in the input between neighbours of the result."""
    if aligned:
        return Fraction(size - 1, out - 1) if out > 1 else Fraction(0)
    return 1 / Fraction(scale) if scale is not None and scale > 0 else Fraction(size, out)


def _place(i: int, ratio: Fraction, aligned: bool) -> Fraction:
    return i * ratio if aligned else (i + Fraction(1, 2)) * ratio - Fraction(1, 2)


def _linear(size: int, out: int, aligned: bool, scale: float | None) -> Weights:
    ratio, rows = _ratio(size, out, aligned, scale), []
    for i in range(out):
        place = max(_place(i, ratio, aligned), Fraction(0))
        low = min(math.floor(place), size - 1)
        rows.append(_collected([(low, 1 - (place - low)), (min(low + 1, size - 1), place - low)]))
    return rows


def _cubic(size: int, out: int, aligned: bool, scale: float | None) -> Weights:
    """Cubic convolution with a = -3/4, borders repeated."""
    a, ratio, rows = Fraction(-3, 4), _ratio(size, out, aligned, scale), []

    def near(t: Fraction) -> Fraction:
        return ((a + 2) * t - (a + 3)) * t * t + 1

    def far(t: Fraction) -> Fraction:
        return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a

    for i in range(out):
        place = _place(i, ratio, aligned)
        low = math.floor(place)
        t = place - low
        weights = (far(t + 1), near(t), near(1 - t), far(2 - t))
        rows.append(_collected([(min(max(low - 1 + k, 0), size - 1), w) for k, w in enumerate(weights)]))
    return rows


def _collected(pairs: Sequence[tuple[int, Fraction]]) -> dict[int, Fraction]:
    row: dict[int, Fraction] = {}
    for index, weight in pairs:
        row[index] = row.get(index, Fraction(0)) + weight
    return row


def _apply(b: Builder, x: Expression, dim: int, weights: Weights) -> Expression:
    """The linear map along one dimension: a matrix of whole numbers over their common denominator."""
    common = math.lcm(*(w.denominator for row in weights for w in row.values()))
    matrix = torch.zeros(x.shape[dim], len(weights), dtype=torch.float64)
    for column, row in enumerate(weights):
        for index, weight in row.items():
            if abs(weight * common) >= 2**53:
                raise NotImplementedError("interpolation weights that float64 does not hold")
            matrix[index, column] = int(weight * common)
    order = [d for d in range(x.ndim) if d != dim] + [dim]
    out = b.matmul(x.permute(order), b.literal(matrix)) * Fraction(1, common)
    return out.permute([order.index(d) for d in range(x.ndim)])


def _out_sizes(x: Expression, size: Sequence[int] | None, factors: Sequence[float] | None, spatial: int) -> list[int]:
    if size is not None:
        return list(size)
    assert factors is not None
    return [math.floor(n * f) for n, f in zip(x.shape[-spatial:], factors, strict=True)]


Kind = Callable[[int, int, bool, float | None], Weights]


def _smooth_lowering(name: str, spatial: int, kind: Kind) -> None:
    def interpolate(
        b: Builder, x: Expression, size: Sequence[int] | None, aligned: bool, factors: Sequence[float] | None
    ) -> Expression:
        sizes = _out_sizes(x, size, factors, spatial)
        for offset, out in enumerate(sizes):
            dim = x.ndim - spatial + offset
            x = _apply(b, x, dim, kind(x.shape[dim], out, aligned, None if factors is None else factors[offset]))
        return x

    def with_scales(b: Builder, x: Expression, size: Sequence[int], aligned: bool, *scales: float | None) -> Expression:
        for offset, out in enumerate(size):
            dim = x.ndim - spatial + offset
            x = _apply(b, x, dim, kind(x.shape[dim], out, aligned, scales[offset]))
        return x

    lowers(f"aten.{name}.vec")(interpolate)
    lowers(f"aten.{name}.default")(with_scales)


_smooth_lowering("upsample_linear1d", 1, _linear)
_smooth_lowering("upsample_bilinear2d", 2, _linear)
_smooth_lowering("upsample_trilinear3d", 3, _linear)
_smooth_lowering("upsample_bicubic2d", 2, _cubic)


def _nearest_lowering(overload: str) -> None:
    """Nearest neighbours copy entries: apply the operator to their positions."""

    def lower(b: Builder, x: Expression, *rest: Any) -> Expression:
        return flat_take(x, operator(overload)(positions(x).double(), *rest).long())

    lowers(overload, exact=True)(lower)


for _spatial in (1, 2, 3):
    for _kind in ("vec", "default"):
        _nearest_lowering(f"aten.upsample_nearest{_spatial}d.{_kind}")
        _nearest_lowering(f"aten._upsample_nearest_exact{_spatial}d.{_kind}")
