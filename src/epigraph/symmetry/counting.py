r"""How many independent scalings there are.

A scaling of an index set A with n units is a function on the units; as functions on the entries of the tensors,
scalings of different sets overlap only where they are constant on the units.  Write the functions on A as those that
vanish at the first unit, plus the constants: then every scaling falls into *sectors*, one for each set of index sets on
which it vanishes at the first unit, and the dimension is the sum over sectors of the product of (n - 1) times the rank
of the charges in that sector.  This holds over the rationals and modulo 2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from heapq import heapify, heappop, heappush
from itertools import combinations
from typing import Any, final

Row = dict[Any, int | Fraction]
NOWHERE: frozenset[int] = frozenset()


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
                if self.set is not None and self.size > 1:
                    out.append((frozenset((*chosen, self.set)), times * (self.size - 1), self._row(chosen, True)))
                out.append((frozenset(chosen), times, self._row(chosen, False)))
        return out

    def _row(self, chosen: Sequence[int], own: bool) -> dict[Any, int]:
        if not chosen:
            if own:
                return {(n, k, frozenset((axis,))): charge for (n, k, axis), (charge, _) in self.charges.items()}
            plain: dict[Any, int] = {}
            for (n, k, _), (charge, _) in self.charges.items():
                plain[n, k, NOWHERE] = plain.get((n, k, NOWHERE), 0) + charge
            return plain
        row: dict[Any, int] = {}
        for (name, block, axis), (charge, scope) in self.charges.items():
            axes = frozenset(a for s, a in scope if s in chosen) | (frozenset({axis}) if own else frozenset())
            key = (name, block, axes)
            row[key] = row.get(key, 0) + charge
        return row


@final
class Span:
    """The span of directions, over the rationals (modulus 0) or modulo 2; grows one by one."""

    def __init__(self, modulus: int):
        self.modulus = modulus
        self.dimension = 0
        self._pivots: dict[frozenset[int], dict[Any, tuple[int, Row]]] = {}

    def add(self, direction: Direction) -> int:
        """How much the dimension grows."""
        before = self.dimension
        for key, times, row in direction.sectors():
            if times and self._extend(self._pivots.setdefault(key, {}), row):
                self.dimension += times
        return self.dimension - before

    def add_whole(self, totals: Mapping[tuple[str, int], int]) -> bool:
        """How much it grows by a scaling of whole blocks; of others only what they do to whole blocks may be known."""
        row = {(*key, NOWHERE): charge for key, charge in totals.items()}
        grows = self._extend(self._pivots.setdefault(NOWHERE, {}), row)
        self.dimension += grows
        return grows

    def _extend(self, pivots: dict[Any, tuple[int, Row]], given: Mapping[Any, int]) -> bool:
        """Is a row independent?  A pivot's row has no entry at the pivots before it, so that each is taken out once."""
        row: Row = {}
        self._combine(row, given, 1)
        met = [(pivots[k][0], k) for k in row if k in pivots]
        heapify(met)
        while met:
            _, key = heappop(met)
            if key in row:
                pivot = pivots[key][1]
                self._combine(row, pivot, -row[key])
                for k in pivot:
                    if k in pivots and k in row:
                        heappush(met, (pivots[k][0], k))
        if not row:
            return False
        key = next(iter(row))
        first = row[key]
        pivots[key] = (len(pivots), row if first == 1 else {k: Fraction(v) / first for k, v in row.items()})
        return True

    def _combine(self, one: Row, two: Mapping[Any, int | Fraction], factor: int | Fraction) -> None:
        """one += factor * two."""
        for k, v in two.items():
            total = one.pop(k, 0) + factor * v
            total = total % self.modulus if self.modulus else total
            if total:
                one[k] = total


def digits(count: int) -> str:
    """A count in decimal digits, however many: Python's own conversion refuses more than 4300."""
    return format(Decimal(count), "f")


def dimension(directions: Iterable[Direction], modulus: int) -> int:
    """The dimension of a span, over the rationals (modulus 0) or modulo 2."""
    span = Span(modulus)
    for direction in directions:
        span.add(direction)
    return span.dimension
