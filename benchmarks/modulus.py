"""Thresholds of weight decay: at which multiple of the exact threshold is convexity proved, refuted or left open?

For the mean squared error of a sigmoid or tanh layer with decay lambda/2 |w|^2 the curvature lemma proves convexity from
lambda = c lambda_max(X'X/n) on, c = 0.1202044 or 1.92327.  Below it J is not convex where the data are tight (one datum)::

    python benchmarks/modulus.py [--effort quick|normal]

Each line: the data, the ratio lambda/threshold, the verdict, the modulus, the exact one, and seconds of processor time.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "src")]

import epigraph  # noqa: E402  (found by the path above)

CONSTANTS = {"sigmoid": 0.12020440345468385, "tanh": 1.9232704552749416}
RATIOS = (0.9, 0.99, 0.999, 1.0, 1.001, 1.1)


@dataclass(frozen=True)
class Row:
    """Random data of a size, and the layer."""

    name: str
    layer: str
    rows: int
    size: int
    outputs: int = 1
    targets: str = "classes"
    dtype: torch.dtype = torch.float64


ROWS = (
    Row("one datum", "sigmoid", 1, 1),
    Row("one datum, 3 weights", "sigmoid", 1, 3),
    Row("12 data", "sigmoid", 12, 3),
    Row("12 data", "tanh", 12, 3),
    Row("200 data", "sigmoid", 200, 20),
    Row("200 data, float32", "sigmoid", 200, 20, dtype=torch.float32),
    Row("60 data, real targets", "sigmoid", 60, 5, targets="real"),
    Row("100 data, 10 outputs", "sigmoid", 100, 30, outputs=10),
    Row("1000 data", "sigmoid", 1000, 200),
)


def build(row: Row, ratio: float) -> tuple[epigraph.Objective, float]:
    """The objective, and the modulus that the curvature lemma can give at most; with real targets it may give more."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(row.rows, row.size, generator=generator, dtype=torch.float64).to(row.dtype)
    y = torch.rand(row.rows, row.outputs, generator=generator, dtype=torch.float64)
    if row.targets == "classes":
        y = (y > 0.5).double()
    if row.layer == "tanh":
        y = 2 * y - 1
    top = float(torch.linalg.eigvalsh(X.double().T @ X.double() / (row.rows * row.outputs))[-1])
    threshold = CONSTANTS[row.layer] * top
    model = nn.Sequential(
        nn.Linear(row.size, row.outputs, bias=False).to(row.dtype),
        {"sigmoid": nn.Sigmoid(), "tanh": nn.Tanh()}[row.layer],
    )
    J = epigraph.Objective(model, nn.MSELoss(), X, y.to(row.dtype), weight_decay=ratio * threshold)
    return J, (ratio - 1) * threshold


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--effort", default="quick", choices=["quick", "normal"])
    parser.add_argument("--only", default="", help="rows whose name contains this")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"{'data':22} {'layer':8} {'ratio':>6}  {'convex':10} {'modulus':>12} {'at most':>12} {'s':>6}")
    wrong = 0
    for row in ROWS:
        if arguments.only not in row.name:
            continue
        for ratio in RATIOS:
            J, most = build(row, ratio)
            J.graph()
            start = time.process_time()
            v = epigraph.check(J, effort=arguments.effort)
            seconds = time.process_time() - start
            shown = "-" if v.modulus is None else f"{v.modulus:.6g}"
            print(f"{row.name:22} {row.layer:8} {ratio:6.3f}  {v.convex:10} {shown:>12} {most:12.6g} {seconds:6.2f}")
            wrong += (ratio < 1 and v.convex == "proved" and row.targets == "classes") or (
                ratio > 1 and v.convex != "proved"
            )
    print(f"outside the bar: {wrong}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
