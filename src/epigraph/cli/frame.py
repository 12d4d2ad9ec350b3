"""What surrounds every command: messages, exit codes, the two streams, and what is looked at before any work."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from epigraph.errors import EpigraphError, UsageError


def say(message: str) -> None:
    """A message for the person, on stderr."""
    print(message, file=sys.stderr, flush=True)


@contextlib.contextmanager
def outcome() -> Iterator[None]:
    """Turn what a command raises into a message on stderr and an exit code."""
    try:
        yield
        sys.stdout.flush()
    except EpigraphError as error:
        say(str(error))
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BrokenPipeError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(141) from None
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        traceback.print_exc()
        say(f"E900 internal error: {type(error).__name__}: {error}\n     this is a defect of epigraph itself")
        raise typer.Exit(70) from None


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """What the user's file prints while it is loaded or run goes to stderr, so that stdout holds the result alone."""
    sys.stdout.flush()
    try:
        kept: int | None = os.dup(1)
        os.dup2(2, 1)
    except OSError:
        kept = None
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)


def require_target(target: str | None, expr: str | None) -> None:
    """One of the two, said before anything is imported."""
    if (target is None) == (expr is None):
        what = "neither a target nor --expr is given" if target is None else "both a target and --expr are given"
        raise UsageError("E040", what, hint="give one: file.py:name, zoo:name or --expr 'x**2'")


def require_outputs(target: str | None, outputs: dict[str, Path | None]) -> None:
    """Before any work: can each file be written, and is none of them another's, or the target's own?"""
    from epigraph.report.files import require_writable

    taken = {os.path.realpath(target.rpartition(":")[0]): "the target's file"} if target else {}
    for option, path in outputs.items():
        if path is None:
            continue
        require_writable(path, option)
        real = os.path.realpath(path)
        if real in taken:
            raise UsageError("E083", f"{option} would overwrite {taken[real]}: {path}", hint="choose another path")
        taken[real] = f"the file of {option}"


def print_json(value: Any) -> None:
    from epigraph.report.strict import to_json

    print(to_json(value))
