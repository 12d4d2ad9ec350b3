r"""Quadratic parts: polynomials of degree two, expanded exactly, inside any objective.

f = x'Ax + b'x + c is convex where A is positive semidefinite, and f >= 0 with a convex square root where the matrix
[[A, b/2], [b'/2, c]] is, for then f = ||L(x, 1)||^2.  A sum is split into its terms: those of degree two or less form one
polynomial, and where that and every other term are convex, so is the sum, in whatever order it was written.
"""

from __future__ import annotations

import functools
import itertools
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from epigraph.calculus.lattice import CONCAVE, CONVEX, ROOTCONVEX, Bits, Facts, negate
from epigraph.objective.graph import Graph, Node

VARIABLES = 16  # entries of the parameters that a polynomial may have
ENTRIES = 1024  # of any tensor on the way
RESULTS = 64  # entries of the polynomial itself
Polynomial = Mapping[tuple[int, ...], Fraction]  # coefficient by the sorted numbers of its at most two variables
Objects = NDArray[Any]
Matrix = list[list[Fraction]]
ZERO = Fraction(0)


class _Unfit(Exception):
    """No polynomial of degree two, or one that is too large."""


@final
class Quadratics:
    """The polynomials of one graph, each node expanded once, and what is asked of them."""

    def __init__(self, graph: Graph, active: frozenset[str]):
        self._graph, self._known = graph, dict[int, Objects]()
        self._active, self._names = active, tuple(graph.parameters)
        sizes = [value.numel() for value in graph.parameters.values()]
        self._first = [0, *itertools.accumulate(sizes)]  # variables of one parameter after those of the other
        self._feeds: list[set[str]] = [set() for _ in graph.nodes]
        for node in graph.nodes:
            for i in node.inputs:
                self._feeds[i].add(node.op)
        self._degrees: dict[int, int] = {}

    def claims(self, node: Node, facts: Sequence[Facts], bits: Bits) -> Bits:
        """What ``node``, which has the claims ``bits`` so far, has as a quadratic or as a sum with a quadratic part."""
        wanted = 0
        if self._feeds[node.id] & {"sqrt", "power", "div"} and not _everywhere(bits, ROOTCONVEX):
            wanted |= ROOTCONVEX
        inner = self._feeds[node.id] and self._feeds[node.id] <= {"add", "neg", "mul"}
        if not inner and not _everywhere(bits, CONVEX) and not _everywhere(bits, CONCAVE):
            wanted |= CONVEX | CONCAVE
        if not wanted or node.numel > RESULTS:
            return 0
        try:
            return self._decide(node, facts, wanted)
        except _Unfit:
            return 0

    def definite(self, node: Node, facts: Sequence[Facts]) -> bool:
        """Are the matrices of a node symmetric, affine in the parameters, and positive semidefinite on the whole box?

        A(x) = A_0 + sum x_i A_i.  Where A_i is semidefinite, the bound of x_i at which it is least suffices; for the others
        all combinations of both bounds do, since A(x) is a mean of those.  A matrix that is singular somewhere inside
        is singular everywhere then, so that its determinant is positive inside or always zero.
        """
        try:
            if self._degree(node) > 1 or not self._quadratic(node):
                return False
            matrices = self._expand(node)
            return all(self._definite(m, facts) for m in matrices.reshape(-1, *matrices.shape[-2:]))
        except _Unfit:
            return False

    def _definite(self, matrix: Objects, facts: Sequence[Facts]) -> bool:
        n = matrix.shape[-1]
        if any(matrix[i, j] != matrix[j, i] for i in range(n) for j in range(i)):
            return False

        def part(key: tuple[int, ...], c: Fraction | int = 1) -> Matrix:
            return [[c * matrix[i, j].get(key, ZERO) for j in range(n)] for i in range(n)]

        base, open_ = part(()), list[tuple[Matrix, Matrix]]()
        for v in sorted({k for p in matrix.reshape(-1) for key in p for k in key}):
            low, high = self._bounds(v, facts)
            if low is not None and _semidefinite(part((v,))):
                base = _plus(base, part((v,), low))
            elif high is not None and _semidefinite(part((v,), -1)):
                base = _plus(base, part((v,), high))
            elif low is not None and high is not None and len(open_) < 6:
                open_.append((part((v,), low), part((v,), high)))
            else:
                return False
        return all(_semidefinite(functools.reduce(_plus, choice, base)) for choice in itertools.product(*open_))

    def _bounds(self, v: int, facts: Sequence[Facts]) -> tuple[Fraction | None, Fraction | None]:
        name = self._names[bisect_right(self._first, v) - 1]
        place, shape = v - self._first[self._names.index(name)], tuple(self._graph.parameters[name].shape)
        ends = facts[self._graph.parameter_nodes[name]].interval.arrays(shape)
        low, high = (float(b.reshape(-1)[place]) for b in ends)
        return Fraction(low) if math.isfinite(low) else None, Fraction(high) if math.isfinite(high) else None

    def _decide(self, node: Node, facts: Sequence[Facts], wanted: int) -> Bits:
        terms = list(self._terms(node, Fraction(1)))
        small = [(c, t) for c, t in terms if self._quadratic(t)]
        if not any(self._degree(t) == 2 for _, t in small):
            return 0
        if len(small) < len(terms) and not wanted & CONVEX:
            return 0
        total = np.full(node.shape, {}, dtype=object)
        for c, t in small:
            total = _each(lambda p, q, c=c: _combined(p, q, c), total, self._expand(t))
        found = np.array([self._bits(p) for p in total.reshape(-1)], dtype=np.uint8).reshape(node.shape)
        if len(small) < len(terms):
            rest = np.uint8(CONVEX | CONCAVE)
            chosen = {t.id for _, t in small}
            for c, t in terms:
                if t.id not in chosen:
                    own = facts[t.id].bits if c >= 0 else negate(facts[t.id].bits)
                    rest = rest & np.asarray(own, dtype=np.uint8)
            found = found & rest
        return found

    def _terms(self, node: Node, factor: Fraction) -> Iterable[tuple[Fraction, Node]]:
        """(coefficient, term) of the sum that a node is; terms of the node's own shape."""
        nodes = self._graph.nodes
        pending = [(factor, node)]
        for _ in range(200):
            if not pending:
                return
            c, term = pending.pop()
            below = [nodes[i] for i in term.inputs]
            if term.op == "add" and all(t.shape == node.shape for t in below):
                pending += [(c, t) for t in below]
            elif term.op == "neg":
                pending.append((-c, below[0]))
            elif term.op == "mul" and "value" in below[0].attributes and below[1].shape == node.shape:
                pending.append((c * Fraction(below[0].attributes["value"]), below[1]))
            else:
                yield c, term
        raise _Unfit

    def _quadratic(self, node: Node) -> bool:
        """Has the node degree at most two in all parameters together, and few variables and entries?"""
        if self._degree(node) > 2:
            return False
        pending, seen, count = [node.id], set[int](), 0
        while pending:
            i = pending.pop()
            if i in seen:
                continue
            seen.add(i)
            below = self._graph[i]
            count += below.numel if below.op == "parameter" else 0
            if count > VARIABLES or below.numel > ENTRIES:
                return False
            pending += below.inputs
        return True

    def _degree(self, node: Node) -> int:
        """An upper bound of the degree in all parameters; 9 stands for none."""
        known = self._degrees
        if node.id not in known:
            order, pending = [], [node.id]
            seen = set(known)
            while pending:
                i = pending.pop()
                if i not in seen:
                    seen.add(i)
                    order.append(i)
                    pending += self._graph[i].inputs
            for i in sorted(order):
                below = self._graph[i]
                known[i] = min(9, _degree(below, [known[j] for j in below.inputs]))
        return known[node.id]

    def _expand(self, node: Node) -> Objects:
        pending = [node.id]
        while pending:
            i = pending[-1]
            below = self._graph[i].inputs
            missing = [j for j in (below[:1] if self._graph[i].op == "same" else below) if j not in self._known]
            if i in self._known or not missing:
                pending.pop()
                if i not in self._known:
                    self._known[i] = self._made(self._graph[i])
            else:
                pending += missing
        return self._known[node.id]

    def _made(self, node: Node) -> Objects:
        if node.op == "parameter":
            first = self._first[self._names.index(node.attributes["name"])]
            return _objects([{(first + k,): Fraction(1)} for k in range(node.numel)], node.shape)
        if node.op == "constant":
            return self._constant(node)
        x = [self._known[i] for i in (node.inputs[:1] if node.op == "same" else node.inputs)]
        if node.op in _LAYOUT:
            return _LAYOUT[node.op](node, x)
        if node.op not in _ARITHMETIC:
            raise _Unfit
        return _ARITHMETIC[node.op](node, x)

    def _constant(self, node: Node) -> Objects:
        if "value" in node.attributes:
            return _objects([_plain(Fraction(node.attributes["value"]))], ())
        tensor = self._graph.tensors[node.attributes["tensor"]].tensor
        if tensor.numel() > ENTRIES or not bool(torch.isfinite(tensor.double()).all()):
            raise _Unfit
        return _objects([_plain(Fraction(v)) for v in tensor.reshape(-1).tolist()], node.shape)

    def _bits(self, p: Polynomial) -> int:
        """Claims of one polynomial."""
        variables = sorted({v for key in p for v in key})
        moving = [v for v in variables if self._names[bisect_right(self._first, v) - 1] in self._active]
        found = CONVEX if _semidefinite(_matrix(p, moving)) else 0
        found |= CONCAVE if _semidefinite(_matrix(p, moving, -1)) else 0
        return found | (ROOTCONVEX if _semidefinite(_homogeneous(p, variables)) else 0)


