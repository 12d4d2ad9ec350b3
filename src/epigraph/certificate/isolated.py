r"""The form "isolated": in a ball around each of some points J has exactly one critical point, of a stated index and value.

The file claims, point by point, a radius, the number of negative eigenvalues of the Hessian, and an interval in which J lies at
the critical point.  With several points their intervals must be disjoint: critical points of different values, none of them a
copy of another.  A claim with a gauge, generators of continuous symmetries, is about orbits of critical points: unique in
the plane across the orbit (``gauge``).  The check repeats the whole proof (``isolation``): J and its gradient in balls at the point, the Hessian over
the ball as float vectors with radii, its eigenvectors, and the contraction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, final

import numpy as np

from epigraph.certificate import claims, generators, isolation
from epigraph.certificate.budget import Cost
from epigraph.certificate.codes import refuse
from epigraph.certificate.forms import Proved
from epigraph.certificate.gauge import gauged
from epigraph.certificate.graph import Program
from epigraph.certificate.isolation import Isolated
from epigraph.certificate.isolationcost import cost
from epigraph.certificate.manifest import Manifest, fields, hex_float
from epigraph.certificate.motion import Generator
from epigraph.certificate.reverse import Gradient, NoGradient, gradient

WORDS = (
    "strict local minimum",
    "strict local maximum",
    "saddle",
    "different local minima",
    "different critical points",
)
UP_TO = " up to symmetry"
LARGEST = 4_000  # variables
POINTS = 64
LIVE = 20_000  # nodes
WINDOWS = 10**8  # entries that a convolution spreads its input to
SMALLEST, WIDEST = 2.0**-100, 2.0**20  # radii
_FIELDS = {"property", "form", "arithmetic", "precision_bits", "domain", "blocks", "points"}


@final
@dataclass(frozen=True)
class Point:
    """A ball: its centre as keys of tensors by key of the parameter's tensor, and what is claimed of it."""

    tensors: Mapping[str, str]
    radius: float
    index: int
    low: float
    high: float


@final
@dataclass(frozen=True)
class Claim:
    """A claim of this form whose fields have been checked against the manifest."""

    property: str
    precision_bits: int
    points: tuple[Point, ...]
    domain: claims.Domain
    blocks: tuple[str, ...]
    gauge: tuple[generators.Stored, ...]


def property_of(indices: Sequence[int], size: int, zeros: int = 0) -> str:
    """The words for critical points with so many negative eigenvalues of ``size``, and ``zeros`` that symmetries explain."""
    if len(indices) > 1:
        word = "different critical points" if any(indices) else "different local minima"
    else:
        word = (
            "strict local minimum"
            if indices[0] == 0
            else "strict local maximum"
            if indices[0] == size - zeros
            else "saddle"
        )
    return word + UP_TO if zeros else word


