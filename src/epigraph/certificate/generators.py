"""Generators of continuous symmetries in a claim: read from the manifest, and proved to leave J the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from epigraph.certificate.codes import refuse
from epigraph.certificate.manifest import Manifest, fields
from epigraph.certificate.motion import Generator, Motion, Moves, motion, require_still

MOST = 1000
ENTRY_BYTES = 2  # entries are int8 or int16
NODE_SECONDS = 1e-4


@final
@dataclass(frozen=True)
class Move:
    """The key of a matrix that acts on an axis, or of a shift where there is no axis."""

    tensor: str
    axis: int | None


Stored = Mapping[str, Move]  # by key of the parameter's tensor


def parse(raw: Any, blocks: Sequence[str], manifest: Manifest) -> tuple[Stored, ...]:
    """Generators as lists of {name of a block: {"axis": k, "matrix": key} or {"shift": key}}."""
    if type(raw) is not list or len(raw) > MOST:
        refuse("E420", f"a gauge is a list of at most {MOST} generators")
    found = []
    for k, moves in enumerate(raw):
        where = f"generator {k + 1}"
        if type(moves) is not dict or not moves or not set(moves) <= set(blocks):
            refuse("E420", "a generator moves some of the blocks", where=where)
        found.append(
            {manifest.parameters[n]: _move(m, manifest.parameters[n], manifest, where) for n, m in moves.items()}
        )
    return tuple(found)


def _move(raw: Any, key: str, manifest: Manifest, where: str) -> Move:
    shape = manifest.tensors[key].shape
    if type(raw) is dict and "shift" in raw:
        return Move(_tensor(fields(raw, {"shift"}, where)["shift"], shape, manifest, where), None)
    raw = fields(raw, {"axis", "matrix"}, where)
    axis = raw["axis"]
    if type(axis) is not int or not 0 <= axis < len(shape):
        refuse("E420", "an axis of the parameter", where=where)
    return Move(_tensor(raw["matrix"], (shape[axis], shape[axis]), manifest, where), axis)


def _tensor(key: Any, shape: tuple[int, ...], manifest: Manifest, where: str) -> str:
    entry = manifest.tensors.get(key) if type(key) is str else None
    if entry is None or entry.role != "direction" or entry.shape != shape:
        refuse("E420", f"a tensor of role direction and shape {list(shape)}", where=where)
    if entry.dtype.kind != "i" or entry.dtype.itemsize > ENTRY_BYTES:
        refuse("E420", "a generator must be of integers of at most 16 bits", where=where)
    return key


def generator(stored: Stored, tensors: Mapping[str, np.ndarray]) -> Generator:
    """The vector field."""
    found: dict[str, Motion] = {}
    for key, move in stored.items():
        values = tensors[move.tensor].astype(np.int64)
        found[key] = motion(0, {}, values) if move.axis is None else motion(0, {move.axis: values})
    return found


def proved(stored: Stored, manifest: Manifest, tensors: Mapping[str, np.ndarray]) -> Generator:
    """The vector field, along which J stays the same."""
    found = generator(stored, tensors)
    try:
        require_still(manifest.program, tensors, found)
    except Moves as stop:
        refuse("E440", "J is not shown to stay the same along a generator", why=str(stop))
    return found
