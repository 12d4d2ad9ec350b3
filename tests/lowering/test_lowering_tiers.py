"""The two tiers of capture give graphs of one function; what only the second accepts; what both must refuse."""

from __future__ import annotations

import math

import pytest
import torch
from lowering_programs import PROGRAMS, A, B, Function, matrix
from torch import Tensor, nn
from torch.nn import functional as F

from epigraph.errors import CaptureError, EpigraphError, ObjectiveError
from epigraph.objective import assemble
from epigraph.objective.builder import Builder
from epigraph.objective.capture import Lowering
from epigraph.objective.evaluate import Evaluator
from epigraph.objective.graph import Graph
from epigraph.objective.lowering.registry import RandomOperator
from epigraph.objective.objective import Objective


def _second_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise RuntimeError("forced")

    monkeypatch.setattr(assemble, "export", refuse)


def _objective(function: Function, shapes: dict[str, tuple[int, ...]], domain: dict | None = None) -> Objective:
    return Objective.from_function(
        function, {k: matrix(*s, seed=i) for i, (k, s) in enumerate(shapes.items())}, domain=domain
    )


def _values(graph: Graph, shapes: dict[str, tuple[int, ...]]) -> list[float]:
    points = [
        {k: scale * matrix(*s, seed=10 * t + i) for i, (k, s) in enumerate(shapes.items())}
        for t, scale in enumerate((0.5, 1.0, 3.0))
    ]
    return [float(Evaluator(graph)(p)) for p in points]


@pytest.mark.parametrize("name", PROGRAMS)
def test_tiers_agree(name, monkeypatch):
    function, shapes = PROGRAMS[name]
    first = _objective(function, shapes)
    exported = first.graph()
    assert not [n for n in first.notes if "recording" in n], first.notes
    _second_tier(monkeypatch)
    second = _objective(function, shapes)
    recorded = second.graph()
    assert [n for n in second.notes if "recording" in n]
    for graph in (exported, recorded):
        assert not [n for n in graph if n.op == "opaque"]
    ours, theirs = _values(recorded, shapes), _values(exported, shapes)
    assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-9, nan_ok=True)


# only the second tier -------------------------------------------------------------------------------------------------
def _gaussian(full: bool) -> Function:
    return lambda w: F.gaussian_nll_loss(A @ w, B, torch.full((5,), 0.3, dtype=torch.float64), full=full)


def _gaussian_by_hand(w: Tensor, full: bool) -> Tensor:
    loss = 0.5 * (math.log(0.3) + (A @ w - B) ** 2 / 0.3)
    return (loss + 0.5 * math.log(2 * math.pi) * full).mean()


@pytest.mark.parametrize("full", [False, True])
def test_constant_variance(full):
    J = _objective(_gaussian(full), {"w": (3,)})
    graph = J.graph()
    assert [n for n in J.notes if "recording" in n]
    for seed in range(3):
        w = matrix(3, seed=20 + seed)
        assert float(Evaluator(graph)({"w": w})) == pytest.approx(float(_gaussian_by_hand(w, full)), rel=1e-12)


@pytest.mark.parametrize("full", [False, True])
def test_variance_as_an_exponential(full):
    """The check for negative variances looks at exp(s) < 0, which no s makes true; the clamp at eps stays."""
    J = _objective(lambda w, s: F.gaussian_nll_loss(A @ w, B, s.exp(), full=full, eps=1e-3), {"w": (3,), "s": (5,)})
    graph = J.graph()
    for scale in (1.0, 20.0):
        w, s = matrix(3, seed=3), scale * matrix(5, seed=4)
        v = s.exp().clamp(min=1e-3)
        expected = (0.5 * (v.log() + (A @ w - B) ** 2 / v) + 0.5 * math.log(2 * math.pi) * full).mean()
        assert float(Evaluator(graph)({"w": w, "s": s})) == pytest.approx(float(expected), rel=1e-12)


def test_a_look_at_data_is_no_condition():
    def function(w: Tensor) -> Tensor:
        scale = float(A.abs().max())
        return ((A @ w / scale) ** 2).sum() if bool((B > 0).any()) else w.sum()

    graph = _objective(function, {"w": (3,)}).graph()
    w = matrix(3, seed=8)
    assert float(Evaluator(graph)({"w": w})) == pytest.approx(float(function(w)), rel=1e-12)


def test_a_look_decided_by_ranges():
    graph = _objective(lambda w: (w**2).sum() if bool((w.exp() >= 0).all()) else w.sum(), {"w": (3,)}).graph()
    assert float(Evaluator(graph)({"w": torch.ones(3, dtype=torch.float64)})) == pytest.approx(3.0)


# refused --------------------------------------------------------------------------------------------------------------
def _branch(w: Tensor) -> Tensor:
    return (w**2).sum() if w.sum() > -1e9 else w.sum()


def _steered(w: Tensor) -> Tensor:
    total = (w**2).sum()
    return total * (2.0 if float(w.sum()) > -1e9 else 1.0)


def _number(w: Tensor) -> Tensor:
    return (w**2).sum() + 1e-9 * float(w.sum())


def _numpy(w: Tensor) -> Tensor:
    return (w**2).sum() + 1e-9 * float(w.detach().numpy().sum())


def _listed(w: Tensor) -> Tensor:
    return (w**2).sum() + 1e-9 * w.tolist()[0]


def test_a_list_is_followed_or_refused(monkeypatch):
    """The first tier has a symbol for each number; the second would take it for a constant, and refuses."""
    w = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    graph = Objective.from_function(_listed, {"w": w}).graph()
    assert float(Evaluator(graph)({"w": 3 * w})) == pytest.approx(float(_listed(3 * w)), rel=1e-13)
    _second_tier(monkeypatch)
    with pytest.raises(CaptureError, match="tolist"):
        Objective.from_function(_listed, {"w": w}).graph()


