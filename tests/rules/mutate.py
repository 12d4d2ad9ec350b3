"""Do the tests of the rules notice when a rule is wrong?  Changes one place at a time and runs them.

    python tests/rules/mutate.py [--jobs 2] [--sample 300] [--seed 0] [--only kinked] [--least 97]

Signs, comparisons, claims, bounds and constants in ``epigraph.calculus`` are changed by machine (``mutants.py``).  The
tests are collected once; each mutant is run in a forked child, into which the changed code is transplanted, and the
tests that call the changed function are run, those first that have noticed a change near by.  What survives is run
against all tests once more.  A mutant is killed when a test fails or does not end; what survives is printed with its line,
unless ``equivalent.py`` says why the change is none.  Sentences for people are not changed, and neither are constants
that trade time for tightness (``mutants.NEUTRAL``).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pickle
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from equivalent import reason_why_equivalent
from mutants import CALCULUS, FILES, Mutant, mutants
from transplant import Unimportable, transplant

HERE = Path(__file__).resolve().parent
NOTICED, UNNOTICED, BROKEN = 1, 0, 3


@dataclass
class Run:
    """One child: a mutant, its tests, and where it says which test failed."""

    mutant: Mutant
    tests: list[int]
    reads: int
    began: float
    whole: bool


@dataclass
class Laboratory:
    """Runs the collected tests on mutants; a plugin of pytest, which hands it the tests."""

    options: argparse.Namespace
    failed: bool = False
    calls: dict[int, set[tuple[str, int]]] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    kills: Counter[tuple[Any, int]] = field(default_factory=Counter)
    survivors: list[Mutant] = field(default_factory=list)
    excused: Counter[str] = field(default_factory=Counter)
    total: int = 0
    done: int = 0

    # pytest's side ----------------------------------------------------------------------------------------------
    def pytest_runtest_logreport(self, report: Any) -> None:
        self.failed |= report.failed

    def pytest_runtestloop(self, session: Any) -> bool:
        self.items = session.items
        found = [m for name in FILES if self.options.only in name for m in mutants(name) if self.options.text in m.text]
        self.total, size = len(found), min(self.options.sample or len(found), len(found))
        chosen = random.Random(self.options.seed).sample(found, size)
        print(f"{self.total} mutants, {size} of them run with {len(self.items)} tests", flush=True)
        self.calls, self.seconds = self.observe()
        with contextlib.suppress(KeyboardInterrupt):  # a run that is stopped says what it has seen
            self.survey(chosen)
        return True

    def protocol(self, tests: Sequence[int]) -> Iterator[int]:
        """Run tests one by one; yields each after it has passed or failed."""
        for k, index in enumerate(tests):
            following = self.items[tests[k + 1]] if k + 1 < len(tests) else None
            self.items[index].config.hook.pytest_runtest_protocol(item=self.items[index], nextitem=following)
            yield index

    # children ---------------------------------------------------------------------------------------------------
    def observe(self) -> tuple[dict[int, set[tuple[str, int]]], dict[int, float]]:
        """In a child: which functions of the calculus each test calls, and its seconds."""
        reads, writes = os.pipe()
        child = os.fork()
        if child:
            os.close(writes)
            with os.fdopen(reads, "rb") as stream:
                out = pickle.load(stream)
            if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
                sys.exit("the tests fail without a change")
            return out
        hushed()
        seen: set[tuple[str, int]] = set()
        mark = str(CALCULUS)

        def watch(frame: Any, event: str, _: object) -> None:
            code = frame.f_code
            if event == "call" and code.co_filename.startswith(mark):
                seen.add((code.co_filename, code.co_firstlineno))

        calls, seconds = {}, {}
        for index in range(len(self.items)):
            seen.clear()
            began = time.process_time()
            sys.setprofile(watch)
            list(self.protocol([index]))
            sys.setprofile(None)
            calls[index], seconds[index] = set(seen), time.process_time() - began
        with os.fdopen(writes, "wb") as stream:
            pickle.dump((calls, seconds), stream)
        os._exit(BROKEN if self.failed else 0)

    def start(self, mutant: Mutant, whole: bool) -> tuple[int, Run]:
        tests = self.order(mutant, whole)
        reads, writes = os.pipe()
        child = os.fork()
        if child:
            os.close(writes)
            return child, Run(mutant, tests, reads, time.monotonic(), whole)
        hushed()
        try:
            transplant(mutant)
        except Unimportable:
            os._exit(NOTICED)
        except BaseException:
            os._exit(BROKEN)
        try:
            for index in self.protocol(tests):
                if self.failed:
                    os.write(writes, str(index).encode())
                    os._exit(NOTICED)
        except BaseException:  # a fixture or a hook that the change breaks
            os._exit(NOTICED)
        os._exit(UNNOTICED)

    def order(self, mutant: Mutant, whole: bool) -> list[int]:
        """The tests that call the changed function, or all; first those that noticed changes of it, then the short ones."""
        path = str(CALCULUS / f"{mutant.module}.py")
        touching = [i for i, seen in self.calls.items() if (path, mutant.function) in seen]
        chosen = list(self.calls) if whole or not touching else touching
        here, near = (mutant.module, mutant.function), mutant.module

        def rank(i: int) -> tuple[int, int, float]:
            return -self.kills[(here, i)], -self.kills[(near, i)], self.seconds[i]

        return sorted(chosen, key=rank)

    # the survey -------------------------------------------------------------------------------------------------
    def survey(self, chosen: list[Mutant]) -> None:
        running: dict[int, Run] = {}
        waiting = [(m, False) for m in reversed(chosen)]
        while waiting or running:
            while waiting and len(running) < self.options.jobs:
                child, run = self.start(*waiting.pop())
                running[child] = run
            time.sleep(0.01)
            for child, run in list(running.items()):
                ended, status = os.waitpid(child, os.WNOHANG)
                if not ended and time.monotonic() - run.began > self.options.timeout:
                    os.kill(child, signal.SIGKILL)
                    ended, status = os.waitpid(child, 0)
                if not ended:
                    continue
                del running[child]
                if self.learn(run, status):
                    waiting.insert(0, (run.mutant, True))
                    continue
                self.done += 1
                if self.done % 100 == 0:
                    print(f"{self.done} of {len(chosen)}, {len(self.survivors)} survive", flush=True)

    def learn(self, run: Run, status: int) -> bool:
        """Take note of what a child found; True where the mutant has to face all tests."""
        with os.fdopen(run.reads, "rb") as stream:
            said = stream.read()
        if said:
            self.kills[((run.mutant.module, run.mutant.function), int(said))] += 1
            self.kills[(run.mutant.module, int(said))] += 1
        ended = os.WEXITSTATUS(status) if os.WIFEXITED(status) else NOTICED  # out of time, or a crash
        if ended == BROKEN:
            print(f"cannot be put in place  {run.mutant}", flush=True)
            self.survivors.append(run.mutant)
        if ended != UNNOTICED:
            return False
        if why := reason_why_equivalent(run.mutant):
            self.excused[why] += 1
            return False
        if len(run.tests) < len(self.items):
            return True
        self.survivors.append(run.mutant)
        print(f"survives  {run.mutant}", flush=True)
        return False


def hushed() -> None:
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--sample", type=int, default=0, help="this many mutants, drawn by chance; 0 for all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="files whose name contains this")
    parser.add_argument("--tests", default="", help="test files whose name contains this")
    parser.add_argument("--text", default="", help="lines that contain this")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for one mutant")
    parser.add_argument("--least", type=float, default=97.0, help="exit 1 below this percentage")
    options = parser.parse_args()
    os.environ["HYPOTHESIS_PROFILE"] = "ci"
    import pytest
    import torch

    torch.set_num_threads(1)
    began, laboratory = time.monotonic(), Laboratory(options)
    arguments = ["-q", "-s", "-p", "no:cacheprovider", "-p", "no:timeout", "-p", "no:xdist", "-W", "ignore"]
    arguments += [
        str(p) for p in sorted(HERE.glob("test_rules_*.py")) if options.tests in p.name and "mutation" not in p.name
    ]
    pytest.main(arguments, plugins=[laboratory])
    size, survive, excused = laboratory.done, len(laboratory.survivors), sum(laboratory.excused.values())
    counted = max(1, size - excused)
    score = 100 * (counted - survive) / counted
    print(f"\n{size} of {laboratory.total} mutants run in {time.monotonic() - began:.0f} s, {options.jobs} at a time")
    for why, count in laboratory.excused.most_common():
        print(f"  {count} are no change: {why}")
    print(
        f"{counted - survive} of {counted} killed: {score:.1f} %; of all {size}: {100 * (1 - (survive + excused) / max(1, size)):.1f} %"
    )
    sys.exit(size == 0 or score < options.least)


if __name__ == "__main__":
    main()
