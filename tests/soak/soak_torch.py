"""The same objective as a PyTorch function, through capture and the whole of ``check``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import soak_balls
import torch
from flint import ctx
from soak_generate import Case
from torch import Tensor
from torch.nn import functional as F

from epigraph.convexity import check as whole
from epigraph.convexity.verdict import Verdict
from epigraph.objective.graph import Graph, Node
from epigraph.objective.objective import Objective

CALLS: dict[str, Callable[..., Tensor]] = {
    "add": lambda x, y: x + y, "neg": lambda x: -x, "mul": lambda x, y: x * y, "div": lambda x, y: x / y,
    "maximum": torch.maximum, "exp": torch.exp, "log": torch.log, "sqrt": torch.sqrt, "abs": torch.abs, "relu": F.relu,
    "sigmoid": torch.sigmoid, "tanh": torch.tanh, "softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x)),
    "erf": torch.erf, "log_ndtr": torch.special.log_ndtr, "sin": torch.sin, "cos": torch.cos, "atan": torch.atan,
    "xlogx": lambda x: torch.special.xlogy(x, x), "silu": F.silu, "gelu": F.gelu, "mish": F.mish, "sign": torch.sign,
    "floor": torch.floor, "matmul": torch.matmul,
}  # fmt: skip


def dyadic(text: str) -> bool:
    """Is the number a float64, so that PyTorch can hold it?"""
    exact = Fraction(text)
    return exact.denominator & (exact.denominator - 1) == 0 and Fraction(float(exact)) == exact


def writable(graph: Graph) -> bool:
    """Can PyTorch compute exactly this function, its literals included?"""
    for node in graph:
        a = node.attributes
        numbers = [a[k] for k in ("value", "exponent", "alpha") if k in a]
        numbers += [*a.get("knots", ()), *(c for p in a.get("pieces", ()) for c in p)]
        if not all(dyadic(n) for n in numbers) or node.op in ("same", "compare", "where", "convolution", "opaque"):
            return False
    return True


def _piecewise(x: Tensor, a: Mapping[str, Any]) -> Tensor:
    def value(piece: list[str]) -> Tensor:
        return sum((float(Fraction(c)) * x**i for i, c in enumerate(piece) if i), torch.zeros_like(x)) + float(
            Fraction(piece[0])
        )

    out = value(a["pieces"][0])
    for knot, piece in zip(a["knots"], a["pieces"][1:], strict=True):
        out = torch.where(x > float(Fraction(knot)), value(piece), out)
    return out


def _call(node: Node, x: list[Tensor]) -> Tensor:
    op, a = node.op, node.attributes
    if op in CALLS:
        return CALLS[op](*x)
    if op == "power":
        e = Fraction(a["exponent"])
        return x[0] ** (int(e) if e.denominator == 1 else float(e))
    if op == "elu":
        return F.elu(x[0], alpha=float(Fraction(a["alpha"])))
    if op == "piecewise":
        return _piecewise(x[0], a)
    if op in ("sum", "amax", "logsumexp"):
        return {"sum": torch.sum, "amax": torch.amax, "logsumexp": torch.logsumexp}[op](x[0], a["dims"])
    if op == "sort":
        return torch.sort(x[0], a["dim"]).values
    if op == "log_softmax":
        return F.log_softmax(x[0], a["dim"])
    if op == "slice":
        return x[0][(slice(None),) * a["dim"] + (slice(a["start"], a["stop"], a["step"]),)]
    if op == "take":
        return x[0].index_select(a["dim"], x[1])
    if op == "concat":
        return torch.cat(x, a["dim"])
    return {"reshape": x[0].reshape, "permute": x[0].permute, "expand": x[0].expand}[op](
        a["dims" if op == "permute" else "shape"]
    )


def program(case: Case) -> Callable[..., Tensor]:
    """A function of the parameters by name."""
    graph = case.graph

    def J(p: Mapping[str, Tensor]) -> Tensor:
        values: list[Tensor] = []
        for node in graph:
            if node.op == "parameter":
                values.append(p[node.attributes["name"]])
            elif "value" in node.attributes:
                values.append(torch.tensor(float(Fraction(node.attributes["value"])), dtype=torch.float64))
            elif node.op == "constant":
                values.append(graph.tensors[node.attributes["tensor"]].tensor)
            else:
                values.append(_call(node, [values[i] for i in node.inputs]))
        return values[graph.output]

    return {
        1: lambda u: J({"u": u}),
        2: lambda u, v: J({"u": u, "v": v}),
        3: lambda u, v, w: J({"u": u, "v": v, "w": w}),
    }[len(graph.parameters)]


def objective(case: Case, rng: np.random.Generator) -> Objective:
    """The objective that captures this function, at a point of the box."""
    from soak_lines import Box

    box = Box(case)
    point = {
        n: torch.from_numpy(np.array(v[0]))
        for n, v in box.split(box.inside(rng.normal(size=(1, len(box.lower))))).items()
    }
    domain = {}
    for name in case.graph.parameters:
        sides = [
            side[name].expand(point[name].shape) if name in side else None
            for side in (case.domain.lower, case.domain.upper)
        ]
        if any(s is not None for s in sides):
            domain[name] = tuple(sides)
    return Objective.from_function(program(case), point, domain=domain)


def verdict(J: Objective, case: Case, seconds: float) -> Verdict:
    """``check`` with less time for its search than its levels of effort give."""
    whole.EFFORTS["soak"] = whole.Effort(seconds, 0.0, 0.0)
    try:
        return whole.check(J, blocks=list(case.active), effort="soak")
    finally:
        del whole.EFFORTS["soak"]


def _vanishes(graph: Graph, point: dict[str, np.ndarray]) -> bool:
    """Is a value on the way so small that one plus it needs more digits than are tried?"""
    found = soak_balls.values(graph, point, 192)
    return any(
        abs(x) < 1e-300 and not x == 0 for a in found for x in np.asarray(a).reshape(-1) if hasattr(x, "is_finite")
    )


def another_function(case: Case, graph: Graph, points: list[dict[str, np.ndarray]]) -> str | None:
    """Where capture made another function of it: values of both graphs in Arb."""
    for point in points:
        for bits in (192, 2500, 20_000):
            one, two = (soak_balls.values(g, point, bits)[g.output].reshape(-1)[0] for g in (case.graph, graph))
            if one.is_finite() and two.is_finite():
                if not one.overlaps(two):
                    return f"capture changes the value {one.str(20)} to {two.str(20)} at {point}"
                break
        else:
            if (
                one.is_finite() and abs(one) < 1e100 and not _vanishes(case.graph, point)
            ):  # else a form may need more digits
                return f"capture loses the value {one.str(20)} at {point}"
    return None


def against_certificates(v: Verdict, graph: Graph) -> str | None:
    """A certificate of the verdict that independent arithmetic does not confirm."""
    from soak_trial import NAMES, ball_gap

    for name, made in v.certificates.items():
        a, b, m = ({k: t.numpy() for k, t in p.items()} for p in (made.a, made.b, made.m))
        middle = soak_balls.midpoint(a, b)
        for key, value in m.items():
            if any(
                bool(x != y) for x, y in zip(middle[key].reshape(-1), soak_balls.lift(value).reshape(-1), strict=True)
            ):
                return f"the certificate of {name} has no midpoint in {key}"
        for bits in (256, 1024, 4096):
            low, mid, high = (soak_balls.values(graph, p, bits)[graph.output].reshape(-1)[0] for p in (a, middle, b))
            with ctx.workprec(bits):
                gap = ball_gap(low, mid, high, NAMES.index(name))
            if gap > 0 or gap <= 0:
                break
        if not gap > 0:
            return (
                f"the certificate of {name} is not confirmed: {low.str(20)}, {mid.str(20)}, {high.str(20)} at {a}, {b}"
            )
    return None
