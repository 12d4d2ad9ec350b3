"""Loading ``file.py:name``: every failure has a code, the user's line and a suggestion; nothing is left behind."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from epigraph.errors import EpigraphError, ObjectiveError, TargetError, UsageError
from epigraph.objective.objective import Objective
from epigraph.objective.target import construction_sites, load

MODEL = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 1)
        self.act = nn.Tanh()
    def forward(self, x):
        return self.act(self.fc(x))

def parts():
    return Net(), nn.MSELoss(), torch.ones(3, 2), torch.zeros(3, 1)
"""


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str, name: str = "user.py") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def failure(target: str, error: type[EpigraphError] = TargetError) -> EpigraphError:
    with pytest.raises(error) as caught:
        load(target)
    return caught.value


# what works ----------------------------------------------------------------------------------------------------------
def test_a_tuple_of_four_becomes_an_objective(write) -> None:
    objective = load(write(MODEL) + ":parts")
    assert isinstance(objective, Objective)
    assert np.isfinite(objective.value())


def test_an_objective_and_a_function_that_returns_one(write) -> None:
    file = write(
        "import torch, epigraph\n"
        "from epigraph.objective.objective import Objective\n"
        "J = Objective.from_function(lambda w: (w*w).sum(), {'w': torch.ones(3, dtype=torch.float64)})\n"
        "def make(scale=1.0):\n    return J\n"
    )
    assert load(file + ":J").value() == 3.0
    assert load(file + ":make").value() == 3.0


def test_a_formula(write) -> None:
    assert load(expr="x**2 + 1", where="x > 0").value() == 1.25


def test_a_neighbour_is_imported_and_forgotten(write, tmp_path: Path) -> None:
    body = (
        "from helpers import SIZE\nimport torch\nfrom epigraph.objective.objective import Objective\n"
        "def make():\n    import helpers\n    return Objective.from_function(lambda w: (w*w).sum() * helpers.SIZE,"
        " {'w': torch.ones(1, dtype=torch.float64)})\n"
    )
    write("SIZE = 2.0", "a/helpers.py")
    write("SIZE = 5.0", "b/helpers.py")
    first, second = load(write(body, "a/user.py") + ":make"), load(write(body, "b/user.py") + ":make")
    assert (first.value(), second.value()) == (2.0, 5.0)
    assert "helpers" not in sys.modules


def test_an_edited_file_is_read_again(write) -> None:
    body = (
        "import torch\nfrom epigraph.objective.objective import Objective\n"
        "def make():\n    return Objective.from_function(lambda w: (w*w).sum() * {}, {{'w': torch.ones(1)}})\n"
    )
    values = [load(write(body.format(k)) + ":make").value() for k in (2, 3)]
    assert values == [2.0, 3.0]


def test_dataclasses_and_postponed_annotations_work(write) -> None:
    file = write(
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom typing import ClassVar\n"
        "@dataclass\nclass C:\n    x: ClassVar[int] = 1\n    y: int = 2\n" + MODEL
    )
    assert load(file + ":parts") is not None


def test_the_world_is_left_as_it_was(write, tmp_path: Path, capsys) -> None:
    file = write(
        "import os, sys, random, torch, numpy\nprint('from the file')\nsys.argv.append('more')\n"
        "sys.path.append('elsewhere')\nos.chdir('/')\n"
        "torch.manual_seed(7); random.seed(7); numpy.random.seed(7)\n"
        "assert len(sys.argv) == 2\n" + MODEL
    )
    before = (sys.path[:], sys.argv[:], os.getcwd(), random.getstate())
    generators = torch.random.get_rng_state(), np.random.get_state()[1]
    modules = set(sys.modules)
    load(file + ":parts")
    assert (sys.path, sys.argv, os.getcwd(), random.getstate()) == before
    assert torch.equal(torch.random.get_rng_state(), generators[0])
    assert (np.random.get_state()[1] == generators[1]).all()
    assert len({m for m in set(sys.modules) - modules if "target" in m or "user" in m}) == 1
    assert not (tmp_path / "__pycache__").exists()
    captured = capsys.readouterr()
    assert "from the file" in captured.err and captured.out == ""


def test_modules_know_where_they_were_built(write) -> None:
    file = write(
        "import torch\nfrom torch import nn\n\ndef make():\n    first = nn.Linear(2, 3)\n    act = nn.ReLU()\n"
        "    net = nn.Sequential(\n        first,\n        act,\n        nn.Linear(3, 1),\n    )\n"
        "    return net, nn.MSELoss(), torch.ones(3, 2), torch.zeros(3, 1)\n"
    )
    objective = load(file + ":make")
    net = objective.model
    assert construction_sites(net[0]) == (file, 5)
    assert construction_sites(net[2])[0] == file and construction_sites(net[2])[1] in (7, 10)
    assert construction_sites(net[1]) is not None and construction_sites(net) is not None
    assert construction_sites(torch.nn.Linear(1, 1)) is None  # the hooks are gone


