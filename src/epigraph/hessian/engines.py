r"""Products with the Hessian of a program, by several roads.

============  ============================================================================================
``retained``  gradients with their graph are built once; a product is one backward pass through it [1]
``backward``  double backward anew for each product and batch: works wherever autograd does
``forward``   forward-over-reverse anew for each product (``jvp`` of ``grad``)
============  ============================================================================================

All are exact up to rounding.  The retained graph is the fastest by a factor of two to three, and is chosen where it fits into
memory; of the other two a short probe finds the faster one.  ``torch.func.linearize`` would be a fourth, as fast as the retained
graph on dense layers; it ends the process with a segmentation fault on some losses and is not used.

[1] B. A. Pearlmutter, Fast exact multiplication by the Hessian, Neural Computation 6 (1994).
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from epigraph.errors import ObjectiveError, UsageError
from epigraph.hessian.program import Program

AGREEMENT = 2e-3  # products of two engines in float32 may differ by this share; in float64 by its square
PROBE_SECONDS = 1.0
FLAT = 1_000_000  # parameters that are kept in one flat tensor; above, copies cost more than they save


class Engine(ABC):
    """Products with the Hessian of J without its penalty, at the program's point."""

    name: ClassVar[str] = ""

    @abstractmethod
    def product(self, v: Sequence[Tensor]) -> list[Tensor]:
        """H v, block by block."""

    def flat(self, v: Tensor) -> Tensor | None:
        """H v for a flat vector, in memory of its own, by an engine that keeps its graph in this form."""
        return None


def _parts(program: Program, create: bool) -> tuple[list[Tensor], list[list[Tensor | None]], list[Tensor]]:
    """Per batch: the gradients with their graph; the leaves; the values of the loss."""
    leaves = [v.detach().requires_grad_() for v in program.point]
    gradients, values = [], []
    for batch in program.batches:
        out = program.output(leaves, batch)
        values.append(out.detach())
        gradients.append(_grad(out, leaves, create))
    return leaves, gradients, values


def _grad(out: Tensor, leaves: Sequence[Tensor], create: bool) -> list[Tensor | None]:
    if not out.requires_grad:
        return [None] * len(leaves)
    return list(torch.autograd.grad(out, leaves, create_graph=create, allow_unused=True))


def _through(
    leaves: Sequence[Tensor], gradient: Sequence[Tensor | None], v: Sequence[Tensor], keep: bool
) -> list[Tensor | None]:
    """The backward pass through the gradient's graph, seeded with v."""
    live = [
        (g, w if w.dtype == g.dtype else w.to(g.dtype))
        for g, w in zip(gradient, v, strict=True)
        if g is not None and g.requires_grad
    ]
    if not live:
        return [None] * len(leaves)
    outputs, seeds = zip(*live, strict=True)
    return list(torch.autograd.grad(outputs, leaves, grad_outputs=seeds, retain_graph=keep, allow_unused=True))


def added(total: list[Tensor] | None, part: Sequence[Tensor | None], point: Sequence[Tensor]) -> list[Tensor]:
    """Sum over batches; None stands for zero."""
    filled = [torch.zeros_like(p) if x is None else x for x, p in zip(part, point, strict=True)]
    return filled if total is None else [a + b for a, b in zip(total, filled, strict=True)]


