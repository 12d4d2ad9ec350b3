"""The captured graph is the program: compared with the program built afresh at other parameters, by an independent call.

Then the verdict: "convex" and the like must survive Jensen's inequality on the program itself, and a certificate's three
points must show the violation in the program itself.
"""

from __future__ import annotations

import math

import pytest
import torch
from programs import PROGRAMS, Program
from torch import Tensor

import epigraph
from epigraph.objective.evaluate import Evaluator

pytestmark = pytest.mark.filterwarnings("ignore")
BY_NAME = pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.name)


def _points(J: epigraph.Objective, count: int, seed: int = 1) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        {
            k: v.detach() * (-1) ** i + (0.1 + 0.7 * i) * torch.randn(v.shape, generator=generator, dtype=torch.float64)
            for k, v in J.parameters.items()
        }
        for i in range(count)
    ]


@BY_NAME
def test_graph_and_verdict(program: Program):
    J = program.objective()
    try:
        evaluator = Evaluator(J.graph())
    except epigraph.EpigraphError:
        assert program.refusable
        return
    for point in _points(J, 4):
        ours, theirs = float(evaluator(point)), program.value(point)
        assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12)
        assert J.value(point) == pytest.approx(theirs, rel=1e-12, abs=1e-13)
    v = epigraph.check(J, effort="quick")
    _survives(program, J, v)
    if program.verdict is not None and v.verdict != "undecided":
        assert v.verdict == program.verdict


def _survives(program: Program, J: epigraph.Objective, v: epigraph.Verdict) -> None:
    points = _points(J, 8, seed=2)
    for a, b in zip(points[::2], points[1::2], strict=True):
        middle = {k: (a[k] + b[k]) / 2 for k in a}
        low, mid, high = (program.value(p) for p in (a, middle, b))
        if not all(map(math.isfinite, (low, mid, high))):
            continue
        room = 1e-9 * max(abs(low), abs(mid), abs(high), 1.0)
        assert v.convex != "proved" or mid <= (low + high) / 2 + room
        assert v.concave != "proved" or mid >= (low + high) / 2 - room
        assert v.quasiconvex != "proved" or mid <= max(low, high) + room
        assert v.quasiconcave != "proved" or mid >= min(low, high) - room
    for kind, c in v.certificates.items():
        low, mid, high = (program.value(p) for p in (c.a, c.m, c.b))
        bound = {
            "convex": mid - (low + high) / 2,
            "concave": (low + high) / 2 - mid,
            "quasiconvex": mid - max(low, high),
            "quasiconcave": min(low, high) - mid,
        }[kind]
        assert bound > 0.5 * float(c.gap)


def test_most_programs_are_decided():
    """The table would also pass if nothing were decided; so many are."""
    settled = [p for p in PROGRAMS if p.verdict is not None]
    words = [epigraph.check(p.objective(), effort="quick").verdict for p in settled[:8]]
    assert sum(w != "undecided" for w in words) >= 6, list(zip((p.name for p in settled), words, strict=False))
