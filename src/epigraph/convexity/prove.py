"""The prover: which properties follow from the rules, jointly and block by block, and where they are lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, final

import numpy as np

from epigraph.calculus.interval import Interval, span
from epigraph.calculus.lattice import (
    AFFINE,
    CONCAVE,
    CONVEX,
    LOGCONCAVE,
    LOGCONVEX,
    QCONCAVE,
    QCONVEX,
    Facts,
    uniform,
)
from epigraph.calculus.optional import Optional
from epigraph.calculus.propagate import Propagation, intervals
from epigraph.calculus.rule import RULES
from epigraph.convexity.verdict import Blocker, Proof, Step
from epigraph.objective.domain import Domain
from epigraph.objective.graph import Graph, Node

if TYPE_CHECKING:
    from epigraph.certificate.format import Payload

CLAIMS = {
    "convex": CONVEX,
    "concave": CONCAVE,
    "quasiconvex": QCONVEX,
    "quasiconcave": QCONCAVE,
    "log_convex": LOGCONVEX,
    "log_concave": LOGCONCAVE,
}
_PRODUCTS = ("matmul", "convolution", "mul", "div")
_LAYOUT = ("reshape", "permute", "expand", "slice", "take", "same")


@final
class Prover:
    """Intervals once, then one walk for each choice of active blocks; walks are remembered."""

    def __init__(
        self,
        graph: Graph,
        domain: Domain,
        describe: Mapping[str, Any] | None = None,
        lemmas: Optional | None = None,
    ):
        self.graph, self.domain, self.describe = graph, domain, describe or {}
        self.names, self.lemmas = tuple(graph.parameter_nodes), lemmas or Optional()
        self._walks: dict[frozenset[str], Propagation] = {}

    @cached_property
    def bounds(self) -> list[Interval]:
        return intervals(self.graph, self.domain)

    def walk(self, active: Iterable[str]) -> Propagation:
        key = frozenset(active)
        if key not in self._walks:
            walk = Propagation(self.graph, self.bounds, tuple(key), self.lemmas)
            if len(self._walks) > 8:
                self._walks.pop(next(iter(self._walks)))
            self._walks[key] = walk
        return self._walks[key]

    def output(self, active: Iterable[str]) -> Facts:
        return self.walk(active).output

    def convex(self, active: Iterable[str]) -> bool:
        return self.output(active).has(CONVEX)

    # where it is lost -----------------------------------------------------------------------------------------
    def blockers(self, active: Sequence[str], limit: int = 12) -> tuple[Blocker, ...]:
        """Operators whose operands have curvature and whose result has none, innermost first."""
        walk = self.walk(active)
        lost = _lost(walk, self.graph.output)
        first = [i for i in sorted(lost) if not any(j in lost for j in self._operands(i))]
        products = [
            i
            for i in sorted(lost)
            if i not in first
            and self.graph[i].op in _PRODUCTS
            and all(walk.facts[j].varies for j in self.graph[i].inputs)
        ]
        made = [self._blocker(i, walk) for i in (*first, *products)]
        return tuple(dict.fromkeys(made))[:limit]

    def _operands(self, i: int) -> tuple[int, ...]:
        node = self.graph[i]
        return node.inputs[:1] if node.op == "same" else node.inputs

    def _blocker(self, i: int, walk: Propagation) -> Blocker:
        node = self.graph[i]
        while node.op == "same":
            node = self.graph[node.inputs[0]]
        operands = [walk.facts[j] for j in node.inputs]
        origin = node.origin
        if node.op == "constant":
            reason = "a constant with infinite or undefined entries is no real number"
        else:
            reason = RULES[node.op].reason(node, operands) + self._names(node, operands, walk)
        return Blocker(origin.operator or node.op, origin.location, origin.module, reason, _source_line(node))

    def _names(self, node: Node, operands: Sequence[Facts], walk: Propagation) -> str:
        """Which parameters meet at a product."""
        if node.op not in _PRODUCTS or not all(f.varies for f in operands):
            return ""
        sides = [[n for n in self._leaves(i) if n in walk.active] for i in node.inputs]
        return f" ({_shorten(sides[0])} times {_shorten(sides[1])})"

    def _leaves(self, i: int) -> list[str]:
        seen, pending, names = set(), [i], []
        while pending:
            j = pending.pop()
            if j in seen:
                continue
            seen.add(j)
            node = self.graph[j]
            if node.op == "parameter":
                names.append(node.attributes["name"])
            pending.extend(node.inputs)
        return sorted(names, key=self.names.index)

    # proofs ---------------------------------------------------------------------------------------------------
    def proofs(self, active: Sequence[str]) -> dict[str, Proof]:
        facts = self.output(active)
        return {name: self.proof(active, name) for name, claim in CLAIMS.items() if facts.has(claim)}

    def proof(self, active: Sequence[str], name: str) -> Proof:
        walk = self.walk(active)
        derivation = Derivation(self, tuple(active), name)
        return Proof(name, _steps(walk, self.graph, CLAIMS[name]), derivation, derivation.payload)


@final
class Derivation(Mapping[str, Any]):
    """The proof as data, made when it is first read: the claims and intervals of every node that J needs."""

    def __init__(self, prover: Prover, active: tuple[str, ...], name: str):
        self._prover, self._active, self._name = prover, active, name

    def payload(self) -> Payload:
        """What a certificate file of this derivation holds."""
        from epigraph.convexity.evidence import proof_payload, provenance

        return proof_payload(self._prover.graph, self.parts, provenance(self._prover.describe))

    @cached_property
    def parts(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """(derivation, tensors), node numbers as in the certificate's graph."""
        from epigraph.convexity.evidence import _needed

        walk, graph = self._prover.walk(self._active), self._prover.graph
        order = _needed(graph, forms=True)
        position = {old: new for new, old in enumerate(order)}
        tensors: dict[str, np.ndarray] = {}
        nodes = {}
        for old in order:
            facts, shape = walk.facts[old], graph[old].shape
            carrier = facts.carrier if facts.carrier is not None and facts.carrier[0] in position else None
            bits = (
                facts.bits
                if isinstance(facts.bits, int)
                else _keep(tensors, np.broadcast_to(facts.bits, shape).astype(np.uint8))
            )
            nodes[str(position[old])] = {
                "bits": bits,
                "lower": _bound(facts.interval.lower, shape, tensors),
                "upper": _bound(facts.interval.upper, shape, tensors),
                "carrier": None if carrier is None else [position[carrier[0]], carrier[1]],
                "varies": facts.varies,
            }
        box = _boxes(self._prover, tensors)
        used = [n for n in self._active if graph.parameter_nodes[n] in position]
        return {"property": self._name, "active": used or list(self._active), "domain": box, "nodes": nodes}, tensors

    def __getitem__(self, key: str) -> Any:
        return self.parts[0][key]

    def __iter__(self) -> Any:
        return iter(self.parts[0])

    def __len__(self) -> int:
        return len(self.parts[0])


