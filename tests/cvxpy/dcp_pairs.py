"""Random expressions written twice, for CVXPY and for PyTorch."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import cvxpy as cp

SIZE = 3
Values = Mapping[str, Tensor]


@dataclass(frozen=True)
class Pair:
    """An expression of CVXPY, the same as a function of tensors, and how it reads."""

    dcp: Any
    torch: Callable[[Values], Tensor]
    text: str

    def torch_of(self, names: list[str]) -> Callable[..., Tensor]:
        """The function of these variables by name."""
        return lambda *values, **named: self.torch({**dict(zip(names, values, strict=False)), **named})

    @property
    def scalar(self) -> bool:
        return self.dcp.ndim == 0


def lift(name: str, f: Callable[..., Any], g: Callable[..., Tensor], *args: Pair) -> Pair:
    """An operator on expressions, in both languages."""
    return Pair(
        f(*(a.dcp for a in args)),
        lambda v: g(*(a.torch(v) for a in args)),
        f"{name}({', '.join(a.text for a in args)})",
    )


def variables() -> tuple[dict[str, Pair], dict[str, Any], dict[str, tuple[float | None, float | None]]]:
    """x free, p nonnegative, s a positive scalar, t a free scalar; CVXPY's variables, and the boxes."""
    made = {
        "x": cp.Variable(SIZE, name="x"),
        "p": cp.Variable(SIZE, name="p", nonneg=True),
        "s": cp.Variable(name="s", nonneg=True),
        "t": cp.Variable(name="t"),
    }
    pairs = {n: Pair(v, lambda values, n=n: values[n], n) for n, v in made.items()}
    return pairs, made, {"p": (0.0, None), "s": (0.0, None)}


def x_exp(x: Tensor) -> Tensor:
    return x * torch.exp(x)


def huber(m: float) -> Callable[[Tensor], Tensor]:
    return lambda x: 2 * torch.nn.functional.huber_loss(x, torch.zeros_like(x), reduction="none", delta=m)


def relative_entropy(x: Tensor, y: Tensor) -> Tensor:
    return x * torch.log(x / y)


# name, CVXPY, PyTorch; entry by entry
ELEMENTWISE: list[tuple[str, Callable[..., Any], Callable[..., Tensor]]] = [
    ("exp", cp.exp, torch.exp),
    ("log", cp.log, torch.log),
    ("log1p", cp.log1p, torch.log1p),
    ("square", cp.square, torch.square),
    ("abs", cp.abs, torch.abs),
    ("pos", cp.pos, torch.relu),
    ("neg_part", cp.neg, lambda x: torch.relu(-x)),
    ("logistic", cp.logistic, torch.nn.functional.softplus),
    ("entr", cp.entr, lambda x: -torch.special.xlogy(x, x)),
    ("sqrt", cp.sqrt, torch.sqrt),
    ("inv_pos", cp.inv_pos, torch.reciprocal),
    ("huber", lambda x: cp.huber(x, 1.5), huber(1.5)),
    ("cube", lambda x: cp.power(x, 3), lambda x: x**3),
    ("fourth", lambda x: cp.power(x, 4), lambda x: x**4),
    ("power_1.5", lambda x: cp.power(x, 1.5), lambda x: x**1.5),
    ("power_0.75", lambda x: cp.power(x, 0.75), lambda x: x**0.75),
    ("power_-2", lambda x: cp.power(x, -2), lambda x: x ** (-2)),
    ("power_-0.5", lambda x: cp.power(x, -0.5), lambda x: x ** (-0.5)),
    ("xexp", cp.xexp, x_exp),
    ("negate", lambda x: -x, lambda x: -x),
]
# vectors to numbers
REDUCTIONS: list[tuple[str, Callable[..., Any], Callable[..., Tensor]]] = [
    ("sum", cp.sum, torch.sum),
    ("mean", cp.mean, torch.mean),
    ("max", cp.max, torch.amax),
    ("min", cp.min, torch.amin),
    ("log_sum_exp", cp.log_sum_exp, lambda x: torch.logsumexp(x, 0)),
    ("sum_squares", cp.sum_squares, lambda x: (x**2).sum()),
    ("norm1", cp.norm1, lambda x: x.abs().sum()),
    ("norm2", lambda x: cp.norm(x, 2), torch.linalg.vector_norm),
    ("norm_inf", cp.norm_inf, lambda x: x.abs().amax()),
    ("norm_3", lambda x: cp.pnorm(x, 3), lambda x: torch.linalg.vector_norm(x, 3)),
    ("norm_1.5", lambda x: cp.pnorm(x, 1.5), lambda x: torch.linalg.vector_norm(x, 1.5)),
    ("norm_4_spelled_out", lambda x: cp.pnorm(x, 4), lambda x: (x**4).sum() ** 0.25),
    ("sum_largest", lambda x: cp.sum_largest(x, 2), lambda x: torch.topk(x, 2).values.sum()),
    ("sum_smallest", lambda x: cp.sum_smallest(x, 2), lambda x: torch.topk(x, 2, largest=False).values.sum()),
    ("sum_largest_sorted", lambda x: cp.sum_largest(x, 2), lambda x: torch.sort(x, descending=True).values[:2].sum()),
    ("geo_mean", cp.geo_mean, lambda x: torch.exp(torch.log(x).mean())),
    ("geo_mean_prod", cp.geo_mean, lambda x: torch.prod(x) ** (1 / SIZE)),
    ("harmonic_mean", cp.harmonic_mean, lambda x: SIZE / (1 / x).sum()),
    ("total_variation", cp.tv, lambda x: torch.diff(x).abs().sum()),
    ("peak_to_peak", lambda x: cp.max(x) - cp.min(x), lambda x: x.amax() - x.amin()),
    ("variance", cp.var, lambda x: torch.var(x, correction=0)),
    ("deviation", cp.std, lambda x: torch.std(x, correction=0)),
]
# two operands of one shape
BINARY: list[tuple[str, Callable[..., Any], Callable[..., Tensor]]] = [
    ("add", lambda x, y: x + y, torch.add),
    ("sub", lambda x, y: x - y, torch.sub),
    ("maximum", cp.maximum, torch.maximum),
    ("minimum", cp.minimum, torch.minimum),
    ("kl_div", cp.kl_div, lambda x, y: relative_entropy(x, y) - x + y),
    ("rel_entr", cp.rel_entr, relative_entropy),
    ("product", cp.multiply, torch.mul),
]


