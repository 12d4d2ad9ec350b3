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
from epigraph.hessian.engines import Probe, Retained
from epigraph.hessian.follow import follow
from epigraph.hessian.krylov import length
from epigraph.hessian.operator import Operator
from epigraph.hessian.program import Program, calmly
from epigraph.hessian.trace import trace_of
from epigraph.objective.agreement import try_out
from epigraph.objective.objective import Objective
from epigraph.objective.world import mode_of

FRESH = 10  # every so many measurements start from a random vector
NOISE = 0.01  # length of the random part of a warm start, beside a unit eigenvector
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
    (an eigenvalue of what the program computes lies so near; that it is the extreme one is likely, not certain); ``lambda_max_lr``, the product with the
    learning rate, which gradient descent keeps below 2 where it is stable; ``trace`` and ``trace_error``; the products.

    Raises:
        UsageError: a share outside (0, 1], or steps or products below 1.
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
        if not (isinstance(most, int) and most >= 1):
            raise UsageError("E025", f"most={most}: no product could be made", hint="most=25")
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
        if not self.records:
            with mode_of(self.J.modules(), self.J.mode):
                try_out(self.J)  # what is wrong with J is said in its own words
        program = Program(self.J, self.J.blocks.resolve(None))
        H = Operator(program, Retained(program), Probe("retained", {}), "hessian")
        warm = self._warm if self._warm is not None and len(self.records) % FRESH else None
        generator = torch.Generator().manual_seed(self.seed + len(self.records))
        found = follow(
            H.multiply,
            _start(H, warm, generator),
            bottom=self.bottom,
            tol=self.tol,
            least=min(LEAST[warm is None] + int(self.bottom), self.most),
            most=self.most,
            epsilon=H.epsilon,
        )
        self._warm = torch.stack(found.vectors).sum(0)
        record: dict[str, Any] = {"step": max(self._count, 0)}
        for name, value, error in zip(("lambda_max", "lambda_min"), found.values, found.errors, strict=False):
            record |= {name: value, f"{name}_error": error}
        if lr is not None:
            record["lambda_max_lr"] = float(lr) * record["lambda_max"]
        if self.trace:
            trace = trace_of(H, 0.1, most=self.most, seed=self.seed).trace
            record |= {"trace": trace.value, "trace_error": trace.error}
        record |= {"products": H.products, "converged": found.converged}
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


def _start(H: Operator, warm: Tensor | None, generator: torch.Generator) -> Tensor:
    """A random vector, or the last eigenvectors with a little of one."""
    drawn = torch.randn(H.n, generator=generator, device="cpu").to(H.device, H.dtype)
    return drawn if warm is None else warm + NOISE * drawn / length(drawn)
