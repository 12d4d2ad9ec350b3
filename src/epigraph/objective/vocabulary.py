"""The words of formulas: functions, operators, constants, and hints for what is not among them."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional as F

Value = Tensor | float


def _tensor(value: Value) -> Tensor:
    return value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(exponent, float) and exponent.is_integer() and abs(exponent) < 2**31:
        return base ** int(exponent)
    return torch.pow(base, exponent) if isinstance(base, Tensor) or isinstance(exponent, Tensor) else base**exponent


def _of_tensors(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *values: function(*map(_tensor, values))


def _fold(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    def folded(first: Value, *rest: Value) -> Tensor:
        result = _tensor(first)
        for value in rest:
            result = function(result, _tensor(value))
        return result

    return folded


def _clamp(x: Value, lower: Value, upper: Value) -> Tensor:
    return torch.clamp(_tensor(x), float(lower), float(upper))


def _huber(x: Value, delta: Value) -> Tensor:
    return F.huber_loss(_tensor(x), torch.zeros((), dtype=torch.float64), reduction="none", delta=float(delta))


@final
@dataclass(frozen=True, slots=True)
class Function:
    """How a name is evaluated, how many arguments it takes, and which of them must be numbers."""

    call: Callable[..., Any]
    least: int = 1
    most: int | None = 1
    numbers: tuple[int, ...] = ()


FUNCTIONS: Mapping[str, Function] = {
    **{
        name: Function(_of_tensors(getattr(torch, name)))
        for name in "exp log sqrt abs sin cos tan tanh sigmoid relu log1p expm1 cosh sinh erf atan square".split()
    },
    "softplus": Function(_of_tensors(F.softplus)),
    "max": Function(_fold(torch.maximum), 1, None),
    "min": Function(_fold(torch.minimum), 1, None),
    "logsumexp": Function(lambda *v: torch.logsumexp(torch.stack([_tensor(x) for x in v]), 0), 1, None),
    "norm": Function(lambda *v: torch.linalg.vector_norm(torch.stack([_tensor(x) for x in v])), 1, None),
    "where": Function(_of_tensors(torch.where), 3, 3),
    "clamp": Function(_clamp, 3, 3, numbers=(1, 2)),
    "huber": Function(_huber, 2, 2, numbers=(1,)),
}
OPERATORS: Mapping[str, Callable[..., Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": _power,
    "negate": operator.neg,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
COMPARISONS = frozenset({"<", "<=", ">", ">=", "==", "!="})
PRECEDENCE = {**dict.fromkeys(COMPARISONS, 0), "+": 1, "-": 1, "*": 2, "/": 2, "negate": 3, "**": 4}
VANISHING = frozenset("* / ** exp sigmoid softplus".split())  # of a number that is not 0 never 0, but for rounding
SMALLEST = 2.0**-1022
CONSTANTS = {"pi": math.pi, "e": math.e}
HINTS = {
    "ln": "log is the natural logarithm: write log(x)",
    "log2": "write log(x)/log(2)",
    "log10": "write log(x)/log(10)",
    "pow": "write x**p",
    "logistic": "logistic has two meanings: write sigmoid(x) for 1/(1+e^-x), softplus(x) for log(1+e^x)",
    "sgn": "write where(x>0, 1, -1)",
    "sign": "write where(x>0, 1, -1)",
    "arctan": "write atan(x)",
    "inf": "only finite numbers are allowed",
    "nan": "only finite numbers are allowed",
    "lambda": "lambda is a word of Python: rename the variable",
    "and": "give --where once for each condition",
}
CHARACTERS = {
    "^": "write ** for a power: x**2",
    "²": "write x**2",
    "³": "write x**3",
    "=": "write == to compare",
    "|": "write abs(x)",
    "π": "write pi",
    "·": "write *",
    "×": "write *",
    "−": "write the minus sign as -",
    "[": "write round brackets",
    "{": "write round brackets",
    "%": "the remainder is not supported",
    "≤": "write <=",
    "≥": "write >=",
    "&": "give --where once for each condition",
    "√": "write sqrt(x)",
}
