"""The table itself, without the package: Jensen's inequality agrees with every row at sampled points."""

from __future__ import annotations

import warnings

import pytest
from case import Case
from jensen import largest_violation
from table import FAMILIES, TABLE

PROPERTIES = ("convex", "concave", "quasiconvex", "quasiconcave", "log_concave", "log_convex")


def test_the_table_is_large_and_every_row_has_a_reason() -> None:
    assert len(TABLE) >= 130
    assert len({case.name for case in TABLE}) == len(TABLE)
    assert all(case.why and case.expected in ("affine", "convex", "concave", "nonconvex") for case in TABLE)


@pytest.mark.parametrize("family", FAMILIES)
def test_jensens_inequality_agrees(family: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrong = [line for case in FAMILIES[family] for line in disagreements(case)]
    assert not wrong, "\n".join(wrong)


def disagreements(case: Case) -> list[str]:
    """Properties that the table claims and a sampled triple violates by more than rounding, or the other way round."""
    found = []
    for name in PROPERTIES:
        known = case.truth(name)
        if known is None:
            continue
        worst = largest_violation(case, name, 60 if known else 4000, enough=1e-6)
        if (worst < 1e-8) is not known:
            found.append(f"{case.name}: {name} is said to be {known}, the largest relative violation is {worst:.2e}")
    return found
