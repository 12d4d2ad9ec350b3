"""Programs that show the exporter another face, however small the difference: refused, or captured as they really are."""

from __future__ import annotations

import concurrent.futures
import copy
import ctypes
import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

import epigraph
from epigraph import Objective
from epigraph.objective.evaluate import Evaluator

pytestmark = pytest.mark.filterwarnings("ignore")


def vector(dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    return {"w": torch.tensor([0.5, -1.0, 2.0], dtype=dtype)}


def in_a_thread(f: Callable[[], Tensor]) -> Tensor:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(f).result()


def by_address(w: Tensor) -> float:
    """The first number of a tensor, read from memory behind PyTorch's back."""
    kind = ctypes.c_double if w.dtype == torch.float64 else ctypes.c_float
    return kind.from_address(w.data_ptr()).value


LIARS: dict[str, Callable[[Tensor], Tensor]] = {
    "by the kind of tensor": lambda w: (w**2).sum() if isinstance(w * 1, FakeTensor) else -(w**2).sum(),
    "by a hundred-thousandth": lambda w: (w**2).sum() * (1 + 1e-5 * isinstance(w * 1, FakeTensor)),
    "by the exporter's flag": lambda w: (w**2).sum() if torch.compiler.is_compiling() else -(w**2).sum(),
    "by the exporter's other flag": lambda w: (w**2).sum() if torch.compiler.is_exporting() else (w**4).sum(),
    "under a large constant": lambda w: 1e6 + (w**2).sum() - 3 * (w**2).sum() * (not isinstance(w * 1, FakeTensor)),
    "under a constant that hides it from sight": lambda w: (
        1e9 + (w**2).sum() * (1 - 3 * (not torch.compiler.is_compiling()))
    ),
    "at a small scale": lambda w: 1e-20 * ((w**2).sum() - 3 * (w**2).sum() * (not isinstance(w * 1, FakeTensor))),
    "in a thread": lambda w: (w**2).sum() + in_a_thread(lambda: -1e-3 * (w**4).sum()),
    "by an address": lambda w: (w**2).sum() - 1e-3 * by_address(w) ** 4,
    "by a copy": lambda w: (w**2).sum() - 1e-3 * (copy.copy(w) ** 4).sum(),
    "for negative values": lambda w: (w**2).sum() - (w.clamp(max=0) ** 4).sum() * (not torch.compiler.is_compiling()),
    "far away": lambda w: (w**2).sum() - ((w.abs() - 4).clamp(min=0) ** 4).sum() * (not torch.compiler.is_compiling()),
}


@pytest.mark.parametrize("name", LIARS)
def test_a_liar_is_refused_or_seen_through(name):
    f = LIARS[name]
    J = Objective.from_function(f, vector())
    try:
        graph = J.graph()
    except epigraph.EpigraphError as error:
        assert error.code in ("E209", "E301", "E303"), error
        return
    generator = torch.Generator().manual_seed(3)
    for _ in range(5):
        point = {"w": 3 * torch.randn(3, generator=generator, dtype=torch.float64)}
        assert float(Evaluator(graph)(point)) == pytest.approx(float(f(point["w"].clone()).detach()), rel=1e-12)


@pytest.mark.parametrize("name", ["by the kind of tensor", "by a hundred-thousandth", "in a thread", "far away"])
def test_a_liar_in_single_precision(name):
    with pytest.raises(epigraph.EpigraphError, match=r"E30[13]"):
        Objective.from_function(LIARS[name], vector(torch.float32)).graph()


class Scaled(nn.Module):
    """A weight, and a forward that is given."""

    def __init__(self, forward: Callable[[Any, Tensor], Tensor], dtype: torch.dtype = torch.float32):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.5, -1.0, 2.0], dtype=dtype))
        self.run = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


HONEST: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "a guard by the type's epsilon": lambda m, x: (
        -(torch.softmax(x * m.w, -1).clamp(min=torch.finfo(m.w.dtype).eps)).log().sum()
    ),
    "a mask by the type's minimum": lambda m, x: torch.logsumexp(
        (x * m.w).masked_fill(x > 0.9, torch.finfo(m.w.dtype).min), -1
    ).sum(),
    "a cast to single": lambda m, x: ((x * m.w).float() ** 2).sum(),
    "a cast to half": lambda m, x: ((x * m.w).half() ** 2).float().sum(),
    "a constant in single": lambda m, x: (torch.ones(3, 3) @ (x * m.w).float().T).exp().mean(),
    "a difference of large numbers": lambda m, x: ((1e4 + x * m.w) - 1e4).square().sum(),
    "softplus at its threshold": lambda m, x: torch.nn.functional.softplus(20 * x * m.w).sum(),
    "gelu in its tail": lambda m, x: torch.nn.functional.gelu(5 * x * m.w).sum(),
    "a large constant": lambda m, x: 1e5 + (x * m.w).square().sum(),
    "an ill-conditioned system": lambda m, x: (
        torch.linalg.solve(torch.diag(torch.tensor([1.0, 1e-3, 1e-5], dtype=x.dtype)), m.w).square().sum()
    ),
    "a perfect fit": lambda m, x: ((m.w - torch.tensor([0.5, -1.0, 2.0])) ** 2).sum(),
    "a long product": lambda m, x: functools.reduce(lambda a, _: a * 1.0001 + 1e-4, range(60), m.w).square().sum(),
}


@pytest.mark.parametrize("name", HONEST)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_honest_program_is_not_refused(name, dtype):
    x = torch.linspace(0.1, 1.0, 9, dtype=dtype).reshape(3, 3)
    J = Objective(Scaled(HONEST[name], dtype), None, x)
    assert len(J.graph()) > 3
    assert not any("could not be compared" in n for n in J.notes)


def test_what_cannot_be_compared_is_said():
    """J overflows at every point that is tried; the graph stands, with a note."""
    J = Objective.from_function(lambda w: (w**2).exp().exp().sum(), {"w": torch.full((9,), 50.0)})
    J.graph()
    assert any("could not be compared" in n for n in J.notes)


def test_a_graph_without_a_value_where_the_program_has_one_is_another_function():
    from epigraph.objective.agreement import _difference, _Row

    fine, nan, huge = _Row(0.0, 1.0, 1.0, 0.0), _Row(0.3, float("nan"), 1.0, 0.0), _Row(1.0, float("inf"), 1.0, 0.0)
    assert _difference([fine, huge]) is None
    assert _difference([fine, nan]) is nan
    assert _difference([fine, _Row(0.3, 1.0, float("nan"), 0.0)]) is None


def test_a_large_constant_hides_no_change():
    from epigraph.objective.agreement import _difference, _Row

    rows = [_Row(0.0, 1e9, 1e9, 1e-5), _Row(0.3, 1e9 + 1.0, 1e9 + 1.0, 1e-5)]
    assert _difference(rows) is None
    rows[1] = _Row(0.3, 1e9 + 1.0, 1e9 - 1.0, 1e-5)
    assert _difference(rows) is rows[1]