def _plus(A: Matrix, B: Matrix) -> Matrix:
    return [[a + b for a, b in zip(u, v, strict=True)] for u, v in zip(A, B, strict=True)]


def _everywhere(bits: Bits, claim: int) -> bool:
    return bool(np.all(np.asarray(bits) & claim))


def _degree(node: Node, below: Sequence[int]) -> int:
    if node.op == "parameter":
        return 1
    if node.op in ("mul", "matmul"):
        return below[0] + below[1]
    if node.op == "div":
        return below[0] if below[1] == 0 else 9
    if node.op == "power":
        e = Fraction(node.attributes["exponent"])
        return below[0] * int(e) if e.denominator == 1 and e > 0 else 9 if below[0] else 0
    if node.op in _LAYOUT or node.op in ("add", "neg", "sum", "constant"):
        return max(below[:1] if node.op in ("same", "take") else below, default=0)
    return 9 if any(below) else 0


def _plain(value: Fraction) -> Polynomial:
    return {(): value} if value else {}


def _objects(values: Sequence[Polynomial], shape: tuple[int, ...]) -> Objects:
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out.reshape(shape)


def _each(f: Callable[..., Polynomial], *arrays: Objects) -> Objects:
    if math.prod(np.broadcast_shapes(*(a.shape for a in arrays))) > ENTRIES:
        raise _Unfit
    return np.asarray(np.frompyfunc(f, len(arrays), 1)(*arrays), dtype=object)


