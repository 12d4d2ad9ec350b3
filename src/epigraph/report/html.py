"""The verdict as HTML: ``page`` is one self-contained file, ``fragment`` the same inside a notebook.

No script, no request: style and pictures are inline, and the page forbids anything else by its own policy.  Every text
that comes from the user is escaped.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from epigraph.plot.numbers import counted, round_down, rounded, shape_text, superscripted
from epigraph.plot.segment import segment
from epigraph.plot.svg import NARROW, WIDE, draw
from epigraph.report import words
from epigraph.report.derivation import lay_out
from epigraph.report.source import quotes
from epigraph.report.strict import to_json

if TYPE_CHECKING:
    from epigraph.convexity.verdict import Certificate, Verdict

_MANTISSA = re.compile(r"\b(\d(?:\.\d+)?)e([+-])0*(\d+)\b")


def mathematical(text: str) -> Markup:
    """Our own sentences with symbols in italics and powers of ten set as such; everything is escaped first."""
    safe = str(escape(text))
    safe = _MANTISSA.sub(lambda f: f"{f[1]}·10<sup>{'−' if f[2] == '-' else ''}{f[3]}</sup>", safe)
    safe = re.sub(r"\bJ(?=\(| |$|,|\.)", "<var>J</var>", safe)
    safe = re.sub(r"(?<=</var>\()([abm])(?=\))", r"<var>\1</var>", safe)
    points = "midpoint m of two points a and b"
    return Markup(safe.replace(points, "midpoint <var>m</var> of two points <var>a</var> and <var>b</var>"))


def because(reason: str) -> str:
    """A reason as a sentence, with the sign for infinity, which no line is broken at."""
    return re.sub(r"-inf\b", "−∞", words.stopped(reason)).replace(" inf)", " ∞)")


@cache
def environment() -> Environment:
    """Templates that escape everything, with the filters that they use."""
    environment = Environment(
        loader=PackageLoader("epigraph.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "because": because,
        "clean": words.clean,
        "stopped": words.stopped,
        "listed": words.listed,
        "math": mathematical,
        "shape": shape_text,
        "down": round_down,
        "power": superscripted,
        "counted": counted,
        "named": words.step_claim,
        "operator": words.operator,
    }
    return environment


def _in_order(found: Iterable[str]) -> list[str]:
    """Properties in the order convex, concave, quasiconvex and so on."""
    order = list(words.ADJECTIVES)
    return sorted(found, key=lambda name: (order.index(name) if name in order else len(order), name))


def _picture(certificate: Certificate, identifier: str) -> dict[str, Any]:
    """A certificate with its picture in two widths, and the figures for its table."""
    info = segment(certificate)
    at = certificate.values
    values = [(f"J({name})", rounded(float(at[name]), 8)) for name in ("a", "b", "m") if name in at]
    return {
        "certificate": certificate,
        "info": info,
        "values": values,
        "statement": words.violation(certificate),
        "arithmetic": words.confirmed(certificate),
        "wide": Markup(draw(info, f"{identifier}-w", WIDE)) if info else None,
        "narrow": Markup(draw(info, f"{identifier}-n", NARROW)) if info else None,
    }


def _findings(verdict: Verdict) -> list[tuple[str, str, str]]:
    """Property, status and evidence, for the table of what is known."""
    rows = []
    for name, adjective in words.ADJECTIVES.items():
        status, evidence = getattr(verdict, name), ""
        if status == "proved":
            proof, reason = verdict.proofs.get(name), words.implied(verdict, name)
            evidence = f"derivation of {counted(len(proof.steps), 'step')}" if proof else ""
            evidence = f"follows, as J is {reason}" if reason else evidence
        elif status == "refuted":
            certificate, figures = verdict.certificates.get(name), _in_order(verdict.certificates)
            if certificate:
                evidence = f"Figure {figures.index(name) + 1}: gap at least {round_down(certificate.gap)}"
            elif words.excluded(verdict, name):
                evidence = f"follows, as J is not {words.excluded(verdict, name)}"
        rows.append((adjective, status, evidence))
    return rows


def _commands(verdict: Verdict, record: words.Record) -> list[str]:
    """What to type to see the evidence checked again: in a shell, or after Python where there is no target."""
    path = "evidence.epi"
    if record.certificate:
        return [f"epigraph verify {shlex.quote(record.certificate)}"]
    if words.evidence_file(verdict) is None:
        return []
    if record.arguments:
        return [f"epigraph check {record.arguments} --certificate {path}", f"epigraph verify {path}"]
    if verdict.verdict == "nonconvex":
        return [f'verdict.certificate.save("{path}")', f'epigraph.verify("{path}")']
    return [f'verdict.proof.save("{path}")', f'epigraph.verify("{path}")']


def _view(verdict: Verdict, level: int, record: words.Record) -> dict[str, Any]:
    """All that the template shows, computed."""
    digest = hashlib.sha256(to_json([verdict.to_dict(), level]).encode()).hexdigest()[:10]
    identifier = f"epi-{digest}"
    pictures = [_picture(verdict.certificates[n], f"{identifier}-{n}") for n in _in_order(verdict.certificates)]
    shown = [n for n in _in_order(verdict.proofs) if not words.implied(verdict, n)]
    proofs = [(words.ADJECTIVES.get(n, n), lay_out(verdict.proofs[n].steps), f"{identifier}-{n}") for n in shown]
    return {
        "verdict": verdict,
        "level": level,
        "id": identifier,
        "standing": words.standing(verdict),
        "evidence": words.evidence(verdict),
        "lemmas": words.lemmas(verdict),
        "further": words.further(verdict),
        "scope": words.scope(verdict),
        "context": words.context(verdict, record),
        "findings": _findings(verdict),
        "pictures": pictures,
        "proofs": proofs,
        "blocker_lead": words.blocker_lead(verdict),
        "quotes": quotes(verdict.blockers),
        "rows": words.block_rows(verdict),
        "tally": words.tally(words.block_rows(verdict)),
        "freeze": [(names, words.freeze_size(verdict, names)) for names in verdict.freeze],
        "effort": words.effort_words(verdict.effort),
        "commands": _commands(verdict, record),
    }


def fragment(verdict: Verdict, record: words.Record | None = None) -> str:
    """The verdict for a notebook: a ``<section>`` with its own style, which touches nothing around it."""
    view = _view(verdict, 3, record or words.Record())
    return environment().get_template("fragment.html.j2").render(view)


def page(verdict: Verdict, record: words.Record | None = None) -> str:
    """The verdict as one HTML file that opens offline; ``record`` says what was asked and where the evidence lies."""
    view = _view(verdict, 1, record or words.Record())
    return environment().get_template("page.html.j2").render(view)
