"""``epigraph spectrum``: what it prints, its JSON, its page, the point it reads, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

import epigraph
from epigraph.cli import app
from epigraph.hessian.summary import summary
from epigraph.objective.point import load_into
from epigraph.plot.bars import NARROW, draw
from epigraph.plot.spectrum import info
from epigraph.report.curvature import page, rows, sentences, shown
from epigraph.report.words import Record

PROGRAM = """
import torch
from torch import nn

def objective():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2))
    print("loading")
    return model, nn.CrossEntropyLoss(), torch.randn(20, 3), torch.randint(2, (20,))
"""


@pytest.fixture
def target(tmp_path: Path) -> str:
    (tmp_path / "train.py").write_text(PROGRAM)
    return f"{tmp_path / 'train.py'}:objective"


def _run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["spectrum", *arguments])
    return result.exit_code, result.stdout, result.stderr


def _objective(target: str) -> epigraph.Objective:
    from epigraph.objective.target import load

    return load(target, None, [])


def test_the_first_screen(target: str) -> None:
    code, out, _ = _run(target, "--density", "--trace", "--dtype", "float64")
    assert code == 0, out
    for part in (
        "spectrum of the Hessian",
        "top 5",
        "bottom 1",
        "residual",
        "trace is",
        "Negative curvature",
        "34 variables",
    ):
        assert part in " ".join(out.split()) or part in out, part


def test_json_agrees_with_the_dense_matrix(target: str) -> None:
    code, out, _ = _run(target, "--json", "--top", "3", "--bottom", "2", "--dtype", "float64", "--trace", "--density")
    assert code == 0
    found = json.loads(out[out.index("{") :])
    exact = torch.linalg.eigvalsh(epigraph.hessian(_objective(target), dtype="float64").to_dense()).numpy()
    assert found["schema"] == "epigraph/spectrum/1" and found["n"] == len(exact) and found["converged"]
    assert np.allclose([p["value"] for p in found["top"]], exact[::-1][:3], rtol=1e-6)
    assert np.allclose([p["value"] for p in found["bottom"]], exact[:2], rtol=1e-6)
    assert found["trace"]["trace"] == pytest.approx(exact.sum(), abs=4 * found["trace"]["trace_error"] + 1e-9)
    assert set(found["density"]) >= {"nodes", "weights", "negative_share", "negative_share_error"}


def test_blocks_and_kinds(target: str) -> None:
    _, out, _ = _run(target, "--json", "--block", "3.weight", "--kind", "gauss-newton", "--bottom", "0")
    found = json.loads(out[out.index("{") :])
    assert found["blocks"] == ["3.weight"] and found["kind"] == "gauss-newton" and found["n"] == 8
    assert found["bottom"] == [] and all(p["value"] > -1e-6 for p in found["top"])


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_point_from_a_state_dict_with_its_buffers(target: str, tmp_path: Path, suffix: str) -> None:
    torch.manual_seed(5)
    J = _objective(target)
    assert J.model is not None
    state = {k: v + 0.5 if v.is_floating_point() else v + 3 for k, v in J.model.state_dict().items()}
    path = tmp_path / f"weights{suffix}"
    torch.save(state, path) if suffix == ".pt" else save_file(state, str(path))
    _, out, _ = _run(target, "--json", "--at", str(path), "--dtype", "float64")
    found = json.loads(out[out.index("{") :])
    J.model.load_state_dict(state)
    exact = torch.linalg.eigvalsh(epigraph.hessian(J, dtype="float64").to_dense())
    assert found["top"][0]["value"] == pytest.approx(float(exact[-1]), rel=1e-5)
    assert found["value"] == pytest.approx(J.value(double=True), rel=1e-6)


def _spoiled(state: dict[str, torch.Tensor], how: str) -> dict[str, torch.Tensor]:
    first = next(iter(state))
    change = {
        "missing": lambda: state.pop(first),
        "buffer missing": lambda: state.pop("1.running_mean"),
        "extra": lambda: state.update(more=torch.ones(2)),
        "shape": lambda: state.update({first: torch.ones(2)}),
        "buffer shape": lambda: state.update({"1.running_mean": torch.ones(3)}),
        "nan": lambda: state.update({first: torch.full_like(state[first], torch.nan)}),
    }
    change[how]()
    return state


WRONG = {
    "missing": "E093",
    "buffer missing": "E093",
    "extra": "E094",
    "shape": "E095",
    "buffer shape": "E095",
    "nan": "E096",
}


@pytest.mark.parametrize("how", WRONG)
def test_a_state_dict_that_does_not_fit(target: str, tmp_path: Path, how: str) -> None:
    J = _objective(target)
    assert J.model is not None
    torch.save(_spoiled(dict(J.model.state_dict()), how), tmp_path / "weights.pt")
    code, _, err = _run(target, "--at", str(tmp_path / "weights.pt"))
    assert code == 2 and WRONG[how] in err


def test_a_pickle_with_code_is_not_run(target: str, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"0.weight": Evil()}, tmp_path / "evil.pt")
    code, _, err = _run(target, "--at", str(tmp_path / "evil.pt"))
    assert code == 2 and "E092" in err and not (tmp_path / "ran").exists()


def test_wrong_calls(target: str, tmp_path: Path) -> None:
    assert _run()[0] == 2 and _run(target, "--kind", "natural")[0] == 2
    assert _run(target, "--block", "nothing")[0] == 2 and _run(target, "--top", "0", "--bottom", "0")[0] == 2
    assert _run(target, "--at", str(tmp_path / "no.pt"))[0] == 2
    assert _run(target, "--report", str(tmp_path / "no" / "page.html"))[0] == 2


def test_an_expression() -> None:
    code, out, _ = _run("--expr", "x**2 - 3*y**2", "--json")
    found = json.loads(out[out.index("{") :])
    assert code == 0 and [p["value"] for p in found["top"]] == pytest.approx([2, -6])


def test_the_page_stands_alone(target: str, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    code, out, _ = _run(target, "--report", str(path))
    html = path.read_text()
    assert code == 0 and str(path) in out.replace("\n", "")
    assert html.count("<svg") == 2 and "<script" not in html and "default-src 'none'" in html
    assert not re.search(r'(src|href)="(?!data:|#)', html) and "http://www.w3.org/2000/svg" in html
    assert "epi-bar" in html and "epi-mark" in html and "NaN" not in html


def test_the_picture_s_numbers_add_up(target: str) -> None:
    result = summary(_objective(target), dtype="float64", with_density=True)
    picture = info(result.spectrum, result.density)
    assert picture is not None
    assert sum(b.share for b in picture.bars) == pytest.approx(1.0, abs=1e-6)
    assert picture.bars[0].left == picture.low and picture.bars[-1].right == picture.high
    assert set(picture.marks) == {p.value for p in (*result.spectrum.top, *result.spectrum.bottom)}
    assert picture.floor < 1 / picture.n < picture.ceiling
    drawing = draw(picture, "x", NARROW)
    for name in ("x", "y", "width", "height", "cx", "cy"):
        for value in re.findall(rf' {name}="([^"]+)"', drawing):
            assert -1 <= float(value) <= 400 + 1
    alone = info(result.spectrum, None)
    assert alone is not None and alone.bars == () and draw(alone, "x")


def test_names_are_escaped_and_flat_spectra_have_no_picture() -> None:
    J = epigraph.Objective.from_function(lambda w: (w**2).sum(), {"<b>": torch.ones(4)}, name="<script>")
    result = summary(J, with_density=True, with_trace=True)
    html = page(result, Record(target="<i>"))
    assert "<script>" not in html and "<i>" not in html and "<svg" not in html
    assert any("positive" in s for s in sentences(result))


def test_digits_end_where_the_error_begins() -> None:
    assert shown(1.23456789, 1e-3) == ("1.235", "0.001") and shown(-0.5, 1e-9) == ("−0.5", "1e-09")
    assert shown(1e-9, 1e-6) == ("1e-09", "1e-06") and shown(0.0, 0.0) == ("0", "0")


def test_an_error_covers_what_is_left_out_of_the_digits() -> None:
    for value in (1 / 3, -2 / 3, 2.92284705712345, 1e8 / 7):
        text, error = shown(value, 1e-15 * abs(value))
        assert 0 < abs(float(text.replace("−", "-")) - value) <= 1.05 * float(error)


def test_what_has_not_converged_says_no(target: str) -> None:
    from epigraph.hessian.spectrum import spectrum_of

    found = spectrum_of(epigraph.hessian(_objective(target), dtype="float64"), most=5)
    assert {row[-1] for row in rows(found)} >= {"no"}


def test_a_loaded_point_needs_its_own_objective(target: str, tmp_path: Path) -> None:
    J = _objective(target)
    assert J.model is not None
    before = {k: v.clone() for k, v in J.parameters.items()}
    torch.save({k: v + 1 for k, v in J.model.state_dict().items()}, tmp_path / "w.pt")
    point = load_into(J, tmp_path / "w.pt")
    assert all(torch.equal(J.parameters[k], before[k]) for k in before) and set(point) == set(before)
    assert torch.equal(J.model[1].running_mean, torch.ones(4))  # type: ignore[index]


def test_files_that_hold_something_else_than_a_state_dict_say_what(target: str, tmp_path: Path) -> None:
    model = _objective(target).model
    assert model is not None
    state = model.state_dict()
    first = next(iter(state))
    for what, wanted in (
        (model, "it holds more than tensors"),
        ({"net": state, "epoch": 3}, "'net' is a state dict"),
        ([1, 2], "it holds a list"),
        ({f"module.{k}": v for k, v in state.items()}, f"leave 'module.' out of the names, as in '{first}'"),
    ):
        path = tmp_path / "point.pt"
        torch.save(what, path)
        result = CliRunner().invoke(app, ["spectrum", target, "--at", str(path)])
        assert result.exit_code == 2 and "\x1b" not in result.output
        assert wanted in " ".join(result.output.split()), result.output


def test_results_are_short_in_a_prompt() -> None:
    J = epigraph.Objective.from_function(lambda w: (w**4).sum(), {"w": torch.arange(40, dtype=torch.float64)})
    for found in (epigraph.spectrum(J, top=2, bottom=1), epigraph.density(J), epigraph.trace(J)):
        assert len(repr(found)) < 200 and f"n={40}" in repr(found)
