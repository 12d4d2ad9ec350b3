"""Files about the Hessian at a point: what they prove, and attacks on them."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from certificate_builder import Builder
from certificate_hessians import SADDLE, SAMPLES, bowl, definite_payload, rayleigh_payload, saddle, true
from certificate_samples import Draft
from flint import arb
from test_certificate_mutations import mutate

from epigraph.certificate import definite, format
from epigraph.certificate.verify import verify, verify_here
from epigraph.errors import CertificateError

COUNT = 400


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_holds(name: str, tmp_path: Path) -> None:
    payload = SAMPLES[name]()
    format.write(tmp_path / "x.epi", payload)
    result = verify(tmp_path / "x.epi")
    assert result.ok and result.form == name and true(format.read(tmp_path / "x.epi"))
    assert "-" not in result.gap and float(result.gap) > 0


def test_the_statement_has_the_known_eigenvalues(tmp_path: Path) -> None:
    """At x0 = 1/4, y = 1/2: H = [[1/2, -3/2], [-3/2, 1/8]], quotients (5/8 + 3)/2 and (5/8 - 3)/2."""
    format.write(tmp_path / "x.epi", SAMPLES["rayleigh"]())
    result = verify_here(tmp_path / "x.epi")
    assert "at least 1.8125 and an eigenvalue of at most -1.1875:" in result.statement
    assert "neither positive nor negative semidefinite" in result.statement
    assert result.property == "indefinite" and result.blocks == ("x", "y")
    assert arb(result.values["positive quotient"]).contains(arb(1.8125))


@pytest.mark.parametrize("side, word", [("positive", "concave"), ("negative", "convex")])
def test_one_side_alone(side: str, word: str, tmp_path: Path) -> None:
    format.write(tmp_path / "x.epi", rayleigh_payload(saddle(), {side: SADDLE[side]}))
    result = verify_here(tmp_path / "x.epi")
    assert result.statement.endswith(f"J is not {word} near the point.") and result.property.startswith("not ")


def test_negative_definite(tmp_path: Path) -> None:
    b = bowl()
    b("neg", len(b.nodes) - 1)
    format.write(tmp_path / "x.epi", definite_payload(b, "negative definite", 0.5))
    assert "every eigenvalue is at most -0.5" in verify_here(tmp_path / "x.epi").statement


# attacks ------------------------------------------------------------------------------------------------------------
def quotient(d: Draft, side: str) -> dict[str, Any]:
    return d.claim["quotients"][side]


def swap_sides(d: Draft) -> None:
    q = d.claim["quotients"]
    q["positive"], q["negative"] = q["negative"], q["positive"]


def larger(d: Draft) -> None:
    quotient(d, "negative")["size"]["den_log2"] -= 1


def zero_direction(d: Draft) -> None:
    for key in quotient(d, "positive")["direction"].values():
        d.base[key][...] = 0


def other_direction(d: Draft) -> None:
    d.base["negative.x"][...] = [0, 1]
    d.base["negative.y"][...] = 0


def retyped(dtype: Any) -> Callable[[Draft], None]:
    def change(d: Draft) -> None:
        d.base["negative.x"] = d.base["negative.x"].astype(dtype)
        d.manifest["tensors"]["negative.x"]["dtype"] = {"i4": "I32", "f8": "F64", "u1": "U8"}[np.dtype(dtype).str[1:]]

    return change


def moved_point(d: Draft) -> None:
    d.base["x"][...] = [2.0, 0.5]
    d.base["y"][...] = 2.0  # x0 y = 4: both quotients are positive


def other_data(d: Draft) -> None:
    d.base["target"][...] = -8.0


def outside(d: Draft) -> None:
    d.base["y"][...] = 4.5


def no_room(d: Draft) -> None:
    d.claim["domain"]["y"] = [(0.5).hex(), (0.5).hex()]


def stray(d: Draft) -> None:
    d.claim["quotients"].pop("positive")
    d.claim["property"] = "not positive semidefinite"


def read_by_the_graph(d: Draft) -> None:
    node = next(n for n in d.nodes if n["attributes"].get("tensor") == "target")
    node["attributes"]["tensor"] = "negative.y"


def displaced(d: Draft) -> None:
    d.delta["y"] = np.array([1], np.int8)
    d.manifest["delta"]["y"] = {"scale_log2": 0}


def setter(*path: str, value: Any) -> Callable[[Draft], None]:
    def change(d: Draft) -> None:
        target = d.claim
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value

    return change


RAYLEIGH = {
    "sides swapped": (swap_sides, "E441"),
    "a larger size": (larger, "E441"),
    "a zero direction": (zero_direction, "E420"),
    "another direction": (other_direction, "E441"),
    "a direction of floats": (retyped("f8"), "E420"),
    "a direction of 32 bits": (retyped("i4"), "E420"),
    "a direction without sign": (retyped("u1"), "E420"),
    "a direction that is a parameter": (setter("quotients", "negative", "direction", "y", value="y"), "E420"),
    "a direction of another shape": (setter("quotients", "negative", "direction", "y", value="positive.x"), "E420"),
    "a direction that is missing": (setter("quotients", "negative", "direction", "y", value="nowhere"), "E420"),
    "no direction": (setter("quotients", "negative", "direction", value={}), "E420"),
    "a direction outside of the blocks": (setter("blocks", value=["x"]), "E421"),
    "no blocks": (setter("blocks", value=[]), "E420"),
    "the point moved": (moved_point, "E441"),
    "other data": (other_data, "E441"),
    "outside the domain": (outside, "E422"),
    "no room in the domain": (no_room, "E422"),
    "a word that says less": (setter("property", value="not positive semidefinite"), "E404"),
    "a word of the other form": (setter("property", value="positive definite"), "E420"),
    "a word that is no word": (setter("property", value=["indefinite"]), "E420"),
    "the other form": (setter("form", value="definite"), "E404"),
    "the form of midpoints": (setter("form", value="midpoint"), "E404"),
    "a size of zero": (setter("quotients", "positive", "size", "num", value="0"), "E420"),
    "a negative size": (setter("quotients", "positive", "size", "num", value="-3"), "E420"),
    "a size of astronomic denominator": (setter("quotients", "positive", "size", "den_log2", value=10**9), "E420"),
    "a third side": (setter("quotients", "zero", value={}), "E404"),
    "exact arithmetic": (setter("arithmetic", value="exact"), "E420"),
    "too many bits": (setter("precision_bits", value=10**6), "E420"),
    "too few bits": (setter("precision_bits", value=2), "E420"),
    "a tensor that nothing reads": (stray, "E404"),
    "a direction read by the graph": (read_by_the_graph, "E410"),
    "a displacement": (displaced, "E420"),
}
DEFINITE = {
    "the sign flipped": (setter("property", value="negative definite"), "E440"),
    "a larger modulus": (setter("modulus", value=(4.0).hex()), "E440"),
    "a negative modulus": (setter("modulus", value=(-0.5).hex()), "E420"),
    "no modulus": (setter("modulus", value=(0.0).hex()), "E420"),
    "other data": (lambda d: d.base["t"].fill(1000.0), "E440"),
    "the other form": (setter("form", value="rayleigh"), "E404"),
    "a displacement": (lambda d: (d.manifest["delta"].update(v={"scale_log2": 0}), d.delta.update(v=np.ones((1, 1), np.int8))), "E420"),
}  # fmt: skip
ATTACKS = [("rayleigh", k, *v) for k, v in RAYLEIGH.items()] + [("definite", k, *v) for k, v in DEFINITE.items()]


@pytest.mark.parametrize("sample, name, change, code", ATTACKS, ids=[f"{s}: {n}" for s, n, *_ in ATTACKS])
def test_attacks_are_refused(sample: str, name: str, change: Callable[[Draft], Any], code: str, tmp_path: Path) -> None:
    draft = Draft(SAMPLES[sample]())
    change(draft)
    with pytest.raises(CertificateError) as caught:
        verify_here(draft.save(tmp_path / "x.epi"))
    assert caught.value.code == code, str(caught.value)


def test_the_opposite_direction_proves_the_same(tmp_path: Path) -> None:
    draft = Draft(SAMPLES["rayleigh"]())
    draft.base["negative.x"] *= -1
    draft.base["negative.y"] *= -1
    assert verify_here(draft.save(tmp_path / "x.epi")).ok


def test_changed_tensors_do_not_match_their_checksums(tmp_path: Path) -> None:
    draft = Draft(SAMPLES["rayleigh"]())
    draft.keep_digests = True
    draft.base["negative.x"][0] = 2
    with pytest.raises(CertificateError, match="E406"):
        verify_here(draft.save(tmp_path / "x.epi"))


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("moves", [True, False])
def test_a_kink_on_the_point_is_refused(sample: str, moves: bool, tmp_path: Path) -> None:
    """relu at zero, in a parameter that a direction moves or that none does."""
    b = saddle() if sample == "rayleigh" else bowl()
    last = len(b.nodes) - 1
    z = b.parameter("z", np.array([1.0]))
    b("add", last, b("sum", b("relu", z), dims=[0]))
    if sample == "rayleigh":
        payload = rayleigh_payload(b, {s: {**d, **({"z": [1]} if moves else {})} for s, d in SADDLE.items()})
    else:
        payload = definite_payload(b, "positive definite", 0.5)
    draft = Draft(payload)
    draft.base["z"][...] = 0.0
    with pytest.raises(CertificateError, match=r"E442.*\n.*relu is at a kink"):
        verify_here(draft.save(tmp_path / "x.epi"))


def test_a_kink_in_a_parameter_that_is_held_is_no_obstacle(tmp_path: Path) -> None:
    b = saddle()
    last = len(b.nodes) - 1
    b("add", last, b("sum", b("relu", b.parameter("z", np.array([1.0]))), dims=[0]))
    draft = Draft(rayleigh_payload(b, SADDLE))
    draft.base["z"][...] = 0.0
    draft.claim["blocks"].remove("z")
    assert "with 1 other parameter held" in verify_here(draft.save(tmp_path / "x.epi")).statement


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_file_that_would_cost_too_much_is_refused_before_it_runs(sample: str, tmp_path: Path) -> None:
    b = Builder()
    x = b.parameter("x", np.zeros(1500))
    wide = b("expand", b("tanh", x), shape=[4000, 1500])
    b("sum", b("exp", b("mul", wide, wide)), dims=[0, 1])
    claim = {"arithmetic": "arb", "precision_bits": 128, "domain": {}, "blocks": ["x"]}
    if sample == "definite":
        claim |= {"form": "definite", "property": "positive definite", "modulus": (1.0).hex()}
        tensors = b.tensors
    else:
        sizes = {"size": {"num": "1", "den_log2": 0}, "direction": {"x": "u"}}
        claim |= {"form": "rayleigh", "property": "not negative semidefinite", "quotients": {"positive": sizes}}
        tensors = {**b.tensors, "u": format.Stored(np.ones(1500, np.int8), "direction", "u")}
    format.write(tmp_path / "x.epi", format.assemble(claim, b.graph(), tensors, {}))
    with pytest.raises(CertificateError, match="E430"):
        verify_here(tmp_path / "x.epi", budget_seconds=20.0)


def test_more_variables_than_a_matrix_may_have_are_refused(tmp_path: Path) -> None:
    b = Builder()
    x = b.parameter("x", np.zeros(definite.LARGEST + 1))
    b("sum", b("mul", x, x), dims=[0])
    format.write(tmp_path / "x.epi", definite_payload(b, "positive definite", 1.0))
    with pytest.raises(CertificateError, match="E402"):
        verify_here(tmp_path / "x.epi")


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_changed_file_is_refused_or_true(sample: str, tmp_path: Path) -> None:
    rng, payload, path = random.Random(f"hessian {sample}"), SAMPLES[sample](), tmp_path / "mutant.epi"
    refused = accepted = 0
    for _ in range(COUNT):
        try:
            mutate(rng, payload, path)
        except (TypeError, AttributeError, KeyError, ValueError, OverflowError):
            continue  # a change that even the unchecked writer cannot write
        try:
            assert verify_here(path, budget_seconds=2.0, budget_bytes=2**28).ok
        except CertificateError:
            refused += 1
            continue
        accepted += 1
        assert true(format.read(path))
    assert refused > COUNT / 2 and accepted > 0
