"""Proofs that critical points are isolated, as the verifier repeats them, and the files that hold them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import final

import numpy as np
from torch import Tensor

from epigraph.certificate import isolation, shapes
from epigraph.certificate.format import Payload, Stored, assemble, bounds, write
from epigraph.certificate.gauge import gauged
from epigraph.certificate.graph import Program
from epigraph.certificate.isolated import LARGEST, POINTS, SMALLEST, property_of
from epigraph.certificate.isolation import Centre, Congruence, Isolated
from epigraph.certificate.motion import Generator, Motion, Moves, motion, require_still
from epigraph.certificate.reverse import Gradient, NoGradient, gradient
from epigraph.convexity.evidence import Court
from epigraph.critical.fields import Fields
from epigraph.objective.objective import Objective
from epigraph.symmetry.result import Symmetries, symmetries

BITS = 128
FIRST = 2.0**-40  # the first radius, on which the Hessian and how fast it changes are found
LARGEST_RADIUS = 2.0**-4
AIM, TRIES = 0.5, 3  # the contraction that the radius is chosen for, and how often
ROUNDS, STEPS = 6, 5  # of Newton's method before the proof: how often with a new Hessian, and with one of them

Arrays = dict[str, np.ndarray]


@final
@dataclass(frozen=True)
class Located:
    """A proof, the point that it is about, by key of the parameter's tensor, and numbers of the fields of its gauge."""

    proof: Isolated
    point: Mapping[str, np.ndarray]
    fields: tuple[int, ...] = ()


@final
@dataclass(frozen=True)
class _Place:
    """What is known at a point and on the first ball around it."""

    at: Centre
    S: Congruence
    spread: float


@final
class Prover:
    """Proofs for points of one objective, in all of its parameters."""

    def __init__(self, J: Objective, found: Symmetries | None = None):
        self.J, self.symmetries = J, found
        self.gauge: list[Generator] = []
        self.court = Court(J.graph(), J.domain, J.describe())
        self.names = list(J.parameters)
        self.keys = [self.court.keys[n] for n in self.names if n in self.court.keys]
        whole = self.court.possible and len(self.keys) == len(self.names)  # else J does not depend on a parameter
        self.possible = whole and J.size <= LARGEST

    @cached_property
    def program(self) -> Program:
        return shapes.program(self.court.plain, shapes.metas({key: s.array for key, s in self.court.stored.items()}))

    @cached_property
    def gradient(self) -> Gradient | None:
        try:
            return gradient(self.program, set(self.keys))
        except NoGradient:
            return None

    @cached_property
    def fields(self) -> Fields:
        return Fields(self.symmetries or symmetries(self.J), self.names)

    def prove(self, point: Mapping[str, Tensor], orbit: int = 0) -> Located | None:
        """The proof on a ball around the point, which is polished first, or None where there is none.

        ``orbit``: the dimension of the point's orbit under continuous symmetries.
        """
        if not self.possible or self.gradient is None:
            return None
        chosen = self.fields.independent(point) if orbit else []
        self.gauge = [self._generator(k) for k in chosen]
        if len(self.gauge) != orbit or not all(map(self._still, self.gauge)):
            return None
        arrays = {key: np.asarray(s.array) for key, s in self.court.tensors(point).items()}
        arrays |= {key: arrays[key].astype(np.float64) for key in self.keys}
        try:
            located = self._prove(arrays)
        except NoGradient:
            return None
        return None if located is None else replace(located, fields=tuple(chosen))

    def _generator(self, k: int) -> Generator:
        found: dict[str, Motion] = {}
        for name, (axis, values) in (self.fields.fields[k] or {}).items():
            whole = values.astype(np.int64)
            found[self.court.keys[name]] = motion(0, {}, whole) if axis is None else motion(0, {axis: whole})
        return found

    def _still(self, generator: Generator) -> bool:
        try:
            require_still(self.program, {key: s.array for key, s in self.court.stored.items()}, generator)
        except Moves:
            return False
        return True

    def _prove(self, arrays: Arrays) -> Located | None:
        assert self.gradient is not None
        place = self._place(arrays)
        for _ in range(ROUNDS):
            if place is None:
                return None
            better = self._polished(arrays, place)
            if better is arrays:
                break
            arrays, place = better, self._place(better)
        if place is None:
            return None
        tried = (self._on_ball(arrays, place.at, radius) for radius in self._radii(place))
        found = next((f for f in tried if f is not None), None)
        if found is None and self._inside(arrays, FIRST):
            found = isolation.isolated(place.at, place.S, place.spread, FIRST)
        return None if found is None else Located(found, {key: arrays[key] for key in self.keys})

    def _place(self, arrays: Arrays) -> _Place | None:
        assert self.gradient is not None
        at = isolation.centre(self.gradient, arrays, self.keys, BITS)
        H, spread = gauged(self.gradient, arrays, self.keys, FIRST, self.gauge)
        S = isolation.congruence(H)
        return None if S is None else _Place(at, S, spread)

    def _polished(self, arrays: Arrays, place: _Place) -> Arrays:
        """Newton steps with the Hessian at the first point and gradients of many bits, as long as the gradient shrinks."""
        assert self.gradient is not None
        best, at, S = arrays, place.at, place.S.S
        signs = np.where(np.arange(len(S)) < place.S.index, -1.0, 1.0)  # eigenvalues ascend
        for _ in range(STEPS):
            moved = self._moved(best, -(S @ (signs * (S.T @ at.slope.middle))))
            then = isolation.centre(self.gradient, moved, self.keys, BITS)
            if not _size(S, then) < 0.5 * _size(S, at):
                break
            best, at = moved, then
        return best

    def _moved(self, arrays: Arrays, step: np.ndarray) -> Arrays:
        cuts = np.cumsum([arrays[key].size for key in self.keys])[:-1]
        parts = zip(self.keys, np.split(step, cuts), strict=True)
        return {**arrays, **{key: arrays[key] + part.reshape(arrays[key].shape) for key, part in parts}}

    def _radii(self, place: _Place) -> list[float]:
        """Radii on which the contraction may be near its aim, where it grows with the radius; the greater ones first."""
        room = AIM - place.S.rest
        if room <= 0:
            return []
        radius = min(LARGEST_RADIUS, FIRST * room / (place.S.square * place.spread))
        return [r for r in (radius / 4**k for k in range(TRIES)) if r > max(FIRST, SMALLEST)]

    def _on_ball(self, arrays: Arrays, at: Centre, radius: float) -> Isolated | None:
        assert self.gradient is not None
        if not self._inside(arrays, radius):
            return None
        try:
            H, spread = gauged(self.gradient, arrays, self.keys, radius, self.gauge)
        except NoGradient:
            return None
        S = isolation.congruence(H)
        return None if S is None else isolation.isolated(at, S, spread, radius)

    def _inside(self, arrays: Arrays, radius: float) -> bool:
        """Does the domain contain the box of this radius?"""
        for name, key in zip(self.names, self.keys, strict=True):
            for limits, sign in ((self.J.domain.lower, -1), (self.J.domain.upper, 1)):
                if name in limits:
                    end = np.nextafter(arrays[key] + sign * radius, sign * np.inf)
                    if not bool((sign * end <= sign * limits[name].double().numpy()).all()):
                        return False
        return True

    def payload(self, found: Sequence[Located]) -> Payload:
        """The file's content: one point, or several whose values are proved to differ and whose gauge is the same."""
        stored = dict(self.court.stored)
        stored |= {key: replace(stored[key], array=found[0].point[key]) for key in self.keys}
        names = dict(zip(self.keys, self.names, strict=True))
        points = []
        for k, located in enumerate(found):
            centre = {} if k == 0 else {names[key]: f"point.{k + 1}.{key}" for key in self.keys}
            stored |= {centre[names[key]]: Stored(located.point[key], "point", "") for key in self.keys if k}
            points.append({**_claimed(located.proof), "centre": centre})
        gauge = self._stored_gauge(found[0].fields, stored)
        claim = {
            **({"gauge": gauge} if gauge else {}),
            "property": property_of([f.proof.index for f in found], self.J.size, len(gauge)),
            "form": "isolated",
            "arithmetic": "arb",
            "precision_bits": BITS,
            "blocks": self.names,
            "points": points,
            "domain": bounds(self.court.bounds(), stored),
        }
        return assemble(claim, self.court.plain, stored, {}, self.court.provenance())

    def _stored_gauge(self, chosen: Sequence[int], stored: dict[str, Stored]) -> list[dict[str, object]]:
        """The generators as a claim has them; their tensors are added to ``stored``."""
        out = []
        for k in chosen:
            moves: dict[str, object] = {}
            for name, (axis, values) in (self.fields.fields[k] or {}).items():
                key = f"generator.{k}.{self.court.keys[name]}"
                stored[key] = Stored(values, "direction", "")
                moves[name] = {"shift": key} if axis is None else {"axis": axis, "matrix": key}
            out.append(moves)
        return out


