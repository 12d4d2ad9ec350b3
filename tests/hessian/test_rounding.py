"""Enclosures against second derivatives in rational arithmetic and at 60 digits: contained without any slack."""

from __future__ import annotations

from fractions import Fraction

import mpmath
import pytest
import torch
from hyperdual import Hyperdual, hessian

from epigraph import Objective
from epigraph.hessian.enclose import Region, Source

D = torch.float64
mp = mpmath.mp.clone()
mp.dps = 60
X = [[0.1, -1.3], [0.7, 0.9], [-1.1, 0.3]]
Y = [0.3, -0.2, 1.7]


def network(activation):
    """(v . s(W x))^2 with all parameters in one vector: W is 2 x 2, v has two entries."""

    def f(w):
        x, y = torch.tensor(X, dtype=D), torch.tensor(Y, dtype=D)
        return ((activation(x @ w[:4].reshape(2, 2).T) @ w[4:] - y) ** 2).sum()

    return f


def by_hand(activation, numbers):
    def f(w: list[Hyperdual]) -> Hyperdual:
        total = w[0] * 0
        for row, y in zip(X, Y, strict=True):
            x = [numbers(v) for v in row]
            hidden = [activation(w[2 * k] * x[0] + w[2 * k + 1] * x[1]) for k in range(2)]
            residual = hidden[0] * w[4] + hidden[1] * w[5] + (-numbers(y))
            total = total + residual * residual
        return total

    return f


def tanh(z: Hyperdual) -> Hyperdual:
    t = mp.tanh(z.value)
    return z.map(t, 1 - t * t, -2 * t * (1 - t * t))


def sigmoid(z: Hyperdual) -> Hyperdual:
    s = 1 / (1 + mp.exp(-z.value))
    return z.map(s, s * (1 - s), s * (1 - s) * (1 - 2 * s))


def softplus(z: Hyperdual) -> Hyperdual:
    s = 1 / (1 + mp.exp(-z.value))
    return z.map(mp.log(1 + mp.exp(z.value)), s, s * (1 - s))


def sine(z: Hyperdual) -> Hyperdual:
    return z.map(mp.sin(z.value), mp.cos(z.value), -mp.sin(z.value))


CASES = {
    "square": (torch.square, lambda z: z * z, lambda v: Fraction(v)),
    "tanh": (torch.tanh, tanh, mp.mpf),
    "sigmoid": (torch.sigmoid, sigmoid, mp.mpf),
    "softplus": (torch.nn.functional.softplus, softplus, mp.mpf),
    "sine": (torch.sin, sine, mp.mpf),
}
CENTRE = [0.3, -0.4, 0.9, 1.2, -0.8, 0.6]


@pytest.mark.parametrize("ball", [True, False], ids=["ball", "box"])
@pytest.mark.parametrize("radius", [2.0**-60, 2.0**-46, 2.0**-20, 2.0**-3])
@pytest.mark.parametrize("name", CASES)
def test_exact_hessians_are_contained(name, radius, ball):
    """At radii where rounding is all there is, and at radii where the remainder is."""
    function, activation, numbers = CASES[name]
    J = Objective.from_function(network(function), {"w": torch.tensor(CENTRE, dtype=D)})
    source = Source(J.graph(), J.domain, {"w": torch.tensor(CENTRE, dtype=D)}, ("w",))
    exact = by_hand(activation, numbers)
    g = torch.Generator().manual_seed(5)
    for order in (0, 1):
        region = Region(torch.tensor(CENTRE, dtype=D), torch.full((6,), radius, dtype=D), ball)
        H, _ = source.hessian(region, order)
        for k in range(5):
            e = torch.randn(6, generator=g, dtype=D)
            e = torch.round(e / (e.norm() if ball else e.abs().max()) * 2**12) / 2**12 * (1 - 2.0**-8)
            e = e * (0 if k == 0 else 1)
            point = [numbers(c) + numbers(radius) * numbers(v) for c, v in zip(CENTRE, e.tolist(), strict=True)]
            truth = hessian(exact, point)
            for i in range(6):
                for j in range(6):
                    middle = numbers(H.c[i, j].item())
                    if H.L is not None:
                        middle += sum(numbers(H.L[m, i, j].item()) * numbers(v) for m, v in enumerate(e.tolist()))
                    assert abs(truth[i][j] - middle) <= numbers(H.r[i, j].item()), (order, k, i, j)


def test_the_oracle_can_fail():
    """A Hessian that is off by a few units in the last place is not contained."""
    function, activation, numbers = CASES["square"]
    J = Objective.from_function(network(function), {"w": torch.tensor(CENTRE, dtype=D)})
    source = Source(J.graph(), J.domain, {"w": torch.tensor(CENTRE, dtype=D)}, ("w",))
    H, _ = source.hessian(Region(torch.tensor(CENTRE, dtype=D), torch.full((6,), 2.0**-60, dtype=D), True), 0)
    truth = hessian(by_hand(activation, numbers), [numbers(c) for c in CENTRE])
    moved = numbers(H.c[0, 0].item()) + numbers(2 * H.r[0, 0].item() + 1e-300)
    assert abs(truth[0][0] - moved) > numbers(H.r[0, 0].item())
    assert float(H.r.max()) < 1e-11
