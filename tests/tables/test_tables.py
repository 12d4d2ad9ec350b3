"""The committed tables are what the tool says, and what it says there is true.

A sample of rows is made again by the tool and may have gained a verdict, none lost; under `soak` all rows are made, and
have to be those committed (`make tables` renews them).  Everything else here looks only at the committed
data and at PyTorch: the points of each counterexample are evaluated, each proved row is attacked at random points, the
linear rows are compared with those of the input, and intervals, ranges and constants with mpmath and autograd.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import activations
import activations_page
import generate
import losses
import losses_page
import mpmath
import pytest
import torch
from activation_curve import Curve, derivative
from table_case import Case
from table_record import PROPERTIES, states
from torch import Tensor, nn

from epigraph.objective.target import load

DATA = {name: json.loads((generate.REFERENCE / f"{name}.json").read_text(encoding="utf-8")) for name in generate.PAGES}
PAGE = {"losses": losses_page, "activations": activations_page}
# LinearCrossEntropyLoss is new in PyTorch 2.13
HERE = [g for g in losses.GROUPS if not g.official or hasattr(nn, g.loss)]
LOSSES = {case.name: case for group in HERE for case in group.cases}
CURVES = {curve.name: curve for family in activations.FAMILIES.values() for curve in family}
SEVERAL = {case.name: case for case in activations.SEVERAL}
ROWS = {page: {row["name"]: row for group in data["groups"] for row in group["rows"]} for page, data in DATA.items()}
SAMPLE_LOSSES = ["mse", "ce_soft_zero", "poisson_rate_below", "bce_clamp", "triplet_positive_swap", "huber_zero"]
SAMPLE_CURVES = ["elu_two", "hardshrink", "rrelu_train", "mish"]


# what is in the tables ------------------------------------------------------------------------------------------------
def test_every_loss_of_torch_has_rows():
    listed = set(torch.nn.modules.loss.__all__) - set(losses.LEFT_OUT)
    assert {group.loss for group in HERE if group.official} == listed


def test_every_activation_of_torch_has_rows():
    shown = [curve.module for curve in CURVES.values()] + [case.loss for case in SEVERAL.values()]
    missing = [n for n in torch.nn.modules.activation.__all__ if not any(m.startswith(f"nn.{n}(") for m in shown)]
    assert set(missing) == set(activations.LEFT_OUT)


@pytest.mark.parametrize("page", generate.PAGES)
def test_the_page_shows_the_committed_data(page):
    text = (generate.REFERENCE / f"{page}.md").read_text(encoding="utf-8")
    assert PAGE[page].page(DATA[page]) == text


def test_the_data_are_of_the_rows_as_they_are():
    for name, case in LOSSES.items():
        row = ROWS["losses"][name]
        assert (row["module"], row["call"], row["when"]) == (case.loss, case.call, case.when)
        assert row["data"] == dict(case.data)
    for name, curve in CURVES.items():
        row = ROWS["activations"][name]
        assert (row["module"], row["when"], row["lipschitz"]) == (curve.module, curve.when, curve.lipschitz)
        assert [p["box"] for p in row["pieces"]] == [list(p.box()) for p in (*curve.pieces, *curve.turns)]


# the tool says so -----------------------------------------------------------------------------------------------------
def settled(row: Any) -> Any:
    """A row without what depends on the search's luck."""
    if isinstance(row, dict) and "target" in row:
        return states(row)
    if isinstance(row, dict):
        return {key: settled(value) for key, value in row.items()}
    return [settled(value) for value in row] if isinstance(row, list) else row


def kept(made: Any, committed: Any) -> bool:
    """Is what the tool says now what was committed, or more where that was undecided or an error?"""
    if isinstance(committed, dict) and "target" in committed:
        decided = {p: committed[p] for p in PROPERTIES if committed.get(p, "undecided") != "undecided"}
        return made["target"] == committed["target"] and all(made.get(p) == word for p, word in decided.items())
    if isinstance(committed, dict):
        return made.keys() == committed.keys() and all(kept(made[key], committed[key]) for key in committed)
    if isinstance(committed, list) and committed and isinstance(committed[0], dict):
        return all(kept(m, c) for m, c in zip(made, committed, strict=True))
    return committed is None or made == committed


@pytest.mark.parametrize("name", SAMPLE_LOSSES)
def test_a_sample_of_losses_is_as_committed(name):
    assert kept(losses_page.row(LOSSES[name]), ROWS["losses"][name])


@pytest.mark.parametrize("name", SAMPLE_CURVES)
def test_a_sample_of_activations_is_as_committed(name):
    assert kept(activations_page.curve(CURVES[name]), ROWS["activations"][name])


def test_a_lost_verdict_would_be_noticed():
    row = ROWS["losses"]["mse"]
    assert kept(row, row)
    assert not kept({**row, "input": {**row["input"], "convex": "undecided"}}, row)
    assert kept(row, {**row, "input": {**row["input"], "convex": "undecided"}})


