"""A second device that is pretended: tensors carry the name of the device they would be on, and mixing them fails.

All of them are on the CPU.  A tensor is on the device that its factory is told, where it was moved to, or where its operands
are; an operator on tensors of two devices fails as PyTorch's does, but for numbers (no dimensions) and indices from the CPU.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, resolve_name

CPU = torch.device("cpu")
TAKES = ("__getitem__", "__setitem__", "index_put_")
MOVES = ("to", "cpu", "cuda")


def tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, (tuple, list)):
        return [t for v in value for t in tensors(v)]
    return [t for v in value.values() for t in tensors(v)] if isinstance(value, dict) else []


def place(t: Tensor) -> torch.device:
    return t.__dict__.get("_place", CPU)


class Pretended(TorchFunctionMode):
    """Inside, ``device`` seems to be there; ``calls`` counts operators by name and device."""

    def __init__(self, device: str):
        super().__init__()
        self.device = torch.device(device)
        self.calls: Counter[tuple[str, str]] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name == "__get__":
            if "device.__get__" in (resolve_name(func) or ""):
                return place(args[0])
            out = func(*args, **kwargs)
            return self._put(out, place(args[0]))
        if name in ("numpy", "__array__") and place(args[0]) != CPU:
            raise RuntimeError("can't convert a pretended tensor to numpy")
        wanted = kwargs.pop("device", None)
        if name in MOVES:
            return self._moved(func, name, args, kwargs, wanted)
        operands = tensors([args[:1] if name in TAKES else args, kwargs])
        found = {place(t) for t in operands if t.ndim} or {place(t) for t in operands if place(t) != CPU}
        if len(found) > 1:
            raise RuntimeError(f"{name}: tensors on {sorted(map(str, found))}")
        where = torch.device(wanted) if wanted is not None else next(iter(found), CPU)
        if kwargs.get("generator") is not None and where != CPU:
            raise RuntimeError(f"{name}: a generator of another device")
        self.calls[name, str(where)] += 1
        return self._put(func(*args, **kwargs), where)

    def _moved(self, func: Any, name: str, args: Any, kwargs: Any, wanted: Any) -> Any:
        rest = list(args[1:])
        for k, a in enumerate(rest):
            if isinstance(a, (str, torch.device)):
                wanted = rest.pop(k)
                break
            if isinstance(a, Tensor):
                wanted = place(a)
        where = CPU if name == "cpu" else torch.device(wanted) if wanted is not None else place(args[0])
        moved = where != place(args[0])
        out = func(args[0], *rest, **kwargs) if rest or kwargs else args[0]
        return self._put(out.clone() if moved else out, where)

    @staticmethod
    def _put(out: Any, where: torch.device) -> Any:
        for t in tensors(out):
            if where != CPU:
                t.__dict__["_place"] = where
            else:
                t.__dict__.pop("_place", None)
        return out
