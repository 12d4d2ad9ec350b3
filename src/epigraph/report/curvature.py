"""A spectrum shown: tables in the terminal, and one HTML page with a picture."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from markupsafe import Markup
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from epigraph.plot.bars import NARROW, WIDE, draw
from epigraph.plot.numbers import counted, rounded
from epigraph.plot.spectrum import info
from epigraph.report import words
from epigraph.report.certified import certified_sentences, show_certified
from epigraph.report.html import environment
from epigraph.report.strict import to_json
from epigraph.report.terminal import write

if TYPE_CHECKING:
    from epigraph.hessian.spectrum import Spectrum
    from epigraph.hessian.summary import Summary

COLUMNS = ("end", "eigenvalue", "error", "residual", "multiplicity", "converged")
KINDS = {
    "hessian": "Hessian",
    "gauss-newton": "Gauss-Newton matrix",
    "fisher": "empirical Fisher matrix",
    "fisher-mc": "Fisher matrix with drawn targets",
}


def named(kind: str) -> str:
    """``gauss-newton`` as ``Gauss-Newton matrix``."""
    return KINDS.get(kind, kind)


def digits(value: float, error: float) -> str:
    """The value to the digit where its error begins, at least two and at most ten."""
    if not (value and 0 < error < abs(value)):
        return rounded(value, 3)
    sure = 1
    while sure < 10 and error < abs(value) * 10.0 ** (-sure):
        sure += 1
    return rounded(value, max(2, sure))


def shown(value: float, error: float) -> tuple[str, str]:
    """The value's digits, and the error of what they say: rounding them may be more than the error of the value."""
    text = digits(value, error)
    error = max(error, abs(float(text) - value))
    return text if "e" in text else text.replace("-", "−"), rounded(error, 2)


def rows(found: Spectrum) -> list[tuple[str, str, str, str, str, str]]:
    """The table: from the largest down to the smallest."""
    listed = [(f"top {k + 1}", p) for k, p in enumerate(found.top)]
    listed += [(f"bottom {k + 1}", p) for k, p in reversed(list(enumerate(found.bottom)))]
    return [
        (
            name, *shown(p.value, p.error), rounded(p.residual, 2),
            str(p.multiplicity) if p.multiplicity > 1 else "1", "yes" if p.converged else "no",
        )
        for name, p in listed
    ]  # fmt: skip


def sentences(result: Summary) -> list[str]:
    """What the numbers say, each with its error; only what was found."""
    found, out = result.spectrum, []
    low = found.bottom[0] if found.bottom else None
    if low is not None and found.kind == "hessian":
        if low.value + (low.error if low.converged else low.bound) < 0:
            out.append(
                "The Hessian has a negative eigenvalue here, beyond its error: J curves downwards along some direction."
            )
        elif low.converged and low.value - low.error > 0:
            out.append(
                "No negative eigenvalue was found: all curvature is positive here, in floating-point arithmetic."
            )
        elif low.converged:
            out.append(
                "The least eigenvalue is zero up to its error: the curvature has a flat direction here, or nearly one."
            )
    if found.converged:
        chance = "0" if found.risk == 0 else "at most one in a million"
        out.append(f"The chance that a copy of a multiple eigenvalue was missed is {chance}.")
    if result.density is not None:
        share = result.density.negative
        out.append(
            f"Negative curvature makes up {100 * share.value:.3g} % ± {100 * share.error:.2g} % of the sum of all |eigenvalues|."
        )
    if result.trace is not None:
        t, f = result.trace.trace, result.trace.frobenius
        out.append(f"The trace is {_with_error(t.value, t.error)}, the Frobenius norm {_with_error(f.value, f.error)}.")
    return out


def _with_error(value: float, error: float) -> str:
    return " ± ".join(shown(value, error))


def facts(result: Summary) -> list[str]:
    """J and the point: size, value, slope."""
    found = result.spectrum
    return [
        f"{counted(found.n, 'variable')} in {counted(len(found.names), 'block')}",
        f"J = {rounded(found.value, 6)}",
        f"|grad J| = {rounded(found.gradient_norm, 3)}",
    ]


def effort(result: Summary) -> list[str]:
    """What it cost, and what gives the same again."""
    parts = [result.spectrum, result.density, result.trace]
    products = sum(p.products for p in parts if p is not None)
    seconds = sum(p.seconds for p in parts if p is not None)
    found = result.spectrum
    return [
        counted(products, "product") + (f", {found.looked} of them to look for copies" if found.looked else ""),
        f"{seconds:.1f} s",
        found.dtype,
        f"engine {found.engine}",
        f"seed {found.seed}",
    ]


def show_spectrum(out: Console, result: Summary, record: words.Record) -> None:
    """Print a summary of the curvature."""
    found = result.spectrum
    write(
        out, (f"spectrum of the {named(found.kind)}", "bold"), "   ", words.clean(result.objective.get("name") or "J")
    )
    for text in words.packed(facts(result), out.width - 4):
        write(out, (text, "dim"), indent=4)
    out.print()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    for title in COLUMNS:
        table.add_column(title, overflow="fold", justify="left" if title == "end" else "right")
    for row in rows(found):
        table.add_row(*(Text(cell, "bold yellow" if row[-1] == "no" else "") for cell in row))
    out.print(table)
    out.print()
    for sentence in sentences(result):
        write(out, sentence)
    if result.certified is not None:
        show_certified(out, result.certified, record)
    for note in found.notes:
        write(out, f"Note: {words.clean(note)}")
    if record.report:
        write(out, f"Report: {words.clean(record.report)}")
    write(out, (" · ".join(effort(result)), "dim"))


def page(result: Summary, record: words.Record) -> str:
    """The summary as one HTML file that opens offline."""
    found = result.spectrum
    digest = hashlib.sha256(to_json(result.to_dict()).encode()).hexdigest()[:10]
    drawn = info(found, result.density)
    narrow = info(found, result.density, bins=40)
    view: dict[str, Any] = {
        "what": "spectrum",
        "schema": "epigraph/spectrum/1",
        "name": result.objective.get("name") or "J",
        "blocks": list(found.names),
        "kind": named(found.kind),
        "context": ([record.target] if record.target else []) + facts(result),
        "sentences": certified_sentences(result.certified) + sentences(result),
        "columns": COLUMNS,
        "rows": rows(found),
        "wide": Markup(draw(drawn, f"epi-{digest}-w", WIDE)) if drawn else None,
        "narrow": Markup(draw(narrow, f"epi-{digest}-n", NARROW)) if narrow else None,
        "density": result.density,
        "notes": found.notes,
        "command": f"epigraph spectrum {record.arguments}" if record.arguments else None,
        "effort": effort(result),
    }
    return environment().get_template("spectrum.html.j2").render(view)
