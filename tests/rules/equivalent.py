"""Mutants that compute the same function, or a looser one that stays true: each with the reason."""

from __future__ import annotations

from mutants import Mutant

# (module, text of the line, before -> after, reason)
EQUIVALENT: list[tuple[str, str, str, str]] = [
    ("rules/smooth", "through = ((0.0, 0.0), (1.0, 1.0))", "((0.0, 0.0), (1.0, 1.0)) -> ((1.0, 1.0), (0.0, 0.0))",
     "points on a graph are used in any order"),
    ("rules/smooth", "image = (math.nextafter(-math.pi / 2, -2)", "2 -> 3", "a direction that lies on the same side"),
    ("rules/power", "return out if p > 0 else iv.reciprocal(out)", "p > 0 -> p >= 0", "x^0 is 1, and so is its reciprocal"),
    ("rules/power", "if p > 0:", "p > 0 -> p >= 0", "x^0 is a constant, which has all claims"),
    ("rules/kinked", "np.array(column)[place].reshape(low.shape)", "low -> high", "both arrays have one shape"),
]  # fmt: skip


def reason_why_equivalent(mutant: Mutant) -> str | None:
    """Why the change is no error, or None."""
    for module, line, change, why in EQUIVALENT:
        if mutant.module == module and line in mutant.text and change == f"{mutant.before} -> {mutant.after}":
            return why
    return None
