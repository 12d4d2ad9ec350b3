r"""How many independent scalings there are.

A scaling of an index set A with n units is a function on the units; as functions on the entries of the tensors,
scalings of different sets overlap only where they are constant on the units.  Write the functions on A as those that
vanish at the first unit, plus the constants: then every scaling falls into *sectors*, one for each set of index sets on
which it vanishes at the first unit, and the dimension is the sum over sectors of the product of (n - 1) times the rank
of the charges in that sector.  This holds over the rationals and modulo 2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import Any, final

ZERO = Fraction(0)


@final
@dataclass(frozen=True)
class Direction:
    """A scaling of an index set, or of whole blocks: its charges with the axes of the set's scope in each place."""

    set: int | None
    size: int
    scope: Mapping[int, int]
    charges: Mapping[tuple[str, int, int], tuple[int, tuple[tuple[int, int], ...]]]

    def sectors(self) -> list[tuple[frozenset[int], int, dict[Any, int]]]:
        """(sets, number of functions, charges) for each sector."""
        out: list[tuple[frozenset[int], int, dict[Any, int]]] = []
        for k in range(len(self.scope) + 1):
            for chosen in combinations(self.scope, k):
                times = math.prod(self.scope[s] - 1 for s in chosen)
                if self.set is not None:
                    out.append((frozenset((*chosen, self.set)), times * (self.size - 1), self._row(chosen, True)))
                out.append((frozenset(chosen), times, self._row(chosen, False)))
        return out

    def _row(self, chosen: Sequence[int], own: bool) -> dict[Any, int]:
        row: dict[Any, int] = {}
        for (name, block, axis), (charge, scope) in self.charges.items():
            axes = frozenset(a for s, a in scope if s in chosen) | (frozenset({axis}) if own else frozenset())
            key = (name, block, axes)
            row[key] = row.get(key, 0) + charge
        return row


def dimension(directions: Sequence[Direction], modulus: int) -> int:
    """The dimension of the span, over the rationals (modulus 0) or modulo 2."""
    sectors: dict[frozenset[int], tuple[int, list[dict[Any, int]]]] = {}
    for direction in directions:
        for key, times, row in direction.sectors():
            sectors.setdefault(key, (times, []))[1].append(row)
    return sum(times * rank(rows, modulus) for times, rows in sectors.values() if times)


def rank(rows: Sequence[Mapping[Any, int]], modulus: int) -> int:
    """The rank of sparse integer rows, exactly."""

    def reduced(entries: Mapping[Any, Fraction]) -> dict[Any, Fraction]:
        whole = {k: Fraction(v % modulus) if modulus else v for k, v in entries.items()}
        return {k: v for k, v in whole.items() if v}

    pivots: list[tuple[Any, dict[Any, Fraction]]] = []  # a pivot's row has no entry at the pivots before it
    for given in rows:
        row = reduced({k: Fraction(v) for k, v in given.items()})
        for key, pivot in pivots:
            if key in row:
                row = reduced({k: row.get(k, ZERO) - row[key] * pivot.get(k, ZERO) for k in {**row, **pivot}})
        if row:
            key = next(iter(row))
            pivots.append((key, {k: v / row[key] for k, v in row.items()}))
    return len(pivots)
