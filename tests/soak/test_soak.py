"""Random objectives on trial, a short run (`make soak` has the long one), and proof that the trial notices what is wrong."""

from __future__ import annotations

from fractions import Fraction
from operator import attrgetter

import numpy as np
import pytest
import soak_files
import torch
from soak_generate import Case, objective
from soak_run import survey
from soak_trial import Trial

from epigraph.calculus import propagate
from epigraph.calculus.interval import Interval
from epigraph.calculus.lattice import CONCAVE, CONVEX
from epigraph.calculus.rule import RULES
from epigraph.convexity.evidence import Court
from epigraph.convexity.refute import Refuter
from epigraph.objective.builder import Builder
from epigraph.objective.domain import Domain


def test_random_objectives_never_contradict_themselves():
    *_, summary = survey(400, seed=1, jobs=1, with_torch=50, with_refuter=50)
    assert not summary.failures, "\n\n".join(summary.failures)
    assert summary.counts["proved"] > 0.3 * summary.counts["objectives"]
    assert summary.counts["captured"] and summary.counts["certificates"] and summary.counts["rechecked"]


def test_changed_files_are_refused_or_true():
    *_, files = soak_files.survey(600, seed=1, jobs=1, sources=12)
    assert not files.failures, "\n\n".join(files.failures)
    assert files.counts["proofs"] and files.counts["violations"] and files.counts["refused"] > 300


# the trial notices ------------------------------------------------------------------------------------------------------
def contradictions(count: int, seed: str) -> int:
    """How many of so many objectives end in a contradiction that evaluation alone shows, without the kernel."""
    found = 0
    for index in range(count):
        case = objective(f"{seed} {index}")
        if case is not None:
            trial = Trial(case, f"{seed} {index}")
            trial.recheck = lambda name: None  # type: ignore[method-assign]
            found += bool(trial.run().contradictions)
    return found


def always(*answers: bool):
    return lambda self, node, x: answers


WRONG = [
    ("sigmoid", "curvature", always(True, False)),
    ("relu", "curvature", always(True, True)),
    ("abs", "slope", always(True, False)),
    ("softplus", "logarithmic", always(True, True, False)),
    ("tanh", "range", lambda self, node, x: Interval(-0.9, 0.9)),
    ("exp", "range", lambda self, node, x: Interval(0.0, 1e3)),
    ("sum", "kept", 127),
    ("maximum", "claims", lambda self, node, x, shapes: x[0].bits & x[1].bits),
    ("add", "claims", lambda self, node, x, shapes: x[0].bits & x[1].bits),
    ("sort", "claims", lambda self, node, x, shapes: x[0].bits),
]


@pytest.mark.parametrize(("op", "method", "wrong"), WRONG, ids=lambda v: v if isinstance(v, str) else "")
def test_a_wrong_rule_is_noticed(op, method, wrong, monkeypatch):
    monkeypatch.setattr(type(RULES[op]), method, wrong)
    assert any(contradictions(60, f"wrong {k}") for k in range(10))


LEMMAS = [
    ("bits_of", lambda known: lambda f: known(f) | (CONVEX if f.upper is not None and f.upper <= 2 else 0)),
    (
        "perspective.claims",
        lambda known: lambda nodes, node, facts: CONVEX if node.op == "mul" else known(nodes, node, facts),
    ),
    ("combinations.claims", lambda known: lambda node, x, shapes: CONVEX if known(node, x, shapes) & CONCAVE else 0),
    ("after", lambda known: lambda node, x, bound: known(node, x, bound)._replace(upper=Fraction(1, 3))),
    ("Quadratics.claims", lambda known: lambda self, node, facts, bits: CONVEX if node.op == "add" else 0),
]


@pytest.mark.parametrize(("place", "wrong"), LEMMAS, ids=lambda v: v if isinstance(v, str) else "")
def test_a_wrong_lemma_is_noticed(place, wrong, monkeypatch):
    place = f"epigraph.calculus.propagate.{place}"
    known = attrgetter(place.removeprefix("epigraph.calculus.propagate."))(propagate)
    monkeypatch.setattr(place, wrong(known))
    assert any(contradictions(60, f"wrong {k}") for k in range(20))


def test_a_knee_in_the_wrong_place_is_noticed(monkeypatch):
    """mish is convex up to 1.4906; a rule that says 1.7 is caught on a box that ends between."""
    mish = type(RULES["mish"])
    assert Trial(one_variable("mish", -2.0, 1.6), "knee").run().status["convex"] != "proved"
    monkeypatch.setattr(mish, "right", (1.7, 1.7000000000000002))
    trial = Trial(one_variable("mish", -2.0, 1.6), "knee")
    trial.recheck = lambda name: None  # type: ignore[method-assign]
    assert any("convex fails" in text for text in trial.run().contradictions)


def one_variable(op: str, low: float, high: float) -> Case:
    b = Builder()
    x = b.parameter("u", torch.zeros((), dtype=torch.float64))
    box = Domain(*({"u": torch.tensor(v, dtype=torch.float64)} for v in (low, high)))
    return Case(b.graph(x.unary(op)), box, ("u",), "by hand")


def test_steps_of_any_length_can_be_written():
    """A box that reaches 1e300: the refuter's steps stay within what a certificate can hold."""
    b = Builder()
    x = b.parameter("u", torch.zeros((2,), dtype=torch.float64))
    case = Case(b.graph((x * x).sum()), Domain({"u": torch.tensor(1e300, dtype=torch.float64)}), ("u",), "by hand")
    refuter = Refuter(case.graph, case.domain, Court(case.graph, case.domain, {}))
    refuter.search(case.active, ("convex", "concave"), 0.2)
    assert np.isfinite(refuter.point["u"].numpy()).all()
