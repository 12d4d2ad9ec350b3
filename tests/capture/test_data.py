"""What J means: weights of batches, weight decay, calling conventions, names, wrappers.  Oracles are written out by hand."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, TensorDataset, WeightedRandomSampler

import epigraph
from epigraph import Objective
from epigraph.objective.evaluate import Evaluator


def line(seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(3, 1).double()


def rows(n: int = 7) -> Tensor:
    return torch.linspace(-1, 1, 3 * n, dtype=torch.float64).reshape(n, 3).sin()


def goals(n: int = 7) -> Tensor:
    return torch.linspace(0, 2, n, dtype=torch.float64).reshape(n, 1)


def graph_value(J: Objective) -> float:
    return float(Evaluator(J.graph())({k: v.detach().double() for k, v in J.parameters.items()}))


def both(J: Objective) -> float:
    """J by the program and by the graph, which must agree."""
    assert graph_value(J) == pytest.approx(J.value(), rel=1e-12)
    return J.value()


# batches ----------------------------------------------------------------------------------------------------------
LOSSES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "mean by the module": (nn.MSELoss(), {}, "mean"),
    "sum by the module": (nn.MSELoss(reduction="sum"), {}, "sum"),
    "mean by the function": (F.mse_loss, {}, "mean"),
    "sum by a partial": (functools.partial(F.mse_loss, reduction="sum"), {}, "sum"),
    "sum said by the user": (lambda o, y: ((o - y) ** 2).sum(), {"reduction": "sum"}, "sum"),
    "mean said by the user": (lambda o, y: ((o - y) ** 2).mean(), {"reduction": "mean"}, "mean"),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("size", [3, 10])
@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_make_the_whole(name, size, shuffle):
    loss, options, reduction = LOSSES[name]
    model = line()
    J = Objective(model, loss, DataLoader(TensorDataset(rows(), goals()), batch_size=size, shuffle=shuffle), **options)
    errors = (model(rows()) - goals()).square()
    whole = float(errors.mean() if reduction == "mean" else errors.sum())
    assert both(J) == pytest.approx(whole, rel=1e-12)
    assert J.describe()["samples"] == 7


def test_the_reduction_is_assumed_aloud():
    loader = DataLoader(TensorDataset(rows(), goals()), batch_size=3)
    silent = Objective(line(), lambda o, y: ((o - y) ** 2).mean(), loader)
    silent.graph()
    assert any("taken for a mean" in n for n in silent.notes)
    for J in (Objective(line(), nn.MSELoss(), loader), Objective(line(), F.mse_loss, loader, reduction="mean")):
        J.graph()
        assert not any("taken for a mean" in n for n in J.notes)


def test_the_mean_is_exact_in_the_graph():
    """Weights 3/7, 3/7, 1/7 are rational numbers in the graph, not floats."""
    J = Objective(line(), nn.MSELoss(), DataLoader(TensorDataset(rows(), goals()), batch_size=3))
    assert [str(b.weight) for b in J.batches()] == ["3/7", "3/7", "1/7"]
    assert {n.attributes.get("value") for n in J.graph() if n.op == "constant"} & {"1/7", "3/7"}


def test_dropped_samples_are_said():
    J = Objective(line(), nn.MSELoss(), DataLoader(TensorDataset(rows(), goals()), batch_size=3, drop_last=True))
    assert both(J) == pytest.approx(float((line()(rows()[:6]) - goals()[:6]).square().mean()))
    assert J.describe()["samples"] == 6 and any("drop_last" in n for n in J.notes)


def test_samples_are_counted_by_the_sampler_when_time_comes_first():
    class Steps(Dataset[Any]):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, i: int) -> Any:
            return rows()[i : i + 4], goals()[i]

    def collate(items: list[Any]) -> Any:
        return torch.stack([x for x, _ in items], 1), torch.stack([y for _, y in items])

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = line()

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x[-1])

    J = Objective(Last(), nn.MSELoss(), DataLoader(Steps(), batch_size=2, collate_fn=collate))
    want = sum(float((line()(rows()[i + 3]) - goals()[i]).square()) for i in range(3)) / 3
    assert both(J) == pytest.approx(want, rel=1e-12)


def test_loaders_without_a_plain_sampler():
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter(zip(rows(), goals(), strict=True))

    whole = float((line()(rows()) - goals()).square().mean())
    assert both(Objective(line(), nn.MSELoss(), DataLoader(Stream(), batch_size=4))) == pytest.approx(whole)
    data = TensorDataset(rows(), goals())
    by_sampler = DataLoader(data, batch_sampler=BatchSampler(range(7), 3, False))
    assert both(Objective(line(), nn.MSELoss(), by_sampler)) == pytest.approx(whole)
    drawn = DataLoader(
        data, batch_size=2, sampler=WeightedRandomSampler([1.0] * 7, 5, generator=torch.Generator().manual_seed(1))
    )
    J = Objective(line(), nn.MSELoss(), drawn)
    assert J.describe()["samples"] == 5 and both(J) == J.value()


def test_an_endless_stream_is_refused(monkeypatch):
    class Endless(IterableDataset[Any]):
        def __iter__(self) -> Any:
            while True:
                yield rows()[0], goals()[0]

    monkeypatch.setattr("epigraph.objective.data.MOST_BATCHES", 50)
    with pytest.raises(epigraph.EpigraphError, match=r"E203 .* more than 50 batches"):
        Objective(line(), nn.MSELoss(), DataLoader(Endless(), batch_size=2)).graph()


class Dicts(Dataset[Any]):
    """Samples as dicts."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {"labels": goals()[i], "x": rows()[i]}


