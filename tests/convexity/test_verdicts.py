"""The verdict as a whole: consistency, certificates that floats confirm, blocks, freezing, moduli, files."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import epigraph
from epigraph import Objective, UsageError, check
from epigraph.convexity.evidence import match
from epigraph.convexity.freeze import freeze_sets
from epigraph.convexity.prove import CLAIMS
from epigraph.convexity.verdict import PROPERTIES
from epigraph.errors import CertificateError


def real(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def scalars(*names: str) -> dict[str, Tensor]:
    return {n: torch.tensor(0.5, dtype=torch.float64) for n in names}


class Network(nn.Module):
    def __init__(self, width: int = 4, seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first, self.second = nn.Linear(3, width).double(), nn.Linear(width, 2).double()
        for p in self.parameters():
            nn.init.normal_(p, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first(x))
        return self.second(h)


def network_objective(**options: object) -> Objective:
    generator = torch.Generator().manual_seed(1)
    X = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 2, (9,), generator=generator)
    return Objective(Network(), F.cross_entropy, X, y, **options)  # type: ignore[arg-type]


def violation(v: epigraph.Verdict, J: Objective, kind: str) -> float:
    """The gap of a certificate in the program's own arithmetic."""
    c = v.certificates[kind]
    a, b, m = (J.value(dict(p)) for p in (c.a, c.b, c.m))
    return {
        "convex": m - (a + b) / 2,
        "concave": (a + b) / 2 - m,
        "quasiconvex": m - max(a, b),
        "quasiconcave": min(a, b) - m,
    }[kind]


def test_network_refuted_on_all_four_counts_and_floats_agree() -> None:
    J = network_objective()
    v = check(J)
    assert v.verdict == "nonconvex"
    for kind in ("convex", "concave", "quasiconvex", "quasiconcave"):
        assert getattr(v, kind) == "refuted"
        assert violation(v, J, kind) == pytest.approx(float(v.certificates[kind].gap), rel=1e-6)


def test_midpoint_is_exact() -> None:
    v = check(network_objective())
    for c in v.certificates.values():
        for name in c.m:
            a, b, m = (p[name].reshape(-1).tolist() for p in (c.a, c.b, c.m))
            assert all(Fraction(x) + Fraction(y) == 2 * Fraction(z) for x, y, z in zip(a, b, m, strict=True))
            assert c.m[name].dtype == torch.float64


def test_blocks_freeze_and_blockers_of_a_network() -> None:
    v = check(network_objective())
    assert {n: b.convex for n, b in v.blocks.items() if b.convex == "proved"} == {
        "second.weight": "proved",
        "second.bias": "proved",
    }
    assert v.blocks["first.weight"].convex == "refuted"
    assert v.freeze == (("first.weight", "first.bias"),)
    assert [b.op for b in v.blockers] == ["aten.tanh.default", "aten.linear.default"]
    assert all(b.location and b.location.split(":")[0].endswith("test_verdicts.py") for b in v.blockers)
    assert v.blockers[0].source is not None and "torch.tanh" in v.blockers[0].source


def test_a_chosen_block_is_proved_alone() -> None:
    v = check(network_objective(), blocks=["second.weight", "second.bias"])
    assert (v.verdict, v.active) == ("convex", ("second.weight", "second.bias"))


@pytest.mark.parametrize(
    "function, word",
    [
        (lambda x: x**2, "convex"),
        (lambda x: -(x**2), "concave"),
        (lambda x: 3 * x - 1, "affine"),
        (lambda x: torch.sin(x), "nonconvex"),
        (lambda x: torch.exp(-x), "convex"),
        (lambda x: x * x * x, "nonconvex"),
    ],
)
def test_words(function, word) -> None:  # type: ignore[no-untyped-def]
    assert check(Objective.from_function(function, scalars("x"))).verdict == word


def test_states_are_consistent_and_json_is_strict() -> None:
    import json

    for J in (network_objective(weight_decay=0.1), Objective.from_function(lambda x, y: x * y, scalars("x", "y"))):
        v = check(J)
        assert all(getattr(v, p) in ("proved", "refuted", "undecided") for p in PROPERTIES)
        assert all(getattr(v, p) == "proved" for p in v.proofs)
        text = json.dumps(v.to_dict(), allow_nan=False)
        assert json.loads(text)["schema"] == "epigraph/verdict/1"


def test_the_product_is_quasiconcave_on_the_orthant_only() -> None:
    box = {"x": (0.0, None), "y": (0.0, None)}
    free = check(Objective.from_function(lambda x, y: x * y, scalars("x", "y")))
    orthant = check(Objective.from_function(lambda x, y: x * y, scalars("x", "y"), domain=box))
    assert (free.quasiconcave, orthant.quasiconcave, orthant.convex) == ("refuted", "proved", "refuted")
    c = orthant.certificates["convex"]
    assert all(float(p[n]) >= 0 for p in (c.a, c.b, c.m) for n in p)


