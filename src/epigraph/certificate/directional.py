"""Second derivatives of J along directions, enclosed in balls: u' H w without H, at the cost of a few evaluations of J."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from flint import arb, ctx

from epigraph.certificate import budget, exact
from epigraph.certificate.balls import lift
from epigraph.certificate.budget import Cost
from epigraph.certificate.chainrule import ChainRule, curved
from epigraph.certificate.graph import Node, Program
from epigraph.certificate.schedule import Schedule, schedule
from epigraph.certificate.secondvalues import Second

Direction = Mapping[str, np.ndarray]  # integers by key of the parameter's tensor; what is absent does not move
ORDER = 3  # terms of a power series


@final
@dataclass(frozen=True)
class Derivatives:
    """J at the point and its second derivative for each pair; ``obstacle`` is a node that has none, and why."""

    value: arb
    seconds: tuple[arb, ...]
    obstacle: tuple[str, str] | None

    @property
    def finite(self) -> bool:
        """Is J twice continuously differentiable around the point, with all of these known?"""
        return self.value.is_finite() and all(s.is_finite() for s in self.seconds)

    @property
    def why(self) -> str | None:
        """The obstacle in words."""
        return None if self.obstacle is None else " ".join(self.obstacle)


def derivatives(
    program: Program,
    tensors: Mapping[str, np.ndarray],
    active: set[str],
    directions: Sequence[Direction],
    pairs: Sequence[tuple[int, int]],
    bits: int,
) -> Derivatives:
    """u' H w for pairs (u, w) of directions, with H the Hessian in the parameters whose tensors have the keys ``active``.

    The result is finite only where J has continuous second derivatives around the point in all of them.
    """
    plan = schedule(program, active)
    cap = ctx.cap
    try:
        ctx.cap = ORDER
        with ctx.workprec(bits):
            return _run(program, tensors, directions, ChainRule(program, tensors, pairs, plan.moving), plan, len(pairs))
    finally:
        ctx.cap = cap


def cost(program: Program, active: set[str], directions: int, pairs: int, bits: int) -> Cost:
    """What ``derivatives`` takes, from shapes alone."""
    plan = schedule(program, active)
    seconds = sum(budget.node_seconds(program, program.nodes[p], bits) for p in plan.shared)
    for position in plan.moving:
        node = program.nodes[position]
        if curved(node.op):
            seconds += 1e-6 * node.numel * (12.0 + 0.4 * directions + 1.2 * pairs) * max(1.0, bits / 256) ** 1.5
        else:
            seconds += (1 + directions + 2 * pairs) * budget.node_seconds(program, node, bits)
    entry = (budget.BALL_BYTES + max(0, bits - 128) // 8) * (2.0 + directions + pairs)
    return Cost(seconds, budget.peak(program, plan, [entry] * len(program.nodes)))


def _run(
    program: Program,
    tensors: Mapping[str, np.ndarray],
    directions: Sequence[Direction],
    engine: ChainRule,
    plan: Schedule,
    pairs: int,
) -> Derivatives:
    shared: dict[int, Any] = {}
    for position in plan.shared:
        shared[position] = exact.value_of(engine.balls, program, position, tensors, {}, shared, {})
        for done in plan.free_shared.get(position, ()):
            del shared[done]
    local: dict[int, Second] = {}
    for position in plan.moving:
        node = program.nodes[position]
        operands = [local[i] if i in local else Second(shared[i]) for i in node.operands]
        local[position] = engine.apply(node, operands) if operands else _leaf(node, tensors, directions)
        for table, kept in ((plan.free_moving, local), (plan.free_last, shared)):
            for done in table.get(position, ()):
                del kept[done]
    found = local[program.output] if program.output in local else Second(shared[program.output])
    seconds = [arb(0)] * pairs if found.second is None else found.second.reshape(-1).tolist()
    return Derivatives(lift(found.value).reshape(-1)[0], tuple(seconds), engine.obstacle)


def _leaf(node: Node, tensors: Mapping[str, np.ndarray], directions: Sequence[Direction]) -> Second:
    key = node.attributes["tensor"]
    if not any(key in d for d in directions):
        return Second(tensors[key])
    still = np.zeros(node.shape, np.int64)
    return Second(tensors[key], np.stack([lift(d.get(key, still)) for d in directions]))