def _chosen(w: Tensor) -> Tensor:
    return (w[w > -1e9] ** 2).sum()


def _nonzero(w: Tensor) -> Tensor:
    return (w**2).sum() * len(torch.nonzero(w)) / 3


def _sorted_by(w: Tensor) -> Tensor:
    return w[torch.argsort(w)].cumsum(0).sum()


REFUSED: dict[str, tuple[Function, type[EpigraphError], str]] = {
    "if": (_branch, CaptureError, "E301"),
    "float in a condition": (_steered, CaptureError, "E301"),
    "float in the value": (_number, CaptureError, "E301"),
    "numpy": (_numpy, EpigraphError, "E301"),
    "selection": (_chosen, CaptureError, "E30"),
    "nonzero": (_nonzero, CaptureError, "E30"),
    "noise": (lambda w: (w + torch.randn(3, dtype=torch.float64)).pow(2).sum(), ObjectiveError, "E207"),
    "seeded noise": (
        lambda w: (w + torch.randn(3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).pow(2).sum(),
        ObjectiveError,
        "E207",
    ),
    "dropout": (lambda w: F.dropout(w, 0.5, True).pow(2).sum(), ObjectiveError, "E207"),
    "rrelu": (lambda w: F.rrelu(w, training=True).sum(), ObjectiveError, "E207"),
}


def _integer_sum(w: Tensor) -> Tensor:
    return w.sum(dtype=torch.int64) + (w**2).sum()


def _copied(w: Tensor) -> Tensor:
    return torch.tensor([v * 2 for v in w], dtype=torch.float64).sum() * w.sum()


@pytest.mark.parametrize("function", [_integer_sum, _copied])
def test_the_second_tier_refuses_what_it_cannot_follow(function, monkeypatch):
    """Rounding inside an operator, numbers read one by one."""
    _second_tier(monkeypatch)
    with pytest.raises(CaptureError, match="E301"):
        Objective.from_function(function, {"w": torch.tensor([1.5, -2.0, 0.5], dtype=torch.float64)}).graph()


@pytest.mark.parametrize("tier", [1, 2])
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, tier, monkeypatch):
    function, kind, code = REFUSED[name]
    if tier == 2:
        _second_tier(monkeypatch)
    J = Objective.from_function(function, {"w": torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)})
    with pytest.raises(kind) as caught:
        J.graph()
    assert caught.value.code.startswith(code), str(caught.value)


@pytest.mark.parametrize(
    ("op", "rest"),
    [
        ("dropout", (0.5, True)),
        ("native_dropout", (0.5, True)),
        ("native_dropout", (0.5, None)),
        ("alpha_dropout", (0.5, True)),
        ("rrelu", (0.1, 0.3, True)),
        ("bernoulli", ()),
        ("rand_like", ()),
    ],
)
def test_random_operators_are_refused(op, rest):
    """Also ``native_dropout`` without a mode, which PyTorch takes for training."""
    builder = Builder()
    x = builder.parameter("x", torch.zeros(3))
    with pytest.raises(RandomOperator):
        Lowering(builder).call(getattr(torch.ops.aten, op).default, (x, *rest), {})


def _ranked_by(w: Tensor) -> Tensor:
    return (torch.argsort(w) * w).sum()


def test_what_is_not_known_is_opaque(monkeypatch):
    """A ranking that depends on the parameters: nothing is claimed, in either tier."""
    for tier in (1, 2):
        if tier == 2:
            _second_tier(monkeypatch)
        graph = _objective(_ranked_by, {"w": (3,)}).graph()
        assert all(n.attributes["target"].startswith("aten.") for n in graph if n.op == "opaque")
        assert any(n.op == "opaque" for n in graph)
        w = matrix(3, seed=1)
        assert float(Evaluator(graph)({"w": w})) == pytest.approx(float(_ranked_by(w)))


class _Running(nn.Module):
    """A normalisation in training mode whose running mean is read afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x: Tensor) -> Tensor:
        return (self.norm(x) ** 3).sum() + self.norm.running_mean.sum()


def test_running_statistics_are_not_read_after_their_update(monkeypatch):
    _second_tier(monkeypatch)
    J = Objective(_Running(), None, torch.randn(5, 3), mode="train")
    with pytest.raises(EpigraphError):
        J.graph()


class _Alias(nn.Module):
    """A view of the weight that is made before the recording."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(3))
        self.first = self.w.data[0]

    def forward(self, x: Tensor) -> Tensor:
        return (self.w * x).sum() ** 2 + self.first


@pytest.mark.parametrize("tier", [1, 2])
def test_a_view_of_a_parameter_is_no_constant(tier, monkeypatch):
    if tier == 2:
        _second_tier(monkeypatch)
    J = Objective(_Alias(), None, torch.ones(3))
    try:
        graph = J.graph()
    except CaptureError:
        return
    value = float(Evaluator(graph)({"w": torch.tensor([5.0, 1.0, 1.0], dtype=torch.float64)}))
    assert value == pytest.approx(49.0 + 5.0)


def test_weights_are_left_alone(unchanged):
    model = nn.Sequential(nn.Embedding(5, 3, max_norm=0.5), nn.Flatten(), nn.Linear(6, 1))
    with unchanged(model):
        graph = Objective(model, nn.MSELoss(), torch.tensor([[0, 1], [3, 4]]), torch.zeros(2, 1)).graph()
    assert not [n for n in graph if n.op == "opaque"]
