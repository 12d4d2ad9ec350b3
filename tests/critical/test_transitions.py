"""Transition states and the minima they connect, against closed forms; kept in an atlas."""

from __future__ import annotations

import sqlite3
from itertools import combinations

import pytest
import torch
from landscapes import neuron, roots, scalar_product, tilted_wells, triple_product, xor

import epigraph
from epigraph import Atlas, AtlasError
from epigraph.critical import resume, tables


def links(found):
    """The pairs of minima by value, with the value of the saddle."""
    value = [p.value for p in found.points]
    return sorted(
        (round(value[a], 8), round(value[b], 8), round(value[t.saddle], 8))
        for t in found.transitions
        for a, b in [t.ends]
    )


XOR = [(0.48024414, 0.51219512, 0.5184876), (0.51219512, 0.52266523, 0.55362584)]


# closed forms --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("tilt", [0.05, 0.2, 0.38])
def test_two_wells(tilt):
    low, middle, high = (x**4 / 4 - x**2 / 2 + tilt * x for x in roots(tilt))
    found = epigraph.minima(tilted_wells(tilt, 1), 30, saddles=False, transitions=True)
    (transition,) = found.transitions  # the saddle is found from the minima alone
    record = transition.to_dict(found.points)
    assert record["ends"] == [0, 1] and not record["loop"]
    assert record["barriers"] == pytest.approx([middle - low, middle - high], abs=1e-14)
    assert transition.x[:, 0].tolist() == pytest.approx([roots(tilt)[1], roots(tilt)[0], roots(tilt)[2]], abs=1e-9)


@pytest.mark.parametrize("decay", [0.1, 0.5])
def test_the_cost_of_a_sign_flip_is_a_loop(decay):
    found = epigraph.minima(scalar_product(decay), 40, transitions=True)
    (transition,) = found.transitions
    assert transition.loop and transition.ends == (0, 0)
    assert transition.to_dict(found.points)["barriers"] == pytest.approx([(1 - decay) ** 2 / 2] * 2, abs=1e-13)
    assert torch.allclose(transition.x[1], -transition.x[2], atol=1e-9)


def test_along_a_valley_of_minima():
    found = epigraph.minima(scalar_product(0.0), 40, transitions=True)
    assert links(found) == [(0.0, 0.0, 0.5)] and found.transitions[0].loop


def test_the_edges_of_a_square():
    """One logistic unit with inputs c eⱼ: minima are the corners of a hypercube, saddles of index 1 its edges."""
    found = epigraph.minima(neuron((1.0, 100.0), 2), 400, transitions=True)
    corner = [tuple(p.point["w"].gt(0.1).tolist()) for p in found.points]
    ends = {frozenset(corner[e] for e in t.ends) for t in found.transitions}
    square = [(False, False), (False, True), (True, False), (True, True)]
    edges = {frozenset(p) for p in combinations(square, 2) if sum(a != b for a, b in zip(*p, strict=True)) == 1}
    assert len(found.transitions) == 4 and ends == edges


def test_xor():
    found = epigraph.minima(xor(2), 80, transitions=True, certify=True)
    assert links(found) == XOR
    assert found.completeness.satisfied is True and {p.evidence for p in found.points} == {"certified"}
    assert sum(p.found for p in found.points) == found.ends["critical"]


def test_saddles_of_xor_with_signs_that_random_starts_miss():
    """R18: 20 classes of index 1, of which few starts find some; bands between the minima find the others."""
    more = epigraph.minima(xor(2, True), 40, transitions=True)
    late = [p for p in more.points if p.index == 1 and p.sources.keys() <= {"band", "uphill"}]
    assert late and sum(p.index == 1 for p in more.points) <= 20
    assert all(more.points[e].kind == "minimum" for t in more.transitions for e in t.ends if e is not None)


def test_a_degenerate_saddle_is_no_transition():
    found = epigraph.minima(triple_product(), 16, transitions=True)
    assert all(found.points[t.saddle].index == 1 and found.points[t.saddle].family == 1 for t in found.transitions)


def test_a_side_that_leads_to_infinity():
    """x³ - 3x falls for ever to the left of its maximum."""
    J = epigraph.Objective.from_function(
        lambda w: w[0] ** 3 - 3 * w[0] + w[1] ** 2, {"w": torch.zeros(2, dtype=torch.float64)}
    )
    found = epigraph.minima(J, 30, transitions=True)
    (transition,) = found.transitions
    assert (
        transition.ends == (0, None)
        and transition.words[1].startswith("outward")
        and bool(transition.x[2].isnan().all())
    )
    assert any("leads to no critical point" in note for note in found.notes)


