"""Value, gradient and Hessian in float64 at many points at once."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from epigraph.calculus.derivatives import SMOOTH, pieces_of
from epigraph.calculus.derivatives.arithmetic import REALS
from epigraph.hessian.assemble import MARK, Walk
from epigraph.hessian.engine import Move
from epigraph.hessian.normal import program
from epigraph.hessian.rows import Plan, plan_of
from epigraph.hessian.samples import hessian as by_samples
from epigraph.objective.evaluate import KERNELS, number
from epigraph.objective.graph import Graph, Node

MEMORY = 2**27  # numbers that the tangents of one batch may hold
APART = 60  # variables from which on it is asked whether J treats its samples apart
SHARE = 0.25  # numbers that a sample sees of the parameters, relative to these, up to which it pays


@final
@dataclass(frozen=True)
class Jet:
    """J [lanes], its gradient [lanes, n] and its Hessian [lanes, n, n]; coordinates in the order of ``names``."""

    value: Tensor
    gradient: Tensor
    hessian: Tensor


@final
class Reals:
    """The engine in float64 tensors with a leading axis of points, on one device."""

    def __init__(self, device: torch.device):
        self.device = device

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y

    def neg(self, x: Tensor) -> Tensor:
        return -x

    def mul(self, x: Tensor, y: Tensor) -> Tensor:
        return x * y

    def matmul(self, x: Tensor, y: Tensor) -> Tensor:
        """A product in which one operand is the same along an axis becomes fewer and larger ones."""
        if x.ndim == y.ndim >= 3 and y.shape[-3] == 1 < x.shape[-3]:
            rows = x.reshape(*x.shape[:-3], -1, x.shape[-1]) @ y.squeeze(-3)
            return rows.reshape(*rows.shape[:-2], *x.shape[-3:-1], y.shape[-1])
        if x.ndim > 3 and x.shape[-3] == 1 < y.shape[-3]:
            return self.matmul(y.mT.expand(*x.shape[:-3], *y.shape[-3:-2], *y.mT.shape[-2:]), x.mT).mT
        return x @ y

    def total(self, x: Tensor, dims: Sequence[int]) -> Tensor:
        return x.sum(list(dims)) if dims else x

    def move(self, x: Tensor, move: Move) -> Tensor:
        return move(x)

    def concat(self, x: Sequence[Tensor], dim: int) -> Tensor:
        lead = torch.broadcast_shapes(*(_without(t.shape, dim) for t in x))
        whole = [t.expand(*lead[:dim], t.shape[dim], *lead[len(lead) + dim + 1 :]) for t in x]
        return torch.cat(whole, dim)

    def scatter(self, x: Tensor, index: Tensor, dim: int, size: int) -> Tensor:
        shape = list(x.shape)
        shape[dim] = size
        return x.new_zeros(shape).index_add(x.ndim + dim, index, x)

    def zeros(self, shape: Sequence[int]) -> Tensor:
        return torch.zeros(list(shape), dtype=torch.float64, device=self.device)

    def unary(self, node: Node, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if node.op == "power" and node.attributes["exponent"] == "2":
            return x * x, 2 * x, self.zeros(node.shape) + 2  # the same curvature everywhere
        pieces = pieces_of(node)
        first, second = pieces.at(x, 2) if pieces else SMOOTH[node.op].formula(node, x, 2, REALS)
        return KERNELS[node.op](node.attributes, [x]), first, second

    def logsumexp(self, node: Node, x: Tensor, dims: Sequence[int]) -> tuple[Tensor, Tensor]:
        parts = torch.exp(x - x.amax(list(dims), keepdim=True))
        return torch.logsumexp(x, list(dims)), parts / parts.sum(list(dims), keepdim=True)

    def log_softmax(self, node: Node, x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        value = torch.log_softmax(x, dim)
        return value, torch.exp(value)

    def amax(self, node: Node, x: Tensor, dims: Sequence[int]) -> tuple[Tensor, Tensor]:
        top = x.amax(list(dims), keepdim=True)
        greatest = (x == top).to(x)
        return top.squeeze(list(dims)), greatest / greatest.sum(list(dims), keepdim=True)

    def order(self, node: Node, x: Tensor, dim: int) -> Tensor:
        return x.argsort(dim=dim, stable=True)

    def mask(self, node: Node, x: Tensor) -> Tensor:
        return x != 0

    def step(self, node: Node, x: Sequence[Tensor]) -> Tensor:
        return KERNELS[node.op](node.attributes, x)

    def require(self, node: Node, adjoint: Tensor) -> None:
        """At a point there is no kink to be inside of."""

    def index(self, x: Tensor) -> Tensor:
        return x.long()


def _without(shape: Sequence[int], dim: int) -> list[int]:
    out = list(shape)
    out[dim] = 1
    return out


@final
class Dense:
    """J, its gradient and its Hessian at points of some parameters, the others as at capture.

    Computed on ``device``; points may lie anywhere, and what is asked at them comes back to where they lie.

    >>> from epigraph.objective.objective import Objective
    >>> J = Objective.from_function(lambda x, y: x * x * y, {"x": torch.tensor(1.0), "y": torch.tensor(2.0)})
    >>> Dense(J.graph()).at({"x": torch.tensor([1.0, 3.0]), "y": torch.tensor([2.0, 5.0])}).hessian.tolist()
    [[[4.0, 2.0], [2.0, 0.0]], [[10.0, 6.0], [6.0, 0.0]]]
    """

    def __init__(self, graph: Graph, active: Sequence[str] | None = None, device: torch.device | str = "cpu"):
        self.program, self.device = program(graph), torch.device(device)
        self.engine = Reals(self.device)
        nodes = self.program.parameter_nodes
        self.names = tuple(graph.parameters) if active is None else tuple(active)
        self.shapes = [tuple(graph.parameters[k].shape) for k in self.names]
        self.size = sum(torch.Size(s).numel() for s in self.shapes)
        self._nodes = [nodes.get(k) for k in self.names]
        fixed = {k: v.detach().to(self.device, torch.float64) for k, v in graph.parameters.items()}
        self._leaves = {n.id: _leaf(self.program, n, fixed, self.device) for n in self.program if not n.inputs}
        self.plan = self._by_samples()
        self.widest = max((n.numel for n, v in zip(self.program, self.program.depends(), strict=True) if v), default=1)
        self.numbers = (
            self.size * (self.widest + self.size) if self.plan is None else self.plan.numbers(self.widest, self.size)
        )

    def _by_samples(self) -> Plan | None:
        """How the Hessian is assembled sample by sample, where J allows it and it pays."""
        if self.size < APART:
            return None
        places, start = {}, 0
        for node, shape in zip(self._nodes, self.shapes, strict=True):
            count = torch.Size(shape).numel()
            if node is not None:
                places[node] = torch.arange(start, start + count, device=self.device).reshape(shape)
            start += count
        found = plan_of(self.engine, self.program, places, self._leaves)
        return found if found is not None and found.seeds <= SHARE * self.size else None

    def _marks(self) -> dict[int, object]:
        """What varies, where no tangents are needed."""
        return {i: MARK for i in self._nodes if i is not None}

    @functools.cached_property
    def _tangents(self) -> Mapping[int, Any]:
        return self._units() if self.plan is None else self._marks()

    def _units(self) -> dict[int, Tensor]:
        """The tangent of each active parameter: rows of the identity, [n, *shape]."""
        out, start = {}, 0
        for node, shape in zip(self._nodes, self.shapes, strict=True):
            count = torch.Size(shape).numel()
            if node is not None:
                unit = self.engine.zeros((self.size, count))
                unit[start : start + count].fill_diagonal_(1.0)
                out[node] = unit.reshape(self.size, *shape)
            start += count
        return out

    def at(self, points: Mapping[str, Tensor]) -> Jet:
        """At points [lanes, *shape] by name; cost n^2 times an evaluation for each lane."""
        return self._jet([points[k].detach() for k in self.names])

    def of(self, flat: Tensor) -> Jet:
        """At points given as rows [lanes, n], the parameters one after the other."""
        return self._jet(self._pieces(flat))

    def _jet(self, points: Sequence[Tensor]) -> Jet:
        lanes, home = points[0].shape[0], points[0].device
        if lanes == 0:
            shapes = (0,), (0, self.size), (0, self.size, self.size)
            return Jet(*(torch.zeros(s, dtype=torch.float64, device=home) for s in shapes))
        whole = self._here(points)
        step = max(1, MEMORY // max(1, self.numbers))
        parts = [self._some([t[i : i + step] for t in whole]) for i in range(0, lanes, step)]
        return Jet(*(torch.cat([getattr(p, f) for p in parts]).to(home) for f in ("value", "gradient", "hessian")))

    def slopes(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """J [lanes] and its gradient [lanes, n] at points given as rows, for a sweep forward and one back."""
        moving = self._moving(self._here(self._pieces(flat)))
        walk = Walk(self.engine, self.program, {**self._leaves, **moving}, self._marks())
        return self._value(walk, len(flat)).to(flat.device), self._gradient(walk, len(flat)).to(flat.device)

    def values(self, flat: Tensor) -> list[Tensor]:
        """The value of every node of the program at points [lanes, n]; those that do not vary have no leading axis."""
        moving = self._moving(self._here(self._pieces(flat)))
        found = Walk(self.engine, self.program, {**self._leaves, **moving}, {}).values
        return [v.to(flat.device) for v in found]

    def _pieces(self, flat: Tensor) -> list[Tensor]:
        """Rows as points by parameter."""
        pieces = flat.detach().split([torch.Size(s).numel() for s in self.shapes], dim=1)
        return [p.reshape(-1, *s) for p, s in zip(pieces, self.shapes, strict=True)]

    def _here(self, points: Sequence[Tensor]) -> list[Tensor]:
        return [p.to(self.device, torch.float64) for p in points]

    def _moving(self, points: Sequence[Tensor]) -> dict[int, Tensor]:
        return {i: t for i, t in zip(self._nodes, points, strict=True) if i is not None}

    def _some(self, points: Sequence[Tensor]) -> Jet:
        lanes, n = points[0].shape[0], self.size
        moving = self._moving(points)
        walk = Walk(self.engine, self.program, {**self._leaves, **moving}, self._tangents)
        output, gradient = self._value(walk, lanes), self._gradient(walk, lanes)
        hessian = (
            _assembled(walk, self.engine, lanes, n) if self.plan is None else by_samples(self.plan, walk, lanes, n)
        )
        return Jet(output, gradient, hessian)

    def _value(self, walk: Walk, lanes: int) -> Tensor:
        return walk.values[self.program.output].reshape(-1).expand(lanes)

    def _gradient(self, walk: Walk, lanes: int) -> Tensor:
        """From the adjoints, which the sweep back leaves in the walk."""
        walk.backward(torch.ones((), dtype=torch.float64, device=self.device))
        parts = [
            self.engine.zeros((lanes, torch.Size(s).numel()))
            if i is None or i not in walk.adjoints
            else walk.adjoints[i].expand(lanes, *s).reshape(lanes, -1)
            for i, s in zip(self._nodes, self.shapes, strict=True)
        ]
        return torch.cat(parts, 1)


def _assembled(walk: Walk, engine: Reals, lanes: int, n: int) -> Tensor:
    """The sum of the walk's terms: half of it is added up, then its transpose."""
    half, fixed = engine.zeros((lanes, n, n)), engine.zeros((n, n))
    for left, right, kind in walk.terms():
        weight = kind / 2 if kind != 2 else 1.0
        if left.ndim == right.ndim == 3:
            half.baddbmm_(left, right.mT, alpha=weight)
        elif left.ndim == right.ndim == 2:
            fixed.addmm_(left, right.mT, alpha=weight)
        else:  # the transpose of a term adds the same
            some, same = (left, right) if left.ndim == 3 else (right, left)
            rows = some.reshape(lanes * n, -1)
            half.view(lanes * n, n).addmm_(rows, same.mT, alpha=weight)
    half += fixed
    return half + half.mT


def _leaf(graph: Graph, node: Node, fixed: Mapping[str, Tensor], device: torch.device) -> Tensor:
    if node.op == "parameter":
        return fixed[node.attributes["name"]]
    if "value" in node.attributes:
        return torch.tensor(number(node.attributes["value"]), dtype=torch.float64, device=device)
    leaf = graph.tensors[node.attributes["tensor"]]
    return leaf.tensor.to(device) if leaf.role == "index" else leaf.tensor.detach().to(device, torch.float64)
