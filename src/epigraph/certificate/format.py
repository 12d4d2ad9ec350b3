"""Certificate files (``.epi``): what they hold, how they are written and read.

A file is a zip archive of ``manifest.json``, ``base.safetensors`` (the point m and all data) and ``delta.safetensors``
(the integer displacements of a and b).  ``docs/reference/certificate.md`` describes every field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, final

import numpy as np

from epigraph.certificate import container, manifest, strictjson, tensorfile
from epigraph.certificate.codes import refuse
from epigraph.certificate.container import Archive, Limits
from epigraph.certificate.exact import Certified
from epigraph.certificate.manifest import SCHEMA, Manifest, graph_sha256
from epigraph.certificate.points import Delta
from epigraph.certificate.shapes import check_indices

FILL_FROM = 16
Bound = float | np.ndarray | None


@final
@dataclass(frozen=True)
class Payload:
    """The content of a certificate file: the manifest as plain JSON data, and the tensors by key."""

    manifest: Mapping[str, Any]
    base: Mapping[str, np.ndarray]
    delta: Mapping[str, np.ndarray]


@final
@dataclass(frozen=True)
class Stored:
    """A tensor for a certificate: its values, its role and its name for the user."""

    array: np.ndarray
    role: str
    name: str = ""


def build(
    kind: str,
    certified: Certified,
    graph: Mapping[str, Any],
    tensors: Mapping[str, Stored],
    delta: Mapping[str, Delta],
    *,
    blocks: Sequence[str],
    domain: Mapping[str, tuple[Bound, Bound]] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Payload:
    """The payload of a midpoint certificate that ``exact.certify`` has confirmed.

    ``kind`` is convex, concave, quasiconvex or quasiconcave; ``delta`` maps keys of parameter tensors to the step from
    m to a; ``domain`` gives (low, high) by parameter name, each a float, an array or None.
    """
    stored = dict(tensors)
    claim = {
        "property": kind,
        "form": "midpoint",
        "arithmetic": certified.arithmetic,
        "precision_bits": certified.precision_bits,
        "gap_lower": {"num": str(certified.gap_lower[0]), "den_log2": certified.gap_lower[1]},
        "domain": bounds(domain or {}, stored),
        "blocks": list(blocks),
    }
    return assemble(
        claim,
        graph,
        stored,
        {key: (d.sign * d.steps.astype(np.int64), d.scale_log2) for key, d in delta.items()},
        provenance,
    )


def bounds(domain: Mapping[str, tuple[Bound, Bound]], stored: dict[str, Stored]) -> dict[str, list[Any]]:
    """A domain as hexadecimal floats, as references to tensors (added to ``stored``), or null."""
    out: dict[str, list[Any]] = {name: [] for name in domain}
    for name, pair in domain.items():
        for side, bound in zip(("low", "high"), pair, strict=True):
            if bound is None or (np.ndim(bound) == 0 and np.isinf(bound)):
                out[name].append(None)
            elif np.ndim(bound) == 0:
                out[name].append(float(bound).hex())
            else:
                key = f"bound.{side}.{name}"
                stored[key] = Stored(np.asarray(bound), "bound", key)
                out[name].append({"tensor": key})
    return out


def assemble(
    claim: Mapping[str, Any],
    graph: Mapping[str, Any],
    tensors: Mapping[str, Stored],
    delta: Mapping[str, tuple[np.ndarray, int]],
    provenance: Mapping[str, Any] | None = None,
) -> Payload:
    """A payload from a claim of any form: dtypes, shapes, checksums and constant tensors are worked out here."""
    entries, base = {}, {}
    for key, stored in tensors.items():
        array = _plain(np.asarray(stored.array))
        entries[key] = entry = {
            "role": stored.role,
            "name": stored.name,
            "dtype": tensorfile.dtype_name(array),
            "shape": list(array.shape),
            "sha256": _digest(array),
        }
        if _constant(array):
            entry["fill"] = float(array.flat[0]).hex()
        else:
            base[key] = tensorfile.plain(array)
    content = {
        "schema": SCHEMA,
        "claim": dict(claim),
        "tensors": entries,
        "delta": {key: {"scale_log2": int(scale)} for key, (_, scale) in delta.items()},
        "graph": dict(graph),
        "provenance": {**(provenance or {}), "graph_sha256": graph_sha256(graph)},
    }
    return Payload(content, base, {key: _narrow(np.asarray(steps)) for key, (steps, _) in delta.items()})


def _plain(array: np.ndarray) -> np.ndarray:
    """The array as a file holds it; one number that is repeated stays one."""
    if array.size < FILL_FROM or any(array.strides):
        return tensorfile.plain(array)
    return np.broadcast_to(tensorfile.plain(array[(0,) * array.ndim]), array.shape)


def _constant(array: np.ndarray) -> bool:
    """Are all entries the same finite float, bit for bit (so that the sign of zero counts)?"""
    if array.dtype.kind != "f" or array.size < FILL_FROM or not np.isfinite(array.flat[0]):
        return False
    if not any(array.strides):
        return True
    raw = array.reshape(-1).view(np.uint8).reshape(array.size, -1)
    return bool((raw == raw[0]).all())


def _narrow(steps: np.ndarray) -> np.ndarray:
    """The steps in the narrowest of int8, int16 and int32."""
    for dtype in (np.int8, np.int16, np.int32):
        limits = np.iinfo(dtype)
        if steps.size == 0 or (steps.min() >= limits.min and steps.max() <= limits.max):
            return steps.astype(dtype)
    refuse("E450", "displacements must be integers of at most 32 bits", hint="use a larger scale")


def write(path: str | Path, payload: Payload) -> None:
    """Write a certificate atomically; the manifest and the tensors are checked as a reader would check them."""
    text = strictjson.dumps(payload.manifest)
    checked = manifest.check(strictjson.loads(text, "manifest.json"))
    tensors(checked, payload.base, payload.delta)
    contents = (text, tensorfile.dump(payload.base), tensorfile.dump(payload.delta))
    container.write_atomically(path, container.pack(dict(zip(container.NAMES, contents, strict=True))))


def read_manifest(archive: Archive) -> tuple[dict[str, Any], Manifest]:
    """The manifest of an open archive, as JSON and as checked data."""
    raw = strictjson.loads(archive.read("manifest.json"), "manifest.json")
    return raw, manifest.check(raw)


def read(path: str | Path, limits: Limits | None = None) -> Payload:
    """Read and check a certificate file: container, manifest, graph, tensors.  Nothing is evaluated."""
    with container.opened(path, limits or Limits()) as archive:
        raw, checked = read_manifest(archive)
        base, delta = read_tensors(archive)
    tensors(checked, base, delta)
    return Payload(raw, base, delta)


def read_tensors(archive: Archive) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The two tensor files of an open archive."""
    return (
        tensorfile.load(archive.read("base.safetensors"), "base.safetensors"),
        tensorfile.load(archive.read("delta.safetensors"), "delta.safetensors"),
    )