@final
class Retained(Engine):
    """One backward pass per product through graphs that are kept: every batch's in memory.

    Blocks of one precision with up to ``FLAT`` entries together are views of one flat leaf, and their gradients one flat
    gradient: splitting and joining are part of the graph then, and not done block by block at each product.
    """

    name = "retained"

    def __init__(self, program: Program):
        self.program = program
        point = program.point
        alike = len({(p.dtype, p.device) for p in point}) == 1 and point[0].dtype == program.real
        self.whole: tuple[Tensor, Tensor] | None = None
        with program.world():
            if alike and sum(p.numel() for p in point) <= FLAT:
                self.whole = _whole(program)
            else:
                self.leaves, self.gradients, _ = _parts(program, create=True)

    def flat(self, v: Tensor) -> Tensor | None:
        if self.whole is None:
            return None
        leaf, gradient = self.whole
        if not gradient.requires_grad:
            return torch.zeros_like(leaf)
        (out,) = torch.autograd.grad(gradient, leaf, v, retain_graph=True, allow_unused=True)
        if out is None:
            return torch.zeros_like(leaf)
        return out.clone() if out.data_ptr() == v.data_ptr() else out

    def product(self, v: Sequence[Tensor]) -> list[Tensor]:
        if self.whole is not None:
            joined = self.flat(torch.cat([w.reshape(-1) for w in v]))
            assert joined is not None
            return blocks_of(joined, self.program.point)
        total: list[Tensor] | None = None
        for gradient in self.gradients:
            total = added(total, _through(self.leaves, gradient, v, keep=True), self.program.point)
        assert total is not None
        return total


def blocks_of(flat: Tensor, point: Sequence[Tensor]) -> list[Tensor]:
    """The blocks of a flat vector."""
    parts = flat.split([p.numel() for p in point])
    return [part.view(p.shape) for part, p in zip(parts, point, strict=True)]


def _whole(program: Program) -> tuple[Tensor, Tensor]:
    """All blocks in one flat leaf, and the flat gradient over all batches with its graph."""
    leaf = torch.cat([p.detach().reshape(-1) for p in program.point]).requires_grad_()
    total: Tensor | None = None
    for batch in program.batches:
        blocks = blocks_of(leaf, program.point)
        gradient = _grad(program.output(blocks, batch), blocks, create=True)
        filled = [torch.zeros_like(p) if g is None else g for g, p in zip(gradient, program.point, strict=True)]
        part = torch.cat([g.reshape(-1) for g in filled])
        total = part if total is None else total + part
    assert total is not None
    return leaf, total


@final
class Backward(Engine):
    """Two passes per product and batch; only one batch's graph in memory."""

    name = "backward"

    def __init__(self, program: Program):
        self.program = program

    def product(self, v: Sequence[Tensor]) -> list[Tensor]:
        total: list[Tensor] | None = None
        leaves = [p.detach().requires_grad_() for p in self.program.point]
        with self.program.world():
            for batch in self.program.batches:
                gradient = _grad(self.program.output(leaves, batch), leaves, create=True)
                total = added(total, _through(leaves, gradient, v, keep=False), self.program.point)
        assert total is not None
        return total


@final
class Forward(Engine):
    """A directional derivative of the gradient, by dual numbers."""

    name = "forward"

    def __init__(self, program: Program):
        self.program = program

    def product(self, v: Sequence[Tensor]) -> list[Tensor]:
        total: list[Tensor] | None = None
        point, seeds = tuple(self.program.point), tuple(v)
        with self.program.world():
            for batch in self.program.batches:
                slope = torch.func.grad(lambda tensors, b=batch: self.program.output(tensors, b))
                part = torch.func.jvp(slope, (point,), (seeds,))[1]
                total = added(total, part, self.program.point)
        assert total is not None
        return total


ENGINES: dict[str, type[Retained] | type[Backward] | type[Forward]] = {e.name: e for e in (Retained, Forward, Backward)}


@final
@dataclass(frozen=True)
class Probe:
    """The engine chosen, seconds of a product by engine where they were compared, and what was not tried and why."""

    chosen: str
    seconds: dict[str, float]
    remarks: tuple[str, ...] = ()


