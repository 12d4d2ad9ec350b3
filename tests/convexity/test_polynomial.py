"""Polynomials of degree above two: decided both ways, proofs that stand as files, Gram matrices against sampled Hessians."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from flint import fmpq, fmpq_poly
from torch import Tensor

import epigraph
from epigraph import Objective, check
from epigraph.certificate.format import Payload, write
from epigraph.certificate.sturm import never_negative
from epigraph.certificate.sumofsquares import matches, positive
from epigraph.certificate.verify import verify_here
from epigraph.convexity.evidence import Court
from epigraph.convexity.polynomial import polynomial_claims
from epigraph.convexity.prove import Prover
from epigraph.convexity.squares import basis, gram
from epigraph.errors import CertificateError

Function = Callable[..., Tensor]


def of(f: Function, names: str, **domain: Any) -> Objective:
    start = {n: torch.tensor(0.5, dtype=torch.float64) for n in names}
    return Objective.from_function(f, start, domain=domain or None)


def squares(*x: Tensor) -> Tensor:
    return sum((v * v for v in x), torch.zeros((), dtype=torch.float64))


CASES: list[tuple[str, Function, str, str]] = [
    ("two quartics and a mixed term", lambda x, y: x**4 + y**4 + x**2 * y**2, "xy", "convex"),
    ("at the edge", lambda x, y: x**4 + y**4 + 6 * x**2 * y**2, "xy", "convex"),
    ("beyond the edge", lambda x, y: x**4 + y**4 + 6.01 * x**2 * y**2, "xy", "nonconvex"),
    ("quartic of one variable", lambda x: x**4 - 2 * x**3 + 2 * x**2, "x", "convex"),
    ("touches between numbers", lambda x: x**4 - 2 * x**3 + 1.5 * x**2, "x", "convex"),
    ("just below touching", lambda x: x**4 - 2 * x**3 + 1.4999 * x**2, "x", "nonconvex"),
    ("cubic", lambda x, y: x**3 + x * y, "xy", "nonconvex"),
    ("three variables", lambda x, y, z: squares(x, y, z) ** 2 - x * y * z + squares(x, y, z), "xyz", "convex"),
    ("its negative", lambda x, y: -((x * x + y * y) ** 2) - x**2 * y**2, "xy", "concave"),
    ("product and quartics", lambda x, y: (x * y - 1) ** 2 + x**4 + y**4, "xy", "nonconvex"),
    ("product, quartics, squares", lambda x, y: (x * y - 1) ** 2 + x**4 + y**4 + x * x + y * y, "xy", "convex"),
    (
        "six variables",
        lambda a, b, c, d, e, f: squares(a, b, c, d, e, f) ** 2 + a * b + squares(a, b),
        "abcdef",
        "convex",
    ),
    ("sextic", lambda x, y: (x * x + y * y) ** 3 + x**2 * y**2 + squares(x, y), "xy", "convex"),
]


@pytest.mark.parametrize("name, f, names, word", CASES, ids=[c[0] for c in CASES])
def test_polynomials_are_decided(name: str, f: Function, names: str, word: str) -> None:
    v = check(of(f, names), effort="quick")
    assert v.verdict == word
    if v.proof is not None:
        rng = np.random.default_rng(0)
        sign = 1 if word == "convex" else -1
        for scale in (0.1, 1.0, 4.0):
            x = torch.tensor(scale * rng.normal(size=len(names)))
            H = torch.func.hessian(lambda p: f(*p.unbind()))(x)
            assert float(torch.linalg.eigvalsh(sign * H)[0]) >= -1e-9 * float(H.abs().max() + 1)


def claims(f: Function, names: str, **domain: Any) -> dict[str, Any]:
    J = of(f, names, **domain)
    return polynomial_claims(
        Prover(J.graph(), J.domain, J.describe()), list(names), Court(J.graph(), J.domain, J.describe())
    )


@pytest.mark.parametrize("name, f, names", [c[:3] for c in CASES if c[3] in ("convex", "concave")][:6])
def test_files_are_verified_and_mutations_are_refused(name: str, f: Function, names: str, tmp_path: Any) -> None:
    found = claims(f, names)
    proof = found.get("convex") or found["concave"]
    proof.save(tmp_path / "p.epi")
    assert epigraph.verify(tmp_path / "p.epi").form == "polynomial"
    good = proof.payload()
    claim = good.manifest["claim"]
    other = "concave" if claim["property"] == "convex" else "convex"
    changes: list[dict[str, Any]] = [{"property": other}, {"gram": [*claim["gram"], "1"]}]
    for k in range(0, len(claim["gram"]), 3):
        p, q = (int(x) for x in claim["gram"][k].split("/"))
        changes.append({"gram": [*claim["gram"][:k], f"{p * 1000 + q}/{q * 1000}", *claim["gram"][k + 1 :]]})
    for change in changes:
        write(tmp_path / "bad.epi", Payload({**good.manifest, "claim": {**claim, **change}}, good.base, good.delta))
        with pytest.raises(CertificateError, match=r"E4(20|40)"):
            verify_here(tmp_path / "bad.epi")


def test_one_variable_on_an_interval() -> None:
    assert "convex" in claims(lambda x: x**3, "x", x=(0.0, None))
    assert "convex" not in claims(lambda x: x**3, "x", x=(-1e-9, None))
    assert "concave" in claims(lambda x: x**3 - 3 * x**2, "x", x=(None, 1.0))
    assert claims(lambda x: x**4 - x**2, "x", x=(-1.0, 1.0)) == {}


def test_held_parameters_are_variables_too() -> None:
    J = of(lambda x, y: x**4 * (1 + y * y) + y**3, "xy")
    prover, court = Prover(J.graph(), J.domain, J.describe()), Court(J.graph(), J.domain, J.describe())
    assert "convex" in polynomial_claims(prover, ["x"], court)
    assert polynomial_claims(prover, ["y"], court) == {}


def test_sturm_against_sampled_signs() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        p = fmpq_poly([int(c) for c in rng.integers(-4, 5, size=int(rng.integers(1, 6)))])
        low, high = sorted(rng.integers(-3, 4, size=2).tolist())
        low, high = (-math.inf if low == -3 else float(low)), (math.inf if high == 3 else float(high))
        if low == high:
            continue
        grid = np.linspace(max(low, -40.0), min(high, 40.0), 4001)
        values = [float(c) for c in p.coeffs()] or [0.0]
        sampled = np.polyval(values[::-1], grid)
        if never_negative(p, low, high):
            assert sampled.min() >= -1e-9
        else:
            assert sampled.min() < 1e-2 or not math.isfinite(low + high)


def test_a_form_that_is_no_sum_of_squares_is_not_proved() -> None:
    motzkin = {(4, 2): 1, (2, 4): 1, (2, 2): -3, (0, 0): 1}
    form = {(a, b, 2): fmpq(c) for (a, b), c in motzkin.items()}
    assert gram(form, 2) is None


def test_matching_compares_every_coefficient() -> None:
    form = {(2, 2): fmpq(1), (1, 2): fmpq(2), (0, 2): fmpq(1)}  # (x + 1)^2 v^2
    monomials = basis(form, 1)
    found = gram(form, 1)
    assert found is not None and set(found[0]) == set(monomials) == {(0, 1), (1, 1)}
    assert matches(form, *found) and positive(2, found[1])
    assert not matches({**form, (0, 2): fmpq(2)}, *found)
    assert not matches({k: c for k, c in form.items() if k != (0, 2)}, *found)
