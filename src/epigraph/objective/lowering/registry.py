"""One lowering per PyTorch overload; a second one for the same overload raises, a missing one is an opaque node."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

Lowering = Callable[..., Any]

class RandomOperator(Exception):
    """The operator draws random numbers, so the objective is no function of its parameters."""


LOWERINGS: dict[str, Lowering] = {}

#: Operators whose result on exact constants is exact in floating point, so that they may be evaluated at capture.
EXACT: set[str] = set()


def lowers(*overloads: str, exact: bool = False) -> Callable[[Lowering], Lowering]:
    """Register the lowering of some overloads, such as ``"aten.linear.default"``.

    The function receives the builder and all arguments of the schema in order, defaults filled in, with an
    ``Expression`` for each tensor.  ``exact``: on constants the operator commits no rounding.
    """

    def register(function: Lowering) -> Lowering:
        for overload in overloads:
            if overload in LOWERINGS:
                raise ValueError(f"two lowerings for {overload}")
            LOWERINGS[overload] = function
            if exact:
                EXACT.add(overload)
        return function

    return register
