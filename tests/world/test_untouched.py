"""Nothing that a user can see is changed by building, describing, capturing, evaluating or checking an objective."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pictures
import pytest
import scenes
import torch
from torch import nn

import epigraph
from epigraph.errors import EpigraphError
from epigraph.objective.world import untouched

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module", autouse=True)
def _warm():
    """PyTorch imports its exporter late; let that be before the pictures."""
    epigraph.Objective.from_function(lambda w: (w**2).sum(), {"w": torch.ones(2)}).graph()


def _moved(J: epigraph.Objective) -> dict[str, torch.Tensor]:
    return {k: v.detach() + 0.5 for k, v in J.parameters.items()}


ACTIONS: dict[str, Callable[[epigraph.Objective], Any]] = {
    "describe": lambda J: J.describe(),
    "value": lambda J: J.value(),
    "value elsewhere": lambda J: J.value(_moved(J)),
    "value in double": lambda J: J.value(_moved(J), double=True),
    "gradient": lambda J: J.gradient(list(J.parameters)),
    "graph": lambda J: J.graph(),
    "check": lambda J: epigraph.check(J, effort="quick"),
    "spectrum": lambda J: epigraph.spectrum(J, top=1, bottom=1, most=6),
    "spectrum in double": lambda J: epigraph.spectrum(J, top=1, bottom=0, most=4, dtype="float64"),
}


def _look(things: Any) -> Any:
    return [pictures.picture(t) for t in things], (scenes.COUNT, scenes.Counting.calls), pictures.switches()


def _compare(before: Any, after: Any, doing: str) -> None:
    moved = pictures.changes(before[2], after[2])
    assert not moved, f"{doing} left changed: {moved}"
    assert before[1] == after[1], f"{doing} left a global or a class attribute changed"
    assert before[0] == after[0], f"{doing} left an object changed"


REFUSED = {
    "dropout_in_training_mode",
    "a_program_that_raises_half_way",
    "spectral_norm_in_training_mode",
    "a_program_that_steps_an_optimiser",
}
EITHER = {"a_program_that_calls_backward"}


@pytest.mark.parametrize("name", scenes.SCENES)
def test_every_action_leaves_the_world(name):
    torch.manual_seed(0)
    things, make = scenes.SCENES[name]()
    before = _look(things)
    J = make()
    _compare(before, _look(things), "Objective(...)")
    failed = []
    for doing, act in ACTIONS.items():
        try:
            act(J)
        except (EpigraphError, ValueError, RuntimeError) as error:
            failed.append((doing, error))
        _compare(before, _look(things), doing)
    graph = [error for doing, error in failed if doing == "graph"]
    assert name in EITHER or bool(graph) is (name in REFUSED), failed
    assert all(isinstance(error, EpigraphError) for error in graph)


def test_a_picture_shows_each_kind_of_change():
    model = nn.BatchNorm1d(2)
    model.log = [1]
    generator = torch.Generator().manual_seed(1)
    acts = [
        lambda: model.eval(),
        lambda: model.log.append(2),
        lambda: model.running_mean.add_(0.0),
        lambda: torch.rand(1, generator=generator),
        lambda: setattr(model.weight, "grad", torch.zeros(2)),
        lambda: model.weight.data.add_(1),
        lambda: model.bias.requires_grad_(False),
    ]
    for act in acts:
        before = [pictures.picture(v) for v in (model, generator)]
        assert before == [pictures.picture(v) for v in (model, generator)]
        act()
        assert before != [pictures.picture(v) for v in (model, generator)]


AMBIENT = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "deterministic": lambda: _setting(torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode, "error"),
    "float64 by default": lambda: _setting(torch.get_default_dtype, torch.set_default_dtype, torch.float64),
    "anomaly": lambda: torch.autograd.set_detect_anomaly(True),
}


@contextlib.contextmanager
def _setting(read: Callable[[], Any], write: Callable[[Any], Any], value: Any):
    old = read()
    write(value)
    try:
        yield
    finally:
        write(old)


@pytest.mark.parametrize("name", AMBIENT)
def test_the_verdict_and_the_world_under_ambient_switches(name):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 1))
    x, y = scenes.rows(), scenes.goals()
    with AMBIENT[name]():
        before = _look([model, x, y])
        J = epigraph.Objective(model, nn.MSELoss(), x, y)
        v = epigraph.check(J, effort="quick")
        _compare(before, _look([model, x, y]), name)
    assert v.verdict == "nonconvex" and v.blocks["2.weight"].convex == "proved"


def test_an_interrupt_leaves_the_world():
    class Stop(BaseException):
        pass

    def act(m: Any, x: Any) -> None:
        m.calls = 1
        m.fc.weight.data.mul_(2)
        torch.rand(1)
        raise Stop

    things, make = scenes.plain(scenes.Forward(act))
    before = _look(things)
    J = make()
    with pytest.raises(Stop):
        J.graph()
    _compare(before, _look(things), "an interrupt")


def test_versions_let_a_pending_backward_pass_run():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    x = scenes.rows()
    pending = model.eval()(x).sum()
    J = epigraph.Objective(model, nn.MSELoss(), x, scenes.goals(), mode="train")
    J.graph()
    J.value({k: v + 1 for k, v in J.parameters.items()})
    pending.backward()
    assert model[0].weight.grad is not None


def test_untouched_nests_and_restores_what_the_inner_one_saw():
    held = {"a": [1, 2]}

    def f() -> None:
        held["a"].append(3)

    with untouched(f):
        f()
        with untouched(f):
            f()
            assert held["a"] == [1, 2, 3, 3]
        assert held["a"] == [1, 2, 3]
    assert held == {"a": [1, 2]}


FRESH = """
import torch, warnings, logging, sys, os
from torch import nn
import numpy as np
import epigraph
torch.manual_seed(0)
sys.path.insert(0, {folder!r})
import pictures
model = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 1))
x, y = torch.ones(4, 3), torch.zeros(4, 1)
before, seen = pictures.switches(), [pictures.picture(v) for v in (model, x, y)]
v = epigraph.check(epigraph.Objective(model, nn.MSELoss(), x, y), effort="quick")
print(pictures.changes(before, pictures.switches()), seen == [pictures.picture(v) for v in (model, x, y)], v.verdict)
"""


def test_the_first_check_of_a_process():
    here = Path(__file__).resolve().parent
    environment = {**os.environ, "PYTHONPATH": str(here.parents[1] / "src"), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", FRESH.format(folder=str(here))],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout.strip() == "[] True nonconvex", run.stdout + run.stderr
    assert run.stderr == ""
