"""The Hessian on a region: every matrix that it can be there, as one centred form."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import torch
from torch import Tensor

from epigraph.calculus.interval import Interval, intersect, widen
from epigraph.calculus.propagate import intervals, leaf_interval
from epigraph.calculus.rule import RULES
from epigraph.calculus.rules.reductions import log_sum_exp
from epigraph.hessian.assemble import Walk
from epigraph.hessian.engine import Move
from epigraph.hessian.forms import Arithmetic, Form, of_interval, tensor
from epigraph.hessian.functions import Undecided, mapped
from epigraph.hessian.normal import program
from epigraph.objective.domain import Domain
from epigraph.objective.graph import Graph, Node

__all__ = ["Region", "Source", "Undecided"]


@final
@dataclass(frozen=True)
class Region:
    """{centre + h}: |h|_2 <= radius (a ball, one radius) or |h_k| <= radius_k (a box)."""

    centre: Tensor
    radius: Tensor
    ball: bool


@final
class Source:
    """A program with its constants, from which enclosures on many regions are made."""

    def __init__(self, graph: Graph, domain: Domain, fixed: Mapping[str, Tensor], active: Sequence[str]):
        self.program, self.domain = program(graph), domain
        nodes = self.program.parameter_nodes
        self.names = tuple(k for k in active if k in nodes)
        self.shapes = [tuple(graph.parameters[k].shape) for k in self.names]
        self.counts = [math.prod(s) for s in self.shapes]
        self.nodes = [nodes[k] for k in self.names]
        self.size = sum(self.counts)
        self.fixed = {k: v.detach().double().cpu() for k, v in fixed.items()}
        varies = self.program.depends(self.names)
        self.widest = max((n.numel for n, v in zip(self.program, varies, strict=True) if v), default=1)

    @cached_property
    def constants(self) -> dict[int, Form]:
        """Constants and the parameters that are held."""
        return {n.id: self._constant(n) for n in self.program if not n.inputs and n.id not in self.nodes}

    def _constant(self, node: Node) -> Form:
        if node.op == "parameter":
            return Form(self.fixed[node.attributes["name"]])
        if "tensor" in node.attributes:
            found = self.program.tensors[node.attributes["tensor"]].tensor.detach().cpu()
            exact = found.double()
            if bool(torch.isfinite(exact).all()) and bool((exact.to(found.dtype) == found).all()):
                return Form(exact)
            raise Undecided(node, "a constant has entries that are no float64 numbers")
        return of_interval(leaf_interval(self.program, node, Domain()), node.shape)

    def split(self, flat: Tensor) -> list[Tensor]:
        return [p.reshape(s) for p, s in zip(flat.split(self.counts), self.shapes, strict=True)]

    def corners(self, region: Region) -> tuple[Tensor, Tensor]:
        """Least and greatest coordinates of the region's bounding box within the domain."""
        low, high = (tensor(np.nextafter((region.centre + s * region.radius).numpy(), s * np.inf)) for s in (-1, 1))
        for side, limit, nearest in ((low, self.domain.lower, torch.maximum), (high, self.domain.upper, torch.minimum)):
            start = 0
            for name, shape, count in zip(self.names, self.shapes, self.counts, strict=True):
                if name in limit:
                    bound = limit[name].double().expand(shape).reshape(-1)
                    side[start : start + count] = nearest(side[start : start + count], bound)
                start += count
        return low, high

    def box(self, region: Region) -> Domain:
        """The bounding box within the domain; parameters that do not move are points."""
        low, high = (dict(zip(self.names, self.split(side), strict=True)) for side in self.corners(region))
        held = {k: v for k, v in self.fixed.items() if k not in self.names}
        return Domain({**held, **low}, {**held, **high})

    def hessian(self, region: Region, order: int) -> tuple[Form, Arithmetic]:
        """All Hessians on the region; order 1 with the linear part, order 0 as an interval matrix.

        Raises:
            Undecided: a kink or the end of a domain inside the region.
        """
        walk, engine = self.walk(region, order)
        return self.assembled(walk, engine.a), engine.a

    def walk(self, region: Region, order: int) -> tuple[Walk, Centred]:
        """Values, tangents and adjoints of all nodes on the region, and the engine with the kinks that it met."""
        arithmetic = Arithmetic(region.ball)
        engine = Centred(arithmetic, self.program, intervals(self.program, self.box(region)))
        leaves, tangents = dict(self.constants), {}
        unit = torch.eye(self.size, dtype=torch.float64)
        scale = unit * region.radius
        start = 0
        for node, shape, count, c in zip(self.nodes, self.shapes, self.counts, self.split(region.centre), strict=True):
            stop = start + count
            tangents[node] = Form(unit[:, start:stop].reshape(self.size, *shape))
            noise = scale[:, start:stop].reshape(self.size, *shape)
            leaves[node] = Form(c, noise) if order else Form(c, None, noise.sum(0))
            start = stop
        walk = Walk(engine, self.program, leaves, tangents)
        walk.backward(Form(torch.ones((), dtype=torch.float64)))
        return walk, engine

    def assembled(self, walk: Walk, arithmetic: Arithmetic) -> Form:
        """The Hessian from a walk."""
        total: Form | None = None
        for left, right, kind in walk.terms():
            part = arithmetic.matmul(left, right.map(lambda t: t.transpose(-1, -2)))
            part = arithmetic.add(part, part.map(lambda t: t.transpose(-1, -2)))
            part = part if kind == 2 else arithmetic.scale(part, kind / 2)
            total = part if total is None else arithmetic.add(total, part)
        return total or Form(torch.zeros(self.size, self.size, dtype=torch.float64))

    def gradient(self, walk: Walk, arithmetic: Arithmetic) -> Form:
        """The gradient [n] from a walk, one parameter after the other."""
        flat = []
        for node, shape, count in zip(self.nodes, self.shapes, self.counts, strict=True):
            g = walk.adjoints.get(node, Form(torch.zeros(shape, dtype=torch.float64)))
            flat.append(g.map(lambda t, s=shape, n=count: _whole(t, s).reshape(*t.shape[: max(t.ndim - len(s), 0)], n)))
        return arithmetic.concat(flat, -1)


