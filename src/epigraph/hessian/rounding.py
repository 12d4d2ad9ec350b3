r"""How far products in float32 are from the Hessian in float64.

What a float32 program computes has a Hessian of its own.  Where its intermediate numbers are large (inputs of some hundreds before a
tanh), that differs from the Hessian of J in the fourth digit, the same in every product: neither residuals nor the asymmetry of the
products show it.  Products in float64 do.  Two things are asked of dH, the difference:

along   ||dH U||_F for the listed vectors U: an eigenvalue of H lies within |r| + |dH u| of theta.  A few products show whether it matters,
        with independent signs s, or normal numbers,  E |dH sum_j s_j u_j|^2 = ||dH U||_F^2;  where it does, each vector is multiplied.
beside  ||dH||_2 elsewhere: directions that are not listed may take a rank.  With w of n independent normal entries,
        |dH w|^2 is at least ||dH||_2^2 times the square of one normal number; a few draws, where it matters, make that safe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from epigraph.hessian.engines import FLAT, Backward, Engine, Probe, Retained, memory_of_graph
from epigraph.hessian.krylov import Array, Krylov, Ritz
from epigraph.hessian.operator import Operator
from epigraph.hessian.outer import Outer
from epigraph.hessian.program import Program

SUMS = 3  # of the listed vectors
DOUBT = 1.5  # times less than the noise of single products is no matter
PART = 1 / 16  # of a random vector of length sqrt(n), beside them
SAFE = 4.0  # four draws together may show so much less, with a probability of 0.2 %
DRAWS = 4
MEASURED = FLAT  # parameters up to which it is measured
KEPT_GRAPH = 1 << 28  # bytes of a graph in float64 that stays with the operator


@final
@dataclass(frozen=True)
class Refined:
    """Ritz values in float64 over the span of the listed vectors, ascending, their residuals and vectors [k, n]."""

    values: Array
    residuals: Array
    vectors: Tensor


@final
@dataclass(frozen=True)
class Rounding:
    """Bounds for the norm of dH on the listed vectors, and on all others, as far as a few products show them.

    ``refined``: where each listed vector was multiplied in float64, what follows from these products.
    """

    along: float = 0.0
    beside: float = 0.0
    refined: Refined | None = None


def rounding(
    H: Operator,
    process: Krylov,
    ritz: Ritz,
    ranks: Sequence[int],
    gap: float,
    worth: bool,
    directions: Sequence[Tensor] = (),
) -> Rounding:
    """What float32 costs the Ritz pairs of these ranks.

    Args:
        H: the operator.
        process: made of its products.
        ritz: its Ritz pairs.
        ranks: those that are listed.
        gap: how far other eigenvalues are from a rank of these; it matters whether rounding is less.
        worth: the pairs are worth refining.
        directions: unit vectors that are projected away.

    Cost: three products in float64; where rounding matters, one for each listed vector and four for the others, with as many in
    float32.
    """
    fine = finer(H) if ranks else None
    if fine is None:
        return Rounding()
    directions = [d.double() for d in directions]

    def exact(v: Tensor) -> Tensor:
        out = fine.multiply(v)
        for d in directions:
            out = out - (d @ out) * d
        return out

    def apart(v: Tensor, image: Tensor) -> float:
        return float((exact(v.double()) - image.double()).norm())

    listed = ritz.vectors[:, list(ranks)]
    refined = None
    try:
        along = _shown(process, ritz, listed, apart)
        beside = along / PART
        rough = DOUBT * along > process.noise
        if rough:
            vectors, coarse = map(torch.stack, zip(*(process.mixed(ritz, u) for u in listed.T), strict=True))
            images = torch.stack([exact(v) for v in vectors.double()])
            along = float((images - coarse).norm())
            refined = _refined(vectors.double(), images) if worth else None
        if rough or SAFE * beside > gap:
            beside = H.n**0.5 * max(apart(*process.drawn(fresh=True)) for _ in range(DRAWS))
    except Exception:  # what runs in float32 only may say so in any way
        return Rounding()
    return Rounding(along, SAFE * beside, refined)


def _shown(process: Krylov, ritz: Ritz, listed: Array, apart: Callable[[Tensor, Tensor], float]) -> float:
    """What products with random sums of the listed vectors are off by, and a part of a long random vector beside them."""
    w, along = (PART * process.n**0.5 * t.double() for t in process.drawn())
    inside = listed.T @ process.split(w.to(process.dtype))[1]
    weights = process.normal(SUMS, listed.shape[1]).numpy()
    weights[0] = np.sign(
        weights[0]
    )  # hides nothing of one vector; the others hide little of several that are off alike
    shown = []
    for row in weights:
        v, image = process.mixed(ritz, listed @ (row - inside))
        shown.append(apart(v.double() + w, image.double() + along))
    return max(shown)


def _refined(vectors: Tensor, images: Tensor) -> Refined:
    """The Rayleigh-Ritz step over the rows, whose products are given."""
    q, r = torch.linalg.qr(vectors.T)
    image = torch.linalg.solve_triangular(r.T, images, upper=False).T
    values, turn = torch.linalg.eigh((q.T @ image + image.T @ q) / 2)
    off = image @ turn - (q @ turn) * values
    return Refined(values.cpu().numpy(), off.norm(dim=0).cpu().numpy(), (q @ turn).T)


def finer(H: Operator) -> Operator | None:
    """The same matrix by a program in float64; None where that is not known, costs too much or is no longer the same.

    It stays with the operator, and so does its graph up to a quarter of a GiB.
    """
    if H.dtype == torch.float64 or H.n > MEASURED or H.kind == "fisher-mc" or not H.program.current:
        return None
    if H.twin is None:
        p = H.program
        try:
            program = Program(p.J, p.names, p.values, torch.float64)
            engine = _engine(program) if H.kind == "hessian" else Outer(program, H.kind)
        except Exception:  # the model may refuse that precision in any way
            return None
        H.twin = Operator(program, engine, Probe(engine.name, {}), H.kind, H.kind != "fisher", H.group)
    return H.twin


def _engine(program: Program) -> Engine:
    """A kept graph where it is small: it is used a few times."""
    small = memory_of_graph(program) * len(program.batches) <= KEPT_GRAPH
    return Retained(program) if small else Backward(program)
