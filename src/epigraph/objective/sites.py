"""Where the user's file builds each module: ``nn.Sequential`` and its like have no line of their own in ``forward``.

PyTorch calls its registration hooks whenever a parameter or a submodule is attached; the innermost frame that lies in
the user's folder at that moment is the line to show.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, final

from torch import nn
from torch.nn.modules import module as torch_module

Site = tuple[str, int]
LIBRARIES = frozenset({"site-packages", "dist-packages"})


@final
class _Sites:
    """A map from modules to lines, by identity, that keeps no module alive."""

    def __init__(self) -> None:
        self._entries: dict[int, tuple[weakref.ref[nn.Module], Site]] = {}

    def get(self, module: nn.Module) -> Site | None:
        entry = self._entries.get(id(module))
        return entry[1] if entry is not None and entry[0]() is module else None

    def add(self, module: nn.Module, site: Site) -> None:
        if self.get(module) is None:
            key = id(module)
            self._entries[key] = (weakref.ref(module, lambda _, key=key: self._forget(key)), site)

    def _forget(self, key: int) -> None:
        entry = self._entries.get(key)
        if entry is not None and entry[0]() is None:
            del self._entries[key]


_SITES = _Sites()


def construction_site(module: nn.Module) -> Site | None:
    """File and line where the user's code built this module, where ``load`` has seen it."""
    return _SITES.get(module)


def in_folder(filename: str, folder: Path) -> bool:
    """Does the file lie in the folder, and not in an environment inside it?"""
    try:
        rest = Path(filename).resolve().relative_to(folder)
    except (ValueError, OSError):
        return False
    return not LIBRARIES.intersection(rest.parts)


def _innermost(frame: FrameType | None, folder: Path, known: dict[str, bool]) -> Site | None:
    while frame is not None:
        filename = frame.f_code.co_filename
        if filename not in known:
            known[filename] = in_folder(filename, folder)
        if known[filename]:
            return filename, frame.f_lineno
        frame = frame.f_back
    return None


@contextmanager
def recording(folder: Path) -> Iterator[None]:
    """Record the construction sites of the modules that are built inside the ``with`` block."""
    known: dict[str, bool] = {}

    def on_parameter(module: nn.Module, name: str, parameter: Any) -> None:
        _record(module)

    def on_module(parent: nn.Module, name: str, module: nn.Module | None) -> None:
        if module is not None:
            _record(module)
        _record(parent)

    def _record(module: nn.Module) -> None:
        if _SITES.get(module) is None:
            site = _innermost(sys._getframe(2), folder, known)
            if site is not None:
                _SITES.add(module, site)

    handles = [
        torch_module.register_module_parameter_registration_hook(on_parameter),
        torch_module.register_module_module_registration_hook(on_module),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
