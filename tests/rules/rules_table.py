"""One row for each elementwise operator: an independent formula for Arb, and where its derivatives have which sign.

``Signs`` gives the sign of a quantity from piece to piece.  A break is a point where the quantity vanishes (or has no
value), or a pair of neighbouring floats around such a point.  The part within ``reach`` is proved by bisection; the
``lemma`` argues for the rest in one line and is sampled.  "?" marks a sign that no claim needs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from flint import arb, fmpq
from rules_arb import Function, precision

INF = math.inf
CLAIMS = ("increasing", "decreasing", "convex", "concave", "log_convex", "log_concave", "root_convex", "valley", "hill")
Break = float | tuple[float, float]


@dataclass(frozen=True)
class Signs:
    pattern: str
    breaks: tuple[Break, ...] = ()
    reach: tuple[float, float] | None = (-30.0, 30.0)
    lemma: str = ""

    def met(self, low: float, high: float) -> str:
        """The signs of the open pieces that [low, high] meets, from left to right."""
        found = ""
        for i, sign in enumerate(self.pattern):
            before, after = self.breaks[i - 1] if i else -INF, self.breaks[i] if i < len(self.breaks) else INF
            starts = low <= after[0] if isinstance(after, tuple) else low < after
            stops = high >= before[1] if isinstance(before, tuple) else high > before
            found += sign if starts and stops else ""
        return found

    def pieces(self) -> list[tuple[float, float, int]]:
        """(low, high, sign): closed intervals between the breaks on which the sign is claimed."""
        ends = [-INF, *self.breaks, INF]
        out = []
        for sign, before, after in zip(self.pattern, ends, ends[1:], strict=False):
            low = before[1] if isinstance(before, tuple) else before
            high = after[0] if isinstance(after, tuple) else after
            if sign in "+-":
                out.append((low, high, 1 if sign == "+" else -1))
        return out


@dataclass(frozen=True)
class Row:
    """An operator (with attributes), its formula, its domain and the signs of f, f', f'', f^2 (log f)'', f^(3/2) (sqrt f)''.

    ``limits``: values at ends where the formula has none.  ``weak``: true claims that the rule does not make.
    ``slack``: the rule may lose claims on intervals that end this close (relatively) to a break.
    """

    op: str
    f: Function
    signs: Mapping[str, Signs]
    limits: Mapping[float, float]
    domains: tuple[tuple[float, float], ...] = ((-INF, INF),)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    weak: frozenset[str] = frozenset()
    slack: float = 0.0
    bits: int = 192
    value: Function | None = None

    @property
    def name(self) -> str:
        return " ".join([self.op, *map(str, self.attributes.values())])

    def within(self, low: float, high: float) -> bool:
        return any(a <= low and high <= b for a, b in self.domains)

    def holds(self, claim: str, low: float, high: float) -> bool:
        """Is the claim true of f on [low, high]?"""
        if not self.within(low, high):
            return False
        slope, curvature = self.signs["slope"].met(low, high), self.signs["curvature"].met(low, high)
        if claim in ("increasing", "decreasing"):
            return ("-" if claim == "increasing" else "+") not in slope
        if claim in ("convex", "concave"):
            return ("-" if claim == "convex" else "+") not in curvature
        if claim == "valley":
            return "-" not in slope.lstrip("-0")
        if claim == "hill":
            return "+" not in slope.lstrip("+0")
        value = self.signs["value"].met(low, high)
        if claim == "root_convex":
            return "-" not in value + self.signs["root"].met(low, high)
        one_piece = len(value) == 1  # a zero of f inside is a pole of log f
        return (
            one_piece
            and "-" not in value
            and ("+" if claim == "log_concave" else "-") not in self.signs["log"].met(low, high)
        )

    def truths(self, low: float, high: float) -> dict[str, bool]:
        return {claim: self.holds(claim, low, high) for claim in CLAIMS}

    def at(self, x: float) -> arb:
        """f(x), or its limit."""
        if x in self.limits:
            return arb(self.limits[x])
        return (self.value or self.f)(arb(x))

    def breaks(self) -> list[float]:
        """All breaks, as floats on both sides."""
        found = {end for s in self.signs.values() for b in s.breaks for end in (b if isinstance(b, tuple) else (b,))}
        return sorted(found | {end for domain in self.domains for end in domain})


# the formulas ----------------------------------------------------------------------------------------------------------
def right_of_zero(x: Any) -> bool:
    return bool((x if isinstance(x, arb) else x[0]) > 0)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + (-x).exp()) if right_of_zero(x) else x.exp() / (1 + x.exp())


def tanh(x: Any) -> Any:
    y = (-2 * x).exp() if right_of_zero(x) else (2 * x).exp()
    return 1 - 2 * y / (1 + y) if right_of_zero(x) else 2 * y / (1 + y) - 1


def softplus(x: Any) -> Any:
    return x + (1 + (-x).exp()).log() if right_of_zero(x) else (1 + x.exp()).log()


def half_erfc(x: Any) -> Any:
    """The normal distribution function."""
    return (-x / arb(2).sqrt()).erfc() / 2


def log_ndtr(x: arb) -> arb:
    """Far left from Mills' ratio: density/|x| (1 - 1/x^2) <= Phi(x) <= density/|x|."""
    if x < -1000:
        return -x * x / 2 - (-x).log() - (2 * arb.pi()).log() / 2 + (1 - 1 / (x * x)).log() * arb(0.5, 0.5)
    return (-half_erfc(-x)).log1p() if x > 0 else half_erfc(x).log()


