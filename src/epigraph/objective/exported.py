"""The first tier of capture: ``torch.export``, and the walk through the graph that it gives."""

from __future__ import annotations

import contextlib
import io
import logging
import operator
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch._decomp import get_decompositions

from epigraph.errors import CaptureError
from epigraph.objective.builder import Expression
from epigraph.objective.capture import Lowering, _functional, _leaves, _map, _truncate, bind, frames_of
from epigraph.objective.graph import Origin
from epigraph.objective.lowering.complexes import COMPLEX, Pair
from epigraph.objective.lowering.registry import DECIDES, DISCRETE, EXACT, RandomOperator
from epigraph.objective.watch import reads_of_real

Locate = Callable[[str], tuple[str, int] | None]
_RECURRENT = ("aten.lstm.input", "aten.gru.input", "aten.rnn_tanh.input", "aten.rnn_relu.input")
_WRAPPERS = {
    "wrap_with_set_grad_enabled": 1,
    "wrap_with_autocast": 4,
}  # position of the wrapped graph among the arguments
_COMPARISONS = (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge)
_ASSERTIONS = ("aten._assert_async", "aten._assert_scalar", "aten._functional_assert")
_SILENT = ("aten._assert", "aten.sym_", "aten._set_grad")


def export(module: nn.Module, arguments: tuple[Any, ...], parameters: Sequence[Tensor]) -> torch.export.ExportedProgram:
    """Non-strict export under fixed flags; in-place writes that views could see are made functional.

    Raises:
        CaptureError: the program reads numbers of ``parameters`` that no symbol follows.
    """
    reads = reads_of_real(parameters)
    with _quiet(), torch.enable_grad():
        torch.backends.mha.set_fastpath_enabled(False)
        with reads:
            program = torch.export.export(module, arguments, strict=False)
        if reads.seen:
            raise CaptureError("E301", f"the program reads a parameter's numbers by .{reads.seen[0]}()")
        if any(str(n.target) in _RECURRENT for n in _nodes(program.graph_module)):
            program = program.run_decompositions(_recurrent())
        if any(_shared_write(n) for n in _nodes(program.graph_module)):
            program = program.run_decompositions({})
            left = next((n for n in _nodes(program.graph_module) if _shared_write(n)), None)
            if left is not None:
                raise CaptureError(
                    "E302", f"{left.target} writes to memory that others see", why="export did not make it functional"
                )
    return program


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What the exporter, or the program under it, prints is not for the user."""
    sink, disabled = io.StringIO(), logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(disabled)


def _recurrent() -> dict[Any, Any]:
    aten = torch.ops.aten
    return dict(get_decompositions([aten.lstm.input, aten.gru.input, aten.rnn_tanh.input, aten.rnn_relu.input]))


def _nodes(module: torch.fx.GraphModule) -> Iterator[torch.fx.Node]:
    """All nodes, also those of wrapped graphs."""
    for part in module.modules():
        if isinstance(part, torch.fx.GraphModule):
            yield from part.graph.nodes


# writes -----------------------------------------------------------------------------------------------------------
def _shared_write(node: torch.fx.Node) -> bool:
    """Does this node write to memory under another name than the one that the walk will update?"""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return False
    if not schema.is_mutable:
        return _running_statistics(node)
    target = _written(node)
    if target is None:
        return True
    if target.op == "placeholder":
        return not _bookkeeping(node)
    return _is_view(target) or len(target.users) > 1


def _written(node: torch.fx.Node) -> torch.fx.Node | None:
    """The one node that an in-place operator such as ``relu_`` writes to, or None."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.is_mutable or not node.args or not isinstance(node.args[0], torch.fx.Node):
        return None
    marked = [i for i, a in enumerate(schema.arguments) if a.alias_info is not None and a.alias_info.is_write]
    name = str(node.target).split(".")[1]
    return node.args[0] if marked == [0] and name.endswith("_") and not name.endswith("__") else None


