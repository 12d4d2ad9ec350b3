"""Models without dense Hessians in an atlas: what is kept, merged, gone on with; and saddles from starts with a symmetry."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import epigraph
from epigraph import Objective
from epigraph.cli import app
from epigraph.critical.starts import flatten, unflatten
from epigraph.hessian.dense import Dense


@pytest.fixture(autouse=True)
def large(monkeypatch):
    monkeypatch.setattr("epigraph.critical.search.DENSE", 10)


def classifier(units: int = 5) -> Objective:
    g = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, units), nn.Tanh(), nn.Linear(units, 3)).double()
    x = torch.randn(30, 3, generator=g, dtype=torch.float64)
    return Objective(net, nn.CrossEntropyLoss(), x, torch.arange(30) % 3, weight_decay=1e-2)


def rows(found):
    return [(p.kind.value, round(p.value, 10), p.index, p.orbit, p.found) for p in found.points]


def test_an_atlas_goes_on_where_it_was_interrupted(tmp_path):
    J, path = classifier(), tmp_path / "large.atlas"

    def stop(*words):
        if "start 4" in " ".join(map(str, words)):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        epigraph.minima(J, 6, atlas=path, progress=stop)
    (kept,) = epigraph.Atlas(path).catalogues()
    assert kept.effort["starts"] == 3 and sum(kept.ends.values()) == 3 and kept.points
    assert sum(p.found for p in kept.points) == kept.ends["critical"]
    whole = epigraph.minima(J, 6, atlas=path)
    apart = epigraph.minima(J, 6)
    assert rows(whole) == rows(apart) and whole.ends == apart.ends
    assert whole.completeness.morse_sum is None and not whole.completeness.applies
    assert any("J is large" in n for n in whole.notes)
    for p, q in zip(whole.points, apart.points, strict=True):
        assert torch.equal(p.spectrum, q.spectrum) and len(p.spectrum) < J.size and p.evidence == q.evidence
        assert all(torch.equal(p.point[k], q.point[k]) for k in p.point)
    assert rows(epigraph.minima(J, 6, atlas=path)) == rows(whole)  # nothing is done twice


def test_copies_are_one_row(tmp_path):
    """A minimum, and the same one with its units in another order and with other signs, at different times."""
    J, path = classifier(), tmp_path / "copies.atlas"
    (first, *_) = [p for p in epigraph.minima(J, 3, saddles=False).points if p.kind == "minimum"]
    order, sign = torch.tensor([3, 0, 4, 1, 2]), torch.tensor([1.0, -1, 1, -1, -1], dtype=torch.float64)
    w, b, v, c = first.point.values()
    moved = (w[order] * sign[:, None], b[order] * sign, v[:, order] * sign, c)
    copy = dict(zip(first.point, moved, strict=True))
    epigraph.minima(J, 1, saddles=False, at=[first.point], atlas=path)
    found = epigraph.minima(J, 1, saddles=False, at=[copy], atlas=path, seed=7)
    assert len(found.points) == 1 and found.points[0].found == 2 and found.effort["runs"] == 2


def test_the_commands_read_such_rows(tmp_path):
    path, out = tmp_path / "large.atlas", tmp_path / "points.json"
    epigraph.minima(classifier(), 3, atlas=path)
    run = CliRunner().invoke
    listed = json.loads(run(app, ["atlas", "list", str(path), "--json"]).stdout)
    assert listed["objectives"][0]["points"]
    shown = run(app, ["atlas", "show", str(path)])
    assert shown.exit_code == 0 and "J is large" in shown.stdout.replace("\n", " ")
    assert run(app, ["atlas", "export", str(path), "--out", str(out)]).exit_code == 0
    for p in json.loads(out.read_text())["points"]:
        assert 2 <= len(p["spectrum"]) < 38 and p["evidence"] in ("tested", "undecided")


def test_starts_with_a_symmetry_lead_to_saddles():
    """Each point that is called a saddle has a negative eigenvalue in its dense Hessian, each minimum has none."""
    J = classifier()
    dense = Dense(J.graph())
    found = epigraph.minima(J, 12)
    assert any(p.kind == "saddle" and "smaller" in p.sources for p in found.points)
    for p in found.points:
        w = torch.linalg.eigvalsh(dense.of(flatten(dense, p.point)[None]).hessian)[0]
        negative = int((w < -p.margin).sum())
        assert p.gradient_norm <= 1e-10
        assert p.index <= negative and (p.index == negative or "at least" in p.reason or p.kind == "undecided")
        assert (p.kind == "minimum") <= (negative == 0)


def test_points_stay_among_the_fixed_points(monkeypatch):
    from epigraph.critical.large import LargeExplorer

    explorer = LargeExplorer(classifier(), True, False, 3, lambda *words: None)
    begun, flip = next((b, f) for b, f in map(explorer._numbered, range(2, 30, 3)) if f is not None)
    end = explorer._from(begun.x[0], flip)
    assert end.critical and float((flip(end.x) - end.x).abs().max()) <= 1e-9
    whole = unflatten(explorer.dense, end.x)
    assert all(v.isfinite().all() for v in whole.values())
