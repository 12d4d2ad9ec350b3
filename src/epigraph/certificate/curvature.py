r"""The curvature lemma: J'' >= mu I because J is a sum of functions of affine variables with bounded second derivatives.

Let J = affine + sum_k c_k phi_k(a_k . theta) + sum_k c_k u_k v_k + sum_k c_k lse(Z_k) + rest, with u, v and Z affine.  With

    s_k <= c_k phi_k''     on the values of a_k . theta
    u v = ((u + v)^2 - (u - v)^2)/4,  and  0 <= lse'' <= I/2  in its arguments
    c rest convex

J - mu/2 |theta|^2 is convex where sum_k s_k a_k a_k' - mu I is positive semidefinite.  Concavity of J is convexity of -J.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, final

import numpy as np

from epigraph.certificate import affine
from epigraph.certificate.affine import Rows, Unsuited, joined
from epigraph.certificate.linear import Linear
from epigraph.certificate.onevariable import Functions, Term
from epigraph.certificate.ranges import Ranges
from epigraph.certificate.semidefinite import semidefinite
from epigraph.certificate.splitting import Part, Weights, split

Known = Callable[[int, int], bool]
JOINT = 16  # terms of one variable that are bounded together
JOINT_ENTRIES = 50_000
HALF = Fraction(1, 2)


@final
@dataclass(frozen=True)
class Function:
    """A function of one variable that occurs in J, and the interval of its variable."""

    terms: tuple[Term, ...]
    low: float
    high: float


@final
@dataclass
class Collected:
    """Rows with the number of their function (or -1) and the number of their weight."""

    rows: list[Rows] = field(default_factory=list)
    functions: list[np.ndarray] = field(default_factory=list)
    weights: list[np.ndarray] = field(default_factory=list)


@final
class Curvature:
    """The parts of sign J, ready for bounds of the second derivatives of its functions of one variable.

    ``functions`` lists the distinct ones in an order that depends on the graph alone; ``rests`` the nodes that
    ``known(node, sign)`` says to be convex (sign +1) or concave (-1).  ``Unsuited`` is raised where the lemma does not apply.
    ``squares`` takes only quadratic parts apart.
    """

    def __init__(self, linear: Linear, sign: int, known: Known, squares: bool = False):
        self.linear, self.reader, self._known = linear, Functions(linear), known
        self._intervals = Ranges(linear)
        self.numbers = np.zeros(0, np.int64)  # the function of each class of rows, once they have been assembled
        for position in sorted(linear.live):
            if linear.varies[position]:
                linear.carrier(position)  # operands first: no deep recursion later
        self.functions: list[Function] = []
        self.rests: list[tuple[int, int]] = []
        self._keys: dict[Any, int] = {}
        self._weights: dict[tuple[Fraction, Fraction], int] = {}
        self._found = Collected()
        parts = split(linear, sign)
        if squares:
            parts = [self._believed(part) for part in parts]
        for part in parts:
            if part.kind == "rest":
                self._rest(part)
        self._carried([p for p in parts if p.kind == "carried"])
        for part in parts:
            if part.kind == "product":
                self._product(part)
            elif part.kind == "soft":
                self._soft(part)

    def _believed(self, part: Part) -> Part:
        """A part that is no quadratic as a rest."""
        node = self.linear.nodes[part.position]
        quadratic = node.op in ("mul", "matmul") or (node.op == "power" and node.attributes["exponent"] == 2)
        return part if quadratic or part.kind == "soft" else replace(part, kind="rest")

    # the parts -----------------------------------------------------------------------------------------------------
    def _rest(self, part: Part) -> None:
        signs = set(part.weights.signs().tolist()) - {0} or {1}
        if len(signs) > 1 or 2 in signs:
            raise Unsuited
        for s in signs:
            if not self._known(part.position, int(s)):
                raise Unsuited
            self.rests.append((part.position, int(s)))

    def _carried(self, parts: Sequence[Part]) -> None:
        """Functions of one entry of a base, all terms of that entry together where they are few."""
        by_base: dict[int, list[Part]] = {}
        for part in parts:
            carrier = self.linear.carrier(part.position)
            assert carrier is not None
            by_base.setdefault(carrier.base, []).append(part)
        for base, found in by_base.items():
            if len(found) == 1 and self._injective(found[0]):
                self._alone(base, found[0])
            elif sum(len(p.weights.numbers.middle) for p in found) <= JOINT_ENTRIES:
                self._together(base, found)
            else:
                for part in found:
                    self._alone(base, part)

    def _index(self, part: Part) -> np.ndarray:
        carrier = self.linear.carrier(part.position)
        assert carrier is not None
        return carrier.index

    def _injective(self, part: Part) -> bool:
        index = self._index(part)
        index = index[index >= 0]
        return len(np.unique(index)) == len(index)

    def _alone(self, base: int, part: Part) -> None:
        """Each entry of a part by itself."""
        index, labels, signs = self._index(part), self.reader.labels(part.position), part.weights.signs()
        used = np.flatnonzero(index >= 0)
        if 2 in signs[used]:
            raise Unsuited
        signs = np.where(signs == 0, 1, signs)
        ranges = self._ranges(base, index[used])
        table, first, which = np.unique(
            np.column_stack([labels[used], signs[used], ranges]), axis=0, return_index=True, return_inverse=True
        )
        numbers = [
            self._number((part.position, *row), ((part.position, int(used[k]), Fraction(int(row[1]))),), base, int(index[used[k]]))
            for row, k in zip(table.tolist(), first.tolist(), strict=True)
        ]  # fmt: skip
        self._add(base, index[used], np.asarray(numbers, np.int64)[which.reshape(-1)], self._sizes(part.weights, used))

    def _together(self, base: int, parts: Sequence[Part]) -> None:
        """All terms of one entry of the base as one function, with weights relative to the first."""
        entries: dict[int, list[tuple[Part, int]]] = {}
        for part in parts:
            index, signs = self._index(part), part.weights.signs()
            if 2 in signs:
                raise Unsuited
            for e in np.flatnonzero(index >= 0).tolist():
                entries.setdefault(int(index[e]), []).append((part, e))
        places, numbers, sizes = [], [], []
        for place, terms in entries.items():
            for group in self._groups(terms):
                exact = [p.weights.exact(e) for p, e in group]
                known = [abs(w) for w in exact if w is not None]
                unit = next((w for w in known if w), Fraction(1)) if len(known) == len(exact) else None
                places.append(place)
                sizes.append((unit, unit) if unit is not None else _size(group[0][0].weights.bounds(group[0][1])))
                numbers.append(self._relative(base, place, group, exact, unit))
        self._add(base, np.asarray(places, np.int64), np.asarray(numbers, np.int64), [self._weight(s) for s in sizes])

    def _groups(self, terms: list[tuple[Part, int]]) -> list[list[tuple[Part, int]]]:
        exact = all(p.weights.exact(e) is not None for p, e in terms)
        return [terms] if exact and len(terms) <= JOINT else [[t] for t in terms]

    def _relative(
        self,
        base: int,
        place: int,
        group: Sequence[tuple[Part, int]],
        exact: Sequence[Fraction | None],
        unit: Fraction | None,
    ) -> int:
        shares = [
            Fraction(int(p.weights.signs()[e])) if w is None or unit is None else w / unit
            for (p, e), w in zip(group, exact, strict=True)
        ]
        labels = [int(self.reader.labels(p.position)[e]) for p, e in group]
        span = int(self._ranges(base, np.asarray([place]))[0])
        key = (tuple((p.position, n, s) for (p, _), n, s in zip(group, labels, shares, strict=True)), span)
        terms = tuple((p.position, e, s) for (p, e), s in zip(group, shares, strict=True))
        return self._number(key, terms, base, place)

    def _number(self, key: Any, terms: tuple[Term, ...], base: int, entry: int) -> int:
        """The number of a function, new where it has not been seen."""
        if key not in self._keys:
            low, high = self._bounds(base)
            self._keys[key] = len(self.functions)
            self.functions.append(Function(terms, float(low[entry]), float(high[entry])))
        return self._keys[key]

    def _sizes(self, weights: Weights, used: np.ndarray) -> list[int]:
        middle = weights.numbers.middle[used]
        radius = np.zeros_like(middle) if weights.numbers.radius is None else weights.numbers.radius[used]
        table, first, which = np.unique(
            np.column_stack([middle, radius]), axis=0, return_index=True, return_inverse=True
        )
        known = [self._weight(_size(weights.bounds(int(used[k])))) for k in first.tolist()]
        return np.asarray(known, np.int64)[which.reshape(-1)].tolist() if len(table) else []

    def _weight(self, bounds: tuple[Fraction, Fraction]) -> int:
        return self._weights.setdefault(bounds, len(self._weights))

    def _add(self, base: int, index: np.ndarray, functions: np.ndarray, weights: Sequence[int]) -> None:
        rows = self.linear.rows(base)
        assert rows is not None
        self._append(rows.take(index), functions, weights)

    def _append(self, rows: Rows, functions: np.ndarray, weights: Sequence[int]) -> None:
        self._found.rows.append(rows)
        self._found.functions.append(functions)
        self._found.weights.append(np.asarray(weights, np.int64))

    # ranges of affine variables -------------------------------------------------------------------------------------
    def _bounds(self, base: int) -> tuple[np.ndarray, np.ndarray]:
        return self._intervals.of(base)

    def _ranges(self, base: int, index: np.ndarray) -> np.ndarray:
        """A number for each entry; equal numbers are equal intervals."""
        low, high = self._bounds(base)
        table = np.unique(np.column_stack([low, high]), axis=0, return_inverse=True)[1]
        return table.reshape(-1)[index]

    # products and log-sum-exp -----------------------------------------------------------------------------------------
    def _product(self, part: Part) -> None:
        """c u v has the Hessian c/2 (a + b)(a + b)' - c/2 (a - b)(a - b)'."""
        linear, node = self.linear, self.linear.nodes[part.position]
        left, right = node.inputs
        if node.op == "matmul":
            one, other, target = linear.pairs(node, left, right)
        else:
            target = np.arange(node.numel)
            one, other = linear.index(node, left), linear.index(node, right)
        used = np.flatnonzero(part.weights.signs()[target] != 0)
        u, v = linear.rows(left), linear.rows(right)
        assert u is not None and v is not None
        u, v = u.take(one[used]), v.take(other[used])
        for rows, sign in ((affine.added([u, v]), 1), (affine.added([u, -v]), -1)):
            bounds = [part.weights.bounds(int(t)) for t in target[used]]
            least = [min(sign * a, sign * b) * HALF for a, b in bounds]
            weights = [self._weight((w, w)) for w in least]
            self._append(rows, np.full(len(used), -1), weights)

    def _soft(self, part: Part) -> None:
        """c lse(Z): nothing for c >= 0, c/2 times each row of Z otherwise."""
        linear, node = self.linear, self.linear.nodes[part.position]
        rows = linear.rows(node.inputs[0])
        assert rows is not None
        if node.op == "log_softmax":
            shape = node.shape[: node.attributes["dim"]] + node.shape[node.attributes["dim"] + 1 :]
            moved = np.moveaxis(np.arange(node.numel).reshape(node.shape), node.attributes["dim"], -1)
            members, weights = moved.reshape(math.prod(shape), -1), part.weights
            where = np.empty(node.numel, np.int64)
            where[members.reshape(-1)] = np.repeat(np.arange(len(members)), members.shape[1])
            weights = Weights(-weights.factor, weights.numbers.gathered(where, len(members)))
        else:
            members, weights = linear.members(node), part.weights
        used = np.flatnonzero(weights.signs() != 0)
        least = [min(weights.bounds(int(e))[0], Fraction(0)) * HALF for e in used.tolist()]
        negative = [(e, w) for e, w in zip(used.tolist(), least, strict=True) if w < 0]
        if negative and members.shape[1] > 1:
            index = members[[e for e, _ in negative]].reshape(-1)
            numbers = np.repeat([self._weight((w, w)) for _, w in negative], members.shape[1])
            self._append(rows.take(index), np.full(len(index), -1), numbers.tolist())

    # the conclusion ----------------------------------------------------------------------------------------------------
    def assembled(self, least: Sequence[Fraction]) -> tuple[Rows, np.ndarray, list[Fraction]]:
        """All rows, the class of each, and the lower bound s of each class."""
        weights = list(self._weights)
        if not self._found.rows:
            return affine.empty(0), np.zeros(0, np.int64), []
        start = np.concatenate(
            [np.zeros(1, np.int64), np.cumsum(np.concatenate([np.diff(r.start) for r in self._found.rows]))]
        )
        rows = Rows(
            start, np.concatenate([r.columns for r in self._found.rows]), joined([r.values for r in self._found.rows])
        )
        pairs = np.column_stack([np.concatenate(self._found.functions), np.concatenate(self._found.weights)])
        table, kinds = np.unique(pairs, axis=0, return_inverse=True)
        self.numbers = table[:, 0]
        bounds = []
        for f, w in table.tolist():
            low, high = weights[w]
            bounds.append(low if f < 0 else min(low * least[f], high * least[f]))
        return rows, kinds.reshape(-1), bounds

    def proves(self, least: Sequence[Fraction], mu: Fraction) -> bool:
        """Is the sum of s_k a_k a_k' - mu I positive semidefinite, given the bounds of all functions?"""
        return semidefinite(*self.assembled(least), self.linear.size, mu)


def _size(bounds: tuple[Fraction, Fraction]) -> tuple[Fraction, Fraction]:
    """The interval of |w| for a w of one sign."""
    low, high = bounds
    return (low, high) if low >= 0 else (-high, -low)


__all__ = ["Curvature", "Function", "Unsuited"]
