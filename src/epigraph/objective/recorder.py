"""The second tier of capture: run the program and record each operator that PyTorch dispatches.

It accepts what ``torch.export`` refuses: functions that look at a value on the way, such as ``gaussian_nll_loss``.
A look at a value that depends on the parameters makes the recording conditional, and that is refused here unless the
value is the same wherever the parameters are.  In-place writes change every tensor that shares the memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from epigraph.errors import CaptureError, EpigraphError
from epigraph.objective.builder import Expression
from epigraph.objective.capture import _HERE, _TORCH, Lowering, _functional, _leaves, _map, _truncate, apply
from epigraph.objective.graph import Origin
from epigraph.objective.lowering import LOWERINGS
from epigraph.objective.lowering.registry import DECIDES, DISCRETE, RandomOperator
from epigraph.objective.memory import Memory

if TYPE_CHECKING:
    from epigraph.objective.objective import Objective

_LOOKS = frozenset({"_local_scalar_dense", "item", "is_nonzero", "equal", "allclose"})
_CASTS = frozenset({"to", "_to_copy", "type_as"})
_BLIND = frozenset({"tolist", "numpy", "__array__", "__dlpack__", "__deepcopy__", "__reduce_ex__"})
_COPIES = frozenset({"tensor", "as_tensor", "asarray"})  # of a list, whose numbers they read one by one
_BATCH_NORM = frozenset({"native_batch_norm", "_native_batch_norm_legit"})
_RESHAPING = frozenset({"transpose_", "t_", "squeeze_", "unsqueeze_", "swapaxes_", "swapdims_", "detach_"})


def packet(op: Any) -> str:
    """``relu_`` for ``aten.relu_.default``."""
    return str(op).split(".")[1]


@final
class _NoBlindReads(TorchFunctionMode):
    """Refuses the ways out of a tensor that no operator sees, such as ``numpy()``, where its value varies."""

    def __init__(self, recorder: Recorder):
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        taken = (
            args[:1]
            if name in _BLIND
            else _leaves(args[:1])
            if name in _COPIES and isinstance(args[0], (list, tuple))
            else ()
        )
        if any(isinstance(t, Tensor) and self.recorder.varying(t) for t in taken):
            raise CaptureError(
                "E301",
                f"{name}() takes a value that depends on the parameters out of PyTorch",
                where=_here(name).location,
                why="what is computed from it outside PyTorch cannot be followed",
                hint="stay with tensors",
            )
        return func(*args, **(kwargs or {}))


@final
class Recorder(TorchDispatchMode):
    """Keeps, for each live tensor, the expression that it stands for."""

    def __init__(
        self,
        lowering: Lowering,
        tensors: Sequence[tuple[Tensor, Expression]],
        origin: Callable[[str], Origin] | None = None,
        keep: bool = False,
    ):
        super().__init__()
        self.kept: list[Any] | None = (
            [] if keep else None
        )  # autograd holds memory without the tensors that it came from
        self.lowering, self.memory = lowering, Memory(lowering.builder)
        self.origin = origin or _here
        self.guards: list[tuple[Expression, Any]] = []
        for tensor, expression in tensors:
            self.memory.bind(tensor, expression)

    def expression(self, value: Any) -> Any:
        """The expression of a tensor; one that the run did not make is a constant."""
        return self.memory.read(value) if isinstance(value, Tensor) else value

    def varying(self, tensor: Tensor) -> bool:
        found = self.memory.find(tensor)
        return found is not None and found.literal is None and self.lowering.builder.varies[found.id]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, packet(func)
        if any(isinstance(v, Tensor) and v.is_complex() for v in _leaves([list(args), list(kwargs.values())])):
            raise _complex_refusal(func)
        updates = [i for i in (3, 4) if name in _BATCH_NORM and args[5]]  # running statistics: written, not read
        before = [None if i in updates else _map(v, self.expression) for i, v in enumerate(args)]
        keywords = {k: _map(v, self.expression) for k, v in kwargs.items()}
        if name in _LOOKS:
            return self._look(func, args, kwargs, before)
        self.lowering.builder.origin = self.origin(str(func))
        if func._schema.is_mutable and not name.endswith("_") and str(func) not in LOWERINGS:
            raise CaptureError(
                "E302", f"{func} writes to an argument", why="neither tier of capture follows such a write"
            )
        cast = self._cast(name, args, kwargs)
        if cast is not None:
            source = self.expression(args[1] if name == "copy_" else args[0])
            value = _truncate(self.lowering, source, cast)
            value = value.expand(tuple(args[0].shape)) if name == "copy_" else value
        elif name in ("add", "add_") and all(_true_or_false(v) for v in args[:2]):
            both = [
                v if isinstance(v, Expression) else self.lowering.builder.rational(int(bool(v))) for v in before[:2]
            ]
            value = self.lowering.call(torch.ops.aten.logical_or.default, both, {})
        else:
            value = self.lowering.call(_functional(func), before, keywords)
        out = func(*args, **kwargs)
        if any(isinstance(v, Tensor) and v.is_complex() for v in _leaves([out])):
            raise _complex_refusal(func)
        if self.kept is not None:
            self.kept.append((args, out))
        if cast is None:
            self._check_discrete(name, out, value, args)
        if func._schema.is_mutable and name.endswith("_"):
            self._write(name, args[0], value)
        else:
            self._bind(out, value)
            self._spoil_written(func, args, updates)
        return out

    def _look(self, func: Any, args: Any, kwargs: Any, before: Sequence[Any]) -> Any:
        out = func(*args, **kwargs)
        self.guards.extend((e, out) for e in before if isinstance(e, Expression) and e.literal is None)
        return out

    def _cast(self, name: str, args: Any, kwargs: Any) -> torch.dtype | None:
        """The integer or Boolean type to which a real tensor is cast here, or None."""
        if name == "copy_":
            target, source = args[0].dtype, args[1]
        elif name in _CASTS and isinstance(args[0], Tensor):
            types = [v for v in (*args[1:], *kwargs.values()) if isinstance(v, torch.dtype)]
            others = [v.dtype for v in args[1:] if isinstance(v, Tensor)]
            target, source = (types or others or [args[0].dtype])[0], args[0]
        else:
            return None
        real = isinstance(source, Tensor) and source.is_floating_point()
        return target if real and not (target.is_floating_point or target.is_complex) else None

    def _check_discrete(self, name: str, out: Any, value: Any, args: Any) -> None:
        """A tensor of whole numbers or truth values that varies must come from an operator known to make one."""
        if (
            not isinstance(out, Tensor)
            or out.is_floating_point()
            or not isinstance(value, Expression)
            or value.literal is not None
        ):
            return
        real = any(isinstance(a, Tensor) and a.is_floating_point() for a in _leaves(args))
        known = DECIDES if real else DISCRETE
        followed = name.removesuffix("_") in known | {"add"} or not (real or out.dtype == torch.bool)
        if not followed and self.lowering.builder.varies[value.id] and value.op != "opaque":
            raise CaptureError(
                "E302",
                f"{name} makes whole numbers out of values that depend on the parameters",
                where=self.lowering.builder.origin.location,
                why="its rounding is not followed",
                hint="use floor, where or a comparison on real tensors",
            )

    def _write(self, name: str, target: Tensor, value: Any) -> None:
        if not isinstance(value, Expression):
            raise CaptureError("E302", f"{name} writes in place", why="its result is no single tensor")
        if tuple(target.shape) != value.shape:
            raise CaptureError("E306", f"{name} was lowered to shape {value.shape}, PyTorch has {tuple(target.shape)}")
        if name in _RESHAPING:
            self.memory.bind(target, value)
        else:
            self.memory.write(target, value)

    def _spoil_written(self, func: Any, args: Any, positions: Sequence[int]) -> None:
        """Arguments that the operator updates on the side, such as running statistics, must not be read again."""
        for i, (argument, value) in enumerate(zip(func._schema.arguments, args, strict=False)):
            written = argument.alias_info is not None and argument.alias_info.is_write
            if (written or i in positions) and isinstance(value, Tensor):
                self.memory.spoil(value, str(func))

    def _bind(self, out: Any, value: Any) -> None:
        if isinstance(out, Tensor) and isinstance(value, Expression):
            if tuple(out.shape) != value.shape:
                raise CaptureError(
                    "E306", f"an operator was lowered to shape {value.shape}, PyTorch has {tuple(out.shape)}"
                )
            self.memory.bind(out, value)
        elif isinstance(out, Tensor):
            self.memory.spoil(out, self.lowering.builder.origin.operator)
        elif isinstance(out, (tuple, list)):
            parts = value if isinstance(value, (tuple, list)) else [value]
            for position, o in enumerate(out):
                self._bind(o, parts[position] if position < len(parts) else None)


def _true_or_false(value: Any) -> bool:
    return value.dtype == torch.bool if isinstance(value, Tensor) else isinstance(value, bool)


def _complex_refusal(func: Any) -> CaptureError:
    return CaptureError(
        "E308",
        f"{func} works on complex numbers",
        where=_here(str(func)).location,
        why="torch.export refused the program, and the recorder follows real tensors only",
        hint="write real and imaginary parts as tensors of their own, or without what export refuses",
    )


def _here(name: str) -> Origin:
    """The innermost line outside PyTorch, other packages and this one."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith((_HERE, _TORCH, "<")) and "site-packages" not in file and "/bin/" not in file:
            return Origin(name, file, frame.f_lineno)
        frame = frame.f_back  # type: ignore[assignment]
    return Origin(name)


