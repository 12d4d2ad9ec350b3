"""Checkers of the attributes of a node: each returns the parsed value or refuses."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any

from flint import fmpq

from epigraph.certificate.codes import refuse

LARGEST = 2**53
DIMENSION_LIMIT = 2**40
RANK_LIMIT = 16
_RATIONAL = re.compile(r"(-?[0-9]{1,400})(?:/([0-9]{1,400}))?", re.ASCII)

Checker = Callable[[Any, str], Any]


def integer(value: Any, where: str, low: int = -LARGEST, high: int = LARGEST) -> int:
    """An integer in [low, high]; a boolean is not an integer."""
    if type(value) is not int or not low <= value <= high:
        refuse("E410", f"expected an integer from {low} to {high}", where=where)
    return value


def integers(value: Any, where: str, low: int = 0, high: int = LARGEST) -> tuple[int, ...]:
    if type(value) is not list or len(value) > RANK_LIMIT:
        refuse("E410", f"expected a list of at most {RANK_LIMIT} integers", where=where)
    return tuple(integer(v, where, low, high) for v in value)


def dimension(value: Any, where: str) -> int:
    return integer(value, where, 0, RANK_LIMIT - 1)


def count(value: Any, where: str) -> int:
    return integer(value, where, 0, DIMENSION_LIMIT)


def positive(value: Any, where: str) -> int:
    return integer(value, where, 1, DIMENSION_LIMIT)


def shape(value: Any, where: str) -> tuple[int, ...]:
    return integers(value, where, 0, DIMENSION_LIMIT)


def positives(value: Any, where: str) -> tuple[int, ...]:
    return integers(value, where, 1, DIMENSION_LIMIT)


def dims(value: Any, where: str) -> tuple[int, ...]:
    """Sorted, distinct, non-negative dimensions."""
    found = integers(value, where, 0, RANK_LIMIT - 1)
    if list(found) != sorted(set(found)):
        refuse("E410", "dimensions must be sorted and distinct", where=where)
    return found


def permutation(value: Any, where: str) -> tuple[int, ...]:
    found = integers(value, where, 0, RANK_LIMIT - 1)
    if sorted(found) != list(range(len(found))):
        refuse("E410", "dims must be a permutation of all dimensions", where=where)
    return found


def text(value: Any, where: str) -> str:
    if type(value) is not str or not 1 <= len(value) <= 1000 or not value.isprintable():
        refuse("E410", "expected a printable string of 1 to 1000 characters", where=where)
    return value


def relation(value: Any, where: str) -> str:
    if type(value) is not str or value not in ("lt", "le", "eq"):
        refuse("E410", "relation must be lt, le or eq", where=where)
    return value


def rational(value: Any, where: str) -> fmpq:
    """``"p"`` or ``"p/q"`` with at most 400 digits each and q > 0."""
    found = _RATIONAL.fullmatch(value) if type(value) is str else None
    if found is None:
        refuse("E410", 'expected a rational number "p/q" of at most 400 digits', where=where)
    denominator = int(found[2] or 1)
    if denominator == 0:
        refuse("E410", "a rational number with denominator zero", where=where)
    return fmpq(int(found[1]), denominator)


def exponent(value: Any, where: str) -> fmpq:
    """A rational exponent; whole and half ones of moderate size, since they become repeated products."""
    found = rational(value, where)
    if found.q <= 2 and abs(found.p) > LARGEST:
        refuse("E410", "an integer or half exponent must be at most 2^53 in size", where=where)
    return found


def knots(value: Any, where: str) -> tuple[fmpq, ...]:
    if type(value) is not list or len(value) > 1000:
        refuse("E410", "expected a list of at most 1000 knots", where=where)
    found = tuple(rational(v, where) for v in value)
    if any(not low < high for low, high in itertools.pairwise(found)):
        refuse("E410", "knots must increase", where=where)
    return found


def pieces(value: Any, where: str) -> tuple[tuple[fmpq, ...], ...]:
    if type(value) is not list or not 1 <= len(value) <= 1001:
        refuse("E410", "expected a list of at most 1001 pieces", where=where)
    for piece in value:
        if type(piece) is not list or not 1 <= len(piece) <= 3:
            refuse("E410", "a piece is a list of one to three coefficients", where=where)
    return tuple(tuple(rational(c, where) for c in piece) for piece in value)