def _whole(t: Tensor, shape: Sequence[int]) -> Tensor:
    """An adjoint that may still broadcast, in the shape of its parameter behind its leading axes."""
    return t.expand([*t.shape[: max(t.ndim - len(shape), 0)], *shape])


@final
class Centred:
    """The engine in centred forms; ``bounds`` are the rules' intervals of every node on the region."""

    def __init__(self, arithmetic: Arithmetic, graph: Graph, bounds: Sequence[Interval]):
        self.a, self.graph, self.bounds = arithmetic, graph, bounds
        self.add, self.mul, self.matmul = arithmetic.add, arithmetic.mul, arithmetic.matmul
        self.total, self.concat = arithmetic.total, arithmetic.concat
        self.kinks: dict[int, tuple[Tensor, Tensor]] = {}

    def neg(self, x: Form) -> Form:
        return Form(-x.c, None if x.L is None else -x.L, x.r)

    def move(self, x: Form, move: Move) -> Form:
        return x.map(move)

    def scatter(self, x: Form, index: Tensor, dim: int, size: int) -> Form:
        chosen = torch.zeros(len(index), size, dtype=torch.float64)
        chosen[torch.arange(len(index)), index] = 1.0
        last = x.map(lambda t: t.transpose(dim, -1))
        return self.matmul(last, Form(chosen)).map(lambda t: t.transpose(dim, -1))

    def zeros(self, shape: Sequence[int]) -> Form:
        return Form(torch.zeros(list(shape), dtype=torch.float64))

    def within(self, node: Node, x: Form, i: int = 0) -> Interval:
        """What is known of operand i of a node: its form, and the rules' interval."""
        low, high = self.bounds[node.inputs[i]].arrays(tuple(x.shape))
        return intersect(self.a.range(x), Interval(low, high))

    def unary(self, node: Node, x: Form) -> tuple[Form, Form, Form]:
        bounds = self.within(node, x)
        made, pieces = mapped(self.a, node, x, bounds)
        if pieces is not None:
            up, down = pieces.corners(bounds)
            self.kinks[node.id] = (torch.from_numpy(np.asarray(up)), torch.from_numpy(np.asarray(down)))
        return made[0], made[1], made[2]

    def logsumexp(self, node: Node, x: Form, dims: Sequence[int]) -> tuple[Form, Form]:
        value, z, share = self._normalised(node, x, dims)
        return value.map(lambda t: t.reshape((*t.shape[: t.ndim - x.c.ndim], *node.shape))), self._exp(node, z, share)

    def log_softmax(self, node: Node, x: Form, dim: int) -> tuple[Form, Form]:
        _, z, share = self._normalised(node, x, [dim])
        return z, self._exp(node, z, share)

    def _exp(self, node: Node, z: Form, share: Interval) -> Form:
        exp = Node(node.id, "exp", (), {}, tuple(z.shape), node.origin)
        return mapped(self.a, exp, z, intersect(share, self.a.range(z)))[0][0]

    def _normalised(self, node: Node, x: Form, dims: Sequence[int]) -> tuple[Form, Form, Interval]:
        """log sum e^x with its axes kept, x minus it, and bounds of the latter.

        Taylor's formula, whose slopes are the softmax at c and whose second term is half a variance of x - c.
        """
        bounds = self.within(node, x)
        share = _log_softmax(bounds, dims)
        kept = [1 if d - x.c.ndim in dims else n for d, n in enumerate(x.shape)]
        plain = of_interval(_log_sum_exp(bounds, dims), kept)
        if x.L is None:
            return plain, of_interval(share, x.shape), share
        point = Interval.point(x.c.numpy())
        thin = _log_softmax(point, dims)
        weights = self._exp(node, of_interval(thin, x.shape), thin)
        moved = self.total(self.mul(weights, Form(torch.zeros_like(x.c), x.L, x.r)), dims)
        tilt = moved.map(lambda t: t.reshape((*t.shape[: t.ndim - moved.c.ndim], *kept)))
        square = self.a.deviation(x).square().amax(list(dims), keepdim=True) * (0.25 * (1 + 1e-9)) + 1e-300
        value = self.add(self.add(of_interval(_log_sum_exp(point, dims), kept), tilt), Form(square, None, square))
        assert value.r is not None
        if plain.r is not None and bool((value.r > plain.r).all()):
            value = plain
        back = value.map(lambda t: t.expand((*t.shape[: t.ndim - x.c.ndim], *x.shape)))
        return value, self.add(x, self.neg(back)), share

    def amax(self, node: Node, x: Form, dims: Sequence[int]) -> tuple[Form, Form]:
        """The entry that is the greatest throughout, or unknown weights between 0 and 1 and a convex kink."""
        bounds = self.within(node, x)
        low, high = (tensor(b) for b in bounds.arrays(tuple(x.shape)))
        candidate = high >= low.amax(list(dims), keepdim=True)
        count = candidate.sum(list(dims), keepdim=True)
        open_ = candidate & (count > 1)
        weights = Form(torch.where(open_, 0.5, candidate.double()), None, torch.where(open_, 0.5, 0.0))
        kink = (count > 1).reshape(node.shape)
        self.kinks[node.id] = (kink, torch.zeros_like(kink))
        value = of_interval(RULES["amax"].interval(node, [bounds], [tuple(x.shape)]), node.shape)
        if not bool(kink.any()):
            value = self.total(self.mul(weights, x), dims)
        return value, weights

    def order(self, node: Node, x: Form, dim: int) -> Tensor:
        """The order of the centres, where no two neighbours' bounds overlap."""
        found = x.c.argsort(dim=dim, stable=True)
        low, high = (tensor(b).gather(dim, found) for b in self.within(node, x).arrays(tuple(x.shape)))
        size = x.shape[dim]
        if size > 1 and not bool((high.narrow(dim, 0, size - 1) <= low.narrow(dim, 1, size - 1)).all()):
            raise Undecided(node, "the order of entries may change inside the region")
        return found

    def mask(self, node: Node, x: Form) -> Tensor:
        """Conditions are 0 or 1, so that bounds within a quarter of one of them decide."""
        if not bool((self.a.deviation(x) < 0.25).all()):
            raise Undecided(node, "a condition may change inside the region")
        return x.c > 0.5

    def step(self, node: Node, x: Sequence[Form]) -> Form:
        operands = [self.within(node, v, i) for i, v in enumerate(x)]
        found = RULES[node.op].interval(node, operands, [tuple(v.shape) for v in x])
        low, high = found.arrays(node.shape)
        if not np.array_equal(low, high):
            raise Undecided(node, f"{node.op} may jump inside the region")
        return Form(tensor(low))

    def require(self, node: Node, adjoint: Form) -> None:
        if node.id not in self.kinks:
            return
        up, down = self.kinks[node.id]
        bounds = self.a.range(adjoint)
        low, high = (tensor(b) for b in bounds.arrays(tuple(node.shape)))
        if bool((up & ~(low >= 0)).any()) or bool((down & ~(high <= 0)).any()):
            raise Undecided(node, f"a kink of {node.op} lies inside the region, and J may bend downwards there")

    def index(self, x: Form) -> Tensor:
        return x.c.long()