@pytest.mark.parametrize("target", ["losses.py:mse_linear", "losses.py:mse_strong", "activations.py:silu_1_above"])
def test_rows_are_targets_of_the_command_line(target):
    objective = load(str(generate.REFERENCE.parent / "tables" / target))
    assert math.isfinite(objective.value())


@pytest.mark.soak
@pytest.mark.parametrize("name", LOSSES)
def test_all_losses_are_as_committed(name):
    assert settled(losses_page.row(LOSSES[name])) == settled(ROWS["losses"][name])


@pytest.mark.soak
@pytest.mark.parametrize("name", [*CURVES, *SEVERAL])
def test_all_activations_are_as_committed(name):
    made = activations_page.curve(CURVES[name]) if name in CURVES else activations_page.several(SEVERAL[name])
    assert settled(made) == settled(ROWS["activations"][name])


# the counterexamples hold, the proofs are not contradicted ------------------------------------------------------------
Function = Callable[[dict[str, Tensor]], float]
Box = dict[str, tuple[float | None, float | None]]


def plain(case: Case) -> Function:
    """A loss in its input, by PyTorch alone."""
    call = case.function()
    return lambda point: float(call(**point).detach())


def entrywise(curve: Curve) -> Function:
    """An activation of one number, by PyTorch alone."""
    module = curve.objective("").function
    return lambda point: float(module(point["x"]).detach())


def linear(case: Case) -> Function:
    """A loss of a linear model, by PyTorch alone."""
    objective = case.composed()
    model, (data, _) = objective.model, objective._data
    assert model is not None
    return lambda point: float(torch.func.functional_call(model, point, data).detach())


def records() -> Iterator[tuple[str, dict[str, Any], Callable[[], Function], dict[str, tuple[int, ...]], Box]]:
    """Name, record, function, shapes and bounds of everything in the tables that has a verdict."""
    for name, case in {**LOSSES, **SEVERAL}.items():
        row = ROWS["losses" if name in LOSSES else "activations"][name]
        if "error" not in row["input"]:
            yield name, row["input"], lambda case=case: plain(case), dict(case.variables), dict(case.bounds)
        if (found := row.get("linear")) is not None and "error" not in found:
            shapes = {n: tuple(v.shape) for n, v in case.composed().parameters.items()}
            box: Box = dict.fromkeys(shapes, (0.0, None)) if case.linear == "positive" else {}
            yield f"{name}_linear", found, lambda case=case: linear(case), shapes, box
    for name, curve in CURVES.items():
        row = ROWS["activations"][name]
        found = {"": row["line"]} | {f"_{i}": piece["on"] for i, piece in enumerate(row["pieces"])}
        found |= {f"_{i}_{side}": p[side] for i, p in enumerate(row["pieces"]) for side in ("below", "above")}
        for suffix, entry in found.items():
            if entry is not None and "error" not in entry:
                (low, high) = _box(curve, suffix)
                yield (
                    name + suffix,
                    entry,
                    lambda curve=curve: entrywise(curve),
                    {"x": ()},
                    {"x": (low, high)},
                )


def _box(curve: Curve, suffix: str) -> tuple[float | None, float | None]:
    domain = curve.targets()[curve.name + suffix]().domain
    ends = (domain.lower.get("x"), domain.upper.get("x"))
    low, high = (None if end is None else float(end) for end in ends)
    return low, high


RECORDS = {name: rest for name, *rest in records()}
SIGN = {"convex": 1, "concave": -1}
ROUNDED = {"bce_sigmoid", "bce_sigmoid_linear"}  # PyTorch's sigmoid(40.) is 1, so that its value is off by up to 100


def tensors(point: dict[str, Any]) -> dict[str, Tensor]:
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in point.items()}


def test_every_counterexample_holds_in_pytorch():
    seen = 0
    for name, (entry, function, *_) in RECORDS.items():
        J = function()
        for kind, sign in SIGN.items():
            if entry[kind] != "refuted":
                continue
            points = entry["refuted"][kind]
            a, b = tensors(points["a"]), tensors(points["b"])
            m = {key: (a[key] + b[key]) / 2 for key in a}
            gap = sign * (J(m) - (J(a) + J(b)) / 2)
            assert gap > 0, f"{name} is {kind}"
            assert name in ROUNDED or math.isclose(gap, float(points["gap"]), rel_tol=1e-2), f"{name} is {kind}"
            seen += 1
    assert seen > 200


def samples(
    shapes: dict[str, tuple[int, ...]], box: Box, scale: float, generator: torch.Generator
) -> dict[str, Tensor]:
    """A random point of the box."""
    out = {}
    for name, shape in shapes.items():
        low, high = box.get(name, (None, None))
        unit = torch.rand(shape, dtype=torch.float64, generator=generator)
        if low is None and high is None:
            out[name] = (unit - 0.5) * 2 * scale
        elif low is not None and high is not None:
            out[name] = low + (high - low) * unit
        else:
            out[name] = low + scale * unit if low is not None else (high or 0.0) - scale * unit
    return out


