"""Mutants that compute the same function, or a looser one that stays true: each with the reason."""

from __future__ import annotations

from mutants import Mutant

# (module, text of the line, before -> after, reason)
EQUIVALENT: list[tuple[str, str, str, str]] = []


def reason_why_equivalent(mutant: Mutant) -> str | None:
    """Why the change is no error, or None."""
    for module, line, change, why in EQUIVALENT:
        if mutant.module == module and line in mutant.text and change == f"{mutant.before} -> {mutant.after}":
            return why
    return None