def _boxes(prover: Prover, tensors: dict[str, np.ndarray]) -> dict[str, list[Any]]:
    domain = prover.domain
    return {
        n: [_bound_of(side, n, prover.graph, tensors) for side in (domain.lower, domain.upper)]
        for n in prover.names
        if n in domain.lower or n in domain.upper
    }


def box_of(prover: Prover) -> tuple[dict[str, list[Any]], dict[str, np.ndarray]]:
    """The domain as a certificate states it, and the tensors that it refers to."""
    tensors: dict[str, np.ndarray] = {}
    return _boxes(prover, tensors), tensors


def _keep(tensors: dict[str, np.ndarray], value: np.ndarray) -> dict[str, str]:
    key = f"d{len(tensors)}"
    tensors[key] = np.ascontiguousarray(value)
    return {"tensor": key}


def _bound(bound: Any, shape: tuple[int, ...], tensors: dict[str, np.ndarray]) -> Any:
    if isinstance(bound, float) or np.ndim(bound) == 0:
        value = float(bound)
        return value.hex() if np.isfinite(value) else str(value)
    return _keep(tensors, np.broadcast_to(bound, shape).astype(np.float64))


def _bound_of(side: Mapping[str, Any], name: str, graph: Graph, tensors: dict[str, np.ndarray]) -> Any:
    if name not in side:
        return None
    bound = side[name].numpy()
    return float(bound).hex() if bound.ndim == 0 and np.isfinite(bound) else _keep(tensors, bound)


def _lost(walk: Propagation, output: int) -> set[int]:
    """Nodes below the output without curvature in some entry, reached through such nodes only."""
    lost, pending = set(), [output]
    while pending:
        i = pending.pop()
        facts = walk.facts[i]
        if i in lost or not facts.varies or _curved(facts):
            continue
        lost.add(i)
        node = walk.graph[i]
        pending.extend(node.inputs[:1] if node.op == "same" else node.inputs)
    return lost


