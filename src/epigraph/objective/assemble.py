"""Capture an objective: export each shape of batch once, lower it for every batch, add the penalty, check the result."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils import _pytree as pytree

from epigraph.errors import CaptureError, ObjectiveError
from epigraph.objective.agreement import check_agreement, gradient_notes, try_out
from epigraph.objective.alias import Memory
from epigraph.objective.builder import Builder, Expression
from epigraph.objective.capture import Lowering, explain_refusal, random_error
from epigraph.objective.exported import Walk, export
from epigraph.objective.graph import Graph, Origin
from epigraph.objective.lowering.registry import RandomOperator
from epigraph.objective.program import one_number, run_program
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
        queue = list(tensors)
        leaves = [queue.pop(0) if v is _TENSOR else v for v in self._fixed]
        x, y = pytree.tree_unflatten(leaves, self._spec)
        return one_number(run_program(self.model, self.loss, x, y))


class _Function(nn.Module):
    """A function of tensors as a module without parameters."""

    def __init__(self, call: Callable[[Sequence[Tensor]], Any]):
        super().__init__()
        self._call = call

    def forward(self, *tensors: Tensor) -> Tensor:
        return one_number(self._call(tensors))


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
    parameters = {name: builder.parameter(name, value.detach()) for name, value in J.parameters.items()}
    owned = {} if J.function is not None else {k: (v, parameters[k]) for k, v in J.parameters.items()}
    lowering = Lowering(builder, memory=Memory(builder, owned))
    with untouched(*J.roots()), mode_of(J.modules(), J.mode):
        watch = try_out(J)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                part = _function_part if J.function is not None else _model_part
                total = part(J, lowering, parameters)
        except RandomOperator as error:
            raise random_error(error, builder.origin) from None
        builder.origin = Origin("weight_decay")
        for name, decay in J.weight_decay.items():
            total = total + (parameters[name] ** 2).sum() * (Fraction(decay) / 2)
        graph = builder.graph(total)
        if watch.outside:
            lowering.notes.append("a trainable parameter that is none of J's is used, and held constant")
        lowering.notes += builder.memory.get("notes", ())
        lowering.notes += check_agreement(J, graph, watch.coarsest)
        lowering.notes += gradient_notes(J, graph)
    J.notes.extend(n for n in dict.fromkeys(lowering.notes) if n not in J.notes)
    return graph


def _function_part(J: Objective, lowering: Lowering, parameters: dict[str, Expression]) -> Expression:
    module = _Function(J.call_function)
    values = tuple(v.detach().clone() for v in J.parameters.values())
    return _capture(J, lowering, module, values, {}, list(parameters.values()))


def _model_part(J: Objective, lowering: Lowering, parameters: dict[str, Expression]) -> Expression:
    programs: dict[Any, Any] = {}
    total: Expression | None = None
    for batch in J.batches():
        leaves, spec = pytree.tree_flatten((batch.inputs, batch.targets))
        tensors = [v for v in leaves if isinstance(v, Tensor)]
        fixed = [_TENSOR if isinstance(v, Tensor) else v for v in leaves]
        module = _Program(J.model, J.loss, spec, fixed)  # type: ignore[arg-type]
        sources = _sources(J, module, lowering, parameters)
        inputs = [lowering.constant(t, "data") for t in tensors]
        value = _capture(J, lowering, module, tuple(tensors), sources, inputs, programs, _key(spec, leaves))
        part = value * batch.weight
        total = part if total is None else total + part
    assert total is not None
    return total


def _key(spec: Any, leaves: Sequence[Any]) -> Any:
    """Batches of one key give one exported graph: the same structure, shapes, types, and equal plain values in their places."""
    plain = (int, float, bool, str, type(None))
    parts = [
        (tuple(v.shape), v.dtype, v.device, v.stride())
        if isinstance(v, Tensor)
        else (type(v), v)
        if type(v) in plain
        else id(v)
        for v in leaves
    ]
    return str(spec), tuple(parts)


def _sources(
    J: Objective, module: nn.Module, lowering: Lowering, parameters: dict[str, Expression]
) -> dict[str, Expression]:
    """Expressions by the target names that an exported program uses."""
    out: dict[str, Expression] = {}
    known = {id(v): parameters[k] for k, v in J.parameters.items()}
    for name, value in module.named_parameters(remove_duplicate=False):
        out[name] = known[id(value)] if id(value) in known else lowering.constant(value, "frozen")
    for name, value in module.named_buffers(remove_duplicate=False):
        made = lowering.constant(value, "buffer")
        out[name] = made if made.literal is None else lowering.builder.literal(value.detach().clone(), "buffer")
    return out


def _capture(
    J: Objective,
    lowering: Lowering,
    module: nn.Module,
    values: tuple[Tensor, ...],
    sources: dict[str, Expression],
    inputs: list[Expression],
    programs: dict[Any, Any] | None = None,
    key: Any = None,
) -> Expression:
    """Tier one, and tier two where it refuses."""
    programs = {} if programs is None else programs
    try:
        if key not in programs:
            with untouched(*J.roots()):
                programs[key] = export(module, values, list(J.parameters.values()))
        if not isinstance(programs[key], Exception):
            found = sources | _constants(programs[key], lowering)
            return _last_scalar(Walk(programs[key], lowering, _locator(module)).outputs(found, inputs))
    except (ObjectiveError, RandomOperator):
        raise
    except Exception as error:
        if isinstance(error, CaptureError) and error.code in ("E308", "E309"):
            raise
        programs[key] = error
    with untouched(*J.roots()):
        return record(J, lowering, module, values, sources, inputs, explain_refusal(programs[key]))


def _constants(program: torch.export.ExportedProgram, lowering: Lowering) -> dict[str, Any]:
    """Tensors that the program holds beside its parameters and buffers, and other objects as they are."""
    found: dict[str, Any] = {}
    for name, constant in program.constants.items():
        if isinstance(constant, FakeTensor):
            raise CaptureError("E301", "the program makes parameters of its own while it runs")
        found[name] = lowering.constant(constant) if isinstance(constant, Tensor) else constant
    return found


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
        raise ObjectiveError(
            "E209",
            "J does not depend on any trainable parameter",
            why="its value is a constant",
            hint="check detach(), no_grad() and requires_grad in the model and the loss",
        )
    return out.reshape(())


__all__ = ["CaptureError", "assemble"]
