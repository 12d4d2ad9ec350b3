r"""Down to a minimum where a Hessian costs many gradients: L-BFGS, and then L-BFGS in the metric of a Hessian.

Near a minimum the inverse of H, taken once (with a shift that makes it positive definite), makes the rest of the way some
ten gradients.  Where these do not suffice the Hessian is taken again.  Lanes of one batch share their sweeps over the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from epigraph.critical.minimize import FINE, LANES, Ended, Inside
from epigraph.critical.quasi import Metric, Plain, Stand, quasi_newton
from epigraph.hessian.dense import Dense

NEAR = 1e-3  # gradient, relative to max(1, |J|), at which the first Hessian is taken
FAR = 300  # gradients after which it is taken in any case
METRICS = 60  # Hessians for one lane at most
TOGETHER, ENTRIES = 16, 2**19  # lanes of one batch: at most, and as many as have so many entries in their largest node
FLOOR = 1e-4, 1e-10  # shift of a metric, relative to the Hessian's norm: this, and less where the gradient is small


def with_metrics(dense: Dense, start: Tensor, inside: Inside) -> Ended:
    """Lanes to a gradient well below 1e-10 max(1, |J|), or as far as they get."""
    size = max(1, min(TOGETHER, ENTRIES // dense.widest, LANES // dense.size**2))
    stands = [_batch(dense, part, inside) for part in start.split(size)]
    x, gradient = (torch.cat([getattr(s, k) for s in stands]) for k in ("x", "gradient"))
    value, reached = (torch.cat([getattr(s, k) for s in stands]) for k in ("value", "reached"))
    return Ended(x, value, gradient.abs().amax(1), reached)


def _batch(dense: Dense, start: Tensor, inside: Inside) -> Stand:
    stand = quasi_newton(dense.slopes, start, NEAR, FAR, inside)
    lost = stand.stuck & ~stand.gradient.isfinite().all(1)
    stand.reached[:] = False
    period = max(60, dense.size // 12)  # about as many gradients as cost what a Hessian does
    for _ in range(METRICS):
        left = torch.nonzero(~(stand.reached | lost))[:, 0]
        if len(left) == 0:
            break
        metric = [metric_of(H, g) for H, g in zip(dense.of(stand.x[left]).hessian, stand.gradient[left], strict=True)]
        new = quasi_newton(dense.slopes, stand.x[left], FINE / 10, period, inside, metric)
        lost[left] = (new.x == stand.x[left]).all(1) & ~new.reached  # no step was found that J falls along
        stand.put(left, new)
    return stand


@final
@dataclass(frozen=True)
class Factor:
    """A A^T is the inverse of L L^T, with L lower triangular."""

    L: Tensor

    def gradient(self, g: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self.L, g[:, None], upper=False)[:, 0]

    def step(self, d: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self.L.mT, d[:, None], upper=True)[:, 0]


def metric_of(hessian: Tensor, gradient: Tensor) -> Metric:
    """From the Cholesky factor of the Hessian with a small shift, raised until there is one; none where it is not finite."""
    if not bool(hessian.isfinite().all()):
        return Plain()
    share = (0.1 * gradient.abs().max()).clamp(FLOOR[1], FLOOR[0])
    shift, failed = (share * hessian.norm()).clamp_min(1e-300), 1
    while failed:
        shifted = hessian.clone()
        shifted.diagonal().add_(shift)
        L, info = torch.linalg.cholesky_ex(shifted)
        failed, shift = int(info), 4 * shift
    return Factor(L)