def tensors(
    checked: Manifest, base: Mapping[str, np.ndarray], delta: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """All tensors at m, filled ones included, after comparing shapes, dtypes and checksums with the manifest."""
    stored = {key for key, entry in checked.tensors.items() if entry.fill is None}
    if set(base) != stored or set(delta) != set(checked.delta):
        refuse("E406", "the tensor files do not hold exactly the tensors of the manifest")
    out = {}
    for key, entry in checked.tensors.items():
        where = f"tensor {key!r}"
        if entry.fill is not None:
            array = np.broadcast_to(entry.dtype.type(entry.fill), entry.shape)
        else:
            array = base[key]
            if array.dtype != entry.dtype or array.shape != entry.shape:
                refuse("E406", "dtype or shape differ from the manifest", where=where)
        if _digest(array) != entry.sha256:
            refuse("E406", "the checksum differs from the manifest", where=where)
        if array.dtype.kind == "b" and array.size and array.view(np.uint8).max() > 1:
            refuse("E406", "a truth value that is neither 0 nor 1", where=where)
        if array.dtype.kind == "f" and not _finite(array, entry.role):
            refuse("E406", "an entry is not finite", where=where)
        out[key] = array
    for key, steps in delta.items():
        if steps.shape != checked.tensors[key].shape or steps.dtype.kind != "i" or steps.dtype.itemsize > 4:
            refuse(
                "E406",
                "steps must be integers of at most 32 bits, in the shape of their tensor",
                where=f"delta {key!r}",
            )
    check_indices(checked.program, out)
    return out


def _finite(array: np.ndarray, role: str) -> bool:
    """Entries must be finite; those of a bound may be infinite."""
    if array.size and not any(array.strides):
        array = np.asarray(array[(0,) * array.ndim])
    return not np.isnan(array).any() if role == "bound" else bool(np.isfinite(array).all())


def _digest(array: np.ndarray) -> str:
    """SHA-256 of the bytes of an array; a filled one is never expanded."""
    if array.size > 1 and not any(array.strides):
        return _repeated_digest(np.asarray(array[(0,) * array.ndim]).tobytes(), array.size)
    if array.size == 0:
        return sha256().hexdigest()
    return sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data).hexdigest()


@lru_cache(maxsize=4096)
def _repeated_digest(one: bytes, count: int, block: int = 2**20) -> str:
    digest = sha256()
    whole, rest = divmod(count, block)
    for _ in range(whole):
        digest.update(one * block)
    digest.update(one * rest)
    return digest.hexdigest()
