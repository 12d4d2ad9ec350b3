"""One Hessian over several processes: each has its share of the data, products are summed.

J over all the data is the mean (or the sum) over all samples: sum_r (N_r / N) J_r over the processes r, with N_r samples each.  All
processes run the same Krylov process on the same vectors, so every call must be made by every process of the group.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor

from epigraph.errors import ObjectiveError, UsageError
from epigraph.hessian.program import Program
from epigraph.objective.objective import Objective


@final
class Group:
    """The weight of this process's J in the whole, and sums over the group.

    Raises:
        UsageError: torch.distributed is not initialised, or J is a function, which has no samples.
        ObjectiveError: the processes stand at different points.
    """

    def __init__(self, J: Objective, program: Program, group: Any):
        import torch.distributed as distributed

        if not (distributed.is_available() and distributed.is_initialized()):
            raise UsageError("E087", "torch.distributed is not initialised", hint="init_process_group, under torchrun")
        if J.model is None:
            raise UsageError(
                "E087", "a function has no samples to be shared", hint="Objective(model, loss, inputs, targets)"
            )
        self._distributed, self._group, self.device = distributed, group, program.device
        samples = torch.tensor(float(sum(b.samples for b in program.batches)), dtype=torch.float64, device="cpu")
        whole = self.sum(samples.clone())
        self.weight = 1.0 if J.reduction() == "sum" else float(samples / whole)
        self._require_one_point(program)

    def sum(self, value: Tensor) -> Tensor:
        """The sum over the group, the same on every process."""
        moved = value.to(self.device)
        self._distributed.all_reduce(moved, group=self._group)
        return moved.to(value.device)

    def least(self, value: float) -> float:
        """The least over the group."""
        moved = torch.tensor(float(value), dtype=torch.float64, device=self.device)
        self._distributed.all_reduce(moved, op=self._distributed.ReduceOp.MIN, group=self._group)
        return float(moved)

    def _require_one_point(self, program: Program) -> None:
        """Two fingerprints of the point, compared: their least and their largest are one."""
        for power in (1, 2):
            mark = sum(float((p.detach().double() ** power).sum()) for p in program.values.values())
            if self.least(mark) != -self.least(-mark):
                raise ObjectiveError(
                    "E219",
                    "the processes stand at different points",
                    why="their parameters differ, so there is no one Hessian",
                    hint="broadcast the parameters first, as DistributedDataParallel does",
                )
