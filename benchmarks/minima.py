"""Minima per second against SciPy and pele, everyone from the same starts, with the bars that are to be met.

    OMP_NUM_THREADS=1 python benchmarks/minima.py [xor] [digits] [--starts N] [--peers N] [--threads N]

*xor*: 2 or 3 hidden units, inputs and targets 0 and 1, decay 0.1, starts N(0, 1.5^2).  *digits*: a 64-8-10 tanh network on
scikit-learn's digits, mean cross-entropy, decay 1e-3, PyTorch's own initial weights.

Counted is what ends with a gradient of at most 1e-10 (for XOR also with a least eigenvalue above 1e-6).  SciPy's methods get
value and gradient of the model by PyTorch's automatic differentiation, and Hessians or their products where they use them; for
the digits products come from a graph that is kept for each point.  pele takes plain functions and gets J in NumPy, which is
faster than PyTorch on XOR: `pip install --no-deps --target DIR pele` and DIR on PYTHONPATH; without it its bars stay open.
Rates are by processor time and by the clock; a ratio is the lesser of the two.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import optimize
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from epigraph import Objective
from epigraph.critical.descent import descend
from epigraph.critical.minimize import polish
from epigraph.hessian.dense import Dense

REACHED, CURVED = 1e-10, 1e-6
Flat = Callable[[Tensor], Tensor]
Plain = Callable[[np.ndarray], tuple[float, np.ndarray]]


@dataclass(frozen=True)
class Case:
    """One objective in three forms, its starts, the peers and the ratio that is to be met with each."""

    name: str
    J: Objective
    f: Flat
    plain: Plain
    starts: Tensor
    curved: float
    bars: dict[str, float]
    best: float  # ratio to the best of SciPy's, where that is what counts


# objectives -------------------------------------------------------------------------------------------------------
def network(X: Tensor, units: int, outputs: int) -> tuple[nn.Sequential, Callable[[Tensor], list[Tensor]]]:
    net = nn.Sequential(nn.Linear(X.shape[1], units), nn.Tanh(), nn.Linear(units, outputs)).double()
    shapes = [p.shape for p in net.parameters()]
    counts = [p.numel() for p in net.parameters()]
    return net, lambda x: [p.reshape(s) for p, s in zip(x.split(counts), shapes, strict=True)]


def xor(units: int, count: int) -> Case:
    X = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=torch.float64)
    Y = torch.tensor([[0], [1], [1], [0]], dtype=torch.float64)
    net, parts = network(X, units, 1)

    def f(x: Tensor) -> Tensor:
        W, b, v, c = parts(x)
        return 0.5 * ((torch.tanh(X @ W.T + b) @ v.T + c - Y) ** 2).sum() + 0.05 * x.square().sum()

    inputs, targets = X.numpy(), Y.numpy()[:, 0]

    def plain(x: np.ndarray) -> tuple[float, np.ndarray]:
        W, b, v, c = x[: 2 * units].reshape(units, 2), x[2 * units : 3 * units], x[3 * units : 4 * units], x[-1]
        h = np.tanh(inputs @ W.T + b)
        r = h @ v + c - targets
        back = r[:, None] * v * (1 - h * h)
        gradient = np.concatenate([(back.T @ inputs).ravel(), back.sum(0), h.T @ r, [r.sum()]])
        return 0.5 * float(r @ r) + 0.05 * float(x @ x), gradient + 0.1 * x

    J = Objective(net, lambda out, y: 0.5 * ((out - y) ** 2).sum(), X, Y, weight_decay=0.1)
    starts = 1.5 * torch.randn(count, J.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    bars = {"trust-exact": 200.0, "L-BFGS-B": 200.0, "pele": 15.0}
    return Case(f"XOR 2-{units}-1", J, f, plain, starts, CURVED, bars, 0.0)


def digits(units: int, count: int) -> Case:
    data = load_digits()
    X, y = torch.tensor(data.data / 16, dtype=torch.float64), torch.tensor(data.target)
    net, parts = network(X, units, 10)

    def f(x: Tensor) -> Tensor:
        W, b, V, c = parts(x)
        return F.cross_entropy(torch.tanh(X @ W.T + b) @ V.T + c, y) + 0.5e-3 * x.square().sum()

    inputs, rows, classes = X.numpy(), np.arange(len(y)), y.numpy()
    cuts = np.cumsum([64 * units, units, 10 * units])

    def plain(x: np.ndarray) -> tuple[float, np.ndarray]:
        W, b, V, c = np.split(x, cuts)
        W, V = W.reshape(units, 64), V.reshape(10, units)
        h = np.tanh(inputs @ W.T + b)
        z = h @ V.T + c
        z -= z.max(1, keepdims=True)
        p = np.exp(z)
        total = p.sum(1)
        value = float((np.log(total) - z[rows, classes]).mean()) + 0.5e-3 * float(x @ x)
        p /= total[:, None]
        p[rows, classes] -= 1
        p /= len(rows)
        back = (p @ V) * (1 - h * h)
        return value, np.concatenate([(back.T @ inputs).ravel(), back.sum(0), (p.T @ h).ravel(), p.sum(0)]) + 1e-3 * x

    J = Objective(net, nn.CrossEntropyLoss(), X, y, weight_decay=1e-3)
    starts = []
    for seed in range(count):
        torch.manual_seed(seed)
        starts.append(torch.cat([p.detach().reshape(-1) for p in network(X, units, 10)[0].parameters()]))
    peers = ("trust-ncg", "Newton-CG", "L-BFGS-B", "trust-exact")
    return Case(f"digits 64-{units}-10", J, f, plain, torch.stack(starts), -math.inf, dict.fromkeys(peers, 0.0), 1.5)


# methods ----------------------------------------------------------------------------------------------------------
def ours(dense: Dense, starts: Tensor) -> Tensor:
    """All starts at once; the search in the metric of a Hessian reaches the gradient that is asked for by itself."""
    end = descend(dense, starts)
    small = end.gradient <= REACHED
    return end.x if bool(small.all()) else polish(dense, end.x[end.reached]).x


class Products:
    """Products with the Hessian at the latest point, through its gradient's graph."""

    def __init__(self, f: Flat):
        self.f, self.x = f, np.empty(0)

    def __call__(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        if not np.array_equal(self.x, x):
            self.x = x.copy()
            self.leaf = torch.from_numpy(self.x).requires_grad_(True)
            (self.gradient,) = torch.autograd.grad(self.f(self.leaf), self.leaf, create_graph=True)
        seed = torch.from_numpy(np.ascontiguousarray(v))
        return torch.autograd.grad(self.gradient, self.leaf, seed, retain_graph=True)[0].numpy()


OPTIONS: dict[str, dict[str, Any]] = {
    "L-BFGS-B": {"gtol": 1e-11, "ftol": 0.0, "maxfun": 10**5, "maxcor": 20},
    "Newton-CG": {"xtol": 1e-12},
}


def scipy(method: str, f: Flat, starts: Tensor) -> Tensor:
    """One start after the other."""

    def value(x: np.ndarray) -> tuple[float, np.ndarray]:
        leaf = torch.from_numpy(x).requires_grad_(True)
        out = f(leaf)
        return out.item(), torch.autograd.grad(out, leaf)[0].numpy()

    chunk = 32 if starts.shape[1] > 100 else None
    second: dict[str, Any] = {}
    if method == "trust-exact":
        hessian = torch.func.jacrev(torch.func.grad(f), chunk_size=chunk) if chunk else torch.func.hessian(f)
        second = {"hess": lambda x: hessian(torch.from_numpy(x)).numpy()}
    elif method != "L-BFGS-B":
        second = {"hessp": Products(f)}
    options = {"maxiter": 5000, **OPTIONS.get(method, {"gtol": REACHED})}
    ends = [optimize.minimize(value, x.numpy(), jac=True, method=method, options=options, **second).x for x in starts]
    return torch.from_numpy(np.stack(ends))


def pele(plain: Plain, starts: Tensor) -> Tensor:
    """pele's L-BFGS in C++, one start after the other; its tolerance is on the root mean square of the gradient."""
    from pele.optimize import lbfgs_cpp
    from pele.potentials import BasePotential

    class Potential(BasePotential):
        def getEnergy(self, x: np.ndarray) -> float:
            return plain(x)[0]

        def getEnergyGradient(self, x: np.ndarray) -> tuple[float, np.ndarray]:
            return plain(x)

    potential = Potential()
    ends = [lbfgs_cpp(x.numpy().copy(), potential, tol=1e-11, nsteps=10**5).coords for x in starts]
    return torch.from_numpy(np.stack(ends))


# the table --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Rate:
    """Minima per second of processor time and by the clock, and of how many starts how many were counted."""

    processor: float
    clock: float

    def over(self, other: Rate) -> float:
        """The lesser of both ratios."""
        pairs = ((self.processor, other.processor), (self.clock, other.clock))
        return min(a / b if b else math.inf for a, b in pairs)


def measured(case: Case, dense: Dense, name: str, run: Callable[[Tensor], Tensor], starts: Tensor) -> Rate:
    """Run once after a warm-up; print the row."""
    run(starts[:2] if case.best == 0 else starts[:1]) if name == "epigraph" else None
    began = time.process_time(), time.perf_counter()
    x = run(starts)
    spent = time.process_time() - began[0], time.perf_counter() - began[1]
    jets = [dense.of(part) for part in x.split(50)]
    gradient = torch.cat([j.gradient.abs().amax(1) for j in jets])
    good = gradient <= REACHED
    if case.curved > -math.inf:
        good &= torch.cat([torch.linalg.eigvalsh(j.hessian)[:, 0] for j in jets]) > case.curved
    rate = Rate(int(good.sum()) / spent[0], int(good.sum()) / spent[1])
    middle = float(gradient.median())
    print(
        f"{case.name:<15} {name:<12} {len(starts):>6} {int(good.sum()):>7} {spent[0]:>9.2f} {spent[1]:>9.2f} "
        f"{rate.processor:>9.2f} {rate.clock:>9.2f}  {middle:.0e}",
        flush=True,
    )
    return rate


def compared(case: Case, peers: dict[str, int]) -> list[str]:
    """All methods on one objective, and what became of each bar."""
    dense = Dense(case.J.graph(), tuple(case.J.parameters))
    own = measured(case, dense, "epigraph", lambda s: ours(dense, s), case.starts)
    lines, others = [], {}
    for name, bar in case.bars.items():
        starts = case.starts[: peers.get(name, peers[""])]
        if name == "pele":
            try:
                others[name] = measured(case, dense, name, lambda s: pele(case.plain, s), starts)
            except ImportError as error:
                lines.append(f"{case.name}: pele is not installed ({error}): its bar of {bar:g} is open")
                continue
        else:
            others[name] = measured(case, dense, name, lambda s, name=name: scipy(name, case.f, s), starts)
        if bar:
            lines.append(verdict(f"{case.name} against {name}", own.over(others[name]), bar))
    if case.best:
        best = max(others, key=lambda k: others[k].processor)
        lines.append(verdict(f"{case.name} against the best of SciPy ({best})", own.over(others[best]), case.best))
    return lines


def verdict(what: str, ratio: float, bar: float) -> str:
    shown = "none of its ends counts" if math.isinf(ratio) else f"{ratio:.1f}"
    return f"{what}: {shown}, bar {bar:g}: {'met' if ratio >= bar else 'MISSED'}"


def main(arguments: Sequence[str]) -> None:
    """The table and the bars."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", nargs="*", default=["xor", "digits"])
    parser.add_argument("--starts", type=int, default=4000, help="for XOR")
    parser.add_argument("--images", type=int, default=8, help="starts for the digits")
    parser.add_argument("--peers", type=int, default=60, help="starts of the peers for XOR")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch, for everyone")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    print(f"PyTorch threads: {given.threads}; spent and rates by processor time, then by the clock")
    print(
        f"{'objective':<15} {'method':<12} {'starts':>6} {'reached':>7} {'cpu s':>9} {'s':>9} {'min/cpu s':>9} {'min/s':>9}  |g|"
    )
    lines = []
    if "xor" in given.cases:
        for units in (2, 3):
            lines += compared(xor(units, given.starts), {"": given.peers, "pele": 5 * given.peers})
    if "digits" in given.cases:
        lines += compared(digits(8, given.images), {"": given.images, "trust-exact": 1})
    print(*lines, sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
