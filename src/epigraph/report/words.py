"""A verdict in words: the same sentences for the terminal and for the page, and never more than was shown."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from epigraph.plot.numbers import counted, round_down, rounded

if TYPE_CHECKING:
    from epigraph.convexity.verdict import Blocker, Certificate, Proof, Step, Verdict

ADJECTIVES = {
    "convex": "convex",
    "concave": "concave",
    "quasiconvex": "quasiconvex",
    "quasiconcave": "quasiconcave",
    "log_convex": "log-convex",
    "log_concave": "log-concave",
}
_VIOLATIONS = {
    "convex": "J(m) lies above the chord from J(a) to J(b)",
    "concave": "J(m) lies below the chord from J(a) to J(b)",
    "quasiconvex": "J(m) exceeds the larger of J(a) and J(b)",
    "quasiconcave": "J(m) falls below the smaller of J(a) and J(b)",
    "log_convex": "log J(m) lies above the chord from log J(a) to log J(b)",
    "log_concave": "log J(m) lies below the chord from log J(a) to log J(b)",
}


def clean(text: object) -> str:
    """Text from outside with control and direction-changing characters written as escapes."""
    shown = []
    for character in str(text):
        hidden = unicodedata.category(character) in ("Cc", "Cf", "Cs") and character not in "\n\t"
        shown.append(character.encode("unicode_escape").decode("ascii") if hidden else character)
    return "".join(shown)


def stopped(text: object) -> str:
    """The text as a sentence: with a full stop, if it has no end of its own."""
    shown = clean(text).rstrip()
    return shown if shown.endswith((".", "!", "?", ":")) else shown + "."


def listed(names: Sequence[str], room: int = 60) -> str:
    """Names with commas, as many as fit into ``room`` characters, then how many more there are.

    >>> listed(["w", "b"]), listed(["layer.weight"] * 50, room=30)
    ('w, b', 'layer.weight, … 49 more')
    """
    names = [clean(name) for name in names]
    full = ", ".join(names)
    if len(full) <= room:
        return full
    shown = len(names)
    while shown > 1 and len(", ".join(names[:shown])) + len(f", … {len(names) - shown} more") > room:
        shown -= 1
    return ", ".join(names[:shown]) + (f", … {len(names) - shown} more" if shown < len(names) else "")


def packed(parts: Sequence[str], width: int) -> list[str]:
    """The parts with ``·`` between them, as many on a line as fit: a part is not broken."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(part) + 3 <= width:
            lines[-1] += f" · {part}"
        else:
            lines.append(part)
    return lines


def joined(parts: Sequence[str], last: str = "and") -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + f" {last} " + parts[-1] if parts else ""


def subject(verdict: Verdict, room: int = 60) -> str:
    """``J(fc1.weight, fc1.bias)``: the parameters in which the verdict is meant."""
    return f"J({listed(verdict.active, room)})"


def parameter_shapes(objective: Mapping[str, Any]) -> dict[str, object]:
    """The shape of each parameter, None where it is not recorded."""
    parameters = objective.get("parameters") or {}
    if not isinstance(parameters, Mapping):
        return {str(name): None for name in parameters}
    return {name: facts.get("shape") if isinstance(facts, Mapping) else facts for name, facts in parameters.items()}


@final
@dataclass(frozen=True)
class Record:
    """What was asked, and which files were written: the target, the arguments of ``epigraph check``, two paths."""

    target: str | None = None
    arguments: str | None = None
    certificate: str | None = None
    report: str | None = None


def context(verdict: Verdict, record: Record | None = None) -> list[str]:
    """What J is: target, name, mode, loss, sizes, regulariser, domain; only what is recorded."""
    objective = verdict.objective
    parts = [clean(record.target)] if record and record.target else []
    for key, template in (("name", "{}"), ("mode", "{} mode"), ("loss", "{}")):
        if objective.get(key) and clean(objective[key]) not in parts:
            parts.append(template.format(clean(objective[key])))
    for key, noun in (("size", "parameter"), ("samples", "sample")):
        if isinstance(objective.get(key), int):
            parts.append(counted(objective[key], noun))
    parts += _decay_words(objective.get("weight_decay"), len(parameter_shapes(objective)))
    parts += domain_words(objective.get("domain"))
    return parts


def _decay_words(decay: Any, count: int) -> list[str]:
    """One number where all parameters have the same, otherwise the range and how many have any."""
    if not isinstance(decay, Mapping):
        return [f"weight decay {rounded(decay) if isinstance(decay, float) else clean(decay)}"] if decay else []
    sizes = [float(value) for value in decay.values() if value]
    if not sizes:
        return []
    span = " to ".join(dict.fromkeys((rounded(min(sizes)), rounded(max(sizes)))))
    return [f"weight decay {span}" + (f" on {len(sizes)} of {count}" if len(sizes) < count else "")]


