"""Hidden units by what they answer to the data: the tensors that linear maps read, moved by the group like the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, final

from torch import Tensor

from epigraph.objective.evaluate import Evaluator
from epigraph.objective.graph import Graph
from epigraph.symmetry.discover import bare, captured, discover
from epigraph.symmetry.group import Group, Scaling
from epigraph.symmetry.result import Symmetries

if TYPE_CHECKING:
    from epigraph.objective.objective import Objective


@final
class Activations:
    """The group of J acting on what its matrix products and convolutions read, and these values at a point."""

    def __init__(self, J: Objective, found: Symmetries):
        moved, buffers, _ = captured(J)
        graph = moved.graph()
        self.nodes = _read(graph)
        whole = discover(graph, moved.domain, buffers, self.nodes)
        self.evaluator = Evaluator(graph)
        self.group = _seen(whole, found.group)

    def __call__(self, point: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The values at a point, by the names that the group gives them."""
        values = self.evaluator.everything(point)
        return {f"@{i}": values[i] for i in self.nodes}


def _read(graph: Graph) -> list[int]:
    """The operands of products that depend on parameters and on tensors that are none: on data, mostly."""
    varies, given = graph.depends(), [False] * len(graph)
    for node in graph:
        given[node.id] = "tensor" in node.attributes or any(given[i] for i in node.inputs)
    products = [n for n in graph if n.op in ("matmul", "convolution")]
    return sorted({i for n in products for i in n.inputs if varies[i] and given[i]})


def _seen(whole: Group, known: Group) -> Group:
    """The generators of a known group, in its order, as they act on the watched nodes."""
    scalings = {_key(bare(g)): g for g in whole.generators if isinstance(g, Scaling)}
    generators = [scalings[_key(g)] if isinstance(g, Scaling) else g for g in known.generators]
    blocks = {n: b for n, b in whole.blocks.items() if n.startswith("@")}
    return replace(whole, blocks=blocks, generators=tuple(generators), offsets=())


def _key(scaling: Scaling) -> tuple[int | None, str, frozenset[tuple[tuple[str, int, int], int]]]:
    return scaling.set, scaling.kind, frozenset(scaling.charges.items())
