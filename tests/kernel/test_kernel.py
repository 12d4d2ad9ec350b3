"""The kernel: derivations by hand and by the prover are accepted, changed ones refused unless they stay true."""

from __future__ import annotations

import copy
import itertools
import math
import random
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from flint import ctx
from hypothesis import given
from hypothesis import strategies as st
from kernel_curve_oracle import contradictions
from kernel_graphs import ALPHAS, EXPONENTS, PIECES, UNARY, make
from kernel_hand import HANDS, Hand
from kernel_oracle import Claimed, points, wrong_claims

from epigraph.certificate import kernel, kernel_curves
from epigraph.certificate.kernel import recheck, statement
from epigraph.certificate.kernel_numbers import at_least_product, at_least_sum, at_least_total
from epigraph.convexity.evidence import manifest_graph
from epigraph.convexity.prove import Derivation, Prover
from epigraph.errors import CertificateError

Built = tuple[dict[str, Any], dict[str, np.ndarray], dict[str, Any]]
BITS = 7


def refused(built: Built) -> CertificateError | None:
    try:
        recheck(*built)
    except CertificateError as error:
        return error
    return None


@pytest.mark.parametrize("hand", HANDS, ids=lambda h: h.__name__)
def test_derivations_made_by_hand_are_accepted(hand):
    built = hand().built()
    recheck(*built)
    assert hand().goal.replace("_", "-") in statement(built[2])


# mutations ---------------------------------------------------------------------------------------------------------


def _mutants(built: Built) -> Iterator[tuple[str, int | None, Built]]:
    """(what was changed, the node whose record changed, the changed derivation)."""
    graph, tensors, derivation = built
    for key, record in derivation["nodes"].items():
        number = int(key)
        for field, value in [
            ("varies", not record["varies"]),
            *_other_carriers(record, number),
            *_other_bits(record),
            *_other_bounds(record),
        ]:
            changed = copy.deepcopy(derivation)
            changed["nodes"][key][field] = value
            yield field, number, (graph, tensors, changed)
        node = graph["nodes"][number]
        if node["op"] == "constant" and node["attributes"].get("value", "0") != "0":
            other = copy.deepcopy(graph)
            other["nodes"][number]["attributes"]["value"] = str(-Fraction(node["attributes"]["value"]))
            yield "constant", None, (other, tensors, derivation)
    keys = list(derivation["nodes"])
    for first, second in itertools.pairwise(keys):
        changed = copy.deepcopy(derivation)
        nodes = changed["nodes"]
        if (
            graph["nodes"][int(first)]["shape"] == graph["nodes"][int(second)]["shape"]
            and nodes[first] != nodes[second]
        ):
            nodes[first], nodes[second] = nodes[second], nodes[first]
            yield "swap", None, (graph, tensors, changed)


def _other_bits(record: dict[str, Any]) -> list[tuple[str, Any]]:
    bits = record["bits"]
    return [("bits", bits | 1 << k) for k in range(BITS) if isinstance(bits, int) and not bits >> k & 1]


def _other_bounds(record: dict[str, Any]) -> list[tuple[str, Any]]:
    out: list[tuple[str, Any]] = []
    for side, sign in (("lower", 1), ("upper", -1)):
        if isinstance(record[side], str):
            value = float.fromhex(record[side])
            for moved in (
                math.nextafter(value, sign * math.inf),
                value + sign * 0.25,
                -sign * 1e3 if math.isinf(value) else value + sign,
            ):
                if moved != value:
                    out.append((side, float(moved).hex()))
    return out


def _other_carriers(record: dict[str, Any], number: int) -> list[tuple[str, Any]]:
    if record["carrier"] is None:
        return [("carrier", [number, 1])]
    base, direction = record["carrier"]
    return [("carrier", [base, d]) for d in (-1, 1) if d != direction] + [
        ("carrier", [number, -1]),
        ("carrier", [0, 1]),
    ]


@pytest.mark.parametrize("hand", HANDS, ids=lambda h: h.__name__)
def test_a_changed_derivation_is_refused_unless_it_is_still_true(hand):
    built = hand().built()
    accepted = []
    refusals = 0
    for what, number, mutant in _mutants(built):
        if (error := refused(mutant)) is None:
            accepted.append((what, number, mutant))
        else:
            refusals += 1
            assert error.code in kernel.CODES, f"{what} at {number}: {error}"
            assert error.where
    assert refusals > len(accepted)
    rng = random.Random(0)
    for what, number, mutant in accepted:
        claimed = Claimed(*mutant)
        wrong = wrong_claims(
            claimed.graph, claimed, list(points(claimed.graph, claimed.domain, mutant[2]["active"], rng, 20))
        )
        assert wrong == [], f"{what} at node {number} was accepted: {wrong[0]}"


