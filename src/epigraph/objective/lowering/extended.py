"""Minus infinity as a mask: entries set to -inf before a softmax, a log-sum-exp or a maximum drop out of it.

A graph holds real numbers only.  The tensor that a program fills with -inf is kept as written while it is moved
around; the operator that reads it takes its finite part and the constant mask of the entries that count.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from epigraph.objective import identities
from epigraph.objective.builder import Builder, Expression
from epigraph.objective.lowering.registry import lowers

Split = tuple[Tensor, Expression]
THROUGH = frozenset({"where", "add", "mul", "concat", "reshape", "permute", "expand", "slice", "take"})


def scalar(b: Builder, value: Any) -> Expression:
    """A number as an expression; an infinite one as a constant tensor."""
    if isinstance(value, float) and not math.isfinite(value):
        return b.literal(torch.tensor(value, dtype=torch.float64))
    return b.wrap(value)


def known(b: Builder, x: Expression) -> Tensor | None:
    """The tensor of a constant leaf."""
    if x.literal is not None:
        return x.literal
    name = x.node.attributes.get("tensor") if x.op == "constant" else None
    return None if name is None else b.tensors[name].tensor


def split(b: Builder, x: Expression) -> Split | None:
    """(which entries are finite, their values with anything in the other places), or None where all are finite."""
    if x.literal is not None:
        return _split_constant(b, x.literal, x.role)
    if not _holds_infinity(b):
        return None
    memory: dict[int, Split | None] = b.memory.setdefault("split", {})
    pending, reached = [x.id], {x.id}
    while pending:
        node = b.nodes[pending.pop()]
        if node.op in THROUGH and node.id not in memory:
            pending.extend(i for i in node.inputs if i not in reached)
            reached.update(node.inputs)
    for identifier in sorted(reached):
        if identifier not in memory:
            memory[identifier] = _split_node(b, Expression(b, identifier, b.nodes[identifier].shape), memory)
    return memory[x.id]


def settled(b: Builder, value: Any) -> Any:
    """The finite part of an expression that was made with -inf and has lost all such entries, else the value itself."""
    if isinstance(value, (tuple, list)):
        return type(value)(settled(b, v) for v in value)
    if not isinstance(value, Expression) or value.literal is not None or not _holds_infinity(b):
        return value
    parts = split(b, value)
    return parts[1] if parts is not None and bool(parts[0].all()) else value


def _holds_infinity(b: Builder) -> bool:
    """Has any constant of the graph so far an entry -inf?  Each is looked at once."""
    seen, found = b.memory.get("infinite", (0, False))
    if not found and seen < len(b.tensors):
        new = [leaf.tensor for leaf in list(b.tensors.values())[seen:]]
        found = any(t.is_floating_point() and bool((t == -torch.inf).any()) for t in new)
        b.memory["infinite"] = (len(b.tensors), found)
    return found


def all_finite(b: Builder) -> bool:
    """Are all constants of the graph so far finite?  Each is looked at once."""
    seen, found = b.memory.get("finite", (0, True))
    if found and seen < len(b.tensors):
        new = [leaf.tensor for leaf in list(b.tensors.values())[seen:]]
        found = all(bool(torch.isfinite(t).all()) for t in new if t.is_floating_point())
        b.memory["finite"] = (len(b.tensors), found)
    return found


def _split_constant(b: Builder, constant: Tensor, role: str) -> Split | None:
    allowed = constant != -torch.inf
    if not constant.is_floating_point() or bool(allowed.all()):
        return None
    return allowed, b.literal(torch.where(allowed, constant, torch.zeros_like(constant)), role)


def _split_node(b: Builder, x: Expression, memory: dict[int, Split | None]) -> Split | None:
    """One node, from the splits of its inputs."""
    parts = [memory.get(i) for i in x.node.inputs]
    if x.op == "constant":
        name = x.node.attributes.get("tensor")
        return None if name is None else _split_constant(b, b.tensors[name].tensor, b.tensors[name].role)
    if x.op not in THROUGH or not any(parts):
        return None
    if x.op == "where":
        return _split_where(b, x, parts)
    if x.op == "add":
        values = [x.argument(i) if s is None else s[1] for i, s in enumerate(parts)]
        masks = [s[0] for s in parts if s is not None]
        return torch.stack([m.expand(x.shape) for m in masks]).all(0), values[0] + values[1]
    if x.op == "mul":
        factor, inner = x.argument(0).value, parts[1]
        return (
            (inner[0].expand(x.shape), inner[1] * factor)
            if inner is not None and factor is not None and factor > 0
            else None
        )
    if x.op == "concat":
        masks = [torch.ones(x.argument(i).shape, dtype=torch.bool) if s is None else s[0] for i, s in enumerate(parts)]
        values = [x.argument(i) if s is None else s[1] for i, s in enumerate(parts)]
        return torch.cat(masks, x.node.attributes["dim"]), b.concat(values, x.node.attributes["dim"])
    return _moved(b, x, *parts[0]) if parts[0] is not None else None


def _split_where(b: Builder, x: Expression, parts: list[Split | None]) -> Split | None:
    condition = known(b, x.argument(0))
    if condition is None:
        return None
    masks = [torch.ones((), dtype=torch.bool) if s is None else s[0] for s in parts[1:]]
    values = [x.argument(i) if s is None else s[1] for i, s in enumerate(parts) if i]
    allowed = torch.where(condition != 0, *masks).expand(x.shape)
    for i in (0, 1):
        if not bool(masks[i].any()):
            return allowed, values[1 - i].expand(x.shape)
    return allowed, b.where(x.argument(0), *values)


def _moved(b: Builder, x: Expression, allowed: Tensor, values: Expression) -> Split:
    from epigraph.objective.evaluate import KERNELS

    index = [i for i in [known(b, x.argument(1))] if i is not None] if x.op == "take" else []
    moved = KERNELS[x.op](x.node.attributes, [allowed, *index])
    return moved, b.make(x.op, [values, *(b.literal(i, "index") for i in index)], dict(x.node.attributes), x.shape)


# what reads it -----------------------------------------------------------------------------------------------------
def over_allowed(
    b: Builder, x: Expression, allowed: Tensor, dim: int, reduce: Callable[[Expression], Expression]
) -> Expression:
    """Reduce each row over its allowed entries: rows with the same number of them together."""
    order = [d for d in range(x.ndim) if d != dim] + [dim]
    lead = tuple(x.shape[d] for d in order[:-1])
    rows = x.permute(order).reshape((math.prod(lead), x.shape[dim]))
    mask = allowed.expand(x.shape).permute(order).reshape(rows.shape)
    counts = mask.sum(1)
    if bool((counts == 0).any()):
        raise NotImplementedError("a row in which every entry is -inf")
    parts, places = [], []
    for count in counts.unique().tolist():
        chosen = torch.nonzero(counts == count).reshape(-1)
        flat = torch.nonzero(mask[chosen])[:, 1] + chosen.repeat_interleave(count) * rows.shape[1]
        parts.append(reduce(rows.reshape((rows.numel,)).take(flat, 0).reshape((len(chosen), count))))
        places.append(chosen)
    back = torch.cat(places).argsort()
    joined = b.concat(parts, 0)
    return (joined.take(back, 0) if len(parts) > 1 else joined).reshape(lead)


def masked_softmax(b: Builder, x: Expression, allowed: Tensor, dim: int, empty_rows: bool = False) -> Expression:
    r"""e^x over its sum along ``dim``, both over the allowed entries; where a row has none, zero or no lowering.

    Every other entry is first replaced by an allowed one of its row.  The softmax p of that is proportional to e^x on
    the allowed entries and sums to at least 1/n over them, so that dividing by this sum neither overflows nor vanishes.
    """
    mask = _narrowed(allowed.expand(x.shape), dim)
    none = ~mask.any(dim, keepdim=True)
    if bool(none.any()) and not empty_rows:
        raise NotImplementedError("a softmax in which every entry is -inf")
    weights = log_softmax(b, _filled(x, mask, dim), dim, None).unary("exp") * b.literal(mask.to(torch.float64))
    total = weights.sum([dim], keepdim=True)
    return weights / (total + b.literal(none.to(torch.float64)) if bool(none.any()) else total)


def _narrowed(mask: Tensor, dim: int) -> Tensor:
    """The mask with size 1 along the other dimensions over which it is constant."""
    for d in range(mask.ndim):
        if d != dim and torch.equal(mask, mask.narrow(d, 0, 1).expand(mask.shape)):
            mask = mask.narrow(d, 0, 1)
    return mask


def _filled(x: Expression, mask: Tensor, dim: int) -> Expression:
    """x with every entry that is not allowed replaced by the first allowed one of its row."""
    rows = [d for d in range(x.ndim) if d != dim and mask.shape[d] > 1]
    order = [d for d in range(x.ndim) if d != dim and d not in rows] + [*rows, dim]
    size = x.shape[dim]
    table = mask.permute(order).reshape(-1, size)
    places = torch.where(table, torch.arange(size), table.to(torch.int8).argmax(1, keepdim=True))
    places = places + torch.arange(len(table))[:, None] * size
    moved = x.permute(order)
    flat = moved.reshape((*moved.shape[: x.ndim - len(rows) - 1], places.numel()))
    return flat.take(places, -1).reshape(moved.shape).permute([order.index(d) for d in range(x.ndim)])


def logsumexp(b: Builder, x: Expression, dims: list[int]) -> Expression:
    """log-sum-exp over one or several dimensions, dropped, of a tensor that may hold -inf."""
    return _reduced(b, x, dims, lambda rows: rows.logsumexp([1]), lambda v: v.logsumexp(dims))


def amax(b: Builder, x: Expression, dims: list[int] | None) -> Expression:
    """The maximum over some dimensions, dropped, of a tensor that may hold -inf."""
    return _reduced(b, x, dims or list(range(x.ndim)), lambda rows: rows.amax([1]), lambda v: v.amax(dims))


def _reduced(
    b: Builder,
    x: Expression,
    dims: list[int],
    rows: Callable[[Expression], Expression],
    plain: Callable[[Expression], Expression],
) -> Expression:
    parts = split(b, x)
    if parts is None:
        return plain(x)
    chosen = sorted({d % x.ndim for d in dims})
    kept = [d for d in range(x.ndim) if d not in chosen]
    lead = tuple(x.shape[d] for d in kept)
    allowed = parts[0].expand(x.shape).permute([*kept, *chosen]).reshape((*lead, -1))
    values = parts[1].permute([*kept, *chosen]).reshape(tuple(allowed.shape))
    return over_allowed(b, values, allowed, values.ndim - 1, rows)


@lowers("aten.softmax.int", "aten._softmax.default", "aten.special_softmax.default")
def softmax(b: Builder, x: Expression, dim: int, dtype: Any) -> Expression:
    parts = split(b, x)
    if parts is not None:
        return masked_softmax(b, parts[1], parts[0], dim % x.ndim)
    return log_softmax(b, x, dim, dtype).unary("exp")


@lowers("aten._safe_softmax.default")
def safe_softmax(b: Builder, x: Expression, dim: int, dtype: Any) -> Expression:
    """A softmax whose rows without any finite entry are zero."""
    parts = split(b, x)
    return (
        softmax(b, x, dim, dtype)
        if parts is None
        else masked_softmax(b, parts[1], parts[0], dim % x.ndim, empty_rows=True)
    )


@lowers("aten.log_softmax.int", "aten._log_softmax.default", "aten.special_log_softmax.default")
def log_softmax(b: Builder, x: Expression, dim: int, dtype: Any) -> Expression:
    if x.ndim == 0:
        return b.rational(0)
    parts = split(b, x)
    if parts is None:
        return identities.log_softmax(b, x, dim % x.ndim)
    allowed, values = parts
    kept = tuple(1 if d == dim % x.ndim else n for d, n in enumerate(x.shape))
    normaliser = over_allowed(b, values, allowed, dim % x.ndim, lambda rows: rows.logsumexp([1])).reshape(kept)
    return b.where(b.literal(allowed), values - normaliser, scalar(b, -math.inf))


@lowers("aten.exp.default")
def exp(b: Builder, x: Expression) -> Expression:
    parts = split(b, x)
    return x.unary("exp") if parts is None else parts[1].unary("exp") * b.literal(parts[0].to(torch.float64))


@lowers("aten.sigmoid.default", "aten.special_expit.default")
def sigmoid(b: Builder, x: Expression) -> Expression:
    parts = split(b, x)
    return x.unary("sigmoid") if parts is None else parts[1].unary("sigmoid") * b.literal(parts[0].to(torch.float64))
