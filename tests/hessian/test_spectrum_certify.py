"""Proved signs of eigenvalues against the dense Hessian by autograd, kinks, singular points, files and the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import epigraph
from epigraph import Objective, SpectrumCertificate, certify_spectrum
from epigraph.certificate import definite
from epigraph.certificate.format import write
from epigraph.cli import app
from epigraph.errors import CertificateError, UsageError

D = torch.float64


def of(f, x: list[float], **options) -> Objective:
    return Objective.from_function(f, {"w": torch.tensor(x, dtype=D)}, **options)


def eigenvalues(f, x: torch.Tensor) -> torch.Tensor:
    return torch.linalg.eigvalsh(torch.autograd.functional.hessian(f, x))


def agrees(c: SpectrumCertificate, values: torch.Tensor) -> None:
    """Nothing that is said contradicts the eigenvalues of the dense matrix."""
    low, high, slack = float(values[0]), float(values[-1]), 1e-10 * max(1.0, float(values.abs().max()))
    if c.largest is not None:
        assert 0 < float(c.largest) <= high + slack
    if c.least is not None:
        assert low - slack <= float(c.least) < 0
    if c.definiteness == "positive definite":
        assert c.modulus is not None and 0 < c.modulus <= low + slack
    if c.definiteness == "negative definite":
        assert c.modulus is not None and 0 < c.modulus <= -high + slack
    words = {
        "indefinite": low < 0 < high,
        "not positive semidefinite": low < 0,
        "not negative semidefinite": high > 0,
    }
    assert words.get(c.definiteness, True)


# functions ----------------------------------------------------------------------------------------------------------
KNOWN = {
    "saddle": (lambda w: w[0] ** 2 - 3 * w[1] ** 2, [0.5, 0.5], "indefinite"),
    "product": (lambda w: w[0] * w[1], [0.0, 0.0], "indefinite"),
    "bowl": (lambda w: w[0] ** 2 + w[1] ** 2 + w[0] * w[1] / 2, [0.5, 0.25], "positive definite"),
    "cap": (lambda w: -torch.exp(-(w * w).sum()) - (w * w).sum(), [2.0, 0.0], "negative definite"),
    "flat direction": (lambda w: (w[0] - w[1]) ** 2, [1.0, 0.0], "not negative semidefinite"),
    "flat direction, down": (lambda w: -((w[0] - w[1]) ** 2), [1.0, 0.0], "not positive semidefinite"),
    "quartic at its minimum": (lambda w: (w**4).sum(), [0.0, 0.0], "not settled"),
    "affine": (lambda w: w.sum(), [1.0, 2.0], "not settled"),
    "monkey saddle": (lambda w: w[0] ** 3 - 3 * w[0] * w[1] ** 2, [0.0, 0.0], "not settled"),
    "monkey saddle, beside": (lambda w: w[0] ** 3 - 3 * w[0] * w[1] ** 2, [1e-9, 0.0], "indefinite"),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_functions(name: str, tmp_path: Path) -> None:
    f, x, word = KNOWN[name]
    c = certify_spectrum(of(f, x))
    assert c.definiteness == word, c
    agrees(c, eigenvalues(f, torch.tensor(x, dtype=D)))
    assert (c.payload is None) == (word == "not settled") and (c.reason is None) == (not word.startswith("not"))
    if c.payload is not None:
        c.save(tmp_path / "x.epi")
        assert epigraph.verify(tmp_path / "x.epi").property == word


KINKS = {
    "relu, bent upwards": (lambda w: torch.relu(w[0]) + (w * w).sum(), [0.0, 1.0]),
    "huber": (lambda w: nn.functional.huber_loss(w, torch.zeros_like(w)) + (w * w).sum(), [1.0, 0.25]),
    "maximum": (lambda w: torch.maximum(w[0], w[1]) + (w * w).sum(), [0.5, 0.5]),
    "hidden by zero": (lambda w: torch.relu(w[0]) * 0 + w[0] ** 2 - w[1] ** 2, [0.0, 1.0]),
    "norm": (lambda w: torch.linalg.vector_norm(w[:1] * 2) + w[0] ** 2 - w[1] ** 2, [0.0, 1.0]),
}


@pytest.mark.parametrize("name", KINKS)
def test_kinks_settle_nothing(name: str) -> None:
    """Also where J bends upwards at the kink, so that a region around the point would be convex."""
    f, x = KINKS[name]
    c = certify_spectrum(of(f, x))
    if name == "hidden by zero" and c.definiteness == "indefinite":
        assert "relu" not in [n.op for n in of(f, x).graph()]  # the product with zero is gone
        return
    assert c.definiteness == "not settled" and c.payload is None, c
    assert c.reason is not None and "second derivative" in c.reason
    with pytest.raises(UsageError, match="E028"):
        c.save("nowhere.epi")


MODEL = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 3)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x):
        z = self.fc(x)
        h = torch.relu(z)
        return h.sum(1)


def objective():
    torch.manual_seed(0)
    x = torch.randn(5, 2)
    x[3] = 0
    return Net(), nn.MSELoss(), x, torch.zeros(5)
"""


