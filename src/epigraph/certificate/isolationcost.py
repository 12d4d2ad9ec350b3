"""What a proof that a critical point is isolated will take, from the shapes of the gradient's graph alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from epigraph.certificate import budget
from epigraph.certificate.budget import Cost
from epigraph.certificate.graph import Node
from epigraph.certificate.reverse import ELEMENTWISE, Gradient
from epigraph.certificate.vectors import CHUNK_BYTES, plan

ENTRY_SECONDS = 0.7e-6  # of an operator in balls
JET_SECONDS = 12e-6  # of a function of one variable with two derivatives, up to 256 bits
FLOAT_SECONDS = 6e-9  # of an entry of a vector
MAC_SECONDS = 2e-10  # of a product of float matrices
CUBE_SECONDS = 5e-10  # of eigenvectors and products of n^3
BALL_BYTES = 3 * budget.BALL_BYTES


def cost(gradient: Gradient, shapes: Mapping[str, tuple[int, ...]], bits: int) -> Cost:
    """Seconds and bytes for one point; ``shapes`` are those of the parameters that vary."""
    counts = {key: math.prod(shape) for key, shape in shapes.items()}
    n = sum(counts.values())
    wide = max(1.0, bits / 256) ** 1.6
    entries = sum(float(node.numel) for node in gradient.nodes)
    balls = sum(_balls(gradient, node) for node in gradient.nodes)
    seconds = 2 * (1e-5 * len(gradient.nodes) + wide * balls) + CUBE_SECONDS * float(n) ** 3
    for key, count in counts.items():
        seconds += sum(_floats(gradient, gradient.nodes[p], count) for p, _ in plan(gradient, key))
    return Cost(seconds, BALL_BYTES * entries + 3 * CHUNK_BYTES + 8 * 8.0 * n * n)


def _balls(gradient: Gradient, node: Node) -> float:
    """Seconds for the node's value in balls."""
    sources: Any = [gradient.nodes[i].numel for i in node.inputs]
    if node.op == "derivative" or node.op in ELEMENTWISE:
        return JET_SECONDS * node.numel
    inner = gradient.nodes[node.inputs[0]].shape[-1] if node.op == "matmul" else 1
    return ENTRY_SECONDS * (node.numel + sum(sources)) + (40e-9 * node.numel * inner if inner > 1 else 0.0)


def _floats(gradient: Gradient, node: Node, count: int) -> float:
    """Seconds for the node's derivatives along ``count`` coordinates."""
    inner = gradient.nodes[node.inputs[0]].shape[-1] if node.op == "matmul" else 0
    varying = sum(gradient.varies[i] for i in node.inputs)
    sources = sum(gradient.nodes[i].numel for i in node.inputs)
    return count * (FLOAT_SECONDS * (node.numel + sources) + MAC_SECONDS * varying * node.numel * inner) + 5e-5