def _curved(facts: Facts) -> bool:
    """Is every entry convex or concave?"""
    return bool(np.all(np.asarray(facts.bits) & AFFINE))


def _source_line(node: Node) -> str | None:
    import linecache

    if node.origin.filename is None or node.origin.line is None:
        return None
    return linecache.getline(node.origin.filename, node.origin.line).rstrip("\n") or None


def _shorten(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]}, ..., {names[-1]} ({len(names)} blocks)"


def _steps(walk: Propagation, graph: Graph, goal: int) -> tuple[Step, ...]:
    """The derivation of the goal as a person reads it: layout steps are passed through, constants are not steps."""
    wanted: dict[int, int] = {}
    _collect(walk, graph, graph.output, wanted)
    order = sorted(wanted)
    place = {i: k for k, i in enumerate(order)}
    return tuple(
        _step(walk, graph, i, place, goal if i == _through(walk, graph, graph.output) else None) for i in order
    )


def _through(walk: Propagation, graph: Graph, i: int) -> int:
    """The node behind layout operators, and the form of a ``same`` node that carries its claims."""
    while graph[i].op in _LAYOUT:
        node = graph[i]
        bits = uniform(walk.facts[i].bits)
        i = (
            next((j for j in node.inputs if uniform(walk.facts[j].bits) == bits), node.inputs[0])
            if node.op == "same"
            else node.inputs[0]
        )
    return i


def _collect(walk: Propagation, graph: Graph, start: int, wanted: dict[int, int]) -> None:
    pending = [_through(walk, graph, start)]
    while pending:
        i = pending.pop()
        if i in wanted or not walk.facts[i].varies:
            continue
        wanted[i] = i
        affine = walk.facts[i].has(AFFINE)
        if not (affine and _pure(walk, graph, i)):
            pending.extend(_through(walk, graph, j) for j in graph[i].inputs if walk.facts[j].varies)


def _pure(walk: Propagation, graph: Graph, i: int) -> bool:
    """An affine step needs no further explanation when all its varying operands are affine."""
    return all(walk.facts[j].has(AFFINE) for j in graph[i].inputs if walk.facts[j].varies)


def _step(walk: Propagation, graph: Graph, i: int, place: Mapping[int, int], goal: int | None) -> Step:
    node, facts = graph[i], walk.facts[i]
    premises = tuple(dict.fromkeys(place[k] for j in node.inputs if (k := _through(walk, graph, j)) in place))
    claim = _words(facts, goal)
    sides = tuple(_side(graph[j], walk.facts[j]) for j in node.inputs if _matters(node, walk.facts[j]))
    lemma = (
        "affine in the parameters"
        if facts.has(AFFINE)
        else RULES[node.op].lemma
        if node.op != "parameter"
        else "a parameter"
    )
    origin = node.origin
    return Step(
        node.id, claim, lemma, premises, sides, origin.operator or node.op, node.shape, origin.location, origin.module
    )


def _words(facts: Facts, goal: int | None) -> str:
    bits = uniform(facts.bits)
    if bits & AFFINE == AFFINE:
        word = "affine"
    elif bits & CONVEX:
        word = "convex"
    elif bits & CONCAVE:
        word = "concave"
    else:
        word = next((n.replace("_", "-") for n, c in CLAIMS.items() if bits & c), "of mixed curvature, entry by entry")
    extra = [
        n.replace("_", "-")
        for n, c in CLAIMS.items()
        if goal == c and n != word and not (word == "affine" and c & AFFINE)
    ]
    sign = (
        " and nonnegative" if facts.interval.hull[0] >= 0 else " and nonpositive" if facts.interval.hull[1] <= 0 else ""
    )
    return " and ".join([word, *extra]) + sign


def _matters(node: Node, operand: Facts) -> bool:
    """Side conditions worth showing: the range of a nonlinear function's argument, the sign of a constant factor."""
    low, high = operand.interval.hull
    if operand.varies:
        return node.op not in (
            "add",
            "neg",
            "sum",
            "amax",
            "maximum",
            "matmul",
            "convolution",
            "concat",
            "logsumexp",
        ) and (low > -np.inf or high < np.inf)
    return node.op in ("mul", "matmul", "convolution", "div")


def _side(node: Node, operand: Facts) -> str:
    low, high = operand.interval.hull
    what = "argument" if operand.varies else "constant factor"
    return f"{what} in {span(low, high, 4)}"
