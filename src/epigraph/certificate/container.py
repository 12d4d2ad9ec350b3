"""A zip archive in its plainest form, written and read without ``zipfile``.

Exactly three entries, one after the other from byte 0, stored or deflated, then the central directory, then its end
record, then nothing.  No comments, extra fields, encryption, data descriptors, zip64, gaps or overlaps.  ``zipfile``
accepts all of these, and files in which two readers see different content.
"""

from __future__ import annotations

import os
import secrets
import stat
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, final

from epigraph.certificate.codes import refuse

NAMES = ("manifest.json", "base.safetensors", "delta.safetensors")
STORED, DEFLATED = 0, 8
STORE_ABOVE = 8 * 2**20
_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
_DATE = (0, 0x21)  # 1980-01-01 00:00


@final
@dataclass(frozen=True)
class Limits:
    """The largest sizes, in bytes, that a file may declare."""

    file: int = 2**32 - 1
    manifest: int = 16 * 2**20
    base: int = 2 * 2**30
    delta: int = 2**30

    def of(self, name: str) -> int:
        return {"manifest.json": self.manifest, "base.safetensors": self.base, "delta.safetensors": self.delta}[name]


@final
@dataclass(frozen=True, slots=True)
class Entry:
    """One member of the archive: where its data begin and how they are coded."""

    method: int
    crc: int
    packed: int
    size: int
    offset: int


# ---- writing ----


def pack(entries: Mapping[str, bytes]) -> list[bytes]:
    """The archive as a list of byte strings to be written in order."""
    parts: list[bytes] = []
    central: list[bytes] = []
    offset = 0
    for name, data in entries.items():
        method, packed = STORED, data
        if len(data) <= STORE_ABOVE:
            engine = zlib.compressobj(6, zlib.DEFLATED, -15)
            shorter = engine.compress(data) + engine.flush()
            if len(shorter) < len(data):
                method, packed = DEFLATED, shorter
        raw = name.encode("ascii")
        common = (20, 0, method, *_DATE, zlib.crc32(data), len(packed), len(data), len(raw), 0)
        parts += [_LOCAL.pack(b"PK\3\4", *common) + raw, packed]
        central.append(_CENTRAL.pack(b"PK\1\2", 20, *common, 0, 0, 0, 0, offset) + raw)
        offset += _LOCAL.size + len(raw) + len(packed)
        if offset >= Limits().file:
            refuse("E450", "a certificate cannot be larger than 4 GiB", hint="let fewer tensors enter the graph")
    directory = b"".join(central)
    count = len(central)
    return [*parts, directory, _END.pack(b"PK\5\6", 0, 0, count, count, len(directory), offset, 0)]


