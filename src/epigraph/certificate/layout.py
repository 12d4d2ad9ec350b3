"""Operators that only move entries: the same for every arithmetic."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from epigraph.certificate.graph import Node, Program

LAYOUT = ("reshape", "permute", "expand", "slice", "same")


def arrange(node: Node, array: np.ndarray) -> np.ndarray:
    """The value of a layout operator with one operand; a view where NumPy can give one."""
    a = node.attributes
    if node.op == "reshape":
        return array.reshape(a["shape"])
    if node.op == "permute":
        return array.transpose(a["dims"])
    if node.op == "expand":
        return np.broadcast_to(array, a["shape"])
    if node.op == "slice":
        return array[(slice(None),) * a["dim"] + (slice(a["start"], a["stop"], a["step"]),)]
    if node.op == "same":
        return array
    raise KeyError(node.op)


def take(program: Program, node: Node, array: np.ndarray, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
    """Rows of ``array`` along ``dim`` in the order of the constant index."""
    index = tensors[program.nodes[node.inputs[1]].attributes["tensor"]]
    return np.take(array, index.astype(np.int64), axis=node.attributes["dim"])


def rows(array: np.ndarray, dims: tuple[int, ...]) -> np.ndarray:
    """The array with the dimensions ``dims`` moved to the end and joined: shape [kept..., n]."""
    kept = [d for d in range(array.ndim) if d not in dims]
    count = math.prod(array.shape[d] for d in dims)
    return array.transpose(*kept, *dims).reshape(*(array.shape[d] for d in kept), count)


def indicators(program: Program) -> frozenset[int]:
    """Positions of nodes whose entries can only be 0 or 1: comparisons, and what logic makes of them."""
    found: set[int] = set()
    for position, node in enumerate(program.nodes):
        inputs = node.inputs
        if (
            node.op == "compare"
            or (node.op in (*LAYOUT, "take") and inputs[0] in found)
            or (node.op in ("mul", "maximum", "concat") and all(i in found for i in inputs))
            or (node.op == "where" and all(i in found for i in inputs))
            or (node.op == "add" and _complement(program, inputs, found))
        ):
            found.add(position)
    return frozenset(found)


def _complement(program: Program, inputs: tuple[int, ...], found: set[int]) -> bool:
    """Is this 1 - c for an indicator c?"""
    for one, other in (inputs, inputs[::-1]):
        first, second = program.nodes[one], program.nodes[other]
        if first.attributes.get("value") == 1 and second.op == "neg" and second.inputs[0] in found:
            return True
    return False