# atoms that CVXPY restricts to positive arguments; most of theirs are drawn from what is positive on the box
POSITIVE = {"log", "log1p", "entr", "sqrt", "inv_pos", "cube", "power_1.5", "power_0.75", "power_-2", "power_-0.5", "xexp",
            "geo_mean", "geo_mean_prod", "harmonic_mean", "kl_div", "rel_entr"}  # fmt: skip


class Maker:
    """Draws expressions, preferring those to which CVXPY's rules give a curvature."""

    def __init__(self, seed: str):
        self.random = random.Random(seed)
        self.made, self.dcp_variables, self.domain = variables()

    def leaf(self, scalar: bool) -> Pair:
        names = ["s", "t", "t"] if scalar else ["x", "x", "p"]
        out = self.made[self.random.choice(names)]
        return self.affine(out) if self.random.random() < 0.6 else out

    def affine(self, x: Pair) -> Pair:
        r = self.random
        if x.scalar or r.random() < 0.5:
            a, b = (r.choice([1.0, 2.0, 0.5, -1.0, 3.0, -0.25]) for _ in range(2))
            return Pair(a * x.dcp + b, lambda v: a * x.torch(v) + b, f"({a} {x.text} + {b})")
        sign = r.choice([0.0, -1.5])
        A = np.array([[round(r.uniform(sign, 1.5), 2) for _ in range(SIZE)] for _ in range(SIZE)])
        b = np.array([round(r.uniform(sign, 1.5), 2) for _ in range(SIZE)])
        tA, tb = torch.from_numpy(A), torch.from_numpy(b)
        return Pair(A @ x.dcp + b, lambda v: tA @ x.torch(v) + tb, f"(A {x.text} + b)")

    def positive(self, scalar: bool) -> Pair:
        """Concave and nonnegative on the box, mostly affine."""
        r = self.random
        base = self.made["s" if scalar else "p"]
        a, b = r.choice([1.0, 2.0, 0.5]), r.choice([0.0, 0.0, 0.25, 1.0])
        x = Pair(a * base.dcp + b, lambda v: a * base.torch(v) + b, f"({a} {base.text} + {b})")
        if r.random() < 0.3:
            return lift(*r.choice([e for e in ELEMENTWISE if e[0] in ("sqrt", "log1p", "power_0.75")]), x)
        return lift(*BINARY[3], x, base) if r.random() < 0.15 else x

    def argument(self, name: str, scalar: bool, depth: int) -> Pair:
        if name in POSITIVE and self.random.random() < 0.8:
            return self.positive(scalar)
        return self.draw(scalar, depth)

    def draw(self, scalar: bool, depth: int) -> Pair:
        """The best of a few drafts, where best is a known curvature."""
        if depth <= 0:
            return self.leaf(scalar)
        drafts = [self.draft(scalar, depth) for _ in range(3 if self.random.random() < 0.75 else 1)]
        curved = [d for d in drafts if d.dcp.is_convex() or d.dcp.is_concave()]
        bent = [d for d in curved if not d.dcp.is_affine()]
        return (bent or curved or drafts)[0]

    def draft(self, scalar: bool, depth: int) -> Pair:
        r = self.random
        if scalar and r.random() < 0.4:
            atom = r.choice(REDUCTIONS)
            return lift(*atom, self.argument(atom[0], False, depth - 1))
        kind = r.choices(["elementwise", "binary", "scale", "over"], [45, 35, 15, 6])[0]
        if kind == "over" and scalar:
            x, y = self.draw(False, depth - 1), self.positive(True) if r.random() < 0.8 else self.draw(True, 0)
            return lift("quad_over_lin", cp.quad_over_lin, lambda a, b: (a**2).sum() / b, x, y)
        if kind == "binary":
            atom = r.choice(BINARY if r.random() < 0.5 else BINARY[:4])
            return lift(*atom, *(self.argument(atom[0], scalar, depth - 1) for _ in range(2)))
        if kind == "scale":
            return self.affine(self.draw(scalar, depth - 1))
        atom = r.choice(ELEMENTWISE)
        return lift(*atom, self.argument(atom[0], scalar, depth - 1))

    def objective(self) -> Pair:
        """A scalar that depends on a variable."""
        while True:
            out = self.draw(True, self.random.choice([2, 2, 3, 3, 4]))
            if out.dcp.variables():
                return out
