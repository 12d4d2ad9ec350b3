"""What an evaluation will cost, from shapes alone, before it starts: seconds on one core and bytes at the peak.

The figures per operation were measured with FLINT 3.6 on one core and rounded up; they are meant to be right within
a factor of two or three on ordinary graphs and never far too low, since they are what refuses a hostile file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from epigraph.certificate.codes import refuse
from epigraph.certificate.graph import Node, Program
from epigraph.certificate.layout import LAYOUT
from epigraph.certificate.schedule import Schedule, schedule

DEFAULT_SECONDS = 600.0
DEFAULT_BYTES = 4 * 2**30
BALL_BYTES = 120
ENTRY_BYTES = 64  # an entry of a matrix of balls
BLOCK_BYTES = 500_000_000  # temporary matrices of one block

# microseconds for each entry of the value, balls up to 256 bits
_MICROSECONDS = {
    "add": 0.15,
    "mul": 0.4,
    "neg": 0.15,
    "div": 0.9,
    "maximum": 0.5,
    "compare": 0.6,
    "where": 0.6,
    "abs": 0.4,
    "relu": 0.4,
    "sign": 0.4,
    "floor": 1.2,
    "exp": 0.8,
    "log": 1.2,
    "sqrt": 0.8,
    "power": 3.0,
    "sigmoid": 1.8,
    "tanh": 1.2,
    "softplus": 2.0,
    "erf": 4.0,
    "log_ndtr": 6.0,
    "sin": 1.2,
    "cos": 1.2,
    "atan": 1.2,
    "xlogx": 2.0,
    "silu": 2.5,
    "gelu": 5.0,
    "mish": 3.0,
    "elu": 1.5,
    "piecewise": 2.0,
    "convolution": 0.4,
    "matmul": 0.4,
}
_PER_INPUT_ENTRY = {
    "sum": 0.15,
    "amax": 0.4,
    "logsumexp": 1.5,
    "log_softmax": 1.8,
    "sort": 4.0,
    "eigvalsh": 40.0,
    "svdvals": 40.0,
    "det": 2.0,
}
_TRANSCENDENTAL = frozenset(
    "exp log sigmoid tanh softplus erf log_ndtr sin cos atan xlogx silu gelu mish elu logsumexp log_softmax".split()
)
_PRODUCTS = frozenset(("mul", "div", "power", "piecewise"))
_LIFT = 0.2


@final
@dataclass(frozen=True)
class Cost:
    """Estimated seconds on one core and bytes at the peak."""

    seconds: float
    bytes: float

    def fits(self, seconds: float, size: float) -> bool:
        return self.seconds <= seconds and self.bytes <= size


def require(cost: Cost, limit: Cost) -> None:
    """Refuse with E430 where the cost is over the limit."""
    if cost.seconds > limit.seconds:
        needed = "far too much time" if math.isinf(cost.seconds) else f"about {cost.seconds:,.0f} s"
        wanted = "" if math.isinf(cost.seconds) else f" {math.ceil(1.2 * cost.seconds)}"
        refuse(
            "E430",
            f"the check needs {needed}, the budget is {limit.seconds:,.0f} s",
            hint=f"epigraph verify FILE --budget{wanted or ' SECONDS'}",
        )
    if cost.bytes > limit.bytes:
        needed = "far too much memory" if math.isinf(cost.bytes) else f"about {cost.bytes / 2**20:,.0f} MiB of memory"
        refuse(
            "E430",
            f"the check needs {needed}, the budget is {limit.bytes / 2**20:,.0f} MiB",
            hint="raise the memory budget (budget_bytes) if you trust the source of the file",
        )


def inputs(program: Program, node: Node) -> list[Node]:
    return [program.nodes[i] for i in node.inputs]


def products(program: Program, node: Node) -> tuple[int, int, int, int] | None:
    """For a matmul or a convolution: how many matrix products, and their rows, inner size and columns."""
    if node.op == "matmul":
        left, right = inputs(program, node)
        if math.prod(right.shape[:-2]) == 1:
            return 1, math.prod(node.shape[:-1]), left.shape[-1], right.shape[-1]
        return math.prod(node.shape[:-2]), left.shape[-2], left.shape[-1], right.shape[-1]
    if node.op == "convolution":
        _, w = inputs(program, node)
        groups = node.attributes["groups"]
        return groups, node.shape[0] * math.prod(node.shape[2:]), math.prod(w.shape[1:]), w.shape[0] // groups
    return None


def padded(program: Program, node: Node) -> int:
    """Entries of the padded input of a convolution."""
    x, _ = inputs(program, node)
    return (
        x.shape[0]
        * x.shape[1]
        * math.prod(s + 2 * p for s, p in zip(x.shape[2:], node.attributes["padding"], strict=True))
    )


def node_seconds(program: Program, node: Node, bits: int) -> float:
    """Seconds for the value of one node in balls."""
    wide = max(1.0, bits / 256)
    if node.op in LAYOUT or node.op in ("take", "concat", "constant", "parameter"):
        return 5e-6 + 0.03e-6 * node.numel
    found = products(program, node)
    if found is not None:
        return _product_seconds(found, wide) + (0.05e-6 * padded(program, node) if node.op == "convolution" else 0.0)
    operands = inputs(program, node)
    entries = node.numel
    micro = _MICROSECONDS.get(node.op)
    if micro is None:
        micro, entries = _PER_INPUT_ENTRY[node.op], operands[0].numel
    if node.op in ("eigvalsh", "svdvals", "det"):
        micro *= max(1.0, max(operands[0].shape[-2:]) / 8)
    if node.op == "piecewise":
        micro += 0.8 * len(node.attributes["pieces"])
    if node.op == "power":
        micro += 0.6 * int(node.attributes["exponent"].p).bit_length() * wide
    growth = wide**1.5 if node.op in _TRANSCENDENTAL else wide if node.op in _PRODUCTS else wide**0.6
    lifts = sum(o.numel for o in operands if o.op in ("parameter", "constant"))
    return 5e-6 + 1e-6 * (micro * growth * entries + _LIFT * lifts)


def _product_seconds(found: tuple[int, int, int, int], wide: float) -> float:
    """Seconds of matrix products of balls; a product with few rows pays for the conversion of the larger factor."""
    count, rows, inner, columns = found
    few, many = sorted((rows, columns))
    nanoseconds = (6.0 + 300.0 / max(1, few)) if many * few > 100 else 15.0
    macs, entries = count * rows * inner * columns, count * inner * (rows + columns)
    return 4e-5 * count + 1e-9 * macs * min(nanoseconds, 40.0) * wide**1.6 + 1e-6 * entries * (0.4 + 0.1 * wide)


def balls(program: Program, moving: set[str], points: int, bits: int) -> Cost:
    """The cost of an evaluation in balls at ``bits``, when the tensors ``moving`` differ between ``points`` points."""
    plan = schedule(program, moving)
    seconds = sum(node_seconds(program, program.nodes[p], bits) for p in plan.shared)
    seconds += points * sum(node_seconds(program, program.nodes[p], bits) for p in plan.moving)
    each = BALL_BYTES + max(0, bits - 128) // 8
    return Cost(seconds, peak(program, plan, [float(each)] * len(program.nodes)))


def peak(program: Program, plan: Schedule, entry_bytes: Sequence[float]) -> float:
    """Bytes alive at the worst moment: values until they are freed, lifted operands, and temporary matrices."""
    objects: dict[int, int] = {}
    size: dict[int, float] = {}
    alive = most = 0.0
    for order, free in ((plan.shared, plan.free_shared), (plan.moving, plan.free_moving)):
        for position in order:
            node = program.nodes[position]
            sources = sum(objects[i] for i in node.operands)
            moves = node.op in LAYOUT or node.op == "take"
            objects[position] = sources if moves else node.numel
            size[position] = 8.0 * node.numel + entry_bytes[position] * objects[position]
            lifted = sum(program.nodes[i].numel for i in node.operands) * entry_bytes[position]
            alive += size[position]
            most = max(most, alive + lifted + _temporary(program, node, entry_bytes[position]))
            for done in free.get(position, ()):
                alive -= size.pop(done)
    return most


def _temporary(program: Program, node: Node, entry: float) -> float:
    found = products(program, node)
    if found is None:
        return 0.0
    _, rows, inner, columns = found
    total = (inner * (rows + columns) + rows * columns) * (ENTRY_BYTES + 40.0 + max(0.0, entry - BALL_BYTES))
    factor = inner * columns * 2.5 * entry
    held = padded(program, node) * 8.0 if node.op == "convolution" else 0.0
    return min(total * 2, BLOCK_BYTES * max(1.0, entry / BALL_BYTES) + factor) + held
