"""What a table keeps of a verdict: words, gaps, and the points that anyone can evaluate again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import epigraph

PROPERTIES = ("convex", "concave", "quasiconvex", "quasiconcave", "log_convex", "log_concave")


def record(
    build: Callable[[], epigraph.Objective], target: str, kinds: tuple[str, ...] = PROPERTIES[:2]
) -> dict[str, Any]:
    """The verdict on an objective with the counterexamples of some kinds, or the error that ends in its place."""
    try:
        v = epigraph.check(build())
    except (ValueError, RuntimeError) as error:  # PyTorch refuses the options
        return {"target": target, "error": {"code": "PyTorch", "what": f"{type(error).__name__}: {error}", "why": None}}
    except epigraph.EpigraphError as error:
        return {"target": target, "error": {"code": error.code, "what": error.what, "why": error.why}}
    out: dict[str, Any] = {"target": target, "verdict": v.verdict}
    out |= {name: getattr(v, name) for name in PROPERTIES}
    out["refuted"] = {kind: _points(c) for kind, c in v.certificates.items() if kind in kinds}
    if v.verdict == "undecided":
        out["blockers"] = [{"op": b.op, "reason": b.reason} for b in v.blockers]
    return out


def _points(c: epigraph.Certificate) -> dict[str, Any]:
    """The gap, and the two ends; their midpoint is exact."""
    ends = {end: {name: value.tolist() for name, value in getattr(c, end).items()} for end in ("a", "b")}
    return {"gap": c.gap, "relative_gap": c.relative_gap, **ends}


def states(entry: dict[str, Any] | None) -> dict[str, str] | None:
    """The part of a record that must not depend on the clock or on the search's luck."""
    if entry is None:
        return None
    if "error" in entry:
        return {"error": entry["error"]["code"]}
    return {name: entry[name] for name in ("verdict", *PROPERTIES)}
