r"""Where searches begin: the origin, random points on several scales, and points that a symmetry leaves in place.

Where g is a symmetry of J with g g = 1, the points with g x = x form a space that gradient steps do not leave: the
zero units of an odd activation, pairs of equal units.  Critical points of J on such a space are critical points of J,
those of smaller networks among them, and random starts alone miss some that are minima.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from epigraph.hessian.dense import Dense
from epigraph.symmetry.group import Element
from epigraph.symmetry.result import Symmetries

SCALES = (0.5, 1.5, 3.0)
RANDOM = ("random", "wide", "smaller")  # of searches for minima: what basin frequencies are counted from
DRAWN = (*RANDOM, "least squares", "following", "mixed")  # found by searches that know nothing of other points
SENT = ("saddle", "least squares", "following", "deflation", "uphill", "band", "transition")
KINDS = ("origin", "given", *RANDOM, *SENT)


@final
@dataclass(frozen=True)
class Starts:
    """Points [lanes, n] and the kind of each, a position in ``KINDS``."""

    x: Tensor
    kind: Tensor

    def at(self, chosen: Tensor) -> Starts:
        return Starts(self.x[chosen], self.kind[chosen])

    def named(self, kind: str) -> Starts:
        """The random ones under another name."""
        drawn = torch.isin(self.kind, torch.tensor([KINDS.index(k) for k in RANDOM]))
        return Starts(self.x, torch.where(drawn, KINDS.index(kind), self.kind))


def all_of(x: Tensor, kind: str) -> Starts:
    """Points of one kind."""
    return Starts(x, torch.full((len(x),), KINDS.index(kind)))


def flatten(dense: Dense, point: Mapping[str, Tensor]) -> Tensor:
    """The parameters one after the other, in the order of ``dense``."""
    return flattened({k: point[k] for k in dense.names})


def flattened(point: Mapping[str, Tensor]) -> Tensor:
    """The parameters one after the other, in their own order."""
    return torch.cat([v.detach().double().reshape(-1) for v in point.values()])


def unflatten(dense: Dense, x: Tensor) -> dict[str, Tensor]:
    """Parameters by name, from one flat point."""
    counts = [math.prod(s) for s in dense.shapes]
    return {k: p.reshape(s).clone() for k, s, p in zip(dense.names, dense.shapes, x.split(counts), strict=True)}


@final
@dataclass(frozen=True)
class Moves:
    """An element of the group on flat points: x -> sign * x[index]."""

    index: Tensor
    sign: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return x[..., self.index] * self.sign


def moves(dense: Dense, found: Symmetries, element: Element) -> Moves | None:
    """What permutations and signs do to flat points; None where they move a buffer, or a constant with them."""
    fixed = {k: v for k, v in found.values.items() if k in found.buffers}
    marks = torch.arange(1, dense.size + 1, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(dense.size, generator=generator, dtype=torch.float64)
    after = found.apply(element, unflatten(dense, marks))
    if any(not torch.equal(after[k], v.detach().double()) for k, v in fixed.items()):
        return None
    flat = flatten(dense, after)
    index = flat.abs().round().long() - 1
    if not torch.equal(index.sort().values, torch.arange(dense.size)):
        return None
    found_moves = Moves(index, flat.sign())
    close = torch.allclose(found_moves(drawn), flatten(dense, found.apply(element, unflatten(dense, drawn))))
    return found_moves if close else None


def elements(found: Symmetries) -> list[Element]:
    """One flip or one exchange of two units each."""
    out = []
    for position, generator in enumerate(found.group.generators):
        shape = found.group.shape_of(generator.set)
        count = math.prod(shape)
        if generator.kind == "sign":
            for unit in range(count):
                factor = torch.ones(count, dtype=torch.float64)
                factor[unit] = -1.0
                out.append(Element(factors={position: factor.reshape(shape)}))
        elif generator.kind == "permutation" and generator.set is not None:
            for copy in range(count // shape[-1]):
                for first in range(shape[-1] - 1):
                    order = torch.arange(shape[-1]).expand(count // shape[-1], -1).clone()
                    order[copy, first], order[copy, first + 1] = first + 1, first
                    out.append(Element({generator.set: order.reshape(shape)}))
    return out


def involutions(dense: Dense, found: Symmetries) -> list[Moves]:
    """One flip or one exchange of two units each, on flat points: generators that are their own inverses."""
    every = (moves(dense, found, element) for element in elements(found))
    return [m for m in every if m is not None]


def starts(
    dense: Dense, found: Symmetries | None, count: int, generator: torch.Generator, given: Sequence[Tensor] = ()
) -> Starts:
    """``count`` points: the given ones and the origin first, then equal shares of the other kinds.

    "random": normal with a standard deviation of 0.5, 1.5 or 3.  "wide": sizes from 1e-3 to 10, evenly on a logarithmic
    scale, entry by entry.  "smaller": random points projected on the fixed points of one to three involutions.
    """
    n = dense.size
    fixed = [*given, torch.zeros(n, dtype=torch.float64)][: max(count, len(given))]
    flips = involutions(dense, found) if found is not None else []
    rest = max(count - len(fixed), 0)
    smaller = rest // 4 if flips else 0
    wide = (rest - smaller) // 3
    normal = rest - smaller - wide
    points = [torch.stack(fixed)] if fixed else []
    points += [_normal(normal, n, generator), _wide(wide, n, generator)]
    points.append(_projected(_normal(smaller, n, generator), flips, generator))
    kinds = [KINDS.index("given")] * len(given) + [KINDS.index("origin")] * (len(fixed) - len(given))
    kinds += [2] * normal + [3] * wide + [4] * smaller
    return Starts(torch.cat(points), torch.tensor(kinds))


def one_of_many(dense: Dense, number: int, seed: int) -> Starts:
    """The start of a larger model with this number: the origin, then random ones; each has a generator of its own.

    A weight is normal with a standard deviation of 0.5, 1.5 or 3 over the square root of the number of inputs of its unit,
    which are the entries of its row; a vector's entries with a tenth of that.
    """
    if number == 0:
        return all_of(torch.zeros(1, dense.size, dtype=torch.float64), "origin")
    generator = torch.Generator().manual_seed((seed * 2**32 + number) % 2**63)
    size = torch.cat([_spread(s) for s in dense.shapes]) * SCALES[number % len(SCALES)]
    return all_of(torch.randn(1, dense.size, generator=generator, dtype=torch.float64) * size, "random")


def _spread(shape: tuple[int, ...]) -> Tensor:
    inputs = math.prod(shape[1:]) if len(shape) > 1 else 100
    return torch.full((math.prod(shape),), max(inputs, 1) ** -0.5, dtype=torch.float64)


def _normal(count: int, n: int, generator: torch.Generator) -> Tensor:
    scale = torch.tensor(SCALES, dtype=torch.float64)[torch.arange(count) % len(SCALES)]
    return torch.randn(count, n, generator=generator, dtype=torch.float64) * scale[:, None]


def _wide(count: int, n: int, generator: torch.Generator) -> Tensor:
    size = 10 ** (torch.rand(count, n, generator=generator, dtype=torch.float64) * 4 - 3)
    return size * (torch.randint(0, 2, (count, n), generator=generator).double() * 2 - 1)


def _projected(x: Tensor, flips: Sequence[Moves], generator: torch.Generator) -> Tensor:
    """Each point on the fixed points of one to three of the involutions, as far as these go together."""
    for i in range(len(x)):
        wanted = 1 + int(torch.randint(0, 3, (), generator=generator))
        chosen = torch.randint(0, len(flips), (wanted,), generator=generator).tolist()
        for _ in range(2 if wanted > 1 else 1):
            for k in chosen:
                x[i] = (x[i] + flips[k](x[i])) / 2
    return x
