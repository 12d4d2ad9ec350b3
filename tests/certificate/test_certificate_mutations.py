"""Thousands of random changes of valid files: each is refused with a code, or what it says is true.

``tests/soak/soak_files.py`` does the same with proofs and counterexamples of random objectives, at length.
"""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import certificate_fractions as oracle
import numpy as np
import pytest
from certificate_builder import Builder
from certificate_samples import SAMPLES, Draft, write_raw

from epigraph.certificate import format
from epigraph.certificate.verify import verify_here
from epigraph.errors import CertificateError

COUNT = 500
POOL: list[Any] = [
    None,
    True,
    False,
    -1,
    0,
    1,
    2,
    3,
    7,
    10**6,
    2**53,
    -(2**53),
    10**19,
    "",
    "x",
    "y",
    "1/3",
    "-2",
    "0",
    "exact",
    "arb",
    "convex",
    "concave",
    "quasiconvex",
    "0x1.0000000000000p+0",
    "-0x1.8p+1",
    [],
    {},
    [0],
    [1, 2],
    [None, None],
    {"tensor": "x"},
    {"scale_log2": 0},
    {"value": "3/4"},
    "add",
    "mul",
    "log",
    "exp",
    "div",
    "relu",
    "abs",
    "neg",
    "power",
    "floor",
    "opaque",
]


