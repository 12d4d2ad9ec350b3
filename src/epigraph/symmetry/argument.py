r"""The permutation argument: two copies of one network, and a midpoint that is worse.

If g leaves J unchanged then J(theta) = J(g theta), and a convex or quasi-convex J could not be higher halfway between
them.  So one point theta with J((theta + g theta) / 2) > J(theta) refutes both at once.  Permutations and sign flips are
exact on floating-point numbers, so theta, g theta and their midpoint are exact dyadic points, and exact arithmetic
decides: the certificate does not rest on the symmetry that suggested it.

It is no proof by itself that networks are not convex, and what it does not refute may be either.  Nothing is shown where
the swapped units are identical (both copies are one point), or where J is convex along with its symmetry (linear units
whose outgoing weights are fixed and equal).  A network with a single hidden unit may have no such symmetry and fail to
be convex all the same; and e^-x, whose infimum is not attained, has no copies of a minimum.  Points other than minima
have copies as well, so that the argument does not need an attained minimum where there are two units that differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, final

import numpy as np
import torch
from torch import Tensor

from epigraph.convexity.evidence import Court, Steps
from epigraph.convexity.refute import decimal
from epigraph.convexity.verdict import Certificate
from epigraph.objective.evaluate import Evaluator
from epigraph.symmetry.group import Element, Group, Permutations, Scaling
from epigraph.symmetry.result import Symmetries, symmetries

if TYPE_CHECKING:
    from epigraph.objective.objective import Objective

BITS = 20
LEAST = 1e-9  # a smaller excess, relative to J, is taken for rounding
TRIED = 3  # pairs of copies that are put before exact arithmetic
Point = dict[str, Tensor]
Case = Literal["refuted", "no symmetry", "identical units", "not higher", "undefined", "undecided"]
REASONS: dict[Case, str] = {
    "refuted": "the midpoint of two copies is higher than they are",
    "no symmetry": "no permutation or sign flip leaves J unchanged: there are no copies, and this proves nothing",
    "identical units": "every copy of this point is the point itself: what is swapped is identical, which proves nothing",
    "not higher": "no midpoint of two copies was higher than they are: this refutes nothing, and proves nothing",
    "undefined": "J has no finite value at the copies, or halfway between them",
    "undecided": "exact arithmetic did not decide",
}


@final
@dataclass(frozen=True)
class Copies:
    """What two copies of one point show.

    ``case`` is "refuted" where ``certificates`` has "convex", "quasiconvex" or both, decided in exact arithmetic; else
    it says why there is none, and ``reason`` says so in words.  ``copy`` and ``middle`` are J at both copies and at
    their midpoint, in floats, for the pair with the highest midpoint; ``element`` is in words.
    """

    certificates: Mapping[str, Certificate]
    case: Case
    copy: float | None = None
    middle: float | None = None
    element: str = ""

    @property
    def reason(self) -> str:
        return REASONS[self.case]

    def to_dict(self) -> dict[str, Any]:
        return {
            "refuted": sorted(self.certificates),
            "case": self.case,
            "copy": self.copy,
            "middle": self.middle,
            "element": self.element,
            "reason": self.reason,
            "gap": {k: c.gap for k, c in self.certificates.items()},
        }


@final
@dataclass(frozen=True)
class _Pair:
    """Two copies, J at both and at their midpoint, and how much higher that is, relative to the larger."""

    a: Point
    b: Point
    copy: float
    middle: float
    words: str
    excess: float


def permutation_argument(
    J: Objective,
    found: Symmetries | None = None,
    *,
    at: Mapping[str, Tensor] | None = None,
    seed: int = 0,
    seconds: float = 20.0,
) -> Copies:
    """Two copies of one point whose midpoint is higher, as an exact certificate, or why there is none.

    Args:
        J: the objective.
        found: its group, where it is known already.
        at: the only point whose copies are looked at, rounded to a grid of 20 bits; without it the present one, random
            ones, and what a short descent makes of each.
        seed: of the points that are tried.
        seconds: budget of the exact arithmetic, for each pair of copies; three at most are tried.

    Example:
        >>> import torch, epigraph
        >>> _ = torch.manual_seed(0)
        >>> net = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1))
        >>> J = epigraph.Objective(net, torch.nn.MSELoss(), torch.tensor([[-1.0], [1.0]]), torch.tensor([[-1.0], [1.0]]))
        >>> sorted(epigraph.permutation_argument(J).certificates)
        ['convex', 'quasiconvex']
    """
    found = symmetries(J, seed=seed) if found is None else found
    group = _discrete(found)
    if not group.generators:
        return Copies({}, "no symmetry")
    evaluator = Evaluator(J.graph())
    given = None if at is None else {k: at[k].detach().double() for k in J.parameters}
    points = _points(J, evaluator, seed) if given is None else iter([_on_grid(J, given)])
    every = list(_pairs(group, evaluator, points, seed))
    pairs = sorted((p for p in every if math.isfinite(p.excess)), key=lambda p: -p.excess)
    if not pairs:
        return Copies({}, "undefined" if every else "identical units")
    best = pairs[0]
    if best.excess <= LEAST:
        return Copies({}, "not higher", best.copy, best.middle, best.words)
    for pair in [p for p in pairs if p.excess > LEAST][:TRIED]:
        if certificates := _certify(J, pair.a, pair.b, seconds):
            return Copies(certificates, "refuted", pair.copy, pair.middle, pair.words)
    return Copies({}, "undecided", best.copy, best.middle, best.words)


def _pairs(group: Group, evaluator: Evaluator, points: Iterator[Point], seed: int) -> Iterator[_Pair]:
    """Each point with the copy whose midpoint is highest, where copies differ from it."""
    for point in points:
        start = _value(evaluator, point)
        best: _Pair | None = None  # of each point only the best is kept: a pair holds two copies of all parameters
        for element, words in _elements(group, seed):
            other = group.apply(element, point)
            if all(torch.equal(point[k], other[k]) for k in point):
                continue
            high = _value(evaluator, {k: (point[k] + other[k]) / 2 for k in point})
            excess = (high - start) / max(abs(high), abs(start), 1e-300)
            excess = excess if math.isfinite(excess) else -math.inf
            if best is None or excess > best.excess:
                best = _Pair(point, other, start, high, words, excess)
        if best is not None:
            yield best


def _discrete(found: Symmetries) -> Group:
    """Permutations and sign flips that leave the buffers alone."""
    kept = []
    for generator in found.group.generators:
        moved = {p["tensor"] for p in found.group.places(generator)}
        if generator.kind != "scale" and not moved & set(found.buffers):
            kept.append(generator)
    return found.group.only(kept)


def _points(J: Objective, evaluator: Evaluator, seed: int) -> Iterator[Point]:
    """The user's point and random ones, each before and after a short descent, on a grid that halving does not leave."""
    generator = torch.Generator().manual_seed(seed)
    user = {k: v.detach().double() for k, v in J.parameters.items()}
    for attempt in range(4):
        point = user
        if attempt:
            point = {
                k: J.domain.inside(k, v + torch.randn(v.shape, generator=generator, dtype=torch.float64), generator)
                for k, v in user.items()
            }
        yield from (_on_grid(J, p) for p in (point, _descend(J, evaluator, point)))


