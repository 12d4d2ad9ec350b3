"""A point of parameter space: the objective's own, or one read from a state dict."""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from epigraph.errors import UsageError
from epigraph.objective.objective import Objective

PLAIN = "torch.save(model.state_dict(), 'point.pt')"


def point_of(J: Objective, at: Mapping[str, Tensor] | str | Path | None) -> dict[str, Tensor]:
    """Float64 values of all trainable parameters, by their own names.

    ``at`` is None for the present values, a mapping by name, or a file that ``read_state`` reads.  Names of frozen
    parameters and of buffers may occur with the values that J has; every trainable parameter must.

    Raises:
        UsageError: a missing or an unknown name, another shape, another value of what is frozen, a number that is not
            finite, a point outside the domain.
    """
    if at is None:
        given: dict[str, Any] = dict(J.parameters)
    elif isinstance(at, Mapping):
        given = dict(at)
    else:
        given = read_state(Path(at))
    found: dict[str, Tensor] = {}
    held = _held(J)
    for name, value in given.items():
        known = J.blocks.alias.get(str(name), str(name))
        if known in J.parameters:
            _keep(found, known, str(name), _checked(str(name), value, tuple(J.parameters[known].shape)))
        elif known in held:
            _require_same(str(name), value, held[known])
        else:
            hint = _prefixed(J, str(name)) or f"the names of J: {', '.join(list(J.parameters)[:8])}"
            raise UsageError("E094", f"the point names an unknown parameter {str(name)!r}", hint=hint)
    missing = [name for name in J.parameters if name not in found]
    if missing:
        what = f"the point has no value for {', '.join(repr(n) for n in missing[:4])}"
        raise UsageError("E093", what, hint="save the whole state dict of the model")
    outside = [name for name, value in found.items() if not J.domain.contains(name, value)]
    if outside:
        what = f"the point lies outside the domain: {outside[0]!r} is beyond its bounds"
        raise UsageError("E097", what, hint="choose a point inside, or another domain")
    return {name: found[name] for name in J.parameters}


def read_state(path: Path) -> dict[str, Any]:
    """Tensors by name from a ``.safetensors`` file, or a ``.pt`` file of plain tensors; no code in it is run."""
    if not path.is_file():
        raise UsageError("E092", f"no such file: {path}", hint=PLAIN)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(str(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        why = "it holds more than tensors, a whole model for instance, and to load it would run the code in it"
        raise UsageError("E092", f"cannot read a state dict from {path}", why=why, hint=PLAIN) from None
    except Exception as error:
        why = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        hint = "a state dict in .safetensors, or one written by torch.save"
        raise UsageError("E092", f"cannot read a state dict from {path}", why=why, hint=hint) from None
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UsageError("E092", f"{path} holds no state dict", why=_inside(state), hint=PLAIN)
    return dict(state)


def _prefixed(J: Objective, name: str) -> str | None:
    """What to do about a name of J behind a prefix, as wrappers of a model put one."""
    prefix, _, bare = name.partition(".")
    known = J.blocks.alias.get(name, name) not in J.parameters and J.blocks.alias.get(bare, bare) in J.parameters
    return f"leave {prefix + '.'!r} out of the names, as in {bare!r}" if known else None


def _inside(state: Any) -> str:
    """What a file holds in place of a state dict."""
    if not isinstance(state, Mapping):
        return f"it holds a {type(state).__name__}"
    within = [
        str(k)
        for k, v in state.items()
        if isinstance(v, Mapping) and v and all(isinstance(t, Tensor) for t in v.values())
    ]
    found = f"it has the keys {', '.join(str(k) for k in list(state)[:6])}"
    return f"{found}; {within[0]!r} is a state dict, to be saved by itself" if within else found


def load_into(J: Objective, path: Path) -> dict[str, Tensor]:
    """Read a state dict, copy its buffers and frozen parameters into J, and give the values of the trainable ones.

    The model is changed: this is for an objective that was made for the purpose.

    Raises:
        UsageError: as ``point_of``; also a buffer of the model that the file lacks.
    """
    state, held = read_state(path), _held(J)
    kept = {J.blocks.alias.get(name, name): value for name, value in state.items()}
    missing = [name for name in _lasting(J) if name not in kept]
    if missing:
        what = f"the state dict has no value for {', '.join(repr(n) for n in missing[:4])}"
        hints = [hint for name in state if (hint := _prefixed(J, name))]
        raise UsageError("E093", what, hint=hints[0] if hints else "save the whole state dict of the model")
    for name, own in held.items():
        value = kept.get(name)
        if value is None:
            continue
        if not isinstance(value, Tensor) or value.shape != own.shape:
            what = f"the state dict has shape {tuple(value.shape)} for {name!r}"
            raise UsageError("E095", what, hint=f"a tensor of shape {tuple(own.shape)}, as the model has")
        with torch.no_grad():
            own.copy_(value)
    return point_of(J, state)


def _lasting(J: Objective) -> list[str]:
    """Buffers and frozen parameters that a state dict of the model holds."""
    saved = J.model.state_dict(keep_vars=True) if J.model is not None else {}
    held = {id(v) for v in _held(J).values()}
    return [name for name, value in saved.items() if id(value) in held and J.blocks.alias.get(name, name) == name]


def _held(J: Objective) -> dict[str, Tensor]:
    """Frozen parameters and buffers by name."""
    held = dict(J.blocks.frozen)
    for module in J.modules():
        held |= {name: value for name, value in module.named_buffers() if name not in held}
    return held


def _checked(name: str, value: Any, shape: tuple[int, ...]) -> Tensor:
    if not isinstance(value, Tensor) or value.is_complex() or value.layout != torch.strided:
        raise UsageError("E096", f"the value of {name!r} is no dense real tensor", hint="a tensor of floats")
    if tuple(value.shape) != shape:
        what = f"the point has shape {tuple(value.shape)} for {name!r}"
        raise UsageError("E095", what, hint=f"a tensor of shape {shape}, as the parameter has")
    exact = value.detach().cpu().double()
    if not bool(torch.isfinite(exact).all()):
        raise UsageError("E096", f"the value of {name!r} is not finite", hint="a point of finite numbers")
    return exact.clone()


def _keep(found: dict[str, Tensor], known: str, name: str, value: Tensor) -> None:
    """Keep a value; tied parameters may be named twice, with one value."""
    if known in found and not torch.equal(found[known], value):
        why = f"{name!r} and {known!r} are one tensor in the model"
        raise UsageError("E095", f"the point has two values for {known!r}", why=why, hint="give it once")
    found[known] = value


def _require_same(name: str, value: Any, own: Tensor) -> None:
    """What does not vary must have the value that J has."""
    if isinstance(value, Tensor) and value.shape == own.shape:
        mine, theirs = own.detach().cpu(), value.detach().cpu()
        if bool(((mine == theirs) | ((mine != mine) & (theirs != theirs))).all()):
            return
    raise UsageError(
        "E095",
        f"{name!r} is not a variable of J, and its value at the point is another",
        why="frozen parameters and buffers are data of J",
        hint="load the state into the model before the objective is made",
    )


def radius_of(radius: float | None) -> float | None:
    """A positive finite number, or None."""
    if radius is None:
        return None
    try:
        value = float(radius)
    except (TypeError, ValueError):
        value = math.nan
    if not (0 < value < math.inf):
        raise UsageError("E090", f"the radius {radius} is no positive finite number", hint="--radius 0.01")
    return value
