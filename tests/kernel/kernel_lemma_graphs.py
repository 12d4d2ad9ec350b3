"""Random graphs on which power means, ranked sums, perspectives and quadratic parts have something to say."""

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

EXPONENTS = ["1/2", "1/3", "2/3", "1/4", "3/2", "2", "3", "-1", "-1/2", "-2", "4", "5/2"]
BOXES: list[tuple[float | None, float | None]] = [
    (0.0, None), (0.0, None), (0.25, 2.0), (0.0, 1.0), (1.0, 3.0), (None, None), (-1.0, 2.0), (None, 0.0), (-3.0, -0.5),
]  # fmt: skip
PHI = ("exp", "log", "sqrt", "softplus", "abs", "relu", "xlogx", "tanh", "sigmoid")


class LemmaMaker:
    """Parameters of one shape, and a pool of expressions that are combined by the new lemmas' operations."""

    def __init__(self, seed: int):
        self.random, self.builder = random.Random(seed), Builder()
        self.shape = self.random.choice([(), (), (2,), (3,), (2, 3)])
        self.lower: dict[str, Tensor] = {}
        self.upper: dict[str, Tensor] = {}
        self.leaves = [self.parameter(name) for name in ("u", "v", "w")[: self.random.randint(1, 3)]]
        self.pool = list(self.leaves)

    def parameter(self, name: str) -> Expression:
        low, high = self.random.choice(BOXES)
        if low is not None:
            self.lower[name] = torch.tensor(low, dtype=torch.float64)
        if high is not None:
            self.upper[name] = torch.tensor(high, dtype=torch.float64)
        return self.builder.parameter(name, torch.zeros(self.shape, dtype=torch.float64))

    def any(self) -> Expression:
        return self.random.choice(self.pool[-6:])

    def affine(self) -> Expression:
        x, y = self.random.choice(self.leaves), self.random.choice(self.leaves)
        c = self.random.choice([1, 1, 2, Fraction(1, 2), -1, 3])
        return self.random.choice([lambda: x, lambda: x + y * c, lambda: x * c + self.random.choice([0, 1, 2, -1])])()

    def weights(self, size: int) -> Tensor:
        values = [float(self.random.choice([-2, -1, -0.5, 0, 0, 0.5, 1, 1, 3])) for _ in range(size)]
        kind = self.random.random()
        values = sorted(values) if kind < 0.4 else sorted(values, reverse=True) if kind < 0.7 else values
        shift = self.random.choice([0.0, 0.0, -values[0], -values[-1]])
        return torch.tensor([v + shift for v in values], dtype=torch.float64)

    def step(self) -> Expression:
        kinds = {
            "power": 5,
            "binary": 6,
            "ranked": 3,
            "perspective": 4,
            "quadratic": 3,
            "unary": 3,
            "leaf": 2,
            "sum": 2,
        }
        return getattr(self, self.random.choices(list(kinds), list(kinds.values()))[0])()

    def power(self) -> Expression:
        x, e = self.any(), self.random.choice(EXPONENTS)
        return self.builder.make("power", (x,), {"exponent": e}, x.shape) if e != "1/2" else x.unary("sqrt")

    def binary(self) -> Expression:
        x, y, b = self.any(), self.any(), self.builder
        options: list[Any] = [lambda: x * y, lambda: x / y, lambda: x + y, lambda: x - y, lambda: b.maximum(x, y),
                              lambda: b.minimum(x, y), lambda: x * Fraction(2, 3), lambda: x + 1, lambda: 3 - x]  # fmt: skip
        return self.random.choice(options)()

    def leaf(self) -> Expression:
        return self.affine()

    def unary(self) -> Expression:
        x = self.any()
        return self.builder.make(op, (x,), {}, x.shape) if (op := self.random.choice(PHI)) else x

    def sum(self) -> Expression:
        x = self.any()
        if not x.ndim:
            return x
        dims = [self.random.randrange(x.ndim)]
        return self.random.choice(
            [lambda: x.sum(dims, True), lambda: x.amax(dims, True), lambda: x.logsumexp(dims, True)]
        )()

    def ranked(self) -> Expression:
        """A weighted sum of sorted entries, or of a log-softmax, perhaps of some of them."""
        x = self.random.choice([self.any, self.affine])()
        if not x.ndim:
            return x
        op, dim = self.random.choice(["sort", "sort", "log_softmax"]), self.random.randrange(x.ndim)
        made = self.builder.make(op, (x,), {"dim": dim}, x.shape)
        size = x.shape[dim]
        if self.random.random() < 0.3:
            places = [self.random.randrange(size) for _ in range(self.random.randint(1, 3))]
            made, size = made.take(torch.tensor(places), dim), len(places)
        if self.random.random() < 0.3:
            made = -made
        shape = [size if d == dim else 1 for d in range(x.ndim)]
        if self.random.random() < 0.2 and x.ndim == 2 and dim == 1:
            matrix = torch.stack([self.weights(size) for _ in range(2)], 1)
            return self.builder.matmul(made, self.builder.literal(matrix)).sum()
        made = made * self.builder.literal(self.weights(size).reshape(shape))
        return made.sum([dim], True) * self.random.choice([1, Fraction(1, 3), -1])

    def perspective(self) -> Expression:
        s, x = self.affine(), self.random.choice([self.affine, self.affine, self.any])()
        if x.shape != s.shape:
            return s
        kind = self.random.random()
        if kind < 0.2:
            logs = x.unary("log") - s.unary("log")
            return self.random.choice([lambda: x * logs, lambda: s * logs, lambda: (x - s) * logs])()
        if kind < 0.3:
            return s.unary("xlogx") - s * x.unary("log")
        ratio = self.random.choice([x / s, s / x])
        for _ in range(self.random.randint(0, 2)):
            op = self.random.choice([*PHI, "power", "shift"])
            if op == "shift":
                ratio = ratio * self.random.choice([1, 2, -1]) + self.random.choice([1, -1, 2])
            elif op == "power":
                ratio = self.builder.make("power", (ratio,), {"exponent": self.random.choice(EXPONENTS)}, ratio.shape)
            else:
                ratio = self.builder.make(op, (ratio,), {}, ratio.shape)
        return s * ratio

    def quadratic(self) -> Expression:
        """Products of affine functions, with something else among the terms, perhaps under a root."""
        total: Any = self.random.choice([0, 1, 2])
        for _ in range(self.random.randint(2, 4)):
            x, y = self.affine(), self.affine()
            total = total + x * y * self.random.choice([1, 1, -1, 2, Fraction(1, 2)])
        if self.random.random() < 0.3:
            total = total + self.any()
        return total.unary("sqrt") if self.random.random() < 0.4 else total

    def graph(self) -> tuple[Graph, Domain]:
        for _ in range(self.random.randint(2, 7)):
            try:
                made = self.step()
                if 0 < made.numel <= 40:
                    made.id  # noqa: B018
                    self.pool.append(made)
            except (ValueError, RuntimeError, ZeroDivisionError, NotImplementedError):
                continue
        out = next((e for e in reversed(self.pool) if self.builder.varies[e.id]), self.pool[0])
        if math.prod(out.shape) != 1:
            out = out.sum() if self.random.random() < 0.7 else out.amax()
        return self.builder.graph(out.reshape(())), Domain(self.lower, self.upper)


def make(seed: int) -> tuple[Graph, Domain]:
    """A graph with one output and a box."""
    return LemmaMaker(seed).graph()
