"""From a program to its graph: ``torch.export`` first, a recorder of dispatched operators where export refuses.

Both tiers end in the same place: each operator is looked up in the table of lowerings and becomes primitives.  An
operator that acts on constants only is evaluated where that is exact; one without a lowering becomes an opaque node.
"""
from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn

from epigraph.errors import CaptureError, ObjectiveError
from epigraph.objective.builder import Builder, Expression
from epigraph.objective.graph import Origin
from epigraph.objective.lowering import EXACT, LOWERINGS
from epigraph.objective.lowering.registry import RandomOperator

_TORCH = os.path.dirname(torch.__file__)
_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_FRAME = re.compile(r'File "([^"]+)", line (\d+), in ')


@final
@dataclass
class Lowering:
    """Turns operators with their arguments into expressions; shared by both tiers."""

    builder: Builder
    notes: list[str] = field(default_factory=list)

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
                out = apply(op, _map(list(bound), lambda v: constant_value(self.builder, v) if isinstance(v, Expression) else v))
            if tensors:
                self.notes.append(f"the constant result of {op} is taken as data, with the rounding of its float64 evaluation")
            return self._literal(out)
        template = _map(bound, lambda v: _Hole(tensors.index(v)) if isinstance(v, Expression) else v)
        examples = [torch.empty(x.shape, dtype=torch.float64, device="meta") for x in tensors]
        shapes = _fill_call(op, template, examples)
        multiple = isinstance(shapes, (tuple, list))
        outputs = [
            self.builder.opaque(str(op), tensors, tuple(s.shape), _OpaqueCall(op, template, i if multiple else None))
            for i, s in enumerate(shapes if multiple else [shapes])
        ]
        return tuple(outputs) if multiple else outputs[0]


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
        return type(value)(_map(v, function) for v in value) if type(value) in (list, tuple) else tuple(_map(v, function) for v in value)
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


# tier one ---------------------------------------------------------------------------------------------------------
def export(module: nn.Module, arguments: tuple[Any, ...], functional: bool = False) -> torch.export.ExportedProgram:
    """Non-strict export under fixed flags; in-place writes through views are made functional on request."""
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        torch.backends.mha.set_fastpath_enabled(False)
        program = torch.export.export(module, arguments, strict=False)
        if functional or _writes_through_views(program):
            program = program.run_decompositions({})
    return program


_VIEWS = re.compile(r"aten\.(view|reshape|select|slice|transpose|permute|t|expand|squeeze|unsqueeze|detach|unbind|split|chunk|narrow|flatten|diagonal)\b")


def _writes_through_views(program: torch.export.ExportedProgram) -> bool:
    """Is a tensor written in place that is a view, or of which a view exists?"""
    nodes = [n for n in program.graph.nodes if n.op == "call_function"]
    viewed = {a for n in nodes if _VIEWS.match(str(n.target)) for a in (n, *n.all_input_nodes)}
    return any(_written(n) in viewed or (_written(n) is not None and _written(n).op == "placeholder" and not _bookkeeping(n))
               for n in nodes if _written(n) is not None)


