"""What a derivation records of each node, read strictly: claims, interval, carrier, dependence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn, final

import numpy as np

from epigraph.certificate.graph import Program, Shape
from epigraph.certificate.kernel_claims import Claims, unpacked
from epigraph.certificate.kernel_numbers import INF, Array
from epigraph.errors import CertificateError

PROPERTIES = ("convex", "concave", "quasiconvex", "quasiconcave", "log_convex", "log_concave")
_FIELDS = {"property", "active", "domain", "nodes"}
_RECORD_FIELDS = {"bits", "lower", "upper", "carrier", "varies"}

CODES = {
    "E451": "the derivation is malformed",
    "E452": "an interval of the derivation does not contain all values",
    "E453": "a claim of the derivation does not follow",
    "E454": "a carrier or a dependence of the derivation is wrong",
    "E455": "the derivation does not end with what it should prove",
}


def reject(code: str, what: str, *, where: str | None = None, why: str | None = None) -> NoReturn:
    """Refuse the derivation with one of ``CODES``."""
    raise CertificateError(code, what, where=where, why=why)


@final
@dataclass(frozen=True)
class Record:
    """Claims and interval of one node; arrays have shape () where all entries agree, else the node's shape.

    ``carrier`` = (position, direction): every entry is a function of the same entry, in row-major order, of that
    affine node.  ``data`` are the values of a constant tensor.
    """

    position: int
    shape: Shape
    bits: Any
    lower: Array
    upper: Array
    carrier: tuple[int, int] | None
    varies: bool
    data: Any = None

    @cached_property
    def claims(self) -> Claims:
        return unpacked(self.bits)

    @cached_property
    def affine(self) -> bool:
        """Is every entry affine, and not constant for a syntactic reason?"""
        return self.varies and bool(np.all(self.claims.affine))

    @property
    def carriers(self) -> tuple[tuple[int, bool, bool], ...]:
        """(node, nondecreasing, nonincreasing): the recorded carrier, and the node itself where it is affine."""
        own = ((self.position, True, False),) if self.affine else ()
        if self.carrier is None:
            return own
        return ((self.carrier[0], self.carrier[1] > 0, self.carrier[1] < 0), *own)

    def hull(self) -> tuple[float, float]:
        """The least lower and the greatest upper bound."""
        return float(np.min(self.lower, initial=INF)), float(np.max(self.upper, initial=-INF))

    def __repr__(self) -> str:
        names = [name for name, mask in zip(Claims._fields, self.claims, strict=True) if bool(np.all(mask))]
        low, high = self.hull()
        return f"{', '.join(names) or 'nothing'} on [{low:.6g}, {high:.6g}]"


@final
@dataclass(frozen=True)
class Reading:
    """A derivation after its form has been checked; records by position in the program."""

    property: str
    active: frozenset[str]
    domain: Mapping[str, tuple[Array, Array]]
    records: Mapping[int, Record]


def read(raw: Any, program: Program, ids: Mapping[int, int], tensors: Mapping[str, np.ndarray]) -> Reading:
    """Check the form of a derivation (E451).  ``ids`` maps identifiers of nodes to positions."""
    if not isinstance(raw, Mapping) or set(raw) - {"form"} != _FIELDS:
        reject("E451", f"a derivation has exactly the fields {', '.join(sorted(_FIELDS))}")
    kind, active, domain, nodes = raw["property"], raw["active"], raw["domain"], raw["nodes"]
    if type(kind) is not str or kind not in PROPERTIES:
        reject("E451", f"the property must be one of {', '.join(PROPERTIES)}")
    if type(active) not in (list, tuple) or not active or any(type(n) is not str for n in active):
        reject("E451", "active must be a list of at least one name of a parameter")
    if len(set(active)) != len(active):
        reject("E451", "a name is active twice")
    if type(domain) is not dict or type(nodes) is not dict:
        reject("E451", "the domain and the nodes must be objects")
    reader = _Reader(program, ids, tensors)
    boxes = {name: reader.box(name, pair) for name, pair in domain.items()}
    return Reading(kind, frozenset(active), boxes, dict(reader.record(key, value) for key, value in nodes.items()))


@final
class _Reader:
    def __init__(self, program: Program, ids: Mapping[int, int], tensors: Mapping[str, np.ndarray]):
        self._program, self._ids, self._tensors = program, ids, tensors
        self._names = {str(i): p for i, p in ids.items()}
        self._shapes = {n.attributes["name"]: n.shape for n in program.nodes if n.op == "parameter"}

    def record(self, key: Any, raw: Any) -> tuple[int, Record]:
        if key not in self._names:
            reject("E451", f"a record of a node that does not exist: {str(key)[:40]!r}")
        where = f"node {key}"
        if type(raw) is not dict or set(raw) != _RECORD_FIELDS:
            reject("E451", f"a record has exactly the fields {', '.join(sorted(_RECORD_FIELDS))}", where=where)
        position = self._names[key]
        node = self._program.nodes[position]
        if type(raw["varies"]) is not bool:
            reject("E451", "varies must be true or false", where=where)
        lower, upper = self._bound(raw["lower"], node.shape, where), self._bound(raw["upper"], node.shape, where)
        if not bool(np.all((lower <= upper) & (lower < INF) & (upper > -INF))):
            reject(
                "E452",
                "an interval that contains no real number",
                where=f"{where}, {node.op}",
                why="a lower bound is +inf, an upper bound -inf, or above the upper bound, or not a number",
            )
        data = (
            self._tensors[node.attributes["tensor"]] if node.op == "constant" and "tensor" in node.attributes else None
        )
        bits, carrier = self._bits(raw["bits"], node.shape, where), self._carrier(raw["carrier"], where)
        return position, Record(position, node.shape, bits, lower, upper, carrier, raw["varies"], data)

    def _bits(self, raw: Any, shape: Shape, where: str) -> Any:
        if type(raw) is int and 0 <= raw < 128:
            return np.asarray(raw, dtype=np.uint8)
        array = self._tensor(raw, where)
        if array.dtype != np.uint8 or array.shape != shape or (array.size and array.max() > 127):
            reject("E451", "bits must be an integer below 128, or a U8 tensor of such in the node's shape", where=where)
        return array

    def _bound(self, raw: Any, shape: Shape, where: str) -> Array:
        if type(raw) is str:
            return np.asarray(_number(raw, where))
        array = self._tensor(raw, where)
        if array.dtype.kind != "f" or array.shape != shape:
            reject(
                "E451", "a bound must be a hexadecimal float, or a tensor of floats in the node's shape", where=where
            )
        return array.astype(np.float64, copy=False)

    def _tensor(self, raw: Any, where: str) -> np.ndarray:
        key = raw["tensor"] if type(raw) is dict and set(raw) == {"tensor"} else None
        if type(key) is not str or key not in self._tensors:
            reject("E451", "expected a number or a reference to a tensor of the file", where=where)
        return self._tensors[key]

    def _carrier(self, raw: Any, where: str) -> tuple[int, int] | None:
        if raw is None:
            return None
        if type(raw) not in (list, tuple) or len(raw) != 2 or any(type(v) is not int for v in raw):
            reject("E451", "a carrier is null or [node, direction]", where=where)
        if raw[0] not in self._ids or raw[1] not in (-1, 0, 1):
            reject("E451", "a carrier must name a node, with a direction -1, 0 or 1", where=where)
        return self._ids[raw[0]], raw[1]

    def box(self, name: Any, raw: Any) -> tuple[Array, Array]:
        """Bounds of a parameter that broadcast to its shape; one that J does not use may be named as well."""
        where = f"domain of {str(name)[:100]!r}"
        if type(name) is not str or type(raw) not in (list, tuple) or len(raw) != 2:
            reject("E451", "a box is [low, high]", where=where)
        low, high = (self._side(value, sign, where) for value, sign in zip(raw, (-INF, INF), strict=True))
        shape = self._shapes.get(name)
        for side in (low, high):
            if shape is not None and not _fits(side.shape, shape):
                reject(
                    "E451", f"a bound of shape {list(side.shape)} for a parameter of shape {list(shape)}", where=where
                )
        if shape is not None and not bool(np.all((low <= high) & (low < INF) & (high > -INF))):
            reject("E451", "the box is empty", where=where)
        return low, high

    def _side(self, raw: Any, default: float, where: str) -> Array:
        if raw is None:
            return np.asarray(default)
        if type(raw) is str:
            return np.asarray(_number(raw, where))
        array = self._tensor(raw, where)
        if array.dtype.kind != "f":
            reject("E451", "a bound must be a tensor of floats", where=where)
        return array.astype(np.float64, copy=False)


def _fits(shape: Shape, target: Shape) -> bool:
    """Does an array of this shape broadcast to the target?"""
    return len(shape) <= len(target) and all(n in (1, m) for n, m in zip(shape[::-1], target[::-1], strict=False))


def _number(text: str, where: str) -> float:
    """A float as ``float.hex`` writes it, "inf" or "-inf"."""
    try:
        value = float.fromhex(text)
    except (ValueError, OverflowError):
        value = np.nan
    if value.hex() != text:
        reject("E451", f"expected a float in hexadecimal notation, not {text[:40]!r}", where=where)
    return value
