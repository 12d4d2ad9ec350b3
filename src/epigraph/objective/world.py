"""Leaving the user's world as it was: values, gradients, modes, attributes, random generators, global switches."""

from __future__ import annotations

import functools
import logging
import random
import sys
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn
from torch._C._autograd import _unsafe_set_version_counter as _set_version  # type: ignore[import-not-found]
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode

from epigraph.errors import ObjectiveError
from epigraph.objective.reach import Reached, reach
from epigraph.objective.watch import written

HEAVY = 1 << 20  # entries; a tensor outside every module that is larger is guarded against writes, not copied
SHARED = 1 << 16  # entries; copies of tensors from here on are shared by nested calls


@contextmanager
def untouched(*roots: Any) -> Iterator[Reached]:
    """Everything that running these objects may change is put back on exit, also after an exception.

    Tensors keep their identity and their version; changed values are copied back.  Containers and the attributes of
    objects hold again what they held.  Inside, gradients are on, and neither inference mode nor autocast holds.
    """
    found = reach(roots)
    with ExitStack() as after:
        for save in (_switches, _streams, _containers, _names, _kinds, _tensors, _generators):
            after.callback(save(found))
        stack = after.enter_context(ExitStack())
        stack.enter_context(torch.inference_mode(False))
        for device in _DEVICES:
            torch.set_autocast_enabled(device, False)
        torch.set_autocast_cache_enabled(False)  # it keeps copies of weights that are moved afterwards
        torch.set_grad_enabled(True)
        yield found


@final
class _Guard(TorchDispatchMode):
    """Refuses writes into some memory before they happen."""

    def __init__(self, tensors: Iterable[Tensor]):
        super().__init__()
        self.places = {t.untyped_storage()._cdata for t in tensors}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.is_mutable:
            for tensor in written(func, args, kwargs or {}):
                if tensor.layout == torch.strided and tensor.untyped_storage()._cdata in self.places:
                    raise ObjectiveError(
                        "E212",
                        f"the objective writes into a tensor of shape {tuple(tensor.shape)} that is not its own",
                        why="it is too large to be copied and put back",
                        hint="use the operator that returns a new tensor",
                    )
        return func(*args, **(kwargs or {}))


def guarded(found: Reached) -> AbstractContextManager[Any]:
    """Inside, nothing writes into the large tensors that ``untouched`` does not copy."""
    inside = _of_modules(found)
    large = [t for t in found.tensors if _plain(t) and t.numel() > HEAVY and id(t) not in inside]
    return _Guard(large) if large else nullcontext()


def _of_modules(found: Reached) -> set[int]:
    return {id(t) for m in found.modules for t in (*m._parameters.values(), *m._buffers.values()) if t is not None}


# what lies in the user's objects ----------------------------------------------------------------------------------
def _tensors(found: Reached) -> Callable[[], None]:
    inside = _of_modules(found)
    restore = [_tensor(t, id(t) in inside or t.numel() <= HEAVY) for t in found.tensors if _plain(t)]

    def back() -> None:
        for undo in restore:
            undo()

    return back


def _plain(tensor: Tensor) -> bool:
    """Does it hold values that can be copied and compared?"""
    strange = is_lazy(tensor) or isinstance(tensor, FakeTensor) or torch._is_functional_tensor(tensor)
    return not strange and not tensor.is_meta and tensor.layout == torch.strided and not tensor.is_nested


def _tensor(tensor: Tensor, copied: bool) -> Callable[[], None]:
    leaf, flag = tensor.is_leaf, tensor.requires_grad
    content = _content(tensor) if copied else None
    gradient = tensor.grad if leaf else None
    gradients = None if gradient is None or not _plain(gradient) else _content(gradient)
    memory = tensor.data

    def back() -> None:
        if leaf and not tensor.is_leaf:  # written to by an operator that autograd follows
            tensor.detach_()
        if tensor.data_ptr() != memory.data_ptr() or tensor.shape != memory.shape or tensor.dtype != memory.dtype:
            tensor.data = memory
        if content is not None:
            content(tensor)
        if leaf and tensor.requires_grad != flag:
            tensor.requires_grad_(flag)
        if leaf and tensor.grad is not gradient:
            tensor.grad = gradient
        if gradient is not None and gradients is not None:
            gradients(gradient)

    return back


#: What an enclosing ``untouched`` has copied, by the identity of the tensor: the same copy serves inside while it is current.
_COPIES: dict[int, tuple[Callable[[], Tensor | None], Tensor]] = {}


def _content(tensor: Tensor) -> Callable[[Tensor], None]:
    """Puts the values and the version that the tensor has now back into it."""
    outer = _COPIES.get(id(tensor))
    shared = outer is not None and outer[0]() is tensor and _equal(tensor, outer[1])
    content = outer[1] if outer is not None and shared else tensor.detach().clone()
    version = None if tensor.is_inference() else tensor._version
    if not shared and tensor.numel() >= SHARED:
        _COPIES[id(tensor)] = (weakref.ref(tensor), content)

    def back(target: Tensor) -> None:
        if not shared and outer is not None:
            _COPIES[id(tensor)] = outer
        elif not shared:
            _COPIES.pop(id(tensor), None)
        if not _equal(target, content):
            with torch.no_grad():
                target.data.copy_(content)
        if version is not None and target._version != version:
            _set_version((target,), (version,))

    return back


_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def _equal(left: Tensor, right: Tensor) -> bool:
    """Equality of every entry, bit for bit: NaN equals itself, and 0 is not -0."""
    left, right = left.detach(), right.detach()
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    bits = _BITS.get(left.element_size())
    if bits is None:  # complex128
        return _equal(torch.view_as_real(left), torch.view_as_real(right))
    return torch.equal(left.view(bits), right.view(bits))


