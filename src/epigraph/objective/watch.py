"""Watching one run of a program: which tensors depend on the parameters, and what Python learns of their values.

A capture sees operators only.  A number that leaves them (``.tolist()``, ``.numpy()``) comes back as a constant, and a
tensor that is kept from one call to the next is one; both would be wrong in a graph, so they are found here.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

#: Methods by which values leave PyTorch's sight; the looks of ``if`` and ``float`` arrive as operators.
LEAVES = frozenset({"numpy", "tolist", "__array__", "__dlpack__", "storage", "untyped_storage", "_typed_storage",
                    "__reduce_ex__", "apply_", "map_", "map2_"})
LOOKS = frozenset({"item", "__bool__", "__float__", "__int__", "__index__", "__complex__", "is_nonzero", "equal", "allclose",
                   "__contains__"})
_SCALAR = ("aten._local_scalar_dense", "aten.equal", "aten.is_nonzero")
FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


@final
class Reads(TorchFunctionMode):
    """Notes which of the chosen methods are called on a tensor for which ``matters`` holds."""

    def __init__(self, names: frozenset[str], matters: Callable[[Tensor], bool]):
        super().__init__()
        self.names, self.matters = names, matters
        self.seen: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in self.names and any(isinstance(a, Tensor) and self.matters(a) for a in args):
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


def place(tensor: Tensor) -> int:
    """The memory that a tensor lies in; equal for views of each other."""
    return tensor.untyped_storage()._cdata


def reads_of_real(parameters: Iterable[Tensor]) -> Reads:
    """For a symbolic run: reads of the numbers that parameters really have, which no symbol follows."""
    owned = {place(p) for p in parameters}
    taken = frozenset({"numpy", "tolist", "__array__", "__dlpack__"}) | LOOKS
    return Reads(taken, lambda t: not isinstance(t, FakeTensor) and _strided(t) and place(t) in owned)


def _strided(tensor: Tensor) -> bool:
    return not tensor.is_meta and tensor.layout == torch.strided


@final
class Watch(TorchDispatchMode):
    """Follows the parameters' influence through one or two runs of a program, by memory.

    Attributes:
        reads: methods by which values that depend on the parameters left PyTorch's sight.
        looks: how many such values became Python numbers or truth values.
        kept: operators that took a tensor computed from the parameters in an earlier run, or before the first.
        coarsest: the floating type with the fewest digits among what depends on the parameters.
    """

    def __init__(self, parameters: Iterable[Tensor]):
        super().__init__()
        self._parameters = list(parameters)
        self._fresh = {place(p): p.untyped_storage() for p in self._parameters}
        self._stale: dict[int, Any] = {}
        self._ids = {id(p) for p in self._parameters}
        self.reads: list[str] = []
        self.looks = 0
        self.kept: list[str] = []
        self.coarsest = torch.float64
        self._memo: dict[int, bool] = {}

    @contextmanager
    def run(self) -> Iterator[None]:
        """One run; what an earlier run made is from then on what was kept."""
        owned = {place(p) for p in self._parameters}
        self._stale |= {k: v for k, v in self._fresh.items() if k not in owned}
        self._fresh = {k: v for k, v in self._fresh.items() if k in owned}
        self.looks = 0
        reads = Reads(LEAVES, self.depends)
        with reads, self:
            yield
        self.reads += reads.seen

    def depends(self, tensor: Tensor) -> bool:
        """Was this tensor computed from the parameters, in this run or before?"""
        return _strided(tensor) and (place(tensor) in self._fresh or place(tensor) in self._stale)

    def stale(self, tensor: Tensor) -> bool:
        """Was it computed from the parameters before this run began?"""
        if not _strided(tensor) or place(tensor) in self._fresh:
            return False
        return place(tensor) in self._stale or (tensor.grad_fn is not None and self._reaches(tensor))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        taken = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        name = str(func)
        stale = [t for t in taken if self.stale(t)]
        depends = bool(stale) or any(self.depends(t) for t in taken)
        out = func(*args, **(kwargs or {}))
        if stale and "batch_norm" not in name:
            self.kept.append(name)
        if depends:
            self.looks += name.startswith(_SCALAR)
            self._mark([t for t in tree_leaves(out) if isinstance(t, Tensor)])
            if func._schema.is_mutable:
                self._mark(_written(func, args, kwargs or {}))
        return out

    def _mark(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            if _strided(tensor):
                self._fresh.setdefault(place(tensor), tensor.untyped_storage())
                if tensor.dtype in FLOATS and torch.finfo(tensor.dtype).eps > torch.finfo(self.coarsest).eps:
                    self.coarsest = tensor.dtype

    def _reaches(self, tensor: Tensor) -> bool:
        """Does the tensor's history for autograd, made before this run, lead to a parameter?"""
        pending, seen = [tensor.grad_fn], set()
        while pending:
            node = pending.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            if id(getattr(node, "variable", None)) in self._ids:
                return True
            pending.extend(n for n, _ in node.next_functions)
        return False


def _written(func: Any, args: Any, kwargs: Any) -> list[Tensor]:
    """The arguments that an operator's schema declares as written."""
    named = dict(zip((a.name for a in func._schema.arguments), args, strict=False)) | kwargs
    marked = [a.name for a in func._schema.arguments if a.alias_info is not None and a.alias_info.is_write]
    return [t for name in marked for t in tree_leaves(named.get(name)) if isinstance(t, Tensor)]
