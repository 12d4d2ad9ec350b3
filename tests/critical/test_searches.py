"""Each search for saddles by itself, on sums of wells whose critical points are roots of a cubic."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from landscapes import roots, tilted_wells, xor
from scipy.integrate import solve_ivp

import epigraph
from epigraph.critical.band import tops
from epigraph.critical.copies import copies_of, orbit
from epigraph.critical.deflation import Deflated
from epigraph.critical.following import EigenvectorFollowing, SteepestDescent
from epigraph.critical.minimize import polish, search
from epigraph.critical.starts import flatten, involutions
from epigraph.hessian.dense import Dense

TILT = 0.2


def dense(n):
    return Dense(tilted_wells(TILT, n).graph())


def normal(lanes, n, seed=0, scale=1.5):
    return scale * torch.randn(lanes, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ended(d, x, rule, **options):
    end = search(d, x, rule, **options)
    found = polish(d, end.x[end.reached])
    return found.at(found.critical)


def test_gradients_alone_are_those_of_the_jets():
    d = Dense(xor(2).graph())
    x = normal(20, d.size)
    value, gradient = d.slopes(x)
    jet = d.of(x)
    assert torch.equal(value, jet.value) and torch.equal(gradient, jet.gradient)


@pytest.mark.parametrize("index", [1, 2])
def test_eigenvectors_lead_to_the_index_that_was_chosen(index):
    d = Dense(xor(2, True).graph())
    found = ended(d, normal(100, d.size), EigenvectorFollowing(index))
    reached = (torch.linalg.eigvalsh(d.of(found.x).hessian) < -1e-6).sum(1)
    assert len(found.x) >= 50 and int((reached == index).sum()) >= 0.9 * len(found.x)


def test_eigenvectors_lead_to_the_top():
    found = ended(dense(4), normal(60, 4, scale=0.25), EigenvectorFollowing(4))
    assert len(found.x) >= 40 and float((found.x - roots(TILT)[1]).abs().max()) < 1e-9


def test_deflation_finds_the_one_that_is_missing():
    every = torch.cartesian_prod(*[torch.tensor(roots(TILT), dtype=torch.float64)] * 2)
    for k in (0, 4, 7):
        others = torch.cat([every[:k], every[k + 1 :]])
        found = ended(dense(2), normal(40, 2), Deflated(others))
        assert len(found.x) >= 5 and float((found.x - every[k]).abs().max()) < 1e-9
    assert len(ended(dense(2), normal(40, 2), Deflated(every)).x) == 0


def test_the_tops_of_bands_lie_by_the_saddles():
    low, middle, high = roots(TILT)
    first, second = torch.tensor([[low, low], [low, high], [high, low], [high, high]], dtype=torch.float64).split(2)
    top = tops(dense(2), first, second)
    near = [float((top - torch.tensor([middle, y])).norm(dim=1).min()) for y in (low, high)]
    assert max(near) < 0.02
    found = ended(dense(2), top, EigenvectorFollowing(1))
    assert {(round(x, 9), round(y, 9)) for x, y in found.x.tolist()} == {
        (round(middle, 9), round(low, 9)),
        (round(middle, 9), round(high, 9)),
    }


def test_a_band_finds_a_saddle_off_the_straight_line():
    """(x² - 1)² + 4 (y - x²)²: minima at (±1, 1); the saddle (0, 0) lies one below the middle of their segment."""
    J = epigraph.Objective.from_function(
        lambda w: (w[0] ** 2 - 1) ** 2 + 4 * (w[1] - w[0] ** 2) ** 2, {"w": torch.ones(2, dtype=torch.float64)}
    )
    top = tops(Dense(J.graph()), torch.tensor([[-1.0, 1.0]]).double(), torch.tensor([[1.0, 1.0]]).double())
    assert float(top.norm(dim=1).min()) < 0.05


def test_steepest_descent_ends_where_the_flow_of_the_gradient_ends():
    """Against SciPy's stiff integrator, from points from which Newton steps go elsewhere."""
    J = epigraph.Objective.from_function(  # Himmelblau's function: four minima
        lambda w: (w[0] ** 2 + w[1] - 11) ** 2 + (w[0] + w[1] ** 2 - 7) ** 2, {"w": torch.ones(2, dtype=torch.float64)}
    )
    d = Dense(J.graph())
    x = normal(25, 2, seed=4, scale=3.0)
    found = search(d, x, SteepestDescent(), steps=3000)
    assert bool(found.reached.all())

    def field(t, w):
        a, b = w[0] ** 2 + w[1] - 11, w[0] + w[1] ** 2 - 7
        return [-4 * a * w[0] - 2 * b, -2 * a - 4 * b * w[1]]

    for start, end in zip(x.numpy(), found.x.numpy(), strict=True):
        flow = solve_ivp(field, (0, 10), start, method="LSODA", rtol=1e-10, atol=1e-12).y[:, -1]
        assert np.abs(flow - end).max() < 1e-5


def test_orbits_have_the_size_that_the_stabiliser_gives():
    J = xor(2)
    d, group = Dense(J.graph(), tuple(J.parameters)), epigraph.symmetries(J)
    flips = involutions(d, group)
    points = epigraph.minima(J, 100, saddles=False).points
    every = [orbit(flips, flatten(d, p.point), 100) for p in points]
    assert [len(o) for o in every] == [p.orbit for p in points]
    for p, copies in zip(points, every, strict=True):
        assert float((d.of(copies).value - p.value).abs().max()) < 1e-14
    assert len(copies_of(flips, torch.cat(every), 1000)) == sum(p.orbit for p in points)
    assert len(orbit(flips, flatten(d, points[0].point), 5)) == 5


def test_where_points_were_found_is_told():
    found = epigraph.minima(xor(2), 48)
    sources = Counter(s for p in found.points for s in p.sources)
    assert {"random", "wide", "smaller", "least squares", "following", "saddle"} <= set(sources)
    assert epigraph.minima(xor(2), 40, saddles=False).points[0].sources.keys() <= {"random", "wide", "smaller"}
