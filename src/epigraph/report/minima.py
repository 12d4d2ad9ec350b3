"""The terminal's table of critical points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from epigraph.plot.numbers import counted
from epigraph.report.symmetry import order_text
from epigraph.symmetry.counting import digits

if TYPE_CHECKING:
    from epigraph.critical.completeness import Completeness
    from epigraph.critical.result import Catalogue, CriticalPoint

SHOWN = 60
COLUMNS = ("", "J", "kind", "index", "zeros", "λ min", "copies", "found", "evidence")
STATES = ("saddle", "J", "joins", "above the first", "above the second")
WORDS = ("kind", "evidence", "joins")


def show_catalogue(console: Console, found: Catalogue) -> None:
    """One line per point by value, the answer about the minima, what became of the starts, how complete it may be."""
    console.print(answer(found), highlight=False)
    if found.points:
        console.print(_tabled(COLUMNS, rows(found.points[:SHOWN])))
    if len(found.points) > SHOWN:
        console.print(f"... and {len(found.points) - SHOWN} more; --json has all")
    for k, p in enumerate(found.points[:SHOWN]):
        if p.reason:
            console.print(f"{k + 1}: {p.reason}", highlight=False)
    if found.transitions:
        console.print()
        console.print(_tabled(STATES, states(found)[:SHOWN]))
    if len(found.transitions) > SHOWN:
        console.print(f"... and {len(found.transitions) - SHOWN} more transitions; --json has all")
    console.print("starts: " + ", ".join(f"{n} {what}" for what, n in found.ends.items()), highlight=False)
    for line in completeness_lines(found.completeness):
        console.print(line, highlight=False)
    for note in found.notes:
        console.print(f"note: {note}", highlight=False)


def show_atlas(console: Console, found: Sequence[Catalogue]) -> None:
    """One line per objective: its fingerprint, its size, and what is known."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for heading in ("objective", "fingerprint", "size", "starts", "minima", "saddles", "others", "transitions"):
        left = heading in ("objective", "fingerprint")
        width = 15 if heading == "objective" else None
        table.add_column(heading, justify="left" if left else "right", no_wrap=True, max_width=width)
    for c in found:
        others = len(c.points) - len(c.minima) - len(c.saddles)
        counts = (c.objective["size"], c.effort["starts"], len(c.minima), len(c.saddles), others, len(c.transitions))
        table.add_row(str(c.objective["name"]), str(c.objective["fingerprint"])[:10], *map(str, counts))
    console.print(table)


def answer(found: Catalogue) -> str:
    """How many minima were found, and whether they are equal in value."""
    minima = found.minima
    if not minima:
        return "no point was found that is shown to be a local minimum"
    values = distinct_values(minima)
    proved = sum(p.evidence == "certified" for p in minima)
    how = "certified" if proved == len(minima) else f"{proved} certified" if proved else "tested in floating point"
    what = f"{counted(len(minima), 'local minimum', 'local minima')} up to copies, {how}"
    if len(minima) == 1:
        return f"{what}, J = {minima[0].value:.12g}"
    if len(values) == 1:
        return f"{what}, all of the value {values[0]:.12g}"
    shown = f"{what}, of {len(values)} values from {values[0]:.12g} to {values[-1]:.12g}"
    if found.proved_values < 2:
        return shown
    return f"{shown}; {found.proved_values} of them have values that are proved to differ"


def distinct_values(points: tuple[CriticalPoint, ...]) -> list[float]:
    """Values that differ by more than 1e-9 relative to max(1, |J|), ascending."""
    out: list[float] = []
    for value in sorted(p.value for p in points):
        if not out or value - out[-1] > 1e-9 * max(1.0, abs(value)):
            out.append(value)
    return out


def rows(points: Sequence[CriticalPoint]) -> list[tuple[str, ...]]:
    """One line per point, as ``COLUMNS``."""
    out = []
    for k, p in enumerate(points):
        copies = ("" if p.exact_orbit else "≤ ") + order_text(digits(p.orbit)).replace("about ", "≈ ")
        copies = f"{p.family} points" if p.family > 1 else "continuum" if p.nullity else copies
        out.append(
            (
                str(k + 1), f"{p.value:.10g}", p.kind.value, str(p.index), str(p.nullity), f"{float(p.spectrum[0]):.3g}",
                copies, str(p.found), p.evidence,
            )
        )  # fmt: skip
    return out


def states(found: Catalogue) -> list[tuple[str, ...]]:
    """One line per transition, as ``STATES``; what leads nowhere is said in words."""
    out = []
    for t in found.transitions:
        record = t.to_dict(found.points)
        ends = [word if e is None else str(e + 1) for e, word in zip(t.ends, t.words, strict=True)]
        joins = f"{ends[0]} to its copy" if t.loop else ("; other side " if None in t.ends else " to ").join(ends)
        barriers = ["" if b is None else f"{b:.6g}" for b in record["barriers"]]
        out.append((str(t.saddle + 1), f"{record['value']:.10g}", joins, *barriers))
    return out


def _tabled(columns: Sequence[str], lines: Sequence[tuple[str, ...]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for heading in columns:
        table.add_column(heading, justify="left" if heading in WORDS else "right", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    return table


def completeness_lines(c: Completeness) -> list[str]:
    """The Morse identity and the chance of something new, in words that claim nothing more."""
    lines = []
    if c.satisfied is None:
        lines.append(f"Morse identity: not applied ({c.why})")
    else:
        word = "as it must be if nothing is missing" if c.satisfied else "and must be 1: something is missing"
        lines.append(f"Morse identity: the alternating sum over all copies is {c.morse_sum}, {word}")
    if c.inequalities is False:
        lines.append("Morse inequalities: violated, something is missing")
    if c.unseen == 0:
        lines.append("random starts came to no point only once")
    elif c.unseen is not None:
        lines.append(f"chance that one more start finds a new point: about {c.unseen:.2g} (Good-Turing)")
    return lines
