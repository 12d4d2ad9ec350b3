r"""Do the products agree with differences of gradients?

Autograd differentiates the program that it is shown.  Where that hides a dependence, by ``detach``, ``no_grad`` or a function of its
own whose backward pass is a constant to it, the second derivative comes out wrong without a word.  Differences of gradients do not:

    H v  =  (grad J(theta + h v) - grad J(theta - h v)) / 2h  +  O(h^2),

in float64 good to eight digits.  A kink between the two points spoils one difference, so smaller steps get their turn: a network
with tens of millions of rectified units has some kink within 1e-7 of any point, and seldom one within 1e-9.  The first step is wide
for models that cast to float32 inside.  Where H v is zero, what is left falls as h^2, which nothing that is hidden does.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from epigraph.errors import ObjectiveError
from epigraph.hessian.engines import Engine, gradient_and_value
from epigraph.hessian.program import Program
from epigraph.objective.objective import Objective

STEPS = (1e-3, 1e-6, 1e-9)  # as shares of the parameters' norm
FALLING = 0.05  # from step to step at most, of what is O(h^2)
NEAR = {torch.float32: 2e-3, torch.float64: 1e-4}  # relative, block by block: what is hidden is a term, not a digit
LARGE = 20_000_000  # parameters; above, the copy in float64 is not made


def require_agreement(J: Objective, program: Program, engine: Engine) -> None:
    """The products of an engine against differences of gradients in float64, along one random direction.

    Raises:
        ObjectiveError: they differ: what autograd gives is not the second derivative of J.
    """
    if sum(p.numel() for p in program.point) > LARGE:
        return
    generator = torch.Generator().manual_seed(1)
    v = [
        torch.randn(p.shape, generator=generator, dtype=torch.float64, device="cpu").to(p.device) for p in program.point
    ]
    given = [w.double() for w in engine.product([w.to(p.dtype) for w, p in zip(v, program.point, strict=True)])]
    v = [w.to(p.dtype).double() for w, p in zip(v, program.point, strict=True)]
    size = max(_norm([p.double() for p in program.point]), 1e-3) / max(_norm(v), 1e-300)
    if not all(bool(torch.isfinite(w).all()) for w in given):
        return  # said where it is used
    worst: str | None = None
    gaps: list[float] = []
    for step in STEPS:
        try:
            slopes = _difference(J, program, v, step * size)
        except (
            RuntimeError,
            ObjectiveError,
        ):  # a program that does not run in float64, or stops at the edge of its domain
            return
        worst = _apart(program.names, given, slopes, NEAR[program.real])
        if worst is None:
            return
        gaps.append(_norm([a - b for a, b in zip(given, slopes[0], strict=True)]))
    if all(later <= FALLING * earlier for earlier, later in pairwise(gaps)):
        return
    raise ObjectiveError(
        "E216",
        f"autograd's second derivative in {worst!r} differs from differences of gradients",
        why="something on the way to J is hidden from autograd (detach, no_grad, .item(), a custom autograd function), or an "
        "operator's own second derivative is wrong (torch._weight_norm's is, in torch 2.13 and 2.14)",
        hint="let autograd see all of J, or hessian(..., verify=False) for the derivative that it sees",
    )


def _difference(J: Objective, program: Program, v: list[Tensor], h: float) -> tuple[list[Tensor], float]:
    """The central difference of gradients, and the size of a gradient over the step."""
    ends = []
    for sign in (1.0, -1.0):
        at = {
            **program.values,
            **{n: p.double() + sign * h * w for n, p, w in zip(program.names, program.point, v, strict=True)},
        }
        ends.append(gradient_and_value(Program(J, program.names, at, torch.float64))[0])
    return [(a - b) / (2 * h) for a, b in zip(*ends, strict=True)], _norm(ends[0]) / h


def _norm(tensors: list[Tensor]) -> float:
    return sum(float(t.double().pow(2).sum()) for t in tensors) ** 0.5


def _apart(names: tuple[str, ...], given: list[Tensor], slopes: tuple[list[Tensor], float], near: float) -> str | None:
    """The first block whose product is not its difference, or None."""
    found, size = slopes
    floor = near / 10 * _norm(found) + 1e-12 * size
    for name, a, b in zip(names, given, found, strict=True):
        if not float((a - b).norm()) <= near * float(b.norm()) + floor:
            return name
    return None
