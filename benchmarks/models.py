"""Verdicts on real models: seconds, peak memory, and the time of a cold verification.

    python benchmarks/models.py [NAME ...]      logistic, depth, digits, encoder, resnet18 (the last needs torchvision)

Each case runs in a process of its own.  Encoder and ResNet-18 are taken at initialisation and after some training
steps.  The bar of each figure is printed beside it.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
CASES = {
    "logistic": {"check": 5.0},
    "depth": {"nodes per second": 20_000.0},
    "digits": {"check": 40.0, "verify": 3.0},
    "encoder": {"check": 90.0, "verify": 10.0, "GiB": 4.0},
    "encoder-trained": {"check": 90.0, "verify": 10.0, "GiB": 4.0},
    "resnet18": {"check": 90.0, "verify": 60.0, "GiB": 4.0},
    "resnet18-trained": {"check": 90.0, "verify": 60.0, "GiB": 4.0},
}


def objective(name: str) -> Any:
    """The objective of a case, trained where the name says so."""
    import torch

    from epigraph.objective.target import load

    base, _, trained = name.partition("-")
    if base == "logistic":
        return _logistic()
    if base == "depth":
        return _deep(1200)
    files = {"digits": "digits_mlp", "encoder": "transformer_encoder", "resnet18": "resnet18"}
    J = load(f"{EXAMPLES / files[base]}.py:objective", None, [])
    if trained:
        optimizer = torch.optim.Adam(J.model.parameters(), lr=1e-3)
        (batch,) = J.batches()
        J.model.eval()
        for _ in range(40):
            optimizer.zero_grad()
            J.loss(J.model(batch.inputs), batch.targets).backward()
            optimizer.step()
    return J


def _logistic() -> Any:
    import torch

    from epigraph import Objective

    generator = torch.Generator().manual_seed(0)
    X = torch.randn(100_000, 100, generator=generator, dtype=torch.float64)
    y = (torch.rand(100_000, 1, generator=generator) > 0.5).double()
    return Objective(
        torch.nn.Linear(100, 1).double(), torch.nn.BCEWithLogitsLoss(), X, y, name="logistic 100,000 x 100"
    )


def _deep(layers: int) -> Any:
    import torch

    from epigraph import Objective

    def chain(w: Any, b: Any) -> Any:
        x = torch.ones(4, dtype=torch.float64)
        for i in range(layers):
            x = torch.tanh(w[i] @ x + b[i])
        return x.sum()

    generator = torch.Generator().manual_seed(0)
    w = torch.randn(layers, 4, 4, generator=generator, dtype=torch.float64)
    return Objective.from_function(chain, {"w": w, "b": torch.zeros(layers, 4, dtype=torch.float64)})


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def run(name: str) -> dict[str, Any]:
    """One case: its figures."""
    import epigraph

    J = objective(name)
    if name == "depth":
        return _propagation(J)
    before, start = peak(), time.monotonic()
    v = epigraph.check(J)
    out: dict[str, Any] = {
        "verdict": v.verdict,
        "check": time.monotonic() - start,
        "GiB": peak(),
        "extra GiB": peak() - before,
        "capture": v.effort["capture_seconds"],
        "nodes": v.effort["nodes"],
    }
    out["convex alone"] = [n for n, b in v.blocks.items() if b.convex == "proved"]
    out["first blocker"] = f"{v.blockers[0].op} {v.blockers[0].location}" if v.blockers else None
    if v.certificate is not None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "c.epi"
            v.certificate.save(path)
            out["file MB"] = path.stat().st_size / 1e6
            begin = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-m", "epigraph", "verify", str(path), "--json"], capture_output=True, check=True
            )
            found = json.loads(done.stdout)
            out |= {
                "verify": time.monotonic() - begin,
                "verify GiB": found["peak_bytes"] / 2**30,
                "verified": found["ok"],
            }
    return out


def _propagation(J: Any) -> dict[str, Any]:
    from epigraph.calculus.propagate import Propagation, intervals

    start = time.monotonic()
    graph = J.graph()
    captured = time.monotonic() - start
    best = float("inf")
    for _ in range(5):
        start = time.monotonic()
        Propagation(graph, intervals(graph, J.domain), tuple(J.parameters))
        best = min(best, time.monotonic() - start)
    return {"nodes": len(graph), "capture": captured, "nodes per second": len(graph) / best}


def main(names: list[str]) -> None:
    for name in names or list(CASES):
        done = subprocess.run([sys.executable, __file__, "--one", name], capture_output=True, text=True)
        if done.returncode:
            print(f"{name:18} failed: {done.stderr.strip().splitlines()[-1:]}")
            continue
        figures = json.loads(done.stdout.splitlines()[-1])
        shown = ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items())
        bars = ", ".join(f"{k} {v:g}" for k, v in CASES[name].items())
        print(f"{name:18} {shown}   [bars: {bars}]", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(run(sys.argv[2])))
    else:
        main(sys.argv[1:])
