"""Continuous symmetries as vector fields in integers, which the verifier proves to leave J the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from epigraph.symmetry.continuous import velocities
from epigraph.symmetry.result import Symmetries

PROBES = (3, 65)  # random points at which a field is read off: one more than a vector has entries, within these
INDEPENDENT = 1e-7  # the least part of a velocity, of its length, that the others do not explain

Field = Mapping[str, tuple[int | None, np.ndarray]]  # by parameter: the axis of a matrix, or None for a shift


@final
class Fields:
    """The fields of one objective's symmetries, those that are written in integers."""

    def __init__(self, found: Symmetries, names: Sequence[str]):
        self.found, self.names = found, list(names)
        g = torch.Generator().manual_seed(0)
        zero = {k: torch.zeros_like(v) for k, v in found.point().items()}
        count = min(PROBES[1], max(PROBES[0], *(1 + v.numel() for v in zero.values() if v.ndim == 1), 0))
        probes = [
            {k: torch.randn(v.shape, generator=g, dtype=torch.float64) for k, v in zero.items()} for _ in range(count)
        ]
        at_zero, at_probes = self._rows(zero), [self._rows(p) for p in probes]
        self.fields = [
            _read(start, probes, [rows[k] for rows in at_probes])
            if self._moves_parameters(start, at_probes, k)
            else None
            for k, start in enumerate(at_zero)
        ]

    def _moves_parameters(self, start: Mapping[str, Tensor], at_probes: Sequence[Any], k: int) -> bool:
        """Does the field leave everything else, such as buffers, where it is?"""
        others = [name for name in start if name not in self.names]
        return not any(bool(rows[name].any()) for rows in (start, at_probes[0][k]) for name in others)

    def _rows(self, point: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        return velocities(self.found.group, self.found.flows, point)

    def independent(self, point: Mapping[str, Tensor]) -> list[int]:
        """Numbers of fields whose velocities at a point are a basis of the span of all that could be written."""
        rows = self._rows(self.found.point(point))
        chosen: list[int] = []
        basis: list[Tensor] = []
        for k, row in enumerate(rows):
            if self.fields[k] is None:
                continue
            v = torch.cat([row[n].reshape(-1) for n in self.names])
            size = float(v.norm())
            for _ in range(2):
                for b in basis:
                    v = v - (v @ b) * b
            if size > 0 and float(v.norm()) > INDEPENDENT * size:
                basis.append(v / v.norm())
                chosen.append(k)
        return chosen


def _read(
    start: Mapping[str, Tensor], probes: Sequence[Mapping[str, Tensor]], at_probes: Sequence[Mapping[str, Tensor]]
) -> Field | None:
    """The field, from its velocities at zero and at the probes; None where it is not of this kind."""
    field: dict[str, tuple[int | None, np.ndarray]] = {}
    for name in start:
        move = _move(start[name], [p[name] for p in probes], [v[name] - start[name] for v in at_probes])
        if move is None:
            return None
        if move[1].any():
            field[name] = move
    return field or None


def _move(start: Tensor, places: list[Tensor], speeds: list[Tensor]) -> tuple[int | None, np.ndarray] | None:
    """A shift or a matrix of small integers that gives these velocities at these places."""
    if not any(bool(s.any()) for s in speeds):
        shift = _whole(start)
        return None if shift is None else (None, shift)
    if bool(start.any()):
        return None
    for axis in range(start.ndim):
        x, y = (torch.cat([t.movedim(axis, 0).reshape(t.shape[axis], -1) for t in ts], 1) for ts in (places, speeds))
        if x.shape[1] < x.shape[0]:
            continue
        M = torch.linalg.lstsq(x.T, y.T).solution.T
        whole = _whole(M)
        if whole is not None and float((torch.from_numpy(whole).double() @ x - y).abs().max()) < 1e-9:
            return axis, whole
    return None


def _whole(t: Tensor) -> np.ndarray | None:
    """A tensor of small integers as such."""
    near = t.round()
    if float((t - near).abs().max()) > 1e-6 or float(near.abs().max()) > 127:
        return None
    return near.numpy().astype(np.int8)
