"""Functions of one real variable: the sign of J'' on the whole domain, by exact polynomials or by Taylor balls.

Composition rules see operators, not the function: x^2 + sin x is convex although sin is not.  With one variable J'' can
be enclosed: a polynomial's sign is decided by Sturm's theorem, any other smooth J'' by Arb power series on pieces of a
bounded domain (or on the whole line at once, where that is enough).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NoReturn

import numpy as np
from flint import arb, arb_series, ctx, fmpq, fmpq_poly

from epigraph.convexity.evidence import Court, array
from epigraph.convexity.prove import Prover
from epigraph.convexity.verdict import Proof, Step
from epigraph.objective.graph import Graph, Node

PIECES = 512
ENTRIES = 20_000
DEGREE = 24


class _Unknown(Exception):
    """A piece on which the sign is not settled."""


def univariate_claims(prover: Prover, active: Sequence[str], court: Court) -> dict[str, Proof]:
    """Proofs of convexity or concavity where J has a single real variable in all."""
    graph = prover.graph
    if (
        sum(p.numel() for p in graph.parameters.values()) != 1
        or sum(n.numel for n in graph) > ENTRIES
        or not court.possible
    ):
        return {}
    (name,) = graph.parameters
    low, high = prover.bounds[graph.parameter_nodes[name]].hull
    degree = prover.output(active).degree
    polynomial = _polynomial(graph, court, degree) if 2 < degree <= DEGREE else None
    if polynomial is not None:
        second = polynomial.derivative().derivative()
        signs = [never_negative(s * second, low, high) for s in (1, -1)]
        evidence = f"J'' = {second} has one sign on [{low:.4g}, {high:.4g}], by Sturm's theorem"
    else:
        signs = [_enclosed(graph, s, low, high) for s in (1, -1)]
        evidence = f"J'' is enclosed by Arb power series on [{low:.4g}, {high:.4g}]"
    found = {}
    for word, sign in zip(("convex", "concave"), signs, strict=True):
        if sign:
            for prefix in ("", "quasi"):
                found[prefix + word] = _proof(graph, active, prefix + word, evidence)
    return found


# polynomials ------------------------------------------------------------------------------------------------------
def _polynomial(graph: Graph, court: Court, degree: int) -> fmpq_poly | None:
    """J by interpolation at 0, 1, ..., degree, in rational numbers."""
    from epigraph.certificate import exact
    from epigraph.certificate.points import Delta

    if not exact.supports_exact(court.plain) or not court.keys:
        return None
    ((name, key),) = court.keys.items()
    shape = tuple(graph.parameters[name].shape)
    arrays = {k: s.array for k, s in court.stored.items()} | {key: np.zeros(shape)}
    points = [{key: Delta(1, np.full(shape, i, np.int32), 0)} if i else {} for i in range(degree + 1)]
    try:
        values = exact.evaluate(court.plain, arrays, points, "exact")
    except ArithmeticError:
        return None
    total, basis = fmpq_poly([0]), fmpq_poly([1])
    for i, value in enumerate(values):  # Newton's form
        step = (value - total(fmpq(i))) / basis(fmpq(i))
        total, basis = total + step * basis, basis * fmpq_poly([-i, 1])
    return total


def never_negative(p: fmpq_poly, low: float, high: float) -> bool:
    """Is p >= 0 on [low, high]?  No factor of odd multiplicity may have a root inside, and one value must not be negative.

    >>> never_negative(fmpq_poly([1, -2, 1]), -math.inf, math.inf), never_negative(fmpq_poly([0, 1]), -1.0, 1.0)
    (True, False)
    """
    if p.degree() < 0:
        return True
    odd = [q for q, multiplicity in p.factor()[1] if multiplicity % 2]
    if any(_roots_inside(q, low, high) for q in odd):
        return False
    inside = _between(low, high)
    return any(p(fmpq(x.numerator, x.denominator)) > 0 for x in inside)


def _between(low: float, high: float) -> list[Fraction]:
    """More points strictly inside the interval than a polynomial of moderate degree has roots."""
    a = Fraction(low) if low > -math.inf else (Fraction(high) if high < math.inf else Fraction(0)) - 64
    b = Fraction(high) if high < math.inf else a + 128
    return [a + (b - a) * k / 128 for k in range(1, 128)]


def _roots_inside(q: fmpq_poly, low: float, high: float) -> int:
    """Distinct real roots in the open interval, by Sturm's theorem."""
    chain = [q, q.derivative()]
    while chain[-1].degree() > 0:
        remainder = -(chain[-2] % chain[-1])
        if remainder.degree() < 0:
            break
        chain.append(remainder)
    at_end = int(math.isfinite(high) and q(_rational(high)) == 0)
    return _changes(chain, low) - _changes(chain, high) - at_end


