"""Is J convex on one ball or box?  By the rules, by an enclosure of the Hessian, by parts of the box."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import count
from typing import Any, final

import torch
from torch import Tensor

from epigraph.calculus.lattice import CONVEX
from epigraph.calculus.optional import Optional
from epigraph.convexity.check import KERNEL_WORK, QUADRATIC
from epigraph.convexity.evidence import Court, recheck_proof
from epigraph.convexity.modulus import modulus
from epigraph.convexity.prove import Prover
from epigraph.convexity.quadratic import quadratic_claims
from epigraph.errors import CaptureError
from epigraph.hessian.definite import Bound
from epigraph.hessian.dense import Dense
from epigraph.hessian.enclose import Region, Source, Undecided
from epigraph.hessian.operators import OPERATORS
from epigraph.objective.domain import Domain
from epigraph.objective.graph import Graph

LINEAR_PARTS = 5e7  # numbers that the linear parts of tangents may hold; above, interval matrices are used
BRANCHING = 4  # up to so many variables a box is cut into parts


@final
@dataclass(frozen=True)
class Answer:
    """``modulus`` mu >= 0 with J - mu/2 |w|^2 convex on the region, or None, and why."""

    modulus: float | None
    method: str
    boxes: int
    reason: str | None = None
    where: str | None = None


@final
class Neighbourhood:
    """Decides about regions around one point; parameters that are not active are held there."""

    def __init__(
        self,
        graph: Graph,
        domain: Domain,
        point: Mapping[str, Tensor],
        active: Sequence[str],
        shape: str,
        describe: Mapping[str, Any],
    ):
        self.graph, self.active, self.ball, self.describe = graph, tuple(active), shape == "ball", describe
        self.domain, self.point, self.lemmas = domain, point, Optional()
        self.source = Source(graph, domain, point, active)
        self.unused = any(k not in self.source.names for k in active)
        parts = [point[k].reshape(-1) for k in self.source.names]
        self.centre = torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)
        self.work = sum(node.numel for node in graph)
        n = self.source.size
        self.order = 1 if n * n * (self.source.widest + n) <= LINEAR_PARTS else 0

    def region(self, radius: float) -> Region:
        radii = torch.full((self.source.size,), radius, dtype=torch.float64)
        return Region(self.centre, radii, self.ball)

    def decide(self, radius: float, boxes: int = 1) -> Answer:
        """The cheapest proof for one radius."""
        found = self.by_hessian(self.region(radius))
        if found.modulus is not None:
            return found
        rules = self.by_rules(self.region(radius))
        if rules is not None:
            return rules
        if boxes > 1 and self.source.size <= BRANCHING and not self._bends_down(self.sample(radius)):
            return self._by_parts(radius, boxes)
        return found

    def sample(self, radius: float, count: int = 64, seed: int = 0) -> Tensor:
        """The centre, and points on the boundary of the region, moved into the domain."""
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(count, self.source.size, generator=generator, dtype=torch.float64)
        return self.project(radius, torch.cat([torch.zeros_like(drawn[:1]), drawn]))

    def project(self, radius: float, steps: Tensor) -> Tensor:
        """Points at steps from the centre, scaled to the boundary of the region (a zero step stays), in the domain."""
        length = steps.norm(dim=1, keepdim=True) if self.ball else steps.abs().amax(1, keepdim=True)
        steps = torch.where(length > 0, steps * (radius / length.clamp(min=1e-300)), steps)
        low, high = self.source.corners(self.region(radius))
        return torch.minimum(torch.maximum(self.centre + steps, low), high)

    def by_hessian(self, region: Region) -> Answer:
        """A positive definite enclosure of the Hessian."""
        try:
            H, arithmetic = self.source.hessian(region, self.order)
        except Undecided as stop:
            return Answer(None, "hessian", 1, stop.reason, stop.node.origin.location)
        except CaptureError as stop:
            return Answer(None, "hessian", 1, stop.what, stop.where)
        least = Bound(arithmetic, H).modulus()
        if least > 0:
            return Answer(0.0 if self.unused else least, self.method, 1)
        return Answer(None, "hessian", 1, "the enclosure of the Hessian is not positive definite")

    @property
    def method(self) -> str:
        return "centred form of the Hessian" if self.order else "interval Hessian"

    def by_rules(self, region: Region | None = None) -> Answer | None:
        """Convexity by composition rules on a box, re-checked by the kernel; or on the whole domain, or of a quadratic."""
        if region is None:
            held = {k: v for k, v in self.source.fixed.items() if k not in self.source.names}
            box = Domain({**held, **self.domain.lower}, {**held, **self.domain.upper})
        else:
            box = self.source.box(region)
        prover = Prover(self.graph, box, self.describe, self.lemmas)
        if prover.output(self.active).has(CONVEX):
            proof = prover.proof(self.active, "convex")
            check = self.lemmas.run
            if self.work > KERNEL_WORK or check("the kernel", "no answer", recheck_proof, self.graph, proof) is None:
                return Answer(modulus(prover, self.active) or 0.0, "rules", 1)
        if region is None:
            court = Court(self.graph, box, self.describe)
            if "convex" in self.lemmas.run(QUADRATIC, {}, quadratic_claims, prover, self.active, court):
                return Answer(0.0, "quadratic", 1)
        return None

    def _by_parts(self, radius: float, limit: int) -> Answer:
        """Cut the box, the part with the largest extent first, until every part that meets the region is decided."""
        order, whole = count(), Region(self.centre, self.region(radius).radius, False)
        pending = [(-radius, next(order), whole)]
        least, used, last = math.inf, 0, Answer(None, "hessian", 1)
        while pending:
            _, _, part = heapq.heappop(pending)
            if self.ball and _outside(part, self.centre, radius):
                continue
            low, high = self.source.corners(part)
            if bool((low > high).any()):
                continue  # outside the domain
            used += 1
            last = self.by_hessian(part)
            if last.modulus is not None:
                least = min(least, last.modulus)
                continue
            if used + len(pending) >= limit or self._bends_down(self._own(part, radius)):
                return Answer(None, "hessian", used, last.reason, last.where)
            for half in _halves(part):
                heapq.heappush(pending, (-float(half.radius.max()), next(order), half))
        return Answer(least, self.method, used)

    @property
    def differentiable(self) -> bool:
        """Are the derivatives of all operators known?"""
        return all(n.op in OPERATORS for n in self.source.program if n.inputs)

    @cached_property
    def _dense(self) -> Dense | None:
        """The Hessian in floats, where the graph has one."""
        if not self.differentiable:
            return None
        return Dense(replace(self.graph, parameters=self.point), self.source.names)

    def _bends_down(self, points: Tensor) -> bool:
        """Does the Hessian seem to have a negative eigenvalue at one of the points?  Then no cutting will help."""
        if self._dense is None or len(points) == 0:
            return False
        H = self._dense.of(points).hessian
        H = H[torch.isfinite(H).all(-1).all(-1)]
        return len(H) > 0 and float(torch.linalg.eigvalsh(H)[:, 0].min()) < 0

    def _own(self, part: Region, radius: float) -> Tensor:
        """The centre of a part, where it lies in the region."""
        step = part.centre - self.centre
        inside = not self.ball or float(step.norm()) <= radius
        low, high = self.source.corners(part)
        inside = inside and bool(((low <= part.centre) & (part.centre <= high)).all())
        return part.centre[None] if inside else part.centre[None][:0]


def _outside(part: Region, centre: Tensor, radius: float) -> bool:
    """Does a box lie outside a ball, in exact arithmetic?"""
    gaps = [
        max(Fraction(0), abs(Fraction(a) - Fraction(b)) - Fraction(r))
        for a, b, r in zip(part.centre.tolist(), centre.tolist(), part.radius.tolist(), strict=True)
    ]
    return sum(g * g for g in gaps) > Fraction(radius) ** 2


def _halves(part: Region) -> list[Region]:
    """Two boxes that cover a box, cut across its longest side."""
    k = int(part.radius.argmax())
    half = part.radius.clone()
    half[k] = half[k] / 2 * (1 + 2.0**-50) + 2.0**-50 * part.centre[k].abs()
    out = []
    for sign in (-1, 1):
        centre = part.centre.clone()
        centre[k] += sign * part.radius[k] / 2
        out.append(Region(centre, half, False))
    return out
