"""Oracles: what a propagation claims of every node, against evaluations at points of the box, in floats, then balls."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from flint import arb, ctx
from kernel_graphs import EXTREME, KNEES, NUMBERS

from epigraph.calculus.propagate import Propagation
from epigraph.certificate.balls import Balls, lift
from epigraph.certificate.shapes import metas, program
from epigraph.convexity.evidence import manifest_graph
from epigraph.objective.domain import Domain
from epigraph.objective.evaluate import KERNELS, number
from epigraph.objective.graph import Graph

Point = Mapping[str, np.ndarray]
TOLERANCE = 1e-9
NAMES = ("convex", "concave", "quasiconvex", "quasiconcave", "log_convex", "log_concave", "root_convex")


@dataclass
class Wrong:
    """A claim of the calculus that ball arithmetic contradicts."""

    node: int
    op: str
    what: str
    points: list[Point]
    values: list[str]


def float_values(graph: Graph, point: Point) -> list[np.ndarray]:
    """Every node at a point, in float64."""
    values: list[torch.Tensor] = []
    with np.errstate(all="ignore"):
        for node in graph:
            if node.op == "parameter":
                values.append(torch.from_numpy(np.array(point[node.attributes["name"]])))
            elif "value" in node.attributes:
                values.append(torch.tensor(number(node.attributes["value"]), dtype=torch.float64))
            elif node.op == "constant":
                leaf = graph.tensors[node.attributes["tensor"]]
                values.append(leaf.tensor if leaf.role == "index" else leaf.tensor.double())
            else:
                values.append(KERNELS[node.op](node.attributes, [values[i] for i in node.inputs]))
    return [v.numpy() for v in values]


class BallValues:
    """Every node at points, in balls; made for one graph."""

    def __init__(self, graph: Graph):
        plain, stored, self.keys = manifest_graph(graph, forms=True)
        self.tensors = {k: s.array for k, s in stored.items()}
        self.program = program(plain, metas(self.tensors))

    def at(self, point: Point, bits: int = 256) -> list[np.ndarray]:
        tensors = self.tensors | {self.keys[n]: v for n, v in point.items() if n in self.keys}
        with ctx.workprec(bits):
            engine = Balls(self.program, tensors)
            values: list[Any] = []
            for node in self.program.nodes:
                if "value" in node.attributes:
                    values.append(engine.scalar(node.attributes["value"]))
                elif not node.inputs:
                    values.append(engine.leaf(np.asarray(tensors[node.attributes["tensor"]])))
                else:
                    values.append(engine.apply(node, [values[i] for i in node.operands]))
        return values


def points(
    graph: Graph, domain: Domain, active: Sequence[str], rng: random.Random, count: int
) -> Iterator[tuple[Point, Point, Point]]:
    """Triples a, b and their midpoint m, exact in float64; the inactive parameters are equal."""
    for _ in range(count):
        scale = rng.choice([1e-6, 1e-2, 0.3, 1.0, 3.0, 10.0, 100.0])
        a, b, m = {}, {}, {}
        for name, value in graph.parameters.items():
            low, high = (
                box[name].numpy() if name in box else default
                for box, default in ((domain.lower, -math.inf), (domain.upper, math.inf))
            )
            low, high = (np.broadcast_to(v, tuple(value.shape)).reshape(-1) for v in (low, high))
            pairs = [
                _pair(lo, hi, scale, rng, name in active) for lo, hi in zip(low.tolist(), high.tolist(), strict=True)
            ]
            a[name], b[name], m[name] = (
                np.array(v, dtype=np.float64).reshape(tuple(value.shape))
                for v in (zip(*pairs, strict=True) if pairs else ([], [], []))
            )
        yield a, b, m


def _pair(low: float, high: float, scale: float, rng: random.Random, moves: bool) -> tuple[float, float, float]:
    x = _inside(low, high, scale, rng)
    y = (
        x
        if not moves or rng.random() < 0.2
        else _inside(low, high, scale, rng)
        if rng.random() < 0.6
        else min(max(x + scale * rng.gauss(0, 1), low), high)
    )
    m = x / 2 + y / 2
    if not exact_middle(x, y, m):  # drop low bits of y, then of x, until the midpoint is a float64
        for keep in (40, 30, 20):
            u, v = _short(x, keep), _short(y, keep)
            m = u / 2 + v / 2
            if low <= u <= high and low <= v <= high and exact_middle(u, v, m) and (moves or u == v):
                return u, v, m
        return x, x, x
    return x, y, m


def exact_middle(x: float, y: float, m: float) -> bool:
    from fractions import Fraction

    return math.isfinite(m) and Fraction(x) + Fraction(y) == 2 * Fraction(m)


def _short(x: float, bits: int) -> float:
    mantissa, exponent = math.frexp(x)
    return math.ldexp(round(mantissa * 2**bits), exponent - bits)


def _inside(low: float, high: float, scale: float, rng: random.Random) -> float:
    kind = rng.random()
    if kind < 0.2 and math.isfinite(low):
        return low
    if kind < 0.35 and math.isfinite(high):
        return high
    if kind < 0.45:
        x = rng.choice(KNEES) * rng.choice([1, -1])
    elif kind < 0.52:
        x = rng.choice([-2.0, -1.0, 0.0, 1.0, 2.0])
    elif kind < 0.58:
        x = rng.choice(NUMBERS + EXTREME)
    elif kind < 0.7 and math.isfinite(low) and math.isfinite(high):
        x = low + (high - low) * rng.random()
    else:
        centre = low if math.isfinite(low) else high if math.isfinite(high) else 0.0
        x = centre + rng.choice([1, -1]) * scale * abs(rng.gauss(0, 1))
    if x < low:
        x = min(2 * low - x, high)
    if x > high:
        x = max(2 * high - x, low)
    return (
        x
        if math.isfinite(x) and low <= x <= high
        else low
        if math.isfinite(low)
        else high
        if math.isfinite(high)
        else 0.0
    )


def gaps(fa: Any, fb: Any, fm: Any, claim: int) -> Any:
    """By how much entries violate a claim; positive where they do (floats)."""
    if claim == 0:
        return fm - (fa / 2 + fb / 2)
    if claim == 1:
        return (fa / 2 + fb / 2) - fm
    if claim == 2:
        return fm - np.maximum(fa, fb)
    if claim == 3:
        return np.minimum(fa, fb) - fm
    least = np.minimum(np.minimum(fa, fb), fm)
    u, v = np.maximum(fa, 0), np.maximum(fb, 0)
    if claim == 4:
        return np.maximum(-least, fm - np.sqrt(u) * np.sqrt(v))
    if claim == 5:
        return np.maximum(-least, np.sqrt(u) * np.sqrt(v) - fm)
    return np.maximum(-least, np.sqrt(np.maximum(fm, 0)) - (np.sqrt(u) + np.sqrt(v)) / 2)


def ball_gap(a: arb, b: arb, m: arb, claim: int) -> arb:
    """The same for one entry in balls; nan where undefined."""
    if claim == 0:
        return m - (a + b) / 2
    if claim == 1:
        return (a + b) / 2 - m
    if claim == 2:
        return m - a.max(b)
    if claim == 3:
        return a.min(b) - m
    if a < 0 or b < 0 or m < 0:
        return arb(1)
    if claim == 4:
        return m * m - a * b
    if claim == 5:
        return a * b - m * m
    return m.sqrt() - (a.sqrt() + b.sqrt()) / 2


def wrong_claims(graph: Graph, walk: Propagation, triples: Sequence[tuple[Point, Point, Point]]) -> list[Wrong]:
    """Everything that is claimed of some node and contradicted at one of the triples."""
    found: list[Wrong] = []
    balls: BallValues | None = None
    for triple in triples:
        values = [float_values(graph, p) for p in triple]
        suspects = list(_suspects(graph, walk, values))
        if suspects and balls is None:
            balls = BallValues(graph)
        if suspects:
            assert balls is not None
            exact = [balls.at(p) for p in triple]
            found += [w for s in suspects if (w := _confirm(graph, walk, triple, exact, *s)) is not None]
    return found


def _suspects(
    graph: Graph, walk: Propagation, values: Sequence[Sequence[np.ndarray]]
) -> Iterator[tuple[int, str, int]]:
    """(node, what, claim) for what looks wrong in floats."""
    for node in graph:
        facts = walk.facts[node.id]
        fa, fb, fm = (np.asarray(v[node.id], dtype=np.float64) for v in values)
        finite = np.isfinite(fa) & np.isfinite(fb) & np.isfinite(fm)
        if not finite.any():
            continue
        scale = np.maximum(np.maximum(np.abs(fa), np.abs(fb)), np.abs(fm))
        bits = np.broadcast_to(np.asarray(facts.bits), node.shape)
        with np.errstate(all="ignore"):
            for claim in range(7):
                bad = finite & ((bits >> claim & 1) == 1) & (gaps(fa, fb, fm, claim) > TOLERANCE * scale + 1e-300)
                if bad.any():
                    yield node.id, "claim", claim
            for v in (fa, fb, fm):
                if (np.isfinite(v) & ((v < facts.interval.lower) | (v > facts.interval.upper))).any():
                    yield node.id, "interval", 0
            if not facts.varies and (finite & (fa != fb)).any():
                yield node.id, "varies", 0
            if facts.carrier is not None and _against_carrier(facts.carrier, values, fa, fb, fm, finite):
                yield node.id, "carrier", 0


def _against_carrier(carrier: tuple[int, int], values: Any, fa: Any, fb: Any, fm: Any, finite: Any) -> bool:
    base, direction = carrier
    za, zb, zm = (np.asarray(v[base]).reshape(fa.shape) for v in values)
    for (z1, f1), (z2, f2) in (((za, fa), (zb, fb)), ((za, fa), (zm, fm))):
        move = np.sign(z2 - z1) * (f2 - f1) * (direction or 1)
        if (finite & (z1 == z2) & (f1 != f2)).any() or (direction and (finite & (move < 0)).any()):
            return True
    return False


def _confirm(
    graph: Graph,
    walk: Propagation,
    triple: Sequence[Point],
    exact: Sequence[Sequence[Any]],
    node: int,
    what: str,
    claim: int,
) -> Wrong | None:
    facts, shape = walk.facts[node], graph[node].shape
    order = {old: new for new, old in enumerate(_order(graph))}
    if node not in order:
        return None
    columns = [lift(np.asarray(v[order[node]])).reshape(-1) for v in exact]
    lower, upper = (np.broadcast_to(v, shape).reshape(-1) for v in (facts.interval.lower, facts.interval.upper))
    bits = np.broadcast_to(np.asarray(facts.bits), shape).reshape(-1)
    bases = None
    if facts.carrier is not None and facts.carrier[0] in order:
        bases = [lift(np.asarray(v[order[facts.carrier[0]]])).reshape(-1) for v in exact]
    for i in range(columns[0].size):
        with ctx.workprec(256):
            a, b, m = (c[i] for c in columns)
            if not (a.is_finite() and b.is_finite() and m.is_finite()):
                continue
            bad = False
            if what == "claim":
                bad = bool(bits[i] >> claim & 1) and bool(ball_gap(a, b, m, claim) > 0)
            elif what == "interval":
                low, high = arb(float(lower[i])), arb(float(upper[i]))
                bad = any(bool(v < low) or bool(v > high) for v in (a, b, m))
            elif what == "varies":
                bad = bool(a != b) and not a.overlaps(b)
            elif bases is not None:
                bad = _carrier_broken(facts.carrier[1], [c[i] for c in bases], [a, b, m])
        if bad:
            label = NAMES[claim] if what == "claim" else what
            return Wrong(
                node, graph[node].op, f"{label} entry {i}: {facts}", list(triple), [v.str(25) for v in (a, b, m)]
            )
    return None


def _carrier_broken(direction: int, z: Sequence[arb], f: Sequence[arb]) -> bool:
    for k in (1, 2):
        if bool(z[0] == z[k]) and not f[0].overlaps(f[k]):
            return True
        rise = bool(z[k] > z[0]) - bool(z[k] < z[0])
        if direction and bool((f[k] - f[0]) * rise * direction < 0):
            return True
    return False


def _order(graph: Graph) -> list[int]:
    from epigraph.convexity.evidence import _needed

    return _needed(graph, forms=True)


class Claimed:
    """A derivation as the oracles read a propagation: a graph, a box, and facts by node."""

    def __init__(self, plain: Mapping[str, Any], tensors: Mapping[str, np.ndarray], derivation: Mapping[str, Any]):
        from epigraph.objective.graph import Leaf, Node

        nodes, leaves, parameters = [], {}, {}
        for node in plain["nodes"]:
            attributes = dict(node["attributes"])
            if node["op"] == "parameter":
                parameters[attributes["name"]] = torch.from_numpy(
                    np.array(tensors[attributes.pop("tensor")], dtype=np.float64)
                )
            elif "tensor" in attributes:
                array = torch.from_numpy(np.array(tensors[attributes["tensor"]]))
                leaves[attributes["tensor"]] = Leaf(array, "constant" if array.is_floating_point() else "index")
            nodes.append(Node(node["id"], node["op"], tuple(node["inputs"]), attributes, tuple(node["shape"])))
        self.graph = Graph(tuple(nodes), plain["output"], leaves, parameters)
        self.domain = Domain(
            *(
                {
                    n: torch.tensor(float.fromhex(p[k]), dtype=torch.float64)
                    for n, p in derivation["domain"].items()
                    if p[k] is not None
                }
                for k in (0, 1)
            )
        )
        self.facts = [self._facts(derivation["nodes"][str(n.id)], tensors) for n in nodes]

    @staticmethod
    def _facts(record: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Any:
        from epigraph.calculus.interval import Interval
        from epigraph.calculus.lattice import Facts

        def read(value: Any) -> Any:
            return (
                tensors[value["tensor"]]
                if isinstance(value, dict)
                else float.fromhex(value)
                if isinstance(value, str)
                else value
            )

        carrier = None if record["carrier"] is None else tuple(record["carrier"])
        return Facts(
            read(record["bits"]), Interval(read(record["lower"]), read(record["upper"])), carrier, -1, record["varies"]
        )
