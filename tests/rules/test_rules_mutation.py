"""A few wrong rules are noticed; `make mutate` tries all.  The runner itself notices when no test looks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


def mutate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(HERE / "mutate.py"), "--jobs", "1", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, cwd=HERE.parent.parent)


def test_a_sample_of_wrong_rules_is_noticed():
    done = mutate("--only", "lattice", "--tests", "compose", "--text", "inner &", "--sample", "6", "--seed", "3")
    assert done.returncode == 0 and "6 of 6 killed" in done.stdout, done.stdout + done.stderr


@pytest.mark.soak
def test_a_wrong_rule_that_no_test_looks_at_survives():
    done = mutate("--only", "waves", "--tests", "compose", "--sample", "2", "--seed", "1")
    assert done.returncode == 1 and "0 of 2 killed" in done.stdout, done.stdout + done.stderr
