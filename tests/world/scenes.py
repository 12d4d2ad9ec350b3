"""Objectives whose programs change what they can: state, modes, generators, switches.  Some are refused, all are undone."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset

from epigraph import Objective

Scene = tuple[Any, Callable[[], Objective]]  # what to look at, and the objective
SCENES: dict[str, Callable[[], Scene]] = {}
COUNT = 0


def scene(make: Callable[[], Scene]) -> Callable[[], Scene]:
    SCENES[make.__name__] = make
    return make


def rows() -> Tensor:
    return torch.arange(18.0).reshape(6, 3) / 10


def goals() -> Tensor:
    return torch.arange(6.0).reshape(6, 1)


def plain(model: nn.Module, loss: Any = F.mse_loss, **options: Any) -> Scene:
    x, y = rows(), goals()
    return [model, loss, x, y], lambda: Objective(model, loss, x, y, **options)


class Forward(nn.Module):
    """A linear model that does something on the way."""

    def __init__(self, act: Callable[[Forward, Tensor], Any]):
        super().__init__()
        self.fc = nn.Linear(3, 1)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        self.act(self, x)
        return self.fc(x)


@scene
def batch_norm_in_training_mode() -> Scene:
    return plain(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).eval(), mode="train")


@scene
def batch_norm_and_dropout_in_evaluation_mode() -> Scene:
    return plain(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 1)).train())


@scene
def mixed_modes() -> Scene:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 1)).train()
    model[1].eval()
    return plain(model)


@scene
def dropout_in_training_mode() -> Scene:
    return plain(nn.Sequential(nn.Linear(3, 1), nn.Dropout()), mode="train")


@scene
def a_buffer_that_forward_updates() -> Scene:
    model = Forward(lambda m, x: m.mean.mul_(0.9).add_(0.1 * x.mean(0)))
    model.register_buffer("mean", torch.zeros(3))
    return plain(model)


@scene
def tied_weights() -> Scene:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 1))
    model[1].weight = model[0].weight
    return plain(model)


@scene
def a_shuffling_loader() -> Scene:
    loader = DataLoader(TensorDataset(rows(), goals()), batch_size=4, shuffle=True)
    model = nn.Linear(3, 1)
    return [model, loader], lambda: Objective(model, nn.MSELoss(), loader)


@scene
def a_shuffling_loader_with_its_generator() -> Scene:
    generator = torch.Generator().manual_seed(5)
    loader = DataLoader(TensorDataset(rows(), goals()), batch_size=4, shuffle=True, generator=generator)
    model = nn.Linear(3, 1)
    return [model, loader, generator], lambda: Objective(model, nn.MSELoss(), loader)


class Noisy(Dataset[Any]):
    """Counts what is read and adds noise from a generator of its own."""

    def __init__(self) -> None:
        self.reads: list[int] = []
        self.generator = np.random.default_rng(1)

    def __len__(self) -> int:
        return 6

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        self.reads.append(i)
        return rows()[i] + float(self.generator.random()) + torch.rand(3) + random.random(), goals()[i]


@scene
def a_dataset_with_state() -> Scene:
    data = Noisy()
    model = nn.Linear(3, 1)
    return [model, data], lambda: Objective(model, nn.MSELoss(), DataLoader(data, batch_size=4))


@scene
def hooks_that_collect() -> Scene:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    seen: list[Any] = [torch.ones(2)]
    model[0].register_forward_hook(lambda m, i, o: seen.append(o))
    model[0].register_forward_pre_hook(lambda m, i: seen.append(i))
    model[2].register_full_backward_hook(lambda m, i, o: seen.append(o))
    model[2].weight.register_hook(lambda g: seen.append(g))
    model[2].bias.register_post_accumulate_grad_hook(lambda p: seen.append(p))
    return [model, seen], plain(model)[1]


@scene
def attributes_that_forward_sets() -> Scene:
    def act(m: Any, x: Tensor) -> None:
        m.last = x * 2
        m.log.append(m.fc.weight.sum())
        m.table["n"] = m.table.get("n", 0) + 1
        m.names.add(len(m.log))
        m.calls += 1

    model = Forward(act)
    model.log, model.table, model.names, model.calls = [1], {}, {0}, 0
    return plain(model)


@scene
def a_loss_with_closures() -> Scene:
    model = nn.Linear(3, 1)
    weight, history, total, calls = model.weight, [], torch.zeros(()), 0

    def loss(o: Tensor, y: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        out = F.mse_loss(o, y) + 0.1 * weight.abs().sum()
        history.append(out)
        with torch.no_grad():
            total.add_(1)
        return out

    return [model, loss, history, total], plain(model, loss)[1]


@scene
def a_global_counter() -> Scene:
    def act(m: Any, x: Tensor) -> None:
        global COUNT
        COUNT += 1

    return plain(Forward(act))


class Counting(nn.Module):
    """Counts its calls in the class."""

    calls = 0
    log: list[int] = []  # noqa: RUF012  (shared on purpose)

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        type(self).calls += 1
        self.log.append(self.calls)
        return self.fc(x)


@scene
def a_counter_in_the_class() -> Scene:
    model = Counting()
    return [model, Counting.log], plain(model)[1]


@scene
def gradients_from_before() -> Scene:
    model = nn.Linear(3, 1)
    model(rows()).sum().backward()
    return plain(model)


@scene
def a_program_that_calls_backward() -> Scene:
    def act(m: Any, x: Tensor) -> None:
        m.fc(x).sum().backward()
        m.zero_grad()

    model = Forward(act)
    model(rows())
    model.fc(rows()).sum().backward()
    return plain(model)


@scene
def a_program_that_moves_its_weights() -> Scene:
    return plain(Forward(lambda m, x: m.fc.weight.data.clamp_(-0.1, 0.1)))


@scene
def a_program_that_steps_an_optimiser() -> Scene:
    model = Forward(lambda m, x: None)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def act(m: Any, x: Tensor) -> None:
        m.fc(x).sum().backward()
        optimiser.step()

    model.act = act
    return [model, optimiser], plain(model)[1]


@scene
def a_program_that_freezes_and_switches_modes() -> Scene:
    def act(m: Any, x: Tensor) -> None:
        m.fc.bias.requires_grad_(False)
        m.train(not m.training)

    return plain(Forward(act))


@scene
def a_program_that_writes_into_its_data() -> Scene:
    return plain(Forward(lambda m, x: x.sub_(x.mean())))


@scene
def a_program_that_adds_a_parameter() -> Scene:
    def act(m: Any, x: Tensor) -> None:
        if not hasattr(m, "extra"):
            m.extra = nn.Parameter(torch.zeros(3))
            m.register_buffer("seen", torch.zeros(1))

    return plain(Forward(act))


@scene
def a_program_that_turns_switches() -> Scene:
    def act(m: Any, x: Tensor) -> None:
        torch.manual_seed(1)
        np.random.seed(1)
        random.seed(1)
        np.seterr(all="ignore")
        warnings.simplefilter("ignore")
        torch.set_num_threads(torch.get_num_threads() + 1)
        torch.backends.mha.set_fastpath_enabled(not torch.backends.mha.get_fastpath_enabled())
        torch.set_float32_matmul_precision("medium")

    return plain(Forward(act))


@scene
def noise_from_every_generator() -> Scene:
    mine, numpys, pythons = torch.Generator().manual_seed(3), np.random.default_rng(3), random.Random(3)

    def act(m: Any, x: Tensor) -> None:
        torch.rand(1)
        torch.rand(1, generator=mine)
        np.random.rand()
        numpys.random()
        random.random()
        pythons.random()

    return [mine, numpys, pythons, *plain(Forward(act))[0]], plain(Forward(act))[1]


@scene
def a_program_that_raises_half_way() -> Scene:
    def act(m: Any, x: Tensor) -> None:
        m.calls = 1
        m.mean.add_(1)
        m.fc.weight.data.mul_(2)
        m.eval()
        torch.rand(3)
        raise ValueError("half way")

    model = Forward(act).train()
    model.register_buffer("mean", torch.zeros(3))
    return plain(model)


@scene
def spectral_norm_in_training_mode() -> Scene:
    return plain(torch.nn.utils.parametrizations.spectral_norm(nn.Linear(3, 1)), mode="train")


@scene
def weight_norm_by_parametrisation() -> Scene:
    return plain(torch.nn.utils.parametrizations.weight_norm(nn.Linear(3, 1)))


@scene
def a_function_over_a_module() -> Scene:
    norm = nn.BatchNorm1d(3).train()
    x = rows()
    return [norm, x], lambda: Objective.from_function(
        lambda w: (norm(x * w) ** 2).sum() + (w**4).sum(), {"w": torch.ones(3)}
    )


@scene
def accumulation_into_a_tensor_of_the_user() -> Scene:
    total = torch.zeros(3)

    def f(w: Tensor) -> Tensor:
        total.zero_()
        total.add_(w**2)
        return total.sum()

    return [total], lambda: Objective.from_function(f, {"w": torch.ones(3)})
