"""What a reader refuses, with which code: one table of attacks on every layer of a file."""

from __future__ import annotations

import json
import os
import re
import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from certificate_samples import SAMPLES, Draft, write_raw

from epigraph.certificate import container, tensorfile
from epigraph.certificate.codes import CODES
from epigraph.certificate.graph import Meta
from epigraph.certificate.shapes import program
from epigraph.certificate.verify import verify_here
from epigraph.errors import CertificateError

PAYLOADS = {name: make() for name, make in SAMPLES.items()}
Save = Callable[[Path], Path]
ATTACKS: dict[str, tuple[str, Save]] = {}


def refused(path: Path) -> CertificateError:
    with pytest.raises(CertificateError) as caught:
        verify_here(path)
    assert caught.value.code in CODES
    return caught.value


def attack(code: str, name: str, save: Save) -> None:
    assert name not in ATTACKS
    ATTACKS[name] = (code, save)


def draft(
    code: str, name: str, change: Callable[[Draft], Any], sample: str = "exact", keep_digests: bool = False
) -> None:
    """An attack on the content: change a draft of a valid certificate."""

    def save(path: Path) -> Path:
        d = Draft(PAYLOADS[sample])
        d.keep_digests = keep_digests
        change(d)
        return d.save(path)

    attack(code, name, save)


def text(code: str, name: str, change: Callable[[str], str]) -> None:
    """An attack on the text of the manifest."""

    def save(path: Path) -> Path:
        contents = Draft(PAYLOADS["exact"]).contents()
        changed = change(contents["manifest.json"].decode())
        return write_raw(path, contents | {"manifest.json": changed.encode("utf-8", "surrogatepass")})

    attack(code, name, save)


def raw(code: str, name: str, change: Callable[[bytes], bytes]) -> None:
    """An attack on the bytes of the file."""
    attack(code, name, lambda path: _written(path, change(_valid())))


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _valid() -> bytes:
    return b"".join(container.pack(Draft(PAYLOADS["exact"]).contents()))


def put(where: Any, key: Any, value: Any) -> None:
    where[key] = value


# ---- the container ----

