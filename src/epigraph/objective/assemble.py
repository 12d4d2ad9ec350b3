"""Capture an objective: export each shape of batch once, lower it for every batch, add the penalty, check the result."""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from epigraph.errors import CaptureError, EpigraphError, ObjectiveError
from epigraph.objective.builder import Builder, Expression
from epigraph.objective.capture import Lowering, explain_refusal, export, lower_program, random_error
from epigraph.objective.evaluate import Evaluator
from epigraph.objective.graph import Graph
from epigraph.objective.lowering.registry import RandomOperator
from epigraph.objective.recorder import record
from epigraph.objective.world import mode_of, untouched

if TYPE_CHECKING:
    from epigraph.objective.objective import Objective


class _Program(nn.Module):
    """model and loss as one module whose forward takes the tensors of a batch."""

    def __init__(self, model: nn.Module, loss: Any, spec: Any, fixed: list[Any]):
        super().__init__()
        self.model = model
        self.loss = loss
        self._spec, self._fixed = spec, fixed

    def forward(self, *tensors: Tensor) -> Tensor:
        from epigraph.objective.objective import _one_number, run_program

        queue = list(tensors)
        leaves = [queue.pop(0) if v is _TENSOR else v for v in self._fixed]
        x, y = pytree.tree_unflatten(leaves, self._spec)
        return _one_number(run_program(self.model, self.loss, x, y))


class _Function(nn.Module):
    """A function of tensors as a module without parameters."""

    def __init__(self, call: Callable[[Sequence[Tensor]], Any]):
        super().__init__()
        self._call = call

    def forward(self, *tensors: Tensor) -> Tensor:
        from epigraph.objective.objective import _one_number

        return _one_number(self._call(tensors))


class _Marker:
    """Stands for a tensor in the structure of a batch."""


_TENSOR = _Marker()


def assemble(J: Objective) -> Graph:
    """The checked graph of an objective.

    Raises:
        ObjectiveError: the objective is random, not finite, not a scalar, or does not depend on its parameters.
        CaptureError: it runs, but neither tier can capture it.
    """
    builder = Builder()
    lowering = Lowering(builder)
    parameters = {name: builder.parameter(name, value.detach()) for name, value in J.parameters.items()}
    with untouched(*J.modules()), mode_of(J.modules(), J.mode):
        _try_out(J)
        try:
            total = _function_part(J, lowering, parameters) if J.function is not None else _model_part(J, lowering, parameters)
        except RandomOperator as error:
            raise random_error(error, builder.origin) from None
        for name, decay in J.weight_decay.items():
            total = total + (parameters[name] ** 2).sum() * (Fraction(decay) / 2)
        graph = builder.graph(total)
        _check_agreement(J, graph)
    J.notes.extend(n for n in dict.fromkeys(lowering.notes) if n not in J.notes)
    return graph


def _try_out(J: Objective) -> None:
    """Run the objective twice where it stands: it must work, be finite, and give the same value."""
    try:
        values = [J.value() for _ in range(2)]
    except EpigraphError:
        raise
    except Exception as error:
        raise ObjectiveError("E206", f"the objective raises {type(error).__name__}", where=_user_line(error),
                             why=str(error).strip().split("\n")[0][:300], hint="call loss(model(inputs), targets) yourself first") from error
    if not _close(values[0], values[1], 1e-6):
        raise ObjectiveError("E207", f"the objective is random: two evaluations at one point gave {values[0]:.9g} and {values[1]:.9g}",
                             why="J must be a function of the parameters", hint='mode="eval", or fix masks and noise as data')
    inside = all(J.domain.contains(k, v.detach()) for k, v in J.parameters.items())
    if not math.isfinite(values[0]) and J.model is not None and inside:
        raise ObjectiveError("E208", f"J is {values[0]} at the model's own parameters", why="nothing can be compared with it",
                             hint="check the data and the initialisation")


def _user_line(error: BaseException) -> str | None:
    import traceback

    from epigraph.objective.capture import _HERE, _TORCH

    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith((_HERE, _TORCH, "<"))]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None


def _function_part(J: Objective, lowering: Lowering, parameters: dict[str, Expression]) -> Expression:
    module = _Function(J._call_function)
    values = tuple(v.detach().clone() for v in J.parameters.values())
    return _capture(J, lowering, module, values, {}, list(parameters.values()))


