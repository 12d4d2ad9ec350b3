"""Regions with known answers, searches for negative curvature inside certified ones, kinks, domains and refusals."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

import epigraph
from epigraph import Objective
from epigraph.errors import EpigraphError
from epigraph.hessian.dense import Dense

D = torch.float64


def of(f, x: list[float], **options) -> Objective:
    return Objective.from_function(f, {"x": torch.tensor(x, dtype=D)}, **options)


# (name, J, shape, the true radius): convex inside, not beyond
KNOWN = {
    "quartic": (lambda: of(lambda x: (x**4 - x**2).sum(), [1.0]), "box", 1 - 6**-0.5),
    "double well": (lambda: of(lambda x: ((x * x - 1) ** 2).sum(), [1.0]), "ball", 1 - 3**-0.5),
    "sine": (lambda: of(lambda x: -torch.cos(x).sum(), [0.25, 0.0]), "box", math.pi / 2 - 0.25),
    "bell": (lambda: of(lambda x: -torch.exp(-x * x).sum(), [0.0]), "ball", 0.5**0.5),
    "product": (lambda: of(lambda x: x[0] ** 2 * x[1] ** 2 + x[0] ** 2 + x[1] ** 2, [0.0, 0.0]), "box", 1.0),
    "logarithm": (lambda: of(lambda x: (x * x - torch.log(x) ** 2).sum() + x.sum(), [3.0]), "box", None),
    "sigmoid": (lambda: of(lambda x: torch.sigmoid(x).sum(), [-2.0]), "ball", 2.0),
    "mixed": (lambda: of(lambda x: x[0] * x[1] + (x**4).sum(), [1.0, 1.0]), "box", 1 - 12**-0.5),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_radius(name):
    make, shape, true = KNOWN[name]
    found = epigraph.region(make(), shape=shape, effort="quick" if name != "product" else "normal")
    assert found.verdict == "convex" and found.radius == found.largest_radius > 0
    if true is not None:
        assert 0.5 * true < found.radius <= true * (1 + 1e-9)
    assert found.modulus is not None and found.modulus >= 0


@pytest.mark.parametrize("name", [n for n in KNOWN if KNOWN[n][2]])
def test_beyond_the_true_radius_it_is_refuted(name):
    make, shape, true = KNOWN[name]
    found = epigraph.region(make(), radius=1.3 * true, shape=shape, effort="quick")
    assert found.verdict == "nonconvex" and found.modulus is None
    assert 0 < found.largest_radius <= true * (1 + 1e-9)
    made = found.certificate
    for end in (made.a, made.b):
        step = end["x"] - found.centre["x"]
        assert float(step.norm() if shape == "ball" else step.abs().max()) <= 1.3 * true * (1 + 1e-12)
    assert float(made.gap) > 0


def test_parts_reach_further_than_one_enclosure():
    J = of(lambda x: x[0] ** 2 * x[1] ** 2 + x[0] ** 2 + x[1] ** 2, [0.5, 0.5])
    whole, cut = (epigraph.region(J, effort=effort) for effort in ("quick", "normal"))
    assert whole.boxes == 1 and cut.boxes > 1
    assert whole.radius < cut.radius <= 0.5**0.5 + 1e-9
    assert cut.radius > 0.6


def trained(seed: int = 0) -> tuple[Objective, dict[str, torch.Tensor]]:
    """A 2-4-1 network with its parameters at a strict minimum, by damped Newton steps."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(20, 2, generator=g, dtype=D)
    net = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    for p in net.parameters():
        p.data = torch.randn(p.shape, generator=g, dtype=D) * 0.7
    J = Objective(net, nn.MSELoss(), x, torch.sin(2 * x[:, :1]) * x[:, 1:], weight_decay=0.02)
    graph = J.graph()
    dense = Dense(graph)
    w = torch.cat([v.detach().reshape(-1) for v in graph.parameters.values()])
    damping = 1.0
    for _ in range(300):
        jet = dense.of(w[None])
        values, vectors = torch.linalg.eigh(jet.hessian[0])
        new = w - vectors @ ((vectors.T @ jet.gradient[0]) / (values.abs() + damping))
        better = bool(dense.of(new[None]).value[0] < jet.value[0])
        w, damping = (new, damping / 3) if better else (w, min(damping * 4, 1e6))
        if float(jet.gradient[0].norm()) < 1e-13:
            break
    point, start = {}, 0
    for name, value in graph.parameters.items():
        point[name] = w[start : start + value.numel()].reshape(value.shape)
        start += value.numel()
    return J, point