def _changes(chain: Sequence[fmpq_poly], x: float) -> int:
    """Sign changes along the chain at x, at infinity by the leading terms."""
    signs = []
    for p in chain:
        value = p(_rational(x)) if math.isfinite(x) else p[p.degree()] * (-1 if x < 0 and p.degree() % 2 else 1)
        if value != 0:
            signs.append(value > 0)
    return sum(a != b for a, b in itertools.pairwise(signs))


def _rational(x: float) -> fmpq:
    exact = Fraction(x)
    return fmpq(exact.numerator, exact.denominator)


# power series -----------------------------------------------------------------------------------------------------
def _enclosed(graph: Graph, sign: int, low: float, high: float) -> bool:
    """Is sign * J'' >= 0 on the interval, with J smooth there?"""
    with ctx.workprec(128):
        cap, ctx.cap = ctx.cap, 4
        try:
            if not math.isfinite(low) or not math.isfinite(high):
                return low == -math.inf and high == math.inf and _settled(graph, sign, arb("+/- inf"), None, None)
            ends = [Fraction(low) + (Fraction(high) - Fraction(low)) * k / PIECES for k in range(PIECES + 1)]
            for k, (a, b) in enumerate(itertools.pairwise(ends)):
                left, right = _arb(a), _arb(b)
                if not _settled(
                    graph, sign, left.union(right), left if k == 0 else None, right if k == PIECES - 1 else None
                ):
                    return False
            return True
        except (_Unknown, ZeroDivisionError, ValueError, TypeError):
            return False
        finally:
            ctx.cap = cap


def _arb(x: Fraction) -> arb:
    return arb(fmpq(x.numerator, x.denominator))


def _settled(graph: Graph, sign: int, piece: arb, left: arb | None, right: arb | None) -> bool:
    """J'' on a piece; beside an end of the domain where J'' = 0, its value there and the sign of J''' decide."""
    series = _series(graph, piece)
    if sign * series[2] >= 0:
        return True
    for end, direction in ((left, 1), (right, -1)):
        if end is not None and sign * direction * series[3] >= 0 and sign * _series(graph, end)[2] >= 0:
            return True
    return False


def _series(graph: Graph, at: arb) -> arb_series:
    """The Taylor series of J about every point of a ball, to third order."""
    values: list[Any] = []
    for node in graph:
        if node.op == "parameter":
            values.append(_filled(node.shape, arb_series([at, 1])))
        elif node.op == "constant":
            values.append(_constant(graph, node))
        else:
            values.append(_apply(node, [values[i] for i in node.inputs]))
            if values[-1].dtype == object and any(c.is_nan() for v in values[-1].reshape(-1) for c in v.coeffs()):
                _unknown()  # not defined on all of the piece, even where a later factor is zero
    (out,) = values[graph.output].reshape(-1)
    return out if isinstance(out, arb_series) else _unknown()


def _filled(shape: tuple[int, ...], value: Any) -> np.ndarray:
    """The value in every entry; entry by entry, since NumPy would take a series for a sequence of its coefficients."""
    out = np.empty(math.prod(shape), dtype=object)
    for i in range(out.size):
        out[i] = value
    return out.reshape(shape)


