"""Certificates about the Hessian at a point: samples, and what an accepted file says by PyTorch in float64."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from certificate_builder import Builder

from epigraph.certificate import exact, format, rayleigh, shapes
from epigraph.certificate.format import Stored

Directions = Mapping[str, Mapping[str, Any]]


def rayleigh_payload(b: Builder, directions: Directions, domain: Any = None, bits: int = 128) -> format.Payload:
    """A claim with the quotients that these directions have; the sides must be right."""
    names = [key for key, stored in b.tensors.items() if stored.role == "parameter"]
    steps = {side: {n: np.asarray(v, np.int8) for n, v in d.items()} for side, d in directions.items()}
    program = shapes.program(b.graph(), shapes.metas(b.arrays))
    values, found = rayleigh.quotients(program, b.arrays, set(names), list(steps.values()), bits)
    assert found.finite
    tensors, quotients = dict(b.tensors), {}
    for (side, direction), value in zip(steps.items(), values, strict=True):
        size = exact.recorded(rayleigh.SIDES[side] * value)
        assert size is not None
        tensors |= {f"{side}.{n}": Stored(v, "direction", f"{side}.{n}") for n, v in direction.items()}
        quotients[side] = {
            "size": {"num": str(size[0]), "den_log2": size[1]},
            "direction": {n: f"{side}.{n}" for n in direction},
        }
    word = next(p for p, sides in rayleigh.PROPERTIES.items() if set(sides) == set(steps))
    claim = {"property": word, "form": "rayleigh", "quotients": quotients, **common(names, bits)}
    claim["domain"] = format.bounds(domain or {}, tensors)
    return format.assemble(claim, b.graph(), tensors, {}, {"mode": "eval"})


def common(names: list[str], bits: int = 128) -> dict[str, Any]:
    return {"arithmetic": "arb", "precision_bits": bits, "blocks": names, "domain": {}}


def definite_payload(b: Builder, property: str, modulus: float) -> format.Payload:
    names = [key for key, stored in b.tensors.items() if stored.role == "parameter"]
    claim = {"property": property, "form": "definite", "modulus": modulus.hex(), **common(names)}
    return format.assemble(claim, b.graph(), b.tensors, {}, {"mode": "eval"})


def saddle() -> Builder:
    """J = (x0 y - 1)^2 + sin(x1)^2: the Hessian in (x0, y) is [[2 y^2, 4 x0 y - 2], [., 2 x0^2]]."""
    b = Builder()
    x, y = b.parameter("x", np.array([0.25, 0.5], np.float32)), b.parameter("y", np.array([0.5]))
    first, second = (b("slice", x, dim=0, start=k, stop=k + 1, step=1) for k in (0, 1))
    error = b.sub(b("mul", first, y), b.data("target", np.array([1.0])))
    wave = b("sin", second)
    b("sum", b("add", b("mul", error, error), b("mul", wave, wave)), dims=[0])
    return b


SADDLE: Directions = {"positive": {"x": [-1, 0], "y": [1]}, "negative": {"x": [1, 0], "y": [1]}}


def rayleigh_sample() -> format.Payload:
    """A saddle in a box, with a bound that is a tensor."""
    return rayleigh_payload(saddle(), SADDLE, {"x": (np.array([0.25, -np.inf]), None), "y": (0.0, 4.0)})


def bowl() -> Builder:
    """A small network with weight decay at a point of positive curvature."""
    b = Builder()
    x, y = (
        b.data("data", np.array([[1.0, 0.5], [-0.5, 1.0], [0.25, -1.0]])),
        b.data("t", np.array([[0.1], [0.2], [0.0]])),
    )
    w, v = b.parameter("w", np.array([[0.25, 0.125]])), b.parameter("v", np.array([[0.5]]))
    fit = b.sub(b.linear(b("tanh", b.linear(x, w)), v), y)
    loss = b.mean(b("mul", fit, fit), [0, 1])
    decay = b("add", b("sum", b("mul", w, w), dims=[0, 1]), b("sum", b("mul", v, v), dims=[0, 1]))
    b("add", loss, b("mul", decay, b.scalar("1/2")))
    return b


def definite_sample() -> format.Payload:
    return definite_payload(bowl(), "positive definite", 0.5)


SAMPLES = {"rayleigh": rayleigh_sample, "definite": definite_sample}


def true(payload: format.Payload, slack: float = 1e-9) -> bool:
    """Does an accepted file say the truth, by automatic differentiation in float64?"""
    manifest, claim = payload.manifest, payload.manifest["claim"]
    tensors = dict(payload.base)
    for key, entry in manifest["tensors"].items():
        if "fill" in entry:
            tensors[key] = np.full(entry["shape"], float.fromhex(entry["fill"]))
    keys = {e["name"]: key for key, e in manifest["tensors"].items() if e["role"] == "parameter"}
    H, at = _hessian(manifest["graph"], tensors, [keys[n] for n in claim["blocks"]])
    if claim["form"] == "definite":
        sign = 1 if claim["property"] == "positive definite" else -1
        modulus = float.fromhex(claim["modulus"])
        return float(torch.linalg.eigvalsh(sign * H)[0]) >= modulus * (1 - slack) - slack * float(H.abs().max())
    for side, q in claim["quotients"].items():
        u = torch.zeros(len(H), dtype=torch.float64)
        for name, key in q["direction"].items():
            start, stop = at[keys[name]]
            u[start:stop] = torch.as_tensor(np.array(tensors[key])).double().reshape(-1)
        size = Fraction(int(q["size"]["num"])) / Fraction(2) ** q["size"]["den_log2"]
        found = float(u @ H @ u / (u @ u)) * rayleigh.SIDES[side]
        if found < float(size) * (1 - slack) - slack * float(H.abs().max()):
            return False
    return True


def _hessian(graph: Any, tensors: dict[str, np.ndarray], keys: list[str]) -> tuple[torch.Tensor, dict[str, Any]]:
    b = Builder()
    order = [n["id"] for n in graph["nodes"]]
    b.nodes = [dict(n, inputs=[order.index(i) for i in n["inputs"]]) for n in graph["nodes"]]
    b.tensors = {key: Stored(array, "data") for key, array in tensors.items()}
    output = order.index(graph["output"])
    counts = [tensors[k].size for k in keys]
    spans = np.cumsum([0, *counts]).tolist()

    def f(flat: torch.Tensor) -> torch.Tensor:
        parts = [p.reshape(tensors[k].shape) for p, k in zip(flat.split(counts), keys, strict=True)]
        return b.values(dict(zip(keys, parts, strict=True)))[output].reshape(())

    start = torch.cat([torch.tensor(tensors[k], dtype=torch.float64).reshape(-1) for k in keys])
    H = torch.autograd.functional.hessian(f, start)
    return H, {k: (spans[i], spans[i + 1]) for i, k in enumerate(keys)}
