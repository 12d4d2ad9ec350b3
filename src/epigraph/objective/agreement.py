"""Is J a function, and is the captured graph that function?  The program is run where the user stands and elsewhere.

The program runs in float64 where it can, so that a small term that is missing from the graph shows; where it insists on
its own types, the comparison allows for their rounding, which the graph itself measures.
"""

from __future__ import annotations

import itertools
import math
import random
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
import torch
from torch import Tensor

from epigraph.errors import CaptureError, EpigraphError, ObjectiveError
from epigraph.objective.capture import user_line
from epigraph.objective.evaluate import Evaluator
from epigraph.objective.graph import Graph
from epigraph.objective.watch import Watch
from epigraph.objective.world import guarded, mode_of, to_double, untouched

if TYPE_CHECKING:
    from epigraph.objective.objective import Objective

SCALES = (0.0, 0.03, 0.3, 1.0, -1.0, 3.0)  # how far to move, in units of the parameters' size; -1 turns the signs
SAME = 1e-7  # relative; two float64 evaluations of one function, and what kernels approximate in their last digits
ALIKE = 1e-6  # the same for the change of J from one point to another
NOISE_BLOCK = 1_000_003  # different numbers in the direction in which a large tensor is moved
NOWHERE_FINITE = "the graph could not be compared with the program: J is not finite at the points that were tried"
CLOSE = 1e-14  # of the largest value on the way to J: what cancels leaves the rounding of its terms


def try_out(J: Objective) -> Watch:
    """Run J twice where it stands, with the generators moved in between: it must work, be finite, and give one value.

    Raises:
        ObjectiveError: it raises, is random or keeps state, or is not finite at the model's own parameters.
    """
    J.batches()
    with untouched(*J.roots()) as found, guarded(found):
        return _twice(J)


def _twice(J: Objective) -> Watch:
    watch = Watch(J.parameters.values())
    values, looks = [], []
    for attempt in range(2):
        with warnings.catch_warnings():
            if attempt:
                warnings.simplefilter("ignore")
                _reseed()
            values.append(_run(J, watch))
            looks.append(watch.looks)
    _one_value(values)
    _nothing_kept(watch, looks)
    inside = all(J.domain.contains(k, v.detach()) for k, v in J.parameters.items())
    if not math.isfinite(values[0]) and J.model is not None and inside:
        raise ObjectiveError(
            "E208",
            f"J is {values[0]} at the model's own parameters",
            why="nothing can be compared with it",
            hint="check the data and the initialisation",
        )
    return watch


def _reseed() -> None:
    torch.manual_seed(torch.initial_seed() % 2**62 + 1)
    np.random.seed(20240229)
    random.seed(20240229)


def _run(J: Objective, watch: Watch) -> float:
    try:
        with watch.run():
            return J.total()
    except EpigraphError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, NotImplementedError) and "HigherOrderOperator" in str(error):
            raise CaptureError(
                "E304",
                "the program branches or loops by torch.cond, while_loop or their like",
                where=user_line(error),
                why="J would be another formula in each branch",
                hint="torch.where, where both branches are defined",
            ) from error
        why = str(error).strip().split("\n")[0][:300] or "without a message"
        raise ObjectiveError(
            "E206",
            f"the objective raises {type(error).__name__}",
            where=user_line(error),
            why=why,
            hint="call loss(model(inputs), targets) yourself first"
            if J.model is not None
            else "call the function with these parameters yourself first",
        ) from error


def _one_value(values: list[float]) -> None:
    first, second = values
    same = first == second or (math.isnan(first) and math.isnan(second))
    if not same and not abs(first - second) <= SAME * max(abs(first), abs(second)):
        raise ObjectiveError(
            "E207",
            f"the objective is random or counts its calls: two calls at one point gave {first:.9g} and {second:.9g}",
            why="J must be a function of the parameters",
            hint='mode="eval", or fix masks and noise as data',
        )


def _nothing_kept(watch: Watch, looks: list[int]) -> None:
    if watch.kept or looks[0] != looks[1]:
        what = f"{watch.kept[0]} takes a tensor" if watch.kept else "a number was read"
        raise ObjectiveError(
            "E211",
            "the objective uses a value of the parameters from before this call",
            why=f"{what} that was computed from the parameters earlier: autograd may follow it, J does not",
            hint="compute it inside the model or the loss at every call, or .detach().clone() it if it is data",
        )


# the graph against the program ---------------------------------------------------------------------------------------
@final
@dataclass(frozen=True)
class _Row:
    """One point with J there: by the graph in float64, by the program, and how far rounding may part the two."""

    scale: float
    ours: float
    theirs: float
    noise: float


