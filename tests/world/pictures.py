"""A picture of the user's world, to be compared before and after: objects by identity and content, and process switches."""

from __future__ import annotations

import collections
import functools
import logging
import os
import random
import sys
import types
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PRIMITIVE = (int, float, str, bytes, bool, type(None), complex, torch.dtype, torch.device, range)


def picture(value: Any, seen: dict[int, Any] | None = None) -> Any:
    """Nested tuples that are equal exactly when the object, and all that it holds, is as it was."""
    seen = {} if seen is None else seen
    if isinstance(value, PRIMITIVE):
        return repr(value)
    if id(value) in seen:
        return "again", id(value)
    seen[id(value)] = value
    if isinstance(value, Tensor):
        return _tensor(value, seen)
    if isinstance(value, torch.Generator):
        return id(value), value.get_state().numpy().tobytes()
    if isinstance(value, np.random.Generator):
        return id(value), repr(value.bit_generator.state)
    if isinstance(value, random.Random):
        return id(value), repr(value.getstate())
    if isinstance(value, np.ndarray):
        return id(value), value.tobytes()
    if isinstance(value, dict):
        return id(value), [(picture(k, seen), picture(v, seen)) for k, v in value.items()]
    if isinstance(value, list | tuple | collections.deque):
        return id(value), [picture(v, seen) for v in value]
    if isinstance(value, set | frozenset):
        return id(value), sorted(repr(picture(v, seen)) for v in value)
    return id(value), _inside(value, seen)


def _tensor(value: Tensor, seen: dict[int, Any]) -> Any:
    content = value.detach().cpu().contiguous().reshape(-1)
    bits = content.view(torch.uint8).numpy().tobytes() if content.numel() else b""
    gradient = picture(value.grad, seen) if value.is_leaf else None
    hooks = value._backward_hooks
    return (
        id(value),
        value.data_ptr(),
        value._version,
        bits,
        tuple(value.shape),
        value.stride(),
        str(value.dtype),
        value.requires_grad,
        value.is_leaf,
        gradient,
        None if hooks is None else sorted(map(id, hooks.values())),
    )


def _inside(value: Any, seen: dict[int, Any]) -> Any:
    if isinstance(value, types.FunctionType):
        held = [*(c.cell_contents for c in value.__closure__ or ()), value.__defaults__, value.__kwdefaults__]
        return [picture(v, seen) for v in held]
    if isinstance(value, types.MethodType):
        return picture(value.__self__, seen)
    if isinstance(value, functools.partial):
        return [picture(v, seen) for v in (value.func, value.args, value.keywords)]
    if isinstance(value, type | types.ModuleType):
        return None
    held = getattr(value, "__dict__", None)
    return picture(held, seen) if isinstance(held, dict) else None


def switches() -> dict[str, Any]:
    """The process-wide state that a library must leave alone."""
    sdp = torch.backends.cuda
    loggers = {
        n: (g.level, g.disabled, g.propagate, len(g.handlers))
        for n, g in logging.root.manager.loggerDict.items()
        if isinstance(g, logging.Logger)
    }
    return {
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": (
            torch.is_autocast_enabled("cpu"),
            torch.is_autocast_cache_enabled(),
            torch.get_autocast_dtype("cpu"),
        ),
        "default dtype": torch.get_default_dtype(),
        "default device": str(torch.get_default_device()),
        "deterministic": torch.get_deterministic_debug_mode(),
        "threads": torch.get_num_threads(),
        "matmul": torch.get_float32_matmul_precision(),
        "anomaly": torch.is_anomaly_enabled(),
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "sdp": (
            sdp.flash_sdp_enabled(),
            sdp.mem_efficient_sdp_enabled(),
            sdp.math_sdp_enabled(),
            sdp.cudnn_sdp_enabled(),
        ),
        "mkldnn": torch.backends.mkldnn.enabled,
        "torch generator": torch.get_rng_state().numpy().tobytes(),
        "numpy generator": repr(np.random.get_state()),
        "python generator": repr(random.getstate()),
        "numpy errors": repr(np.geterr()),
        "warnings": [repr(f) for f in warnings.filters],
        "warnings list": id(warnings.filters),
        "showwarning": id(warnings.showwarning),
        "logging": (logging.root.level, logging.root.manager.disable, len(logging.root.handlers)),
        "loggers": loggers,
        "path": list(sys.path),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "streams": (id(sys.stdout), id(sys.stderr)),
        "recursion": sys.getrecursionlimit(),
        "hooks": (id(sys.excepthook), id(sys.displayhook)),
        "modules": {n: id(m) for n, m in sys.modules.items()},
    }


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Names of the switches that moved; modules and loggers may be added, since PyTorch imports its parts late."""
    moved = [k for k in before if k not in ("modules", "loggers") and before[k] != after[k]]
    for group in ("modules", "loggers"):  # PyTorch sets up its own loggers when it is first used
        moved += [
            f"{group}: {n}"
            for n, v in before[group].items()
            if after[group].get(n) != v and not n.startswith("torch._")
        ]
    return moved


__all__ = ["changes", "nn", "picture", "switches"]
