"""``region``: where around a point J is convex, and how far that can be certified."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, final

import torch
from torch import Tensor

from epigraph.convexity.neighbourhood import Answer, Neighbourhood
from epigraph.convexity.verdict import Certificate
from epigraph.convexity.witness import witness
from epigraph.errors import UsageError
from epigraph.objective.evaluate import Evaluator
from epigraph.objective.objective import Objective
from epigraph.objective.point import point_of, radius_of
from epigraph.objective.world import untouched

SHAPES = ("ball", "box")
SMALLEST, LARGEST = 2.0**-40, 2.0**40  # radii that are tried
AROUND = 2.0**-10  # where a counterexample is sought when no radius was certified
PARTS = {"quick": 1, "normal": 64, "thorough": 1024}
SHARP = {
    "quick": 1.3,
    "normal": 1.02,
    "thorough": 1.002,
}  # ratio of refused to certified radius at which bisection ends


@final
@dataclass(frozen=True)
class RegionVerdict:
    """What is known of J on a ball or a box around a point, within the domain.

    ``verdict`` is "convex" where J - modulus/2 |w|^2 is proved convex on the region of ``radius``, "nonconvex" where a
    counterexample inside it is confirmed, else "undecided".  ``largest_radius`` is the largest radius certified here:
    0 where none was, infinite where J is convex on its whole domain.  Nothing is said of points beyond.
    """

    objective: Mapping[str, Any]
    active: tuple[str, ...]
    shape: Literal["ball", "box"]
    radius: float
    verdict: Literal["convex", "nonconvex", "undecided"]
    modulus: float | None
    largest_radius: float
    method: str
    boxes: int
    centre: Mapping[str, Tensor] = field(repr=False)
    reason: str | None = None
    where: str | None = None
    certificate: Certificate | None = None
    notes: tuple[str, ...] = ()
    effort: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """What ``--json`` prints under ``region``."""
        return {
            "shape": self.shape,
            "radius": self.radius,
            "verdict": self.verdict,
            "modulus": self.modulus,
            "largest_radius": self.largest_radius,
            "method": self.method,
            "boxes": self.boxes,
            "reason": self.reason,
            "where": self.where,
            "blocks": list(self.active),
            "certificate": None if self.certificate is None else self.certificate.to_dict(),
            "notes": list(self.notes),
            "effort": dict(self.effort),
        }


def region(
    J: Objective,
    at: Mapping[str, Tensor] | str | Path | None = None,
    radius: float | None = None,
    shape: str = "ball",
    blocks: Sequence[str] | None = None,
    effort: str = "normal",
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> RegionVerdict:
    r"""Is J convex on {w : |w - at| <= radius}, within its domain?

    The proof is an enclosure of all Hessians there, H(w) in H + sum_k h_k T_k + E with interval remainders, and a
    rigorous bound of its least eigenvalue after scaling by H^(-1/2); or the composition rules on the box.  A kink
    inside the region is allowed where J bends upwards at it.  With n parameters and N entries in the widest node the
    enclosure costs n^2 N memory, or n N in its cheaper form without T, which is taken where that is too much.

    Args:
        J: the objective.
        at: the centre: a mapping by name, a file with a state dict, or None for the present parameters.
        radius: of the region; None for the largest that can be certified.
        shape: "ball" (Euclidean) or "box" (every coordinate within the radius).
        blocks: parameters that vary; the others are held at the point.
        effort: "quick", "normal" or "thorough": sharpness of the radius, and parts into which a small box is cut.
        seed: of the search for a counterexample where a radius is given and not certified.
        progress: called with one line before each stage that may take long.

    Raises:
        UsageError: an unknown shape, a radius that is not positive, a point that does not fit J or its domain.
        ObjectiveError, CaptureError: J is no function that can be analysed.

    Example:
        >>> J = Objective.from_function(lambda w: (w**4 - w**2).sum(), {"w": torch.tensor([1.0], dtype=torch.float64)})
        >>> r = region(J, radius=0.5, shape="box")
        >>> r.verdict, r.modulus <= 12 * 0.25 - 2
        ('convex', True)
    """
    if not isinstance(J, Objective):
        raise UsageError("E020", f"region takes an Objective, not a {type(J).__name__}", hint="epigraph.Objective(...)")
    if shape not in SHAPES:
        raise UsageError("E091", f"unknown shape {shape!r}", hint="ball or box")
    if effort not in PARTS:
        raise UsageError("E027", f"unknown effort {effort!r}", hint="quick, normal or thorough")
    wanted, point = radius_of(radius), point_of(J, at)
    active = J.blocks.resolve([blocks] if isinstance(blocks, str) else None if blocks is None else list(blocks))
    with untouched(*J.roots()), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return _Run(J, point, active, shape, effort, seed, progress or (lambda text: None)).run(wanted)


@final
class _Run:
    def __init__(
        self,
        J: Objective,
        point: dict[str, Tensor],
        active: tuple[str, ...],
        shape: str,
        effort: str,
        seed: int,
        say: Callable[[str], None],
    ):
        self.J, self.point, self.active, self.shape = J, point, active, shape
        self.effort, self.seed, self.say, self.start = effort, seed, say, time.monotonic()
        say("capturing the graph")
        self.graph = J.graph()
        self.near = Neighbourhood(self.graph, J.domain, point, active, shape, J.describe())
        self.tried = 0

    def run(self, radius: float | None) -> RegionVerdict:
        self.say("enclosing the Hessian")
        value = Evaluator(replace(self.graph, parameters=self.point), ())({})
        if not bool(torch.isfinite(value)):
            nowhere = Answer(None, "none", 0, f"J has no finite value at the point: {float(value)}")
            return self._verdict(radius or AROUND, "undecided", nowhere, 0.0)
        everywhere = self.near.by_rules()
        if everywhere is not None:
            return self._verdict(radius or math.inf, "convex", everywhere, math.inf)
        if radius is None:
            best, answer, refused = self._largest(LARGEST)
            if best == 0.0:
                return self._not_certified(AROUND, 0.0, refused)
            held = replace(answer, reason=refused.reason, where=refused.where) if best < LARGEST else answer
            return self._verdict(best, "convex", held, best)
        answer = self._decide(radius)
        if answer.modulus is not None:
            return self._verdict(radius, "convex", answer, radius)
        return self._not_certified(radius, self._largest(radius)[0], answer)

    def _not_certified(self, radius: float, best: float, answer: Answer) -> RegionVerdict:
        self.say("searching for a counterexample in the region")
        found = witness(self.J, self.graph, self.near, radius, self.seed)
        return self._verdict(radius, "undecided" if found is None else "nonconvex", answer, best, found)

    def _decide(self, radius: float) -> Answer:
        self.tried += 1
        return self.near.decide(radius, PARTS[self.effort])

    def _largest(self, most: float) -> tuple[float, Answer, Answer]:
        """The largest certified radius up to ``most``: growth from a small one, then bisection of the logarithm."""
        good, bad = 0.0, most * 2
        none = Answer(None, "hessian", 1, "no radius was certified")
        answer, refused = none, none
        radius = min(2.0**-10, most / 2)
        while SMALLEST <= radius <= most and (good == 0.0 or bad > most):
            found = self._decide(radius)
            if found.modulus is not None:
                good, answer = radius, found
                radius = radius * 4 if bad > most else radius
            else:
                bad, refused = radius, found
                radius = radius / 8 if good == 0.0 else radius
        bad = min(bad, most)
        while good and bad / good > SHARP[self.effort]:
            radius = math.sqrt(good * bad)
            found = self._decide(radius)
            if found.modulus is not None:
                good, answer = radius, found
            else:
                bad, refused = radius, found
        return good, answer, refused

    def _verdict(
        self,
        radius: float,
        verdict: Literal["convex", "nonconvex", "undecided"],
        answer: Answer,
        largest: float,
        certificate: Certificate | None = None,
    ) -> RegionVerdict:
        proved = verdict == "convex"
        return RegionVerdict(
            self.J.describe(),
            self.active,
            "ball" if self.shape == "ball" else "box",
            radius,
            verdict,
            answer.modulus if proved else None,
            largest,
            answer.method if proved else "counterexample" if certificate else "none",
            answer.boxes,
            self.point,
            answer.reason,
            answer.where,
            certificate,
            (*self.J.notes, *self.near.lemmas.notes),
            {
                "level": self.effort,
                "seed": self.seed,
                "seconds": round(time.monotonic() - self.start, 3),
                "radii": self.tried,
            },
        )
