"""Power means, ranked sums, perspectives, quadratic parts: what they prove, what they must not, and random attacks."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from flint import arb, ctx
from kernel_hand import Hand
from kernel_lemma_graphs import make
from kernel_oracle import points, wrong_claims

from epigraph.calculus import combinations, means, perspective, quadratic
from epigraph.calculus.means import INF, Fraction, Means
from epigraph.certificate import exact, kernel_means, kernel_quadratics, spectra
from epigraph.certificate.kernel import recheck
from epigraph.convexity.evidence import manifest_graph
from epigraph.convexity.prove import Derivation, Prover
from epigraph.errors import CertificateError
from epigraph.objective.expression import parse
from epigraph.objective.objective import Objective

POSITIVE = "x>0,y>0"
PROVED: list[tuple[str, str, str]] = [
    ("sqrt(x*y)", POSITIVE, "concave"),
    ("x**0.3*y**0.5", POSITIVE, "concave"),
    ("(x*y*z)**(1/3)", "x>=0,y>=0,z>=0", "concave"),
    ("(sqrt(x) + sqrt(y))**2", POSITIVE, "concave"),
    ("1/(1/x + 1/y)", POSITIVE, "concave"),
    ("1/(1/x**2 + 1/y**2)**0.5", POSITIVE, "concave"),
    ("exp((log(x) + log(y))/2)", POSITIVE, "concave"),
    ("exp(-logsumexp(-log(x), -log(y)))", POSITIVE, "concave"),
    ("(abs(x)**3 + abs(y)**3)**(1/3)", "", "convex"),
    ("(x**4 + y**4)**0.25", "", "convex"),
    ("x**3/y**2", "x>=0,y>0", "convex"),
    ("x**2/sqrt(y)", "y>0", "convex"),
    ("1/(x*y**2)", POSITIVE, "log_convex"),
    ("-log(x*y - z**2)", "2<=x<=3,2<=y<=3,-1<=z<=1", "convex"),
    ("sqrt(x*y - z**2)", "2<=x<=3,2<=y<=3,-1<=z<=1", "concave"),
    ("(sqrt(x) - sqrt(y))**2", POSITIVE, "convex"),
    ("x*log(x/y)", POSITIVE, "convex"),
    ("x*log(x/sqrt(y))", POSITIVE, "convex"),
    ("x*(log(x) - log(y))", POSITIVE, "convex"),
    ("(x - y)*log(x/y)", POSITIVE, "convex"),
    ("y*exp(x/y)", "y>0", "convex"),
    ("y*logsumexp(x/y, z/y)", "y>0", "convex"),
    ("y*log(1 + x/y)", POSITIVE, "concave"),
    ("logsumexp(x, y)*exp(logsumexp(x, y))", "x>=0,y>=0", "convex"),
    ("sqrt(x**2 + x*y + y**2 + 1)", "", "convex"),
    ("x**2 + abs(x) - x*y + y**2", "", "convex"),
    ("-(x**2 - x*y + y**2) + log(x)", "x>0", "concave"),
]
NOT_PROVED: list[tuple[str, str, str]] = [
    ("sqrt(x*y)", "", "concave"),
    ("x**0.6*y**0.5", POSITIVE, "concave"),
    ("(sqrt(abs(x)) + sqrt(abs(y)))**2", "", "convex"),
    ("sqrt(x*y + z*w)", "x>=0,y>=0,z>=0,w>=0", "concave"),
    ("sqrt(x*y - z*w)", "2<=x<=3,2<=y<=3,0<=z<=1,0<=w<=1", "concave"),  # a determinant that is not symmetric
    ("-log(x*y - z*w)", "2<=x<=3,2<=y<=3,0<=z<=1,0<=w<=1", "convex"),
    ("sqrt(x*y + 1)", POSITIVE, "concave"),
    ("x**3/y**3", POSITIVE, "convex"),
    ("x**2/y", "-1<=y<=1", "convex"),
    ("1/(1/x + 1/y)", "-1<=x<=1,y>0", "concave"),
    ("exp(0.5*log(x) + 0.75*log(y))", POSITIVE, "concave"),
    ("(sqrt(x) - sqrt(y) - 1)**2", POSITIVE, "convex"),
    ("(x - sqrt(y))**2", POSITIVE, "convex"),
    ("x*log(x/y)", "x>0", "convex"),
    ("x*log(x/y)", "y>0", "convex"),
    ("x*log(x/y**2)", POSITIVE, "convex"),
    ("(x - 2*y)*log(x/y)", POSITIVE, "convex"),
    ("y*exp(x/y)", "", "convex"),
    ("y*tanh(x/y)", "y>0", "convex"),
    ("log(x + 1)*sqrt(log(x + 1))", "x>=0", "convex"),
    ("sqrt(x**2 + 3*x*y + y**2 + 9)", "0<=x<=1,0<=y<=1", "convex"),
    ("sqrt(x**2 + x + 0.2)", "x>=0", "convex"),
    ("x**2 + abs(x) - 3*x*y + y**2", "", "convex"),
]


def claimed(text: str, where: str, prop: str) -> bool:
    """Is the property proved by rules, and does the kernel accept the derivation?"""
    J = parse(text, where or None).objective()
    prover = Prover(J.graph(), J.domain)
    found = prover.proofs(tuple(J.parameters))
    if prop in found:
        recheck(*_built(prover, tuple(J.parameters), prop))
    return prop in found


def _built(prover: Prover, active: tuple[str, ...], prop: str) -> Any:
    plain, stored, _ = manifest_graph(prover.graph, forms=True)
    derivation, extra = Derivation(prover, active, prop).parts
    return plain, {k: s.array for k, s in stored.items()} | extra, derivation


@pytest.mark.parametrize("text, where, prop", PROVED)
def test_what_the_lemmas_prove(text: str, where: str, prop: str) -> None:
    assert claimed(text, where, prop)


@pytest.mark.parametrize("text, where, prop", NOT_PROVED)
def test_what_they_must_not_prove(text: str, where: str, prop: str) -> None:
    assert not claimed(text, where, prop)


# ranks and spectra ---------------------------------------------------------------------------------------------------
SORTED = {
    "rising": ([-2.0, 0.0, 1.0], "affine", "convex", True),
    "falling": ([1.0, 0.0, -2.0], "affine", "convex", False),
    "falling is concave": ([1.0, 0.0, -2.0], "affine", "concave", True),
    "of convex entries": ([0.0, 1.0, 1.0], "convex", "convex", True),
    "of convex entries, first weight negative": ([-1.0, 1.0, 2.0], "convex", "convex", False),
    "of concave entries, all weights negative": ([-3.0, -2.0, -2.0], "concave", "convex", True),
    "of concave entries, last weight positive": ([-3.0, -2.0, 1.0], "concave", "convex", False),
}


@pytest.mark.parametrize("name", SORTED)
def test_weights_of_ranks(name: str) -> None:
    weights, kind, prop, expected = SORTED[name]
    inner = {"affine": lambda t: t, "convex": torch.exp, "concave": lambda t: -torch.exp(t)}[kind]
    w = torch.tensor(weights, dtype=torch.float64)
    J = Objective.from_function(lambda t: (inner(t).sort().values * w).sum(), {"t": torch.tensor([0.1, 0.2, 0.4])})
    prover = Prover(J.graph(), J.domain)
    assert (prop in prover.proofs(("t",))) is expected
    if expected:
        recheck(*_built(prover, ("t",), prop))


@pytest.mark.parametrize("weights, expected", [([0, 1, 1], True), ([1, 1, 0], False), ([-1, 0, 1], False)])
def test_weights_of_singular_values(weights: list[float], expected: bool) -> None:
    w = torch.tensor(weights, dtype=torch.float64)
    J = Objective.from_function(
        lambda t: torch.linalg.svdvals(t.reshape(3, 3)).flip(0) @ w, {"t": torch.eye(3).reshape(9).double()}
    )
    assert ("convex" in Prover(J.graph(), J.domain).proofs(("t",))) is expected


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("seed", range(4))
def test_spectra_are_enclosed(size: int, seed: int) -> None:
    """A matrix with known, partly equal eigenvalues, made by rational rotations; and its products."""
    rng = random.Random(seed)
    values = sorted(rng.choice([-2, 0, 0, 1, 3]) for _ in range(size))
    with ctx.workprec(128):
        A = [[arb(values[i] if i == j else 0) for j in range(size)] for i in range(size)]
        for _ in range(3 * (size > 1)):
            i, j = rng.sample(range(size), 2)
            c, s = arb(3) / 5, arb(4) / 5
            for row in A:
                row[i], row[j] = c * row[i] - s * row[j], s * row[i] + c * row[j]
            A[i], A[j] = ([c * u - s * v for u, v in zip(A[i], A[j], strict=True)],
                          [s * u + c * v for u, v in zip(A[i], A[j], strict=True)])  # fmt: skip
        found = spectra.eigenvalues([[(A[i][j] + A[j][i]) / 2 for j in range(size)] for i in range(size)])
        assert found is not None
        ordered = sorted(found, key=lambda v: float(v.mid()))
        assert all(v.contains(w) and v.rad() < 1e-9 for v, w in zip(ordered, values, strict=True))
        singular = spectra.singular_values(A)
        assert singular is not None
        sizes = sorted(abs(v) for v in values)
        ordered = sorted(singular, key=lambda v: float(v.mid()))
        assert all(v.contains(w) and not v < 0 for v, w in zip(ordered, sizes, strict=True))


def test_sorting_in_both_arithmetics() -> None:
    """Values of ranks at ties, in rationals and in balls."""
    J = Objective.from_function(
        lambda t: t.sort(descending=True).values @ torch.tensor([4.0, 2.0, 1.0]).double(),
        {"t": torch.zeros(3).double()},
    )
    plain, stored, keys = manifest_graph(J.graph())
    arrays = {k: s.array for k, s in stored.items()}
    for point, value in (([1.0, 1.0, 3.0], 15), ([0.0, -2.0, 0.5], 0), ([2.0, 2.0, 2.0], 14)):
        arrays[keys["t"]] = np.array(point)
        assert exact.evaluate(plain, arrays, [{}], "exact")[0] == value
        assert exact.evaluate(plain, arrays, [{}], "arb")[0].contains(value)


def test_false_claims_about_ranks_and_products_are_refused() -> None:
    h = Hand("convex", ["x"])
    x = h.parameter("x", (3,))
    s = h("sort", x, claims="", shape=(3,), dim=0)
    w = h("mul", s, h.data(np.array([3.0, 2.0, 1.0])), claims="", shape=(3,))
    h("sum", w, claims="cvx", shape=(), dims=[0])
    h2 = Hand("concave", ["x", "y"])
    a, b = h2.parameter("x", low=0), h2.parameter("y", low=0)
    p = h2("mul", a, b, claims="q+lcv", low=0)
    h2("power", p, claims="ccv+", low=0, exponent="3/5")
    for hand in (h, h2):
        with pytest.raises(CertificateError) as caught:
            recheck(*hand.built())
        assert caught.value.code == "E453", caught.value


def test_an_exponent_is_read_as_the_fraction_that_it_is_written_for() -> None:
    J = parse("(abs(x)**3 + abs(y)**3)**(1/3)").objective()
    assert "1/3" in {n.attributes["exponent"] for n in J.graph() if n.op == "power"}
    assert any("read as 1/3" in note for note in J.notes)
    literal = parse("abs(x)**0.33333333333333").objective()
    assert {n.attributes["exponent"] for n in literal.graph() if n.op == "power"} == {str(Fraction(0.33333333333333))}


def _gram(t: torch.Tensor) -> torch.Tensor:
    rows = torch.tensor([[1.0, 2.0], [0.5, -1.0], [3.0, 0.25]], dtype=torch.float64)
    return rows.T @ torch.diag(t) @ rows


def _pair(t: torch.Tensor, last: int) -> torch.Tensor:
    return torch.stack([torch.stack([t[0], t[2]]), torch.stack([t[last], t[1]])])


BOX = ([2.0, 2.0, -1.0], [3.0, 3.0, 1.0])
DETERMINANTS: dict[str, tuple[Any, int, Any, str, bool]] = {
    "weights of outer products": (lambda t: torch.logdet(_gram(t)), 3, (0.0, None), "concave", True),
    "weights of both signs": (lambda t: torch.logdet(_gram(t)), 3, (-0.01, None), "concave", False),
    "a box of definite matrices": (lambda t: torch.logdet(_pair(t, 2)), 3, BOX, "concave", True),
    "a box that reaches beyond": (lambda t: torch.logdet(_pair(t, 2)), 3, ([2, 2, -2.5], [3, 3, 2.5]), "concave", False),
    "the square root of size two": (lambda t: torch.linalg.det(_pair(t, 2)).sqrt(), 3, BOX, "concave", True),
    "the determinant itself": (lambda t: torch.linalg.det(_pair(t, 2)), 3, BOX, "concave", False),
    "no symmetric matrix": (
        lambda t: torch.logdet(_pair(t, 3)), 4, ([2, 2, 0.25, 0.25], [3, 3, 1, 1]), "concave", False),
    "the size by slogdet": (lambda t: torch.slogdet(_gram(t)).logabsdet, 3, (0.5, None), "concave", True),
}  # fmt: skip


@pytest.mark.parametrize("name", DETERMINANTS)
def test_determinants(name: str) -> None:
    function, size, box, prop, expected = DETERMINANTS[name]
    start = torch.tensor([2.5, 2.5, 0.5, 0.5], dtype=torch.float64)[:size]
    prover_of = Objective.from_function(function, {"t": start}, domain={"t": box})
    prover = Prover(prover_of.graph(), prover_of.domain)
    assert (prop in prover.proofs(("t",))) is expected
    if expected:
        recheck(*_built(prover, ("t",), prop))


# the inequalities of the means themselves ----------------------------------------------------------------------------
def _mean(r: float, u: float, v: float, s: float) -> float:
    if r <= 0 and u * v == 0:
        return 0.0
    if math.isinf(r):
        return max(u, v) if r > 0 else min(u, v)
    if r == 0:
        return u**s * v ** (1 - s)
    top = max(u, v) if r > 0 else min(u, v)
    return 0.0 if top == 0 else top * (s * (u / top) ** r + (1 - s) * (v / top) ** r) ** (1 / r)


def test_hoelder_with_random_exponents() -> None:
    """M_p(f) M_q(g) <= M_r(f g) for the r of both programs, and r cannot be less where it is finite and not 0."""
    rng = random.Random(1)
    grid = [Fraction(n, 4) for n in range(-12, 13)]
    for _ in range(300):
        p, q = rng.choice(grid), rng.choice(grid)
        r = means._joint(p, q)
        assert r == kernel_means._hoelder(p, q)
        if r is None:
            continue
        for _ in range(20):
            f, g, s = [[rng.random() * 3 for _ in range(2)] for _ in range(2)] + [rng.random()]
            left = _mean(float(p), *f, s) * _mean(float(q), *g, s)
            assert left <= _mean(float(r), f[0] * g[0], f[1] * g[1], s) * (1 + 1e-9)


def test_positive_semidefinite_two_ways() -> None:
    rng = random.Random(2)
    for _ in range(300):
        n = rng.randint(1, 4)
        rows = [[Fraction(rng.randint(-2, 2)) for _ in range(n)] for _ in range(rng.randint(1, n))]
        A = [[sum((r[i] * r[j] for r in rows), Fraction(0)) for j in range(n)] for i in range(n)]
        if rng.random() < 0.5:
            i, j = rng.randrange(n), rng.randrange(n)
            A[i][j] = A[j][i] = A[i][j] + rng.choice([-1, 1, 0])
        least = float(np.linalg.eigvalsh(np.array(A, dtype=float))[0])
        ours = quadratic._semidefinite(A)
        assert ours == kernel_quadratics.semidefinite(
            [[kernel_quadratics.fmpq(v.numerator, v.denominator) for v in row] for row in A]
        )
        assert ours or least < -1e-12
        assert not ours or least > -1e-9


# random attacks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", range(3))
def test_claims_survive_random_attacks(block: int) -> None:
    goals = 0
    for seed in range(1000 * block, 1000 * block + 90):
        graph, domain = make(seed)
        prover, names, rng = Prover(graph, domain), tuple(graph.parameters), random.Random(seed)
        facts = prover.output(names)
        for prop, claim in (("convex", 1), ("concave", 2), ("quasiconvex", 4)):
            if facts.has(claim):
                recheck(*_built(prover, names, prop))
                goals += 1
                break
        wrong = wrong_claims(graph, prover.walk(names), list(points(graph, domain, names, rng, 8)))
        assert wrong == [], f"seed {seed}: {wrong[0]}"
    assert goals >= 30


MUTANTS: dict[str, tuple[Any, str, Any]] = {
    "sums of any means": (means, "_added", lambda old: lambda f: f),
    "products of positive means": (means, "_joint", lambda old: lambda p, q: (
        1 / (1 / Fraction(p) + 1 / Fraction(q)) if p and q and 0 < p < INF and 0 < q < INF else old(p, q))),
    "powers that keep the mean": (means, "_divided", lambda old: lambda order, e: order),
    "differences of any means": (means, "_difference", lambda old: lambda f, k: Means(None, f.lower)),
    "shifts turned round": (combinations, "_curved", lambda old: lambda c, low, high: (
        old(c, low, high) if c.ordered else old(c, low, high)[::-1])),
    "ratios turned round": (perspective, "_start", lambda old: lambda n, b, inverse, log: old(n, b, False, log)),
    "any difference": (perspective, "_jeffreys", lambda old: lambda nodes, facts, ratio, s: nodes[s].op == "add"),
    "diagonal of the Hessian": (quadratic, "_semidefinite", lambda old: lambda A: all(
        A[i][i] >= 0 for i in range(len(A)))),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_the_attack_finds_a_wrong_lemma(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, attribute, change = MUTANTS[name]
    monkeypatch.setattr(module, attribute, change(getattr(module, attribute)))
    for seed in range(400):
        graph, domain = make(seed)
        names = tuple(graph.parameters)
        walk = Prover(graph, domain).walk(names)
        if wrong_claims(graph, walk, list(points(graph, domain, names, random.Random(seed), 12))):
            return
    pytest.fail(f"no violation of {name} found")
