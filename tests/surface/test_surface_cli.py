"""The command line: what goes where, and with which exit code.  The analysis behind it is replaced."""

from __future__ import annotations

import html
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import epigraph
from epigraph.cli import main
from epigraph.errors import CertificateError, TargetError

SOURCE = Path(epigraph.__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SOURCE)}


class Run:
    """Runs the command line in this process, with a verdict that the test chooses."""

    def __init__(self, capfd, monkeypatch, made):
        self.capfd, self.calls, self.verdict, self.noise, self.error = capfd, [], made.digits(), "", None
        self.monkeypatch, self.saved = monkeypatch, []
        monkeypatch.setitem(vars(epigraph), "check", self._check)
        self.module("epigraph.objective.target", load=self._load)
        self.module("epigraph.certificate.format", write=lambda path, payload: Path(path).write_text(str(payload)))

    def module(self, name: str, **members) -> None:
        """Put a stand-in where the program imports a module from."""
        stand_in = ModuleType(name)
        vars(stand_in).update(members)
        self.monkeypatch.setitem(sys.modules, name, stand_in)
        parent, _, last = name.rpartition(".")
        __import__(parent)
        self.monkeypatch.setattr(sys.modules[parent], last, stand_in, raising=False)

    def _load(self, target, expr, where):
        self.calls.append(("load", target, expr, where))
        if self.noise:
            print(self.noise)
            os.write(1, self.noise.encode())
        if isinstance(self.error, TargetError):
            raise self.error
        return "J"

    def _check(self, J, blocks=None, effort="normal", seed=0, progress=None):
        self.calls.append(("check", J, blocks, effort, seed))
        if progress:
            progress("searching", 3)
        if self.error:
            raise self.error
        return self.verdict

    def __call__(self, *arguments) -> SimpleNamespace:
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        out, err = self.capfd.readouterr()
        return SimpleNamespace(code=ended.value.code or 0, out=out, err=err)


@pytest.fixture
def run(capfd, monkeypatch, made) -> Run:
    return Run(capfd, monkeypatch, made)


# check ---------------------------------------------------------------------------------------------------------------
def test_arguments_reach_the_analysis(run) -> None:
    done = run("check", "m.py:J", "--block", "w", "--block", "b", "--effort", "thorough", "--seed", 7)
    assert done.code == 0
    assert run.calls == [("load", "m.py:J", None, []), ("check", "J", ["w", "b"], "thorough", 7)]


def test_expression_in_place_of_a_target(run) -> None:
    assert run("check", "--expr", "x**2", "--where", "x>0", "--where", "x<1").code == 0
    assert run.calls[0] == ("load", None, "x**2", ["x>0", "x<1"])
    assert run.calls[1][2] is None


def test_json_is_one_object_and_nothing_else(run, made) -> None:
    run.noise = "epoch 1: loss 0.3\n"
    done = run("check", "m.py:J", "--json")
    assert json.loads(done.out) == json.loads(json.dumps(made.digits().to_dict()))
    assert done.err.count("epoch 1") == 2
    assert "nan" not in done.out.lower()


def test_json_of_values_that_are_not_finite(run, made) -> None:
    from dataclasses import replace

    certificate = replace(made.certificate(), relative_gap=float("inf"), values={"a": float("nan"), "b": 1.0, "m": 2.0})
    run.verdict = made.verdict(certificates={"convex": certificate})

    def refuse(word: str) -> None:
        raise AssertionError(word)

    read = json.loads(run("check", "m.py:J", "--json").out, parse_constant=refuse)
    assert read["certificate"]["relative_gap"] == "inf"
    assert read["certificate"]["values"]["a"] == "nan"


def test_any_verdict_exits_0(run, made) -> None:
    for convex, concave in (("proved", "proved"), ("proved", "undecided"), ("undecided", "undecided")):
        run.verdict = made.verdict(convex=convex, concave=concave)
        done = run("check", "m.py:J")
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith(run.verdict.verdict)


