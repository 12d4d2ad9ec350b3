"""The grammar of formulas against Python's own, and its errors by code and column."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from epigraph.errors import UsageError
from epigraph.objective.expression import parse

ORACLE = {
    "exp": math.exp,
    "sin": math.sin,
    "cos": math.cos,
    "tanh": math.tanh,
    "atan": math.atan,
    "sqrt": math.sqrt,
    "log": math.log,
    "e": math.e,
    "abs": abs,
    "max": max,
    "min": min,
    "pi": math.pi,
    "erf": math.erf,
    "cosh": math.cosh,
    "sinh": math.sinh,
    "tan": math.tan,
    "log1p": math.log1p,
    "expm1": math.expm1,
    "square": lambda x: x * x,
    "relu": lambda x: max(x, 0.0),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "norm": math.hypot,
    "softplus": lambda x: math.log1p(math.exp(x)),
    "clamp": lambda x, a, b: min(max(x, a), b),
    "logsumexp": lambda *x: math.log(sum(map(math.exp, x))),
    "where": lambda c, a, b: a if c else b,
    "huber": lambda x, d: x * x / 2 if abs(x) <= d else d * (abs(x) - d / 2),
}


def value(text: str, **at: float) -> float:
    return float(parse(text)(**{k: torch.tensor(v, dtype=torch.float64) for k, v in at.items()}))


def leaves() -> st.SearchStrategy[str]:
    numbers = st.sampled_from(["2", "0.5", ".25", "1e-1", "3.", "pi"])
    return st.one_of(numbers, st.sampled_from(["x", "y", "x", "y"]))


def compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    binary = st.builds(lambda a, op, b: f"{a}{op}{b}", inner, st.sampled_from(["+", "-", " * ", "/", " - "]), inner)
    names = st.sampled_from(["sin", "tanh", "atan", "abs", "sigmoid", "square"])
    return st.one_of(
        binary,
        st.builds(lambda a: f"({a})", inner),
        st.builds(lambda a: f"-{a}", inner),
        st.builds(lambda a, p: f"({a})**{p}", inner, st.sampled_from(["2", "-1", "3", "-x**2"])),
        st.builds(lambda f, a: f"{f}({a})", names, inner),
        st.builds(lambda f, a, b: f"{f}({a}, {b})", st.sampled_from(["max", "min", "norm", "logsumexp"]), inner, inner),
        st.builds(lambda c, a, b: f"where({c} > y, {a}, {b})", inner, inner, inner),
    )


@settings(max_examples=300, deadline=None)
@given(st.recursive(leaves(), compound, max_leaves=10), st.floats(0.1, 2.0), st.floats(0.1, 2.0))
def test_a_formula_means_what_python_says(text: str, x: float, y: float) -> None:
    text += " + 0*x*y"
    try:
        expected = eval(text, {"__builtins__": {}}, ORACLE | {"x": x, "y": y})
    except (ZeroDivisionError, OverflowError, TypeError):  # TypeError: Python's power became complex and is compared
        return
    try:
        got = value(text, x=x, y=y)
    except UsageError as error:  # a part without variables that is no finite number, or where() on two numbers
        assert any(reason in str(error) for reason in ("finite", "not a real", "no variable", "must compare"))
        return
    if isinstance(expected, complex):
        assert math.isnan(got)
    else:
        assert got == pytest.approx(expected, rel=1e-9, abs=1e-9)


NOT_UNARY = {"pi", "e", "max", "min", "norm", "logsumexp", "where", "clamp", "huber"}


@pytest.mark.parametrize("name", sorted(set(ORACLE) - NOT_UNARY))
def test_each_function_of_one_variable(name: str) -> None:
    for x in (0.3, 1.7):
        assert value(f"{name}(x)", x=x) == pytest.approx(ORACLE[name](x), rel=1e-12)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-x**2", -9.0),
        ("2**3**2*x", 1536.0),
        ("x**-1", 1 / 3),
        ("2-x-1", -2.0),
        ("12/x/2", 2.0),
        ("--x", 3.0),
        ("+x", 3.0),
        ("-2**x", -8.0),
        ("x**2**0.5", 3**2**0.5),
        ("huber(x, 1)", 2.5),
        ("clamp(x, -1, 1)", 1.0),
        ("max(x, 5, 4)", 5.0),
        ("where(x <= 3, 1, 2) + 0*x", 1.0),
        ("where(x < 3, 1, 2) + 0*x", 2.0),
        ("where(x == 3, 7, 0) + 0*x", 7.0),
        ("where(x != 3, 7, 0) + 0*x", 0.0),
        ("norm(x, 4)", 5.0),
        ("logsumexp(x, x)", 3 + math.log(2)),
        ("e**x", math.e**3),
        ("1E-1*x", 0.1 * 3),
        ("x\n*\tx", 9.0),
    ],
)
def test_precedence_and_functions(text: str, expected: float) -> None:
    assert value(text, x=3.0) == pytest.approx(expected, rel=1e-14)


def test_numbers_are_float64_literals() -> None:
    assert value("0.1*x", x=1.0) == 0.1
    assert value("(0.1 + 0.2)*x", x=1.0) == 0.1 + 0.2  # folded in float64, as Python does


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("x^2", 2, "x**2"),
        ("(x", 1, "never closed"),
        ("x)", 2, "never opened"),
        ("x+", 3, "missing"),
        ("exp", 1, "exp(x)"),
        ("exp()", 5, "missing"),
        ("exp(x,y)", 1, "takes 1 argument"),
        ("2x", 2, "2*x"),
        ("x 2", 3, "operator is missing"),
        ("x*y + xy", 7, "x*y"),
        ("foo(x)", 1, "unknown function"),
        ("exq(x)", 1, "did you mean exp"),
        ("x>0", 2, "--where"),
        ("where(1>0,x,x)", 8, "no variable"),
        ("where(x,x,x)", 7, "compare"),
        ("where(0<x<1,x,x)", 8, "not a number"),
        ("huber(x,y)", 9, "must be a number"),
        ("huber(x,-1)", 9, "positive"),
        ("clamp(x,2,1)", 9, "order"),
        ("", 1, "empty"),
        ("x/0", 2, "division by zero"),
        ("x + 1e999", 5, "larger"),
        ("x*(-1)**0.5", 7, "not a real"),
        ("x**(1/0)", 6, "finite"),
        ("1,x", 2, "comma"),
        ("|x|", 1, "abs(x)"),
        ("x//2", 2, "integer division"),
        ("ln(x)", 1, "log(x)"),
        ("logistic(x)", 1, "two meanings"),
        ("x(3)", 1, "product"),
        ("1.2.3*x", 4, "one point"),
        ("x = 3", 3, "=="),
        ("x²", 2, "x**2"),
        ("()", 2, "missing"),
        ("max(x,)", 7, "missing"),
        ("x*inf", 3, "finite"),
        ("__import__('os')", 12, "unexpected character"),
        ("x.real", 2, "unexpected character"),
        ("x if x else x", 3, "operator"),
        ("lambda + x", 1, "rename"),
        ("x**0x10", 5, "runs into"),
    ],
)
def test_errors_point_at_the_column(text: str, column: int, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    message = str(caught.value)
    assert f"column {column}" in message
    assert says in message
    lines = message.splitlines()
    if text:
        caret = next(line for line in lines if line.strip() == "^")
        assert lines[lines.index(caret) - 1][len(caret) - 1 : len(caret)] in (text[column - 1 : column], "")


def test_a_long_line_is_cut_around_the_caret() -> None:
    with pytest.raises(UsageError) as caught:
        parse("a" * 300 + " + @" + "b" * 300)
    lines = str(caught.value).splitlines()
    assert max(map(len, lines)) < 130
    assert lines[1][lines[2].index("^")] == "@"


@pytest.mark.parametrize(
    "text",
    [
        "(" * 4999 + "x" + ")" * 4999,
        "+".join(["x"] * 5000),
        "-" * 9998 + "x",
        "abs(" * 1900 + "x" + ")" * 1900,
        "**".join(["x"] * 100),
        "x" + "**1" * 3000,
    ],
)
def test_depth_costs_no_recursion(text: str) -> None:
    formula = parse(text)
    assert math.isfinite(float(formula(torch.tensor(0.5, dtype=torch.float64))))


def test_length_is_bounded() -> None:
    with pytest.raises(UsageError, match="E050"):
        parse("x" * 10_001)


def test_variables_come_in_order_and_by_name() -> None:
    formula = parse("b*b + a")
    assert formula.variables == ("b", "a")
    b, a = torch.tensor(2.0), torch.tensor(3.0)
    assert float(formula(b, a)) == float(formula(a=a, b=b)) == 7.0


@pytest.mark.parametrize(
    ("where", "domain"),
    [
        ("x>0", {"x": (0.0, None)}),
        ("0 < x < 1", {"x": (0.0, 1.0)}),
        ("1 > x", {"x": (None, 1.0)}),
        ("1 >= x > -1", {"x": (-1.0, 1.0)}),
        ("x >= 1/2, y <= -1e-3", {"x": (0.5, None), "y": (None, -1e-3)}),
        (["x>0", "x>1", "x<=3"], {"x": (1.0, 3.0)}),
        ("x < 2*pi and y > 0", {"x": (None, 2 * math.pi), "y": (0.0, None)}),
        ("-exp(1) < x", {"x": (-math.e, None)}),
    ],
)
def test_conditions_give_the_box(where: str, domain: dict) -> None:
    assert parse("x + y", where).domain == domain


def test_a_strict_bound_is_named() -> None:
    assert parse("x", "x>0").notes == ("x > 0 is read as x >= 0: at the bound the limit is taken",)
    assert parse("x", "x>=0").notes == ()


@pytest.mark.parametrize(
    ("where", "code"),
    [
        ("x<=y", "E060"),
        ("x==1", "E060"),
        ("x!=1", "E060"),
        ("z>0", "E061"),
        ("x", "E060"),
        ("x>", "E060"),
        (">0", "E060"),
        ("x>1,x<0", "E062"),
        ("x>=1,x<=1", "E062"),
        ("x**2<1", "E060"),
        ("3<4", "E060"),
        ("0<1<x", "E060"),
        ("", "E060"),
        ("x>0,,x<3", "E060"),
        ("x+y<1", "E060"),
        ("0<x<1<2", "E060"),
        ("x>1/0", "E051"),
        ("pi<3", "E060"),
        ("x>0,", "E060"),
    ],
)
def test_conditions_that_are_no_box(where: str, code: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse("x + y", where)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("log(x - 3)", "x > 3"),
        ("1/(x - y)", None),
        ("sqrt(1 - x**2)", "-1 < x < 1"),
        ("log(-x)", "x < 0"),
        ("x + y", None),
        ("log(x) + log(9 - x)", "8.5 < x < 9"),
        ("1/(x - 0.5)", None),
        ("x", "x > 1e300"),
    ],
)
def test_the_point_lies_inside_and_the_value_is_finite(text: str, where: str | None) -> None:
    formula = parse(text, where)
    point = formula.point()
    assert math.isfinite(float(formula(**point)))
    for name, (lower, upper) in formula.domain.items():
        assert (lower is None or point[name] > lower) and (upper is None or point[name] < upper)


def test_the_point_is_one_half_where_that_will_do() -> None:
    assert {float(v) for v in parse("x*y", "x>0").point().values()} == {0.5}
