"""What a row of the table of activations is: a function of one variable with the intervals that are claimed for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from flint import arb, arb_series, ctx
from table_case import made, tensor

import epigraph

Number = float | None
Box = tuple[Number, Number]

KINK = 2.0**-12  # half the width of the interval about a kink on which a property is refuted
BESIDE = 0.125  # the width of the interval beside an inflection point


# where intervals end ------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class End:
    """A point at which a property ends: ``low`` <= point <= ``high`` in floats, equal where the point is a float."""

    low: float
    high: float
    kind: str

    def past(self, direction: int) -> Box:
        """An interval at this end, on the side to which ``direction`` points, that no interval of the property contains."""
        if self.kind == "kink":
            return self.low - KINK, self.high + KINK
        if self.kind in ("jump", "turn"):
            return self.low - BESIDE, self.high + BESIDE
        return (self.high, self.high + BESIDE) if direction > 0 else (self.low - BESIDE, self.low)


def kink(x: float) -> End:
    """The slope jumps at x."""
    return End(x, x, "kink")


def jump(x: float) -> End:
    """The value jumps at x."""
    return End(x, x, "jump")


def flat(x: float) -> End:
    """The curvature changes its sign at x."""
    return End(x, x, "flat")


def turn(x: float) -> End:
    """The slope changes its sign at x."""
    return End(x, x, "turn")


@cache
def root(function: str, order: int, near: float) -> End:
    """Neighbouring floats between which a derivative of a function of ``SERIES`` has a certain change of sign."""
    low, high = near - 1e-3, near + 1e-3
    sign = _sign(function, order, low)
    assert sign * _sign(function, order, high) < 0
    while math.nextafter(low, high) < high:
        middle = (low + high) / 2
        low, high = (middle, high) if _sign(function, order, middle) == sign else (low, middle)
    return End(low, high, "turn" if order == 1 else "root")


def _sign(function: str, order: int, x: float) -> int:
    value = derivative(function, order, x)
    assert value > 0 or value < 0, "more bits are needed"
    return 1 if value > 0 else -1


def derivative(function: str, order: int, x: float) -> Any:
    """A derivative at a float, as a ball of 256 bits."""
    with ctx.workprec(256):
        cap, ctx.cap = ctx.cap, order + 1
        try:
            return SERIES[function](arb_series([arb(x), 1]))[order] * math.factorial(order)
        finally:
            ctx.cap = cap


def _tanh(s: Any) -> Any:
    return 1 - 2 / (1 + (2 * s).exp())


SERIES: Mapping[str, Callable[[Any], Any]] = {
    "silu": lambda s: s / (1 + (-s).exp()),
    "gelu": lambda s: s * (1 + (s / arb(2).sqrt()).erf()) / 2,
    "gelu_tanh": lambda s: s * (1 + _tanh(arb(math.sqrt(2 / math.pi)) * (s + arb(0.044715) * s * s * s))) / 2,
    "mish": lambda s: s * (1 - 2 / ((1 + s.exp()) * (1 + s.exp()) + 1)),
}


# rows ---------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Piece:
    """An interval on which the function is ``word``, and on no larger one: "convex", "concave", "affine", "falls", "rises"."""

    word: str
    low: End | None = None
    high: End | None = None
    open: bool = False  # without its finite end

    def box(self) -> Box:
        """The interval in floats, from within."""
        low = None if self.low is None else self.low.high
        high = None if self.high is None else self.high.low
        if self.open:
            low = None if low is None else math.nextafter(low, math.inf)
            high = None if high is None else math.nextafter(high, -math.inf)
        return low, high


@dataclass(frozen=True)
class Curve:
    """An activation with fixed options.

    ``pieces`` are the largest intervals of one curvature, ``turns`` those on which it falls or rises; ``positive`` is where
    it is positive, so that its logarithm can be asked about; ``least`` and ``most`` bound its values (None: unbounded);
    ``lipschitz`` is the least constant, None where there is none.
    """

    name: str
    module: str
    when: str
    pieces: tuple[Piece, ...]
    turns: tuple[Piece, ...] = ()
    positive: Box | None = None
    least: Number = None
    most: Number = None
    lipschitz: float | None = 1.0

    def objective(self, suffix: str, box: Box = (None, None), log: bool = False) -> epigraph.Objective:
        """J is the activation at one real number in a box, or its logarithm."""
        module = made(self.module, {})

        def plain(x: torch.Tensor) -> torch.Tensor:
            return module(x)

        def logarithm(x: torch.Tensor) -> torch.Tensor:
            return torch.log(module(x))

        domain = {"x": box} if box != (None, None) else None
        function = logarithm if log else plain
        return epigraph.Objective.from_function(function, {"x": start(box)}, domain=domain, name=self.name + suffix)

    def targets(self) -> dict[str, Callable[[], epigraph.Objective]]:
        """The objectives of this row by the names that the command line knows them by."""
        boxes: dict[str, Box] = {"": (None, None)}
        for i, piece in enumerate((*self.pieces, *self.turns)):
            if piece.low is not None or piece.high is not None:
                boxes[f"_{i}"] = piece.box()
            if piece.low is not None:
                boxes[f"_{i}_below"] = piece.low.past(-1)
            if piece.high is not None:
                boxes[f"_{i}_above"] = piece.high.past(1)
        if self.positive not in (None, (None, None)):
            boxes["_positive"] = self.positive or (None, None)
        out = {self.name + s: lambda s=s, box=box: self.objective(s, box) for s, box in boxes.items()}
        if self.positive is not None:
            out[f"{self.name}_log"] = lambda: self.objective("_log", _inside(self.positive), log=True)
        return out


def _inside(box: Box | None) -> Box:
    """The box without an end at which the function is zero."""
    low, high = box or (None, None)
    return (None if low is None else low + 2.0**-10), (None if high is None else high - 2.0**-10)


def start(box: Box) -> torch.Tensor:
    """A point inside the box, no kink of any activation."""
    low, high = box
    if low is not None and high is not None:
        return tensor(low + 0.3 * (high - low))
    return tensor(0.3 if low is None and high is None else low + 1.3 if low is not None else high - 1.3)
