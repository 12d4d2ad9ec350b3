"""Piecewise polynomials of one variable with rational coefficients, as they hide behind ``where``."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from epigraph.objective.builder import Expression

Coefficients = tuple[Fraction, ...]  # ascending, degree at most two
ZERO = Fraction(0)


def trimmed(c: tuple[Fraction, ...]) -> Coefficients:
    out = list(c)
    while len(out) > 1 and out[-1] == 0:
        out.pop()
    return tuple(out)


def value(c: Coefficients, x: Fraction) -> Fraction:
    return sum((v * x**i for i, v in enumerate(c)), ZERO)


@final
@dataclass(frozen=True)
class Pieces:
    """Polynomials on the intervals between increasing knots; what holds at a knot itself is not recorded."""

    knots: tuple[Fraction, ...]
    parts: tuple[Coefficients, ...]

    @staticmethod
    def of(*coefficients: Fraction | int) -> Pieces:
        return Pieces((), (trimmed(tuple(Fraction(c) for c in coefficients)),))

    def at(self, knot_index: int) -> tuple[Fraction, Fraction]:
        """Limits from the left and from the right at a knot."""
        knot = self.knots[knot_index]
        return value(self.parts[knot_index], knot), value(self.parts[knot_index + 1], knot)

    @property
    def continuous(self) -> bool:
        return all(left == right for left, right in map(self.at, range(len(self.knots))))

    def part(self, x: Fraction) -> Coefficients:
        """The polynomial that holds at a point between knots."""
        return self.parts[sum(1 for k in self.knots if k < x)]

    def refine(self, knots: list[Fraction]) -> Pieces:
        merged = sorted({*self.knots, *knots})
        return Pieces(tuple(merged), tuple(self.part(p) for p in between(merged)))

    def simplify(self) -> Pieces:
        knots, parts = [], [self.parts[0]]
        for knot, part in zip(self.knots, self.parts[1:], strict=True):
            if part != parts[-1]:
                knots.append(knot)
                parts.append(part)
        return Pieces(tuple(knots), tuple(parts))

    def named(self) -> str | None:
        """relu or abs, where it is that."""
        if self == Pieces((ZERO,), ((ZERO,), (ZERO, Fraction(1)))):
            return "relu"
        return "abs" if self == Pieces((ZERO,), ((ZERO, Fraction(-1)), (ZERO, Fraction(1)))) else None

    def attributes(self) -> dict[str, Any]:
        from epigraph.objective.builder import text

        return {"knots": [text(k) for k in self.knots], "pieces": [[text(c) for c in p] for p in self.parts]}

    def single(self, base: Expression) -> Expression:
        """The one polynomial of a function without knots."""
        out = base.builder.rational(self.parts[0][0]).expand(base.shape)
        for i, c in enumerate(self.parts[0][1:], 1):
            out = out + base**i * base.builder.rational(c)
        return out


def between(knots: list[Fraction]) -> list[Fraction]:
    """A point inside each interval that the knots make."""
    if not knots:
        return [ZERO]
    inner = [(a + b) / 2 for a, b in itertools.pairwise(knots)]
    return [knots[0] - 1, *inner, knots[-1] + 1]


def add(f: Pieces, g: Pieces, sign: int = 1) -> Pieces:
    f, g = f.refine(list(g.knots)), g.refine(list(f.knots))
    return Pieces(f.knots, tuple(_add(p, q, sign) for p, q in zip(f.parts, g.parts, strict=True)))


def _add(p: Coefficients, q: Coefficients, sign: int) -> Coefficients:
    size = max(len(p), len(q))
    padded = [c + (ZERO,) * (size - len(c)) for c in (p, q)]
    return trimmed(tuple(a + sign * b for a, b in zip(*padded, strict=True)))


def scale(f: Pieces, c: Fraction) -> Pieces:
    return Pieces(f.knots, tuple(trimmed(tuple(c * v for v in p)) for p in f.parts))


def square(f: Pieces) -> Pieces | None:
    if any(len(p) > 2 for p in f.parts):
        return None
    padded = [(*p, ZERO)[:2] for p in f.parts]
    return Pieces(f.knots, tuple(trimmed((a * a, 2 * a * b, b * b)) for a, b in padded))


def signs(f: Pieces) -> Pieces | None:
    """Split so that f has one sign on each piece; None where a root may be irrational."""
    roots = []
    for i, p in enumerate(f.parts):
        if len(p) > 2:
            return None
        if len(p) == 2:
            root = -p[0] / p[1]
            low = f.knots[i - 1] if i else None
            high = f.knots[i] if i < len(f.knots) else None
            if (low is None or root > low) and (high is None or root < high):
                roots.append(root)
    return f.refine(roots)


def choose(difference: Pieces, f: Pieces, g: Pieces) -> Pieces | None:
    """f where the difference is negative, g where it is positive; None where it vanishes on an interval."""
    split = signs(difference)
    if split is None:
        return None
    knots = sorted({*split.knots, *f.knots, *g.knots})
    parts = []
    for point in between(knots):
        s = value(split.part(point), point)
        if s == 0:
            return None
        parts.append((f if s < 0 else g).part(point))
    return Pieces(tuple(knots), tuple(parts)).simplify()


def magnitude(f: Pieces) -> Pieces | None:
    return choose(f, scale(f, Fraction(-1)), f)


def positive(f: Pieces) -> Pieces | None:
    return choose(f, Pieces.of(0), f)


DEPTH = 24  # how far below a node its inner variable is looked for

Reading = tuple["Expression | None", "Pieces"]


def read(x: Expression, depth: int = DEPTH) -> Reading:
    """x as a piecewise polynomial of one inner expression (None for a constant); x itself where nothing else fits.

    Readings are remembered by node, so that a graph with shared parts is read once.
    """
    if x.literal is not None or depth == 0:
        return _read(x, 0)
    known: dict[int, Reading] = x.builder.memory.setdefault("pieces", {})
    if x.id not in known:
        known[x.id] = _read(x, depth)
    return known[x.id]


def _read(x: Expression, depth: int) -> Reading:
    if (constant := constant_of(x)) is not None:
        return None, Pieces.of(constant)
    if depth and x.op in ("neg", "abs", "relu", "power", "piecewise"):
        base, inner = read(x.argument(), depth - 1)
        made = _outer(x, inner)
        if base is not None and made is not None and base.shape == x.shape:
            return base, made
    if depth and x.op in ("add", "mul"):
        made = _pair(x, depth - 1)
        if made is not None and made[0].shape == x.shape:
            return made
    if (turned := _turned(x)) is not None:
        return turned, Pieces.of(0, -1)
    return x, Pieces.of(0, 1)


def _turned(x: Expression) -> Expression | None:
    """q - p for a difference x = p - q, where that is the one to be used for both."""
    if x.literal is not None or x.op != "add":
        return None
    first, second = x.argument(0), x.argument(1)
    if is_negative(first) is is_negative(second):
        return None
    plus, minus = (second, -first) if is_negative(first) else (first, -second)
    return minus - plus if minus.id < plus.id else None


def is_negative(x: Expression) -> bool:
    """Is it written as -y?  The builder moves the sign inside a change of shape."""
    return x.op == "neg" or (x.op == "reshape" and x.argument().op == "neg")


def constant_of(x: Expression) -> Fraction | None:
    """The one rational number that all entries are."""
    if x.literal is not None:
        flat = x.literal.reshape(-1)
        return Fraction(flat[0].item()) if flat.numel() and bool((flat == flat[0]).all() & flat[0].isfinite()) else None
    return constant_of(x.argument()) if x.op == "expand" else x.value


def _outer(x: Expression, inner: Pieces) -> Pieces | None:
    if x.op == "neg":
        return scale(inner, Fraction(-1))
    if x.op == "abs":
        return magnitude(inner)
    if x.op == "relu":
        return positive(inner)
    if x.op == "power":
        return square(inner) if x.node.attributes["exponent"] == "2" else None
    if x.op == "piecewise":
        a = x.node.attributes
        outer = Pieces(tuple(map(Fraction, a["knots"])), tuple(trimmed(tuple(map(Fraction, p))) for p in a["pieces"]))
        return substitute(outer, inner)
    return None


def substitute(f: Pieces, g: Pieces) -> Pieces | None:
    """f(g) for a g of degree one on each of its pieces."""
    if any(len(p) > 2 for p in g.parts):
        return None
    knots = set(g.knots)
    for i, p in enumerate(g.parts):
        low = g.knots[i - 1] if i else None
        high = g.knots[i] if i < len(g.knots) else None
        roots = [(k - p[0]) / p[1] for k in f.knots] if len(p) == 2 else []
        knots |= {r for r in roots if (low is None or r > low) and (high is None or r < high)}
    ordered = sorted(knots)
    parts = []
    for point in between(ordered):
        inner = g.part(point)
        outer = f.part(value(inner, point))
        total: Coefficients = (ZERO,)
        for c in reversed(outer):
            total = _add(_line_times(total, inner), (c,), 1)
        parts.append(total)
    return Pieces(tuple(ordered), tuple(parts)).simplify()


def _line_times(p: Coefficients, line: Coefficients) -> Coefficients:
    a, b = (*line, ZERO)[:2]
    return trimmed(tuple(a * u + b * v for u, v in zip((*p, ZERO), (ZERO, *p), strict=True)))


Step = tuple["Expression", Fraction, Fraction]  # a condition, the value where it holds, the value elsewhere


def as_step(x: Expression, depth: int = 6) -> Step | None:
    """x as a function of one comparison that takes two rational values."""
    if depth == 0:
        return None
    if x.op == "compare" and x.literal is None:
        return x, Fraction(1), ZERO
    if x.op == "where" and x.argument(0).literal is None:
        values = constant_of(x.argument(1)), constant_of(x.argument(2))
        return None if values[0] is None or values[1] is None else (x.argument(0), values[0], values[1])
    if x.op in ("neg", "abs"):
        inner = as_step(x.argument(), depth - 1)
        change = Fraction.__neg__ if x.op == "neg" else Fraction.__abs__
        return None if inner is None else (inner[0], change(inner[1]), change(inner[2]))
    if x.op in ("add", "mul"):
        for i in (0, 1):
            constant = constant_of(x.argument(i))
            inner = (
                as_step(x.argument(1 - i), depth - 1)
                if constant is not None and x.argument(1 - i).op in _STEPS
                else None
            )
            if constant is not None and inner is not None:
                p, q = (v + constant if x.op == "add" else v * constant for v in inner[1:])
                return inner[0], p, q
    return None


_STEPS = ("compare", "where", "neg", "abs", "add", "mul")


def _pair(x: Expression, depth: int) -> tuple[Expression, Pieces] | None:
    (base, f), (other, g) = read(x.argument(0), depth), read(x.argument(1), depth)
    if x.op == "mul":
        if base is None and other is not None:
            return other, scale(g, f.parts[0][0])
        return None
    if base is None and other is None:
        return None
    if base is None or other is None or base.id == other.id:
        chosen = base if base is not None else other
        assert chosen is not None
        return chosen, add(f, g)
    return None


def _difference(condition: Expression) -> Reading:
    """u - v for a comparison of u and v."""
    (first, u), (second, v) = read(condition.argument(0)), read(condition.argument(1))
    if first is None or second is None or first.id == second.id:
        return (first if first is not None else second), add(u, v, -1)
    return read(condition.argument(0) - condition.argument(1))


def from_where(condition: Expression, x: Expression, y: Expression) -> tuple[Expression, Pieces] | None:
    """(base, pieces) of where(u < v, x, y) when all four are piecewise polynomials of one base and the result is continuous."""
    negated = False
    while condition.op == "add" and condition.argument(0).value == 1 and condition.argument(1).op == "neg":
        condition, negated = condition.argument(1).argument(), not negated
    if condition.literal is not None or condition.op != "compare" or condition.node.attributes["relation"] == "eq":
        return None
    parts = [_difference(condition), read(x), read(y)]
    bases = {base.id: base for base, _ in parts if base is not None}
    if len(bases) != 1:
        return None
    below, f, g = (p for _, p in parts)
    made = choose(below, *((g, f) if negated else (f, g)))
    if made is None or not made.continuous or any(len(p) > 3 for p in made.parts):
        return None
    return next(iter(bases.values())), made


def sign_of(condition: Expression, base: Expression) -> bool | None:
    """True for base > 0 or base >= 0, False for base < 0 or base <= 0, None for any other condition."""
    negated = False
    while condition.op == "add" and condition.argument(0).value == 1 and condition.argument(1).op == "neg":
        condition, negated = condition.argument(1).argument(), not negated
    if condition.literal is not None or condition.op != "compare" or condition.node.attributes["relation"] == "eq":
        return None
    found, below = _difference(condition)  # the condition is below < 0, or <= 0
    if found is None or found.id != base.id:
        return None
    if below.knots or len(below.parts[0]) != 2 or below.parts[0][0] != 0:
        return None
    return (below.parts[0][1] < 0) is not negated