def _containers(found: Reached) -> Callable[[], None]:
    saved = [(c, c.copy()) for c in found.containers]

    def back() -> None:
        for container, content in saved:
            if not _holds(container, content):
                container.clear()
                fill = container.update if isinstance(container, dict | set) else container.extend
                fill(content)

    return back


def _holds(container: Any, content: Any) -> bool:
    """The same objects in the same places?"""
    if len(container) != len(content):
        return False
    if not content:
        return True
    if isinstance(content, dict):
        pairs = zip(container.items(), content.items(), strict=True)
        return all(k is n and v is w for (k, v), (n, w) in pairs)
    if isinstance(content, set):
        return container == content
    return all(v is w for v, w in zip(container, content, strict=True))


_ABSENT = object()


def _kinds(found: Reached) -> Callable[[], None]:
    """Attributes of the user's classes, rebound as they were."""
    saved = [(kind, dict(vars(kind))) for kind in dict.fromkeys(found.kinds)]

    def back() -> None:
        for kind, attributes in saved:
            for name, value in dict(vars(kind)).items():
                if name not in attributes:
                    delattr(kind, name)
                elif value is not attributes[name]:
                    setattr(kind, name, attributes[name])

    return back


def _names(found: Reached) -> Callable[[], None]:
    """Cells of closures and global names, rebound as they were."""
    cells = [(c, _held(c)) for c in found.cells]
    names = [(scope, name, scope.get(name, _ABSENT)) for scope, name in found.names]

    def back() -> None:
        for cell, content in cells:
            if content is not _ABSENT and _held(cell) is not content:
                cell.cell_contents = content
        for scope, name, value in names:
            if scope.get(name, _ABSENT) is not value:
                if value is _ABSENT:
                    scope.pop(name, None)
                else:
                    scope[name] = value

    return back


def _held(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _ABSENT


# random generators ------------------------------------------------------------------------------------------------
def _generators(found: Reached) -> Callable[[], None]:
    undo = [_generator(g) for g in found.generators]
    torch_state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None

    def back() -> None:
        for one in undo:
            one()
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)
        random.setstate(python_state)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)

    return back


def _generator(generator: Any) -> Callable[[], Any]:
    if isinstance(generator, torch.Generator):
        state = generator.get_state()
        return lambda: generator.set_state(state)
    if isinstance(generator, np.random.Generator):
        bits = generator.bit_generator.state
        return lambda: setattr(generator.bit_generator, "state", bits)
    if isinstance(generator, np.random.RandomState):
        old = generator.get_state()
        return lambda: generator.set_state(old)
    kept = generator.getstate()
    return lambda: generator.setstate(kept)


# switches of the process ------------------------------------------------------------------------------------------
_DEVICES = ("cpu", "cuda")
_SDP = torch.backends.cuda
SWITCHES: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
    *(
        (functools.partial(torch.is_autocast_enabled, d), functools.partial(torch.set_autocast_enabled, d))
        for d in _DEVICES
    ),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    (torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled),
    (_SDP.flash_sdp_enabled, _SDP.enable_flash_sdp),
    (_SDP.mem_efficient_sdp_enabled, _SDP.enable_mem_efficient_sdp),
    (_SDP.math_sdp_enabled, _SDP.enable_math_sdp),
    (_SDP.cudnn_sdp_enabled, _SDP.enable_cudnn_sdp),
    (np.geterr, lambda old: np.seterr(**old)),
    (lambda: logging.root.manager.disable, logging.disable),
    (lambda: logging.root.level, logging.root.setLevel),
)


def _switches(_: Reached) -> Callable[[], None]:
    values = [read() for read, _ in SWITCHES]
    filters, kept = warnings.filters, list(warnings.filters)

    def back() -> None:
        for (read, write), value in zip(SWITCHES, values, strict=True):
            if read() != value:
                write(value)
        if warnings.filters is not filters or list(filters) != kept:
            warnings.filters = filters
            filters[:] = kept  # type: ignore[index]
            warnings._filters_mutated()  # type: ignore[attr-defined]

    return back


def _streams(_: Reached) -> Callable[[], None]:
    path, out, error = list(sys.path), sys.stdout, sys.stderr

    def back() -> None:
        if sys.path != path:
            sys.path[:] = path
        sys.stdout, sys.stderr = out, error

    return back


def to_double(roots: list[Any]) -> None:
    """Convert every floating tensor that these objects reach to float64, views of one memory to views of one memory.

    For use inside ``untouched``, which gives each tensor its memory back.
    """
    wide: dict[Any, Tensor] = {}
    for tensor in reach(roots).tensors:
        if (
            tensor.is_floating_point()
            and tensor.dtype != torch.float64
            and _plain(tensor)
            and not tensor.is_inference()
        ):
            key = (tensor.device, tensor.untyped_storage().data_ptr(), tensor.dtype)
            if key not in wide:
                size = tensor.untyped_storage().nbytes() // tensor.element_size()
                wide[key] = tensor.detach().as_strided((size,), (1,), 0).double()
            tensor.data = wide[key].as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


@contextmanager
def mode_of(modules: list[nn.Module], mode: str) -> Iterator[None]:
    """Every module in training or evaluation mode, set as its own ``train`` does; "as-is" leaves them."""
    flags = [(m, m.training) for root in modules for m in root.modules()]
    try:
        if mode != "as-is":
            for module in modules:
                module.train(mode == "train")
        yield
    finally:
        for module, flag in flags:
            if module.training != flag:
                module.training = flag
