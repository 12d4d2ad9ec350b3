"""From a graph in memory to the data that a certificate file holds."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from epigraph.certificate import exact
from epigraph.certificate.decide import certify_all
from epigraph.certificate.format import Payload, Stored, assemble, build, read
from epigraph.certificate.kernel import recheck
from epigraph.certificate.manifest import graph_sha256
from epigraph.certificate.points import Delta
from epigraph.errors import CertificateError
from epigraph.objective.domain import Domain
from epigraph.objective.graph import Graph, Origin

if TYPE_CHECKING:
    from epigraph.convexity.verdict import Proof
    from epigraph.objective.objective import Objective

FIRST_FORMS = (
    "midpoint",
    "rayleigh",
    "definite",
    "isolated",
)  # forms whose graph has the first operand of ``same`` alone


@final
@dataclass(frozen=True)
class Steps:
    """A displacement d = k 2^scale of one parameter by integers k."""

    k: NDArray[np.int32]
    scale: int

    def floats(self) -> NDArray[np.float64]:
        return np.asarray(np.ldexp(self.k.astype(np.float64), self.scale))


def array(tensor: Tensor) -> NDArray[Any]:
    """A tensor's exact values as a NumPy array of a type that certificates store."""
    value = tensor.detach().cpu()
    if value.numel() > 1 and not any(value.stride()):  # one number, repeated
        one = array(value[(0,) * value.ndim])
        return np.broadcast_to(one, tuple(value.shape))
    if value.dtype in (torch.bfloat16, torch.float16):
        value = value.to(torch.float32)
    return value.contiguous().numpy()


def manifest_graph(graph: Graph, forms: bool = False) -> tuple[dict[str, Any], dict[str, Stored], dict[str, str]]:
    """The nodes that the output needs as plain data, their tensors, and the key of each parameter's tensor.

    A ``same`` node is replaced by its first form unless ``forms`` asks for all of them.
    """
    order = _needed(graph, forms)
    position = {old: new for new, old in enumerate(order)}
    nodes, stored, keys = [], {}, {}
    for old in order:
        node = graph[old]
        attributes = dict(node.attributes)
        if node.op == "parameter":
            key = attributes["tensor"] = f"p{len(keys)}"
            name = attributes["name"]
            keys[name] = key
            stored[key] = Stored(array(graph.parameters[name]), "parameter", name)
        elif "tensor" in attributes:
            leaf = graph.tensors[attributes["tensor"]]
            stored[attributes["tensor"]] = Stored(array(leaf.tensor), leaf.role, leaf.name)
        inputs = node.inputs if forms or node.op != "same" else node.inputs[:1]
        nodes.append(
            {
                "id": position[old],
                "op": node.op,
                "inputs": [position[i] for i in inputs],
                "attributes": attributes,
                "shape": list(node.shape),
            }
        )
    return {"nodes": nodes, "output": position[graph.output]}, stored, keys


def _needed(graph: Graph, forms: bool) -> list[int]:
    seen, pending = set(), [graph.output]
    while pending:
        i = pending.pop()
        if i not in seen:
            seen.add(i)
            node = graph[i]
            pending += node.inputs if forms or node.op != "same" else node.inputs[:1]
    return sorted(seen)


def has_opaque(graph: Graph) -> bool:
    """Does J use an operator that exact arithmetic cannot evaluate?"""
    return any(graph[i].op == "opaque" for i in _needed(graph, forms=False))


@final
class Court:
    """Decides in exact arithmetic whether a candidate violates a property, and makes the certificate's payload."""

    def __init__(self, graph: Graph, domain: Domain, describe: Mapping[str, Any]):
        self.graph, self.domain, self.describe = graph, domain, describe
        self.possible = not has_opaque(graph)
        self.plain, self.stored, self.keys = manifest_graph(graph) if self.possible else ({}, {}, {})
        if not all(_finite(s.array) for s in self.stored.values()):
            self.possible = False

    def tensors(self, m: Mapping[str, Tensor]) -> dict[str, Stored]:
        """All tensors of the graph, the parameters at m."""
        moved = {
            self.keys[name]: Stored(array(value), "parameter", name) for name, value in m.items() if name in self.keys
        }
        return {**self.stored, **moved}

    def certify(
        self, m: Mapping[str, Tensor], moves: Mapping[str, Mapping[str, Steps]], seconds: float
    ) -> dict[str, tuple[Any, Payload]]:
        """(certified, payload) for each property whose gap is proved positive at m and m +- its steps."""
        if not self.possible:
            return {}
        deltas = {
            kind: {self.keys[n]: Delta(1, s.k, s.scale) for n, s in steps.items() if n in self.keys and s.k.any()}
            for kind, steps in moves.items()
        }
        tensors = self.tensors(m)
        arrays = {k: s.array for k, s in tensors.items()}
        decided = certify_all(self.plain, arrays, {k: d for k, d in deltas.items() if d}, budget_seconds=seconds)
        return {
            kind: (
                found,
                build(
                    kind,
                    found,
                    self.plain,
                    tensors,
                    deltas[kind],
                    blocks=[n for n in moves[kind] if n in self.keys],
                    domain=self.bounds(),
                    provenance=self.provenance(),
                ),
            )
            for kind, found in decided.items()
        }

    def has_value(self, m: Mapping[str, Tensor]) -> bool:
        """Is J a finite real number at m, by ball arithmetic?"""
        arrays = {k: s.array for k, s in self.tensors(m).items()}
        (value,) = exact.evaluate(self.plain, arrays, [{}], "arb", 256)
        return bool(value.is_finite())

    def origins(self) -> dict[str, Origin]:
        """Where each node comes from, by the name that a verifier gives to the node."""
        return {f"node {new}": self.graph[old].origin for new, old in enumerate(_needed(self.graph, forms=False))}

    def bounds(self) -> dict[str, tuple[Any, Any]]:
        """The domain as certificates hold it: low and high by name."""
        lower, upper = self.domain.lower, self.domain.upper
        return {
            name: (_side(lower.get(name)), _side(upper.get(name)))
            for name in self.keys
            if name in lower or name in upper
        }

    def provenance(self) -> dict[str, str]:
        return provenance(self.describe)


