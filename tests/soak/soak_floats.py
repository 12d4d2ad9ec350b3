"""Every node of a graph at many points at once, in float64 with NumPy and SciPy: a screen, never a conclusion."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from epigraph.objective.graph import Graph, Node

Array = NDArray[np.float64]


def number(text: str) -> float:
    exact = Fraction(text)
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def _power(x: Array, exponent: str) -> Array:
    e = Fraction(exponent)
    if e.denominator == 1:
        return np.power(x, float(int(e)))
    return np.where(x >= 0, np.power(np.maximum(x, 0), float(e)), np.nan)


def _piecewise(x: Array, knots: Sequence[str], pieces: Sequence[Sequence[str]]) -> Array:
    out = np.full_like(x, np.nan)
    for low, piece in zip([-math.inf, *map(number, knots)], pieces, strict=True):
        out = np.where(x >= low, np.polynomial.polynomial.polyval(x, [number(c) for c in piece]), out)
    return out


def _elu(x: Array, alpha: str) -> Array:
    return np.where(x > 0, x, number(alpha) * np.expm1(np.minimum(x, 0)))


def _log_sum_exp(x: Array, axes: tuple[int, ...], keep: bool = False) -> Array:
    top = np.max(x, axis=axes, keepdims=True)
    shift = np.where(np.isfinite(top), top, 0.0)
    out = np.log(np.sum(np.exp(x - shift), axis=axes, keepdims=True)) + shift
    return out if keep else np.squeeze(out, axis=axes)


def _sigmoid(x: Array) -> Array:
    return special.expit(x)


UNARY: dict[str, Callable[[Array], Array]] = {
    "neg": np.negative,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "abs": np.abs,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "softplus": lambda x: np.logaddexp(x, 0),
    "erf": special.erf,
    "log_ndtr": special.log_ndtr,
    "sin": np.sin,
    "cos": np.cos,
    "atan": np.arctan,
    "xlogx": lambda x: np.where(x >= 0, special.xlogy(x, x), np.nan),
    "silu": lambda x: x * _sigmoid(x),
    "gelu": lambda x: x * special.ndtr(x),
    "mish": lambda x: x * np.tanh(np.logaddexp(x, 0)),
    "sign": np.sign,
    "floor": np.floor,
}
BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "mul": np.multiply,
    "div": np.divide,
    "maximum": np.maximum,
}
RELATIONS = {"lt": np.less, "le": np.less_equal, "eq": np.equal}


def _aligned(arrays: Sequence[Array], rank: int) -> list[Array]:
    """Batches of tensors of different rank: ones go behind the batch dimension."""
    return [a.reshape(a.shape[:1] + (1,) * (rank - a.ndim + 1) + a.shape[1:]) for a in arrays]


def _convolution(x: Array, w: Array, node: Node) -> Array:
    """By definition, for one spatial dimension and one group."""
    a = node.attributes
    (stride,), (padding,), (dilation,) = a["stride"], a["padding"], a["dilation"]
    x = np.pad(x, ((0, 0), (0, 0), (0, 0), (padding, padding)))
    width = node.shape[-1]
    out = np.zeros((max(len(x), len(w)), *node.shape))
    for k in range(w.shape[-1]):
        part = x[..., k * dilation : k * dilation + (width - 1) * stride + 1 : stride]
        out += np.einsum("pncl,poc->pnol", np.broadcast_to(part, (len(out), *part.shape[1:])),
                         np.broadcast_to(w[..., k], (len(out), *w.shape[1:3])))  # fmt: skip
    return out


def _layout(node: Node, x: Sequence[Array]) -> Array:
    a = node.attributes
    if node.op == "reshape":
        return x[0].reshape((len(x[0]), *a["shape"]))
    if node.op == "permute":
        return x[0].transpose((0, *(d + 1 for d in a["dims"])))
    if node.op == "expand":
        (inner,) = _aligned(x, len(a["shape"]))
        return np.broadcast_to(inner, (len(inner), *a["shape"]))
    if node.op == "slice":
        return x[0][(slice(None),) * (a["dim"] + 1) + (slice(a["start"], a["stop"], a["step"]),)]
    if node.op == "take":
        return np.take(x[0], x[1][0].astype(np.int64), axis=a["dim"] + 1)
    size = max(map(len, x))
    return np.concatenate([np.broadcast_to(v, (size, *v.shape[1:])) for v in x], axis=a["dim"] + 1)


def _reduction(node: Node, x: Array) -> Array:
    if node.op == "log_softmax":
        axis = (node.attributes["dim"] + 1,)
        return x - _log_sum_exp(x, axis, keep=True)
    axes = tuple(d + 1 for d in node.attributes["dims"])
    return {"sum": np.sum, "amax": np.max}[node.op](x, axis=axes) if node.op != "logsumexp" else _log_sum_exp(x, axes)


def apply(node: Node, x: list[Array]) -> Array:
    """One node on batches of operands."""
    op, a, rank = node.op, node.attributes, len(node.shape)
    if op in UNARY:
        return UNARY[op](x[0])
    if op in BINARY:
        return BINARY[op](*_aligned(x, rank))
    if op == "power":
        return _power(x[0], a["exponent"])
    if op == "piecewise":
        return _piecewise(x[0], a["knots"], a["pieces"])
    if op == "elu":
        return _elu(x[0], a["alpha"])
    if op == "matmul":
        return np.matmul(*_aligned(x, rank))
    if op == "convolution":
        return _convolution(x[0], x[1], node)
    if op == "where":
        c, yes, no = _aligned(x, rank)
        return np.where(c != 0, yes, no)
    if op == "compare":
        return RELATIONS[a["relation"]](*_aligned(x, rank)).astype(np.float64)
    if op == "same":
        return x[0]
    if op == "sort":
        return np.sort(x[0], axis=a["dim"] + 1)
    if op in ("sum", "amax", "logsumexp", "log_softmax"):
        return _reduction(node, x[0])
    return _layout(node, x)


def values(graph: Graph, points: Mapping[str, Array]) -> list[Array]:
    """Every node at the points, each with one leading dimension: the points, or 1 where nothing moves."""
    out: list[Array] = []
    with np.errstate(all="ignore"):
        for node in graph:
            out.append(_leaf(graph, node, points) if not node.inputs else apply(node, [out[i] for i in node.inputs]))
    return out


def _leaf(graph: Graph, node: Node, points: Mapping[str, Any]) -> Array:
    if node.op == "parameter":
        return points[node.attributes["name"]]
    if "value" in node.attributes:
        return np.full((1,), number(node.attributes["value"]))
    return graph.tensors[node.attributes["tensor"]].tensor.double().numpy()[None]
