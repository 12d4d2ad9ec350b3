"""Verdicts on real models: seconds, peak memory, and the time of a cold verification.

    python benchmarks/models.py                 every case
    python benchmarks/models.py --list          their names
    python benchmarks/models.py resnet18 vit_b_16 gpt2-124m

The torchvision and transformers models need `pip install '.[bench]'`; what is not installed is said and skipped.  Each
case runs in a process of its own.  A figure is shown with its bar: `12.4/90` is 12.4 where at most 90 is wanted, and an
exclamation mark follows a figure that misses it.  Seconds of the check are processor time, those of the verification
wall-clock time of a new process.
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

from architectures import ARCHITECTURES
from architectures import objective as architecture

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
Bars = dict[str, float]
CASES: dict[str, Bars] = {
    "logistic": {"check": 5.0},
    "depth": {"nodes/s": 20_000.0},
    "digits": {"check": 40.0, "verify": 3.0},
    "encoder": {"check": 90.0, "verify": 10.0, "GiB": 4.0},
    "encoder-trained": {"check": 90.0, "verify": 10.0, "GiB": 4.0},
    "resnet18-trained": {"check": 90.0, "verify": 60.0, "GiB": 4.0},
} | {name: {"check": 120.0, "verify": 60.0, "GiB": 12.0} for name in ARCHITECTURES}
AT_LEAST = {"nodes/s"}
COLUMNS = ("verdict", "verified", "head", "parameters", "nodes", "capture", "check", "GiB", "verify", "verify GiB")


def objective(name: str) -> tuple[Any, tuple[str, ...]]:
    """The objective of a case, trained where the name says so, and the parameters of its linear head."""
    import torch

    from epigraph.objective.target import load

    if name in ARCHITECTURES:
        return architecture(name)
    base, _, trained = name.partition("-")
    if base == "logistic":
        return _logistic(), ("weight", "bias")
    if base == "depth":
        return _deep(1200), ()
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
    return J, ()


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

    J, head = objective(name)
    if name == "depth":
        return _propagation(J)
    start = time.process_time()
    v = epigraph.check(J)
    out: dict[str, Any] = {
        "verdict": v.verdict,
        "parameters": J.size,
        "nodes": v.effort["nodes"],
        "capture": v.effort["capture_seconds"],
        "check": time.process_time() - start,
        "GiB": peak(),
    }
    if head:
        alone = {v.blocks[n].verdict for n in head if n in v.blocks} or {v.verdict}
        together = v.verdict if set(head) == set(J.parameters) else _together(J, head)
        out["head"] = together if alone <= {"convex", "affine"} else f"{together}; {', '.join(sorted(alone))}"
    if v.blockers:
        out["first blocker"] = f"{v.blockers[0].op} {v.blockers[0].location}"
    return out | _verified(v)


def _together(J: Any, head: tuple[str, ...]) -> str:
    import epigraph

    return epigraph.check(J, blocks=list(head), effort="quick").verdict


def _verified(v: Any) -> dict[str, Any]:
    """The certificate through a file and a process of its own."""
    if v.certificate is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.epi"
        v.certificate.save(path)
        begin = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "epigraph", "verify", str(path), "--json"], capture_output=True, check=True
        )
        found = json.loads(done.stdout)
        return {
            "verify": time.monotonic() - begin,
            "verify GiB": found["peak_bytes"] / 2**30,
            "verified": "yes" if found["ok"] else "no",
            "file MB": path.stat().st_size / 1e6,
        }


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
    return {"nodes": len(graph), "capture": captured, "nodes/s": len(graph) / best}


def shown(name: str, value: Any, bars: Bars) -> str:
    """A figure with its bar."""
    if value is None:
        return ""
    if not isinstance(value, (int, float)):
        return str(value)
    text = f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
    if name not in bars:
        return text
    missed = value < bars[name] if name in AT_LEAST else value > bars[name]
    return f"{text}/{bars[name]:g}" + ("!" if missed else "")


def main(names: list[str]) -> int:
    print("| model | " + " | ".join(COLUMNS) + " | other |\n" + "|--" * (len(COLUMNS) + 2) + "|", flush=True)
    failed = 0
    for name in names or list(CASES):
        done = subprocess.run([sys.executable, __file__, "--one", name], capture_output=True, text=True)
        if done.returncode:
            missing = "ModuleNotFoundError" in done.stderr
            failed += not missing
            why = (done.stderr.strip().splitlines() or ["no message"])[-1]
            print(
                f"| {name} | " + " | " * len(COLUMNS) + f" | {'skipped' if missing else 'FAILED'}: {why} |", flush=True
            )
            continue
        figures, bars = json.loads(done.stdout.splitlines()[-1]), CASES[name]
        cells = [shown(c, figures.pop(c, None), bars) for c in COLUMNS]
        rest = ", ".join(f"{k} {shown(k, v, bars)}" for k, v in figures.items())
        print(f"| {name} | {' | '.join(cells)} | {rest} |", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(run(sys.argv[2])))
    elif sys.argv[1:] == ["--list"]:
        print("\n".join(CASES))
    else:
        unknown = [n for n in sys.argv[1:] if n not in CASES]
        sys.exit(f"unknown: {', '.join(unknown)}" if unknown else main(sys.argv[1:]))