def mish(x: Any) -> Any:
    """With y = e^x and n = y^2 + 2 y: tanh(log(1 + y)) = n/(n + 2)."""
    if right_of_zero(x):
        z = (-x).exp()
        return x - 2 * x * z * z / (1 + 2 * z + 2 * z * z)
    y = x.exp()
    return x * y * (y + 2) / (y * (y + 2) + 2)


def wave(offset: int) -> Signs:
    """The sign of sin(x + offset pi / 2), between neighbouring floats around its zeros; proved where it is used."""
    breaks: list[Break] = []
    with precision(192):
        for k in range(-8, 9):
            zero = (2 * k - offset) * arb.pi() / 2
            near = float(zero.mid())
            breaks.append(
                0.0
                if 2 * k == offset
                else (near, math.nextafter(near, INF))
                if arb(near) < zero
                else (math.nextafter(near, -INF), near)
            )
    return Signs("?" + "+-" * 8 + "?", tuple(breaks), (-100.0, 100.0))


def monomial(p: Fraction) -> dict[str, Signs]:
    """x^p: each quantity is c x^e, with c from the falling factorials of p."""
    table = {
        "value": (Fraction(1), p),
        "slope": (p, p - 1),
        "curvature": (p * (p - 1), p - 2),
        "log": (-p, 2 * p - 2),
        "root": (p * (p - 2), 2 * p - 2),
    }
    out = {}
    for name, (c, e) in table.items():
        right = "0" if c == 0 else "+" if c > 0 else "-"
        left = right if e.denominator > 1 or e % 2 == 0 or c == 0 else "-" if c > 0 else "+"
        out[name] = Signs(left + right, (0.0,), None, f"it is {c} x^{e}")
    return out


def power(p: Fraction) -> Row:
    whole = p.denominator == 1
    domains = ((-INF, INF),) if whole and p > 0 else ((-INF, 0.0), (0.0, INF)) if whole else ((0.0, INF),)

    def f(x: Any) -> Any:
        if whole:
            return x ** int(p) if p > 0 else 1 / x ** int(-p)
        return (arb(fmpq(p.numerator, p.denominator)) * x.log()).exp()

    limits = {INF: INF if p > 0 else 0.0}
    if whole:
        limits[-INF] = 0.0 if p < 0 else INF if p % 2 == 0 else -INF
    if not (whole and p > 0):
        limits[0.0] = 0.0 if p > 0 else INF
    return Row("power", f, monomial(p), limits, domains, {"exponent": str(p)})


def everywhere(sign: str, lemma: str) -> Signs:
    return Signs(sign, (), None, lemma)


