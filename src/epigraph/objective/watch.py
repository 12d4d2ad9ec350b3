"""Watching one run of a program: which tensors depend on the parameters, and what Python learns of their values.

A capture sees operators only.  A number that leaves them (``.tolist()``, ``.numpy()``) comes back as a constant, and a
tensor that is kept from one call to the next is one; both would be wrong in a graph, so they are found here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

#: Methods by which values leave PyTorch's sight; the looks of ``if`` and ``float`` arrive as operators.
LEAVES = frozenset(
    {
        "numpy",
        "tolist",
        "__array__",
        "__dlpack__",
        "storage",
        "untyped_storage",
        "_typed_storage",
        "__reduce_ex__",
        "apply_",
        "map_",
        "map2_",
    }
)
LOOKS = frozenset(
    {
        "item",
        "__bool__",
        "__float__",
        "__int__",
        "__index__",
        "__complex__",
        "is_nonzero",
        "equal",
        "allclose",
        "__contains__",
    }
)
_OVERWRITES = ("aten.zero_.", "aten.fill_.", "aten.copy_.")
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


def _whole(tensor: Any) -> bool:
    """Does the tensor fill its memory?"""
    return (
        isinstance(tensor, Tensor)
        and _strided(tensor)
        and tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()
    )


@final
class Watch(TorchDispatchMode):
    """Follows the parameters' influence through one or two runs of a program, by memory.

    Attributes:
        reads: methods by which values that depend on the parameters left PyTorch's sight.
        looks: how many such values became Python numbers or truth values in the last run.
        kept: where a number that was read rests on a tensor computed from the parameters before the run, the operator
            that took this tensor.  J itself is read at the end of a run.
        coarsest: the floating type with the fewest digits among what depends on the parameters.
        outside: was a trainable ``nn.Parameter`` used that is none of the parameters?
    """

    def __init__(self, parameters: Iterable[Tensor]):
        super().__init__()
        self._parameters = list(parameters)
        self._fresh = {place(p): p.untyped_storage() for p in self._parameters}
        self._stale: dict[int, tuple[Any, str]] = {}  # memory -> (itself, the operator that first took it in this run)
        self._ids = {id(p) for p in self._parameters}
        self.reads: list[str] = []
        self.looks = 0
        self.kept: list[str] = []
        self.coarsest = torch.float64
        self.outside = False

    @contextmanager
    def run(self) -> Iterator[None]:
        """One run; what an earlier run made is from then on what was kept."""
        owned = {place(p) for p in self._parameters}
        self._stale |= {k: (v, "") for k, v in self._fresh.items() if k not in owned}
        self._fresh = {k: v for k, v in self._fresh.items() if k in owned}
        self.looks = 0
        reads = Reads(LEAVES, self.depends)
        try:
            with reads, self:
                yield
        finally:
            self.reads += reads.seen

    def depends(self, tensor: Tensor) -> bool:
        """Was this tensor computed from the parameters, in this run or before?"""
        return _strided(tensor) and (place(tensor) in self._fresh or place(tensor) in self._stale)

    def stale(self, tensor: Tensor) -> bool:
        """Does it rest on what was computed from the parameters before this run began?"""
        if not _strided(tensor):
            return False
        if place(tensor) in self._stale:
            return True
        return place(tensor) not in self._fresh and tensor.grad_fn is not None and self._reaches(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        if name.startswith(_OVERWRITES) and _whole(args[0]):
            self._stale.pop(place(args[0]), None)
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        stale = next((t for t in given if self.stale(t)), None) if "batch_norm" not in name else None
        self.outside |= any(isinstance(t, nn.Parameter) and t.requires_grad and id(t) not in self._ids for t in given)
        depends = stale is not None or any(self.depends(t) for t in given)
        out = func(*args, **(kwargs or {}))
        if depends:
            origin = "" if stale is None else self._stale.get(place(stale), (None, ""))[1] or name
            if name.startswith(_SCALAR):
                self.looks += 1
                self.kept += [origin] if stale is not None else []
            self._mark([t for t in tree_leaves(out) if isinstance(t, Tensor)], origin)
            if func._schema.is_mutable:
                self._mark(written(func, args, kwargs or {}), origin)
        return out

    def _mark(self, tensors: Iterable[Tensor], origin: str) -> None:
        """These depend on the parameters; ``origin`` names where something kept came in, if it did."""
        for tensor in filter(_strided, tensors):
            if origin:
                self._stale[place(tensor)] = (tensor.untyped_storage(), origin)
            else:
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


def written(func: Any, args: Any, kwargs: Any) -> list[Tensor]:
    """The arguments that an operator's schema declares as written."""
    named = dict(zip((a.name for a in func._schema.arguments), args, strict=False)) | kwargs
    marked = [a.name for a in func._schema.arguments if a.alias_info is not None and a.alias_info.is_write]
    return [t for name in marked for t in tree_leaves(named.get(name)) if isinstance(t, Tensor)]
