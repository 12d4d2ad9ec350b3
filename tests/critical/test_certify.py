"""Proofs of isolated critical points, against Arb, closed forms, and points where there must be none."""

from __future__ import annotations

import math

import flint
import pytest
import torch
from landscapes import autoencoder, neuron, scalar_product, triple_product, xor

import epigraph
from epigraph import Objective
from epigraph.critical.certify import Certifier


@pytest.fixture(autouse=True)
def _many_bits():
    with flint.ctx.workprec(200):
        yield


def of(function, **values):
    return Objective.from_function(function, {k: torch.tensor(v, dtype=torch.float64) for k, v in values.items()})


def isolate(J, **values):
    found = Certifier(J).locate({k: torch.tensor(v, dtype=torch.float64) for k, v in values.items()})
    return None if found is None else found[0]


def test_the_three_minima_of_xor_are_three():
    found = epigraph.minima(xor(2), 300, certify=True)
    assert [p.evidence for p in found.points] == ["certified"] * 5
    assert [p.index for p in found.points] == [0, 0, 1, 0, 1] and found.proved_values == 3
    for p in found.points:
        c = p.certificate
        assert c["value"][0] <= p.value <= c["value"][1] and c["value"][1] - c["value"][0] < 1e-12
        assert c["radius"] > 1e-4 and c["error"] < 1e-10
        assert 0 < c["curvature"] <= float(p.spectrum.abs().min())


@pytest.mark.parametrize("decay", [0.1, 0.5])
def test_scalar_product_in_exact_numbers(decay):
    s = math.sqrt(1 - decay)
    found = isolate(scalar_product(decay), w=[s, s])
    lam = flint.fmpq(*decay.as_integer_ratio())
    value = lam - lam * lam / 2
    assert found.index == 0 and flint.arb(found.low) <= value <= flint.arb(found.high)
    assert found.curvature <= min(2 * decay, 2 - 2 * decay)
    gap = abs(flint.arb(1 - lam).sqrt() - s) * 1.4143  # the true point is where the proof says
    assert float(gap.abs_upper()) <= found.error


def test_a_ball_never_reaches_a_second_critical_point():
    # x^4/4 - e x^2/2 has critical points at 0 and at the two roots of e
    for e in (1.0, 1e-2, 1e-4, 1e-6):
        J = of(lambda x, e=e: x**4 / 4 - e * x**2 / 2, x=0.0)
        at_zero, at_root = isolate(J, x=0.0), isolate(J, x=math.sqrt(e))
        assert at_zero.index == 1 and at_zero.radius < math.sqrt(e)
        assert at_root.index == 0 and at_root.radius < math.sqrt(e)


def test_a_start_beside_the_point_is_enough_or_refused():
    J = of(lambda x: x.exp() + (-x).exp(), x=0.0)
    for away in (0.0, 1e-12, 1e-6, 1e-3, 0.03):
        found = isolate(J, x=away)
        if found is not None:
            assert away <= found.error <= found.radius and found.low <= 2.0 <= found.high
    assert isolate(J, x=1e-6) is not None and isolate(J, x=5.0) is None


@pytest.mark.parametrize(
    ("J", "point"),
    [
        (of(lambda x: x**4, x=0.0), {"x": 0.0}),
        (of(lambda x: x**3, x=0.0), {"x": 0.0}),
        (of(lambda x, y: x**2 + 0 * y, x=0.0, y=0.0), {"x": 0.0, "y": 0.0}),
        (of(lambda x, y: (x + y) ** 2, x=0.0, y=0.0), {"x": 0.0, "y": 0.0}),
        (of(lambda x: x.abs() + x**2, x=0.0), {"x": 0.0}),
        (of(lambda x: x.relu() + x**2, x=0.0), {"x": 0.0}),
        (of(lambda x: (-x).exp(), x=0.0), {"x": 30.0}),
        (of(lambda x: x**2 + 1e-3 * x, x=0.0), {"x": 1.0}),
        (triple_product(), {"w": [0.0, 0.0, 0.0]}),
        (scalar_product(0.0), {"w": [1.0, 1.0]}),
        (scalar_product(1.0), {"w": [0.0, 0.0]}),
        (autoencoder((2.0, 1.0), 1), {"W1": [[1.0, 0.0]], "W2": [[1.0], [0.0]]}),
    ],
)
def test_no_proof_where_nothing_is_isolated(J, point):
    assert isolate(J, **point) is None


def test_no_proof_across_the_end_of_the_domain():
    J = Objective.from_function(
        lambda w: ((w - 1) ** 2).sum(), {"w": torch.ones(1, dtype=torch.float64)}, domain={"w": (1.0, None)}
    )
    assert isolate(J, w=[1.0]) is None
    wide = Objective.from_function(
        lambda w: ((w - 1) ** 2).sum(), {"w": torch.ones(1, dtype=torch.float64)}, domain={"w": (0.5, None)}
    )
    assert isolate(wide, w=[1.0]).radius <= 0.5


def test_indices_of_a_product_of_functions():
    found = epigraph.minima(neuron((1.0, 100.0), 2), 1000, certify=True)
    counts = {k: sum(p.index == k for p in found.points if p.evidence == "certified") for k in (0, 1, 2)}
    assert counts == {0: 4, 1: 4, 2: 1}


def test_values_hold_in_ball_arithmetic():
    """The enclosure of J at the zero network of XOR against 1 - 2/(4 + λ) in exact rationals."""
    found = epigraph.minima(xor(2, decay=0.125), 5, saddles=False, certify=True)
    zero = next(p for p in found.points if p.orbit == 1)
    low, high = zero.certificate["value"]
    exact = 1 - 2 / (4 + flint.fmpq(1, 8))
    assert flint.fmpq(*low.as_integer_ratio()) <= exact <= flint.fmpq(*high.as_integer_ratio())


def test_random_quadratics():
    g = torch.Generator().manual_seed(0)
    for _ in range(10):
        n = int(torch.randint(1, 6, (), generator=g))
        A = torch.randn(n, n, generator=g, dtype=torch.float64)
        H, b = A + A.T, torch.randn(n, generator=g, dtype=torch.float64)
        J = of(lambda w, H=H, b=b: 0.5 * (w @ H @ w) - b @ w, w=[0.0] * n)
        x = torch.linalg.solve(H, b)
        found = isolate(J, w=x.tolist())
        spectrum = torch.linalg.eigvalsh(H)
        assert found is not None and found.index == int((spectrum < 0).sum())
        assert found.curvature <= float(spectrum.abs().min()) * (1 + 1e-12)
        solution = flint.arb_mat(H.tolist()).solve(flint.arb_mat([[v] for v in b.tolist()]))
        gaps = [float((solution[i, 0] - x[i].item()).abs_upper()) for i in range(n)]
        assert max(gaps) <= found.error
