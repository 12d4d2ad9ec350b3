r"""The rescaling freedom, used up: the point of least norm among all positive rescalings.

Along the orbit of positive factors t = e^tau the squared norm is sum_r E_r e^(2 (A tau)_r), a sum of exponentials of
linear functions, hence convex: E_r is the energy of the entries that have one exponent, A the charges.  Where it has a
minimum, the minimum is one point of the orbit, and two points are rescalings of each other exactly if these points are
equal.  There is none where a unit has only incoming or only outgoing weight: such a unit can be scaled away, and the
result says that the minimum is not attained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from epigraph.symmetry.group import Element, Group, Scaling

STEPS = 200
FAR = 12.0  # factors beyond e^12 count as none: the unit is being scaled away

Array = NDArray[Any]


@final
@dataclass(frozen=True)
class Balanced:
    """The point of least norm, the element that leads there, and whether the minimum is attained."""

    point: dict[str, Tensor]
    element: Element
    attained: bool


def balance(group: Group, point: Mapping[str, Tensor]) -> Balanced:
    """Minimise the norm over positive rescalings, by Newton's method on the logarithms of the factors."""
    given = {k: v.detach().double() for k, v in point.items()}
    chosen = {i: g for i, g in enumerate(group.generators) if isinstance(g, Scaling) and g.kind == "scale"}
    if not chosen:
        return Balanced(given, Element(), True)
    first: dict[int, int] = {}
    total = 0
    for i, g in chosen.items():
        first[i] = total
        total += int(np.prod(group.shape_of(g.set)))
    logs, attained = _newton(_terms(group, chosen, first, total, given))
    factors = {
        i: torch.from_numpy(np.exp(logs[first[i] : first[i] + int(np.prod(shape))])).reshape(shape)
        for i, g in chosen.items()
        for shape in [group.shape_of(g.set)]
    }
    element = Element(factors=factors)
    return Balanced(group.apply(element, given), element, attained)


@final
@dataclass(frozen=True)
class _Use:
    """A scaling of a block: its logarithms as an array of ``sizes``, the axes on which these lie, and its charge there."""

    entries: slice
    sizes: tuple[int, ...]
    axes: tuple[int, ...]
    charge: int

    def others(self, count: int) -> tuple[int, ...]:
        return tuple(d for d in range(count) if d not in self.axes)


@final
@dataclass(frozen=True)
class _Part:
    """The energies of one block over the axes that are scaled, and where each scaling's logarithms go in it."""

    energy: Array
    uses: tuple[_Use, ...]

    def spread(self, logs: Array) -> Array:
        """A tau: the sum of charge times logarithm, for each entry."""
        out = np.zeros(())
        for use in self.uses:
            own = logs[use.entries].reshape(use.sizes).transpose(np.argsort(use.axes))
            out = out + use.charge * np.expand_dims(own, use.others(self.energy.ndim))
        return out

    def gather(self, values: Array, out: Array, weight: Callable[[int], int]) -> None:
        """out += the transpose of A with each charge replaced by its weight, times the values."""
        for use in self.uses:
            own = values.sum(use.others(values.ndim)).transpose(np.argsort(np.argsort(use.axes)))
            out[use.entries] += weight(use.charge) * own.reshape(-1)


@final
@dataclass(frozen=True)
class _System:
    """The sum of exponentials over all blocks."""

    parts: tuple[_Part, ...]
    total: int

    def terms(self, logs: Array) -> list[Array]:
        return [p.energy * np.exp(2 * p.spread(logs)) for p in self.parts]

    def value(self, logs: Array) -> float:
        return float(sum(t.sum() for t in self.terms(logs)))

    def gather(self, values: Sequence[Array], weight: Callable[[int], int] = lambda charge: charge) -> Array:
        """The transpose of A times values; ``weight`` makes of each charge what takes its place."""
        out = np.zeros(self.total)
        for part, value in zip(self.parts, values, strict=True):
            part.gather(value, out, weight)
        return out


