"""The graph of a certificate after it has been checked: what the evaluators run on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

Shape = tuple[int, ...]


@final
@dataclass(frozen=True, slots=True)
class Meta:
    """What is known of a tensor before its data are read: shape, NumPy kind (f, i, u or b), role and name."""

    shape: Shape
    kind: str
    role: str | None = None
    name: str | None = None


@final
@dataclass(frozen=True, slots=True)
class Node:
    """An operator whose inputs are positions in ``Program.nodes``; rational attributes are parsed to ``fmpq``."""

    op: str
    inputs: tuple[int, ...]
    attributes: Mapping[str, Any]
    shape: Shape
    label: str

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def operands(self) -> tuple[int, ...]:
        """The inputs that the value depends on: the first one of ``same``, not the index of ``take``."""
        return self.inputs[:1] if self.op in ("same", "take") else self.inputs


@final
@dataclass(frozen=True, slots=True)
class Program:
    """Checked nodes in topological order, the position of the output, and the positions that the output needs."""

    nodes: tuple[Node, ...]
    output: int
    live: tuple[int, ...]

    def keys(self) -> set[str]:
        """Keys of the tensors that some node reads."""
        return {n.attributes["tensor"] for n in self.nodes if "tensor" in n.attributes}

    def varies(self, moving: set[str]) -> list[bool]:
        """For each node: does its value depend on one of the tensors ``moving``?"""
        found: list[bool] = []
        for node in self.nodes:
            leaf = node.op == "parameter" and node.attributes["tensor"] in moving
            found.append(leaf or any(found[i] for i in node.operands))
        return found