def record(
    J: Objective,
    lowering: Lowering,
    module: nn.Module,
    values: tuple[Tensor, ...],
    sources: dict[str, Expression],
    inputs: list[Expression],
    refusal: str,
) -> Expression:
    """Run the module once under the recorder; ``refusal`` is what the first tier said."""
    pairs = list(zip(values, inputs, strict=True))
    named = {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }
    pairs += [(tensor, sources[name]) for name, tensor in named.items()]
    recorder, out = _run(lowering, pairs, module, values, refusal)
    from epigraph.objective.assemble import _last_scalar

    result = _last_scalar([recorder.expression(out)])
    _check_guards(recorder, refusal)
    lowering.notes.append("captured by recording one run, since torch.export refused it")
    return result


def _run(
    lowering: Lowering,
    pairs: list[tuple[Tensor, Expression]],
    module: nn.Module,
    values: tuple[Tensor, ...],
    refusal: str,
) -> tuple[Recorder, Any]:
    """The recorded run; with gradients where the program takes derivatives itself, as a gradient penalty does."""
    for gradients in (False, True):
        recorder = Recorder(lowering, pairs, keep=gradients)
        try:
            with torch.set_grad_enabled(gradients), _plain_kernels(), _NoBlindReads(recorder), recorder:
                return recorder, module(*values)
        except RandomOperator:
            raise
        except EpigraphError as error:
            if error.code not in ("E302", "E304", "E305", "E306"):
                raise
            why = error.what if error.why is None else f"{error.what}: {error.why}"
            raise _refused(lowering, refusal, why) from error
        except Exception as error:
            if not gradients and "not require grad" in str(error):
                continue
            why = f"{type(error).__name__}: {error}".strip().splitlines()[0][:300]
            raise _refused(lowering, refusal, why) from error
    raise AssertionError("unreachable")


