r"""Symmetries of the data: a group of its own, beside that of the network.

Samples in another order give the same J: this acts on the data alone, theta stays, and says nothing about minima.
A signed permutation T of the input features that maps the set of samples to itself, targets unchanged, does act on the
parameters: with g the element that undoes T in the first layers, J(g theta) = J(theta), although the network at
g theta is another function.  Found from the graph with the inputs as one more tensor that moves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations, permutations, product
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from torch import Tensor

from epigraph.objective.graph import Graph
from epigraph.symmetry.discover import discover
from epigraph.symmetry.group import Element, Group, Scaling
from epigraph.symmetry.verify import TOLERANCE, Checker

if TYPE_CHECKING:
    from epigraph.objective.objective import Objective

INPUTS = "the inputs"
ALL = 50_000  # signed permutations that are tried one by one


@final
@dataclass(frozen=True)
class DataSymmetries:
    """What leaves the data as a whole unchanged.

    ``samples`` may be put in any order (``exchangeable``): ``samples``! permutations, none of which moves a parameter.
    ``elements`` move parameters, and with them undo signed permutations of the features; the identity is first.  They
    are all there are where ``exact``, else only single sign changes, exchanges of two features, and all signs at once.
    """

    samples: int
    exchangeable: bool
    features: int
    elements: tuple[Element, ...]
    words: tuple[str, ...]
    exact: bool
    group: Group

    @property
    def order(self) -> int:
        """The number of elements that move parameters, with the identity; a lower bound where not ``exact``."""
        return len(self.elements)

    def apply(self, position: int, point: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A point moved by one of the elements: J is the same there, the network is not."""
        given = {k: v.detach().double() for k, v in point.items()}
        return self.group.apply(self.elements[position], given)

    def to_dict(self) -> dict[str, Any]:
        return {
            "samples": self.samples,
            "exchangeable": self.exchangeable,
            "features": self.features,
            "order": self.order,
            "exact": self.exact,
            "elements": list(self.words),
        }


def data_symmetries(J: Objective, *, seed: int = 0) -> DataSymmetries | None:
    """The symmetries of J's data; None where J has no model with one tensor of samples, or no graph of one batch.

    Example:
        >>> import torch, epigraph
        >>> x = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1))
        >>> J = epigraph.Objective(net, torch.nn.MSELoss(), x, x[:, :1] * x[:, 1:])
        >>> found = epigraph.data_symmetries(J)
        >>> found.order, found.words
        (4, ('identity', '(x1, x0)', '(-x0, -x1)', '(-x1, -x0)'))
    """
    if J.model is None or len(J.batches()) != 1:
        return None
    batch = J.batches()[0]
    inputs, targets = batch.inputs, batch.targets
    if isinstance(inputs, tuple | list) and len(inputs) == 1:
        inputs = inputs[0]
    if not isinstance(inputs, Tensor) or not isinstance(targets, Tensor) or len(inputs) != len(targets):
        return None
    exchangeable = _exchangeable(J, inputs, targets, seed)
    group = _joint(J.graph(), J, inputs) if exchangeable and inputs.ndim == 2 else None
    features = inputs.shape[1] if inputs.ndim == 2 else 0
    empty = Group((), {}, {}, ())
    if group is None or not any(b.sets for b in group.blocks.get(INPUTS, ())):
        return DataSymmetries(len(inputs), exchangeable, features, (Element(),), ("identity",), False, group or empty)
    found = [c for c in _candidates(inputs.double().numpy()) if _preserved(inputs, targets, *c)]
    elements, words = [Element()], ["identity"]
    checker = Checker(J.graph(), J.domain, (), replace(group, blocks=_without(group)), seed)
    bases = checker.points(2)
    for order, signs in found:
        element = _element(group, order, signs)
        if element is not None and bases and all(checker.change(element, base) <= 10 * TOLERANCE for base in bases):
            elements.append(element)
            words.append(_words(order, signs))
    exact = math.factorial(min(features, 20)) << features <= ALL
    return DataSymmetries(len(inputs), exchangeable, features, tuple(elements), tuple(words), exact, checker.group)


def _words(order: tuple[int, ...], signs: tuple[int, ...]) -> str:
    """What stands in the place of each feature; of many features only those that change."""
    names = [f"{'-' if s < 0 else ''}x{i}" for i, s in zip(order, signs, strict=True)]
    if len(names) <= 8:
        return f"({', '.join(names)})"
    return ", ".join(f"{name} for x{i}" for i, name in enumerate(names) if name != f"x{i}")


