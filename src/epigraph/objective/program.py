"""Calling the user's program: how a model, a loss and a function take their arguments, and the one number they give."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from epigraph.errors import ObjectiveError

Call = Callable[[Callable[..., Any], dict[str, Any]], Any]


def run_program(model: nn.Module, loss: Callable[..., Any] | None, x: Any, y: Any) -> Any:
    """loss(model(inputs), targets) by the calling conventions of ``Objective``."""
    if isinstance(x, Mapping):
        out = model(**x)
    elif isinstance(x, tuple | list):
        out = model(*x)
    else:
        out = model() if x is None else model(x)
    if loss is None:
        return _own_loss(out)
    return loss(out) if y is None else loss(out, y)


def _own_loss(out: Any) -> Any:
    """What a model returns without a loss: the loss itself, or a structured output that has it under ``loss``."""
    if isinstance(out, Tensor):
        return out
    inside = out.get("loss") if isinstance(out, Mapping) else getattr(out, "loss", None)
    return inside if isinstance(inside, Tensor) else out


def one_number(out: Any) -> Tensor:
    """The output as a tensor without dimensions.

    Raises:
        ObjectiveError: it is no tensor, has more than one entry, or is not of a real floating type.
    """
    if not isinstance(out, Tensor):
        hint = (
            "return the loss itself, without .item()"
            if isinstance(out, float | int)
            else "loss=lambda out, y: ... that picks the tensors it needs and returns one number"
        )
        raise ObjectiveError(
            "E205", f"the objective returns a {type(out).__name__}, not a tensor with one number", hint=hint
        )
    if out.numel() != 1:
        raise ObjectiveError(
            "E205",
            f"the loss is not a scalar: it has shape {tuple(out.shape)}",
            why="convexity is a property of one number J",
            hint='reduction="mean" or .sum()',
        )
    if not out.is_floating_point():
        hint = ".abs() or .real, whichever is meant" if out.is_complex() else "compute the loss in a floating type"
        raise ObjectiveError(
            "E205",
            f"the loss has type {out.dtype}",
            why="J must be a real number that varies with the parameters",
            hint=hint,
        )
    return out.reshape(())


def convention(function: Callable[..., Any], names: list[str]) -> Call:
    """How a function takes its parameters: by name, by position, or as one dict.

    By name where its signature has all the names; as one dict where it takes one required argument for several
    parameters; else by position.
    """
    target = function.forward if isinstance(function, nn.Module) else function
    try:
        taken = list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):
        return _by_position
    plain = [p for p in taken if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    named = {p.name for p in taken if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    required = {p.name for p in taken if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    stars = {p.kind for p in taken if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    only_keywords = (
        inspect.Parameter.VAR_KEYWORD in stars and not plain and inspect.Parameter.VAR_POSITIONAL not in stars
    )
    if required <= set(names) and (named >= set(names) or only_keywords):
        return _by_name
    if len(names) > 1 and len(required) == 1 and inspect.Parameter.VAR_POSITIONAL not in stars:
        return _as_dict
    return _by_position


def _by_name(function: Callable[..., Any], values: dict[str, Any]) -> Any:
    return function(**values)


def _by_position(function: Callable[..., Any], values: dict[str, Any]) -> Any:
    return function(*values.values())


def _as_dict(function: Callable[..., Any], values: dict[str, Any]) -> Any:
    return function(values)
