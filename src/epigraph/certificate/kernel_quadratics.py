r"""Quadratic parts, decided from exact values: polynomials of degree two among the terms of a sum, or under a root.

A node built from parameters and constants by sums, products, whole powers, divisions by constants and by moving entries
has a degree in all parameters together that structure bounds.  Where that is at most two, f = x'Ax + b'x + c follows from
its values at the unit vectors and their sums, in rational numbers: 2 A_ij = f(e_i + e_j) - f(e_i) - f(e_j) + f(0),
b_i = (4 f(e_i) - f(2 e_i) - 3 f(0))/2, c = f(0).

A positive semidefinite: f is convex.  [[A, b/2], [b'/2, c]] positive semidefinite: f = |L(x, 1)|^2, and sqrt f is convex.
Terms of a sum may be added in any order: a sum is convex where its quadratic part is and every other term is.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, final

import numpy as np
from flint import fmpq, fmpq_mat

from epigraph.certificate.graph import Node, Program
from epigraph.certificate.kernel_claims import Claims, negative
from epigraph.certificate.kernel_numbers import fraction
from epigraph.certificate.kernel_records import Record
from epigraph.certificate.rationals import Rational, Rationals, Undefined

VARIABLES = 16
ENTRIES = 4096
TERMS = 256
NONE = 9  # a degree that is too high
LINEAR = frozenset(("add", "neg", "sum", "concat", "reshape", "permute", "expand", "slice"))


@final
class Quadratics:
    """What can be said of the nodes of one program by their polynomials."""

    def __init__(self, program: Program, tensors: Mapping[str, np.ndarray], active: frozenset[str]):
        self._program, self._tensors, self._active = program, tensors, active
        self._degrees: list[int] = []
        for node in program.nodes:
            self._degrees.append(min(NONE, self._degree(node)))

    def _degree(self, node: Node) -> int:
        below = [self._degrees[i] for i in node.inputs]
        if node.op == "parameter":
            return 1
        if node.op in ("mul", "matmul"):
            return below[0] + below[1]
        if node.op == "power":
            e = fraction(node.attributes["exponent"])
            return below[0] * int(e) if e.denominator == 1 and e > 0 else NONE
        if node.op == "div":
            return below[0] if below[1] == 0 else NONE
        if node.op in ("same", "take"):
            return below[0]
        if node.op in LINEAR or node.op == "constant":
            return max(below, default=0)
        return NONE

    def claims(self, position: int, records: Mapping[int, Record]) -> Claims:
        """Claims of a node; nothing where its quadratic part is none, or is large."""
        node = self._program.nodes[position]
        terms = self._terms(position)
        small = [(c, i) for c, i in terms if self._degrees[i] <= 2]
        if not any(self._degrees[i] == 2 for _, i in small):
            return Claims()
        found = self._decided([i for _, i in small], [c for c, _ in small], node.shape)
        if found is None or len(small) == len(terms):
            return Claims() if found is None else found
        convex, concave = found.convex, found.concave
        for c, i in terms:
            if self._degrees[i] > 2:
                own = records[i].claims if c >= 0 else negative(records[i].claims)
                convex, concave = convex & own.convex, concave & own.concave
        return Claims(convex=convex, concave=concave)

    def definite(self, position: int, domain: Mapping[str, Any]) -> bool:
        """Are the matrices of a node symmetric, affine, and positive semidefinite for all parameters in the box?

        A(x) = A(0) + sum x_k (A(e_k) - A(0)): for a semidefinite slope the bound that makes the term least is enough, for
        others both bounds in all combinations, of which A(x) is a mean.
        """
        node = self._program.nodes[position]
        needed = self._needed([position])
        entries = self._entries(needed)
        largest = max(self._program.nodes[i].numel for i in needed)
        if self._degrees[position] > 1 or len(entries) > VARIABLES or largest > ENTRIES:
            return False
        try:
            values = _Values(self._program, self._tensors, needed, [position], [Fraction(1)], node.shape)
            zero = values.at()
            slopes = [values.at((*e, 1)) - zero for e in entries]
        except Undefined:
            return False
        size = node.shape[-1] ** 2
        bounds = [self._sides(i, k, domain) for i, k in entries]
        return all(_definite(zero[s : s + size], [d[s : s + size] for d in slopes], bounds, node.shape[-1])
                   for s in range(0, node.numel, size))  # fmt: skip

    def _sides(self, i: int, k: int, domain: Mapping[str, Any]) -> list[fmpq | None]:
        node = self._program.nodes[i]
        found = []
        for side in domain.get(node.attributes["name"], (np.asarray(-np.inf), np.asarray(np.inf))):
            value = float(np.broadcast_to(side, node.shape).reshape(-1)[k])
            found.append(fmpq(*value.as_integer_ratio()) if np.isfinite(value) else None)
        return found

    def _entries(self, needed: Sequence[int]) -> list[tuple[int, int]]:
        nodes = self._program.nodes
        return [(i, k) for i in needed if nodes[i].op == "parameter" for k in range(nodes[i].numel)]

    def _terms(self, position: int) -> list[tuple[Fraction, int]]:
        """(factor, node) for each term of a sum of tensors of one shape."""
        nodes, shape = self._program.nodes, self._program.nodes[position].shape
        pending, found = [(Fraction(1), position)], []
        while pending:
            c, i = pending.pop()
            node = nodes[i]
            if node.op == "add" and all(nodes[j].shape == shape for j in node.inputs) and len(pending) < TERMS:
                pending += [(c, j) for j in node.inputs]
            elif node.op == "neg":
                pending.append((-c, node.inputs[0]))
            elif (
                node.op == "mul"
                and "value" in nodes[node.inputs[0]].attributes
                and nodes[node.inputs[1]].shape == shape
            ):
                pending.append((c * fraction(nodes[node.inputs[0]].attributes["value"]), node.inputs[1]))
            else:
                found.append((c, i))
        return found

    def _decided(self, positions: Sequence[int], factors: Sequence[Fraction], shape: tuple[int, ...]) -> Claims | None:
        needed = self._needed(positions)
        entries = self._entries(needed)
        largest = max(self._program.nodes[i].numel for i in needed)
        if len(entries) > VARIABLES or largest > ENTRIES:
            return None
        try:
            values = _Values(self._program, self._tensors, needed, positions, factors, shape)
            polynomials = [_Form(values, entries, k) for k in range(int(np.prod(shape, dtype=int)))]
        except Undefined:
            return None
        moving = [n for n, (i, _) in enumerate(entries) if self._program.nodes[i].attributes["name"] in self._active]
        masks = np.array([p.decided(moving) for p in polynomials], dtype=bool).reshape(*shape, 3)
        return Claims(convex=masks[..., 0], concave=masks[..., 1], root_convex=masks[..., 2])

    def _needed(self, positions: Sequence[int]) -> list[int]:
        pending, seen = list(positions), set()
        while pending:
            i = pending.pop()
            if i not in seen:
                seen.add(i)
                pending += self._program.nodes[i].operands
        return sorted(seen)


@final
class _Values:
    """Exact values of a combination of nodes at integer points; those asked for are kept."""

    def __init__(self, program: Program, tensors: Mapping[str, np.ndarray], needed: Sequence[int],
                 positions: Sequence[int], factors: Sequence[Fraction], shape: tuple[int, ...]):  # fmt: skip
        self._program, self._tensors, self._needed = program, tensors, needed
        self._positions, self._factors, self._shape = positions, factors, shape
        self._engine, self._known = Rationals(program, tensors), dict[tuple[tuple[int, int, int], ...], Any]()

    def at(self, *moves: tuple[int, int, int]) -> Any:
        """The flat values where entries k of parameters i are n, by moves (i, k, n), and all others 0."""
        if moves not in self._known:
            self._known[moves] = self._evaluate(moves)
        return self._known[moves]

    def _evaluate(self, moves: Sequence[tuple[int, int, int]]) -> Any:
        nodes, values = self._program.nodes, dict[int, Rational]()
        for i in self._needed:
            node = nodes[i]
            if node.op == "parameter":
                point = np.zeros(node.numel)
                for j, k, n in moves:
                    if j == i:
                        point[k] += n
                values[i] = self._engine.leaf(point.reshape(node.shape))
            elif node.op == "constant":
                own = node.attributes.get("value")
                values[i] = self._engine.scalar(own) if own is not None else self._engine.leaf(
                    np.asarray(self._tensors[node.attributes["tensor"]]))  # fmt: skip
            else:
                values[i] = self._engine.apply(node, [values[j] for j in node.operands])
        total = np.zeros(self._shape, dtype=object)
        for i, c in zip(self._positions, self._factors, strict=True):
            factor = fmpq(c.numerator, c.denominator)
            part = np.broadcast_to(values[i].objects, nodes[i].shape)
            total = total + np.asarray(
                np.frompyfunc(lambda v, f=factor, d=values[i].denominator: f * fmpq(v, d), 1, 1)(part)
            )
        return np.asarray(total, dtype=object).reshape(-1)


@final
class _Form:
    """The quadratic form of one entry."""

    def __init__(self, values: _Values, entries: Sequence[tuple[int, int]], place: int):
        n = len(entries)
        self._n, zero = n, values.at()[place]
        one = [values.at((*e, 1))[place] for e in entries]
        two = [values.at((*e, 2))[place] for e in entries]
        self.H = [[fmpq(0)] * n for _ in range(n)]
        for i in range(n):
            self.H[i][i] = two[i] - 2 * one[i] + zero
            for j in range(i):
                both = values.at((*entries[j], 1), (*entries[i], 1))[place]
                self.H[i][j] = self.H[j][i] = both - one[i] - one[j] + zero
        self.b = [(4 * one[i] - two[i] - 3 * zero) / 2 for i in range(n)]
        self.c = zero

    def decided(self, moving: Sequence[int]) -> tuple[bool, bool, bool]:
        """(convex, concave) in the moving variables, root-convex in all."""
        part = [[self.H[i][j] for j in moving] for i in moving]
        whole = [[*self.H[i], self.b[i]] for i in range(self._n)] + [[*self.b, 2 * self.c]]
        return semidefinite(part), semidefinite([[-v for v in row] for row in part]), semidefinite(whole)


def _definite(base: Any, slopes: Sequence[Any], bounds: Sequence[Sequence[fmpq | None]], n: int) -> bool:
    """The same for one matrix, its entries in row-major order."""

    def rows(flat: Any) -> list[list[Any]]:
        return flat.reshape(n, n).tolist()

    if any(bool(np.any(m.reshape(n, n) != m.reshape(n, n).T)) for m in (base, *slopes)):
        return False
    choices: list[tuple[Any, Any]] = []
    for slope, (low, high) in zip(slopes, bounds, strict=True):
        if low is not None and semidefinite(rows(slope)):
            base = base + slope * low
        elif high is not None and semidefinite(rows(-slope)):
            base = base + slope * high
        elif low is not None and high is not None and len(choices) < 6:
            choices.append((slope * low, slope * high))
        elif bool(np.any(slope != 0)):
            return False
    return all(semidefinite(rows(sum(parts, base))) for parts in itertools.product(*choices))


def semidefinite(rows: list[list[Any]]) -> bool:
    """Is a symmetric rational matrix positive semidefinite?

    Its characteristic polynomial x^n - s_1 x^(n-1) + s_2 x^(n-2) - ... has real zeros only; none is negative exactly
    where no s_k, the sum of the principal minors of size k, is.
    """
    n = len(rows)
    if n == 0:
        return True
    coefficients = fmpq_mat(n, n, [v for row in rows for v in row]).charpoly().coeffs()
    coefficients = list(coefficients) + [fmpq(0)] * (n + 1 - len(coefficients))
    return all((c if (n - k) % 2 == 0 else -c) >= 0 for k, c in enumerate(coefficients))
