"""Arithmetic and functions of one variable, entry by entry."""

from __future__ import annotations

from fractions import Fraction
from itertools import zip_longest
from typing import final

from epigraph.symmetry.charges import Charges
from epigraph.symmetry.rules.base import Elementwise, agree, combine, homogeneous, nothing, odd, register
from epigraph.symmetry.trace import Step


# arithmetic -------------------------------------------------------------------------------------------------------
@register("add")
@final
class Add(Elementwise):
    """g(x + y) = g x + g y for one linear g."""

    def charges(self, q: Charges, step: Step) -> None:
        agree(q, step, step.inputs)


@register("neg", "same")
@final
class Same(Elementwise):
    """Linear in its one operand."""

    def charges(self, q: Charges, step: Step) -> None:
        agree(q, step, step.inputs[:1])


@register("mul")
@final
class Multiply(Elementwise):
    """Factors multiply."""

    def charges(self, q: Charges, step: Step) -> None:
        combine(q, step, (1, 1))


@register("div")
@final
class Divide(Elementwise):
    """Factors divide."""

    def charges(self, q: Charges, step: Step) -> None:
        combine(q, step, (1, -1))


@register("power")
@final
class Power(Elementwise):
    """(c x)^e = c^e x^e: for all c where e is whole, else for c > 0."""

    def charges(self, q: Charges, step: Step) -> None:
        exponent = Fraction(step.node.attributes["exponent"])
        if exponent.denominator == 1:
            combine(q, step, (int(exponent),))
        else:
            combine(q, step, (exponent,), "scale")
            nothing(q, [*step.inputs, step.output], "sign")


@register("sqrt")
@final
class Root(Elementwise):
    """sqrt(c x) = sqrt(c) sqrt(x) for c > 0."""

    def charges(self, q: Charges, step: Step) -> None:
        combine(q, step, (Fraction(1, 2),), "scale")
        nothing(q, [*step.inputs, step.output], "sign")


@register("maximum")
@final
class Maximum(Elementwise):
    """Commutes with positive factors."""

    def charges(self, q: Charges, step: Step) -> None:
        homogeneous(q, step, step.inputs)


@register("where")
@final
class Where(Elementwise):
    """Linear in the two branches, while the condition stays."""

    def charges(self, q: Charges, step: Step) -> None:
        nothing(q, step.inputs[:1])
        agree(q, step, step.inputs[1:])


@register("compare")
@final
class Compare(Elementwise):
    """Unchanged where both sides get one positive factor; equality under any factor but 0."""

    def charges(self, q: Charges, step: Step) -> None:
        first, second = step.inputs
        if step.node.attributes["relation"] != "eq":
            nothing(q, step.inputs, "sign")
        nothing(q, [step.output])
        if first.shape != second.shape and not (first.zero or second.zero):
            nothing(q, step.inputs)
        elif not (first.zero or second.zero):
            if [c.atoms for c in first.cells] == [c.atoms for c in second.cells]:
                q.define(second, q.table(first))
            else:
                nothing(q, step.inputs)


# functions of one variable ----------------------------------------------------------------------------------------
@register("tanh", "erf", "sin", "atan")
@final
class Odd(Elementwise):
    """f(-x) = -f(x)."""

    def charges(self, q: Charges, step: Step) -> None:
        odd(q, step)


@register("sigmoid")
@final
class Sigmoid(Elementwise):
    """f(-x) = 1 - f(x)."""

    def charges(self, q: Charges, step: Step) -> None:
        if "centre" in step.notes:
            odd(q, step)
        else:
            nothing(q, [*step.inputs, step.output])

    def centre(self, step: Step) -> Fraction | None:
        return Fraction(1, 2)


@register("cos")
@final
class Even(Elementwise):
    """f(-x) = f(x)."""

    def charges(self, q: Charges, step: Step) -> None:
        nothing(q, [step.output])
        nothing(q, step.inputs, "scale")


@register("relu")
@final
class Homogeneous(Elementwise):
    """f(c x) = c f(x) for c > 0."""

    def charges(self, q: Charges, step: Step) -> None:
        homogeneous(q, step, step.inputs)


@register("abs")
@final
class Absolute(Elementwise):
    """|c x| = |c| |x|."""

    def charges(self, q: Charges, step: Step) -> None:
        agree(q, step, step.inputs, "scale")
        nothing(q, [step.output], "sign")


@register("sign")
@final
class Sign(Elementwise):
    """sign(c x) = sign(c) sign(x)."""

    def charges(self, q: Charges, step: Step) -> None:
        agree(q, step, step.inputs, "sign")
        nothing(q, [step.output], "scale")


@register("exp", "log", "softplus", "log_ndtr", "xlogx", "silu", "gelu", "mish", "elu", "floor")
@final
class Plain(Elementwise):
    """Commutes with no factor but 1."""

    def charges(self, q: Charges, step: Step) -> None:
        nothing(q, [*step.inputs, step.output])


@register("piecewise")
@final
class Piecewise(Elementwise):
    """What its polynomials are: homogeneous of degree 1, odd up to a constant, even, or none of these."""

    def charges(self, q: Charges, step: Step) -> None:
        knots, pieces, mirrored = _polynomials(step)
        linear = knots in ([], [0]) and all(len(p) <= 2 and not any(p[:1]) for p in pieces)
        about = _about(knots, pieces, mirrored)
        flips = about == 0 or (about is not None and "centre" in step.notes)
        even = [-k for k in reversed(knots)] == knots and mirrored == pieces
        agree(q, step, step.inputs, None if flips else "scale")
        if not linear:
            nothing(q, [*step.inputs, step.output], "scale")
        if not flips:
            nothing(q, [step.output] if even else [*step.inputs, step.output], "sign")

    def centre(self, step: Step) -> Fraction | None:
        return _about(*_polynomials(step)) or None


Polynomials = list[list[Fraction]]


def _polynomials(step: Step) -> tuple[list[Fraction], Polynomials, Polynomials]:
    """Knots, pieces, and the pieces of f(-x)."""
    knots = [Fraction(k) for k in step.node.attributes["knots"]]
    pieces = [_trimmed([Fraction(c) for c in p]) for p in step.node.attributes["pieces"]]
    return knots, pieces, [_trimmed([c * (-1) ** i for i, c in enumerate(p)]) for p in reversed(pieces)]


def _about(knots: list[Fraction], pieces: Polynomials, mirrored: Polynomials) -> Fraction | None:
    """c where f(x) + f(-x) = 2c."""
    if [-k for k in reversed(knots)] != knots:
        return None
    sums = {
        tuple(_trimmed([a + b for a, b in zip_longest(p, m, fillvalue=Fraction(0))]))
        for p, m in zip(pieces, mirrored, strict=True)
    }
    if len(sums) > 1 or any(len(s) > 1 for s in sums):
        return None
    return (sums.pop() or (Fraction(0),))[0] / 2


def _trimmed(coefficients: list[Fraction]) -> list[Fraction]:
    while coefficients and coefficients[-1] == 0:
        coefficients = coefficients[:-1]
    return coefficients
