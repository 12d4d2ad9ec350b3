"""What ``check`` returns: the verdict with its evidence, as frozen data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final

from torch import Tensor

from epigraph.errors import UsageError

Status = Literal["proved", "refuted", "undecided"]
Word = Literal["affine", "convex", "concave", "nonconvex", "undecided"]

PROPERTIES = ("convex", "concave", "quasiconvex", "quasiconcave", "log_convex", "log_concave")
SCHEMA = "epigraph/verdict/1"


@final
@dataclass(frozen=True)
class Blocker:
    """An operator at which convexity is lost, innermost first.

    ``op`` is PyTorch's operator, ``location`` the user's ``file.py:line`` where it is known, ``module`` the path of the
    module inside the model, ``reason`` one sentence, ``source`` the quoted line of the file.
    """

    op: str
    location: str | None
    module: str
    reason: str
    source: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "op": self.op,
            "location": self.location,
            "module": self.module,
            "reason": self.reason,
            "source": self.source,
        }


@final
@dataclass(frozen=True)
class Step:
    """One line of a derivation: the claim about a node, the lemma that gives it, and the steps that it rests on.

    ``sides`` are the side conditions in words with their intervals, such as ``"softplus >= 0 on [0, inf)"``.
    """

    node: int
    claim: str
    lemma: str
    premises: tuple[int, ...]
    sides: tuple[str, ...]
    op: str
    shape: tuple[int, ...]
    location: str | None
    module: str

    def to_dict(self) -> dict[str, Any]:
        return {
            "node": self.node,
            "claim": self.claim,
            "lemma": self.lemma,
            "premises": list(self.premises),
            "sides": list(self.sides),
            "op": self.op,
            "shape": list(self.shape),
            "location": self.location,
            "module": self.module,
        }


@final
@dataclass(frozen=True)
class Proof:
    """A derivation of ``property``: steps in topological order, the last one about J itself.

    ``premises`` of a step are positions in ``steps``.  ``derivation`` is the data that the re-checking kernel reads.
    """

    property: str
    steps: tuple[Step, ...]
    derivation: Mapping[str, Any] = field(repr=False)
    payload: Callable[[], Any] | None = field(default=None, repr=False, compare=False)  # makes what save() writes

    def save(self, path: str | Path) -> None:
        """Write the derivation as a certificate file, which ``epigraph verify`` re-checks with its own lemmas."""
        from epigraph.certificate.format import write

        if self.payload is None:
            raise UsageError(
                "E028",
                f"this proof of {self.property} has no file form",
                why="it rests on a lemma about the whole function",
                hint="--json prints it",
            )
        write(path, self.payload())

    def to_dict(self) -> dict[str, Any]:
        return {"property": self.property, "steps": [s.to_dict() for s in self.steps]}


@final
@dataclass(frozen=True)
class Certificate:
    r"""Points a, b and their midpoint m at which the property ``kind`` fails, confirmed in exact arithmetic.

    For ``convex``: J(m) > (J(a) + J(b))/2; for ``concave`` the opposite sign; for ``quasiconvex`` J(m) > max(J(a), J(b));
    for ``quasiconcave`` J(m) < min(J(a), J(b)).  ``gap`` is a decimal string that bounds the violation from below.
    ``values`` are the decimal enclosures of J(a), J(b), J(m); ``relative_gap`` divides by max |J| of the three.
    ``arithmetic`` is ``exact`` or ``arb``, ``precision_bits`` what the verifier will use.
    """

    kind: str
    a: Mapping[str, Tensor]
    b: Mapping[str, Tensor]
    m: Mapping[str, Tensor]
    gap: str
    relative_gap: float
    values: Mapping[str, float]
    arithmetic: str
    precision_bits: int
    refuter: str
    blocks: tuple[str, ...]
    profile: tuple[tuple[float, float], ...] = ()  # (s, J) along the segment, a at s = -1 and b at s = 1, in floats
    payload: Any = field(default=None, repr=False, compare=False)  # what save() writes

    def save(self, path: str | Path) -> None:
        """Write the certificate file atomically; ``epigraph verify`` reads it without torch and without the model."""
        from epigraph.certificate.format import write

        write(path, self.payload)

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "gap": self.gap,
            "relative_gap": self.relative_gap,
            "values": dict(self.values),
            "arithmetic": self.arithmetic,
            "precision_bits": self.precision_bits,
            "refuter": self.refuter,
            "blocks": list(self.blocks),
        }


@final
@dataclass(frozen=True)
class Verdict:
    """What is known of J in the parameters ``active``, the others held at any value of the domain.

    ``convex`` and the five like it are each "proved", "refuted" or "undecided".  ``certificates`` has the
    counterexample for each refuted property, ``proofs`` the derivation for each proved one.
    """

    objective: Mapping[str, Any]
    active: tuple[str, ...]
    convex: Status
    concave: Status
    quasiconvex: Status
    quasiconcave: Status
    log_convex: Status
    log_concave: Status
    modulus: float | None = None
    blocks: Mapping[str, Verdict] = field(default_factory=dict)
    freeze: tuple[tuple[str, ...], ...] = ()
    blockers: tuple[Blocker, ...] = ()
    proofs: Mapping[str, Proof] = field(default_factory=dict)
    certificates: Mapping[str, Certificate] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    effort: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> Word:
        """The summary word: affine, convex, concave, nonconvex (convex refuted, concave not proved) or undecided."""
        if self.convex == "proved":
            return "affine" if self.concave == "proved" else "convex"
        if self.concave == "proved":
            return "concave"
        return "nonconvex" if self.convex == "refuted" else "undecided"

    @property
    def proof(self) -> Proof | None:
        """The derivation behind the summary word, or None."""
        return self.proofs.get("convex") or self.proofs.get("concave")

    @property
    def certificate(self) -> Certificate | None:
        """The counterexample to convexity, or None."""
        return self.certificates.get("convex")

    def to_dict(self) -> dict[str, Any]:
        """The object that ``--json`` prints (schema ``epigraph/verdict/1``)."""
        out: dict[str, Any] = {"schema": SCHEMA, "objective": dict(self.objective), "verdict": self.verdict}
        out |= {name: getattr(self, name) for name in PROPERTIES}
        out |= {
            "modulus": self.modulus,
            "blocks": {
                name: {"verdict": v.verdict, **{p: getattr(v, p) for p in PROPERTIES}}
                for name, v in self.blocks.items()
            },
            "freeze": [list(names) for names in self.freeze],
            "blockers": [b.to_dict() for b in self.blockers],
            "proof": None if self.proof is None else self.proof.to_dict(),
            "certificate": None if self.certificate is None else self.certificate.to_dict(),
            "certificates": {name: c.to_dict() for name, c in self.certificates.items()},
            "notes": list(self.notes),
            "effort": dict(self.effort),
        }
        return out

    def _repr_html_(self) -> str:
        from epigraph.report.html import fragment

        return fragment(self)

    def __repr__(self) -> str:
        states = ", ".join(f"{p}={getattr(self, p)}" for p in PROPERTIES[:4])
        return f"Verdict({self.verdict}; {states}; {len(self.blocks)} blocks, {len(self.blockers)} blockers)"
