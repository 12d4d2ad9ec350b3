r"""Curvature that is seen at the model's outputs:  G = J^T C J,  J = d outputs / d parameters, one C per kind.

================  ===================================================================================================
``gauss-newton``  C = the Hessian of the loss as a function of the outputs: what is left of J's Hessian where the model is
                  linear.  The penalty's lambda I is added.
``fisher``        C = sum_i w_i s_i s_i^T, s_i the slope of sample i's own loss at its outputs: G = sum_i w_i g_i g_i^T of the
                  per-sample gradients g_i, with w_i = 1/N for a mean over N samples: the empirical Fisher matrix
``fisher-mc``     the same with targets drawn from the model's own distribution: G's expectation is the Fisher matrix, which for
                  these losses is the Gauss-Newton matrix [1]
================  ===================================================================================================

A product takes J v by a backward pass through the graph of u -> J^T u (which is linear in u), then C, then J^T.

[1] J. Martens, New insights and perspectives on the natural gradient method, JMLR 21 (2020).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from epigraph.errors import ObjectiveError, UsageError
from epigraph.hessian.engines import Engine, added, free_memory, memory_of_graph
from epigraph.hessian.program import Program
from epigraph.hessian.slopes import drawn, per_sample
from epigraph.objective.data import Batch
from epigraph.objective.program import one_number, run_program

KINDS = ("hessian", "gauss-newton", "fisher", "fisher-mc")

Curvature = Callable[[Tensor], Tensor]


@final
@dataclass(frozen=True)
class _Graph:
    """One batch: the outputs, the linear map u -> J^T u as a graph, and C."""

    outputs: Tensor
    seed: Tensor
    pulled: list[Tensor | None]
    curvature: Curvature


@final
class Outer(Engine):
    """Products with J^T C J over all batches; graphs are kept where they fit into memory."""

    name = "outer"

    def __init__(self, program: Program, kind: str, samples: int = 1, seed: int = 0, room: float | None = None):
        _require(program, kind, samples)
        self.program, self.kind, self.samples, self.seed = program, kind, samples, seed
        self.leaves = [p.detach().requires_grad_() for p in program.point]
        room = free_memory(program.device) / 2 if room is None else room
        keep = memory_of_graph(program) * len(program.batches) <= room
        self.graphs: list[_Graph] | None = None
        with program.world():
            first = [self._graph(k) for k in range(len(program.batches) if keep else 1)]
        self.graphs = first if keep else None

    def product(self, v: Sequence[Tensor]) -> list[Tensor]:
        total: list[Tensor] | None = None
        if self.graphs is not None:
            for graph in self.graphs:
                total = added(total, self._through(graph, v), self.program.point)
        else:
            with self.program.world():
                for k in range(len(self.program.batches)):
                    total = added(total, self._through(self._graph(k), v), self.program.point)
        assert total is not None
        return total

    def _graph(self, k: int) -> _Graph:
        batch = self.program.batches[k]
        outputs = outputs_of(self.program, self.leaves, batch)
        seed = torch.zeros_like(outputs, requires_grad=True)
        pulled: list[Tensor | None] = [None] * len(self.leaves)
        if outputs.requires_grad:
            pulled = list(torch.autograd.grad(outputs, self.leaves, seed, create_graph=True, allow_unused=True))
        return _Graph(outputs, seed, pulled, self._curvature(outputs.detach(), batch, k))

    def _through(self, graph: _Graph, v: Sequence[Tensor]) -> Sequence[Tensor | None]:
        live = [(g, w.to(g.dtype)) for g, w in zip(graph.pulled, v, strict=True) if g is not None and g.requires_grad]
        if not live:
            return [None] * len(self.leaves)
        pulled, seeds = zip(*live, strict=True)
        (pushed,) = torch.autograd.grad(pulled, graph.seed, seeds, retain_graph=True, allow_unused=True)
        if pushed is None:
            return [None] * len(self.leaves)
        image = graph.curvature(pushed)
        return torch.autograd.grad(graph.outputs, self.leaves, image, retain_graph=True, allow_unused=True)

    def _curvature(self, outputs: Tensor, batch: Batch, k: int) -> Curvature:
        _require_outputs_alone(self.program, outputs, batch, self.leaves)
        if self.kind == "gauss-newton":
            return _of_loss(self.program, outputs, batch)
        J = self.program.J
        with self.program.precision():
            if self.kind == "fisher":
                weight, rows, axes = per_sample(self._loss(batch), outputs, batch)
            else:
                weight, rows, axes = drawn(J, outputs, batch, self.samples, self.seed * 1_000_003 + k)

        def curvature(u: Tensor) -> Tensor:
            inner = (rows * u).sum(axes, keepdim=True) if axes else rows * u
            return weight * (rows * inner).mean(0)

        return curvature

    def _loss(self, batch: Batch) -> Callable[[Tensor, Any], Tensor]:
        values = dict(zip(self.program.names, self.program.point, strict=True))

        def loss(outputs: Tensor, targets: Any) -> Tensor:
            with self.program.installed({**self.program.values, **values}):
                return loss_of(self.program, outputs, targets)

        return loss


def outputs_of(program: Program, tensors: Sequence[Tensor], batch: Batch) -> Tensor:
    """What the model gives for a batch: one floating tensor."""
    J, values = program.J, {**program.values, **dict(zip(program.names, tensors, strict=True))}
    with program.precision(), program.installed(values):
        out = run_program(J.model, lambda out, *_: out, batch.inputs, None)  # type: ignore[arg-type]
    if not isinstance(out, Tensor) or not out.is_floating_point():
        raise ObjectiveError(
            "E217",
            f"the model's output is a {type(out).__name__}, not one floating tensor",
            why="these kinds of curvature are J^T C J with J the derivative of one output tensor",
            hint='kind="hessian", or a model that returns the tensor which the loss takes',
        )
    return out


def loss_of(program: Program, outputs: Tensor, targets: Any) -> Tensor:
    """The loss of a batch as a function of the outputs, not weighted."""
    loss = program.J.loss
    assert loss is not None
    with program.precision():
        return one_number(loss(outputs) if targets is None else loss(outputs, targets))


def _require_outputs_alone(program: Program, outputs: Tensor, batch: Batch, leaves: Sequence[Tensor]) -> None:
    """The loss must see the chosen parameters through the outputs alone."""
    with program.installed({**program.values, **dict(zip(program.names, leaves, strict=True))}):
        value = loss_of(program, outputs, batch.targets)
    slopes = torch.autograd.grad(value, leaves, allow_unused=True) if value.requires_grad else [None] * len(leaves)
    for name, slope in zip(program.names, slopes, strict=True):
        if slope is not None:
            raise ObjectiveError(
                "E217",
                f"the loss depends on {name} other than through the model's outputs",
                why="these kinds of curvature are those of a loss of the outputs alone",
                hint='kind="hessian", blocks without it, or weight_decay for a quadratic penalty',
            )


def _of_loss(program: Program, outputs: Tensor, batch: Batch) -> Curvature:
    """u -> (d^2 loss / d outputs^2) u."""
    z = outputs.clone().requires_grad_()
    with program.installed(program.values):
        value = loss_of(program, z, batch.targets) * float(batch.weight)
    slope = None
    if value.requires_grad:
        (slope,) = torch.autograd.grad(value, z, create_graph=True, allow_unused=True)

    def curvature(u: Tensor) -> Tensor:
        if slope is None or not slope.requires_grad:
            return torch.zeros_like(u)
        (image,) = torch.autograd.grad(slope, z, u, retain_graph=True, allow_unused=True)
        return torch.zeros_like(u) if image is None else image

    return curvature


def _require(program: Program, kind: str, samples: int) -> None:
    J = program.J
    if samples < 1:
        raise UsageError("E025", f"samples={samples}", hint="at least one draw of the targets")
    if J.model is None or J.loss is None:
        what = "is a function" if J.model is None else "has no loss of its own"
        raise ObjectiveError(
            "E217",
            f"{kind} needs a model and a loss, but J {what}",
            why="it is J^T C J with J the derivative of the model's outputs and C of the loss",
            hint='kind="hessian", or Objective(model, loss, inputs, targets)',
        )