def _combined(p: Polynomial, q: Polynomial, c: Fraction | int = 1) -> Polynomial:
    out = dict(p)
    for key, value in q.items():
        out[key] = out.get(key, ZERO) + c * value
    return {key: value for key, value in out.items() if value}


def _times(p: Polynomial, q: Polynomial) -> Polynomial:
    out: dict[tuple[int, ...], Fraction] = {}
    for left, a in p.items():
        for right, b in q.items():
            key = tuple(sorted(left + right))
            if len(key) > 2:
                raise _Unfit
            out[key] = out.get(key, ZERO) + a * b
    return {key: value for key, value in out.items() if value}


def _power(node: Node, x: Sequence[Objects]) -> Objects:
    e = Fraction(node.attributes["exponent"])
    if e not in (1, 2):
        raise _Unfit
    return x[0] if e == 1 else _each(_times, x[0], x[0])


def _divided(node: Node, x: Sequence[Objects]) -> Objects:
    def ratio(p: Polynomial, q: Polynomial) -> Polynomial:
        if set(q) != {()}:
            raise _Unfit
        return {key: value / q[()] for key, value in p.items()}

    return _each(ratio, x[0], x[1])


def _summed(node: Node, x: Sequence[Objects]) -> Objects:
    dims = node.attributes["dims"]
    order = [d for d in range(x[0].ndim) if d not in dims] + list(dims)
    rows = x[0].transpose(order).reshape(node.numel, -1)
    return _objects([_total(row) for row in rows], node.shape)


