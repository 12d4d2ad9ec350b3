"""Files and the verifier's process: round trips, fences, speed, and that it stands alone."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from certificate_builder import Builder, steps
from certificate_models import Model, encoder, network, resnet18
from certificate_samples import SAMPLES, Draft

from epigraph.certificate import container, exact, format, verify
from epigraph.certificate.budget import Cost
from epigraph.errors import CertificateError, EpigraphError, UsageError

ROOT = Path(verify.__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=ENVIRONMENT, check=False)


@pytest.mark.parametrize("sample", SAMPLES)
def test_what_is_written_is_read(sample: str, tmp_path: Path) -> None:
    payload = SAMPLES[sample]()
    format.write(tmp_path / "one.epi", payload)
    found = format.read(tmp_path / "one.epi")
    assert found.manifest == payload.manifest
    for written, read in ((payload.base, found.base), (payload.delta, found.delta)):
        assert written.keys() == read.keys()
        for key in written:
            assert written[key].dtype == read[key].dtype
            assert np.array_equal(written[key], read[key])
    format.write(tmp_path / "two.epi", SAMPLES[sample]())
    assert (tmp_path / "one.epi").read_bytes() == (tmp_path / "two.epi").read_bytes()


def test_the_file_is_an_ordinary_zip_archive_of_safetensors(tmp_path: Path) -> None:
    import zipfile

    import safetensors.numpy

    payload = SAMPLES["exact"]()
    format.write(tmp_path / "one.epi", payload)
    with zipfile.ZipFile(tmp_path / "one.epi") as archive:
        assert archive.testzip() is None
        assert json.loads(archive.read("manifest.json")) == payload.manifest
        tensors = safetensors.numpy.load(archive.read("base.safetensors"))
    assert all(np.array_equal(tensors[key], payload.base[key]) for key in payload.base)


def test_constant_tensors_are_not_stored(tmp_path: Path) -> None:
    b = Builder()
    x = b.parameter("x", np.zeros((300, 1000), dtype=np.float32))
    y = b.parameter("y", np.zeros((300, 1000)))
    zeros = np.zeros((2, 20))
    zeros[0, 0] = -0.0
    b("add", b("sum", b("mul", x, y), dims=[0, 1]), b("sum", b.data("signed", zeros), dims=[0, 1]))
    move = np.zeros((300, 1000))
    move[0, 0] = 1
    payload = b.payload("convex", {"x": steps(move), "y": steps(-move)})
    assert set(payload.base) == {"signed"}
    assert payload.manifest["tensors"]["x"]["fill"] == "0x0.0p+0"
    format.write(tmp_path / "small.epi", payload)
    assert (tmp_path / "small.epi").stat().st_size < 5000
    assert verify.verify_here(tmp_path / "small.epi").ok


def test_large_tensors_are_stored_and_small_ones_deflated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    payload = SAMPLES["exact"]()
    format.write(tmp_path / "deflated.epi", payload)
    monkeypatch.setattr(container, "STORE_ABOVE", 10)
    format.write(tmp_path / "stored.epi", payload)
    for name, method in (("deflated", container.DEFLATED), ("stored", container.STORED)):
        with container.opened(tmp_path / f"{name}.epi", container.Limits()) as archive:
            assert archive.entries["manifest.json"].method == method
        assert verify.verify_here(tmp_path / f"{name}.epi").ok


def test_writing_is_atomic_and_errors_are_clear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    payload = SAMPLES["exact"]()
    target = tmp_path / "x.epi"
    target.write_bytes(b"old")
    for number, words in ((28, "free some space"), (13, "can be written")):

        def failing(descriptor: int, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", failing)
            with pytest.raises(CertificateError, match=words) as caught:
                format.write(target, payload)
        assert caught.value.code == "E450"
        assert target.read_bytes() == b"old"
        assert [p.name for p in tmp_path.iterdir()] == ["x.epi"]
    with pytest.raises(CertificateError, match="E450"):
        format.write(tmp_path / "absent" / "x.epi", payload)
    format.write(target, payload)
    assert target.read_bytes()[:2] == b"PK"
    assert stat.S_IMODE(target.stat().st_mode) & 0o077 == 0o066 & ~_umask()


def _umask() -> int:
    found = os.umask(0)
    os.umask(found)
    return found


def test_what_cannot_be_read_is_not_written(tmp_path: Path) -> None:
    d = Draft(SAMPLES["exact"]())
    d.node("add")["op"] = "opaque"
    with pytest.raises(CertificateError, match="E412"):
        format.write(tmp_path / "x.epi", format.Payload(d.manifest, d.base, d.delta))
    d = Draft(SAMPLES["exact"]())
    d.base["x"] = d.base["x"] + np.nan
    with pytest.raises(CertificateError, match="E406"):
        format.write(tmp_path / "x.epi", format.Payload(d.manifest, d.base, d.delta))
    assert not list(tmp_path.iterdir())


def test_steps_of_every_width_and_sign(tmp_path: Path) -> None:
    for value, dtype in ((-128, np.int8), (128, np.int16), (-(2**31), np.int32)):
        b = Builder()
        b("mul", b.parameter("x", 0.0), b.parameter("y", 0.0))
        delta = {"x": exact.Delta(-1, np.asarray(value, dtype=dtype), -3), "y": steps(1)}
        if value > 0:
            delta["y"] = steps(1)
        kind = "convex" if value > 0 else "concave"
        certified = exact.certify(b.graph(), b.arrays, delta, kind)
        assert certified is not None
        if value == -(2**31):
            with pytest.raises(CertificateError, match="32 bits"):  # the sign cannot be folded into the steps
                format.build(kind, certified, b.graph(), b.tensors, delta, blocks=["x", "y"])
            continue
        format.write(tmp_path / "x.epi", format.build(kind, certified, b.graph(), b.tensors, delta, blocks=["x", "y"]))
        assert verify.verify_here(tmp_path / "x.epi").ok


# ---- the process ----


def test_the_verifier_stands_alone(tmp_path: Path) -> None:
    format.write(tmp_path / "x.epi", SAMPLES["arb"]())
    code = (
        "import sys, epigraph.certificate.verify as v; v.verify_here(sys.argv[1]); "
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'torch', 'scipy', 'safetensors', 'rich', 'typer'}),"
        "sorted(m for m in sys.modules if m.startswith('epigraph.') and not m.startswith('epigraph.certificate')))"
    )
    done = python("-c", code, str(tmp_path / "x.epi"))
    assert done.stdout.strip() == "[] ['epigraph.errors']", done.stderr


def test_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "-x.epi"
    format.write(path, SAMPLES["arb"]())
    done = python("-m", "epigraph.certificate.verify", str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("The function J of the graph in this file is not quasiconvex in (w, v) on the whole")
    done = python("-m", "epigraph.certificate.verify", "--json", str(path))
    found = json.loads(done.stdout)
    assert found["schema"] == "epigraph/verification/1"
    assert found["ok"] is True and found["property"] == "quasiconvex"
    assert verify.VerifyResult.from_dict(found).to_dict() == found
    path.write_bytes(path.read_bytes()[:-1])
    done = python("-m", "epigraph.certificate.verify", str(path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("E401 ")
    assert python("-m", "epigraph.certificate.verify", "--budget", "-1", str(path)).returncode == 2


def test_refusals_come_back_whole_from_the_child(tmp_path: Path) -> None:
    d = Draft(SAMPLES["exact"]())
    d.claim["gap_lower"]["den_log2"] = 40
    path = d.save(tmp_path / "x.epi")
    with pytest.raises(CertificateError) as here:
        verify.verify_here(path)
    with pytest.raises(CertificateError) as there:
        verify.verify(path)
    assert str(here.value) == str(there.value)
    with pytest.raises(UsageError):
        verify.verify(path, budget_seconds=float("nan"))


def test_a_module_in_the_working_directory_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate may come in a folder with a file numpy.py."""
    (tmp_path / "numpy.py").write_text("raise SystemExit(0)")
    format.write(tmp_path / "x.epi", SAMPLES["exact"]())
    monkeypatch.chdir(tmp_path)
    assert verify.verify("x.epi").ok


