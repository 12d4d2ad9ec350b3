r"""Continuous symmetries beyond rescalings: general linear maps, rotations, and shifts.

An infinitesimal symmetry is orthogonal to the gradient of J wherever one looks.  So one gradient at a random point
proposes all of them at once: with G the gradient and x the parameters, seen as units by rest,

- the whole gl(n) of an index set, when sum q G x^T vanishes (q the charges of its rescaling, 1 and -1);
- its rotations so(n), when sum G x^T is symmetric;
- a shift of a block along an axis, when G sums to zero along that axis; of the whole block, when G is zero;
- biases that later biases undo (``epigraph.symmetry.compensation``).

What is proposed is then verified with finite elements at other random points, like every other generator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from epigraph.symmetry.compensation import Compensation, compensations, used_in
from epigraph.symmetry.gauge import Gauge, gauge
from epigraph.symmetry.group import Block, Group, Scaling
from epigraph.symmetry.verify import TOLERANCE, Base, Checker

STEP, REPEATED = 1e-7, 1e-3  # a slope that such a step leaves as it is, to this share, is no rounding
ZERO = 1e-11
SMALL = 20_000  # parameters of a model whose few units are looked at in more points
Point = Mapping[str, Tensor]


@final
@dataclass(frozen=True)
class Linear:
    """GL(n) (``kind`` "linear") or the rotations of an index set; ``charges`` are 1, or -1 for the inverse transpose.

    "rotation" has all of them, "mean rotation" those that keep the vector of ones.
    """

    set: int
    kind: str
    charges: Mapping[tuple[str, int, int], int]

    def dimension(self, group: Group) -> int:
        n = group.sets[self.set].size
        n -= self.kind == "mean rotation"
        return group.copies(self.set) * (n * n if self.kind == "linear" else n * (n - 1) // 2)

    def move(self, group: Group, point: Point, generator: torch.Generator) -> dict[str, Tensor]:
        """A point moved by a random element near the identity."""
        n, copies = group.sets[self.set].size, group.copies(self.set)
        noise = torch.randn(copies, n, n, generator=generator, dtype=torch.float64) / n**0.5
        noise = _centred(noise) if self.kind == "mean rotation" else noise
        matrix = torch.linalg.matrix_exp(0.3 * noise if self.kind == "linear" else noise - noise.mT)
        inverse = torch.linalg.inv(matrix).mT
        return self.changed(group, point, lambda x, q: (matrix if q > 0 else inverse) @ x)

    def changed(self, group: Group, point: Point, change: Callable[[Tensor, int], Tensor]) -> dict[str, Tensor]:
        """A point where each place of the set, as (copies, units, rest), has been changed."""
        moved = {k: v.clone() for k, v in point.items()}
        for (name, k, axis), charge in self.charges.items():
            block = group.blocks[name][k]
            view = moved[name].as_strided(block.sizes, block.strides, block.offset)
            order = axis_order(group, block, self.set, axis)
            permuted = view.permute(order)
            units = permuted.reshape(group.copies(self.set), group.sets[self.set].size, -1)
            new = change(units, charge).reshape(permuted.shape)
            view.copy_(new.permute([order.index(d) for d in range(view.ndim)]))
        return moved

    def tangents(self, group: Group, point: Point) -> list[dict[str, Tensor]]:
        """The velocities of a basis of the Lie algebra."""
        n, copies = group.sets[self.set].size, group.copies(self.set)
        out = []
        for c in range(copies):
            for i in range(n):
                for j in range(n) if self.kind == "linear" else range(i):
                    basis = torch.zeros(copies, n, n, dtype=torch.float64)
                    basis[c, i, j] = 1.0
                    basis[c, j, i] -= 0.0 if self.kind == "linear" else 1.0
                    basis = _centred(basis) if self.kind == "mean rotation" else basis
                    out.append(self._velocity(group, point, basis))
        return out

    def _velocity(self, group: Group, point: Point, basis: Tensor) -> dict[str, Tensor]:
        total = {k: torch.zeros_like(v) for k, v in point.items()}
        for key, charge in self.charges.items():
            one = Linear(self.set, self.kind, {key: charge})
            moved = one.changed(group, point, lambda x, q: (basis if q > 0 else -basis.mT) @ x)
            block = group.blocks[key[0]][key[1]]
            shape = (block.sizes, block.strides, block.offset)
            total[key[0]].as_strided(*shape).add_(moved[key[0]].as_strided(*shape))
        return total


@final
@dataclass(frozen=True)
class Shift:
    """Adding to a block of a tensor what does not vary along an axis; anything at all where ``axis`` is None."""

    tensor: str
    block: int
    axis: int | None
    kind: str = "shift"

    def dimension(self, group: Group) -> int:
        sizes = group.blocks[self.tensor][self.block].sizes
        total = 1
        for d, n in enumerate(sizes):
            total *= 1 if d == self.axis else n
        return total

    def move(self, group: Group, point: Point, generator: torch.Generator) -> dict[str, Tensor]:
        """A point moved by a random amount."""
        block = group.blocks[self.tensor][self.block]
        shape = [1 if d == self.axis else n for d, n in enumerate(block.sizes)]
        moved = {**point, self.tensor: point[self.tensor].clone()}
        view = moved[self.tensor].as_strided(block.sizes, block.strides, block.offset)
        view += torch.randn(shape, generator=generator, dtype=torch.float64)
        return moved

    def tangents(self, group: Group, point: Point) -> list[dict[str, Tensor]]:
        """The velocities of a basis of shifts."""
        block = group.blocks[self.tensor][self.block]
        shape = [1 if d == self.axis else n for d, n in enumerate(block.sizes)]
        out = []
        for k in range(self.dimension(group)):
            unit = torch.zeros(self.dimension(group), dtype=torch.float64)
            unit[k] = 1.0
            total = {name: torch.zeros_like(v) for name, v in point.items()}
            total[self.tensor].as_strided(block.sizes, block.strides, block.offset).add_(unit.reshape(shape))
            out.append(total)
        return out


@final
@dataclass(frozen=True)
class Gauged:
    """A symmetry that holds in a gauge: fix it, move, and go back."""

    inner: Linear | Shift
    gauge: Gauge

    @property
    def kind(self) -> str:
        return self.inner.kind

    def dimension(self, group: Group) -> int:
        return self.inner.dimension(group)

    def move(self, group: Group, point: Point, generator: torch.Generator) -> dict[str, Tensor]:
        """A point moved by a random element."""
        return self.gauge.restored(group, self.inner.move(group, self.gauge.fixed(group, point), generator), point)

    def tangents(self, group: Group, point: Point) -> list[dict[str, Tensor]]:
        """The velocities of a basis: those in the gauge, brought back, which is affine at fixed gains and shifts."""
        fixed = self.gauge.fixed(group, point)
        out = []
        for tangent in self.inner.tangents(group, fixed):
            moved = self.gauge.restored(group, {k: fixed[k] + tangent[k] for k in fixed}, point)
            out.append({k: moved[k] - point[k] for k in point})
        return out


Flow = Linear | Shift | Compensation | Gauged


def _centred(matrix: Tensor) -> Tensor:
    """A matrix without what it does to the vector of ones, on either side."""
    return matrix - matrix.mean(-1, keepdim=True) - matrix.mean(-2, keepdim=True) + matrix.mean((-1, -2), keepdim=True)


def axis_order(group: Group, block: Block, identifier: int, axis: int) -> list[int]:
    """The axes of a block: those of the set's scope, the set's own, the rest."""
    first = [*(block.sets.index(s) for s in group.sets[identifier].scope), axis]
    return [*first, *(d for d in range(len(block.sizes)) if d not in first)]


def propose(
    group: Group, point: Point, gradient: Point, nearby: Sequence[Point], held: frozenset[str] = frozenset()
) -> list[Linear | Shift]:
    """The linear maps, rotations and shifts that a gradient at a random point does not exclude; ``held`` stays as it is.

    ``nearby``: gradients a little beside the point, which tell rounding from small slopes.
    """
    found: list[Linear | Shift] = []
    for scaling in group.scalings("scale"):
        if scaling.set is None or group.sets[scaling.set].size == 1 or set(scaling.charges.values()) - {1, -1}:
            continue
        if any(name in held for name, _, _ in scaling.charges):
            continue
        matrix, scale = _moment(group, scaling.set, scaling.charges, point, gradient)
        if float(matrix.abs().max()) <= ZERO * scale:
            found.append(Linear(scaling.set, "linear", scaling.charges))
    linear = {f.set for f in found if isinstance(f, Linear)}
    for permutation in group.permutations:
        places = {
            (name, k, axis): 1
            for name, blocks in group.blocks.items()
            for k, block in enumerate(blocks)
            for axis, s in enumerate(block.sets)
            if s == permutation.set and name not in held
        }
        if permutation.set in linear or not places:
            continue
        matrix, scale = _moment(group, permutation.set, places, point, gradient)
        turn = matrix - matrix.mT
        if float(turn.abs().max()) <= ZERO * scale:
            found.append(Linear(permutation.set, "rotation", places))
        elif matrix.shape[-1] > 2 and float(_centred(turn).abs().max()) <= ZERO * scale:
            found.append(Linear(permutation.set, "mean rotation", places))
    return [*found, *(f for f in _shifts(group, gradient, nearby) if f.tensor not in held)]


def _moment(
    group: Group, identifier: int, charges: Mapping[tuple[str, int, int], int], point: Point, gradient: Point
) -> tuple[Tensor, float]:
    """The pairing of the gradient with gl(n), per copy, and the size of its terms."""
    n, copies = group.sets[identifier].size, group.copies(identifier)
    total, scale = torch.zeros(copies, n, n, dtype=torch.float64), 1e-300
    for (name, k, axis), charge in charges.items():
        block = group.blocks[name][k]
        order = axis_order(group, block, identifier, axis)
        x, g = (
            p[name]
            .contiguous()
            .as_strided(block.sizes, block.strides, block.offset)
            .permute(order)
            .reshape(copies, n, -1)
            for p in (point, gradient)
        )
        product = g @ x.mT
        total = total + (product if charge > 0 else -product.mT)
        scale = max(scale, float(product.abs().max()))
    return total, scale


def _rounding(slope: Tensor, nearby: Sequence[Tensor]) -> bool:
    """Is this zero, or nothing that all other evaluations repeat?  Two may agree by chance where it is one number."""
    size = float(slope.abs().max())
    return size == 0 or any(float((slope - other).abs().max()) > REPEATED * size for other in nearby)


def _shifts(group: Group, gradient: Point, nearby: Sequence[Point]) -> list[Shift]:
    out: list[Shift] = []
    largest = max((float(g.abs().max()) for g in gradient.values() if g.numel()), default=0.0)
    for name, blocks in group.blocks.items():
        for k, block in enumerate(blocks):
            layout = block.sizes, block.strides, block.offset
            view, *beside = (g[name].contiguous().as_strided(*layout) for g in (gradient, *nearby))
            if float(view.abs().max()) <= ZERO * largest and _rounding(view, beside):
                out.append(Shift(name, k, None))
                continue
            for axis, n in enumerate(block.sizes):
                if n == 1 or float(view.sum(axis).abs().max()) > ZERO * float(view.abs().max()):
                    continue
                if _rounding(view.sum(axis), [other.sum(axis) for other in beside]):
                    out.append(Shift(name, k, axis))
    return out


def continuous(checker: Checker) -> tuple[tuple[Flow, ...], tuple[Flow, ...]]:
    """The continuous symmetries that hold at random points, and those that were proposed and fail."""
    small = sum(v.numel() for v in checker.graph.parameters.values()) <= SMALL
    bases = checker.points(6 if small else 3)
    if len(bases) < 3 or checker.domain.lower or checker.domain.upper:
        return (), ()
    points = [base[0] for base in (bases if small else bases[:2])]
    gradients = [_gradient(checker, p) for p in points]
    if not all(bool(torch.isfinite(g).all()) for gradient in gradients for g in gradient.values()):
        return (), ()
    plain = propose(checker.group, points[0], gradients[0], _beside(checker, points[0]))
    shifted = {(f.tensor, f.block) for f in plain if isinstance(f, Shift)}
    undone = compensations(checker.group, points, gradients, used_in(checker.graph, "add"), shifted)
    bases = bases[1:3]
    kept, failed = _sorted(checker, [*plain, *undone], bases)
    chosen = gauge(checker.graph, checker.group, kept)
    if chosen.gains:
        point = chosen.fixed(checker.group, points[0])
        inner = propose(checker.group, point, _gradient(checker, point), _beside(checker, point), chosen.held)
        more = _sorted(checker, [Gauged(f, chosen) for f in inner if f not in kept], bases)
        kept, failed = kept + more[0], failed + more[1]
    return kept, failed


def _sorted(
    checker: Checker, proposed: Sequence[Flow], bases: Sequence[Base]
) -> tuple[tuple[Flow, ...], tuple[Flow, ...]]:
    """Those that hold at some points, and the others."""
    kept = tuple(f for f in proposed if all(_holds(checker, f, base) for base in bases))
    return kept, tuple(f for f in proposed if f not in kept)


def _gradient(checker: Checker, at: Point) -> dict[str, Tensor]:
    point = {k: v.clone().requires_grad_(True) for k, v in at.items()}
    grads = torch.autograd.grad(checker.evaluator(point), list(point.values()), allow_unused=True)
    return {k: torch.zeros_like(v) if g is None else g for (k, v), g in zip(point.items(), grads, strict=True)}


def _beside(checker: Checker, at: Point) -> list[dict[str, Tensor]]:
    """The gradients at three points that differ by ``STEP`` of each number."""
    out = []
    for _ in range(3):
        draws = {k: torch.randn(v.shape, generator=checker.generator, dtype=torch.float64) for k, v in at.items()}
        out.append(_gradient(checker, {k: v * (1 + STEP * draws[k]) for k, v in at.items()}))
    return out


def _holds(checker: Checker, flow: Flow, base: Base) -> bool:
    point, value, scale = base
    after = checker.value(flow.move(checker.group, point, checker.generator))
    return abs(after - value) <= 10 * TOLERANCE * max(scale, checker.evaluator.summands(point))


def tangent_rank(group: Group, flows: Sequence[Flow], point: Point, held: Sequence[str] = ()) -> int:
    """The dimension of the orbit at a point: of the span of the velocities of rescalings, linear maps and shifts.

    At a critical point of J the Hessian has at least so many zero eigenvalues.  Costs a singular value decomposition of
    generators by parameters.  Velocities that move a tensor of ``held`` are left out.
    """
    rows = [row for row in velocities(group, flows, point) if not any(bool(row[k].any()) for k in held)]
    if not rows:
        return 0
    matrix = torch.stack([torch.cat([row[k].reshape(-1) for k in point]) for row in rows])
    norms = matrix.norm(dim=1)
    matrix = matrix[norms > 0] / norms[norms > 0, None]
    return int(torch.linalg.matrix_rank(matrix, rtol=1e-9)) if len(matrix) else 0


def velocities(group: Group, flows: Sequence[Flow], point: Point) -> list[dict[str, Tensor]]:
    """The velocity of each generator at a point: of the flows, then of each unit's rescaling."""
    rows = [t for flow in flows for t in flow.tangents(group, point)]
    for scaling in group.scalings("scale"):
        rows += _scalings(group, scaling, point)
    return rows