attack("E400", "no such file", lambda path: path.with_name("absent"))
attack("E400", "a folder", lambda path: path.parent)
attack("E400", "a device", lambda path: Path("/dev/zero"))
raw("E401", "an empty file", lambda data: b"")
raw("E401", "not a zip archive", lambda data: b"GIF89a" * 100)
raw("E401", "bytes before the archive", lambda data: b"#!/bin/sh\n" + data)
raw("E401", "bytes after the archive", lambda data: data + b"\0")
raw("E401", "an archive comment", lambda data: data[:-2] + struct.pack("<H", 2) + b"hi")
raw("E401", "cut in the middle", lambda data: data[: len(data) // 2])
raw("E401", "cut at the end", lambda data: data[:-1])
raw("E401", "a damaged byte of data", lambda data: data[:60] + bytes([data[60] ^ 1]) + data[61:])
raw("E401", "a local header with another name", lambda data: data.replace(b"manifest.json", b"manifest.jsom", 1))
raw("E401", "a local header with another size", lambda data: data[:22] + struct.pack("<I", 7) + data[26:])
raw("E401", "encrypted members", lambda data: data[:6] + b"\1\0" + data[8:])


def _central(data: bytes, member: int, offset: int, value: bytes) -> bytes:
    """Change a field of the central directory, and the same field of the local header where it has one."""
    at = [m.start() for m in re.finditer(b"PK\1\2", data)][member] + offset
    return data[:at] + value + data[at + len(value) :]


raw("E401", "a flag in the directory", lambda data: _central(data, 0, 8, b"\1\0"))
raw("E401", "an unknown method in the directory", lambda data: _central(data, 1, 10, b"\x0c\0"))
raw("E402", "a declared size of 4 GB", lambda data: _central(data, 1, 24, b"\xfe\xff\xff\xff"))
raw("E401", "a member that starts inside another", lambda data: _central(data, 1, 42, struct.pack("<I", 10)))
raw("E401", "a file comment", lambda data: _central(data, 2, 32, b"\1\0"))
raw("E401", "a count of entries that is wrong", lambda data: data[:-14] + b"\2\0\2\0" + data[-10:])


def _zipfile(change: Callable[[zipfile.ZipFile, dict[str, bytes]], None]) -> Save:
    def save(path: Path) -> Path:
        with zipfile.ZipFile(path, "w") as archive:
            change(archive, Draft(PAYLOADS["exact"]).contents())
        return path

    return save


def _with_extra(archive: zipfile.ZipFile, contents: dict[str, bytes]) -> None:
    for name, data in contents.items():
        archive.writestr(name, data)
    archive.writestr("../../evil", b"x")


def _outside(archive: zipfile.ZipFile, contents: dict[str, bytes]) -> None:
    for name, data in contents.items():
        archive.writestr(f"../{name}", data)


def _duplicate(archive: zipfile.ZipFile, contents: dict[str, bytes]) -> None:
    archive.writestr("manifest.json", contents["manifest.json"])
    archive.writestr("base.safetensors", contents["base.safetensors"])
    with pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("base.safetensors", contents["base.safetensors"])


def _compressed(method: int) -> Callable[[zipfile.ZipFile, dict[str, bytes]], None]:
    def change(archive: zipfile.ZipFile, contents: dict[str, bytes]) -> None:
        for name, data in contents.items():
            archive.writestr(name, data, compress_type=method)

    return change


attack("E401", "a fourth member", _zipfile(_with_extra))
attack("E401", "a member that occurs twice", _zipfile(_duplicate))
attack("E401", "bzip2", _zipfile(_compressed(zipfile.ZIP_BZIP2)))
attack("E401", "lzma", _zipfile(_compressed(zipfile.ZIP_LZMA)))
attack("E401", "a name outside the folder", _zipfile(_outside))


def _spliced(data: bytes, member: int, junk: bytes) -> bytes:
    """Junk before a member, or before the directory for member 3, with every offset corrected."""
    at = [m.start() for m in re.finditer(b"PK[\1\3][\2\4]", data)][member]
    data = data[:at] + junk + data[at:]
    for number in range(member, 3):
        where = [m.start() for m in re.finditer(b"PK\1\2", data)][number] + 42
        (offset,) = struct.unpack_from("<I", data, where)
        data = data[:where] + struct.pack("<I", offset + len(junk)) + data[where + 4 :]
    (start,) = struct.unpack_from("<I", data, len(data) - 6)
    return data[:-6] + struct.pack("<I", start + len(junk)) + data[-2:]


for _member in range(4):
    raw(
        "E401", f"junk before member {_member} with correct offsets", lambda data, m=_member: _spliced(data, m, b"junk")
    )


def _long_directory(data: bytes) -> bytes:
    (length,) = struct.unpack_from("<I", data, len(data) - 10)
    return data[:-22] + b"junk" + data[-22:-10] + struct.pack("<I", length + 4) + data[-6:]


raw("E401", "junk at the end of the directory", _long_directory)


def _checksum(data: bytes) -> bytes:
    """Another checksum for the last member, in both of its headers."""
    at = [m.start() for m in re.finditer(b"PK\3\4", data)][2] + 14
    return _central(data[:at] + b"\0\0\0\0" + data[at + 4 :], 2, 16, b"\0\0\0\0")


raw("E401", "a false checksum in both headers", _checksum)


def _bomb(path: Path) -> Path:
    """A deflated quarter of a gigabyte of zeros that declares 100 bytes."""
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = b"\0" * 2**20
    packed = b"".join([*(engine.compress(zeros) for _ in range(256)), engine.flush()])
    contents = Draft(PAYLOADS["exact"]).contents()
    data = b"".join(container.pack(contents | {"manifest.json": b"x" * 100}))
    header = container._LOCAL.unpack_from(data)
    old = container._LOCAL.size + 13 + header[7]
    shift = len(packed) - header[7]
    fields = struct.pack("<II", len(packed), 100)
    data = data[:18] + fields + data[26 : container._LOCAL.size + 13] + packed + data[old:]
    data = _central(data, 0, 20, fields)
    for member in (1, 2):
        at = [m.start() for m in re.finditer(b"PK\1\2", data)][member] + 42
        data = _central(data, member, 42, struct.pack("<I", struct.unpack_from("<I", data, at)[0] + shift))
    start = struct.unpack_from("<I", data, len(data) - 6)[0]
    return _written(path, data[:-6] + struct.pack("<I", start + shift) + data[-2:])


attack("E401", "a deflate bomb", _bomb)

# ---- JSON ----

text("E403", "NaN", lambda t: t.replace('"precision_bits": 0', '"precision_bits": NaN'))
text("E403", "Infinity", lambda t: t.replace('"precision_bits": 0', '"precision_bits": Infinity'))
text("E403", "a float", lambda t: t.replace('"precision_bits": 0', '"precision_bits": 0.0'))
text("E403", "1e999", lambda t: t.replace('"precision_bits": 0', '"precision_bits": 1e999'))
text("E403", "an integer of 5000 digits", lambda t: t.replace('"precision_bits": 0', '"precision_bits": ' + "9" * 5000))
text("E403", "a key twice", lambda t: t.replace('"precision_bits": 0', '"precision_bits": 0, "precision_bits": 0'))
text("E403", "100,000 nested lists", lambda t: "[" * 100_000 + "]" * 100_000)
text("E403", "nested objects in the provenance", lambda t: t.replace('"eval"', '{"a":' * 5000 + "1" + "}" * 5000))
text("E403", "text after the end", lambda t: t + "{}")
text("E403", "not JSON", lambda t: t[:-1])
text("E403", "an escaped lone surrogate", lambda t: t.replace('"eval"', '"\\ud800"'))
text("E403", "a raw lone surrogate", lambda t: t.replace('"eval"', '"\ud800"'))
text("E403", "a byte order mark", lambda t: "\ufeff" + t)
text("E403", "millions of empty lists", lambda t: "[" + "[]," * 4_100_000 + "0]")
text("E404", "true for an integer", lambda t: t.replace('"scale_log2": -1', '"scale_log2": true', 1))
text("E402", "17 MB of spaces", lambda t: t + " " * (17 * 2**20))
text("E404", "a list", lambda t: "[]")
text("E404", "a string", lambda t: '"epigraph"')

# ---- fields of the manifest ----

draft("E404", "another schema", lambda d: put(d.manifest, "schema", "epigraph/certificate/2"))
draft("E404", "a field more", lambda d: put(d.manifest, "extra", 1))
draft("E404", "a field less", lambda d: d.manifest.pop("delta"))
draft("E404", "tensors as a list", lambda d: put(d.manifest, "tensors", []))
draft("E404", "an unknown role", lambda d: put(d.manifest["tensors"]["x"], "role", "weights"))
draft("E404", "an unknown dtype", lambda d: put(d.manifest["tensors"]["x"], "dtype", "F128"))
draft("E404", "a parameter of integers", lambda d: put(d.manifest["tensors"]["x"], "dtype", "I32"))
draft("E404", "an index of floats", lambda d: put(d.manifest["tensors"]["index"], "dtype", "F64"))
draft("E404", "a negative size", lambda d: put(d.manifest["tensors"]["x"], "shape", [-3]))
draft("E404", "a size that is true", lambda d: put(d.manifest["tensors"]["x"], "shape", [True]))
draft("E404", "a fill that rounds", lambda d: put(d.manifest["tensors"]["ones"], "fill", (0.1).hex()))
draft("E404", "a fill of NaN", lambda d: put(d.manifest["tensors"]["ones"], "fill", "nan"))
draft("E404", "a fill of infinity", lambda d: put(d.manifest["tensors"]["ones"], "fill", "inf"))
draft("E404", "a fill out of range", lambda d: put(d.manifest["tensors"]["ones"], "fill", "0x1.0p+9999"))
draft(
    "E404",
    "a fill for an integer tensor",
    lambda d: put(d.manifest["tensors"]["index"], "fill", "0x1.0000000000000p+0"),
)
draft(
    "E402",
    "a filled tensor of 2^60 bytes",
    lambda d: d.manifest["tensors"].update(big=d.manifest["tensors"]["ones"] | {"shape": [2**29, 2**29]}),
)
draft("E404", "two parameters with one name", lambda d: put(d.manifest["tensors"]["z"], "name", "x"))
draft("E404", "an escape sequence in a name", lambda d: put(d.manifest["tensors"]["z"], "name", "\x1b[31mz"))
draft(
    "E404", "a right-to-left override in the provenance", lambda d: put(d.manifest["provenance"], "mode", "\u202eeval")
)
draft("E404", "a string of a megabyte", lambda d: put(d.manifest["provenance"], "mode", "x" * 2**20))
draft(
    "E404",
    "a tensor that nothing reads",
    lambda d: (
        put(d.base, "stray", np.ones(3)),
        put(d.manifest["tensors"], "stray", d.manifest["tensors"]["y"] | {"role": "data", "name": ""}),
    ),
)
draft(
    "E404",
    "a false checksum of the graph",
    lambda d: put(d.manifest["provenance"], "graph_sha256", "0" * 64),
    keep_digests=True,
)
draft("E404", "a scale out of range", lambda d: put(d.manifest["delta"]["x"], "scale_log2", 5000))

# ---- tensor files ----

draft("E406", "a tensor less", lambda d: d.base.pop("frozen"))
draft("E406", "a tensor more", lambda d: put(d.base, "more", np.ones(2)))
draft("E406", "another dtype", lambda d: put(d.base, "x", d.base["x"].astype(np.float64)))
draft("E406", "another shape", lambda d: put(d.base, "x", d.base["x"].reshape(3, 1)))
draft("E406", "a changed value", lambda d: put(d.base["frozen"], 0, 9.0), keep_digests=True)
draft(
    "E406",
    "a changed fill",
    lambda d: put(d.manifest["tensors"]["ones"], "fill", "0x1.0000000000000p+1"),
    keep_digests=True,
)
draft("E406", "NaN in a parameter", lambda d: put(d.base["x"], 0, np.nan))
draft("E406", "infinity in the data", lambda d: put(d.base["frozen"], 0, np.inf))
draft("E406", "NaN in a bound", lambda d: put(d.base["bound.low.y"], 0, np.nan))
draft("E406", "floating steps", lambda d: put(d.delta, "x", d.delta["x"].astype(np.float32)))
draft("E406", "steps of 64 bits", lambda d: put(d.delta, "x", d.delta["x"].astype(np.int64)))
draft("E406", "steps of another shape", lambda d: put(d.delta, "x", d.delta["x"][:2]))
draft("E413", "an index too large", lambda d: put(d.base["index"], 0, 3))
draft("E413", "a negative index", lambda d: put(d.base["index"], 0, -1))


def tensors(code: str, name: str, change: Callable[[dict[str, Any], bytes], tuple[Any, bytes]]) -> None:
    """An attack on the header or the data of base.safetensors."""

    def save(path: Path) -> Path:
        contents = Draft(PAYLOADS["exact"]).contents()
        data = contents["base.safetensors"]
        (length,) = struct.unpack_from("<Q", data)
        header, body = change(json.loads(data[8 : 8 + length]), data[8 + length :])
        encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
        return write_raw(path, contents | {"base.safetensors": struct.pack("<Q", len(encoded)) + encoded + body})

    attack(code, name, save)


tensors("E405", "a hole between tensors", lambda h, b: (h | {"x": _shifted(h["x"], 8)}, b + b"\0" * 8))
tensors("E405", "overlapping tensors", lambda h, b: (h | {"x": _shifted(h["x"], -4)}, b))
tensors("E405", "bytes after the tensors", lambda h, b: (h, b + b"\0"))
tensors("E405", "tensors cut short", lambda h, b: (h, b[:-1]))
tensors("E405", "a shape that overflows", lambda h, b: (h | {"x": h["x"] | {"shape": [2**40, 2**40]}}, b))
tensors("E405", "a shape with zero and a huge size", lambda h, b: (h | {"x": h["x"] | {"shape": [0, 2**62]}}, b))
tensors("E405", "metadata", lambda h, b: (h | {"__metadata__": {"format": "pt"}}, b))
tensors("E405", "bfloat16", lambda h, b: (h | {"x": h["x"] | {"dtype": "BF16"}}, b))
tensors(
    "E405",
    "offsets that decrease",
    lambda h, b: (h | {"x": h["x"] | {"data_offsets": h["x"]["data_offsets"][::-1]}}, b),
)
tensors("E403", "a tensor that occurs twice", lambda h, b: (json.dumps(h).replace('"y"', '"x"').encode(), b))
tensors("E405", "a header that is a list", lambda h, b: (b"[]", b))


def _shifted(entry: dict[str, Any], by: int) -> dict[str, Any]:
    return entry | {"data_offsets": [o + by for o in entry["data_offsets"]]}


def _huge_header(path: Path) -> Path:
    contents = Draft(PAYLOADS["exact"]).contents()
    return write_raw(path, contents | {"base.safetensors": struct.pack("<Q", 2**63) + b"{}"})


attack("E405", "a header of 2^63 bytes", _huge_header)
attack(
    "E405",
    "an empty tensor file",
    lambda path: write_raw(path, Draft(PAYLOADS["exact"]).contents() | {"delta.safetensors": b""}),
)

# ---- the graph ----

draft("E412", "an unknown operator", lambda d: put(d.node("add"), "op", "cosh"))
draft("E412", "an opaque operator", lambda d: d.node("add").update(op="opaque", attributes={"target": "x"}))
draft("E412", "an operator that is a list", lambda d: put(d.node("add"), "op", ["add"]))
draft("E412", "a method of the engine", lambda d: put(d.node("add"), "op", "apply"))
draft("E410", "a node without shape", lambda d: d.node("add").pop("shape"))
draft("E410", "a node with a field more", lambda d: put(d.node("add"), "origin", "train.py"))
draft("E410", "an input that is a later node", lambda d: put(d.node("add"), "inputs", [0, 9]))
draft("E410", "a node that reads itself", lambda d: put(d.node("add"), "inputs", [0, d.node("add")["id"]]))
draft("E410", "a negative input", lambda d: put(d.node("add"), "inputs", [-1, 0]))
draft("E410", "an input that is true", lambda d: put(d.node("add"), "inputs", [True, 0]))
draft("E410", "three operands of add", lambda d: put(d.node("add"), "inputs", [0, 0, 0]))
draft("E410", "an identifier that repeats", lambda d: put(d.nodes[3], "id", 2))
draft("E410", "an output that is no node", lambda d: put(d.manifest["graph"], "output", 999))
draft("E411", "an output that is a vector", lambda d: put(d.manifest["graph"], "output", 0))
draft("E411", "a false shape", lambda d: put(d.node("mul"), "shape", [4]))
draft("E410", "an attribute more", lambda d: put(d.node("mul"), "attributes", {"alpha": 1}))
draft("E410", "an attribute less", lambda d: d.node("sum")["attributes"].pop("dims"))
draft("E410", "dims that repeat", lambda d: put(d.node("sum")["attributes"], "dims", [0, 0]))
draft("E410", "a negative dim", lambda d: put(d.node("sum")["attributes"], "dims", [-1]))
draft("E411", "a dim too large", lambda d: put(d.node("sum")["attributes"], "dims", [1]))
draft("E411", "a slice past the end", lambda d: put(d.node("slice")["attributes"], "stop", 6))
draft("E410", "a step of zero", lambda d: put(d.node("slice")["attributes"], "step", 0))
draft("E410", "knots that decrease", lambda d: put(d.node("piecewise")["attributes"], "knots", ["3/2", "0"]))
draft("E410", "pieces that do not meet", lambda d: put(d.node("piecewise")["attributes"]["pieces"], 0, ["1"]))
draft("E410", "a piece of degree three", lambda d: put(d.node("piecewise")["attributes"]["pieces"], 0, ["0"] * 4))
draft("E410", "a zero denominator", lambda d: put(_value(d), "value", "1/0"))
draft("E410", "a number with an exponent", lambda d: put(_value(d), "value", "1e999999999"))
draft("E410", "a number in other digits", lambda d: put(_value(d), "value", "\u0661/\u0664"))
draft("E410", "a number of 10,000 digits", lambda d: put(_value(d), "value", "9" * 10_000))
draft("E410", "a constant with inputs", lambda d: put(d.node("constant"), "inputs", [0]))
draft("E410", "a constant that reads a parameter", lambda d: put(d.node("constant"), "attributes", {"tensor": "x"}))
draft(
    "E410",
    "a parameter that reads data",
    lambda d: put(d.node("parameter"), "attributes", {"tensor": "frozen", "name": "x"}),
)
draft(
    "E410",
    "a parameter with another's name",
    lambda d: put(d.node("parameter"), "attributes", {"tensor": "x", "name": "y"}),
)
draft("E410", "one parameter in two nodes", lambda d: put(d.nodes[1], "attributes", {"tensor": "x", "name": "x"}))
draft("E410", "a tensor that does not exist", lambda d: put(d.node("constant"), "attributes", {"tensor": "none"}))
draft("E410", "an index that is computed", lambda d: put(d.node("take"), "inputs", [d.node("take")["inputs"][0], 0]))
draft(
    "E402",
    "an expansion to 2^80 entries",
    lambda d: (
        d.nodes.insert(
            1,
            {
                "id": 1,
                "op": "expand",
                "inputs": [0],
                "attributes": {"shape": [2**40, 2**40, 3]},
                "shape": [2**40, 2**40, 3],
            },
        )
        or [
            n.update(id=i) or n.update(inputs=[j + (j > 0) for j in n["inputs"]])
            for i, n in enumerate(d.nodes)
            if i > 1
        ]
    ),
)

# ---- the claim ----

draft("E420", "another form", lambda d: put(d.claim, "form", "opinion"))
draft("E420", "no form", lambda d: d.claim.pop("form"))
draft("E404", "a claim with a field more", lambda d: put(d.claim, "trust", "me"))
draft("E420", "another property", lambda d: put(d.claim, "property", "strictly convex"))
draft("E420", "another arithmetic", lambda d: put(d.claim, "arithmetic", "float64"))
draft("E420", "a million bits", lambda d: put(d.claim, "precision_bits", 1_000_000), "arb")
draft("E420", "one bit", lambda d: put(d.claim, "precision_bits", 1), "arb")
draft("E420", "bits that are true", lambda d: put(d.claim, "precision_bits", True), "arb")
draft("E420", "exact arithmetic for tanh", lambda d: put(d.claim, "arithmetic", "exact"), "arb")
draft("E420", "a gap of zero", lambda d: put(d.claim["gap_lower"], "num", "0"))
draft("E420", "a negative gap", lambda d: put(d.claim["gap_lower"], "num", "-1"))
draft("E420", "a gap with an exponent", lambda d: put(d.claim["gap_lower"], "num", "1e99999999"))
draft("E420", "a gap of 10,000 digits", lambda d: put(d.claim["gap_lower"], "num", "9" * 10_000))
draft("E420", "a gap over 2^(10^12)", lambda d: put(d.claim["gap_lower"], "den_log2", 10**12))
draft("E420", "no blocks", lambda d: put(d.claim, "blocks", []))
draft("E420", "an unknown block", lambda d: put(d.claim, "blocks", ["x", "y", "frozen"]))
draft("E421", "a move outside the blocks", lambda d: put(d.claim, "blocks", ["x"]))
draft(
    "E421",
    "a move of frozen weights",
    lambda d: (
        put(d.manifest["delta"], "frozen", {"scale_log2": 0}),
        put(d.delta, "frozen", np.ones(3, dtype=np.int8)),
    ),
)
draft(
    "E421",
    "a move of the data",
    lambda d: (put(d.manifest["delta"], "x", {"scale_log2": 0}), put(d.delta, "x", np.ones((3, 2), dtype=np.int8))),
    "arb",
)


def _named_like_a_block(d: Draft) -> None:
    """The data are called like a parameter that may move, and have its shape."""
    d.manifest["tensors"]["frozen"]["name"] = "x"
    d.manifest["delta"]["frozen"], d.delta["frozen"] = {"scale_log2": 0}, np.ones(3, dtype=np.int8)


draft("E421", "a move of data that have the name of a block", _named_like_a_block)
draft("E421", "a move of nothing", lambda d: put(d.manifest["delta"], "none", {"scale_log2": 0}))
draft("E420", "nothing moves", lambda d: (d.manifest["delta"].clear(), d.delta.clear()))
draft("E420", "a domain for a tensor that is no parameter", lambda d: put(d.claim["domain"], "frozen", [None, None]))
draft("E404", "a decimal bound", lambda d: put(d.claim["domain"], "x", ["-4.0", None]))
draft("E404", "a bound of NaN", lambda d: put(d.claim["domain"], "x", ["nan", None]))
draft(
    "E404", "a bound with too many digits", lambda d: put(d.claim["domain"], "x", ["0x1.00000000000000000001p+0", None])
)
draft("E404", "a bound that rounds", lambda d: put(d.claim["domain"], "x", ["-0x1.8000000000000p-1074", None]))
draft("E420", "a bound by a parameter", lambda d: put(d.claim["domain"], "x", [{"tensor": "x"}, None]))
draft("E420", "a bound of another shape", lambda d: put(d.claim["domain"], "z", [{"tensor": "bound.low.y"}, None]))
draft("E422", "m outside the domain", lambda d: put(d.claim["domain"], "z", [None, (1.5).hex()]))
draft("E422", "a outside the domain", lambda d: put(d.claim["domain"], "x", [None, (0.25).hex()]))
draft("E422", "b outside the domain", lambda d: put(d.claim["domain"], "x", [(-0.25).hex(), None]))
draft(
    "E422",
    "outside by one unit in the last place",
    lambda d: put(d.claim["domain"], "x", [None, float(np.nextafter(0.5, 0)).hex()]),
)
draft("E441", "a gap that is too large", lambda d: put(d.claim["gap_lower"], "den_log2", 40))
draft("E441", "the opposite property", lambda d: put(d.claim, "property", "concave"))
draft("E441", "zero steps", lambda d: [array.fill(0) for array in d.delta.values()])
draft("E441", "other data", lambda d: put(d.base, "frozen", -d.base["frozen"]))
draft("E441", "a gap that is too large for balls", lambda d: put(d.claim["gap_lower"], "den_log2", 40), "arb")
draft("E441", "the opposite property in balls", lambda d: put(d.claim, "property", "quasiconcave"), "arb")


def _tie(d: Draft) -> None:
    """The claimed gap is inside the ball: neither proved nor disproved."""
    from epigraph.certificate import exact
    from epigraph.certificate.points import Delta

    steps = {k: Delta(1, d.delta[k], v["scale_log2"]) for k, v in d.manifest["delta"].items()}
    points = [steps, {k: s.opposite for k, s in steps.items()}, {}]
    gap = exact.gap("quasiconvex", *exact.evaluate(d.manifest["graph"], d.base, points, "arb", 32))
    mantissa, exponent = gap.mid().man_exp()
    put(d.claim, "gap_lower", {"num": str(mantissa), "den_log2": -int(exponent)})
    put(d.claim, "precision_bits", 32)


draft("E440", "a gap inside the enclosure", _tie, "arb")
draft("E442", "a logarithm of a negative number", lambda d: d.node("softplus").update(op="log"), "arb")
draft("E442", "a division by zero", lambda d: put(_value(d, -1), "value", "0") or _div(d))


def _value(d: Draft, which: int = 0) -> dict[str, Any]:
    return [n for n in d.nodes if "value" in n["attributes"]][which]["attributes"]


def _div(d: Draft) -> None:
    next(n for n in d.nodes if n["op"] == "mul" and n["shape"] == [])["op"] = "div"


# ---- cost ----


def _squarings(count: int, numel: int = 1) -> Callable[[Draft], None]:
    """Repeated squaring of a dyadic number, put in place of the output."""

    def change(d: Draft) -> None:
        last = d.manifest["graph"]["output"]
        for i in range(count):
            node = {"id": last + 1 + i, "op": "mul", "inputs": [last + i] * 2, "attributes": {}, "shape": []}
            d.nodes.append(node)
        d.manifest["graph"]["output"] = last + count

    return change


def _append(d: Draft, op: str, inputs: list[int], size: list[int], **attributes: Any) -> int:
    """A new node after the last one."""
    identifier = d.nodes[-1]["id"] + 1
    d.nodes.append({"id": identifier, "op": op, "inputs": inputs, "attributes": attributes, "shape": size})
    return identifier


def _different(d: Draft, doublings: int) -> int:
    """The output in a vector of 2^doublings entries that differ, by a multiple of itself each."""
    x = step = _append(d, "reshape", [d.manifest["graph"]["output"]], [1], shape=[1])
    for k in range(doublings):
        step = _append(d, "add", [step, step], [1])
        other = _append(d, "add", [x, step], [2**k])
        x = _append(d, "concat", [x, other], [2 ** (k + 1)], dim=0)
    return x


def _grid(d: Draft, doublings: int) -> tuple[int, int]:
    """A square matrix whose entries are sums of two entries of such a vector, and its size."""
    n = 2**doublings
    x = _different(d, doublings)
    row, column = (_append(d, "reshape", [x], shape, shape=shape) for shape in ([1, n], [n, 1]))
    return _append(d, "add", [row, column], [n, n]), n


def _expanded(d: Draft) -> None:
    """A sum over a table of 2^34 entries, made of a vector and its transpose."""
    table, _ = _grid(d, 17)
    d.manifest["graph"]["output"] = _append(d, "sum", [table], [], dims=[0, 1])


def _padded(d: Draft) -> None:
    i, big = d.manifest["graph"]["output"], 10**9
    new = [
        {"op": "reshape", "inputs": [i], "attributes": {"shape": [1, 1, 1]}, "shape": [1, 1, 1]},
        {
            "op": "convolution",
            "inputs": [i + 1, i + 1],
            "shape": [1, 1, 1],
            "attributes": {"stride": [2 * big + 1], "padding": [big], "dilation": [1], "groups": 1},
        },
        {"op": "sum", "inputs": [i + 2], "attributes": {"dims": [0, 1, 2]}, "shape": []},
    ]
    d.nodes.extend({"id": i + 1 + k, **node} for k, node in enumerate(new))
    d.manifest["graph"]["output"] = i + 3


def _large_matmul(d: Draft) -> None:
    table, n = _grid(d, 15)
    product = _append(d, "matmul", [table, table], [n, n])
    d.manifest["graph"]["output"] = _append(d, "sum", [product], [], dims=[0, 1])


def _power(exponent: str) -> Callable[[Draft], None]:
    def change(d: Draft) -> None:
        i = d.manifest["graph"]["output"]
        d.nodes.append({"id": i + 1, "op": "power", "inputs": [i], "attributes": {"exponent": exponent}, "shape": []})
        d.manifest["graph"]["output"] = i + 1

    return change


def _many_bits(d: Draft) -> None:
    """4096 bits for a chain of 300 error functions of 2^14 entries."""
    x = _different(d, 14)
    for _ in range(300):
        x = _append(d, "erf", [x], [2**14])
    d.manifest["graph"]["output"] = _append(d, "sum", [x], [], dims=[0])
    d.claim["precision_bits"] = 4096


def _coprime_pieces(d: Draft) -> None:
    """A thousand parabolas that vanish at the integers, with denominators of 390 digits and no common factor."""
    denominators = [10**389 + 2 * i + 1 for i in range(1000)]
    pieces = [
        ["0", "0"],
        *([f"{i * (i + 1)}/{q}", f"{-2 * i - 1}/{q}", f"1/{q}"] for i, q in enumerate(denominators[:999])),
        ["0"],
    ]
    node = next(n for n in d.nodes if n["op"] == "piecewise")
    node["attributes"] = {"knots": [str(i) for i in range(1000)], "pieces": pieces}


draft("E430", "a piecewise function with huge denominators", _coprime_pieces)
draft("E430", "40 squarings in exact arithmetic", _squarings(40))
draft("E430", "2000 squarings in exact arithmetic", _squarings(2000))
draft("E430", "the power 10^15 in exact arithmetic", _power("1000000000000000"))
draft("E410", "the power 10^300", _power("1" + "0" * 300))
draft("E430", "a table of 2^34 entries", _expanded)
draft("E430", "a table of 2^34 entries in balls", _expanded, "arb")
draft("E430", "a padding of 10^9", _padded, "arb")
draft("E430", "a product of 32,768 x 32,768 matrices", _large_matmul, "arb")
draft("E430", "300 error functions on 16,384 entries at 4096 bits", _many_bits, "arb")


SHAPES: list[tuple[str, list[list[int]], dict[str, Any]]] = [
    ("add", [[2, 3], [3, 2]], {}),
    ("where", [[2], [3], [1]], {}),
    ("same", [[2], [1]], {}),
    ("matmul", [[3], [3, 2]], {}),
    ("matmul", [[2, 3], [2, 3]], {}),
    ("matmul", [[2, 4, 3], [3, 3, 2]], {}),
    ("convolution", [[2, 3], [4, 3]], {"stride": [], "padding": [], "dilation": [], "groups": 1}),
    ("convolution", [[1, 2, 5], [2, 2, 3, 3]], {"stride": [1], "padding": [0], "dilation": [1], "groups": 1}),
    ("convolution", [[1, 2, 5], [2, 2, 3]], {"stride": [1, 1], "padding": [0], "dilation": [1], "groups": 1}),
    ("convolution", [[1, 3, 5], [2, 2, 3]], {"stride": [1], "padding": [0], "dilation": [1], "groups": 1}),
    ("convolution", [[1, 4, 5], [3, 2, 3]], {"stride": [1], "padding": [0], "dilation": [1], "groups": 2}),
    ("convolution", [[1, 2, 5], [2, 2, 3]], {"stride": [1], "padding": [0], "dilation": [3], "groups": 1}),
    ("convolution", [[1, 2, 5], [2, 2, 0]], {"stride": [1], "padding": [0], "dilation": [1], "groups": 1}),
    ("sum", [[2, 3]], {"dims": [2]}),
    ("amax", [[2, 0]], {"dims": [1]}),
    ("logsumexp", [[0]], {"dims": [0]}),
    ("log_softmax", [[2, 3]], {"dim": 2}),
    ("log_softmax", [[2, 0]], {"dim": 1}),
    ("reshape", [[2, 3]], {"shape": [5]}),
    ("permute", [[2, 3]], {"dims": [0, 1, 2]}),
    ("expand", [[2, 3]], {"shape": [3, 3]}),
    ("expand", [[2, 3]], {"shape": [3]}),
    ("expand", [[2, 3]], {"shape": [2, 1]}),
    ("slice", [[2, 3]], {"dim": 2, "start": 0, "stop": 1, "step": 1}),
    ("slice", [[2, 3]], {"dim": 1, "start": 2, "stop": 1, "step": 1}),
    ("concat", [[2, 3], [3, 3]], {"dim": 1}),
    ("concat", [[], []], {"dim": 0}),
    ("take", [[2, 3], [2, 2]], {"dim": 0}),
    ("take", [[], [2]], {"dim": 0}),
]


@pytest.mark.parametrize("op, operands, attributes", SHAPES, ids=str)
def test_operands_that_do_not_fit(op: str, operands: list[list[int]], attributes: dict[str, Any]) -> None:
    metas = {str(i): Meta(tuple(shape), "f") for i, shape in enumerate(operands)}
    nodes = [
        {"id": i, "op": "constant", "inputs": [], "attributes": {"tensor": str(i)}, "shape": shape}
        for i, shape in enumerate(operands)
    ]
    count = len(nodes)
    nodes.append({"id": count, "op": op, "inputs": list(range(count)), "attributes": attributes, "shape": []})
    with pytest.raises(CertificateError, match="E411"):
        program({"nodes": nodes, "output": count}, metas)


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_are_refused_with_their_code_and_quickly(name: str, tmp_path: Path) -> None:
    code, save = ATTACKS[name]
    path = save(tmp_path / "attack.epi")
    start = time.process_time()
    error = refused(path)
    assert error.code == code, f"{error}"
    assert time.process_time() - start < 3.0


def test_the_table_is_large() -> None:
    assert len(ATTACKS) >= 150
    assert {code for code, _ in ATTACKS.values()} >= set(CODES) - {"E431", "E432", "E433", "E450"}


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_untouched_samples_hold(sample: str, tmp_path: Path) -> None:
    """The drafts themselves are valid, so that each refusal above is caused by its change."""
    assert verify_here(Draft(PAYLOADS[sample]).save(tmp_path / "valid.epi")).ok


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_does_not_block(tmp_path: Path) -> None:
    """Opening a pipe for reading would wait for a writer."""
    os.mkfifo(tmp_path / "pipe")
    assert refused(tmp_path / "pipe").code == "E400"


def test_huge_filled_tensors_are_counted_before_they_are_hashed(tmp_path: Path) -> None:
    d = Draft(PAYLOADS["exact"])
    d.manifest["tensors"]["ones"]["shape"] = [2**15, 2**14]
    next(n for n in d.nodes if n["attributes"].get("tensor") == "ones")["shape"] = [2**15, 2**14]
    node = d.node("slice")
    node["shape"] = [2**15, 2]
    with pytest.raises(CertificateError) as caught:
        verify_here(d.save(tmp_path / "big.epi"), budget_bytes=2**30)
    assert caught.value.code == "E430"
    assert tensorfile.DTYPES["F32"] == "<f4"
