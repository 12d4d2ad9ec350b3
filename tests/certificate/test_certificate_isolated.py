"""Files about isolated critical points: what they prove, and attacks on them."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from certificate_builder import Builder
from certificate_isolated import SAMPLES, isolate, minima_sample, roots, true, wells
from certificate_samples import Draft
from flint import arb, ctx, fmpq_poly
from test_certificate_mutations import mutate

from epigraph.certificate import format
from epigraph.certificate.verify import verify, verify_here
from epigraph.errors import CertificateError

COUNT = 200


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_holds(name: str, tmp_path: Path) -> None:
    format.write(tmp_path / "x.epi", SAMPLES[name]())
    result = verify(tmp_path / "x.epi")
    assert result.ok and result.form == "isolated" and true(format.read(tmp_path / "x.epi"))
    assert result.estimate["seconds"] < 1.0


def test_the_statements(tmp_path: Path) -> None:
    format.write(tmp_path / "x.epi", minima_sample())
    result = verify_here(tmp_path / "x.epi")
    assert result.property == "different local minima" and result.blocks == ("x", "y")
    assert (
        "It has 2 strict local minima in (x, y) of 2 different values, each the only critical point" in result.statement
    )
    assert 0 < float(result.gap) < 0.3
    format.write(tmp_path / "x.epi", SAMPLES["saddle"]())
    result = verify_here(tmp_path / "x.epi")
    assert (
        "Within 0.015625 of the stored point it has exactly one critical point in (x, y): a saddle of index 1"
        in result.statement
    )
    assert result.property == "saddle" and result.gap == ""


@pytest.fixture(autouse=True)
def _many_bits() -> Any:
    with ctx.workprec(200):
        yield


def test_values_of_the_wells_in_ball_arithmetic() -> None:
    """x^4/4 - x^2/2 + x/8 at the roots of x^3 - x + 1/8, isolated by FLINT."""
    exact = sorted((r for r, _ in fmpq_poly([1, -8, 0, 8]).numer().complex_roots()), key=lambda r: r.real)
    for near, root in zip(roots(), exact, strict=True):
        x = root.real
        value = x**4 / 4 - x**2 / 2 + x / 8
        found = isolate(wells(), {"x": [near], "y": [0.0]}, 2.0**-8)
        assert found is not None and arb(found.low) <= value <= arb(found.high)
        assert abs(x - near) <= arb(found.error) and found.error < 1e-14


def test_values_from_beside_the_point() -> None:
    """J is enclosed at the critical point, not at the centre of the ball."""
    for low_or_high in (0, 2):
        x = roots()[low_or_high]
        best = isolate(wells(), {"x": [x], "y": [0.0]}, 2.0**-8)
        assert best is not None
        for away in (1e-9, -1e-6, 1e-4, 1e-3):
            found = isolate(wells(), {"x": [x + away], "y": [-away]}, 2.0**-6)
            assert found is not None and found.low <= best.low and best.high <= found.high
            assert found.error >= abs(away) * 1.4 and found.high - found.low < 100 * away**2 + 1e-14


def test_a_ball_never_reaches_a_second_critical_point() -> None:
    """x^4/4 - e x^2/2 has critical points at 0 and at the two roots of e."""
    for e in (1.0, 2.0**-6, 2.0**-12, 2.0**-20):
        b = Builder()
        x = b.parameter("x", np.array([0.0]))
        parts = (
            b("mul", b("power", x, exponent="4"), b.scalar("1/4")),
            b("mul", b("mul", x, x), b.data("e", np.array([-e / 2]))),
        )
        b("sum", b("add", *parts), dims=[0])
        proved = {}
        for k in range(0, 60):
            radius = 2.0**-k * 4
            for at, index in ((0.0, 1), (e**0.5, 0)):
                found = isolate(b, {"x": [at]}, radius)
                if found is not None:
                    assert radius < e**0.5 and found.index == index
                    proved.setdefault(at, radius)
        assert len(proved) == 2 and all(radius > e**0.5 / 64 for radius in proved.values())


@pytest.mark.parametrize(
    "make",
    [
        lambda b, x: b("power", x, exponent="4"),
        lambda b, x: b("power", x, exponent="3"),
        lambda b, x: b("abs", x),
        lambda b, x: b("add", b("relu", x), b("mul", x, x)),
        lambda b, x: b("add", b("maximum", x, b("neg", x)), b("mul", x, x)),
        lambda b, x: b("elu", b("mul", x, x), alpha="1"),
        lambda b, x: b("sqrt", b("mul", x, x)),
        lambda b, x: b("xlogx", b("mul", x, x)),
        lambda b, x: b("add", b("mul", b("sign", x), x), b("mul", x, x)),
        lambda b, x: b("where", b("compare", x, b("neg", x), relation="lt"), b("neg", x), b("mul", x, x)),
        lambda b, x: b("mul", x, b("add", x, b.scalar("1"))),
        lambda b, x: b("piecewise", x, knots=["0"], pieces=[["0", "0", "1"], ["0", "0", "2"]]),
    ],
)  # fmt: skip
def test_nothing_is_proved_where_nothing_is_isolated(make: Callable[[Builder, int], int]) -> None:
    """Degenerate points, kinks, jumps of the second derivative, and points that are not critical, at zero."""
    from epigraph.certificate.reverse import NoGradient

    b = Builder()
    x = b.parameter("x", np.array([0.0]))
    b("sum", make(b, x), dims=[0])
    for radius in (2.0**-3, 2.0**-20, 2.0**-60):
        try:
            assert isolate(b, {"x": [0.0]}, radius) is None
        except (NoGradient, AssertionError):
            pass  # not smooth, or a Hessian of zero


# attacks ------------------------------------------------------------------------------------------------------------
def entry(d: Draft, k: int = 0) -> dict[str, Any]:
    return d.claim["points"][k]


def setter(*path: Any, value: Any) -> Callable[[Draft], None]:
    def change(d: Draft) -> None:
        target: Any = d.claim
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value

    return change


def retyped(d: Draft) -> None:
    d.base["point.1.x"] = d.base["point.1.x"].astype(np.int64)
    d.manifest["tensors"]["point.1.x"]["dtype"] = "I64"


def other_role(d: Draft) -> None:
    d.manifest["tensors"]["point.1.x"]["role"] = "bound"


def read_by_the_graph(d: Draft) -> None:
    next(n for n in d.nodes if n["attributes"].get("tensor") == "one")["attributes"]["tensor"] = "point.1.x"


def one_point(d: Draft) -> None:
    del d.claim["points"][1]


def same_point(d: Draft) -> None:
    """Two names for one minimum: the same ball twice, one with an interval of values that is not its own."""
    d.base["point.1.x"][...] = d.base["x"]
    d.base["point.1.y"][...] = d.base["y"]


def swapped(d: Draft) -> None:
    first, second = d.claim["points"]
    first["value"], second["value"] = second["value"], first["value"]


def moved(d: Draft) -> None:
    d.base["point.1.x"][...] += 0.3


def shifted(d: Draft) -> None:
    """The ball still holds the minimum, but beyond half of its radius."""
    d.base["point.1.x"][...] += 0.75 * 2.0**-6


def other_data(d: Draft) -> None:
    d.base["one"][...] = -1.0


def displaced(d: Draft) -> None:
    d.delta["y"] = np.array([1], np.int8)
    d.manifest["delta"]["y"] = {"scale_log2": 0}


def fewer_blocks(d: Draft) -> None:
    d.claim["blocks"] = ["x"]


def quadratic(d: Draft) -> None:
    """No linear term: both minima have the same value."""
    next(n for n in d.nodes if n["attributes"].get("value") == "1/8")["attributes"]["value"] = "0"


def wide(d: Draft) -> None:
    d.claim["domain"], d.claim["points"][0]["radius"] = {}, (1.5).hex()
    for key in [k for k, t in d.manifest["tensors"].items() if t["role"] == "bound"]:
        del d.manifest["tensors"][key]
        d.base.pop(key, None)


ATTACKS = {
    "a larger ball": (setter("points", 0, "radius", value=(0.75).hex()), "E440"),
    "a ball with two critical points": (wide, "E440"),
    "a ball of no size": (setter("points", 0, "radius", value=(0.0).hex()), "E420"),
    "a negative radius": (setter("points", 0, "radius", value=(-0.1).hex()), "E420"),
    "a huge radius": (setter("points", 0, "radius", value=(2.0**100).hex()), "E420"),
    "a radius that is too small": (setter("points", 0, "radius", value=(2.0**-70).hex()), "E440"),
    "another index": (setter("points", 0, "index", value=1), "E420"),
    "an index that is too large": (setter("points", 0, "index", value=3), "E420"),
    "a truth value as index": (setter("points", 0, "index", value=False), "E420"),
    "a narrower value": (setter("points", 0, "value", value=[(-0.375).hex(), (-0.375).hex()]), "E441"),
    "values swapped": (swapped, "E441"),
    "values that overlap": (setter("points", 0, "value", value=[(-1.0).hex(), (1.0).hex()]), "E420"),
    "an empty value": (setter("points", 0, "value", value=[(1.0).hex(), (-1.0).hex()]), "E420"),
    "one number as value": (setter("points", 0, "value", value=[(1.0).hex()]), "E420"),
    "the same point twice": (same_point, "E441"),
    "the same values by the graph": (quadratic, "E440"),
    "one point, with the word for two": (one_point, "E420"),
    "no point": (setter("points", value=[]), "E420"),
    "too many points": (setter("points", value=[{}] * 65), "E420"),
    "a word that is not theirs": (setter("property", value="different critical points"), "E420"),
    "a word that is no word": (setter("property", value=["saddle"]), "E420"),
    "a centre that moved": (moved, "E440"),
    "a centre near the edge": (shifted, "E440"),
    "a centre of integers": (retyped, "E420"),
    "a centre of another role": (other_role, "E420"),
    "a centre that is a parameter": (setter("points", 1, "centre", "x", value="x"), "E420"),
    "a centre that is missing": (setter("points", 1, "centre", "x", value="nowhere"), "E420"),
    "a centre without y": (setter("points", 1, "centre", value={"x": "point.1.x"}), "E420"),
    "a centre read by the graph": (read_by_the_graph, "E410"),
    "other data": (other_data, "E441"),
    "a displacement": (displaced, "E420"),
    "fewer blocks": (fewer_blocks, "E420"),
    "no blocks": (setter("blocks", value=[]), "E420"),
    "a domain that cuts the ball": (setter("domain", "x", value=[(-1.07).hex(), None]), "E422"),
    "a domain without the point": (setter("domain", "x", value=[(0.0).hex(), None]), "E422"),
    "exact arithmetic": (setter("arithmetic", value="exact"), "E420"),
    "too few bits": (setter("precision_bits", value=2), "E420"),
    "another form": (setter("form", value="definite"), "E404"),
    "a further field": (setter("points", 0, "kind", value="minimum"), "E404"),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_are_refused(name: str, tmp_path: Path) -> None:
    change, code = ATTACKS[name]
    draft = Draft(minima_sample())
    change(draft)
    with pytest.raises(CertificateError) as caught:
        verify_here(draft.save(tmp_path / "x.epi"))
    assert caught.value.code == code, str(caught.value)


def test_a_saddle_is_no_minimum(tmp_path: Path) -> None:
    draft = Draft(SAMPLES["saddle"]())
    draft.claim["property"], draft.claim["points"][0]["index"] = "strict local minimum", 0
    with pytest.raises(CertificateError) as caught:
        verify_here(draft.save(tmp_path / "x.epi"))
    assert caught.value.code == "E441" and "the index is 1" in str(caught.value)


def test_a_parameter_that_j_ignores_is_refused(tmp_path: Path) -> None:
    draft = Draft(minima_sample())
    b = wells()
    b.parameter("z", np.array([0.0]))
    draft.manifest["graph"]["nodes"].append({**b.nodes[-1], "id": len(draft.nodes)})
    draft.manifest["tensors"]["z"] = {**draft.manifest["tensors"]["y"], "name": "z"}
    draft.base["z"], draft.base["point.1.z"] = np.array([0.0]), np.array([0.0])
    draft.manifest["tensors"]["point.1.z"] = draft.manifest["tensors"]["point.1.y"]
    draft.claim["blocks"] = ["x", "y", "z"]
    entry(draft, 1)["centre"]["z"] = "point.1.z"
    draft.manifest["graph"]["output"] = len(draft.nodes) - 2
    with pytest.raises(CertificateError) as caught:
        verify_here(draft.save(tmp_path / "x.epi"))
    assert caught.value.code == "E440"


def test_the_cost_is_refused_first(tmp_path: Path) -> None:
    format.write(tmp_path / "x.epi", minima_sample())
    with pytest.raises(CertificateError) as caught:
        verify_here(tmp_path / "x.epi", budget_seconds=1e-4)
    assert caught.value.code == "E430"
    b = Builder()
    x = b.parameter("x", np.zeros((1, 1, 4, 4)))
    w = b.data("w", np.ones((1, 1, 3, 3)))
    conv = b("convolution", x, w, stride=[1, 1], padding=[20000, 20000], dilation=[1, 1], groups=1)
    b("sum", b("mul", conv, conv), dims=[0, 1, 2, 3])
    draft = Draft(minima_sample())
    draft.manifest = {**draft.manifest, "graph": b.graph()}
    claim = {
        "form": "isolated",
        "property": "strict local minimum",
        "arithmetic": "arb",
        "precision_bits": 128,
        "domain": {},
    }
    claim |= {
        "blocks": ["x"],
        "points": [{"radius": (0.1).hex(), "index": 0, "value": [(0.0).hex()] * 2, "centre": {}}],
    }
    made = format.assemble(claim, b.graph(), b.tensors, {}, {})
    format.write(tmp_path / "x.epi", made)
    with pytest.raises(CertificateError) as caught:
        verify_here(tmp_path / "x.epi")
    assert caught.value.code == "E430"


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_changed_file_is_refused_or_true(sample: str, tmp_path: Path) -> None:
    rng, content = random.Random(f"isolated {sample}"), SAMPLES[sample]()
    refused = accepted = 0
    for _ in range(COUNT):
        try:
            mutate(rng, content, tmp_path / "x.epi")
        except (TypeError, AttributeError, KeyError, ValueError, OverflowError):
            continue
        try:
            assert verify_here(tmp_path / "x.epi", budget_seconds=2.0, budget_bytes=2**30).ok
        except CertificateError:
            refused += 1
            continue
        accepted += 1
        assert true(format.read(tmp_path / "x.epi"))
    assert refused > COUNT / 2 and accepted > 0
