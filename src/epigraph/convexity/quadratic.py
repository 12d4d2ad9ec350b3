"""Exact quadratics: J is a polynomial of degree two in the active parameters, so its Hessian is one constant matrix.

The entries follow from values of J at integer points, in rational arithmetic; a rational LDL' decomposition decides
whether the matrix is positive semidefinite.  For a part of the blocks the Hessian may depend on the others, so this
lemma is used only where the degree in all parameters together is at most two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from epigraph.convexity.evidence import Court
from epigraph.convexity.prove import Prover
from epigraph.convexity.verdict import Proof, Step

SIZE_LIMIT = 24
ROUNDING = 1e-12


def quadratic_claims(
    prover: Prover, active: Sequence[str], court: Court, notes: list[str] | None = None
) -> dict[str, Proof]:
    """Proofs of convexity or concavity of a quadratic J in at most ``SIZE_LIMIT`` variables.

    Where the least eigenvalue has the wrong sign by no more than rounding of the data explains, ``notes`` says so.
    """
    degree = prover.output(prover.names).degree
    size = sum(prover.graph.parameters[n].numel() for n in active)
    if not 0 <= degree <= 2 or size > SIZE_LIMIT or not court.possible:
        return {}
    H = _hessian(prover, active, court)
    if H is None:
        return {}
    found = {}
    for name, sign in (("convex", 1), ("concave", -1)):
        pivots = _pivots([[sign * v for v in row] for row in H])
        if pivots is not None:
            found[name] = _proof(prover, active, name, H, pivots)
            found["quasi" + name] = _proof(prover, active, "quasi" + name, H, pivots)
    if not found and notes is not None:
        _note_rounding(H, notes)
    return found


def _note_rounding(H: list[list[Fraction]], notes: list[str]) -> None:
    """Say where the Hessian is semidefinite up to rounding in the data."""
    import numpy as np

    low, *_, high = np.linalg.eigvalsh(np.array([[float(v) for v in row] for row in H])) if len(H) > 1 else (0.0, 0.0)
    for least, most, word in ((low, high, "convex"), (-high, -low, "concave")):
        if most > 0 > least >= -ROUNDING * most:
            notes.append(
                f"J is a quadratic that is {word} up to rounding in the data: the extreme eigenvalues of its Hessian are "
                f"about {low:.2g} and {high:.2g}"
            )


def _hessian(prover: Prover, active: Sequence[str], court: Court) -> list[list[Fraction]] | None:
    """H_ij = J(e_i + e_j) - J(e_i) - J(e_j) + J(0), exactly, or None where J is not rational."""
    import numpy as np

    from epigraph.certificate import exact
    from epigraph.certificate.points import Delta

    if not exact.supports_exact(court.plain):
        return None
    arrays = {k: s.array for k, s in court.stored.items()}
    for name, key in court.keys.items():
        arrays[key] = np.zeros(prover.graph.parameters[name].shape)
    entries = [(court.keys[n], i) for n in active if n in court.keys for i in range(arrays[court.keys[n]].size)]

    def at(*chosen: tuple[str, int]) -> Mapping[str, Any]:
        steps: dict[str, Any] = {}
        for key, i in chosen:
            k = steps.setdefault(key, np.zeros(arrays[key].shape, np.int32))
            k.reshape(-1)[i] += 1
        return {key: Delta(1, k, 0) for key, k in steps.items()}

    n = len(entries)
    pairs = [(i, j) for i in range(n) for j in range(i, n)]
    points = [at(), *(at(e) for e in entries), *(at(entries[i], entries[j]) for i, j in pairs)]
    try:
        values = [Fraction(int(v.p), int(v.q)) for v in exact.evaluate(court.plain, arrays, points, "exact")]
    except ArithmeticError:
        return None
    H = [[Fraction(0)] * n for _ in range(n)]
    for (i, j), value in zip(pairs, values[n + 1 :], strict=True):
        H[i][j] = H[j][i] = value - values[1 + i] - values[1 + j] + values[0]
    return H


def _pivots(A: list[list[Fraction]]) -> list[Fraction] | None:
    """The pivots of a rational LDL', or None where the matrix is not positive semidefinite."""
    A = [row[:] for row in A]
    n, pivots = len(A), []
    for k in range(n):
        pivot = A[k][k]
        if pivot < 0 or (pivot == 0 and any(A[k][j] != 0 for j in range(k + 1, n))):
            return None
        pivots.append(pivot)
        if pivot:
            for i in range(k + 1, n):
                ratio = A[i][k] / pivot
                if ratio:
                    for j in range(k + 1, n):
                        A[i][j] -= ratio * A[k][j]
    return pivots


def _proof(prover: Prover, active: Sequence[str], name: str, H: list[list[Fraction]], pivots: list[Fraction]) -> Proof:
    graph = prover.graph
    node = graph[graph.output]
    shown = ", ".join(f"{float(p):.4g}" for p in pivots[:8]) + (", ..." if len(pivots) > 8 else "")
    sign = "" if name.endswith("convex") else "the negative of "
    step = Step(
        node.id,
        f"{name}: a polynomial of degree 2",
        "a quadratic with a positive semidefinite Hessian is convex",
        (),
        (f"pivots of the rational LDL' of {sign}the Hessian: {shown}",),
        node.origin.operator or node.op,
        node.shape,
        node.origin.location,
        node.origin.module,
    )
    derivation = {
        "property": name,
        "active": list(active),
        "lemma": "quadratic",
        "hessian": [[f"{v.numerator}/{v.denominator}" for v in row] for row in H],
    }
    return Proof(name, (step,), derivation)