def write_atomically(path: str | Path, parts: list[bytes]) -> None:
    """Write beside the target and rename, so that a reader sees the old file or the whole new one."""
    target = Path(path)
    temporary = target.parent / f".{target.name[:100]}.{secrets.token_hex(6)}.part"
    try:
        with open(temporary, "xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        hint = "free some space" if error.errno == 28 else "check that the folder exists and can be written"
        refuse("E450", f"cannot write {target}", why=str(error), hint=hint)
    finally:
        temporary.unlink(missing_ok=True)


# ---- reading ----


@contextmanager
def opened(path: str | Path, limits: Limits) -> Iterator[Archive]:
    """The archive at ``path``, its directory checked; the file is opened once."""
    try:
        file = open(path, "rb", opener=_without_waiting)
    except (OSError, ValueError) as error:
        refuse("E400", f"cannot open {path}", why=str(error), hint="check the path")
    with file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            refuse("E400", f"{path} is not a regular file")
        if status.st_size > limits.file:
            refuse("E402", f"the file has {status.st_size} bytes, the limit is {limits.file}")
        yield Archive(file, status.st_size, limits)


def _without_waiting(path: str, flags: int) -> int:
    """Open at once: a named pipe would wait for a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


@final
class Archive:
    """The three members of a certificate file, each read at most to its declared and permitted size."""

    def __init__(self, file: BinaryIO, size: int, limits: Limits):
        self._file, self._size, self._limits = file, size, limits
        self.entries = self._directory()

    def read(self, name: str) -> bytes:
        """The content of a member; its length and checksum must be what the directory says."""
        entry = self.entries[name]
        packed = self._bytes(entry.offset, entry.packed)
        data = packed
        if entry.method == DEFLATED:
            engine = zlib.decompressobj(-15)
            try:
                data = engine.decompress(packed, entry.size + 1)
            except zlib.error as error:
                refuse("E401", "damaged deflate data", where=name, why=str(error))
            if not engine.eof or engine.unused_data or engine.unconsumed_tail:
                refuse("E401", "deflate data do not end where they should", where=name)
        if len(data) != entry.size or zlib.crc32(data) != entry.crc:
            refuse("E401", "length or checksum differ from the directory", where=name)
        return data

    def _bytes(self, offset: int, count: int) -> bytes:
        if offset < 0 or count < 0 or offset + count > self._size:
            refuse("E401", "the file is cut short")
        self._file.seek(offset)
        data = self._file.read(count)
        if len(data) != count:
            refuse("E401", "the file is cut short")
        return data

    def _directory(self) -> dict[str, Entry]:
        end = _END.unpack(self._bytes(self._size - _END.size, _END.size))
        signature, disk, first, here, total, length, start, comment = end
        if signature != b"PK\5\6" or (disk, first, comment) != (0, 0, 0) or here != total:
            refuse("E401", "not a plain zip archive", why="the end record is missing, has a comment, or spans disks")
        if total != len(NAMES):
            refuse("E401", f"the archive has {total} members, it must have exactly {', '.join(NAMES)}")
        if start + length != self._size - _END.size or length > 1000:
            refuse("E401", "the central directory is not where it must be")
        directory = self._bytes(start, length)
        entries: dict[str, Entry] = {}
        at = position = 0
        for _ in range(total):
            name, entry, at, position = self._member(directory, at, position)
            if name in entries:
                refuse("E401", f"{name} occurs twice")
            entries[name] = entry
        if at != length or position != start:
            refuse("E401", "bytes that belong to no member")
        return entries

    def _member(self, directory: bytes, at: int, position: int) -> tuple[str, Entry, int, int]:
        """The next entry of the directory, whose local header must be at ``position`` and say the same."""
        if at + _CENTRAL.size > len(directory):
            refuse("E401", "the central directory is cut short")
        field = _CENTRAL.unpack_from(directory, at)
        common, extra, offset = field[2:11], field[11:15], field[16]
        version, flags, method, _, _, crc, packed, size, name_length = common
        raw = directory[at + _CENTRAL.size : at + _CENTRAL.size + name_length]
        name = raw.decode("ascii", "replace")
        if field[0] != b"PK\1\2" or name not in NAMES:
            refuse("E401", f"unexpected member {name[:40]!r}", why=f"only {', '.join(NAMES)} may occur")
        if flags != 0 or version > 20 or any(extra[:3]) or method not in (STORED, DEFLATED):
            refuse("E401", "encryption, flags, extra fields, comments or an unknown method", where=name)
        if size > self._limits.of(name):
            refuse("E402", f"{size} bytes, the limit is {self._limits.of(name)}", where=name)
        if method == STORED and size != packed:
            refuse("E401", "a stored member with two different sizes", where=name)
        if offset != position:
            refuse("E401", "members must follow one another from the first byte", where=name)
        local = self._bytes(offset, _LOCAL.size + name_length)
        if local != _LOCAL.pack(b"PK\3\4", *common, 0) + raw:
            refuse("E401", "the local header differs from the directory", where=name)
        begin = offset + len(local)
        return name, Entry(method, crc, packed, size, begin), at + _CENTRAL.size + name_length, begin + packed
