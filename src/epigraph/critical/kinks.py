"""Is a point on a kink of J?  There the gradient is none, and a Hessian of zero slope on one side says nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from epigraph.calculus.derivatives import pieces_of
from epigraph.hessian.dense import Dense
from epigraph.objective.graph import Node

SIDES = 64  # directions in which a point on a kink is left
ASIDE = 1e-5  # how far, relative to 1 + |x|
NEAR = 1e-7  # distance to a kink, relative to the operand's largest entry, that counts as on it


def kinks(dense: Dense, x: Tensor) -> list[str | None]:
    """For each point [lanes, n], the operator and place of a kink or a jump that it is on, or None.

    Read from values in floats: relu, abs and the like within 1e-7 of a knot, a maximum or an order with a tie, a
    comparison or a floor at its jump.
    """
    graph, watched = dense.program, _watched(dense)
    found: list[str | None] = [None] * len(x)
    if not watched:
        return found
    values = dense.values(x)
    for node in watched:
        operands = [values[i].expand(len(x), *graph[i].shape) for i in node.inputs]
        distance, size = DISTANCES[node.op](node, operands)
        for i in torch.nonzero(distance <= NEAR * size.clamp_min(1.0))[:, 0].tolist():
            place = node.origin.location
            found[i] = found[i] or f"{node.op}" + (f" at {place}" if place else "")
    return found


def has_kinks(dense: Dense) -> bool:
    """Is there any place where J is not smooth?"""
    return bool(_watched(dense))


def beside(dense: Dense, x: Tensor, seed: int) -> str:
    """The slopes and curvatures of J on leaving a point x [n], over random directions, in words.

    Each is taken at x + t d, beyond the kinks that x is on, where J has a gradient and a Hessian.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(SIDES // 2, len(x), generator=generator, dtype=torch.float64)
    d = torch.cat([drawn, -drawn]) / torch.cat([drawn, drawn]).norm(dim=1, keepdim=True)
    t = ASIDE * (1 + float(x.norm()))
    jet, value = dense.of(x + t * d), dense.of(x[None]).value
    curvature = (d * (jet.hessian @ d[..., None])[..., 0]).sum(1)
    slope = (jet.gradient * d).sum(1) - t * curvature
    gap = (jet.value - value - t * slope - t * t * curvature / 2).abs()
    if not bool((gap <= 1e-3 * t * (1 + slope.abs())).all()):
        return f"J jumps or bends again within {t:.1g} of it"
    ends = (f"{float(v.min()):.3g} to {float(v.max()):.3g}" for v in (slope, curvature))
    return "one-sided over {} directions: slope {}, curvature {}".format(SIDES, *ends)


def _watched(dense: Dense) -> list[Node]:
    varies = dense.program.depends(dense.names)
    return [n for n in dense.program if n.inputs and varies[n.id] and n.op in DISTANCES]


Pair = tuple[Tensor, Tensor]


def _least(distance: Tensor, x: Tensor) -> Pair:
    return distance[..., None].flatten(1).amin(1), x.abs()[..., None].flatten(1).amax(
        1
    )  # [lanes] where x is one number


def _knots(node: Node, x: Sequence[Tensor]) -> Pair:
    pieces = pieces_of(node)
    knots = [float(k) for k in pieces.knots] if pieces else []  # also where only the curvature jumps
    if not knots or x[0].numel() == 0:
        return torch.full((len(x[0]),), torch.inf, dtype=torch.float64), torch.ones(len(x[0]), dtype=torch.float64)
    return _least(torch.stack([(x[0] - k).abs() for k in knots]).amin(0), x[0])


def _ties(node: Node, x: Sequence[Tensor]) -> Pair:
    dims = node.attributes["dims"] if "dims" in node.attributes else [node.attributes["dim"]]
    rows = torch.movedim(x[0], [d + 1 for d in dims], list(range(-len(dims), 0))).flatten(-len(dims))
    ordered = rows.sort(-1).values
    if rows.shape[-1] < 2:
        return torch.full((len(x[0]),), torch.inf, dtype=torch.float64), torch.ones(len(x[0]), dtype=torch.float64)
    gaps = ordered.diff(dim=-1)
    return _least(gaps[..., -1:] if node.op == "amax" else gaps, x[0])


def _jumps(node: Node, x: Sequence[Tensor]) -> Pair:
    if node.op == "compare":
        return _least((x[0] - x[1]).abs(), x[0])
    return _least((x[0] - x[0].round()).abs() if node.op == "floor" else x[0].abs(), x[0])


DISTANCES: dict[str, Callable[[Node, Sequence[Tensor]], Pair]] = {
    **dict.fromkeys(("relu", "abs", "elu", "piecewise"), _knots),
    **dict.fromkeys(("amax", "sort"), _ties),
    **dict.fromkeys(("compare", "sign", "floor"), _jumps),
}