def domain_words(domain: Any) -> list[str]:
    """The domain in interval notation, or nothing for the whole space."""
    if not domain:
        return []
    if not isinstance(domain, Mapping):
        return [f"domain {clean(domain)}"]
    shown = [f"{clean(name)} in {_interval(bounds)}" for name, bounds in domain.items()]
    return ["domain " + listed(shown, 90)]


def _interval(bounds: Any) -> str:
    if not isinstance(bounds, (list, tuple)) or len(bounds) != 2:
        return clean(bounds)
    low, high = bounds
    left = "(-inf" if low in (None, "-inf") or low == float("-inf") else f"[{clean(low)}"
    right = "inf)" if high in (None, "inf") or high == float("inf") else f"{clean(high)}]"
    return f"{left}, {right}"


def scope(verdict: Verdict) -> str | None:
    """What is held while the rest varies, or None if J is taken in all its parameters."""
    held = [name for name in parameter_shapes(verdict.objective) if name not in verdict.active]
    if not held:
        return None
    shown = f"In {listed(verdict.active, 60)} alone, with {listed(held, 60)} held"
    at = {"nonconvex": "at the values of the counterexample", "undecided": ""}.get(verdict.verdict, "at any value")
    return f"{shown} {at}".rstrip() + "."


def violation(certificate: Certificate) -> str:
    """The inequality that the certificate shows, with its proved size."""
    what = _VIOLATIONS.get(certificate.kind, f"{certificate.kind} fails at m")
    by = f"{what} by at least {round_down(certificate.gap)}"
    return by + f" (relative {round_down(float(certificate.relative_gap), 2)})"


def arithmetic(name: str, bits: int) -> str:
    """``exact arithmetic`` or ``ball arithmetic at 128 bits``."""
    return f"ball arithmetic at {bits} bits" if name == "arb" else f"{clean(name)} arithmetic"


def confirmed(certificate: Certificate) -> str:
    """How the gap was confirmed."""
    return f"confirmed in {arithmetic(certificate.arithmetic, certificate.precision_bits)}"


_STANDING = {
    ("proved", "proved"): "Affine: convex and concave at once.",
    ("proved", "refuted"): "Convex, and not affine.",
    ("proved", "undecided"): "Convex.",
    ("refuted", "proved"): "Concave, and not affine.",
    ("refuted", "refuted"): "Neither convex nor concave.",
    ("refuted", "undecided"): "Not convex; whether it is concave is undecided.",
    ("undecided", "proved"): "Concave.",
    ("undecided", "refuted"): "Not concave; whether it is convex is undecided.",
    ("undecided", "undecided"): "Neither a proof nor a counterexample was found; this says nothing about J itself.",
}


def standing(verdict: Verdict) -> str:
    """What is known of J's convexity and concavity together, in one sentence."""
    return _STANDING[verdict.convex, verdict.concave]


def evidence(verdict: Verdict) -> list[str]:
    """What the summary word rests on: proofs of convexity and concavity, or else counterexamples to them."""
    if verdict.verdict in ("affine", "convex", "concave"):
        return [_proved(verdict, name) for name in ("convex", "concave") if name in verdict.proofs]
    found = [verdict.certificates[name] for name in ("convex", "concave") if name in verdict.certificates]
    starts = ("At the midpoint m of two points a and b, ", "Elsewhere, ")
    return [f"{start}{violation(c)}, {confirmed(c)}." for start, c in zip(starts, found, strict=False)]


def _proved(verdict: Verdict, name: str) -> str:
    steps = verdict.proofs[name].steps
    strongly = ""
    if name == "convex" and verdict.modulus is not None and verdict.modulus > 0:
        strongly = f"; strongly convex with modulus at least {round_down(float(verdict.modulus))}"
    return f"Proved {name} by a derivation of {counted(len(steps), 'step')}{strongly}."


def lemmas(verdict: Verdict, limit: int = 6) -> str | None:
    """The lemmas that the proof rests on, each once, from the parameters to J."""
    if verdict.proof is None:
        return None
    names = list(dict.fromkeys(clean(step.lemma) for step in verdict.proof.steps))
    more = f"; and {counted(len(names) - limit, 'further lemma')}" if len(names) > limit else ""
    return f"It rests on: {'; '.join(names[:limit])}{more}."