def test_expect(run) -> None:
    assert run("check", "m.py:J", "--expect", "nonconvex").code == 0
    done = run("check", "m.py:J", "--expect", "convex", "--json")
    assert done.code == 1
    assert done.err.strip() == "expected convex, but the verdict is nonconvex"
    assert json.loads(done.out)["verdict"] == "nonconvex"


@pytest.mark.parametrize(
    "arguments",
    [
        ("check",),
        ("check", "m.py:J", "--expr", "x"),
        ("check", "m.py:J", "--effort", "huge"),
        ("check", "m.py:J", "--no"),
        ("check", "m.py:J", "--expect", "wavy"),
        ("check", "m.py:J", "--seed", "x"),
        ("report", "m.py:J"),
        ("nonsense",),
        ("verify", "there/is/no/such.epi"),
        ("report", "--out", "r.html"),
    ],
)
def test_wrong_calls_exit_2_before_any_work(run, arguments) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert done.err
    assert run.calls == []


def test_a_target_that_does_not_load_exits_3(run) -> None:
    run.error = TargetError("E101", "no such file: m.py", hint="check the path")
    for extra in ((), ("--json",)):
        done = run("check", "m.py:J", *extra)
        assert (done.code, done.out) == (3, "")
        assert done.err == "E101 no such file: m.py\n     try: check the path\n"


def test_a_defect_exits_70_with_its_traceback(run) -> None:
    run.error = ZeroDivisionError("oops")
    done = run("check", "m.py:J", "--json")
    assert (done.code, done.out) == (70, "")
    assert "Traceback" in done.err
    assert "E900 internal error: ZeroDivisionError: oops" in done.err


def test_interrupt_is_quiet(run) -> None:
    run.error = KeyboardInterrupt()
    done = run("check", "m.py:J")
    assert (done.code, done.out, done.err) == (130, "", "")


# files ---------------------------------------------------------------------------------------------------------------
def test_certificate_and_report_are_written(run, tmp_path) -> None:
    evidence, page = tmp_path / "x.epi", tmp_path / "r.html"
    page.write_text("old")
    done = run("check", "m.py:J", "--certificate", evidence, "--report", page)
    assert done.code == 0
    assert evidence.read_text() == "{'format': 'test'}"
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert f"epigraph verify {evidence}" in page.read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.html", "x.epi"]


def test_a_proof_is_written_where_it_has_a_file_form(run, made, tmp_path) -> None:
    run.verdict = made.proved()
    done = run("check", "m.py:J", "--certificate", tmp_path / "p.epi")
    assert done.code == 0
    assert (tmp_path / "p.epi").read_text() == "{'format': 'proof'}"
    run.verdict = made.verdict(convex="proved", proofs={"convex": made.deep_proof(3, payload=None)})
    done = run("check", "m.py:J", "--certificate", tmp_path / "q.epi")
    assert (done.code, (tmp_path / "q.epi").exists()) == (0, False)
    assert "its proof has no file form" in done.err
    assert "--certificate" not in done.out


@pytest.mark.parametrize("states", [("undecided", "undecided"), ("undecided", "refuted"), ("refuted", "refuted")])
def test_without_evidence_nothing_is_written(run, made, tmp_path, states) -> None:
    run.verdict = made.verdict(convex=states[0], concave=states[1])
    done = run("check", "m.py:J", "--certificate", tmp_path / "x.epi", "--json")
    assert done.code == 0
    assert "no evidence to write" in done.err
    assert list(tmp_path.iterdir()) == []
    assert json.loads(done.out)["verdict"] == run.verdict.verdict


@pytest.mark.parametrize("option", ["--certificate", "--report"])
def test_a_path_that_cannot_be_written_is_found_first(run, tmp_path, option) -> None:
    for path in (tmp_path, tmp_path / "missing" / "x", tmp_path / ("n" * 300)):
        done = run("check", "m.py:J", option, path)
        assert done.code == 2
        assert done.err.startswith(f"E082 cannot write {path}")
    assert run.calls == []
    assert list(tmp_path.iterdir()) == []


