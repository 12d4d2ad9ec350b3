r"""Weight decay as a term of J: lambda/2 ||theta||^2, whose gradient lambda theta is what SGD adds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from epigraph.errors import UsageError
from epigraph.objective.blocks import Blocks

COUPLED = (
    torch.optim.SGD,
    torch.optim.Adam,
    torch.optim.NAdam,
    torch.optim.RAdam,
    torch.optim.Adagrad,
    torch.optim.Adadelta,
    torch.optim.Adamax,
    torch.optim.ASGD,
    torch.optim.RMSprop,
)
DECOUPLED = tuple(getattr(torch.optim, name) for name in ("AdamW", "Adafactor", "Muon") if hasattr(torch.optim, name))


def decays(spec: Any, blocks: Blocks) -> tuple[dict[str, float], list[str]]:
    """Coefficients by canonical name, zeros left out, and notes.

    Raises:
        UsageError: an unknown parameter, a coefficient that is no finite number, or an optimiser of unknown kind.
    """
    if isinstance(spec, torch.optim.Optimizer):
        return _of_optimizer(spec, blocks)
    pairs: dict[str, float] = {}
    if isinstance(spec, Mapping):
        for name, value in spec.items():
            known = blocks.alias.get(name, name)
            if known not in blocks.trainable:
                why = "it is frozen (requires_grad=False)" if known in blocks.frozen else None
                raise UsageError(
                    "E012",
                    f"weight_decay names an unknown parameter {name!r}",
                    why=why,
                    hint=f"one of {', '.join(list(blocks.trainable)[:8])}",
                )
            number = _number(value)
            if pairs.get(known, number) != number:
                raise UsageError(
                    "E025",
                    f"weight_decay has two values for {known!r}",
                    why=f"{name!r} is another name of it",
                    hint="give one of them",
                )
            pairs[known] = number
    else:
        pairs = dict.fromkeys(blocks.trainable, _number(spec))
    return {k: v for k, v in pairs.items() if v != 0}, []


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(
            "E025",
            f"weight_decay is a {type(value).__name__}, not a number",
            hint="a float, a dict of floats by parameter name, or an optimiser",
        ) from error
    if not math.isfinite(number):
        raise UsageError(
            "E025",
            f"weight_decay is {number}",
            why="the penalty lambda/2 ||theta||^2 must be finite",
            hint="a finite number, 0.0 for none",
        )
    return number


def _of_optimizer(optimizer: torch.optim.Optimizer, blocks: Blocks) -> tuple[dict[str, float], list[str]]:
    names = {id(p): n for n, p in blocks.trainable.items()}
    pairs: dict[str, float] = {}
    notes: list[str] = []
    kind = type(optimizer).__name__
    known = [p for group in optimizer.param_groups for p in group["params"] if isinstance(p, Tensor) and id(p) in names]
    if not known:
        raise UsageError(
            "E012",
            f"the {kind} passed as weight_decay moves no parameter of this model",
            hint="build it from model.parameters() of the same model object",
        )
    for group in optimizer.param_groups:
        decay = _number(group.get("weight_decay", 0.0))
        if decay == 0:
            continue
        if isinstance(optimizer, DECOUPLED) or group.get("decoupled_weight_decay", False):
            notes.append(
                f"{kind} decouples weight decay from the gradient: it is no term of any J and is left out here"
            )
        elif isinstance(optimizer, COUPLED):
            pairs |= {names[id(p)]: decay for p in group["params"] if id(p) in names}
        else:
            raise UsageError(
                "E025",
                f"how {kind} applies its weight decay is not known here",
                hint=f"weight_decay={decay} where it adds lambda theta to the gradient, else 0.0",
            )
    return pairs, list(dict.fromkeys(notes))