@final
class IsolatedForm:
    """Checks claims of this form."""

    def parse(self, manifest: Manifest) -> Claim:
        raw = fields(manifest.claim, _FIELDS, "claim", {"gauge"})
        if type(raw["property"]) is not str or raw["property"].removesuffix(UP_TO) not in WORDS:
            refuse("E420", f"the property must be one of {', '.join(WORDS)}")
        bits = claims.ball_bits(raw)
        if manifest.delta:
            refuse("E420", "nothing is displaced by this form", where="delta")
        blocks, domain = claims.blocks(raw["blocks"], manifest), claims.domain(raw["domain"], manifest)
        size = _size(blocks, manifest)
        if size > LARGEST or len(manifest.program.live) > LIVE:
            refuse("E402", f"more than {LARGEST} variables, or {LIVE} nodes, for a claim about critical points")
        if type(raw["points"]) is not list or not 1 <= len(raw["points"]) <= POINTS:
            refuse("E420", f"points must be a list of 1 to {POINTS}")
        points = tuple(_point(p, k, blocks, size, manifest) for k, p in enumerate(raw["points"]))
        gauge = generators.parse(raw.get("gauge", []), blocks, manifest)
        if raw["property"] != property_of([p.index for p in points], size, len(gauge)):
            refuse("E420", "the property is not that of points with these indices")
        _require_apart(points)
        used = {key for p in points for key in p.tensors.values()} | {m.tensor for g in gauge for m in g.values()}
        claims.no_strays(manifest, claims.bound_tensors(domain) | used)
        return Claim(raw["property"], bits, points, domain, blocks, gauge)

    def estimate(self, claim: Claim, manifest: Manifest) -> Cost:
        data = sum(t.bytes for t in manifest.tensors.values())
        shapes = {key: manifest.tensors[key].shape for key in _keys(claim, manifest)}
        found = cost(_gradient(claim, manifest), shapes, claim.precision_bits)
        entries = sum(float(manifest.program.nodes[p].numel) for p in manifest.program.live)
        moves = len(claim.gauge) * (generators.NODE_SECONDS * len(manifest.program.live) + 3e-8 * (entries + data))
        return Cost(len(claim.points) * found.seconds + moves + 8e-9 * data, found.bytes + 3 * data)

    def prove(
        self,
        claim: Claim,
        manifest: Manifest,
        tensors: Mapping[str, np.ndarray],
        delta: Mapping[str, np.ndarray],
        limit: Cost,
    ) -> Proved:
        claims.require_inside(claim.domain, manifest, tensors, {"of the claim": {}})
        slope, keys = _gradient(claim, manifest), _keys(claim, manifest)
        gauge = [generators.proved(g, manifest, tensors) for g in claim.gauge]
        for k, point in enumerate(claim.points):
            here = {**tensors, **{key: tensors[own] for key, own in point.tensors.items()}}
            require_room(claim.domain, manifest, tensors, here, claim.blocks, point.radius)
            _decide(k, point, _proved(slope, here, keys, point, gauge, claim.precision_bits), claim.precision_bits)
        words = statement(claim, claims.variables_words(claim.blocks, manifest))
        shown = {f"J at point {k + 1}": f"[{p.low!r}, {p.high!r}]" for k, p in enumerate(claim.points)}
        ends = sorted((p.low, p.high) for p in claim.points)
        gaps = [Fraction(b[0]) - Fraction(a[1]) for a, b in pairwise(ends)]
        return Proved(words, claims.decimal_below(min(gaps)) if gaps else "", shown)


FORM = IsolatedForm()


def statement(claim: Claim, variables: str) -> str:
    """What has been shown, in words."""
    start, zeros, points = "J is the function of the graph in this file.", len(claim.gauge), claim.points
    plane = ""
    if zeros:
        start += (
            f" It stays the same along {zeros} linear vector field{'s' * (zeros > 1)} on its parameters. In the statement that follows, "
            "points are counted in a plane through a point, across the fields; at the critical point the Hessian has as many zero "
            "eigenvalues as there are fields, and no more."
        )
        plane = " of its plane"
    if len(points) == 1:
        (p,) = points
        word = claim.property.removesuffix(UP_TO)
        word = f"a saddle of index {p.index}" if word == "saddle" else f"a {word}"
        if zeros:
            word = word.replace("a strict local", "a local")
        return (
            f"{start} Within {_below(p.radius)} of the stored point{plane and ' and in its plane'} it has exactly one critical point in "
            f"{variables}: {word}, where J lies in [{p.low!r}, {p.high!r}]."
        )
    minima = "local minima" if zeros else "strict local minima"
    what = minima if not any(p.index for p in points) else "critical points"
    listed = "; ".join(
        f"index {p.index} within {_below(p.radius)} of point {k + 1}, J in [{p.low!r}, {p.high!r}]"
        for k, p in enumerate(points)
    )
    return (
        f"{start} It has {len(points)} {what} in {variables} of {len(points)} different values, each the only critical point "
        f"in its ball{plane}: {listed}."
    )


def _below(radius: float) -> str:
    """A radius in decimals, rounded down; the critical point lies in the smaller ball as well (``isolation.ROOM``)."""
    return claims.decimal_below(Fraction(radius), 6)


def require_room(
    domain: claims.Domain,
    manifest: Manifest,
    tensors: Mapping[str, np.ndarray],
    here: Mapping[str, np.ndarray],
    blocks: Sequence[str],
    radius: float,
) -> None:
    """The domain contains the box of this radius around the point."""
    for name in set(blocks) & set(domain):
        centre = here[manifest.parameters[name]].astype(np.float64)
        low, high = claims.sides(domain, name, tensors)
        inside = True
        if low is not None:
            inside &= bool((np.nextafter(centre - radius, -np.inf) >= low).all())
        if high is not None:
            inside &= bool((np.nextafter(centre + radius, np.inf) <= high).all())
        if not inside:
            refuse("E422", "the ball is not inside the domain", where=f"parameter {name!r}")


