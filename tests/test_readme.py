"""What the README shows and promises exists: the quoted line of the example, the targets of make, the linked pages."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHOWN = README.partition("<!-- demo:begin")[2].partition("<!-- demo:end")[0]


def test_the_verdict_shown_quotes_the_example_as_it_is():
    name, line = re.findall(r"Convexity is lost at (\S+):(\d+)", SHOWN)[0]
    source = (ROOT / name).read_text(encoding="utf-8").splitlines()[int(line) - 1].strip()
    assert f"{line} | {source}" in SHOWN


def test_the_commands_shown_are_those_of_make_demo():
    demo = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "TARGET ?= examples/digits_mlp.py:objective" in demo
    for command in re.findall(r"^\$ epigraph (.*)$", SHOWN, flags=re.MULTILINE):
        assert command.replace("examples/digits_mlp.py:objective", "$(TARGET)") in demo


def test_targets_of_make_exist():
    text = README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+)\b", text)) - {"it"}
    assert named and named <= targets


def test_linked_pages_exist():
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text(encoding="utf-8")):
            assert (path.parent / link).exists(), f"{path.relative_to(ROOT)} links to {link}"


def test_objectives_named_are_in_the_zoo():
    import epigraph

    text = "".join(path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
    named = set(re.findall(r"zoo:([a-z0-9-]+)", text))
    assert len(named) > 20 and named <= set(epigraph.zoo.names())


def test_the_last_lines_say_how_to_run_the_tests():
    assert "make test" in README.splitlines()[-2]
