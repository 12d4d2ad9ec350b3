"""Random graphs with random boxes, aimed at knees, boundaries, signed zeros, huge and tiny constants, broadcasting."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from epigraph.objective.builder import Builder, Expression
from epigraph.objective.domain import Domain
from epigraph.objective.graph import Graph

SHAPES: list[tuple[int, ...]] = [(), (), (1,), (2,), (3,), (2, 3), (3, 1), (1, 3), (2, 2)]
KNEES = [
    2.3993572805154677,
    2.399357280515468,
    -1.2784645427610738,
    1.4142135623730951,
    1.414213562373095,
    -0.7517915246935645,
    -2.2563763963607933,
    1.4905711794854285,
    -1.1924312145154953,
    0.36787944117144233,
    1.0,
    0.5,
    2.0,
    3.0,
    -3.0,
    6.0,
]
NUMBERS = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    2.0,
    3.0,
    -2.0,
    0.25,
    10.0,
    -10.0,
    0.1,
    1e-3,
    100.0,
    -100.0,
    math.pi,
    math.pi / 2,
]
EXTREME = [1e-300, 5e-324, 1e300, -1e300, 1e160, 1e-160, 709.0, 710.0, -745.0, 1e8, -1e8, 2.0**-30]
UNARY = [
    "exp",
    "log",
    "sqrt",
    "abs",
    "relu",
    "sigmoid",
    "tanh",
    "softplus",
    "erf",
    "log_ndtr",
    "sin",
    "cos",
    "atan",
    "xlogx",
    "silu",
    "gelu",
    "mish",
    "sign",
    "floor",
]
EXPONENTS = ["2", "3", "4", "-1", "-2", "-3", "1/2", "3/2", "-1/2", "1/3", "5/2", "7/3", "5", "-3/2"]
ALPHAS = ["1", "1/2", "2", "0", "-1", "1673/1000"]
PIECES: list[tuple[list[str], list[list[str]]]] = [
    (["0"], [["0", "1/100"], ["0", "1"]]),
    (["0"], [["0", "-1/2"], ["0", "1"]]),
    (["-1", "1"], [["-1"], ["0", "1"], ["1"]]),
    (["-1", "1"], [["-1/2", "-1"], ["0", "0", "1/2"], ["-1/2", "1"]]),
    (["-3", "3"], [["0"], ["0", "1/2", "1/6"], ["0", "1"]]),
    (["0", "6"], [["0"], ["0", "1"], ["6"]]),
    (["1/3"], [["0", "0", "3"], ["-1/3", "2"]]),
]


class Maker:
    """One random graph: parameters, constants, and a pool of expressions to combine."""

    def __init__(self, seed: int, wild: float = 0.15):
        self.random = random.Random(seed)
        self.wild = wild
        self.builder = Builder()
        self.lower: dict[str, Tensor] = {}
        self.upper: dict[str, Tensor] = {}
        self.pool: list[Expression] = []

    def number(self) -> float:
        r = self.random.random()
        if r < self.wild:
            return self.random.choice(EXTREME)
        if r < 0.35:
            x = self.random.choice(KNEES)
            return self.random.choice([x, -x, math.nextafter(x, 9), math.nextafter(x, -9), x + 1e-9, x - 1e-9])
        return self.random.choice(NUMBERS) if r < 0.8 else round(self.random.gauss(0, 2), 3)

    def tensor(self, shape: tuple[int, ...]) -> Tensor:
        kind = self.random.random()
        if kind < 0.25:
            values = [float(self.random.randint(0, 1)) for _ in range(math.prod(shape))]
        elif kind < 0.45:
            values = [abs(self.number()) for _ in range(math.prod(shape))]
        else:
            values = [self.number() for _ in range(math.prod(shape))]
        return torch.tensor(values, dtype=torch.float64).reshape(shape)

    def parameter(self, name: str) -> None:
        shape = self.random.choice(SHAPES)
        self.pool.append(self.builder.parameter(name, torch.zeros(shape, dtype=torch.float64)))
        kind = self.random.random()
        if kind < 0.25:
            return
        if kind < 0.85 or not shape:
            ends = sorted((self.number(), self.number()))
            low, high = (torch.tensor(v, dtype=torch.float64) for v in ends)
        else:
            a, b = self.tensor(shape), self.tensor(shape)
            low, high = torch.minimum(a, b), torch.maximum(a, b)
        if kind < 0.7 or kind > 0.8:
            self.lower[name] = low
        if kind > 0.45:
            self.upper[name] = high

    def constant(self, shape: tuple[int, ...]) -> Expression:
        if self.random.random() < 0.4:
            return self.builder.rational(
                Fraction(self.random.choice(["1", "-1", "2", "1/3", "-2/7", "0", "1000", "-5"]))
            )
        return self.builder.literal(self.tensor(shape))

    def operand(self) -> Expression:
        back = min(len(self.pool), 1 + int(self.random.expovariate(0.4)))
        return self.pool[-back]

    def step(self) -> Expression:
        b, x = self.builder, self.operand()
        kinds = ["unary", "affine", "binary", "power", "layout", "reduce", "product", "kinked", "condition", "ratio"]
        kind = self.random.choices(kinds, [22, 18, 18, 9, 8, 8, 8, 6, 6, 7])[0]
        if kind == "unary":
            op = self.random.choice(UNARY)
            return b.make(op, (x,), {}, x.shape) if self.random.random() < 0.4 else x.unary(op)
        if kind == "affine":
            c = self.constant(x.shape)
            return self.random.choice([lambda: x * c, lambda: x + c, lambda: c - x, lambda: x / c, lambda: -x])()
        if kind == "power":
            return b.make("power", (x,), {"exponent": self.random.choice(EXPONENTS)}, x.shape)
        if kind == "kinked":
            return self.kinked(x)
        y = self.operand()
        if kind == "binary":
            return self.random.choice(
                [
                    lambda: x + y,
                    lambda: x * y,
                    lambda: x / y,
                    lambda: b.maximum(x, y),
                    lambda: b.minimum(x, y),
                    lambda: x - y,
                    lambda: b.make("mul", (x, y), {}, torch.broadcast_shapes(x.shape, y.shape)),
                ]
            )()
        if kind == "ratio":
            return self.ratio(x, y)
        return {"layout": self.layout, "reduce": self.reduce, "product": self.product, "condition": self.condition}[
            kind
        ](x)

    def ratio(self, x: Expression, y: Expression) -> Expression:
        """A quotient with a positive denominator that is convex, concave, affine on its box, or neither."""
        positive = self.random.choice(
            [
                lambda: y.unary("exp"),
                lambda: y.unary("relu") + 1,
                lambda: 4 - y.unary("relu"),
                lambda: y + 5,
                lambda: y.unary("softplus"),
                lambda: y.unary("sqrt"),
                lambda: y.unary("sigmoid"),
                lambda: y,
            ]
        )
        return x / positive()

    def kinked(self, x: Expression) -> Expression:
        if self.random.random() < 0.4:
            return self.builder.make("elu", (x,), {"alpha": self.random.choice(ALPHAS)}, x.shape)
        knots, pieces = self.random.choice(PIECES)
        return self.builder.make("piecewise", (x,), {"knots": knots, "pieces": pieces}, x.shape)

    def layout(self, x: Expression) -> Expression:
        r = self.random
        options: list[Any] = [
            lambda: self.side_by_side(x, self.operand()),
            lambda: x.expand((2, *x.shape)),
            lambda: x.reshape((x.numel,)),
        ]
        if x.ndim:
            n = x.shape[0]
            options += [
                lambda: x.take(torch.tensor([r.randrange(n) for _ in range(r.randint(1, 3))]), 0),
                lambda: x.slice(0, r.randrange(n), n, r.randint(1, 2)),
                lambda: x.permute(list(range(x.ndim))[::-1]),
                lambda: self.builder.concat([x, self.builder.literal(self.tensor(x.shape))], 0),
            ]
        return r.choice(options)()

    def side_by_side(self, x: Expression, y: Expression) -> Expression:
        if x.ndim != y.ndim or not x.ndim or x.shape[1:] != y.shape[1:]:
            x, y = x.reshape((x.numel,)), y.reshape((y.numel,))
        return self.builder.concat([x, y], 0)

    def reduce(self, x: Expression) -> Expression:
        if not x.ndim:
            return x
        dims = [self.random.randrange(x.ndim)]
        keep = self.random.random() < 0.3
        return self.random.choice(
            [
                lambda: x.sum(dims, keep),
                lambda: x.amax(dims, keep),
                lambda: x.logsumexp(dims, keep),
                lambda: x.sum(),
                lambda: self.builder.make("log_softmax", (x,), {"dim": dims[0]}, x.shape),
            ]
        )()

    def product(self, x: Expression) -> Expression:
        x = x if x.ndim >= 2 else x.reshape((1, x.numel) if self.random.random() < 0.5 else (x.numel, 1))
        if self.random.random() < 0.3:
            wide = x.reshape((1, 1, x.numel))
            size = self.random.randint(1, min(2, x.numel))
            kernel = self.builder.literal(self.tensor((1, 1, size)))
            out = (1, 1, x.numel + 2 - size + 1)
            return self.builder.make(
                "convolution", (wide, kernel), {"stride": [1], "padding": [1], "dilation": [1], "groups": 1}, out
            )
        y = self.operand() if self.random.random() < 0.3 else None
        if y is not None and y.ndim >= 2 and x.shape[-1] == y.shape[-2]:
            return self.builder.matmul(x, y)
        c = self.builder.literal(self.tensor((x.shape[-1], self.random.randint(1, 3))))
        return self.builder.matmul(x, c)

    def condition(self, x: Expression) -> Expression:
        b, y = self.builder, self.operand()
        relation = self.random.choice(["lt", "le", "eq"])
        if self.random.random() < 0.5:
            mask: Expression = b.literal(
                torch.tensor([float(self.random.randint(0, 1)) for _ in range(x.numel)], dtype=torch.float64).reshape(
                    x.shape
                )
            )
        else:
            mask = b.compare(self.operand(), self.constant(x.shape), relation)
        return self.random.choice(
            [lambda: b.where(mask, x, y), lambda: b.where(mask, y, x), lambda: b.compare(x, y, relation)]
        )()

    def graph(self) -> tuple[Graph, Domain]:
        for name in ("u", "v", "w")[: self.random.randint(1, 3)]:
            self.parameter(name)
        for _ in range(self.random.randint(3, 14)):
            try:
                made = self.step()
                if made.numel > 40 or made.numel == 0:
                    continue
                made.id  # noqa: B018  (puts a literal into the graph)
                self.pool.append(made)
            except (ValueError, RuntimeError, ZeroDivisionError, IndexError, OverflowError):
                continue
        out = next((e for e in reversed(self.pool) if self.builder.varies[e.id]), self.pool[0])
        if out.numel != 1:
            out = out.sum() if self.random.random() < 0.6 else out.amax()
        return self.builder.graph(out.reshape(())), Domain(self.lower, self.upper)


def make(seed: int, wild: float = 0.15) -> tuple[Graph, Domain]:
    """A graph with one output and a box for some of its parameters."""
    return Maker(seed, wild).graph()


__all__ = ["Maker", "make"]
