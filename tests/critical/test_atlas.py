"""The atlas: one file, resumed, shared, killed, locked, full; nothing that was reported is lost."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from landscapes import scalar_product, triple_product, xor
from typer.testing import CliRunner

import epigraph
from epigraph import Atlas, AtlasError
from epigraph.cli import app
from epigraph.critical import tables
from epigraph.critical.atlas import fingerprint

HERE = Path(__file__).parent
SOURCE = HERE.parent.parent / "src"


def plain(found):
    """What a catalogue says, without what depends on the order of the batches."""
    return [(round(p.value, 9), p.kind, p.index, p.orbit, p.evidence) for p in found.points]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "points.atlas"


# going on ------------------------------------------------------------------------------------------------------
def test_a_second_run_goes_on(file, monkeypatch):
    monkeypatch.setattr("epigraph.critical.search.BATCH", 40)
    J = scalar_product(0.1)
    epigraph.minima(J, 60, atlas=file)
    resumed = epigraph.minima(J, 100, atlas=file)
    whole = epigraph.minima(J, 100, atlas=file.with_name("whole.atlas"))
    assert plain(resumed) == plain(whole) and resumed.effort["starts"] == 100
    assert sum(p.found for p in resumed.points) == resumed.ends["critical"]
    again = epigraph.minima(J, 100, atlas=file)
    assert again.to_dict() == resumed.to_dict()  # nothing was left to do


def test_seeds_add_up(file):
    J = scalar_product(0.1)
    first = epigraph.minima(J, 30, seed=0, atlas=file)
    both = epigraph.minima(J, 30, seed=1, atlas=file)
    assert both.effort == {"starts": 60, "runs": 2, "seeds": [0, 1]}
    assert plain(first) == plain(both) and both.points[0].found > first.points[0].found


def test_objectives_do_not_mix(file):
    found = [epigraph.minima(J, 40, atlas=file) for J in (scalar_product(0.1), scalar_product(0.2), triple_product())]
    kept = Atlas(file).catalogues()
    assert [plain(c) for c in kept] == [plain(c) for c in found]
    assert len({c.objective["fingerprint"] for c in kept}) == 3


def test_fingerprints():
    assert fingerprint(scalar_product(0.1)) == fingerprint(scalar_product(0.1))
    assert fingerprint(xor(2)) == fingerprint(xor(2))  # other weights, one function
    several = [xor(2), xor(2, True), xor(2, decay=0.2), xor(3), scalar_product(0.1)]
    assert len({fingerprint(J) for J in several}) == len(several)


def test_points_come_back_as_they_were(file):
    found = epigraph.minima(scalar_product(0.1), 60, certify=True, atlas=file)
    direct = epigraph.minima(scalar_product(0.1), 60, certify=True)
    (kept,) = Atlas(file).catalogues()
    for a, b, c in zip(found.points, kept.points, direct.points, strict=True):
        assert a.to_dict() == b.to_dict()
        assert a.value == c.value and all(bool((a.point[k] == c.point[k]).all()) for k in a.point)
        assert a.certificate == c.certificate and a.evidence == "certified"


def test_a_proof_is_added_to_a_known_point(file):
    J = scalar_product(0.1)
    tested = epigraph.minima(J, 20, atlas=file)
    proved = epigraph.minima(J, 20, seed=5, certify=True, atlas=file)
    assert {p.evidence for p in tested.points} == {"tested"} and {p.evidence for p in proved.points} == {"certified"}
    assert len(proved.points) == len(tested.points) == 2


def test_families_grow_and_stay_one_row(file, monkeypatch):
    monkeypatch.setattr("epigraph.critical.search.BATCH", 30)
    found = epigraph.minima(triple_product(), 60, atlas=file)
    (family,) = [p for p in found.points if p.family > 1]
    assert family.kind == "saddle" and family.family <= family.found


# several processes ---------------------------------------------------------------------------------------------
def worker(file, seed, batches, size=20):
    environment = {**os.environ, "PYTHONPATH": f"{SOURCE}{os.pathsep}{HERE}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / "atlas_worker.py"), str(file), str(seed), str(batches), str(size)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_two_processes_write_to_one_atlas(file):
    """Both run the same seed: what one has recorded the other goes on from, and the same starts are counted once."""
    both = [worker(file, seed, 3, 8) for seed in (1, 1)]
    said = [p.communicate(timeout=120)[0].splitlines() for p in both]
    assert [p.returncode for p in both] == [0, 0]
    done = [int(line.split()[1]) for lines in said for line in lines if line.startswith("done")]
    (kept,) = Atlas(file).catalogues()
    assert len(done) == 6 and kept.effort["starts"] == max(done) and 24 <= max(done) <= 48
    assert kept.ends["critical"] == sum(p.found for p in kept.points)
    values = [round(p.value, 8) for p in kept.points]
    assert len(values) == len(set(values))


def killed(file, seed, rng, size, batches):
    """Kill -9 a worker at a random moment after so many reported batches; check the file and what it had reported."""
    process = worker(file, seed, 1000, size)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    seen = [process.stdout.readline() for _ in range(batches)]
    time.sleep(rng.random() * 0.6)
    process.send_signal(signal.SIGKILL)
    process.wait()
    seen += [line for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    process.stdout.close()
    connection = sqlite3.connect(file)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    (kept,) = Atlas(file).catalogues()
    known = [p.value for p in kept.points]
    for line in seen:
        if line.startswith("linked"):
            assert len(kept.transitions) >= int(line.split()[1])
            continue
        done, values = line.removeprefix("done ").split(" values")
        assert kept.effort["starts"] >= int(done)
        assert all(any(abs(float(v) - k) < 1e-8 for k in known) for v in values.split())
    assert sum(p.found for p in kept.points) == kept.ends.get("critical", 0)
    return len(seen)


def test_killed(file):
    rng = random.Random(0)
    assert killed(file, 7, rng, 5, 1) >= 1


@pytest.mark.soak
def test_killed_often(file):
    rng = random.Random(1)
    assert sum(killed(file, 7, rng, 5, k % 3) for k in range(200)) >= 200


# what can go wrong ---------------------------------------------------------------------------------------------
def test_a_full_disk_loses_nothing(file, monkeypatch):
    J = scalar_product(0.1)
    before = epigraph.minima(J, 20, atlas=file)
    real = tables._prepare

    def small(connection, record):
        real(connection, record)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages}")

    monkeypatch.setattr(tables, "_prepare", small)
    with pytest.raises(AtlasError, match="E505"):
        for seed in range(1, 400):
            other = scalar_product(0.1 + seed / 1000)
            epigraph.minima(other, 1, saddles=False, atlas=file)
    monkeypatch.setattr(tables, "_prepare", real)
    assert Atlas(file).catalogues()[0].to_dict() == before.to_dict()


def test_a_locked_file_is_said(file, monkeypatch):
    epigraph.minima(scalar_product(0.1), 5, atlas=file)
    monkeypatch.setattr(tables, "WAIT", 0.1)
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(AtlasError, match="E504"):
        epigraph.minima(scalar_product(0.1), 10, atlas=file)
    holder.execute("ROLLBACK")
    holder.close()
    assert epigraph.minima(scalar_product(0.1), 10, atlas=file).effort["starts"] == 10


def test_other_files_are_refused(file, tmp_path):
    with pytest.raises(AtlasError, match="E501"):
        Atlas(tmp_path / "none")
    text = tmp_path / "text.py"
    text.write_text("x = 1\n" * 500)
    with pytest.raises(AtlasError, match="E502"):
        Atlas(text, create=True)
    assert text.read_text() == "x = 1\n" * 500
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(AtlasError, match="E502"):
        Atlas(tmp_path / "other.db", create=True)


def test_a_newer_version_is_refused(file):
    epigraph.minima(scalar_product(0.1), 5, atlas=file)
    connection = sqlite3.connect(file)
    connection.execute("UPDATE epigraph_atlas SET version = 99")
    connection.commit()
    connection.close()
    with pytest.raises(AtlasError, match="E503"):
        Atlas(file)


# the command line ----------------------------------------------------------------------------------------------
def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result.stdout


def test_commands(file, tmp_path):
    out = json.loads(run("minima", "zoo:xor", "--starts", 60, "--certify", "--atlas", file, "--json"))
    assert out["schema"] == "epigraph/minima/1" and out["proved_values"] == 3
    assert "proved to differ" in run("atlas", "show", file)
    listed = json.loads(run("atlas", "list", file, "--json"))
    assert [len(c["points"]) for c in listed["objectives"]] == [len(out["points"])]
    run("atlas", "export", file, "--out", tmp_path / "points.json")
    assert json.loads((tmp_path / "points.json").read_text())["points"] == out["points"]
    run("atlas", "export", file, "--out", tmp_path / "points.txt", code=2)
    run("atlas", "show", file, "--objective", "zzz", code=2)
    run("atlas", "list", tmp_path / "none", code=3)
    assert "local minim" in run("minima", "--expr", "(x**2-1)**2", "--starts", 20)
    run("minima", "zoo:xor", "--starts", 0, code=2)