def _constant(graph: Graph, node: Node) -> np.ndarray:
    if "value" in node.attributes:
        return _filled((), arb_series([_arb(Fraction(node.attributes["value"]))]))
    leaf = graph.tensors[node.attributes["tensor"]]
    raw = array(leaf.tensor)
    if leaf.role == "index":
        return raw
    return _each(lambda v: arb_series([arb(float(v))]), raw)


def _apply(node: Node, x: Sequence[np.ndarray]) -> np.ndarray:
    a = node.attributes
    if node.op in _UNARY:
        return _each(_UNARY[node.op], x[0])
    if node.op == "power":
        return _each(_power(Fraction(a["exponent"])), x[0])
    if node.op == "same":
        return x[0]
    if node.op not in _TENSOR:
        _unknown()
    out = _TENSOR[node.op](a, x)
    return out if isinstance(out, np.ndarray) else _filled((), out)


def _unknown(*_: Any) -> NoReturn:
    raise _Unknown


def _each(function: Callable[[Any], Any], x: np.ndarray) -> np.ndarray:
    out = np.empty(x.size, dtype=object)
    for i, v in enumerate(x.reshape(-1)):
        out[i] = function(v)
    return out.reshape(x.shape)


def _power(p: Fraction) -> Callable[[Any], Any]:
    def whole(s: Any) -> Any:
        out = arb_series([1])
        for _ in range(abs(int(p))):
            out = out * s
        return out if p >= 0 else 1 / out

    def fractional(s: Any) -> Any:
        return (s.log() * _arb(p)).exp() if s[0] > 0 else _unknown()

    return whole if p.denominator == 1 and abs(p) <= 64 else fractional


def _sigmoid(s: Any) -> Any:
    return 1 / (1 + (-s).exp())


def _signed(positive: Callable[[Any], Any], negative: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function with a kink at zero, away from it."""
    return lambda s: positive(s) if s[0] > 0 else negative(s) if s[0] < 0 else _unknown()


_UNARY: dict[str, Callable[[Any], Any]] = {
    "neg": lambda s: -s,
    "exp": lambda s: s.exp(),
    "log": lambda s: s.log(),
    "sqrt": lambda s: s.sqrt(),
    "sin": lambda s: s.sin(),
    "cos": lambda s: s.cos(),
    "atan": lambda s: s.atan(),
    "erf": lambda s: s.erf(),
    "sigmoid": _sigmoid,
    "tanh": lambda s: 1 - 2 / (1 + (2 * s).exp()),
    "softplus": lambda s: (1 + s.exp()).log(),
    "silu": lambda s: s * _sigmoid(s),
    "gelu": lambda s: s * (1 + (s / arb(2).sqrt()).erf()) / 2,
    "xlogx": lambda s: s * s.log(),
    "abs": _signed(lambda s: s, lambda s: -s),
    "relu": _signed(lambda s: s, lambda s: arb_series([0])),
}

_TENSOR: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, x: x[0] + x[1],
    "mul": lambda a, x: x[0] * x[1],
    "div": lambda a, x: x[0] / x[1],
    "matmul": lambda a, x: np.matmul(x[0], x[1]),
    "sum": lambda a, x: np.sum(x[0], axis=tuple(a["dims"])),
    "reshape": lambda a, x: x[0].reshape(a["shape"]),
    "permute": lambda a, x: x[0].transpose(a["dims"]),
    "expand": lambda a, x: np.broadcast_to(x[0], a["shape"]),
    "concat": lambda a, x: np.concatenate(x, a["dim"]),
    "slice": lambda a, x: x[0][(slice(None),) * a["dim"] + (slice(a["start"], a["stop"], a["step"]),)],
    "take": lambda a, x: np.take(x[0], x[1], a["dim"]),
}


def _proof(graph: Graph, active: Sequence[str], name: str, evidence: str) -> Proof:
    node = graph[graph.output]
    step = Step(
        node.id,
        name,
        "a function of one variable is convex where its second derivative is not negative",
        (),
        (evidence,),
        node.origin.operator or node.op,
        node.shape,
        node.origin.location,
        node.origin.module,
    )
    return Proof(name, (step,), {"property": name, "active": list(active), "lemma": "univariate", "evidence": evidence})
