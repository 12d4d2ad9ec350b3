"""Evaluating a graph in floating point, with PyTorch: for searches and pictures, never for conclusions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional as F

from epigraph.objective.graph import Graph, Node

Kernel = Callable[[Mapping[str, Any], Sequence[Tensor]], Tensor]


def number(text: str) -> float:
    """The float64 nearest to a rational attribute."""
    exact = Fraction(text)
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def _reduce(function: Callable[..., Tensor]) -> Kernel:
    return lambda a, x: function(x[0], a["dims"])


def _power(a: Mapping[str, Any], x: Sequence[Tensor]) -> Tensor:
    exponent = Fraction(a["exponent"])
    return x[0] ** int(exponent) if exponent.denominator == 1 else x[0] ** float(exponent)


def _slice(a: Mapping[str, Any], x: Sequence[Tensor]) -> Tensor:
    index = (slice(None),) * a["dim"] + (slice(a["start"], a["stop"], a["step"]),)
    return x[0][index]


def _convolution(a: Mapping[str, Any], x: Sequence[Tensor]) -> Tensor:
    function = (F.conv1d, F.conv2d, F.conv3d)[len(a["stride"]) - 1]
    return function(x[0], x[1], None, tuple(a["stride"]), tuple(a["padding"]), tuple(a["dilation"]), a["groups"])


def _piecewise(a: Mapping[str, Any], x: Sequence[Tensor]) -> Tensor:
    knots, pieces = [number(k) for k in a["knots"]], [[number(c) for c in p] for p in a["pieces"]]
    lower = [float("-inf"), *knots]
    out = torch.zeros_like(x[0])
    for piece, low in zip(pieces, lower, strict=True):
        value = (
            torch.full_like(x[0], piece[0])
            if len(piece) == 1
            else sum((c * x[0] ** i for i, c in enumerate(piece)), torch.zeros_like(x[0]))
        )
        out = torch.where(x[0] >= low, value, out)
    return out


def _elu(a: Mapping[str, Any], x: Sequence[Tensor]) -> Tensor:
    return F.elu(x[0], alpha=number(a["alpha"]))


_RELATION = {"lt": torch.lt, "le": torch.le, "eq": torch.eq}

KERNELS: dict[str, Kernel] = {
    "add": lambda a, x: x[0] + x[1],
    "neg": lambda a, x: -x[0],
    "mul": lambda a, x: x[0] * x[1],
    "div": lambda a, x: x[0] / x[1],
    "maximum": lambda a, x: torch.maximum(x[0], x[1]),
    "power": _power,
    "matmul": lambda a, x: x[0] @ x[1],
    "convolution": _convolution,
    "where": lambda a, x: torch.where(x[0] != 0, x[1], x[2]),
    "compare": lambda a, x: _RELATION[a["relation"]](x[0], x[1]).to(torch.result_type(x[0], x[1])),
    "sum": _reduce(torch.sum),
    "amax": _reduce(torch.amax),
    "logsumexp": _reduce(torch.logsumexp),
    "log_softmax": lambda a, x: torch.log_softmax(x[0], a["dim"]),
    "sort": lambda a, x: torch.sort(x[0], a["dim"]).values,
    "eigvalsh": lambda a, x: torch.linalg.eigvalsh((x[0] + x[0].mT) / 2),
    "det": lambda a, x: torch.linalg.det(x[0]),
    "svdvals": lambda a, x: torch.linalg.svdvals(x[0]).flip(-1),
    "reshape": lambda a, x: x[0].reshape(a["shape"]),
    "permute": lambda a, x: x[0].permute(a["dims"]),
    "expand": lambda a, x: x[0].expand(a["shape"]),
    "slice": _slice,
    "concat": lambda a, x: torch.cat(list(x), a["dim"]),
    "take": lambda a, x: x[0].index_select(a["dim"], x[1]),
    "exp": lambda a, x: x[0].exp(),
    "log": lambda a, x: x[0].log(),
    "sqrt": lambda a, x: x[0].sqrt(),
    "abs": lambda a, x: x[0].abs(),
    "relu": lambda a, x: x[0].relu(),
    "sigmoid": lambda a, x: x[0].sigmoid(),
    "tanh": lambda a, x: x[0].tanh(),
    "softplus": lambda a, x: torch.logaddexp(x[0], torch.zeros((), dtype=x[0].dtype, device=x[0].device)),
    "erf": lambda a, x: x[0].erf(),
    "log_ndtr": lambda a, x: torch.special.log_ndtr(x[0]),
    "sin": lambda a, x: x[0].sin(),
    "cos": lambda a, x: x[0].cos(),
    "atan": lambda a, x: x[0].atan(),
    "xlogx": lambda a, x: torch.special.xlogy(x[0], x[0]),
    "silu": lambda a, x: F.silu(x[0]),
    "gelu": lambda a, x: 0.5 * x[0] * torch.special.erfc(x[0] * -math.sqrt(0.5)),  # F.gelu cancels below -5
    "mish": lambda a, x: F.mish(x[0]),
    "elu": _elu,
    "piecewise": _piecewise,
    "sign": lambda a, x: x[0].sign(),
    "floor": lambda a, x: x[0].floor(),
    "same": lambda a, x: x[0],
}


@final
class Evaluator:
    """J as a differentiable PyTorch function of some parameters, the others fixed.

    Nodes that do not depend on the moving parameters are computed once.  ``dtype`` is float64 by default; the
    constants are converted once and shared.
    """

    def __init__(
        self,
        graph: Graph,
        moving: Sequence[str] | None = None,
        fixed: Mapping[str, Tensor] | None = None,
        dtype: torch.dtype = torch.float64,
    ):
        self.graph, self.dtype = graph, dtype
        names = graph.parameter_nodes
        self.moving = tuple(names) if moving is None else tuple(moving)
        self._moves = graph.depends(self.moving)
        self._last = _last_uses(graph)
        point = graph.parameters if fixed is None else {**graph.parameters, **fixed}
        self._kept = self._constant_part({k: v.detach().to(dtype) for k, v in point.items()})

    def _constant_part(self, point: Mapping[str, Tensor]) -> dict[int, Tensor]:
        """Values of the nodes that stay fixed and feed a moving node or are the output."""
        needed = {i for n in self.graph for i in n.inputs if self._moves[n.id] and not self._moves[i]} | {
            self.graph.output
        }
        values: dict[int, Tensor] = {}
        with torch.no_grad():
            for node in self.graph:
                if not self._moves[node.id]:
                    values[node.id] = (
                        self._leaf(node, point)
                        if not node.inputs
                        else self._apply(node, [values[i] for i in node.inputs])
                    )
                    for i in node.inputs:
                        if self._last[i] == node.id and i not in needed:
                            values.pop(i, None)
        return {i: v for i, v in values.items() if i in needed}

    def _leaf(self, node: Node, point: Mapping[str, Tensor]) -> Tensor:
        if node.op == "parameter":
            return point[node.attributes["name"]]
        if "value" in node.attributes:
            return torch.tensor(number(node.attributes["value"]), dtype=self.dtype)
        leaf = self.graph.tensors[node.attributes["tensor"]]
        return leaf.tensor if leaf.role == "index" else leaf.tensor.to(self.dtype)

    def _apply(self, node: Node, inputs: Sequence[Tensor]) -> Tensor:
        if node.op == "opaque":
            out = self.graph.opaque[node.id](*inputs)
            return out.to(self.dtype) if out.dtype == torch.bool else out
        return KERNELS[node.op](node.attributes, inputs)

    def __call__(self, point: Mapping[str, Tensor]) -> Tensor:
        """J at a point that gives the moving parameters."""
        values = dict(self._kept)
        for node in self.graph:
            if not self._moves[node.id]:
                continue
            values[node.id] = (
                point[node.attributes["name"]]
                if node.op == "parameter"
                else self._apply(node, [values[i] for i in node.inputs])
            )
            for i in node.inputs:
                if self._moves[i] and self._last[i] == node.id:
                    values.pop(i, None)
        return values[self.graph.output]

    def summands(self, point: Mapping[str, Tensor]) -> float:
        """The largest term, in absolute value, of the sums that make J at a point: the scale of its rounding."""
        graph, sizes = self.graph, [0.0]
        values = self.everything(point)
        pending, seen = [graph.output], set()
        while pending:
            node = graph[pending.pop()]
            if node.id not in seen and node.op in (
                "add",
                "neg",
                "sum",
                "mul",
                "reshape",
                "permute",
                "same",
                "maximum",
                "amax",
            ):
                if node.op in ("add", "sum"):
                    sizes += [float(values[i].abs().max()) for i in node.inputs if values[i].numel()]
                pending += node.inputs
            seen.add(node.id)
        return max(v for v in sizes if math.isfinite(v))

    def everything(self, point: Mapping[str, Tensor]) -> dict[int, Tensor]:
        """The value of every node, at a point that gives the moving parameters (the others as at capture)."""
        values: dict[int, Tensor] = {}
        whole = {k: v.detach().to(self.dtype) for k, v in self.graph.parameters.items()} | dict(point)
        with torch.no_grad():
            for node in self.graph:
                values[node.id] = (
                    self._apply(node, [values[i] for i in node.inputs]) if node.inputs else self._leaf(node, whole)
                )
        return values


def _last_uses(graph: Graph) -> list[int]:
    last = [len(graph)] * len(graph)
    for node in graph:
        for i in node.inputs:
            last[i] = node.id
    last[graph.output] = len(graph)
    return last


def constant_value(builder: Any, expression: Any) -> Tensor:
    """The float64 value of a constant expression while the graph is being built."""
    if expression.literal is not None:
        return expression.literal
    part = builder.graph(expression)
    return Evaluator(part, moving=())({})


__all__ = ["KERNELS", "Evaluator", "constant_value", "number"]
