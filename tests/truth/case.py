"""What a row of the table of known verdicts is, and the data that the rows share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from epigraph.objective.expression import parse
from epigraph.objective.objective import Objective

Function = Callable[[Tensor], Tensor]
Parts = tuple[nn.Module, Callable[..., Tensor], Any, Any]
Box = tuple[Any, Any]  # bounds of the flat vector: None, a number, or one number per entry


@dataclass(frozen=True)
class Case:
    """An objective with its true verdict and the reason for it.

    ``expected`` says of J jointly: "affine"; "convex", "concave": that and not affine; "nonconvex": neither of them.
    ``why`` is a proof in one line, or a place: BV04 is Boyd and Vandenberghe, Convex Optimization, with the section.
    ``known`` has further properties that J certainly has (True) or lacks (False).  Beyond the scale ``reach`` the
    float64 oracle sees cancellation and not J.
    """

    name: str
    expected: str
    why: str
    function: Function | None = None
    size: int = 0
    box: Box = (None, None)
    build: Callable[[], Parts] | None = None
    text: str | None = None
    where: str | None = None
    mode: str = "eval"
    weight_decay: float = 0.0
    reach: float = 50.0
    known: Mapping[str, bool] = field(default_factory=dict)

    def truth(self, name: str) -> bool | None:
        """Whether J has the property, or None where the table does not say."""
        table = {
            "convex": self.expected in ("affine", "convex"),
            "concave": self.expected in ("affine", "concave"),
            "quasiconvex": True if self.expected in ("affine", "convex") else None,
            "quasiconcave": True if self.expected in ("affine", "concave") else None,
        }
        return self.known.get(name, table.get(name))


def row(
    name: str,
    size: int,
    function: Function,
    expected: str,
    why: str,
    box: Box = (None, None),
    reach: float = 50.0,
    **known: bool,
) -> Case:
    """A function of one flat float64 vector."""
    return Case(name, expected, why, function, size, box, reach=reach, known=known)


def formula(text: str, expected: str, why: str, where: str | None = None, reach: float = 50.0, **known: bool) -> Case:
    """A formula in scalar variables, as ``--expr`` and ``--where`` take it."""
    name = text if where is None else f"{text}  where {where}"
    return Case(name, expected, why, text=text, where=where, reach=reach, known=known)


def net(
    name: str, build: Callable[[], Parts], expected: str, why: str, mode: str = "eval", weight_decay: float = 0.0
) -> Case:
    """A model with its loss and data; every parameter that requires a gradient counts."""
    return Case(name, expected, why, build=build, mode=mode, weight_decay=weight_decay)


_GENERATOR = torch.Generator().manual_seed(20_240_229)


def _normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=_GENERATOR, dtype=torch.float64)


X = _normal(10, 4)  # ten samples of four features
Y = _normal(10)  # real targets
P = _normal(10).abs() + 0.2  # positive targets
N = torch.tensor([0.0, 1, 3, 0, 2, 5, 1, 0, 4, 2], dtype=torch.float64)  # counts
S = torch.tensor([1.0, -1, 1, 1, -1, -1, 1, -1, 1, -1], dtype=torch.float64)  # signs
B = (S + 1) / 2  # labels 0 and 1
C = torch.tensor([0, 2, 1, 1, 0, 2, 2, 0, 1, 0])  # three classes
Q = torch.softmax(_normal(10, 3), 1)  # distributions over three classes
V = _normal(4, 4)
IMAGES = _normal(6, 1, 6, 6)


def vector(*values: float) -> Tensor:
    """A float64 constant."""
    return torch.tensor(values, dtype=torch.float64)


def start(case: Case) -> Tensor:
    """A point inside the box of a flat case, different in each entry."""
    lower, upper = (_entries(bound, case.size) for bound in case.box)
    point = 0.3 + 0.1 * torch.arange(case.size, dtype=torch.float64) / max(case.size, 1)
    for k, (low, high) in enumerate(zip(lower, upper, strict=True)):
        if low is not None and high is not None:
            point[k] = low + (high - low) * (0.4 + 0.1 * k / case.size)
        elif low is not None:
            point[k] = low + 0.5 + 0.1 * k
        elif high is not None:
            point[k] = high - 0.5 - 0.1 * k
    return point


def _entries(bound: Any, size: int) -> list[float | None]:
    return list(bound) if isinstance(bound, list | tuple) else [bound] * size


def objective(case: Case) -> Objective:
    """The case as the package is given it."""
    if case.text is not None:
        return parse(case.text, case.where).objective()
    if case.function is not None:
        domain = None if case.box == (None, None) else {"t": case.box}
        return Objective.from_function(case.function, {"t": start(case)}, domain=domain, name=case.name)
    assert case.build is not None
    model, loss, inputs, targets = case.build()
    return Objective(model, loss, inputs, targets, weight_decay=case.weight_decay, mode=case.mode, name=case.name)
