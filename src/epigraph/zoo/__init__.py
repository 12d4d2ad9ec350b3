"""The objectives of an old question, "why is the cost function of a neural network non-convex?", and of its answers.

Each entry builds an ``Objective`` and says which claim it illustrates and what is known of it.

>>> from epigraph import zoo
>>> zoo.get("product").known["verdict"]
'nonconvex'
>>> zoo.load("product").value()
0.25
"""

from __future__ import annotations

import difflib

from epigraph.errors import TargetError
from epigraph.objective.objective import Objective
from epigraph.zoo import functions, networks, products, regression, series
from epigraph.zoo.entry import Entry

__all__ = ["ENTRIES", "Entry", "get", "load", "names"]

ENTRIES: dict[str, Entry] = {}


def _register(entries: tuple[Entry, ...]) -> None:
    for entry in entries:
        if entry.name in ENTRIES:
            raise ValueError(f"two entries of the zoo are named {entry.name}")
        ENTRIES[entry.name] = entry


for _family in (functions, products, regression, networks, series):
    _register(_family.ENTRIES)


def names() -> list[str]:
    """The names of all entries, in the order of the discussion."""
    return list(ENTRIES)


def get(name: str) -> Entry:
    """The entry of this name.

    Raises:
        TargetError: there is none.
    """
    if name not in ENTRIES:
        close = difflib.get_close_matches(name, ENTRIES, 3)
        hint = f"did you mean {' or '.join(close)}?" if close else "one of " + " ".join(ENTRIES)
        raise TargetError("E121", f"the zoo has no entry {name!r}", hint=hint)
    return ENTRIES[name]


def load(name: str) -> Objective:
    """Build the objective of this name."""
    return get(name).build()