def places(tree: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a JSON tree."""
    found: list[tuple[Any, Any]] = []
    pending = [tree]
    while pending:
        node = pending.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else []
        for key in keys:
            found.append((node, key))
            pending.append(node[key])
    return found


def change_tree(rng: random.Random, tree: Any) -> None:
    """One random change of a JSON tree."""
    node, key = rng.choice(places(tree))
    other, there = rng.choice(places(tree))
    kind = rng.randrange(7)
    if kind == 0:
        node[key] = rng.choice(POOL)
    elif kind == 1 and isinstance(node[key], int):
        node[key] = node[key] + rng.choice([-2, -1, 1, 2, 60, -60])
    elif kind == 2:
        node[key], other[there] = other[there], node[key]
    elif kind == 3:
        del node[key]
    elif kind == 4 and isinstance(node, list):
        node.insert(key, rng.choice([node[key], rng.choice(POOL)]))
    elif kind == 5 and isinstance(node, dict):
        node[rng.choice(["x", "y", "name", "tensor", "shape", "dims", "dim", "value", "role"])] = node[key]
    elif isinstance(node[key], str) and node[key]:
        at = rng.randrange(len(node[key]))
        node[key] = (
            node[key][:at] + rng.choice(["", "0", "-", "/", "e", "\x00", "\u2028", "9" * 30]) + node[key][at + 1 :]
        )


def change_tensor(rng: random.Random, arrays: dict[str, np.ndarray]) -> None:
    key = rng.choice(sorted(arrays))
    array = arrays[key]
    kind = rng.randrange(5)
    if kind == 0 and array.size:
        value = rng.choice([0, 1, -1, 2, 3, 0.5, -7.25, 1e30, 1e-30, 100])
        array.reshape(-1)[rng.randrange(array.size)] = (
            int(value) if array.dtype.kind in "iu" and abs(value) <= 100 else value if array.dtype.kind == "f" else 0
        )
    elif kind == 1:
        with np.errstate(invalid="ignore"):
            arrays[key] = array.astype(rng.choice([np.float64, np.float32, np.int8, np.int64, np.bool_]))
    elif kind == 2:
        arrays[key] = array.reshape(-1)[: rng.randrange(array.size + 1)]
    elif kind == 3:
        arrays[key] = -array if array.dtype.kind != "b" else array
    else:
        del arrays[key]


def change_bytes(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    kind = rng.randrange(4)
    if kind == 0:
        return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
    if kind == 1:
        return data[:at] + rng.randbytes(rng.randrange(1, 9)) + data[at:]
    if kind == 2:
        return data[:at] + data[at + rng.randrange(1, 9) :]
    other = rng.randrange(len(data))
    return data[:at] + data[other : other + 4] + data[at + 4 :]


def mutate(rng: random.Random, payload: format.Payload, path: Path) -> Path:
    draft = Draft(payload)
    layer = rng.choice([0, 1, 2, 3] if draft.base or draft.delta else [0, 2, 3])
    if layer == 0:
        return Path(path).write_bytes(change_bytes(rng, draft.save(path).read_bytes())) and path
    contents = None
    if layer == 1:
        change_tensor(rng, rng.choice([tensors for tensors in (draft.base, draft.delta) if tensors]))
    elif layer == 2:
        contents = draft.contents()
        name = rng.choice(sorted(contents))
        contents[name] = change_bytes(rng, contents[name])
    else:
        for _ in range(rng.choice([1, 1, 2, 3])):
            change_tree(rng, draft.manifest)
    return write_raw(path, draft.contents() if contents is None else contents)


def true_gap(payload: format.Payload) -> tuple[Fraction | float, Fraction]:
    """The gap of an accepted file by an oracle (Fractions, else PyTorch in float64), and the claimed one."""
    claim = payload.manifest["claim"]
    claimed = Fraction(int(claim["gap_lower"]["num"])) / Fraction(2) ** claim["gap_lower"]["den_log2"]
    tensors = dict(payload.base)
    for key, entry in payload.manifest["tensors"].items():
        if "fill" in entry:
            tensors[key] = np.full(entry["shape"], float.fromhex(entry["fill"]))
    values: list[Any] = []
    for sign in (1, -1, 0):
        shifted = {
            key: oracle.fractions(tensors[key])
            + sign * oracle.fractions(k) * Fraction(2) ** payload.manifest["delta"][key]["scale_log2"]
            for key, k in payload.delta.items()
        }
        if claim["arithmetic"] == "exact":
            values.append(oracle.evaluate(payload.manifest["graph"], tensors, shifted))
        else:
            values.append(_by_torch(payload.manifest["graph"], tensors, shifted))
    a, b, m = values
    gaps = {
        "convex": m - (a + b) / 2,
        "concave": (a + b) / 2 - m,
        "quasiconvex": m - max(a, b),
        "quasiconcave": min(a, b) - m,
    }
    return gaps[claim["property"]], claimed


def _by_torch(graph: Any, tensors: dict[str, np.ndarray], shifted: dict[str, np.ndarray]) -> float:
    import torch

    b = Builder()
    b.nodes = [
        dict(n, inputs=[[k["id"] for k in graph["nodes"]].index(i) for i in n["inputs"]]) for n in graph["nodes"]
    ]
    b.tensors = {key: format.Stored(array, "data") for key, array in tensors.items()}
    output = [n["id"] for n in graph["nodes"]].index(graph["output"])
    return b.value({key: torch.tensor(value.astype(np.float64)) for key, value in shifted.items()}, output)


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_changed_file_is_refused_or_true(sample: str, seed: int, tmp_path: Path) -> None:
    check(sample, seed, COUNT, tmp_path / "mutant.epi")


def check(sample: str, seed: int, count: int, path: Path) -> None:
    rng = random.Random(f"{sample} {seed}")
    payload = SAMPLES[sample]()
    refused = accepted = 0
    for _ in range(count):
        try:
            mutate(rng, payload, path)
        except (TypeError, AttributeError, KeyError, ValueError, OverflowError):
            continue  # the change made something that even the unchecked writer cannot write
        try:
            assert verify_here(path, budget_seconds=2.0, budget_bytes=2**28).ok
        except CertificateError:
            refused += 1
            continue
        accepted += 1
        gap, claimed = true_gap(format.read(path))
        assert gap >= claimed - (0 if isinstance(gap, Fraction) else Fraction(1, 10**12))
    assert refused > count / 2
    assert accepted > 0
