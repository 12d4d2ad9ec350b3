"""Minima per second of processor time against SciPy in a loop, everyone on the same objective in PyTorch.

    python benchmarks/minima.py [--starts N] [--peers N]

XOR with 2 or 3 hidden units, inputs and targets 0 and 1, decay 0.1.  Everyone gets the same starts N(0, 1.5^2).  Counted is what
ends with a gradient of at most 1e-10 and a least eigenvalue above 1e-6.  SciPy's methods get value, gradient and Hessian from
PyTorch's automatic differentiation of the model itself, one point at a time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import optimize
from torch import Tensor, nn

from epigraph import Objective
from epigraph.critical.minimize import AbsoluteNewton, polish, search
from epigraph.hessian.dense import Dense

REACHED, CURVED = 1e-10, 1e-6


def xor(units: int) -> tuple[Objective, Callable[[Tensor], Tensor]]:
    """The objective, and the same function of a flat point for PyTorch's automatic differentiation."""
    X = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=torch.float64)
    Y = torch.tensor([[0], [1], [1], [0]], dtype=torch.float64)
    net = nn.Sequential(nn.Linear(2, units), nn.Tanh(), nn.Linear(units, 1)).double()
    shapes = [p.shape for p in net.parameters()]
    counts = [p.numel() for p in net.parameters()]

    def f(x: Tensor) -> Tensor:
        W, b, v, c = (p.reshape(s) for p, s in zip(x.split(counts), shapes, strict=True))
        return 0.5 * ((torch.tanh(X @ W.T + b) @ v.T + c - Y) ** 2).sum() + 0.05 * x.square().sum()

    return Objective(net, lambda out, y: 0.5 * ((out - y) ** 2).sum(), X, Y, weight_decay=0.1), f


def ours(J: Objective, starts: Tensor) -> Tensor:
    """All starts at once."""
    dense = Dense(J.graph())
    end = search(dense, starts, AbsoluteNewton())
    return polish(dense, end.x[end.reached]).x


def scipy(method: str, f: Callable[[Tensor], Tensor], starts: Tensor) -> Tensor:
    """One start after the other."""
    hessian = torch.func.hessian(f)

    def value(x: np.ndarray) -> tuple[float, np.ndarray]:
        point = torch.from_numpy(x).requires_grad_(True)
        out = f(point)
        (gradient,) = torch.autograd.grad(out, point)
        return out.item(), gradient.numpy()

    options: dict[str, Any] = {"maxiter": 2000}
    options |= {"gtol": 1e-11} if method == "trust-exact" else {"gtol": 1e-11, "ftol": 0.0, "maxfun": 10**5}
    second = {"hess": lambda x: hessian(torch.from_numpy(x)).numpy()} if method == "trust-exact" else {}
    ends = [optimize.minimize(value, x.numpy(), jac=True, method=method, options=options, **second).x for x in starts]
    return torch.from_numpy(np.stack(ends))


def counted(J: Objective, x: Tensor) -> int:
    """Those that are minima by the criterion above."""
    jet = Dense(J.graph()).of(x)
    least = torch.linalg.eigvalsh(jet.hessian)[:, 0]
    return int(((jet.gradient.abs().amax(1) <= REACHED) & (least > CURVED)).sum())


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--starts", type=int, default=4000)
    parser.add_argument("--peers", type=int, default=40)
    given = parser.parse_args()
    print(f"{'units':>5} {'method':<12} {'starts':>6} {'reached':>7} {'cpu s':>8} {'minima/s':>9} {'ratio':>6}")
    for units in (2, 3):
        J, f = xor(units)
        generator = torch.Generator().manual_seed(0)
        starts = 1.5 * torch.randn(given.starts, J.size, generator=generator, dtype=torch.float64)
        runs = {
            "epigraph": (lambda s, J=J: ours(J, s), starts),
            "trust-exact": (lambda s, f=f: scipy("trust-exact", f, s), starts[: given.peers]),
            "L-BFGS-B": (lambda s, f=f: scipy("L-BFGS-B", f, s), starts[: given.peers]),
        }
        best = None
        for name, (run, points) in runs.items():
            run(points[:2])
            began = time.process_time()
            x = run(points)
            spent = time.process_time() - began
            reached = counted(J, x)
            rate = reached / spent
            best = rate if best is None else best
            ratio = f"{best / rate:.0f}" if reached else "-"
            print(f"{units:>5} {name:<12} {len(points):>6} {reached:>7} {spent:>8.2f} {rate:>9.1f} {ratio:>6}")


if __name__ == "__main__":
    main()
