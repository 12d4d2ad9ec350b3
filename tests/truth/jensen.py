"""An oracle that shares nothing with the package: search for violations of Jensen's inequality in float64."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator

import torch
from case import Case
from torch import Tensor
from torch.func import functional_call

SCALES = (0.1, 0.5, 1.0, 3.0, 10.0, 50.0)
FUNCTIONS = {
    "exp": math.exp,
    "log": math.log,
    "sqrt": math.sqrt,
    "abs": abs,
    "max": max,
    "min": min,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "tanh": math.tanh,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)) if x > -700 else 0.0,
    "softplus": lambda x: max(x, 0.0) + math.log1p(math.exp(-abs(x))),
    "relu": lambda x: max(x, 0.0),
    "log1p": math.log1p,
    "expm1": math.expm1,
    "cosh": math.cosh,
    "sinh": math.sinh,
    "erf": math.erf,
    "atan": math.atan,
    "norm": math.hypot,
    "logsumexp": lambda *x: max(x) + math.log(sum(math.exp(v - max(x)) for v in x)),
    "where": lambda c, a, b: a if c else b,
    "clamp": lambda x, a, b: min(max(x, a), b),
    "square": lambda x: x * x,
    "pi": math.pi,
    "e": math.e,
    "huber": lambda x, d: x * x / 2 if abs(x) <= d else d * (abs(x) - d / 2),
}


def evaluator(case: Case) -> tuple[Callable[[Tensor], float], int]:
    """J as a function of one flat vector, and its length."""
    if case.text is not None:
        names = variables(case.text)
        code = compile(case.text, "<formula>", "eval")

        def formula(t: Tensor) -> float:
            try:
                found = eval(code, {"__builtins__": {}}, FUNCTIONS | dict(zip(names, t.tolist(), strict=True)))
            except (ValueError, ZeroDivisionError, OverflowError):
                return math.nan
            return math.nan if isinstance(found, complex) else float(found)

        return formula, len(names)
    if case.function is not None:
        function = case.function
        return (lambda t: float(function(t))), case.size
    assert case.build is not None
    model, loss, inputs, targets = case.build()
    model.train(case.mode == "train")
    names = {n: p for n, p in model.named_parameters() if p.requires_grad}

    def value(t: Tensor) -> float:
        pieces = torch.split(t, [p.numel() for p in names.values()])
        swapped = {n: piece.reshape(p.shape) for (n, p), piece in zip(names.items(), pieces, strict=True)}
        output = functional_call(model, swapped, inputs if isinstance(inputs, tuple) else (inputs,))
        return float(loss(output) if targets is None else loss(output, targets)) + case.weight_decay / 2 * float(t @ t)

    return value, sum(p.numel() for p in names.values())


def variables(text: str) -> list[str]:
    """The names in a formula that are no functions, in order."""
    return list(dict.fromkeys(n for n in re.findall(r"(?<![0-9.])[A-Za-z_]\w*", text) if n not in FUNCTIONS))


def box(case: Case) -> tuple[object, object]:
    """Bounds of the flat vector; those of a formula are read from its conditions of the form ``0 < x <= 1``."""
    if case.text is None:
        return case.box
    names = variables(case.text)
    lower: list[float | None] = [None] * len(names)
    upper: list[float | None] = [None] * len(names)
    for part in (case.where or "").split(","):
        pieces = re.split(r"<=|<|>=|>", part)
        flip = ">" in part
        for place, piece in enumerate(pieces):
            if piece.strip() in names:
                index = names.index(piece.strip())
                if place > 0:
                    (upper if flip else lower)[index] = float(pieces[place - 1])
                if place + 1 < len(pieces):
                    (lower if flip else upper)[index] = float(pieces[place + 1])
    return lower, upper


def _bound(value: object, size: int, default: float) -> Tensor:
    if value is None:
        value = default
    if isinstance(value, list | tuple):
        value = [default if v is None else v for v in value]
        return torch.tensor(value, dtype=torch.float64)
    return torch.full((size,), float(value), dtype=torch.float64)  # type: ignore[arg-type]


def points(case: Case, size: int, count: int, seed: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Triples a, m, b with m the midpoint, at several scales inside the box; half of them along sparse directions."""
    generator = torch.Generator().manual_seed(seed)
    bounds = box(case)
    lower, upper = _bound(bounds[0], size, -torch.inf), _bound(bounds[1], size, torch.inf)
    scales = [s for s in SCALES if s <= case.reach]
    centre = torch.where(lower.isfinite(), lower, torch.where(upper.isfinite(), upper, torch.zeros(size)))
    for k in range(count):
        scale = scales[k % len(scales)]
        a = centre + scale * torch.randn(size, generator=generator, dtype=torch.float64)
        if lower.isfinite().all() and upper.isfinite().all() and k % 2:
            a = lower + (upper - lower) * torch.rand(size, generator=generator, dtype=torch.float64)
        step = scales[(k // 6) % len(scales)] * torch.randn(size, generator=generator, dtype=torch.float64)
        if k % 4 >= 2:
            step *= torch.rand(size, generator=generator) < 2.0 / max(size, 2)
        a = reflect(a, lower, upper)
        b = reflect(a + step, lower, upper)
        yield a, (a + b) / 2, b


def reflect(t: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Bring points into the box by reflection at its faces, so that they do not all end on the boundary."""
    t = torch.where(t < lower, 2 * lower - t, t)
    t = torch.where(t > upper, 2 * upper - t, t)
    return torch.minimum(torch.maximum(t, lower), upper)


def _gap(name: str, ja: float, jm: float, jb: float) -> float:
    """By how much the midpoint violates the property; positive where it does."""
    if name == "convex":
        return jm - (ja + jb) / 2
    if name == "concave":
        return (ja + jb) / 2 - jm
    if name == "quasiconvex":
        return jm - max(ja, jb)
    if name == "quasiconcave":
        return min(ja, jb) - jm
    if min(ja, jm, jb) < 0:
        return math.nan
    return jm - math.sqrt(ja * jb) if name == "log_convex" else math.sqrt(ja * jb) - jm


def largest_violation(case: Case, name: str, count: int, seed: int = 0, enough: float = math.inf) -> float:
    """The largest relative violation of a property over sampled triples; stops once it exceeds ``enough``."""
    value, size = evaluator(case)
    worst = -math.inf
    for a, m, b in points(case, size, count, seed):
        ja, jm, jb = value(a), value(m), value(b)
        if not (math.isfinite(ja) and math.isfinite(jm) and math.isfinite(jb)):
            continue
        worst = max(worst, _gap(name, ja, jm, jb) / max(abs(ja), abs(jb), abs(jm), 1e-6))
        if worst > enough:
            break
    return worst
