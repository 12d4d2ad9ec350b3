"""``epigraph zoo``: the objectives of the discussion, and whether the verdicts agree with what is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from epigraph.cli.frame import outcome, print_json, say, stdout_to_stderr
from epigraph.cli.options import AsJson, Effort, EffortOption, Name

if TYPE_CHECKING:
    from epigraph.convexity.verdict import Verdict


def zoo(
    name: Name = None,
    as_json: AsJson = False,
    run: Annotated[bool, typer.Option("--check", help="Check each and compare with what is known.")] = False,
    effort: EffortOption = Effort.normal,
) -> None:
    """The objectives of the well-known question and its answers, with what is known of each."""
    with outcome():
        from epigraph.report.terminal import console, progress_line, show_entry, show_zoo

        with stdout_to_stderr(), progress_line() as progress:
            from epigraph import zoo as shelf

            entries = [shelf.get(name)] if name else list(shelf.ENTRIES.values())
            records = [_checked(entry, effort, progress) if run else _recorded(entry) for entry in entries]
        if as_json:
            print_json({"schema": "epigraph/zoo/1", "entries": records})
        elif name and not run:
            show_entry(console(), records[0])
        else:
            show_zoo(console(), records, run)
        if run and any(record["agrees"] is False for record in records):
            say("a verdict contradicts what is known")
            raise typer.Exit(1)


def _recorded(entry: Any) -> dict[str, Any]:
    return {key: getattr(entry, key) for key in ("name", "title", "claim", "known", "reference", "notes")}


def _checked(entry: Any, effort: Effort, progress: Callable[..., None]) -> dict[str, Any]:
    """The entry with the verdict found; ``agrees`` is False if it contradicts what is known, None if less."""
    import epigraph

    progress("checking", entry.name)
    try:
        verdict = epigraph.check(entry.build(), effort=effort.value)
    except Exception as error:
        say(f"{entry.name}: {type(error).__name__}: {error}")
        return {**_recorded(entry), "verdict": getattr(error, "code", type(error).__name__), "agrees": False}
    blocks = {name: block for name, block in verdict.blocks.items() if name in entry.known.get("blocks", {})}
    wrong = _contradicts(verdict, entry.known)
    wrong |= any(_contradicts(block, {"verdict": entry.known["blocks"][name]}) for name, block in blocks.items())
    agrees = False if wrong else True if verdict.verdict == entry.known["verdict"] else None
    return {**_recorded(entry), "verdict": verdict.verdict, "agrees": agrees}


def _contradicts(verdict: Verdict, known: Mapping[str, Any]) -> bool:
    """Is a property proved that is known to fail, or refuted that is known to hold?"""
    word = known["verdict"]
    facts = {"convex": word in ("affine", "convex"), "concave": word in ("affine", "concave")}
    facts |= {name: state == "proved" for name, state in known.items() if name not in ("verdict", "blocks")}
    return any(getattr(verdict, name, None) == ("refuted" if holds else "proved") for name, holds in facts.items())
