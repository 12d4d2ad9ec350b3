"""Identities that hold for all real arguments, so that one function written in several ways becomes one graph.

Each function looks for one family of spellings and returns the simpler expression, or None.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from epigraph.objective.polynomials import Pieces, Step, as_step, constant_of, from_where, is_negative, read, sign_of
from epigraph.objective.polynomials import add as add_pieces

if TYPE_CHECKING:
    from epigraph.objective.builder import Builder, Expression


def unary(b: Builder, op: str, x: Expression) -> Expression | None:
    """sqrt(x^2) = |x|; relu of what is never negative; the logarithms below."""
    if op == "sqrt" and x.op == "power" and x.node.attributes["exponent"] == "2":
        return x.argument().unary("abs")
    if op == "abs" and x.op in ("abs", "neg"):
        return x.argument().unary("abs")
    if op in ("relu", "abs") and x.op in ("relu", "exp", "sigmoid", "softplus", "abs"):
        return x
    if op == "exp" and x.value == 0:
        return b.rational(1)
    return _logarithm(b, x) if op == "log" else None


def _logarithm(b: Builder, x: Expression) -> Expression | None:
    """log e^x = x, log sigmoid(x) = -softplus(-x), log(1 + e^x) = softplus(x), log of a sum of exponentials."""
    if x.value == 1:
        return b.rational(0)
    if x.op == "exp":
        return x.argument()
    if x.op == "sigmoid":
        return -(-x.argument()).unary("softplus")
    if (inner := _one_plus_exp(x)) is not None:
        return inner.unary("softplus")
    if (pair := _sigmoids(x)) is not None:
        return _log_of_difference(b, *pair)
    total = x.argument() if x.op == "reshape" else x
    if total.op == "sum" and total.argument().op == "exp":
        return _reshaped(total.argument().argument().logsumexp(total.node.attributes["dims"]), x.shape)
    return None


def _sigmoids(x: Expression) -> tuple[Expression, Expression] | None:
    """(u, v) where x = sigmoid(u) - sigmoid(v)."""
    if x.op != "add" or not x.argument(0).shape == x.argument(1).shape == x.shape:
        return None
    for i in (0, 1):
        plus, minus = x.argument(i), x.argument(1 - i)
        if plus.op == "sigmoid" and minus.op == "neg" and minus.argument().op == "sigmoid":
            return plus.argument(), minus.argument().argument()
    return None


def _log_of_difference(b: Builder, u: Expression, v: Expression) -> Expression:
    """log(sigmoid(u) - sigmoid(v)) = log sigmoid(u) + log sigmoid(-v) + log(1 - e^(v - u)), defined for u > v only."""
    gap = difference(b, v, u)
    return -(-u).unary("softplus") - v.unary("softplus") + (1 - gap.unary("exp")).unary("log")


def difference(b: Builder, x: Expression, y: Expression) -> Expression:
    """x - y with the terms left out that both sums have and that are defined everywhere."""
    left, right = _terms(x), _terms(y)
    for term in list(left):
        if term in right and b.total[term[0]]:
            left.remove(term)
            right.remove(term)
    shape = x.shape
    out = b.rational(0)
    for terms, flip in ((left, False), (right, True)):
        for identifier, negative in terms:
            node = b.nodes[identifier]
            term = type(x)(b, identifier, node.shape)
            out = out - term if negative is not flip else out + term
    return out.expand(shape)


def _terms(x: Expression) -> list[tuple[int, bool]]:
    """(node, subtracted?) of each term of a sum."""
    pending, found = [(x, False)], []
    while pending:
        term, negative = pending.pop()
        if term.op == "add" and len(found) + len(pending) < 32:
            pending += [(term.argument(0), negative), (term.argument(1), negative)]
        elif term.op == "neg":
            pending.append((term.argument(), not negative))
        else:
            found.append((term.id, negative))
    return found


def _reshaped(x: Expression, shape: tuple[int, ...]) -> Expression:
    """A sum is reshaped term by term, so that its terms can still cancel."""
    if x.op == "add" and x.argument(0).shape == x.argument(1).shape == x.shape:
        return x.argument(0).reshape(shape) + x.argument(1).reshape(shape)
    return x.reshape(shape)


def _one_plus_exp(x: Expression) -> Expression | None:
    """z where x = 1 + e^z."""
    if x.op != "add":
        return None
    for one, other in ((0, 1), (1, 0)):
        if x.argument(one).value == 1 and x.argument(other).op == "exp" and x.argument(other).shape == x.shape:
            return x.argument(other).argument()
    return None


def add(b: Builder, x: Expression, y: Expression, shape: tuple[int, ...]) -> Expression | None:
    """(x + y) - y = x where y is defined everywhere; 1 - sigmoid(x) = sigmoid(-x)."""
    for whole, part in ((x, y), (y, x)):
        if whole.op == "add" and whole.shape == part.shape == shape:
            for i in (0, 1):
                if _opposite(whole.argument(i), part) and b.total[part.id] and whole.argument(1 - i).shape == shape:
                    return whole.argument(1 - i)
        if whole.value == 1 and part.op == "neg" and part.argument().op == "sigmoid" and part.shape == shape:
            return (-part.argument().argument()).unary("sigmoid")
    return _joined_pieces(b, x, y, shape) or _completed(b, x, y, shape)


def _completed(b: Builder, x: Expression, y: Expression, shape: tuple[int, ...]) -> Expression | None:
    """t + softplus(-t) = relu(t) + softplus(-|t|) = softplus(t); relu(t) + min(a (e^t - 1), 0) = elu(t), among the terms."""
    if x.shape != shape or y.shape != shape:
        return None
    for whole, part in ((x, y), (y, x)):
        for wanted, made in _partners(part):
            terms = _terms(whole)
            if (wanted.id, False) in terms:
                terms.remove((wanted.id, False))
                out = made
                for identifier, negative in terms:
                    term = type(x)(b, identifier, b.nodes[identifier].shape)
                    out = out - term if negative else out + term
                return out.expand(shape)
    return None


def _partners(part: Expression) -> list[tuple[Expression, Expression]]:
    """(p, q) with part + p = q."""
    if part.op == "softplus" and is_negative(part.argument()):
        t = -part.argument()
        found = [(t, t.unary("softplus"))]
        if t.op == "abs":
            inner = t.argument()
            found += [(z.unary("relu"), z.unary("softplus")) for z in (inner, -inner)]
        return found
    if part.op == "piecewise" and part.node.attributes == {"knots": ["0"], "pieces": [["0", "1"], ["0"]]}:
        curve = _exponential(part.argument())
        if curve is not None and curve[1] == -curve[2] > 0 and curve[0].shape == part.shape:
            t, scale, _ = curve
            return [(t.unary("relu"), t.unary("elu", alpha=str(scale)))]
    return []


_KINKED = ("relu", "abs", "piecewise")


def _joined_pieces(b: Builder, x: Expression, y: Expression, shape: tuple[int, ...]) -> Expression | None:
    """A sum of kinked functions of one variable is one piecewise polynomial: relu(x) - relu(-x) = x."""
    if x.shape != shape or y.shape != shape or not (_kinked(x) and _kinked(y)):
        return None
    (base, f), (other, g) = read(x), read(y)
    if base is None or other is None or base.id != other.id or base.shape != shape:
        return None
    total = add_pieces(f, g).simplify()
    return _kept(b, base, total) if total.continuous and max(map(len, total.parts)) <= 3 else None


def _kinked(x: Expression) -> bool:
    """relu, abs or piecewise, perhaps squared, perhaps with a factor."""
    while x.op == "neg" or (x.op == "mul" and x.argument(0).value is not None):
        x = x.argument(1 if x.op == "mul" else 0)
    if x.op == "power" and x.node.attributes["exponent"] == "2":
        x = x.argument()
    return x.op in _KINKED


def product(b: Builder, x: Expression, y: Expression) -> Expression | None:
    """Products of two tensors of one shape that have a simpler form (called with both orders)."""
    if y.op in ("log", "sigmoid") and y.argument().id == x.id:
        return x.unary("xlogx" if y.op == "log" else "silu")
    if y.op == "relu" and y.argument().id == x.id:
        return y**2
    if y.op == "mul" and y.argument(0).value is not None and y.argument(1).shape == y.shape:
        return (x * y.argument(1)) * y.argument(0)
    if y.op == "add" and (split := _log_plus_constant(b, x, y)) is not None:
        return x.unary("xlogx") + x * split
    if x.op == "power" and x.node.attributes["exponent"] == "2" and x.argument().op == "div":
        quotient = x.argument()
        if quotient.argument(1).id == y.id and quotient.argument(0).shape == y.shape:
            return quotient.argument(0) ** 2 / y
    step = as_step(x)
    return None if step is None else _chosen_factor(b, step, y)


def _log_plus_constant(b: Builder, x: Expression, y: Expression) -> Expression | None:
    """k where y = log x + k with a constant k."""
    for i in (0, 1):
        log, constant = y.argument(i), y.argument(1 - i)
        if log.op == "log" and log.argument().id == x.id and not b.varies[constant.id]:
            return constant
    return None


def _chosen_factor(b: Builder, step: Step, y: Expression) -> Expression | None:
    """(p where the condition holds, else q) times y, where that is a continuous piecewise polynomial."""
    condition, p, q = step
    found = from_where(condition, y * p, y * q)
    return _kept(b, *found) if found is not None and found[0].shape == y.shape else None


def _opposite(x: Expression, y: Expression) -> bool:
    plain = (
        "neg",
        "reshape",
        "mul",
    )  # a negative is one of these, so that most pairs are told apart without a new node
    return (x.op in plain or y.op in plain) and (-x).id == y.id


def power(b: Builder, x: Expression, exponent: Fraction) -> Expression | None:
    """1/(1 + e^z) = sigmoid(-z)."""
    if exponent == -1 and (z := _one_plus_exp(x)) is not None:
        return (-z).unary("sigmoid")
    return None


def quotient(b: Builder, x: Expression, y: Expression) -> Expression | None:
    """e^z / (1 + e^z) = sigmoid(z); e^z / sum e^z = softmax."""
    if (
        x.op != "exp"
        or len(y.shape) > x.ndim
        or any(m not in (1, n) for n, m in zip(x.shape[::-1], y.shape[::-1], strict=False))
    ):
        return None
    if (z := _one_plus_exp(y)) is not None and z.id == x.argument().id:
        return z.unary("sigmoid")
    total = y
    while total.op in ("reshape", "expand"):
        total = total.argument()
    if total.op == "sum" and total.argument().id == x.id and len(total.node.attributes["dims"]) == 1:
        dim = total.node.attributes["dims"][0]
        kept = tuple(1 if d == dim else n for d, n in enumerate(x.shape))
        if y.shape == kept or (x.ndim == 1 and y.shape == ()) or (y.op == "expand" and y.argument().shape == kept):
            return log_softmax(b, x.argument(), dim).unary("exp")
    return None


def log_softmax(b: Builder, x: Expression, dim: int) -> Expression:
    """A shift that is constant along the dimension does not change it, nor does doing it twice."""
    if x.op == "log_softmax" and x.node.attributes["dim"] == dim:
        return x
    split = _without_shift(x, [dim])
    inner = x if split is None or not b.total[split[1].id] else split[0]
    return b.make("log_softmax", (inner,), {"dim": dim}, x.shape)


def logsumexp(b: Builder, x: Expression, dims: list[int]) -> Expression | None:
    """log sum e^(z + s) = s + log sum e^z for a shift s that is constant along the dimensions; 0 where z is a log-softmax."""
    dropped = tuple(n for d, n in enumerate(x.shape) if d not in dims)
    if x.op == "log_softmax" and dims == [x.node.attributes["dim"]] and b.total[x.id]:
        return b.rational(0).expand(dropped)
    split = _without_shift(x, dims)
    if split is None:
        return None
    inner, shift = split
    kept = tuple(1 if d in dims else n for d, n in enumerate(x.shape))
    return inner.logsumexp(dims) + shift.expand(kept).reshape(dropped)


def _without_shift(x: Expression, dims: list[int]) -> tuple[Expression, Expression] | None:
    """(z, s) where x = z + s, z has x's shape and s does not vary along the dimensions."""
    if x.op != "add":
        return None
    for i in (0, 1):
        inner, shift = x.argument(1 - i), x.argument(i)
        narrow = shift.argument() if shift.op == "expand" else shift
        padded = (1,) * (x.ndim - narrow.ndim) + narrow.shape
        if inner.shape == x.shape and all(padded[d] == 1 for d in dims) and any(x.shape[d] > 1 for d in dims):
            return inner, narrow
    return None