class Own(nn.Module):
    """Computes its own loss and returns it beside the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = line()

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        out = self.fc(x)
        return {"logits": out, "loss": F.mse_loss(out, labels)}


def test_batches_of_dicts_and_a_structured_output():
    whole = float((line()(rows()[:5]) - goals()[:5]).square().mean())
    for loss in (None, lambda out: out["loss"]):
        J = Objective(Own(), loss, DataLoader(Dicts(), batch_size=2), reduction="mean")
        assert both(J) == pytest.approx(whole)
    assert both(Objective(Own(), None, {"x": rows()[:5], "labels": goals()[:5]})) == pytest.approx(whole)


def test_batches_of_one_tensor():
    for data in (TensorDataset(rows()), [r for r in rows()]):
        J = Objective(line(), lambda o: (o**2).mean(), DataLoader(data, batch_size=3), reduction="mean")
        assert both(J) == pytest.approx(float((line()(rows()) ** 2).mean()))


def test_three_entries_are_two_inputs_and_a_target():
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = line()

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.fc(a - 2 * b)

    J = Objective(Pair(), nn.MSELoss(), DataLoader(TensorDataset(rows(), rows().flip(0), goals()), batch_size=4))
    assert both(J) == pytest.approx(float((line()(rows() - 2 * rows().flip(0)) - goals()).square().mean()))


def test_plain_values_in_batches_do_not_share_a_graph():
    """Two batches of one shape whose plain entries differ are two graphs, also where their text is the same."""
    long, other = np.zeros(3000), np.zeros(3000)
    other[1500] = 7.0

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = line()

        def forward(self, k: Any, x: Tensor, flag: bool) -> Tensor:
            return self.fc(x) * (1 + float(k.max())) * (1 if flag else -1)

    parts = [
        ({"k": long, "x": rows()[:2], "flag": True}, goals()[:2]),
        ({"k": other, "x": rows()[2:4], "flag": True}, goals()[2:4]),
        ({"k": other, "x": rows()[4:6], "flag": False}, goals()[4:6]),
    ]
    J = Objective(Scaled(), nn.MSELoss(), DataLoader(parts, batch_size=None), reduction="mean")  # type: ignore[arg-type]
    scales = torch.tensor([1.0, 1, 8, 8, -8, -8], dtype=torch.float64)[:, None]
    assert both(J) == pytest.approx(float((line()(rows()[:6]) * scales - goals()[:6]).square().mean()))


def test_the_place_of_a_plain_value_counts():
    class Order(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = line()

        def forward(self, a: Any, b: Any) -> Tensor:
            return self.fc(b) if isinstance(a, int) else -self.fc(a)

    parts = [((1, rows()[:2]), goals()[:2]), ((rows()[2:4], 1), goals()[2:4])]
    J = Objective(Order(), nn.MSELoss(), DataLoader(parts, batch_size=None), reduction="mean")  # type: ignore[arg-type]
    signs = torch.tensor([1.0, 1, -1, -1], dtype=torch.float64)[:, None]
    assert both(J) == pytest.approx(float((line()(rows()[:4]) * signs - goals()[:4]).square().mean()))


# weight decay -----------------------------------------------------------------------------------------------------
def _sgd_gradient(model: nn.Module, **options: Any) -> dict[str, Tensor]:
    """What one step of SGD with weight decay moves along, from the difference of the weights."""
    before = {k: v.detach().clone() for k, v in model.named_parameters()}
    optimiser = torch.optim.SGD(model.parameters(), lr=1.0, **options)
    F.mse_loss(model(rows()), goals()).backward()
    optimiser.step()
    return {k: before[k] - v.detach() for k, v in model.named_parameters()}


@pytest.mark.parametrize("decay", [0.3, 0.0])
def test_weight_decay_is_what_sgd_adds(decay):
    want = _sgd_gradient(line(), weight_decay=decay)
    J = Objective(line(), F.mse_loss, rows(), goals(), weight_decay=decay)
    point = {k: v.detach().clone().requires_grad_() for k, v in J.parameters.items()}
    got = torch.autograd.grad(Evaluator(J.graph())(point), list(point.values()))
    for name, gradient in zip(point, got, strict=True):
        torch.testing.assert_close(gradient, want[name], rtol=1e-10, atol=1e-12)


OPTIMISERS: dict[str, tuple[Callable[[list[Any]], Any], dict[str, float]]] = {
    "SGD": (lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.2), {"weight": 0.2, "bias": 0.2}),
    "Adam": (lambda p: torch.optim.Adam(p, weight_decay=0.2), {"weight": 0.2, "bias": 0.2}),
    "RMSprop": (lambda p: torch.optim.RMSprop(p, weight_decay=0.2), {"weight": 0.2, "bias": 0.2}),
    "groups": (
        lambda p: torch.optim.SGD([{"params": p[:1], "weight_decay": 0.5}, {"params": p[1:]}], lr=0.1),
        {"weight": 0.5},
    ),
    "a part": (lambda p: torch.optim.SGD(p[1:], lr=0.1, weight_decay=0.2), {"bias": 0.2}),
    "none": (lambda p: torch.optim.SGD(p, lr=0.1), {}),
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_an_optimiser_as_weight_decay(name):
    make, want = OPTIMISERS[name]
    model = line()
    J = Objective(model, F.mse_loss, rows(), goals(), weight_decay=make(list(model.parameters())))
    assert J.weight_decay == want and J.notes == []
    penalty = sum(v / 2 * float((dict(model.named_parameters())[k] ** 2).sum()) for k, v in want.items())
    assert both(J) == pytest.approx(float(F.mse_loss(model(rows()), goals())) + penalty, rel=1e-12)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.AdamW(p, weight_decay=0.1),
        lambda p: torch.optim.Adam(p, weight_decay=0.1, decoupled_weight_decay=True),
        lambda p: torch.optim.NAdam(p, weight_decay=0.1, decoupled_weight_decay=True),
    ],
)
def test_decoupled_decay_is_left_out_aloud(make):
    model = line()
    J = Objective(model, F.mse_loss, rows(), goals(), weight_decay=make(list(model.parameters())))
    assert J.weight_decay == {} and any("decouples" in n for n in J.notes)
    assert any("decouples" in n for n in epigraph.check(J, effort="quick").notes)


def test_an_optimiser_of_unknown_kind_is_refused():
    class Own(torch.optim.Optimizer):
        def __init__(self, params: Any):
            super().__init__(params, {"weight_decay": 0.1})

    model = line()
    with pytest.raises(epigraph.EpigraphError, match="E025 how Own applies"):
        Objective(model, F.mse_loss, rows(), goals(), weight_decay=Own(model.parameters()))


def test_weight_decay_by_name_and_by_another_name():
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)).double()
    model[1].weight = model[0].weight
    J = Objective(model, lambda o: (o**2).sum(), rows(), weight_decay={"1.weight": 0.5})
    assert J.weight_decay == {"0.weight": 0.5}
    with pytest.raises(epigraph.EpigraphError, match="E025 weight_decay has two values"):
        Objective(model, lambda o: (o**2).sum(), rows(), weight_decay={"1.weight": 0.5, "0.weight": 0.25})


# how functions are called -----------------------------------------------------------------------------------------
X, Y = torch.tensor([1.0, 2.0], dtype=torch.float64), torch.tensor([3.0, -1.0], dtype=torch.float64)


class Callee:
    """A function in several forms; each gives 2 sum(x) - sum(y^2)."""

    def method(self, x: Tensor, y: Tensor) -> Tensor:
        return 2 * x.sum() - (y**2).sum()

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        return self.method(x, y)


class Called(nn.Module):
    """The same as a module."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return 2 * x.sum() - (y**2).sum()