def _model_part(J: Objective, lowering: Lowering, parameters: dict[str, Expression]) -> Expression:
    from epigraph.objective.objective import Batch

    builder = lowering.builder
    programs: dict[Any, Any] = {}
    total: Expression | None = None
    batch: Batch
    for batch in J.batches():
        leaves, spec = pytree.tree_flatten((batch[0], batch[1]))
        tensors = [v for v in leaves if isinstance(v, Tensor)]
        fixed = [_TENSOR if isinstance(v, Tensor) else v for v in leaves]
        key = (str(spec), tuple((tuple(t.shape), t.dtype) for t in tensors), tuple(v for v in map(repr, fixed) if "Marker" not in v))
        module = _Program(J.model, J.loss, spec, fixed)  # type: ignore[arg-type]
        sources = _sources(J, module, builder, parameters)
        inputs = [builder.literal(t, "data") for t in tensors]
        value = _capture(J, lowering, module, tuple(tensors), sources, inputs, programs, key)
        part = value * batch[2]
        total = part if total is None else total + part
    assert total is not None
    return total


def _sources(J: Objective, module: nn.Module, builder: Builder, parameters: dict[str, Expression]) -> dict[str, Expression]:
    """Expressions by the target names that an exported program uses."""
    out: dict[str, Expression] = {}
    known = {id(v): parameters[k] for k, v in J.parameters.items()}
    for name, value in module.named_parameters(remove_duplicate=False):
        out[name] = known[id(value)] if id(value) in known else builder.literal(value, "frozen")
    for name, value in module.named_buffers(remove_duplicate=False):
        out[name] = builder.literal(value.detach().clone(), "buffer")
    return out


def _capture(J: Objective, lowering: Lowering, module: nn.Module, values: tuple[Tensor, ...], sources: dict[str, Expression],
             inputs: list[Expression], programs: dict[Any, Any] | None = None, key: Any = None) -> Expression:
    """Tier one, and tier two where it refuses."""
    programs = {} if programs is None else programs
    try:
        if key not in programs:
            programs[key] = export(module, values)
    except EpigraphError:
        raise
    except Exception as error:
        programs[key] = error
    program = programs[key]
    if isinstance(program, Exception):
        return record(J, lowering, module, values, sources, inputs, explain_refusal(program))
    found = dict(sources)
    own = {v.untyped_storage().data_ptr(): name for name, v in J.parameters.items()}
    for name, constant in program.constants.items():
        if isinstance(constant, Tensor):
            match = own.get(constant.untyped_storage().data_ptr()) if constant.numel() else None
            same = match is not None and constant.shape == J.parameters[match].shape
            found[name] = _parameter(lowering, J, match) if same and match else lowering.builder.literal(constant, "constant")
    outputs = lower_program(program, lowering, found, list(inputs), _locator(module))
    return _last_scalar(outputs)


def _parameter(lowering: Lowering, J: Objective, name: str) -> Expression:
    return lowering.builder.make("parameter", (), {"name": name}, tuple(J.parameters[name].shape))


def _locator(module: nn.Module) -> Callable[[str], tuple[str, int] | None]:
    """The line of the user's file that built a submodule, where the target's loader recorded it."""
    from epigraph.objective import target

    sites = getattr(target, "construction_sites", None)

    def locate(path: str) -> tuple[str, int] | None:
        if sites is None:
            return None
        try:
            return sites(module.get_submodule(path))
        except AttributeError:
            return None

    return locate


def _last_scalar(outputs: Any) -> Expression:
    """The user's output comes after the buffer mutations."""
    out = outputs[-1]
    if not isinstance(out, Expression):
        raise ObjectiveError("E205", "the objective does not return a tensor")
    if not out.builder.varies[out.id]:
        raise ObjectiveError("E209", "J does not depend on any trainable parameter", why="its value is a constant",
                             hint="check detach(), no_grad() and requires_grad in the model and the loss")
    return out.reshape(())


def _check_agreement(J: Objective, graph: Graph) -> None:
    """The graph must give the program's value, where the user stands and at a point moved from it."""
    generator = torch.Generator().manual_seed(20240229)
    single = all(p.dtype == torch.float32 for p in J.parameters.values())
    evaluator = Evaluator(graph, dtype=torch.float32 if single else torch.float64)
    for scale in (0.0, 0.03):
        point = {}
        for name, value in J.parameters.items():
            base = value.detach()
            noise = torch.randn(base.shape, generator=generator, dtype=torch.float64).to(base)
            point[name] = J.domain.project(name, base + scale * noise * (base.abs() + 0.1)).to(base.dtype)
        with torch.no_grad():
            ours = float(evaluator({k: v.to(evaluator.dtype) for k, v in point.items()}))
        theirs = J.value(point if scale else None)
        single = any(p.dtype != torch.float64 for p in J.parameters.values())
        if not _close(ours, theirs, 2e-3 if single else 1e-6):
            raise CaptureError("E303", f"the captured graph gives {ours:.9g} where the program gives {theirs:.9g}",
                               why="the program has state, or branches in a way that capture does not see",
                               hint="make the objective a pure function of its parameters")


def _close(x: float, y: float, tolerance: float) -> bool:
    if not (math.isfinite(x) and math.isfinite(y)):
        return True
    return abs(x - y) <= tolerance * max(1.0, abs(x), abs(y))


__all__ = ["CaptureError", "assemble"]