def _descend(J: Objective, evaluator: Evaluator, point: Point) -> Point:
    """A few steps of L-BFGS; where it fails, the point itself."""
    leaves = {k: v.clone().requires_grad_(True) for k, v in point.items()}
    optimizer = torch.optim.LBFGS(list(leaves.values()), max_iter=50, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = evaluator(leaves)
        if value.requires_grad:
            value.backward()
        return value

    optimizer.step(closure)
    moved = {k: J.domain.project(k, v.detach()) for k, v in leaves.items()}
    good = all(bool(torch.isfinite(v).all()) for v in moved.values())
    return moved if good else point


def _on_grid(J: Objective, point: Point) -> Point:
    """Each tensor in integers times a power of two, with few enough bits that sums of two copies are exact."""
    out: Point = {}
    for name, value in point.items():
        unit = 2.0 ** _exponent(value)
        rounded = torch.round(value / unit) * unit
        out[name] = rounded if J.domain.contains(name, rounded) else _toward_zero(value, unit)
    return out


def _toward_zero(value: Tensor, unit: float) -> Tensor:
    return torch.trunc(value / unit) * unit


def _exponent(value: Tensor) -> int:
    size = float(value.abs().max()) if value.numel() else 0.0
    return (math.frexp(size)[1] if size > 0 else 0) - BITS


def _value(evaluator: Evaluator, point: Mapping[str, Tensor]) -> float:
    with torch.no_grad():
        return float(evaluator(point))


def _elements(group: Group, seed: int) -> Iterator[tuple[Element, str]]:
    """For each generator: swaps of two units, flips of one, and random elements."""
    draw = torch.Generator().manual_seed(seed)
    for position, generator in list(enumerate(group.generators))[:12]:
        shape = group.shape_of(generator.set)
        names = ", ".join(dict.fromkeys(p["tensor"] for p in group.places(generator)))
        if isinstance(generator, Permutations):
            n = shape[-1]
            for _ in range(min(4, n * (n - 1) // 2)):
                i, j = torch.randperm(n, generator=draw)[:2].tolist()
                images = torch.arange(n).expand(shape).clone()
                images[..., i], images[..., j] = j, i
                yield Element({generator.set: images}), f"units {i} and {j} of {names} swapped"
        elif isinstance(generator, Scaling):
            for i in range(min(3, shape[-1] if shape else 1)):
                flips = torch.ones(shape, dtype=torch.float64)
                flips[(..., i) if shape else ()] = -1.0
                unit = f"unit {i} of " if shape else ""
                yield Element(factors={position: flips}), f"the sign of {unit}{names} flipped"
    yield group.random(draw), "a random element of the group"


def _certify(J: Objective, a: Point, b: Point, seconds: float) -> dict[str, Certificate]:
    """The certificates at the midpoint, decided by exact arithmetic."""
    graph = J.graph()
    names = [n for n in graph.parameter_nodes if n in a]
    if not all(J.domain.contains(n, p[n]) for n in names for p in (a, b)):
        return {}
    m = {n: (a[n] + b[n]) / 2 for n in names}
    steps: dict[str, Steps] = {}
    for n in names:
        scale = _exponent(torch.maximum(a[n].abs(), b[n].abs())) - 4  # halves, also of what sigmoids add
        k = (a[n] - b[n]) / 2 * 2.0**-scale
        if not bool((k == k.round()).all()) or (k.numel() and float(k.abs().max()) >= 2**30):
            return {}
        steps[n] = Steps(k.numpy().astype(np.int32), scale)
    decided = Court(graph, J.domain, J.describe()).certify(m, {"convex": steps, "quasiconvex": steps}, seconds)
    out: dict[str, Certificate] = {}
    for kind, (certified, payload) in decided.items():
        scale = max(abs(v) for v in certified.values.values())
        relative = float(certified.gap / Fraction(scale)) if scale > 0 and math.isfinite(scale) else 0.0
        if relative < LEAST:
            continue
        out[kind] = Certificate(
            kind, a, b, m, decimal(certified.gap), relative, dict(certified.values), certified.arithmetic,
            certified.precision_bits, "two copies of one point", tuple(names), _profile(J, a, b), payload,
        )  # fmt: skip
    return out


def _profile(J: Objective, a: Point, b: Point) -> tuple[tuple[float, float], ...]:
    """J along the segment, for the picture."""
    evaluator = Evaluator(J.graph())
    out: list[tuple[float, float]] = []
    for s in np.linspace(-1, 1, 33):
        out.append((float(s), _value(evaluator, {k: a[k] * (1 - s) / 2 + b[k] * (1 + s) / 2 for k in a})))
    return tuple(p for p in out if math.isfinite(p[1]))
