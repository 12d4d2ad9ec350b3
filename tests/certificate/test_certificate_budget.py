"""Costs before evaluation: bounds on bit lengths hold, estimates are in the right range, and views are counted."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest
from certificate_builder import Builder
from certificate_models import network
from hypothesis import given, settings
from test_certificate_engines import rational_graphs, three_points

from epigraph.certificate import bitlengths, budget, exact, shapes
from epigraph.certificate.points import Delta, moved
from epigraph.certificate.rationals import Rationals
from epigraph.certificate.schedule import schedule
from epigraph.errors import CertificateError


@settings(max_examples=100)
@given(rational_graphs())
def test_bounds_on_bit_lengths_hold_at_every_node(case: tuple[Builder, dict[str, Delta]]) -> None:
    b, delta = case
    program = shapes.program(b.graph(), shapes.metas(b.arrays))
    points = three_points(delta)
    engine = Rationals(program, b.arrays)
    for point in points:
        values: dict[int, Any] = {}
        sizes: dict[int, bitlengths.Size] = {}
        for position in program.live:
            node = program.nodes[position]
            sizes[position] = size = bitlengths._size(program, position, sizes, b.arrays, points)
            if "value" in node.attributes:
                values[position] = engine.scalar(node.attributes["value"])
            elif node.op in ("parameter", "constant"):
                key = node.attributes["tensor"]
                values[position] = engine.leaf(moved(b.arrays[key], point[key]) if key in point else b.arrays[key])
            else:
                values[position] = engine.apply(node, [values[i] for i in node.operands])
            found = values[position]
            assert all(abs(int(v)).bit_length() <= size.bits for v in found.objects.reshape(-1))
            assert found.denominator.bit_length() <= max(1, size.denominator_bits)
            if size.denominator is not None and node.op not in ("parameter",) and not _moves(program, position, delta):
                assert size.denominator % found.denominator == 0


def _moves(program: Any, position: int, delta: dict[str, Delta]) -> bool:
    return program.varies(set(delta))[position]


def _elementwise(b: Builder, op: str, count: int) -> None:
    b("sum", b(op, b.parameter("x", np.linspace(0.1, 3, count))), dims=[0])


def _product(b: Builder, rows: int, inner: int, columns: int) -> None:
    rng = np.random.default_rng(0)
    x, y = (b.parameter(n, rng.standard_normal(s)) for n, s in (("x", (rows, inner)), ("y", (inner, columns))))
    b("sum", b("matmul", x, y), dims=[0, 1])


WORK = [
    ("tanh", 128, lambda b: _elementwise(b, "tanh", 50_000)),
    ("erf", 1024, lambda b: _elementwise(b, "erf", 5_000)),
    ("exp", 4096, lambda b: _elementwise(b, "exp", 5_000)),
    ("relu", 0, lambda b: _elementwise(b, "relu", 50_000)),
    ("matmul", 128, lambda b: _product(b, 300, 200, 100)),
    ("few rows", 128, lambda b: _product(b, 16, 2000, 200)),
    ("matmul", 0, lambda b: _product(b, 300, 200, 100)),
]


@pytest.mark.parametrize("name, bits, make", WORK, ids=lambda v: str(v) if not callable(v) else "")
def test_estimates_of_time_are_of_the_right_size(name: str, bits: int, make: Any) -> None:
    b = Builder()
    make(b)
    program = shapes.program(b.graph(), shapes.metas(b.arrays))
    cost = budget.balls(program, set(), 1, bits) if bits else bitlengths.exact(program, b.arrays, [{}])
    start = time.process_time()
    exact.run(program, b.arrays, [{}], "arb" if bits else "exact", bits)
    spent = time.process_time() - start
    assert spent / 5 < cost.seconds < 40 * spent


def test_nodes_that_do_not_move_are_counted_once() -> None:
    b, delta = network((64, 32, 10), 500)
    program = shapes.program(b.graph(), shapes.metas(b.arrays))
    head = {key for key in delta if key.startswith("w")}
    one, three = (budget.balls(program, head, n, 128).seconds for n in (1, 3))
    everything = budget.balls(program, {"w0"}, 3, 128).seconds
    assert one < three < 2 * one
    assert everything > 2.5 * one


def test_every_value_is_freed_once_and_not_too_early() -> None:
    b, delta = network((6, 5, 4, 3), 11)
    program = shapes.program(b.graph(), shapes.metas(b.arrays))
    for keys in ({"w0"}, set(delta), {"b2"}, set()):
        plan = schedule(program, keys)
        freed = [
            p
            for table in (plan.free_shared, plan.free_moving, plan.free_last)
            for group in table.values()
            for p in group
        ]
        assert sorted([*freed, program.output]) == sorted(program.live)
        for table in (plan.free_shared, plan.free_moving, plan.free_last):
            for at, group in table.items():
                for position in group:
                    users = [p for p in program.live if position in program.nodes[p].operands]
                    assert max(users) == at or table is plan.free_last or table is plan.free_shared


def test_the_memory_of_views_is_counted_in_full() -> None:
    b = Builder()
    x = b("expand", b.parameter("x", 1.0), shape=[1000, 1000, 1000])
    b("sum", b("exp", x), dims=[0, 1, 2])
    program = shapes.program(b.graph(), shapes.metas(b.arrays))
    assert budget.balls(program, {"x"}, 3, 128).bytes > 1e11
    assert budget.balls(program, {"x"}, 3, 128).seconds > 1000


@pytest.mark.parametrize(
    "cost", [budget.Cost(100.0, 1.0), budget.Cost(1.0, 1e12), budget.Cost(math.inf, math.inf)], ids=str
)
def test_a_cost_over_the_limit_is_refused(cost: budget.Cost) -> None:
    with pytest.raises(CertificateError, match="E430 the check needs"):
        budget.require(cost, budget.Cost(10.0, 1e9))
    budget.require(budget.Cost(10.0, 1e9), budget.Cost(10.0, 1e9))


def test_the_estimate_itself_stops_at_the_limit() -> None:
    """Bounding bit lengths takes time too: it ends once the cost has passed what is allowed."""
    b = Builder()
    x = b.parameter("x", 0.1)
    for _ in range(50):
        x = b("mul", x, b.scalar("1/3"))
    program = shapes.program(b.graph(), shapes.metas(b.arrays))
    assert bitlengths.exact(program, b.arrays, [{}]).seconds < 1
    assert math.isinf(bitlengths.exact(program, b.arrays, [{}], most=1e-4).seconds)
