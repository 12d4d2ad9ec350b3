"""J as a function of some parameters, batch by batch, at any point and in any precision, without touching the model."""

from __future__ import annotations

import contextlib
import functools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, ParamSpec, TypeVar, final

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils.stateless import _reparametrize_module  # type: ignore[attr-defined]
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from epigraph.errors import ObjectiveError
from epigraph.objective.data import Batch
from epigraph.objective.harmless import harmless
from epigraph.objective.objective import Objective
from epigraph.objective.program import one_number, run_program
from epigraph.objective.world import mode_of, untouched

P = ParamSpec("P")
T = TypeVar("T")


@contextlib.contextmanager
def calm() -> Iterator[None]:
    """Inside, neither inference mode nor autocast of the caller holds: products are computed in their own precision."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def calmly(function: Callable[P, T]) -> Callable[P, T]:
    """The function inside ``calm``."""

    @functools.wraps(function)
    def inside(*args: P.args, **kwargs: P.kwargs) -> T:
        if not (
            torch.is_inference_mode_enabled() or torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")
        ):
            return function(*args, **kwargs)
        with calm():
            return function(*args, **kwargs)

    return inside


@final
class _Cast(TorchFunctionMode):
    """Every floating tensor that an operator takes comes in one precision, also those that the program closes over."""

    def __init__(self, dtype: torch.dtype):
        super().__init__()
        self.dtype = dtype

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = tree_map(functools.partial(cast, dtype=self.dtype), (args, kwargs or {}))
        return func(*args, **kwargs)


def cast(value: Any, dtype: torch.dtype | None) -> Any:
    """A floating tensor in another precision; everything else as it is."""
    if dtype is None or not isinstance(value, Tensor) or not value.is_floating_point() or value.dtype == dtype:
        return value
    return value.to(dtype)


@final
class Program:
    """The weighted sum over batches of loss(model(x), y) as a function of the chosen blocks; the penalty is kept apart.

    Everything that is not chosen is held: at ``at`` where that names it, else as it is in the model.  Buffers are
    copies, so that running statistics of the user's model stay.  ``dtype`` converts parameters, buffers, data and the
    tensors that the program closes over; the rounding of casts that the model makes itself remains.
    """

    def __init__(
        self,
        J: Objective,
        names: Sequence[str],
        at: Mapping[str, Tensor] | None = None,
        dtype: torch.dtype | None = None,
    ):
        J._check_point(at)
        self.J, self.names = J, tuple(names)
        self.dtype = dtype
        source = {**J.parameters, **(at or {})}
        with torch.inference_mode(False):
            self.values = {k: self._own(v, J.parameters[k]) for k, v in source.items()}
        self.batches = [Batch(self._cast(b.inputs), self._cast(b.targets), b.weight, b.samples) for b in self._data()]
        self.decay = {k: lam for k, lam in J.weight_decay.items() if lam}
        self._others = {} if dtype is None else self._states()
        self._made = self._versions()
        first = self.values[self.names[0]]
        self.device = first.device
        kinds = {self.values[n].dtype for n in self.names}
        self.epsilon = max(torch.finfo(d).eps for d in kinds)
        self.real = max({*kinds, torch.float32}, key=lambda d: torch.finfo(d).bits)

    def _data(self) -> list[Batch]:
        return self.J.batches() if self.J.model is not None else [Batch(None, None, Fraction(1), 1)]

    def _own(self, value: Tensor, parameter: Tensor) -> Tensor:
        """A copy: the point stays where it is when the model is trained on."""
        return value.detach().to(parameter.device, self.dtype or parameter.dtype, copy=True).contiguous()

    def _cast(self, value: Any) -> Any:
        return value if self.dtype is None else tree_map(functools.partial(cast, dtype=self.dtype), value)

    def _states(self) -> dict[str, Tensor]:
        """Frozen parameters in the precision of the analysis."""
        return {k: self._cast(v.detach()) for k, v in self.J.blocks.frozen.items()}

    def _versions(self) -> list[tuple[int, int]]:
        """Which tensors the program holds beside the point and the data, and how often each was written to."""
        held = [*self.J.blocks.frozen.values(), *(b for module, _ in self._parts() for b in module.buffers())]
        return [(id(t), 0 if t.is_inference() else t._version) for t in held]

    @property
    def current(self) -> bool:
        """Are frozen parameters and buffers what they were when the program was made?"""
        return self._versions() == self._made

    @property
    def point(self) -> list[Tensor]:
        """The chosen blocks where the Hessian is taken."""
        return [self.values[n] for n in self.names]

    @contextlib.contextmanager
    def world(self) -> Iterator[None]:
        """Inside, the program may run: what it changes is put back, and attention runs in its differentiable form."""
        if self._harmless():
            with torch.inference_mode(False), torch.enable_grad():
                yield
            return
        modules = self.J.modules()
        with untouched(*self.J.roots()), mode_of(modules, self.J.mode), sdpa_kernel(SDPBackend.MATH), _unheard(modules):
            yield

    def _harmless(self) -> bool:
        if self.J.function is not None or torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
            return False
        return harmless(self.J.model, self.J.loss, (v for b in self.batches for v in (b.inputs, b.targets)))

    def output(self, tensors: Sequence[Tensor], batch: Batch) -> Tensor:
        """The loss of one batch, weighted, as a tensor without dimensions."""
        values = {**self.values, **dict(zip(self.names, tensors, strict=True))}
        with self.precision():
            if self.J.function is not None:
                return one_number(self.J.call_function([values[k] for k in self.J.parameters]))
            with self.installed(values):
                out = one_number(run_program(self.J.model, self.J.loss, batch.inputs, batch.targets))  # type: ignore[arg-type]
        return out if batch.weight == 1 else out * float(batch.weight)

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        """Where a precision is asked for, every operator runs in it."""
        return contextlib.nullcontext() if self.dtype is None else _Cast(self.dtype)

    @contextlib.contextmanager
    def installed(self, values: Mapping[str, Tensor]) -> Iterator[None]:
        """The model and the loss hold these parameters, and buffers of their own."""
        everything = {**self._others, **values}
        with contextlib.ExitStack() as stack:
            for module, prefix in self._parts():
                # a module under two names is swapped twice: what was there comes back in the reverse order
                stack.enter_context(
                    _reparametrize_module(module, self._state(module, prefix, everything), stack_weights=True)
                )
            yield

    def _parts(self) -> list[tuple[nn.Module, str]]:
        parts: list[tuple[nn.Module, str]] = [(self.J.model, "")] if self.J.model is not None else []
        if isinstance(self.J.loss, nn.Module):
            parts.append((self.J.loss, _prefix(self.J)))
        return parts

    def _state(self, module: nn.Module, prefix: str, everything: Mapping[str, Tensor]) -> dict[str, Tensor]:
        alias = self.J.blocks.alias
        state = {}
        for name, _ in module.named_parameters(remove_duplicate=False):
            known = alias.get(prefix + name, prefix + name)
            if known in everything:
                state[name] = everything[known]
        for name, buffer in module.named_buffers(remove_duplicate=False):
            state[name] = self._cast(buffer.detach()).clone()
        return state


@contextlib.contextmanager
def _unheard(modules: list[nn.Module]) -> Iterator[None]:
    """Inside, modules have no backward hooks: they would run at every product, and are no part of J."""
    parts = {id(m): m for root in modules for m in root.modules()}.values()
    both = "_backward_hooks", "_backward_pre_hooks"
    kept = [(m, name, hooks) for m in parts for name in both if (hooks := getattr(m, name))]
    try:
        for module, name, _ in kept:
            setattr(module, name, OrderedDict())
        yield
    finally:
        for module, name, hooks in kept:
            setattr(module, name, hooks)


def _prefix(J: Objective) -> str:
    """How the names of the loss module's own parameters begin."""
    names = [k for k in J.blocks.alias if k.split(".")[0].rstrip("_") == "loss"]
    return f"{names[0].split('.')[0]}." if names else "loss."


def require_finite(value: Tensor, what: str) -> None:
    """A gradient or a product with NaN or inf is an error with a name.

    Raises:
        ObjectiveError: an entry is not finite.
    """
    if not bool(torch.isfinite(value).all()):
        raise ObjectiveError(
            "E214",
            f"{what} is not finite",
            why="J has no second derivative at this point, or overflows in its precision",
            hint='another point, or dtype="float64"',
        )