@pytest.mark.parametrize(("scale", "level"), [(1e-8, 0.0), (1e-12, 0.0), (1.0, 1e8)])
def test_slopes_too_small_beside_j_join_nothing(scale, level):
    """The four corners of (w^2 - 1)^2: a path that rests at its saddle must not say that this leads to itself."""
    J = epigraph.Objective.from_function(
        lambda w: level + scale * ((w**2 - 1) ** 2).sum(), {"w": torch.zeros(2, dtype=torch.float64)}
    )
    found = epigraph.minima(J, 40, transitions=True)
    assert found.transitions
    for t in found.transitions:
        assert all(e is None or found.points[e].kind == "minimum" for e in t.ends)
        assert all(e is not None or word for e, word in zip(t.ends, t.words, strict=True))


# kept ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def file(tmp_path):
    return tmp_path / "points.atlas"


def test_the_atlas_gives_back_what_was_found(file):
    kept = epigraph.minima(xor(2), 48, transitions=True, atlas=file)
    (read,) = Atlas(file).catalogues()
    assert links(kept) == XOR and read.to_dict() == kept.to_dict()
    again = epigraph.minima(xor(2), 48, transitions=True, atlas=file)
    assert again.to_dict() == kept.to_dict()
    assert [len(b.leaves) for b in read.disconnectivity(copies=True)] == [17]  # from the file alone
    assert sum(p.found for p in kept.points) == kept.ends["critical"]


def test_transitions_of_points_that_were_found_before(file):
    first = epigraph.minima(scalar_product(0.1), 20, atlas=file)
    later = epigraph.minima(scalar_product(0.1), 20, transitions=True, atlas=file)
    assert first.transitions == () and links(later) == [(0.095, 0.095, 0.5)]


@pytest.mark.parametrize("broken", ["_linked", "_remember"])
def test_interrupted(file, monkeypatch, broken):
    """Whatever stops a transaction leaves the file as it was before it; the next call goes on."""
    before = epigraph.minima(scalar_product(0.1), 40, atlas=file)
    real = getattr(resume, broken)

    def stopped(*arguments):
        real(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(resume, broken, stopped)
    with pytest.raises(KeyboardInterrupt):
        epigraph.minima(scalar_product(0.1), 40, atlas=file, transitions=True)
    (kept,) = Atlas(file).catalogues()
    assert kept.transitions == () and [p.value for p in kept.points] == [p.value for p in before.points]
    if broken == "_remember":
        assert kept.to_dict() == before.to_dict()
    monkeypatch.setattr(resume, broken, real)
    after = epigraph.minima(scalar_product(0.1), 40, atlas=file, transitions=True)
    assert len(after.transitions) == 1 and sum(p.found for p in after.points) == after.ends["critical"]


def old(file):
    """A file as the first version wrote it."""
    connection = sqlite3.connect(file)
    connection.executescript((tables.Path(__file__).parent / "version1.sql").read_text())
    connection.close()


def test_an_old_file_is_migrated(file):
    old(file)
    (kept,) = Atlas(file).catalogues()
    assert [(p.kind, round(p.value, 12), p.found) for p in kept.points] == [("minimum", 0.095, 31), ("saddle", 0.5, 31)]
    assert kept.points[0].sources == {"mixed": 29, "saddle": 2} and kept.transitions == ()
    connection = sqlite3.connect(file)
    assert connection.execute("SELECT version FROM epigraph_atlas").fetchall() == [(tables.VERSION,)]
    connection.close()
    after = epigraph.minima(
        scalar_product(0.1), 30, atlas=file, transitions=True
    )  # the run of version 1 is not made again
    assert after.effort["starts"] == 30 and links(after) == [(0.095, 0.095, 0.5)]


def test_a_migration_that_fails_changes_nothing(file, monkeypatch):
    old(file)
    before = file.read_bytes()

    def fails(connection):
        tables._to_second(connection)
        raise tables.exc.OperationalError("", {}, Exception("disk I/O error"))

    monkeypatch.setitem(tables.MIGRATIONS, 1, fails)
    with pytest.raises(AtlasError, match="E50"):
        Atlas(file)
    monkeypatch.undo()
    assert len(Atlas(file).catalogues()[0].points) == 2 and before


def test_migrated_tables_are_the_new_ones(tmp_path):
    """What the migration makes has the columns of a file that is made anew."""
    columns = []
    for name, make in (("old", old), ("new", lambda f: Atlas(f, create=True))):
        make(tmp_path / name)
        Atlas(tmp_path / name)
        connection = sqlite3.connect(tmp_path / name)
        names = [r[0] for r in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        columns.append({n: sorted(c[1:4] for c in connection.execute(f"PRAGMA table_info({n})")) for n in names})
        connection.close()
    assert columns[0] == columns[1] and "transitions" in columns[0]