def _keywords_only(*, y: Tensor, x: Tensor) -> Tensor:
    return Callee().method(x, y)


def _with_default(x: Tensor, y: Tensor, scale: float = 2.0) -> Tensor:
    return scale * x.sum() - (y**2).sum()


def _starred(x: Tensor, *rest: Tensor) -> Tensor:
    return 2 * x.sum() - (rest[0] ** 2).sum()


FORMS: dict[str, Callable[..., Any]] = {
    "by name": lambda x, y: Callee().method(x, y),
    "by name in another order": lambda y, x: Callee().method(x, y),
    "by position": lambda first, second: Callee().method(first, second),
    "as a dict": lambda values: Callee().method(values["x"], values["y"]),
    "by stars": lambda *values: Callee().method(*values),
    "by a name and stars": _starred,
    "by double stars": lambda **named: Callee().method(**named),
    "keywords only": _keywords_only,
    "with a default": _with_default,
    "a partial": functools.partial(_with_default, scale=2.0),
    "a partial by position": functools.partial(lambda scale, x, y: scale * x.sum() - (y**2).sum(), 2.0),
    "a bound method": Callee().method,
    "an object": Callee(),
    "a module": Called(),
    "a wrapped function": functools.wraps(_with_default)(lambda *a, **k: _with_default(*a, **k)),
}


