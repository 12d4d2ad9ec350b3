"""Programs that change nothing when they run: around them the user's world need not be kept.

That holds for PyTorch's own modules without a state, a mode or a random choice, without hooks and in their own form, followed by one of its
own losses, on plain tensors.  Everything else counts as able to change anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules import module as _module

LAYERS: frozenset[type[nn.Module]] = frozenset(
    {
        nn.Sequential, nn.Identity, nn.Linear, nn.Flatten, nn.Unflatten,
        nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
        nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AdaptiveAvgPool2d,
        nn.LayerNorm, nn.GroupNorm,
        nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Softsign, nn.Tanh,
        nn.Sigmoid, nn.LogSigmoid, nn.Softmax, nn.LogSoftmax, nn.Hardtanh, nn.ReLU6,
    }
)  # fmt: skip
LOSSES: frozenset[type[nn.Module]] = frozenset(
    {nn.CrossEntropyLoss, nn.MSELoss, nn.NLLLoss, nn.BCEWithLogitsLoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss}
)
FUNCTIONS = (
    F.cross_entropy, F.mse_loss, F.nll_loss, F.binary_cross_entropy_with_logits, F.l1_loss, F.smooth_l1_loss, F.huber_loss,
)  # fmt: skip
_HOOKS = "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"
_GLOBAL = tuple(f"_global{name}" for name in _HOOKS)
_PLAIN = Tensor, nn.Parameter, type(None)
_METHODS = "forward", "__call__", "_call_impl", "_conv_forward", "train"
_CODE = {kind: [(name, getattr(kind, name, None)) for name in _METHODS] for kind in (nn.Module, *LAYERS, *LOSSES)}
_USED = [(name, value) for name, value in vars(F).items() if callable(value) and name.islower() and name[0] != "_"]


def harmless(model: Any, loss: Any, data: Iterable[Any]) -> bool:
    """Does running loss(model(inputs), targets) on these data leave every object and generator as it is?

    Cost: some microseconds for each module, and some ten for the state of the process.
    """
    if not isinstance(model, nn.Module) or not all(type(v) in _PLAIN for v in data) or not _undisturbed():
        return False
    named = [m for _, m in model.named_modules(remove_duplicate=False)]
    kinds = {type(m) for m in named}
    if len({id(m) for m in named}) < len(named) or not kinds <= LAYERS or not all(map(_own, named)):
        return False
    if not any(loss is f for f in FUNCTIONS):
        if type(loss) not in LOSSES or not _own(loss):
            return False
        kinds.add(type(loss))
    return all(getattr(kind, name, None) is code for kind in (nn.Module, *kinds) for name, code in _CODE[kind])


def _undisturbed() -> bool:
    """Are PyTorch's functions what they were, without hooks on every module and without modes that see every operator?"""
    if torch._C._len_torch_function_stack() or torch._C._len_torch_dispatch_stack():
        return False
    if any(getattr(_module, name, None) for name in _GLOBAL):
        return False
    now = vars(F)
    return all(now.get(name) is code for name, code in _USED)


def _own(module: nn.Module) -> bool:
    """Has the module PyTorch's own form, without hooks, and plain tensors?"""
    held = vars(module)
    if held.get("inplace") or any(held[name] for name in _HOOKS):
        return False
    if any(callable(value) and hasattr(type(module), name) for name, value in held.items()):
        return False
    return all(type(t) in _PLAIN for t in (*held["_parameters"].values(), *held["_buffers"].values()))
