"""Searches name the device of what they make: nothing is left to the default one, and nothing stays on the CPU.

With "meta" as the default device every tensor that is made without naming a device has no values, so
that a search on the CPU that forgets one fails or ends elsewhere.  With "meta" as the searches' device an operand that
stayed on the CPU is refused.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epigraph.critical.deflation import Deflated
from epigraph.critical.descent import descend
from epigraph.critical.following import EigenvectorFollowing, SteepestDescent
from epigraph.critical.minimize import Ended, Rule, polish, search
from epigraph.critical.saddle import GradientLength
from epigraph.hessian.dense import Dense
from epigraph.objective.objective import Objective


def _network(inputs: int, width: int, activation: type[nn.Module] = nn.Tanh) -> Objective:
    generator = torch.Generator().manual_seed(inputs + width)
    model = nn.Sequential(nn.Linear(inputs, width), activation(), nn.Linear(width, 3)).double()
    for p in model.parameters():
        nn.init.normal_(p, std=0.5, generator=generator)
    X = torch.randn(12, inputs, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 3, (12,), generator=generator)
    return Objective(model, F.cross_entropy, X, y, weight_decay=1e-2)


def _mixed() -> Objective:
    """Kinks, a comparison, ranks, rows taken, a convolution, a power."""
    kernel = torch.tensor([[[1.0, -2.0, 1.0]]], dtype=torch.float64)

    def f(w: Tensor, v: Tensor) -> Tensor:
        m = w.relu() @ v
        smooth = F.conv1d(w[None, :1], kernel).square().sum()
        return (
            m.abs().sum() + torch.where(w > 0, w, 0.1 * w).sum() + w.amax(1).exp().sum() + smooth + (w[[0, 2]] ** 3).sum()
            + v.log_softmax(0).square().sum() + torch.cat([w[0], v[:, 0]]).logsumexp(0) + w.sort(1).values[:, 1].sum()
        )  # fmt: skip

    point = {"w": torch.randn(3, 4, dtype=torch.float64), "v": torch.randn(4, 2, dtype=torch.float64)}
    return Objective.from_function(f, point)


OBJECTIVES = {
    "a few variables": lambda: _network(2, 2),
    "by samples": lambda: _network(6, 8),
    "metrics": lambda: _network(6, 12),
    "kinks": lambda: _network(3, 3, nn.LeakyReLU),
    "mixed": _mixed,
}


def _starts(dense: Dense, count: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, dense.size, generator=generator, dtype=torch.float64)


def _agree(found: Ended, expected: Ended) -> None:
    """Up to the order of sums, which memory's alignment may change, in lanes that came to an end."""
    assert torch.equal(found.reached, expected.reached)
    torch.testing.assert_close(found.x[found.reached], expected.x[found.reached], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["a few variables", "by samples", "metrics", "kinks"])
def test_a_descent_leaves_nothing_to_the_default_device(name: str) -> None:
    J = OBJECTIVES[name]()
    graph = J.graph()
    dense = Dense(graph)
    start = _starts(dense)
    expected = descend(dense, start)
    with torch.device("meta"):
        again = Dense(graph, device=torch.device("cpu"))
        found = descend(again, start)
        polished = polish(again, found.x)
    _agree(found, expected)
    assert name == "kinks" or bool(found.reached.all())
    assert polished.x.device.type == "cpu"


@pytest.mark.parametrize("rule", [GradientLength(), EigenvectorFollowing(1), SteepestDescent(), None])
def test_a_search_leaves_nothing_to_the_default_device(rule: Rule | None) -> None:
    dense = Dense(_network(2, 2).graph())
    start = _starts(dense)
    own: Rule = rule or Deflated(start[:2] + 0.1)
    expected = search(dense, start, own, steps=60)
    with torch.device("meta"):
        found = search(dense, start, own, steps=60)
    _agree(found, expected)


@pytest.mark.parametrize("name", ["a few variables", "metrics", "kinks", "mixed"])
def test_everything_is_computed_on_the_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dense, "_by_samples", lambda self: None)  # which reads numbers, and here are none
    dense = Dense(OBJECTIVES[name]().graph(), device="meta")
    points = _starts(dense).to("meta")
    jet, (value, gradient) = dense.of(points), dense.slopes(points)
    n = dense.size
    assert [tuple(t.shape) for t in (jet.value, jet.gradient, jet.hessian)] == [(6,), (6, n), (6, n, n)]
    assert {t.device.type for t in (jet.value, jet.gradient, jet.hessian, value, gradient)} == {"meta"}
