"""Parameters as blocks: their names, ties, and which of them train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from epigraph.errors import ObjectiveError, UsageError


@final
@dataclass(frozen=True)
class Blocks:
    """The trainable parameters by name, the frozen ones, and every name under which a tied tensor is known."""

    trainable: Mapping[str, Tensor]
    frozen: Mapping[str, Tensor]
    alias: Mapping[str, str]

    @staticmethod
    def of_model(given: nn.Module, model: nn.Module, loss: object) -> Blocks:
        """Names as ``named_parameters`` gives them; those of a loss module get the prefix ``loss.``, or ``loss_.`` if taken.

        ``given`` is what the user passed, ``model`` what it wraps: names of both are known, those of ``model`` shown.
        """
        parts: list[tuple[str, nn.Module]] = [("", model)]
        if isinstance(loss, nn.Module):
            prefix = "loss"
            while any(name.split(".")[0] == prefix for name, _ in model.named_parameters(remove_duplicate=False)):
                prefix += "_"
            parts.append((f"{prefix}.", loss))
        parts += [] if given is model else [("", given)]
        trainable: dict[str, Tensor] = {}
        frozen: dict[str, Tensor] = {}
        alias: dict[str, str] = {}
        first: dict[int, str] = {}
        for prefix, module in parts:
            for name, value in module.named_parameters(remove_duplicate=False):
                known = first.setdefault(id(value), prefix + name)
                alias.setdefault(prefix + name, known)
                if known == prefix + name:
                    (trainable if value.requires_grad else frozen)[known] = value
        return Blocks(trainable, frozen, alias)

    def check(self) -> None:
        """Every parameter is a finite real tensor and at least one trains."""
        if not self.trainable:
            raise ObjectiveError(
                "E201",
                "the objective has no trainable parameter",
                why="every parameter has requires_grad=False, or the model has none",
                hint="set requires_grad_(True) on the parameters that J depends on",
            )
        for name, value in {**self.trainable, **self.frozen}.items():
            if name in self.trainable:
                _check_movable(name, value)
            check_tensor(value, f"parameter {name}", "E202", real=name in self.trainable)
        _check_separate({**self.trainable, **self.frozen}, set(self.trainable))

    def resolve(self, names: list[str] | tuple[str, ...] | None) -> tuple[str, ...]:
        """The canonical names of some blocks (all of them by default)."""
        if names is None:
            return tuple(self.trainable)
        import difflib

        if not names:
            raise UsageError(
                "E011", "no block is named", hint=f"one of {', '.join(list(self.trainable)[:8])}, or None for all"
            )
        out = []
        for name in names:
            known = self.alias.get(name, name)
            if known not in self.trainable:
                close = difflib.get_close_matches(str(name), list(self.alias), n=3)
                listed = ", ".join(close or list(self.trainable)[:8])
                why = "it is frozen (requires_grad=False)" if known in self.frozen else "no parameter has this name"
                raise UsageError("E011", f"unknown block {name!r}", why=why, hint=f"one of {listed}")
            out.append(known)
        return tuple(dict.fromkeys(out))


def unwrapped(model: nn.Module) -> nn.Module:
    """The module inside ``torch.compile`` and the data-parallel wrappers, which compute the same function."""
    kinds = {"OptimizedModule": "_orig_mod", "DataParallel": "module", "DistributedDataParallel": "module"}
    while type(model).__name__ in kinds and type(model).__module__.startswith("torch."):
        model = getattr(model, kinds[type(model).__name__])
    return model


def check_tensor(value: Tensor, what: str, code: str, real: bool = False) -> None:
    """Raise where a tensor is lazy, on the meta device, complex, sparse, quantised, not finite, or (``real``) integer."""
    if is_lazy(value):
        raise ObjectiveError(
            code,
            f"{what} is not initialised yet",
            why="a lazy module takes its shapes from its first batch",
            hint="call the model on one batch first",
        )
    if value.is_meta:
        raise ObjectiveError(
            code,
            f"{what} is on the meta device",
            why="it has a shape and no values",
            hint="materialise the model, for example with to_empty() and load_state_dict()",
        )
    if value.is_complex():
        raise ObjectiveError(
            code,
            f"{what} is complex",
            why="convexity is defined here for real functions of real parameters",
            hint="torch.view_as_real, with the real and imaginary parts as separate entries",
        )
    if value.layout != torch.strided or value.is_quantized or value.is_nested:
        raise ObjectiveError(
            code,
            f"{what} is sparse, nested or quantised",
            why="only dense tensors are analysed",
            hint="call .to_dense(), .to_padded_tensor() or .dequantize()",
        )
    if real and not value.is_floating_point():
        raise ObjectiveError(
            code,
            f"{what} has integer type {value.dtype}",
            why="a parameter must vary continuously",
            hint="convert it with .double()",
        )
    finite = torch.isfinite(value.detach()) if value.is_floating_point() else None
    if finite is not None and not bool(finite.all()):
        bad = int((~finite).sum())
        raise ObjectiveError(
            code,
            f"{what} has {bad} entries that are NaN or infinite (of {value.numel()})",
            why="J has no value there, so nothing can be proved about it",
            hint="clean the data or the weights first",
        )


def _check_movable(name: str, value: Tensor) -> None:
    """The entries can be set one by one, so that J can be evaluated elsewhere."""
    if is_lazy(value) or value.layout != torch.strided:
        return
    if any(size > 1 and stride == 0 for size, stride in zip(value.shape, value.stride(), strict=True)):
        raise ObjectiveError(
            "E202",
            f"parameter {name} is expanded memory",
            why="several of its entries are one number",
            hint="make it with .clone(), or keep the small tensor as the parameter and expand it in forward",
        )
    if value.is_inference():
        raise ObjectiveError(
            "E202",
            f"parameter {name} was made in inference mode",
            why="PyTorch does not let it be changed",
            hint="build the model outside torch.inference_mode()",
        )


def _check_separate(parameters: Mapping[str, Tensor], trainable: set[str]) -> None:
    """No two parameters share memory: moving one would move the other."""
    seen: dict[Any, list[str]] = {}
    for name, value in parameters.items():
        if value.numel():
            seen.setdefault((value.device, value.untyped_storage().data_ptr()), []).append(name)
    for names in seen.values():
        for i, first in enumerate(names):
            for second in names[i + 1 :]:
                if {first, second} & trainable and _overlap(parameters[first], parameters[second]):
                    raise ObjectiveError(
                        "E210",
                        f"parameters {first} and {second} share memory",
                        hint="tie them: make both names one Parameter object",
                        why="they are two Parameter objects over the same numbers, so neither can move alone",
                    )


def _overlap(first: Tensor, second: Tensor) -> bool:
    ends = [_range(v) for v in (first, second)]
    return ends[0][0] < ends[1][1] and ends[1][0] < ends[0][1]


def _range(value: Tensor) -> tuple[int, int]:
    """First and one past the last byte of the storage that a tensor may touch."""
    last = sum((size - 1) * stride for size, stride in zip(value.shape, value.stride(), strict=True))
    start = int(value.storage_offset())
    return start * value.element_size(), (start + int(last) + 1) * value.element_size()