def test_most_mutants_are_refused():
    counts: dict[str, list[int]] = {}
    for hand in HANDS:
        for what, _, mutant in _mutants(hand().built()):
            counts.setdefault(what, [0, 0])[refused(mutant) is None] += 1
    assert counts["varies"][1] == counts["constant"][1] == 0
    assert all(bad <= 0.35 * good for good, bad in counts.values()), counts


def test_a_goal_that_the_output_has_not_is_refused():
    for hand in HANDS:
        graph, tensors, derivation = hand().built()
        for goal in kernel.PROPERTIES:
            bits = derivation["nodes"][str(graph["output"])]["bits"]
            error = refused((graph, tensors, derivation | {"property": goal}))
            if bits >> kernel.PROPERTIES.index(goal) & 1:
                assert error is None
            else:
                assert error is not None and error.code == "E455"


# lemmas that must not exist ------------------------------------------------------------------------------------------


def _pair(claims: str, low: float = -math.inf, **names: Any) -> tuple[Hand, int, int]:
    h = Hand("convex", ["x", "y"])
    return h, h.parameter("x", low=low), h.parameter("y", low=low)


def _product() -> Hand:
    h, x, y = _pair("")
    h("mul", x, y, claims="cvx")
    return h


def _product_of_positive() -> Hand:
    h, x, y = _pair("", 0.0)
    h("mul", x, y, claims="cvx", low=0)
    return h


def _sum_of_quasiconvex() -> Hand:
    h, x, y = _pair("")
    h("add", h("floor", x, claims="q", carrier=(x, 1)), h("floor", y, claims="q", carrier=(y, 1)), claims="qcx")
    return h


def _log_concave_plus_constant() -> Hand:
    h, x, _ = _pair("")
    h(
        "add",
        h("sigmoid", x, claims="q+lcv", low=0, high=1, carrier=(x, 1)),
        h.number("1"),
        claims="q+lcv",
        low=1,
        high=2,
        carrier=(x, 1),
    )
    return h


def _falling_of_convex() -> Hand:
    h, x, _ = _pair("")
    s = h("power", x, claims="rcx", low=0, carrier=(x, 0), exponent="2")
    h("exp", h("neg", s, claims="ccv", high=0, carrier=(x, 0)), claims="cvx", low=0, high=1.5, carrier=(x, 0))
    return h


def _square_of_convex() -> Hand:
    h, x, _ = _pair("")
    s = h(
        "add", h("exp", x, claims="laff", low=0, carrier=(x, 1)), h.number("-1"), claims="cvxq", low=-1, carrier=(x, 1)
    )
    h("power", s, claims="cvx", low=0, carrier=(x, 0), exponent="2")
    return h


def _silu_too_wide() -> Hand:
    h = Hand("convex", ["x"])
    x = h.parameter("x", low=-2.3993572805154675, high=2.399357280515468)
    h("silu", x, claims="cvx", low=-0.27846454276107385, high=2.3, carrier=(x, 0))
    return h


def _reciprocal_across_zero() -> Hand:
    h, x, _ = _pair("", -1.0)
    h("power", x, claims="cvx", exponent="-1", carrier=(x, 0))
    return h


def _log_of_convex() -> Hand:
    h, x, _ = _pair("")
    s = h(
        "add",
        h("power", x, claims="rcx", low=0, exponent="2", carrier=(x, 0)),
        h.number("1"),
        claims="rcx",
        low=1,
        carrier=(x, 0),
    )
    h("log", s, claims="cvx", low=-1, carrier=(x, 0))
    return h


def _varying_condition() -> Hand:
    h, x, y = _pair("")
    c = h("compare", x, y, claims="q+lcv", low=0, high=1, relation="lt")
    h("where", c, x, y, claims="cvx")
    return h


@pytest.mark.parametrize(
    "hand",
    [
        _product,
        _product_of_positive,
        _sum_of_quasiconvex,
        _log_concave_plus_constant,
        _falling_of_convex,
        _square_of_convex,
        _silu_too_wide,
        _reciprocal_across_zero,
        _log_of_convex,
        _varying_condition,
    ],
    ids=lambda h: h.__name__.strip("_"),
)
def test_false_claims_are_refused(hand):
    error = refused(hand().built())
    assert error is not None and error.code == "E453", error
    assert "no lemma gives" in error.what and error.why


def test_operands_of_same_must_be_equal():
    h, x, y = _pair("")
    product = h("mul", x, y, claims="")
    square = h("power", x, claims="rcx", low=0, exponent="2")
    h("same", product, square, claims="cvx")
    error = refused(h.built())
    assert error is not None and error.code == "E453"


