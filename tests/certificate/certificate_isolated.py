"""Certificates about isolated critical points: samples, and what an accepted file says by PyTorch in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from certificate_builder import Builder
from certificate_hessians import common

from epigraph.certificate import format, isolation, shapes
from epigraph.certificate.format import Stored
from epigraph.certificate.isolated import property_of
from epigraph.certificate.isolation import Isolated
from epigraph.certificate.reverse import gradient

Where = Mapping[str, Any]


def names_of(b: Builder) -> list[str]:
    return [key for key, stored in b.tensors.items() if stored.role == "parameter"]


def isolate(b: Builder, point: Where, radius: float, bits: int = 128) -> Isolated | None:
    """The theorem on one ball around a point."""
    arrays = {**b.arrays, **{k: np.asarray(v, np.float64) for k, v in point.items()}}
    names = names_of(b)
    written = gradient(shapes.program(b.graph(), shapes.metas(b.arrays)), set(names))
    H, spread = isolation.enclosure(written, arrays, names, radius)
    S = isolation.congruence(H)
    assert S is not None
    return isolation.isolated(isolation.centre(written, arrays, names, bits), S, spread, radius)


def payload(b: Builder, points: Sequence[tuple[Where, float]], domain: Any = None) -> format.Payload:
    """A claim about balls, with what is proved of them; the first is at the stored point."""
    names, size = names_of(b), sum(b.arrays[n].size for n in names_of(b))
    tensors, entries, indices = dict(b.tensors), [], []
    for k, (point, radius) in enumerate(points):
        found = isolate(b, point, radius)
        assert found is not None
        indices.append(found.index)
        centre = {n: f"point.{k}.{n}" for n in names} if k else {}
        whole = {n: np.asarray(point.get(n, b.arrays[n]), np.float64) for n in names}
        tensors |= {centre[n]: Stored(whole[n], "point", "") for n in centre}
        if not k:
            tensors |= {n: Stored(whole[n], "parameter", n) for n in names}
        value = [(found.low - 1e-12).hex(), (found.high + 1e-12).hex()]
        entries.append({"radius": radius.hex(), "index": found.index, "value": value, "centre": centre})
    claim = {"form": "isolated", **common(names), "property": property_of(indices, size), "points": entries}
    claim["domain"] = format.bounds(domain or {}, tensors)
    return format.assemble(claim, b.graph(), tensors, {}, {"mode": "eval"})


def wells() -> Builder:
    """J = x^4/4 - x^2/2 + x/8 + (1 + x/4) y^2: three critical points, at y = 0 and the roots of x^3 - x + 1/8 (see ``roots``)."""
    b = Builder()
    x, y = b.parameter("x", np.array([0.0])), b.parameter("y", np.array([0.0]))
    square = b("mul", x, x)
    parts = [
        b("mul", b("power", x, exponent="4"), b.scalar("1/4")),
        b("mul", square, b.scalar("-1/2")),
        b("mul", x, b.scalar("1/8")),
        b("mul", b("add", b("mul", x, b.scalar("1/4")), b.data("one", np.array([1.0]))), b("mul", y, y)),
    ]
    total = parts[0]
    for part in parts[1:]:
        total = b("add", total, part)
    b("sum", total, dims=[0])
    return b


def roots() -> list[float]:
    return sorted(np.roots([1.0, 0.0, -1.0, 0.125]).real.tolist())


def minima_sample() -> format.Payload:
    """Two minima of different values, in a box."""
    low, _, high = roots()
    points = [({"x": [low], "y": [0.0]}, 2.0**-6), ({"x": [high], "y": [0.0]}, 2.0**-6)]
    return payload(wells(), points, {"x": (-4.0, None), "y": (np.array([-1.0]), 1.0)})


def saddle_sample() -> format.Payload:
    return payload(wells(), [({"x": [roots()[1]], "y": [0.0]}, 2.0**-6)])


SAMPLES = {"minima": minima_sample, "saddle": saddle_sample}


def true(content: format.Payload, slack: float = 1e-9) -> bool:
    """Does an accepted file say the truth?  By Newton's method and dense Hessians in float64, from several starts in each ball."""
    manifest, claim = content.manifest, content.manifest["claim"]
    tensors = dict(content.base)
    for key, entry in manifest["tensors"].items():
        if "fill" in entry:
            tensors[key] = np.full(entry["shape"], float.fromhex(entry["fill"]))
    keys = {e["name"]: key for key, e in manifest["tensors"].items() if e["role"] == "parameter"}
    blocks = [keys[n] for n in claim["blocks"]]
    f = function(manifest["graph"], tensors, blocks)
    for p in claim["points"]:
        own = {keys[n]: tensors[key] for n, key in p["centre"].items()}
        centre = torch.cat([torch.tensor(own.get(k, tensors[k])).double().reshape(-1) for k in blocks])
        low, high = (float.fromhex(v) for v in p["value"])
        if not _only(f, centre, float.fromhex(p["radius"]), p["index"], low - slack, high + slack):
            return False
    return True


def _only(f: Any, centre: torch.Tensor, radius: float, index: int, low: float, high: float) -> bool:
    generator = torch.Generator().manual_seed(0)
    ends = []
    for k in range(4):
        step = torch.randn(len(centre), generator=generator, dtype=torch.float64)
        x = centre + (0.9 * radius * step / step.norm() if k else 0.0)
        for _ in range(8):
            H = torch.autograd.functional.hessian(f, x)
            g = torch.autograd.functional.jacobian(f, x)
            x = x - torch.linalg.lstsq(H, g[:, None]).solution[:, 0]
        if bool(torch.isfinite(x).all()) and float((x - centre).norm()) <= radius * (1 + 1e-9):
            ends.append(x)
    if not ends or any(float((x - ends[0]).norm()) > 1e-6 * (1 + radius) for x in ends):
        return False
    negative = int((torch.linalg.eigvalsh(torch.autograd.functional.hessian(f, ends[0])) < 0).sum())
    return negative == index and low <= float(f(ends[0])) <= high


def function(graph: Any, tensors: dict[str, np.ndarray], keys: list[str]) -> Any:
    """J of the graph as a function of one flat vector, in PyTorch."""
    b = Builder()
    order = [n["id"] for n in graph["nodes"]]
    b.nodes = [dict(n, inputs=[order.index(i) for i in n["inputs"]]) for n in graph["nodes"]]
    b.tensors = {key: Stored(array, "data") for key, array in tensors.items()}
    output, counts = order.index(graph["output"]), [tensors[k].size for k in keys]

    def f(flat: torch.Tensor) -> torch.Tensor:
        parts = [p.reshape(tensors[k].shape) for p, k in zip(flat.split(counts), keys, strict=True)]
        return b.values(dict(zip(keys, parts, strict=True)))[output].reshape(())

    return f
