"""Catalogues of critical points against closed forms and independent counts."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations

import pytest
import torch
from landscapes import autoencoder, network, neuron, scalar_product, separable, triple_product, xor
from torch import nn

import epigraph
from epigraph import Objective
from epigraph.critical.classify import classify, margins
from epigraph.critical.minimize import polish
from epigraph.critical.starts import flatten, unflatten
from epigraph.errors import UsageError
from epigraph.hessian.dense import Dense


def listed(found, kind):
    return [p for p in found.points if p.kind == kind]


def values(points):
    return [round(p.value, 8) for p in points]


# the product of two numbers ------------------------------------------------------------------------------------
def test_scalar_product_with_decay():
    found = epigraph.minima(scalar_product(0.1), 60)
    assert found.completeness.satisfied is True
    low, high = found.points
    assert (low.kind, low.index, low.nullity, low.orbit) == ("minimum", 0, 0, 2)
    assert (high.kind, high.index, high.nullity, high.orbit) == ("saddle", 1, 0, 1)
    assert abs(low.value - 0.095) < 1e-14 and abs(high.value - 0.5) < 1e-14
    assert torch.allclose(low.spectrum, torch.tensor([0.2, 1.8], dtype=torch.float64), atol=1e-13)
    assert torch.allclose(low.point["w"].abs(), torch.tensor(0.9, dtype=torch.float64).sqrt(), atol=1e-13)


def test_scalar_product_without_decay_has_a_valley():
    low, high = epigraph.minima(scalar_product(0.0), 60).points
    assert (low.kind, low.nullity, low.predicted) == ("minimum", 1, 1) and low.value < 1e-20
    assert (high.kind, high.index, high.value) == ("saddle", 1, 0.5)


def test_scalar_product_with_strong_decay_has_the_origin_only():
    assert [p.kind for p in epigraph.minima(scalar_product(2.0), 40).points] == ["minimum"]


def test_the_critical_decay_is_left_open():
    # at λ = 1 the Hessian at 0 has a zero eigenvalue and J = ½ + ½(w₁-w₂)² + ... is a quartic valley
    (point,) = epigraph.minima(scalar_product(1.0), 40).points
    assert point.kind == "degenerate" and point.evidence == "undecided" and point.nullity == 1


def test_degenerate_trap_is_a_saddle():
    found = epigraph.minima(triple_product(), 60)
    (trap,) = [p for p in found.points if p.nullity == 3]
    assert (trap.kind, trap.index, trap.value) == ("saddle", 0, 0.5) and "degenerate" in trap.reason


# linear autoencoders -------------------------------------------------------------------------------------------
def expected_autoencoder(spectrum, p):
    """Baldi and Hornik: J, index and nullity of each class of critical points."""
    n, out = len(spectrum), []
    for q in range(p + 1):
        for chosen in combinations(range(n), q):
            rest = [j for j in range(n) if j not in chosen]
            J = sum(spectrum[j] for j in rest) / 2
            index = sum(spectrum[j] > spectrum[i] for i in chosen for j in rest) + (p - q) * (n - q)
            out.append((J, index, q * q + 2 * q * (p - q)))
    return sorted(out)


@pytest.mark.parametrize(("spectrum", "units", "starts"), [((4.0, 3.0, 2.0, 1.0), 2, 320), ((5.0, 2.0, 1.0), 1, 80)])
def test_autoencoder(spectrum, units, starts):
    found = epigraph.minima(autoencoder(spectrum, units), starts)
    assert sorted((round(p.value, 9), p.index, p.nullity) for p in found.points) == expected_autoencoder(
        spectrum, units
    )
    assert all(p.predicted == p.nullity and p.family == 1 for p in found.points)
    assert [p.index for p in found.points if p.kind == "minimum"] == [0]


# XOR -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("units", "signs", "minima", "classes", "copies"),
    [
        (1, False, [0.51219512], {0: 1}, {0: 1}),
        (1, True, [1.70401748] * 4 + [2.0], {0: 5, 1: 4}, {0: 9, 1: 8}),
        (2, False, [0.48024414, 0.51219512, 0.52266523], {0: 3, 1: 2}, {0: 17, 1: 16}),
        (2, True, [0.57276167] * 2 + [1.47668671] * 4 + [2.0], {0: 7, 1: 20, 2: 10}, {0: 49, 1: 112, 2: 64}),
    ],
)
def test_xor(units, signs, minima, classes, copies):
    found = epigraph.minima(xor(units, signs), 1200 if units == 2 and signs else 500)
    assert values(found.minima) == minima
    assert Counter(p.index for p in found.points) == classes
    assert {k: sum(p.orbit for p in found.points if p.index == k) for k in classes} == copies
    assert found.completeness.satisfied is True and found.completeness.inequalities is True
    assert all(p.gradient_norm <= 1e-10 and p.evidence == "tested" for p in found.points)


@pytest.mark.parametrize("decay", [0.1, 0.01, 0.001])
def test_the_zero_network_is_a_strict_minimum_of_xor(decay):
    found = epigraph.minima(xor(3, decay=decay), 20, saddles=False)
    (zero,) = [p for p in found.minima if p.orbit == 1]
    assert abs(zero.value - (1 - 2 / (4 + decay))) < 1e-12
    assert float(zero.point["0.weight"].abs().max()) < 1e-12
    assert abs(float(zero.spectrum[0]) / (decay * (1 - 6**0.5 / (4 + decay))) - 1) < 0.05


@pytest.mark.parametrize(("units", "order"), [(1, 2), (2, 8), (3, 48)])
def test_copies_of_a_generic_minimum(units, order):
    g = torch.Generator().manual_seed(1)
    X, Y = (torch.randn(6, k, generator=g, dtype=torch.float64) for k in (2, 1))
    found = epigraph.minima(network(X, Y, units, weight_decay=0.01), 60, saddles=False)
    assert max(p.orbit for p in found.minima) == order


def test_minima_of_a_smaller_network_are_saddles_of_a_larger_one():
    small, large = epigraph.minima(xor(1, True), 200), xor(2, True)
    padded = []
    for p in small.minima:
        zeros = {k: torch.zeros_like(v, dtype=torch.float64) for k, v in large.parameters.items()}
        zeros["0.weight"][:1], zeros["0.bias"][:1] = p.point["0.weight"], p.point["0.bias"]
        zeros["2.weight"][:, :1], zeros["2.bias"][:] = p.point["2.weight"], p.point["2.bias"]
        padded.append(zeros)
    found = epigraph.minima(large, 5, saddles=False, at=padded)
    given = [p for p in found.points if "given" in p.sources]
    assert values(given) == values(small.minima)
    assert [p.index for p in given] == [1, 1, 1, 1, 0]


# splitting a unit ----------------------------------------------------------------------------------------------
def test_split_units():
    """A strict minimum with its unit split in shares t and 1 - t: the sign of B decides what it becomes."""
    g = torch.Generator().manual_seed(3)
    X = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    Y = torch.tanh(X - 0.5) + 0.3 * torch.randn(9, 1, generator=g, dtype=torch.float64)
    found = epigraph.minima(network(X, Y, 1), 100, saddles=False)
    point = next(p for p in found.minima if p.nullity == 0)
    w, b, a, c = (point.point[k].reshape(-1) for k in ("0.weight", "0.bias", "2.weight", "2.bias"))
    t = torch.tanh(w * X + b)
    residual = a * t + c - Y
    ones = torch.cat([X, torch.ones_like(X)], 1)
    B = (a * residual * (-2 * t * (1 - t**2)) * ones).T @ ones
    w2 = torch.linalg.eigvalsh(B)
    starts, shares = [], (-0.5, 0.25, 0.5, 1.5)
    for share in shares:
        starts.append(
            {
                "0.weight": torch.stack([w, w]), "0.bias": torch.cat([b, b]),
                "2.weight": torch.stack([share * a, (1 - share) * a], 1), "2.bias": c,
            }
        )  # fmt: skip
    J = network(X, Y, 2)
    for share, start in zip(shares, starts, strict=True):
        split = next(p for p in epigraph.minima(J, 1, saddles=False, at=[start]).points if "given" in p.sources)
        assert abs(split.value - point.value) < 1e-12
        # the new directions have the Hessian share (1 - share) B, up to congruence; one more zero moves the share
        curvature = share * (1 - share) * w2
        assert split.index == int((curvature < 0).sum()) and split.nullity == 1
        assert split.kind == ("saddle" if split.index else "degenerate")


# one logistic unit ---------------------------------------------------------------------------------------------
def test_exponentially_many_minima():
    found = epigraph.minima(neuron((1.0, 100.0), 3), 3000)
    assert Counter(p.index for p in found.points) == {0: 8, 1: 12, 2: 6, 3: 1}
    low, high, top = 0.0611233286621, 0.0625, 0.116497860594
    sums = sorted(sum(e) for e in ((a, b, c) for a in (low, high) for b in (low, high) for c in (low, high)))
    assert all(abs(p.value - s) < 1e-11 for p, s in zip(found.minima, sums, strict=True))
    assert abs(found.points[-1].value - 3 * top) < 1e-11 and found.points[-1].kind == "maximum"
    assert found.ends.get("to infinity", 0) > 0


def test_an_infimum_that_is_not_attained():
    found = epigraph.minima(separable(), 50, saddles=False)
    assert found.points == () and found.ends == {"to infinity": 50}
    assert epigraph.minima(separable(), 50).points == ()
    assert any("not attained" in note for note in found.notes)


# relu and interpolation ----------------------------------------------------------------------------------------
def test_relu_bad_minima_are_found_and_not_called_minima():
    X = torch.tensor([[-1.0], [0.0], [1.0], [2.0]], dtype=torch.float64)
    Y = torch.tensor([[0.0], [1.0], [0.0], [2.0]], dtype=torch.float64)
    J = network(X, Y, 2, nn.ReLU)
    active = {
        "0.weight": torch.ones(2, 1),
        "0.bias": torch.full((2,), 3.0),
        "2.weight": torch.ones(1, 2),
        "2.bias": torch.zeros(1),
    }
    dead = {**active, "0.bias": torch.full((2,), -5.0)}
    found = epigraph.minima(J, 2, at=[active, dead], saddles=False)
    kinds = {round(p.value, 9): p.kind for p in found.points if "given" in p.sources}
    assert kinds == {0.75: "degenerate", 1.375: "degenerate"}
    assert not any(p.kind == "minimum" and p.nullity > p.predicted for p in found.points)


def test_a_kink_is_no_minimum():
    J = Objective.from_function(lambda w: w.abs().sum() + w.square().sum(), {"w": torch.zeros(2, dtype=torch.float64)})
    found = epigraph.minima(J, 10)
    assert [p.kind for p in found.points if p.evidence != "undecided"] == []


def test_a_kink_of_one_number():
    """An operand without axes, in a function of two variables, and a step that no start stays on."""
    for f in (lambda w: torch.relu(w[0]) ** 2 + w[1] ** 2, lambda w: (w[0] - torch.floor(w[0])) ** 2 + w[1]):
        found = epigraph.minima(Objective.from_function(f, {"w": torch.zeros(2, dtype=torch.float64)}), 20)
        assert not found.minima


def test_one_sided_curvature_at_a_kink():
    """relu(w)²/2 + w²/4 in one variable: the curvature at 0 is 1/2 on one side and 3/2 on the other."""
    J = Objective.from_function(
        lambda w: torch.relu(w).square().sum() / 2 + w.square().sum() / 4, {"w": torch.zeros(1, dtype=torch.float64)}
    )
    (point,) = epigraph.minima(J, 4, at=[{"w": torch.zeros(1)}]).points
    assert point.kind == "non-smooth" and "slope 0 to 0, curvature 0.5 to 1.5" in point.reason.replace("-0", "0")


def test_a_jump_has_no_one_sided_curvature():
    J = Objective.from_function(
        lambda w: torch.sign(w).sum() + w.square().sum(), {"w": torch.zeros(1, dtype=torch.float64)}
    )
    points = [p for p in epigraph.minima(J, 4, at=[{"w": torch.zeros(1)}]).points if p.kind == "non-smooth"]
    assert points and all("jumps" in p.reason for p in points)


def test_nullity_at_interpolation():
    g = torch.Generator().manual_seed(0)
    J = None
    for seed in range(3):
        g.manual_seed(seed)
        X, Y = torch.randn(5, 2, generator=g, dtype=torch.float64), torch.randn(5, 1, generator=g, dtype=torch.float64)
        J = network(X, Y, 4)
        found = epigraph.minima(J, 30, saddles=False)
        zero = [p for p in found.points if p.value < 1e-18]
        assert J.size == 17 and zero and {p.nullity for p in zero} == {12}
        assert {p.kind for p in zero} == {"degenerate"}


# calls ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "f",
    [
        lambda w: (1 / w**2).sum(),
        lambda w: (torch.log(w**2) ** 2).sum(),
        lambda w: torch.where(w > 0.5, (w - 2) ** 2, (w + 1) ** 2).sum(),
        lambda w: ((w.abs() - 1) ** 2).sum(),
        lambda w: torch.sqrt(w**2 - 1).sum(),
    ],
)
def test_morse_asks_for_no_point_where_j_is_not_smooth(f):
    """Two valleys on both sides of a pole, a jump or a kink, with no saddle between them; or no critical point at all."""
    J = Objective.from_function(f, {"w": torch.full((1,), 1.5, dtype=torch.float64)}, weight_decay=0.1)
    found = epigraph.minima(J, 30).completeness
    assert found.satisfied is None and not found.applies and found.inequalities is None


def test_morse_where_operators_with_a_domain_stay_inside_it():
    f = lambda w: (torch.sqrt(1 + w**2) + 1 / (1 + w**2) + torch.log(2 + torch.cos(w))).sum()  # noqa: E731
    J = Objective.from_function(f, {"w": torch.ones(1, dtype=torch.float64)}, weight_decay=0.1)
    assert epigraph.minima(J, 30).completeness.satisfied is True


def test_one_seed_gives_one_catalogue():
    first, second = (epigraph.minima(scalar_product(0.1), 40, seed=3).to_dict() for _ in range(2))
    first["effort"].pop("seconds"), second["effort"].pop("seconds")
    assert first == second


def test_points_stay_in_the_domain():
    J = Objective.from_function(
        lambda w: ((w**2 - 1) ** 2).sum(), {"w": torch.ones(1, dtype=torch.float64)}, domain={"w": (0.0, None)}
    )
    found = epigraph.minima(J, 40)
    assert [round(float(p.point["w"]), 9) for p in found.minima] == [1.0]


def test_refusals():
    with pytest.raises(UsageError, match="E070"):
        epigraph.minima(scalar_product(0.1), 0)
    with pytest.raises(UsageError, match="E071"):
        epigraph.minima(network(*(torch.zeros(3, k, dtype=torch.float64) for k in (600, 1)), 400), 1)
    with pytest.raises(UsageError, match="E020"):
        epigraph.minima(lambda w: w, 1)  # type: ignore[arg-type]


def test_the_sums_of_the_catalogue_add_up():
    found = epigraph.minima(xor(2), 100)
    total = sum(found.ends.values())
    saddle_starts = total - 200
    assert 0 <= saddle_starts <= 10 and saddle_starts % 2 == 0
    assert sum(p.found for p in found.points) == found.ends["critical"]
    assert math.isclose(sum(p.orbit * (-1) ** p.index for p in found.points), found.completeness.morse_sum)


# index against a dense exact oracle ----------------------------------------------------------------------------
@pytest.mark.soak
def test_index_of_linear_autoencoders():
    """2,000 points with exact index and nullity, moved along their orbits and by 1e-9 before they are polished."""
    g = torch.Generator().manual_seed(0)
    seen = undecided = 0
    while seen < 2000:
        n = int(torch.randint(2, 7, (), generator=g))
        p = int(torch.randint(1, min(n, 4) + 1, (), generator=g))
        spectrum = (torch.rand(n, generator=g, dtype=torch.float64) * 4 + 0.1).sort(descending=True).values
        J = autoencoder(spectrum.tolist(), p)
        dense, found = Dense(J.graph()), epigraph.symmetries(J)
        points, expected = orbit_points(spectrum, p, g)
        noise = 1e-9 * torch.randn(points.shape, generator=g, dtype=torch.float64)
        polished = polish(dense, points + noise)
        predicted = [found.flat(unflatten(dense, x)) for x in polished.x]
        for nature, counts in zip(
            classify(dense, polished, margins(dense, polished), predicted), expected, strict=True
        ):
            seen += 1
            if nature.kind in ("degenerate", "undecided"):
                undecided += 1
            else:
                assert (nature.index, nature.nullity) == counts
    assert undecided <= seen / 100


def orbit_points(spectrum, p, generator):
    """One point of each class, at a random place of its orbit, with its index and nullity."""
    n, points, expected = len(spectrum), [], []
    eye = torch.eye(n, dtype=torch.float64)
    for q in range(p + 1):
        for chosen in combinations(range(n), q):
            U = eye[:, list(chosen)]
            Q = torch.linalg.qr(torch.randn(p, p, generator=generator, dtype=torch.float64)).Q
            G = Q @ torch.diag(torch.rand(p, generator=generator, dtype=torch.float64) + 0.5)
            W1 = G @ torch.cat([U.T, torch.zeros(p - q, n, dtype=torch.float64)])
            W2 = torch.cat([U, torch.zeros(n, p - q, dtype=torch.float64)], 1) @ torch.linalg.inv(G)
            points.append(torch.cat([W1.reshape(-1), W2.reshape(-1)]))
            rest = [j for j in range(n) if j not in chosen]
            index = sum(bool(spectrum[j] > spectrum[i]) for i in chosen for j in rest) + (p - q) * (n - q)
            expected.append((index, q * q + 2 * q * (p - q)))
    return torch.stack(points), expected


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
def test_random_networks(seed):
    """No proved ball holds a second critical point, and nothing near a minimum is lower."""
    g = torch.Generator().manual_seed(seed)
    sizes = [int(torch.randint(1, k, (), generator=g)) for k in (3, 4, 6)]
    X, Y = (torch.randn(sizes[2] + 1, k, generator=g, dtype=torch.float64) for k in (sizes[0], 1))
    activation = (nn.Tanh, nn.Sigmoid, nn.Softplus, nn.SiLU, nn.GELU)[seed % 5]
    J = network(X, Y, sizes[1], activation, weight_decay=(0.0, 1e-3, 0.05)[seed % 3])
    found = epigraph.minima(J, 80, certify=True, seed=seed)
    dense, group = Dense(J.graph()), epigraph.symmetries(J)
    flat = [flatten(dense, p.point) for p in found.points]
    copies = [flatten(dense, group.apply(group.random(k), p.point)) for p in found.points for k in range(20)]
    for p, x in zip(found.points, flat, strict=True):
        if p.certificate:
            gaps = [float((x - y).norm()) for y in [*flat, *copies]]
            assert not any(1e-7 < gap < p.certificate["radius"] for gap in gaps)
            assert p.certificate["value"][0] <= p.value + 1e-12 and p.value - 1e-12 <= p.certificate["value"][1]
        if p.kind == "minimum":
            around = torch.randn(200, len(x), generator=g, dtype=torch.float64)
            near = dense.of(x + 1e-3 * around / around.norm(dim=1, keepdim=True)).value
            assert float(near.min()) >= p.value - 1e-13 * max(1.0, abs(p.value))
