"""What a row of the tables is: source text that is shown to the reader, and evaluated to make the objective."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import epigraph

Bounds = Mapping[str, tuple[float | None, float | None]]
BEYOND = 2.0**-3  # by how much a modulus is exceeded, relatively, to show that it is the largest

# The rows of [1, X] are independent, so that a linear model with a bias can give any outputs, and a loss whose input
# is not bounded is convex in W and b exactly where it is convex in its input.
DATA = (
    [[1.0, 0.5, 0.25], [0.0, 2.0, 1.0], [3.0, 0.0, 0.5], [0.5, 1.0, 3.0]],
    [[0.25, 1.0, 2.0], [2.0, 0.0, 1.5], [1.0, 3.0, 0.0], [0.0, 0.5, 1.0]],
    [[2.0, 1.0, 0.0], [0.5, 0.5, 2.0], [0.0, 1.0, 1.0], [1.0, 0.0, 0.25]],
)


def tensor(values: Any) -> Tensor:
    """Real data, in float64."""
    return torch.tensor(values, dtype=torch.float64)


def labels(*values: Any) -> Tensor:
    """Classes."""
    return torch.tensor(values, dtype=torch.int64)


NAMES: dict[str, Any] = {"nn": nn, "F": F, "torch": torch, "tensor": tensor, "labels": labels}


def made(source: str, names: Mapping[str, Any]) -> Any:
    """The value of source text in the names that the tables use."""
    return eval(source, {**NAMES, **names})


class Linear(nn.Module):
    """One linear map, applied to each of the inputs, and a loss of what comes out."""

    def __init__(self, outputs: Mapping[str, tuple[int, ...]], loss: Callable[..., Tensor]):
        super().__init__()
        self.shapes = dict(outputs)
        (width,) = {shape[1] if len(shape) > 1 else 1 for shape in outputs.values()}
        self.linear = nn.Linear(3, width, dtype=torch.float64)
        self.linear.weight.data = tensor([[0.5, -0.25, 0.125 * (i + 1)] for i in range(width)]).abs()
        self.linear.bias.data = tensor([0.5 * i + 0.25 for i in range(width)])
        self.loss = loss

    def forward(self, *data: Tensor) -> Tensor:
        outputs = [self.linear(x).reshape(shape) for x, shape in zip(data, self.shapes.values(), strict=True)]
        return self.loss(**dict(zip(self.shapes, outputs, strict=True)))


@dataclass(frozen=True)
class Case:
    """A loss with its options and data.

    ``call`` is an expression in the names of ``variables`` (with their shapes), of ``data`` and of ``loss``; ``when`` says
    what the row is about; ``bounds`` are those of the variables; ``linear`` asks for the objective of a linear model as
    well, "positive" with weights >= 0; ``modulus`` is the text of a strong-convexity modulus that the tool is asked to
    prove, and to refute for a little more.
    """

    name: str
    loss: str
    when: str
    variables: Mapping[str, tuple[int, ...]]
    data: Mapping[str, str] = field(default_factory=dict)
    call: str = "loss(x, y)"
    bounds: Bounds = field(default_factory=dict)
    linear: bool | str = True
    modulus: str | None = None

    def function(self) -> Callable[..., Tensor]:
        """The loss as a function of the variables."""
        names = {name: made(source, {}) for name, source in self.data.items()}
        names["loss"] = made(self.loss, names)
        return lambda **x: made(self.call, {**names, **x})

    def points(self) -> dict[str, Tensor]:
        """Where the variables are at first: inside the bounds, no two entries alike."""
        out = {}
        for k, (name, shape) in enumerate(self.variables.items()):
            low, high = self.bounds.get(name, (-1.0, 1.0))
            low = 0.0 if low is None else low
            high = low + 2.0 if high is None else high
            count = math.prod(shape)
            spread = (torch.arange(count, dtype=torch.float64) + 1 + k / 4) / (count + 2)
            out[name] = (low + (high - low) * spread).reshape(shape)
        return out

    def input(self) -> epigraph.Objective:
        """J is the loss as a function of its input."""
        return self._objective(self.name, 0.0)

    def strong(self) -> epigraph.Objective:
        """J is the loss less (modulus/2) |x|^2."""
        assert self.modulus is not None
        return self._objective(f"{self.name}_strong", float(made(self.modulus, {"math": math})))

    def beyond(self) -> epigraph.Objective:
        """J is the loss less a little more than (modulus/2) |x|^2."""
        mu = float(made(self.modulus or "0", {"math": math}))
        return self._objective(f"{self.name}_beyond", mu * (1 + BEYOND) or 2.0**-20)

    def _objective(self, name: str, mu: float) -> epigraph.Objective:
        call, names = self.function(), list(self.variables)

        def penalised(**x: Tensor) -> Tensor:
            return call(**x) - mu / 2 * sum((v**2).sum() for v in x.values()) if mu else call(**x)

        def one(x: Tensor) -> Tensor:
            return penalised(**{names[0]: x})

        def several(point: Mapping[str, Tensor]) -> Tensor:
            return penalised(**point)

        function = one if len(names) == 1 else several
        return epigraph.Objective.from_function(function, self.points(), domain=self.bounds, name=name)

    def composed(self) -> epigraph.Objective:
        """J is the loss of a linear model, as a function of its weight and bias."""
        model = Linear(self.variables, self.function())
        shapes = self.variables.values()
        data = tuple(tensor(part[: shape[0]]) for part, shape in zip(DATA, shapes, strict=False))
        bounded = {"linear.weight": (0.0, None), "linear.bias": (0.0, None)}
        domain = bounded if self.linear == "positive" else None
        return epigraph.Objective(model, None, data, domain=domain, name=f"{self.name}_linear")

    def targets(self) -> dict[str, Callable[[], epigraph.Objective]]:
        """The objectives of this row by the names that the command line knows them by."""
        out = {self.name: self.input, f"{self.name}_beyond": self.beyond}
        if self.linear:
            out[f"{self.name}_linear"] = self.composed
        if self.modulus is not None:
            out[f"{self.name}_strong"] = self.strong
        return out


@dataclass(frozen=True)
class Group:
    """The rows of one loss; ``short`` is its line in the summary, whose verdict is that of the first row, and ``text`` what to know."""

    loss: str
    formula: str
    short: str
    text: str
    cases: tuple[Case, ...]
    official: bool = True  # a class of torch.nn