@pytest.mark.parametrize("form", FORMS)
def test_how_a_function_is_called(form):
    J = Objective.from_function(FORMS[form], {"x": X, "y": Y})
    assert both(J) == 2 * 3.0 - 10.0
    moved = {"x": torch.tensor([0.5, 0.0], dtype=torch.float64), "y": torch.tensor([1.0, 1.0], dtype=torch.float64)}
    assert J.value(moved) == 1.0 - 2.0 == float(Evaluator(J.graph())(moved))
    assert epigraph.check(J, effort="quick").verdict == "concave"


def test_a_builtin_and_a_reserved_word():
    assert both(Objective.from_function(torch.sum, {"anything": X})) == 3.0
    assert both(Objective.from_function(lambda *v: v[0].sum(), {"lambda": X})) == 3.0


def test_a_function_takes_copies():
    """The user's tensor may be moved afterwards, and the function may write into what it gets."""
    x = X.clone()

    def f(x: Tensor) -> Tensor:
        x.mul_(2)
        return x.sum()

    J = Objective.from_function(f, {"x": x})
    assert both(J) == 6.0 and x.tolist() == [1.0, 2.0]
    x.zero_()
    assert J.value() == 6.0


# names, ties, wrappers --------------------------------------------------------------------------------------------
def test_names_of_a_loss_that_has_parameters():
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.loss = line()

        def forward(self, x: Tensor) -> Tensor:
            return self.loss(x)

    class Loss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1, dtype=torch.float64))

        def forward(self, o: Tensor, y: Tensor) -> Tensor:
            return F.mse_loss(o + self.weight, y)

    J = Objective(Named(), Loss(), rows(), goals())
    assert list(J.parameters) == ["loss.weight", "loss.bias", "loss_.weight"]
    assert both(J) == pytest.approx(float(F.mse_loss(line()(rows()) + 1, goals())))
    assert list(Objective(line(), Loss(), rows(), goals()).parameters) == ["weight", "bias", "loss.weight"]


def test_one_parameter_under_two_names_is_one_block():
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.ReLU(), nn.Linear(3, 3, bias=False)).double()
    model[2].weight = model[0].weight
    J = Objective(model, lambda o: (o**2).sum(), rows())
    assert list(J.parameters) == ["0.weight"] and J.size == 9
    assert set(epigraph.check(J, blocks=["2.weight"], effort="quick").blocks) == {"0.weight"}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda m: torch.compile(m, backend="eager"),
        nn.DataParallel,
        lambda m: torch.compile(nn.DataParallel(m), backend="eager"),
    ],
)
def test_wrappers_are_set_aside(wrap):
    model = line()
    wrapped = wrap(model)
    J = Objective(wrapped, F.mse_loss, rows(), goals())
    assert list(J.parameters) == ["weight", "bias"] and J.model is model
    assert both(J) == pytest.approx(float(F.mse_loss(model(rows()), goals())))
    names = [n for n, _ in wrapped.named_parameters()]
    assert J.blocks.resolve(names) == ("weight", "bias")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_types_of_weights(dtype):
    model = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 1)).to(dtype)
    J = Objective(model, F.mse_loss, rows().to(dtype), goals().to(dtype))
    real = Objective(model.to(torch.float64), F.mse_loss, rows().to(dtype).double(), goals().to(dtype).double()).value()
    model.to(dtype)
    assert graph_value(J) == pytest.approx(real, rel=1e-12)
    assert epigraph.check(J, effort="quick").verdict == "nonconvex"


