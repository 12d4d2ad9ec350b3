"""One lowering per PyTorch overload; a second one for the same overload raises, a missing one is an opaque node."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch

Lowering = Callable[..., Any]


class RandomOperator(Exception):
    """The operator draws random numbers, so the objective is no function of its parameters."""


LOWERINGS: dict[str, Lowering] = {}

#: Operators whose result on exact constants is exact in floating point, so that they may be evaluated at capture.
EXACT: set[str] = set()

#: Operators whose lowering is right where they make truth values or counts out of real numbers.
DECIDES = frozenset(
    """
    lt le gt ge eq ne less less_equal greater greater_equal not_equal logical_and logical_or logical_xor logical_not
    any all count_nonzero isfinite isinf isnan isposinf isneginf isreal
""".split()
)

#: Operators whose lowering is right on truth values.
DISCRETE = DECIDES | frozenset(
    """
    bitwise_and bitwise_or bitwise_xor bitwise_not __and__ __or__ __xor__ mul maximum minimum amax amin max min
    where copy clone detach alias contiguous to _to_copy type_as view reshape _unsafe_view flatten unflatten squeeze
    unsqueeze permute transpose t expand repeat slice select split split_with_sizes unsafe_split unbind cat stack
    flip roll index index_select gather diagonal tril triu masked_fill lift_fresh lift_fresh_copy
""".split()
)


def lowers(*overloads: str, exact: bool = False) -> Callable[[Lowering], Lowering]:
    """Register the lowering of some overloads, such as ``"aten.linear.default"``.

    The function receives the builder and all arguments of the schema in order, defaults filled in, with an
    ``Expression`` for each tensor.  ``exact``: on constants the operator commits no rounding.
    """

    def register(function: Lowering) -> Lowering:
        for overload in overloads:
            if overload in LOWERINGS:
                raise ValueError(f"two lowerings for {overload}")
            LOWERINGS[overload] = _finite(function)
            if exact:
                EXACT.add(overload)
        return function

    return register


def operator(overload: str) -> Any:
    """PyTorch's operator of this name, looked up when it is needed: versions of PyTorch differ in what they have."""
    namespace, name, kind = overload.split(".")
    return getattr(getattr(getattr(torch.ops, namespace), name), kind)


def _finite(function: Lowering) -> Lowering:
    """An infinite or undefined number among the arguments, or a mean over nothing, has no lowering.

    Where the result no longer holds an entry -inf, its finite part is returned.
    """

    @wraps(function)
    def lower(*arguments: Any) -> Any:
        from epigraph.objective.lowering.extended import settled

        try:
            return settled(arguments[0], function(*arguments))
        except (OverflowError, ValueError, ZeroDivisionError) as error:
            raise NotImplementedError(f"its arguments make no real function ({error})") from error

    return lower
