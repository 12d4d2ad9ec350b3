"""What a row of the table of operators is: an overload, its arguments, and where they are varied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

KNOTS = (0.0, 0.5, -0.5, 1.0, -1.0, 3.0, -3.0, 6.0, 20.0, -20.0)


@dataclass(frozen=True)
class V:
    """A parameter: a float64 tensor of this shape in the closed interval, or anywhere where there are no bounds."""

    shape: tuple[int, ...]
    low: float | None = None
    high: float | None = None

    def point(self, kind: str, generator: torch.Generator) -> Tensor:
        """``random``: moderate values; ``large``: fifty times that; ``knots``: values at which operators have kinks."""
        unit = torch.rand(self.shape, generator=generator, dtype=torch.float64)
        low = -2.0 if self.low is None else self.low
        high = max(2.0, low + 4.0) if self.high is None else self.high
        if kind == "knots":
            allowed = torch.tensor(
                [k for k in (*KNOTS, low, high) if low <= k <= high or self.low is self.high is None]
            )
            return allowed.double()[(unit * len(allowed)).long().clamp(max=len(allowed) - 1)]
        values = low + (high - low) * unit
        if kind == "large":
            values = (
                values * 50
                if self.low is None and self.high is None
                else values + 50 * unit
                if self.high is None
                else values
            )
        return values


@dataclass(frozen=True)
class Row:
    """One call of an overload.  Tensors among the arguments are constants, ``V`` are parameters.

    ``kinds`` are the kinds of points; ``smooth``: the gradients agree at random points; ``export``: the call
    can be exported as it stands; ``tolerance`` is relative to 1 and to the value.
    """

    overload: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    kinds: tuple[str, ...] = ("random", "random", "large", "knots")
    smooth: bool = True
    export: bool = True
    tolerance: float = 1e-10

    @property
    def op(self) -> Any:
        _, name, kind = self.overload.split(".")
        return getattr(getattr(torch.ops.aten, name), kind)

    @property
    def exists(self) -> bool:
        """Versions of PyTorch differ in what they have."""
        _, name, kind = self.overload.split(".")
        return hasattr(torch.ops.aten, name) and hasattr(getattr(torch.ops.aten, name), kind)

    def parameters(self) -> list[V]:
        return [v for v in leaves((self.args, self.kwargs)) if isinstance(v, V)]

    def call(self, values: list[Any], op: Any = None) -> Any:
        """The call with the parameters replaced by these values, in order."""
        queue = iter(values)
        args, kwargs = fill(self.args, queue), {k: fill(v, queue) for k, v in self.kwargs.items()}
        return (self.op if op is None else op)(*args, **kwargs)


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for v in value:
            yield from leaves(v)
    else:
        yield value


def fill(value: Any, queue: Iterator[Any]) -> Any:
    """The same structure with each parameter replaced by the next value."""
    if isinstance(value, (list, tuple)):
        return type(value)(fill(v, queue) for v in value)
    return next(queue) if isinstance(value, V) else value


def row(
    name: str,
    *args: Any,
    smooth: bool = True,
    export: bool = True,
    tolerance: float = 1e-10,
    kinds: tuple[str, ...] | str | None = None,
    **kwargs: Any,
) -> Row:
    """``row("relu.default", X)``; keyword arguments that are no options of the row go to the operator."""
    options: dict[str, Any] = {} if kinds is None else {"kinds": (kinds,) if isinstance(kinds, str) else kinds}
    return Row(f"aten.{name}", args, kwargs, smooth=smooth, export=export, tolerance=tolerance, **options)


def data(*shape: int, seed: int = 0, low: float = -2.0, high: float = 2.0) -> Tensor:
    """Constant float64 numbers."""
    generator = torch.Generator().manual_seed(1000 + seed)
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)


def whole(*values: Any) -> Tensor:
    return torch.tensor(values if len(values) > 1 else values[0], dtype=torch.int64)


X, Y, Z = V((3, 4)), V((3, 4)), V((3, 4))
ROW, COLUMN, NUMBER, VECTOR = V((4,)), V((3, 1)), V(()), V((4,))
POSITIVE = V((3, 4), 0.1)
UNIT = V((3, 4), 0.01, 0.99)
OPEN = V((3, 4), -0.99, 0.99)