def check_agreement(J: Objective, graph: Graph, coarsest: torch.dtype) -> list[str]:
    """Compare the graph with the program at several points of the domain; notes where that was not possible.

    Both J and its changes from the first point are compared, so that a large constant hides nothing.  A program in
    float32 that differs when it runs in float64, as one with ``finfo(x.dtype).eps`` does, is compared in its own types.

    Raises:
        CaptureError: they differ.
    """
    points = list(_points(J, graph))
    measure = _Measure(graph)
    doubled = [_in_double(J, p) for _, p in points] if _in_double(J, points[0][1]) is not None else [None] * len(points)
    rows = [] if all(v is None for v in doubled) else measure.rows(points, doubled, _coarsest_in_double(J))
    if not rows or (_difference(rows) is not None and coarsest != torch.float64):
        rows = measure.rows(points, [_as_it_is(J, p) for _, p in points], coarsest)
    wrong = _difference(rows)
    if wrong is not None:
        place = "at the parameters as they are" if wrong.scale == 0 else "at parameters moved from where they are"
        raise CaptureError(
            "E303",
            f"the captured graph gives {wrong.ours:.9g} where the program gives {wrong.theirs:.9g}, {place}",
            why="the program has state, or branches in a way that capture does not see",
            hint="make the objective a pure function of its parameters, in PyTorch's operators",
        )
    if any(math.isfinite(r.ours) and math.isfinite(r.theirs) for r in rows):
        return []
    return [NOWHERE_FINITE]


def _difference(rows: Sequence[_Row]) -> _Row | None:
    """The first row that shows two functions.

    Overflow on one side decides nothing; a graph that has no value where the program has one is another function.
    """
    first: _Row | None = None
    for row in rows:
        if math.isnan(row.ours) and math.isfinite(row.theirs):
            return row
        if not (math.isfinite(row.ours) and math.isfinite(row.theirs)):
            continue
        first = first or row
        apart, change = row.ours - row.theirs, abs(row.ours - first.ours)
        if not abs(apart) <= SAME * max(abs(row.ours), abs(row.theirs)) + row.noise:
            return row
        if (
            row is not first
            and not abs(apart - (first.ours - first.theirs)) <= ALIKE * change + row.noise + first.noise
        ):
            return row
    return None


@final
class _Measure:
    """The graph's values and the rounding that its own float32 evaluation shows."""

    def __init__(self, graph: Graph):
        self.exact, self.single = Evaluator(graph), Evaluator(graph, dtype=torch.float32)
        self._known: dict[int, tuple[float, float, float]] = {}

    def rows(
        self, points: Sequence[tuple[float, dict[str, Tensor]]], theirs: Sequence[float | None], kind: torch.dtype
    ) -> list[_Row]:
        eps = torch.finfo(kind).eps
        rows = []
        for i, ((scale, point), value) in enumerate(zip(points, theirs, strict=True)):
            ours, single, largest = self._known.setdefault(i, self._at(point))
            spread = (
                64 * abs(ours - single) * min(1.0, eps / torch.finfo(torch.float32).eps)
                if math.isfinite(single)
                else 0.0
            )
            rows.append(
                _Row(scale, ours, math.nan if value is None else value, 16 * eps * abs(ours) + spread + CLOSE * largest)
            )
        return rows

    def _at(self, point: dict[str, Tensor]) -> tuple[float, float, float]:
        with torch.no_grad():
            single = float(self.single({k: v.float() for k, v in point.items()}))
        ours, largest = _value_and_largest(self.exact, point)
        return ours, single, largest


def _value_and_largest(evaluator: Evaluator, point: dict[str, Tensor]) -> tuple[float, float]:
    """J, and the largest finite absolute value among the nodes that depend on the parameters."""
    values, largest = dict(evaluator._kept), 0.0
    with torch.no_grad():
        for node in evaluator.graph:
            if evaluator._moves[node.id]:
                leaf = node.op == "parameter"
                value = (
                    point[node.attributes["name"]].double()
                    if leaf
                    else evaluator._apply(node, [values[i] for i in node.inputs])
                )
                values[node.id] = value
                largest = max(largest, _largest_finite(value))
                for i in node.inputs:
                    if evaluator._last[i] == node.id and evaluator._moves[i]:
                        values.pop(i, None)
    return float(values[evaluator.graph.output]), largest


def _largest_finite(value: Tensor) -> float:
    """The largest finite absolute value among the entries, 0 where there is none."""
    if not value.numel():
        return 0.0
    low, high = (float(v) for v in torch.aminmax(value))
    if math.isfinite(low) and math.isfinite(high):
        return max(abs(low), abs(high))
    finite = value[torch.isfinite(value)]
    return float(finite.abs().max()) if finite.numel() else 0.0


