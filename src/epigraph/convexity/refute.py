"""The refuter: searches from cheap to dear, each finding confirmed in exact arithmetic before it counts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any, final

import torch
from torch import Tensor

from epigraph.convexity import quiet, search
from epigraph.convexity.evidence import Court
from epigraph.convexity.rounding import Rounded, decimal
from epigraph.convexity.search import Candidate, Hint, View
from epigraph.convexity.verdict import Certificate
from epigraph.objective.domain import Domain
from epigraph.objective.evaluate import Evaluator
from epigraph.objective.graph import Graph

Offer = dict[str, tuple[View, Candidate]]
Program = Callable[[dict[str, Tensor]], float]

ROUNDING = 1e-12  # violations below this share of |J| are at the level of rounding in the data
STRONG = 1e-3  # a relative defect that is worth confirming before other scales are searched
CANCELLED = 1e-6  # a J this small may be what is left of larger terms that cancel
LARGE_BLOCK = 200_000  # blocks with more entries are left out of a product's tail where smaller ones exist
QUIET = 1e7  # above, points where most weights are zero come first: cheap to confirm, but their violations are small
SMALL = 3e4  # entries that one evaluation touches: below, random lines are cheap


@final
@dataclass
class Found:
    """What a search has established: certificates by property, and what was seen but not confirmed."""

    certificates: dict[str, Certificate] = field(default_factory=dict)
    hidden: dict[str, Certificate] = field(
        default_factory=dict
    )  # confirmed, but not visible in the program's own arithmetic
    notes: list[str] = field(default_factory=list)
    tried: int = 0


@final
class Refuter:
    """Looks for violations of J's properties in some blocks; the others may take any value of the domain."""

    def __init__(self, graph: Graph, domain: Domain, court: Court, seed: int = 0, program: Program | None = None):
        self.program = program
        single = any(v.dtype != torch.float64 for v in graph.parameters.values())
        self.visible = 1e-3 if single else 1e-10
        self.rounding = 3e-7 if single else ROUNDING  # float32 data are rounded more coarsely
        self.graph, self.domain, self.court, self.seed = graph, domain, court, seed
        self.work = sum(n.numel for n in graph)
        self.hints: dict[str, Hint] = {}  # by property: a point and a direction at which it may fail

    @cached_property
    def point(self) -> dict[str, Tensor]:
        """The user's parameters in float64, inside the domain."""
        return {k: self._interior(k, v.detach().double()) for k, v in self.graph.parameters.items()}

    def _interior(self, name: str, value: Tensor) -> Tensor:
        """The nearest point inside the box, off its boundary."""
        far = torch.tensor(math.inf, dtype=torch.float64)
        low, high = search.drawn_in(self.domain.lower.get(name, -far), self.domain.upper.get(name, far))
        return torch.minimum(torch.maximum(value, low), high)

    def search(self, active: Sequence[str], kinds: Sequence[str], seconds: float, looked: Found | None = None) -> Found:
        """Certificates for as many of the properties as are found to fail within the time, after what ``look`` has found."""
        found, wanted = looked or Found(), [k for k in kinds if k in search.KINDS]
        deadline = time.monotonic() + seconds
        self.grace = min(40.0, 3 * seconds)  # a candidate in hand may be decided a while after the search has ended
        for offered in self._without_failures(
            self._offers(tuple(active), wanted, deadline, found, looked is None), found
        ):
            self._confirm_all({k: o for k, o in offered.items() if k not in found.certificates}, deadline, found)
            if all(k in found.certificates for k in wanted) or time.monotonic() > deadline:
                break
        for kind in wanted:
            if kind not in found.certificates and kind in found.hidden:
                found.certificates[kind] = found.hidden[kind]
                found.notes.append(
                    f"the violation of {kind} is one of the real function: PyTorch's rounding hides it at these points"
                )
        return found

    @staticmethod
    def _without_failures(offers: Iterator[Offer], found: Found) -> Iterator[Offer]:
        """An operator without a derivative ends the search, with a note; what has been found stays."""
        try:
            yield from offers
        except (RuntimeError, NotImplementedError) as error:
            found.notes.append(
                f"the search for counterexamples ended early: {str(error).strip().splitlines()[0][:160]}"
            )

    def look(self, active: Sequence[str], kinds: Sequence[str], seconds: float) -> Found:
        """Random lines alone, where they are cheap: what fails plainly shows before any lemma is tried."""
        found, wanted = Found(), [k for k in kinds if k in search.KINDS]
        if self.work < SMALL:
            self.grace = min(40.0, 3 * seconds)
            self._along_lines(active, wanted, self.seed, 2, seconds, found)
        return found

    def glance(self, active: Sequence[str], kinds: Sequence[str]) -> dict[str, Certificate]:
        """One short round of lines against properties that have been proved: nothing should be found."""
        found = Found()
        self.grace = 5.0
        self._along_lines(active, kinds, self.seed + 1, 1, 1.0, found)
        return found.certificates

    def _along_lines(
        self, active: Sequence[str], kinds: Sequence[str], seed: int, rounds: int, seconds: float, found: Found
    ) -> None:
        generator, deadline = torch.Generator().manual_seed(seed), time.monotonic() + seconds

        def open_kinds() -> list[str]:
            return [k for k in kinds if k not in found.certificates]

        lines = self._lines(tuple(active), open_kinds, generator, rounds, deadline)
        for offered in self._without_failures(lines, found):
            self._confirm_all({k: o for k, o in offered.items() if k in open_kinds()}, deadline, found)

    def _shows(self, made: Certificate, rounded: Rounded) -> bool:
        """Does the user's own program show the violation in its floating point, so that anyone can look?"""
        if self.program is None or made.relative_gap < self.visible:
            return True
        if rounded.seen is None:
            try:
                rounded.seen = [self.program(dict(point)) for point in (made.a, made.m, made.b)]
            except Exception:  # a program may refuse points, as a distribution of negative scale does
                rounded.seen = [math.nan] * 3
        defect = search.defects(*(torch.tensor(v, dtype=torch.float64) for v in rounded.seen))[made.kind]
        return float(defect) > 0

    # the searches, cheapest first -------------------------------------------------------------------------------
    def _offers(
        self, active: tuple[str, ...], kinds: Sequence[str], deadline: float, found: Found, lines: bool
    ) -> Iterator[Offer]:
        generator = torch.Generator().manual_seed(self.seed)

        def open_kinds() -> list[str]:
            return [k for k in kinds if k not in found.certificates]

        yield from self._hinted(active, open_kinds())
        small = self.work < SMALL
        if small and lines:
            yield from self._lines(active, open_kinds, generator, 2, deadline)
        pairs = products(self.graph, active)
        if self.work > QUIET:
            yield from quiet.offers(quiet.views(self.graph, self.domain, pairs), open_kinds, generator, deadline)
        for head, tail in pairs:
            if time.monotonic() > deadline or not open_kinds():
                return
            yield from self._at_product(head, tail, open_kinds, generator)
        if not open_kinds() or time.monotonic() > deadline:
            return
        view = self._view(active)
        if not small:
            yield from self._lines(active, open_kinds, generator, 1, deadline, view)
        for kind in ("convex", "concave"):
            if kind in open_kinds() and time.monotonic() < deadline and view.size <= 200_000:
                candidate = search.ascent(view, kind, generator)
                yield {} if candidate is None else {kind: (view, candidate)}
        if open_kinds() and time.monotonic() < deadline and view.size <= 3e6:
            yield _with(view, search.ritz(view, open_kinds(), generator))
        if small and open_kinds():
            yield from self._lines(active, open_kinds, generator, 4, deadline)

    def _hinted(self, active: tuple[str, ...], kinds: Sequence[str]) -> Iterator[Offer]:
        """Where a proof has failed for want of curvature."""
        for kind in [k for k in self.hints if k in kinds]:
            view = self._view(active)
            yield _with(view, search.along(view, *self.hints[kind], kind))

    def _lines(
        self,
        active: tuple[str, ...],
        open_kinds: Any,
        generator: torch.Generator,
        rounds: int,
        deadline: float,
        view: View | None = None,
    ) -> Iterator[Offer]:
        """Random lines; for a part of the blocks the rest is moved to another random point from time to time."""
        for round_ in range(rounds):
            if view is None or (round_ and len(active) < len(self.point)):
                view = self._view(active, self.elsewhere(active, generator) if round_ else None)
            best: dict[str, Candidate] = {}
            for rung in search.lines(view, open_kinds(), generator, 1, 4e7 / view.work):
                yield _with(view, {k: c for k, c in rung.items() if c.defect > STRONG})
                search._merge(best, rung)
                if time.monotonic() > deadline or not open_kinds():
                    return
            yield _with(view, best)
            if not open_kinds() or time.monotonic() > deadline:
                return

    def _at_product(
        self, head: tuple[str, ...], tail: tuple[str, ...], open_kinds: Any, generator: torch.Generator
    ) -> Iterator[Offer]:
        moving = (*tail, *head)
        view = self._view(moving)
        yield _with(view, search.product_direction(view, head, open_kinds(), generator))
        if open_kinds():
            yield _with(view, search.symmetric(view, open_kinds()))
        if open_kinds():
            best: dict[str, Candidate] = {}
            for rung in search.lines(view, open_kinds(), generator, 1, 2e7 / view.work):
                search._merge(best, rung)
                if all(k in best for k in open_kinds()):
                    break
            yield _with(view, best)

    def _view(self, active: Sequence[str], fixed: Mapping[str, Tensor] | None = None) -> View:
        point = {**self.point, **(fixed or {})}
        evaluator = Evaluator(self.graph, active, point)
        raw = self.graph.parameters
        held = {k: v for k, v in point.items() if k not in active and not torch.equal(v, raw[k].detach().double())}
        return View(evaluator, {n: point[n] for n in active}, self.domain, held)

    def elsewhere(self, active: Sequence[str], generator: torch.Generator) -> dict[str, Tensor]:
        """The blocks that are held, at another point of the domain."""
        out = {}
        for name, value in self.point.items():
            if name not in active:
                noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
                out[name] = self._interior(name, torch.round((value + noise) * 2.0**20) / 2.0**20)
        return out

    # from a candidate to a certificate -----------------------------------------------------------------------------
    def _confirm_all(self, offered: Mapping[str, tuple[View, Candidate]], deadline: float, found: Found) -> None:
        """Round each candidate to exact dyadic points, look again in floats, then decide exactly, equal midpoints together."""
        groups: list[dict[str, tuple[Candidate, Rounded]]] = []
        known: list[Rounded] = []
        for kind, (view, candidate) in sorted(offered.items()):
            found.tried += 1
            rounded = next((r for r in known if r.serves(view, candidate)), None)
            if rounded is None:
                known.append(rounded := Rounded.of(view, candidate))
            if float(rounded.defects[kind]) <= search.NOISE:
                continue
            for group in groups:
                if next(iter(group.values()))[1].same_midpoint(rounded):
                    group[kind] = (candidate, rounded)
                    break
            else:
                groups.append({kind: (candidate, rounded)})
        for group in groups:
            first = next(iter(group.values()))[1]
            seconds = max(self.grace, deadline - time.monotonic())
            decided = self.court.certify(first.everywhere, {k: r.steps for k, (_, r) in group.items()}, seconds)
            for kind, (certified, payload) in decided.items():
                self._accept(*group[kind], certified, payload, found)

    def _accept(self, candidate: Candidate, rounded: Rounded, certified: Any, payload: Any, found: Found) -> None:
        """Keep a certificate, unless its gap is at the level of rounding in the data."""
        scale = max(abs(v) for v in certified.values.values())
        if scale < CANCELLED:
            points = (rounded.middle + sign * rounded.move for sign in (-1, 0, 1))
            scale = max(scale, *(rounded.view.summands(p) for p in points))
        relative = float(certified.gap / Fraction(scale)) if scale > 0 and math.isfinite(scale) else 0.0
        if relative < self.rounding:
            if not any(candidate.kind in note for note in found.notes):
                found.notes.append(
                    f"a violation of {candidate.kind} exists at the level of rounding in the data (gap "
                    f"{float(certified.gap):.2g}, {relative:.1g} of the terms of J); it is not counted as a refutation"
                )
            return
        made = self._certificate(candidate, rounded, certified, payload, relative)
        if self._shows(made, rounded):
            found.certificates[candidate.kind] = made
        else:
            found.hidden.setdefault(candidate.kind, made)

    def _certificate(
        self, candidate: Candidate, rounded: Rounded, certified: Any, payload: Any, relative: float
    ) -> Certificate:
        a, b, m = rounded.points(self.graph.parameters)
        return Certificate(
            kind=candidate.kind,
            a=a,
            b=b,
            m=m,
            gap=decimal(certified.gap),
            relative_gap=relative,
            values=dict(certified.values),
            arithmetic=certified.arithmetic,
            precision_bits=certified.precision_bits,
            refuter=candidate.refuter,
            blocks=tuple(n for n in rounded.view.names),
            profile=rounded.profile,
            payload=payload,
        )