def _gradient(claim: Claim, manifest: Manifest) -> Gradient:
    return written(manifest.program, _keys(claim, manifest))


def written(program: Program, keys: Sequence[str]) -> Gradient:
    """J's gradient in these tensors as a graph; refused where an operator has none here, or is too large."""
    _require_small_windows(program)
    try:
        return gradient(program, set(keys))
    except NoGradient as stop:
        refuse("E440", str(stop))


def _require_small_windows(program: Program) -> None:
    for position in program.live:
        node = program.nodes[position]
        if node.op == "convolution":
            weight = program.nodes[node.inputs[1]].shape
            spread = node.numel * math.prod(weight[1:]) * max(1, weight[0] // max(1, node.shape[1]))
            if spread > WINDOWS:
                refuse("E430", f"the windows of a convolution have more than {WINDOWS} entries", where=node.label)


def _proved(
    slope: Gradient,
    here: Mapping[str, np.ndarray],
    keys: Sequence[str],
    point: Point,
    gauge: Sequence[Generator],
    bits: int,
) -> Isolated | None:
    try:
        at = isolation.centre(slope, here, keys, bits)
        H, spread = gauged(slope, here, keys, point.radius, gauge)
    except NoGradient as stop:
        refuse("E442", "J is not shown to be twice continuously differentiable in the ball", why=str(stop))
    S = isolation.congruence(H)
    return None if S is None else isolation.isolated(at, S, spread, point.radius)


def _decide(k: int, claimed: Point, found: Isolated | None, bits: int) -> None:
    where = f"point {k + 1}"
    if found is None:
        refuse(
            "E440",
            f"the contraction is not shown on the ball of radius {claimed.radius:.6g}, at {bits} bits",
            where=where,
        )
    if found.index != claimed.index:
        refuse("E441", f"the index is {found.index}, claimed is {claimed.index}", where=where)
    if claimed.low <= found.low and found.high <= claimed.high:
        return
    apart = found.high < claimed.low or claimed.high < found.low
    shown = f"J lies in [{found.low!r}, {found.high!r}], claimed is [{claimed.low!r}, {claimed.high!r}]"
    refuse("E441" if apart else "E440", shown, where=where)


def _keys(claim: Claim, manifest: Manifest) -> list[str]:
    return [manifest.parameters[name] for name in claim.blocks]


def _size(blocks: Sequence[str], manifest: Manifest) -> int:
    return sum(math.prod(manifest.tensors[manifest.parameters[name]].shape) for name in blocks)


def _point(raw: Any, k: int, blocks: Sequence[str], size: int, manifest: Manifest) -> Point:
    """One ball; the first may leave out its centre, which is then the stored point."""
    where = f"point {k + 1}"
    raw = fields(raw, {"radius", "index", "value", "centre"}, where)
    if type(raw["index"]) is not int or not 0 <= raw["index"] <= size:
        refuse("E420", f"an index is an integer from 0 to {size}", where=where)
    if type(raw["value"]) is not list or len(raw["value"]) != 2:
        refuse("E420", "a value is [low, high]", where=where)
    radius, low, high = (hex_float(v, where) for v in (raw["radius"], *raw["value"]))
    if not SMALLEST <= radius <= WIDEST:
        refuse("E420", f"a radius is a number from {SMALLEST} to {WIDEST}", where=where)
    if not low <= high:
        refuse("E420", "an interval of values is empty", where=where)
    if type(raw["centre"]) is not dict or set(raw["centre"]) not in (set(), set(blocks)):
        refuse("E420", "a centre gives tensors for all blocks, or none", where=where)
    found = {}
    for name, key in raw["centre"].items():
        entry = manifest.tensors.get(key) if type(key) is str else None
        shape = manifest.tensors[manifest.parameters[name]].shape
        if entry is None or entry.role != "point" or entry.shape != shape or entry.dtype.kind != "f":
            refuse("E420", "a centre's tensor must have role point, floats, and the parameter's shape", where=where)
        found[manifest.parameters[name]] = key
    return Point(found, radius, raw["index"], low, high)


def _require_apart(points: Sequence[Point]) -> None:
    ends = sorted((p.low, p.high) for p in points)
    if any(a[1] >= b[0] for a, b in pairwise(ends)):
        refuse("E420", "the intervals of values are not disjoint")
