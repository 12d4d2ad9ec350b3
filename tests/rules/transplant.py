"""Puts a changed module's code into the imported one, in place, so that all who hold its functions and classes see it."""

from __future__ import annotations

import importlib
import sys
from types import FunctionType, ModuleType
from typing import Any

from mutants import Mutant


class Unimportable(Exception):
    """The changed source raises when it is run: nobody could use it."""


def transplant(mutant: Mutant) -> None:
    """Run the changed source beside the module, then move code, attributes and constants over.  Not to be undone."""
    from epigraph.calculus import rule

    name = "epigraph.calculus." + mutant.module.replace("/", ".")
    live = importlib.import_module(name)
    fresh = ModuleType(name)
    kept = dict(rule.RULES)
    rule.RULES.clear()  # the changed source registers its classes again
    try:
        exec(mutant.code, fresh.__dict__)
    except Exception as error:
        raise Unimportable(str(error)) from error
    finally:
        rule.RULES.clear()
        rule.RULES.update(kept)
    for key, value in vars(fresh).items():
        if not key.startswith("__"):
            _put(live, key, value)


def _put(live: ModuleType, key: str, value: Any) -> None:
    old = vars(live).get(key)
    if isinstance(value, type) and value.__module__ == live.__name__:
        for name, attribute in vars(value).items():
            _attribute(old, name, attribute)
    elif isinstance(inner := getattr(value, "__wrapped__", value), FunctionType):
        if inner.__module__ == live.__name__:
            _move(getattr(old, "__wrapped__", old), inner)
        if hasattr(old, "cache_clear"):
            old.cache_clear()
    elif not isinstance(value, ModuleType) and _differs(value, old):
        if type(value).__module__ == live.__name__:
            value.__class__ = type(old)
        for module in [m for n, m in list(sys.modules.items()) if n.startswith("epigraph.")]:
            if key in vars(module) and vars(module)[key] is old:
                setattr(module, key, value)


def _attribute(cls: Any, name: str, new: Any) -> None:
    old = vars(cls).get(name)
    if isinstance(new, FunctionType):
        _move(old, new)
    elif isinstance(new, staticmethod | classmethod):
        _move(old.__func__, new.__func__)
    elif isinstance(new, property):
        _move(old.fget, new.fget)
    elif not name.startswith("__") and not hasattr(new, "__get__") and name != "_abc_impl" and _differs(new, old):
        setattr(cls, name, new)


def _move(old: Any, new: Any) -> None:
    old.__code__, old.__defaults__, old.__kwdefaults__ = new.__code__, new.__defaults__, new.__kwdefaults__


def _differs(new: Any, old: Any) -> bool:
    """Constants are compared by content; an interval's text shows too few digits."""
    if hasattr(new, "lower") and hasattr(new, "upper"):
        return (repr(new.lower), repr(new.upper)) != (repr(old.lower), repr(old.upper))
    return new is not old and repr(new) != repr(old)
