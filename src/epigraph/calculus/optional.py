"""Lemmas that may be left out: an internal error in one of them costs its claims, not the verdict."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, ParamSpec, TypeVar, final

P = ParamSpec("P")
T = TypeVar("T")


@final
class Optional:
    """Runs lemmas and remembers which of them stopped; ``strict`` raises instead, as the tests want it."""

    strict: ClassVar[bool] = False

    def __init__(self) -> None:
        self.stopped: dict[str, str] = {}

    def run(self, lemma: str, nothing: T, f: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """f(...), or ``nothing`` where it raises: no claim is made of what has not been finished."""
        try:
            return f(*args, **kwargs)
        except Exception as error:
            if self.strict:
                raise
            said = (str(error).strip().splitlines() or [""])[0][:160]
            self.stopped.setdefault(lemma, f"{type(error).__name__}: {said}" if said else type(error).__name__)
            return nothing

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(
            f"{lemma} stopped with an internal error and is left out, please report this: {error}"
            for lemma, error in self.stopped.items()
        )


__all__ = ["Optional"]