def _claimed(proof: Isolated) -> dict[str, object]:
    """A proof as a claim, with some room for another version of the libraries."""
    slack = (proof.high - proof.low) + 4 * math.ulp(max(abs(proof.low), abs(proof.high)))
    value = [(proof.low - slack).hex(), (proof.high + slack).hex()]
    return {"radius": proof.radius.hex(), "index": proof.index, "value": value}


def _size(S: np.ndarray, at: Centre) -> float:
    return float(np.linalg.norm(S.T @ at.slope.middle))


def of_different_values(found: Sequence[Located]) -> list[Located]:
    """As many of the proofs as have values that are proved to differ, by value."""
    out: list[Located] = []
    last = -math.inf
    for located in sorted(found, key=lambda f: f.proof.high):
        claimed = [float.fromhex(v) for v in _claimed(located.proof)["value"]]  # type: ignore[attr-defined]
        if claimed[0] > last:
            out.append(located)
            last = claimed[1]
    return out


def save(
    J: Objective, points: Sequence[Mapping[str, Tensor]], path: str | Path, orbits: Sequence[int] = ()
) -> tuple[Isolated, ...]:
    """Prove that critical points near these are isolated and have different values, and write the file.

    ``epigraph verify`` repeats the proof from the file alone, without PyTorch.

    Args:
        J: the objective.
        points: parameters by name, near critical points; each is polished by Newton's method first.
        path: the file; it is not written where nothing is proved.
        orbits: for each point the dimension of its orbit under continuous symmetries; zero where it is left out.

    Returns:
        What the file states, by value.  Points without a proof are left out, all but one of a value, and all whose orbits
        are not those of the most points.
    """
    prover = Prover(J)
    sizes = [*orbits, *[0] * (len(points) - len(orbits))]
    found = [prover.prove(p, size) for p, size in zip(points, sizes, strict=True)]
    known = [f for f in found if f is not None]
    if not known:
        return ()
    gauge, _ = Counter(f.fields for f in known).most_common(1)[0]
    proved = of_different_values([f for f in known if f.fields == gauge])[:POINTS]
    write(path, prover.payload(proved))
    return tuple(f.proof for f in proved)
