"""Where CVXPY's rules prove convexity, ours do; neither contradicts the other.  `make soak` has the long run."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("cvxpy.atoms")

import dcp_compare

TRIVIAL = re.compile(r"kl_div\((.+), \1\)")  # x log(x/x), which is zero: that x/x is 1 is not read


def judge(table: dcp_compare.Table) -> None:
    assert not table.contradictions, "\n".join(table.contradictions)
    assert not table.refused, "\n".join(table.refused)
    missing = [text for text in table.missing if "quasi" not in text.split()[0] and not TRIVIAL.search(text)]
    assert not missing, "\n".join(missing)


def test_what_cvxpy_proves_is_proved():
    table = dcp_compare.compare(40, seed=1)
    judge(table)
    assert table.counts["convex", "both"] >= 10 and table.counts["concave", "both"] >= 3
