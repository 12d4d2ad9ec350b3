"""Convexity by bounds of second derivatives: the search for the numbers that ``certificate.secondorder`` checks.

The composition rules add up functions that are convex each; here J may be a sum of functions of affine variables of which
some are not, as long as the others make up for it: a sigmoid with squared error and enough weight decay.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, final

import numpy as np
from flint import ctx

from epigraph.calculus.interval import span
from epigraph.calculus.lattice import CONCAVE, CONVEX
from epigraph.certificate import shapes
from epigraph.certificate.affine import Unsuited
from epigraph.certificate.curvature import Curvature, Function
from epigraph.certificate.kernel_numbers import fraction_down
from epigraph.certificate.linear import PRECISION, Linear
from epigraph.certificate.secondorder import Claim, boxes, open_
from epigraph.certificate.semidefinite import Block, blocks
from epigraph.convexity.evidence import Court, _needed, manifest_graph, provenance
from epigraph.convexity.prove import Derivation, Prover
from epigraph.convexity.search import Hint
from epigraph.convexity.secondderivative import Sample, bound, sampled
from epigraph.convexity.verdict import Proof, Step
from epigraph.objective.graph import Graph, Node

ENTRIES = 2_000_000
FUNCTIONS = 2000
SECONDS = 10.0
BEYOND = (Unsuited, RecursionError, MemoryError, OverflowError, np.linalg.LinAlgError)  # no claim, but no failure
QUICK_SIZE, QUICK_ENTRIES = 300, 100_000


@final
@dataclass(frozen=True)
class Found:
    """What the search has established: proved bounds of all functions, and a proved modulus."""

    curvature: Curvature
    bounds: tuple[Fraction, ...]
    modulus: Fraction


@final
class Attempt:
    """One try at sign J in some blocks."""

    def __init__(self, prover: Prover, active: Sequence[str], sign: int, seconds: float = SECONDS):
        self.prover, self.sign, self.deadline = prover, sign, time.monotonic() + seconds
        self.order = _needed(prover.graph, forms=True)
        used = {prover.graph[i].attributes["name"] for i in self.order if prover.graph[i].op == "parameter"}
        self.active = [n for n in active if n in used]
        self.unused = [n for n in active if n not in used]
        self.samples: list[Sample] = []
        self.scale = 0.0
        self.hint: Hint | None = None

    @cached_property
    def derivation(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return Derivation(self.prover, tuple(self.active), "convex").parts

    def curvature(self, squares: bool = False) -> Curvature:
        """The parts of sign J; raises ``Unsuited``.  ``squares``: take only quadratic parts apart, believe the rules else."""
        walk = self.prover.walk(self.active)
        for position in self.order:
            if self.prover.graph[position].op == "opaque":
                raise Unsuited
        plain, stored, _ = manifest_graph(self.prover.graph, forms=True)
        raw, extra = self.derivation
        tensors = {**{key: s.array for key, s in stored.items()}, **extra}
        program = shapes.program(plain, shapes.metas(tensors))
        claim = Claim("convex" if self.sign > 0 else "concave", tuple(self.active), raw["domain"], Fraction(0), (), {})
        bits = {k: walk.facts[old] for k, old in enumerate(self.order)}

        def likely(position: int, sign: int) -> bool:
            return bits[position].has(CONVEX if sign > 0 else CONCAVE)

        if squares:
            linear = Linear(program, tensors, claim.active, boxes(claim.domain, tensors))
            return Curvature(linear, self.sign, likely, squares=True)
        return open_(program, tensors, claim, raw, likely)

    def run(self) -> Found | None:
        """Bounds of all functions and a modulus, or None where the lemma gives nothing."""
        try:
            curvature = self.curvature()
            if len(curvature.functions) > FUNCTIONS:
                return None
            bounds = self._bounds(curvature)
            if bounds is None:
                return None
            modulus = self._modulus(curvature, bounds)
        except BEYOND:
            return None
        return None if modulus is None else Found(curvature, bounds, modulus)

    def quick(self) -> Fraction | None:
        """A modulus where J is convex by the rules."""
        try:
            curvature = self.curvature(squares=True)
            bounds = self._bounds(curvature)
            return None if bounds is None else self._modulus(curvature, bounds)
        except BEYOND:
            return None

    def _bounds(self, curvature: Curvature) -> tuple[Fraction, ...] | None:
        """Proved bounds of all functions, where the bounds that were sampled would be enough."""
        found = []
        with ctx.workprec(PRECISION):
            if not (self._may_be_enough(curvature, coarse=True) and self._may_be_enough(curvature, coarse=False)):
                return None
            for f, sample in zip(curvature.functions, self.samples, strict=True):
                known = bound(curvature.reader, f, sample)
                if known is None or time.monotonic() > self.deadline:
                    return None
                found.append(known)
        return tuple(found)

    def _may_be_enough(self, curvature: Curvature, coarse: bool) -> bool:
        """Is the matrix semidefinite, to rounding, with the least values that a grid of this kind shows?"""
        self.samples = []
        for f in curvature.functions:
            sample = sampled(curvature.reader, f, coarse)
            if sample is None or not math.isfinite(sample.least) or time.monotonic() > self.deadline:
                return False
            self.samples.append(sample)
        least, slack = self._eigenvalue(curvature, [Fraction(s.least) for s in self.samples])
        return least >= -max(slack, 1e-9 * self.scale)

    def _eigenvalue(self, curvature: Curvature, bounds: Sequence[Fraction]) -> tuple[float, float]:
        """The least eigenvalue in floats, and a size of its rounding; a hint is left where it belongs."""
        rows, kinds, weights = curvature.assembled(bounds)
        size, covered, least, self.scale = curvature.linear.size, 0, np.inf, 0.0
        s = np.array([float(w) for w in weights])
        for block in blocks(rows, kinds, size):
            covered += len(block.columns)
            G = block.matrix.T @ (s[block.kinds][:, None] * block.matrix)
            values, vectors = np.linalg.eigh(G)
            if values[0] < least:
                least = float(values[0])
                self._leave_hint(curvature, block, s, vectors[:, 0])
            self.scale = max(self.scale, float(np.abs(G).max()))
        if covered < size or self.unused:
            least = min(least, 0.0)
        return least, (1 + size) * 2.0**-44 * self.scale

    def _modulus(self, curvature: Curvature, bounds: tuple[Fraction, ...]) -> Fraction | None:
        """The largest of a few numbers near the least eigenvalue that is proved."""
        least, slack = self._eigenvalue(curvature, bounds)
        guesses = [least - slack, least - 64 * slack, least * (1 - 2.0**-10)] if least > slack else []
        if least >= -slack:
            guesses.append(0.0)
        for guess in guesses:
            if guess >= 0 and curvature.proves(bounds, Fraction(guess)):
                return Fraction(guess)
        return None

    def _leave_hint(self, curvature: Curvature, block: Block, s: np.ndarray, v: np.ndarray) -> None:
        """A point at which the functions that bend against v do so most, as far as their arguments can be chosen."""
        numbers = curvature.numbers[block.kinds]
        used = (numbers >= 0) & (s[block.kinds] < 0)
        A = block.matrix[used]
        share = np.sqrt(-s[block.kinds][used]) * np.abs(A @ v)
        target = np.array([self.samples[k].at for k in numbers[used].tolist()])
        point, direction = np.zeros(curvature.linear.size), np.zeros(curvature.linear.size)
        if len(A):
            point[block.columns] = np.linalg.lstsq(share[:, None] * A, share * target, rcond=None)[0]
        direction[block.columns] = v
        self.hint = self._unflat(curvature, point), self._unflat(curvature, direction)

    def _unflat(self, curvature: Curvature, x: np.ndarray) -> dict[str, np.ndarray]:
        shapes_ = {n: tuple(self.prover.graph.parameters[n].shape) for n in self.active}
        offsets = curvature.linear.offsets
        return {n: x[offsets[n] : offsets[n] + math.prod(shape)].reshape(shape) for n, shape in shapes_.items()}


def curvature_claims(
    prover: Prover,
    active: Sequence[str],
    court: Court,
    hints: dict[str, Hint] | None = None,
    words: Sequence[str] = ("convex", "concave"),
) -> tuple[dict[str, Proof], float | None]:
    """Proofs of convexity or concavity, as ``words`` ask, by the curvature lemma, and the modulus that comes with convexity.

    Where they fail for want of curvature in some direction, ``hints`` receives where to look for a violation.
    """
    if sum(n.numel for n in prover.graph) > ENTRIES or not court.possible:
        return {}, None
    for word in words:
        sign = 1 if word == "convex" else -1
        attempt = Attempt(prover, active, sign)
        if attempt.active and (found := attempt.run()) is not None:
            proofs = {p + word: proof(attempt, found, p + word) for p in ("", "quasi")}
            return proofs, fraction_down(found.modulus) or None if sign > 0 else None
        if hints is not None and attempt.hint is not None:
            hints[word] = attempt.hint
    return {}, None


def quick_modulus(prover: Prover, active: Sequence[str]) -> float | None:
    """A modulus of a J that the rules prove convex: its squares count, any other convex term is left out."""
    size = sum(prover.graph.parameters[n].numel() for n in active)
    if size > QUICK_SIZE or sum(n.numel for n in prover.graph) > QUICK_ENTRIES or not prover.convex(active):
        return None
    found = Attempt(prover, active, 1).quick()
    return fraction_down(found) or None if found is not None else None


def proof(attempt: Attempt, found: Found, name: str) -> Proof:
    """The proof object: one step for each function, one for the matrix."""
    graph = attempt.prover.graph
    steps = [
        _function_step(attempt, f, least) for f, least in zip(found.curvature.functions, found.bounds, strict=True)
    ]
    for position, sign in found.curvature.rests:
        node = graph[attempt.order[position]]
        steps.append(_step(node, "convex" if sign > 0 else "concave", "by the rules of composition", ()))
    top = graph[graph.output]
    side = f"sum of s_k a_k a_k' - {float(found.modulus):.6g} I is positive semidefinite, in integers"
    last = _step(top, name, "functions of affine variables whose second derivatives make up for each other", (side,))
    steps.append(_with_premises(last, len(steps)))
    raw, extra = attempt.derivation
    derivation = {
        "form": "curvature",
        "property": name,
        "active": list(raw["active"]),
        "domain": raw["domain"],
        "modulus": float(found.modulus).hex(),
        "bounds": [float(b).hex() for b in found.bounds],
        "nodes": dict(raw["nodes"]) if found.curvature.rests else {},
    }
    return Proof(name, tuple(steps), derivation, lambda: payload(attempt, derivation, extra))


def payload(attempt: Attempt, claim: Mapping[str, Any], extra: Mapping[str, np.ndarray]) -> Any:
    """What a certificate file of this proof holds."""
    from epigraph.certificate.format import Stored, assemble

    plain, stored, _ = manifest_graph(attempt.prover.graph, forms=True)
    wanted = _references(claim)
    tensors = {**stored, **{key: Stored(v, "bound", key) for key, v in extra.items() if key in wanted}}
    return assemble(claim, plain, tensors, {}, provenance(attempt.prover.describe))


def _references(value: Any) -> set[str]:
    """Keys of the tensors that a claim refers to."""
    if isinstance(value, dict):
        if set(value) == {"tensor"}:
            return {value["tensor"]}
        return set().union(*(_references(v) for v in value.values()))
    return set().union(*(_references(v) for v in value)) if isinstance(value, list) else set()


def _function_step(attempt: Attempt, f: Function, least: Fraction) -> Step:
    position = f.terms[0][0]
    node = attempt.prover.graph[attempt.order[position]]
    where = f"for an argument in {span(f.low, f.high, 4)}"
    return _step(
        node,
        f"second derivative at least {float(least):.6g}",
        "a function of one affine variable, by Taylor balls",
        (where,),
    )


def _step(node: Node, claim: str, lemma: str, sides: tuple[str, ...]) -> Step:
    origin = node.origin
    return Step(
        node.id, claim, lemma, (), sides, origin.operator or node.op, node.shape, origin.location, origin.module
    )


def _with_premises(step: Step, count: int) -> Step:
    from dataclasses import replace

    return replace(step, premises=tuple(range(count)))


__all__ = ["Attempt", "Graph", "curvature_claims", "proof"]
