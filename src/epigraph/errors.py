"""Errors that say what happened, where, why, and what to try.

Every error that a user can meet is an ``EpigraphError`` with a code.  The command line prints the message as one
paragraph and exits 3 where a target cannot be loaded or captured, 2 where the call itself is wrong.
"""

from __future__ import annotations


class EpigraphError(Exception):
    """An error with a code, the place, the reason and a suggestion.

    >>> print(EpigraphError("E101", "no such file: train.py", hint="check the path"))
    E101 no such file: train.py
         try: check the path
    """

    exit_code = 3

    def __init__(
        self, code: str, what: str, *, where: str | None = None, why: str | None = None, hint: str | None = None
    ):
        self.code, self.what, self.where, self.why, self.hint = code, what, where, why, hint
        lines = [f"{code} {what}" + (f"   {where}" if where else "")]
        if why:
            lines.append(f"     {why}")
        if hint:
            lines.append(f"     try: {hint}")
        super().__init__("\n".join(lines))


class UsageError(EpigraphError):
    """The call is wrong: an unknown block, an option without sense, an expression that does not parse (E0xx)."""

    exit_code = 2


class TargetError(EpigraphError):
    """The target cannot be found, imported or called (E1xx)."""


class ObjectiveError(EpigraphError):
    """The model, the loss or the data do not make an objective: NaN, no parameters, not a scalar, random (E2xx)."""


class CaptureError(EpigraphError):
    """The objective runs but its graph cannot be captured (E3xx)."""


class CertificateError(EpigraphError):
    """A certificate file is malformed, too large, or does not prove its claim (E4xx)."""

    exit_code = 1


class AtlasError(EpigraphError):
    """An atlas cannot be opened, read or written: no atlas, locked, a full disk, a newer version (E5xx)."""
