"""The parts of capture by themselves: memory shared with parameters, the watch, the reach, writes in an exported graph."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import epigraph
from epigraph import Objective
from epigraph.objective.alias import Memory
from epigraph.objective.builder import Builder
from epigraph.objective.evaluate import Evaluator
from epigraph.objective.exported import _nodes, _shared_write, export
from epigraph.objective.reach import LONGEST, reach
from epigraph.objective.watch import Watch

VIEWS = {
    "itself": lambda t: t,
    "detached": lambda t: t.detach(),
    "turned": lambda t: t.detach().t(),
    "a row": lambda t: t.detach()[1],
    "one entry": lambda t: t.detach()[1, 2],
    "every second": lambda t: t.detach()[:, ::2],
    "backwards by steps": lambda t: t.detach()[1:, 1:],
    "flat": lambda t: t.detach().view(-1),
    "another shape": lambda t: t.detach().view(2, 8),
    "expanded": lambda t: t.detach()[0].expand(3, 4),
    "a diagonal": lambda t: t.detach().diagonal(),
    "windows": lambda t: t.detach().view(-1).unfold(0, 3, 2),
}


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("layout", ["rows", "columns", "a part"])
def test_a_view_is_the_parameters_entries(name, layout):
    """The expression of a view, evaluated where the parameter moves, is the view of what was moved."""
    whole = torch.arange(40.0, dtype=torch.float64)
    made = {
        "rows": whole[:16].view(4, 4),
        "columns": whole[:16].view(4, 4).t(),
        "a part": whole[5:37].view(4, 8)[:, 2:6],
    }[layout]
    if layout != "rows" and name in ("flat", "another shape", "windows"):
        pytest.skip("no view of a tensor that is not contiguous")
    parameter = nn.Parameter(made)
    builder = Builder()
    weight = builder.parameter("w", parameter.detach())
    found = Memory(builder, {"w": (parameter, weight)}).expression(VIEWS[name](parameter), "constant")
    assert found.literal is None
    moved = torch.randn(4, 4, dtype=torch.float64)
    graph = builder.graph((found * builder.literal(torch.randn(found.shape, dtype=torch.float64).clone())).sum())
    weights = next(leaf.tensor for leaf in graph.tensors.values() if leaf.role != "index")
    place = made.clone(memory_format=torch.preserve_format)
    place.copy_(moved)
    want = (VIEWS[name](place) if layout == "rows" or name != "flat" else moved.reshape(-1)) * weights
    assert float(Evaluator(graph)({"w": moved})) == pytest.approx(float(want.sum()), rel=1e-12)


def test_memory_that_is_not_a_parameters_is_constant():
    whole = torch.arange(10.0)
    parameter = nn.Parameter(whole[:4])
    builder = Builder()
    memory = Memory(builder, {"w": (parameter, builder.parameter("w", parameter.detach()))})
    assert memory.expression(whole[4:], "constant").literal is not None
    assert memory.expression(torch.zeros(4), "constant").literal is not None
    for half in (whole[2:6], whole[:4].view(torch.int32)):
        with pytest.raises(epigraph.EpigraphError, match="E210"):
            memory.expression(half, "constant")


# the watch --------------------------------------------------------------------------------------------------------
def _watched(run: Any, *parameters: Tensor, times: int = 1) -> Watch:
    watch = Watch(parameters)
    for _ in range(times):
        with watch.run():
            run()
    return watch


def test_the_watch_counts_looks_and_reads():
    w, x = torch.ones(3, requires_grad=True), torch.ones(3)
    assert _watched(lambda: [float(w.sum()), bool((w.detach() > 0).all()), int((w.data * 2)[0])], w).looks == 3
    assert _watched(lambda: [float(x.sum()), x.tolist(), x.numpy()], w).looks == 0
    assert _watched(lambda: [x.tolist(), x.numpy()], w).reads == []
    assert _watched(lambda: [w.tolist(), (w * 2).detach().numpy(), w.data.T.tolist()], w).reads == [
        "tolist",
        "numpy",
        "tolist",
    ]


def test_the_watch_follows_writes_and_shared_memory():
    w = torch.ones(3, requires_grad=True)
    total = torch.zeros(3)
    part = total[:2]

    def run() -> None:
        total.add_(w.detach())
        float(part[0])

    assert _watched(run, w).looks == 1
    assert _watched(lambda: torch._foreach_add_([total.zero_()], [w.detach()]), w).depends(part)
    assert _watched(lambda: torch.mul(w.detach(), 2.0, out=total), w).depends(total)


def test_the_watch_knows_what_was_kept():
    w = torch.ones(3, requires_grad=True)
    before = (w**2).sum()
    other = (torch.ones(3, requires_grad=True) ** 2).sum()
    kept: list[Tensor] = []
    log = torch.zeros(())

    def cached() -> None:
        if not kept:
            kept.append(w.sum())
        float(kept[0] * 2)

    def logged() -> None:
        log.mul_(0.9).add_(w.detach().sum())
        float(w.sum())

    def overwritten() -> None:
        log.zero_().add_(w.detach().sum())
        float(log)

    assert _watched(lambda: float((before + w.sum()).detach()), w).kept == ["aten.add.Tensor"]
    assert _watched(lambda: float((other + w.sum()).detach()), w).kept == []
    assert _watched(cached, w, times=1).kept == []
    kept.clear()
    assert _watched(cached, w, times=2).kept == ["aten.mul.Tensor"]
    assert _watched(logged, w, times=3).kept == []
    assert _watched(overwritten, w, times=3).kept == []


def test_the_watch_sees_the_coarsest_type():
    w = torch.ones(3, dtype=torch.float64)
    assert _watched(lambda: w * 2, w).coarsest == torch.float64
    assert _watched(lambda: [(w * 2).float(), torch.ones(2).half()], w).coarsest == torch.float32
    assert _watched(lambda: (w * 2).bfloat16(), w).coarsest == torch.bfloat16


# the reach --------------------------------------------------------------------------------------------------------
SHARED = [torch.zeros(1)]


def _uses_a_global() -> Tensor:
    return SHARED[0]


class Holder:
    """An object of the user."""

    def __init__(self, thing: Any):
        self.thing = thing

    def method(self) -> Any:
        return self.thing


@pytest.mark.parametrize(
    "wrap",
    [
        lambda t: lambda: t,
        lambda t: functools.partial(max, t),
        lambda t: functools.partial(max, key=t),
        lambda t: Holder(t),
        lambda t: Holder([{"a": (t,)}]).method,
        lambda t: lambda x=t: x,
        lambda t: lambda *, x=t: x,
        lambda t: functools.lru_cache(lambda: t),
        lambda t: nn.Module.__call__.__get__(Holder(t)),
        lambda t: [(), {"k": {1: t}}],
    ],
)
def test_the_reach_finds_tensors_wherever_they_are_held(wrap):
    tensor = torch.zeros(2)
    assert any(t is tensor for t in reach([wrap(tensor)]).tensors)


def test_the_reach_of_modules_globals_and_loaders():
    assert any(t is SHARED[0] for t in reach([_uses_a_global]).tensors)
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    found = reach([model])
    assert {id(m) for m in found.modules} == {id(m) for m in model.modules()}
    assert {id(t) for t in found.tensors} >= {id(t) for t in (*model.parameters(), *model.buffers())}
    generator = torch.Generator()
    loader = torch.utils.data.DataLoader([1, 2, 3], batch_size=2, shuffle=True, generator=generator)  # type: ignore[arg-type]
    assert any(g is generator for g in reach([loader]).generators)


def test_the_reach_is_bounded():
    ring: list[Any] = []
    ring.append(ring)
    deep: Any = None
    for _ in range(20_000):
        deep = [deep]
    wide = [object() for _ in range(LONGEST + 1)]
    found = reach([ring, deep, wide, torch, epigraph])
    assert any(c is wide for c in found.containers) and len(found.containers) < 60_000


# writes in an exported graph --------------------------------------------------------------------------------------
class Runs(nn.Module):
    """A function as a module."""

    def __init__(self, f: Any):
        super().__init__()
        self.f = f

    def forward(self, w: Tensor) -> Tensor:
        return self.f(w)


def _alone(w: Tensor) -> Tensor:
    return (w * 2).relu_().add_(1).sum()


def _seen(w: Tensor) -> Tensor:
    y = w * 2
    z = y[0]
    y.neg_()
    return z + y.sum()


def _argument(w: Tensor) -> Tensor:
    return w.clone().sum() + w.mul_(2).sum()


@pytest.mark.parametrize(("f", "shared"), [(_alone, False), (_seen, True), (_argument, True)])
def test_writes_that_others_see_are_found(f, shared):
    plain = torch.export.export(Runs(f), (torch.ones(3),), strict=False)
    assert any(_shared_write(n) for n in _nodes(plain.graph_module)) is shared
    made = export(Runs(f), (torch.ones(3),), [])
    assert not any(_shared_write(n) for n in _nodes(made.graph_module))


def test_the_exporter_says_nothing(capfd):
    with pytest.raises(Exception, match=r"data-dependent|Could not guard"):
        export(Runs(lambda w: w.sum() if w.sum() > 0 else -w.sum()), (torch.ones(3),), [])
    printed = capfd.readouterr()
    assert printed.out == "" and printed.err == ""


# depth and size ---------------------------------------------------------------------------------------------------
def _deep(layers: int) -> Objective:
    def f(w: Tensor) -> Tensor:
        for i in range(layers):
            w = torch.tanh(w) * 1.01 if i % 50 == 0 else w * 1.0001 + 0.0001
        return (w**2).sum()

    return Objective.from_function(f, {"w": torch.tensor([0.3, -0.2], dtype=torch.float64)})


def _go_through(J: Objective, tmp_path: Any) -> None:
    v = epigraph.check(J, effort="quick")
    assert v.verdict == "nonconvex" and v.certificate is not None and v.to_dict() and v._repr_html_() and repr(v)
    v.certificate.save(tmp_path / "deep.epi")
    assert epigraph.verify(tmp_path / "deep.epi").ok


def test_a_graph_deeper_than_the_stack(tmp_path):
    J = _deep(550)
    assert len(J.graph()) > 1050
    _go_through(J, tmp_path)


@pytest.mark.soak
def test_a_graph_of_five_thousand_nodes(tmp_path):
    J = _deep(2600)
    assert len(J.graph()) > 5000
    _go_through(J, tmp_path)


def test_a_program_nested_in_modules(tmp_path):
    model: nn.Module = nn.Linear(2, 1)
    for _ in range(60):
        model = nn.Sequential(model)
    assert (
        epigraph.check(Objective(model, nn.MSELoss(), torch.ones(3, 2), torch.zeros(3, 1)), effort="quick").verdict
        == "convex"
    )


def test_much_data():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200_000, 10, generator=generator)
    y = (x.sum(1, keepdim=True) > 0).float()
    J = Objective(nn.Linear(10, 1), nn.BCEWithLogitsLoss(), x, y)
    v = epigraph.check(J, effort="quick")
    assert v.verdict == "convex" and J.notes == []
