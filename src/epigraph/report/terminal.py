"""The first screen: verdict, reason, blocks, what to freeze, where the evidence lies.  Colour is never needed."""

from __future__ import annotations

import codecs
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from epigraph.plot.numbers import counted, round_down, shape_text
from epigraph.report import words
from epigraph.report.neighbourhood import region_lines, region_title
from epigraph.report.source import split_location

if TYPE_CHECKING:
    from epigraph.convexity.region import RegionVerdict
    from epigraph.convexity.verdict import Blocker, Verdict

STYLES = {
    "affine": "bold green",
    "convex": "bold green",
    "concave": "bold blue",
    "nonconvex": "bold red",
    "undecided": "bold yellow",
}
SHOWN_BLOCKS = 12
SHOWN_SETS = 4
_ASCII = {
    "·": "-",
    "…": "...",
    "≥": ">=",
    "≤": "<=",
    "×": "x",
    "−": "-",
    "→": "->",
    "½": "1/2",
    "²": "^2",
    "—": "-",
    "–": "-",
    "’": "'",
    "“": '"',
    "”": '"',
}


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_ASCII.get(c, "?") for c in error.object[error.start : error.end]), error.end


codecs.register_error("epigraph.ascii", _in_ascii)


class _Console(Console):
    """Rich's console, which leaves a closed pipe to the command line."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console(stream: TextIO | None = None) -> Console:
    """A console that takes text as it is: no markup, no emoji, and ASCII stand-ins where the encoding needs them."""
    stream = stream or sys.stdout
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="epigraph.ascii")
    return _Console(file=stream, markup=False, highlight=False, emoji=False)


def write(out: Console, *parts: str | tuple[str, str], indent: int = 0) -> None:
    """Print a paragraph, wrapped and indented as a whole."""
    for line in Text.assemble(*parts).wrap(out, max(20, out.width - indent)):
        line.rstrip()
        out.print(Text(" " * indent) + line)


def show_verdict(out: Console, verdict: Verdict, record: words.Record | None = None) -> None:
    """Print a verdict; ``record`` says what was asked and where the evidence lies."""
    record = record or words.Record()
    _headline(out, verdict, record)
    if verdict.blockers:
        _blocker(out, verdict, verdict.blockers[0])
    _standing(out, verdict)
    rows = words.block_rows(verdict)
    if rows:
        _blocks(out, rows)
    _freeze(out, verdict)
    _notes(out, verdict.notes)
    _evidence(out, verdict, record)


def _headline(out: Console, verdict: Verdict, record: words.Record) -> None:
    word = verdict.verdict
    indent = len(word) + 3
    write(out, (word, STYLES[word]), "   ", words.subject(verdict, max(24, out.width - indent - 3)))
    for line in words.packed(words.context(verdict, record), out.width - indent):
        write(out, (line, "dim"), indent=indent)
    out.print()


def _standing(out: Console, verdict: Verdict) -> None:
    write(out, (words.standing(verdict), "bold"))
    for sentence in (*words.evidence(verdict), words.lemmas(verdict)):
        if sentence:
            write(out, sentence, indent=4)
    for sentence in (words.further(verdict), words.scope(verdict)):
        if sentence:
            write(out, sentence)
    out.print()


def _blocker(out: Console, verdict: Verdict, blocker: Blocker) -> None:
    write(out, f"{words.blocker_lead(verdict)} ", (words.place(blocker), "bold"))
    if blocker.source:
        _, number = split_location(blocker.location)
        line = words.clean(blocker.source.strip())
        out.print(Text(f"    {number or ''} | {line}", overflow="ellipsis", no_wrap=True))
    write(out, words.stopped(blocker.reason), indent=4)
    more = len(verdict.blockers) - 1
    if more:
        write(out, (f"and at {counted(more, 'further place')}: see --report FILE or --json", "dim"), indent=4)
    out.print()


def _blocks(out: Console, rows: Sequence[words.Row]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    for title in ("block", "shape", "alone it is"):
        table.add_column(title, overflow="fold")
    for row in rows[:SHOWN_BLOCKS]:
        modulus = f" (modulus {round_down(float(row.modulus))})" if row.modulus else ""
        table.add_row(Text(row.name), Text(shape_text(row.shape)), Text.assemble((row.word, STYLES[row.word]), modulus))
    out.print(table)
    if len(rows) > SHOWN_BLOCKS:
        hidden = len(rows) - SHOWN_BLOCKS
        out.print(Text(f"... {hidden} more; all of them with --report FILE or --json.  {words.tally(rows)}.", "dim"))
    out.print()


def _freeze(out: Console, verdict: Verdict) -> None:
    sets = verdict.freeze
    if not sets:
        return
    write(out, f"Freeze {'this' if len(sets) == 1 else 'one of these'}, and the rest is convex:")
    for names in sets[:SHOWN_SETS]:
        size = words.freeze_size(verdict, names)
        count = f"   ({counted(size, 'parameter')})" if size is not None else ""
        write(out, words.listed(names, max(24, out.width - 30)), (count, "dim"), indent=4)
    if len(sets) > SHOWN_SETS:
        write(out, (f"... {counted(len(sets) - SHOWN_SETS, 'more set')} with --json", "dim"), indent=4)
    out.print()


def _notes(out: Console, notes: Sequence[str]) -> None:
    for note in dict.fromkeys(notes):
        write(out, f"Note: {words.clean(note)}")
    if notes:
        out.print()


def _evidence(out: Console, verdict: Verdict, record: words.Record) -> None:
    if record.certificate:
        path = words.clean(record.certificate)
        write(out, f"Evidence: {path}   (check it again: epigraph verify {path})")
    elif words.evidence_file(verdict) is not None:
        write(out, ("Evidence: --certificate FILE keeps it, epigraph verify FILE checks it again.", "dim"))
    if record.report:
        write(out, f"Report: {words.clean(record.report)}")
    for line in words.packed(words.effort_words(verdict.effort), out.width):
        write(out, (line, "dim"))


def show_region(out: Console, found: RegionVerdict) -> None:
    """Print what is known around a point."""
    out.print()
    word = {"convex": "convex", "nonconvex": "nonconvex"}.get(found.verdict, "undecided")
    write(out, "Around the point: ", (region_title(found), STYLES[word]))
    for line in region_lines(found):
        write(out, line, indent=4)


def show_verification(out: Console, path: str, result: Mapping[str, Any], ok: bool, statement: str) -> None:
    """Print what a certificate file was found to prove."""
    head = ("verified", STYLES["convex"]) if ok else ("not verified", STYLES["nonconvex"])
    write(out, head, "   ", words.clean(path))
    write(out, words.stopped(statement), indent=4)
    facts = []
    if result.get("arithmetic"):
        facts.append(words.arithmetic(result["arithmetic"], int(result.get("precision_bits") or 0)))
    facts += [f"{result['seconds']:.2f} s"] if isinstance(result.get("seconds"), float) else []
    write(out, (" · ".join(facts), "dim"), indent=4)


def show_zoo(out: Console, entries: Sequence[Mapping[str, Any]], checked: bool) -> None:
    """Print the zoo as a table: name, title, known verdict, and what the check said."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    for title in ("name", "title", "known", *(["found"] if checked else [])):
        table.add_column(title, overflow="fold")
    for entry in entries:
        cells = [Text(entry["name"]), Text(entry["title"]), Text(entry["known"]["verdict"])]
        if checked:
            wrong = entry["agrees"] is False
            text = entry["verdict"] + (", contradicts what is known" if wrong else "")
            cells.append(Text(text, STYLES["nonconvex"] if wrong else ""))
        table.add_row(*cells)
    out.print(table)
    if checked:
        found = Counter(entry["agrees"] for entry in entries)
        write(out, f"{found[True]} as known, {found[None]} undecided, {found[False]} that contradict what is known.")
    else:
        write(out, ("epigraph zoo NAME tells more of one, epigraph check zoo:NAME analyses it.", "dim"))


def show_entry(out: Console, entry: Mapping[str, Any]) -> None:
    """Print one entry of the zoo: what is claimed, what is known, and where it is from."""
    write(out, (entry["name"], "bold"), "   ", entry["title"])
    known = entry["known"]
    facts = [known["verdict"]]
    facts += [f"{adjective} {known[name]}" for name, adjective in words.ADJECTIVES.items() if name in known]
    facts += [f"in {name} alone {word}" for name, word in known.get("blocks", {}).items()]
    for title, text in (
        ("Claim", entry["claim"]),
        ("Known", "; ".join(facts)),
        ("Reference", entry["reference"]),
        ("Note", entry["notes"]),
    ):
        if text:
            write(out, f"{title}: {text}", indent=4)
    write(out, (f"epigraph check zoo:{entry['name']}", "dim"), indent=4)


@contextmanager
def progress_line() -> Iterator[Any]:
    """A callable that shows what is being done in one passing line of stderr; silent where that is no terminal."""
    if not sys.stderr.isatty():
        yield lambda *parts: None
        return
    with console(sys.stderr).status(Text("starting")) as status:
        yield lambda *parts: status.update(Text(words.clean(" ".join(str(part) for part in parts))))
