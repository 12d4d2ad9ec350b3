"""Shared by all tests: hypothesis profiles, and fixtures that compare the user's world before and after.

No global default is changed here: tests that want float64 say so where they build their tensors, since users do not
change PyTorch's defaults either.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from torch import Tensor, nn

_COMMON: dict[str, Any] = {"deadline": None, "print_blob": True}
hypothesis.settings.register_profile("default", max_examples=50, **_COMMON)
hypothesis.settings.register_profile("ci", max_examples=50, derandomize=True, **_COMMON)
hypothesis.settings.register_profile("soak", max_examples=2000, **_COMMON)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "default"))

Unchanged = Callable[..., AbstractContextManager[None]]


def _switches() -> dict[str, Any]:
    """The process-wide switches that a library must not leave in another position."""
    cuda = torch.backends.cuda
    return {
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "gradients enabled": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "matmul precision": torch.get_float32_matmul_precision(),
        "sdp flags": (cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.math_sdp_enabled()),
        "anomaly detection": torch.is_anomaly_enabled(),
        "numpy errors": np.geterr(),
        "working directory": os.getcwd(),
    }


def _generators() -> dict[str, bytes]:
    """The states of the global random generators, as bytes."""
    name, keys, *rest = np.random.get_state()
    return {
        "torch generator": torch.get_rng_state().numpy().tobytes(),
        "numpy generator": repr((name, np.asarray(keys).tobytes(), *rest)).encode(),
        "python generator": repr(random.getstate()).encode(),
    }


def _bits(tensor: Tensor) -> bytes:
    data = tensor.detach().cpu().contiguous()
    return data.reshape(-1).view(torch.uint8).numpy().tobytes() if data.numel() else b""


def _tensor(tensor: Tensor) -> dict[str, Any]:
    """What a user can see of a tensor, values compared bit for bit (so NaN equals NaN)."""
    return {
        "bits": _bits(tensor),
        "kind": (tensor.dtype, tuple(tensor.shape), tuple(tensor.stride()), str(tensor.device)),
        "object": (id(tensor), tensor.data_ptr(), tensor._version),
        "requires_grad": tensor.requires_grad,
        "grad": None if not tensor.is_leaf or tensor.grad is None else _bits(tensor.grad),
    }


def _module(module: nn.Module) -> dict[str, Any]:
    """Mode, parameters, buffers, hooks and attributes of a module and all that it contains."""
    seen: dict[str, Any] = {}
    for path, part in module.named_modules():
        seen[f"{path} mode"] = part.training
        seen[f"{path} hooks"] = (len(part._forward_hooks), len(part._forward_pre_hooks), len(part._backward_hooks))
        seen[f"{path} attributes"] = sorted(vars(part))
        seen[f"{path} forward"] = getattr(part.forward, "__func__", part.forward)
    tensors = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    for name, tensor in tensors:
        seen |= {f"{name} {key}": value for key, value in _tensor(tensor).items()}
    return seen


def _snapshot(things: tuple[Any, ...]) -> dict[str, Any]:
    seen = _switches() | _generators()
    for position, thing in enumerate(things):
        if isinstance(thing, nn.Module):
            part = _module(thing)
        elif isinstance(thing, Tensor):
            part = _tensor(thing)
        else:
            raise TypeError(f"unchanged() takes modules and tensors, not {type(thing).__name__}")
        seen |= {f"{position}: {key}": value for key, value in part.items()}
    return seen


def _differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))


@contextmanager
def _unchanged(*things: nn.Module | Tensor) -> Iterator[None]:
    before = _snapshot(things)
    yield
    changed = _differences(before, _snapshot(things))
    assert not changed, f"left changed: {', '.join(changed)}"


@pytest.fixture
def unchanged() -> Unchanged:
    """``with unchanged(model, inputs): ...`` fails if the block leaves the world changed.

    Compared bit for bit: modules (mode, parameters, buffers, gradients, hooks), tensors, the global generators of
    PyTorch, NumPy and Python, and the process-wide switches.
    """
    return _unchanged


@pytest.fixture(autouse=True)
def _lemmas_do_not_stop() -> Iterator[None]:
    """An internal error in a lemma that a user's verdict goes on without fails a test."""
    from epigraph.calculus.optional import Optional

    Optional.strict = True
    yield
    Optional.strict = False


@pytest.fixture(autouse=True)
def _switches_stay() -> Iterator[None]:
    """Every test leaves the process-wide switches as it found them; generators may move."""
    before = _switches()
    yield
    changed = _differences(before, _switches())
    assert not changed, f"left changed: {', '.join(changed)}"
