"""Numbers as they are printed.  A lower bound is only ever rounded down, so that what is printed is still true."""

from __future__ import annotations

import math
import re
from decimal import ROUND_DOWN, Context, Decimal, InvalidOperation, localcontext

_WIDE = Context(prec=60, rounding=ROUND_DOWN, Emax=999_999_999, Emin=-999_999_999)
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SCIENTIFIC = re.compile(r"^([+-]?[0-9.]+)[eE]([+-]?[0-9]+)$")


def _decimal(text: str) -> Decimal:
    """The number behind ``"0.25"``, ``"1e-9"`` or ``"1/3"``; a quotient is rounded towards zero at 60 digits."""
    with localcontext(_WIDE):
        numerator, slash, denominator = text.partition("/")
        return Decimal(numerator) / Decimal(denominator) if slash else Decimal(text)


def round_down(number: str | float, digits: int = 4) -> str:
    """A number to ``digits`` significant digits, rounded towards zero; what is not finite is returned as it is.

    >>> round_down("0.0123999"), round_down("2/3"), round_down("1.99999e-12", 2)
    ('0.01239', '0.6666', '1.9e-12')
    """
    text = number if isinstance(number, str) else repr(number)
    try:
        value = _decimal(text)
    except (InvalidOperation, ArithmeticError, ValueError):
        return text
    if not value.is_finite() or value == 0:
        return text if not value.is_finite() else "0"
    with localcontext(_WIDE) as context:
        context.prec = digits
        return _written(+value)


def _written(value: Decimal) -> str:
    """Plain digits between 1e-4 and 1e6, otherwise mantissa and exponent."""
    exponent = value.adjusted()
    if -4 <= exponent < 6:
        plain = format(value, "f")
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    mantissa = format(value.scaleb(-exponent), "f")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}e{exponent:+03d}"


def rounded(number: float, digits: int = 6) -> str:
    """A float to the nearest at ``digits`` significant digits; NaN and infinities by their names.

    >>> rounded(0.693147180559945), rounded(float("inf")), rounded(2.0)
    ('0.693147', 'inf', '2')
    """
    return format(number, f".{digits}g") if math.isfinite(number) else str(number)


def superscripted(text: str) -> str:
    """``1.5e-09`` as ``1.5·10⁻⁹``; other text unchanged.

    >>> superscripted("1.5e-09"), superscripted("1e+06"), superscripted("0.25")
    ('1.5·10⁻⁹', '10⁶', '0.25')
    """
    found = _SCIENTIFIC.match(text)
    if not found:
        return text
    power = "10" + str(int(found[2])).translate(_SUPERSCRIPT)
    return power if found[1] == "1" else f"{found[1]}·{power}"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A count with its noun: ``1 step``, ``1,234 steps``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def shape_text(shape: object) -> str:
    """``(64, 10)`` as ``64 × 10``, a scalar as ``scalar``, anything else as ``?``."""
    if not isinstance(shape, (list, tuple)):
        return "?"
    return " × ".join(str(size) for size in shape) if shape else "scalar"
