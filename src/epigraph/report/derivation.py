"""A proof laid out for reading: every step once, the main line flat, side arguments folded beneath it.

A derivation is a directed acyclic graph, often hundreds of steps deep.  Each step belongs to the last step that uses
it; elsewhere it is referred to by number.  In the tree this gives, each step continues with its largest premise on the
same level, and only the smaller ones are nested: a subtree at depth d has at most n/2^d steps, so that 600 steps nest
at most nine deep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from epigraph.convexity.verdict import Step


@final
@dataclass(frozen=True)
class Line:
    """A step as printed: its number, the smaller side arguments under it, and the steps explained elsewhere.

    ``follows`` is the number of the premise on the next line of the same path, or None.
    """

    number: int
    step: Step
    branches: tuple[Path, ...]
    references: tuple[int, ...]
    follows: int | None


@final
@dataclass(frozen=True)
class Path:
    """Lines from a claim down to what it starts from; ``size`` counts the steps in it and below it."""

    lines: tuple[Line, ...]
    size: int

    @property
    def head(self) -> Line:
        """The claim that the path derives."""
        return self.lines[0]


def _owned(steps: Sequence[Step]) -> tuple[list[list[int]], list[int]]:
    """For each step the premises that are explained under it, and the number of steps in its subtree."""
    reached = [False] * len(steps)
    reached[-1] = True
    owner: dict[int, int] = {}
    for position in range(len(steps) - 1, -1, -1):
        if reached[position]:
            for premise in steps[position].premises:
                if not 0 <= premise < position:
                    raise ValueError(f"step {position} rests on step {premise}, which does not come before it")
                reached[premise] = True
                owner.setdefault(premise, position)
    children: list[list[int]] = [[] for _ in steps]
    for premise, position in owner.items():
        children[position].append(premise)
    sizes = [1] * len(steps)
    for position in range(len(steps)):
        sizes[position] += sum(sizes[child] for child in children[position])
    return children, sizes


def lay_out(steps: Sequence[Step]) -> Path | None:
    """The path that ends in the last step, with everything it rests on; None for no steps."""
    if not steps:
        return None
    children, sizes = _owned(steps)

    def path(position: int) -> Path:
        lines, size, current = [], sizes[position], position
        while True:
            mine = sorted(children[current], key=lambda child: (-sizes[child], child))
            elsewhere = tuple(p + 1 for p in dict.fromkeys(steps[current].premises) if p not in mine)
            branches = tuple(path(child) for child in mine[1:])
            lines.append(Line(current + 1, steps[current], branches, elsewhere, mine[0] + 1 if mine else None))
            if not mine:
                return Path(tuple(lines), size)
            current = mine[0]

    return path(len(steps) - 1)
