"""Files are written whole or not at all, and a path that cannot be written is found before hours of work."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from epigraph.errors import UsageError


def _partial(path: Path) -> Path:
    return path.with_name(f".epigraph-{secrets.token_hex(4)}.part")


def _refuse(path: Path, option: str, why: str, hint: str = "choose another path") -> UsageError:
    return UsageError("E082", f"cannot write {path}", where=option, why=why, hint=hint)


def _is_special(path: Path) -> bool:
    """A pipe or a device such as /dev/stdout: written in place, as there is nothing to replace."""
    return path.exists() and not path.is_file()


def require_writable(path: Path, option: str) -> None:
    """Raise ``UsageError`` now if the file could not be written later; leaves no trace."""
    path = Path(os.path.realpath(path))
    try:
        if path.is_dir():
            raise _refuse(path, option, "it is a directory", "name a file in it")
        if _is_special(path):
            return
        if not path.parent.is_dir():
            raise _refuse(path, option, f"there is no directory {path.parent}", f"mkdir -p {path.parent}")
        probe = _partial(path)
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise _refuse(path, option, error.strerror or str(error)) from error


def write_atomically(path: Path, content: str | bytes, option: str = "--report") -> None:
    """Write UTF-8 text or bytes beside the file, then rename it into place: a reader sees the old file or the new one."""
    path, data = Path(os.path.realpath(path)), content.encode() if isinstance(content, str) else content
    if _is_special(path):
        path.write_bytes(data)
        return
    partial = _partial(path)
    try:
        partial.write_bytes(data)
        os.replace(partial, path)
    except OSError as error:
        raise _refuse(path, option, error.strerror or str(error)) from error
    finally:
        partial.unlink(missing_ok=True)