def _is_view(node: torch.fx.Node) -> bool:
    """May the node's value lie in the memory of another?  The schema says so; an entry of a tuple is taken for one."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return True
    return any(r.alias_info is not None and not r.alias_info.is_write for r in schema.returns)


def _bookkeeping(node: torch.fx.Node) -> bool:
    """A counter of batches that nothing reads."""
    return not node.users and str(node.target) == "aten.add_.Tensor" and len(node.all_input_nodes[0].users) == 1


def _running_statistics(node: torch.fx.Node) -> bool:
    """Normalisation in training mode writes its running statistics; does anything else read them?"""
    if not str(node.target).startswith(("aten.batch_norm.", "aten.instance_norm.")):
        return False
    statistics = [a for a in node.args[3:5] if isinstance(a, torch.fx.Node)]
    return bool(node.args[5]) and any(len(a.users) > 1 for a in statistics)


@final
@dataclass(frozen=True)
class _Unusable:
    """In the place of a value that could not be made."""

    error: Exception


def _usable(value: Any) -> Any:
    if isinstance(value, _Unusable):
        raise value.error
    return value


# the walk ---------------------------------------------------------------------------------------------------------
@final
class Walk:
    """From the nodes of an exported program to expressions; wrapped graphs are walked in their place."""

    def __init__(self, program: torch.export.ExportedProgram, lowering: Lowering, locate: Locate):
        self.program, self.lowering, self.locate = program, lowering, locate

    def outputs(self, sources: Mapping[str, Any], inputs: Sequence[Any]) -> list[Any]:
        """``sources`` gives expressions for parameters, buffers and constants by target, ``inputs`` the rest in order."""
        specs = {s.arg.name: s for s in self.program.graph_signature.input_specs if hasattr(s.arg, "name")}
        queue = list(inputs)
        bound = []
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                spec = specs[node.name]
                bound.append(queue.pop(0) if spec.kind.name == "USER_INPUT" else sources[spec.target or ""])
        return self._walk(self.program.graph_module, bound)

    def _walk(self, module: torch.fx.GraphModule, bound: Sequence[Any]) -> list[Any]:
        values: dict[torch.fx.Node, Any] = {}
        queue = list(bound)
        for node in module.graph.nodes:
            if node.op == "placeholder":
                values[node] = queue.pop(0)
            elif node.op == "get_attr":
                values[node] = getattr(module, str(node.target))
            elif node.op == "call_function":
                self.lowering.builder.origin = _origin(node, self.locate)
                values[node] = self._tried(node, values)
                written = _written(node)
                if written is not None:
                    values[written] = values[node]
                _check_shape(node, values[node])
            elif node.op == "output":
                return _map(list(node.args[0]), lambda n: _usable(values[n]) if isinstance(n, torch.fx.Node) else n)
        raise CaptureError("E304", "the captured graph has no output")

    def _tried(self, node: torch.fx.Node, values: Mapping[Any, Any]) -> Any:
        """The node's value, or the error to raise if anything but an assertion asks for it."""
        if str(node.target).startswith(_SILENT):
            if str(node.target).startswith(_ASSERTIONS):
                self._note_assertion(node, values)
            return None
        try:
            return self._call(node, values)
        except (CaptureError, RandomOperator) as error:
            return _Unusable(error)

    def _note_assertion(self, node: torch.fx.Node, values: Mapping[Any, Any]) -> None:
        given = [values[n] for n in node.all_input_nodes]
        varies = self.lowering.builder.varies
        if any(
            isinstance(v, _Unusable) or (isinstance(v, Expression) and v.literal is None and varies[v.id])
            for v in given
        ):
            self.lowering.notes.append(
                "the program asserts something of values that depend on the parameters: J is analysed without that"
            )

    def _call(self, node: torch.fx.Node, values: Mapping[Any, Any]) -> Any:
        arguments: Any = torch.fx.map_arg(node.args, lambda n: _usable(values[n]))
        keywords: Any = torch.fx.map_arg(node.kwargs, lambda n: _usable(values[n]))
        target: Any = node.target
        name = str(target)
        if name.startswith("<built-in function getitem>"):
            return arguments[0][arguments[1]]
        wrapped = _WRAPPERS.get(getattr(target, "__name__", ""))
        if wrapped is not None:
            return self._walk(arguments[wrapped], arguments[wrapped + 1 :])
        if not hasattr(target, "_schema"):
            return self._plain(node, arguments, keywords)
        if target.namespace != "aten" and not target._schema.returns:
            return None
        if any(_is_complex(n) for n in (node, *node.all_input_nodes)):
            return self._complex(target, arguments, keywords)
        if name.startswith(("aten.item.", "aten._local_scalar_dense.")):
            return arguments[0].reshape(()) if arguments[0].literal is None else arguments[0].literal.item()
        if _casts(node):
            return _truncate(self.lowering, arguments[0], node.meta["val"].dtype)
        if _joins_truths(node):
            return self.lowering.call(
                torch.ops.aten.logical_or.default, [_truth(self.lowering, v) for v in arguments[:2]], {}
            )
        if _rounds_within(node) or (_makes_truths(node) and self._varies(arguments)):
            return self.lowering.opaque(_functional(target), arguments, keywords)
        return self.lowering.call(_functional(target), arguments, keywords)

    def _varies(self, arguments: Any) -> bool:
        varies = self.lowering.builder.varies
        return any(isinstance(v, Expression) and v.literal is None and varies[v.id] for v in _leaves(arguments))

    def _complex(self, target: Any, arguments: Any, keywords: Any) -> Any:
        """An operator on complex tensors, which are pairs of real ones."""
        name = str(_functional(target))
        try:
            if name not in COMPLEX:
                raise NotImplementedError(f"{name} works on complex numbers")
            return COMPLEX[name](self.lowering.builder, *bind(target, arguments, keywords))
        except NotImplementedError as error:
            raise CaptureError(
                "E308",
                str(error),
                where=self.lowering.builder.origin.location,
                why="the graph of J is of real functions, and this operator has no form in real and imaginary parts",
                hint="write real and imaginary parts as tensors of their own",
            ) from error

    def _plain(self, node: torch.fx.Node, arguments: Any, keywords: Any) -> Any:
        """Arithmetic on sizes and on numbers that were read; anything else is no operator."""
        target: Any = node.target
        if target in _COMPARISONS and any(isinstance(a, Expression) for a in arguments):
            return None  # for an assertion; any other use of it fails
        if str(target).startswith("<built-in function") or "sym_size" in str(target):
            return target(*arguments, **keywords)
        raise CaptureError(
            "E304",
            f"the graph calls {getattr(target, '__name__', target)}",
            why="only PyTorch's operators are analysed",
            where=self.lowering.builder.origin.location,
        )


