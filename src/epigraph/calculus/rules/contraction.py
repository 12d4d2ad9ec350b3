"""matmul and convolution: sums of products."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from epigraph.calculus import interval as iv
from epigraph.calculus.interval import Interval
from epigraph.calculus.lattice import AFFINE, CONCAVE, CONVEX, LOGCONVEX, ROOTCONVEX, Bits, Facts, uniform
from epigraph.calculus.rule import Rule, Shapes, register
from epigraph.objective.graph import Node

KEPT = CONVEX | CONCAVE | LOGCONVEX | ROOTCONVEX


def _uniform_claims(varying: Facts, factor: Interval) -> int:
    """Claims of sums c_j f_j that follow from the claims all f_j share and one sign for all c_j."""
    bits = uniform(varying.bits)
    low, high = factor.hull
    out = bits & AFFINE if bits & AFFINE == AFFINE else 0
    if low >= 0:
        out |= bits & KEPT
    if high <= 0:
        out |= ((bits & CONVEX) << 1) | ((bits & CONCAVE) >> 1)
    return out


class Contraction(Rule):
    """Bilinear: affine in each operand while the other is constant, and with a nonnegative constant it keeps convexity

    and concavity (weights of one sign, as in input-convex networks); with both varying nothing is kept, except that
    sums of products of log-convex functions are log-convex.
    """

    lemma = "a nonnegative combination of convex functions is convex"

    def claims(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> Bits:
        if x[0].varies and x[1].varies:
            return LOGCONVEX if x[0].has(LOGCONVEX) and x[1].has(LOGCONVEX) else 0
        varying, factor = (x[0], x[1]) if x[0].varies else (x[1], x[0])
        simple = _uniform_claims(varying, factor.interval)
        if simple & AFFINE or (uniform(varying.bits) & AFFINE == 0 and isinstance(varying.bits, int)):
            return simple
        return self._mixed(node, x, shapes)

    def _mixed(self, node: Node, x: Sequence[Facts], shapes: Shapes) -> Bits:
        """Count, for each result, the terms that spoil convexity and those that spoil concavity."""
        first = x[0].varies
        varying, factor = (x[0], x[1]) if first else (x[1], x[0])
        bits = np.broadcast_to(np.asarray(varying.bits, dtype=np.uint8), shapes[0 if first else 1])
        low, high = factor.interval.arrays(shapes[1 if first else 0])
        positive, negative = (high > 0).astype(np.float32), (low < 0).astype(np.float32)
        bad_convex = ((bits & CONVEX) == 0).astype(np.float32)
        bad_concave = ((bits & CONCAVE) == 0).astype(np.float32)

        def count(b: NDArray, f: NDArray) -> NDArray:
            return self.product(node, b, f) if first else self.product(node, f, b)

        spoilt_convex = count(bad_convex, positive) + count(bad_concave, negative)
        spoilt_concave = count(bad_concave, positive) + count(bad_convex, negative)
        out = np.where(spoilt_convex == 0, CONVEX, 0) | np.where(spoilt_concave == 0, CONCAVE, 0)
        return out.astype(np.uint8)

    def product(self, node: Node, a: NDArray, b: NDArray) -> NDArray:
        raise NotImplementedError

    def degree(self, node: Node, x: Sequence[Facts]) -> int:
        return -1 if min(x[0].degree, x[1].degree) < 0 else x[0].degree + x[1].degree

    def reason(self, node: Node, x: Sequence[Facts]) -> str:
        if x[0].varies and x[1].varies:
            return "both operands depend on the parameters: a product of two varying factors has no fixed curvature"
        return "weights of both signs, or free to take both, combine functions that are not affine"


@register("matmul")
@final
class Matmul(Contraction):
    """Matrix products [BV04 3.2.2]."""

    def interval(self, node: Node, x: Sequence[Interval], shapes: Shapes) -> Interval:
        return iv.product_bounds(x[0], x[1], shapes)

    def product(self, node: Node, a: NDArray, b: NDArray) -> NDArray:
        return a @ b


@register("convolution")
@final
class Convolution(Contraction):
    """Cross-correlation: each result is a sum of products of entries [BV04 3.2.2]."""

    def interval(self, node: Node, x: Sequence[Interval], shapes: Shapes) -> Interval:
        return iv.bounded_sum(x[0], x[1], math.prod(shapes[1][1:]))

    def product(self, node: Node, a: NDArray, b: NDArray) -> NDArray:
        import torch

        from epigraph.objective.evaluate import KERNELS

        operands = [torch.from_numpy(np.ascontiguousarray(v)) for v in (a, b)]
        return KERNELS["convolution"](node.attributes, operands).numpy()