def _scalings(group: Group, scaling: Scaling, point: Point) -> list[dict[str, Tensor]]:
    """The velocity of each unit's rescaling."""
    shape = group.shape_of(scaling.set)
    count = int(torch.tensor(shape).prod()) if shape else 1
    totals = [{k: torch.zeros_like(v) for k, v in point.items()} for _ in range(count)]
    for (name, k, axis), charge in scaling.charges.items():
        block = group.blocks[name][k]
        value = point[name].contiguous().as_strided(block.sizes, block.strides, block.offset)
        for unit in range(count):
            picked = torch.zeros(count, dtype=torch.float64)
            picked[unit] = charge
            spread = (
                picked.reshape(shape)
                if scaling.set is None
                else group.spread(picked.reshape(shape), block, scaling.set, axis)
            )
            totals[unit][name].as_strided(block.sizes, block.strides, block.offset).add_(spread * value)
    return totals


def describe(group: Group, flow: Flow) -> dict[str, Any]:
    """A flow in words and as data."""
    if isinstance(flow, Gauged):
        inner = describe(group, flow.inner)
        return {**inner, "words": f"{inner['words']}, with gains and shifts of norms moved into their readers"}
    if isinstance(flow, Shift):
        block = group.blocks[flow.tensor][flow.block]
        along = "" if flow.axis is None else f", the same along axis {block.dims[flow.axis]}"
        return {
            "kind": "shift",
            "dimension": flow.dimension(group),
            "words": f"shift: {flow.tensor}{along}",
            "moves": [{"tensor": flow.tensor, "axis": None if flow.axis is None else block.dims[flow.axis]}],
        }
    if isinstance(flow, Compensation):
        taking = ", ".join(dict.fromkeys(bias[0] for _, bias in flow.readers))
        return {
            "kind": "compensation",
            "dimension": flow.dimension(group),
            "words": f"shift, and take back in {taking}: {flow.tensor}",
            "moves": [{"tensor": n} for n in dict.fromkeys([flow.tensor, *(bias[0] for _, bias in flow.readers)])],
        }
    names = dict.fromkeys(name for name, _, _ in flow.charges)
    n = group.sets[flow.set].size
    what = {"linear": f"GL({n})", "rotation": f"O({n})", "mean rotation": f"O({n - 1})"}[flow.kind]
    copies = group.copies(flow.set)
    return {
        "kind": flow.kind,
        "dimension": flow.dimension(group),
        "words": f"{what}{f' in each of {copies} groups' if copies > 1 else ''}: {', '.join(names)}",
        "moves": [{"tensor": name, "power": q} for (name, _, _), q in flow.charges.items()],
    }
