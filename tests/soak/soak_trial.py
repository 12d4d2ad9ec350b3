"""One objective on trial: what the prover claims of every node, against evaluations in floats, then in Arb."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import soak_balls
import soak_floats
from flint import arb, ctx
from numpy.typing import NDArray
from soak_generate import Case
from soak_lines import STEPS, TRIPLES, Box, across_turns, grid, segments
from soak_means import ball_mean, mean

from epigraph.calculus.lattice import Facts
from epigraph.certificate.kernel import recheck
from epigraph.convexity.evidence import manifest_graph
from epigraph.convexity.prove import CLAIMS, Prover
from epigraph.errors import CertificateError

Array = NDArray[np.float64]
NAMES = ("convex", "concave", "quasiconvex", "quasiconcave", "log_convex", "log_concave", "root_convex")
TOLERANCE = 1e-10  # relative; below it, floats say nothing
NOTABLE = 1e-9  # a violation of an open claim that is worth confirming
ROWS = 24
PRECISIONS = (192, 768)
WEAKER = {0: (2,), 1: (3,), 2: (), 3: (), 4: (0, 2), 5: (3,)}  # properties that each property implies


@dataclass
class Outcome:
    """What became of one objective: per claim proved, refuted or undecided; contradictions; suspicions that Arb cleared."""

    style: str
    status: dict[str, str] = field(default_factory=dict)
    affine: bool = False
    contradictions: list[str] = field(default_factory=list)
    suspicions: int = 0
    checked: int = 0  # claims about nodes that were looked at
    evaluated: int = 0  # (node, point) pairs held against intervals in Arb
    rechecked: int = 0


def gaps(a: Array, m: Array, b: Array, wanted: int) -> Iterator[tuple[int, Array]]:
    """For each claim of the set: by how much it is violated, positive where it is (floats)."""
    if wanted & 3:
        bend = m - (a / 2 + b / 2)
        if wanted & 1:
            yield 0, bend
        if wanted & 2:
            yield 1, -bend
    if wanted & 4:
        yield 2, m - np.maximum(a, b)
    if wanted & 8:
        yield 3, np.minimum(a, b) - m
    if wanted & 112:
        u, v, w = (np.sqrt(np.maximum(x, 0)) for x in (a, m, b))
        sign = -np.minimum(np.minimum(a, b), m)
        if wanted & 16:
            yield 4, np.maximum(sign, m - u * w)
        if wanted & 32:
            yield 5, np.maximum(sign, u * w - m)
        if wanted & 64:
            yield 6, np.maximum(sign, (v - (u + w) / 2) * np.abs(v))


def ball_gap(a: arb, m: arb, b: arb, claim: int) -> arb:
    """The violation of a claim in balls: positive only where the claim is false."""
    if claim < 2:
        bend = m - (a + b) / 2
        return -bend if claim else bend
    if claim < 4:
        return m - a.max(b) if claim == 2 else a.min(b) - m
    if a < 0 or m < 0 or b < 0:
        return arb(1)
    product = m * m - a * b
    return product if claim == 4 else -product if claim == 5 else m.sqrt() - (a.sqrt() + b.sqrt()) / 2


class Trial:
    """The facts about one objective and the points at which they are tried; the prover's facts, or those given."""

    def __init__(self, case: Case, seed: str, facts: Sequence[Facts] | None = None):
        self.case, self.graph = case, case.graph
        self.random = random.Random(seed)
        self.rng = np.random.default_rng(self.random.getrandbits(60))
        self.prover = Prover(case.graph, case.domain)
        self.facts = self.prover.walk(case.active).facts if facts is None else facts
        self.box = Box(case)
        self.outcome = Outcome(case.style)
        self.open = {name: bit for name, bit in CLAIMS.items() if not self.facts[self.graph.output].has(bit)}
        self.best: dict[int, tuple[float, Any]] = {}  # the most promising violation of each open claim

    def run(self) -> Outcome:
        start, end = segments(self.box, self.rng, ROWS)
        values = self.look(start, end)
        more = across_turns(self.graph, self.box, values, start, end, self.rng, ROWS)
        if more is not None:
            self.look(*more)
        self.intervals_in_arb(np.concatenate([start, end] if more is None else [start, end, *more]))
        self.settle()
        return self.outcome

    # floats ---------------------------------------------------------------------------------------------------------
    def look(self, start: Array, end: Array) -> list[Array]:
        points = grid(start, end)
        values = soak_floats.values(self.graph, self.box.split(points))
        with np.errstate(all="ignore"):
            for node in self.graph:
                self.look_at(node.id, values[node.id], points)
                self.carrier(node.id, values, points)
        return values

    def look_at(self, i: int, value: Array, points: Array) -> None:
        facts, node = self.facts[i], self.graph[i]
        if not node.inputs and node.op != "parameter":
            return
        flat = value.reshape(len(value), -1)
        low, high = self.bounds(i)
        room = TOLERANCE * np.abs(flat)
        outside = (flat < low - room) | (flat > high + room)
        if outside.any():
            for row in np.unique(np.argwhere(outside)[:, 0])[:2]:
                self.suspect(self.interval_broken(i), [points[row % len(points)]])
        if len(flat) == 1 or not facts.varies:
            if len(flat) > 1 and not facts.varies:
                self.constant_along(i, flat, points)
            return
        shaped = flat.reshape(-1, STEPS, flat.shape[1])
        a, m, b = (shaped[:, TRIPLES[:, k]] for k in range(3))
        usable = np.isfinite(a) & np.isfinite(m) & np.isfinite(b)
        scale = np.maximum(np.maximum(np.abs(a), np.abs(b)), np.abs(m))
        bits = facts.bits if isinstance(facts.bits, int) else np.broadcast_to(facts.bits, node.shape).reshape(-1)
        any_bits = bits if isinstance(bits, int) else int(np.bitwise_or.reduce(bits))
        if isinstance(bits, int):  # what a violation of a stronger claim would show as well is not looked at twice
            any_bits &= ~((bits & 3) << 2)
        self.means(i, a, m, b, usable, points)
        if i == self.graph.output:
            self.attack(a, m, b, usable, scale, points)
        for claim, gap in gaps(a, m, b, any_bits):
            self.outcome.checked += 1
            held = usable if isinstance(bits, int) else usable & (bits >> claim & 1 == 1)
            bad = held & (gap > TOLERANCE * scale)
            if bad.any():
                relative = np.where(bad, gap / scale, 0)
                for where in {int(relative.argmax()), int(bad.argmax())}:
                    row, t, entry = np.unravel_index(where, bad.shape)
                    triple = [points[row * STEPS + k] for k in TRIPLES[t]]
                    self.suspect(self.claim_broken(i, int(entry), claim), [triple[0], triple[2]])

    def bounds(self, i: int) -> tuple[Any, Any]:
        """Bounds of a node's entries, as numbers or flat arrays."""
        interval, shape = self.facts[i].interval, self.graph[i].shape
        if interval.uniform:
            return interval.lower, interval.upper
        low, high = (np.broadcast_to(v, shape).reshape(-1) for v in (interval.lower, interval.upper))
        return low, high

    def constant_along(self, i: int, flat: Array, points: Array) -> None:
        moved = np.isfinite(flat) & np.isfinite(flat[:1])
        shaped = np.where(moved, flat, 0).reshape(-1, STEPS, flat.shape[1])
        spread = np.ptp(shaped, axis=1) > TOLERANCE * np.abs(shaped).max(axis=1)
        if spread.any():
            row = int(np.argwhere(spread)[0][0])
            self.suspect(self.not_constant(i), [points[row * STEPS], points[row * STEPS + STEPS - 1]])

    def means(self, i: int, a: Array, m: Array, b: Array, usable: Array, points: Array) -> None:
        """f(m) lies between the power means of f(a) and f(b) that the facts name."""
        means = self.facts[i].means
        if means.sign == 0:
            return
        u, w, v = (np.maximum(means.sign * x, 0) for x in (a, m, b))
        scale = np.maximum(np.maximum(u, v), w)
        for order, side in ((means.upper, 1), (means.lower, -1)):
            if order is None:
                continue
            self.outcome.checked += 1
            gap = side * (w - mean(order, u, v))
            bad = usable & (gap > NOTABLE * scale)
            if bad.any():
                row, t, entry = np.unravel_index(int(np.where(bad, gap / scale, 0).argmax()), bad.shape)
                triple = [points[row * STEPS + k] for k in TRIPLES[t]]
                self.suspect(self.mean_broken(i, int(entry), order, side * means.sign), [triple[0], triple[2]])

    def mean_broken(self, node: int, entry: int, order: Any, side: int) -> Callable[[list[Any], int], str | None]:
        sign = self.facts[node].means.sign

        def test(ends: list[Any], bits: int) -> str | None:
            a, m, b = (sign * v for v in self.triple(ends, bits, node, entry))
            if not (a.is_finite() and m.is_finite() and b.is_finite()):
                return None
            with ctx.workprec(bits):
                if a < 0 or b < 0 or m < 0:
                    return f"node {node}, entry {entry}, has another sign than its means say at {ends}"
                gap = side * sign * (m - ball_mean(order, a, b))
            wrong = (
                f"the mean of order {order} at node {node}, entry {entry}: {[v.str(15) for v in (a, m, b)]} at {ends}"
            )
            return wrong if gap > 0 else "" if gap <= 0 else None

        return test

    def carrier(self, i: int, values: list[Array], points: Array) -> None:
        """A monotone function of one affine node rises and falls with it."""
        carrier = self.facts[i].carrier
        if carrier is None or carrier[1] == 0 or carrier[0] == i or len(values[i]) == 1 or len(values[carrier[0]]) == 1:
            return
        f, z = (values[k].reshape(-1, STEPS, self.graph[i].numel) for k in (i, carrier[0]))
        rise = np.sign(np.diff(z, axis=1)) * np.diff(f, axis=1) * carrier[1]
        bad = np.isfinite(rise) & (rise < -TOLERANCE * (np.abs(f[:, 1:]) + np.abs(f[:, :-1])))
        self.outcome.checked += 1
        if bad.any():
            row, k, entry = np.unravel_index(int(bad.argmax()), bad.shape)
            ends = [points[row * STEPS + k], points[row * STEPS + k + 1]]
            self.suspect(self.carrier_broken(i, int(entry), carrier), ends)

    def attack(self, a: Array, m: Array, b: Array, usable: Array, scale: Array, points: Array) -> None:
        """Remember the worst violation of every property of J that is not proved."""
        for claim, gap in gaps(a, m, b, sum(self.open.values())):
            relative = np.where(usable & (scale > 0), gap / scale, -1.0)
            worst = float(relative.max())
            if worst > max(NOTABLE, self.best.get(claim, (0.0, None))[0]):
                row, t, _ = np.unravel_index(int(relative.argmax()), relative.shape)
                self.best[claim] = (worst, [points[row * STEPS + k] for k in TRIPLES[t][[0, 2]]])

    # Arb ------------------------------------------------------------------------------------------------------------
    def balls(self, point: Any, bits: int) -> list[np.ndarray]:
        whole = point if isinstance(point, dict) else {k: v[0] for k, v in self.box.split(point[None]).items()}
        return soak_balls.values(self.graph, whole, bits)

    def suspect(self, broken: Callable[[list[Any], int], str | None], points: list[Array]) -> None:
        """Settle a suspicion in Arb, at rising precision."""
        self.outcome.suspicions += 1
        if len(self.outcome.contradictions) > 3:
            return
        for bits in PRECISIONS:
            found = broken([{k: v[0] for k, v in self.box.split(p[None]).items()} for p in points], bits)
            if found is not None:
                if found:
                    self.outcome.contradictions.append(found)
                return

    def triple(self, ends: list[Any], bits: int, node: int, entry: int) -> tuple[arb, arb, arb]:
        middle = soak_balls.midpoint(ends[0], ends[1])
        a, m, b = (self.balls(p, bits)[node].reshape(-1)[entry] for p in (ends[0], middle, ends[1]))
        return a, m, b

    def claim_broken(self, node: int, entry: int, claim: int) -> Callable[[list[Any], int], str | None]:
        def test(ends: list[Any], bits: int) -> str | None:
            a, m, b = self.triple(ends, bits, node, entry)
            if not (a.is_finite() and m.is_finite() and b.is_finite()):
                return None
            with ctx.workprec(bits):
                gap = ball_gap(a, m, b, claim)
                if gap > 0:
                    values = ", ".join(v.str(20, radius=False) for v in (a, m, b))
                    return f"{NAMES[claim]} fails at node {node}, entry {entry}: values {values} at {ends}"
                return "" if gap <= 0 else None

        return test

    def interval_broken(self, node: int) -> Callable[[list[Any], int], str | None]:
        return lambda points, bits: self.outside(self.balls(points[0], bits), points[0], [node]) or ""

    def carrier_broken(self, node: int, entry: int, carrier: tuple[int, int]) -> Callable[[list[Any], int], str | None]:
        def test(points: list[Any], bits: int) -> str | None:
            runs = [self.balls(p, bits) for p in points]
            (f1, z1), (f2, z2) = ([v[k].reshape(-1)[entry] for k in (node, carrier[0])] for v in runs)
            if not all(v.is_finite() for v in (f1, f2, z1, z2)):
                return None
            rises, falls = (z2 > z1, z2 < z1) if carrier[1] > 0 else (z2 < z1, z2 > z1)
            wrong = (rises and f2 < f1) or (falls and f2 > f1)
            return (
                f"node {node}, entry {entry}, does not follow node {carrier[0]} ({carrier[1]}) at {points}"
                if wrong
                else ""
            )

        return test

    def not_constant(self, node: int) -> Callable[[list[Any], int], str | None]:
        def test(points: list[Any], bits: int) -> str | None:
            one, two = (self.balls(p, bits)[node].reshape(-1) for p in points)
            moved = any(x.is_finite() and y.is_finite() and not x.overlaps(y) for x, y in zip(one, two, strict=True))
            return f"node {node} is said not to vary, and does at {points}" if moved else ""

        return test

    def outside(self, values: list[np.ndarray], point: Any, nodes: Any) -> str | None:
        """The first node whose value lies outside its interval."""
        for i in nodes:
            if self.graph[i].op == "constant":
                continue
            bound, shape = self.facts[i].interval, self.graph[i].shape
            sides = [np.broadcast_to(v, shape).reshape(-1) for v in (bound.lower, bound.upper)]
            for v, low, high in zip(values[i].reshape(-1), *sides, strict=True):
                if v.is_finite() and (v < arb(float(low)) or v > arb(float(high))):
                    return f"node {i} has the value {v.str(25)} outside {low!r} .. {high!r} at {point}"
        return None

    def intervals_in_arb(self, points: Array) -> None:
        """All nodes at one point, drawn among the ends of the segments."""
        point = points[self.rng.integers(len(points))]
        named = {k: v[0] for k, v in self.box.split(point[None]).items()}
        found = self.outside(self.balls(named, PRECISIONS[0]), named, range(len(self.graph)))
        self.outcome.evaluated += len(self.graph)
        if found:
            self.outcome.contradictions.append(found)

    # the verdict ----------------------------------------------------------------------------------------------------
    def settle(self) -> None:
        status = {name: "proved" for name in CLAIMS if name not in self.open}
        self.outcome.affine = "convex" in status and "concave" in status
        for claim in (2, 3, 0, 1, 4, 5):  # the weakest first: what is not quasiconvex is not convex, nor log-convex
            name = NAMES[claim]
            if name in self.open:
                follows = any(status.get(NAMES[k]) == "refuted" for k in WEAKER[claim])
                found = follows or (claim in self.best and self.refuted(claim))
                status[name] = "refuted" if found else "undecided"
        self.outcome.status = status
        for name in CLAIMS:
            if status[name] == "proved":
                self.recheck(name)
                break

    def refuted(self, claim: int) -> bool:
        ends = [{k: v[0] for k, v in self.box.split(p[None]).items()} for p in self.best[claim][1]]
        a, m, b = self.triple(ends, PRECISIONS[0], self.graph.output, 0)
        with ctx.workprec(PRECISIONS[0]):
            finite = a.is_finite() and m.is_finite() and b.is_finite()
            return finite and bool(ball_gap(a, m, b, claim) > 0)

    def recheck(self, name: str) -> None:
        derivation = self.prover.proof(self.case.active, name).derivation
        plain, stored, _ = manifest_graph(self.graph, forms=True)
        self.outcome.rechecked += 1
        try:
            recheck(plain, {**{k: s.array for k, s in stored.items()}, **derivation.parts[1]}, derivation.parts[0])
        except CertificateError as error:
            self.outcome.contradictions.append(f"the kernel refuses the proof of {name}: {error}")