def choose(program: Program, wanted: str | None = None, room: float | None = None) -> tuple[Engine, Probe]:
    """Kept graphs where they fit into memory, else the faster of the other two.

    Args:
        program: J at a point.
        wanted: an engine by name: no probe.
        room: bytes that kept graphs may take; half of the free memory by default.

    Raises:
        UsageError: an unknown engine.
        ObjectiveError: J has no second derivative by autograd.
    """
    if wanted is not None and wanted not in ENGINES:
        raise UsageError("E028", f"unknown engine {wanted!r}", hint=f"one of {', '.join(ENGINES)}")
    generator = torch.Generator().manual_seed(0)
    v = [torch.randn(p.shape, generator=generator, device="cpu").to(p) for p in program.point]
    try:
        first = ENGINES[wanted](program) if wanted is not None else _first(program, room)
        reference = first.product(v)
    except (RuntimeError, NotImplementedError) as error:
        raise ObjectiveError(
            "E215",
            "autograd gives no second derivative of J" + (f" by the engine {wanted!r}" if wanted else ""),
            why=(str(error).strip().splitlines() or [type(error).__name__])[0][:200],
            hint="write what is named above with operators that have a second derivative",
        ) from error
    if isinstance(first, Retained) or wanted is not None:
        return first, Probe(first.name, {})
    return _faster(program, first, v, reference)


def _first(program: Program, room: float | None) -> Engine:
    """Kept graphs where they fit into memory."""
    room = free_memory(program.device) / 2 if room is None else room
    return Retained(program) if memory_of_graph(program) * len(program.batches) <= room else Backward(program)


def _faster(program: Program, first: Engine, v: list[Tensor], reference: list[Tensor]) -> tuple[Engine, Probe]:
    """Forward mode beside double backward: taken where it agrees and is faster."""
    remarks = ["kept graphs would not fit into half of the free memory"]
    seconds = {first.name: _seconds(first, v)}
    if seconds[first.name] > PROBE_SECONDS:
        return first, Probe(first.name, seconds, (*remarks, "one product takes long: no other engine was tried"))
    try:
        other = Forward(program)
        apart = _apart(other.product(v), reference)
    except Exception as error:  # forward mode is missing for some operators
        remarks.append(f"forward: {(str(error).strip().splitlines() or [type(error).__name__])[0][:120]}")
        return first, Probe(first.name, seconds, tuple(remarks))
    if apart > (AGREEMENT if program.real == torch.float32 else AGREEMENT**2):
        remarks.append(f"forward: its product differs by a share of {apart:.1e} and is not used")
        return first, Probe(first.name, seconds, tuple(remarks))
    seconds[other.name] = _seconds(other, v)
    best = min((first, other), key=lambda e: seconds[e.name])
    return best, Probe(best.name, seconds, tuple(remarks))


def _seconds(engine: Engine, v: Sequence[Tensor]) -> float:
    """The least of a few timed products."""
    best = float("inf")
    spent = 0.0
    for _ in range(3):
        start = time.perf_counter()
        engine.product(v)
        if v[0].is_cuda:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
        spent += time.perf_counter() - start
        if spent > PROBE_SECONDS / 4:
            break
    return best


def _apart(x: Sequence[Tensor], y: Sequence[Tensor]) -> float:
    """Relative distance in the Euclidean norm."""
    square = sum(float((a.double() - b.double()).pow(2).sum()) for a, b in zip(x, y, strict=True))
    size = sum(float(b.double().pow(2).sum()) for b in y)
    return (square / size) ** 0.5 if size > 0 else square**0.5


def memory_of_graph(program: Program) -> float:
    """Bytes that autograd saves for one batch's gradient graph, each storage counted once."""
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with program.world(), torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        leaves = [v.detach().requires_grad_() for v in program.point]
        out = program.output(leaves, program.batches[0])
        gradient = _grad(out, leaves, create=True)
        del out, gradient
    return float(sum(seen.values()))


def free_memory(device: torch.device) -> float:
    """Bytes that are free on the device."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    try:
        with open("/proc/meminfo") as file:
            rows = dict(line.split(":", 1) for line in file)
        return float(rows["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return 4e9


def gradient_and_value(program: Program) -> tuple[list[Tensor], float]:
    """The gradient of J without its penalty, and its value."""
    with program.world():
        leaves = [v.detach().requires_grad_() for v in program.point]
        total: list[Tensor] | None = None
        value = 0.0
        for batch in program.batches:
            out = program.output(leaves, batch)
            value += float(out.detach())
            total = added(total, _grad(out, leaves, create=False), program.point)
    assert total is not None
    return total, value
