"""A counterexample inside a region: the Hessian's least eigenvector where it is negative, confirmed exactly."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from fractions import Fraction

import torch
from torch import Tensor

from epigraph.convexity.evidence import Court
from epigraph.convexity.neighbourhood import Neighbourhood
from epigraph.convexity.refute import Found, Refuter
from epigraph.convexity.search import Candidate
from epigraph.convexity.verdict import Certificate
from epigraph.hessian.dense import Dense
from epigraph.objective.graph import Graph
from epigraph.objective.objective import Objective

LARGEST_SIZE = 400  # parameters up to which a Hessian is searched
DESCENT_SIZE = 64  # and up to which the least eigenvalue is followed downhill
SECONDS = 10.0


def witness(J: Objective, graph: Graph, near: Neighbourhood, radius: float, seed: int) -> Certificate | None:
    """A certified violation of convexity with all three points in the region, or None."""
    names, size = near.source.names, near.source.size
    box = near.source.box(near.region(radius))
    court = Court(graph, box, J.describe())
    if not court.possible or not 0 < size <= LARGEST_SIZE or not near.differentiable:
        return None
    at = replace(graph, parameters=near.point)
    dense = Dense(at, names)
    refuter = Refuter(at, box, court, seed)
    refuter.grace = SECONDS
    for m, v in _directions(dense, near, radius, seed):
        for share in (0.25, 2.0**-6, 2.0**-12):
            found = Found()
            view = refuter._view(names)
            middle = near.centre + (m - near.centre) * (1 - 2 * share)
            candidate = Candidate("convex", middle, v * (share * radius), 1.0, "curvature")
            refuter._confirm_all({"convex": (view, candidate)}, time.monotonic() + SECONDS, found)
            made = found.certificates.get("convex")
            if made is not None and _inside(made, near, radius):
                return made
    return _on_lines(at, court, near, radius, seed)


def _on_lines(graph: Graph, court: Court, near: Neighbourhood, radius: float, seed: int) -> Certificate | None:
    """The refuter's own search in a box inside the region: kinks that bend downwards have no negative eigenvalue."""
    inner = radius / math.sqrt(near.source.size) * (1 - 2.0**-30) if near.ball else radius
    refuter = Refuter(graph, near.source.box(near.region(inner)), court, seed)
    made = refuter.search(near.source.names, ["convex"], SECONDS / 5).certificates.get("convex")
    return made if made is not None and _inside(made, near, radius) else None


def _directions(dense: Dense, near: Neighbourhood, radius: float, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Points of the region where the least eigenvalue is negative, the lowest first, with its eigenvector."""
    n = near.source.size
    points = near.sample(radius, seed=seed)
    values, vectors = _least(dense, points)
    if float(values.min()) >= 0 and n <= DESCENT_SIZE:
        points, values, vectors = _descent(dense, near, radius, points, values, vectors)
    order = [0, *values.argsort().tolist()[:3]]  # the centre first, where a step in any direction stays inside
    return [(points[i], vectors[i] / vectors[i].norm()) for i in order if values[i] < 0]


def _least(dense: Dense, points: Tensor) -> tuple[Tensor, Tensor]:
    """The least eigenvalue at each point and its eigenvector; +inf where the Hessian is not finite."""
    H = dense.of(points).hessian
    good = torch.isfinite(H).all(-1).all(-1)
    values, vectors = torch.linalg.eigh(torch.where(good[:, None, None], H, torch.eye(H.shape[-1], dtype=H.dtype)))
    return torch.where(good, values[:, 0], math.inf), vectors[:, :, 0]


def _descent(
    dense: Dense, near: Neighbourhood, radius: float, points: Tensor, values: Tensor, vectors: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """From the lowest points, steps against the gradient of v^T H v to the boundary of the region."""
    n, step = near.source.size, radius * 1e-3
    moves = torch.cat([torch.eye(n, dtype=torch.float64), -torch.eye(n, dtype=torch.float64)]) * step
    found = [(points[i], values[i], vectors[i]) for i in values.argsort()[:3].tolist()]
    for start in list(found):
        point, _, v = start
        for _ in range(8):
            H = dense.of(point + moves).hessian
            bend = torch.einsum("i,kij,j->k", v, H, v)
            slope = (bend[:n] - bend[n:]) / (2 * step)
            if not bool(torch.isfinite(slope).all()) or float(slope.abs().max()) == 0:
                break
            point = near.project(radius, (-slope if near.ball else -slope.sign())[None])[0]
            value, vector = _least(dense, point[None])
            v = vector[0]
            found.append((point, value[0], v))
            if float(value) < 0:
                break
    return tuple(torch.stack(column) for column in zip(*found, strict=True))  # type: ignore[return-value]


def _inside(made: Certificate, near: Neighbourhood, radius: float) -> bool:
    """Are both ends of the certificate in the region, in exact arithmetic?  Then so is their midpoint."""
    for end in (made.a, made.b):
        gaps = [
            Fraction(a) - Fraction(b)
            for k in near.source.names
            for a, b in zip(end[k].double().reshape(-1).tolist(), near.point[k].reshape(-1).tolist(), strict=True)
        ]
        far = sum(g * g for g in gaps) > Fraction(radius) ** 2 if near.ball else max(map(abs, gaps)) > Fraction(radius)
        if far:
            return False
    return True
