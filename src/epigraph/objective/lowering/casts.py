"""Copies, casts, and writes of a whole tensor."""

from __future__ import annotations

from typing import Any

import torch

from epigraph.objective.builder import Builder, Expression
from epigraph.objective.lowering.conditions import truth
from epigraph.objective.lowering.extended import scalar
from epigraph.objective.lowering.registry import EXACT, lowers

EXACT.add("aten.view.dtype")  # the bits of a constant, read as another type


@lowers(
    "aten.clone.default",
    "aten.contiguous.default",
    "aten.alias.default",
    "aten.detach.default",
    "aten.detach_.default",
    "aten.lift_fresh_copy.default",
    "aten.lift_fresh.default",
    "aten.lift.default",
    "aten.positive.default",
    "aten.resolve_conj.default",
    "aten.resolve_neg.default",
    "aten.conj.default",
    "aten.real.default",
)
def identity(b: Builder, x: Expression, *rest: Any) -> Expression:
    """A constant stays the tensor that it is, so that its copies are one leaf of the graph."""
    return x


@lowers(
    "aten.to.dtype",
    "aten.to.device",
    "aten.to.dtype_layout",
    "aten.to.other",
    "aten._to_copy.default",
    "aten.type_as.default",
)
def cast(b: Builder, x: Expression, *rest: Any) -> Expression:
    """A cast between floating types is the identity on real numbers; those to whole numbers are caught at capture."""
    types = [v for v in rest if isinstance(v, torch.dtype)]
    if x.literal is None and types and not types[0].is_floating_point and types[0] != torch.bool and truth(b, x) is x:
        return x.unary("floor")  # the same numbers, but an index made of them is no mask any more
    if x.literal is None or x.literal.is_floating_point():
        return x
    others = [v for v in rest if isinstance(v, Expression)]
    real = (
        types[0].is_floating_point if types else any(v.literal is None or v.literal.is_floating_point() for v in others)
    )
    if not real:
        return x
    exact = x.literal.to(torch.float64)
    if not torch.equal(exact.to(x.literal.dtype), x.literal):
        raise NotImplementedError("whole numbers beyond 2^53 as floating-point numbers")
    return b.literal(exact, x.role)


@lowers("aten.copy.default", exact=True)
def copy(b: Builder, x: Expression, source: Expression, non_blocking: bool = False) -> Expression:
    return source.expand(x.shape)


@lowers("aten.fill.Scalar", "aten.fill.Tensor", exact=True)
def fill(b: Builder, x: Expression, value: Any) -> Expression:
    value = scalar(b, value)
    return value.reshape(()).expand(x.shape)


@lowers("aten.zero.default", exact=True)
def zero(b: Builder, x: Expression) -> Expression:
    return b.rational(0).expand(x.shape)
