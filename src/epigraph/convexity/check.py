"""``check``: the prover and the refuter together, and one verdict."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, final

import torch

from epigraph.convexity.curvature import curvature_claims, quick_modulus
from epigraph.convexity.evidence import Court, recheck_proof
from epigraph.convexity.freeze import freeze_sets
from epigraph.convexity.modulus import modulus
from epigraph.convexity.polynomial import polynomial_claims
from epigraph.convexity.prove import CLAIMS, Prover
from epigraph.convexity.quadratic import quadratic_claims
from epigraph.convexity.refute import Found, Refuter
from epigraph.convexity.search import KINDS
from epigraph.convexity.verdict import Certificate, Proof, Status, Verdict
from epigraph.errors import UsageError
from epigraph.objective.agreement import NOWHERE_FINITE
from epigraph.objective.objective import Objective

Progress = Callable[[str], None]


@final
@dataclass(frozen=True)
class Effort:
    """Seconds for the joint search, for all blocks together, and the largest graph whose blocks are searched."""

    joint: float
    blocks: float
    refute_blocks_up_to: float


KERNEL_WORK = 3e5  # up to here every derivation is re-checked by the kernel before it is believed
GLANCE_WORK = 2e4  # up to here every proved property is attacked once before it is believed
BLOCK_WORK = 1e5  # up to here a block that the rules leave open is tried with the curvature lemma
SETTLED_WORK = 3e5  # a proved J with more entries is not searched for violations of the remaining properties

QUADRATIC, POLYNOMIAL, CURVED = "the lemma of quadratics", "the lemma of polynomials", "the curvature lemma"
SEARCH = "the search"

TRIES = 5  # points, beside the parameters, at which a J that is not finite in floats is asked for a value

EFFORTS = {"quick": Effort(3.0, 0.0, 0.0), "normal": Effort(40.0, 20.0, 2e6), "thorough": Effort(240.0, 120.0, 1e9)}


def check(
    J: Objective,
    blocks: Sequence[str] | None = None,
    effort: str = "normal",
    seed: int = 0,
    progress: Progress | None = None,
) -> Verdict:
    r"""Is J convex?  Jointly in the given blocks (all by default), and in each of them alone.

    Every "proved" comes with a derivation by composition rules, every "refuted" with points a, b and their midpoint m
    confirmed in exact or ball arithmetic; what neither settles is "undecided".  Blocks that are not given are held,
    at any value of the domain.

    Args:
        J: the objective.
        blocks: names of parameters; the joint verdict is about these together.
        effort: "quick", "normal" or "thorough": how long to search for counterexamples.
        seed: of the search; the verdict is reproducible.
        progress: called with one line before each stage that may take long.

    Raises:
        UsageError: an unknown block or effort.
        ObjectiveError, CaptureError: J is no function that can be analysed.

    Example:
        >>> import torch
        >>> J = Objective.from_function(lambda x, y: x * y, {"x": torch.tensor(0.5), "y": torch.tensor(0.5)})
        >>> v = check(J)
        >>> v.verdict, v.blocks["x"].verdict
        ('nonconvex', 'affine')
    """
    if not isinstance(J, Objective):
        raise UsageError(
            "E020",
            f"check takes an Objective, not a {type(J).__name__}",
            hint="Objective(model, loss, inputs, targets) or Objective.from_function(f, {name: tensor})",
        )
    if effort not in EFFORTS:
        raise UsageError("E027", f"unknown effort {effort!r}", hint="quick, normal or thorough")
    if isinstance(blocks, str):
        blocks = [blocks]
    active = J.blocks.resolve(None if blocks is None else list(blocks))
    say = progress or (lambda text: None)
    with _world(J), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return _Check(J, active, EFFORTS[effort], effort, seed, say).run()


def _world(J: Objective) -> Any:
    from epigraph.objective.world import untouched

    return untouched(*J.roots())


@final
class _Check:
    """One run: its prover, its refuter and its clock."""

    def __init__(self, J: Objective, active: tuple[str, ...], effort: Effort, word: str, seed: int, say: Progress):
        self.J, self.active, self.effort, self.word, self.say, self.seed = J, active, effort, word, say, seed
        self.start, self.remarks = time.monotonic(), list[str]()
        self.kernel, self.modulus = "accepted every derivation", None
        say("capturing the graph")
        self.graph = J.graph()
        self.captured = time.monotonic() - self.start
        self.described = J.describe()
        self.prover = Prover(self.graph, J.domain, self.described)
        self.court = Court(self.graph, J.domain, self.described)
        self.refuter = Refuter(self.graph, J.domain, self.court, seed, J.value)

    def run(self) -> Verdict:
        self.say("propagating curvature")
        proofs, looked = self._proofs(self.active)
        proofs, doubts = self._trusted(proofs, looked)
        seconds = min(self.effort.joint, 3.0) if _settled(proofs) else self.effort.joint
        found = self._refute(self.active, proofs, seconds, "searching for a counterexample", looked)
        parts = self._blocks() if len(self.active) > 1 else {}
        if len(self.active) == 1 and tuple(self.active) == tuple(self.J.parameters):
            parts = {}
        convex = "convex" in proofs
        alone = [n for n in self.active if n in parts and parts[n].convex == "proved"]
        freeze = () if convex or len(self.active) == 1 else freeze_sets(self.active, alone, self.prover.convex)
        blockers = () if convex or "concave" in proofs else self.prover.blockers(self.active)
        modulus_ = self._modulus() if convex else None
        notes = (*self.J.notes, *doubts, *self.remarks, *found.notes, *self._domain_notes(), *self.prover.lemmas.notes)
        verdict = self._verdict(self.active, proofs, found, notes=notes)
        extra = {
            "blocks": parts or {n: verdict for n in self.active},
            "freeze": freeze,
            "blockers": blockers,
            "modulus": modulus_,
            "effort": self._spent(found),
        }
        return replace(verdict, **extra)

    def _proofs(self, active: Sequence[str]) -> tuple[dict[str, Proof], Found | None]:
        """The rules; then the lemmas about the whole function, for what a look along random lines does not refute."""
        proofs, looked, run, nothing = self.prover.proofs(active), None, self.prover.lemmas.run, dict[str, Proof]()
        if not _settled(proofs):
            proofs |= run(QUADRATIC, nothing, quadratic_claims, self.prover, active, self.court, self.remarks)
        if not _settled(proofs):
            looked = self._look(active, proofs, self.effort.joint)
            words, hints = _left(looked), self.refuter.hints
            if words:
                proofs |= run(POLYNOMIAL, nothing, polynomial_claims, self.prover, active, self.court, hints)
            if words and not _settled(proofs):
                curved = run(CURVED, (nothing, None), curvature_claims, self.prover, active, self.court, hints, words)
                self.modulus = curved[1]
                proofs |= curved[0]
        return proofs, looked

    def _lemmas(
        self, active: Sequence[str], proofs: Mapping[str, Proof], seconds: float
    ) -> tuple[dict[str, Proof], Found | None]:
        """The lemmas about the whole function, for one block."""
        self.refuter.hints, run, nothing = {}, self.prover.lemmas.run, dict[str, Proof]()
        if not self._valued:
            return nothing, None
        found = run(QUADRATIC, nothing, quadratic_claims, self.prover, active, self.court)
        if found or self.refuter.work > BLOCK_WORK:
            return found, None
        looked = self._look(active, proofs, seconds)
        words, hints = _left(looked), self.refuter.hints
        return run(CURVED, (nothing, None), curvature_claims, self.prover, active, self.court, hints, words)[0], looked

    def _look(self, active: Sequence[str], proofs: Mapping[str, Proof], seconds: float) -> Found | None:
        kinds = [k for k in KINDS if k not in proofs]
        look = self.refuter.look
        return self.prover.lemmas.run(SEARCH, None, look, active, kinds, seconds) if self.court.possible else None

    def _trusted(self, proofs: dict[str, Proof], looked: Found | None) -> tuple[dict[str, Proof], list[str]]:
        """The refuter's glance at what has been proved: a confirmed violation would be an error of a rule."""
        proofs, refused = self._rechecked(proofs)
        kinds = [k for k in KINDS if k in proofs]
        if refused or not kinds:
            return proofs, refused
        shown = looked.certificates if looked else {}
        if self.refuter.work <= GLANCE_WORK and self.court.possible:
            shown = shown | self.prover.lemmas.run(SEARCH, {}, self.refuter.glance, self.active, kinds)
        return _uncontradicted(proofs, shown)

    def _rechecked(self, proofs: dict[str, Proof]) -> tuple[dict[str, Proof], list[str]]:
        """Keep the proofs that the kernel accepts; what it has not looked at is kept and said so."""
        kept, notes, run = {}, [], self.prover.lemmas.run
        if proofs and not self._valued:
            return {}, ["J has no value at any point that was tried, so nothing is claimed"]
        for name, proof in proofs.items():
            if self.refuter.work > KERNEL_WORK and not isinstance(proof.derivation, dict):
                self.kernel = "skipped: large"
                kept[name] = proof
            elif (refusal := run("the kernel", "no answer", recheck_proof, self.graph, proof)) is None:
                kept[name] = proof
            else:
                notes.append(
                    f"the rules prove J {name}, but the kernel does not accept the derivation, so nothing is claimed: {refusal}"
                )
        return kept, notes

    @cached_property
    def _valued(self) -> bool:
        """Has J a value somewhere?  Where floats show none, ball arithmetic is asked at a few points of the domain."""
        if NOWHERE_FINITE not in self.J.notes or not self.court.possible or self.refuter.work > KERNEL_WORK:
            return True
        generator = torch.Generator().manual_seed(self.seed)
        points = [self.refuter.point, *(self.refuter.elsewhere((), generator) for _ in range(TRIES))]
        return any(self.prover.lemmas.run("the evaluation", True, self.court.has_value, p) for p in points)

    def _modulus(self) -> float | None:
        """The best modulus that is known: from the penalty, or from the whole of J where that is cheap."""
        if self.modulus is not None:
            return self.modulus
        run = self.prover.lemmas.run
        own = run("the modulus of the penalty", None, modulus, self.prover, self.active)
        whole = run(CURVED, None, quick_modulus, self.prover, self.active)
        return max((m for m in (own, whole) if m is not None), default=None)

    def _refute(
        self, active: Sequence[str], proofs: Mapping[str, Proof], seconds: float, text: str, looked: Found | None
    ) -> Found:
        kinds = [k for k in KINDS if k not in proofs]
        if not kinds or seconds <= 0 or not self.court.possible:
            return Found()
        if _settled(proofs) and self.refuter.work > SETTLED_WORK:
            return looked or Found()
        self.say(text)
        return self.prover.lemmas.run(SEARCH, looked or Found(), self.refuter.search, active, kinds, seconds, looked)

    def _blocks(self) -> dict[str, Verdict]:
        """Each block alone; counterexamples are sought while the time for blocks lasts."""
        out = {}
        deadline = time.monotonic() + self.effort.blocks
        search = self.refuter.work <= self.effort.refute_blocks_up_to
        for i, name in enumerate(self.active):
            proofs, refused = self._rechecked(self.prover.proofs((name,)))
            left = deadline - time.monotonic()
            share = max(left / max(1, len(self.active) - i) * 2, 0.3) if left > 0 else 0.0
            found = Found()
            if not _settled(proofs) and search and share > 0:
                shown, looked = self._lemmas((name,), proofs, min(share, left))
                proofs, doubts = _uncontradicted(proofs | shown, looked.certificates if looked else {})
                refused += doubts
                if "convex" not in proofs:
                    found = self._refute((name,), proofs, min(share, left), f"searching in {name} alone", looked)
            out[name] = self._verdict((name,), proofs, found, notes=(*refused, *found.notes))
        return out

    def _verdict(
        self, active: tuple[str, ...], proofs: Mapping[str, Proof], found: Found, notes: tuple[str, ...]
    ) -> Verdict:
        states: dict[str, Status] = {}
        for name in CLAIMS:
            states[name] = "proved" if name in proofs else "refuted" if name in found.certificates else "undecided"
        s = _consequences(states)
        return Verdict(
            self.described,
            active,
            s["convex"],
            s["concave"],
            s["quasiconvex"],
            s["quasiconcave"],
            s["log_convex"],
            s["log_concave"],
            proofs=proofs,
            certificates=found.certificates,
            notes=tuple(dict.fromkeys(notes)),
        )

    def _domain_notes(self) -> list[str]:
        if not self.court.possible:
            names = sorted({n.attributes["target"] for n in self.graph if n.op == "opaque"})
            names = names or ["a constant with infinite or undefined entries"]
            return [f"no counterexample can be certified: {', '.join(names)} has no exact evaluation"]
        return []

    def _spent(self, found: Found) -> dict[str, Any]:
        return {
            "level": self.word,
            "seed": self.seed,
            "seconds": round(time.monotonic() - self.start, 3),
            "capture_seconds": round(self.captured, 3),
            "nodes": len(self.graph),
            "candidates": found.tried,
            "kernel": self.kernel,
        }


