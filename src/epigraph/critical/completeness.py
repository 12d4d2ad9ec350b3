r"""How complete a catalogue is: the Morse identity, Morse's inequalities, and what the rare ones say of the unseen.

Where J is smooth on the whole space, grows to infinity in every direction and no critical point is degenerate, the points
with their copies satisfy sum (-1)^index = 1; a kink, a jump or a pole may stand for any of them.  The identity is necessary,
not sufficient: points that cancel may be missing together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from epigraph.calculus.derivatives import SMOOTH
from epigraph.calculus.propagate import intervals
from epigraph.critical.classify import Kind
from epigraph.critical.starts import DRAWN

if TYPE_CHECKING:
    from epigraph.calculus.interval import Interval
    from epigraph.critical.result import CriticalPoint
    from epigraph.objective.graph import Node
    from epigraph.objective.objective import Objective

POLYNOMIAL = frozenset(
    "add neg mul matmul convolution sum reshape permute expand slice concat take same det logsumexp log_softmax".split()
)  # in the entries of their operands, or smooth in them everywhere


@final
@dataclass(frozen=True)
class Completeness:
    """``morse_sum`` is sum (-1)^index over all copies, to be 1 where ``applies``; None where an orbit is not known exactly.

    ``inequalities``: do m_k - m_{k-1} + ... +- m_0 >= (-1)^k hold for the numbers m_k of copies by index?  ``unseen`` is Good
    and Turing's estimate of the chance that one more start ends at a point not found so far: those found once, over all;
    searches that were sent from or away from known points do not count.
    """

    applies: bool
    why: str
    morse_sum: int | None
    inequalities: bool | None
    unseen: float | None

    @property
    def satisfied(self) -> bool | None:
        """Does the Morse identity hold?  None where it does not apply."""
        return self.morse_sum == 1 if self.applies and self.morse_sum is not None else None

    def to_dict(self) -> dict[str, Any]:
        return {
            "morse_applies": self.applies,
            "why": self.why,
            "morse_sum": self.morse_sum,
            "morse_satisfied": self.satisfied,
            "morse_inequalities": self.inequalities,
            "unseen": self.unseen,
        }


def completeness(J: Objective, points: Sequence[CriticalPoint]) -> Completeness:
    """What can be said of a list of critical points of J."""
    return summed(points, J.size, coercive(J) or smooth(J))


def summed(points: Sequence[CriticalPoint], size: int, reason: str) -> Completeness:
    """The same where only the number of variables is known, and the ``reason`` why J is not shown to be coercive and smooth."""
    hits = [sum(p.sources.get(kind, 0) for kind in DRAWN) for p in points]
    unseen = sum(h == 1 for h in hits) / sum(hits) if sum(hits) else None
    known = all(p.exact_orbit and not p.doubtful for p in points)
    counts = [0] * (size + 1)
    for p in points:
        counts[p.index] += p.orbit
    total = sum((-1) ** k * m for k, m in enumerate(counts)) if known else None
    applies, why = _applies(points, reason)
    return Completeness(applies, why, total, _inequalities(counts) if known and applies else None, unseen)


def _applies(points: Sequence[CriticalPoint], reason: str) -> tuple[bool, str]:
    if reason:
        return False, reason
    odd = [p for p in points if p.kind not in (Kind.minimum, Kind.saddle, Kind.maximum) or p.nullity]
    if odd:
        return False, f"{len(odd)} points are degenerate, non-smooth or undecided"
    return True, "J is smooth and grows in every direction, and no point that was found is degenerate"


def coercive(J: Objective) -> str:
    """Why it is not shown that J grows to infinity in every direction; empty where it is.

    Shown where every parameter is decayed and the rest of J is bounded below by the rules: intervals add up, and a
    finite lower bound of the whole is one of each summand.
    """
    if J.domain.lower or J.domain.upper:
        return "the domain is bounded"
    free = [name for name in J.parameters if J.weight_decay.get(name, 0.0) <= 0]
    if free:
        return f"{free[0]} is not decayed: J is not shown to grow in every direction"
    graph = J.graph()
    lower = intervals(graph, J.domain)[graph.output].arrays(())[0]
    return "" if float(lower) > -float("inf") else "J is not shown to be bounded below"


def smooth(J: Objective) -> str:
    """Why it is not shown that J is smooth on the whole space; empty where it is.

    Shown where every operator is smooth on all of the range that the rules give to its operand.
    """
    graph = J.graph()
    varies, bounds = graph.depends(), intervals(graph, J.domain)
    for node in graph:
        if node.inputs and varies[node.id] and not _smooth(node, [bounds[i] for i in node.inputs], varies):
            place = f" at {node.origin.location}" if node.origin.location else ""
            return f"{node.op}{place} is not shown to be smooth and defined on the whole space"
    return ""


def _smooth(node: Node, operands: Sequence[Interval], varies: Sequence[bool]) -> bool:
    if node.op in SMOOTH:
        where, (low, high) = SMOOTH[node.op].where(node), operands[0].hull
        return where == "all" or low > 0 or (where == "nonzero" and high < 0)
    if node.op == "div":
        low, high = operands[1].hull
        return low > 0 or high < 0
    return node.op in POLYNOMIAL or (node.op == "where" and not varies[node.inputs[0]])


def _inequalities(counts: Sequence[int]) -> bool:
    """m_k - m_(k-1) + ... +- m_0 >= (-1)^k, with m_0 >= 1."""
    running = 0
    for k, m in enumerate(counts):
        running = m - running
        if running < (-1) ** k:
            return False
    return True