@pytest.mark.parametrize("decay", [0.0, 0.5, 1e-3, 0.1])
def test_modulus_of_ridge_counts_the_data(decay: float) -> None:
    X = torch.randn(12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    J = Objective(
        nn.Linear(3, 1).double(), nn.MSELoss(), X, torch.zeros(12, 1, dtype=torch.float64), weight_decay=decay
    )
    v = check(J)
    Z = torch.cat([X, torch.ones(12, 1, dtype=torch.float64)], 1)
    exact = decay + float(torch.linalg.eigvalsh(2 * Z.T @ Z / 12)[0])
    assert v.verdict == "convex" and v.modulus == pytest.approx(exact, rel=1e-9) and v.modulus <= exact * (1 + 1e-13)


def test_squares_that_are_in_no_sum_give_no_modulus() -> None:
    """Broadcast against nothing, x^2 has no entry left in the sum."""
    empty = torch.ones(0, dtype=torch.float64)
    x = {"x": torch.ones(1, dtype=torch.float64)}
    v = check(Objective.from_function(lambda x: (x**2 + empty).sum() + torch.exp(x).sum(), x))
    assert v.convex == "proved" and v.modulus is None


def test_modulus_needs_every_direction() -> None:
    X = torch.ones(5, 2, dtype=torch.float64)
    y = torch.zeros(5, 1, dtype=torch.float64)
    flat, curved = (
        Objective(nn.Linear(2, 1).double(), nn.MSELoss(), X, y, weight_decay={name: 1.0}) for name in ("bias", "weight")
    )
    assert check(flat).modulus is None
    H = torch.full((3, 3), 2.0, dtype=torch.float64) + torch.diag(torch.tensor([1.0, 1.0, 0.0]))
    assert check(curved).modulus == pytest.approx(float(torch.linalg.eigvalsh(H)[0]), rel=1e-9)


def test_quadratics_are_decided_exactly() -> None:
    psd = check(Objective.from_function(lambda x, y: x**2 + 2 * x * y + y**2, scalars("x", "y")))
    indefinite = check(Objective.from_function(lambda x, y: x**2 + 2.0001 * x * y + y**2, scalars("x", "y")))
    assert (psd.verdict, indefinite.verdict) == ("convex", "nonconvex")


def test_convex_up_to_rounding_is_undecided_with_a_note() -> None:
    X = torch.randn(6, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    Q = X.T @ X
    v = check(Objective.from_function(lambda w: w @ Q @ w, {"w": torch.zeros(20, dtype=torch.float64)}))
    assert v.convex == "undecided" and any("rounding" in n for n in v.notes)


def test_cancelling_terms_are_no_refutation() -> None:
    v = check(Objective.from_function(lambda t: 0.3 * t**2 - 0.1 * t**2 * 3, scalars("t")))
    assert v.convex != "refuted"


def test_data_decide() -> None:
    X = torch.randn(8, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for sign, word in ((-1.0, "convex"), (1.0, "nonconvex")):
        y = sign * torch.ones(8, dtype=torch.float64)
        J = Objective.from_function(
            lambda w, y=y: ((torch.relu(X @ w) - y) ** 2).mean(), {"w": torch.zeros(3, dtype=torch.float64)}
        )
        assert check(J).verdict == word


def test_certificates_survive_the_file_and_match_their_target(tmp_path) -> None:  # type: ignore[no-untyped-def]
    J = network_objective()
    v = check(J)
    for kind, c in v.certificates.items():
        path = tmp_path / f"{kind}.epi"
        c.save(path)
        result = epigraph.verify(path)
        assert result.ok and result.property == kind
        match(path, J)
        with pytest.raises(CertificateError, match="E460"):
            match(path, network_objective(weight_decay=0.5))


def test_a_proof_survives_the_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    J = network_objective()
    v = check(J, blocks=["second.weight"])
    assert v.proof is not None
    v.proof.save(tmp_path / "p.epi")
    assert epigraph.verify(tmp_path / "p.epi").ok
    match(tmp_path / "p.epi", J)


def test_proof_steps_are_a_derivation() -> None:
    v = check(network_objective(), blocks=["second.weight"])
    assert v.proof is not None
    steps = v.proof.steps
    assert steps and steps[-1].claim.startswith("convex")
    assert all(p < i for i, s in enumerate(steps) for p in s.premises)


def test_same_seed_same_certificate() -> None:
    first, second = (check(network_objective(), seed=3).certificates["convex"] for _ in range(2))
    assert first.gap == second.gap and all(torch.equal(first.a[n], second.a[n]) for n in first.a)


def test_usage_errors() -> None:
    J = network_objective()
    for call in (lambda: check(J, blocks=["nonsense"]), lambda: check(J, effort="heroic"), lambda: check(3)):  # type: ignore[arg-type]
        with pytest.raises(UsageError):
            call()


def test_freeze_sets_are_minimal_and_complete() -> None:
    """Against all subsets, for random downward-closed families of provable sets."""
    import itertools
    import random

    rng = random.Random(0)
    for _ in range(200):
        names = [f"b{i}" for i in range(rng.randint(1, 6))]
        conflicts = [set(rng.sample(names, 2)) for _ in range(rng.randint(0, 6)) if len(names) > 1]
        bad = {n for n in names if rng.random() < 0.2}

        def convex(s, bad=bad, conflicts=conflicts) -> bool:  # type: ignore[no-untyped-def]
            return not bad & set(s) and not any(c <= set(s) for c in conflicts)

        provable = [set(s) for r in range(len(names) + 1) for s in itertools.combinations(names, r) if convex(s)]
        maximal = [s for s in provable if not any(s < t for t in provable) and s]
        expected = {tuple(n for n in names if n not in s) for s in maximal}
        assert set(freeze_sets(names, [n for n in names if convex([n])], convex, limit=1000)) == expected


def test_deep_linear_chain_freezes_all_but_one() -> None:
    J = Objective.from_function(lambda a, b, c: (1 - a * b * c) ** 2, scalars("a", "b", "c"))
    v = check(J)
    assert set(v.freeze) == {("a", "b"), ("a", "c"), ("b", "c")}


def test_claims_have_one_bit_each() -> None:
    assert sorted(CLAIMS.values()) == [1, 2, 4, 8, 16, 32] and math.prod(CLAIMS.values()) == 2**15


NOWHERE = {
    "root of a negative constant": lambda x, c: (x**2).sum() + torch.sqrt(c).sum(),
    "nothing times a logarithm": lambda x, c: torch.exp(x).sum() + 0 * torch.log(c).sum(),
    "among the entries of a sum": lambda x, c: (
        (x**2 + 0.1 * torch.sin(x)).sum() + torch.log(torch.cat([x.exp(), c])).sum()
    ),
    "of the branch that is taken": lambda x, c: torch.where(torch.tensor([True, False]), x**2, torch.log(c)).sum(),
}


@pytest.mark.parametrize("name", NOWHERE)
def test_nothing_is_claimed_of_a_function_that_has_no_value(name: str) -> None:
    c = torch.tensor([-1.0], dtype=torch.float64)
    v = check(Objective.from_function(lambda x: NOWHERE[name](x, c), {"x": torch.ones(2, dtype=torch.float64)}))
    assert v.verdict == "undecided" and not v.proofs
    assert v.notes[-1] == "J has no value at any point that was tried, so nothing is claimed"


def test_nothing_times_infinity_is_not_nothing() -> None:
    c, x = torch.tensor([torch.inf], dtype=torch.float64), {"x": torch.ones(1, dtype=torch.float64)}
    v = check(Objective.from_function(lambda x: (x**2 + 0 * c).sum(), x))
    assert v.verdict == "undecided" and not v.proofs
    assert v.notes[-1] == (
        "no counterexample can be certified: a constant with infinite or undefined entries has no exact evaluation"
    )


def test_what_only_overflows_is_still_claimed() -> None:
    x = {"x": torch.ones(2, dtype=torch.float64)}
    assert check(Objective.from_function(lambda x: torch.exp(torch.exp(x + 40)).sum(), x)).convex == "proved"


def test_the_kernel_follows_products_with_flat_pieces() -> None:
    """On this box hardtanh is 1, so that J is the sum of x; no derivation is offered that the kernel refuses."""
    ones = torch.ones(2, dtype=torch.float64)
    J = Objective.from_function(
        lambda x, y: (x * torch.nn.functional.hardtanh(x / torch.sqrt(y) + 2)).sum(),
        {"x": ones, "y": 0.9 * ones},
        domain={"x": (0.001, 9.0), "y": (0.8, 1.0)},
    )
    v = check(J, effort="quick")
    assert v.convex != "refuted" and v.concave != "refuted" and not any("kernel" in note for note in v.notes)


@pytest.mark.parametrize(
    ("slopes", "verdict"),
    [([0.25], "convex"), ([-0.5], "convex"), ([1.0], "affine"), ([1.5], "concave"), ([0.1, 0.9, 1.0], "convex"), ([0.1, 0.9, 1.1], "nonconvex")],
)  # fmt: skip
def test_prelu_with_slopes_that_are_held(slopes: list[float], verdict: str) -> None:
    layer = nn.PReLU(len(slopes)).double()
    layer.weight = nn.Parameter(real(*slopes), requires_grad=False)
    model = nn.Sequential(nn.Linear(2, 3).double(), layer)
    X = torch.randn(8, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    J = Objective(model, lambda out, _: out.sum(), X, torch.zeros(8))
    assert check(J).verdict == verdict
