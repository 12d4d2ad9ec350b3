"""The manifest of a certificate: its schema, checked field by field before any tensor is read."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from epigraph.certificate import shapes, strictjson
from epigraph.certificate.codes import refuse
from epigraph.certificate.graph import Meta, Program
from epigraph.certificate.points import SCALE_RANGE
from epigraph.certificate.tensorfile import DIMENSION_LIMIT, DTYPES, RANK_LIMIT

SCHEMA = "epigraph/certificate/1"
ROLES = ("parameter", "data", "buffer", "frozen", "constant", "index", "bound", "direction", "point")
TENSOR_LIMIT = 100_000
TENSOR_BYTES_LIMIT = 2**32
PROVENANCE_DEPTH = 4
_FIELDS = {"schema", "claim", "tensors", "delta", "graph", "provenance"}
_TENSOR_FIELDS = {"role", "name", "dtype", "shape", "sha256"}
_HEX_FLOAT = re.compile(r"-?0x[01](\.[0-9a-f]{1,13})?p[+-][0-9]{1,4}", re.ASCII)


@final
@dataclass(frozen=True, slots=True)
class Tensor:
    """What the manifest says of one tensor; ``fill`` is the value of all entries where no data are stored."""

    role: str
    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    sha256: str
    fill: float | None

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


@final
@dataclass(frozen=True)
class Manifest:
    """A manifest whose structure has been checked.  The claim is checked by its form (``forms``)."""

    claim: Mapping[str, Any]
    form: str
    tensors: Mapping[str, Tensor]
    delta: Mapping[str, int]
    program: Program
    provenance: Mapping[str, Any]
    graph_sha256: str

    @property
    def parameters(self) -> dict[str, str]:
        """Key of each parameter's tensor, by the name of the parameter."""
        return {t.name: key for key, t in self.tensors.items() if t.role == "parameter"}


def fields(value: Any, wanted: set[str], where: str, optional: set[str] = frozenset()) -> dict[str, Any]:  # type: ignore[assignment]
    """An object with exactly the fields ``wanted``, and perhaps some of ``optional``."""
    if type(value) is not dict:
        refuse("E404", "expected an object", where=where)
    missing, extra = sorted(wanted - set(value)), sorted(set(value) - wanted - optional)
    if missing or extra:
        said = [f"missing {missing}"] * bool(missing) + [f"unknown {[e[:40] for e in extra[:5]]}"] * bool(extra)
        refuse("E404", "; ".join(said), where=where)
    return value


def string(value: Any, where: str, most: int = 1000, least: int = 0) -> str:
    """A printable string: it will be shown on a terminal."""
    if type(value) is not str or not least <= len(value) <= most or not value.isprintable():
        refuse("E404", f"expected a printable string of {least} to {most} characters", where=where)
    return value


def hex_float(value: Any, where: str) -> float:
    """A finite float in hexadecimal notation, as ``float.hex`` writes it."""
    if type(value) is not str or not _HEX_FLOAT.fullmatch(value):
        refuse("E404", "expected a float in hexadecimal notation, as float.hex writes it", where=where)
    try:
        found = float.fromhex(value)
    except OverflowError:
        refuse("E404", "a float out of range", where=where)
    if found.hex() != value:
        refuse("E404", "a float that is not in the notation of float.hex, or rounds", where=where)
    return found


def check(raw: Any) -> Manifest:
    """Everything about a manifest that can be checked without tensors: fields, types, sizes, the graph."""
    raw = fields(raw, _FIELDS, "manifest")
    if raw["schema"] != SCHEMA:
        refuse(
            "E404",
            f"unknown schema {str(raw['schema'])[:60]!r}",
            why=f"this verifier reads {SCHEMA}",
            hint="use the version of epigraph that wrote the file",
        )
    if type(raw["claim"]) is not dict or type(raw["claim"].get("form")) is not str:
        refuse("E420", "the claim must be an object with a form")
    tensors = _tensors(raw["tensors"])
    delta = _delta(raw["delta"], tensors)
    _provenance(raw["provenance"], 0)
    metas = {key: Meta(t.shape, t.dtype.kind, t.role, t.name) for key, t in tensors.items()}
    program = shapes.program(raw["graph"], metas)
    digest = graph_sha256(raw["graph"])
    if type(raw["provenance"]) is not dict or raw["provenance"].get("graph_sha256", digest) != digest:
        refuse("E404", "provenance must be an object, and its graph_sha256 that of the graph", where="provenance")
    return Manifest(raw["claim"], raw["claim"]["form"], tensors, delta, program, raw["provenance"], digest)


