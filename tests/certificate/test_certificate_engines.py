"""Whole graphs: rational arithmetic against Fractions, balls against rational arithmetic and against PyTorch."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import certificate_fractions as oracle
import numpy as np
import pytest
from certificate_builder import Builder, steps
from certificate_models import encoder, network, resnet18
from flint import arb, ctx, fmpq
from hypothesis import given, settings
from hypothesis import strategies as st

from epigraph.certificate import contraction, exact
from epigraph.certificate.points import Delta, Dyadic, dyadic, inside, moved
from epigraph.certificate.rationals import OPERATORS, Undefined

floats = st.sampled_from([0.0, 1.0, -1.0, 0.5, -2.25, 3.0, 0.1, -7.7, 1e-9, 2.0**40]) | st.floats(-4, 4)


def arrays(draw: Any, shape: tuple[int, ...]) -> np.ndarray:
    return np.array([draw(floats) for _ in range(math.prod(shape))]).reshape(shape)


@st.composite
def rational_graphs(draw: Any) -> tuple[Builder, dict[str, Delta]]:
    """A random graph of rational operators on 2 x 3 tensors, summed at the end, with a move of its parameters."""
    b = Builder()
    pool = [
        b.parameter("u", arrays(draw, (2, 3))),
        b.parameter("v", arrays(draw, (2, 3))),
        b.data("c", arrays(draw, (2, 3))),
    ]
    index = b.data("i", np.array([1, 0, 1]), "index")
    pick = st.integers(0, 10**6)

    def some() -> int:
        return pool[draw(pick) % len(pool)]

    def rowwise(x: int) -> int:
        kept = b(draw(st.sampled_from(["sum", "amax"])), x, dims=[1])
        return b("expand", b("reshape", kept, shape=[2, 1]), shape=[2, 3])

    def positive(x: int) -> int:
        return b("add", b("abs", x), b.scalar("1/7"))

    def shuffled(x: int, y: int) -> int:
        both = b("concat", x, y, dim=1)
        return b("slice", both, dim=1, start=draw(st.integers(0, 1)), stop=6, step=2)

    def taken(x: int) -> int:
        return b("permute", b("take", b("permute", x, dims=[1, 0]), index, dim=0), dims=[1, 0])

    makers = [
        lambda: b("add", some(), some()),
        lambda: b("mul", some(), some()),
        lambda: b("neg", some()),
        lambda: b("maximum", some(), some()),
        lambda: b("relu", some()),
        lambda: b("abs", some()),
        lambda: b("power", some(), exponent=draw(st.sampled_from(["0", "1", "2", "3"]))),
        lambda: b("sign", some()),
        lambda: b("floor", some()),
        lambda: b.sub(some(), some()),
        lambda: b("div", some(), b.scalar(draw(st.sampled_from(["3", "-7/5", "1/1024"])))),
        lambda: b(
            "where", b("compare", some(), some(), relation=draw(st.sampled_from(["lt", "le", "eq"]))), some(), some()
        ),
        lambda: b("piecewise", some(), knots=["0", "1/3"], pieces=[["0"], ["0", "0", "1"], ["1/18", "1/6"]]),
        lambda: b("matmul", b("matmul", some(), b("permute", some(), dims=[1, 0])), some()),
        lambda: rowwise(some()),
        lambda: shuffled(some(), some()),
        lambda: taken(some()),
        lambda: b("div", some(), positive(some())),
        lambda: b("power", positive(some()), exponent=draw(st.sampled_from(["-1", "-2"]))),
        lambda: b("same", some(), some()),
        lambda: b("add", some(), b.scalar("2/3")),
    ]
    for _ in range(draw(st.integers(1, 7))):
        pool.append(draw(st.sampled_from(makers))())
    total = pool[-1]
    for weight, node in enumerate(pool[:-1], 2):
        total = b("add", total, b("mul", node, b.scalar(f"1/{weight}")))
    b("mul", b("sum", total, dims=[0, 1]), b.scalar("1/6"))
    shape = (2, 3)
    delta = {
        key: steps(
            np.array(draw(st.lists(st.integers(-100, 100), min_size=6, max_size=6))).reshape(shape),
            draw(st.integers(-60, 2)),
        )
        for key in draw(st.sampled_from([["u"], ["u", "v"]]))
    }
    return b, delta


def fraction_points(b: Builder, delta: dict[str, Delta]) -> list[Fraction]:
    """J(a), J(b), J(m) by the oracle."""
    out = []
    for sign in (1, -1, 0):
        shifted = {
            key: oracle.fractions(b.arrays[key]) + sign * oracle.fractions(d.steps) * Fraction(2) ** d.scale_log2
            for key, d in delta.items()
        }
        out.append(oracle.evaluate(b.graph(), b.arrays, shifted))
    return out


def three_points(delta: dict[str, Delta]) -> list[dict[str, Delta]]:
    return [delta, {key: d.opposite for key, d in delta.items()}, {}]


@settings(max_examples=150)
@given(rational_graphs())
def test_rational_graphs_are_exact_and_balls_contain_them(case: tuple[Builder, dict[str, Delta]]) -> None:
    b, delta = case
    assert exact.supports_exact(b.graph())
    expected = fraction_points(b, delta)
    found = exact.evaluate(b.graph(), b.arrays, three_points(delta), "exact")
    assert found == [fmpq(e.numerator, e.denominator) for e in expected]
    coarse, fine = (exact.evaluate(b.graph(), b.arrays, three_points(delta), "arb", bits) for bits in (100, 2000))
    for rough, ball, value in zip(coarse, fine, expected, strict=True):
        with ctx.workprec(8000):
            assert ball.is_finite() and ball.contains(fmpq(value.numerator, value.denominator))
            if rough.is_finite():  # after cancellation a denominator's ball may hold zero
                assert rough.contains(fmpq(value.numerator, value.denominator))


EXACT = [
    *((op, 1, {}) for op in ("neg", "abs", "relu", "sign", "floor", "same")),
    *(("power", 1, {"exponent": e}) for e in ("0", "1", "2", "5", "-1", "-4")),
    ("piecewise", 1, {"knots": ["-1", "1/2"], "pieces": [["1"], ["0", "-1"], ["-1/2", "-1/2", "1"]]}),
    *((op, 2, {}) for op in ("add", "mul", "div", "maximum", "same")),
    *(("compare", 2, {"relation": r}) for r in ("lt", "le", "eq")),
    ("where", 3, {}),
    ("sum", 1, {"dims": [0]}),
    ("sum", 1, {"dims": [0, 1]}),
    ("sum", 1, {"dims": []}),
    ("amax", 1, {"dims": [1]}),
    ("reshape", 1, {"shape": [4, 2]}),
    ("permute", 1, {"dims": [1, 0]}),
    ("expand", 1, {"shape": [3, 2, 4]}),
    ("slice", 1, {"dim": 1, "start": 1, "stop": 4, "step": 2}),
    ("concat", 2, {"dim": 0}),
]


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("op, count, attributes", EXACT, ids=str)
def test_each_rational_operator_is_exact_in_both_engines(
    op: str, count: int, attributes: dict[str, Any], constant: bool
) -> None:
    b = Builder()
    leaf = b.data if constant else b.parameter
    x = leaf("x", np.array([[0.1, -1.0, 2.5, -0.5], [3.0, 0.5, -2.25, 7.0]]))
    y = leaf("y", np.array([[0.1, 2.0, -3.5, -0.5], [1.5, -0.3, 2.25, 6.5]]))
    c = b.data("c", np.array([[1, 0, 0, 1], [0, 1, 1, 0]], dtype=np.uint8))
    _weighted(b, b(op, *([c, x, y] if op == "where" else [x, y][:count]), **attributes))
    expected = fraction_points(b, {})[2]
    (value,) = exact.evaluate(b.graph(), b.arrays, [{}], "exact")
    assert value == fmpq(expected.numerator, expected.denominator)
    (ball,) = exact.evaluate(b.graph(), b.arrays, [{}], "arb", 128)
    with ctx.workprec(4000):
        assert ball.contains(value)
        assert ball.rad() < 1e-30


CONVOLUTIONS = [
    ((2, 3, 7), (4, 3, 3), dict(stride=[2], padding=[1], dilation=[1], groups=1)),
    ((2, 4, 9), (6, 2, 2), dict(stride=[1], padding=[2], dilation=[3], groups=2)),
    ((2, 3, 6, 5), (4, 3, 3, 3), dict(stride=[1, 1], padding=[1, 1], dilation=[1, 1], groups=1)),
    ((1, 4, 7, 8), (4, 1, 3, 2), dict(stride=[2, 3], padding=[0, 1], dilation=[2, 1], groups=4)),
    ((3, 2, 5, 5), (2, 2, 5, 5), dict(stride=[1, 1], padding=[0, 0], dilation=[1, 1], groups=1)),
    ((1, 2, 4, 5, 4), (2, 2, 2, 3, 2), dict(stride=[2, 1, 1], padding=[1, 1, 0], dilation=[1, 1, 2], groups=1)),
    ((5, 1, 3, 3), (1, 1, 1, 1), dict(stride=[2, 2], padding=[3, 3], dilation=[1, 1], groups=1)),
]
PRODUCTS = [
    ((2, 3), (3, 4)),
    ((7, 2, 3), (3, 1)),
    ((2, 1, 3, 2), (1, 5, 2, 3)),
    ((4, 5), (6, 5, 2)),
    ((1, 3, 4), (2, 4, 1)),
    ((3, 0), (0, 2)),
]


def _weighted(b: Builder, x: int) -> None:
    shape = b.shape(x)
    weights = b.data("weights", np.random.default_rng(3).integers(-9, 9, shape).astype(np.float32))
    b("sum", b("mul", x, weights), dims=list(range(len(shape))))


@pytest.mark.parametrize("block", [2, 40, contraction.BLOCK_ENTRIES])
@pytest.mark.parametrize("case", CONVOLUTIONS + PRODUCTS, ids=str)
def test_convolutions_and_products_in_blocks_of_any_size(
    case: Any, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contraction, "BLOCK_ENTRIES", block)
    rng = np.random.default_rng(4)
    for constant in (False, True):
        b = Builder()
        x = (b.data if constant else b.parameter)("x", rng.integers(-5, 6, case[0]).astype(np.float32))
        w = b.parameter("w", rng.integers(-5, 6, case[1]) / 8)
        _weighted(b, b("convolution", x, w, **case[2]) if len(case) == 3 else b("matmul", x, w))
        expected = fraction_points(b, {})[2]
        assert float(expected) == b.value()
        (value,) = exact.evaluate(b.graph(), b.arrays, [{}], "exact")
        assert value == fmpq(expected.numerator, expected.denominator)
        (ball,) = exact.evaluate(b.graph(), b.arrays, [{}], "arb", 128)
        assert ball.contains(value)
        assert ball.rad() < 1e-30


SMOOTH = [
    ("logsumexp", {"dims": [1]}),
    ("logsumexp", {"dims": [0, 1]}),
    ("log_softmax", {"dim": 0}),
    ("log_softmax", {"dim": 1}),
    *((op, {}) for op in "exp sigmoid tanh softplus erf log_ndtr sin cos atan silu gelu mish".split()),
    ("elu", {"alpha": "1/3"}),
    ("amax", {"dims": [0]}),
    ("power", {"exponent": "3"}),
    ("sum", {"dims": []}),
]


@pytest.mark.parametrize("op, attributes", SMOOTH, ids=lambda v: str(v))
def test_every_operator_agrees_with_pytorch(op: str, attributes: dict[str, Any]) -> None:
    b = Builder()
    x = b.parameter("x", np.random.default_rng(0).standard_normal((3, 4)) * 2)
    y = b(op, x, **attributes)
    _weighted(b, y)
    (ball,) = exact.evaluate(b.graph(), b.arrays, [{}], "arb", 128)
    assert float(ball.mid()) == pytest.approx(b.value(), rel=1e-13)
    assert ball.rad() < 1e-30


@pytest.mark.parametrize("value", [800.0, -800.0, 1e6])
def test_log_softmax_and_logsumexp_do_not_overflow(value: float) -> None:
    b = Builder()
    x = b.parameter("x", np.array([[value, 0.0, value - 1]]))
    b("sum", b("add", b("logsumexp", x, dims=[1]), b("sum", b("log_softmax", x, dim=1), dims=[1])), dims=[0])
    (ball,) = exact.evaluate(b.graph(), b.arrays, [{}], "arb", 128)
    assert float(ball.mid()) == pytest.approx(b.value(), rel=1e-10)  # float64 itself loses digits at 10^6
    assert ball.rad() < 1e-25


def test_all_operators_are_known_to_the_engines() -> None:
    """Each operator of the format has a method or a function in the ball engine, and the rational ones in the other."""
    from epigraph.certificate import ballfunctions, layout
    from epigraph.certificate.balls import Balls
    from epigraph.certificate.rationals import Rationals
    from epigraph.certificate.shapes import SIGNATURES

    for op in SIGNATURES:
        known = op in ballfunctions.FUNCTIONS or op in layout.LAYOUT or hasattr(Balls, f"_{op}")
        assert known, op
    for op in OPERATORS - {"parameter", "constant"}:
        assert op in SIGNATURES
        assert op in layout.LAYOUT or hasattr(Rationals, f"_{op}"), op


@pytest.mark.parametrize(
    "model",
    [network((5, 8, 1), 40, loss="mse"), network((6, 5, 4, 3), 11), encoder(2), resnet18(1, 16, 2)],
    ids=["mse", "deep", "encoder", "resnet"],
)
def test_networks_agree_with_pytorch(model: tuple[Builder, dict[str, Delta]]) -> None:
    import torch

    b, delta = model
    values = exact.evaluate(b.graph(), b.arrays, three_points(delta), "arb", 192)
    for value, sign in zip(values, (1, -1, 0), strict=True):
        shifted = {k: torch.tensor(b.arrays[k] + sign * d.floats()) for k, d in delta.items()}
        assert float(value.mid()) == pytest.approx(b.value(shifted), rel=1e-12)
        assert value.rad() < 1e-12


# ---- what is undefined stays undefined ----


def _scalar_graph(*ops: tuple[str, dict[str, Any]], start: float) -> Builder:
    b = Builder()
    x = b.parameter("x", start)
    for op, attributes in ops:
        x = b(op, x, **attributes)
    return b


UNDEFINED = [
    (("log", {}),),
    (("sqrt", {}),),
    (("power", {"exponent": "1/3"}),),
    (("xlogx", {}),),
    (("log", {}), ("sigmoid", {})),
    (("sqrt", {}), ("sign", {})),
    (("log", {}), ("sin", {})),
    (("log", {}), ("atan", {})),
    (("sqrt", {}), ("relu", {})),
    (("log", {}), ("power", {"exponent": "0"})),
    (("sqrt", {}), ("floor", {})),
    (("log", {}), ("elu", {"alpha": "1"})),
    (("log", {}), ("piecewise", {"knots": ["0"], "pieces": [["0"], ["0", "1"]]})),
    (("sqrt", {}), ("tanh", {})),
]


@pytest.mark.parametrize("ops", UNDEFINED, ids=lambda ops: "-".join(op for op, _ in ops))
def test_nothing_repairs_a_value_outside_its_domain(ops: tuple[tuple[str, dict[str, Any]], ...]) -> None:
    b = _scalar_graph(*ops, start=-1.0)
    (value,) = exact.evaluate(b.graph(), b.arrays, [{}], "arb", 128)
    assert not value.is_finite()


@pytest.mark.parametrize("op", ["mul", "matmul", "convolution", "maximum", "compare", "amax", "logsumexp", "sum"])
def test_an_undefined_entry_spoils_everything_that_reads_it(op: str) -> None:
    b = Builder()
    bad = b("log", b.parameter("x", np.array([[-1.0, 2.0], [1.0, 3.0]])))
    zero = b.data("zero", np.zeros((2, 2)))
    if op == "matmul":
        out = b("matmul", zero, bad)
    elif op == "convolution":
        one = b("reshape", bad, shape=[1, 1, 2, 2])
        kernel = b("reshape", zero, shape=[1, 1, 2, 2])
        out = b("convolution", one, kernel, stride=[1, 1], padding=[0, 0], dilation=[1, 1], groups=1)
    elif op == "compare":
        out = b("compare", bad, zero, relation="lt")
    elif op in ("mul", "maximum"):
        out = b(op, bad, zero)
    else:
        out = b(op, bad, dims=[0, 1])
    b("sum", out, dims=list(range(len(b.shape(out)))))
    (value,) = exact.evaluate(b.graph(), b.arrays, [{}], "arb", 128)
    assert not value.is_finite()


def test_a_product_keeps_the_rows_that_are_defined() -> None:
    b = Builder()
    bad = b("log", b.parameter("x", np.array([[-1.0, 2.0], [1.0, 3.0]])))
    out = b("matmul", bad, b.data("one", np.ones((2, 2))))
    b("sum", b("slice", out, dim=0, start=1, stop=2, step=1), dims=[0, 1])
    (value,) = exact.evaluate(b.graph(), b.arrays, [{}], "arb", 128)
    assert float(value.mid()) == pytest.approx(2 * math.log(3))


def test_the_branch_that_is_not_taken_may_be_undefined() -> None:
    """where(x < 0, 0, log x) is defined for x < 0; and 1 / 0 in exact arithmetic falls back to balls."""
    b = Builder()
    x = b.parameter("x", np.array([-1.0, 2.0]))
    zero = b.scalar(0)
    b("sum", b("where", b("compare", x, zero, relation="lt"), zero, b("log", x)), dims=[0])
    (value,) = exact.evaluate(b.graph(), b.arrays, [{}], "arb", 128)
    assert float(value.mid()) == pytest.approx(math.log(2))


@pytest.mark.parametrize("condition", [0.5, 2.0, -1.0, float(np.nextafter(1, 0))])
def test_a_condition_must_be_zero_or_one(condition: float) -> None:
    b = Builder()
    b("where", b.parameter("c", condition), b.scalar(1), b.scalar(1))
    (value,) = exact.evaluate(b.graph(), b.arrays, [{}], "arb", 128)
    assert not value.is_finite()
    with pytest.raises(Undefined):
        exact.evaluate(b.graph(), b.arrays, [{}], "exact")


def test_undecided_comparisons_enclose_both_cases() -> None:
    """At t = 1/3 computed in balls the condition t < 1/3 cannot be decided; both branches are enclosed."""
    b = Builder()
    x = b.parameter("x", 1.0)
    third = b("div", x, b.scalar(3))
    c = b("compare", third, b.scalar("1/3"), relation="lt")
    b("add", b("where", c, b.scalar(2), b.scalar(5)), b("mul", c, b.scalar(100)))
    (value,) = exact.evaluate(b.graph(), b.arrays, [{}], "arb", 64)
    for possible in (2, 5, 105):
        assert value.contains(arb(possible))
    (precise,) = exact.evaluate(b.graph(), b.arrays, [{}], "exact")
    assert precise == 5


def test_negated_conditions_are_conditions() -> None:
    b = Builder()
    x = b.parameter("x", 1.0)
    c = b("compare", b("div", x, b.scalar(3)), b.scalar("1/3"), relation="lt")
    flipped = b("add", b.scalar(1), b("neg", c))
    b("where", flipped, b.scalar(2), b.scalar(5))
    (value,) = exact.evaluate(b.graph(), b.arrays, [{}], "arb", 64)
    assert value.is_finite()
    assert value.contains(arb(2)) and value.contains(arb(5))


@pytest.mark.parametrize("form", ["2 - c", "c + c", "c - c", "c / 2"])
def test_what_only_looks_like_a_condition_is_none(form: str) -> None:
    """These take values besides 0 and 1; an undecided one must not enclose the branches."""
    b = Builder()
    c = b("compare", b("div", b.parameter("x", 1.0), b.scalar(3)), b.scalar("1/3"), relation="lt")
    made = {
        "2 - c": lambda: b.sub(b.scalar(2), c),
        "c + c": lambda: b("add", c, c),
        "c - c": lambda: b.sub(c, c),
        "c / 2": lambda: b("mul", c, b.scalar("1/2")),
    }[form]()
    b("where", made, b.scalar(2), b.scalar(5))
    (value,) = exact.evaluate(b.graph(), b.arrays, [{}], "arb", 64)
    assert not value.is_finite()


@pytest.mark.parametrize("relation, expected", [("lt", 0), ("le", 1), ("eq", 1)])
def test_equal_numbers_are_compared_exactly(relation: str, expected: int) -> None:
    b = Builder()
    x = b.parameter("x", 0.1)
    b("compare", x, b("neg", b("neg", x)), relation=relation)
    assert exact.evaluate(b.graph(), b.arrays, [{}], "arb", 64) == [arb(expected)]


def test_an_index_out_of_range_is_refused() -> None:
    from epigraph.errors import CertificateError

    b = Builder()
    b("sum", b("take", b.parameter("x", np.ones(3)), b.data("i", np.array([0, 2]), "index"), dim=0), dims=[0])
    for bad in ([0, 3], [-1, 0]):
        with pytest.raises(CertificateError, match="E413"):
            exact.evaluate(b.graph(), b.arrays | {"i": np.array(bad)}, [{}], "arb")


# ---- points ----


anything = st.floats(allow_nan=False, allow_infinity=False, width=64)


@given(
    st.lists(anything, min_size=1, max_size=5),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-1074, 900),
    st.sampled_from([1, -1]),
)
def test_moved_tensors_are_exact(values: list[float], step: int, scale: int, sign: int) -> None:
    base = np.array(values)
    delta = Delta(sign, np.full(len(values), step, dtype=np.int32), scale)
    found = moved(base, delta)
    expected = [Fraction(v) + sign * step * Fraction(2) ** scale for v in values]
    if isinstance(found, Dyadic):
        shown = [int(v) * Fraction(2) ** found.exponent for v in found.mantissas]
    else:
        shown = [Fraction(float(v)) for v in found]
    assert shown == expected
    for bound in (expected[0], Fraction(0)):
        near = float(bound) if abs(bound) < 1e300 else 1e300
        assert inside(found, near, None) is all(e >= Fraction(near) for e in expected)
        assert inside(found, None, np.full(len(values), near)) is all(e <= Fraction(near) for e in expected)


@given(st.lists(anything, max_size=6))
def test_dyadic_is_exact(values: list[float]) -> None:
    found = dyadic(np.array(values, dtype=np.float64))
    assert [int(m) * Fraction(2) ** found.exponent for m in found.mantissas] == [Fraction(v) for v in values]


def test_bounds_are_compared_in_double_precision() -> None:
    """float32(0.1) is above 0.1; NumPy would round the bound to float32 and find them equal."""
    value = np.array([0.1], dtype=np.float32)
    assert not inside(value, None, 0.1)
    assert inside(value, 0.1, None)


def test_points_that_are_not_floats_are_evaluated_exactly() -> None:
    b = Builder()
    x = b.parameter("x", np.array([1.0, 0.1]))
    b("sum", b("mul", x, x), dims=[0])
    delta = {"x": steps([1, 1], -200)}
    expected = fraction_points(b, delta)
    found = exact.evaluate(b.graph(), b.arrays, three_points(delta), "exact")
    assert found == [fmpq(e.numerator, e.denominator) for e in expected]
    for ball, value in zip(exact.evaluate(b.graph(), b.arrays, three_points(delta), "arb", 64), expected, strict=True):
        with ctx.workprec(4000):
            assert ball.contains(fmpq(value.numerator, value.denominator))


def test_displacements_are_checked() -> None:
    for make in (
        lambda: Delta(2, np.zeros(1, dtype=np.int8), 0),
        lambda: Delta(1, np.zeros(1, dtype=np.int8), 901),
        lambda: Delta(1, np.zeros(1), 0),
        lambda: Delta(1, np.zeros(1, dtype=np.int64), 0),
        lambda: moved(np.zeros(2), steps([1])),
    ):
        with pytest.raises(ValueError):
            make()


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64", "bool", "float16", "float32"])
def test_constants_of_every_dtype(dtype: str) -> None:
    b = Builder()
    array = np.array([0, 1, 1, 0]).astype(dtype) if dtype == "bool" else np.array([0, 1, 100, 7]).astype(dtype)
    b("sum", b("mul", b.data("c", array), b.parameter("x", np.array([1.0, 2.0, 3.0, 5.0]))), dims=[0])
    expected = float(array.astype(float) @ np.array([1.0, 2.0, 3.0, 5.0]))
    assert exact.evaluate(b.graph(), b.arrays, [{}], "exact") == [fmpq(int(expected))]
    assert exact.evaluate(b.graph(), b.arrays, [{}], "arb") == [arb(expected)]