def _terms(
    group: Group, chosen: Mapping[int, Scaling], first: Mapping[int, int], total: int, point: Mapping[str, Tensor]
) -> _System:
    """The energies E and the charges A, over the blocks that some generator scales."""
    parts = []
    for name, blocks in group.blocks.items():
        for k, block in enumerate(blocks):
            used = [
                (i, a, c)
                for i, g in chosen.items()
                for a in range(-1, len(block.sets))
                if (c := g.charges.get((name, k, a)))
            ]
            if not used:
                continue
            squares = point[name].contiguous().as_strided(block.sizes, block.strides, block.offset) ** 2
            positions = [_positions(group, chosen[i], block.sets, a) for i, a, _ in used]
            axes = sorted({d for p in positions for d in p})
            rest = [d for d in range(squares.ndim) if d not in axes]
            kept = squares.permute([*axes, *rest]).reshape(*(block.sizes[d] for d in axes), -1).sum(-1)
            uses = []
            for (i, _, charge), places in zip(used, positions, strict=True):
                sizes = group.shape_of(chosen[i].set)
                entries = slice(first[i], first[i] + int(np.prod(sizes)))
                uses.append(_Use(entries, sizes, tuple(axes.index(d) for d in places), charge))
            parts.append(_Part(kept.numpy(), tuple(uses)))
    return _System(tuple(parts), total)


def _positions(group: Group, generator: Scaling, sets: tuple[int, ...], axis: int) -> list[int]:
    """The axes of a block that index a generator's factors."""
    if generator.set is None:
        return []
    return [*(sets.index(s) for s in group.sets[generator.set].scope), axis]


@final
@dataclass(frozen=True)
class _Products:
    """A matrix known by its products."""

    matvec: Callable[[Array], Array]
    shape: tuple[int, int]
    dtype: np.dtype[Any]


def _step(system: _System, terms: Sequence[Array], gradient: Array) -> Array:
    """Newton's step, by conjugate gradients on the Hessian scaled to a diagonal of ones; it is never formed."""
    from scipy.sparse import linalg

    diagonal = 4 * system.gather(terms, lambda charge: charge**2)
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))  # units without any weight stay as they are

    def product(v: Array) -> Array:
        logs = v / scale
        turned = [t * p.spread(logs) for t, p in zip(terms, system.parts, strict=True)]
        return 4 * system.gather(turned) / scale + 1e-14 * v

    total = system.total
    hessian: Any = linalg.aslinearoperator(_Products(product, (total, total), np.dtype(np.float64)))
    found, _ = linalg.cg(hessian, -gradient / scale, rtol=1e-4, maxiter=4 * total + 20)
    return found / scale


def _newton(system: _System) -> tuple[Array, bool]:
    """The minimiser of sum E e^(2 A tau), and whether it is one; 0 where it is not."""
    logs = np.zeros(system.total)
    value = system.value(logs)
    for _ in range(STEPS):
        terms = system.terms(logs)
        gradient = 2 * system.gather(terms)
        if (np.abs(gradient) <= 1e-14 * system.gather(terms, abs)).all():  # unit by unit, so that small ones count
            return logs, True
        step = _step(system, terms, gradient)
        step *= min(1.0, 2.0 / max(np.abs(step).max(), 1e-300))
        size = 1.0
        while size > 1e-9:
            after = system.value(logs + size * step)
            if after <= value * (1 + 1e-14):
                break
            size /= 2
        if size <= 1e-9 or np.abs(size * step).max() < 1e-16:
            break
        logs, value = logs + size * step, after
        if np.abs(logs).max() > FAR:
            return np.zeros(system.total), False
    terms = system.terms(logs)
    return logs, bool((np.abs(2 * system.gather(terms)) <= 1e-10 * system.gather(terms, abs)).all())
