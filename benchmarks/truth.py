"""How many objectives of the table are decided, how many wrongly, and in how many seconds.

Run::

    python benchmarks/truth.py [--effort quick|normal|thorough] [--family NAME] [--every N] [--shared] [--zoo]

The first case pays for the start: importing PyTorch, and PyTorch's first export.  That time is shown apart.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from pathlib import Path

START = time.perf_counter()
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests" / "truth")]

from judge import EXTERNAL, Tally, external_cases, external_objective, zoo_truth  # noqa: E402  (found by the path above)
from table import FAMILIES  # noqa: E402  (found by the path above)
from traps import TRAPS  # noqa: E402  (found by the path above)

import epigraph  # noqa: E402  (found by the path above)
from epigraph import zoo  # noqa: E402  (found by the path above)


def rows(arguments: argparse.Namespace):
    """(family, name, expected word, builder, truth) of every case that was asked for."""
    if arguments.shared:
        for case in external_cases() if EXTERNAL.exists() else []:
            convex = case.expected == "convex"
            yield (
                "shared",
                case.name,
                case.expected,
                lambda case=case: external_objective(case),
                lambda name, convex=convex: convex if name == "convex" else None,
            )
        return
    if arguments.zoo:
        for entry in zoo.ENTRIES.values():
            yield "zoo", entry.name, entry.verdict, entry.build, lambda name, entry=entry: zoo_truth(entry, name)
        return
    from case import objective

    for family, cases in {**FAMILIES, **({"traps": TRAPS} if arguments.family == "traps" else {})}.items():
        if arguments.family in (None, family):
            for case in cases[:: arguments.every]:
                yield family, case.name, case.expected, lambda case=case: objective(case), case.truth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--effort", default="normal", choices=["quick", "normal", "thorough"])
    parser.add_argument("--family")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--shared", action="store_true", help="the rows of shared/truth beside the repository")
    parser.add_argument("--zoo", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    tally, seconds, family_of = Tally(), {}, {}
    for family, name, expected, build, truth in rows(arguments):
        before = time.perf_counter()
        tally.add(name, expected, build, truth, lambda J: epigraph.check(J, effort=arguments.effort))
        if not seconds:
            print(f"start and first case: {time.perf_counter() - START:.2f} s")
        seconds[name], family_of[name] = time.perf_counter() - before, family
    show(tally, seconds, family_of)
    sys.exit(1 if tally.wrong else 0)


def show(tally: Tally, seconds: dict[str, float], family_of: dict[str, str]) -> None:
    if not seconds:
        print("no case")
        return
    warm = sorted(list(seconds.values())[1:] or seconds.values())
    print(tally.report())
    print(f"undecided {len(tally.undecided)}, failed {len(tally.failed)}, share {tally.share:.1%}")
    print(
        f"seconds a case, after the first: median {statistics.median(warm):.3f}, mean {statistics.mean(warm):.3f}, "
        f"90 % {warm[int(0.9 * (len(warm) - 1))]:.3f}, most {warm[-1]:.2f}; all {sum(seconds.values()):.1f}"
    )
    for name, spent in sorted(seconds.items(), key=lambda item: -item[1])[:5]:
        print(f"  slow: {spent:.2f} s  {family_of[name]}: {name}")


if __name__ == "__main__":
    main()
