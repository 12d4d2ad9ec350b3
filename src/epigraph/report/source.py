"""The lines of the user's file at which convexity is lost, quoted with their neighbours."""

from __future__ import annotations

import linecache
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from epigraph.convexity.verdict import Blocker


@final
@dataclass(frozen=True)
class Quote:
    """A stretch of one file: ``lines`` are (number, text, marked), ``blockers`` those whose line is marked."""

    filename: str | None
    lines: tuple[tuple[int, str, bool], ...]
    blockers: tuple[Blocker, ...]


def split_location(location: str | None) -> tuple[str | None, int | None]:
    """``model.py:14`` as file and line; either is None where it is not known.

    >>> split_location("model.py:14"), split_location("model.py")
    (('model.py', 14), ('model.py', None))
    """
    if not location:
        return None, None
    filename, colon, number = location.rpartition(":")
    return (filename, int(number)) if colon and number.isdecimal() else (location, None)


def _file_lines(filename: str, blocker: Blocker, number: int) -> list[str]:
    """The file's lines, or none if the file no longer has the line that the analysis saw."""
    linecache.checkcache(filename)
    lines = [line.rstrip("\n") for line in linecache.getlines(filename)]
    if not 1 <= number <= len(lines):
        return []
    return lines if blocker.source is None or blocker.source.strip() in lines[number - 1] else []


def _short(line: str, limit: int = 300) -> str:
    line = line.expandtabs(4)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _alone(blocker: Blocker, filename: str | None, number: int | None) -> Quote:
    """A blocker whose file cannot be read again: the line that the analysis kept, if it kept one."""
    lines = ((number or 0, _short(blocker.source.strip("\n")), True),) if blocker.source else ()
    return Quote(filename, lines, (blocker,))


def quotes(blockers: Sequence[Blocker], context: int = 2) -> tuple[Quote, ...]:
    """One quote for each stretch of lines, in the order of the blockers; stretches that touch are one."""
    stretches: list[tuple[str, list[str], dict[int, list[Blocker]]]] = []
    out: list[Quote | int] = []
    for blocker in blockers:
        filename, number = split_location(blocker.location)
        lines = [] if filename is None or number is None else _file_lines(filename, blocker, number)
        if filename is None or number is None or not lines:
            out.append(_alone(blocker, filename, number))
            continue
        for other, _, marked in stretches:
            if other == filename and any(abs(number - line) <= 2 * context + 1 for line in marked):
                marked.setdefault(number, []).append(blocker)
                break
        else:
            out.append(len(stretches))
            stretches.append((filename, lines, {number: [blocker]}))
    return tuple(item if isinstance(item, Quote) else _stretch(*stretches[item], context) for item in out)


def _stretch(filename: str, lines: list[str], marked: dict[int, list[Blocker]], context: int) -> Quote:
    first, last = max(1, min(marked) - context), min(len(lines), max(marked) + context)
    while first < min(marked) and not lines[first - 1].strip():
        first += 1
    while last > max(marked) and not lines[last - 1].strip():
        last -= 1
    shown = tuple((n, _short(lines[n - 1]), n in marked) for n in range(first, last + 1))
    return Quote(filename, shown, tuple(b for number in sorted(marked) for b in marked[number]))