def _with(view: View, candidates: Mapping[str, Candidate]) -> dict[str, tuple[View, Candidate]]:
    return {k: (view, c) for k, c in candidates.items()}


def products(
    graph: Graph, active: Sequence[str], limit: int = 3, tail_limit: int = 2
) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Pairs (head, tail) of blocks whose tensors are multiplied, nearest to the output first.

    The head is the factor that depends on fewest blocks; the tail the blocks of the other factor that enter last.
    """
    leaves = _leaf_sets(graph, set(active))
    entry: dict[str, int] = {}
    for node in graph:
        for i in node.inputs:
            if graph[i].op == "parameter":
                entry[graph[i].attributes["name"]] = node.id
    found: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
    for node in reversed(graph.nodes):
        if node.op not in ("matmul", "convolution", "mul", "div") or len(node.inputs) != 2:
            continue
        sides = sorted((leaves[i] for i in node.inputs), key=len)
        if not sides[0]:
            continue
        head = tuple(sorted(sides[0], key=lambda n: -entry.get(n, 0)))[:2]
        nearest = sorted(sides[1] - set(head), key=lambda n: -entry.get(n, 0))
        tail = tuple(n for n in nearest if graph.parameters[n].numel() <= LARGE_BLOCK)[:tail_limit] or tuple(
            nearest[:1]
        )
        if tail and (head, tail) not in found:
            found.append((head, tail))
        if len(found) >= limit:
            break
    return found


def _leaf_sets(graph: Graph, active: set[str]) -> list[frozenset[str]]:
    out: list[frozenset[str]] = []
    for node in graph:
        if node.op == "parameter":
            name = node.attributes["name"]
            out.append(frozenset([name] if name in active else []))
        elif len(node.inputs) == 1:
            out.append(out[node.inputs[0]])
        else:
            out.append(frozenset().union(*(out[i] for i in node.inputs)))
    return out
