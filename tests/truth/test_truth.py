"""The tool against objectives whose verdicts are known: never wrong, and seldom undecided."""

from __future__ import annotations

import functools
import warnings

import pytest
from judge import EXTERNAL, Tally, external_cases, external_objective, zoo_truth
from table import FAMILIES, TABLE
from traps import TRAPS

import epigraph
from epigraph import zoo

HARD = {"sigmoid-squared-error-decay"}  # needs the least second derivative of a loss against the decay
SAMPLE = 3  # the everyday run checks every third row; `make soak` all of them


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


def test_spellings_are_decided() -> None:
    undecided = [entry for family in FAMILIES if family.startswith("spellings") for entry in tally_of(family).undecided]
    assert not undecided, "\n".join(undecided)


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


def block_disagreements(entry: zoo.Entry, verdict: epigraph.Verdict) -> list[str]:
    """Blocks whose verdict contradicts the entry, or that are known to be convex and not proved so."""
    found = []
    for block, word in entry.known.get("blocks", {}).items():
        got = verdict.blocks[block]
        if (got.convex == "proved") != (word in ("affine", "convex")) or (word == "affine" and got.verdict != "affine"):
            found.append(f"{entry.name}: block {block} is {word}, got {got.verdict}")
    return found


@pytest.mark.parametrize("name", zoo.names())
def test_the_zoo(name: str) -> None:
    entry, tally = zoo.get(name), Tally()
    verdicts = []

    def check(J: epigraph.Objective) -> epigraph.Verdict:
        verdicts.append(epigraph.check(J, effort="quick"))
        return verdicts[0]

    tally.add(name, entry.verdict, entry.build, lambda property_name: zoo_truth(entry, property_name), check)
    assert not tally.wrong and not tally.failed, tally.report()
    if name not in HARD:
        assert tally.decided == 1, tally.report()
        assert not block_disagreements(entry, verdicts[0])


@pytest.mark.skipif(not EXTERNAL.exists(), reason="shared/truth does not lie beside the repository")
def test_the_shared_table() -> None:
    tally = Tally()
    cases = external_cases()
    for case in cases:
        convex = case.expected == "convex"
        tally.add(
            case.name,
            case.expected,
            lambda case=case: external_objective(case),
            lambda name, convex=convex: convex if name == "convex" else None,
            lambda J: epigraph.check(J, effort="quick"),
        )
    assert not tally.wrong and not tally.failed, tally.report()
    assert tally.decided >= len(cases) - 3, tally.report()
