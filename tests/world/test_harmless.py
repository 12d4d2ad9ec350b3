"""What counts as a program that changes nothing, and that it changes nothing."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.overrides import TorchFunctionMode

import epigraph
from epigraph.objective.harmless import LAYERS, LOSSES, harmless


def _network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.PReLU(), nn.Flatten(), nn.LayerNorm(48), nn.Linear(48, 5), nn.Tanh())


DATA = torch.linspace(-1, 1, 8 * 36).reshape(8, 1, 6, 6), torch.arange(8) % 5


def _hooked(model: nn.Sequential) -> nn.Module:
    model[4].register_forward_hook(lambda *_: None)
    return model


def _own_forward(model: nn.Sequential) -> nn.Module:
    model[4].forward = lambda x: x[:, :5]  # type: ignore[method-assign]
    return model


def _own_method(name: str) -> Callable[[nn.Sequential], nn.Module]:
    def overridden(model: nn.Sequential) -> nn.Module:
        setattr(model[0], name, getattr(model[0], name))
        return model

    return overridden


def _with(layer: Callable[[], nn.Module]) -> Callable[[nn.Sequential], nn.Module]:
    return lambda model: nn.Sequential(*model, layer())


class _Mine(nn.Linear):
    pass


class _Tracked(Tensor):
    pass


SUSPECT: dict[str, Callable[[nn.Sequential], nn.Module]] = {
    "dropout": _with(lambda: nn.Dropout(0.5)),
    "batch normalisation": _with(lambda: nn.BatchNorm1d(5)),
    "randomised": _with(nn.RReLU),
    "in place": _with(lambda: nn.ReLU(inplace=True)),
    "a class of the user's": _with(lambda: _Mine(5, 5)),
    "a weight that is computed": _with(lambda: parametrizations.weight_norm(nn.Linear(5, 5))),
    "renormalised in place": _with(lambda: nn.Embedding(5, 5, max_norm=1.0)),
    "a hook": _hooked,
    "a method of the instance": _own_forward,
    "another method of the instance": _own_method("_conv_forward"),
    "its call": _own_method("_call_impl"),
    "its switch of modes": _own_method("train"),
    "a layer in two places": lambda model: nn.Sequential(*model, model[4:], model[5]),
}


def test_plain_networks_with_plain_losses_are_harmless() -> None:
    assert all(harmless(_network(), loss, DATA) for loss in (F.cross_entropy, nn.CrossEntropyLoss(), F.mse_loss))


@pytest.mark.parametrize("name", SUSPECT)
def test_what_may_change_something_is_not(name: str) -> None:
    assert not harmless(SUSPECT[name](_network()), F.cross_entropy, DATA)


def test_losses_and_data_of_the_user_are_not() -> None:
    assert not harmless(_network(), lambda out, y: F.cross_entropy(out, y), DATA)
    assert not harmless(_network(), F.cross_entropy, (DATA[0].as_subclass(_Tracked), DATA[1]))
    assert not harmless(_network(), F.cross_entropy, ({"x": DATA[0]}, DATA[1]))
    assert not harmless(lambda x: x, F.cross_entropy, DATA)


def test_a_hook_on_every_module_is_seen() -> None:
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        assert not harmless(_network(), F.cross_entropy, DATA)
    finally:
        handle.remove()


@pytest.mark.parametrize(
    "owner, name", [(nn.Linear, "forward"), (nn.Module, "__call__"), (F, "linear"), (F, "cross_entropy")]
)
def test_code_of_the_library_that_was_replaced_is_seen(
    owner: object, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *a, **k: before(*a, **k))
    assert not harmless(_network(), nn.CrossEntropyLoss(), DATA)


class _Counting(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def test_a_mode_that_sees_every_operator_is_seen() -> None:
    with _Counting():
        assert not harmless(_network(), F.cross_entropy, DATA)


@pytest.mark.parametrize("guarded", [True, False])
def test_a_layer_that_is_used_twice_stays(guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tensors are exchanged under both names, and come back."""
    if not guarded:
        monkeypatch.setattr("epigraph.hessian.program.harmless", lambda *_: True)
    layer = nn.Linear(4, 4)
    model = nn.Sequential(layer, nn.Tanh(), nn.Sequential(layer, nn.PReLU()), layer)
    held = {id(p) for p in model.parameters()}
    J = epigraph.Objective(model, F.cross_entropy, torch.randn(9, 4), torch.arange(9) % 4)
    epigraph.spectrum(J, top=1, bottom=1, dtype="float64")
    epigraph.CurvatureMonitor(J).measure()
    assert {id(p) for p in model.parameters()} == held and type(layer.weight) is nn.Parameter


def _streams() -> list[object]:
    return [torch.get_rng_state().tolist(), [list(v) if isinstance(v, np.ndarray) else v for v in np.random.get_state()], random.getstate()]  # fmt: skip


def _state(model: nn.Module) -> list[object]:
    held = [
        *_streams(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        [m.training for m in model.modules()],
    ]
    for t in (*model.parameters(), *DATA):
        grad = None if t.grad is None else t.grad.tolist()
        held += [id(t), t._version, t.requires_grad, t.data_ptr(), t.tolist(), grad]
    return held + [list(vars(m)) for m in model.modules()]


def test_products_leave_everything_as_it_was() -> None:
    model = _network()
    F.cross_entropy(model(DATA[0]), DATA[1]).backward()
    before = _state(model)
    J = epigraph.Objective(model, F.cross_entropy, *DATA)
    with torch.no_grad():
        H = epigraph.hessian(J)
        _ = H @ torch.ones(H.n)
        epigraph.CurvatureMonitor(J).measure()
    after = _state(model)
    assert after[3:5] == before[3:5] and _state(model) == before


@pytest.mark.parametrize("kind", sorted(LOSSES, key=lambda k: k.__name__))
def test_losses_write_nothing(kind: type[nn.Module]) -> None:
    x, y = torch.rand(4, 3), torch.arange(4) % 3 if kind in (nn.CrossEntropyLoss, nn.NLLLoss) else torch.rand(4, 3)
    before = x._version, y._version, _streams()
    kind()(x, y)
    assert (x._version, y._version, _streams()) == before


MADE: dict[type[nn.Module], tuple[object, ...]] = {
    nn.Linear: (4, 4),
    nn.Unflatten: (1, (2, 2)),
    nn.LayerNorm: (4,),
    nn.GroupNorm: (2, 4),
    nn.AdaptiveAvgPool2d: (1,),
    nn.Softmax: (1,),
    nn.LogSoftmax: (1,),
}


@pytest.mark.parametrize("kind", sorted(LAYERS, key=lambda k: k.__name__))
def test_layers_write_nothing_in_either_mode(kind: type[nn.Module]) -> None:
    name = kind.__name__
    pooled = (1,) if name.startswith(("AvgPool", "MaxPool")) else ()
    layer = kind(*MADE.get(kind, (1, 1, 1) if name.startswith("Conv") else pooled))
    sides = int(name[-2]) if name.endswith("d") and name[-2].isdigit() else 0
    x = torch.rand(2, 1, *(4,) * sides) if sides else torch.rand(2, 4)
    watched = [x, *layer.parameters(), *layer.buffers()]
    before = [t._version for t in watched], _streams(), list(vars(layer))
    for mode in (True, False):
        layer.train(mode)(x)
    assert ([t._version for t in watched], _streams(), list(vars(layer))) == before
