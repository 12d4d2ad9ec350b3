"""The committed page of operators is what the registry says for the version of PyTorch that it names."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

PATH = Path(__file__).resolve().parents[2] / "docs" / "tables" / "operators.py"
SPEC = importlib.util.spec_from_file_location("operators_page", PATH)
assert SPEC is not None and SPEC.loader is not None
operators = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(operators)


def test_the_page_is_current():
    text = operators.PAGE.read_text(encoding="utf-8")
    found = operators.VERSION.search(text)
    assert found is not None
    if found.group(1) != ".".join(torch.__version__.split(".")[:2]):
        pytest.skip(f"the page is for PyTorch {found.group(1)}")
    assert text == operators.page(), "python docs/tables/operators.py makes it anew"


def test_every_core_operator_has_a_state():
    rows = operators.core()
    assert len(rows) > 150
    assert sum(state == "lowered" for _, state, _ in rows) > 0.8 * len(rows)
    assert all(why for _, state, why in rows if state != "lowered")
    states = dict((name, state) for name, state, _ in rows)
    assert states["randn.default"] == "refused"
    assert states["grid_sampler_2d.default"] == "opaque"
    assert states["mm.default"] == "lowered"
