"""Compare a verdict with what is known: wrong, decided or undecided."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from case import Case, objective

import epigraph
from epigraph import zoo
from epigraph.errors import EpigraphError
from epigraph.objective.objective import Objective

PROPERTIES = ("convex", "concave", "quasiconvex", "quasiconcave", "log_convex", "log_concave")
EXTERNAL = Path(__file__).resolve().parents[3] / "shared" / "truth" / "objectives.py"


@dataclass
class Tally:
    """Names of cases by outcome, with what was got."""

    wrong: list[str] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    decided: int = 0

    @property
    def total(self) -> int:
        return self.decided + len(self.undecided) + len(self.failed)

    @property
    def share(self) -> float:
        """Of all cases, how many have a verdict."""
        return self.decided / max(self.total, 1)

    def add(
        self,
        name: str,
        expected: str,
        build: Callable[[], Objective],
        truth: Callable[[str], bool | None],
        check: Callable[[Objective], Any],
    ) -> None:
        """Check one case; a verdict against a known truth is wrong, whichever property it is about."""
        try:
            verdict = check(build())
        except Exception as error:
            kind = "" if isinstance(error, EpigraphError) else f"{type(error).__name__}: "
            self.failed.append(f"{name}: {kind}{(str(error).splitlines() or [''])[0]}")
            return
        for name_of in PROPERTIES:
            known, got = truth(name_of), getattr(verdict, name_of)
            if (got == "proved" and known is False) or (got == "refuted" and known is True):
                self.wrong.append(f"{name}: {name_of} is {known}, got {got}")
        if verdict.convex == "undecided" or (expected == "concave" and verdict.concave == "undecided"):
            blocker = verdict.blockers[0].op if verdict.blockers else "no blocker"
            self.undecided.append(f"{name}: expected {expected}, got {verdict.verdict} ({blocker})")
        else:
            self.decided += 1

    def add_case(self, case: Case, effort: str = "quick") -> None:
        """Check a row of the table."""
        self.add(
            case.name, case.expected, lambda: objective(case), case.truth, lambda J: epigraph.check(J, effort=effort)
        )

    def report(self) -> str:
        lines = [f"{self.decided} of {self.total} decided, {len(self.wrong)} wrong"]
        for title in ("wrong", "failed", "undecided"):
            lines += [f"  {title}: {entry}" for entry in getattr(self, title)]
        return "\n".join(lines)


def zoo_truth(entry: zoo.Entry, name: str) -> bool | None:
    """What an entry of the zoo knows of a property, or None."""
    words = {"convex": ("affine", "convex"), "concave": ("affine", "concave")}
    if name in words:
        return entry.verdict in words[name]
    return {"proved": True, "refuted": False}.get(entry.known.get(name, ""))


def external_cases() -> list[Any]:
    """The rows of ``shared/truth`` beside the repository, which have ``size``, ``function`` and bounds."""
    spec = importlib.util.spec_from_file_location("shared_truth", EXTERNAL)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["shared_truth"] = module
    spec.loader.exec_module(module)
    return module.CASES


def external_objective(case: Any) -> Objective:
    """A row of ``shared/truth`` as the package is given it."""
    box = None if case.lower is None and case.upper is None else (case.lower, case.upper)
    flat = Case(case.name, case.expected, "", case.function, case.size, box or (None, None))
    return objective(flat)