@pytest.mark.parametrize("shape", ["ball", "box"])
def test_no_negative_curvature_inside_a_certified_region(shape):
    """Points all over the region, and a descent of the least eigenvalue, find none below the modulus."""
    J, point = trained()
    found = epigraph.region(J, point, shape=shape, effort="quick")
    assert found.verdict == "convex" and found.radius > 5e-4 and found.modulus > 0
    w = torch.cat([v.reshape(-1) for v in point.values()])
    dense, g = Dense(J.graph()), torch.Generator().manual_seed(2)
    e = torch.randn(1500, len(w), generator=g, dtype=D)
    e = e / (e.norm(dim=1, keepdim=True) if shape == "ball" else e.abs().amax(1, keepdim=True))
    e[:500] = e[:500] if shape == "ball" else e[:500].sign()
    least = torch.linalg.eigvalsh(dense.of(w + found.radius * e).hessian)[:, 0]
    assert float(least.min()) >= found.modulus
    again = epigraph.region(J, point, radius=30 * found.radius, shape=shape, effort="quick")
    assert again.verdict == "nonconvex"


def test_symmetric_kinks_of_a_penalty_are_allowed():
    """|x| bends upwards at 0: x^2 - cos x + |x| is convex across it; -|x| is not."""
    J = of(lambda x: (x**4 + x * x).sum() - (x[0] * x[1]) ** 2 + x.abs().sum(), [0.25, -0.25])
    found = epigraph.region(J, radius=0.5, shape="box")
    assert found.verdict == "convex"
    down = of(lambda x: (x**4 + 3 * x * x).sum() - (x[0] * x[1]) ** 2 - x.abs().sum(), [0.25, -0.25])
    assert epigraph.region(down, radius=0.125, shape="box", effort="quick").verdict == "convex"
    beyond = epigraph.region(down, radius=0.5, shape="box", effort="quick")
    assert beyond.verdict == "nonconvex" and 0.2 < beyond.largest_radius <= 0.25


def test_a_kink_that_may_bend_downwards_stops_the_proof():
    J = of(lambda x: (torch.relu(x[0]) - 2 * x[1]) ** 2 + x[0] ** 2 + x[1] ** 2, [0.125, 0.0])
    inside = epigraph.region(J, radius=0.0625, shape="ball", effort="quick")
    assert inside.verdict == "convex"
    across = epigraph.region(J, radius=0.5, shape="ball", effort="quick")
    assert across.verdict in ("undecided", "nonconvex") and 0.1 < across.largest_radius <= 0.125
    assert "kink" in across.reason


def test_a_region_that_leaves_the_domain_of_an_operator_is_not_claimed():
    J = of(lambda x: -torch.log(x).sum() + torch.sin(x).sum() / 8, [1.0])
    assert epigraph.region(J, radius=0.9, shape="ball", effort="quick").verdict == "convex"
    found = epigraph.region(J, radius=1.5, shape="ball", effort="quick")
    assert found.verdict == "undecided" and "domain" in found.reason and found.largest_radius < 1


def test_the_region_is_cut_by_the_domain():
    J = of(lambda x: (x**3).sum() - (x[0] * x[1]) / 4, [0.5, 0.5], domain={"x": (0.25, None)})
    found = epigraph.region(J, radius=10.0, shape="box", effort="quick")
    free = epigraph.region(of(lambda x: (x**3).sum() - (x[0] * x[1]) / 4, [0.5, 0.5]), radius=10.0, shape="box")
    assert free.verdict == "nonconvex" and found.verdict != "nonconvex"


def test_a_convex_objective_is_convex_around_every_point():
    J = of(lambda x: (x**2).sum(), [1.0, 2.0])
    found = epigraph.region(J)
    assert found.verdict == "convex" and found.radius == math.inf and found.method == "rules"
    assert found.modulus == 2.0


def test_held_blocks_stay_at_the_point():
    J = Objective.from_function(
        lambda a, b: (a * b - 1) ** 2, {"a": torch.tensor(1.0, dtype=D), "b": torch.tensor(1.0, dtype=D)}
    )
    alone = epigraph.region(J, radius=100.0, blocks=["a"])
    assert alone.verdict == "convex" and alone.active == ("a",)
    assert epigraph.region(J, radius=100.0).verdict == "nonconvex"


def test_a_saddle_is_refuted_without_a_radius():
    found = epigraph.region(of(lambda x: x[0] ** 2 - x[1] ** 2, [0.0, 0.0]))
    assert found.verdict == "nonconvex" and found.largest_radius == 0


def test_where_j_has_no_value_nothing_is_claimed():
    for f, x in ((lambda x: (x / 0.0).sum(), 0.5), (lambda x: torch.log(x).sum() ** 2, -1.0)):
        found = epigraph.region(of(f, [x]), effort="quick")
        assert found.verdict == "undecided" and "no finite value" in found.reason


def test_an_operator_without_derivative_is_named():
    for f, name in ((torch.linalg.svdvals, "svdvals"), (torch.linalg.det, "det")):
        J = Objective.from_function(lambda w, f=f: torch.sin(f(w)).sum(), {"w": torch.eye(2, dtype=D)})
        found = epigraph.region(J, radius=0.1, effort="normal")
        assert found.verdict == "undecided" and name in found.reason


