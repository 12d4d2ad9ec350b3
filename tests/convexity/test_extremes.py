"""Numbers at the ends of the range of floats: what underflows or overflows is never taken for zero or for nothing."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from epigraph import Objective, check
from epigraph.certificate.affine import Numbers, Rows
from epigraph.certificate.points import Delta
from epigraph.certificate.semidefinite import semidefinite
from epigraph.convexity.curvature import Attempt, curvature_claims
from epigraph.convexity.evidence import Court
from epigraph.convexity.polynomial import polynomial_claims
from epigraph.convexity.prove import Prover
from epigraph.convexity.refute import Refuter
from epigraph.convexity.rounding import dyadic
from epigraph.convexity.search import Candidate

LOW = torch.tensor(-1000.0, dtype=torch.float64)  # e^-1000 is positive and no float


def of(f: Callable[..., Tensor], start: dict[str, Any], **options: Any) -> tuple[Prover, tuple[str, ...], Court]:
    J = Objective.from_function(f, {k: torch.tensor(v, dtype=torch.float64) for k, v in start.items()}, **options)
    graph = J.graph()
    return Prover(graph, J.domain, J.describe()), tuple(J.parameters), Court(graph, J.domain, J.describe())


@pytest.mark.parametrize(
    "f",
    [
        lambda x, y: x**2 - torch.exp(LOW) * y**4,
        lambda x, y: x**2 + torch.exp(LOW) * torch.sin(y),
        lambda x, y: x**2 + 2.0**-300 * (torch.exp(LOW) * torch.sin(y)),
        lambda x, y: torch.sqrt(1 + x**2) - torch.exp(LOW) * y**2,
    ],
)
def test_a_weight_that_underflows_is_not_zero(f: Callable[..., Tensor]) -> None:
    assert curvature_claims(*of(f, {"x": 0.5, "y": 0.5}))[0] == {}


def test_products_of_radii_that_underflow_keep_a_radius() -> None:
    unsure = Numbers(np.array([2.0**-300, 0.0]), np.array([2.0**-900, 0.0]))
    found = unsure.times(Numbers(np.full(2, 2.0**-300)))
    assert found.radius is not None
    assert found.radius[0] > 0
    assert found.radius[1] == 0


@pytest.mark.parametrize(("a", "b"), [(1e300, -1e-300), (1e-300, -1e300), (-1e300, 1e-300), (-1e-300, 1e300)])
def test_factors_of_very_different_size_are_not_lost(a: float, b: float) -> None:
    f = lambda z: a * torch.exp(z)[0] + b * torch.exp(z)[1]  # noqa: E731
    assert curvature_claims(*of(f, {"z": [0.0, 0.0]}))[0] == {}
    v = check(Objective.from_function(f, {"z": torch.zeros(2, dtype=torch.float64)}), effort="quick")
    assert v.convex != "proved"
    assert v.concave != "proved"


def test_blocks_with_the_same_bytes_and_another_shape_are_told_apart() -> None:
    # column 0: rows 1, 1, 1 of the kinds 0, 1, 2; columns 1 and 2: rows (1, 1) and (1, 0) of the kinds 1 and 2
    rows = Rows(np.array([0, 1, 2, 3, 5, 6]), np.array([0, 0, 0, 1, 2, 1]), Numbers(np.ones(6)))
    kinds = np.array([0, 1, 2, 1, 2])
    weights = [Fraction(10), Fraction(-1), Fraction(1)]
    assert not semidefinite(rows, kinds, weights, 3, Fraction(0))  # -(x_1 + x_2)^2 + x_1^2 at (0, 1)


def test_a_range_that_overflows_is_the_whole_line() -> None:
    box = {"x": (1e300, 1.5e300)}
    prover, active, _ = of(
        lambda x, y: torch.sin(1e100 * x + y), {"x": 1.2e300, "y": 0.0}, domain={**box, "y": (0.0, 1.0)}
    )
    curvature = Attempt(prover, active, 1).curvature()
    assert [(f.low, f.high) for f in curvature.functions] == [(-np.inf, np.inf)]


@pytest.mark.parametrize("box", [{"y": (0.0, 1.0)}, {"y": (0.0, 1.0), "z": (0.0, 2.0)}])
def test_the_box_of_another_parameter_bounds_nothing(box: dict[str, Any]) -> None:
    f = lambda x, y, z: x**4 + x**3  # noqa: E731  convex for x >= 0 only
    parts = of(f, {"x": 0.5, "y": 0.5, "z": 0.5}, domain=box)
    assert polynomial_claims(*parts) == {}
    inside = of(f, {"x": 0.5, "y": 0.5, "z": 0.5}, domain={**box, "x": (0.0, None)})
    assert "convex" in polynomial_claims(*inside)


C = torch.tensor(1e-200, dtype=torch.float64)


@pytest.mark.parametrize(
    ("f", "convex"),
    [
        (lambda x, y: x**2 - (C * C) * y**4, False),
        (lambda x, y: x**2 + (C * C) * y**4, True),
        (lambda x, y: x**4 + x**2 - (1e-100 * y) ** 4, False),
        (lambda x, y: x**2 - 1e-200 * (1e-200 * y**2), False),
        (lambda x, y: x**2 + 1e-200 * (1e-200 * y**2) + torch.exp(x + y), True),
        (lambda x, y: x**2 - 1e-200 * (1e-200 * torch.exp(y)), False),
        (lambda x, y: x**2 + y**2 - torch.cos(1e-300 * (1e-300 * y)), True),
        (lambda x, y: y**2 + (x**2 - 2) * torch.exp(x**2 - 2), False),  # e^(x^2) overflows where it is sampled
    ],
)
def test_coefficients_and_values_beyond_floats_end_in_a_verdict(f: Callable[..., Tensor], convex: bool) -> None:
    v = check(Objective.from_function(f, {k: torch.tensor(0.5, dtype=torch.float64) for k in "xy"}), effort="quick")
    assert v.convex in (("proved", "undecided") if convex else ("refuted", "undecided"))
    assert v.concave != "proved"


def test_reductions_of_nothing() -> None:
    def f(x: Tensor, y: Tensor) -> Tensor:
        nothing = (
            torch.sin(y[:0]).sum()
            + torch.cos(y[:0].expand(2, 0)).sum(1).sum()
            + torch.sin(y[:0, None] + x).sum(1).sum()
        )
        return (x**2).sum() + nothing + torch.cos(x[0]) / 2

    v = check(Objective.from_function(f, {"x": torch.zeros(2).double(), "y": torch.zeros(3).double()}), effort="quick")
    assert v.convex == "proved"


@pytest.mark.parametrize("length", [1e250, 1e295, 1e300])
def test_steps_stay_within_what_a_certificate_holds(length: float) -> None:
    J = Objective.from_function(
        lambda x: torch.sin(x), {"x": torch.tensor(0.0, dtype=torch.float64)}, domain={"x": (-1e301, 1e301)}
    )
    graph = J.graph()
    view = Refuter(graph, J.domain, Court(graph, J.domain, J.describe()))._view(("x",))
    flat = torch.tensor([length], dtype=torch.float64)
    _, steps = dyadic(view, Candidate("convex", torch.zeros_like(flat), flat, 1.0, "test"), 20)
    held = Delta(1, np.atleast_1d(steps["x"].k), steps["x"].scale)  # raises where the scale is out of range
    assert 0 < held.floats()[0] <= 1.001 * length