# what fails ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "name", "code", "says"),
    [
        ("def f(:\n    pass", "f", "E105", ["user.py:1", "def f(:", "^"]),
        ("x = 1\n\ty = 2", "x", "E105", ["user.py:2"]),
        ("x = '\0'", "x", "E105", ["compile"]),
        ("import torch\n\nraise ValueError('bad\\nthing')", "f", "E106", ["user.py:3", "ValueError: bad"]),
        ("import not_a_module_at_all", "f", "E106", ["user.py:1", "pip install not_a_module_at_all"]),
        ("from .model import Net", "f", "E106", ["relative import", "full name"]),
        ("import sys\nsys.exit(3)", "f", "E112", ["user.py:2", "exit(3)", "__main__"]),
        (
            "import argparse\np = argparse.ArgumentParser()\np.add_argument('--lr', required=True)\np.parse_args()",
            "f",
            "E112",
            ["user.py:4"],
        ),
        (
            "def objective(): pass\ndef other(a): pass",
            "objektive",
            "E107",
            ["did you mean", "objective", "it offers: objective"],
        ),
        ("x = 3", "f", "E107", ["no name 'f'"]),
        ("x = 3", "x", "E108", ["of type int"]),
        ("import torch", "torch", "E108", ["of type module"]),
        ("class C: pass", "C", "E108", ["a class"]),
        ("from torch import nn\nclass C(nn.Module): pass", "C", "E108", ["a class of models"]),
        ("from torch import nn\nnet = nn.Linear(1, 1)", "net", "E108", ["is a model", "loss"]),
        ("async def f(): pass", "f", "E108", ["async"]),
        ("def f():\n    yield 1", "f", "E108", ["generator"]),
        ("\ndef f(a, b=1, *, c): pass", "f", "E109", ["a, c", "user.py:2"]),
        ("def g():\n    return 1/0\ndef f():\n    return g()", "f", "E110", ["user.py:2", "ZeroDivisionError"]),
        (
            "def f():\n    import torch\n    return torch.nn.Linear(2, 2)(torch.ones(3))",
            "f",
            "E110",
            ["user.py:3", "RuntimeError"],
        ),
        ("def f():\n    return f()", "f", "E110", ["RecursionError", "user.py:2"]),
        ("def f():\n    raise SystemExit", "f", "E112", ["exit()"]),
        ("def f(): return None", "f", "E111", ["returned None", "(model, loss, inputs, targets)"]),
        ("def f(): return 3.0", "f", "E111", ["returned float"]),
        ("def f(): return (1, 2)", "f", "E111", ["a tuple of 2"]),
        ("def f(): return (1, 2, 3, 4)", "f", "E111", ["the first is of type int"]),
        (
            "from torch import nn\ndef f(): return (nn.Linear(1, 1), 2, 3, 4)",
            "f",
            "E111",
            ["the second is of type int"],
        ),
        (
            "def f():\n    raise RuntimeError('Found no NVIDIA driver on your system.')",
            "f",
            "E114",
            ["user.py:2", "is_available"],
        ),
        (
            "def f():\n    raise RuntimeError('... torch.cuda.is_available() is False. ... use torch.load with map_location')",
            "f",
            "E114",
            ["map_location"],
        ),
    ],
)
def test_failures(write, text: str, name: str, code: str, says: list[str]) -> None:
    error = failure(f"{write(text)}:{name}")
    assert error.code == code
    assert error.exit_code == 3
    for part in says:
        assert part in str(error)
    assert "world.py" not in str(error) and "Traceback" not in str(error)


@pytest.mark.parametrize(
    ("target", "code", "says"),
    [
        ("{}/user.py", "E101", "user.py:NAME, where NAME is one of parts"),
        ("{}/user.py:", "E101", "parts"),
        ("{}/user.py:a b", "E101", "not a name"),
        ("", "E101", "names no objective"),
        (":", "E101", "joined by a colon"),
        ("{}/usr.py:f", "E102", "did you mean"),
        ("{}/none/user.py:f", "E102", "does not exist"),
        ("{}:f", "E103", "user.py:f"),
        ("{}/data.txt:f", "E104", "not a Python file"),
        ("C:\\no\\such.py:f", "E102", "such.py"),
        ("C:\\no\\such.py", "E101", "colon"),
    ],
)
def test_paths_that_name_nothing(write, tmp_path: Path, target: str, code: str, says: str) -> None:
    write(MODEL)
    write("text", "data.txt")
    error = failure(target.format(tmp_path))
    assert error.code == code and says in str(error)


def test_a_failure_restores_the_world_too(write) -> None:
    path = sys.path[:]
    failure(write("import sys, os\nsys.path.insert(0, 'x')\nos.chdir('/')\nraise ValueError") + ":f")
    assert sys.path == path and os.getcwd() != "/"


def test_the_users_own_epigraph_errors_pass_through(write) -> None:
    text = "from epigraph.errors import ObjectiveError\ndef f():\n    raise ObjectiveError('E299', 'mine')\n"
    assert failure(write(text) + ":f", ObjectiveError).code == "E299"


def test_an_interrupt_is_not_swallowed(write) -> None:
    argv = sys.argv[:]
    with pytest.raises(KeyboardInterrupt):
        load(write("def f():\n    raise KeyboardInterrupt\n") + ":f")
    assert sys.argv == argv


@pytest.mark.parametrize("arguments", [{}, {"target": "a.py:f", "expr": "x"}, {"target": "a.py:f", "where": "x>0"}])
def test_calls_without_sense(arguments: dict) -> None:
    with pytest.raises(UsageError):
        load(**arguments)


def test_the_line_in_a_neighbour_is_shown(write) -> None:
    write("def g():\n\n    raise KeyError('k')\n", "near.py")
    error = failure(write("import near\ndef f():\n    return near.g()\n") + ":f")
    assert "near.py:3" in str(error)