def _total(row: Iterable[Polynomial]) -> Polynomial:
    out: Polynomial = {}
    for p in row:
        out = _combined(out, p)
    return out


def _matmul(node: Node, x: Sequence[Objects]) -> Objects:
    a, b = x
    if math.prod(node.shape) * a.shape[-1] > 8 * ENTRIES:
        raise _Unfit
    products = np.frompyfunc(_times, 2, 1)(a[..., :, :, None], b[..., None, :, :])
    moved = np.moveaxis(np.asarray(products, dtype=object), -2, -1)
    return _objects([_total(row) for row in moved.reshape(node.numel, -1)], node.shape)


_ARITHMETIC: Mapping[str, Callable[[Node, Sequence[Objects]], Objects]] = {
    "add": lambda node, x: _each(_combined, *x),
    "neg": lambda node, x: _each(lambda p: {k: -v for k, v in p.items()}, x[0]),
    "mul": lambda node, x: _each(_times, *x),
    "div": _divided,
    "power": _power,
    "sum": _summed,
    "matmul": _matmul,
}
_LAYOUT: Mapping[str, Callable[[Node, Sequence[Objects]], Objects]] = {
    "reshape": lambda node, x: x[0].reshape(node.shape),
    "permute": lambda node, x: x[0].transpose(node.attributes["dims"]),
    "expand": lambda node, x: np.broadcast_to(x[0], node.shape),
    "slice": lambda node, x: x[0][(slice(None),) * node.attributes["dim"] + (
        slice(node.attributes["start"], node.attributes["stop"], node.attributes["step"]),)],
    "concat": lambda node, x: np.concatenate(x, node.attributes["dim"]),
    "take": lambda node, x: np.take(x[0], [int(p.get((), ZERO)) for p in x[1].reshape(-1)], node.attributes["dim"]),
    "same": lambda node, x: x[0],
}  # fmt: skip


def _matrix(p: Polynomial, variables: Sequence[int], sign: int = 1) -> list[list[Fraction]]:
    """Twice the matrix A over these variables."""
    return [[sign * p.get((min(i, j), max(i, j)), ZERO) * (2 if i == j else 1) for j in variables] for i in variables]


def _homogeneous(p: Polynomial, variables: Sequence[int]) -> list[list[Fraction]]:
    """Twice the matrix of the quadratic form in (x, 1)."""
    edge = [p.get((i,), ZERO) for i in variables]
    rows = [[*row, e] for row, e in zip(_matrix(p, variables), edge, strict=True)]
    return [*rows, [*edge, 2 * p.get((), ZERO)]]


def _semidefinite(A: list[list[Fraction]]) -> bool:
    """Symmetric elimination: no pivot is negative, and a pivot of zero has a row of zeros."""
    A = [row[:] for row in A]
    for k in range(len(A)):
        pivot = A[k][k]
        if pivot < 0 or (pivot == 0 and any(A[k][j] for j in range(k + 1, len(A)))):
            return False
        for i in range(k + 1, len(A)):
            ratio = A[i][k] / pivot if pivot else ZERO
            for j in range(k + 1, len(A)):
                A[i][j] -= ratio * A[k][j]
    return True