def _uncontradicted(
    proofs: dict[str, Proof], certificates: Mapping[str, Certificate]
) -> tuple[dict[str, Proof], list[str]]:
    """The proofs, and nothing where a certificate contradicts one of them."""
    wrong = sorted(set(proofs) & set(certificates))
    if not wrong:
        return proofs, []
    text = "an internal contradiction: the rules prove J {} and exact arithmetic refutes it; nothing is claimed, please report this"
    return {}, [text.format(", ".join(wrong))]


def _settled(proofs: Mapping[str, Proof]) -> bool:
    return "convex" in proofs or "concave" in proofs


def _left(looked: Found | None) -> list[str]:
    """What a look has not refuted."""
    return [k for k in ("convex", "concave") if looked is None or k not in looked.certificates]


def _consequences(states: dict[str, Status]) -> dict[str, Status]:
    """Refutations that follow: what is not quasiconvex is not convex nor log-convex, and so on."""
    out = dict(states)
    for weak, strong in (
        ("quasiconvex", "convex"),
        ("quasiconvex", "log_convex"),
        ("quasiconcave", "concave"),
        ("quasiconcave", "log_concave"),
        ("convex", "log_convex"),
    ):
        if out[weak] == "refuted" and out[strong] == "undecided":
            out[strong] = "refuted"
    return out
