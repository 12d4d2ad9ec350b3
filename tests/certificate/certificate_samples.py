"""Two small valid certificates, and a writer that checks nothing, for tests of what a reader refuses."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
from certificate_builder import Builder, steps

from epigraph.certificate import container, format, tensorfile


def exact_sample() -> format.Payload:
    """Least squares of a product: rational, with an index, a filled tensor, bounds of both kinds, a frozen tensor."""
    b = Builder()
    x = b.parameter("x", np.zeros(3, dtype=np.float32))
    y = b.parameter("y", np.zeros(3))
    b.parameter("z", np.array([1.0, 2.0]))
    z = len(b.nodes) - 1
    frozen = b.data("frozen", np.array([1.0, -2.0, 0.5], dtype=np.float32), "frozen")
    ones = b.data("ones", np.ones((4, 5), dtype=np.float32), "buffer")
    index = b.data("index", np.array([2, 0, 1, 1]), "index")
    error = b.sub(b("mul", x, y), frozen)
    chosen = b("take", error, index, dim=0)
    loss = b("mul", b("sum", b("mul", chosen, chosen), dims=[0]), b.scalar("1/4"))
    pieces = b("piecewise", z, knots=["0", "3/2"], pieces=[["0"], ["0", "1"], ["-9/8", "5/2", "-1/2"]])
    b(
        "add",
        b("add", loss, b("sum", pieces, dims=[0])),
        b("sum", b("slice", ones, dim=1, start=1, stop=5, step=2), dims=[0, 1]),
    )
    domain = {"x": (-4.0, None), "y": (np.array([-1.0, -np.inf, -8.0]), np.array([8.0, 8.0, np.inf]))}
    # m = 0 is a saddle: J falls along x = s, y = t where s t has the sign of the target
    delta = {"x": steps([1, -2, 1], -1), "y": steps([1, 2, 1], -1)}
    return b.payload("convex", delta, blocks=["x", "y"], domain=domain, provenance={"mode": "eval", "torch": "2.13.0"})


def arb_sample() -> format.Payload:
    """One hidden unit with tanh and a logistic loss."""
    b = Builder()
    w = b.parameter("w", np.array([[0.0, 0.0]], dtype=np.float32))
    v = b.parameter("v", np.array([[0.0]], dtype=np.float32))
    x = b.data("x", np.array([[1.0, 2.0], [-1.0, 0.5], [0.25, -1.5]], dtype=np.float32))
    y = b.data("y", np.array([[1.0], [-1.0], [-1.0]], dtype=np.float32))
    score = b("matmul", b("tanh", b.linear(x, w)), v)
    b.mean(b("softplus", b("neg", b("mul", score, y))), [0, 1])
    return b.payload("quasiconvex", {"w": steps([[3, 5]], -3), "v": steps([[6]], -3)})


SAMPLES: Mapping[str, Callable[[], format.Payload]] = {"exact": exact_sample, "arb": arb_sample}


class Draft:
    """A payload that can be changed freely; ``save`` writes it without any check, checksums brought up to date."""

    def __init__(self, payload: format.Payload):
        self.manifest: dict[str, Any] = deepcopy(dict(payload.manifest))
        self.base = {key: np.array(array) for key, array in payload.base.items()}
        self.delta = {key: np.array(array) for key, array in payload.delta.items()}
        self.keep_digests = False

    @property
    def claim(self) -> dict[str, Any]:
        return self.manifest["claim"]

    @property
    def nodes(self) -> list[dict[str, Any]]:
        return self.manifest["graph"]["nodes"]

    def node(self, op: str) -> dict[str, Any]:
        return next(n for n in self.nodes if n["op"] == op)

    def contents(self) -> dict[str, bytes]:
        if not self.keep_digests and isinstance(self.manifest.get("tensors"), dict):
            from hashlib import sha256

            for key, array in self.base.items():
                if key in self.manifest["tensors"]:
                    self.manifest["tensors"][key]["sha256"] = sha256(array.tobytes()).hexdigest()
            try:
                self.manifest["provenance"].pop("graph_sha256", None)
            except (AttributeError, KeyError, TypeError):
                pass
        text = json.dumps(self.manifest).encode()
        return {
            "manifest.json": text,
            "base.safetensors": tensorfile.dump(self.base),
            "delta.safetensors": tensorfile.dump(self.delta),
        }

    def save(self, path: Path) -> Path:
        return write_raw(path, self.contents())


def write_raw(path: Path, contents: Mapping[str, bytes]) -> Path:
    path.write_bytes(b"".join(container.pack(contents)))
    return path