def test_outputs_do_not_overwrite_each_other_or_the_target(run, tmp_path) -> None:
    target = tmp_path / "m.py"
    target.write_text("J = 1")
    same = tmp_path / "x"
    assert run("check", "m.py:J", "--certificate", same, "--report", tmp_path / "." / "x").code == 2
    done = run("check", f"{target}:J", "--report", target)
    assert (done.code, target.read_text()) == (2, "J = 1")
    assert "E083" in done.err
    assert run.calls == []


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch) -> None:
    from epigraph.errors import UsageError
    from epigraph.report import files

    def full(*_):
        raise OSError(28, "No space left on device")

    path = tmp_path / "r.html"
    path.write_text("old")
    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(UsageError, match="No space left"):
        files.write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_followed_and_a_device_written_in_place(run, tmp_path) -> None:
    real, link = tmp_path / "real.html", tmp_path / "link.html"
    real.write_text("old")
    link.symlink_to(real)
    assert run("report", "m.py:J", "--out", link).code == 0
    assert link.is_symlink()
    assert real.read_text().startswith("<!DOCTYPE html>")
    assert run("report", "m.py:J", "--out", os.devnull).code == 0
    assert not Path(os.devnull).is_file()


def test_report(run, tmp_path) -> None:
    done = run("report", "m.py:J", "--out", tmp_path / "r.html")
    assert (done.code, done.out, done.err) == (0, f"nonconvex   {tmp_path / 'r.html'}\n", "")
    assert "epigraph check m.py:J --certificate" in (tmp_path / "r.html").read_text()


def test_report_repeats_the_question_for_a_shell(run, tmp_path) -> None:
    question = ["--expr", "x*y", "--where", "x>0", "--block", "x", "--effort", "quick", "--seed", "3"]
    run("report", "--out", tmp_path / "r.html", *question)
    text = html.unescape((tmp_path / "r.html").read_text())
    (command,) = re.findall(r"epigraph check (.+) --certificate evidence.epi", text)
    assert shlex.split(command) == question


def test_a_failed_write_does_not_lose_the_verdict(run, tmp_path, monkeypatch) -> None:
    def full(path, payload):
        raise CertificateError("E499", "the disk is full")

    run.module("epigraph.certificate.format", write=full)
    done = run("check", "m.py:J", "--certificate", tmp_path / "x.epi")
    assert (done.code, done.err) == (1, "E499 the disk is full\n")
    assert done.out.startswith("nonconvex")
    assert "Evidence: --certificate" in done.out


# verify and zoo ------------------------------------------------------------------------------------------------------
def verifier(run, ok: bool = True, error: Exception | None = None):
    def verify(path, budget_seconds=None, budget_bytes=None):
        run.calls.append(("verify", Path(path).name, budget_seconds))
        if error:
            raise error
        facts = {"ok": ok, "statement": "J is not convex", "gap": "1/3", "arithmetic": "arb", "precision_bits": 128}
        return SimpleNamespace(ok=ok, statement="J is not convex", gap="1/3", to_dict=lambda: facts)

    run.module("epigraph.certificate.verify", verify=verify)


def test_verify(run, tmp_path) -> None:
    file = tmp_path / "x.epi"
    file.touch()
    verifier(run)
    done = run("verify", file, "--budget", "2.5")
    assert done.code == 0
    assert done.out.split() == f"verified {file} J is not convex. ball arithmetic at 128 bits".split()
    assert run.calls == [("verify", "x.epi", 2.5)]
    assert json.loads(run("verify", file, "--json").out)["ok"] is True
    verifier(run, ok=False)
    assert run("verify", file).code == 1
    verifier(run, error=CertificateError("E402", "the gap is not positive"))
    done = run("verify", file, "--json")
    assert (done.code, done.out, done.err) == (1, "", "E402 the gap is not positive\n")


