"""A slow evaluator in ``fractions.Fraction`` on nested NumPy object arrays: the oracle for exact arithmetic."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np


def fractions(array: Any) -> np.ndarray:
    found = np.asarray(array)
    out = np.empty(found.size, dtype=object)
    out[:] = [Fraction(v) for v in found.reshape(-1).tolist()]
    return out.reshape(found.shape)


def _each(f: Any, *arrays: np.ndarray) -> np.ndarray:
    return np.asarray(np.frompyfunc(f, len(arrays), 1)(*arrays), dtype=object)


def _reduce(f: Any, x: np.ndarray, dims: list[int]) -> np.ndarray:
    kept = [d for d in range(x.ndim) if d not in dims]
    out = np.empty([x.shape[d] for d in kept], dtype=object)
    for at in np.ndindex(*out.shape):
        index: list[Any] = [slice(None)] * x.ndim
        for d, i in zip(kept, at, strict=True):
            index[d] = i
        out[at] = f(np.asarray(x[tuple(index)]).reshape(-1).tolist())
    return out


def _matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = np.broadcast_to(a, lead + a.shape[-2:]), np.broadcast_to(b, lead + b.shape[-2:])
    out = np.empty((*lead, a.shape[-2], b.shape[-1]), dtype=object)
    for at in np.ndindex(*out.shape):
        *left, i, k = at
        terms = (a[(*left, i, j)] * b[(*left, j, k)] for j in range(a.shape[-1]))
        out[at] = sum(terms, Fraction(0))
    return out


def _convolution(x: np.ndarray, w: np.ndarray, a: Mapping[str, Any], shape: list[int]) -> np.ndarray:
    out = np.empty(shape, dtype=object)
    group = w.shape[0] // a["groups"]
    for at in np.ndindex(*shape):
        n, o, *where = at
        total = Fraction(0)
        for c, *kernel in itertools.product(*map(range, w.shape[1:])):
            place = [
                t * s + k * d - p
                for t, s, k, d, p in zip(where, a["stride"], kernel, a["dilation"], a["padding"], strict=True)
            ]
            if all(0 <= i < size for i, size in zip(place, x.shape[2:], strict=True)):
                total += x[(n, (o // group) * w.shape[1] + c, *place)] * w[(o, c, *kernel)]
        out[at] = total
    return out


def _piecewise(v: Fraction, a: Mapping[str, Any]) -> Fraction:
    index = sum(v > Fraction(k) for k in a["knots"])
    return sum((Fraction(c) * v**i for i, c in enumerate(a["pieces"][index])), Fraction(0))


def apply(node: Mapping[str, Any], operands: list[np.ndarray]) -> np.ndarray:
    """The value of one rational operator."""
    op, a = node["op"], node["attributes"]
    x = operands[0]
    if op in ("add", "mul", "div"):
        return np.asarray({"add": np.add, "mul": np.multiply, "div": np.divide}[op](*operands), dtype=object)
    if op == "matmul":
        return _matmul(*operands)
    if op == "convolution":
        return _convolution(*operands, a, node["shape"])
    if op in ("sum", "amax"):
        return _reduce((lambda v: sum(v, Fraction(0))) if op == "sum" else max, x, a["dims"])
    elementwise = {
        "neg": lambda v: -v,
        "abs": abs,
        "relu": lambda v: max(v, Fraction(0)),
        "sign": lambda v: Fraction((v > 0) - (v < 0)),
        "floor": lambda v: Fraction(math.floor(v)),
        "power": lambda v: v ** int(a["exponent"]),
        "piecewise": lambda v: _piecewise(v, a),
        "maximum": max,
        "where": lambda c, u, v: u if c == 1 else v,
        "compare": lambda u, v: Fraction({"lt": u < v, "le": u <= v, "eq": u == v}[a["relation"]]),
    }
    if op in elementwise:
        return _each(elementwise[op], *operands)
    if op == "slice":
        return x[(slice(None),) * a["dim"] + (slice(a["start"], a["stop"], a["step"]),)]
    if op == "concat":
        return np.concatenate(operands, axis=a["dim"])
    layout = {
        "reshape": lambda: x.reshape(a["shape"]),
        "permute": lambda: x.transpose(a["dims"]),
        "expand": lambda: np.broadcast_to(x, a["shape"]),
        "take": lambda: np.take(x, [int(i) for i in operands[1]], axis=a["dim"]),
        "same": lambda: x,
    }
    return layout[op]()


def evaluate(graph: Mapping[str, Any], tensors: Mapping[str, np.ndarray], moved: Mapping[str, np.ndarray]) -> Fraction:
    """J at the tensors, with Fraction arrays ``moved`` in place of some."""
    values: dict[int, np.ndarray] = {}
    for node in graph["nodes"]:
        a = node["attributes"]
        if "value" in a:
            values[node["id"]] = np.asarray(Fraction(a["value"]), dtype=object)
        elif node["op"] in ("parameter", "constant"):
            values[node["id"]] = moved.get(a["tensor"], fractions(tensors[a["tensor"]]))
        else:
            values[node["id"]] = apply(node, [values[i] for i in node["inputs"]])
    return values[graph["output"]].reshape(-1)[0]