def _value(node: Any) -> Tensor | None:
    value = node.meta.get("val") if isinstance(node, torch.fx.Node) else None
    return value if isinstance(value, Tensor) else None


def _is_complex(node: Any) -> bool:
    """Is the value complex, or are values inside it, as those of ``split`` are?"""
    value = node.meta.get("val")
    inside = value if isinstance(value, (list, tuple)) else [value]
    return any(isinstance(v, Tensor) and v.is_complex() for v in inside)


def _casts(node: torch.fx.Node) -> bool:
    """Is this a cast of a real tensor to integers or truth values?"""
    value, source = _value(node), _value(node.args[0]) if node.args else None
    casting = str(node.target).startswith(("aten.to.", "aten._to_copy", "aten.type_as"))
    return (
        casting
        and value is not None
        and not value.is_floating_point()
        and source is not None
        and source.is_floating_point()
    )


def _rounds_within(node: torch.fx.Node) -> bool:
    """Does another operator turn real numbers into integers, as ``sum(dtype=int)`` and ``copy_`` to an integer tensor do?"""
    value = _value(node)
    if value is None or value.is_floating_point() or value.dtype == torch.bool:
        return False
    sources = [_value(n) for n in node.all_input_nodes]
    return any(s is not None and s.is_floating_point() for s in sources)


def _joins_truths(node: Any) -> bool:
    """The sum of truth values, which is their ``or``."""
    value = _value(node)
    return value is not None and value.dtype == torch.bool and str(node.target).startswith(("aten.add.", "aten.add_."))


def _makes_truths(node: Any) -> bool:
    """Are truth values made here by an operator whose lowering was written for numbers?"""
    value, name = _value(node), str(node.target).split(".")[1].removesuffix("_")
    return (
        value is not None
        and value.dtype == torch.bool
        and name not in DECIDES | DISCRETE
        and str(node.target) not in EXACT
    )


def _truth(lowering: Lowering, value: Any) -> Expression:
    return value if isinstance(value, Expression) else lowering.builder.rational(int(value))


def _check_shape(node: Any, value: Any) -> None:
    expected = node.meta.get("val")
    if isinstance(expected, Tensor) and isinstance(value, (Expression, Pair)) and tuple(expected.shape) != value.shape:
        raise CaptureError(
            "E306",
            f"{node.target} was lowered to shape {value.shape}, PyTorch has {tuple(expected.shape)}",
            why="an error of epigraph's lowering",
            hint="please report it with the model",
        )


def _origin(node: Any, locate: Locate) -> Origin:
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
