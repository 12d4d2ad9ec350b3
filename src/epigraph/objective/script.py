"""Run the user's file as if it were a script, and leave the process as it was."""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from epigraph.objective.sites import LIBRARIES, in_folder, recording

PREFIX = "_epigraph_target_"


@contextmanager
def random_state() -> Iterator[None]:
    """Put the global generators of torch, NumPy and Python back afterwards."""
    states = torch.random.get_rng_state(), np.random.get_state(), random.getstate()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        torch.random.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


def _within(module: ModuleType, accept: Callable[[str], bool]) -> bool:
    contents = getattr(module, "__dict__", {})  # attribute access may import lazily
    places = [contents.get("__file__")] if contents.get("__file__") else []
    with contextlib.suppress(Exception):
        places = places or list(contents.get("__path__") or [])
    return any(isinstance(place, str) and accept(place) for place in places)


def _is_library(filename: str) -> bool:
    return bool(LIBRARIES.intersection(Path(filename).parts))


@contextmanager
def _own_modules(folder: Path) -> Iterator[None]:
    """Let the folder's modules win over modules of the same name from elsewhere, and forget them afterwards.

    Two targets may each have their own ``helpers.py``; neither must be given the other's.
    """
    hidden = {}
    for name, module in list(sys.modules.items()):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top in ("epigraph", "__main__") or not isinstance(module, ModuleType):
            continue
        local = (folder / f"{top}.py").is_file() or (folder / top).is_dir()
        if local and not _within(module, _is_library) and not _within(module, lambda f: in_folder(f, folder)):
            hidden[name] = sys.modules.pop(name)
    before = set(sys.modules)
    try:
        yield
    finally:
        for name in set(sys.modules) - before:
            module = sys.modules[name]
            own = isinstance(module, ModuleType) and _within(module, lambda f: in_folder(f, folder))
            if own and not name.startswith(PREFIX):
                del sys.modules[name]
        sys.modules.update(hidden)


@contextmanager
def as_script(path: Path) -> Iterator[None]:
    """The world that a script sees: its folder first on ``sys.path``, its own ``argv``; its prints go to stderr.

    Afterwards path, arguments, working directory, generators and imported neighbours are as they were.  Modules that
    are built meanwhile have their lines recorded.
    """
    folder = path.parent.resolve()
    saved_path, saved_argv, saved_bytecode, directory = sys.path[:], sys.argv[:], sys.dont_write_bytecode, os.getcwd()
    importlib.invalidate_caches()
    sys.path[:0] = [str(folder)]
    sys.argv, sys.dont_write_bytecode = [str(path)], True
    try:
        with random_state(), _own_modules(folder), recording(folder), contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.path[:], sys.argv, sys.dont_write_bytecode = saved_path, saved_argv, saved_bytecode
        with contextlib.suppress(OSError):
            os.chdir(directory)
