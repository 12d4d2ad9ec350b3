"""Certificates of critical points: seconds to prove and to verify, with the bars that are to be met.

    OMP_NUM_THREADS=1 python benchmarks/isolated.py [xor] [units] [small] [eight] [weak] [thirtytwo]

*xor*: the three minima of a 2-2-1 tanh network on XOR with decay 0.1.  *units*: the spurious minimum of six relu units on Gaussian
inputs [Safran and Shamir, 2018].  *small*: a 2-8-1 tanh network on 40 points.  *eight*, *weak*, *thirtytwo*: 64-8-10 with
decay 1e-3 and 1e-5, 64-32-10 with 1e-3, tanh networks on scikit-learn's digits, mean cross-entropy.  The points are found
first, by the package's own search, and not timed.  Seconds are by the clock; those of the verifier include the start of a process.
"""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import epigraph
from epigraph import Objective
from epigraph.critical.certify import Certifier
from epigraph.critical.evidence import save
from epigraph.hessian.dense import Dense
from epigraph.zoo import load

D = torch.float64


def _points(J: Objective, starts: int) -> list[Mapping[str, Tensor]]:
    """Minima, up to copies, that the search gives."""
    return [p.point for p in epigraph.minima(J, starts, saddles=False).minima]


def _network(*widths: int) -> nn.Module:
    parts: list[nn.Module] = []
    for a, b in pairwise(widths):
        parts += [nn.Linear(a, b), nn.Tanh()]
    return nn.Sequential(*parts[:-1]).double()


def _digits(decay: float, hidden: int) -> Objective:
    torch.manual_seed(0)
    x, y = (torch.as_tensor(v) for v in load_digits(return_X_y=True))
    return Objective(_network(64, hidden, 10), nn.CrossEntropyLoss(), x.double() / 16, y, weight_decay=decay)


def _small() -> Objective:
    torch.manual_seed(0)
    x = torch.randn(40, 2, dtype=D)
    y = (x[:, :1] * x[:, 1:]).tanh() + 0.1 * torch.randn(40, 1, dtype=D)
    return Objective(_network(2, 8, 1), nn.MSELoss(), x, y, weight_decay=1e-2)


def _units() -> tuple[Objective, list[Mapping[str, Tensor]]]:
    """The expected loss of six relu units against six orthonormal ones, in closed form, near its spurious minimum."""

    def kernel(cosine: Tensor) -> Tensor:
        sine = (1 - cosine * cosine).sqrt()
        return sine + (math.pi / 2 + (cosine / sine).atan()) * cosine

    def loss(W: Tensor) -> Tensor:
        i, j = torch.triu_indices(6, 6, 1)
        norm = (W * W).sum(1).sqrt()
        pairs = norm[i] * norm[j]
        between = (pairs * kernel((W @ W.T)[i, j] / pairs)).sum() / (2 * math.pi)
        across = (norm[:, None] * kernel(W / norm[:, None])).sum() / (2 * math.pi)
        return (W * W).sum() / 4 + between - across + 1.5 + 7.5 / math.pi

    W = torch.full((6, 6), -0.0504, dtype=D).fill_diagonal_(0.9867)
    W[:, 5], W[5, :], W[5, 5] = 0.308, 0.2245, -0.6015
    J = Objective.from_function(loss, {"W": W})
    return J, [{"W": _polished(J, W)}]


def _polished(J: Objective, start: Tensor) -> Tensor:
    x = start.reshape(-1)
    dense = Dense(J.graph(), tuple(J.parameters))
    for _ in range(8):
        jet = dense.of(x[None])
        x = x - torch.linalg.solve(jet.hessian[0], jet.gradient[0])
    return x.reshape(start.shape)


def measured(name: str, J: Objective, points: list[Mapping[str, Tensor]], bar: float) -> None:
    """Prove each point by itself, write a file of all, verify it."""
    spent = []
    for point in points:
        certifier = Certifier(J)
        start = time.perf_counter()
        if certifier.locate(point) is None:
            print(f"{name}: a point is not certified", flush=True)
        spent.append(time.perf_counter() - start)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.epi"
        start = time.perf_counter()
        held = save(J, points, path)
        writing = time.perf_counter() - start
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "epigraph", "verify", str(path)], check=True, capture_output=True)
        verifying = time.perf_counter() - start
        size = path.stat().st_size
    worst = max(spent)
    print(
        f"{name}: {J.size} variables, {len(points)} points, slowest {worst:.3f}/{bar:g} s{' !' if worst > bar else ''}; file of {len(held)}: "
        f"{writing:.2f} s, {size / 1024:.0f} KB, verified in {verifying:.2f} s; radius {min(h.radius for h in held):.1e}",
        flush=True,
    )


def main() -> None:
    """Run the named cases, or all."""
    cases = {
        "xor": lambda: (load("xor"), _points(load("xor"), 200), 0.1),
        "units": lambda: (*_units(), 2.0),
        "small": lambda: (_small(), _points(_small(), 20)[:3], 2.0),
        "eight": lambda: (_digits(1e-3, 8), _points(_digits(1e-3, 8), 4)[:2], 10.0),
        "weak": lambda: (_digits(1e-5, 8), _points(_digits(1e-5, 8), 6)[:1], 10.0),
        "thirtytwo": lambda: (_digits(1e-3, 32), _points(_digits(1e-3, 32), 2)[:1], 60.0),
    }
    for name in sys.argv[1:] or list(cases):
        J, points, bar = cases[name]()
        if not points:
            print(f"{name}: the search found no minimum")
            continue
        measured(name, J, points, bar)


if __name__ == "__main__":
    main()
