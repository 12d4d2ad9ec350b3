"""The safetensors layout, read strictly: a JSON header, then tensors that tile the rest without holes or overlaps."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from epigraph.certificate import strictjson
from epigraph.certificate.codes import refuse

DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U8": "|u1",
    "BOOL": "|b1",
}
NAMES = {np.dtype(code): name for name, code in DTYPES.items()}
HEADER_LIMIT = 16 * 2**20
RANK_LIMIT = 16
DIMENSION_LIMIT = 2**40


def dtype_name(array: np.ndarray) -> str:
    """The safetensors name of the array's dtype; refuses one that the format has not."""
    name = NAMES.get(array.dtype.newbyteorder("<"))
    if name is None:
        refuse("E450", f"a certificate cannot hold tensors of dtype {array.dtype}", hint="convert to float64")
    return name


def plain(array: np.ndarray) -> np.ndarray:
    """The array in little-endian, C order."""
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(array.shape)


def dump(tensors: Mapping[str, np.ndarray]) -> bytes:
    """The tensors as one safetensors document, widest entries first so that all are aligned."""
    header: dict[str, Any] = {}
    parts: list[bytes] = []
    offset = 0
    for key in sorted(tensors, key=lambda k: (-tensors[k].dtype.itemsize, k)):
        data = plain(tensors[key]).tobytes()
        shape = list(tensors[key].shape)
        header[key] = {"dtype": dtype_name(tensors[key]), "shape": shape, "data_offsets": [offset, offset + len(data)]}
        parts.append(data)
        offset += len(data)
    raw = strictjson.dumps(header)
    raw += b" " * (-len(raw) % 8)
    return struct.pack("<Q", len(raw)) + raw + b"".join(parts)


def load(data: bytes, where: str) -> dict[str, np.ndarray]:
    """The tensors of a safetensors document; refuses with E405.  Arrays are views of ``data`` where aligned."""

    def fail(why: str) -> NoReturn:
        refuse("E405", "malformed tensor file", where=where, why=why)

    if len(data) < 8:
        fail("shorter than its own header")
    (length,) = struct.unpack_from("<Q", data)
    if length > min(HEADER_LIMIT, len(data) - 8):
        fail("the header is longer than the file or the limit")
    header = strictjson.loads(data[8 : 8 + length], where)
    if type(header) is not dict:
        fail("the header is not an object")
    spans: list[tuple[int, int]] = []
    out: dict[str, np.ndarray] = {}
    begin = 8 + length
    for key, entry in header.items():
        dtype, shape, start, stop = _entry(entry, fail)
        if stop - start != math.prod(shape) * dtype.itemsize or begin + stop > len(data):
            fail(f"{key[:60]!r}: the offsets do not fit the shape or the file")
        spans.append((start, stop))
        array = np.frombuffer(data, dtype=dtype, count=math.prod(shape), offset=begin + start).reshape(shape)
        out[key] = array if array.flags.aligned else array.copy()
    position = 0
    for start, stop in sorted(spans):
        if start != position:
            fail("holes or overlaps between tensors")
        position = stop
    if begin + position != len(data):
        fail("bytes that belong to no tensor")
    return out


def _entry(entry: Any, fail: Any) -> tuple[np.dtype, tuple[int, ...], int, int]:
    if type(entry) is not dict or set(entry) != {"dtype", "shape", "data_offsets"}:
        fail("an entry must have exactly dtype, shape and data_offsets")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if type(entry["dtype"]) is not str or entry["dtype"] not in DTYPES:
        fail("unknown dtype")
    if (
        type(shape) is not list
        or len(shape) > RANK_LIMIT
        or any(type(s) is not int or not 0 <= s <= DIMENSION_LIMIT for s in shape)
    ):
        fail("a shape must be a list of at most 16 sizes")
    if type(offsets) is not list or len(offsets) != 2 or any(type(o) is not int for o in offsets):
        fail("data_offsets must be two integers")
    if not 0 <= offsets[0] <= offsets[1]:
        fail("data_offsets must not decrease")
    return np.dtype(DTYPES[entry["dtype"]]), tuple(shape), offsets[0], offsets[1]
