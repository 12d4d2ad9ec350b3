"""Many random objectives on trial, in several processes; every contradiction is printed with the code that builds it.

    python tests/soak/soak_run.py [--count 100000] [--seed 0] [--jobs 2] [--torch 100] [--refute 20]

Each objective goes through the prover, the kernel and the trial by evaluation; one in ``--refute`` through the package's
own refuter as well, one in ``--torch`` through PyTorch, capture and the whole of ``check``.
"""

from __future__ import annotations

import contextlib
import random
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soak_show
import soak_torch
from soak_generate import Case, objective
from soak_shares import arguments, in_shares
from soak_trial import NAMES, Trial

from epigraph.convexity.evidence import Court
from epigraph.convexity.prove import CLAIMS
from epigraph.convexity.refute import Refuter
from epigraph.errors import EpigraphError

CLAIMED = tuple(CLAIMS)


@dataclass
class Summary:
    """Counts over many objectives, and the texts of the contradictions."""

    counts: Counter[str] = field(default_factory=Counter)
    status: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, other: Summary) -> None:
        self.counts += other.counts
        self.status += other.status
        self.failures += other.failures
        self.seconds += other.seconds

    def __str__(self) -> str:
        c, n = self.counts, max(1, self.counts["objectives"])
        lines = [
            f"{n} objectives, {len(self.failures)} contradictions, {self.seconds:.0f} s of processor time "
            f"({1e3 * self.seconds / n:.1f} ms each), {c['not made']} draws made none",
            f"  proved something that is not plain affinity: {c['proved'] / n:.1%}; affine: {c['affine'] / n:.1%}; "
            f"nothing proved, something refuted: {c['refuted'] / n:.1%}; all open: {c['open'] / n:.1%}",
            f"  {c['claims']} claims about nodes tried, {c['values']} values held against intervals in Arb, "
            f"{c['suspicions']} suspicions settled in Arb, {c['rechecked']} proofs re-checked by the kernel",
            f"  refuter: {c['glances']} proved objectives attacked, {c['searches']} searches; PyTorch: {c['captured']} "
            f"captured and checked, {c['refused']} refused, {c['certificates']} certificates evaluated",
            f"  {'claim':<14}{'proved':>9}{'refuted':>9}{'undecided':>11}",
        ]
        for name in CLAIMED:
            lines.append(f"  {name:<14}" + "".join(f"{self.status[name, w] / n:>{k}.1%}" for w, k in
                         (("proved", 9), ("refuted", 9), ("undecided", 11))))  # fmt: skip
        return "\n".join(lines)


def one(seed: int, index: int, summary: Summary, with_torch: int, with_refuter: int) -> None:
    name = f"{seed} {index}"
    case = objective(name)
    if case is None:
        summary.counts["not made"] += 1
        return
    trial = Trial(case, name)
    outcome = trial.run()
    c, found = summary.counts, list(outcome.contradictions)
    c["objectives"] += 1
    c["claims"] += outcome.checked
    c["values"] += outcome.evaluated
    c["suspicions"] += outcome.suspicions
    c["rechecked"] += outcome.rechecked
    words = set(outcome.status.values())
    c[
        "affine" if outcome.affine else "proved" if "proved" in words else "refuted" if "refuted" in words else "open"
    ] += 1
    summary.status.update(outcome.status.items())
    if with_refuter and index % with_refuter == 0:
        found += refuter_against(trial, summary)
    if with_torch and index % with_torch == 0:
        found += whole_path(name, case, summary)
    if found:
        small = soak_show.smaller(case, lambda k: any(Trial(k, f"{name} {i}").run().contradictions for i in range(4)))
        summary.failures.append(f"objective {name}: {found[0]}\n{soak_show.code(small)}\n# active: {small.active}")


def refuter_against(trial: Trial, summary: Summary) -> list[str]:
    """The package's refuter against what has been proved, and a short search for the rest."""
    graph, case, status = trial.graph, trial.case, trial.outcome.status
    refuter = Refuter(graph, case.domain, Court(graph, case.domain, {}))
    proved = [k for k in NAMES[:4] if status[k] == "proved"]
    if proved:
        summary.counts["glances"] += 1
        wrong = refuter.glance(case.active, proved)
        return [f"the refuter has a certificate against the proved {k}" for k in wrong]
    summary.counts["searches"] += 1
    refuter.search(case.active, NAMES[:4], 0.05)
    return []