@pytest.mark.parametrize("label", [0.5, 0.1])
def test_both_spellings_of_the_logistic_loss_are_equal_only_with_exact_complements(label):
    """y softplus(-z) + c softplus(z) = softplus(z) - y z needs c = 1 - y, which float64 does not always hold."""
    h = Hand("convex", ["z"])
    z = h.parameter("z", (1,))
    y, c = h.data(np.array([label])), h.data(np.array([1 - label]))
    s = h("softplus", z, claims="cvxq+lcv", low=0, carrier=(z, 1))
    t = h("softplus", h("neg", z, claims="aff", carrier=(z, -1)), claims="cvxq+lcv", low=0, carrier=(z, -1))
    plain = h("add", s, h("neg", h("mul", y, z, claims="aff"), claims="aff"), claims="cvx")
    split = h("add", h("mul", y, t, claims="cvx", low=0), h("mul", c, s, claims="cvx", low=0), claims="cvx", low=0)
    h("sum", h("same", plain, split, claims="cvx", low=0), claims="cvx", low=0, shape=(), dims=[0])
    exact = Fraction(label) + Fraction(1 - label) == 1
    assert (refused(h.built()) is None) is exact


# form ----------------------------------------------------------------------------------------------------------------


def _changed(change: Any) -> Built:
    graph, tensors, derivation = HANDS[0]().built()
    derivation = copy.deepcopy(derivation)
    change(derivation)
    return graph, tensors, derivation


MALFORMED: dict[str, Any] = {
    "no nodes": lambda d: d.pop("nodes"),
    "an unknown field": lambda d: d.update(note="hello"),
    "an unknown property": lambda d: d.update(property="smooth"),
    "nothing active": lambda d: d.update(active=[]),
    "active twice": lambda d: d.update(active=["w", "w"]),
    "a missing record": lambda d: d["nodes"].pop("1"),
    "a record of no node": lambda d: d["nodes"].update({"99": d["nodes"]["1"]}),
    "a record without bits": lambda d: d["nodes"]["1"].pop("bits"),
    "bits as text": lambda d: d["nodes"]["1"].update(bits="15"),
    "bits too large": lambda d: d["nodes"]["1"].update(bits=128),
    "bits true": lambda d: d["nodes"]["1"].update(bits=True),
    "a float as bound": lambda d: d["nodes"]["4"].update(lower=0.0),
    "a decimal bound": lambda d: d["nodes"]["4"].update(lower="0.5"),
    "a bound of another shape": lambda d: d["nodes"]["4"].update(lower={"tensor": "t0"}),
    "no such tensor": lambda d: d["nodes"]["4"].update(lower={"tensor": "zz"}),
    "a carrier of no node": lambda d: d["nodes"]["4"].update(carrier=[99, 1]),
    "a carrier of direction 2": lambda d: d["nodes"]["4"].update(carrier=[0, 2]),
    "varies as a number": lambda d: d["nodes"]["4"].update(varies=1),
    "a box of one side": lambda d: d["domain"].update(w=["0x0.0p+0"]),
    "an empty box": lambda d: d["domain"].update(w=["0x1.0000000000000p+0", "0x0.0p+0"]),
    "a box of another shape": lambda d: d["domain"].update(w=[{"tensor": "t2"}, None]),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_derivations_are_refused(name):
    error = refused(_changed(MALFORMED[name]))
    assert error is not None and error.code == "E451", error


@pytest.mark.parametrize(
    "field, value", [("lower", "inf"), ("upper", "-inf"), ("lower", "nan"), ("upper", "-0x1.0000000000000p+0")]
)
def test_intervals_without_a_real_number_are_refused(field, value):
    error = refused(_changed(lambda d: d["nodes"]["5"].update({field: value})))
    assert error is not None and error.code == "E452", error


def test_a_constant_that_is_not_finite_is_refused():
    graph, tensors, derivation = HANDS[0]().built()
    key = graph["nodes"][1]["attributes"]["tensor"]
    worse = tensors[key].copy()
    worse[0, 0] = math.inf
    derivation["nodes"]["1"] |= {"upper": "inf"}
    error = refused((graph, tensors | {key: worse}, derivation))
    assert error is not None and error.code == "E452"


def test_a_parameter_that_is_active_elsewhere_may_be_named():
    graph, tensors, derivation = HANDS[0]().built()
    recheck(graph, tensors, derivation | {"active": ["w", "unused"], "domain": {"unused": [None, "0x0.0p+0"]}})


# numbers -------------------------------------------------------------------------------------------------------------

FLOATS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 5e-324, 1e-308, 1.5, 1e308, -1e308, 2.0**-537]),
)


def _near(value: Fraction) -> list[float]:
    try:
        middle = float(value)
    except OverflowError:
        middle = 1.7976931348623157e308 if value > 0 else -1.7976931348623157e308
    return [math.nextafter(middle, -math.inf), middle, math.nextafter(middle, math.inf)]


