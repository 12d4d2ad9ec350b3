r"""Lost symmetries: the directions in which J does not change, whatever the data.

No check of a found symmetry can see one that was not found.  But every continuous symmetry of the network gives a
direction along which J stays the same for all data, so the number of such directions at a random point, the nullity of
the gradients of J over many random data sets, must equal the dimension found.  What exceeds it was lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from epigraph.objective.evaluate import Evaluator
from epigraph.objective.graph import Graph, Leaf

GAP = 1e-7
FLOOR = 1e-15


@final
@dataclass(frozen=True)
class Nullity:
    """Directions that no data distinguish: their number, the singular values on both sides of the cut, the sets used."""

    observed: int
    size: int
    above: float
    below: float
    samples: int


def nullity(
    graph: Graph, point: Mapping[str, Tensor], names: list[str] | None = None, seed: int = 0, extra: int = 16
) -> Nullity:
    """P minus the rank of the gradients of J at a point, over P + ``extra`` random data sets.

    Costs P + ``extra`` gradients and a singular value decomposition, for P up to a few hundred.
    """
    generator = torch.Generator().manual_seed(seed)
    names = list(graph.parameter_nodes) if names is None else names
    total = sum(point[n].numel() for n in names)
    rows = []
    for _ in range(total + extra):
        evaluator = Evaluator(_redrawn(graph, generator), moving=names, fixed=point)
        leaves = {n: point[n].detach().double().clone().requires_grad_(True) for n in names}
        gradient = torch.autograd.grad(evaluator(leaves), list(leaves.values()), allow_unused=True)
        rows.append(
            torch.cat(
                [
                    torch.zeros(leaf.numel(), dtype=torch.float64) if g is None else g.reshape(-1)
                    for g, leaf in zip(gradient, leaves.values(), strict=True)
                ]
            )
        )
    return rank_of(torch.stack(rows))


def rank_of(matrix: Tensor) -> Nullity:
    """The nullity of a matrix of gradients, one per row; singular values are relative to the largest.

    The cut is the widest gap below 1e-7, where what is below 1e-15 counts as rounding: deep networks have values close to 0.
    """
    matrix = matrix / matrix.norm(dim=1, keepdim=True).clamp_min(1e-300)
    values = torch.linalg.svdvals(matrix)
    values = torch.cat([values / values[0].clamp_min(1e-300), torch.zeros(1, dtype=values.dtype)])
    steps = (values[:-1].clamp_min(FLOOR) / values[1:].clamp_min(FLOOR)).where(values[1:] < GAP, 0.0)
    rank = int(steps.argmax()) + 1 if bool(values[0] > 0) else 0
    below, above = float(values[rank]), float(values[rank - 1]) if rank else 0.0
    return Nullity(matrix.shape[1] - rank, matrix.shape[1], above, below, len(matrix))


def _redrawn(graph: Graph, generator: torch.Generator) -> Graph:
    """The graph with other data of the same shapes."""
    tensors = {}
    for key, leaf in graph.tensors.items():
        if leaf.role == "data" and leaf.tensor.is_floating_point():
            drawn = torch.randn(leaf.tensor.shape, generator=generator, dtype=torch.float64)
            tensors[key] = Leaf(drawn, leaf.role, leaf.name)
        else:
            tensors[key] = leaf
    return replace(graph, tensors=tensors)


def interpolated(graph: Graph, point: Mapping[str, Tensor]) -> int | None:
    """How many squares J sums, where it is nothing but a sum of squares that all vanish at a point; else None.

    Looks for the squares behind sums, layout and products with constants.
    """
    values = Evaluator(graph).everything({k: point[k] for k in graph.parameter_nodes})
    varies, count, pending = graph.depends(), 0, [graph.output]
    while pending:
        node = graph[pending.pop()]
        if node.op == "power" and node.attributes["exponent"] == "2":
            below = values[node.inputs[0]]
            if float(below.abs().max()) > 1e-12:
                return None
            count += below.numel()
        elif node.op in ("sum", "reshape", "permute", "same", "add", "mul"):
            inputs = [i for i in node.inputs[: 1 if node.op == "same" else None] if varies[i]]
            if node.op == "mul" and len(inputs) > 1:
                return None
            pending += inputs
        else:
            return None
    return count
