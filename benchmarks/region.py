"""How far around a trained minimum convexity is certified, beside the nearest negative curvature that a search finds.

    python benchmarks/region.py [--seeds 3] [--decay 0.001] [--hidden 8]

A 2-h-1 tanh network on 40 points is trained by Newton's method in float64 to a strict minimum of the mean squared
error with a small penalty.  The ratio of the two radii bounds what the certificate loses; the region of convexity ends
between them.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

import epigraph
from epigraph.hessian.dense import Dense
from epigraph.objective.graph import Graph

D = torch.float64


def objective(seed: int, hidden: int, decay: float, samples: int = 40) -> epigraph.Objective:
    """A network with random parameters on points of sin(2 x_1) x_2."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, 2, generator=g, dtype=D)
    net = nn.Sequential(nn.Linear(2, hidden), nn.Tanh(), nn.Linear(hidden, 1)).double()
    for p in net.parameters():
        p.data = torch.randn(p.shape, generator=g, dtype=D) * 0.7
    return epigraph.Objective(net, nn.MSELoss(), x, torch.sin(2 * x[:, :1]) * x[:, 1:], weight_decay=decay)


def minimum(dense: Dense, w: Tensor, steps: int = 2000) -> Tensor:
    """Newton steps with |H| + damping in place of H, to a gradient at the level of rounding."""
    damping = 1.0
    for _ in range(steps):
        jet = dense.of(w[None])
        if float(jet.gradient[0].norm()) < 1e-14:
            break
        values, vectors = torch.linalg.eigh(jet.hessian[0])
        new = w - vectors @ ((vectors.T @ jet.gradient[0]) / (values.abs() + damping))
        if float(dense.of(new[None]).value[0]) < float(jet.value[0]):
            w, damping = new, damping / 3
        elif damping < 1e-14:
            w, damping = new, damping * 4
        else:
            damping *= 4
    return w


def negative_curvature(dense: Dense, w: Tensor, radius: float, ball: bool, starts: int = 8, steps: int = 12) -> bool:
    """Is the Hessian seen to be indefinite somewhere in the region?  Follows the least eigenvalue downhill."""
    n, move = len(w), radius * 1e-3
    eye = torch.eye(n, dtype=D) * move
    vectors = torch.linalg.eigh(dense.of(w[None]).hessian[0])[1]
    g = torch.Generator().manual_seed(0)
    for k in range(starts):
        v, point = vectors[:, k % min(n, 6)], w
        if k >= 6:
            e = torch.randn(n, generator=g, dtype=D)
            point = w + radius * (e / e.norm() if ball else e.sign())
        for _ in range(steps):
            H = dense.of(torch.cat([point + eye, point - eye])).hessian
            bend = torch.einsum("i,kij,j->k", v, H, v)
            slope = bend[:n] - bend[n:]
            point = w - radius * (slope / slope.norm() if ball else slope.sign())
            values, basis = torch.linalg.eigh(dense.of(point[None]).hessian[0])
            if float(values[0]) < 0:
                return True
            v = basis[:, 0]
    return False


def smallest(found: Callable[[float], bool], low: float, ratio: float = 1.02) -> float:
    """The smallest radius at which the search succeeds, by growth and bisection from one at which it cannot."""
    high = low * 1.1
    while not found(high):
        low, high = high, high * 1.5
        if high > 1e3:
            return math.inf
    while high / low > ratio:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if found(middle) else (middle, high)
    return high


def split(graph: Graph, w: Tensor) -> dict[str, Tensor]:
    counts = [v.numel() for v in graph.parameters.values()]
    return {k: p.reshape(v.shape) for (k, v), p in zip(graph.parameters.items(), w.split(counts), strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--hidden", type=int, default=8)
    parser.add_argument("--decay", type=float, default=1e-3)
    options = parser.parse_args()
    print("seed  shape  least eigenvalue   certified    negative at   ratio   user s")
    for seed in range(options.seeds):
        J = objective(seed, options.hidden, options.decay)
        graph = J.graph()
        dense = Dense(graph)
        w = minimum(dense, torch.cat([v.detach().reshape(-1) for v in graph.parameters.values()]))
        least = float(torch.linalg.eigvalsh(dense.of(w[None]).hessian[0])[0])
        for shape in ("ball", "box"):
            start = time.process_time()
            radius = epigraph.region(J, split(graph, w), shape=shape).largest_radius
            spent = time.process_time() - start
            if radius == 0.0:
                print(f"{seed:4}  {shape:5}  {least:16.3e}   none")
                continue
            search = partial(negative_curvature, dense, w, ball=shape == "ball")
            seen = smallest(search, radius)
            print(
                f"{seed:4}  {shape:5}  {least:16.3e}   {radius:.3e}    {seen:.3e}   {seen / radius:6.2f}   {spent:.2f}"
            )


if __name__ == "__main__":
    main()
