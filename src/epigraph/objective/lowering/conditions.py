"""Comparisons, truth values as the numbers 0 and 1, and choices between two tensors."""

from __future__ import annotations

import math
from typing import Any

from epigraph.objective.builder import Builder, Expression
from epigraph.objective.lowering.extended import all_finite, known, scalar
from epigraph.objective.lowering.registry import lowers

_RELATIONS = {
    "lt": ("lt", False),
    "le": ("le", False),
    "gt": ("lt", True),
    "ge": ("le", True),
    "eq": ("eq", False),
    "less": ("lt", False),
    "less_equal": ("le", False),
    "greater": ("lt", True),
    "greater_equal": ("le", True),
}


def _comparison(name: str) -> None:
    relation, swapped = _RELATIONS[name]

    def lower(b: Builder, x: Expression, y: Any) -> Expression:
        if isinstance(y, float) and math.isinf(y):
            return _against_infinity(b, x, name, y > 0)
        other = b.wrap(y)
        return b.compare(other, x, relation) if swapped else b.compare(x, other, relation)

    lowers(f"aten.{name}.Tensor", f"aten.{name}.Scalar", exact=True)(lower)


for _name in _RELATIONS:
    _comparison(_name)


def _against_infinity(b: Builder, x: Expression, name: str, high: bool) -> Expression:
    """A real number lies below infinity and above minus infinity."""
    _everywhere(b, x)
    holds = {"lt": high, "le": high, "less": high, "less_equal": high, "eq": False}.get(name, not high)
    return b.rational(int(holds)).expand(x.shape)


@lowers("aten.ne.Tensor", "aten.ne.Scalar", "aten.not_equal.Tensor", "aten.not_equal.Scalar", exact=True)
def ne(b: Builder, x: Expression, y: Any) -> Expression:
    if isinstance(y, float) and math.isinf(y):
        return 1 - _against_infinity(b, x, "eq", y > 0)
    return 1 - b.compare(x, b.wrap(y), "eq")


def truth(b: Builder, x: Expression) -> Expression:
    """1 where x is not 0, else 0; x itself where it has no other values."""
    return x if _is_truth(b, x) else 1 - b.compare(x, b.rational(0), "eq")


_KEEPS = frozenset({"reshape", "permute", "expand", "slice", "amax"})


def _is_truth(b: Builder, x: Expression) -> bool:
    """Has x the values 0 and 1 only, by its form?"""
    while True:
        constant = known(b, x)
        if constant is not None:
            return bool(((constant == 0) | (constant == 1)).all())
        if x.op == "take":
            x = x.argument()
        elif x.op in _KEEPS:
            x = x.argument()
        elif x.op == "add" and x.argument(0).value == 1 and x.argument(1).op == "neg":
            x = x.argument(1).argument()
        elif x.op == "add" and x.argument(1).value == 1 and x.argument(0).op == "neg":
            x = x.argument(0).argument()
        elif x.op in ("mul", "maximum"):
            return _is_truth(b, x.argument(0)) and _is_truth(b, x.argument(1))
        else:
            return x.op == "compare" or x.value in (0, 1)


@lowers("aten.logical_not.default", exact=True)
def logical_not(b: Builder, x: Expression) -> Expression:
    return b.compare(x, b.rational(0), "eq")


@lowers("aten.logical_and.default", exact=True)
def logical_and(b: Builder, x: Expression, y: Expression) -> Expression:
    return truth(b, x) * truth(b, y)


@lowers("aten.logical_or.default", exact=True)
def logical_or(b: Builder, x: Expression, y: Expression) -> Expression:
    return b.maximum(truth(b, x), truth(b, y))


@lowers("aten.logical_xor.default", exact=True)
def logical_xor(b: Builder, x: Expression, y: Expression) -> Expression:
    return 1 - b.compare(truth(b, x), truth(b, y), "eq")


def _truth_values(b: Builder, *operands: Expression) -> None:
    if not all(_is_truth(b, x) for x in operands):
        raise NotImplementedError("bits of whole numbers that depend on parameters")


