"""What is proved of the Hessian at a point, in words: a block in the terminal, sentences on a page."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from rich.console import Console

from epigraph.certificate.claims import decimal_below
from epigraph.report import words
from epigraph.report.terminal import STYLES, write

if TYPE_CHECKING:
    from epigraph.hessian.certified import SpectrumCertificate

SHADES = {"positive definite": "convex", "negative definite": "concave", "not settled": "undecided"}


def numbers(found: SpectrumCertificate) -> str:
    """``λmax ≥ 1.0024, λmin ≤ −0.3280, enclosed at 128 bits``; empty where nothing is proved."""
    parts = [f"λmax ≥ {_short(found.largest)}"] if found.largest else []
    parts += [f"λmin ≤ −{_short(found.least[1:])}"] if found.least else []
    if found.modulus is not None:
        value = _short(repr(found.modulus))
        parts.append(f"λmin ≥ {value}" if found.definiteness == "positive definite" else f"λmax ≤ −{value}")
    how = f"enclosed at {found.precision_bits} bits" if found.precision_bits else "enclosed in float64"
    return ", ".join([*parts, how]) if parts else ""


def _short(text: str) -> str:
    """A positive decimal number to six digits, rounded down."""
    return decimal_below(Fraction(text), 6)


def certified_sentences(found: SpectrumCertificate | None) -> list[str]:
    """The result, its numbers and what was missing for more."""
    if found is None:
        return []
    statement = found.statement[0].upper() + found.statement[1:]
    out = [f"Certified: {found.statement}." if found.definiteness != "not settled" else f"{statement}."]
    out += [f"{numbers(found)}."] if numbers(found) else []
    if found.reason:
        out.append(f"{'Not' if found.definiteness == 'not settled' else 'No more is'} settled: {found.reason}.")
    return out


def show_certified(out: Console, found: SpectrumCertificate, record: words.Record) -> None:
    """Print the block."""
    settled = found.definiteness != "not settled"
    shade = STYLES[SHADES.get(found.definiteness, "nonconvex")]
    write(out, ("Certified: " if settled else "Not settled: ", shade), words.clean(found.statement))
    if numbers(found):
        write(out, numbers(found), indent=4)
    if found.reason:
        write(out, words.clean(found.reason + (f"   {found.where}" if found.where else "")), indent=4)
    if record.certificate:
        path = words.clean(record.certificate)
        write(out, f"Evidence: {path}   (check it again: epigraph verify {path})", indent=4)
    elif found.payload is not None:
        write(out, ("--certificate FILE keeps the evidence, epigraph verify FILE checks it again.", "dim"), indent=4)
    out.print()
