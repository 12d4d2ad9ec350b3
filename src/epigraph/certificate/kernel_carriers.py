"""Of which affine nodes is every entry a function of the same entry, in row-major order, and is it monotone?

If f(z) is nondecreasing, or nonincreasing, and z affine, then all level sets of f are half-spaces or their like: f is
quasilinear.  Products of functions of one entry have lemmas of their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from epigraph.certificate.graph import Node
from epigraph.certificate.kernel_curves import CURVES
from epigraph.certificate.kernel_lemmas import curve
from epigraph.certificate.kernel_records import Record

Carried = tuple[int, bool, bool]  # position of the affine node; nondecreasing, nonincreasing


def carried(node: Node, x: Sequence[Record]) -> list[Carried]:
    """What the structure shows; functions of one variable compose directions."""
    if node.op in CURVES:
        f = curve(node, x[0])
        rises, falls = _all(f.up), _all(f.down)
        return [(b, (u and rises) or (d and falls), (u and falls) or (d and rises)) for b, u, d in x[0].carriers]
    if node.op == "neg":
        return [(b, d, u) for b, u, d in x[0].carriers]
    if node.op == "reshape":
        return list(x[0].carriers)
    if node.op == "same":
        return [c for operand in x for c in operand.carriers]
    if node.op in ("sum", "amax", "logsumexp"):
        alone = math.prod(x[0].shape[d] for d in node.attributes["dims"]) == 1
        return list(x[0].carriers) if alone else []
    if node.op in ("add", "maximum", "mul", "div"):
        return _with_constant(node, x[0], x[1]) + _of_two(node, x[0], x[1])
    return []


def _with_constant(node: Node, f: Record, g: Record) -> list[Carried]:
    """A constant shift or floor keeps directions; a factor or divisor of one sign keeps or turns them."""
    found: list[Carried] = []
    for h, c in ((f, g), (g, f))[: 1 if node.op == "div" else 2]:
        if c.varies or h.shape != node.shape:
            continue
        shifted = node.op in ("add", "maximum")
        keeps, turns = shifted or _all(c.lower >= 0), not shifted and _all(c.upper <= 0)
        found += [(b, (u and keeps) or (d and turns), (u and turns) or (d and keeps)) for b, u, d in h.carriers]
    return found


def _of_two(node: Node, f: Record, g: Record) -> list[Carried]:
    """Two functions of one entry make one.

    Its rise from z1 to z2 > z1 has the terms f2 - f1 and g2 - g1 for the sum, (f2 - f1) g2 and f1 (g2 - g1) for the
    product, (f2 - f1)/g2 and -f1 (g2 - g1)/(g1 g2) for the quotient.
    """
    if f.shape != g.shape:
        return []
    pairs = [(u, v) for u in f.carriers for v in g.carriers if u[0] == v[0]]
    if node.op in ("add", "maximum"):
        return [(u[0], u[1] and v[1], u[2] and v[2]) for u, v in pairs]
    f_above, f_below = _all(f.lower >= 0), _all(f.upper <= 0)
    g_above, g_below = _all(g.lower >= 0), _all(g.upper <= 0)
    if node.op == "div":
        g_above, g_below = _all(g.lower > 0), _all(g.upper < 0)
        if not (g_above or g_below):
            return [(u[0], False, False) for u, _ in pairs]
        pairs = [(u, (v[0], v[2], v[1])) for u, v in pairs]  # 1/g moves against g
    return [
        (
            u[0],
            ((u[1] and g_above) or (u[2] and g_below)) and ((v[1] and f_above) or (v[2] and f_below)),
            ((u[2] and g_above) or (u[1] and g_below)) and ((v[2] and f_above) or (v[1] and f_below)),
        )
        for u, v in pairs
    ]


def _all(mask: object) -> bool:
    return bool(np.all(mask))  # type: ignore[call-overload]