def graph_sha256(graph: Mapping[str, Any]) -> str:
    """SHA-256 of the graph in canonical JSON: equal for equal graphs."""
    from hashlib import sha256

    return sha256(strictjson.dumps(graph)).hexdigest()


def _tensors(raw: Any) -> dict[str, Tensor]:
    if type(raw) is not dict or len(raw) > TENSOR_LIMIT:
        refuse("E404", f"tensors must be an object with at most {TENSOR_LIMIT} entries")
    found = {key: _tensor(value, string(key, "tensors", least=1)) for key, value in raw.items()}
    names = [t.name for t in found.values() if t.role == "parameter"]
    if len(names) != len(set(names)):
        refuse("E404", "two parameters have the same name", where="tensors")
    if sum(t.bytes for t in found.values()) > TENSOR_BYTES_LIMIT:
        refuse("E402", "the tensors are larger than 4 GiB", where="tensors")
    return found


def _tensor(raw: Any, key: str) -> Tensor:
    where = f"tensor {key!r}"
    raw = fields(raw, _TENSOR_FIELDS, where, {"fill"})
    role, dtype, shape = raw["role"], raw["dtype"], raw["shape"]
    if type(role) is not str or role not in ROLES:
        refuse("E404", f"the role must be one of {', '.join(ROLES)}", where=where)
    if type(dtype) is not str or dtype not in DTYPES:
        refuse("E404", "unknown dtype", where=where)
    if (
        type(shape) is not list
        or len(shape) > RANK_LIMIT
        or any(type(s) is not int or not 0 <= s <= DIMENSION_LIMIT for s in shape)
    ):
        refuse("E404", "the shape must be a list of at most 16 sizes", where=where)
    if type(raw["sha256"]) is not str or not re.fullmatch("[0-9a-f]{64}", raw["sha256"], re.ASCII):
        refuse("E404", "sha256 must be 64 hexadecimal digits", where=where)
    kind = np.dtype(DTYPES[dtype])
    if role == "parameter" and kind.kind != "f":
        refuse("E404", "a parameter must have a floating dtype", where=where)
    if role == "index" and kind.kind not in "iu":
        refuse("E404", "an index must have an integer dtype", where=where)
    fill = None
    if "fill" in raw:
        fill = hex_float(raw["fill"], where)
        if kind.kind != "f" or not _representable(fill, kind):
            refuse("E404", "fill must be a value of the tensor's floating dtype", where=where)
    name = string(raw["name"], where, least=1 if role == "parameter" else 0)
    return Tensor(role, name, kind, tuple(shape), raw["sha256"], fill)


def _representable(value: float, dtype: np.dtype) -> bool:
    with np.errstate(over="ignore", under="ignore"):
        return float(dtype.type(value)) == value


def _delta(raw: Any, tensors: Mapping[str, Tensor]) -> dict[str, int]:
    if type(raw) is not dict:
        refuse("E404", "delta must be an object")
    found = {}
    for key, value in raw.items():
        where = f"delta {key[:100]!r}"
        scale = fields(value, {"scale_log2"}, where)["scale_log2"]
        if type(scale) is not int or not SCALE_RANGE[0] <= scale <= SCALE_RANGE[1]:
            refuse("E404", f"scale_log2 must be an integer from {SCALE_RANGE[0]} to {SCALE_RANGE[1]}", where=where)
        if key not in tensors:
            refuse("E421", "displaces a tensor that does not exist", where=where)
        if tensors[key].role != "parameter":
            refuse(
                "E421",
                f"displaces a tensor with role {tensors[key].role}",
                where=where,
                why="only parameters may move: J is a function of them alone",
            )
        found[key] = scale
    return found


def _provenance(value: Any, depth: int) -> None:
    if depth > PROVENANCE_DEPTH:
        refuse("E404", "nested too deeply", where="provenance")
    if type(value) is dict:
        for key, inner in value.items():
            string(key, "provenance")
            _provenance(inner, depth + 1)
    elif type(value) is list:
        for inner in value:
            _provenance(inner, depth + 1)
    elif type(value) is str:
        string(value, "provenance", 10_000)
    elif value is not None and type(value) not in (int, bool):
        refuse("E404", "expected strings, integers, lists and objects", where="provenance")
