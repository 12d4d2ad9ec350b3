"""The zoo: every entry builds the same objective each time, and its claims hold by an oracle beside the package."""

from __future__ import annotations

import builtins
from types import ModuleType
from typing import Any

import pytest
import torch

from epigraph import zoo
from epigraph.errors import EpigraphError, TargetError
from epigraph.objective.target import load

DATA = {"logistic-breast-cancer", "softmax-digits", "digits-one-hidden", "digits-two-hidden"}
SMALL = [name for name in zoo.names() if name not in DATA]


def violation(name: str, sign: float, count: int = 400) -> float:
    """The largest relative violation of Jensen's inequality over random segments inside the domain."""
    J = zoo.load(name)
    generator = torch.Generator().manual_seed(0)
    worst = -torch.inf
    for k in range(count):
        scale = (0.1, 1.0, 3.0, 10.0)[k % 4]
        a, b = ({n: sample(J, n, scale, generator) for n in J.parameters} for _ in range(2))
        m = {n: (a[n] + b[n]) / 2 for n in a}
        ja, jb, jm = J.value(a), J.value(b), J.value(m)
        worst = max(worst, sign * (jm - (ja + jb) / 2) / max(abs(ja), abs(jb), abs(jm), 1e-12))
        if worst > 1e-4:
            break
    return worst


def sample(J: Any, name: str, scale: float, generator: torch.Generator) -> torch.Tensor:
    value = J.parameters[name]
    drawn = scale * torch.randn(value.shape, generator=generator, dtype=torch.float64)
    return torch.tanh(drawn) if name == "theta" else drawn  # the domain of MA(1) is [-1, 1]


@pytest.mark.parametrize("name", zoo.names())
def test_every_entry_is_complete_and_deterministic(name: str) -> None:
    entry = zoo.get(name)
    assert entry.name == name and entry.title and entry.claim.endswith(".") and entry.reference
    assert entry.verdict in ("affine", "convex", "concave", "nonconvex")
    state = torch.random.get_rng_state()
    first, second = entry.build(), zoo.load(name)
    assert torch.equal(state, torch.random.get_rng_state())
    assert first.value() == second.value()
    assert set(entry.known.get("blocks", {})) <= set(first.parameters)
    words = {"verdict", "blocks", "convex", "concave", "quasiconvex", "quasiconcave", "log_convex", "log_concave"}
    assert set(entry.known) <= words


@pytest.mark.parametrize("name", SMALL)
def test_the_verdicts_agree_with_jensens_inequality(name: str) -> None:
    verdict = zoo.get(name).verdict
    if verdict in ("convex", "affine"):
        assert violation(name, 1.0) < 1e-9
    else:
        assert violation(name, 1.0) > 1e-6
    if verdict == "nonconvex":
        assert violation(name, -1.0) > 1e-6


@pytest.mark.parametrize("name", SMALL)
def test_single_blocks_agree_with_jensens_inequality(name: str) -> None:
    J, generator = zoo.load(name), torch.Generator().manual_seed(1)
    for block, word in zoo.get(name).known.get("blocks", {}).items():
        if word == "nonconvex":
            continue
        for k in range(30):
            held = {n: sample(J, n, (0.3, 3.0)[k % 2], generator) for n in J.parameters}
            a, b = (held | {block: sample(J, block, 2.0, generator)} for _ in range(2))
            m = held | {block: (a[block] + b[block]) / 2}
            ja, jb, jm = J.value(a), J.value(b), J.value(m)
            assert jm <= (ja + jb) / 2 + 1e-9 * max(abs(ja), abs(jb), 1.0)


def test_swapping_units_leaves_the_loss_as_it_was() -> None:
    J = zoo.load("swapped-units")
    p = J.parameters
    swapped = {
        "hidden.weight": p["hidden.weight"].flip(0),
        "hidden.bias": p["hidden.bias"].flip(0),
        "output.weight": p["output.weight"].flip(1),
    }
    assert J.value(swapped) == pytest.approx(J.value(), rel=1e-14)
    moved = {"hidden.weight": p["hidden.weight"].flip(0)}
    assert abs(J.value(moved) - J.value()) > 1e-6


def test_permuted_rows_give_the_same_function() -> None:
    first, second = zoo.load("least-squares"), zoo.load("least-squares-permuted")
    for seed in range(3):
        w = torch.randn(3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        assert first.value({"w": w}) == pytest.approx(second.value({"w": w}), rel=1e-13)


def test_the_zero_network_is_the_bad_minimum_of_xor() -> None:
    J = zoo.load("xor")
    zero = {n: torch.zeros_like(p) for n, p in J.parameters.items()}
    zero["output.bias"] = torch.full((1,), 2 / 4.1, dtype=torch.float64)
    assert J.value(zero) == pytest.approx(1 - 2 / 4.1, rel=1e-12)


def test_targets_and_unknown_names() -> None:
    assert load("zoo:product").value() == 0.25
    with pytest.raises(TargetError, match=r"did you mean.*product") as caught:
        load("zoo:prodct")
    assert caught.value.code == "E121"
    with pytest.raises(TargetError):
        load("zoo:")


def test_without_scikit_learn_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *arguments: Any, **keywords: Any) -> ModuleType:
        if name.startswith("sklearn"):
            raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(EpigraphError, match=r"pip install epigraph\[data\]"):
        zoo.load("softmax-digits")
    assert zoo.load("square").value() == 0.25
