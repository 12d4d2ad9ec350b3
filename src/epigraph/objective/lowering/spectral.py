"""Eigenvalues of symmetric matrices and singular values."""

from __future__ import annotations

from typing import Any

import torch

from epigraph.objective.builder import Builder, Expression, Number
from epigraph.objective.lowering.registry import lowers


def symmetric(b: Builder, x: Expression, lower: bool) -> Expression:
    """The symmetric matrix that the library reads from one triangle; x itself where it is written symmetrically."""
    turned = x.transpose(-1, -2)
    if turned.id == x.id or (x.op == "add" and x.argument(0).transpose(-1, -2).id == x.argument(1).id):
        return x
    ones = torch.ones(x.shape[-2:], dtype=torch.float64)
    inside, beyond = (ones.tril(), ones.tril(-1)) if lower else (ones.triu(), ones.triu(1))
    return x * b.literal(inside) + (x * b.literal(beyond)).transpose(-1, -2)


@lowers("aten.linalg_eigvalsh.default")
def eigvalsh(b: Builder, x: Expression, triangle: str) -> Expression:
    return b.make("eigvalsh", (symmetric(b, x, triangle.upper() == "L"),), {}, x.shape[:-1])


@lowers("aten._linalg_eigh.default")
def eigh(b: Builder, x: Expression, triangle: str, vectors: bool) -> tuple[Expression, Expression]:
    return eigvalsh(b, x, triangle), b.opaque("aten._linalg_eigh.default", [x], x.shape, _vectors)


def _vectors(x: torch.Tensor) -> torch.Tensor:
    return torch.linalg.eigh(x).eigenvectors


def ascending(b: Builder, x: Expression) -> Expression:
    """The singular values, the least first."""
    return b.make("svdvals", (x,), {}, (*x.shape[:-2], min(x.shape[-2:])))


@lowers("aten.linalg_svdvals.default")
def svdvals(b: Builder, x: Expression, driver: Any) -> Expression:
    """In descending order."""
    found = ascending(b, x)
    return found.take(torch.arange(found.shape[-1] - 1, -1, -1), -1)


def norm(b: Builder, x: Expression, p: Number | str, dims: list[int], keepdim: bool) -> Expression:
    """The nuclear norm, or the greatest (p = 2) or least (p = -2) singular value."""
    if p not in ("nuc", 2, -2):
        raise NotImplementedError(f"a matrix norm of order {p}")
    rows, columns = (d % x.ndim for d in dims)
    kept = [d for d in range(x.ndim) if d not in (rows, columns)]
    found = ascending(b, x.permute([*kept, rows, columns]))
    out = found.sum([-1]) if p == "nuc" else found.select(-1, -1 if p == 2 else 0)
    return out.reshape(tuple(1 if d in (rows, columns) else n for d, n in enumerate(x.shape))) if keepdim else out


@lowers("aten.nuclear_norm.default")
def nuclear_norm(b: Builder, x: Expression, keepdim: bool) -> Expression:
    return norm(b, x, "nuc", [0, 1], keepdim)


@lowers("aten.nuclear_norm.dim")
def nuclear_norm_dim(b: Builder, x: Expression, dims: list[int], keepdim: bool) -> Expression:
    return norm(b, x, "nuc", dims, keepdim)
