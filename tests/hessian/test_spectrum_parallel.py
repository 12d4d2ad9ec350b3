"""Two processes with unequal shares of the data give the Hessian of the whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed
from spectrum_worker import whole

import epigraph
from epigraph.errors import UsageError


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this build of torch has no distributed package")
def test_two_processes_are_one() -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    worker = str(Path(__file__).with_name("spectrum_worker.py"))
    run = subprocess.run([*command, worker], capture_output=True, text=True, timeout=240, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    assert all(run.stdout.count(f"rank {rank} agrees") == 1 for rank in (0, 1)), run.stdout  # lines may run together


def test_a_group_needs_processes_and_samples() -> None:
    model, x, y = whole()
    J = epigraph.Objective(model, torch.nn.CrossEntropyLoss(), x, y)
    with pytest.raises(UsageError, match="E087"):
        epigraph.hessian(J, group="world")
