"""The objective J: a model, a loss and data, or a function of named tensors, with its domain and its mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, final

import torch
from torch import Tensor, nn

from epigraph.errors import CaptureError, EpigraphError, ObjectiveError, UsageError
from epigraph.objective import data
from epigraph.objective.blocks import Blocks, check_tensor, unwrapped
from epigraph.objective.data import Batch
from epigraph.objective.decay import decays
from epigraph.objective.domain import Domain
from epigraph.objective.graph import Graph
from epigraph.objective.program import convention, one_number, run_program
from epigraph.objective.world import guarded, mode_of, to_double, untouched

MODES = ("eval", "train", "as-is")


@final
class Objective:
    r"""J(theta) = loss(model(inputs), targets) + sum_b (lambda_b / 2) ||theta_b||^2 as a function of the parameters.

    Args:
        model: a module; its trainable parameters are the variables, everything else is data.
        loss: called as ``loss(outputs, targets)``, or ``loss(outputs)`` without targets, or None where the model
            returns the loss itself or a structured output that has it under ``loss``.  Must give one number.
        inputs: a tensor, a tuple of tensors (``model(*inputs)``), a dict (``model(**inputs)``), or a ``DataLoader``:
            then J is the mean over all samples, each batch weighted by its size, the last one included.
        targets: a tensor or any structure the loss takes; None with a ``DataLoader``.
        weight_decay: lambda for every trainable parameter, or a dict by name.  The term is lambda/2 ||theta||^2, whose
            gradient lambda theta is what ``torch.optim.SGD(weight_decay=lambda)`` adds.  An optimiser may be passed
            instead; AdamW's decoupled decay is the gradient of no J and is left out with a note.
        mode: "eval" (default) or "train", set by the modules' own ``train`` method, or "as-is".
        domain: bounds by parameter name, ``{"w": (0.0, None)}``.
        reduction: with a ``DataLoader``, "mean" or "sum"; by default what ``loss.reduction`` says, else "mean".

    The model is never changed: modes, buffers, gradients and random generators are as before after every call.

    Example:
        >>> import torch
        >>> J = Objective(torch.nn.Linear(2, 1), torch.nn.MSELoss(), torch.ones(3, 2), torch.zeros(3, 1))
        >>> sorted(J.parameters)
        ['bias', 'weight']
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[..., Any] | None = None,
        inputs: Any = None,
        targets: Any = None,
        *,
        weight_decay: float | Mapping[str, float] | torch.optim.Optimizer = 0.0,
        mode: str = "eval",
        domain: Mapping[str, Any] | None = None,
        reduction: str | None = None,
        name: str | None = None,
    ):
        if not isinstance(model, nn.Module):
            raise UsageError(
                "E021",
                f"model is a {type(model).__name__}, not a torch.nn.Module",
                hint="Objective.from_function(f, {name: tensor}) takes a plain function",
            )
        if loss is not None and not callable(loss):
            raise UsageError(
                "E022",
                f"loss is a {type(loss).__name__} and cannot be called",
                hint="torch.nn.functional.cross_entropy",
            )
        if mode not in MODES:
            raise UsageError("E023", f"unknown mode {mode!r}", hint="one of eval, train, as-is")
        self.model: nn.Module | None = unwrapped(model)
        self.loss, self.mode, self.name = loss, mode, name or type(self.model).__name__
        self.function: Callable[..., Any] | None = None
        self.blocks = Blocks.of_model(model, self.model, loss)
        self._domain_spec, self._decay_spec = domain, weight_decay
        self._data, self._reduction = (inputs, targets), reduction
        self.notes: list[str] = []
        self._finish()

    @classmethod
    def from_function(
        cls,
        function: Callable[..., Any],
        parameters: Mapping[str, Tensor],
        *,
        domain: Mapping[str, Any] | None = None,
        weight_decay: float | Mapping[str, float] = 0.0,
        name: str | None = None,
    ) -> Objective:
        """An objective from a function of tensors.

        It is called by name where its arguments have the parameters' names, with one dict where it requires one
        argument for several parameters, else by position; always with fresh copies.  Modules that it uses keep their
        modes; other tensors that it uses are constants.

        Example:
            >>> import torch
            >>> J = Objective.from_function(lambda w: (w ** 2).sum(), {"w": torch.zeros(3)}, domain={"w": (0.0, None)})
            >>> J.size
            3
        """
        if not callable(function):
            raise UsageError(
                "E021",
                f"the function is a {type(function).__name__} and cannot be called",
                hint="lambda w: (w**2).sum()",
            )
        if not isinstance(parameters, Mapping) or not all(isinstance(v, Tensor) for v in parameters.values()):
            raise UsageError("E024", "parameters must map names to tensors", hint='{"w": torch.zeros(3)}')
        self = cls.__new__(cls)
        self.model, self.loss, self.mode = None, None, "as-is"
        self.function, self.name = function, name or getattr(function, "__name__", "function")
        for k, v in parameters.items():
            check_tensor(v, f"parameter {k}", "E202", real=True)
        named = {str(k): v.detach().clone() for k, v in parameters.items()}
        self.blocks = Blocks(named, {}, {k: k for k in named})
        self._domain_spec, self._decay_spec = domain, weight_decay
        self._data, self._reduction = (None, None), None
        self.notes = []
        self._finish()
        return self

    def _finish(self) -> None:
        self.blocks.check()
        self.domain = Domain.of(self._domain_spec, self.blocks.trainable, self.blocks.alias)
        self.weight_decay, notes = decays(self._decay_spec, self.blocks)
        self.notes.extend(notes)
        self._batches: list[Batch] | None = None
        self._graph: Graph | None = None
        self.fingerprint: dict[str, Any] = {}

    # what it is -----------------------------------------------------------------------------------------------
    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """The trainable parameters by name; tied tensors once."""
        return self.blocks.trainable

    @property
    def size(self) -> int:
        """Number of real variables."""
        return sum(p.numel() for p in self.parameters.values())

    def modules(self) -> list[nn.Module]:
        """The modules whose mode is set."""
        return [m for m in (self.model, self.loss, self.function) if isinstance(m, nn.Module)]

    def roots(self) -> list[Any]:
        """Where a search for what the program may change begins."""
        data = [(b.inputs, b.targets) for b in self._batches] if self._batches is not None else list(self._data)
        return [v for v in (self.model, self.loss, self.function) if v is not None] + data

    def describe(self) -> dict[str, Any]:
        """What a verdict says it is about."""
        return {
            "name": self.name,
            "mode": self.mode if self.model is not None else None,
            "parameters": {k: {"shape": list(v.shape)} for k, v in self.parameters.items()},
            "size": self.size,
            "loss": _named(self.loss) if self.loss is not None else None,
            "samples": sum(b.samples for b in self.batches()) if self.model is not None else None,
            "weight_decay": dict(self.weight_decay),
            "domain": self.domain.to_dict(),
        }

    def batches(self) -> list[Batch]:
        """Inputs, targets and weights that make the exact mean or sum over all samples; read once."""
        if self._batches is None:
            with untouched(*self.roots()):
                batches, notes = data.read(*self._data, self._reduction, self.loss)
            self._batches = batches
            self.notes.extend(notes)
        return self._batches

    def reduction(self) -> str:
        """What J is over samples: "mean" or "sum"."""
        return self._reduction or data.reduction_of(self.loss) or "mean"

    # evaluation -----------------------------------------------------------------------------------------------
    def value(self, point: Mapping[str, Tensor] | None = None, *, double: bool = False) -> float:
        """J in PyTorch's own arithmetic, at the user's point or another; the model is left as it was.

        With ``double`` the program runs in float64: every tensor that it can reach is converted for the time.
        """
        self._check_point(point)
        self.batches()
        with untouched(*self.roots()) as found, mode_of(self.modules(), self.mode), guarded(found):
            if double:
                to_double(self.roots())
            return self.total(point, torch.float64 if double else None)

    def _check_point(self, point: Mapping[str, Tensor] | None) -> None:
        for name, value in (point or {}).items():
            if name not in self.parameters:
                raise UsageError(
                    "E011",
                    f"the point names an unknown parameter {name!r}",
                    hint=f"one of {', '.join(list(self.parameters)[:8])}",
                )
            shape = tuple(self.parameters[name].shape)
            if value.shape != shape:
                raise UsageError(
                    "E024",
                    f"the point has shape {tuple(value.shape)} for {name!r}",
                    hint=f"a tensor of shape {shape}, as the parameter has",
                )

    def total(self, point: Mapping[str, Tensor] | None = None, dtype: torch.dtype | None = None) -> float:
        """J by one run of the program over all batches; what that changes stays changed."""
        total = sum(float(weight) * float(out.detach()) for weight, out in self._outputs(point, dtype))
        theta = {**self.parameters, **(point or {})}
        return total + sum(
            lam / 2 * float(theta[k].detach().double().pow(2).sum()) for k, lam in self.weight_decay.items()
        )

    def gradient(self, names: Sequence[str]) -> list[Tensor | None]:
        """What autograd gives for some parameters at the user's point, the penalty included; None where it gives nothing."""
        with untouched(*self.roots()), mode_of(self.modules(), self.mode):
            leaves = dict(self.parameters)
            if self.function is not None:
                leaves = {k: v.detach().clone().requires_grad_(k in names) for k, v in leaves.items()}
            total = sum(
                (
                    float(w) * out.double()
                    for w, out in self._outputs(leaves if self.function is not None else None, None)
                ),
                torch.zeros((), dtype=torch.float64),
            )
            total = total + sum(lam / 2 * leaves[k].double().pow(2).sum() for k, lam in self.weight_decay.items())
            if not total.requires_grad:
                return [None] * len(names)
            return list(torch.autograd.grad(total, [leaves[n] for n in names], allow_unused=True))

    def _outputs(
        self, point: Mapping[str, Tensor] | None, dtype: torch.dtype | None
    ) -> Iterator[tuple[Fraction, Tensor]]:
        if self.function is not None:
            given = {**self.parameters, **(point or {})}
            values = {k: given[k].to(v.device, dtype or v.dtype) for k, v in self.parameters.items()}
            yield (
                Fraction(1),
                one_number(self.call_function([v if v.requires_grad else v.detach().clone() for v in values.values()])),
            )
            return
        assert self.model is not None
        kept = {k: self.parameters[k].detach().clone() for k in point or {}}
        try:
            for k, v in (point or {}).items():
                self.parameters[k].data.copy_(v)
            for batch in self.batches():
                yield batch.weight, one_number(run_program(self.model, self.loss, batch.inputs, batch.targets))
        finally:
            for k, v in kept.items():
                self.parameters[k].data.copy_(v)

    def call_function(self, tensors: Sequence[Tensor]) -> Any:
        """The function at tensors in the order of the parameters."""
        assert self.function is not None
        return convention(self.function, list(self.parameters))(
            self.function, dict(zip(self.parameters, tensors, strict=True))
        )

    # the graph ------------------------------------------------------------------------------------------------
    def graph(self) -> Graph:
        """The graph that defines J: captured and checked against the program, and anew where the program has changed since.

        Raises:
            ObjectiveError, CaptureError: J is no function, or cannot be captured.
        """
        from epigraph.objective.agreement import still_agrees
        from epigraph.objective.assemble import assemble

        self._check_parameters()
        if self._graph is None or not still_agrees(self, self._graph):
            self._graph = assemble(self)
        return self._graph

    def _check_parameters(self) -> None:
        """The module's parameters must be the tensors that were there when J was made."""
        if self.model is None:
            return
        now = {id(p) for p in self.model.parameters()}
        gone = [n for n, p in self.parameters.items() if id(p) not in now and not n.startswith("loss")]
        if gone:
            raise ObjectiveError(
                "E213",
                f"parameter {gone[0]} has been replaced in the model since the objective was made",
                why="J is about the tensors that were there",
                hint="make a new Objective",
            )

    def __repr__(self) -> str:
        return f"Objective({self.name}: {self.size} variables in {len(self.parameters)} blocks, mode={self.mode})"


def _named(loss: Any) -> str:
    return getattr(loss, "__name__", None) or type(loss).__name__


__all__ = ["CaptureError", "EpigraphError", "Objective", "run_program"]
