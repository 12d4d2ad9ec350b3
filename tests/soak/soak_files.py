"""Certificate files, changed at random: none crashes the verifier or exceeds its limits, and what it accepts is true.

    python tests/soak/soak_files.py [--count 100000] [--seed 0] [--jobs 2]

The files are proofs and counterexamples of random objectives, and two written by hand.  What is accepted is evaluated
again: the gap of a counterexample, and every record of a proof, by floats and Arb that share nothing with the verifier.
"""

from __future__ import annotations

import contextlib
import random
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soak_balls
import torch
from certificate_samples import SAMPLES
from flint import arb, ctx, fmpq
from soak_generate import Case, objective
from soak_shares import arguments, in_shares
from soak_trial import NAMES, Trial, ball_gap
from test_certificate_mutations import mutate

from epigraph.calculus.interval import Interval
from epigraph.calculus.lattice import Facts
from epigraph.certificate import format
from epigraph.certificate.verify import verify_here
from epigraph.convexity.evidence import Court
from epigraph.convexity.prove import Prover
from epigraph.convexity.refute import Refuter
from epigraph.errors import CertificateError
from epigraph.objective.domain import Domain
from epigraph.objective.graph import Graph, Leaf, Node

SECONDS, BYTES = 2.0, 2**28  # the budget that the verifier is given
SLACK = 3.0  # seconds of processor time beyond it that a file may take


@dataclass
class Files:
    """Counts over many changed files."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0
    growth: int = 0
    seconds: float = 0.0

    def add(self, other: Files) -> None:
        self.counts += other.counts
        self.failures += other.failures
        self.slowest, self.growth = max(self.slowest, other.slowest), max(self.growth, other.growth)
        self.seconds += other.seconds

    def __str__(self) -> str:
        c = self.counts
        codes = ", ".join(f"{k} {v}" for k, v in sorted(c.items()) if k.startswith("E4"))
        return (
            f"{c['files']} changed files, {len(self.failures)} failures, {self.seconds:.0f} s of processor time\n"
            f"  refused {c['refused']}, accepted {c['accepted']} ({c['proofs']} proofs, {c['violations']} counterexamples; "
            f"{c['unsettled']} of them not settled by the second evaluator), {c['not written']} changes that cannot be written\n"
            f"  slowest {self.slowest:.2f} s (budget {SECONDS:g} s); memory grew by {self.growth / 2**20:.0f} MiB "
            f"(budget {BYTES / 2**20:.0f} MiB)\n  refusals by code: {codes}"
        )


@cache
def source(index: int) -> format.Payload:
    """A valid file: one by hand, or of a random objective: its proof, or a counterexample."""
    if index < 2:
        return SAMPLES[["exact", "arb"][index]]()
    for attempt in range(1000):
        case = objective(f"file {index} {attempt}")
        if case is None or len(case.graph) > 40:
            continue
        prover = Prover(case.graph, case.domain)
        proofs = prover.proofs(case.active)
        if index % 2 and proofs:
            return list(proofs.values())[index // 2 % len(proofs)].derivation.payload()  # type: ignore[union-attr]
        if index % 2 == 0 and not proofs:
            court = Court(case.graph, case.domain, {})
            if court.possible:
                found = Refuter(case.graph, case.domain, court).search(case.active, NAMES[:4], 0.3).certificates
                if found:
                    return next(iter(found.values())).payload
    raise RuntimeError("no objective gives such a file")


def rebuilt(payload: format.Payload) -> Graph:
    """The graph of a file, parameters by name."""
    plain, entries = payload.manifest["graph"], payload.manifest["tensors"]
    place = {n["id"]: k for k, n in enumerate(plain["nodes"])}
    nodes, leaves, parameters = [], {}, {}
    for k, node in enumerate(plain["nodes"]):
        attributes = dict(node["attributes"])
        if node["op"] == "parameter":
            parameters[attributes["name"]] = torch.zeros(node["shape"], dtype=torch.float64)
        elif "tensor" in attributes:
            key = attributes["tensor"]
            leaves[key] = Leaf(torch.from_numpy(np.array(values(payload, key))), entries[key]["role"])
        nodes.append(Node(k, node["op"], tuple(place[i] for i in node["inputs"]), attributes, tuple(node["shape"])))
    return Graph(tuple(nodes), place[plain["output"]], leaves, parameters)


def values(payload: format.Payload, key: str) -> np.ndarray:
    """A tensor of the file, written out or filled."""
    entry = payload.manifest["tensors"][key]
    if "fill" in entry:
        return np.full(entry["shape"], float.fromhex(entry["fill"]))
    return payload.base[key]


def as_case(payload: format.Payload) -> tuple[Case, list[Facts]]:
    """A proof's graph, box and active parameters, and the facts that its records state."""
    graph, claim = rebuilt(payload), payload.manifest["claim"]

    def read(value: Any) -> Any:
        if isinstance(value, Mapping):
            return np.asarray(values(payload, value["tensor"]), dtype=np.float64)
        return float.fromhex(value)

    sides: list[dict[str, torch.Tensor]] = [{}, {}]
    for name, pair in claim["domain"].items():
        for side, value in zip(sides, pair, strict=True):
            if value is not None and name in graph.parameters:
                side[name] = torch.tensor(np.array(read(value)), dtype=torch.float64)
    facts = []
    for node in graph:
        record = claim["nodes"].get(str(node.id))
        if record is None:  # a node that J does not need
            facts.append(Facts(0, Interval(-np.inf, np.inf)))
            continue
        bits = (
            record["bits"] if isinstance(record["bits"], int) else np.array(values(payload, record["bits"]["tensor"]))
        )
        bound = Interval(read(record["lower"]), read(record["upper"]))
        carrier = None if record["carrier"] is None else (record["carrier"][0], record["carrier"][1])
        facts.append(Facts(bits, bound, carrier, -1, record["varies"]))
    active = tuple(n for n in claim["active"] if n in graph.parameters)
    return Case(graph, Domain(*sides), active, "file"), facts


