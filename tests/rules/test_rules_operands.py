"""Claims of operators with one and with two operands, against all examples of what may be known of the operands.

For every set of claims and every sign of each operand the rule's claims must hold of all triples that are as known.
How many claims that hold of all of them are not made is written down, so that no rule gets weaker unnoticed.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from rules_semantics import (
    RANGES,
    SIGNED,
    VALUES,
    Array,
    Known,
    constants,
    knowledge,
    moving,
    named,
    strongest,
    triples,
    truth,
)
from rules_table import ROWS

import epigraph.calculus.propagate  # noqa: F401  (registers the rules)
from epigraph.calculus.interval import Interval
from epigraph.calculus.lattice import ALL, CONCAVE, LOGCONVEX, ROOTCONVEX, Facts, close
from epigraph.calculus.rule import RULES, Elementwise
from epigraph.objective.evaluate import KERNELS
from epigraph.objective.graph import Node

KNOWN = [k for k in knowledge() if not (k.bits & CONCAVE and k.bits & (LOGCONVEX | ROOTCONVEX))]  # else constant
FIXED = [Known(ALL if low >= 0 else 15, sign) for sign, (low, _) in RANGES.items()]
TRIPLES, CONSTANTS = triples(), constants()
HALF = TRIPLES[TRIPLES[:, 0] <= TRIPLES[:, 2]]  # the ends may change places in both operands at once
BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "mul": np.multiply,
    "div": np.divide,
    "maximum": np.maximum,
    "lt": lambda x, y: np.less(x, y) * 1.0,
    "le": lambda x, y: np.less_equal(x, y) * 1.0,
    "eq": lambda x, y: np.equal(x, y) * 1.0,
}


def binary_node(name: str) -> Node:
    return Node(9, name, (), {}, ()) if name in RULES else Node(9, "compare", (), {"relation": name}, ())


def claimed(node: Node, f: Facts, g: Facts) -> int:
    rule, shapes = RULES[node.op], [(), ()]
    bound = rule.interval(node, [f.interval, g.interval], shapes)
    return int(close(rule.claims(node, [f, g], shapes), bound.nonnegative))


def judge(name: str, first: Array, second: Array, known, others, carriers=(None, None), varies=(True, True)) -> int:
    """Fail on a claim that some example lacks; count the claims of all examples that are not made."""
    node, lost, wrong = binary_node(name), 0, []
    everything = strongest(BINARY[name], first, second, known, others)
    for i, k in enumerate(known):
        for j, l in enumerate(others):
            got = claimed(node, k.facts(carriers[0], varies[0]), l.facts(carriers[1], varies[1]))
            if got & ~int(everything[i, j]):
                wrong.append(f"{k} and {l}: {named(got & ~int(everything[i, j]))}")
            lost += bin(int(everything[i, j]) & ~got).count("1")
    assert not wrong, f"{name}: {len(wrong)} wrong claims, such as {wrong[:3]}"
    return lost


# (both vary, the first is constant, the second is constant): claims that all examples have and the rule does not make
LOST = {
    "add": (155, 6, 6),
    "mul": (432, 0, 0),
    "div": (1151, 400, 467),
    "maximum": (1392, 67, 67),
    "lt": (3436, 78, 111),
    "le": (3209, 117, 78),
    "eq": (2448, 146, 146),
}


@pytest.mark.parametrize("name", BINARY)
def test_two_operands(name):
    both = judge(name, HALF, TRIPLES, KNOWN, KNOWN)
    first = judge(name, CONSTANTS, TRIPLES, FIXED, KNOWN, varies=(False, True))
    second = judge(name, TRIPLES, CONSTANTS, KNOWN, FIXED, varies=(True, False))
    assert (both, first, second) == LOST[name]


# the same for two functions of one affine variable, by their directions
LOST_OF_ONE_VARIABLE = {
    "add": (45, 155, 155, 155),
    "mul": (2769, 1253, 432, 432),
    "div": (2846, 4676, 1151, 1166),
    "maximum": (912, 3857, 2504, 2504),
}


@pytest.mark.parametrize("name", LOST_OF_ONE_VARIABLE)
def test_two_functions_of_one_variable(name):
    counts = []
    for p, q in ((1, 1), (1, -1), (1, 0), (0, -1)):
        counts.append(judge(name, moving(TRIPLES, p), moving(TRIPLES, q), KNOWN, KNOWN, ((1, p), (1, q))))
    assert judge(name, moving(TRIPLES, -1), moving(TRIPLES, -1), KNOWN, KNOWN, ((1, -1), (1, -1))) == counts[0]
    assert tuple(counts) == LOST_OF_ONE_VARIABLE[name]


@pytest.mark.parametrize("name", LOST_OF_ONE_VARIABLE)
def test_two_functions_of_different_variables(name):
    """Carriers that differ, or shapes that do: no more than without carriers."""
    node = binary_node(name)
    for k in KNOWN[::7]:
        for l in KNOWN[::5]:
            plain = claimed(node, k.facts(), l.facts())
            assert claimed(node, k.facts((1, 1)), l.facts((2, 1))) == plain
            assert claimed(node, k.facts((1, 1)), l.facts(None)) == plain
            wide = RULES[name].claims(Node(9, name, (), {}, (3,)), [k.facts((1, 1)), l.facts((1, 1))], [(3,), (1,)])
            assert (
                int(
                    close(
                        wide, RULES[name].interval(node, [Interval(*k.range), Interval(*l.range)], [(), ()]).nonnegative
                    )
                )
                == plain
            )


@pytest.mark.parametrize("name", LOST_OF_ONE_VARIABLE)
def test_directions(name):
    """The direction that a rule states is that of all examples; all directions that examples share are stated."""
    rule, node = RULES[name], binary_node(name)
    lost = 0
    for p in (-1, 0, 1):
        for q in (-1, 0, 1):
            first, second = moving(TRIPLES, p), moving(TRIPLES, q)
            with np.errstate(divide="ignore", invalid="ignore"):
                out = BINARY[name](first[:, None], second[None])
                steps = np.diff(out, axis=-1)
                real = np.isfinite(out).all(-1)
                rises, falls = (steps >= 0).all(-1) | ~real, (steps <= 0).all(-1) | ~real
            for s, (sl, sh) in RANGES.items():
                rows = (first.min(1) >= sl) & (first.max(1) <= sh)
                for t, (tl, th) in RANGES.items():
                    columns = (second.min(1) >= tl) & (second.max(1) <= th)
                    up, down = (bool(m[np.ix_(rows, columns)].all()) for m in (rises, falls))
                    facts = [Known(0, s).facts((1, p)), Known(0, t).facts((1, q))]
                    got = rule.carrier(node, facts, [(), ()])
                    base, direction = got if got is not None else (1, 0)
                    assert base == 1 and (direction == 0 or (up if direction > 0 else down)), (p, q, s, t, got)
                    lost += direction == 0 and (up or down)
    assert lost == LOST_DIRECTIONS[name]


LOST_DIRECTIONS = {"add": 0, "mul": 0, "div": 16, "maximum": 32}


@pytest.mark.parametrize("name", LOST_OF_ONE_VARIABLE)
def test_directions_with_a_constant(name):
    """c op f and f op c of the same shape as f keep the carrier, turned where c turns it."""
    node = binary_node(name)
    for direction in (-1, 0, 1):
        f = Facts(0, Interval(-1.0, 2.0), (1, direction))
        for low, high in ((1.0, 2.0), (0.0, 2.0), (-2.0, -1.0), (-2.0, 0.0), (-1.0, 1.0)):
            c = Facts(15, Interval(low, high), None, 0, False)
            sign = 1 if low >= 0 else -1 if high <= 0 else 0
            strict = 1 if low > 0 else -1 if high < 0 else 0
            turned = {"add": 1, "maximum": 1, "mul": sign, "div": strict}[name]
            assert RULES[name].carrier(node, [f, c], [(), ()]) == (1, direction * turned)
            assert RULES[name].carrier(node, [c, f], [(), ()]) == (None if name == "div" else (1, direction * turned))
            assert RULES[name].carrier(Node(9, name, (), {}, (3,)), [f, c], [(), (3,)]) is None  # f is broadcast
            kept = RULES[name].carrier(Node(9, name, (), {}, (3,)), [f, c], [(3,), ()])
            assert kept == (1, direction * turned)


@pytest.mark.parametrize("name", BINARY)
def test_values_at_zero_of_the_denominator_and_beyond(name):
    """Finite data suffice for most rules; here the ranges of the result hold all values, and +-inf where 0 is divided by."""
    node = binary_node(name)
    for k in FIXED:
        for l in FIXED:
            bound = RULES[node.op].interval(node, [Interval(*k.range), Interval(*l.range)], [(), ()])
            x, y = (np.array([v for v in VALUES if known.range[0] <= v <= known.range[1]]) for known in (k, l))
            with np.errstate(divide="ignore", invalid="ignore"):
                out = BINARY[name](x[:, None], y[None])
            low, high = bound.hull
            if name == "div" and l.sign == "<=0":
                out = np.where(y == 0, -out, out)  # the limit from inside
            assert np.nanmin(out) >= low and np.nanmax(out) <= high


def test_neg():
    node, rule = Node(9, "neg", (), {}, ()), RULES["neg"]
    lost = 0
    for k in KNOWN:
        examples = TRIPLES[k.examples(TRIPLES, truth(TRIPLES))]
        everything = int(np.bitwise_and.reduce(truth(-examples)))
        got = int(
            close(rule.claims(node, [k.facts()], [()]), rule.interval(node, [Interval(*k.range)], [()]).nonnegative)
        )
        assert got & ~everything == 0
        lost += bin(everything & ~got).count("1")
    assert lost == 0
    assert rule.carrier(node, [Facts(0, Interval(0.0, 1.0), (4, 1))], [()]) == (4, -1)
    assert rule.carrier(node, [Facts(0, Interval(0.0, 1.0), None)], [()]) is None


# one operand ------------------------------------------------------------------------------------------------------------
def values_of(row, t: Array) -> Array:
    return KERNELS[row.op](row.attributes, [torch.from_numpy(t)]).numpy()


def lost_by(row, known: list[Known]) -> int:
    rule, node, lost = RULES[row.op], Node(9, row.op, (), dict(row.attributes), ()), 0
    assert isinstance(rule, Elementwise)
    held, out = truth(TRIPLES), values_of(row, TRIPLES)
    image = np.where(np.isnan(out).any(1), np.uint8(0), truth(out))
    exponent = Fraction(row.attributes.get("exponent", "1"))
    if exponent < 0 and exponent % 2:  # 1/0 has no value: the limits from the two sides differ
        image = np.where((TRIPLES == 0).any(1) & (TRIPLES < 0).any(1), np.uint8(127), image)
    for k in known:
        everything = int(np.bitwise_and.reduce(image[k.examples(TRIPLES, held)]))
        bound = rule.interval(node, [Interval(*k.range)], [()])
        got = int(close(rule.claims(node, [k.facts()], [()]), bound.nonnegative))
        assert got & ~everything == 0, f"{row.name} of {k}: {named(got & ~everything)}"
        lost += bin(everything & ~got).count("1")
    return lost


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_functions_of_what_is_known(row):
    """exp of a concave function, the square of a log-convex one, and so on."""
    lost = lost_by(row, KNOWN)
    if row.name in LOST_OF_ONE:
        assert lost == LOST_OF_ONE[row.name]


# for functions that know of log- and root-claims: what all examples have and the rule does not claim
LOST_OF_ONE = {
    "exp": 0,
    "log": 9,
    "sqrt": 9,
    "abs": 6,
    "relu": 3,
    "power 2": 4,
    "power 3": 4,
    "power -1": 9,
    "power -2": 13,
    "power 1/3": 12,
    "power 2/3": 9,
    "power 3/2": 8,
    "power -1/2": 9,
}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_functions_of_an_affine_variable_keep_it(row):
    """The carrier stays; its direction is kept, turned or lost with the slope of the function."""
    rule, node = RULES[row.op], Node(9, row.op, (), dict(row.attributes), ())
    for low, high in ((-9.0, 9.0), (0.0, 9.0), (1.0, 9.0), (-9.0, 0.0), (-9.0, -3.0), (2.0, 2.5)):
        middle = (low + high) / 2
        for entries in ([(low, high)], [(low, middle), (middle, high)]):
            x = Interval(*entries[0]) if len(entries) == 1 else Interval(*np.array(entries).T)
            up, down = (all(row.holds(claim, *e) for e in entries) for claim in ("increasing", "decreasing"))
            for direction in (-1, 0, 1):
                got = rule.carrier(node, [Facts(0, x, (7, direction))], [np.shape(x.lower)])
                assert got == (7, direction * (1 if up else -1 if down else 0)), (low, high, direction, got)
        assert rule.carrier(node, [Facts(0, Interval(low, high), None)], [()]) is None


def test_claims_of_log_and_root_survive_where_the_interval_has_no_sign():
    """Such a claim says f >= 0 by itself."""
    for k in [Known(bits, "?") for bits in range(128) if bits & SIGNED and int(close(bits, False)) == bits]:
        facts = k.facts()
        assert RULES["abs"].claims(Node(9, "abs", (), {}, ()), [facts], [()]) & k.bits & SIGNED == k.bits & SIGNED
        assert RULES["relu"].claims(Node(9, "relu", (), {}, ()), [facts], [()]) & k.bits & SIGNED == k.bits & SIGNED
