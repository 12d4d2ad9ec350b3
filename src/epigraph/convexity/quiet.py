"""Points at which a large J is cheap to evaluate exactly: all blocks zero but two factors of one product.

The points of a counterexample may lie anywhere in the domain.  Where the weights of the earlier layers are zero, their
values are constant tensors, which the exact evaluator holds as one entry each; what is left of J is the product of the
last layer with what a bias before it gives.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from epigraph.convexity import search
from epigraph.convexity.search import Candidate, View
from epigraph.objective.domain import Domain
from epigraph.objective.evaluate import Evaluator
from epigraph.objective.graph import Graph

OFFSET = 2.0**-6  # of the earlier factor, so that relu and its like are on their increasing branch
ROWS_FROM = 200_000  # entries; from here on a block is first moved row by row
Pair = tuple[tuple[str, ...], tuple[str, ...]]


def views(graph: Graph, domain: Domain, pairs: Sequence[Pair]) -> Iterator[tuple[tuple[str, ...], View]]:
    """(head, view) for each pair of factors: first all other blocks zero, then tables of embeddings as they are.

    A large block is first moved with one number for each of its rows.
    """
    tables = _tables(graph)
    for kept in (frozenset[str](), tables) if tables else (frozenset[str](),):
        for head, tail in pairs:
            for name in tail:
                moving = (name, *head)
                rows = {n: s for n in moving if (s := _by_rows(graph, domain, n)) is not None}
                for chosen in (rows, {}) if rows else ({},):
                    yield head, _view(graph, domain, moving, name, kept - set(moving), chosen)


def _by_rows(graph: Graph, domain: Domain, name: str) -> torch.Size | None:
    """The shape with one number for each row of a large block."""
    shape = graph.parameters[name].shape
    bounded = any(name in box and box[name].ndim > 0 for box in (domain.lower, domain.upper))
    return (
        None
        if shape.numel() <= ROWS_FROM or len(shape) < 2 or bounded
        else torch.Size((shape[0], *[1] * (len(shape) - 1)))
    )


def _view(
    graph: Graph,
    domain: Domain,
    moving: Sequence[str],
    tail: str,
    kept: frozenset[str],
    rows: Mapping[str, torch.Size],
) -> View:
    point = {}
    for name, value in graph.parameters.items():
        if name in kept:
            point[name] = _inside(domain, name, value.detach().double().cpu())
        else:
            level = OFFSET if name == tail and value.ndim <= 1 else 0.0
            number = _inside(domain, name, torch.tensor(level, dtype=torch.float64))
            point[name] = number.expand(value.shape)
    held = {k: v for k, v in point.items() if k not in moving}
    base = {n: point[n][tuple(slice(s) for s in rows[n])] if n in rows else point[n] for n in moving}
    wholes = {n: graph.parameters[n].shape for n in rows}
    return View(Evaluator(graph, moving, point), base, domain, held, wholes)


def _inside(domain: Domain, name: str, value: Tensor) -> Tensor:
    """The nearest value inside the box, off its boundary."""
    if name not in domain.lower and name not in domain.upper:
        return value
    far = torch.tensor(torch.inf, dtype=torch.float64)
    low, high = search.drawn_in(domain.lower.get(name, -far), domain.upper.get(name, far))
    return torch.minimum(torch.maximum(value, low), high)


def _tables(graph: Graph) -> frozenset[str]:
    """Parameters of which rows are taken."""
    found = [graph[n.inputs[0]] for n in graph if n.op == "take"]
    return frozenset(n.attributes["name"] for n in found if n.op == "parameter")


def offers(
    pairs: Iterator[tuple[tuple[str, ...], View]],
    open_kinds: Callable[[], list[str]],
    generator: torch.Generator,
    deadline: float,
) -> Iterator[dict[str, tuple[View, Candidate]]]:
    """Candidates at such points, until every property has one that is confirmed or the time is over."""
    for head, view in pairs:
        kinds = open_kinds()
        if not kinds or time.monotonic() > deadline:
            return
        found = search.product_direction(view, head, kinds, generator)
        yield {k: (view, c) for k, c in found.items()}


__all__ = ["offers", "views"]
