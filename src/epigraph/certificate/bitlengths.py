"""What an evaluation in rational numbers will cost: bounds on the bit lengths, from the data and the graph.

Denominators are followed exactly as far as the graph determines them; an integer that may pass ``BIT_LIMIT`` makes the
cost infinite, so that repeated squaring is refused instead of evaluated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from flint import fmpq, fmpz

from epigraph.certificate.budget import Cost, inputs, padded, peak, products
from epigraph.certificate.graph import Node, Program
from epigraph.certificate.layout import LAYOUT
from epigraph.certificate.points import Delta, Dyadic, dyadic, moved
from epigraph.certificate.schedule import schedule

BIT_LIMIT = 200_000
ONE = fmpz(1)


@final
@dataclass(frozen=True)
class Size:
    """Bounds for one tensor: |integers| < 2^bits; the denominator where it is known, and a bound on its bit length."""

    bits: int
    denominator: fmpz | None
    denominator_bits: int


class _TooLarge(Exception):
    pass


def exact(
    program: Program, tensors: Mapping[str, np.ndarray], points: Sequence[Mapping[str, Delta]], most: float = math.inf
) -> Cost:
    """The cost in rational arithmetic, from bounds on the bit lengths.

    Infinite where integers pass BIT_LIMIT, or once the seconds pass ``most``.
    """
    plan = schedule(program, {key for point in points for key in point})
    sizes: dict[int, Size] = {}
    seconds = 0.0
    try:
        for repeats, order in ((1, plan.shared), (len(points), plan.moving)):
            for position in order:
                sizes[position] = _size(program, position, sizes, tensors, points)
                seconds += repeats * _exact_seconds(program, position, sizes)
                if max(sizes[position].bits, sizes[position].denominator_bits) > BIT_LIMIT or seconds > most:
                    return Cost(math.inf, math.inf)
    except _TooLarge:
        return Cost(math.inf, math.inf)
    entry = [64.0 + sizes[p].bits / 8 if p in sizes else 0.0 for p in range(len(program.nodes))]
    return Cost(seconds, peak(program, plan, entry))


def _leaf_size(key: str, tensors: Mapping[str, np.ndarray], points: Sequence[Mapping[str, Delta]]) -> Size:
    found = [point[key] for point in points if key in point]
    bits = shift = 0
    for value in (tensors[key], *(moved(tensors[key], d) for d in found)):
        numbers = value if isinstance(value, Dyadic) else dyadic(value)
        top = (
            max((abs(int(m)) for m in (numbers.mantissas.max(), numbers.mantissas.min())), default=0)
            if numbers.mantissas.size
            else 0
        )
        bits = max(bits, top.bit_length() + max(0, numbers.exponent))
        shift = max(shift, -numbers.exponent)
    return Size(bits + 1, ONE << shift, shift + 1)


def _common(*sizes: Size) -> Size:
    """Bounds after bringing tensors over their least common denominator."""
    known = [s.denominator for s in sizes if s.denominator is not None]
    if len(known) == len(sizes):
        joint = ONE
        for denominator in known:
            joint = joint.lcm(denominator)
        bits = max(s.bits + (joint // d).bit_length() for s, d in zip(sizes, known, strict=True))
        return Size(bits, joint, joint.bit_length())
    total = sum(s.denominator_bits for s in sizes)
    return Size(max(s.bits + total - s.denominator_bits for s in sizes), None, total)


def _times(x: Size, y: Size, extra: int = 0) -> Size:
    joint = None if x.denominator is None or y.denominator is None else x.denominator * y.denominator
    return Size(x.bits + y.bits + extra, joint, x.denominator_bits + y.denominator_bits)


def _size(
    program: Program,
    position: int,
    sizes: Mapping[int, Size],
    tensors: Mapping[str, np.ndarray],
    points: Sequence[Mapping[str, Delta]],
) -> Size:
    node = program.nodes[position]
    a = node.attributes
    if "value" in a:
        return Size(a["value"].p.bit_length(), a["value"].q, a["value"].q.bit_length())
    if node.op in ("parameter", "constant"):
        return _leaf_size(a["tensor"], tensors, points)
    x, *rest = (sizes[i] for i in node.operands)
    if node.op in ("add", "maximum", "concat"):
        both = _common(x, *rest)
        return Size(both.bits + 1, both.denominator, both.denominator_bits)
    if node.op == "where":
        return _common(*rest)
    if node.op in ("mul", "matmul", "convolution"):
        found = products(program, node)
        return _times(x, rest[0], 0 if found is None else found[2].bit_length())
    if node.op in ("compare", "sign"):
        return Size(1, ONE, 1)
    if node.op == "floor":
        return Size(x.bits, ONE, 1)
    if node.op == "sum":
        return Size(x.bits + program.nodes[node.inputs[0]].numel.bit_length(), x.denominator, x.denominator_bits)
    if node.op == "div":
        return _quotient(program, node, x, rest[0])
    if node.op == "det":
        return _determinant(program.nodes[node.inputs[0]].shape[-1], x)
    if node.op == "power":
        return _power(node.numel, int(a["exponent"].p), x)
    if node.op == "piecewise":
        return _polynomial(a["pieces"], x)
    return x  # layout, neg, abs, relu, amax


def _quotient(program: Program, node: Node, x: Size, y: Size) -> Size:
    divisor = program.nodes[node.inputs[1]].attributes.get("value")
    if divisor is not None and divisor != 0 and x.denominator is not None:
        p, q = abs(divisor.p), divisor.q
        return Size(x.bits + p.bit_length() + q.bit_length(), x.denominator * p, (x.denominator * p).bit_length())
    common = y.bits * program.nodes[node.inputs[1]].numel
    return Size(x.bits + common + y.denominator_bits, None, x.denominator_bits + common)


def _determinant(size: int, x: Size) -> Size:
    """Hadamard: at most n^(n/2) times the n-th power of the largest entry."""
    if size * max(x.bits + size.bit_length(), x.denominator_bits, 1) > BIT_LIMIT:
        raise _TooLarge
    known = None if x.denominator is None else x.denominator**size
    return Size(size * (x.bits + size.bit_length()), known, size * x.denominator_bits)


def _power(numel: int, exponent: int, x: Size) -> Size:
    e = abs(exponent)
    if e * max(x.bits, x.denominator_bits, 1) > BIT_LIMIT:
        raise _TooLarge
    known = None if x.denominator is None else x.denominator**e
    plain = Size(e * x.bits + 1, known, e * x.denominator_bits)
    if exponent >= 0:
        return plain
    common = plain.bits * numel
    return Size(common + plain.denominator_bits, None, common)


def _polynomial(pieces: Sequence[Sequence[fmpq]], x: Size) -> Size:
    scale = ONE
    for coefficient in (c for piece in pieces for c in piece):
        scale = scale.lcm(coefficient.q)
        if scale.bit_length() > BIT_LIMIT:
            raise _TooLarge
    top = max(abs(c.p).bit_length() for piece in pieces for c in piece) + scale.bit_length()
    bits = top + 2 * max(x.bits, x.denominator_bits) + 2
    if x.denominator is None:
        return Size(bits, None, scale.bit_length() + 2 * x.denominator_bits)
    joint = scale * x.denominator**2
    return Size(bits, joint, joint.bit_length())


def _exact_seconds(program: Program, position: int, sizes: Mapping[int, Size]) -> float:
    """Schoolbook multiplication below 2^11 bits, and never better than n^1.5 in the estimate."""
    node = program.nodes[position]
    words = 1 + sizes[position].bits / 64
    found = products(program, node)
    if found is not None:
        count, rows, inner, columns = found
        left, right = (sizes[i] for i in node.operands)
        limbs = (left.bits + right.bits) / 64
        macs, entries = count * rows * inner * columns, count * (inner * (rows + columns) + rows * columns)
        each = 1.5 * limbs + 0.5 * min(left.bits, right.bits) / 64 * limbs
        held = 0.05e-6 * padded(program, node) if node.op == "convolution" else 0.0
        return 2e-5 * count + 1e-9 * macs * each + 1e-6 * entries * (0.5 + 0.05 * words**1.5) + held
    if node.op == "det":
        size = inputs(program, node)[0].shape[-1]
        return 5e-6 + 1e-6 * node.numel * size**3 * (0.3 + 0.02 * words**1.5)
    entries = max([node.numel, *(n.numel for n in inputs(program, node))])
    if node.op in LAYOUT or node.op in ("take", "concat", "constant", "parameter"):
        return 5e-6 + 0.1e-6 * entries * (1 + 0.01 * words)
    heavy = node.op in ("mul", "div", "power", "piecewise")
    factor = 0.3 + (0.02 * words**1.5 if heavy else 0.02 * words)
    if node.op == "piecewise":
        factor *= 3 + len(node.attributes["pieces"])
    if node.op == "div":
        factor += 0.1 * words**2
    return 5e-6 + 1e-6 * entries * factor
