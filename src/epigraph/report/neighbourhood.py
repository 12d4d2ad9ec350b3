"""A region's verdict in words: "convex on this ball", never "convex"."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from epigraph.plot.numbers import counted, round_down

if TYPE_CHECKING:
    from epigraph.convexity.region import RegionVerdict


def region_title(found: RegionVerdict) -> str:
    """``convex on this ball``, with its radius."""
    if math.isinf(found.radius) and found.verdict == "convex":
        return "convex on the whole domain, and so around every point"
    word = {"convex": "convex", "nonconvex": "not convex", "undecided": "undecided"}[found.verdict]
    return f"{word} on this {found.shape} of radius {round_down(found.radius)} around the point"


def region_lines(found: RegionVerdict) -> list[str]:
    """What carries the claim, how far it reaches, and what stopped it."""
    lines = []
    if found.modulus:
        lines.append(f"strongly convex there, with modulus {round_down(found.modulus)}")
    if found.verdict == "convex":
        lines.append(f"by {_method(found)}")
    if found.certificate is not None:
        lines.append(f"a counterexample inside it is confirmed: gap {round_down(found.certificate.gap)}")
    if found.verdict != "convex":
        far = found.largest_radius
        lines.append(f"the largest radius certified is {round_down(far)}" if far else "no radius was certified")
    if found.reason and not (found.certificate and found.verdict == "nonconvex"):
        place = f" ({found.where})" if found.where else ""
        beyond = "a larger one is not certified: " if found.verdict == "convex" else ""
        lines.append(f"{beyond}{found.reason}{place}")
    return lines


def _method(found: RegionVerdict) -> str:
    if found.method == "rules":
        return "the composition rules" + ("" if math.isinf(found.largest_radius) else " on the box around it")
    if found.method == "quadratic":
        return "an exact test of the quadratic's Hessian"
    parts = f"on each of {counted(found.boxes, 'part')} of it" if found.boxes > 1 else "there"
    return f"the {found.method}, positive definite {parts}"
