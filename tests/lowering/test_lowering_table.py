"""Every registered overload against PyTorch in float64: values, gradients, and the way through torch.export."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lowering_case import Row, V, leaves
from rows import TABLE, UNREACHABLE
from torch import Tensor

from epigraph.objective.builder import Builder, Expression
from epigraph.objective.capture import Lowering
from epigraph.objective.evaluate import Evaluator
from epigraph.objective.graph import Graph
from epigraph.objective.lowering import LOWERINGS
from epigraph.objective.objective import Objective

#: Second outputs that are positions: nodes of which nothing is known.
POSITIONS = (
    "_linalg_eigh",
    "max.dim",
    "min.dim",
    "cummax",
    "cummin",
    "sort",
    "topk",
    "kthvalue",
    "median.dim",
    "max_pool",
    "adaptive_max_pool",
)


def _identify(r: Row) -> str:
    return r.overload.removeprefix("aten.")


def _lower(r: Row) -> list[tuple[int, Graph]]:
    """The graph of each output tensor of the lowered call."""
    builder = Builder()
    inputs = [
        builder.parameter(f"p{i}", torch.zeros(v.shape, dtype=torch.float64)) for i, v in enumerate(r.parameters())
    ]
    lowering = Lowering(builder)
    wrapped = [_literal(builder, v) for v in (r.args, r.kwargs)]
    call = Row(r.overload, wrapped[0], wrapped[1])
    out = call.call(inputs, op=lambda *args, **kwargs: lowering.call(r.op, args, kwargs))
    outputs = list(out) if isinstance(out, (list, tuple)) else [out]
    assert not [n for n in lowering.notes if n.startswith(r.overload)], lowering.notes
    return [(i, builder.graph(e)) for i, e in enumerate(outputs) if isinstance(e, Expression)]


def _literal(builder: Builder, value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _literal(builder, v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_literal(builder, v) for v in value)
    return builder.literal(value, "data") if isinstance(value, Tensor) else value


def _torch_outputs(r: Row, values: list[Tensor]) -> list[Any]:
    # constants are copied: some operators update their arguments
    copied = Row(r.overload, _copies(r.args), _copies(r.kwargs))
    out = copied.call(values)
    return list(out) if isinstance(out, (list, tuple)) else [out]


def _copies(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _copies(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_copies(v) for v in value)
    return value.clone() if isinstance(value, Tensor) else value


def _point(r: Row, kind: str, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [v.point(kind, generator) for v in r.parameters()]


def _compare(ours: Tensor, theirs: Tensor, tolerance: float, where: str) -> None:
    theirs = theirs.to(torch.float64)
    assert tuple(ours.shape) == tuple(theirs.shape), where
    ours, finite = ours.to(torch.float64), torch.isfinite(theirs)
    apart = (ours - theirs).abs()[finite]
    bound = tolerance * (1 + theirs.abs()[finite])
    assert bool((apart <= bound).all()), f"{where}: {float((apart / bound * tolerance).max()):.2g} apart"
    assert not bool(torch.isfinite(ours)[~finite].any()), f"{where}: a value where PyTorch has none"


@pytest.mark.parametrize("position", range(len(TABLE)), ids=[_identify(r) for r in TABLE])
def test_values_and_gradients(position):
    r = TABLE[position]
    if not r.exists:
        pytest.skip("not in this version of PyTorch")
    graphs = _lower(r)
    assert graphs or not r.parameters()
    for index, graph in graphs:
        if index == 0 or not any(p in r.overload for p in POSITIONS):
            assert not [n for n in graph if n.op == "opaque"], f"{r.overload}: output {index} is opaque"
    for seed, kind in enumerate(r.kinds):
        values = _point(r, kind, seed)
        point = {f"p{i}": v for i, v in enumerate(values)}
        theirs = _torch_outputs(r, [v.clone() for v in values])
        for index, graph in graphs:
            ours = Evaluator(graph)(point)
            if isinstance(theirs[index], Tensor):
                _compare(ours, theirs[index], r.tolerance, f"{r.overload}{_shown(r)} output {index}, {kind}")
    if r.smooth and r.parameters():
        _gradients(r, graphs[0])


def _shown(r: Row) -> str:
    return str(tuple(a.shape if isinstance(a, V) else "data" if isinstance(a, Tensor) else a for a in r.args))


def _gradients(r: Row, output: tuple[int, Graph]) -> None:
    index, graph = output
    values = [v.requires_grad_() for v in _point(r, "random", 17)]
    try:
        theirs = _torch_outputs(r, values)[index]
        weights = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
        expected = torch.autograd.grad((theirs * weights).sum(), values, allow_unused=True)
    except RuntimeError:  # PyTorch has no derivative of this call
        return
    mine = [v.detach().clone().requires_grad_() for v in values]
    out = Evaluator(graph)({f"p{i}": v for i, v in enumerate(mine)})
    found = (
        torch.autograd.grad((out * weights).sum(), mine, allow_unused=True) if out.requires_grad else [None] * len(mine)
    )
    for ours, other, value in zip(found, expected, values, strict=True):
        zero = torch.zeros_like(value)
        _compare(
            zero if ours is None else ours,
            zero if other is None else other,
            1e3 * r.tolerance,
            f"gradient of {r.overload}{_shown(r)}",
        )


def test_every_overload_has_a_row():
    covered = {r.overload for r in TABLE} | set(UNREACHABLE)
    missing = sorted(set(LOWERINGS) - covered)
    assert not missing, f"no row for {missing}"
    unknown = sorted(covered - set(LOWERINGS))
    assert not unknown, f"rows for overloads without a lowering: {unknown}"


def test_the_comparison_can_fail():
    with pytest.raises(AssertionError, match="apart"):
        _compare(torch.ones(2), torch.ones(2) + 1e-6, 1e-10, "here")
    with pytest.raises(AssertionError, match="none"):
        _compare(torch.ones(1), torch.tensor([torch.nan]), 1e-10, "here")
    with pytest.raises(AssertionError, match="apart"):
        _compare(torch.tensor([torch.nan]), torch.ones(1), 1e-10, "here")


# through torch.export -----------------------------------------------------------------------------------------------
def _exported() -> list[Row]:
    """The first two rows of each overload."""
    seen: dict[str, int] = {}
    rows = []
    for r in TABLE:
        if r.export and r.exists and r.parameters() and seen.get(r.overload, 0) < 2:
            seen[r.overload] = seen.get(r.overload, 0) + 1
            rows.append(r)
    return rows


EXPORTED = _exported()
GROUP = 24


def _real(outputs: list[Any]) -> list[Tensor]:
    return [v for v in outputs if isinstance(v, Tensor) and v.is_floating_point()]


def _functional(rows: list[Row], weights: list[Tensor]):
    """A function of all parameters of the rows: a linear functional of each floating-point output, added up."""

    def function(*parameters: Tensor) -> Tensor:
        queue, factors = list(parameters), list(weights)
        total = sum(p.sum() * 1e-3 for p in parameters)
        for r in rows:
            values = [queue.pop(0) for _ in r.parameters()]
            for out in _real(_torch_outputs(r, values)):
                total = total + (out * factors.pop(0)).sum()
        return total

    return function


def _weights(rows: list[Row]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    outputs = [o for i, r in enumerate(rows) for o in _real(_torch_outputs(r, _point(r, "random", i)))]
    return [torch.randn(o.shape, generator=generator, dtype=torch.float64) for o in outputs]


@pytest.mark.parametrize("start", range(0, len(EXPORTED), GROUP))
def test_through_export(start):
    rows = EXPORTED[start : start + GROUP]
    function = _functional(rows, _weights(rows))
    point = [p for i, r in enumerate(rows) for p in _point(r, "random", i)]
    names = [f"p{i}" for i in range(len(point))]
    shapes = [v for r in rows for v in leaves((r.args, r.kwargs)) if isinstance(v, V)]
    domain = {n: (v.low, v.high) for n, v in zip(names, shapes, strict=True) if (v.low, v.high) != (None, None)}
    J = Objective.from_function(function, dict(zip(names, point, strict=True)), domain=domain)
    graph = J.graph()
    assert not [n for n in J.notes if n.startswith("captured by recording")], J.notes
    for seed in (100, 200):
        values = [p for i, r in enumerate(rows) for p in _point(r, "random", seed + i)]
        ours = Evaluator(graph)(dict(zip(names, values, strict=True)))
        theirs = function(*values)
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)
