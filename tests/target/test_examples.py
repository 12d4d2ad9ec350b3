"""The examples load as targets, deterministically, and their verdict-bearing data are what they say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from epigraph.objective.target import load

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TARGETS = [
    "digits_mlp.py:objective",
    "logistic_breast_cancer.py:objective",
    "logistic_breast_cancer.py:squared_error",
    "xor.py:objective",
    "transformer_encoder.py:objective",
]


@pytest.mark.parametrize("target", TARGETS)
def test_an_example_loads_and_repeats(target: str) -> None:
    first, second = load(str(EXAMPLES / target)), load(str(EXAMPLES / target))
    assert first.value() == second.value()
    assert all(torch.equal(first.parameters[n], second.parameters[n]) for n in first.parameters)


def test_the_digits_network_has_the_stated_size() -> None:
    J = load(str(EXAMPLES / "digits_mlp.py:objective"))
    assert J.size == 64 * 32 + 32 + 32 * 10 + 10
    assert J.describe()["samples"] == 1797


@pytest.mark.torchvision
def test_the_residual_network() -> None:
    pytest.importorskip("torchvision")
    assert load(str(EXAMPLES / "resnet18.py:objective")).size > 11_000_000
