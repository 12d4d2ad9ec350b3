"""The tool against objectives whose verdicts are known: never wrong, and seldom undecided."""
from __future__ import annotations

import functools
import warnings

import pytest
from judge import EXTERNAL, Tally, external_cases, external_objective
from table import FAMILIES, TABLE
from traps import TRAPS

import epigraph

SAMPLE = 2  # the everyday run checks every second row; `make soak` all of them


@functools.cache
def tally_of(family: str) -> Tally:
    tally = Tally()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in FAMILIES[family][::SAMPLE]:
            tally.add_case(case)
    return tally


@pytest.mark.parametrize("family", FAMILIES)
def test_never_wrong(family: str) -> None:
    tally = tally_of(family)
    assert not tally.wrong and not tally.failed, tally.report()


def test_seldom_undecided() -> None:
    tallies = [tally_of(family) for family in FAMILIES]
    undecided = [entry for tally in tallies for entry in tally.undecided]
    total = sum(tally.total for tally in tallies)
    assert len(undecided) <= 0.05 * total, f"{len(undecided)} of {total} undecided:\n" + "\n".join(undecided)


def test_never_wrong_on_traps() -> None:
    tally = Tally()
    for case in TRAPS:
        tally.add_case(case)
    assert not tally.wrong and not tally.failed, tally.report()


@pytest.mark.soak
def test_the_whole_table() -> None:
    tally = Tally()
    for case in TABLE:
        tally.add_case(case, effort="normal")
    assert not tally.wrong and not tally.failed, tally.report()
    assert tally.share >= 0.95, tally.report()


@pytest.mark.skipif(not EXTERNAL.exists(), reason="shared/truth does not lie beside the repository")
def test_the_shared_table() -> None:
    tally = Tally()
    cases = external_cases()
    for case in cases:
        convex = case.expected == "convex"
        tally.add(case.name, case.expected, lambda case=case: external_objective(case),
                  lambda name, convex=convex: convex if name == "convex" else None, lambda J: epigraph.check(J, effort="quick"))
    assert not tally.wrong and not tally.failed, tally.report()
    assert tally.decided >= len(cases) - 3, tally.report()
