"""Second derivatives carried along with values, over any numbers with + and *: an oracle without tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


class Hyperdual:
    """value + gradient . d + d^T hessian d / 2, truncated beyond the second order."""

    def __init__(self, value: Any, gradient: list[Any], hessian: list[list[Any]]):
        self.value, self.gradient, self.hessian = value, gradient, hessian

    @staticmethod
    def variables(values: Sequence[Any]) -> list[Hyperdual]:
        n, zero = len(values), values[0] * 0
        return [
            Hyperdual(v, [zero + (i == k) for i in range(n)], [[zero] * n for _ in range(n)])
            for k, v in enumerate(values)
        ]

    def __add__(self, other: Any) -> Hyperdual:
        if not isinstance(other, Hyperdual):
            return Hyperdual(self.value + other, self.gradient, self.hessian)
        gradient = [a + b for a, b in zip(self.gradient, other.gradient, strict=True)]
        rows = zip(self.hessian, other.hessian, strict=True)
        return Hyperdual(self.value + other.value, gradient, [[a + b for a, b in zip(*r, strict=True)] for r in rows])

    def __mul__(self, other: Any) -> Hyperdual:
        if not isinstance(other, Hyperdual):
            return self.map(self.value * other, other, 0 * other)
        u, v, n = self, other, range(len(self.gradient))
        hessian = [
            [
                u.value * v.hessian[i][j]
                + v.value * u.hessian[i][j]
                + u.gradient[i] * v.gradient[j]
                + u.gradient[j] * v.gradient[i]
                for j in n
            ]
            for i in n
        ]
        return Hyperdual(u.value * v.value, [u.value * v.gradient[i] + v.value * u.gradient[i] for i in n], hessian)

    __radd__, __rmul__ = __add__, __mul__

    def map(self, value: Any, first: Any, second: Any) -> Hyperdual:
        """f(self) from f, f' and f'' at the value."""
        g, n = self.gradient, range(len(self.gradient))
        hessian = [[first * self.hessian[i][j] + second * g[i] * g[j] for j in n] for i in n]
        return Hyperdual(value, [first * a for a in g], hessian)


def hessian(f: Callable[[list[Hyperdual]], Hyperdual], point: Sequence[Any]) -> list[list[Any]]:
    return f(Hyperdual.variables(point)).hessian