def _refused(lowering: Lowering, refusal: str, why: str) -> CaptureError:
    return CaptureError(
        "E301",
        "the objective cannot be captured",
        where=lowering.builder.origin.location,
        why=f"{refusal}; and: {why}",
        hint="write it without values that steer the control flow",
    )


@contextmanager
def _plain_kernels() -> Iterator[None]:
    """No fused kernels: attention and recurrent layers then dispatch the operators that they consist of."""
    fastpath, mkldnn = torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        torch._C._set_mkldnn_enabled(False)
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)
        torch._C._set_mkldnn_enabled(mkldnn)


def _check_guards(recorder: Recorder, refusal: str) -> None:
    """Every value that the program looked at must not depend on the parameters, or be decided by its range."""
    varies = recorder.lowering.builder.varies
    for expression, seen in recorder.guards:
        if varies[expression.id] and not _always(recorder.lowering, expression, seen):
            origin = expression.node.origin
            raise CaptureError(
                "E301",
                "the program branches on a value that depends on the parameters",
                where=origin.location,
                why=f"it looked at {origin.operator} and saw {seen}; elsewhere it may take another path ({refusal})",
                hint="use torch.where, torch.clamp or torch.maximum instead of if",
            )


def _always(lowering: Lowering, expression: Expression, seen: Any) -> bool:
    """Is the value the same for all parameters, by interval arithmetic?"""
    from epigraph.calculus.propagate import always_equal

    return always_equal(lowering.builder.graph(expression), float(seen))


def replay(lowering: Lowering, op: Any, bound: Sequence[Any]) -> Any:
    """Open one composite operator: run it on example tensors and record the operators that it consists of."""
    pairs: list[tuple[Tensor, Expression]] = []

    def example(value: Any) -> Any:
        if not isinstance(value, Expression):
            return value
        literal = value.literal
        if literal is None:
            tensor = torch.full(value.shape, 0.5, dtype=torch.float64)
        else:
            tensor = literal.to(torch.float64, copy=True) if literal.is_floating_point() else literal.clone()
        pairs.append((tensor, value))
        return tensor

    arguments = _map(list(bound), example)
    origin = lowering.builder.origin
    recorder = Recorder(lowering, pairs, origin=lambda _: origin)
    with torch.no_grad(), _plain_kernels(), recorder:
        out = apply(op, arguments)
    if any(lowering.builder.varies[e.id] for e, _ in recorder.guards):
        raise NotImplementedError(f"{op} looks at values")
    return _map(out, recorder.expression)


__all__ = ["Recorder", "record", "replay"]