def test_nothing_proved_fails_at_random_points():
    generator, seen = torch.Generator().manual_seed(0), 0
    for name, (entry, function, shapes, box) in RECORDS.items():
        kinds = [kind for kind in SIGN if entry[kind] == "proved"]
        J = function()
        for trial in range(24 if kinds else 0):
            scale = (0.1, 1.0, 4.0, 16.0)[trial % 4]
            a, b = (samples(shapes, box, scale, generator) for _ in "ab")
            m = {key: (a[key] + b[key]) / 2 for key in a}
            values = J(a), J(m), J(b)
            for kind in kinds:
                gap = SIGN[kind] * (values[1] - (values[0] + values[2]) / 2)
                assert gap <= 1e-9 * max(map(abs, values)) + 1e-12, f"{name} is not {kind} at {a}, {b}"
            seen += bool(kinds)
    assert seen > 3000


def test_a_linear_model_that_reaches_every_output_has_the_verdict_of_the_loss():
    for name, case in LOSSES.items():
        row = ROWS["losses"][name]
        if row["linear"] is None or "error" in row["linear"] or len(case.variables) > 1 or case.linear == "positive":
            continue
        assert row["linear"]["verdict"] == row["input"]["verdict"], name


def flat(case: Case) -> Callable[[Tensor], Tensor]:
    """A loss as a function of one vector of all its variables."""
    call = case.function()

    def function(v: Tensor) -> Tensor:
        parts = torch.split(v, [math.prod(shape) for shape in case.variables.values()])
        return call(**{n: p.reshape(s) for (n, s), p in zip(case.variables.items(), parts, strict=True)})

    return function


def test_moduli_are_below_the_curvature():
    generator, seen = torch.Generator().manual_seed(0), 0
    for name, case in LOSSES.items():
        found = ROWS["losses"][name]["modulus"]
        if case.modulus is None or found is None:
            continue
        for _ in range(20):
            point = samples(dict(case.variables), dict(case.bounds), 3.0, generator)
            hessian = torch.autograd.functional.hessian(flat(case), torch.cat([v.reshape(-1) for v in point.values()]))
            least = torch.linalg.eigvalsh(hessian)[0]
            assert least >= eval(case.modulus) * (1 - 1e-9), name
        seen += 1
    assert seen >= 8


# numbers on the page of activations -----------------------------------------------------------------------------------
FORMULAS: dict[str, Callable[[Any], Any]] = {
    "silu": lambda x: x / (1 + mpmath.exp(-x)),
    "gelu": lambda x: x * mpmath.ncdf(x),
    "gelu_tanh": lambda x: (
        x / 2 * (1 + mpmath.tanh(mpmath.mpf(math.sqrt(2 / math.pi)) * (x + mpmath.mpf(0.044715) * x**3)))
    ),
    "mish": lambda x: x * mpmath.tanh(mpmath.log(1 + mpmath.exp(x))),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_turning_points_agree_with_mpmath(name):
    with mpmath.workdps(50):
        for order, pieces in ((2, CURVES[name].pieces), (1, CURVES[name].turns)):
            for end in [piece.high for piece in pieces if piece.high]:
                below, above = (mpmath.diff(FORMULAS[name], mpmath.mpf(x), order) for x in (end.low, end.high))
                assert below * above < 0 and end.high == math.nextafter(end.low, math.inf)
                assert abs(derivative(name, order, end.low).mid() - float(below)) < 1e-15


@pytest.mark.parametrize("name", CURVES)
def test_ranges_and_lipschitz_constants_agree_with_autograd(name):
    curve = CURVES[name]
    if curve.name == "rrelu_train":
        return
    x = (
        torch.cat([torch.linspace(-8, 8, 160_011), torch.linspace(-1e4, 1e4, 2001)])
        .double()
        .sort()
        .values.requires_grad_()
    )
    y = curve.objective("").function(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    x, y = x.detach(), y.detach()
    least, most = float(y.min()), float(y.max())
    assert least >= -math.inf if curve.least is None else -1e-12 <= least - curve.least < 1e-3
    assert most <= math.inf if curve.most is None else -1e-3 < most - curve.most <= 1e-12
    assert curve.least is not None or least < -2
    assert curve.most is not None or most > 2
    if curve.lipschitz is not None:
        assert -1e-3 < float(slope.abs().max()) - curve.lipschitz <= 1e-8  # hardsigmoid's backward has 1/6 in float32
    else:
        steps = (y[1:] - y[:-1]).abs() / (x[1:] - x[:-1])
        assert float(steps.max()) > 50 or not math.isfinite(float(steps.max()))
