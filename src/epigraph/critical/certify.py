r"""A proof that a ball holds exactly one critical point, of which index, and what J is there.

Let H(x) be enclosed on the ball |x - c| <= r, S an invertible matrix of floats and D a diagonal of signs with

    |S^T H(x) S - D| <= q < 1        for all x in the ball.

Then S^T H S has as many negative eigenvalues as D, and so has H (Sylvester): the index is the same all over the ball, and
the gradient g is injective on it, for g(x) - g(y) = (mean of H)(x - y).  With eta = |S^T g(c)| and rho = eta / (1 - q), the
map y -> y - D S^T g(c + S y) takes the ball |y| <= rho into itself and contracts by q, as long as |S| rho <= r: there is a
critical point x*, it is the only one in the ball, |x* - c| <= |S| rho, and

    |J(x*) - J(c)| <= eta rho + (1 + q) rho^2 / 2.

S = V |w|^(-1/2) from eigenvectors and eigenvalues at c makes q small; nothing is assumed of how it was computed.  All
bounds are centred forms in float64 with every rounding charged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import final

import numpy as np
import torch
from torch import Tensor

from epigraph.certificate.isolation import Isolated
from epigraph.critical.classify import Kind
from epigraph.critical.evidence import Prover
from epigraph.critical.result import CriticalPoint
from epigraph.hessian.definite import Bound, largest_singular_value
from epigraph.hessian.enclose import Region, Source, Undecided
from epigraph.hessian.forms import EPS, TINY, Arithmetic, Form
from epigraph.objective.objective import Objective
from epigraph.symmetry.result import Symmetries

FIRST, SMALLEST, GROWTH = 2.0**-8, 2.0**-40, 4.0
LINEAR_PARTS = 5e6  # numbers that the linear parts of tangents may hold; above, vectors with radii are used
CENTRED, VECTORS = "contraction in centred forms", "contraction, with gradients as vectors with radii"
LEAST = 0.9  # the contraction below which a proof is worth having
UP = 1 + 64 * EPS  # a few roundings, upwards
TRIED = (Kind.minimum, Kind.saddle, Kind.maximum, Kind.undecided)


@final
@dataclass(frozen=True)
class Here:
    """J and its gradient at a centre, enclosed."""

    slope: Form
    low: float
    high: float


@final
class Certifier:
    """Proofs for points of one objective: on the largest ball in centred forms, on a smaller one with many variables."""

    def __init__(self, J: Objective, found: Symmetries | None = None):
        self.J, self.symmetries, names = J, found, list(J.parameters)
        self.source = Source(J.graph(), J.domain, dict(J.parameters), names)
        self.whole = len(self.source.names) == len(names)  # else J does not depend on a parameter
        n = self.source.size
        self.small = n * n * (self.source.widest + n) <= LINEAR_PARTS

    @cached_property
    def prover(self) -> Prover:
        return Prover(self.J, self.symmetries)

    def locate(self, point: Mapping[str, Tensor], orbit: int = 0) -> tuple[Isolated, Mapping[str, Tensor], str] | None:
        """The proof, the point that it is about (the same, or a polished one) and the method, or None.

        ``orbit``: the dimension of the point's orbit under continuous symmetries.
        """
        if not self.whole:
            return None
        if self.small and not orbit:
            found = self.isolate(point)
            return None if found is None else (found, point, CENTRED)
        located = self.prover.prove(point, orbit)
        if located is None:
            return None
        own = dict(zip(self.prover.names, self.prover.keys, strict=True))
        polished = {k: torch.from_numpy(located.point[own[k]]).to(v) for k, v in point.items()}
        if any(not np.array_equal(polished[k].double().numpy(), located.point[own[k]]) for k in own):
            return None  # the point is kept in numbers that cannot hold it
        return located.proof, polished, VECTORS

    def isolate(self, point: Mapping[str, Tensor]) -> Isolated | None:
        """The proof in centred forms on the largest ball that was tried, or None where there is none.

        The ball grows as long as there is a proof; the error and the value come from the first, smallest one.
        """
        centre = torch.cat([point[k].detach().double().reshape(-1) for k in self.source.names])
        try:
            here = self._here(centre)
        except Undecided:
            return None
        radius, first = FIRST, None
        while first is None and radius >= SMALLEST:
            first = self.on_ball(centre, radius, here)
            radius /= 8
        if first is None:
            return None
        best = first
        while best.radius < 1.0:
            larger = self.on_ball(centre, best.radius * GROWTH, here)
            if larger is None:
                break
            best = larger
        return replace(best, error=first.error, low=first.low, high=first.high)

    def on_ball(self, centre: Tensor, radius: float, here: Here) -> Isolated | None:
        """The proof on one ball."""
        region = Region(centre, torch.full_like(centre, radius), True)
        if not self._inside(region):
            return None
        try:
            walk, engine = self.source.walk(region, 1)
        except Undecided:
            return None
        if any(bool(up.any()) or bool(down.any()) for up, down in engine.kinks.values()):
            return None
        H, a = self.source.assembled(walk, engine.a), engine.a
        middle = (H.c + H.c.T) / 2
        if not bool(torch.isfinite(middle).all()):
            return None
        w, V = torch.linalg.eigh(middle)
        if bool((w == 0).any()):
            return None
        S, D = V * w.abs().rsqrt(), torch.diag(w.sign())
        scaled = a.matmul(a.matmul(Form(S.T.contiguous()), H), Form(S))
        q = Bound(a, a.add(scaled, Form(-D))).norm()
        if not q < LEAST:
            return None
        eta, size = _size(S, here.slope), largest_singular_value(S)
        rho = eta / (1 - q) * UP
        error = size * rho * UP
        if not error <= radius:
            return None
        slack = (eta * rho + (1 + q) / 2 * rho * rho) * UP + TINY
        low, high = (math.nextafter(v, s * math.inf) for v, s in ((here.low - slack, -1), (here.high + slack, 1)))
        return Isolated(int((w < 0).sum()), radius, error, q, (1 - q) / (size * size * UP) / UP, low, high)

    def _inside(self, region: Region) -> bool:
        """Does the domain contain the ball?"""
        low, high = self.source.corners(region)
        below, above = (
            torch.from_numpy(np.nextafter((region.centre + s * region.radius).numpy(), s * np.inf)) for s in (-1, 1)
        )
        return torch.equal(low, below) and torch.equal(high, above)

    def _here(self, centre: Tensor) -> Here:
        """J and its gradient at the centre."""
        walk, engine = self.source.walk(Region(centre, torch.zeros_like(centre), True), 0)
        value = engine.a.range(walk.values[self.source.program.output].map(lambda t: t.reshape(())))
        return Here(self.source.gradient(walk, engine.a), float(value.lower), float(value.upper))


def _size(S: Tensor, slope: Form) -> float:
    """An upper bound of |S^T g|."""
    a = Arithmetic(True)
    moved = a.matmul(Form(S.T.contiguous()), slope.map(lambda t: t[..., None]))
    bound = (moved.c.abs() + a.deviation(moved)) * UP
    return float(bound.square().sum().sqrt()) * (1 + (bound.numel() + 16) * EPS) + 2.0**-500


def certified(
    J: Objective, points: Sequence[CriticalPoint], found: Symmetries | None = None
) -> tuple[CriticalPoint, ...]:
    """The points, with a proof where there is one: its kind is then what was proved.

    Where a proof contradicts the test in floats, the proof stands, and what the test left open is settled.  ``found``: the symmetries of J, else they are looked for
    where a point needs them.
    """
    certifier = Certifier(J, found)
    out = []
    for p in points:
        orbit = p.predicted
        located = certifier.locate(p.point, orbit) if p.kind in TRIED and p.nullity == orbit else None
        if located is None:
            out.append(p)
            continue
        proof, point, method = located
        kind = Kind.minimum if proof.index == 0 else Kind.maximum if proof.index == J.size - orbit else Kind.saddle
        sizes = {k: v for k, v in asdict(proof).items() if k not in ("low", "high")}
        known = {"method": method, **sizes, "zeros": orbit, "value": [proof.low, proof.high]}
        proved = replace(
            p, kind=kind, index=proof.index, evidence="certified", certificate=known, point=point, reason=""
        )
        out.append(proved)
    return tuple(out)