def where(b: Builder, condition: Expression, x: Expression, y: Expression, shape: tuple[int, ...]) -> Expression | None:
    """A continuous choice between polynomials of one variable by its own value: |x|, Huber, squared hinge, ..."""
    if x.id == y.id and x.shape == shape and b.total[condition.id]:
        return x
    found = from_where(condition, x, y)
    if found is not None:
        return _kept(b, *found) if found[0].shape == shape else None
    return _elu(condition, x, y, shape)


def _elu(condition: Expression, x: Expression, y: Expression, shape: tuple[int, ...]) -> Expression | None:
    """c t where t > 0 and c alpha (e^t - 1) elsewhere, c times elu."""
    for right, left, positive in ((x, y, True), (y, x, False)):
        base, line = read(right)
        curve = _exponential(left)
        if base is None or curve is None or curve[0].id != base.id or base.shape != shape or line.knots:
            continue
        coefficients = line.parts[0]
        _, scale, constant = curve
        slope = coefficients[1] if len(coefficients) == 2 and coefficients[0] == 0 else Fraction(0)
        if slope and scale == -constant and sign_of(condition, base) == positive:
            alpha = scale / slope
            return base.unary("elu", alpha=str(alpha)) * slope
    return None


def _exponential(x: Expression) -> tuple[Expression, Fraction, Fraction] | None:
    """(t, a, c) where x = a e^t + c."""
    if x.op == "exp":
        return x.argument(), Fraction(1), Fraction(0)
    if x.op == "neg":
        found = _exponential(x.argument())
        return None if found is None else (found[0], -found[1], -found[2])
    if x.op not in ("add", "mul"):
        return None
    for i in (0, 1):
        c, found = constant_of(x.argument(i)), None
        if c is not None and x.argument(1 - i).shape == x.shape:
            found = _exponential(x.argument(1 - i))
        if c is not None and found is not None:
            return (found[0], found[1], found[2] + c) if x.op == "add" else (found[0], found[1] * c, found[2] * c)
    return None


def _kept(b: Builder, base: Expression, pieces: Pieces) -> Expression | None:
    """The piecewise polynomial, unless it is a constant that forgets where its variable is not defined."""
    forgets = not pieces.knots and len(pieces.parts[0]) == 1 and not b.total[base.id]
    return None if forgets else piecewise(b, base, pieces)


def piecewise(b: Builder, base: Expression, pieces: Pieces) -> Expression:
    """The node of a continuous piecewise polynomial, under its common name where it has one."""
    if pieces.named() is not None:
        return base.unary(str(pieces.named()))
    return base.unary("piecewise", **pieces.attributes()) if pieces.knots else pieces.single(base)