ZERO = (0.0,)
PRODUCT = "for x > 0: log x and the logarithm of the sigmoidal factor are concave, and the factors' product has f'^2 > 2 f f''"
SMOOTH = [
    Row(
        "exp",
        lambda x: x.exp(),
        {name: everywhere("+", "all derivatives are e^x") for name in ("value", "slope", "curvature")}
        | {"log": everywhere("0", "log f = x"), "root": everywhere("+", "sqrt f = e^(x/2)")},
        {-INF: 0.0, INF: INF},
    ),
    Row(
        "log",
        lambda x: x.log(),
        {
            "value": Signs("?-+", (0.0, 1.0), (2.0**-60, 2.0**60), "log is increasing, log 1 = 0"),
            "slope": Signs("?+", ZERO, (2.0**-60, 2.0**60), "1/x"),
            "curvature": Signs("?-", ZERO, (2.0**-60, 2.0**60), "-1/x^2"),
            "log": Signs("?-", (1.0,), (1.0, 2.0**60), "-(1 + log x)/x^2"),
            "root": Signs("?-", (1.0,), (1.0, 2.0**60), "-(1 + 2 log x)/x^2"),
        },
        {0.0: -INF, INF: INF},
        ((0.0, INF),),
    ),
    Row("sqrt", lambda x: x.sqrt(), monomial(Fraction(1, 2)), {INF: INF, 0.0: 0.0}, ((0.0, INF),)),
    Row(
        "softplus",
        softplus,
        {
            "value": everywhere("+", "1 + e^x > 1"),
            "slope": Signs("+", lemma="it is the sigmoid"),
            "curvature": Signs("+", lemma="s (1 - s) with s in (0, 1)"),
            "log": everywhere("-", "s ((1 - s) f - s) with y = e^x: (log(1 + y) - y) / (1 + y) < 0"),
            "root": Signs(
                "+-",
                ((0.9214225086553602, 0.9214225086553604),),
                (-3.0, 30.0),
                "2 log(1 + y) - y is positive for small y = e^x and has one zero, since it rises, then falls",
            ),
        },
        {-INF: 0.0, INF: INF},
        weak=frozenset({"root_convex"}),
    ),
    Row(
        "sigmoid",
        sigmoid,
        {
            "value": everywhere("+", "1 + e^-x > 0"),
            "slope": Signs("+", lemma="s (1 - s)"),
            "curvature": Signs("+-", ZERO, lemma="s (1 - s)(1 - 2 s), and s - 1/2 is odd"),
            "log": everywhere("-", "-s^3 (1 - s)"),
            "root": Signs("+-", ((-0.6931471805599454, -0.6931471805599453),), (-3.0, 3.0), "s^2 (1 - s)(1 - 3 s)"),
        },
        {-INF: 0.0, INF: 1.0},
    ),
    Row(
        "tanh",
        tanh,
        {
            "value": Signs("-+", ZERO, lemma="odd and increasing"),
            "slope": Signs("+", lemma="1 - t^2"),
            "curvature": Signs("+-", ZERO, lemma="-2 t (1 - t^2), odd"),
            "log": Signs("?-", ZERO, (0.0, 8.0), "-(1 - t^2)(1 + t^2)"),
            "root": Signs("?-", ZERO, (0.0, 8.0), "-(1 - t^2)(1 + 3 t^2)"),
        },
        {-INF: -1.0, INF: 1.0},
    ),
    Row(
        "erf",
        lambda x: x.erf(),
        {
            "value": Signs("-+", ZERO, (-8.0, 8.0), "odd and increasing"),
            "slope": Signs("+", (), (-8.0, 8.0), "c e^(-x^2)"),
            "curvature": Signs("+-", ZERO, (-8.0, 8.0), "-2 x c e^(-x^2)"),
            "log": Signs("?-", ZERO, (0.0, 4.0), "f f'' <= 0 for x >= 0"),
            "root": Signs("?-", ZERO, (0.0, 4.0), "f f'' <= 0 for x >= 0"),
        },
        {-INF: -1.0, INF: 1.0},
        bits=512,
    ),
    Row(
        "atan",
        lambda x: x.atan(),
        {
            "value": Signs("-+", ZERO, (-64.0, 64.0), "odd and increasing"),
            "slope": Signs("+", (), (-64.0, 64.0), "1/(1 + x^2)"),
            "curvature": Signs("+-", ZERO, (-64.0, 64.0), "-2 x / (1 + x^2)^2"),
            "log": Signs("?-", ZERO, (0.0, 64.0), "-(2 x atan x + 1)/(1 + x^2)^2"),
            "root": Signs("?-", ZERO, (0.0, 64.0), "-(4 x atan x + 1)/(1 + x^2)^2"),
        },
        {-INF: -math.pi / 2, INF: math.pi / 2},
    ),
    Row(
        "log_ndtr",
        lambda x: half_erfc(x).log(),
        {
            "value": everywhere("-", "the distribution function is below 1"),
            "slope": Signs("+", (), (-20.0, 8.0), "density over distribution function"),
            "curvature": Signs(
                "-", (), (-8.0, 8.0), "-r (x + r), r = density/distribution > -x by Mills' ratio [Gordon 1941]"
            ),
            "log": everywhere("?", "f < 0"),
            "root": everywhere("?", "f < 0"),
        },
        {-INF: -INF, INF: 0.0},
        bits=512,
        value=log_ndtr,
    ),
    Row(
        "sin",
        lambda x: x.sin(),
        {
            "value": wave(0),
            "slope": wave(1),
            "curvature": wave(2),
            "log": everywhere("-", "-1"),
            "root": everywhere("-", "-2 sin^2 - cos^2"),
        },
        {},
        weak=frozenset({"valley", "hill", "log_concave"}),
        slack=1e-11,
    ),
    Row(
        "cos",
        lambda x: x.cos(),
        {
            "value": wave(1),
            "slope": wave(2),
            "curvature": wave(3),
            "log": everywhere("-", "-1"),
            "root": everywhere("-", "-2 cos^2 - sin^2"),
        },
        {},
        weak=frozenset({"valley", "hill", "log_concave"}),
        slack=1e-11,
    ),
    Row(
        "xlogx",
        lambda x: x * x.log(),
        {
            "value": Signs("?-+", (0.0, 1.0), (2.0**-60, 2.0**60), "the sign of log x"),
            "slope": Signs("?-+", (0.0, (0.3678794411714423, 0.36787944117144233)), (2.0**-60, 2.0**60), "1 + log x"),
            "curvature": Signs("?+", ZERO, (2.0**-60, 2.0**60), "1/x"),
            "log": Signs("?-", (1.0,), (1.0, 2.0**60), "-(1 + log x + log^2 x)"),
            "root": Signs("?-", (1.0,), (1.0, 2.0**60), "-(1 + log^2 x)"),
        },
        {0.0: 0.0, INF: INF},
        ((0.0, INF),),
    ),
    Row(
        "silu",
        lambda x: x * sigmoid(x),
        {
            "value": Signs("-+", ZERO, lemma="the sign of x"),
            "slope": Signs(
                "-+",
                ((-1.278464542761074, -1.2784645427610737),),
                lemma="s (1 + x (1 - s)): x (1 - s) increases for x < 0, and is positive for x > 0",
            ),
            "curvature": Signs(
                "-+-",
                ((-2.399357280515468, -2.3993572805154675), (2.3993572805154675, 2.399357280515468)),
                lemma="s (1 - s)(2 - x tanh(x/2)), and x tanh(x/2) increases in |x|",
            ),
            "log": Signs("?-", ZERO, (0.0, 30.0), PRODUCT),
            "root": Signs("?-", ZERO, (0.0, 30.0), PRODUCT),
        },
        {-INF: 0.0, INF: INF},
    ),
    Row(
        "gelu",
        lambda x: x * half_erfc(x),
        {
            "value": Signs("-+", ZERO, (-12.0, 12.0), "the sign of x"),
            "slope": Signs(
                "-+",
                ((-0.7517915246935645, -0.7517915246935644),),
                (-12.0, 12.0),
                "f'' < 0 for x < -sqrt 2 and f' -> 0 at -inf; all terms are positive for x > 0",
            ),
            "curvature": Signs(
                "-+-",
                ((-1.4142135623730951, -1.414213562373095), (1.414213562373095, 1.4142135623730951)),
                (-12.0, 12.0),
                "density (2 - x^2)",
            ),
            "log": Signs("?-", ZERO, (0.0, 12.0), PRODUCT),
            "root": Signs("?-", ZERO, (0.0, 12.0), PRODUCT),
        },
        {-INF: 0.0, INF: INF},
        bits=512,
    ),
    Row(
        "mish",
        mish,
        {
            "value": Signs("-+", ZERO, lemma="the sign of x"),
            "slope": Signs(
                "-+",
                ((-1.1924312145154954, -1.1924312145154952),),
                lemma="with y = e^x a positive multiple of (y + 2)(y^2 + 2 y + 2)/(4 (1 + y)) + x, which increases",
            ),
            "curvature": Signs(
                "-+-",
                ((-2.2563763963607935, -2.256376396360793), (1.4905711794854284, 1.4905711794854286)),
                lemma="a positive multiple of 2 + x (1 - s - 2 t s), and 1 - s - 2 t s falls from 1 to -2",
            ),
            "log": Signs("?-", ZERO, (0.0, 30.0), "f > 0 > f'' beyond 1.5"),
            "root": Signs("?-", ZERO, (0.0, 30.0), "f > 0 > f'' beyond 1.5"),
        },
        {-INF: 0.0, INF: INF},
    ),
]
EXPONENTS = (
    "2",
    "3",
    "4",
    "5",
    "6",
    "9",
    "-1",
    "-2",
    "-3",
    "-4",
    "1/3",
    "2/3",
    "3/2",
    "5/2",
    "7/3",
    "-1/2",
    "-3/2",
    "9/11",
)
SMOOTH += [power(Fraction(p)) for p in EXPONENTS]


