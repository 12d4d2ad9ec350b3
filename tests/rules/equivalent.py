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
    ("interval", "moved = layout(np.broadcast_to(low, shape))", "low -> high", "the two are one object there"),
    ("interval", "(size < 2.0**32)", "size < 2.0 ** 32 -> size <= 2.0 ** 32", "sums of 2^52 units are exact as well"),
    ("interval", "(abs(product) > 1e-300)", "abs(product) > 1e-300 -> abs(product) >= 1e-300", "a limit of effort"),
    ("interval", "if math.prod(sa) * sb[-1] > 2e9:", "math.prod(sa) * sb[-1] > 2000000000.0 -> math.prod(sa) * sb[-1] >= 2000000000.0",
     "a limit of effort"),
]  # fmt: skip


def reason_why_equivalent(mutant: Mutant) -> str | None:
    """Why the change is no error, or None."""
    for module, line, change, why in EQUIVALENT:
        if mutant.module == module and line in mutant.text and change == f"{mutant.before} -> {mutant.after}":
            return why
    return None