def test_computation_in_a_narrower_type_is_the_same_real_function():
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = line().float()

        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                out = self.fc(x)
            return out.float()

    J = Objective(Mixed(), F.mse_loss, rows().float(), goals().float())
    exact = F.mse_loss(J.model.fc.double()(rows().float().double()), goals().float().double())  # type: ignore[union-attr, operator]
    J.model.float()  # type: ignore[union-attr]
    assert graph_value(J) == pytest.approx(float(exact), rel=1e-12)
    assert epigraph.check(J, effort="quick").verdict == "convex"


# notes ------------------------------------------------------------------------------------------------------------
def test_a_gradient_that_is_not_the_derivative_is_said():
    detached = Objective.from_function(lambda w: (w * w.detach()).sum(), {"w": X})
    assert epigraph.check(detached, effort="quick").verdict == "convex"
    assert any("autograd's gradient is not the derivative of J in w" in n for n in detached.notes)
    for plain in (
        Objective.from_function(lambda w: (w * w).sum().exp(), {"w": X}),
        Objective(
            nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1)).double(),
            F.mse_loss,
            rows(),
            goals(),
            mode="train",
            weight_decay=0.1,
        ),
    ):
        plain.graph()
        assert plain.notes == []


def test_a_trainable_tensor_outside_the_model_is_said():
    outside = nn.Parameter(torch.ones(1, dtype=torch.float64))
    J = Objective(line(), lambda o, y: F.mse_loss(o * outside, y), rows(), goals())
    assert epigraph.check(J, effort="quick").verdict == "convex"
    assert any("held constant" in n for n in J.notes)


# what changes after the objective was made ------------------------------------------------------------------------
def test_a_graph_follows_what_has_changed_since():
    model = nn.Sequential(nn.Linear(3, 1), nn.BatchNorm1d(1)).double()
    x = rows()
    J = Objective(model, F.mse_loss, x, goals())
    both(J)
    model[1].running_mean.add_(3)
    moved = both(J)
    with torch.no_grad():
        model[0].weight.mul_(2)
    assert both(J) != moved
    x.data.mul_(0.5)
    assert both(J) == pytest.approx(float(F.mse_loss(model.eval()(x), goals())))


def test_the_graph_is_kept_while_nothing_changes():
    J = Objective(line(), F.mse_loss, rows(), goals())
    assert J.graph() is J.graph()


def test_replaced_parameters_are_noticed():
    model = line()
    J = Objective(model, F.mse_loss, rows(), goals())
    both(J)
    model.weight = nn.Parameter(torch.ones(1, 3, dtype=torch.float64))
    with pytest.raises(epigraph.EpigraphError, match="E213 parameter weight has been replaced"):
        epigraph.check(J)


# domains ----------------------------------------------------------------------------------------------------------
def test_a_domain_without_the_users_point():
    J = Objective.from_function(lambda w: w.log().sum(), {"w": torch.tensor([-1.0, 0.0])}, domain={"w": (0.5, None)})
    assert epigraph.check(J, effort="quick").verdict == "concave"


def test_a_domain_is_kept_apart_from_the_users_tensor():
    low = torch.zeros(2, dtype=torch.float64)
    J = Objective.from_function(lambda w: w.sum(), {"w": X}, domain={"w": (low, [1.0, None])})
    low.fill_(5.0)
    assert J.domain.to_dict() == {"w": [0.0, [1.0, None]]}


def test_points_for_comparison_lie_in_the_domain():
    inside = Objective.from_function(
        lambda w: (w - 1).log().sum() + (2 - w).log().sum(), {"w": torch.tensor([1.5, 1.1])}, domain={"w": (1, 2)}
    )
    assert inside.graph() and inside.notes == []
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        drawn = inside.domain.inside("w", 10 * torch.randn(2, dtype=torch.float64), generator)
        assert inside.domain.contains("w", drawn)


@pytest.mark.parametrize(
    "bounds", [(0, 1), (0.0, None), ([0.0, None], [1.0, 2.0]), (torch.tensor(0), torch.tensor([1, 2])), (0, 0)]
)
def test_bounds_in_every_form(bounds):
    J = Objective.from_function(lambda w: (w**2).sum(), {"w": torch.tensor([0.5, 0.5])}, domain={"w": bounds})
    assert epigraph.check(J, effort="quick").convex == "proved"
