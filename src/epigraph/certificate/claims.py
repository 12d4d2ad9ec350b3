"""What claims of several forms share: blocks, domains, positive bounds, and the words for them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from typing import Any

import numpy as np
from flint import arb

from epigraph.certificate import exact
from epigraph.certificate.codes import refuse
from epigraph.certificate.manifest import Manifest, fields, hex_float, string
from epigraph.certificate.points import inside, moved

BLOCK_LIMIT = 100_000
LEAST_BITS = 32
_NUMERATOR = re.compile(r"[1-9][0-9]{0,199}", re.ASCII)

Bound = float | str | None  # a number, the key of a tensor, or no bound
Domain = Mapping[str, tuple[Bound, Bound]]


def no_strays(manifest: Manifest, used: set[str]) -> None:
    """Every tensor but a parameter is read by the graph or is among those that the claim uses."""
    known = manifest.program.keys() | used
    strays = [key for key, t in manifest.tensors.items() if t.role != "parameter" and key not in known]
    if strays:
        refuse("E404", f"tensors that nothing reads: {[s[:40] for s in strays[:5]]}", where="tensors")


def positive(raw: Any, where: str) -> Fraction:
    """A positive number n 2^-e from {"num": "n", "den_log2": e}."""
    raw = fields(raw, {"num", "den_log2"}, where)
    if type(raw["num"]) is not str or not _NUMERATOR.fullmatch(raw["num"]):
        refuse("E420", f"{where}: num must be a positive decimal integer of at most 200 digits, as a string")
    if type(raw["den_log2"]) is not int or abs(raw["den_log2"]) > exact.EXPONENT_LIMIT:
        refuse("E420", f"{where}: den_log2 must be an integer of at most {exact.EXPONENT_LIMIT} in size")
    return Fraction(int(raw["num"])) / Fraction(2) ** raw["den_log2"]


def ball_bits(raw: Mapping[str, Any]) -> int:
    """The precision of a claim that is checked in balls."""
    bits = raw["precision_bits"]
    if raw["arithmetic"] != "arb" or type(bits) is not int or not LEAST_BITS <= bits <= exact.PRECISION_LIMIT:
        refuse("E420", f"the arithmetic must be arb, with {LEAST_BITS} to {exact.PRECISION_LIMIT} bits")
    return bits


def ball(value: Fraction) -> arb:
    """A number with a power of two below, exactly."""
    return arb((value.numerator, 1 - value.denominator.bit_length()))


def blocks(raw: Any, manifest: Manifest) -> tuple[str, ...]:
    """Distinct names of parameters, at least one."""
    if type(raw) is not list or not 1 <= len(raw) <= BLOCK_LIMIT:
        refuse("E420", "blocks must be a list of at least one parameter")
    names = [string(name, "blocks") for name in raw]
    unknown = sorted(set(names) - set(manifest.parameters))
    if unknown or len(set(names)) != len(names):
        refuse("E420", f"blocks must be distinct names of parameters; unknown: {unknown[:5]}")
    return tuple(names)


def domain(raw: Any, manifest: Manifest) -> Domain:
    """Boxes by name of a parameter."""
    if type(raw) is not dict:
        refuse("E420", "the domain must be an object")
    found = {}
    for name, pair in raw.items():
        if name not in manifest.parameters:
            refuse("E420", f"the domain bounds {name[:60]!r}, which is not a parameter")
        if type(pair) is not list or len(pair) != 2:
            refuse("E420", "a bound must be [low, high]", where=f"domain of {name!r}")
        shape = manifest.tensors[manifest.parameters[name]].shape
        found[name] = (_bound(pair[0], name, shape, manifest), _bound(pair[1], name, shape, manifest))
    return found


def _bound(raw: Any, name: str, shape: tuple[int, ...], manifest: Manifest) -> Bound:
    where = f"domain of {name!r}"
    if raw is None:
        return None
    if type(raw) is not dict:
        return hex_float(raw, where)
    key = fields(raw, {"tensor"}, where)["tensor"]
    entry = manifest.tensors.get(key) if type(key) is str else None
    if entry is None or entry.role != "bound" or entry.shape != shape or entry.dtype.kind != "f":
        refuse("E420", "a tensor bound must have role bound, a floating dtype and the parameter's shape", where=where)
    return key


def bound_tensors(box: Domain) -> set[str]:
    """Keys of the tensors that are bounds."""
    return {bound for pair in box.values() for bound in pair if isinstance(bound, str)}


def sides(box: Domain, name: str, tensors: Mapping[str, np.ndarray]) -> tuple[Any, Any]:
    """The two bounds of a parameter as numbers, arrays or None."""
    low, high = (tensors[b] if isinstance(b, str) else b for b in box[name])
    return low, high


def require_inside(
    box: Domain, manifest: Manifest, tensors: Mapping[str, np.ndarray], points: Mapping[str, exact.Point]
) -> None:
    """Refuse unless all points, given by their labels, satisfy all bounds, compared exactly."""
    for name in box:
        key = manifest.parameters[name]
        low, high = sides(box, name, tensors)
        for label, point in points.items():
            value = moved(tensors[key], point[key]) if key in point else tensors[key]
            if not inside(value, low, high):
                refuse("E422", f"the point {label} is outside the domain", where=f"parameter {name!r}")


def decimal_below(value: Fraction, digits: int = 12) -> str:
    """A positive rational number as a decimal string, rounded down."""
    context = Context(prec=digits, rounding=ROUND_FLOOR, Emin=-(10**6), Emax=10**6)
    if value.numerator.bit_length() < 2000 and value.denominator.bit_length() < 2000:
        return str(context.divide(Decimal(value.numerator), Decimal(value.denominator)))
    shift = value.numerator.bit_length() - value.denominator.bit_length()
    scaled = int(value / Fraction(2) ** shift * 2**200)
    power = context.power(Decimal(2), shift - 200)
    return str(context.multiply(context.multiply(Decimal(scaled), power), Decimal("0.9999999")))


def variables_words(names: Sequence[str], manifest: Manifest) -> str:
    """``(w, v), with 2 other parameters held at the stored values,``"""
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    others = len(manifest.parameters) - len(names)
    plural = "s" if others > 1 else ""
    return f"({shown})" + (
        f", with {others} other parameter{plural} held at the stored value{plural}," if others else ""
    )


def domain_words(box: Domain) -> str:
    """``on the whole space``, or the bounds."""
    bounds = {name: pair for name, pair in box.items() if pair != (None, None)}
    if not bounds:
        return "on the whole space"
    if len(bounds) > 3:
        return f"on the domain that bounds {len(bounds)} parameters"
    shown = []
    for name, (low, high) in bounds.items():
        left = "" if low is None else f"{low} <= "
        right = "" if high is None else f" <= {high}"
        shown.append(
            f"{left}{name}{right}"
            if not isinstance(low, str) and not isinstance(high, str)
            else f"the stored bounds of {name}"
        )
    return f"on the domain {', '.join(shown)}"
