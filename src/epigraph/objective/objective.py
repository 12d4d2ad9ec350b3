"""The objective J: a model, a loss and data, or a function of named tensors, with its domain and its mode."""
from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, final

import torch
from torch import Tensor, nn

from epigraph.errors import CaptureError, EpigraphError, ObjectiveError, UsageError
from epigraph.objective.blocks import Blocks, check_tensor
from epigraph.objective.domain import Domain
from epigraph.objective.graph import Graph
from epigraph.objective.world import mode_of, untouched

Batch = tuple[Any, Any, Fraction]
MODES = ("eval", "train", "as-is")


@final
class Objective:
    r"""J(theta) = loss(model(inputs), targets) + sum_b (lambda_b / 2) ||theta_b||^2 as a function of the parameters.

    Args:
        model: a module; its trainable parameters are the variables, everything else is data.
        loss: called as ``loss(outputs, targets)``, or ``loss(outputs)`` without targets, or None where the model
            returns the loss itself.  Must give one number.
        inputs: a tensor, a tuple of tensors (``model(*inputs)``), a dict (``model(**inputs)``), or a ``DataLoader``:
            then J is the mean over all samples, each batch weighted by its size, the last one included.
        targets: a tensor or any structure the loss takes; None with a ``DataLoader``.
        weight_decay: lambda for every trainable parameter, or a dict by name.  The term is lambda/2 ||theta||^2, whose
            gradient lambda theta is what ``torch.optim.SGD(weight_decay=lambda)`` adds.  An optimiser may be passed
            instead; AdamW's decoupled decay is the gradient of no J and is left out with a note.
        mode: "eval" (default), "train", or "as-is".
        domain: bounds by parameter name, ``{"w": (0.0, None)}``.
        reduction: with a ``DataLoader``, "mean" or "sum"; by default what ``loss.reduction`` says, else "mean".

    The model is never changed: modes, buffers, gradients and random generators are as before after every call.

    Example:
        >>> import torch
        >>> J = Objective(torch.nn.Linear(2, 1), torch.nn.MSELoss(), torch.ones(3, 2), torch.zeros(3, 1))
        >>> sorted(J.parameters)
        ['bias', 'weight']
    """

    def __init__(self, model: nn.Module, loss: Callable[..., Any] | None = None, inputs: Any = None, targets: Any = None, *,
                 weight_decay: float | Mapping[str, float] | torch.optim.Optimizer = 0.0, mode: str = "eval",
                 domain: Mapping[str, Any] | None = None, reduction: str | None = None, name: str | None = None):
        if not isinstance(model, nn.Module):
            raise UsageError("E021", f"model is a {type(model).__name__}, not a torch.nn.Module",
                             hint="Objective.from_function(f, {name: tensor}) takes a plain function")
        if loss is not None and not callable(loss):
            raise UsageError("E022", f"loss is a {type(loss).__name__} and cannot be called", hint="torch.nn.functional.cross_entropy")
        if mode not in MODES:
            raise UsageError("E023", f"unknown mode {mode!r}", hint="one of eval, train, as-is")
        self.model: nn.Module | None = model
        self.loss, self.mode, self.name = loss, mode, name or type(model).__name__
        self.function: Callable[..., Any] | None = None
        self.blocks = Blocks.of_model(model, loss)
        self._domain_spec, self._decay_spec = domain, weight_decay
        self._data, self._reduction = (inputs, targets), reduction
        self.notes: list[str] = []
        self._finish()

    @classmethod
    def from_function(cls, function: Callable[..., Any], parameters: Mapping[str, Tensor], *, domain: Mapping[str, Any] | None = None,
                      weight_decay: float | Mapping[str, float] = 0.0, name: str | None = None) -> Objective:
        """An objective from a function of tensors, called positionally, or with the dict where it takes one argument for several.

        Example:
            >>> import torch
            >>> J = Objective.from_function(lambda w: (w ** 2).sum(), {"w": torch.zeros(3)}, domain={"w": (0.0, None)})
            >>> J.size
            3
        """
        if not callable(function):
            raise UsageError("E021", f"the function is a {type(function).__name__} and cannot be called")
        if not isinstance(parameters, Mapping) or not all(isinstance(v, Tensor) for v in parameters.values()):
            raise UsageError("E024", "parameters must map names to tensors", hint='{"w": torch.zeros(3)}')
        self = cls.__new__(cls)
        self.model, self.loss, self.mode = None, None, "eval"
        self.function, self.name = function, name or getattr(function, "__name__", "function")
        named = {str(k): v.detach() for k, v in parameters.items()}
        self.blocks = Blocks(named, {}, {k: k for k in named})
        self._domain_spec, self._decay_spec = domain, weight_decay
        self._data, self._reduction = (None, None), None
        self.notes = []
        self._finish()
        return self

    def _finish(self) -> None:
        self.blocks.check()
        self.domain = Domain.of(self._domain_spec, self.blocks.trainable, self.blocks.alias)
        self.weight_decay = self._decays(self._decay_spec)
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

    def _decays(self, spec: Any) -> dict[str, float]:
        if isinstance(spec, torch.optim.Optimizer):
            return self._optimizer_decays(spec)
        if isinstance(spec, Mapping):
            unknown = [k for k in spec if self.blocks.alias.get(k, k) not in self.parameters]
            if unknown:
                raise UsageError("E012", f"weight_decay names an unknown parameter {unknown[0]!r}", hint=f"one of {', '.join(self.parameters)}")
            pairs = {self.blocks.alias.get(k, k): float(v) for k, v in spec.items()}
        else:
            pairs = dict.fromkeys(self.parameters, float(spec))
        if any(not math.isfinite(v) for v in pairs.values()):
            raise UsageError("E025", "weight_decay is not finite")
        return {k: v for k, v in pairs.items() if v != 0}

    def _optimizer_decays(self, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        if isinstance(optimizer, torch.optim.AdamW):
            self.notes.append("AdamW decouples weight decay from the gradient: it is no term of any J and is left out here")
            return {}
        names = {id(p): n for n, p in self.parameters.items()}
        pairs = {names[id(p)]: g.get("weight_decay", 0.0) for g in optimizer.param_groups for p in g["params"] if id(p) in names}
        return {k: float(v) for k, v in pairs.items() if v}

    def modules(self) -> list[nn.Module]:
        return [m for m in (self.model, self.loss, self.function) if isinstance(m, nn.Module)]

    def describe(self) -> dict[str, Any]:
        """What a verdict says it is about."""
        return {
            "name": self.name, "mode": self.mode if self.model is not None else None,
            "parameters": {k: {"shape": list(v.shape)} for k, v in self.parameters.items()}, "size": self.size,
            "loss": getattr(self.loss, "__name__", type(self.loss).__name__) if self.loss is not None else None,
            "samples": sum(_length(x) for x, _, _ in self.batches()) if self.model is not None else None,
            "weight_decay": dict(self.weight_decay), "domain": self.domain.to_dict(),
        }

    # data -----------------------------------------------------------------------------------------------------
    def batches(self) -> list[Batch]:
        """(inputs, targets, weight) with weights that make the exact mean or sum over all samples."""
        if self._batches is None:
            with untouched(*self.modules()):
                self._batches = self._read_batches()
        return self._batches

    def _read_batches(self) -> list[Batch]:
        inputs, targets = self._data
        if self.model is None or not isinstance(inputs, torch.utils.data.DataLoader):
            for what, value in (("inputs", inputs), ("targets", targets)):
                self._check_data(value, what)
            return [(inputs, targets, Fraction(1))]
        rows = [_split_batch(batch) for batch in inputs]
        if not rows:
            raise ObjectiveError("E203", "the dataset is empty", why="the DataLoader gave no batch")
        for x, y in rows:
            self._check_data(x, "inputs")
            self._check_data(y, "targets")
        reduction = self._reduction or getattr(self.loss, "reduction", "mean")
        if reduction not in ("mean", "sum"):
            raise UsageError("E026", f"unknown reduction {reduction!r} over batches", hint="mean or sum")
        counts = [_length(x) for x, _ in rows]
        total = sum(counts)
        return [(x, y, Fraction(n, total) if reduction == "mean" else Fraction(1)) for (x, y), n in zip(rows, counts, strict=True)]

    @staticmethod
    def _check_data(value: Any, what: str) -> None:
        for leaf in torch.utils._pytree.tree_leaves(value):
            if isinstance(leaf, Tensor):
                check_tensor(leaf, what, "E204")
                if leaf.numel() == 0:
                    raise ObjectiveError("E203", f"the dataset is empty: {what} has shape {tuple(leaf.shape)}")

    # evaluation -----------------------------------------------------------------------------------------------
    def value(self, point: Mapping[str, Tensor] | None = None) -> float:
        """J in PyTorch's own arithmetic, at the user's point or another; the model is left as it was."""
        with untouched(*self.modules()), mode_of(self.modules(), self.mode), torch.no_grad():
            total = 0.0
            for x, y, weight in self.batches():
                total += float(weight) * self._scalar(self._run(x, y, point))
            theta = {**self.parameters, **(point or {})}
            return total + sum(lam / 2 * float(theta[k].double().pow(2).sum()) for k, lam in self.weight_decay.items())

    def _run(self, x: Any, y: Any, point: Mapping[str, Tensor] | None) -> Any:
        if self.function is not None:
            values = {**self.parameters, **(point or {})}
            return self._call_function([v.clone() for v in values.values()])
        assert self.model is not None
        if point is None:
            return run_program(self.model, self.loss, x, y)
        kept = {k: self.parameters[k].detach().clone() for k in point}
        try:
            for k, v in point.items():
                self.parameters[k].data.copy_(v)
            return run_program(self.model, self.loss, x, y)
        finally:
            for k, v in kept.items():
                self.parameters[k].data.copy_(v)

    def _call_function(self, tensors: Sequence[Tensor]) -> Any:
        assert self.function is not None
        return self._convention()(self.function, dict(zip(self.parameters, tensors, strict=True)))

    def _convention(self) -> Callable[[Callable[..., Any], dict[str, Any]], Any]:
        """How the function takes its parameters: by name, by position, or as one dict."""
        names = list(self.parameters)
        try:
            wanted = [p for p in inspect.signature(self.function).parameters.values()  # type: ignore[arg-type]
                      if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        except (TypeError, ValueError):
            return lambda f, d: f(*d.values())
        required = [p.name for p in wanted if p.default is p.empty]
        if {p.name for p in wanted} >= set(names) and set(required) <= set(names):
            return lambda f, d: f(**d)
        if len(names) > 1 and len(required) == 1:
            return lambda f, d: f(d)
        return lambda f, d: f(*d.values())

    @staticmethod
    def _scalar(out: Any) -> float:
        return float(_one_number(out))

    # the graph ------------------------------------------------------------------------------------------------
    def graph(self) -> Graph:
        """The graph that defines J; captured and checked against the program once."""
        if self._graph is None:
            from epigraph.objective.assemble import assemble

            self._graph = assemble(self)
        return self._graph

    def __repr__(self) -> str:
        return f"Objective({self.name}: {self.size} variables in {len(self.parameters)} blocks, mode={self.mode})"


def run_program(model: nn.Module, loss: Callable[..., Any] | None, x: Any, y: Any) -> Any:
    """loss(model(inputs), targets) by the calling conventions of ``Objective``."""
    if isinstance(x, Mapping):
        out = model(**x)
    elif isinstance(x, tuple | list):
        out = model(*x)
    else:
        out = model() if x is None else model(x)
    if loss is None:
        return out
    return loss(out) if y is None else loss(out, y)


def _one_number(out: Any) -> Tensor:
    if not isinstance(out, Tensor):
        raise ObjectiveError("E205", f"the objective returns a {type(out).__name__}, not a tensor with one number",
                             hint="return the loss itself, without .item()")
    if out.numel() != 1:
        raise ObjectiveError("E205", f"the loss is not a scalar: it has shape {tuple(out.shape)}",
                             why="convexity is a property of one number J", hint='reduction="mean" or .sum()')
    if not out.is_floating_point():
        raise ObjectiveError("E205", f"the loss has type {out.dtype}", why="J must be a real number that varies with the parameters")
    return out.reshape(())


def _split_batch(batch: Any) -> tuple[Any, Any]:
    if isinstance(batch, Mapping):
        return dict(batch), None
    if isinstance(batch, tuple | list):
        if len(batch) == 1:
            return batch[0], None
        return (batch[0] if len(batch) == 2 else tuple(batch[:-1])), batch[-1]
    return batch, None


def _length(x: Any) -> int:
    tensors: Iterable[Any] = torch.utils._pytree.tree_leaves(x)
    for leaf in tensors:
        if isinstance(leaf, Tensor) and leaf.ndim:
            return leaf.shape[0]
    return 1


__all__ = ["CaptureError", "EpigraphError", "Objective", "run_program"]
