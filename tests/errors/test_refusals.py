"""Every refusal is one paragraph with a code and something to try, and leaves the user's objects as they were."""

from __future__ import annotations

import re

import pytest
from refusals import CASES, Refusal

from epigraph.errors import EpigraphError


def test_the_table_is_large_enough():
    names = [case.name for case in CASES]
    assert len(names) >= 80 and len(set(names)) == len(names)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_refusal(case: Refusal, unchanged, capfd):
    things, call = case.make()
    with unchanged(*things), pytest.raises(EpigraphError) as caught:
        call()
    error, text = caught.value, str(caught.value)
    assert error.code == case.code, text
    assert error.exit_code == case.exit_code
    assert all(word in text for word in case.words), text
    assert error.hint, "it says what to try"
    _one_paragraph(text)
    printed = capfd.readouterr()
    assert printed.out == "" and printed.err == ""


def _one_paragraph(text: str) -> None:
    lines = text.splitlines()
    assert re.match(r"E\d{3} \S", lines[0])
    assert all(line.startswith("     ") and line.strip() for line in lines[1:])
    assert len(lines) <= 3 and max(map(len, lines)) < 700
    assert "Traceback" not in text and "object at 0x" not in text
