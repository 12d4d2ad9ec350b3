"""A lemma that stops with an internal error is left out with a note; tests see the error itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from epigraph import Objective, check
from epigraph.calculus import propagate
from epigraph.calculus.optional import Optional
from epigraph.convexity import check as checking
from epigraph.convexity import neighbourhood
from epigraph.convexity.region import region


def broken(*args: Any, **kwargs: Any) -> Any:
    raise LookupError("a defect")


def wave(x: Tensor) -> Tensor:
    return (x**2 + torch.sin(x)).sum()


def objective(f: Any = wave) -> Objective:
    return Objective.from_function(f, {"x": torch.tensor([0.5, 0.25], dtype=torch.float64)})


LEMMAS = [
    (checking, "curvature_claims", "the curvature lemma", "undecided"),
    (checking, "quadratic_claims", "the lemma of quadratics", "convex"),
    (checking, "polynomial_claims", "the lemma of polynomials", "convex"),
    (propagate.perspective, "claims", "the lemma of perspectives", "convex"),
    (propagate, "after", "the lemma of power means", "convex"),
    (propagate.combinations, "after", "the lemma of ranked entries", "convex"),
    (propagate.Quadratics, "claims", "the lemma of quadratics", "convex"),
]


@pytest.mark.parametrize(("owner", "name", "lemma", "verdict"), LEMMAS)
def test_the_verdict_goes_on_without_it_and_says_so(
    owner: Any, name: str, lemma: str, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Optional, "strict", False)
    monkeypatch.setattr(owner, name, broken)
    v = check(objective(), effort="quick")
    note = f"{lemma} stopped with an internal error and is left out, please report this: LookupError: a defect"
    assert v.verdict == verdict and note in v.notes


@pytest.mark.parametrize(("owner", "name", "lemma", "verdict"), LEMMAS)
def test_a_test_sees_the_error(
    owner: Any, name: str, lemma: str, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, broken)
    with pytest.raises(LookupError):
        check(objective(), effort="quick")


def test_what_the_kernel_has_not_finished_is_not_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Optional, "strict", False)
    monkeypatch.setattr(checking, "recheck_proof", broken)
    v = check(objective(lambda x: torch.exp(x).sum()), effort="quick")
    assert v.convex == "undecided" and any(n.startswith("the kernel stopped") for n in v.notes)
    monkeypatch.setattr(neighbourhood, "recheck_proof", broken)
    r = region(objective(lambda x: torch.exp(x).abs().sum()), radius=1.0, effort="quick")
    assert any(n.startswith("the kernel stopped") for n in r.notes)


def test_a_search_that_stops_loses_what_it_has_not_found_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Optional, "strict", False)
    monkeypatch.setattr(checking.Refuter, "search", broken)
    looked = check(objective(lambda x: x.prod()), effort="quick")
    monkeypatch.setattr(checking.Refuter, "look", broken)
    blind = check(objective(lambda x: x.prod()), effort="quick")
    assert (looked.convex, blind.convex) == ("refuted", "undecided")
    assert all(any(n.startswith("the search stopped") for n in v.notes) for v in (looked, blind))