def test_the_budget_is_named_in_the_refusal(tmp_path: Path) -> None:
    format.write(tmp_path / "x.epi", SAMPLES["arb"]())
    with pytest.raises(CertificateError, match="--budget") as caught:
        verify.verify_here(tmp_path / "x.epi", budget_seconds=1e-9)
    assert caught.value.code == "E430"
    with pytest.raises(CertificateError, match="MiB") as caught:
        verify.verify_here(tmp_path / "x.epi", budget_bytes=1000)
    assert caught.value.code in ("E430", "E402")


FENCED = """
from epigraph.certificate import verify
from epigraph.certificate.budget import Cost
verify.OVERHEAD_SECONDS = 1
verify._fence(Cost({seconds}, {bytes}))
{work}
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of a process differ elsewhere")
@pytest.mark.parametrize(
    "code, work",
    [
        ("E432", "bytearray(3 * 2**30)"),
        ("E432", "import numpy; numpy.ones(3 * 2**27)"),
        ("E432", "from flint import fmpz; fmpz(1) << 2**36"),
        ("E431", "[None for i in iter(int, 1)]"),
        ("E431", "from flint import arb, ctx; ctx.prec = 2**24; arb(3).exp().exp().exp().exp()"),
        ("E433", "import os; os._exit(7)"),
        ("E433", "print('not JSON')"),
    ],
    ids=str,
)
def test_a_child_that_breaks_its_limits_is_a_clear_refusal(code: str, work: str) -> None:
    seconds, size = (0.0, 2**33) if code == "E431" else (100.0, 2**28)
    text = FENCED.format(seconds=seconds, bytes=size, work=work)
    done = python("-c", text)
    with pytest.raises(CertificateError) as caught:
        verify._outcome(done.returncode, done.stdout.encode(), done.stderr.encode(), Cost(1.0, 2**28))
    assert caught.value.code == code


# ---- memory, and the estimates, for models of several sizes; benchmarks/models.py has the seconds ----


def _check_size(gibibytes: float, model: Model, tmp_path: Path) -> verify.VerifyResult:
    b, delta = model
    format.write(tmp_path / "x.epi", b.payload("convex", delta))
    result = verify.verify(tmp_path / "x.epi")
    assert result.ok
    assert result.peak_bytes < gibibytes * 2**30
    assert result.estimate["seconds"] < 20 * result.seconds
    assert result.peak_bytes < 100 * 2**20 + result.estimate["bytes"]
    return result


def test_size_of_a_tiny_network(tmp_path: Path) -> None:
    _check_size(0.2, network((5, 8, 1), 40, loss="mse"), tmp_path)


def test_size_of_a_classifier_of_digits(tmp_path: Path) -> None:
    _check_size(0.3, network((64, 32, 10), 1797), tmp_path)


def test_size_of_a_transformer_encoder(tmp_path: Path) -> None:
    """Twelve layers need more than 128 bits: the dependency between terms widens the balls by 16 bits a layer."""
    result = _check_size(0.4, encoder(), tmp_path)
    assert result.precision_bits >= 192


def test_size_of_a_small_residual_network(tmp_path: Path) -> None:
    _check_size(1.5, resnet18(2, 32, 8), tmp_path)


@pytest.mark.soak
def test_size_of_resnet18(tmp_path: Path) -> None:
    _check_size(1.5, resnet18(), tmp_path)


def test_every_error_has_a_code_of_the_table() -> None:
    from epigraph.certificate.codes import CODES, refuse

    with pytest.raises(KeyError):
        refuse("E999", "no such code")
    with pytest.raises(EpigraphError, match="E400"):
        refuse("E400", "x")
    assert all(code.startswith("E4") for code in CODES)
