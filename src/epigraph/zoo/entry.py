"""What an entry of the zoo is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

from epigraph.objective.objective import Objective


@final
@dataclass(frozen=True)
class Entry:
    """An objective with the claim that it illustrates and what is known of it.

    ``known`` has the summary word under ``verdict``, further properties as in a ``Verdict`` (``quasiconvex``:
    "proved" where it holds, "refuted" where it does not) and under ``blocks`` the summary word of single parameters,
    the others held.  All of it is a fact with its source in ``reference``, whether or not the tool can decide it.
    ``build`` is deterministic and touches no global generator.
    """

    name: str
    title: str
    claim: str
    known: Mapping[str, Any]
    reference: str
    build: Callable[[], Objective]
    notes: str = ""

    @property
    def verdict(self) -> str:
        """The true summary word: affine, convex, concave or nonconvex."""
        return self.known["verdict"]
