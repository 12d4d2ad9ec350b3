"""Value, gradient and Hessian of many points against PyTorch's automatic differentiation."""

from __future__ import annotations

import pytest
import torch
from graphs import KINKED, SMOOTH, made, module

from epigraph import Objective, zoo
from epigraph.hessian.dense import Dense
from epigraph.objective.evaluate import Evaluator

LEVEL = 5e-15


def flat_function(graph, names):
    evaluator = Evaluator(graph, names)
    shapes = [tuple(graph.parameters[k].shape) for k in names]
    counts = [graph.parameters[k].numel() for k in names]

    def f(x):
        return evaluator({k: p.reshape(s) for k, s, p in zip(names, shapes, x.split(counts), strict=True)})

    return f


def points(J: Objective, lanes: int, scale: float = 0.3) -> torch.Tensor:
    g = torch.Generator().manual_seed(1)
    out = []
    for name, value in J.graph().parameters.items():
        drawn = value.detach().double() + scale * torch.randn(lanes, *value.shape, generator=g, dtype=torch.float64)
        out.append(J.domain.inside(name, drawn, g).reshape(lanes, -1))
    return torch.cat(out, 1)


def compare(J: Objective, lanes: int = 3, level: float = LEVEL) -> None:
    graph = J.graph()
    f, x = flat_function(graph, tuple(graph.parameters)), points(J, lanes)
    jet = Dense(graph).of(x)
    for i in range(lanes):
        value, gradient = f(x[i]), torch.func.grad(f)(x[i])
        try:
            hessian = torch.func.hessian(f)(x[i])
        except RuntimeError:  # an operator without forward differentiation
            hessian = torch.autograd.functional.hessian(f, x[i])
        for mine, theirs in ((jet.value[i], value), (jet.gradient[i], gradient), (jet.hessian[i], hessian)):
            assert float((mine - theirs).abs().max()) <= level * max(float(theirs.abs().max()), 1e-300)


@pytest.mark.parametrize("name", [*SMOOTH, *KINKED])
def test_against_autograd(name):
    # in the attention, products of size 30 cancel to a gradient of size 1 before PyTorch's rounding and ours part
    compare(made(name), level=20 * LEVEL if name == "attention" else LEVEL)


LARGE = ("softmax-digits", "digits-one-hidden", "digits-two-hidden", "logistic-breast-cancer")
SMALL = [name for name in zoo.ENTRIES if name not in LARGE]


@pytest.mark.parametrize("name", SMALL)
def test_zoo_against_autograd(name):
    compare(zoo.get(name).build(), lanes=2)


def test_lanes_do_not_mix():
    J = module()
    x = points(J, 5)
    dense = Dense(J.graph())
    whole = dense.of(x)
    for i in range(5):
        alone = dense.of(x[i : i + 1])
        assert torch.allclose(whole.hessian[i], alone.hessian[0], rtol=1e-14, atol=1e-15)


def test_batches_are_joined(monkeypatch):
    J = module()
    x = points(J, 7)
    whole = Dense(J.graph()).of(x)
    monkeypatch.setattr("epigraph.hessian.dense.MEMORY", 1)
    parts = Dense(J.graph()).of(x)
    assert torch.allclose(whole.hessian, parts.hessian, rtol=1e-14, atol=1e-15)
    assert torch.equal(parts.value.shape and parts.value, whole.value) or torch.allclose(parts.value, whole.value)


def test_some_blocks_are_held():
    J = module()
    graph, names = J.graph(), ("2.weight", "0.bias")
    f = flat_function(graph, names)
    x = torch.cat([graph.parameters[k].detach().reshape(-1) for k in names])
    jet = Dense(graph, names).of(x[None])
    assert torch.allclose(jet.hessian[0], torch.func.hessian(f)(x), rtol=1e-13, atol=1e-15)
    assert torch.allclose(jet.gradient[0], torch.func.grad(f)(x), rtol=1e-13, atol=1e-15)


def test_an_unused_parameter_has_no_curvature():
    J = Objective.from_function(lambda x, y: x * x, {"x": torch.tensor(1.0), "y": torch.tensor(2.0)})
    jet = Dense(J.graph(), ("x", "y")).of(torch.tensor([[3.0, 5.0]], dtype=torch.float64))
    assert jet.hessian[0].tolist() == [[2.0, 0.0], [0.0, 0.0]] and jet.gradient[0].tolist() == [6.0, 0.0]


def test_every_primitive_but_spectra_has_a_derivative_or_is_rewritten():
    from epigraph.hessian.operators import OPERATORS
    from epigraph.objective.evaluate import KERNELS

    rewritten, unknown = {"div", "maximum", "convolution", "same"}, {"det", "eigvalsh", "svdvals"}
    assert set(KERNELS) - set(OPERATORS) == rewritten | unknown
