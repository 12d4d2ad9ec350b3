"""Polynomials of degree above two in few variables: sums of squares, Sturm's theorem, directions of negative curvature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from flint import fmpq

from epigraph.certificate import shapes
from epigraph.certificate.affine import Unsuited
from epigraph.certificate.polynomials import Ring
from epigraph.certificate.secondorder import boxes
from epigraph.certificate.sumofsquares import Claim, Monomial, holds
from epigraph.convexity.evidence import Court, manifest_graph, provenance
from epigraph.convexity.prove import Prover, box_of
from epigraph.convexity.search import Hint
from epigraph.convexity.squares import Form, gram
from epigraph.convexity.verdict import Proof, Step

VARIABLES = 12
DEGREE = 24
ENTRIES = 20_000
SAMPLES = 200


def polynomial_claims(
    prover: Prover, active: Sequence[str], court: Court, hints: dict[str, Hint] | None = None
) -> dict[str, Proof]:
    """Proofs of convexity or concavity of a polynomial; where a direction of negative curvature shows, ``hints`` has it."""
    graph = prover.graph
    degree = prover.output(prover.names).degree
    size = sum(p.numel() for p in graph.parameters.values())
    if not 2 < degree <= DEGREE or size > VARIABLES or sum(n.numel for n in graph) > ENTRIES or not court.possible:
        return {}
    plain, stored, _ = manifest_graph(graph, forms=True)
    domain, extra = box_of(prover)
    tensors = {**{key: s.array for key, s in stored.items()}, **extra}
    try:
        ring = Ring(shapes.program(plain, shapes.metas(tensors)), tensors, active)
        J = ring.objective()
    except Unsuited:
        return {}
    names = [n for n in active if n in ring.offsets]
    for word, sign in (("convex", 1), ("concave", -1)):
        try:
            found = _one(ring, sign * J, prover, names, hints if hints is not None else {}, word)
        except OverflowError:  # coefficients beyond the range of floats
            return {}
        if found is None:
            continue
        claim = Claim(word, tuple(names), {n: (a, b) for n, (a, b) in domain.items()}, *map(tuple, found))  # type: ignore[arg-type]
        if holds(ring, J, claim, boxes(claim.domain, tensors)):
            return {p + word: _proof(prover, claim, p + word, domain, extra) for p in ("", "quasi")}
    return {}


def _one(
    ring: Ring, J: Any, prover: Prover, names: Sequence[str], hints: dict[str, Hint], word: str
) -> tuple[list[Monomial], list[fmpq]] | None:
    """A Gram matrix for the Hessian form, an empty one where Sturm's theorem is to decide, or None."""
    if ring.count == 1:
        return [], []
    form: Form = {tuple(map(int, m)): c for m, c in ring.form(J).to_dict().items()}
    if not form:
        return None
    point, direction, least = _lowest(form, ring)
    if least < 0:
        hints[word] = _split(point, ring, prover, prover.names), _split(direction, ring, prover, names)
        return None
    return gram(form, ring.count)


def _lowest(form: Form, ring: Ring) -> tuple[np.ndarray, np.ndarray, float]:
    """A point and a unit direction with a low value of the Hessian form relative to its size, by random search."""
    n, k = ring.count, len(ring.active)
    exponents = np.array([m[:n] for m in form])
    matrices = np.zeros((len(form), k, k))
    for row, (m, c) in enumerate(form.items()):
        i, *rest = [p for p in range(k) for _ in range(m[n + p])]
        j = rest[0]
        matrices[row, i, j] = matrices[row, j, i] = float(c.p) / float(c.q) / (1 if i == j else 2)
    generator = np.random.default_rng(0)

    def least(x: np.ndarray) -> tuple[float, np.ndarray]:
        terms = np.prod(x**exponents, axis=1)
        values, vectors = np.linalg.eigh(np.tensordot(terms, matrices, 1))
        return float(values[0]) / (float(np.abs(terms) @ np.abs(matrices).max((1, 2))) + 1e-300), vectors[:, 0]

    starts = generator.normal(size=(SAMPLES, n)) * 10.0 ** generator.uniform(-1, 1, size=(SAMPLES, 1))
    best, at = min(((least(x)[0], tuple(x)) for x in starts), key=lambda pair: pair[0])
    x, step = np.array(at), 0.5
    for _ in range(SAMPLES):
        trial = x + step * (np.abs(x) + 0.1) * generator.normal(size=n)
        value = least(trial)[0]
        if value < best:
            x, best = trial, value
        else:
            step = max(step * 0.97, 1e-4)
    direction = np.zeros(n)
    direction[ring.active] = least(x)[1]
    return x, direction, best if best < -1e-9 else 0.0


def _split(x: np.ndarray, ring: Ring, prover: Prover, names: Sequence[str]) -> dict[str, np.ndarray]:
    out = {}
    for name in names:
        if name in ring.offsets:
            shape = tuple(prover.graph.parameters[name].shape)
            at = ring.offsets[name]
            out[name] = x[at : at + int(np.prod(shape))].reshape(shape)
    return out


def _proof(prover: Prover, claim: Claim, name: str, domain: Any, extra: Any) -> Proof:
    graph = prover.graph
    node = graph[graph.output]
    if claim.monomials:
        lemma = "the Hessian form is a sum of squares"
        side = f"a rational Gram matrix over {len(claim.monomials)} monomials is positive semidefinite"
    else:
        lemma = "a polynomial in one variable whose second derivative has one sign"
        side = "by Sturm's theorem"
    step = Step(
        node.id,
        f"{name}: a polynomial of degree {prover.output(prover.names).degree}",
        lemma,
        (),
        (side,),
        node.origin.operator or node.op,
        node.shape,
        node.origin.location,
        node.origin.module,
    )
    derivation = {
        "form": "polynomial",
        "property": name,
        "active": list(claim.active),
        "domain": domain,
        "monomials": [list(m) for m in claim.monomials],
        "gram": [f"{v.p}/{v.q}" for v in claim.gram],
    }

    def payload() -> Any:
        from epigraph.certificate.format import Stored, assemble

        plain, stored, _ = manifest_graph(graph, forms=True)
        tensors = {**stored, **{key: Stored(v, "bound", key) for key, v in extra.items()}}
        return assemble(derivation, plain, tensors, {}, provenance(prover.describe))

    return Proof(name, (step,), derivation, payload)
