r"""Critical points that are not among those known: the gradient times a factor that grows without end at each of these.

    G(x) = M(x) g(x),      M(x) = prod over known points p of (1 + 1 / |x - p|^2)

has the zeros of g but the known ones (Farrell, Birkisson and Funke 2015).  Up to the factor M its Jacobian is H + g v^T
with v = grad log M; Levenberg and Marquardt's step on |G|^2 is taken where log |G| falls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from epigraph.critical.minimize import State
from epigraph.hessian.dense import Jet


@final
@dataclass(frozen=True)
class Deflated:
    """|M g|^2 falls; ``known`` are points [m, n], the copies of each among them."""

    known: Tensor

    def rests(self, w: Tensor, gradient: Tensor) -> Tensor:
        return torch.ones_like(gradient, dtype=torch.bool)

    def step(self, here: State) -> Tensor:
        v = (here.V.mT @ self._slope(here.x)[..., None])[..., 0]
        jacobian = torch.diag_embed(here.w) + here.local[:, :, None] * v[:, None, :]
        size = jacobian.square().sum((1, 2)).clamp_min(1e-300)
        eye = torch.eye(here.x.shape[1], dtype=torch.float64, device=here.x.device)
        normal = jacobian.mT @ jacobian + (here.damping.clamp_min(1e-14) * size)[:, None, None] * eye
        return -torch.linalg.solve(normal, (jacobian.mT @ here.local[..., None])[..., 0])

    def accepts(self, here: State, step: Tensor, jet: Jet) -> Tensor:
        return self._merit(here.x + step, jet.gradient) < self._merit(here.x, here.gradient)

    def _merit(self, x: Tensor, gradient: Tensor) -> Tensor:
        return self._squares(x).reciprocal().log1p().sum(1) + gradient.norm(dim=1).log()

    def _slope(self, x: Tensor) -> Tensor:
        """grad log M = -2 sum of (x - p) / (d^2 (d^2 + 1))."""
        square = self._squares(x)
        weight = 1 / (square * (square + 1))
        return -2 * (x * weight.sum(1, keepdim=True) - weight @ self.known)

    def _squares(self, x: Tensor) -> Tensor:
        return torch.cdist(x, self.known).square().clamp_min(1e-100)
