"""Enclosures hold the Hessians of random points of the region, to the sharpness of the float engine."""

from __future__ import annotations

import pytest
import torch
from graphs import KINKED, SMOOTH, made

from epigraph.hessian.dense import Dense
from epigraph.hessian.enclose import Region, Source, Undecided


def region_of(J, radius: float, ball: bool):
    graph = J.graph()
    source = Source(graph, J.domain, graph.parameters, tuple(graph.parameters))
    centre = torch.cat([graph.parameters[k].detach().double().reshape(-1) for k in source.names])
    return source, Region(centre, torch.full_like(centre, radius), ball), Dense(graph, source.names)


def directions(n: int, ball: bool, count: int = 12) -> torch.Tensor:
    g = torch.Generator().manual_seed(3)
    e = torch.randn(count, n, generator=g, dtype=torch.float64)
    e = e / (e.norm(dim=1, keepdim=True) if ball else e.abs().amax(1, keepdim=True))
    if not ball:
        e[: count // 2] = e[: count // 2].sign()
    e[-2:] *= 0.3
    return torch.cat([e, torch.zeros(1, n, dtype=torch.float64)])


@pytest.mark.parametrize(("order", "ball"), [(1, True), (1, False), (0, False)], ids=["ball", "box", "intervals"])
@pytest.mark.parametrize("name", [*SMOOTH, *KINKED])
def test_points_of_the_region_are_enclosed(name, order, ball):
    J = made(name)
    decided = 0
    for radius in (0.2, 1e-5):
        source, region, dense = region_of(J, radius, ball)
        try:
            H, a = source.hessian(region, order)
        except Undecided:
            continue
        decided += 1
        e = directions(source.size, ball)
        truth = dense.of(region.centre + radius * e).hessian
        middle = H.c + (0 if H.L is None else torch.einsum("sk,kij->sij", e, H.L))
        slack = 1e-12 * (1 + truth.abs().amax((1, 2), keepdim=True))
        assert bool(((truth - middle).abs() <= H.r + slack).all()), radius
        assert bool((a.deviation(H) + slack[0] >= (truth - H.c).abs()).all())
    assert decided or name in ("absolute",)


@pytest.mark.parametrize("name", ["tanh", "softplus", "attention", "cross entropy"])
def test_the_remainder_is_of_second_order(name):
    """Halving the radius quarters what is left beside the linear part."""
    J = made(name)
    sizes = []
    for radius in (2e-3, 1e-3):
        source, region, _ = region_of(J, radius, True)
        sizes.append(float(source.hessian(region, 1)[0].r.max()))
    assert 3.5 < sizes[0] / sizes[1] < 4.5


def test_the_linear_part_is_the_third_derivative():
    """w^3 at 2 on radius r: 12 + 6 r e, with nothing beside it but rounding."""
    from epigraph import Objective

    J = Objective.from_function(lambda w: (w**3).sum(), {"w": torch.tensor([2.0, -1.0], dtype=torch.float64)})
    source, region, _ = region_of(J, 0.125, True)
    H, _ = source.hessian(region, 1)
    assert torch.allclose(H.c, torch.diag(torch.tensor([12.0, -6.0], dtype=torch.float64)))
    assert torch.allclose(H.L[0], torch.diag(torch.tensor([0.75, 0.0], dtype=torch.float64)))
    assert float(H.r.max()) < 1e-12
