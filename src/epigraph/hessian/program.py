"""J as a function of some parameters, batch by batch, at any point and in any precision, without touching the model."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils.stateless import _reparametrize_module  # type: ignore[attr-defined]
from torch.utils._pytree import tree_map

from epigraph.errors import ObjectiveError
from epigraph.objective.data import Batch
from epigraph.objective.objective import Objective
from epigraph.objective.program import one_number, run_program
from epigraph.objective.world import mode_of, untouched


@final
class Program:
    """The weighted sum over batches of loss(model(x), y) as a function of the chosen blocks; the penalty is kept apart.

    Everything that is not chosen is held: at ``at`` where that names it, else as it is in the model.  Buffers are
    copies, so that running statistics of the user's model stay.  ``dtype`` converts parameters, buffers and data; casts
    that the model makes itself remain.
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
        self.values = {k: self._own(v, J.parameters[k].device) for k, v in source.items()}
        self.batches = [Batch(self._cast(b.inputs), self._cast(b.targets), b.weight, b.samples) for b in self._data()]
        self.decay = {k: lam for k, lam in J.weight_decay.items() if lam}
        self._others = {} if dtype is None else self._states()
        first = self.values[self.names[0]]
        self.device = first.device
        self.real = max((self.values[n].dtype for n in self.names), key=lambda d: torch.finfo(d).bits)

    def _data(self) -> list[Batch]:
        return self.J.batches() if self.J.model is not None else [Batch(None, None, Fraction(1), 1)]

    def _own(self, value: Tensor, device: torch.device) -> Tensor:
        return self._cast(value.detach()).to(device)

    def _cast(self, value: Any) -> Any:
        if self.dtype is None:
            return value
        return tree_map(lambda v: v.to(self.dtype) if isinstance(v, Tensor) and v.is_floating_point() else v, value)

    def _states(self) -> dict[str, Tensor]:
        """Frozen parameters in the precision of the analysis."""
        return {k: self._cast(v.detach()) for k, v in self.J.blocks.frozen.items()}

    @property
    def point(self) -> list[Tensor]:
        """The chosen blocks where the Hessian is taken."""
        return [self.values[n] for n in self.names]

    @contextlib.contextmanager
    def world(self) -> Iterator[None]:
        """Inside, the program may run: what it changes is put back, and attention runs in its differentiable form."""
        with untouched(*self.J.roots()), mode_of(self.J.modules(), self.J.mode), sdpa_kernel(SDPBackend.MATH):
            yield

    def output(self, tensors: Sequence[Tensor], batch: Batch) -> Tensor:
        """The loss of one batch, weighted, as a tensor without dimensions."""
        values = {**self.values, **dict(zip(self.names, tensors, strict=True))}
        if self.J.function is not None:
            return one_number(self.J.call_function([values[k] for k in self.J.parameters]))
        with self.installed(values):
            out = one_number(run_program(self.J.model, self.J.loss, batch.inputs, batch.targets))  # type: ignore[arg-type]
        return out if batch.weight == 1 else out * float(batch.weight)

    @contextlib.contextmanager
    def installed(self, values: Mapping[str, Tensor]) -> Iterator[None]:
        """The model and the loss hold these parameters, and buffers of their own."""
        everything = {**self._others, **values}
        with contextlib.ExitStack() as stack:
            for module, prefix in self._parts():
                stack.enter_context(_reparametrize_module(module, self._state(module, prefix, everything)))
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