def far(x: float) -> Fraction:
    """The exact number, beyond all floats for an infinite end."""
    return Fraction(x) if math.isfinite(x) else (1 if x > 0 else -1) * Fraction(10) ** 400


# functions with kinks --------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Kinked:
    """A continuous piecewise polynomial of degree at most two, judged by its one-sided slopes from left to right."""

    op: str
    knots: tuple[Fraction, ...]
    pieces: tuple[tuple[Fraction, Fraction, Fraction], ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    logarithmic: Callable[[float, float], frozenset[str]] = lambda low, high: frozenset()
    weak: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return " ".join([self.op, *map(str, self.attributes.values())])

    def piece(self, x: Fraction, side: int) -> tuple[Fraction, Fraction, Fraction]:
        index = sum(x > k or (x == k and side > 0) for k in self.knots)
        return self.pieces[index]

    def slopes(self, low: float, high: float) -> list[Fraction]:
        """One-sided slopes at the ends and at the knots inside; an infinite end is far outside."""
        a, b = (far(x) for x in (low, high))
        inside = [k for k in self.knots if a < k < b]
        places = [(a, 1), *((k, s) for k in inside for s in (-1, 1)), (b, -1)]
        return [p[1] + 2 * p[2] * x for x, p in ((x, self.piece(x, s)) for x, s in places)]

    def holds(self, claim: str, low: float, high: float) -> bool:
        if low == high:
            return True
        d = self.slopes(low, high)
        pairs = list(itertools.pairwise(d))
        signs = [(v > 0) - (v < 0) for v in d if v]
        return {
            "increasing": all(v >= 0 for v in d),
            "decreasing": all(v <= 0 for v in d),
            "convex": all(v <= w for v, w in pairs),
            "concave": all(v >= w for v, w in pairs),
            "valley": signs == sorted(signs),
            "hill": signs == sorted(signs, reverse=True),
        }.get(claim, claim in self.logarithmic(low, high))

    def at(self, x: float) -> arb:
        exact = far(x)
        a, b, c = self.piece(exact, 1)
        value = a + b * exact + c * exact * exact
        if math.isinf(x) and (b or c):
            return arb(INF if value > 0 else -INF)
        return arb(fmpq(value.numerator, value.denominator))

    def breaks(self) -> list[float]:
        return [-INF, *map(float, self.knots), INF]


def piecewise(knots: str, pieces: str) -> Kinked:
    """From "0 1" and "0, 0 1/2, 3": knots, and the coefficients of the pieces."""
    places = tuple(Fraction(k) for k in knots.split())
    parts = [part.split() for part in pieces.split(",")]
    padded = tuple(tuple([*map(Fraction, p), Fraction(0), Fraction(0)][:3]) for p in parts)
    return Kinked("piecewise", places, padded, {"knots": knots.split(), "pieces": parts})  # type: ignore[arg-type]


def line(a: int, b: int) -> tuple[Fraction, Fraction, Fraction]:
    return Fraction(a), Fraction(b), Fraction(0)


def _relu_logs(low: float, high: float) -> frozenset[str]:
    """relu is 0, then x: log-concave, since log 0 = -inf is at the left; all claims where it is 0."""
    return frozenset({"log_concave"})


def _abs_logs(low: float, high: float) -> frozenset[str]:
    return frozenset({"log_concave"} if low >= 0 or high <= 0 else ())


@dataclass(frozen=True)
class Elu:
    """x for x > 0, alpha (e^x - 1) below: the left part has the signs of alpha throughout, the slope jumps by 1 - alpha."""

    alpha: Fraction
    op: str = "elu"
    weak: frozenset[str] = frozenset({"concave", "log_concave", "decreasing", "hill"})

    @property
    def name(self) -> str:
        return f"elu {self.alpha}"

    @property
    def attributes(self) -> Mapping[str, Any]:
        return {"alpha": str(self.alpha)}

    def holds(self, claim: str, low: float, high: float) -> bool:
        return self.truths(low, high)[claim]

    def truths(self, low: float, high: float) -> dict[str, bool]:
        sign = (self.alpha > 0) - (self.alpha < 0)
        left, right, one_side = low < 0, high > 0, low >= 0 or high <= 0
        return {
            "increasing": not (left and sign < 0),
            "decreasing": not right and sign <= 0,
            "convex": not (left and sign < 0) and (one_side or self.alpha <= 1),
            "concave": not (left and sign > 0) and one_side,
            "valley": True,
            "hill": not (left and sign < 0 and right),
            "log_concave": not (left and sign > 0) and (one_side or sign == 0),
            "log_convex": False,
            "root_convex": False,
        }

    def at(self, x: float) -> arb:
        if x > 0:
            return arb(x)
        return arb(fmpq(self.alpha.numerator, self.alpha.denominator)) * (arb(-1) if x == -INF else arb(x).expm1())

    def breaks(self) -> list[float]:
        return [-INF, 0.0, INF]


KINKED: list[Kinked | Elu] = [
    Kinked("abs", (Fraction(0),), (line(0, -1), line(0, 1)), logarithmic=_abs_logs, weak=frozenset({"log_concave"})),
    Kinked("relu", (Fraction(0),), (line(0, 0), line(0, 1)), logarithmic=_relu_logs),
    *(Elu(Fraction(a)) for a in ("0", "1/2", "1", "1.6732632423543772", "-1/3")),
    piecewise("0", "0 1/100, 0 1"),  # leaky relu
    piecewise("0", "0 5/4, 0 1"),
    piecewise("0", "0 -1/4, 0 1"),
    piecewise("-1 1", "-1, 0 1, 1"),  # hardtanh
    piecewise("0 6", "0, 0 1, 6"),
    piecewise("-3 3", "0, 1/2 1/6, 1"),
    piecewise("-3 3", "0, 0 1/2 1/6, 0 1"),  # hardswish
    piecewise("-1/2 1/2", "1/2 1, 0, -1/2 1"),  # softshrink
    piecewise("-1 1", "-1/2 -1, 0 0 1/2, -1/2 1"),  # huber
    piecewise("-1/3 1/3", "-1/18 -1/3, 0 0 1/2, -1/18 1/3"),  # knots that are no floats
    piecewise("0 1 2", "0, 0 1, 2 -1, 0"),  # a hat
    piecewise("0", "0 0 -1, 0 0 1"),
    piecewise("0 1", "0 0 1, 0, -1 0 1"),
    piecewise("-1 0 1", "-3 -1, -1 1, -1 -1, -3 1"),
]
ROWS: list[Row | Kinked | Elu] = [*SMOOTH, *KINKED]