def contradiction(payload: format.Payload, name: str) -> str | None:
    """What a second evaluator has against an accepted file; "" where it does not settle the matter, None where all is well."""
    if payload.manifest["claim"]["form"] == "derivation":
        case, facts = as_case(payload)
        if not all(n.numel for n in case.graph) or not case.active:
            return ""
        goal = NAMES.index(payload.manifest["claim"]["property"])
        if not facts[case.graph.output].has(1 << goal):
            return "the output's record does not state the property"
        trial = Trial(case, name, facts)
        trial.recheck = lambda _: None  # type: ignore[method-assign]
        found = trial.run().contradictions
        return found[0] if found else None
    return false_gap(payload)


def false_gap(payload: format.Payload) -> str | None:
    """Is J(m) - (J(a) + J(b))/2, or its like, at least what the file says?"""
    claim, graph = payload.manifest["claim"], rebuilt(payload)
    stated = Fraction(int(claim["gap_lower"]["num"])) / Fraction(2) ** claim["gap_lower"]["den_log2"]
    keys = {n.attributes["name"]: n.attributes["tensor"] for n in graph if n.op == "parameter"}
    for bits in (320, 1500, 6000):
        with ctx.workprec(bits + 2500):
            points = [{n: _moved(payload, k, sign) for n, k in keys.items()} for sign in (1, 0, -1)]
        a, m, b = (soak_balls.values(graph, p, bits)[graph.output].reshape(-1)[0] for p in points)
        with ctx.workprec(bits):
            room = ball_gap(a, m, b, NAMES.index(claim["property"])) - arb(fmpq(stated.numerator, stated.denominator))
        if room > 0 or room == 0:
            return None
        if room < 0:
            return f"the gap is {(room + 0).str(10)} short of the stated {float(stated):.6g}"
    return ""


def _moved(payload: format.Payload, key: str, sign: int) -> np.ndarray:
    base = soak_balls.lift(np.asarray(values(payload, key), dtype=np.float64))
    if key not in payload.delta or not sign:
        return base
    unit = arb(2) ** payload.manifest["delta"][key]["scale_log2"]
    steps = soak_balls.lift(payload.delta[key].astype(np.float64))
    return soak_balls.each(lambda x, k: x + sign * k * unit, base, steps)


def one(index: int, seed: int, path: Path, files: Files, sources: int) -> None:
    name = f"{seed} {index}"
    rng = random.Random(name)
    payload = source(rng.randrange(sources))
    try:
        mutate(rng, payload, path)
    except (TypeError, AttributeError, KeyError, ValueError, OverflowError):
        files.counts["not written"] += 1
        return
    files.counts["files"] += 1
    before = time.process_time()
    try:
        result = verify_here(path, budget_seconds=SECONDS, budget_bytes=BYTES)
    except CertificateError as error:
        files.counts["refused"] += 1
        files.counts[error.code] += 1
        result = None
    took = time.process_time() - before
    files.slowest = max(files.slowest, took)
    if took > SECONDS + SLACK:
        files.failures.append(f"file {name}: {took:.1f} s")
    if result is None:
        return
    files.counts["accepted"] += 1
    accepted = format.read(path)
    files.counts["proofs" if result.form == "derivation" else "violations"] += 1
    wrong = contradiction(accepted, name)
    if wrong:
        files.failures.append(f"file {name}: {wrong}\n{dict(accepted.manifest)}")
    files.counts["unsettled"] += wrong == ""


def some(task: tuple[int, range, int]) -> Files:
    seed, indices, sources = task
    files, began, held = Files(), time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as directory:
        for index in indices:
            try:
                one(index, seed, Path(directory) / "mutant.epi", files, sources)
            except Exception as error:  # the verifier answers every file with a result or a CertificateError
                where = traceback.extract_tb(error.__traceback__)[-1]
                text = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
                files.failures.append(f"file {seed} {index}: {text}")
    files.growth = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held)
    if files.growth > BYTES:
        files.failures.append(f"files {seed} {indices}: memory grew by {files.growth / 2**20:.0f} MiB")
    files.seconds = time.process_time() - began
    return files


def survey(count: int, seed: int, jobs: int, sources: int = 200) -> Iterator[Files]:
    """The counts so far, after each share."""
    share = max(1, min(5000, count // max(1, jobs)))
    tasks = [(seed, range(i, min(i + share, count)), sources) for i in range(0, count, share)]
    yield from in_shares(some, tasks, jobs, Files())


def main() -> None:
    parser = arguments(__doc__)
    options = parser.parse_args()
    began, shown, files = time.monotonic(), 0, Files()
    with contextlib.suppress(KeyboardInterrupt):  # a run that is stopped says what it has seen
        for files in survey(options.count, options.seed, options.jobs):
            for text in files.failures[shown:]:
                print(f"\nFAILURE {text}\n", flush=True)
            shown = len(files.failures)
            print(f"{files.counts['files']} files, {shown} failures", flush=True)
    print(f"\nseed {options.seed}, {options.jobs} at a time, {time.monotonic() - began:.0f} s on the clock\n{files}")
    sys.exit(bool(files.failures))


if __name__ == "__main__":
    main()
