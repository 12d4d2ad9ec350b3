"""What a user's program can reach: the modules, tensors, containers and generators that running it may change.

The walk starts at the model, the loss, the function and the data, and follows attributes, containers, closures,
default arguments, ``functools.partial``, bound methods and the globals that the user's functions name.  It stops at
modules of Python, at PyTorch's and NumPy's own code, and at a limit of objects.  Objects of other installed packages
are looked into; the globals that their functions name, and their classes, are those packages' own affair.
"""

from __future__ import annotations

import builtins
import collections
import functools
import random
import sys
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

LIMIT = 50_000  # objects; what lies beyond is not protected
LONGEST = 4_096  # entries of one container that are looked into

MUTABLE = (list, dict, set, collections.OrderedDict, collections.defaultdict, collections.deque, collections.Counter)
GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
_PLAIN = (
    str,
    bytes,
    int,
    float,
    complex,
    type(None),
    torch.dtype,
    torch.device,
    torch.Size,
    np.ndarray,
    np.generic,
    range,
)
_COMMON = frozenset({str, int, float, bool, type(None)})  # the most frequent of these
_LIBRARIES = frozenset({"torch", "numpy", "epigraph", "scipy", "builtins"}) | sys.stdlib_module_names


@final
@dataclass
class Reached:
    """What was found, each object once."""

    modules: list[nn.Module] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    containers: list[Any] = field(default_factory=list)
    generators: list[Any] = field(default_factory=list)
    cells: list[types.CellType] = field(default_factory=list)
    names: list[tuple[dict[str, Any], str]] = field(default_factory=list)
    kinds: list[type] = field(default_factory=list)


def reach(roots: Iterable[Any]) -> Reached:
    """Everything that running these objects may change."""
    found, seen = Reached(), set()
    pending = collections.deque(roots)
    while pending and len(seen) < LIMIT:
        value = pending.popleft()
        kind = type(value)
        if kind in _COMMON or id(value) in seen or isinstance(value, _PLAIN):
            continue
        seen.add(id(value))
        if kind in MUTABLE:
            found.containers.append(value)
            pending.extend(_inside(value))
        else:
            pending.extend(_visit(value, found))
    return found


def _visit(value: Any, found: Reached) -> Iterable[Any]:
    """File one object and give what it holds."""
    if isinstance(value, Tensor):
        found.tensors.append(value)
        return ()
    if isinstance(value, GENERATORS):
        found.generators.append(value)
        return ()
    if isinstance(value, types.FunctionType):
        return _function(value, found)
    if isinstance(value, types.MethodType):
        return (value.__self__, value.__func__)
    if isinstance(value, functools.partial):
        return (value.func, *value.args, *value.keywords.values())
    if isinstance(value, tuple | frozenset):
        return _inside(value)
    if hasattr(value, "__wrapped__") and not isinstance(value, type | nn.Module):
        return (value.__wrapped__,)
    return _instance(value, found)


def _inside(value: Any) -> Iterable[Any]:
    if len(value) > LONGEST:
        return ()
    return value.values() if isinstance(value, dict) else tuple(value)


def _function(function: types.FunctionType, found: Reached) -> Iterator[Any]:
    """Cells, defaults and the globals that the code names; nothing for a library's function."""
    if _library(function.__module__):
        return
    for cell in function.__closure__ or ():
        found.cells.append(cell)
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            continue
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    if _installed(function.__module__):
        return
    scope = function.__globals__
    for name in _names(function.__code__):
        found.names.append((scope, name))
        value = scope.get(name)
        if not isinstance(value, types.ModuleType):
            yield value


def _names(code: types.CodeType) -> set[str]:
    """Global names that a function's code, or a function inside it, reads or writes."""
    inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return {n for n in code.co_names if not hasattr(builtins, n)}.union(*(_names(c) for c in inner))


def _instance(value: Any, found: Reached) -> Iterator[Any]:
    """An object's attributes, and the code of its class where that is the user's."""
    if isinstance(value, nn.Module):
        found.modules.append(value)
    elif isinstance(value, type | types.ModuleType) or (_library(type(value).__module__) and not _stateful(value)):
        return
    attributes = getattr(value, "__dict__", None)
    if isinstance(attributes, dict):
        yield attributes
    for kind in type(value).__mro__:
        if not _library(kind.__module__) and not _installed(kind.__module__):
            found.kinds.append(kind)
            yield from (v for v in vars(kind).values() if isinstance(v, types.FunctionType))
            yield from (v for v in vars(kind).values() if type(v) in MUTABLE)


def _stateful(value: Any) -> bool:
    """PyTorch's own objects that hold a user's state: loaders with their samplers, optimisers, schedules."""
    return type(value).__module__.startswith(("torch.utils.data", "torch.optim"))


def _library(module: str | None) -> bool:
    return (module or "").split(".")[0] in _LIBRARIES and module != "__main__"


@functools.cache
def _installed(module: str | None) -> bool:
    """Does the code come from a package that was installed, rather than from the user's own files?"""
    file = getattr(sys.modules.get((module or "").split(".")[0]), "__file__", None) or ""
    return "site-packages" in file or "dist-packages" in file
