"""The curvature lemma: bounds of second derivatives against sampled ones, moduli against closed forms and dense Hessians."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from epigraph import Objective
from epigraph.convexity.curvature import curvature_claims
from epigraph.convexity.evidence import Court
from epigraph.convexity.prove import Prover

SIGMOID = 0.12020440345468385  # -inf of the second derivative of (sigma(z) - y)^2 for y = 0 and 1
TANH = 1.9232704552749416  # of (tanh(z) - y)^2 for y = -1 and 1

Function = Callable[[Tensor], Tensor]


def sigmoid_objective(
    ratio: float, rows: int = 12, size: int = 3, outputs: int = 1, kind: type[nn.Module] = nn.Sigmoid, **options: Any
) -> tuple[Objective, float]:
    """Mean squared error of a sigmoid (or tanh) layer with decay ratio times the threshold; and the decay."""
    generator = torch.Generator().manual_seed(options.pop("seed", 0))
    dtype = options.pop("dtype", torch.float64)
    X = torch.randn(rows, size, generator=generator, dtype=torch.float64).to(dtype)
    y = (torch.rand(rows, outputs, generator=generator) > 0.5).to(dtype)
    if kind is nn.Tanh:
        y = 2 * y - 1
    top = float(torch.linalg.eigvalsh(X.double().T @ X.double() / (rows * outputs))[-1])
    decay = ratio * (SIGMOID if kind is nn.Sigmoid else TANH) * top
    model = nn.Sequential(nn.Linear(size, outputs, bias=False).to(dtype), kind())
    return Objective(model, nn.MSELoss(), X, y, weight_decay=decay), decay


def claims(J: Objective, active: list[str] | None = None) -> tuple[dict[str, Any], float | None]:
    prover = Prover(J.graph(), J.domain, J.describe())
    return curvature_claims(prover, active or list(J.parameters), Court(J.graph(), J.domain, J.describe()))


def of_one(f: Function, low: float | None = None, high: float | None = None) -> Objective:
    domain = None if low is None and high is None else {"x": (low, high)}
    return Objective.from_function(f, {"x": torch.tensor(0.7, dtype=torch.float64)}, domain=domain)


def test_the_constant_of_sigmoid_and_squared_error_is_the_closed_form() -> None:
    p = (15 + math.sqrt(33)) / 24  # (sigma^2)'' = 2 p^2 (1 - p)(2 - 3 p) at sigma = p
    assert -2 * p**2 * (1 - p) * (2 - 3 * p) == pytest.approx(SIGMOID, rel=1e-14)


@pytest.mark.parametrize("ratio", [1 + 1e-9, 1.001, 1.1, 2.0])
def test_sigmoid_with_enough_decay_is_convex_with_its_modulus(ratio: float) -> None:
    J, decay = sigmoid_objective(ratio)
    proofs, modulus = claims(J)
    assert set(proofs) == {"convex", "quasiconvex"} and modulus is not None
    exact = decay * (1 - 1 / ratio)
    assert modulus <= exact * (1 + 1e-6) + 1e-15 and modulus == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize("ratio", [0.9, 0.99, 0.999, 1 - 1e-6])
def test_sigmoid_with_too_little_decay_is_not_proved(ratio: float) -> None:
    assert claims(sigmoid_objective(ratio)[0]) == ({}, None)
