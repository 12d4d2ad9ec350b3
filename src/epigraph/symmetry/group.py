r"""A group of transformations of named tensors, as data: index sets, blocks, generators, elements.

Every tensor is made of *blocks*, strided views with one axis per index set.  An element permutes each index set, then
multiplies along it.  Permutations of one index set are a symmetric group S_n; where the set depends on others, one for
each of their indices (heads: S_d for each head and S_h of the heads, the wreath product).  Scalings are positive
factors, a group of dimension n for n units, or signs, of order 2^n.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from epigraph.symmetry.counting import Direction, dimension


@final
@dataclass(frozen=True)
class IndexSet:
    """``size`` units; one set for each index of the sets in ``scope``; ``fixed`` if no permutation acts."""

    id: int
    size: int
    scope: tuple[int, ...] = ()
    fixed: bool = False


@final
class Block(NamedTuple):
    """A part of a tensor with one axis per index set: ``as_strided(sizes, strides, offset)`` of the contiguous tensor."""

    offset: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    sets: tuple[int, ...]
    dims: tuple[int, ...]

    @property
    def numel(self) -> int:
        return math.prod(self.sizes)


@final
@dataclass(frozen=True)
class Permutations:
    """All permutations of one index set, the same in every tensor that has it."""

    set: int
    kind: str = "permutation"


@final
@dataclass(frozen=True)
class Scaling:
    """One factor per unit of an index set (one in all where ``set`` is None), to the power ``charges`` in each place.

    ``charges`` maps (tensor, block, axis) to an integer; the axis is -1 for a block as a whole.  ``kind`` is "scale"
    for positive factors and "sign" for 1 and -1.
    """

    set: int | None
    kind: str
    charges: Mapping[tuple[str, int, int], int]


@final
@dataclass(frozen=True)
class Offset:
    """A map that reads units with f(-x) = 2c - f(x), and the bias after it, each of one block.

    The sign of a unit flips f - c; the constant c is carried by the bias: what transforms linearly is bias + c sum W.
    """

    weight: str
    bias: str
    centre: float


Generator = Permutations | Scaling


@final
@dataclass(frozen=True)
class Element:
    """A permutation for some index sets and factors for some generators (by position); what is absent is the identity."""

    permutations: Mapping[int, Tensor] = field(default_factory=dict)
    factors: Mapping[int, Tensor] = field(default_factory=dict)


@final
@dataclass(frozen=True)
class Group:
    """Index sets, the blocks of each tensor, and the generators that act on them."""

    sets: tuple[IndexSet, ...]
    blocks: Mapping[str, tuple[Block, ...]]
    shapes: Mapping[str, tuple[int, ...]]
    generators: tuple[Generator, ...]
    offsets: tuple[Offset, ...] = ()

    @property
    def linear(self) -> Group:
        """The group as it acts on ``centred`` points."""
        return replace(self, offsets=())

    def centred(self, point: Mapping[str, Tensor], sign: int = 1) -> dict[str, Tensor]:
        """Coordinates in which sign flips at functions with f(-x) = 2c - f(x) are linear; ``sign`` -1 goes back."""
        out = dict(point)
        for offset in self.offsets:
            total = self._read(offset, out[offset.weight])
            out[offset.bias] = out[offset.bias] + sign * offset.centre * total.reshape(out[offset.bias].shape)
        return out

    def _read(self, offset: Offset, weight: Tensor) -> Tensor:
        """A map summed over all that its bias does not have, as the bias's block."""
        block, bias = self.blocks[offset.weight][0], self.blocks[offset.bias][0]
        value = weight.contiguous().as_strided(block.sizes, block.strides, block.offset)
        rest = [d for d, s in enumerate(block.sets) if s not in bias.sets]
        left = [s for s in block.sets if s in bias.sets]
        return (value.sum(rest) if rest else value).permute([left.index(s) for s in bias.sets])

    def only(self, generators: Sequence[Generator]) -> Group:
        """The subgroup of some generators."""
        return replace(self, generators=tuple(generators))

    # counting -------------------------------------------------------------------------------------------------
    def copies(self, identifier: int | None) -> int:
        """How many independent copies an index set stands for."""
        return 1 if identifier is None else math.prod(self.sets[s].size for s in self.sets[identifier].scope)

    @property
    def permutations(self) -> tuple[Permutations, ...]:
        return tuple(g for g in self.generators if isinstance(g, Permutations))

    def scalings(self, kind: str) -> tuple[Scaling, ...]:
        return tuple(g for g in self.generators if isinstance(g, Scaling) and g.kind == kind)

    @property
    def order(self) -> int:
        """The number of permutations and sign flips, exactly."""
        count = 1
        for generator in self.permutations:
            count *= math.factorial(self.sets[generator.set].size) ** self.copies(generator.set)
        return count << dimension(self.directions("sign"), 2)

    @property
    def dimension(self) -> int:
        """The number of independent positive rescalings."""
        return dimension(self.directions("scale"), 0)

    def directions(self, kind: str) -> list[Direction]:
        """The scalings of a kind as linear functions on the entries, for counting."""
        return [self.direction(g) for g in self.scalings(kind)]

    def direction(self, scaling: Scaling) -> Direction:
        charges = {}
        for (name, k, axis), value in scaling.charges.items():
            block = self.blocks[name][k]
            own = () if scaling.set is None else self.sets[scaling.set].scope
            scope = tuple((s, block.sets.index(s)) for s in own)
            charges[name, k, axis] = (value, scope)
        size = 1 if scaling.set is None else self.sets[scaling.set].size
        scope_sizes = {} if scaling.set is None else {s: self.sets[s].size for s in self.sets[scaling.set].scope}
        return Direction(scaling.set, size, scope_sizes, charges)

    # acting ---------------------------------------------------------------------------------------------------
    def apply(self, element: Element, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors moved by an element; those that it does not name stay as they are."""
        signed = any(self.generators[i].kind == "sign" for i in element.factors)
        out = self._moved(element, tensors)
        for offset in self.offsets if signed else ():
            if offset.weight in tensors and offset.bias in tensors:
                plain = self._moved(Element(element.permutations), {offset.weight: tensors[offset.weight]})
                ones = {n: torch.ones_like(tensors[n]) for n in (offset.weight, offset.bias)}
                factors = self._moved(Element(factors=element.factors), ones)
                kept = factors[offset.bias].reshape(-1) * self._read(offset, plain[offset.weight]).reshape(-1)
                change = offset.centre * (kept - self._read(offset, out[offset.weight]).reshape(-1))
                out[offset.bias] = out[offset.bias] + change.reshape(out[offset.bias].shape).to(out[offset.bias].dtype)
        return out

    def _moved(self, element: Element, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The permutations, then the factors."""
        order = sorted(element.permutations, key=lambda i: -len(self.sets[i].scope))
        scaling: dict[tuple[str, int], dict[int, None]] = {}
        for position in element.factors:
            generator = self.generators[position]
            for name, k, _ in generator.charges if isinstance(generator, Scaling) else ():
                scaling.setdefault((name, k), {})[position] = None
        out = dict(tensors)
        for name in self.blocks:
            if name not in tensors:
                continue
            moved = tensors[name].detach().clone(memory_format=torch.contiguous_format)
            for k, block in enumerate(self.blocks[name]):
                own = [i for i in order if i in block.sets]
                if not own and (name, k) not in scaling:
                    continue
                view = moved.as_strided(block.sizes, block.strides, block.offset)
                value = view.clone()
                for identifier in own:
                    value = self._permuted(value, block, identifier, element.permutations[identifier])
                for position in scaling.get((name, k), ()):
                    value = self._scaled(value, (name, k), block, self.generators[position], element.factors[position])
                view.copy_(value)
            out[name] = moved
        return out

    def _permuted(self, value: Tensor, block: Block, identifier: int, images: Tensor) -> Tensor:
        for axis, s in enumerate(block.sets):
            if s == identifier and not self.sets[identifier].scope:
                value = value.index_select(axis, images)
            elif s == identifier:
                index = self.spread(images, block, identifier, axis).expand(value.shape)
                value = value.gather(axis, index)
        return value

    def spread(self, values: Tensor, block: Block, identifier: int | None, axis: int) -> Tensor:
        """An array over (scope, units) with its axes where the block has them."""
        if identifier is None:
            return values
        places = [*(block.sets.index(s) for s in self.sets[identifier].scope), axis]
        order = sorted(range(len(places)), key=places.__getitem__)
        shape = [1] * len(block.sets)
        for place, n in zip(places, values.shape, strict=True):
            shape[place] = n
        return values.permute(order).reshape(shape)

    def _scaled(
        self, value: Tensor, key: tuple[str, int], block: Block, generator: Generator, factor: Tensor
    ) -> Tensor:
        assert isinstance(generator, Scaling)
        for axis in range(-1, len(block.sets)):
            charge = generator.charges.get((*key, axis))
            if charge:
                spread = self.spread(factor, block, generator.set, axis).to(value.dtype)
                value = value * (spread if generator.kind == "sign" and charge % 2 else spread**charge)
        return value

    def random(
        self, generator: torch.Generator, generators: Sequence[int] | None = None, *, cycles: bool = False
    ) -> Element:
        """A random element: uniform permutations (``cycles``: without fixed points) and signs, factors exp(0.3 N(0, 1))."""
        permutations: dict[int, Tensor] = {}
        factors: dict[int, Tensor] = {}
        for position in range(len(self.generators)) if generators is None else generators:
            chosen = self.generators[position]
            shape = self.shape_of(chosen.set)
            if isinstance(chosen, Permutations):
                order = torch.rand(shape, generator=generator).argsort(-1)
                permutations[chosen.set] = _cycle(order) if cycles else order
            elif chosen.kind == "sign":
                factors[position] = torch.randint(0, 2, shape, generator=generator).double() * 2 - 1
            else:
                factors[position] = (0.3 * torch.randn(shape, generator=generator, dtype=torch.float64)).exp()
        return Element(permutations, factors)

    def shape_of(self, identifier: int | None) -> tuple[int, ...]:
        """The shape of a permutation or of factors for an index set: its scope, then its units."""
        if identifier is None:
            return ()
        own = self.sets[identifier]
        return (*(self.sets[s].size for s in own.scope), own.size)

    # words ----------------------------------------------------------------------------------------------------
    def places(self, generator: Generator) -> list[dict[str, Any]]:
        """Which tensors a generator moves: dimension, first index, step, number of units, and charge for scalings."""
        found: list[dict[str, Any]] = []
        for name, blocks in self.blocks.items():
            for k, block in enumerate(blocks):
                for axis in range(-1, len(block.sets)):
                    if isinstance(generator, Permutations):
                        charge = 1 if axis >= 0 and block.sets[axis] == generator.set else 0
                    else:
                        charge = generator.charges.get((name, k, axis), 0)
                    if charge:
                        found.append(self._place(name, block, axis, charge, generator.kind))
        return found

    def _place(self, name: str, block: Block, axis: int, charge: int, kind: str) -> dict[str, Any]:
        stride = math.prod(self.shapes[name][block.dims[axis] + 1 :]) if axis >= 0 else 0
        place: dict[str, Any] = {"tensor": name}
        if axis >= 0:
            first = block.offset // stride % self.shapes[name][block.dims[axis]]
            place |= {"axis": block.dims[axis], "first": first, "step": block.strides[axis] // stride}
        return place if kind == "permutation" else {**place, "power": charge}


def _cycle(order: Tensor) -> Tensor:
    """The permutation that sends each entry of an order to the next one."""
    return torch.empty_like(order).scatter_(-1, order, order.roll(-1, -1))