def _written(node: Any) -> Any:
    """The node that an in-place operator writes to, or None."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.is_mutable or not node.args or not str(node.target).split(".")[1].endswith("_"):
        return None
    return node.args[0]


def _bookkeeping(node: Any) -> bool:
    """A counter of batches that nothing reads."""
    return not node.users and str(node.target) == "aten.add_.Tensor" and len(node.args[0].users) == 1


def lower_program(program: torch.export.ExportedProgram, lowering: Lowering, sources: Mapping[str, Any], inputs: Sequence[Any],
                  locate: Callable[[str], tuple[str, int] | None]) -> Any:
    """Walk an exported graph: ``sources`` gives expressions for parameters and buffers by target, ``inputs`` the rest in order."""
    values: dict[Any, Any] = {}
    specs = {s.arg.name: s for s in program.graph_signature.input_specs if hasattr(s.arg, "name")}
    queue = list(inputs)
    for node in program.graph.nodes:
        if node.op == "placeholder":
            spec = specs[node.name]
            values[node] = queue.pop(0) if spec.kind.name == "USER_INPUT" else sources[spec.target]
        elif node.op == "call_function":
            lowering.builder.origin = _origin(node, locate)
            values[node] = _call(node, values, lowering)
            written = _written(node)
            if written is not None:
                values[written] = values[node]
            _check_shape(node, values[node])
        elif node.op == "output":
            return _map(list(node.args[0]), lambda n: values[n] if isinstance(n, torch.fx.Node) else n)
        else:
            raise CaptureError("E304", f"the graph holds a {node.op} node ({node.target})", why="control flow that depends on data")
    raise CaptureError("E304", "the captured graph has no output")


def _call(node: Any, values: Mapping[Any, Any], lowering: Lowering) -> Any:
    arguments = torch.fx.map_arg(node.args, lambda n: values[n])
    keywords = torch.fx.map_arg(node.kwargs, lambda n: values[n])
    name = str(node.target)
    if name.startswith("<built-in function getitem>"):
        return arguments[0][arguments[1]]
    if not hasattr(node.target, "_schema"):
        if name.startswith("<built-in function") or "sym_size" in name:
            return node.target(*arguments, **keywords)
        raise CaptureError("E304", f"the graph calls {name}", why="only PyTorch's operators are analysed",
                           where=lowering.builder.origin.location)
    if node.target.namespace != "aten" and not node.target._schema.returns:
        return None
    target = _functional(node.target)
    if name.startswith(("aten._assert", "aten.sym_", "aten._set_grad")):
        return None
    cast = _cast_to_integer(node, arguments)
    return _truncate(lowering, arguments[0], cast) if cast is not None else lowering.call(target, arguments, keywords)


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


def _cast_to_integer(node: Any, arguments: Sequence[Any]) -> torch.dtype | None:
    """The integer or Boolean type to which this node casts a real tensor that is not known exactly."""
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or value.is_floating_point() or not arguments or not isinstance(arguments[0], Expression):
        return None
    source = node.args[0].meta.get("val") if isinstance(node.args[0], torch.fx.Node) else None
    casting = str(node.target).startswith(("aten.to.", "aten._to_copy", "aten.type_as"))
    real = isinstance(source, Tensor) and source.is_floating_point()
    return value.dtype if casting and real else None


def _truncate(lowering: Lowering, x: Expression, dtype: torch.dtype) -> Expression:
    if x.literal is not None:
        return lowering.builder.literal(x.literal.to(dtype))
    if dtype == torch.bool:
        return 1 - lowering.builder.compare(x, lowering.builder.rational(0), "eq")
    return x.unary("sign") * x.unary("abs").unary("floor")


def _check_shape(node: Any, value: Any) -> None:
    expected = node.meta.get("val")
    if isinstance(expected, Tensor) and isinstance(value, Expression) and tuple(expected.shape) != value.shape:
        raise CaptureError("E306", f"{node.target} was lowered to shape {value.shape}, PyTorch has {tuple(expected.shape)}",
                           why="an error of epigraph's lowering", hint="please report it with the model")


def frames_of(trace: str) -> list[tuple[str, int]]:
    """The user's frames of a stack trace, outermost first: neither torch's nor ours."""
    found = [(name, int(line)) for name, line in _FRAME.findall(trace)]
    return [f for f in found if not f[0].startswith((_TORCH, _HERE, "<"))]


def _origin(node: Any, locate: Callable[[str], tuple[str, int] | None]) -> Origin:
    stack = node.meta.get("nn_module_stack") or {}
    path = next(reversed(stack.values()))[0] if stack else ""
    module = path.removeprefix("model").removeprefix(".") if path.startswith("model") else path
    frames = [f for f in frames_of(node.meta.get("stack_trace") or "") if "site-packages" not in f[0]]
    site = frames[-1] if frames else None
    created = locate(path)
    if created is not None and (site is None or _only_calls_containers(node, stack)):
        site = created
    if site is None:
        all_frames = frames_of(node.meta.get("stack_trace") or "")
        site = all_frames[-1] if all_frames else None
    return Origin(str(node.target), site[0] if site else None, site[1] if site else None, module)


def _only_calls_containers(node: Any, stack: Mapping[str, Any]) -> bool:
    """Is the operator inside an nn.Sequential, so that the line of its construction says more than the line of the call?"""
    kinds = [str(kind) for _, kind in stack.values()]
    return any("container.Sequential" in kind for kind in kinds)


def explain_refusal(error: BaseException) -> str:
    """The first sentence of an exporter's message."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"[:300]


def random_error(error: RandomOperator, origin: Origin) -> ObjectiveError:
    return ObjectiveError("E207", "the objective is random", where=origin.location, why=str(error),
                          hint='mode="eval", or draw the mask once and pass it as data')