@lowers("aten.bitwise_not.default", exact=True)
def bitwise_not(b: Builder, x: Expression) -> Expression:
    _truth_values(b, x)
    return 1 - x


@lowers("aten.bitwise_and.Tensor", "aten.__and__.Tensor", exact=True)
def bitwise_and(b: Builder, x: Expression, y: Expression) -> Expression:
    _truth_values(b, x, y)
    return x * y


@lowers("aten.bitwise_or.Tensor", "aten.__or__.Tensor", exact=True)
def bitwise_or(b: Builder, x: Expression, y: Expression) -> Expression:
    _truth_values(b, x, y)
    return b.maximum(x, y)


@lowers("aten.bitwise_xor.Tensor", "aten.__xor__.Tensor", exact=True)
def bitwise_xor(b: Builder, x: Expression, y: Expression) -> Expression:
    _truth_values(b, x, y)
    return 1 - b.compare(x, y, "eq")


@lowers("aten.any.default", exact=True)
def any_all(b: Builder, x: Expression) -> Expression:
    return truth(b, x).amax()


@lowers("aten.any.dim", "aten.any.dims", exact=True)
def any_dim(b: Builder, x: Expression, dim: Any, keepdim: bool) -> Expression:
    return truth(b, x).amax(_dims(x, dim), keepdim)


@lowers("aten.all.default", exact=True)
def all_all(b: Builder, x: Expression) -> Expression:
    return 1 - (1 - truth(b, x)).amax()


@lowers("aten.all.dim", "aten.all.dims", exact=True)
def all_dim(b: Builder, x: Expression, dim: Any, keepdim: bool) -> Expression:
    return 1 - (1 - truth(b, x)).amax(_dims(x, dim), keepdim)


def _dims(x: Expression, dim: Any) -> list[int] | None:
    chosen = [dim] if isinstance(dim, int) else list(dim or [])
    return chosen if chosen and x.ndim else None


@lowers("aten.count_nonzero.default", exact=True)
def count_nonzero(b: Builder, x: Expression, dim: int | None) -> Expression:
    return truth(b, x).sum(None if dim is None or x.ndim == 0 else [dim])


@lowers("aten.count_nonzero.dim_IntList", exact=True)
def count_nonzero_dims(b: Builder, x: Expression, dims: Any) -> Expression:
    return truth(b, x).sum(_dims(x, dims))


@lowers("aten.where.self", "aten.where.ScalarSelf", "aten.where.ScalarOther", "aten.where.Scalar", exact=True)
def where(b: Builder, condition: Expression, x: Any, y: Any) -> Expression:
    return b.where(condition, scalar(b, x), scalar(b, y))


@lowers("aten.masked_fill.Scalar", "aten.masked_fill.Tensor", exact=True)
def masked_fill(b: Builder, x: Expression, mask: Expression, value: Any) -> Expression:
    return b.where(mask, scalar(b, value), x)


@lowers("aten.heaviside.default", exact=True)
def heaviside(b: Builder, x: Expression, at_zero: Expression) -> Expression:
    return b.where(b.compare(x, b.rational(0), "eq"), at_zero, b.compare(b.rational(0), x, "lt"))


# guards against what is no number ---------------------------------------------------------------------------------
def _everywhere(b: Builder, x: Expression) -> None:
    """A real function that is defined for all parameters has finite values; overflow is rounding."""
    if not b.total[x.id] or not all_finite(b):
        raise NotImplementedError("a test for finite numbers where J may have no value")


@lowers("aten.isfinite.default", "aten.isreal.default")
def is_finite(b: Builder, x: Expression) -> Expression:
    _everywhere(b, x)
    return b.rational(1).expand(x.shape)


@lowers("aten.isnan.default", "aten.isinf.default", "aten.isposinf.default", "aten.isneginf.default")
def is_not_finite(b: Builder, x: Expression) -> Expression:
    _everywhere(b, x)
    return b.rational(0).expand(x.shape)


@lowers("aten.nan_to_num.default")
def nan_to_num(b: Builder, x: Expression, nan: Any, high: Any, low: Any) -> Expression:
    _everywhere(b, x)
    return x
