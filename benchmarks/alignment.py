"""Two networks on the digits from different seeds: the barrier between them as they are, and after alignment.

    python benchmarks/alignment.py [--seeds N] [--width N]

Beside ``epigraph.align``, the published weight matching (Ainsworth, Hayase and Srinivasa 2023, algorithm 1), written here
plainly: permutations only, one assignment after the other in random order until none improves, on the same weights
in float64 with the same solver of assignments.  It is given the specification by hand; the seconds of ``align`` do not
include finding the group, which is done once per architecture and shown apart.  Seconds are the process's own.
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise

import scipy.sparse.linalg  # noqa: F401  loaded before anything is timed
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

import epigraph

Point = dict[str, Tensor]
KINDS = {"relu": nn.ReLU, "tanh": nn.Tanh}


def network(widths: list[int], kind: str) -> nn.Sequential:
    """A multilayer perceptron."""
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), KINDS[kind]()]
    return nn.Sequential(*layers[:-1])


def trained(widths: list[int], kind: str, x: Tensor, y: Tensor, seed: int, epochs: int = 30) -> nn.Sequential:
    """Adam on minibatches of 64 in an order of its own."""
    torch.manual_seed(seed)
    net = network(widths, kind)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
    return net


def weight_matching(a: Point, b: Point, generator: torch.Generator, sweeps: int = 100) -> Point:
    """The published coordinate descent for perceptrons: hidden layer i is an axis of three tensors."""
    hidden = len([k for k in a if k.endswith("weight")]) - 1
    orders = [torch.arange(len(a[f"{2 * i}.bias"])) for i in range(hidden)]

    def permuted(b: Point, skip: int) -> Point:
        out = dict(b)
        for i, order in enumerate(orders):
            if i != skip:
                out |= {k: out[k][order] for k in (f"{2 * i}.weight", f"{2 * i}.bias")}
                out[f"{2 * i + 2}.weight"] = out[f"{2 * i + 2}.weight"][:, order]
        return out

    for _ in range(sweeps):
        progress = False
        for i in torch.randperm(hidden, generator=generator).tolist():
            moved = permuted(b, i)
            gains = a[f"{2 * i}.weight"] @ moved[f"{2 * i}.weight"].T
            gains = gains + torch.outer(a[f"{2 * i}.bias"], moved[f"{2 * i}.bias"])
            gains = gains + a[f"{2 * i + 2}.weight"].T @ moved[f"{2 * i + 2}.weight"]
            rows, columns = linear_sum_assignment(gains.numpy(), maximize=True)
            before, after = gains[rows, orders[i]].sum(), gains[rows, columns].sum()
            progress = progress or bool(after > before + 1e-12)
            orders[i] = torch.from_numpy(columns)
        if not progress:
            break
    return permuted(b, -1)


def distance(a: Point, b: Point) -> float:
    return sum(float(((a[k] - b[k]) ** 2).sum()) for k in a) ** 0.5


def row(widths: list[int], kind: str, seeds: tuple[int, int]) -> str:
    """One line of the table."""
    from sklearn.datasets import load_digits

    data = load_digits()
    x, y = torch.from_numpy(data.data).float() / 16, torch.from_numpy(data.target).long()
    first, second = (trained(widths, kind, x, y, seed) for seed in seeds)
    J = epigraph.Objective(first, nn.CrossEntropyLoss(), x, y)
    a, b = ({k: v.detach().double() for k, v in net.named_parameters()} for net in (first, second))
    times = [time.process_time()]
    found = epigraph.symmetries(J)
    times.append(time.process_time())
    peer = weight_matching(a, b, torch.Generator().manual_seed(0))
    times.append(time.process_time())
    ours = epigraph.align(found, a, b)
    times.append(time.process_time())
    cells = [f"{t - s:.2f}" for s, t in pairwise(times)]
    for point in (b, peer, ours.point):
        seen = epigraph.barrier(J, a, point, points=11)
        cells.append(f"{seen.over_line:.4f} / {seen.over_max:.4f} / {distance(a, point):.2f}")
    return f"| {kind} {'-'.join(map(str, widths))} | {seeds[0]}, {seeds[1]} | " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--width", type=int, default=512)
    options = parser.parse_args()
    print("Barrier over the line / over the larger end / distance of the points\n")
    print("| network | seeds | group s | peer s | align s | before | peer | align |")
    print("|--|--|--|--|--|--|--|--|")
    for kind in KINDS:
        for depth in (1, 2, 3):
            for seed in range(options.seeds):
                widths = [64, *[options.width] * depth, 10]
                print(row(widths, kind, (2 * seed, 2 * seed + 1)), flush=True)


if __name__ == "__main__":
    main()
