"""From a program to its graph: ``torch.export`` first, a recorder of dispatched operators where export refuses.

Both tiers end in the same place: each operator is looked up in the table of lowerings and becomes primitives.  An
operator that acts on constants only is evaluated where that is exact; one without a lowering becomes an opaque node.
"""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor

from epigraph.errors import CaptureError, ObjectiveError
from epigraph.objective.alias import Memory
from epigraph.objective.builder import Builder, Expression
from epigraph.objective.graph import Origin
from epigraph.objective.lowering import EXACT, LOWERINGS
from epigraph.objective.lowering.registry import RandomOperator

_TORCH = os.path.join(os.path.dirname(torch.__file__), "")  # not torchvision, whose path begins alike
_HERE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")
_ZOO = os.path.join(_HERE, "zoo")  # its entries are quoted like a user's file
_FRAME = re.compile(r'File "([^"]+)", line (\d+), in ')


@final
@dataclass
class Lowering:
    """Turns operators with their arguments into expressions; shared by both tiers."""

    builder: Builder
    notes: list[str] = field(default_factory=list)
    memory: Memory | None = None

    def constant(self, tensor: Tensor, role: str = "constant") -> Expression:
        """A tensor that the program holds: a constant, or the entries of the parameter over whose memory it lies."""
        return self.builder.literal(tensor, role) if self.memory is None else self.memory.expression(tensor, role)

    def call(self, op: Any, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
        """One operator on expressions and plain values."""
        name = str(op)
        bound = bind(op, arguments, keywords)
        tensors = [v for v in _leaves(bound) if isinstance(v, Expression)]
        if torch.Tag.nondeterministic_seeded in op.tags and name not in LOWERINGS:
            raise RandomOperator(f"{name} draws random numbers")
        if all(x.literal is not None for x in tensors) and (name in EXACT or _whole(tensors)):
            folded = self._evaluate(op, bound)
            if name in EXACT or all(not t.is_floating_point() for t in _leaves(folded) if isinstance(t, Tensor)):
                return self._literal(folded)
        lowering = LOWERINGS.get(name)
        if lowering is not None:
            try:
                return lowering(self.builder, *bound)
            except NotImplementedError as error:
                self.notes.append(f"{name}: {error}")
        return self._unknown(op, bound, tensors)

    def _evaluate(self, op: Any, bound: Sequence[Any]) -> Any:
        with torch.no_grad():
            return apply(op, _map(list(bound), lambda v: v.literal if isinstance(v, Expression) else v))

    def _literal(self, value: Any) -> Any:
        return _map(value, lambda v: self.builder.literal(v) if isinstance(v, Tensor) else v)

    def _unknown(self, op: Any, bound: Sequence[Any], tensors: Sequence[Expression]) -> Any:
        """No lowering: a constant where nothing varies, else an opaque node for each tensor that comes out."""
        from epigraph.objective.evaluate import constant_value

        if not any(self.builder.varies[x.id] for x in tensors):
            with torch.no_grad():
                out = apply(
                    op, _map(list(bound), lambda v: constant_value(self.builder, v) if isinstance(v, Expression) else v)
                )
            if tensors:
                self.notes.append(
                    f"the constant result of {op} is taken as data, with the rounding of its float64 evaluation"
                )
            return self._literal(out)
        return self.opaque(op, bound, {})

    def opaque(self, op: Any, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
        """Nodes of which nothing is known, one for each tensor that comes out."""
        bound = bind(op, arguments, keywords)
        bound = _map(bound, _index)
        tensors = [v for v in _leaves(bound) if isinstance(v, Expression)]
        template = _map(bound, lambda v: _Hole(tensors.index(v)) if isinstance(v, Expression) else v)
        examples = [torch.empty(x.shape, dtype=torch.float64, device="meta") for x in tensors]
        try:
            shapes = _fill_call(op, template, examples)
        except Exception as error:  # the operator's own shape rule refuses, in whatever way it does
            raise CaptureError(
                "E307",
                f"the shape of what {op} gives is not known beforehand",
                where=self.builder.origin.location,
                why="it has no lowering, and depends on the parameters' values, works on integers, or has no shape rule",
                hint=_instead(str(op)),
            ) from error
        multiple = isinstance(shapes, (tuple, list))
        outputs = [
            self.builder.opaque(str(op), tensors, tuple(s.shape), _OpaqueCall(op, template, i if multiple else None))
            for i, s in enumerate(shapes if multiple else [shapes])
        ]
        return tuple(outputs) if multiple else outputs[0]


def _instead(op: str) -> str:
    """What to write in the place of an operator without a shape rule."""
    if op.startswith("aten._is_all_true"):
        return "validate_args=False, where a distribution of torch.distributions looks at its arguments"
    if op.startswith(("aten._ctc_loss", "aten.ctc_loss")):
        return "the recursion over alignments written with torch.logaddexp: the fused CTC loss has no lowering"
    return (
        "torch.where with a mask in place of indexing by one"
        if op.startswith("aten.")
        else "register_fake for this operator"
    )


def _index(value: Any) -> Any:
    """A constant of whole numbers or truth values goes into the call as it is; what varies is an operand."""
    whole = isinstance(value, Expression) and value.literal is not None and not value.literal.is_floating_point()
    return value.literal if whole else value


@final
@dataclass(frozen=True)
class _Hole:
    position: int


@final
@dataclass(frozen=True)
class _OpaqueCall:
    """Evaluates an operator without a lowering, for searches in floating point."""

    op: Any
    template: Any
    output: int | None

    def __call__(self, *tensors: Tensor) -> Tensor:
        out = _fill_call(self.op, self.template, tensors)
        return out if self.output is None else out[self.output]


def _fill_call(op: Any, template: Any, tensors: Sequence[Tensor]) -> Any:
    return apply(op, _map(list(template), lambda v: tensors[v.position] if isinstance(v, _Hole) else v))


def _map(value: Any, function: Callable[[Any], Any]) -> Any:
    if isinstance(value, (list, tuple)):
        return (
            type(value)(_map(v, function) for v in value)
            if type(value) in (list, tuple)
            else tuple(_map(v, function) for v in value)
        )
    return function(value)


def _leaves(value: Any) -> list[Any]:
    return [leaf for v in value for leaf in _leaves(v)] if isinstance(value, (list, tuple)) else [value]


def _whole(tensors: Sequence[Expression]) -> bool:
    """Integer and Boolean constants only: arithmetic on them commits no rounding."""
    return all(x.literal is not None and not x.literal.is_floating_point() for x in tensors)


def bind(op: Any, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> list[Any]:
    """All arguments of the operator's schema in order, defaults written out; layout and device arguments dropped."""
    out = []
    for position, argument in enumerate(op._schema.arguments):
        if position < len(arguments):
            out.append(arguments[position])
        elif argument.name in keywords:
            out.append(keywords[argument.name])
        elif argument.has_default_value():
            out.append(argument.default_value)
        else:
            raise CaptureError("E305", f"{op} lacks its argument {argument.name}")
    return out


def apply(op: Any, bound: Sequence[Any]) -> Any:
    """Call an operator with all arguments of its schema, the keyword-only ones by name."""
    plain, named = [], {}
    for argument, value in zip(op._schema.arguments, bound, strict=True):
        if argument.kwarg_only:
            named[argument.name] = value
        else:
            plain.append(value)
    return op(*plain, **named)


def _functional(op: Any) -> Any:
    """relu for relu_, with the same overload."""
    packet = str(op).split(".")[1]
    if not (op._schema.is_mutable and packet.endswith("_") and not packet.endswith("__")):
        return op
    twin = getattr(torch.ops.aten, packet[:-1], None)
    if twin is None:
        return op
    overload = str(op).split(".")[2]
    return getattr(twin, overload, op)


def _truncate(lowering: Lowering, x: Expression, dtype: torch.dtype) -> Expression:
    if x.literal is not None:
        return lowering.builder.literal(x.literal.to(dtype))
    if dtype == torch.bool:
        return 1 - lowering.builder.compare(x, lowering.builder.rational(0), "eq")
    return x.unary("sign") * x.unary("abs").unary("floor")


def frames_of(trace: str) -> list[tuple[str, int]]:
    """The user's frames of a stack trace, outermost first: neither torch's nor ours."""
    found = [(name, int(line)) for name, line in _FRAME.findall(trace)]
    return [
        f for f in found if not f[0].startswith((_TORCH, "<")) and (not f[0].startswith(_HERE) or f[0].startswith(_ZOO))
    ]


def user_line(error: BaseException) -> str | None:
    """``file.py:14``: the innermost of the user's frames in an exception's traceback."""
    trace = "\n".join(f'File "{f.filename}", line {f.lineno}, in x' for f in traceback.extract_tb(error.__traceback__))
    frames = frames_of(trace)
    return Origin("", *frames[-1]).location if frames else None


def explain_refusal(error: BaseException) -> str:
    """The first sentence of an exporter's message."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"[:300]


def random_error(error: RandomOperator, origin: Origin) -> ObjectiveError:
    return ObjectiveError(
        "E207",
        "the objective is random",
        where=origin.location,
        why=str(error),
        hint='mode="eval", or draw the mask once and pass it as data',
    )
