"""``certify_spectrum``: the signs of the Hessian's eigenvalues at a point, proved."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from epigraph.certificate import claims, definite, exact, isolated, isolation, isolationcost, rayleigh, shapes
from epigraph.certificate.directional import Derivatives, Direction
from epigraph.certificate.directional import cost as directional_cost
from epigraph.certificate.format import Stored, assemble, bounds
from epigraph.certificate.graph import Program
from epigraph.certificate.reverse import NoGradient
from epigraph.convexity.evidence import Court
from epigraph.errors import CaptureError, CertificateError, ObjectiveError, UsageError
from epigraph.hessian.api import hessian, spectrum
from epigraph.hessian.certified import SpectrumCertificate
from epigraph.hessian.definite import Bound
from epigraph.hessian.enclose import Region, Source, Undecided
from epigraph.hessian.engines import free_memory
from epigraph.hessian.forms import Form
from epigraph.hessian.spectrum import Spectrum
from epigraph.objective.graph import Graph
from epigraph.objective.objective import Objective
from epigraph.objective.point import point_of
from epigraph.objective.world import untouched

STEPS = 2**14  # the largest entry of a direction
PRECISIONS = (128, 512)
FILE_SECONDS = 120.0  # what the verifier may need for a proof of definiteness, by its own estimate
ROOM = 1 - 2.0**-33  # the verifier's linear algebra rounds in its own way: other threads, another machine
MARGIN = 1 - 2.0**-20  # of the modulus in a file: integers prove a little less than balls could
ENTRY_BYTES, PRODUCT_SECONDS = 128.0, 6e-9  # of the enclosure of a whole Hessian, measured on one core
SIGNS = {1: "positive definite", -1: "negative definite"}


def certify_spectrum(
    J: Objective,
    at: Mapping[str, Tensor] | str | Path | None = None,
    blocks: Sequence[str] | str | None = None,
    *,
    found: Spectrum | None = None,
    file: bool = True,
    seconds: float = 300.0,
    seed: int = 0,
    progress: Callable[..., Any] = lambda *parts: None,
) -> SpectrumCertificate:
    r"""Proves what the signs of the Hessian's eigenvalues are at a point, where they have a sign.

    **Indefinite.**  Ritz vectors of the two ends, rounded to integers u and v; the second derivatives of J along them are
    enclosed in Arb by the chain rule, and u' H u > 0 > v' H v settles it.  No matrix: the cost is that of about ten evaluations
    of J in balls, for any number of parameters, and ``epigraph verify`` repeats it.

    **Definite.**  Where both quotients have one sign, the whole Hessian is enclosed in float64 and its eigenvalues are bounded
    away from zero, up to 4,000 parameters; the verifier repeats that.  Up to 150 parameters the file is checked entry by entry in Arb.

    At a kink, a tie or the end of an operator's domain J has no second derivative, and nothing is claimed.

    Args:
        J: the objective.
        at: the point: a mapping by name, a file with a state dict, or None for the present parameters.
        blocks: parameters that vary; the others are held at the point.
        found: a spectrum of the same Hessian made with ``vectors=True``; else one is computed in float64.
        file: also make the file form of a proof of definiteness, which may take minutes; the others cost nothing more.
        seconds: time for the evaluations, by their estimate.
        seed: of the spectrum.
        progress: called with one line before each stage that may take long.

    Raises:
        UsageError: an unknown block; a point that does not fit J or its domain; a spectrum of something else, or without vectors.
        ObjectiveError, CaptureError: J is no function that can be analysed.

    Example:
        >>> J = Objective.from_function(lambda w: w[0] ** 2 - w[1] ** 2, {"w": torch.zeros(2, dtype=torch.float64)})
        >>> c = certify_spectrum(J)
        >>> c.definiteness, c.largest, c.least
        ('indefinite', '2', '-2')
    """
    if not isinstance(J, Objective):
        raise UsageError(
            "E020", f"certify_spectrum takes an Objective, not a {type(J).__name__}", hint="Objective(...)"
        )
    point = point_of(J, at)
    active = J.blocks.resolve([blocks] if isinstance(blocks, str) else None if blocks is None else list(blocks))
    if found is None:
        progress("the ends of the spectrum")
        found = _ends(J, point, active, seed)
    elif found.kind != "hessian" or found.names != active or found.vectors is None:
        what = f"a spectrum of the {found.kind} in {', '.join(found.names)}"
        hint = "spectrum(J, at, blocks=..., vectors=True) of the Hessian in the same blocks"
        raise UsageError("E025", f"{what} cannot be certified here", hint=hint)
    with untouched(*J.roots()), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        progress("capturing the graph")
        return _Proof(J, J.graph(), point, active, seconds, progress).run(found, file)


def _ends(J: Objective, point: Mapping[str, Tensor], active: tuple[str, ...], seed: int) -> Spectrum | None:
    """One vector of each end; None where autograd has no second derivative at the point.  The vectors prove nothing by themselves."""
    try:
        H = hessian(J, point, active, dtype="float64", verify=False)
        return spectrum(H, top=1, bottom=1, seed=seed, vectors=True)
    except ObjectiveError as error:
        if error.code not in ("E214", "E215"):
            raise
        return None


def _agree(program: float, graph: float) -> bool:
    """Is this the same value, up to the rounding of float32?"""
    return abs(program - graph) <= 1e-3 * max(abs(program), abs(graph)) + 1e-5


@final
class _Proof:
    """One attempt at one point."""

    def __init__(
        self,
        J: Objective,
        graph: Graph,
        point: Mapping[str, Tensor],
        active: tuple[str, ...],
        seconds: float,
        say: Callable[..., Any],
    ):
        self.J, self.graph, self.point, self.active, self.seconds, self.say = J, graph, point, active, seconds, say
        self.court = Court(graph, J.domain, J.describe())
        self.start = time.monotonic()
        self.blocks = [n for n in active if n in self.court.keys]  # J does not depend on the others
        self.keys = [self.court.keys[n] for n in self.blocks]

    def run(self, found: Spectrum | None, file: bool) -> SpectrumCertificate:
        if not self.court.possible:
            return self._nothing("J has an operator or a constant that exact arithmetic cannot evaluate")
        if not self.blocks:
            return self._nothing("J does not depend on these parameters")
        self.stored = self.court.tensors(self.point)
        arrays = {k: s.array for k, s in self.stored.items()}
        program = shapes.program(self.court.plain, shapes.metas(arrays))
        directions = {} if found is None else self._directions(found)
        self.say("enclosing second derivatives")
        tried = self._quotients(program, arrays, list(directions.values()))
        if isinstance(tried, str):
            return self._nothing(tried)
        bits, values, derivatives = tried
        if not derivatives.finite:
            return self._kinked(derivatives)
        if found is not None and not _agree(found.value, float(derivatives.value.mid())):
            return self._nothing("the spectrum is of another point: J has another value here")
        signs = {(value > 0) - (value < 0) for value in values}
        if len(signs) == 1 and 0 not in signs:
            proved = self._definite(program, arrays, signs.pop(), file)
            if proved.modulus is not None:
                return proved
            return replace(self._claimed(bits, directions, values), reason=proved.reason, where=proved.where)
        return self._claimed(bits, directions, values)

    # quotients --------------------------------------------------------------------------------------------------------
    def _directions(self, found: Spectrum) -> dict[str, Direction]:
        """The first vector of each end that was asked for, as integers by key, where it is not zero there."""
        assert found.vectors is not None
        ends = {"positive": found.vectors["top"], "negative": found.vectors["bottom"]}
        made = {side: self._rounded(rows[0]) for side, rows in ends.items() if len(rows)}
        return {side: direction for side, direction in made.items() if direction}

    def _rounded(self, vector: Tensor) -> Direction:
        flat = vector.detach().cpu().double()
        flat = flat * (STEPS / flat.abs().max().clamp(min=1e-300))
        counts = [self.point[n].numel() for n in self.active]
        parts = dict(zip(self.active, flat.split(counts), strict=True))
        steps = {n: np.rint(parts[n].numpy()).astype(np.int16).reshape(tuple(self.point[n].shape)) for n in self.blocks}
        for name in steps.keys() & self.J.domain.lower.keys() & self.J.domain.upper.keys():
            fixed = (self.J.domain.lower[name] >= self.J.domain.upper[name]).numpy()
            steps[name] = np.where(fixed, np.int16(0), steps[name])
        return {self.court.keys[n]: k for n, k in steps.items() if k.any()}

    def _quotients(
        self, program: Program, arrays: Mapping[str, np.ndarray], directions: Sequence[Direction]
    ) -> tuple[int, list[Any], Derivatives] | str:
        """Precision, quotients and derivatives, with more bits where the first ones decide too little; or why not."""
        count, done = len(directions), None
        for bits in PRECISIONS:
            cost = directional_cost(program, set(self.keys), count, count, bits)
            if not cost.fits(self.seconds, free_memory(torch.device("cpu")) * 0.8):
                break
            values, found = rayleigh.quotients(program, arrays, set(self.keys), directions, bits)
            done = bits, values, found
            if found.finite and all(value > 0 or value < 0 or value == 0 for value in values):
                break
        if done is None:
            return "the evaluation in balls would take too long, or too much memory"
        return done

    def _claimed(self, bits: int, directions: Mapping[str, Direction], values: Sequence[Any]) -> SpectrumCertificate:
        """What the quotients prove, with its file."""
        sizes, kept = {}, {}
        for (name, direction), value in zip(directions.items(), values, strict=True):
            sign = 1 if value > 0 else -1
            side = "positive" if sign > 0 else "negative"
            size = exact.recorded(sign * value)
            if size is not None and (side not in kept or side == name):
                sizes[side], kept[side] = size, direction
        if not sizes:
            return self._nothing(
                "the second derivatives along the vectors of both ends are zero, or too near to it"
                if values
                else "autograd gives no vectors to begin with"
            )
        sides = tuple(side for side in rayleigh.SIDES if side in sizes)
        word = next(p for p, wanted in rayleigh.PROPERTIES.items() if wanted == sides)
        shown = {side: claims.decimal_below(Fraction(n) / Fraction(2) ** e) for side, (n, e) in sizes.items()}
        reason = None if word == "indefinite" else "no eigenvalue of the other sign was found, nor definiteness shown"
        return self._result(
            word,
            largest=shown.get("positive"),
            least=f"-{shown['negative']}" if "negative" in shown else None,
            precision_bits=bits,
            reason=reason,
            payload=self._quotient_payload(word, bits, kept, sizes),
        )

    def _quotient_payload(
        self, word: str, bits: int, directions: Mapping[str, Direction], sizes: Mapping[str, tuple[int, int]]
    ) -> Any:
        names = dict(zip(self.keys, self.blocks, strict=True))
        extra, quotients = {}, {}
        for side, direction in directions.items():
            keys = {key: f"direction.{side}.{key}" for key in direction}
            extra |= {keys[key]: Stored(steps, "direction", keys[key]) for key, steps in direction.items()}
            n, e = sizes[side]
            quotients[side] = {
                "size": {"num": str(n), "den_log2": e},
                "direction": {names[key]: name for key, name in keys.items()},
            }
        return self._payload({"property": word, "form": "rayleigh", "quotients": quotients}, bits, extra)

    def _payload(self, claim: Mapping[str, Any], bits: int, extra: Mapping[str, Stored]) -> Any:
        tensors = {**self.stored, **extra}
        common = {"arithmetic": "arb", "precision_bits": bits, "blocks": self.blocks}
        whole = {**claim, **common, "domain": bounds(self.court.bounds(), tensors)}
        return assemble(whole, self.court.plain, tensors, {}, self.court.provenance())

    # definiteness -----------------------------------------------------------------------------------------------------
    def _definite(
        self, program: Program, arrays: Mapping[str, np.ndarray], sign: int, file: bool
    ) -> SpectrumCertificate:
        """A bound of all eigenvalues of sign H from float64 enclosures, and its file where the verifier can follow."""
        if len(self.blocks) < len(self.active):
            return self._nothing("the Hessian is singular: J does not depend on all of these parameters")
        size = sum(self.point[n].numel() for n in self.blocks)
        if definite.ENTRIES < size <= definite.LARGEST and (proved := self._by_vectors(program, arrays, sign, size)):
            return proved
        source = Source(self.graph, self.J.domain, self.point, self.active)
        work = source.size * (source.widest + source.size)
        if ENTRY_BYTES * work > free_memory(torch.device("cpu")) or PRODUCT_SECONDS * source.size * work > self.seconds:
            return self._nothing("an enclosure of the whole Hessian would take too long, or too much memory")
        self.say("enclosing the Hessian")
        centre = torch.cat([self.point[n].reshape(-1) for n in source.names])
        try:
            H, arithmetic = source.hessian(Region(centre, torch.zeros_like(centre), False), 0)
        except Undecided as stop:
            return self._nothing(stop.reason, stop.node.origin.location)
        except CaptureError as stop:
            return self._nothing(stop.what, stop.where)
        modulus = Bound(arithmetic, H if sign > 0 else Form(-H.c, None, H.r)).modulus()
        if not modulus > 0:
            return self._nothing("the enclosure of the Hessian is not shown to be definite")
        payload = self._definite_payload(program, arrays, sign, modulus * MARGIN) if file else None
        return self._result(SIGNS[sign], modulus=modulus, payload=payload, precision_bits=0 if payload is None else 128)

    def _by_vectors(
        self, program: Program, arrays: Mapping[str, np.ndarray], sign: int, size: int
    ) -> SpectrumCertificate | None:
        """The proof of larger Hessians, which the verifier repeats as it is; None where it does not succeed."""
        try:
            written = isolated.written(program, self.keys)
            cost = isolationcost.cost(written, {k: arrays[k].shape for k in self.keys}, isolation.BOX_BITS)
            if not cost.fits(self.seconds, free_memory(torch.device("cpu")) * 0.8):
                return None
            self.say("enclosing the Hessian")
            found = isolation.away_from_zero(written, arrays, self.keys)
        except (CertificateError, NoGradient):
            return None
        if found is None or found[0] != (0 if sign > 0 else size):
            return None
        bits, modulus = isolation.BOX_BITS, found[1] * ROOM
        payload = self._payload({"property": SIGNS[sign], "form": "definite", "modulus": modulus.hex()}, bits, {})
        return self._result(SIGNS[sign], modulus=modulus, payload=payload, precision_bits=bits)

    def _definite_payload(self, program: Program, arrays: Mapping[str, np.ndarray], sign: int, modulus: float) -> Any:
        """The file, proved as the verifier will; None where that would take too long or does not succeed."""
        size, bits = sum(self.point[n].numel() for n in self.blocks), PRECISIONS[0]
        if size > definite.ENTRIES or not definite.cost(program, self.keys, size, bits).fits(
            min(FILE_SECONDS, self.seconds), free_memory(torch.device("cpu")) / 2
        ):
            return None
        self.say("proving definiteness for the file")
        H, found = definite.hessian(program, arrays, self.keys, bits)
        if not found.finite or not definite.above([[sign * v for v in row] for row in H], Fraction(modulus)):
            return None
        return self._payload({"property": SIGNS[sign], "form": "definite", "modulus": modulus.hex()}, bits, {})

    # results ----------------------------------------------------------------------------------------------------------
    def _kinked(self, found: Derivatives) -> SpectrumCertificate:
        """Where a second derivative is missing, and at which line."""
        if found.obstacle is None:
            return self._nothing("J has no finite value at the point, or its enclosure is too wide")
        label, why = found.obstacle
        place, _, op = label.partition(", ")
        origin = self.court.origins().get(place)
        where = origin and (origin.location or (f"in {origin.module}" if origin.module else None))
        return self._nothing(f"J is not shown to have a second derivative here: {op or label} {why}", where)

    def _nothing(self, reason: str, where: str | None = None) -> SpectrumCertificate:
        return self._result("not settled", reason=reason, where=where)

    def _result(self, word: Any, **known: Any) -> SpectrumCertificate:
        seconds = round(time.monotonic() - self.start, 3)
        return SpectrumCertificate(word, blocks=self.active, seconds=seconds, notes=tuple(self.J.notes), **known)


__all__ = ["SpectrumCertificate", "certify_spectrum"]