def test_the_place_of_a_kink_is_named(tmp_path: Path) -> None:
    """One sample is zero and so are the biases: three units are at their kink."""
    from epigraph.objective.target import load

    (tmp_path / "kinked.py").write_text(MODEL)
    target = f"{tmp_path / 'kinked.py'}:objective"
    c = certify_spectrum(load(target, None, []))
    assert c.definiteness == "not settled" and c.where is not None and c.where.endswith("kinked.py:14")
    assert c.reason is not None and "relu is at a kink" in c.reason and "3 of 15 entries" in c.reason
    code, _, err = run("spectrum", target, "--certify")
    assert code == 3 and "relu is at a kink" in err and "kinked.py:14" in err


def test_random_polynomials_never_contradict_the_dense_matrix() -> None:
    settled = 0
    for seed in range(24):
        g = torch.Generator().manual_seed(seed)
        n = int(torch.randint(1, 5, (), generator=g))
        A, x = torch.randn(n, n, generator=g, dtype=D), torch.randn(n, generator=g, dtype=D)
        shift = float(torch.randn((), generator=g)) * 2

        def f(w, A=A, shift=shift):
            return torch.sin(A @ w).sum() + shift * (w * w).sum() + (w**3).sum() / 8

        values = eigenvalues(f, x)
        c = certify_spectrum(of(f, x.tolist()))
        agrees(c, values)
        settled += c.definiteness in ("indefinite", "positive definite", "negative definite")
    assert settled >= 20


# networks -----------------------------------------------------------------------------------------------------------
def network(hidden: int = 5, activation: type[nn.Module] = nn.Tanh, **options) -> Objective:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(3, hidden), activation(), nn.Linear(hidden, 2)).double()
    x, y = torch.randn(20, 3, dtype=D), torch.randint(2, (20,))
    return Objective(model, nn.CrossEntropyLoss(), x, y, **options)


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU, nn.GELU, nn.Softplus])
def test_networks_reach_the_ends_of_the_dense_spectrum(activation: type[nn.Module]) -> None:
    J = network(activation=activation, weight_decay=0.01)
    values = torch.linalg.eigvalsh(epigraph.hessian(J).to_dense())
    c = certify_spectrum(J)
    assert c.definiteness == "indefinite" and c.largest is not None and c.least is not None
    agrees(c, values)
    assert float(c.largest) >= float(values[-1]) * (1 - 1e-6) and float(c.least) <= float(values[0]) * (1 - 1e-6)


