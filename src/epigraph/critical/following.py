r"""Searches that go by the model of J at each step: up along chosen eigenvectors, or down the path of steepest descent.

Neither lets a number fall at every step.  A step is taken where the quadratic model at its start tells what is found at
its end; where it does not, the damping grows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from epigraph.critical.minimize import PASSING, State, leaves_saddles
from epigraph.hessian.dense import Jet

TRUST = 0.5  # error of the model's change of J, relative to the sizes of its parts, up to which a step uphill is taken
STRAY = 0.1  # change of the gradient that the model does not tell, relative to the gradient, on a path downhill
FAR = 1e3  # where a path downhill is followed no further
REACH = 0.1  # longest step on a path downhill, relative to 1 + |x|


@final
@dataclass(frozen=True)
class EigenvectorFollowing:
    """Uphill along the ``index`` lowest eigenvectors, downhill along the others, towards a saddle of that index.

    The step is +-g / (|w| + mu) in each eigenvector (Cerjan and Miller 1981, with one damping for both parts).
    """

    index: int

    def rests(self, w: Tensor, gradient: Tensor) -> Tensor:
        return ((w < 0).sum(1) == self.index) | (gradient <= PASSING)

    def step(self, here: State) -> Tensor:
        size = here.local / (here.w.abs() + here.mu).clamp_min(1e-300)
        up = torch.arange(size.shape[1], device=size.device) < self.index
        return torch.where(up, size, -size)

    def accepts(self, here: State, step: Tensor, jet: Jet) -> Tensor:
        along = (here.V.mT @ step[..., None])[..., 0]
        parts = here.local * along + here.w * along.square() / 2
        rounding = 1e-14 * here.value.abs().clamp_min(1.0)
        missed = (jet.value - here.value - parts.sum(1)).abs()
        return missed <= TRUST * parts.abs().sum(1) + rounding


@final
class SteepestDescent:
    """The path of dx/dt = -g: each step is the exact path of the quadratic model (Page and McIver 1988).

    In an eigenvector the step after time t is -g (1 - e^(-wt)) / w, with t the inverse of the damping: a Newton step at
    the end of a valley.  A step is taken where J falls, where it is short, and where the gradient at its end is the model's.
    """

    def rests(self, w: Tensor, gradient: Tensor) -> Tensor:
        return leaves_saddles(w, gradient)

    def step(self, here: State) -> Tensor:
        time = 1 / here.mu.clamp_min(1e-300)
        z = (here.w * time).clamp_min(-30.0)
        share = torch.where(z.abs() < 1e-8, 1 - z / 2, -torch.expm1(-z) / torch.where(z == 0, 1.0, z))
        return -here.local * time * share

    def accepts(self, here: State, step: Tensor, jet: Jet) -> Tensor:
        along = (here.V.mT @ step[..., None])[..., 0]
        told = here.gradient + (here.V @ (here.w * along)[..., None])[..., 0]
        stray = (jet.gradient - told).norm(dim=1) <= STRAY * here.gradient.norm(dim=1)
        short = step.norm(dim=1) <= REACH * (1 + here.x.norm(dim=1))
        near = (here.x + step).norm(dim=1) <= FAR
        falls = (jet.value < here.value) | self._level(here, jet)
        return stray & short & near & falls

    def _level(self, here: State, jet: Jet) -> Tensor:
        """At the end, where J falls by less than its rounding: does the gradient?"""
        rounding = 1e-14 * here.value.abs().clamp_min(1.0)
        return (jet.value <= here.value + rounding) & (jet.gradient.norm(dim=1) < here.gradient.norm(dim=1))
