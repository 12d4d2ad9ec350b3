"""Large inputs stay small in the graph, and long programs are lowered fast."""

from __future__ import annotations

import time

import pytest
import torch

from epigraph.objective.builder import Builder, Expression
from epigraph.objective.capture import Lowering
from epigraph.objective.evaluate import Evaluator

aten = torch.ops.aten
CALLS = {
    "max_pool2d": (aten.max_pool2d.default, [(4, 64, 64, 64)], ([3, 3], [2, 2], [1, 1]), 6),
    "max_pool2d, overlapping": (aten.max_pool2d.default, [(4, 64, 64, 64)], ([3, 3], [1, 1], [1, 1]), 8),
    "avg_pool2d": (aten.avg_pool2d.default, [(4, 64, 64, 64)], ([2, 2],), 4),
    "max_pool3d": (aten.max_pool3d.default, [(1, 4, 64, 64, 64)], ([3, 3, 3], [2, 2, 2], [1, 1, 1]), 7),
    "avg_pool3d": (aten.avg_pool3d.default, [(1, 4, 64, 64, 64)], ([3, 3, 3], [1, 1, 1], [1, 1, 1], False, False), 17),
    "adaptive_avg_pool2d": (aten.adaptive_avg_pool2d.default, [(4, 64, 64, 64)], ([1, 1],), 2),
    "conv2d": (aten.conv2d.default, [(4, 64, 16, 16), (64, 64, 3, 3), (64,)], ([1, 1], [1, 1]), 6),
    "conv_transpose2d": (aten.conv_transpose2d.input, [(4, 64, 16, 16), (64, 32, 2, 2), (32,)], ([2, 2],), 12),
    "batch_norm": (aten.batch_norm.default, [(4, 64, 16, 16), (64,), (64,)], (None, None, True, 0.1, 1e-5, False), 10),
    "upsample": (aten.upsample_bilinear2d.vec, [(4, 16, 32, 32)], (None, False, [2.0, 2.0]), 4),
}


@pytest.mark.parametrize("name", CALLS)
def test_large_inputs(name):
    """The entries of all nodes over those of the inputs and the output: the volume of a window does not matter."""
    op, shapes, rest, factor = CALLS[name]
    builder = Builder()
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
    inputs = [builder.parameter(f"p{i}", v) for i, v in enumerate(values)]
    started = time.process_time()
    out = Lowering(builder).call(op, (*inputs, *rest), {})
    assert isinstance(out, Expression)
    graph = builder.graph(out)
    assert time.process_time() - started < 5
    assert sum(n.numel for n in graph) <= factor * (out.numel + sum(v.numel() for v in values))
    ours = Evaluator(graph)({f"p{i}": v for i, v in enumerate(values)})
    torch.testing.assert_close(ours, op(*values, *rest), rtol=1e-10, atol=1e-10)


def test_long_programs_are_lowered_in_linear_time():
    """Thousands of operators: the table, the identities and the search for equal nodes take microseconds each."""

    def lowered(layers: int) -> tuple[int, float]:
        builder = Builder()
        lowering = Lowering(builder)
        w, b = builder.parameter("w", torch.zeros(4, 4)), builder.parameter("b", torch.zeros(4))
        h = builder.literal(torch.ones(2, 4))
        started = time.process_time()
        for i in range(layers):
            scaled = lowering.call(aten.mul.Tensor, (w, 1 + i / layers), {})
            h = lowering.call(aten.tanh.default, (lowering.call(aten.linear.default, (h, scaled, b), {}),), {})
        return len(builder.graph(h)), time.process_time() - started

    lowered(50)
    nodes, seconds = lowered(1200)
    assert nodes > 5000
    assert nodes / seconds > 1500  # measured 30,000 on an idle core


def test_masks_do_not_make_deep_sums_slow():
    """The search for minus infinity walks each node once, however the sums are nested."""
    builder = Builder()
    lowering = Lowering(builder)
    x = builder.parameter("x", torch.zeros(3, 3))
    bias = builder.literal(torch.zeros(3, 3).masked_fill(torch.ones(3, 3).triu(1) > 0, -torch.inf))
    h = x
    for _ in range(1500):
        h = lowering.call(aten.add.Tensor, (h, lowering.call(aten.tanh.default, (h,), {})), {})
    started = time.process_time()
    for _ in range(3):
        h = lowering.call(aten.softmax.int, (lowering.call(aten.add.Tensor, (h, bias), {}), 1), {})
    assert time.process_time() - started < 5
