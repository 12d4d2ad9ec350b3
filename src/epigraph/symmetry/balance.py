r"""The rescaling freedom, used up: the point of least norm among all positive rescalings.

Along the orbit of positive factors t = e^tau the squared norm is sum_r E_r e^(2 (A tau)_r), a sum of exponentials of
linear functions, hence convex: E_r is the energy of the entries that have one exponent, A the charges.  Where it has a
minimum, the minimum is one point of the orbit, and two points are rescalings of each other exactly if these points are
equal.  There is none where a unit has only incoming or only outgoing weight: such a unit can be scaled away, and the
result says that the minimum is not attained.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    energy, exponents = _terms(group, chosen, first, total, given)
    logs, attained = _newton(energy, exponents, total)
    factors = {
        i: torch.from_numpy(np.exp(logs[first[i] : first[i] + int(np.prod(shape))])).reshape(shape)
        for i, g in chosen.items()
        for shape in [group.shape_of(g.set)]
    }
    element = Element(factors=factors)
    return Balanced(group.apply(element, given), element, attained)


def _terms(
    group: Group, chosen: Mapping[int, Scaling], first: Mapping[int, int], total: int, point: Mapping[str, Tensor]
) -> tuple[Array, Any]:
    """The energies E and the sparse matrix A, over the blocks that some generator scales."""
    from scipy.sparse import csr_array

    energies, rows, columns, values = [], [], [], []
    count = 0
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
            index = np.indices(tuple(kept.shape)).reshape(kept.ndim, -1) if axes else np.zeros((0, 1), dtype=int)
            size = kept.numel()
            for (i, _, charge), places in zip(used, positions, strict=True):
                shape = group.shape_of(chosen[i].set)
                flat = (
                    np.ravel_multi_index(tuple(index[axes.index(d)] for d in places), shape)
                    if shape
                    else np.zeros(size, int)
                )
                rows.append(count + np.arange(size))
                columns.append(first[i] + flat)
                values.append(np.full(size, float(charge)))
            energies.append(kept.reshape(-1).numpy())
            count += size
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return np.concatenate(energies), csr_array(entries, shape=(count, total))


def _positions(group: Group, generator: Scaling, sets: tuple[int, ...], axis: int) -> list[int]:
    """The axes of a block that index a generator's factors."""
    if generator.set is None:
        return []
    return [*(sets.index(s) for s in group.sets[generator.set].scope), axis]


def _newton(energy: Array, exponents: Any, total: int) -> tuple[Array, bool]:
    """The minimiser of sum E e^(2 A tau), and whether it is one; 0 where it is not."""
    alive = energy > 0
    energy, exponents = energy[alive], exponents[alive]
    sizes = abs(exponents)
    logs = np.zeros(total)
    value = float(energy.sum())
    for _ in range(STEPS):
        terms = energy * np.exp(2 * (exponents @ logs))
        gradient = 2 * (exponents.T @ terms)
        if (np.abs(gradient) <= 1e-14 * (sizes.T @ terms)).all():  # unit by unit, so that small ones count
            return logs, True
        hessian = 4 * (exponents.T @ (exponents * terms[:, None])).toarray()
        scale = np.sqrt(np.maximum(np.diag(hessian), 1e-300))
        scale[np.diag(hessian) == 0] = 1.0  # units without any weight stay as they are
        scaled = hessian / np.outer(scale, scale)
        scaled[np.diag_indices(total)] = 1.0 + 1e-14
        step = np.linalg.solve(scaled, -gradient / scale) / scale
        step *= min(1.0, 2.0 / max(np.abs(step).max(), 1e-300))
        size = 1.0
        while size > 1e-9:
            after = float((energy * np.exp(2 * (exponents @ (logs + size * step)))).sum())
            if after <= value * (1 + 1e-14):
                break
            size /= 2
        if size <= 1e-9 or np.abs(size * step).max() < 1e-16:
            break
        logs, value = logs + size * step, after
        if np.abs(logs).max() > FAR:
            return np.zeros(total), False
    terms = energy * np.exp(2 * (exponents @ logs))
    return logs, bool((np.abs(2 * (exponents.T @ terms)) <= 1e-10 * (sizes.T @ terms)).all())