def _exchangeable(J: Objective, inputs: Tensor, targets: Tensor, seed: int) -> bool:
    """Is J the same with the samples in another order, at random points?"""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(inputs), generator=generator)
    from epigraph.objective.objective import Objective

    moved = Objective(J.model, J.loss, inputs[order], targets[order], mode=J.mode)  # type: ignore[arg-type]
    plain = Objective(J.model, J.loss, inputs, targets, mode=J.mode)  # type: ignore[arg-type]
    for _ in range(2):
        point = {
            k: J.domain.inside(k, torch.randn(v.shape, generator=generator, dtype=torch.float64), generator)
            for k, v in J.parameters.items()
        }
        one, two = plain.value(point, double=True), moved.value(point, double=True)
        if not (math.isfinite(one) and abs(one - two) <= 10 * TOLERANCE * max(1.0, abs(one))):
            return False
    return True


def _joint(graph: Graph, J: Objective, inputs: Tensor) -> Group | None:
    """The group of J as a function of the parameters and the inputs."""
    keys = [k for k, leaf in graph.tensors.items() if leaf.role == "data" and _equal(leaf.tensor, inputs)]
    if len(keys) != 1:
        return None
    nodes = []
    for node in graph:
        if node.attributes.get("tensor") == keys[0]:
            node = replace(node, op="parameter", attributes={"name": INPUTS})
        nodes.append(node)
    joint = replace(graph, nodes=tuple(nodes), parameters={**graph.parameters, INPUTS: inputs.detach().double()})
    return discover(joint, J.domain)


def _equal(leaf: Tensor, inputs: Tensor) -> bool:
    return leaf.shape == inputs.shape and bool(torch.equal(leaf.double(), inputs.detach().double()))


def _without(group: Group) -> Mapping[str, Any]:
    return {name: blocks for name, blocks in group.blocks.items() if name != INPUTS}


def _candidates(values: np.ndarray) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Signed permutations of the columns that keep each column's set of values: all, or those of one or two columns."""
    d = values.shape[1]
    ordered = np.sort(values, 0)
    flipped = np.sort(-values, 0)
    fits = {
        (i, j, s): bool(np.array_equal(ordered[:, i], (ordered if s > 0 else flipped)[:, j]))
        for i in range(d)
        for j in range(d)
        for s in (1, -1)
    }
    every: Iterator[tuple[tuple[int, ...], tuple[int, ...]]]
    if math.factorial(min(d, 20)) << d <= ALL:
        every = ((p, s) for s in product((1, -1), repeat=d) for p in permutations(range(d)))
    else:
        every = _simple(d)
    for order, signs in every:
        plain = order == tuple(range(d)) and min(signs, default=1) > 0
        if not plain and all(fits[i, j, s] for i, (j, s) in enumerate(zip(order, signs, strict=True))):
            yield order, signs


def _simple(d: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    own = tuple(range(d))
    yield own, (-1,) * d
    for i in range(d):
        yield own, tuple(-1 if k == i else 1 for k in own)
    for i, j in combinations(own, 2):
        swapped = tuple(j if k == i else i if k == j else k for k in own)
        for s in (1, -1):
            yield swapped, tuple(s if k in (i, j) else 1 for k in own)


def _preserved(inputs: Tensor, targets: Tensor, order: tuple[int, ...], signs: tuple[int, ...]) -> bool:
    """Is the set of samples with their targets mapped to itself?"""
    x, y = inputs.detach().double().numpy(), targets.detach().double().numpy().reshape(len(targets), -1)
    moved = x[:, list(order)] * np.array(signs)
    one, two = (np.concatenate([v + 0.0, y], 1) for v in (x, moved))  # + 0.0: no negative zeros
    return bool(np.array_equal(one[np.lexsort(one.T)], two[np.lexsort(two.T)]))


def _element(group: Group, order: tuple[int, ...], signs: tuple[int, ...]) -> Element | None:
    """The element that moves the features so, if the group has it."""
    (block,) = group.blocks[INPUTS]
    columns = [s for s, d in zip(block.sets, block.dims, strict=True) if d == 1]
    if len(columns) != 1:
        return None
    (own,) = columns
    if order != tuple(range(len(order))) and own not in {p.set for p in group.permutations}:
        return None
    factors = {}
    if min(signs) < 0:
        axis = block.sets.index(own)
        flips = [
            i
            for i, g in enumerate(group.generators)
            if isinstance(g, Scaling) and g.kind == "sign" and g.set == own and g.charges.get((INPUTS, 0, axis))
        ]
        if not flips:
            return None
        factors = {flips[0]: torch.tensor(signs, dtype=torch.float64)}
    return Element({own: torch.tensor(order)}, factors)
