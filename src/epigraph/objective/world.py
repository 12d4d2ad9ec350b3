"""Leaving the user's world as it was: modes, buffers, gradients, attributes, random generators, global flags."""
from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn


@contextmanager
def untouched(*modules: nn.Module) -> Iterator[None]:
    """Everything that running these modules may change is put back on exit.

    Parameters and buffers keep their identity; changed values are copied back.  Plain attributes of modules are
    restored as they were (a list that was appended to is replaced by a copy of what it held).
    """
    generators = (torch.get_rng_state(), np.random.get_state(), random.getstate())
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else None
    grad, flags = torch.is_grad_enabled(), torch.backends.mha.get_fastpath_enabled()
    saved = [(m, _attributes(m), {k: (b, b.detach().clone()) for k, b in m._buffers.items() if b is not None})
             for root in modules for m in root.modules()]
    gradients = [(p, p.grad, None if p.grad is None else p.grad.detach().clone()) for root in modules for p in root.parameters()]
    try:
        yield
    finally:
        for module, attributes, buffers in saved:
            _restore(module, attributes, buffers)
        for parameter, reference, content in gradients:
            if parameter.grad is not reference:
                parameter.grad = reference
            if reference is not None and content is not None and not _equal(reference, content):
                reference.detach().copy_(content)
        torch.set_rng_state(generators[0])
        np.random.set_state(generators[1])
        random.setstate(generators[2])
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
        torch.set_grad_enabled(grad)
        torch.backends.mha.set_fastpath_enabled(flags)


_OWN = {"_parameters", "_buffers", "_modules"}


def _attributes(module: nn.Module) -> dict[str, Any]:
    return {k: (v, _copy(v)) for k, v in module.__dict__.items() if k not in _OWN}


def _copy(value: Any) -> Any:
    """A shallow copy of the containers whose content a forward pass may change."""
    return value.copy() if type(value) in (list, dict, set) else value


def _restore(module: nn.Module, attributes: dict[str, Any], buffers: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
    for name in [k for k in module.__dict__ if k not in _OWN and k not in attributes]:
        del module.__dict__[name]
    for name, (reference, content) in attributes.items():
        if type(reference) is list:
            reference[:] = content
        elif type(reference) in (dict, set):
            reference.clear()
            reference.update(content)
        module.__dict__[name] = reference
    for name, (reference, content) in buffers.items():
        module._buffers[name] = reference
        if not _equal(reference, content):
            reference.detach().copy_(content)


def _equal(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Bitwise equality for our purposes: NaN equals NaN."""
    return left.shape == right.shape and bool(((left == right) | ((left != left) & (right != right))).all())


@contextmanager
def mode_of(modules: list[nn.Module], mode: str) -> Iterator[None]:
    """Every module in training or evaluation mode; "as-is" leaves them."""
    flags = [(m, m.training) for root in modules for m in root.modules()]
    try:
        if mode != "as-is":
            for module, _ in flags:
                module.training = mode == "train"
        yield
    finally:
        for module, flag in flags:
            module.training = flag
