"""Graphs for tests, written by hand, with an independent float64 value of every node from PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from epigraph.certificate import exact, format
from epigraph.certificate.points import Delta

_SQUARE_ROOT_HALF = 0.5**0.5


def _piecewise(x: Tensor, a: Mapping[str, Any]) -> Tensor:
    knots = [float(Fraction(k)) for k in a["knots"]]
    out = torch.zeros_like(x)
    for i, piece in enumerate(a["pieces"]):
        low = knots[i - 1] if i else -torch.inf
        high = knots[i] if i < len(knots) else torch.inf
        value = sum(float(Fraction(c)) * x**j for j, c in enumerate(piece))
        out = torch.where((x > low) & (x <= high), torch.as_tensor(value, dtype=x.dtype), out)
    return out


def _power(x: Tensor, a: Mapping[str, Any]) -> Tensor:
    return x ** float(Fraction(a["exponent"]))


def _elu(x: Tensor, a: Mapping[str, Any]) -> Tensor:
    return torch.where(x > 0, x, float(Fraction(a["alpha"])) * torch.expm1(torch.clamp(x, max=0.0)))


def _slice(x: Tensor, a: Mapping[str, Any]) -> Tensor:
    return x[(slice(None),) * a["dim"] + (slice(a["start"], a["stop"], a["step"]),)]


def _convolution(x: Tensor, w: Tensor, a: Mapping[str, Any]) -> Tensor:
    function = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[x.ndim]
    return function(x, w, None, a["stride"], a["padding"], a["dilation"], a["groups"])


def _amax(x: Tensor, a: Mapping[str, Any]) -> Tensor:
    return x.amax(a["dims"]) if a["dims"] else x


REFERENCE: dict[str, Any] = {
    "add": lambda a, x, y: x + y,
    "neg": lambda a, x: -x,
    "mul": lambda a, x, y: x * y,
    "div": lambda a, x, y: x / y,
    "maximum": lambda a, x, y: torch.maximum(x, y),
    "power": lambda a, x: _power(x, a),
    "matmul": lambda a, x, y: x @ y,
    "convolution": lambda a, x, w: _convolution(x, w, a),
    "where": lambda a, c, x, y: torch.where(c == 1, x, y),
    "compare": lambda a, x, y: {"lt": x < y, "le": x <= y, "eq": x == y}[a["relation"]].double(),
    "sum": lambda a, x: x.sum(a["dims"]) if a["dims"] else x,
    "amax": lambda a, x: _amax(x, a),
    "logsumexp": lambda a, x: torch.logsumexp(x, a["dims"]) if a["dims"] else x,
    "log_softmax": lambda a, x: F.log_softmax(x, a["dim"]),
    "reshape": lambda a, x: x.reshape(a["shape"]),
    "permute": lambda a, x: x.permute(a["dims"]),
    "expand": lambda a, x: x.expand(a["shape"]),
    "slice": lambda a, x: _slice(x, a),
    "sort": lambda a, x: x.sort(a["dim"]).values,
    "concat": lambda a, *xs: torch.cat(xs, a["dim"]),
    "take": lambda a, x, i: x.index_select(a["dim"], i.long()),
    "exp": lambda a, x: x.exp(),
    "log": lambda a, x: x.log(),
    "sqrt": lambda a, x: x.sqrt(),
    "abs": lambda a, x: x.abs(),
    "relu": lambda a, x: x.relu(),
    "sigmoid": lambda a, x: x.sigmoid(),
    "tanh": lambda a, x: x.tanh(),
    "softplus": lambda a, x: torch.logaddexp(x, torch.zeros_like(x)),
    "erf": lambda a, x: x.erf(),
    "log_ndtr": lambda a, x: torch.special.log_ndtr(x),
    "sin": lambda a, x: x.sin(),
    "cos": lambda a, x: x.cos(),
    "atan": lambda a, x: x.atan(),
    "xlogx": lambda a, x: torch.special.xlogy(x, x),
    "silu": lambda a, x: F.silu(x),
    "gelu": lambda a, x: x * torch.special.erfc(-x * _SQUARE_ROOT_HALF) / 2,
    "mish": lambda a, x: F.mish(x),
    "elu": lambda a, x: _elu(x, a),
    "piecewise": lambda a, x: _piecewise(x, a),
    "sign": lambda a, x: x.sign(),
    "floor": lambda a, x: x.floor(),
    "same": lambda a, *xs: xs[0],
}


class Builder:
    """Collects nodes and tensors; ``value(node)`` is PyTorch's float64 value."""

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.tensors: dict[str, format.Stored] = {}

    # leaves

    def parameter(self, name: str, array: Any) -> int:
        found = np.asarray(array)
        found = found if found.dtype == np.float32 else found.astype(float)
        self.tensors[name] = format.Stored(found, "parameter", name)
        return self._append("parameter", [], {"name": name, "tensor": name}, list(found.shape))

    def data(self, name: str, array: Any, role: str = "data") -> int:
        self.tensors[name] = format.Stored(np.asarray(array), role, name)
        return self._append("constant", [], {"tensor": name}, list(np.shape(array)))

    def scalar(self, value: str | int | Fraction) -> int:
        return self._append("constant", [], {"value": str(value)}, [])

    # operators

    def __call__(self, op: str, *inputs: int, **attributes: Any) -> int:
        shapes = [torch.empty(self.nodes[i]["shape"], dtype=torch.float64, device="meta") for i in inputs]
        if op == "take":
            shapes[1] = torch.zeros_like(shapes[1])
        return self._append(op, list(inputs), attributes, list(REFERENCE[op](attributes, *shapes).shape))

    def _append(self, op: str, inputs: list[int], attributes: dict[str, Any], shape: list[int]) -> int:
        self.nodes.append({"id": len(self.nodes), "op": op, "inputs": inputs, "attributes": attributes, "shape": shape})
        return len(self.nodes) - 1

    def shape(self, node: int) -> list[int]:
        return self.nodes[node]["shape"]

    def sub(self, x: int, y: int) -> int:
        return self("add", x, self("neg", y))

    def mean(self, x: int, dims: Sequence[int]) -> int:
        count = int(np.prod([self.shape(x)[d] for d in dims]))
        return self("mul", self("sum", x, dims=list(dims)), self.scalar(f"1/{count}"))

    def linear(self, x: int, w: int, b: int | None = None) -> int:
        out = self("matmul", x, self("permute", w, dims=[1, 0]))
        return out if b is None else self("add", out, b)

    # results

    def graph(self, output: int | None = None) -> dict[str, Any]:
        return {"nodes": self.nodes, "output": len(self.nodes) - 1 if output is None else output}

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        return {key: stored.array for key, stored in self.tensors.items()}

    def values(self, moved: Mapping[str, Tensor] | None = None) -> list[Tensor]:
        """Every node in float64, with some tensors replaced."""
        found: list[Tensor] = []
        for node in self.nodes:
            a = node["attributes"]
            if "value" in a:
                value = torch.tensor(float(Fraction(a["value"])), dtype=torch.float64)
            elif node["op"] in ("parameter", "constant"):
                value = (moved or {}).get(a["tensor"], torch.as_tensor(np.array(self.tensors[a["tensor"]].array)))
                value = value.double() if value.is_floating_point() else value
            else:
                value = REFERENCE[node["op"]](a, *(found[i] for i in node["inputs"]))
            found.append(value)
        return found

    def value(self, moved: Mapping[str, Tensor] | None = None, output: int = -1) -> float:
        return float(self.values(moved)[output])

    def payload(self, kind: str, delta: Mapping[str, Delta], **options: Any) -> format.Payload:
        """A certificate of the graph built so far; fails where the gap is not certified."""
        certified = exact.certify(self.graph(), self.arrays, delta, kind)
        assert certified is not None
        names = [key for key, stored in self.tensors.items() if stored.role == "parameter"]
        return format.build(kind, certified, self.graph(), self.tensors, delta, **({"blocks": names} | options))


def steps(array: Any, scale: int = 0, dtype: Any = np.int8) -> Delta:
    """A displacement with these integer steps."""
    return Delta(1, np.asarray(array, dtype=dtype), scale)
