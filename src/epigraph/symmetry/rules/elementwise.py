"""Arithmetic and functions of one variable, entry by entry."""

from __future__ import annotations

from fractions import Fraction
from typing import final

from epigraph.symmetry.charges import Charges
from epigraph.symmetry.rules.base import Elementwise, agree, combine, nothing, register, transfer
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
        if q.modulo_two and exponent.denominator > 1:
            nothing(q, [*step.inputs, step.output])
        else:
            combine(q, step, (exponent,))


@register("sqrt")
@final
class Root(Elementwise):
    """sqrt(c x) = sqrt(c) sqrt(x) for c > 0."""

    def charges(self, q: Charges, step: Step) -> None:
        if q.modulo_two:
            nothing(q, [*step.inputs, step.output])
        else:
            combine(q, step, (Fraction(1, 2),))


@register("maximum")
@final
class Maximum(Elementwise):
    """Commutes with positive factors."""

    def charges(self, q: Charges, step: Step) -> None:
        if q.modulo_two:
            nothing(q, [*step.inputs, step.output])
        else:
            agree(q, step, step.inputs)


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
        if q.modulo_two and step.node.attributes["relation"] != "eq":
            nothing(q, [*step.inputs, step.output])
            return
        first, second = step.inputs
        nothing(q, [step.output])
        if first.shape != second.shape and not (first.zero or second.zero):
            nothing(q, step.inputs)
        elif not (first.zero or second.zero):
            for k in range(len(first.cells)):
                if k >= len(second.cells) or not transfer(q, first, k, second, k):
                    nothing(q, step.inputs)


# functions of one variable ----------------------------------------------------------------------------------------
@register("tanh", "erf", "sin", "atan")
@final
class Odd(Elementwise):
    """f(-x) = -f(x)."""

    def charges(self, q: Charges, step: Step) -> None:
        if q.modulo_two:
            agree(q, step, step.inputs)
        else:
            nothing(q, [*step.inputs, step.output])


@register("cos")
@final
class Even(Elementwise):
    """f(-x) = f(x)."""

    def charges(self, q: Charges, step: Step) -> None:
        nothing(q, [step.output] if q.modulo_two else [*step.inputs, step.output])


@register("relu")
@final
class Homogeneous(Elementwise):
    """f(c x) = c f(x) for c > 0."""

    def charges(self, q: Charges, step: Step) -> None:
        if q.modulo_two:
            nothing(q, [*step.inputs, step.output])
        else:
            agree(q, step, step.inputs)


@register("abs")
@final
class Absolute(Elementwise):
    """|c x| = |c| |x|."""

    def charges(self, q: Charges, step: Step) -> None:
        if q.modulo_two:
            nothing(q, [step.output])
        else:
            agree(q, step, step.inputs)


@register("sign")
@final
class Sign(Elementwise):
    """sign(c x) = sign(c) sign(x)."""

    def charges(self, q: Charges, step: Step) -> None:
        if q.modulo_two:
            agree(q, step, step.inputs)
        else:
            nothing(q, [step.output])


@register("exp", "log", "sigmoid", "softplus", "log_ndtr", "xlogx", "silu", "gelu", "mish", "elu", "floor")
@final
class Plain(Elementwise):
    """Commutes with no factor but 1."""

    def charges(self, q: Charges, step: Step) -> None:
        nothing(q, [*step.inputs, step.output])


@register("piecewise")
@final
class Piecewise(Elementwise):
    """What its polynomials are: homogeneous of degree 1, odd, even, or none of these."""

    def charges(self, q: Charges, step: Step) -> None:
        knots = [Fraction(k) for k in step.node.attributes["knots"]]
        pieces = [_trimmed([Fraction(c) for c in p]) for p in step.node.attributes["pieces"]]
        linear = knots in ([], [0]) and all(len(p) <= 2 and not any(p[:1]) for p in pieces)
        mirrored = [_trimmed([c * (-1) ** i for i, c in enumerate(p)]) for p in reversed(pieces)]
        symmetric = [-k for k in reversed(knots)] == knots
        if not q.modulo_two and linear:
            agree(q, step, step.inputs)
        elif q.modulo_two and symmetric and mirrored == [[-c for c in p] for p in pieces]:
            agree(q, step, step.inputs)
        elif q.modulo_two and symmetric and mirrored == pieces:
            nothing(q, [step.output])
        else:
            nothing(q, [*step.inputs, step.output])


def _trimmed(coefficients: list[Fraction]) -> list[Fraction]:
    while coefficients and coefficients[-1] == 0:
        coefficients = coefficients[:-1]
    return coefficients
