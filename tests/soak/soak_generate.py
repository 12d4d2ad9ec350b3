"""Random objectives: built towards a curvature by the rules of composition, then spoilt now and then, or at random.

``objective(seed)`` gives a graph with a scalar output, a box, and the active parameters.  Constants lie at the edges
(0, -0, subnormal, huge), at knees and inflection points and their neighbours among the floats.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import soak_lemmas
import torch
from soak_places import EXTREME, KNEES, NUMBERS, PIECES
from torch import Tensor

from epigraph.objective.builder import Builder, Expression
from epigraph.objective.domain import Domain
from epigraph.objective.graph import Graph

Shape = tuple[int, ...]
SHAPES: list[Shape] = [(), (), (1,), (2,), (3,), (2, 2), (1, 3), (2, 1), (2, 3)]
OPPOSITE = {"convex": "concave", "concave": "convex", "affine": "affine"}
TOTAL = ["exp", "abs", "relu", "sigmoid", "tanh", "softplus", "erf", "log_ndtr", "sin", "cos", "atan", "silu", "gelu",
         "mish", "sign", "floor"]  # fmt: skip
PARTIAL = ["log", "sqrt", "xlogx"]
EXPONENTS = ["2", "3", "4", "-1", "-2", "-3", "1/2", "3/2", "-1/2", "1/3", "5/2", "7/3", "5"]
ALPHAS = ["1", "1/2", "2", "0", "-1", "1673/1000"]


@dataclass(frozen=True)
class Case:
    """A graph, its box, the active parameters, and how it was made."""

    graph: Graph
    domain: Domain
    active: tuple[str, ...]
    style: str


class Maker:
    """Makes one objective; all choices come from one seeded generator."""

    def __init__(self, seed: str):
        self.random = random.Random(seed)
        r = self.random
        self.style = r.choices(["convex", "concave", "quasi", "log", "free", "lemma"], [25, 8, 10, 7, 25, 25])[0]
        self.spoil = r.choice([0.0, 0.0, 0.03, 0.1])
        self.wild = r.choice([0.0, 0.0, 0.05, 0.3])
        self.b = Builder()
        self.lower: dict[str, Tensor] = {}
        self.upper: dict[str, Tensor] = {}
        self.parameters: list[Expression] = []
        self.pool: dict[tuple[str, Shape], list[Expression]] = {}

    # numbers ------------------------------------------------------------------------------------------------------
    def number(self) -> float:
        r = self.random
        kind = r.random()
        if kind < self.wild:
            return r.choice(EXTREME)
        if kind < 0.2:
            x = r.choice(KNEES) * r.choice([1, -1])
            return r.choice([x, math.nextafter(x, math.inf), math.nextafter(x, -math.inf)])
        return r.choice(NUMBERS) if kind < 0.6 else round(r.gauss(0, 1.5), 2)

    def tensor(self, shape: Shape, sign: str = "any") -> Tensor:
        count = math.prod(shape)
        values = [self.number() for _ in range(count)]
        if sign == "any" and self.random.random() < 0.2:
            values = [float(self.random.randint(0, 1)) for _ in range(count)]
        if sign == "positive":
            values = [abs(v) for v in values]
        return torch.tensor(values, dtype=torch.float64).reshape(shape)

    def constant(self, shape: Shape, sign: str = "any") -> Expression:
        r = self.random
        if r.random() < 0.5:
            p = Fraction(r.choice([1, 1, 2, 3, 5, 1000]), r.choice([1, 1, 2, 3, 7, 1000]))
            return self.b.rational(-p if sign == "any" and r.random() < 0.4 else p)
        return self.b.literal(self.tensor(shape, sign))

    # leaves -------------------------------------------------------------------------------------------------------
    def parameter(self, name: str) -> None:
        shape = self.random.choice(SHAPES)
        self.parameters.append(self.b.parameter(name, torch.zeros(shape, dtype=torch.float64)))
        kind = self.random.choices(["none", "positive", "lower", "upper", "box", "tensor"], [40, 25, 8, 7, 15, 5])[0]
        a, b = sorted((self.number(), self.number()))
        low, high = (torch.tensor(v, dtype=torch.float64) for v in (a, b))
        if kind == "positive":
            low = torch.tensor(self.random.choice([0.0, 0.0, 1e-3, 0.5, 1.0]), dtype=torch.float64)
            high = torch.tensor(10.0, dtype=torch.float64)
            self.lower[name] = low
            if self.random.random() < 0.3:
                self.upper[name] = high
            return
        if kind == "tensor":
            one, two = self.tensor(shape), self.tensor(shape)
            low, high = torch.minimum(one, two), torch.maximum(one, two)
        if kind in ("lower", "box", "tensor"):
            self.lower[name] = low
        if kind in ("upper", "box", "tensor"):
            self.upper[name] = high

    def fit(self, x: Expression, shape: Shape, sign: str = "any") -> Expression:
        """An expression of the shape with entries affine in x's: moved, selected, repeated or mixed by a constant matrix."""
        r = self.random
        if x.shape == shape and r.random() < 0.6:
            return x
        count = math.prod(shape)
        if x.numel == count and r.random() < 0.5:
            return x.reshape(shape)
        flat = x.reshape((x.numel,))
        if r.random() < 0.5:
            return flat.take(torch.tensor([r.randrange(x.numel) for _ in range(count)]), 0).reshape(shape)
        return self.b.matmul(flat, self.b.literal(self.tensor((x.numel, count), sign))).reshape(shape)

    def affine(self, shape: Shape) -> Expression:
        r = self.random
        x = self.fit(r.choice(self.parameters), shape)
        if r.random() < 0.5:
            x = x * self.constant(shape)
        if r.random() < 0.4:
            x = x + self.fit(r.choice(self.parameters), shape)
        return x + self.constant(shape) if r.random() < 0.5 else x

    def positive(self, shape: Shape, depth: int) -> Expression:
        """Concave and positive where the box allows it."""
        r = self.random
        bounded = [p for p in self.parameters if p.node.attributes["name"] in self.lower]
        if not bounded:
            return r.choice([lambda: self.b.rational(3).expand(shape), lambda: 3 - self.sigmoidal(shape)])()
        x = self.fit(r.choice(bounded), shape, "positive") * self.constant(shape, "positive")
        x = x + self.constant(shape, "positive") if r.random() < 0.5 else x
        return r.choice([lambda: x, lambda: x, lambda: (x + 1).unary("log"), lambda: x.unary("sqrt"),
                         lambda: self.b.minimum(x, self.constant(shape, "positive").expand(shape)),
                         lambda: x.unary("tanh")])()  # fmt: skip

    def sigmoidal(self, shape: Shape) -> Expression:
        return self.affine(shape).unary(self.random.choice(["sigmoid", "tanh", "atan", "erf"]))

    # towards a curvature --------------------------------------------------------------------------------------------
    def make(self, target: str, shape: Shape, depth: int) -> Expression:
        r, key = self.random, (target, shape)
        if self.pool.get(key) and r.random() < 0.15:
            return r.choice(self.pool[key])
        if r.random() < self.spoil:
            target = r.choice(["convex", "concave", "affine", "free"])
        out = self.build(target, shape, depth)
        if out.shape != shape:
            out = out.expand(shape) if out.ndim <= len(shape) and out.numel == 1 else self.fit(out, shape, "positive")
        self.pool.setdefault(key, []).append(out)
        return out

    def build(self, target: str, shape: Shape, depth: int) -> Expression:
        if target == "free":
            return self.free(shape, depth)
        if target == "affine" or depth <= 0:
            return self.affine(shape)
        if self.random.random() < 0.08:
            return soak_lemmas.drawn(self, shape, min(depth, 3))
        if self.random.random() < 0.12:
            return self.from_other_shape(target, shape, depth)
        if self.random.random() < 0.25:
            return self.combination(target, shape, depth)
        if target == "concave":
            return self.concave(shape, depth)
        return self.convex(shape, depth)

    def narrower(self, shape: Shape) -> Shape:
        """Now and then a shape that broadcasts to this one."""
        r = self.random
        if not shape or r.random() < 0.8:
            return shape
        kept = shape[r.randint(0, len(shape)) :]
        return tuple(1 if r.random() < 0.3 else n for n in kept)

    def combination(self, target: str, shape: Shape, depth: int) -> Expression:
        r = self.random
        x = self.make(target, shape, depth - 1)
        if r.random() < 0.6:
            return x + self.make(r.choice([target, target, "affine"]), self.narrower(shape), depth - 1)
        if r.random() < 0.5:
            return x * self.constant(shape, "positive")
        return self.make(OPPOSITE[target], shape, depth - 1) * -self.constant(shape, "positive")

    def from_other_shape(self, target: str, shape: Shape, depth: int) -> Expression:
        r = self.random
        more = (*shape, r.choice([2, 3])) if math.prod(shape) <= 3 else shape
        if more == shape or r.random() < 0.3:
            other = r.choice(SHAPES)
            return self.fit(self.make(target, other, depth - 1), shape, "positive")
        x = self.make(target, more, depth - 1)
        last = [len(more) - 1]
        if target == "convex":
            return r.choice([lambda: x.sum(last), lambda: x.amax(last), lambda: x.logsumexp(last)])()
        if r.random() < 0.3:
            flat = self.make("affine", more, depth - 1)
            return self.b.make("log_softmax", (flat,), {"dim": last[0]}, more).select(last[0], 0)
        return r.choice([lambda: x.sum(last), lambda: -((-x).amax(last)), lambda: -((-x).logsumexp(last))])()

    def convex(self, shape: Shape, depth: int) -> Expression:
        r, b = self.random, self.b
        one = lambda: self.make("convex", shape, depth - 1)  # noqa: E731
        flat = lambda: self.make("affine", shape, depth - 1)  # noqa: E731
        low = lambda: self.make("concave", shape, depth - 1)  # noqa: E731
        choices: list[Callable[[], Expression]] = [
            lambda: one().unary(r.choice(["exp", "softplus", "relu"])),
            lambda: flat().unary("abs"),
            lambda: b.power(flat(), Fraction(r.choice([2, 4]))),
            lambda: b.power(one().unary(r.choice(["relu", "softplus"])), Fraction(r.choice(["2", "3", "3/2", "5/2"]))),
            lambda: b.maximum(one(), self.make("convex", self.narrower(shape), depth - 1)),
            lambda: b.make("elu", (one(),), {"alpha": r.choice(["1", "1/2", "0"])}, shape),
            lambda: self.piecewise(flat()),
            lambda: -(self.positive(shape, depth).unary(r.choice(["log", "sqrt"]))),
            lambda: b.power(self.positive(shape, depth), Fraction(r.choice(["-1", "-2", "-1/2"]))),
            lambda: self.positive(shape, depth).unary("xlogx"),
            lambda: b.power(flat(), Fraction(2)) / self.positive(shape, depth),
            lambda: (b.power(flat(), Fraction(2)) + b.power(one().unary("abs"), Fraction(2))).unary("sqrt"),
            lambda: -(low().unary("log_ndtr")),
            lambda: (-low()).unary("softplus"),
            lambda: self.clamped(shape).unary(r.choice(["silu", "gelu", "mish", "cos", "sin", "sigmoid", "tanh"])),
            lambda: one().unary("exp") * one().unary("exp"),
            lambda: one().unary("exp") / self.positive(shape, depth),
        ]
        return r.choice(choices)()

    def concave(self, shape: Shape, depth: int) -> Expression:
        r, b = self.random, self.b
        low = lambda: self.make("concave", shape, depth - 1)  # noqa: E731
        choices: list[Callable[[], Expression]] = [
            lambda: -self.make("convex", shape, depth - 1),
            lambda: -self.make("convex", shape, depth - 1),
            lambda: b.minimum(low(), low()),
            lambda: self.positive(shape, depth).unary(r.choice(["log", "sqrt"])),
            lambda: b.power(self.positive(shape, depth), Fraction(r.choice(["1/3", "1/2", "3/4"]))),
            lambda: low().unary("log_ndtr"),
            lambda: -((-low()).unary("softplus")),
            lambda: self.positive(shape, depth).unary(r.choice(["tanh", "sigmoid", "erf", "atan"])),
        ]
        return r.choice(choices)()

    def clamped(self, shape: Shape) -> Expression:
        """A parameter as it is, so that its box decides which side of a knee the argument is on."""
        return self.fit(self.random.choice(self.parameters), shape)

    def piecewise(self, x: Expression) -> Expression:
        knots, pieces = self.random.choice(PIECES)
        return self.b.make("piecewise", (x,), {"knots": list(knots), "pieces": [list(p) for p in pieces]}, x.shape)

    def quasi(self, shape: Shape, depth: int) -> Expression:
        """Monotone functions of convex ones, ratios, maxima."""
        r, b = self.random, self.b
        one = lambda: self.make("convex", shape, depth - 1)  # noqa: E731
        rising = ["sigmoid", "tanh", "atan", "erf", "sign", "floor", "exp", "log_ndtr"]
        choices: list[Callable[[], Expression]] = [
            lambda: one().unary(r.choice(rising)),
            lambda: b.power(one(), Fraction(3)),
            lambda: one().unary("softplus") / self.positive(shape, depth),
            lambda: self.make("affine", shape, 1) / self.positive(shape, depth),
            lambda: b.maximum(one().unary(r.choice(rising)), one()),
            lambda: self.make("affine", shape, 1).unary(r.choice(["silu", "gelu", "mish", "sigmoid"])),
            lambda: b.compare(one(), self.constant(shape), r.choice(["lt", "le"])),
            lambda: (one().unary("exp") + 1).unary("log"),
        ]
        return r.choice(choices)()

    def log(self, shape: Shape, depth: int) -> Expression:
        """Log-convex and log-concave functions, their products, powers and sums."""
        r, b = self.random, self.b
        if depth <= 0:
            return self.make("affine", shape, 1).unary(r.choice(["exp", "sigmoid", "softplus", "relu"]))
        choices: list[Callable[[], Expression]] = [
            lambda: self.make("convex", shape, depth - 1).unary("exp"),
            lambda: self.make("concave", shape, depth - 1).unary(r.choice(["exp", "sigmoid", "softplus"])),
            lambda: self.log(shape, depth - 1) * self.log(shape, depth - 1),
            lambda: self.log(shape, depth - 1) / self.log(shape, depth - 1),
            lambda: self.log(shape, depth - 1) + self.log(shape, depth - 1),
            lambda: b.power(self.log(shape, depth - 1), Fraction(r.choice(["2", "-1", "1/2", "3", "-1/2"]))),
            lambda: self.log(shape, depth - 1).unary("log").unary(r.choice(["exp", "relu"])),
            lambda: self.positive(shape, depth),
        ]
        return r.choice(choices)()

    # at random ------------------------------------------------------------------------------------------------------
    def free(self, shape: Shape, depth: int) -> Expression:
        r, b = self.random, self.b
        if depth <= 0:
            return self.affine(shape)
        target = r.choice(["free", "free", "free", "convex", "concave", "affine"])
        x = self.make(target, shape, depth - 1)
        other = lambda: self.make(r.choice(["free", "affine", target]), self.narrower(shape), depth - 1)  # noqa: E731
        choices: list[tuple[int, Callable[[], Expression]]] = [
            (20, lambda: x.unary(r.choice(TOTAL))),
            (5, lambda: x.unary(r.choice(PARTIAL))),
            (8, lambda: b.make("power", (x,), {"exponent": r.choice(EXPONENTS)}, x.shape)),
            (5, lambda: self.piecewise(x)),
            (4, lambda: b.make("elu", (x,), {"alpha": r.choice(ALPHAS)}, x.shape)),
            (16, lambda: x + other()),
            (6, lambda: x - other()),
            (10, lambda: x * other()),
            (5, lambda: x / other()),
            (6, lambda: r.choice([b.maximum, b.minimum])(x, other())),
            (8, lambda: x * self.constant(shape) + self.constant(shape)),
            (6, lambda: self.condition(x, other())),
            (6, lambda: self.fit(self.make("free", r.choice(SHAPES), depth - 1), shape)),
            (3, lambda: self.convolution(x)),
        ]
        return r.choices([c for _, c in choices], [w for w, _ in choices])[0]()

    def condition(self, x: Expression, y: Expression) -> Expression:
        r, b = self.random, self.b
        if r.random() < 0.5:
            mask: Expression = b.literal((self.tensor(x.shape) > 0).double())
        else:
            mask = b.compare(self.affine(x.shape), self.constant(x.shape).expand(x.shape), r.choice(["lt", "le", "eq"]))
        return b.where(mask, x, y)

    def convolution(self, x: Expression) -> Expression:
        wide = x.reshape((1, 1, x.numel))
        size = self.random.randint(1, min(2, x.numel))
        kernel = self.b.literal(self.tensor((1, 1, size), self.random.choice(["any", "positive"])))
        out = (1, 1, x.numel + 2 - size + 1)
        settings = {"stride": [1], "padding": [1], "dilation": [1], "groups": 1}
        return self.b.make("convolution", (wide, kernel), settings, out)

    # the whole ------------------------------------------------------------------------------------------------------
    def case(self) -> Case:
        r = self.random
        names = ("u", "v", "w")[: r.choice([1, 1, 2, 2, 3])]
        for name in names:
            self.parameter(name)
        shape, depth = r.choice(SHAPES), r.choice([2, 3, 3, 4, 5])
        if self.style == "quasi":
            out = self.quasi(shape, depth)
        elif self.style == "log":
            out = self.log(shape, depth - 1)
        elif self.style == "lemma":
            out = soak_lemmas.drawn(self, shape, depth)
        else:
            out = self.make(self.style, shape, depth)
        out = self.to_scalar(out)
        active = names if len(names) == 1 or r.random() < 0.75 else tuple(r.sample(names, r.randint(1, len(names) - 1)))
        return Case(self.b.graph(out), Domain(self.lower, self.upper), active, self.style)

    def to_scalar(self, out: Expression) -> Expression:
        out.id  # noqa: B018  (puts a literal into the graph)
        if out.numel == 1:
            return out.reshape(())
        kinds: Sequence[str] = {"quasi": ["amax"], "concave": ["sum", "min"]}.get(self.style, ["sum", "amax", "mean"])
        kind = self.random.choice(kinds)
        return -((-out).amax()) if kind == "min" else {"sum": out.sum, "amax": out.amax, "mean": out.mean}[kind]()


def objective(seed: str) -> Case | None:
    """The objective of a seed, or None where the draws cannot be combined."""
    try:
        maker = Maker(seed)
        case = maker.case()
    except (ValueError, RuntimeError, ZeroDivisionError, OverflowError, NotImplementedError, IndexError):
        return None
    varies = case.graph.depends(case.active)[case.graph.output]
    return case if varies and sum(n.numel for n in case.graph) <= 600 and len(case.graph) <= 120 else None
