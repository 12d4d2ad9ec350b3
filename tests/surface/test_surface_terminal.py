"""The first screen, as a terminal of 80 columns without colour shows it."""

from __future__ import annotations

import io

import pytest

from epigraph.report.terminal import console, show_entry, show_verdict, show_verification, show_zoo
from epigraph.report.words import Record


def screen(verdict, record: Record | None = None, width: int = 80, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    out = console(io.TextIOWrapper(raw, encoding=encoding, write_through=True))
    out.width = width
    show_verdict(out, verdict, record)
    return raw.getvalue().decode(encoding)


CASES = ("digits", "proved", "hostile", "large")


@pytest.mark.parametrize("width", [40, 80, 132])
@pytest.mark.parametrize("case", CASES)
def test_no_line_is_wider_than_the_terminal(made, case: str, width: int) -> None:
    shown = screen(getattr(made, case)(), width=width)
    assert max(map(len, shown.splitlines())) <= width
    assert "\x1b" not in shown


def test_first_line_is_the_verdict(made) -> None:
    shown = screen(made.digits())
    assert shown.splitlines()[0] == "nonconvex   J(fc1.weight, fc1.bias, fc2.weight, fc2.bias)"
    assert shown.splitlines()[1].strip().startswith("digits.py:objective · eval mode · cross_entropy")


def test_a_person_finds_reason_gap_blocks_and_freeze_in_this_order(made) -> None:
    shown = " ".join(screen(made.digits()).split())
    landmarks = [
        "Convexity is lost at digits.py:15 in fc2",
        "15 | return self.fc2(hidden)",
        "both operands depend on parameters",
        "Neither convex nor concave",
        "at least 0.4 (relative 0.4)",
        "at least 0.5 (relative 0.33)",
        "fc2.weight 10 × 16 convex",
        "Freeze this, and the rest is convex: fc1.weight, fc1.bias (1,040 parameters)",
        "Note: The data were taken",
        "--certificate FILE",
        "effort normal · seed 0 · 1.23 s",
    ]
    found = [shown.find(landmark) for landmark in landmarks]
    assert -1 not in found, landmarks[found.index(-1)]
    assert found == sorted(found)


def test_a_long_table_is_folded_and_says_so(made) -> None:
    shown = screen(made.large())
    assert shown.count("256 × 256") == 12
    assert "138 more; all of them with --report FILE or --json" in shown
    assert "150 blocks: 38 affine," in shown
    assert "and at 39 further places" in shown
    assert "8 more sets" in shown


def test_the_verdict_fits_one_screen_when_there_are_many_blocks(made) -> None:
    assert len(screen(made.large()).partition("Note:")[0].splitlines()) <= 45


def test_evidence_names_the_files_written(made) -> None:
    shown = screen(made.digits(), Record(certificate="x.epi", report="r.html"))
    assert "Evidence: x.epi   (check it again: epigraph verify x.epi)" in shown
    assert "Report: r.html" in shown


def test_undecided_promises_nothing(made) -> None:
    shown = screen(made.verdict(convex="undecided", concave="undecided", quasiconcave="undecided"))
    assert "says nothing about J itself" in " ".join(shown.split())
    assert "Evidence" not in shown
    assert "not convex" not in shown.lower()


def test_proof_is_summed_up(made) -> None:
    shown = " ".join(screen(made.proved()).split())
    assert "Proved convex by a derivation of 9 steps; strongly convex with modulus at least 0.001." in shown
    assert "It rests on: leaf; a sum of convex functions is convex." in shown


def test_plain_ascii_where_the_terminal_has_nothing_else(made) -> None:
    shown = screen(made.digits(), encoding="ascii")
    assert "10 x 16" in shown
    assert "?" not in shown


def test_markup_in_names_is_text(made) -> None:
    shown = screen(made.verdict({"[red]w[/red] :smile:": (1,)}))
    assert shown.startswith("nonconvex   J([red]w[/red] :smile:)")


def test_colour_only_when_asked_for(made, monkeypatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" in screen(made.digits())
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in screen(made.digits())  # no colours; bold may stay


def test_verification_and_zoo(made) -> None:
    raw = io.StringIO()
    out = console(raw)
    facts = {"gap": "0.123456789", "arithmetic": "exact", "precision_bits": 0, "seconds": 0.5}
    show_verification(out, "x.epi", facts, True, "J is not convex")
    known = {"verdict": "convex", "concave": "refuted", "blocks": {"w": "affine"}}
    entry = {
        "name": "logistic",
        "title": "logistic regression",
        "claim": "so it is convex",
        "known": known,
        "reference": "somewhere",
        "notes": "",
        "verdict": "nonconvex",
        "agrees": False,
    }
    show_entry(out, entry)
    out.width = 132
    show_zoo(out, [entry, {**entry, "verdict": "undecided", "agrees": None}], True)
    shown = raw.getvalue()
    assert shown.startswith("verified   x.epi\n    J is not convex.\n    exact arithmetic · 0.50 s\n")
    assert "Claim: so it is convex" in shown
    assert "Known: convex; concave refuted; in w alone affine" in shown
    assert shown.count("nonconvex, contradicts") == 1