def whole_path(name: str, case: Case, summary: Summary) -> list[str]:
    """As a PyTorch function through capture and ``check``; the captured graph goes on trial too."""
    draws = (objective(f"{name} torch {k}") for k in range(200))
    case = next((k for k in draws if k is not None and soak_torch.writable(k.graph)), case)
    if not soak_torch.writable(case.graph):
        return []
    rng = np.random.default_rng(random.Random(name).getrandbits(60))
    try:
        J = soak_torch.objective(case, rng)
        graph = J.graph()
    except EpigraphError:
        summary.counts["refused"] += 1
        return []
    summary.counts["captured"] += 1
    captured = Case(graph, J.domain, case.active, case.style)
    trial = Trial(captured, name)
    found = list(trial.run().contradictions)
    points = trial.box.inside(rng.normal(size=(4, len(trial.box.lower))) * [[0.3], [1], [3], [30]])
    other = soak_torch.another_function(
        case, graph, [{k: v[i] for k, v in trial.box.split(points).items()} for i in range(4)]
    )
    found += [other] if other else []
    verdict = soak_torch.verdict(J, case, 0.1)
    summary.counts["certificates"] += len(verdict.certificates)
    unconfirmed = soak_torch.against_certificates(verdict, graph)
    found += [unconfirmed] if unconfirmed else []
    direct = Trial(case, name).run().status
    for claim in CLAIMED:
        words = {getattr(verdict, claim), trial.outcome.status[claim], direct[claim]}
        if {"proved", "refuted"} <= words:
            found.append(
                f"{claim}: check says {getattr(verdict, claim)}, the trials {trial.outcome.status[claim]} and {direct[claim]}"
            )
    found += [n for n in verdict.notes if "contradiction" in n or "does not accept" in n]
    return [f"as a PyTorch function (draw {name}): {f}\n{soak_show.code(case)}" for f in found]


def some(task: tuple[int, range, int, int]) -> Summary:
    """One share of the objectives, in a process of its own."""
    seed, indices, with_torch, with_refuter = task
    summary, began = Summary(), time.process_time()
    for index in indices:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                one(seed, index, summary, with_torch, with_refuter)
        except Exception as error:  # a crash of the package is a failure like others, and must not end the run
            where = traceback.extract_tb(error.__traceback__)[-1]
            text = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
            summary.failures.append(f"objective {seed} {index}: {text}")
    summary.seconds = time.process_time() - began
    return summary


def survey(count: int, seed: int, jobs: int, with_torch: int = 100, with_refuter: int = 20) -> Iterator[Summary]:
    """The summary so far, after each share."""
    share = max(1, min(500, count // max(1, jobs)))
    tasks = [(seed, range(i, min(i + share, count)), with_torch, with_refuter) for i in range(0, count, share)]
    yield from in_shares(some, tasks, jobs, Summary())


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--torch", type=int, default=100, help="one in so many through PyTorch and check; 0 for none")
    parser.add_argument("--refute", type=int, default=20, help="one in so many through the refuter; 0 for none")
    options = parser.parse_args()
    began, shown, summary = time.monotonic(), 0, Summary()
    with contextlib.suppress(KeyboardInterrupt):  # a run that is stopped says what it has seen
        for summary in survey(options.count, options.seed, options.jobs, options.torch, options.refute):
            for text in summary.failures[shown:]:
                print(f"\nCONTRADICTION {text}\n", flush=True)
            shown = len(summary.failures)
            drawn = summary.counts["objectives"] + summary.counts["not made"]
            if drawn % 5000 == 0:
                print(f"{drawn} of {options.count} drawn, {shown} contradictions", flush=True)
    print(f"\nseed {options.seed}, {options.jobs} at a time, {time.monotonic() - began:.0f} s on the clock\n{summary}")
    sys.exit(bool(summary.failures))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
