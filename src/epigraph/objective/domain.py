"""The box in which the parameters live."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor

from epigraph.errors import UsageError

Bound = Tensor


@final
@dataclass(frozen=True)
class Domain:
    """Lower and upper bounds by parameter name, float64 tensors that broadcast to the parameter; absent means none.

    The box is closed; at a boundary where J has no value it is extended by its limit, +inf where there is none.
    """

    lower: Mapping[str, Tensor] = field(default_factory=dict)
    upper: Mapping[str, Tensor] = field(default_factory=dict)

    @staticmethod
    def of(bounds: Mapping[str, Any] | None, parameters: Mapping[str, Tensor], alias: Mapping[str, str]) -> Domain:
        """From ``{"w": (0.0, None)}``; each bound is None, a number, a list or a tensor that broadcasts."""
        if bounds is not None and not isinstance(bounds, Mapping):
            raise UsageError(
                "E013", f"the domain is a {type(bounds).__name__}, not a dict", hint='{"w": (0.0, None)} for w >= 0'
            )
        lower: dict[str, Tensor] = {}
        upper: dict[str, Tensor] = {}
        seen: dict[str, str] = {}
        for name, pair in (bounds or {}).items():
            known = alias.get(name, name)
            if known not in parameters:
                why = "it is frozen (requires_grad=False)" if known in alias else None
                raise UsageError(
                    "E012",
                    f"the domain names an unknown parameter {name!r}",
                    why=why,
                    hint=f"one of {', '.join(list(parameters)[:8])}",
                )
            if seen.setdefault(known, name) != name:
                raise UsageError(
                    "E013",
                    f"the domain bounds one tensor twice, as {seen[known]!r} and as {name!r}",
                    hint="give the tied parameter's bounds once",
                )
            low, high = _pair(pair, name, parameters[known])
            if bool((low > -math.inf).any()):
                lower[known] = low
            if bool((high < math.inf).any()):
                upper[known] = high
        return Domain(lower, upper)

    def project(self, name: str, value: Tensor) -> Tensor:
        """The nearest point of the box."""
        if name in self.lower:
            value = torch.maximum(value, self.lower[name].to(value))
        if name in self.upper:
            value = torch.minimum(value, self.upper[name].to(value))
        return value

    def inside(self, name: str, value: Tensor, generator: torch.Generator) -> Tensor:
        """A point of the box: reflected at a bound that it is beyond, drawn evenly between two bounds."""
        if name not in self.lower and name not in self.upper:
            return value
        low = self.lower.get(name, torch.tensor(-math.inf, dtype=torch.float64)).expand(value.shape)
        high = self.upper.get(name, torch.tensor(math.inf, dtype=torch.float64)).expand(value.shape)
        between = torch.isfinite(low) & torch.isfinite(high)
        drawn = low + (high - low) * torch.rand(value.shape, generator=generator, dtype=torch.float64)
        mirrored = torch.where(value < low, 2 * low - value, torch.where(value > high, 2 * high - value, value))
        out = torch.where((value >= low) & (value <= high), value, torch.where(between, drawn, mirrored))
        return torch.minimum(torch.maximum(out, low), high)

    def contains(self, name: str, value: Tensor) -> bool:
        """Does the point lie in the box, in exact comparison of float64 numbers?"""
        low, high = self.lower.get(name), self.upper.get(name)
        return (low is None or bool((value.double() >= low).all())) and (
            high is None or bool((value.double() <= high).all())
        )

    def to_dict(self) -> dict[str, list[Any]]:
        """Bounds for people: numbers where uniform, else lists."""
        names = sorted({*self.lower, *self.upper})
        return {name: [_shown(self.lower.get(name)), _shown(self.upper.get(name))] for name in names}


def _pair(pair: Any, name: str, parameter: Tensor) -> tuple[Tensor, Tensor]:
    """Lower and upper bound, and between them a box that is not empty."""
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise UsageError("E013", f"the domain of {name!r} is no pair (lower, upper)", hint="(0.0, None) for w >= 0")
    low, high = (_bound(v, name, parameter, sign) for v, sign in zip(pair, (-1, 1), strict=True))
    if bool((low > high).any()) or bool((low == math.inf).any()) or bool((high == -math.inf).any()):
        raise UsageError(
            "E014",
            f"the domain of {name!r} is empty",
            why="no number lies between its lower and its upper bound",
            hint="(lower, upper) in this order; None for no bound",
        )
    return low, high


def _bound(value: Any, name: str, parameter: Tensor, sign: int) -> Tensor:
    filler = sign * math.inf
    try:
        bound = torch.as_tensor(_filled(value, filler), dtype=torch.float64).detach().cpu().clone()
        if torch.broadcast_shapes(bound.shape, parameter.shape) != parameter.shape:
            raise ValueError("shape")
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(
            "E013",
            f"a bound of {name!r} is no number and no tensor that fits the shape {tuple(parameter.shape)}",
            hint="use floats, None, or tensors that broadcast to the parameter",
        ) from error
    if bool(torch.isnan(bound).any()):
        raise UsageError("E013", f"a bound of {name!r} is NaN", hint="None for no bound")
    return bound


def _filled(value: Any, filler: float) -> Any:
    """None becomes the infinite bound, also inside lists."""
    if value is None:
        return filler
    return [_filled(v, filler) for v in value] if isinstance(value, (list, tuple)) else value


def _shown(bound: Tensor | None) -> Any:
    if bound is None:
        return None
    values = [v if math.isfinite(v) else None for v in bound.reshape(-1).tolist()]
    return values[0] if len(set(values)) == 1 else values
