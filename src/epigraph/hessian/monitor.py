"""Curvature along a training run, within a stated share of its time.

    J = epigraph.Objective(model, loss, inputs, targets)          # a fixed batch on which the curvature is followed
    monitor = epigraph.CurvatureMonitor(J, every=50, share=0.1)
    for step, (x, y) in enumerate(batches):
        ...
        optimizer.step()
        record = monitor.step(lr=optimizer.param_groups[0]["lr"])  # a dict every 50 steps, else None

Between two measurements the eigenvectors hardly turn: each starts from the last ones and a little noise, and takes a few
products.  Every tenth starts afresh, so that an eigenvalue which has grown elsewhere is met.
"""

from __future__ import annotations

import time
from typing import Any, final

import torch
from torch import Tensor

from epigraph.errors import UsageError
from epigraph.hessian.ends import Request, ends
from epigraph.hessian.engines import Probe, Retained
from epigraph.hessian.krylov import Krylov
from epigraph.hessian.operator import Operator
from epigraph.hessian.program import Program, calmly
from epigraph.hessian.trace import trace_of
from epigraph.objective.objective import Objective

FRESH = 10  # every so many measurements start from a random vector
NOISE = 0.01  # length of the random part of a warm start, beside a unit eigenvector
ROWS = 8  # of the basis that are allocated together: few are needed
LEAST = 2, 4  # products before an eigenvalue counts as found: from a warm start, from a random one


@final
class CurvatureMonitor:
    """lambda_max, and where asked lambda_min and the trace, every so many steps.

    Args:
        J: an objective over the model that is trained, with the data on which its curvature is followed.
        every: steps between measurements.
        share: of the time since the first measurement, the most that later ones may take; one that would exceed it is left
            out.  1 leaves none out.
        bottom: also follow the least eigenvalue.
        trace: also estimate the trace, to ten per cent.
        tol: relative error of the eigenvalues.
        most: products per measurement at most.
        seed: of the random vectors.

    ``records`` holds what was measured: the step; ``lambda_max`` and ``lambda_min`` with the residual norms as ``..._error``
    (an eigenvalue lies so near; that it is the extreme one is likely, not certain); ``lambda_max_lr``, the product with the
    learning rate, which gradient descent keeps below 2 where it is stable; ``trace`` and ``trace_error``; the products.

    Raises:
        UsageError: a share outside (0, 1], or steps below 1.
    """

    def __init__(
        self,
        J: Objective,
        every: int = 50,
        *,
        share: float = 0.1,
        bottom: bool = False,
        trace: bool = False,
        tol: float = 0.01,
        most: int = 25,
        seed: int = 0,
    ):
        if not 0 < share <= 1 or every < 1:
            raise UsageError("E025", f"share={share}, every={every}", hint="share=0.1, every=50")
        self.J, self.every, self.share = J, every, share
        self.bottom, self.trace, self.tol, self.most, self.seed = bottom, trace, tol, most, seed
        self.records: list[dict[str, Any]] = []
        self.skipped = 0
        self.spent = 0.0
        self._count = -1
        self._since: float | None = None
        self._last = 0.0
        self._warm: Tensor | None = None

    def step(self, lr: float | None = None, step: int | None = None) -> dict[str, Any] | None:
        """To be called after each step; measures at every ``every``-th, and gives the record then."""
        now = time.perf_counter()
        self._count = self._count + 1 if step is None else step
        if self._count % self.every:
            return None
        if self._since is not None and self.share < 1 and self.spent + self._last > self.share * (now - self._since):
            self.skipped += 1
            return None
        record = self.measure(lr)
        self._last = time.perf_counter() - now
        if self._since is None:
            self._since, self._last = time.perf_counter(), 0.0  # the first one warms up: it says nothing of the next
        else:
            self.spent += self._last
        return record

    @calmly
    def measure(self, lr: float | None = None) -> dict[str, Any]:
        """Measure now, whatever the step."""
        program = Program(self.J, self.J.blocks.resolve(None))
        H = Operator(program, Retained(program), Probe("retained", {}), "hessian")
        process = Krylov(H.multiply, H.n, H.dtype, H.device, self.seed + len(self.records), H.epsilon, ROWS)
        warm = self._warm is not None and len(self.records) % FRESH > 0
        if self._warm is not None and warm:
            noise = torch.randn(H.n, generator=process.generator, device="cpu").to(H.device, H.dtype)
            process.begin(self._warm + NOISE * noise / noise.norm())
        least = LEAST[0 if warm else 1] + int(self.bottom)
        state = ends(process, Request(1, int(self.bottom), self.tol, 1.0, self.most, self.most + 8, least))
        values, residuals = state.ritz.values, state.ritz.residuals + process.noise
        record: dict[str, Any] = {"step": max(self._count, 0)}
        record |= {"lambda_max": float(values[-1]), "lambda_max_error": float(residuals[-1])}
        self._warm = process.vector(state.ritz, len(values) - 1)
        if self.bottom:
            record |= {"lambda_min": float(values[0]), "lambda_min_error": float(residuals[0])}
            self._warm = self._warm + process.vector(state.ritz, 0)
        if lr is not None:
            record["lambda_max_lr"] = float(lr) * float(values[-1])
        if self.trace:
            found = trace_of(H, 0.1, most=self.most, seed=self.seed)
            record |= {"trace": found.trace.value, "trace_error": found.trace.error}
        record |= {"products": H.products, "converged": state.all_converged}
        self.records.append(record)
        return record

    def lightning(self) -> Any:
        """A ``lightning.pytorch.Callback`` that logs the records as ``curvature/...``."""
        from epigraph.hessian.trainers import lightning_callback

        return lightning_callback(self)

    def transformers(self, trainer: Any) -> Any:
        """A ``transformers.TrainerCallback`` that logs through this trainer: ``trainer.add_callback(monitor.transformers(trainer))``."""
        from epigraph.hessian.trainers import transformers_callback

        return transformers_callback(self, trainer)

    def __repr__(self) -> str:
        return f"CurvatureMonitor({self.J.name}: every {self.every} steps, {len(self.records)} records, {self.skipped} skipped)"