def test_verify_against_a_target(run, tmp_path) -> None:
    def match(path, objective):
        assert (path, objective) == (file, "J")
        raise CertificateError("E410", "about other data")

    file = tmp_path / "x.epi"
    file.touch()
    verifier(run)
    run.module("epigraph.convexity.evidence", match=match)
    done = run("verify", file, "--target", "m.py:J")
    assert (done.code, done.out, done.err) == (1, "", "E410 about other data\n")


def zoo_of(run, known: str, **more) -> None:
    facts = {"verdict": known, **more}
    entry = SimpleNamespace(
        name="xy", title="a product", claim="T22", known=facts, reference="BV04", notes="", build=lambda: "J"
    )
    run.module("epigraph.zoo", ENTRIES={"xy": entry}, get=lambda name: entry)


def test_zoo(run) -> None:
    zoo_of(run, "nonconvex")
    assert "xy" in run("zoo").out
    assert "Claim: T22" in run("zoo", "xy").out
    assert json.loads(run("zoo", "--json").out)["entries"][0]["known"] == {"verdict": "nonconvex"}
    assert run.calls == []
    assert run("zoo", "--check", "--effort", "quick").code == 0
    assert run.calls == [("check", "J", None, "quick", 0)]


@pytest.mark.parametrize(
    ("known", "more", "found", "agrees"),
    [
        ("nonconvex", {}, {}, True),
        ("convex", {}, {}, False),
        ("concave", {}, {}, False),
        ("affine", {}, {}, False),
        ("convex", {}, {"convex": "undecided", "concave": "undecided"}, None),
        ("convex", {}, {"convex": "proved", "concave": "proved"}, False),
        ("affine", {}, {"convex": "proved", "concave": "undecided"}, None),
        ("nonconvex", {"quasiconvex": "proved"}, {"quasiconvex": "refuted"}, False),
        ("nonconvex", {"quasiconvex": "refuted"}, {"quasiconvex": "refuted"}, True),
        ("nonconvex", {"quasiconvex": "refuted"}, {"quasiconvex": "proved"}, False),
        ("nonconvex", {"blocks": {"fc2.weight": "convex"}}, {}, True),
        ("nonconvex", {"blocks": {"fc2.weight": "nonconvex"}}, {}, False),
    ],
)
def test_zoo_compares_with_what_is_known(run, made, known, more, found, agrees) -> None:
    zoo_of(run, known, **more)
    run.verdict = made.verdict(blocks=made.digits().blocks, **found)
    done = run("zoo", "--check", "--json")
    assert json.loads(done.out)["entries"][0]["agrees"] is agrees
    assert done.code == (1 if agrees is False else 0)


# the process ---------------------------------------------------------------------------------------------------------
def python(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)


LIGHT = [["--help"], ["check", "--help"], ["check"], ["--version"], ["verify", "none.epi"]]


@pytest.mark.parametrize("arguments", LIGHT)
def test_what_needs_no_analysis_does_not_import_torch(arguments) -> None:
    code = (
        "import sys, contextlib\nfrom epigraph.cli import main\n"
        f"with contextlib.suppress(SystemExit): main({arguments!r})\n"
        "heavy = [m for m in ('torch', 'numpy', 'jinja2') if m in sys.modules]\nsys.exit(bool(heavy))"
    )
    assert python(code).returncode == 0
    assert python(code.replace("import sys", "import jinja2, sys")).returncode == 1


def test_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "epigraph", "--version"], env=ENVIRONMENT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, f"epigraph {epigraph.__version__}\n")


def test_a_closed_pipe_is_quiet() -> None:
    code = (
        "import sys, types, epigraph\n"
        "entry = types.SimpleNamespace(name='x' * 70000, title='', claim='', reference='',\n"
        "    known={'verdict': 'convex'}, notes='')\n"
        "zoo = types.ModuleType('epigraph.zoo'); zoo.ENTRIES = dict.fromkeys('abc', entry)\n"
        "sys.modules['epigraph.zoo'] = epigraph.zoo = zoo\n"
        "from epigraph.cli import main\nmain(['zoo'])\n"
    )
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], env=ENVIRONMENT, stdout=write, stderr=subprocess.PIPE, text=True, timeout=60
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (141, "")
