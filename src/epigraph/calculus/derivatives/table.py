"""The registry of elementwise derivatives: one formula for each operator, in whatever numbers are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from epigraph.calculus.derivatives.arithmetic import Numbers, Value
from epigraph.objective.graph import Node

Formula = Callable[[Node, Value, int, Numbers], list[Value]]


@final
@dataclass(frozen=True)
class Smooth:
    """Derivatives f', f'', ... up to the order asked for (at most 4) of a function that is smooth on its domain.

    ``domain`` is the open set on which they exist: all numbers, ``positive``, or ``nonzero`` ones.
    """

    formula: Formula
    domain: str | Callable[[Node], str]

    def where(self, node: Node) -> str:
        return self.domain if isinstance(self.domain, str) else self.domain(node)


SMOOTH: dict[str, Smooth] = {}


def smooth(op: str, domain: str | Callable[[Node], str] = "all") -> Callable[[Formula], Formula]:
    """Register the derivatives of an operator; a second formula for the same operator raises."""

    def add(formula: Formula) -> Formula:
        if op in SMOOTH:
            raise ValueError(f"two derivatives for {op}")
        SMOOTH[op] = Smooth(formula, domain)
        return formula

    return add
