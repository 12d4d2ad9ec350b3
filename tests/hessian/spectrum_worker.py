"""One process of several, each with its share of the data: run by torchrun, compared with one process that has all of it."""

from __future__ import annotations

import os
import sys

import torch
import torch.distributed as dist
from torch import nn

import epigraph
from epigraph.errors import ObjectiveError


def whole() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    return model, torch.randn(23, 4, dtype=torch.float64), torch.randint(3, (23,))


def main() -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    group = dist.group.WORLD
    model, x, y = whole()
    mine = slice(0, 15) if rank == 0 else slice(15, 23)
    for reduction in ("mean", "sum"):
        loss = nn.CrossEntropyLoss(reduction=reduction)
        full = epigraph.Objective(model, loss, x, y, weight_decay=0.1)
        part = epigraph.Objective(model, loss, x[mine], y[mine], weight_decay=0.1)
        for kind in ("hessian", "gauss-newton", "fisher"):
            H, G = epigraph.hessian(part, kind=kind, group=group), epigraph.hessian(full, kind=kind)
            assert torch.allclose(H.to_dense(), G.to_dense(), rtol=1e-10, atol=1e-12), (reduction, kind)
            assert torch.allclose(H.gradient, G.gradient, rtol=1e-10, atol=1e-12) and abs(H.value - G.value) < 1e-10
        H, G = epigraph.hessian(part, group=group), epigraph.hessian(full)
        S, T = epigraph.spectrum(H), epigraph.spectrum(G)
        assert S.converged and all(
            abs(a.value - b.value) <= a.error + b.error for a, b in zip(S.top, T.top, strict=True)
        )
        assert (
            abs(epigraph.trace(H).trace.value - float(G.to_dense().trace()))
            < 1e-6 * abs(float(G.to_dense().trace())) + 1
        )
        epigraph.density(H, probes=2, steps=10)
    with torch.no_grad():
        model[0].bias += rank
    try:
        epigraph.hessian(part, group=group)
    except ObjectiveError as error:
        assert error.code == "E219"
        print(f"rank {rank} agrees", flush=True)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # gloo's threads can outlive the group and abort an interpreter that is being torn down