def test_weight_decay_makes_the_hessian_definite(tmp_path: Path) -> None:
    J = network(weight_decay=2.0)
    values = torch.linalg.eigvalsh(epigraph.hessian(J).to_dense())
    c, quick = certify_spectrum(J), certify_spectrum(J, file=False)
    assert c.definiteness == quick.definiteness == "positive definite" and c.modulus == quick.modulus
    agrees(c, values)
    assert c.modulus is not None and c.modulus >= float(values[0]) * (1 - 1e-9)
    assert quick.payload is None and quick.precision_bits == 0
    c.save(tmp_path / "x.epi")
    assert float(epigraph.verify(tmp_path / "x.epi").gap) <= c.modulus


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU, nn.GELU])
def test_more_parameters_than_entries_are_enclosed_for(activation: type[nn.Module], tmp_path: Path) -> None:
    J = network(hidden=30, activation=activation, weight_decay=2.0)
    assert sum(p.numel() for p in J.parameters.values()) == 182 > definite.ENTRIES
    values = torch.linalg.eigvalsh(epigraph.hessian(J).to_dense())
    c = certify_spectrum(J)
    assert c.definiteness == "positive definite" and c.modulus is not None
    agrees(c, values)
    assert c.modulus >= float(values[0]) * (1 - 1e-9)
    c.save(tmp_path / "x.epi")
    assert epigraph.verify(tmp_path / "x.epi").statement.count("positive definite") == 1
    claim = c.payload.manifest["claim"]
    forged = (
        {"modulus": (c.modulus * (1 + 1e-6)).hex()},
        {"property": "negative definite"},
        {"blocks": claim["blocks"][:1], "modulus": (float(values[0]) * 10).hex()},
    )
    for change in forged:
        payload = replace(c.payload, manifest={**c.payload.manifest, "claim": {**claim, **change}})
        write(tmp_path / "forged.epi", payload)
        with pytest.raises(CertificateError, match=r"E44[01]"):
            epigraph.verify(tmp_path / "forged.epi")


def test_an_indefinite_hessian_of_many_parameters_is_refused_as_definite(tmp_path: Path) -> None:
    J = network(hidden=30, weight_decay=2.0)
    c = certify_spectrum(J)
    K = network(hidden=30, weight_decay=1e-3)
    assert c.payload is not None and float(torch.linalg.eigvalsh(epigraph.hessian(K).to_dense())[0]) < 0
    graph = certify_spectrum(K).payload
    assert graph is not None
    claim = {**c.payload.manifest["claim"], "modulus": (1e-9).hex()}
    keep = {k: v for k, v in graph.manifest["tensors"].items() if not k.startswith("direction")}
    base = {k: v for k, v in graph.base.items() if not k.startswith("direction")}
    write(tmp_path / "x.epi", replace(graph, manifest={**graph.manifest, "claim": claim, "tensors": keep}, base=base))
    with pytest.raises(CertificateError, match=r"E44[01]"):
        epigraph.verify(tmp_path / "x.epi")


def test_a_block_alone_and_another_point() -> None:
    J = network()
    point = {k: torch.randn_like(v) for k, v in J.parameters.items()}
    kept = {k: v.detach().clone() for k, v in J.parameters.items()}
    c = certify_spectrum(J, point, "0.weight")
    H = epigraph.hessian(J, point, "0.weight").to_dense()
    agrees(c, torch.linalg.eigvalsh(H))
    assert c.blocks == ("0.weight",) and c.payload.manifest["claim"]["blocks"] == ["0.weight"]
    assert all(torch.equal(kept[k], v) for k, v in J.parameters.items())


def test_a_given_spectrum_is_used_and_a_wrong_one_refused() -> None:
    J = network()
    good = epigraph.spectrum(J, top=1, bottom=1, vectors=True)
    assert certify_spectrum(J, found=good).definiteness == "indefinite"
    wrong = [
        epigraph.spectrum(J, top=1, bottom=1),
        epigraph.spectrum(epigraph.hessian(J, kind="gauss-newton"), top=1, bottom=1, vectors=True),
        epigraph.spectrum(J, blocks="0.weight", top=1, bottom=1, vectors=True),
    ]
    for found in wrong:
        with pytest.raises(UsageError, match="E025"):
            certify_spectrum(J, found=found)


def test_a_spectrum_of_another_point_settles_nothing() -> None:
    J = network()
    found = epigraph.spectrum(J, {k: v + 1 for k, v in J.parameters.items()}, top=1, bottom=1, vectors=True)
    c = certify_spectrum(J, found=found)
    assert c.definiteness == "not settled" and c.reason is not None and "another point" in c.reason


