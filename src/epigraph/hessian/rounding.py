r"""How far products in float32 are from the Hessian in float64, along the vectors that matter.

What a float32 program computes has a Hessian of its own.  Where its intermediate numbers are large (inputs of some hundreds before a
tanh), that differs from the Hessian of J in the fourth digit, the same in every product: neither residuals nor the asymmetry of the
products show it.  One product in float64 does.  With orthonormal u_1 to u_k and independent signs s,

    E |dH sum_j s_j u_j|^2  =  sum_j |dH u_j|^2  >=  max_j |dH u_j|^2,

and with the residual r of (theta, u) under the float32 operator, an eigenvalue of H lies within |r| + |dH u| of theta.
"""

from __future__ import annotations

import torch
from torch import Tensor

from epigraph.errors import ObjectiveError
from epigraph.hessian.engines import FLAT, Backward, Engine, Probe
from epigraph.hessian.operator import Operator
from epigraph.hessian.outer import Outer
from epigraph.hessian.program import Program

SAFE = 2.0  # on one draw of the signs
MEASURED = FLAT  # parameters up to which it is measured


def measurable(H: Operator) -> bool:
    """Is it known how to compute this matrix in a finer precision, at a cost that the products outweigh?"""
    return H.dtype != torch.float64 and H.n <= MEASURED and H.kind != "fisher-mc"


def finer(H: Operator, v: Tensor) -> Tensor | None:
    """H v by a program in float64; None where it does not run in that precision."""
    p = H.program
    try:
        twin = Program(p.J, p.names, p.values, torch.float64)
        engine: Engine = Backward(twin) if H.kind == "hessian" else Outer(twin, H.kind)
        exact = Operator(twin, engine, Probe(engine.name, {}), H.kind, H.kind != "fisher", H.group)
        return exact.multiply(v.double())
    except (RuntimeError, ObjectiveError):
        return None