def _log_sum_exp(x: Interval, dims: Sequence[int]) -> Interval:
    """Bounds of log sum e^x, the axes kept with length one."""
    low, high = np.broadcast_arrays(np.asarray(x.lower, np.float64), np.asarray(x.upper, np.float64))
    axes = tuple(d % low.ndim for d in dims)
    out = log_sum_exp(Interval(low, high), axes, low.shape)
    return Interval(np.expand_dims(np.asarray(out.lower), axes), np.expand_dims(np.asarray(out.upper), axes))


def _log_softmax(x: Interval, dims: Sequence[int]) -> Interval:
    """Sharp bounds of x_i - log sum e^x: the entry at one end, all others at the other end."""
    low, high = (np.asarray(b, np.float64) for b in np.broadcast_arrays(x.lower, x.upper))
    axes = tuple(dims)

    def share(own: np.ndarray, others: np.ndarray) -> np.ndarray:
        """-log(1 + sum over the others of e^(others - own)), the sum found as a whole less one entry."""
        moved = [np.moveaxis(v, axes, range(-len(axes), 0)) for v in (own, others)]
        flat = [v.reshape(*v.shape[: v.ndim - len(axes)], -1) for v in moved]
        gaps = flat[1][..., None, :] - flat[0][..., :, None]
        k = gaps.shape[-1]
        gaps[..., np.arange(k), np.arange(k)] = 0.0
        top = gaps.max(-1)
        found = -(top + np.log(np.exp(gaps - top[..., None]).sum(-1)))
        return np.moveaxis(found.reshape(moved[0].shape), range(-len(axes), 0), axes)

    with np.errstate(all="ignore"):
        least, most = share(low, high), share(high, low)
        scale = np.abs(low) + np.abs(high)
        scale = scale.max() if scale.size else 0.0
    count = math.prod(low.shape[d] for d in axes)
    return widen(least, np.minimum(most, 0.0), units=32, absolute=(count + 64 + 8 * float(scale)) * 2.0**-50)