def _finite(values: NDArray[Any]) -> bool:
    return values.dtype.kind != "f" or bool(np.isfinite(values).all())


def provenance(describe: Mapping[str, Any]) -> dict[str, str]:
    """Where a certificate comes from, in words."""
    from epigraph import __version__

    return {
        "epigraph": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "mode": str(describe.get("mode")),
        "objective": str(describe.get("name")),
    }


def _side(bound: Tensor | None) -> Any:
    if bound is None:
        return None
    return float(bound) if bound.ndim == 0 else bound.numpy()


def proof_payload(
    graph: Graph, parts: tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]], provenance: Mapping[str, Any]
) -> Payload:
    """The payload of a derivation, which ``epigraph verify`` re-checks with its own lemmas."""
    derivation, extra = parts
    plain, stored, _ = manifest_graph(graph, forms=True)
    tensors = {**stored, **{key: Stored(value, "bound", key) for key, value in extra.items()}}
    return assemble({"form": "derivation", **derivation}, plain, tensors, {}, provenance)


def recheck_proof(graph: Graph, proof: Proof) -> str | None:
    """What the kernel has against a derivation, or None where it accepts it (or where it is no derivation by rules)."""
    parts = getattr(proof.derivation, "parts", None)
    if parts is None:
        return None
    plain, stored, _ = manifest_graph(graph, forms=True)
    try:
        recheck(plain, {**{key: s.array for key, s in stored.items()}, **parts[1]}, parts[0])
    except CertificateError as error:
        return error.what + (f" ({error.where})" if error.where else "")
    return None


def match(path: str | Path, J: Objective) -> None:
    """Is the certificate about this objective?  Its graph, constants, parameter names and domain must be J's.

    Raises CertificateError (E460) at the first difference.  The values of the parameters are the certificate's own.
    """
    payload = read(path)
    derived = payload.manifest["claim"]["form"] not in FIRST_FORMS
    plain, stored, _ = manifest_graph(J.graph(), forms=derived)
    theirs = payload.manifest["tensors"]
    if graph_sha256(plain) != graph_sha256(payload.manifest["graph"]):
        _differs(
            "the graph differs",
            "the model, the loss or the shape of the data is another, or another version of torch captured it",
        )
    own = assemble(payload.manifest["claim"], plain, stored, {}).manifest["tensors"]
    for key, entry in own.items():
        fields = ("name", "shape") if entry["role"] == "parameter" else ("dtype", "shape", "sha256")
        if key not in theirs or any(entry[f] != theirs[key][f] for f in fields):
            _differs(
                f"the {entry['role']} tensor {entry['name'] or key} differs", "the certificate was made for other data"
            )
    if _box(payload.manifest["claim"].get("domain", {}), payload.base) != _own_box(J.domain):
        _differs("the domain differs", "its bounds are not those of the target")


def _differs(what: str, why: str) -> NoReturn:
    raise CertificateError(
        "E460",
        f"the certificate is not about this target: {what}",
        why=why,
        hint="make a new certificate with epigraph check --certificate",
    )


def _box(domain: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> dict[str, list[Any]]:
    def side(bound: Any) -> Any:
        if isinstance(bound, Mapping):
            return tensors[bound["tensor"]].reshape(-1).tolist()
        return None if bound is None else [float.fromhex(bound)]

    return {name: [side(b) for b in pair] for name, pair in domain.items()}


def _own_box(domain: Domain) -> dict[str, list[Any]]:
    names = {*domain.lower, *domain.upper}
    return {
        n: [box[n].reshape(-1).tolist() if n in box else None for box in (domain.lower, domain.upper)] for n in names
    }
