"""A full disk, a locked file, packages that are not there: an error with a code, and nothing that was reported is lost."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys

import pytest
from landscapes import scalar_product
from test_atlas import HERE, SOURCE, run

import epigraph
from epigraph import Atlas, AtlasError
from epigraph.critical import resume, tables
from epigraph.errors import UsageError
from epigraph.plot import figures


@pytest.fixture
def file(tmp_path):
    return tmp_path / "points.atlas"


def filled(file, limit=0, room=0):
    """A process that writes one objective after the other until it cannot; what it says last, and how many it has told of.

    From the second one on a ``limit`` for file sizes holds, or the disk has so much ``room`` left.
    """
    code = f"""
import os, resource, epigraph
from landscapes import scalar_product
try:
    for k in range(400):
        if k == 1 and {limit}:
            resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
        if k == 1 and {room}:
            disk = os.statvfs({str(file)!r})
            with open({str(file.with_name("filler"))!r}, "wb") as filler:
                filler.write(bytes(disk.f_bavail * disk.f_bsize - {room}))
        epigraph.minima(scalar_product(0.1 + k / 1000), 4, saddles=k == 0, transitions=True, atlas={str(file)!r})
        print("wrote", k, flush=True)
except epigraph.AtlasError as error:
    print(error)
"""
    environment = {**os.environ, "PYTHONPATH": f"{SOURCE}{os.pathsep}{HERE}", "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=environment, check=True
    )
    lines = process.stdout.splitlines()
    return "\n".join(line for line in lines if not line.startswith("wrote")), sum(x.startswith("wrote") for x in lines)


def whole(file, count):
    """Every objective that was reported is there with its minimum, and the file is sound."""
    connection = sqlite3.connect(file)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    kept = Atlas(file).catalogues()
    assert len(kept) >= count and all(len(c.minima) == 1 for c in kept[:count])
    assert kept[0].transitions[0].loop


def test_a_limit_of_file_sizes(file):
    said, count = filled(file, limit=60_000)
    assert "E505" in said and "what was reported before is kept" in said and 0 < count < 400
    whole(file, count)
    epigraph.minima(scalar_product(0.9), 4, atlas=file)
    assert len(Atlas(file).catalogues()) > count


def test_a_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("no small disk can be mounted")
    try:
        said, count = filled(disk / "points.atlas", room=45_000)
        assert "E505" in said and 0 < count < 400
        result = tmp_path / "kept.atlas"
        for end in ("", "-wal"):
            path = disk / f"points.atlas{end}"
            if path.exists():
                result.with_name(result.name + end).write_bytes(path.read_bytes())
        whole(result, count)
    finally:
        subprocess.run(["umount", disk], check=True)


def test_locked_while_transitions_are_sought(file, monkeypatch):
    before = epigraph.minima(scalar_product(0.1), 20, atlas=file)
    monkeypatch.setattr(tables, "WAIT", 0.1)
    holder = sqlite3.connect(file, isolation_level=None)
    real = resume.descended

    def locking(*arguments):
        holder.execute("BEGIN IMMEDIATE")
        return real(*arguments)

    monkeypatch.setattr(resume, "descended", locking)
    with pytest.raises(AtlasError, match="E504"):
        epigraph.minima(scalar_product(0.1), 20, atlas=file, transitions=True)
    holder.execute("ROLLBACK")
    holder.close()
    monkeypatch.setattr(resume, "descended", real)
    (kept,) = Atlas(file).catalogues()
    assert kept.transitions == () and len(kept.points) == len(before.points)
    assert len(epigraph.minima(scalar_product(0.1), 20, atlas=file, transitions=True).transitions) == 1


# tables and pictures -------------------------------------------------------------------------------------------
def test_parquet(file, tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    found = epigraph.minima(scalar_product(0.1), 20, certify=True, transitions=True, atlas=file)
    for what in ("points", "transitions"):
        run("atlas", "export", file, "--out", tmp_path / f"{what}.parquet", "--what", what)
    points, transitions = (pandas.read_parquet(tmp_path / f"{what}.parquet") for what in ("points", "transitions"))
    assert points["value"].tolist() == [p.value for p in found.points]
    assert points["point"][0].tolist() == found.points[0].point["w"].tolist()
    assert points["spectrum"][1].tolist() == found.points[1].spectrum.tolist()
    assert json.loads(points["certificate"][0])["index"] == 0 and json.loads(points["sources"][0])
    assert transitions[["saddle", "ends_low", "ends_high"]].to_numpy().tolist() == [[1, 0, 0]]


def test_parquet_of_one_side_that_leads_nowhere():
    pytest.importorskip("pandas")
    from dataclasses import replace

    found = epigraph.minima(scalar_product(0.1), 20, transitions=True)
    (t,) = found.transitions
    frame = replace(found, transitions=(replace(t, ends=(0, None)),)).transitions_frame()
    assert frame["ends_low"][0] == 0 and frame["ends_high"].isna()[0]


@pytest.mark.parametrize(("package", "code"), [("pandas", "E072"), ("matplotlib.figure", "E076"), ("networkx", "E076")])
def test_packages_that_are_not_there(file, tmp_path, monkeypatch, package, code):
    found = epigraph.minima(scalar_product(0.1), 10, transitions=True, atlas=file)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=code):
        if package == "pandas":
            found.frame()
        elif package == "networkx":
            found.disconnectivity()
        else:
            figures.disconnectivity(found)


def test_commands(file, tmp_path):
    page = tmp_path / "page.html"
    said = run("minima", "zoo:xor", "--starts", 60, "--transitions", "--atlas", file, "--report", page)
    assert "1 to 2" in said and "Transition states found" in page.read_text()
    assert "1 to 2" in run("atlas", "show", file) and "transitions" in run("atlas", "list", file)
    run("atlas", "export", file, "--out", tmp_path / "all.json")
    transitions = json.loads((tmp_path / "all.json").read_text())["transitions"]
    assert [t["ends"] for t in transitions] == [[0, 1], [1, 3]]
    run("atlas", "plot", file, "--out", tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text().count("<figure") == page.read_text().count("<figure") == 4
    run("atlas", "plot", file, "--out", tmp_path / "graph.txt", code=2)
    run("minima", "zoo:xor", "--starts", 5, "--report", tmp_path / "none" / "page.html", code=2)


def test_pictures_in_files(file, tmp_path):
    pytest.importorskip("matplotlib")
    epigraph.minima(scalar_product(0.1), 20, transitions=True, atlas=file)
    for name, begins in (("a.png", b"\x89PNG"), ("a.pdf", b"%PDF"), ("a.svg", b"<?xml")):
        run("atlas", "plot", file, "--out", tmp_path / name, "--copies")
        assert (tmp_path / name).read_bytes().startswith(begins)
    for figure in ("index", "shares"):
        run("atlas", "plot", file, "--out", tmp_path / "b.png", "--figure", figure)
