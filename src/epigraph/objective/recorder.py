"""The second tier of capture: run the program and record each operator that PyTorch dispatches.

It accepts what ``torch.export`` refuses: functions that look at a value on the way, such as ``gaussian_nll_loss``.
A look at a value that depends on the parameters makes the recording conditional, and that is refused here unless the
value is the same wherever the parameters are.
"""
from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from epigraph.errors import CaptureError
from epigraph.objective.builder import Expression
from epigraph.objective.capture import Lowering, _functional, _map, frames_of
from epigraph.objective.graph import Origin

if TYPE_CHECKING:
    from epigraph.objective.objective import Objective

_LOOKS = ("aten._local_scalar_dense", "aten.item", "aten.is_nonzero", "aten.equal", "aten.allclose")


class _Recorder(TorchDispatchMode):
    """Keeps, for each live tensor, the expression that it stands for."""

    def __init__(self, lowering: Lowering, tensors: Sequence[tuple[Tensor, Expression]]):
        super().__init__()
        self.lowering = lowering
        self.known: dict[int, tuple[Any, Expression]] = {}
        self.viewed: set[int] = set()
        self.guards: list[tuple[Expression, Any]] = []
        for tensor, expression in tensors:
            self._remember(tensor, expression)

    def _remember(self, tensor: Tensor, expression: Expression) -> None:
        self.known[id(tensor)] = (weakref.ref(tensor), expression)

    def _expression(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        entry = self.known.get(id(value))
        if entry is not None and entry[0]() is value:
            return entry[1]
        return self.lowering.builder.literal(value, "constant")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = str(func)
        before = _map(list(args), self._expression)
        out = func(*args, **kwargs)
        if name.startswith(_LOOKS):
            self.guards.extend((e, out) for e in before if isinstance(e, Expression))
            return out
        self.lowering.builder.origin = _here(name)
        if func._schema.is_mutable and not name.split(".")[1].endswith("_"):
            raise CaptureError("E302", f"{name} writes to an argument", why="neither tier of capture follows such a write")
        value = self.lowering.call(_functional(func), before, {k: self._expression(v) for k, v in kwargs.items()})
        if func._schema.is_mutable:
            self._written(args[0], name)
        self._bind(out, value)
        return out

    def _written(self, target: Tensor, name: str) -> None:
        if target._is_view() or target.untyped_storage().data_ptr() in self.viewed:
            raise CaptureError("E302", f"{name} writes through a view", why="the recorder does not follow shared storage",
                               hint="use the operator that returns a new tensor")

    def _bind(self, out: Any, value: Any) -> None:
        if isinstance(out, Tensor) and isinstance(value, Expression):
            if tuple(out.shape) != value.shape:
                raise CaptureError("E306", f"an operator was lowered to shape {value.shape}, PyTorch has {tuple(out.shape)}")
            if out._is_view():
                self.viewed.add(out.untyped_storage().data_ptr())
            self._remember(out, value)
        elif isinstance(out, (tuple, list)) and isinstance(value, (tuple, list)):
            for o, v in zip(out, value, strict=False):
                self._bind(o, v)


def _here(name: str) -> Origin:
    import traceback

    frames = frames_of("\n".join(f'File "{f.filename}", line {f.lineno}, in x' for f in traceback.extract_stack()))
    inside = [f for f in frames if "site-packages" not in f[0] and "/bin/" not in f[0]]
    site = inside[-1] if inside else None
    return Origin(name, site[0] if site else None, site[1] if site else None)


def record(J: Objective, lowering: Lowering, module: nn.Module, values: tuple[Tensor, ...], sources: dict[str, Expression],
           inputs: list[Expression], refusal: str) -> Expression:
    """Run the module once under the recorder; ``refusal`` is what the first tier said."""
    pairs = list(zip(values, inputs, strict=True))
    named = {**dict(module.named_parameters(remove_duplicate=False)), **dict(module.named_buffers(remove_duplicate=False))}
    pairs += [(tensor, sources[name]) for name, tensor in named.items()]
    recorder = _Recorder(lowering, pairs)
    try:
        with torch.no_grad(), recorder:
            out = module(*values)
    except (CaptureError, RecursionError) as error:
        raise CaptureError("E301", "the objective cannot be captured", why=f"{refusal}; and: {error}",
                           hint="write it without values that steer the control flow") from error
    from epigraph.objective.assemble import _last_scalar

    result = _last_scalar([recorder._expression(out)])
    _check_guards(recorder, refusal)
    lowering.notes.append("captured by recording one run, since torch.export refused it")
    return result


def _check_guards(recorder: _Recorder, refusal: str) -> None:
    """Every value that the program looked at must not depend on the parameters, or be decided by its range."""
    varies = recorder.lowering.builder.varies
    for expression, seen in recorder.guards:
        if varies[expression.id] and not _always(recorder.lowering, expression, seen):
            origin = expression.node.origin
            raise CaptureError("E301", "the program branches on a value that depends on the parameters", where=origin.location,
                               why=f"it looked at {origin.operator} and saw {seen}; elsewhere it may take another path ({refusal})",
                               hint="use torch.where, torch.clamp or torch.maximum instead of if")


def _always(lowering: Lowering, expression: Expression, seen: Any) -> bool:
    """Is the value the same for all parameters, by interval arithmetic?"""
    from epigraph.calculus.propagate import always_equal

    return always_equal(lowering.builder.graph(expression), float(seen))


__all__ = ["record"]