def test_vectors_that_are_no_eigenvectors_prove_less_but_nothing_false() -> None:
    f, x = KNOWN["saddle"][0], [0.5, 0.5]
    J = of(f, x)
    found = epigraph.spectrum(J, top=1, bottom=1, vectors=True)
    swapped = {"top": found.vectors["bottom"], "bottom": found.vectors["top"]}
    mixed = {"top": torch.ones(1, 2, dtype=D), "bottom": torch.ones(1, 2, dtype=D)}  # (2 - 6) / 2 < 0
    for vectors, word in ((swapped, "indefinite"), (mixed, "not positive semidefinite")):
        c = certify_spectrum(J, found=type(found)(**{**vars(found), "vectors": vectors}))
        assert c.definiteness == word
        agrees(c, eigenvalues(f, torch.tensor(x, dtype=D)))


def test_coordinates_that_the_domain_fixes_do_not_move(tmp_path: Path) -> None:
    box = {"w": (torch.tensor([-1.0, 0.5, -1.0], dtype=D), torch.tensor([1.0, 0.5, 1.0], dtype=D))}
    J = of(lambda w: w[0] ** 2 - w[2] ** 2 + w[1] * w[0] * w[2], [0.0, 0.5, 1.0], domain=box)
    c = certify_spectrum(J)
    assert c.definiteness == "indefinite"
    c.save(tmp_path / "x.epi")
    assert epigraph.verify(tmp_path / "x.epi").ok
    assert all(v[1] == 0 for k, v in c.payload.base.items() if k.startswith("direction"))


def test_an_operator_without_a_lowering_settles_nothing() -> None:
    c = certify_spectrum(of(lambda w: torch.special.i0(w).sum() + (w * w).sum(), [0.5]))
    assert c.definiteness in ("not settled", "positive definite")
    assert c.definiteness != "not settled" or c.reason


# the command line -----------------------------------------------------------------------------------------------------
def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [*arguments])
    return result.exit_code, " ".join(result.stdout.split()), result.stderr


def test_the_command_certifies_and_verify_accepts(tmp_path: Path) -> None:
    file = tmp_path / "x.epi"
    code, out, _ = run("spectrum", "--expr", "x*y + x**2*y", "--certify", "--certificate", str(file))
    assert code == 0 and "Certified: the Hessian at this point" in out and "enclosed at 128 bits" in out
    assert "(check it again: epigraph verify" in out
    code, out, _ = run("verify", str(file), "--json")
    assert code == 0 and json.loads(out)["form"] == "rayleigh"
    code, out, _ = run("spectrum", "--expr", "x*y + x**2*y", "--certify", "--json")
    assert json.loads(out)["certified"]["definiteness"] == "indefinite"


def test_a_page_says_what_is_certified(tmp_path: Path) -> None:
    page = tmp_path / "x.html"
    code, _, _ = run("spectrum", "--expr", "x*y", "--certify", "--report", str(page))
    assert (
        code == 0
        and "Certified: the Hessian at this point has a positive and a negative eigenvalue" in page.read_text()
    )


def test_nothing_is_written_where_nothing_is_proved(tmp_path: Path) -> None:
    file = tmp_path / "x.epi"
    code, out, err = run("spectrum", "--expr", "x+y", "--certificate", str(file))
    assert code == 0 and not file.exists() and "is not written" in err and "Not settled" in out


@pytest.mark.parametrize("extra", [["--kind", "gauss-newton"], ["--top", "0"], ["--bottom", "0"]])
def test_what_cannot_be_certified_is_a_wrong_call(extra: list[str]) -> None:
    code, _, err = run("spectrum", "--expr", "x*y", "--certify", *extra)
    assert code == 2 and "E086" in err


def test_verify_compares_the_target(tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(
        "import torch, epigraph\n\n\ndef make(c):\n"
        '    return epigraph.Objective.from_function(lambda w: c * w[0] * w[1], {"w": torch.zeros(2)})\n\n\n'
        "def one():\n    return make(1.5)\n\n\ndef other():\n    return make(2.5)\n"
    )
    file = tmp_path / "x.epi"
    assert run("spectrum", f"{tmp_path / 'two.py'}:one", "--certificate", str(file))[0] == 0
    assert run("verify", str(file), "--target", f"{tmp_path / 'two.py'}:one")[0] == 0
    code, _, err = run("verify", str(file), "--target", f"{tmp_path / 'two.py'}:other")
    assert code == 1 and "E460" in err