def test_an_infinite_constant_ends_in_undecided():
    limit = torch.tensor([math.inf, 1.0], dtype=D)
    J = of(lambda x: (torch.minimum(x, limit) ** 4 - x * x).sum(), [1.0, 0.5])
    assert epigraph.region(J, radius=0.01, effort="quick").verdict == "undecided"


def test_the_point_is_read_from_a_file(tmp_path):
    from safetensors.torch import save_file

    J, point = trained()
    inner = {k: v.clone().contiguous() for k, v in point.items()}
    save_file(inner, tmp_path / "w.safetensors")
    torch.save(inner, tmp_path / "w.pt")
    found = [epigraph.region(J, tmp_path / f"w{end}", radius=1e-4).modulus for end in (".safetensors", ".pt")]
    assert found[0] == found[1] == epigraph.region(J, point, radius=1e-4).modulus


def test_buffers_and_frozen_parameters_may_be_named():
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 1)).double()
    net[2].requires_grad_(False)
    J = Objective(net, nn.MSELoss(), torch.randn(5, 2, dtype=D), torch.zeros(5, 1, dtype=D))
    state = dict(net.state_dict())
    assert epigraph.region(J, state, radius=1e-6, effort="quick").radius == 1e-6
    state["1.running_mean"] = torch.ones(2, dtype=D)
    with pytest.raises(EpigraphError, match="E095"):
        epigraph.region(J, state)


def refusals(tmp_path):
    J = of(lambda x: (x**2).sum(), [1.0, 2.0], domain={"x": (0.0, None)})
    x = torch.ones(2, dtype=D)
    (tmp_path / "text.pt").write_text("no tensors")
    torch.save([1, 2], tmp_path / "list.pt")
    return {
        "radius zero": ("E090", J, {"radius": 0.0}),
        "radius negative": ("E090", J, {"radius": -1.0}),
        "radius nan": ("E090", J, {"radius": math.nan}),
        "radius infinite": ("E090", J, {"radius": math.inf}),
        "radius text": ("E090", J, {"radius": "wide"}),
        "shape": ("E091", J, {"shape": "cube"}),
        "no file": ("E092", J, {"at": tmp_path / "none.pt"}),
        "no state": ("E092", J, {"at": tmp_path / "text.pt"}),
        "a list": ("E092", J, {"at": tmp_path / "list.pt"}),
        "missing": ("E093", J, {"at": {}}),
        "unknown": ("E094", J, {"at": {"x": x, "y": x}}),
        "wrong shape": ("E095", J, {"at": {"x": torch.ones(3)}}),
        "not finite": ("E096", J, {"at": {"x": x * math.nan}}),
        "complex": ("E096", J, {"at": {"x": x * 1j}}),
        "no tensor": ("E096", J, {"at": {"x": [1.0, 2.0]}}),
        "outside": ("E097", J, {"at": {"x": -x}}),
        "effort": ("E027", J, {"effort": "huge"}),
        "no objective": ("E020", "J", {}),
        "block": ("E011", J, {"blocks": ["z"]}),
    }


CASES = (
    "radius zero, radius negative, radius nan, radius infinite, radius text, shape, no file, no state, a list, missing, "
    "unknown, wrong shape, not finite, complex, no tensor, outside, effort, no objective, block"
).split(", ")


def test_every_refusal_is_tried(tmp_path):
    assert set(refusals(tmp_path)) == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_refusals(name, tmp_path):
    code, J, options = refusals(tmp_path)[name]
    with pytest.raises(EpigraphError) as caught:
        epigraph.region(J, **options)
    assert caught.value.code == code and caught.value.exit_code == 2 and caught.value.hint


def test_the_command_line(capfd, tmp_path):
    from epigraph.cli import main

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(["check", "--expr", "x**4 - x**2 + y**2", "--effort", "quick", *arguments])
        out = capfd.readouterr()
        return int(left.value.code or 0), out.out, out.err

    code, out, _ = run("--region", "box", "--json")
    found = json.loads(out)
    assert code == 0 and found["verdict"] == "nonconvex"
    assert {"shape", "radius", "modulus", "largest_radius", "verdict", "method", "boxes"} <= set(found["region"])
    assert found["region"]["verdict"] == "convex" and found["region"]["radius"] < 0.1  # x = 1/2 here
    code, out, _ = run("--region", "ball", "--radius", "0.03125")
    assert code == 0 and "convex on this ball of radius 0.03125" in out
    code, out, err = run("--radius", "1")
    assert code == 2 and "E085" in err
    code, out, err = run("--region", "ball", "--radius", "0")
    assert code == 2 and "E090" in err and out == ""
    code, out, err = run("--region", "ball", "--at", str(tmp_path / "no.pt"))
    assert code == 2 and "E092" in err