def implied(verdict: Verdict, name: str) -> str | None:
    """The property that makes ``name`` follow at once, or None if it says something of its own."""
    if name == "quasiconvex" and verdict.convex == "proved":
        return "convex"
    if name == "quasiconcave" and verdict.concave == "proved":
        return "concave"
    return None


def excluded(verdict: Verdict, name: str) -> str | None:
    """The weaker property whose refutation refutes ``name`` too, or None."""
    weaker = {
        "convex": ("quasiconvex",),
        "concave": ("quasiconcave",),
        "log_convex": ("convex", "quasiconvex"),
        "log_concave": ("quasiconcave",),
    }
    found = (other for other in weaker.get(name, ()) if getattr(verdict, other) == "refuted")
    return ADJECTIVES.get(next(found, ""))


def evidence_file(verdict: Verdict) -> Certificate | Proof | None:
    """What ``--certificate`` saves: the counterexample or the proof behind the summary word, or None."""
    if verdict.verdict == "nonconvex":
        return verdict.certificate
    proof = verdict.proof
    return proof if proof is not None and proof.payload is not None else None


def further(verdict: Verdict) -> str | None:
    """Quasi-convexity, log-convexity and their opposites, where they are decided and do not follow at once."""
    names = [n for n in ("quasiconvex", "quasiconcave", "log_convex", "log_concave") if not implied(verdict, n)]
    proved = [ADJECTIVES[n] for n in names if getattr(verdict, n) == "proved"]
    refuted = [ADJECTIVES[n] for n in names if getattr(verdict, n) == "refuted"]
    parts = [joined(proved)] if proved else []
    parts += [f"not {joined(refuted, 'or')}"] if refuted else []
    return f"J is {'; '.join(parts)}." if parts else None


def place(blocker: Blocker) -> str:
    """``model.py:14 in fc2``, with whatever is known."""
    where = clean(blocker.location) if blocker.location else ""
    module = f"in {clean(blocker.module)}" if blocker.module else ""
    return " ".join(part for part in (where, module) if part) or operator(blocker.op)


def blocker_lead(verdict: Verdict) -> str:
    """What the first blocker is: the loss of convexity, or where the rules stop."""
    return "Convexity is lost at" if verdict.verdict == "nonconvex" else "The rules of convexity stop at"


def step_claim(step: Step) -> str:
    """The claim with its subject: ``cross_entropy_loss is convex``."""
    claim = clean(step.claim)
    return claim if " is " in claim else f"{operator(step.op)} is {claim}"


def operator(op: str) -> str:
    """``aten.linear.default`` as ``linear``.

    >>> operator("aten.linear.default"), operator("aten.add.Tensor"), operator("parameter")
    ('linear', 'add', 'parameter')
    """
    parts = clean(op).split(".")
    return parts[1] if len(parts) == 3 else clean(op)


@final
@dataclass(frozen=True)
class Row:
    """A line of the table of blocks: the parameter, its shape, and the verdict in it alone."""

    name: str
    shape: object
    word: str
    modulus: float | None


def block_rows(verdict: Verdict) -> list[Row]:
    """One row for each block, in the order of the model; none where J has but one."""
    if len(verdict.blocks) == 1 and tuple(verdict.blocks) == verdict.active:
        return []
    shapes = parameter_shapes(verdict.objective)
    return [Row(clean(name), shapes.get(name), block.verdict, block.modulus) for name, block in verdict.blocks.items()]


def tally(rows: Iterable[Row]) -> str:
    """``3 blocks: 2 affine, 1 nonconvex``."""
    counts = Counter(row.word for row in rows)
    order = ("affine", "convex", "concave", "nonconvex", "undecided")
    parts = [f"{counts[word]} {word}" for word in order if counts[word]]
    return f"{counted(sum(counts.values()), 'block')}: {', '.join(parts)}" if parts else "no blocks"


def freeze_size(verdict: Verdict, names: Sequence[str]) -> int | None:
    """The number of single parameters in a set of blocks, or None where a shape is not recorded."""
    shapes, total = parameter_shapes(verdict.objective), 0
    for name in names:
        shape = shapes.get(name)
        if not isinstance(shape, (list, tuple)):
            return None
        size = 1
        for extent in shape:
            size *= int(extent)
        total += size
    return total


def effort_words(effort: Mapping[str, Any]) -> list[str]:
    """``effort normal``, ``seed 0``, ``1.2 s``; the rest of what is recorded is in the JSON."""
    parts = [f"effort {clean(effort[key])}" for key in ("effort", "level") if effort.get(key)]
    if isinstance(effort.get("seed"), int):
        parts.append(f"seed {effort['seed']}")
    seconds = effort.get("seconds")
    if isinstance(seconds, (int, float)):
        parts.append(f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s")
    return parts
