r"""The Hessian of a sum over samples, from what each sample sees of the parameters.

Rows of a node that belong to one sample depend on the parameters through few numbers, the *seeds* of that sample: entries
of u = W x + b for each layer, with x the sample's own input of the layer.  With M the second derivative of J in the seeds of
one sample, and x_g the inputs of the layer g,

    d^2 J / dW_g[j, k] dW_h[l, m]   =   sum over samples of M[(g, j), (h, l)] x_g[k] x_h[m],

and the terms of the products W x beside it.  With n parameters and N samples these are some n^2 N operations; with the
tangents of all parameters (``assemble.py``) they are n^2 N times the number of units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from epigraph.hessian.assemble import Walk
from epigraph.hessian.linear import Linear
from epigraph.hessian.operators import OPERATORS
from epigraph.hessian.rows import MOVES, Plan, Role
from epigraph.objective.graph import Node

Source = tuple[Tensor, Tensor | None]  # which parameters [k, seeds], and their factors [lanes, N, k] or ones


@final
@dataclass
class Rows:
    """How a node's rows depend on the seeds: tangents [lanes, seeds, N, ...] by group of seeds; ``fresh`` is not yet one.

    A sum of products of data and parameters is kept as its sources until something else than a sum is made of it.
    """

    tangents: dict[int, Tensor] = field(default_factory=dict)
    fresh: list[Source] = field(default_factory=list)


def hessian(plan: Plan, walk: Walk, lanes: int, size: int) -> Tensor:
    """The Hessian [lanes, size, size] of a walk that has gone back; its tangents need no entries."""
    return _Assembly(plan, walk, lanes, size).run()


@final
class _Assembly:
    def __init__(self, plan: Plan, walk: Walk, lanes: int, size: int):
        self.plan, self.walk, self.e = plan, walk, walk.e
        self.half = self.e.zeros((lanes, size, size))  # H is this and its transpose
        self.lanes = lanes
        self.factors: dict[int, Tensor] = {}
        self.rows: dict[int, Rows] = {}
        self.groups: list[tuple[Tensor, Tensor]] = []  # of seeds: parameters [k, seeds], factors [lanes or 1, N, k]
        self.curvature: dict[tuple[int, int], Tensor] = {}  # [lanes, N, seeds, seeds] by groups

    def run(self) -> Tensor:
        for node in self.walk.graph:
            role = self.plan.roles[node.id]
            if role is Role.weights:
                self._weights(node)
            elif role is Role.samples:
                self.rows[node.id] = self._samples(node)
            if node.op == "mul":
                self._of_two_weights(node)
        for (g, h), M in self.curvature.items():
            self._spread(g, h, M)
        return self.half + self.half.mT

    # weights ------------------------------------------------------------------------------------------------------
    def _weights(self, node: Node) -> None:
        """d node / d parameter, entry by entry, and the second derivative of an elementwise function."""
        moving = [i for i in node.inputs if self.plan.roles[i] is Role.weights]
        values, factors = self.walk.values, self.factors
        if not moving:
            factors[node.id] = self.e.zeros(node.shape) + 1
        elif node.op in MOVES:
            shapes = [self.walk.graph[moving[0]].shape]
            factors[node.id] = OPERATORS[node.op].value(self.e, node, [factors[moving[0]]], shapes)[0]
        elif node.op == "neg":
            factors[node.id] = -factors[moving[0]]
        elif node.op == "add":
            factors[node.id] = torch.stack([factors[i].expand(values[node.id].shape) for i in moving]).sum(0)
        elif node.op == "mul":
            a, b = node.inputs
            parts = [factors[i] * values[j] for i, j in ((a, b), (b, a)) if i in factors]
            factors[node.id] = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        else:
            first, second = self.walk.memory[node.id]
            before = factors[moving[0]]
            factors[node.id] = first * before
            if node.id in self.walk.adjoints:
                index = self.plan.index[node.id]
                self._entries(index, index, 0.5 * self.walk.adjoints[node.id] * second * before * before)

    def _of_two_weights(self, node: Node) -> None:
        if all(i in self.factors for i in node.inputs) and node.id in self.walk.adjoints:
            a, b = node.inputs
            both = self.walk.adjoints[node.id] * self.factors[a] * self.factors[b]
            self._entries(self.plan.index[a], self.plan.index[b], both)

    def _entries(self, row: Tensor, column: Tensor, value: Tensor) -> None:
        """Numbers added at single entries."""
        n = self.half.shape[-1]
        place = (row * n + column).reshape(-1)
        flat = value.expand(self.lanes, *row.shape).reshape(self.lanes, -1)
        self.half.view(self.lanes, -1).index_add_(1, place, flat)

    # samples ------------------------------------------------------------------------------------------------------
    def _samples(self, node: Node) -> Rows:
        if node.op == "matmul" and self.plan.roles[node.inputs[1]] is Role.weights:
            return self._entering(node)
        if node.op == "add":
            return self._sum([self._read(i) for i in node.inputs])
        operands = [self._seeded(i) for i in node.inputs]
        i = node.inputs
        x, shapes = [self.walk.values[k] for k in i], [self.walk.graph[k].shape for k in i]
        out: dict[int, Tensor] = {}
        for g in sorted({g for o in operands for g in o}):
            dx = [o.get(g) for o in operands]
            out[g] = OPERATORS[node.op].tangent(self.e, node, x, dx, self.walk.memory[node.id], shapes)
        self._second(node, x, operands)
        return Rows(out)

    def _read(self, i: int) -> Rows:
        """An operand; parameters that are the same for every sample are factors of one."""
        if self.plan.roles[i] is Role.weights:
            return Rows({}, [(self.plan.index[i][:1].reshape(1, -1), None)])
        return self.rows.get(i, Rows())

    def _seeded(self, i: int) -> dict[int, Tensor]:
        """The tangents of an operand, with a group of seeds made of its sources."""
        rows = self._read(i)
        if not rows.fresh:
            return rows.tangents
        shape = self.walk.graph[i].shape
        index = torch.cat([k for k, _ in rows.fresh])
        ones = self.e.zeros((1, shape[0], 1)) + 1
        parts = [ones if x is None else x for _, x in rows.fresh]
        lead = max(len(p) for p in parts)
        self.groups.append((index, torch.cat([p.expand(lead, -1, -1) for p in parts], -1)))
        count = index.shape[1]
        unit = self.e.zeros((count, count)).fill_diagonal_(1.0).reshape(count, 1, *shape[1:]).expand(count, *shape)
        self.rows[i] = Rows({**rows.tangents, len(self.groups) - 1: unit})
        return self.rows[i].tangents

    @staticmethod
    def _sum(operands: Sequence[Rows]) -> Rows:
        out = Rows(dict(operands[0].tangents), [*operands[0].fresh, *operands[1].fresh])
        for g, d in operands[1].tangents.items():
            out.tangents[g] = out.tangents[g] + d if g in out.tangents else d
        return out

    def _entering(self, node: Node) -> Rows:
        """x W: new seeds, old ones carried through W, and the term <g, dx dW>."""
        data, weights = node.inputs
        x, index = self.walk.values[data], self.plan.index[weights]
        tangents = self._seeded(data)
        g = self.walk.adjoints.get(node.id)
        if g is not None:
            for h, d in tangents.items():
                self._cross(index, g.expand(self.lanes, *node.shape), h, d)
        W = self.walk.values[weights].unsqueeze(-3)
        return Rows({h: d @ W for h, d in tangents.items()}, [(index, x if x.ndim == 3 else x[None])])

    def _cross(self, index: Tensor, g: Tensor, h: int, d: Tensor) -> None:
        """sum over samples of g_j dx_k / du x_h, for the parameters W_kj and those of the group h, seed by seed."""
        columns, factors = self.groups[h]
        for u in range(columns.shape[1]):
            dx = d[..., u, :, :]
            live = dx.reshape(-1, dx.shape[-1]).abs().amax(0).nonzero()[:, 0]  # most seeds reach one unit only
            if len(live) == 0:
                continue
            pair = (dx[..., live].unsqueeze(-1) * g.unsqueeze(-2)).flatten(-2)
            self._block(index[live].reshape(-1), columns[:, u], pair.mT @ factors)

    def _second(self, node: Node, x: Sequence[Tensor], operands: Sequence[dict[int, Tensor]]) -> None:
        """The node's own term, as a matrix over the seeds of each sample."""
        g = self.walk.adjoints.get(node.id)
        if g is None or isinstance(OPERATORS[node.op], Linear):
            return
        groups = sorted({k for o in operands for k in o})
        counts = [self.groups[k][0].shape[1] for k in groups]
        dx = [self._stacked(o, groups, counts, i) for o, i in zip(operands, node.inputs, strict=True)]
        for left, right, kind in OPERATORS[node.op].second(self.e, node, x, dx, g, self.walk.memory[node.id]):
            a, b = (_by_sample(t, self.plan.samples) for t in (left, right))
            M = a @ b.mT
            M = M + M.mT if kind == 2 else M * kind
            parts = [rows.split(counts, -1) for rows in M.split(counts, -2)]
            for i, k in enumerate(groups):
                for j, m in enumerate(groups[i:], i):
                    known = self.curvature.get((k, m))
                    self.curvature[k, m] = parts[i][j] if known is None else known + parts[i][j]

    def _stacked(self, o: dict[int, Tensor], groups: Sequence[int], counts: Sequence[int], i: int) -> Tensor | None:
        """The tangents of one operand in all these groups, one after the other."""
        if not o:
            return None
        shape = self.walk.graph[i].shape
        blank: list[Tensor] = [self.e.zeros((1,)).expand(c, *shape) for c in counts]
        parts = [o.get(k, b) for k, b in zip(groups, blank, strict=True)]
        lead = torch.broadcast_shapes(*(p.shape[: p.ndim - len(shape) - 1] for p in parts))
        return torch.cat([p.expand(*lead, *p.shape[p.ndim - len(shape) - 1 :]) for p in parts], len(lead))

    # together -----------------------------------------------------------------------------------------------------
    def _spread(self, g: int, h: int, M: Tensor) -> None:
        """sum over samples of M[j, l] x_g x_h^T, one seed j after the other; of a group with itself from j on."""
        (rows, left), (columns, right) = self.groups[g], self.groups[h]
        M = M.expand(self.lanes, *M.shape[-3:])
        for j in range(rows.shape[1]):
            first = j if g == h else 0
            part = M[..., j, first:]
            if g == h:
                part = torch.cat([part[..., :1] / 2, part[..., 1:]], -1)
            weighted = (part.unsqueeze(-1) * right.unsqueeze(-2)).flatten(-2)
            self._block(rows[:, j], columns[:, first:].mT.reshape(-1), left.mT @ weighted)

    def _block(self, rows: Tensor, columns: Tensor, value: Tensor) -> None:
        self.half[:, rows[:, None], columns[None, :]] += value


def _by_sample(x: Tensor, samples: int) -> Tensor:
    """[..., seeds, entries] as [..., N, seeds, entries of a sample]."""
    return x.reshape(*x.shape[:-1], samples, -1).movedim(-2, -3)
