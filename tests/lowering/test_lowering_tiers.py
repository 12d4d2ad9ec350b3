"""The two tiers of capture give graphs of one function; what only the second accepts; what both must refuse."""
from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epigraph.errors import CaptureError, EpigraphError, ObjectiveError
from epigraph.objective import assemble
from epigraph.objective.evaluate import Evaluator
from epigraph.objective.graph import Graph
from epigraph.objective.objective import Objective

Function = Callable[..., Tensor]
G = torch.Generator().manual_seed(7)
A = torch.randn(5, 3, generator=G, dtype=torch.float64)
B = torch.randn(5, generator=G, dtype=torch.float64)
TARGETS = torch.randn(3, 4, generator=G, dtype=torch.float64).softmax(1)
LABELS = torch.tensor([0, 2, 1, 1, 0])
MASK = torch.ones(4, 4, dtype=torch.bool).tril()


def _matrix(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _second_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise RuntimeError("forced")

    monkeypatch.setattr(assemble, "export", refuse)


def _objective(function: Function, shapes: dict[str, tuple[int, ...]], domain: dict | None = None) -> Objective:
    return Objective.from_function(function, {k: _matrix(*s, seed=i) for i, (k, s) in enumerate(shapes.items())}, domain=domain)


def _values(graph: Graph, shapes: dict[str, tuple[int, ...]]) -> list[float]:
    points = [{k: scale * _matrix(*s, seed=10 * t + i) for i, (k, s) in enumerate(shapes.items())} for t, scale in enumerate((0.5, 1.0, 3.0))]
    return [float(Evaluator(graph)(p)) for p in points]


def _inplace(w: Tensor) -> Tensor:
    y = w * 2
    y += 1
    y.mul_(w).clamp_(min=-1)
    return y.sum()


def _write_row(w: Tensor) -> Tensor:
    y = torch.zeros(3, 4, dtype=torch.float64)
    y[1] = w[0]
    y[:, 2] += w[1, :3] ** 2
    return (y * y).sum()


def _write_base_under_view(w: Tensor) -> Tensor:
    y = w * 1
    view = y.view(-1)
    y += 1
    return (view**2).sum()


def _write_chunk(w: Tensor) -> Tensor:
    y = w * 1
    first, _ = y.chunk(2, 1)
    first.mul_(3)
    return (y**2).sum()


def _write_transposed(w: Tensor) -> Tensor:
    y = w.clone()
    y.t()[0].copy_(torch.ones(3, dtype=torch.float64))
    return y.exp().sum()


def _write_mask(w: Tensor) -> Tensor:
    y = w * 1
    y[y < 0] = 0.5
    y[w[:, 0] > 0] = w.sum()
    return (y**2).sum()


def _causal(q: Tensor, k: Tensor) -> Tensor:
    scores = (q @ k.T / 2).masked_fill(~MASK, float("-inf"))
    return (scores.softmax(-1) @ k).pow(2).sum()


def _additive_mask(q: Tensor, k: Tensor) -> Tensor:
    bias = torch.full((4, 4), float("-inf"), dtype=torch.float64).triu(1)
    return F.log_softmax(q @ k.T + bias, -1).diagonal().sum()


def _python_loop(w: Tensor) -> Tensor:
    h = w
    for i in range(4):
        h = torch.tanh(h @ w.T) if i % 2 else torch.relu(h @ w.T)
    return h.mean()


WIDE = {"w": (3, 4)}
SQUARE = {"w": (4, 4)}
PAIR = {"q": (4, 3), "k": (4, 3)}
PROGRAMS: dict[str, tuple[Function, dict[str, tuple[int, ...]]]] = {
    "least squares": (lambda w: ((A @ w - B) ** 2).mean(), {"w": (3,)}),
    "logistic": (lambda w: F.binary_cross_entropy_with_logits(A @ w, (B > 0).double()), {"w": (3,)}),
    "cross-entropy": (lambda w: F.cross_entropy(A @ w.T, LABELS, label_smoothing=0.1), {"w": (3, 3)}),
    "cross-entropy, weights and ignored": (lambda w: F.cross_entropy(A @ w.T, LABELS, weight=B[:3].abs(), ignore_index=1), {"w": (3, 3)}),
    "nll": (lambda w: F.nll_loss(F.log_softmax(A @ w.T, 1), LABELS), {"w": (3, 3)}),
    "multi-margin": (lambda w: F.multi_margin_loss(A @ w.T, LABELS), {"w": (3, 3)}),
    "multilabel margin": (lambda w: F.multilabel_margin_loss(w, torch.tensor([[0, 2, -1, 1]] * 3)), WIDE),
    "huber": (lambda w: F.huber_loss(A @ w, B, delta=0.5), {"w": (3,)}),
    "poisson": (lambda w: F.poisson_nll_loss(A @ w, B.abs().round() * 2, full=True), {"w": (3,)}),
    "kl": (lambda w: F.kl_div(w.log_softmax(1), TARGETS, reduction="batchmean"), WIDE),
    "triplet": (lambda w: F.triplet_margin_loss(w, w.roll(1, 0), w.flip(0), swap=True), WIDE),
    "hinge embedding": (lambda w: F.hinge_embedding_loss(w, torch.tensor([1.0, -1.0, 1.0, -1.0]).double()), WIDE),
    "cosine embedding": (lambda w: F.cosine_embedding_loss(w, w.flip(1), torch.tensor([1, -1, 1])), WIDE),
    "elastic net": (lambda w: ((A @ w - B) ** 2).sum() + w.abs().sum() + w.norm(), {"w": (3,)}),
    "log-sum-exp": (lambda w: torch.logsumexp(A @ w, 0) + torch.logaddexp(w[0], w[1]), {"w": (3,)}),
    "variance": (lambda w: w.var() + w.std(1).sum() + torch.var_mean(w, 0)[0].sum(), WIDE),
    "norms": (lambda w: w.norm(p=1) + torch.linalg.norm(w) + torch.linalg.vector_norm(w, 3, dim=1).sum() + torch.cdist(w, w + 1).sum(), WIDE),
    "extrema": (lambda w: w.max() + w.amin(1).sum() + w.max(0).values.sum() + torch.maximum(w, w * w).sum(), WIDE),
    "layer norm": (lambda w: F.layer_norm(w, (4,)).pow(3).sum(), WIDE), "group norm": (lambda w: F.group_norm(w, 2).pow(3).sum(), WIDE),
    "batch norm": (lambda w: F.batch_norm(w, None, None, training=True).pow(3).sum(), WIDE),
    "rms norm": (lambda w: F.rms_norm(w, (4,)).pow(3).sum(), WIDE), "instance norm": (lambda w: F.instance_norm(w[None]).pow(3).sum(), WIDE),
    "normalize": (lambda w: F.normalize(w).pow(3).sum() + F.cosine_similarity(w, w.flip(1)).sum(), WIDE),
    "convolution": (lambda w: F.conv1d(w[None], torch.ones(2, 3, 2, dtype=torch.float64), padding=1).pow(2).sum(), WIDE),
    "transposed convolution": (lambda w: F.conv_transpose1d(w[None], torch.ones(3, 2, 3, dtype=torch.float64), stride=2).pow(2).sum(), WIDE),
    "pools": (lambda w: F.max_pool1d(w[None], 2).sum() + F.avg_pool1d(w[None], 3, 1, 1).sum() + F.adaptive_avg_pool1d(w[None], 3).pow(2).sum(), WIDE),
    "interpolation": (lambda w: F.interpolate(w[None, None], scale_factor=2, mode="bilinear").pow(2).sum() + F.interpolate(w[None, None], size=(2, 3)).sum(), WIDE),
    "padding": (lambda w: sum(F.pad(w[None], (1, 1), mode=m).pow(2).sum() for m in ("constant", "reflect", "replicate", "circular")), WIDE),
    "unfold": (lambda w: F.unfold(w[None, None], 2).pow(2).sum() + F.pixel_shuffle(w.reshape(1, 4, 1, 3), 2).exp().sum(), WIDE),
    "attention": (lambda q, k: F.scaled_dot_product_attention(q[None], k[None], k[None], is_causal=True).pow(2).sum(), PAIR),
    "attention, masked by hand": (_causal, PAIR), "additive mask": (_additive_mask, PAIR),
    "embedding": (lambda w: F.embedding(torch.tensor([[0, 2], [1, 1]]), w).pow(2).sum() + F.embedding_bag(torch.tensor([0, 1, 2]), w, torch.tensor([0, 2]), mode="mean").exp().sum(), WIDE),
    "einsum": (lambda w: torch.einsum("ij,kj->ik", w, w).tanh().sum() + F.bilinear(w, w, torch.ones(2, 4, 4, dtype=torch.float64)).sum(), WIDE),
    "indexing": (lambda w: w[[0, 2], [1, 3]].sum() + w[:, ::2].exp().sum() + w.gather(1, torch.tensor([[0], [3], [1]])).sum() + w[..., None].squeeze(-1)[-1].sum(), WIDE),
    "scatter": (lambda w: torch.zeros(4, dtype=torch.float64).index_add(0, torch.tensor([0, 3, 3]), w[:, 0]).pow(2).sum() + w.scatter_add(0, torch.tensor([[0, 0, 1, 2]]), w).exp().sum(), WIDE),
    "running": (lambda w: w.cumsum(1).pow(2).sum() + w.cumprod(0).sum() + w.logcumsumexp(1).sum() + torch.diff(w).abs().sum(), WIDE),
    "conditions": (lambda w: torch.where(w > 0, w, 2 * w).sum() + ((w > 0) & (w < 1)).double().sum() + torch.clamp(w, -1, 1).sum() + w.masked_fill(w < 0, 0.0).sum(), WIDE),
    "activations": (lambda w: sum(f(w).sum() for f in (F.gelu, F.silu, F.mish, F.elu, F.selu, F.celu, F.softplus, F.logsigmoid, F.hardswish, F.softsign, F.tanhshrink, F.hardshrink)), WIDE),
    "cell": (lambda w: nn.functional.linear(w, w[:, :4]).tanh().sum() + F.prelu(w, torch.full((1,), 0.2, dtype=torch.float64)).sum() + F.glu(w).sum(), WIDE),
    "in place": (_inplace, SQUARE), "write a row": (_write_row, SQUARE), "write the base of a view": (_write_base_under_view, WIDE), "write a chunk": (_write_chunk, WIDE),
    "write where a mask says so": (_write_mask, WIDE), "sum of truth values": (lambda w: ((w > 0).sum() + (w > 1).long()[0].sum()).double() * w.sum(), WIDE),
    "write through a transposed view": (_write_transposed, WIDE), "loop": (_python_loop, SQUARE),
}


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
        w = _matrix(3, seed=20 + seed)
        assert float(Evaluator(graph)({"w": w})) == pytest.approx(float(_gaussian_by_hand(w, full)), rel=1e-12)


@pytest.mark.parametrize("full", [False, True])
def test_variance_as_an_exponential(full):
    """The check for negative variances looks at exp(s) < 0, which no s makes true; the clamp at eps stays."""
    J = _objective(lambda w, s: F.gaussian_nll_loss(A @ w, B, s.exp(), full=full, eps=1e-3), {"w": (3,), "s": (5,)})
    graph = J.graph()
    for scale in (1.0, 20.0):
        w, s = _matrix(3, seed=3), scale * _matrix(5, seed=4)
        v = s.exp().clamp(min=1e-3)
        expected = (0.5 * (v.log() + (A @ w - B) ** 2 / v) + 0.5 * math.log(2 * math.pi) * full).mean()
        assert float(Evaluator(graph)({"w": w, "s": s})) == pytest.approx(float(expected), rel=1e-12)


def test_a_look_at_data_is_no_condition():
    def function(w: Tensor) -> Tensor:
        scale = float(A.abs().max())
        return ((A @ w / scale) ** 2).sum() if bool((B > 0).any()) else w.sum()

    graph = _objective(function, {"w": (3,)}).graph()
    w = _matrix(3, seed=8)
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
    "if": (_branch, CaptureError, "E301"), "float in a condition": (_steered, CaptureError, "E301"), "float in the value": (_number, CaptureError, "E301"),
    "numpy": (_numpy, EpigraphError, "E301"), "selection": (_chosen, CaptureError, "E30"),
    "nonzero": (_nonzero, CaptureError, "E30"), "noise": (lambda w: (w + torch.randn(3, dtype=torch.float64)).pow(2).sum(), ObjectiveError, "E207"),
    "seeded noise": (lambda w: (w + torch.randn(3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).pow(2).sum(), ObjectiveError, "E207"),
    "dropout": (lambda w: F.dropout(w, 0.5, True).pow(2).sum(), ObjectiveError, "E207"), "rrelu": (lambda w: F.rrelu(w, training=True).sum(), ObjectiveError, "E207"),
}


def _integer_sum(w: Tensor) -> Tensor:
    return w.sum(dtype=torch.int64) + (w**2).sum()


def _or(w: Tensor) -> Tensor:
    return ((w > 0) + (w > -5)).double().sum() + (w**2).sum()


def _copied(w: Tensor) -> Tensor:
    return torch.tensor([v * 2 for v in w], dtype=torch.float64).sum() * w.sum()


@pytest.mark.parametrize("function", [_integer_sum, _or, _copied])
def test_the_second_tier_refuses_what_it_cannot_follow(function, monkeypatch):
    """Rounding inside an operator, a sum of truth values that is no sum, numbers read one by one."""
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


def test_what_is_not_known_is_opaque(monkeypatch):
    """A permutation that depends on the parameters: nothing is claimed, in either tier."""
    for tier in (1, 2):
        if tier == 2:
            _second_tier(monkeypatch)
        graph = _objective(lambda w: torch.sort(w).values.cumsum(0).sum(), {"w": (3,)}).graph()
        assert [n.attributes["target"] for n in graph if n.op == "opaque"][0].startswith("aten.sort")
        w = _matrix(3, seed=1)
        assert float(Evaluator(graph)({"w": w})) == pytest.approx(float(torch.sort(w).values.cumsum(0).sum()))


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
