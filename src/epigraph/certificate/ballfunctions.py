"""Functions of one real variable on Arb balls: each returns a ball that contains f(x) for every x of the operand.

Two rules hold throughout.  Outside the domain the value is ``NAN``, never a repaired number; and nothing finite comes
out of an operand that is not finite (``sgn(nan)`` and ``sin(inf)`` are finite in FLINT).  Where a formula is too wide
for a wide ball and f is monotone, the hull of the values at the two ends replaces it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from flint import arb, fmpq

Ball = arb
Function = Callable[[arb], arb]

NAN = arb("nan")
ZERO, ONE, TWO = arb(0), arb(1), arb(2)


def finite(x: arb) -> arb:
    """x, or NAN where x is not a finite ball."""
    return x if x.is_finite() else NAN


def guarded(f: Function) -> Function:
    """f with NAN for operands and for values that are not finite."""

    def call(x: arb) -> arb:
        return finite(f(x)) if x.is_finite() else NAN

    return call


def increasing(f: Function) -> Function:
    """A guarded increasing f, through the two ends of the operand where the direct value is not finite."""

    def call(x: arb) -> arb:
        if not x.is_finite():
            return NAN
        y = f(x)
        return y if y.is_finite() else finite(f(x.lower()).union(f(x.upper())))

    return call


def hull(low: arb, high: arb) -> arb:
    """The least ball around [low, high]."""
    return low.union(high)


def square(x: arb) -> arb:
    """x^2; ``x * x`` would reach below zero where x straddles zero."""
    if not x.is_finite():
        return NAN
    if x >= 0 or x <= 0:
        return x * x
    top = x.abs_upper()
    return hull(ZERO, top * top)


def whole_power(x: arb, exponent: int) -> arb:
    """x^n for an integer n, by repeated squaring; NAN where n < 0 and x may be zero, x^0 = 1."""
    if not x.is_finite():
        return NAN
    if exponent < 0:
        return reciprocal(whole_power(x, -exponent))
    if exponent and exponent % 2 == 0:
        return square(whole_power(x, exponent // 2))
    result, factor = ONE, x
    while exponent:
        if exponent & 1:
            result = result * factor
        exponent >>= 1
        if exponent:
            factor = square(factor)
    return finite(result)


def reciprocal(x: arb) -> arb:
    return finite(ONE / x) if x.is_finite() and (x > 0 or x < 0) else NAN


def root(x: arb) -> arb:
    """The square root on x >= 0."""
    return finite(x.sqrt()) if x >= 0 else NAN


def log(x: arb) -> arb:
    return finite(x.log()) if x > 0 else NAN


def power(exponent: fmpq) -> Function:
    """x^e: any x for an integer e (x != 0 where e < 0), otherwise x >= 0 (x > 0 where e < 0)."""
    if exponent.q == 1:
        whole = int(exponent.p)
        return lambda x: whole_power(x, whole)
    if exponent.q == 2:
        half = int(exponent.p)
        return lambda x: whole_power(root(x), half)
    return lambda x: _real_power(x, exponent)


def _real_power(x: arb, exponent: fmpq) -> arb:
    if x == 0:
        return ZERO if exponent > 0 else NAN
    return finite((arb(exponent) * x.log()).exp()) if x.is_finite() and x > 0 else NAN


def absolute(x: arb) -> arb:
    if not x.is_finite():
        return NAN
    if x >= 0:
        return x
    return -x if x <= 0 else hull(ZERO, x.abs_upper())


def relu(x: arb) -> arb:
    if not x.is_finite():
        return NAN
    if x >= 0:
        return x
    return ZERO if x <= 0 else hull(ZERO, x.upper())


def sign(x: arb) -> arb:
    return x.sgn() if x.is_finite() else NAN


def floor(x: arb) -> arb:
    return finite(hull(x.lower().floor(), x.upper().floor())) if x.is_finite() else NAN


def sigmoid(x: arb) -> arb:
    """1 / (1 + e^-x): half the width of e^x / (1 + e^x)."""
    return ONE / (ONE + (-x).exp())


def softplus(x: arb) -> arb:
    """log(1 + e^x) = x + log(1 + e^-x)."""
    return x + (-x).exp().log1p() if x > 0 else x.exp().log1p()


def _half_erfc(x: arb) -> arb:
    """Phi(x) = erfc(-x / sqrt 2) / 2: keeps its digits for x far below zero, unlike 1 + erf."""
    return (-x / TWO.sqrt()).erfc() / 2


def log_ndtr(x: arb) -> arb:
    """log Phi(x); through log1p(-Phi(-x)) above zero, where Phi is near 1."""
    return (-_half_erfc(-x)).log1p() if x > 0 else _half_erfc(x).log()


def xlogx(x: arb) -> arb:
    """x log x, 0 at 0."""
    if x == 0:
        return ZERO
    return finite(x * x.log()) if x.is_finite() and x > 0 else NAN


def silu(x: arb) -> arb:
    return x * sigmoid(x)


def gelu(x: arb) -> arb:
    return x * _half_erfc(x)


def mish(x: arb) -> arb:
    """x tanh(log(1 + e^x)) = x (1 + 2u) / (1 + 2u + 2u^2) with u = e^-x, or x v (v + 2) / (v (v + 2) + 2), v = e^x."""
    if x > 0:
        u = (-x).exp()
        top = ONE + 2 * u
        return x * (top / (top + 2 * square(u)))
    v = x.exp()
    top = v * (v + 2)
    return x * (top / (top + 2))


def elu(alpha: fmpq) -> Function:
    """x for x > 0, alpha (e^x - 1) for x <= 0."""
    scale = fmpq(alpha)

    def call(x: arb) -> arb:
        if not x.is_finite():
            return NAN
        if x >= 0:
            return x
        if x <= 0:
            return finite(arb(scale) * x.expm1())
        return finite(hull(ZERO, x.upper()).union(arb(scale) * hull(x.lower().expm1(), ZERO)))

    return call


def piecewise(knots: Sequence[fmpq], pieces: Sequence[Sequence[fmpq]]) -> Function:
    """The continuous function with these polynomial pieces: the hull over every piece that the operand may meet."""
    ends = [arb(k) for k in knots]
    coefficients = [[arb(c) for c in piece] for piece in pieces]

    def call(x: arb) -> arb:
        if not x.is_finite():
            return NAN
        found: arb | None = None
        for i, piece in enumerate(coefficients):
            low = ends[i - 1] if i > 0 else None
            high = ends[i] if i < len(ends) else None
            if (low is not None and x < low) or (high is not None and x > high):
                continue
            value = _polynomial(piece, _clipped(x, low, high))
            found = value if found is None else found.union(value)
        return NAN if found is None else finite(found)

    return call


def _clipped(x: arb, low: arb | None, high: arb | None) -> arb:
    """A ball around the part of x between two knots, x itself where it lies inside."""
    within = (low is None or x >= low) and (high is None or x <= high)
    if within:
        return x
    left = x.lower() if low is None or x.lower() > low else low.lower()
    right = x.upper() if high is None or x.upper() < high else high.upper()
    return hull(left, right)


def _polynomial(coefficients: Sequence[arb], x: arb) -> arb:
    value = coefficients[0]
    if len(coefficients) > 1:
        value = value + coefficients[1] * x
    return value + coefficients[2] * square(x) if len(coefficients) > 2 else value


FUNCTIONS: Mapping[str, Function] = {
    "exp": increasing(arb.exp),
    "log": log,
    "sqrt": root,
    "abs": absolute,
    "relu": relu,
    "sigmoid": increasing(sigmoid),
    "tanh": increasing(arb.tanh),
    "softplus": increasing(softplus),
    "erf": increasing(arb.erf),
    "log_ndtr": increasing(log_ndtr),
    "sin": guarded(arb.sin),
    "cos": guarded(arb.cos),
    "atan": increasing(arb.atan),
    "xlogx": xlogx,
    "silu": guarded(silu),
    "gelu": guarded(gelu),
    "mish": guarded(mish),
    "sign": sign,
    "floor": floor,
}
