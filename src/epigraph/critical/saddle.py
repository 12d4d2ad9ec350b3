r"""Critical points of any index: the squared length of the gradient falls, by damped Gauss-Newton steps on it.

With the Hessian as the Jacobian of the gradient the step is -w g / (w^2 + mu) in each eigenvector.  A minimum of |g|^2
that is no zero of g is a *flat stop*: there H g = 0 with g not small.  Such ends are counted and given no other name.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from epigraph.critical.minimize import State
from epigraph.hessian.dense import Jet


@final
class GradientLength:
    """|g|^2 falls: Levenberg and Marquardt's step with the Hessian as Jacobian."""

    def rests(self, w: Tensor, gradient: Tensor) -> Tensor:
        return torch.ones_like(gradient, dtype=torch.bool)

    def step(self, here: State) -> Tensor:
        square, mu = here.w.square(), here.mu * here.w.abs().amax(1, keepdim=True)
        return -here.w * here.local / (square + mu).clamp_min(1e-300)

    def accepts(self, here: State, step: Tensor, jet: Jet) -> Tensor:
        return jet.gradient.square().sum(1) < here.gradient.square().sum(1)


def flat_stop(jet: Jet) -> Tensor:
    """Is the gradient not small but nearly in the kernel of the Hessian?"""
    g = jet.gradient
    pushed = (jet.hessian @ g[..., None])[..., 0].norm(dim=1)
    size = jet.hessian.flatten(1).norm(dim=1) * g.norm(dim=1)
    return pushed <= 1e-3 * size