@given(FLOATS, FLOATS)
def test_comparisons_with_sums_and_products_are_exact(a, b):
    for compare, exact in ((at_least_sum, Fraction(a) + Fraction(b)), (at_least_product, Fraction(a) * Fraction(b))):
        for bound in _near(exact):
            if math.isfinite(bound):
                assert bool(np.all(compare(*map(np.asarray, (bound, a, b))))) is (Fraction(bound) <= exact), (
                    compare,
                    bound,
                    a,
                    b,
                )


@given(st.lists(FLOATS, max_size=6))
def test_comparisons_with_totals_are_exact(terms):
    exact = sum(map(Fraction, terms), Fraction(0))
    for bound in _near(exact):
        if math.isfinite(bound):
            assert at_least_total(bound, list(terms)) is (Fraction(bound) <= exact)


# the prover's derivations --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", range(6))
def test_the_kernel_follows_the_prover_and_claims_survive_evaluation(block):
    rng = random.Random(block)
    goals = 0
    for seed in range(1000 * block, 1000 * block + 25):
        graph, domain = make(seed, wild=0.05 * block)
        prover = Prover(graph, domain)
        names = tuple(graph.parameters)
        for active in {names, (rng.choice(names),)}:
            plain, stored, _ = manifest_graph(graph, forms=True)
            derivation, extra = Derivation(prover, active, "convex").parts
            error = refused((plain, {k: s.array for k, s in stored.items()} | extra, derivation))
            assert error is None or error.code == "E455", f"seed {seed}, active {active}: {error}"
            goals += error is None
            walk = prover.walk(active)
            wrong = wrong_claims(graph, walk, list(points(graph, domain, active, rng, 6)))
            assert wrong == [], f"seed {seed}, active {active}: {wrong[0]}"
    assert goals >= 5


def test_large_index_tensors_are_read():
    """Rows of a tensor with different claims, taken by a long index."""
    h = Hand("convex", ["x"])
    x = h.parameter("x", (1,))
    up = h("exp", x, claims="laff", low=0, carrier=(x, 1))
    down = h("neg", up, claims="ccvq", high=0, carrier=(x, -1))
    joined = h(
        "concat",
        up,
        down,
        claims=["laff", "ccvq"],
        low=np.array([0.0, -math.inf]),
        high=np.array([math.inf, 0.0]),
        shape=(2,),
        dim=0,
    )
    index = np.zeros(2000, dtype=np.int64)
    for last, wanted in ((0, None), (1, "E453")):
        changed = copy.deepcopy(h)
        index[-1] = last
        rows = changed(
            "take",
            joined,
            changed.data(index.copy()),
            claims="laff",
            low=0 if not last else -math.inf,
            shape=(2000,),
            dim=0,
        )
        changed("sum", rows, claims="cvx", low=-math.inf, shape=(), dims=[0])
        error = refused(changed.built())
        assert (error and error.code) == wanted


# curves against Arb --------------------------------------------------------------------------------------------------


def _curve_cases() -> list[tuple[str, dict[str, Any]]]:
    return [
        *((op, {}) for op in UNARY),
        *(("power", {"exponent": e}) for e in EXPONENTS),
        *(("elu", {"alpha": a}) for a in ALPHAS),
        *(("piecewise", {"knots": k, "pieces": p}) for k, p in PIECES),
    ]


@pytest.mark.parametrize(
    "op, attributes", _curve_cases(), ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v.values()))[:20]
)
def test_slope_and_curvature_on_intervals_that_end_at_knees(op, attributes):
    """Triples close to both ends of the interval, where a knee that is off by one float would show, at 400 bits."""
    with ctx.workprec(400):
        assert contradictions(op, attributes, random.Random(op), 150) == []


@pytest.mark.parametrize("op", ["silu", "gelu", "mish"])
def test_a_knee_that_is_off_by_one_float_would_show(op, monkeypatch):
    (a, b), (c, d) = kernel_curves.knees(op)
    outward = ((math.nextafter(a, -9), math.nextafter(b, -9)), (math.nextafter(c, 9), math.nextafter(d, 9)))
    below, above = kernel_curves.turn(op)
    ends = (a, d, below, above)
    with ctx.workprec(400):
        with monkeypatch.context() as patch:
            patch.setattr(kernel_curves, "knees", lambda _: outward)
            assert any(" convex" in w for w in contradictions(op, {}, random.Random(op), 300, ends))
        with monkeypatch.context() as patch:
            patch.setattr(kernel_curves, "turn", lambda _: (math.nextafter(below, 9), math.nextafter(above, 9)))
            assert any(" down" in w for w in contradictions(op, {}, random.Random(op), 300, ends))
