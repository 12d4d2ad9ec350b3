r"""Is one point the image of another under the general linear maps of one index set?

M y = x where the set appears with charge 1, and M^T x = y where it appears with charge -1 (x there is M^-T y): linear
equations in M.  A point has them with equality exactly if it lies on the orbit, where an invertible solution exists;
where the equations leave M free, a random solution is invertible if any is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from epigraph.symmetry.continuous import Flow, Linear, axis_order
from epigraph.symmetry.group import Group
from epigraph.symmetry.matching import distance

Point = Mapping[str, Tensor]


def only_linear(group: Group, flows: Sequence[Flow]) -> Linear | None:
    """The one flow of linear maps, where all other generators act on its index set and are among them; else None.

    None as well where a block has the set twice: its equations are not linear in M.
    """
    if len(flows) != 1 or not isinstance(flows[0], Linear) or flows[0].kind != "linear":
        return None
    flow = flows[0]
    if len({(name, k) for name, k, _ in flow.charges}) < len(flow.charges):
        return None
    return flow if all(g.set == flow.set for g in group.generators) else None


def linear_distance(group: Group, flow: Linear, first: Point, second: Point) -> tuple[float, float]:
    """What the best linear map found leaves of the distance, and a bound below what the equations leave for any map.

    The bound is the least residual of the equations, each side relative to its own point; it is zero on an orbit.
    """
    copies, n = group.copies(flow.set), group.sets[flow.set].size
    one, two = _units(group, flow, first), _units(group, flow, second)
    maps, left = [], 0.0
    generator, eye = torch.Generator().manual_seed(0), torch.eye(n, dtype=torch.float64)
    for c in range(copies):
        rows, sides = [], []
        for (charge, x), (_, y) in zip(one, two, strict=True):
            if charge > 0:  # M y = x, row by row of M
                rows.append(torch.kron(eye, y[c].T.contiguous()))
                sides.append(x[c].reshape(-1))
            else:  # M^T x = y
                rows.append(torch.kron(x[c].T.contiguous(), eye))
                sides.append(y[c].T.reshape(-1))
        A, b = torch.cat(rows), torch.cat(sides)
        M = torch.linalg.lstsq(A, b[:, None], driver="gelsd").solution[:, 0]
        left += float(((A @ M - b) ** 2).sum())
        free = torch.linalg.svd(A).Vh[int(torch.linalg.matrix_rank(A, rtol=1e-9)) :]
        M = M + free.T @ torch.randn(len(free), generator=generator, dtype=torch.float64)
        maps.append(M.reshape(n, n))
    moved = _moved(group, flow, second, torch.stack(maps))
    return (distance(first, moved) if moved is not None else float("inf")), left**0.5


def _units(group: Group, flow: Linear, point: Point) -> list[tuple[int, Tensor]]:
    out = []
    for (name, k, axis), charge in flow.charges.items():
        block = group.blocks[name][k]
        view = point[name].contiguous().as_strided(block.sizes, block.strides, block.offset)
        order = axis_order(group, block, flow.set, axis)
        out.append((charge, view.permute(order).reshape(group.copies(flow.set), group.sets[flow.set].size, -1)))
    return out


def _moved(group: Group, flow: Linear, point: Point, maps: Tensor) -> dict[str, Tensor] | None:
    try:
        inverse = torch.linalg.inv(maps).mT
    except torch.linalg.LinAlgError:
        return None
    return flow.changed(group, point, lambda x, q: (maps if q > 0 else inverse) @ x)
