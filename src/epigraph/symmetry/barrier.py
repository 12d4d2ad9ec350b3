"""The barrier between two points: J along the straight line, before and after alignment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, final

import torch
from torch import Tensor

from epigraph.errors import UsageError
from epigraph.objective.evaluate import Evaluator
from epigraph.symmetry.align import align
from epigraph.symmetry.discover import captured
from epigraph.symmetry.result import Symmetries
from epigraph.symmetry.statistics import Statistics

if TYPE_CHECKING:
    from epigraph.objective.objective import Objective

GOLDEN = (5**0.5 - 1) / 2
Point = Mapping[str, Tensor]


@final
@dataclass(frozen=True)
class Barrier:
    """J along the straight line between two points.

    ``over_max`` is the highest excess of J over the larger end value, ``over_line`` the highest excess over the linear
    interpolation of the end values; both at least 0 (the ends themselves).  ``at`` is where the second is attained, on
    [0, 1].  ``curve`` has (t, J).  The maximum is that of a grid, refined by golden sections around its best point.
    ``before`` is the barrier without alignment, where this one is with.
    """

    over_max: float
    over_line: float
    at: float
    curve: tuple[tuple[float, float], ...]
    before: Barrier | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "over_max": self.over_max,
            "over_line": self.over_line,
            "at": self.at,
            "curve": [list(p) for p in self.curve],
            "before": self.before.to_dict() if self.before else None,
        }

    def _repr_html_(self) -> str:
        """The picture, in a notebook."""
        from epigraph.plot.passage import draw, info

        return draw(info(self))


def barrier(
    J: Objective,
    first: Point,
    second: Point,
    *,
    found: Symmetries | None = None,
    points: int = 26,
    statistics: Literal["estimated", "given"] = "estimated",
) -> Barrier:
    """The barrier between two points by both usual definitions; ``found``: also after the second is aligned with the first.

    Where the model normalises with running statistics, these belong to the point and not to J.  They are "estimated"
    from the data anew at every point of the line, the ends included; or "given": interpolated between those that the
    points have under their buffers' names (those of J where they have none).

    Example:
        >>> import torch, epigraph
        >>> J = epigraph.Objective.from_function(lambda w: ((1 - w[0] * w[1]) ** 2) / 2, {"w": torch.ones(2)})
        >>> round(epigraph.barrier(J, {"w": torch.ones(2)}, {"w": -torch.ones(2)}).over_max, 6)
        0.5
    """
    if statistics not in ("estimated", "given"):
        raise UsageError("E024", f"unknown statistics {statistics!r}", hint='"estimated" or "given"')
    value = _Line(J, statistics)
    plain = _measured(lambda t: value(first, second, t), points)
    if found is None:
        return plain
    moved = align(found, first, second).point
    return replace(_measured(lambda t: value(first, moved, t), points), before=plain)


@final
class _Line:
    """J at a point of the line between two points."""

    def __init__(self, J: Objective, statistics: str):
        moved, buffers, _ = captured(J)
        graph = moved.graph()
        self.given = {k: v.detach().double() for k, v in graph.parameters.items()}
        self.evaluator = Evaluator(graph)
        estimating = statistics == "estimated" and any(b.endswith(("running_mean", "running_var")) for b in buffers)
        self.statistics = Statistics(J) if estimating else None

    def __call__(self, first: Point, second: Point, t: float) -> float:
        point = {}
        for name, value in self.given.items():
            a, b = (p[name].detach().double() if name in p else value for p in (first, second))
            point[name] = (1 - t) * a + t * b
        if self.statistics is not None:
            found = self.statistics(point)
            point |= {k: v for k, v in found.items() if k in point}
        with torch.no_grad():
            return float(self.evaluator(point))


def _measured(value: Callable[[float], float], points: int) -> Barrier:
    grid = [i / (points - 1) for i in range(points)]
    curve = [(t, value(t)) for t in grid]
    ends = curve[0][1], curve[-1][1]

    def line(t: float) -> float:
        return (1 - t) * ends[0] + t * ends[1]

    top = _refined(value, curve)
    above = _refined(lambda t: value(t) - line(t), [(t, v - line(t)) for t, v in curve])
    extra = [(t, value(t)) for t in sorted({top[0], above[0]}) if t not in grid]
    return Barrier(max(top[1] - max(ends), 0.0), max(above[1], 0.0), above[0], tuple(sorted([*curve, *extra])))


def _refined(value: Callable[[float], float], curve: list[tuple[float, float]]) -> tuple[float, float]:
    """The highest point of a curve, searched further between the neighbours of its highest grid point."""
    k = max(range(len(curve)), key=lambda i: curve[i][1])
    low, high = curve[max(k - 1, 0)][0], curve[min(k + 1, len(curve) - 1)][0]
    best = curve[k]
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_left, at_right = value(left), value(right)
    while high - low > 1e-7:
        best = max(best, (left, at_left), (right, at_right), key=lambda p: p[1])
        if at_left > at_right:
            high, right, at_right = right, left, at_left
            left = high - GOLDEN * (high - low)
            at_left = value(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + GOLDEN * (high - low)
            at_right = value(right)
    return best
