"""Parameters as blocks: their names, ties, and which of them train."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from epigraph.errors import ObjectiveError, UsageError


@final
@dataclass(frozen=True)
class Blocks:
    """The trainable parameters by name, the frozen ones, and every name under which a tied tensor is known."""

    trainable: Mapping[str, Tensor]
    frozen: Mapping[str, Tensor]
    alias: Mapping[str, str]

    @staticmethod
    def of_model(model: nn.Module, loss: object) -> Blocks:
        """Names as ``named_parameters`` gives them; those of a loss module get the prefix ``loss.``."""
        parts: list[tuple[str, nn.Module]] = [("", model)]
        if isinstance(loss, nn.Module):
            parts.append(("loss.", loss))
        trainable: dict[str, Tensor] = {}
        frozen: dict[str, Tensor] = {}
        alias: dict[str, str] = {}
        first: dict[int, str] = {}
        for prefix, module in parts:
            for name, value in module.named_parameters(remove_duplicate=False):
                known = first.setdefault(id(value), prefix + name)
                alias[prefix + name] = known
                if known == prefix + name:
                    (trainable if value.requires_grad else frozen)[known] = value
        return Blocks(trainable, frozen, alias)

    def check(self) -> None:
        """Every parameter is a finite real tensor and at least one trains."""
        if not self.trainable:
            raise ObjectiveError("E201", "the objective has no trainable parameter",
                                 why="every parameter has requires_grad=False, or the model has none",
                                 hint="set requires_grad_(True) on the parameters that J depends on")
        for name, value in {**self.trainable, **self.frozen}.items():
            check_tensor(value, f"parameter {name}", "E202", real=name in self.trainable)

    def resolve(self, names: list[str] | tuple[str, ...] | None) -> tuple[str, ...]:
        """The canonical names of some blocks (all of them by default)."""
        if names is None:
            return tuple(self.trainable)
        import difflib

        out = []
        for name in names:
            known = self.alias.get(name, name)
            if known not in self.trainable:
                close = difflib.get_close_matches(name, list(self.alias), n=3)
                listed = ", ".join(close or list(self.trainable)[:8])
                why = "it is frozen (requires_grad=False)" if known in self.frozen else "no parameter has this name"
                raise UsageError("E011", f"unknown block {name!r}", why=why, hint=f"one of {listed}")
            out.append(known)
        return tuple(dict.fromkeys(out))


def check_tensor(value: Tensor, what: str, code: str, real: bool = False) -> None:
    """Raise where a tensor is on the meta device, complex, sparse, quantised, not finite, or (``real``) integer."""
    if value.is_meta:
        raise ObjectiveError(code, f"{what} is on the meta device", why="it has a shape and no values",
                             hint="materialise the model, for example with to_empty() and load_state_dict()")
    if value.is_complex():
        raise ObjectiveError(code, f"{what} is complex", why="convexity is defined here for real parameters",
                             hint="use torch.view_as_real")
    if value.layout != torch.strided or value.is_quantized:
        raise ObjectiveError(code, f"{what} is sparse or quantised", why="only dense tensors are analysed",
                             hint="call .to_dense() or .dequantize()")
    if real and not value.is_floating_point():
        raise ObjectiveError(code, f"{what} has integer type {value.dtype}", why="a parameter must vary continuously",
                             hint="convert it with .double()")
    if value.is_floating_point() and value.numel() and not bool(torch.isfinite(value).all()):
        bad = int((~torch.isfinite(value)).sum())
        raise ObjectiveError(code, f"{what} has {bad} entries that are NaN or infinite (of {value.numel()})",
                             why="J has no value there, so nothing can be proved about it", hint="clean the data or the weights first")