def _coarsest_in_double(J: Objective) -> torch.dtype:
    """The type with the fewest digits that the program uses when everything around it is float64."""
    with untouched(*J.roots()), mode_of(J.modules(), J.mode), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        to_double(J.roots())
        watch = Watch(J.parameters.values())
        with watch.run():
            J.total({k: v.detach().double() for k, v in J.parameters.items()}, torch.float64)
    return watch.coarsest


def _in_double(J: Objective, point: dict[str, Tensor]) -> float | None:
    """J's program at a point in float64, or None where it does not run so."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return J.value(point, double=True)
    except Exception:  # whatever a program raises when its types are not what it expects
        return None


def _as_it_is(J: Objective, point: dict[str, Tensor]) -> float:
    """J's program at a point, NaN where it raises: a program may refuse points, as a distribution of negative scale does."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return J.value(point)
    except Exception:  # what a program raises is its own choice
        return math.nan


def _points(J: Objective, graph: Graph) -> Iterator[tuple[float, dict[str, Tensor]]]:
    """Where the user stands, and points around it and away from it, all in the domain; fewer for a large graph."""
    work = sum(n.numel for n in graph)
    count = 6 if work < 3e6 else 3 if work < 3e7 else 2
    generator = torch.Generator().manual_seed(20240229)
    for scale in itertools.islice(SCALES, count):
        point = {}
        for name, value in J.parameters.items():
            base = value.detach().double().cpu()
            if scale:
                base = (-base if scale < 0 else base).addcmul(
                    _noise(base.shape, generator), base.abs() + 0.1, value=abs(scale)
                )
            point[name] = J.domain.inside(name, base, generator).to(value)
        yield scale, point


def _noise(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Normal numbers, those of a large tensor repeated."""
    count = shape.numel()
    block = torch.randn(min(count, NOISE_BLOCK), generator=generator, dtype=torch.float64)
    return block.repeat(-(-count // max(1, len(block))))[:count].reshape(shape)


def still_agrees(J: Objective, graph: Graph) -> bool:
    """Does a graph from earlier give what the program gives now, at the parameters as they are now?"""
    point = {k: v.detach() for k, v in J.parameters.items()}
    value = _in_double(J, point)
    theirs = _as_it_is(J, point) if value is None else value
    ours, single, largest = _Measure(graph)._at(point)
    room = 64 * abs(ours - single) if value is None and math.isfinite(single) else 0.0
    same = math.isnan(ours) and math.isnan(theirs)
    return same or ours == theirs or abs(ours - theirs) <= SAME * max(abs(ours), abs(theirs)) + room + CLOSE * largest


def gradient_notes(J: Objective, graph: Graph) -> list[str]:
    """Parameters whose gradient by autograd is not the derivative of J: detach, no_grad, a backward of one's own.

    J is analysed as a function of its values; what an optimiser follows may be another vector field.
    """
    names = [n for n, i in graph.parameter_nodes.items() if i in _used(graph)]
    if not names or sum(n.numel for n in graph) > 1e7:
        return []
    theirs = _autograd(J, names)
    if theirs is None:
        return []
    ours = _derivative(J, graph, names)
    if ours is None:
        return []
    largest = max((float(g.norm()) for g in ours if g is not None), default=0.0)
    wrong = [n for n, a, b in zip(names, ours, theirs, strict=True) if _apart(a, b, 1e-4 * largest)]
    if not wrong:
        return []
    listed = ", ".join(wrong[:4]) + (f" and {len(wrong) - 4} more" if len(wrong) > 4 else "")
    return [
        f"autograd's gradient is not the derivative of J in {listed} (detach, no_grad, or a backward of its own): "
        "J is analysed as the function of its values"
    ]


def _derivative(J: Objective, graph: Graph, names: list[str]) -> Sequence[Tensor | None] | None:
    point = {k: v.detach().double().cpu().requires_grad_(k in names) for k, v in J.parameters.items()}
    try:
        value = Evaluator(graph)(point)
        return torch.autograd.grad(value, [point[n] for n in names], allow_unused=True) if value.requires_grad else None
    except (RuntimeError, NotImplementedError):  # an opaque operator without a derivative
        return None


def _used(graph: Graph) -> set[int]:
    return {i for n in graph for i in n.inputs} | {graph.output}


def _autograd(J: Objective, names: list[str]) -> list[Tensor | None] | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return J.gradient(names)
    except Exception:  # no backward, or one that fails: nothing to compare
        return None


def _apart(ours: Tensor | None, theirs: Tensor | None, noise: float) -> bool:
    if ours is None or not bool(torch.isfinite(ours).all()) or float(ours.norm()) <= noise:
        return False
    if theirs is None:
        return True
    other = theirs.detach().double().cpu()
    return bool(torch.isfinite(other).all()) and float((ours - other).norm()) > 0.05 * float(ours.norm())
