"""The Hessian as an operator: products with vectors, no matrix."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from epigraph.errors import UsageError
from epigraph.hessian.engines import Engine, Probe, blocks_of, gradient_and_value
from epigraph.hessian.parallel import Group
from epigraph.hessian.program import Program, calmly, require_finite

DENSE = 5_000  # rows; above, a dense matrix is refused unless it is asked for by its size


@final
class Operator:
    r"""A symmetric operator over the chosen blocks, laid out one after the other as a flat vector.

    ``H @ v`` takes a flat tensor or array of n entries, a matrix of n rows, or a dict of tensors by name, and gives the
    same kind back.  The penalty lambda/2 ||theta||^2 of J adds lambda v.  A product costs about two to three gradients
    (see ``probe``); ``products`` counts them.
    """

    def __init__(
        self,
        program: Program,
        engine: Engine,
        probe: Probe,
        kind: str,
        decayed: bool = True,
        group: Group | None = None,
    ):
        self.program, self.engine, self.probe, self.kind, self.group = program, engine, probe, kind, group
        self.names = program.names
        self.shapes = [tuple(p.shape) for p in program.point]
        self.sizes = [p.numel() for p in program.point]
        self._spans = list(pairwise(accumulate(self.sizes, initial=0)))
        self._plain = all(p.dtype == program.real for p in program.point)
        self.products = 0
        self._penalty = [program.decay.get(n, 0.0) for n in self.names]
        self._decay = self._penalty if decayed else [0.0] * len(self.names)
        self._first: tuple[Tensor, float] | None = None
        self.twin: Operator | None = None  # the same matrix in float64, once it has been asked for

    # what it is ---------------------------------------------------------------------------------------------------
    @property
    def n(self) -> int:
        """Number of real variables."""
        return sum(self.sizes)

    @property
    def shape(self) -> tuple[int, int]:
        return self.n, self.n

    @property
    def dtype(self) -> torch.dtype:
        return self.program.real

    @property
    def device(self) -> torch.device:
        return self.program.device

    @property
    def gradient(self) -> Tensor:
        """The gradient of J at the point, flat, the penalty included."""
        return self._start()[0]

    @property
    def value(self) -> float:
        """J at the point, the penalty included."""
        return self._start()[1]

    @property
    def epsilon(self) -> float:
        """The unit of rounding in the products: that of the coarsest parameter."""
        return max(self.program.epsilon, torch.finfo(self.dtype).eps)

    @calmly
    def _start(self) -> tuple[Tensor, float]:
        if self._first is None:
            gradient, value = gradient_and_value(self.program)
            flat, value = (
                self._reduced(self.flatten(gradient)),
                float(self._reduced(torch.tensor(value, dtype=torch.float64, device="cpu"))),
            )
            gradient = self.unflatten(flat)
            for i, (lam, p) in enumerate(zip(self._penalty, self.program.point, strict=True)):
                gradient[i] = gradient[i] + lam * p
            value += sum(
                lam / 2 * float(self.program.values[k].double().pow(2).sum()) for k, lam in self.program.decay.items()
            )
            flat = self.flatten(gradient)
            require_finite(flat, "the gradient")
            self._first = flat, value
        return self._first

    # products -----------------------------------------------------------------------------------------------------
    @calmly
    def multiply(self, v: Tensor) -> Tensor:
        """H v for a flat vector.

        Raises:
            ObjectiveError: the product is not finite.
        """
        whole = self.engine.flat(v)
        self.products += 1
        summed = self._reduced(self.flatten(self.engine.product(self.unflatten(v))) if whole is None else whole)
        if any(self._decay):
            for (start, stop), lam in zip(self._spans, self._decay, strict=True):
                summed[start:stop] += lam * v[start:stop]
        if not math.isfinite(float(summed.sum())):
            require_finite(summed, "a product with the Hessian")
        return summed

    def _reduced(self, value: Tensor) -> Tensor:
        """Summed over the processes that share the data."""
        return value if self.group is None else self.group.sum(value * self.group.weight)

    def __matmul__(self, other: Any) -> Any:
        if isinstance(other, Mapping):
            flat = self.flatten(self._ordered(other))
            return dict(zip(self.names, self.unflatten(self.multiply(flat)), strict=True))
        given = torch.from_numpy(np.ascontiguousarray(other)) if isinstance(other, np.ndarray) else other
        if not isinstance(given, Tensor) or given.ndim not in (1, 2) or given.shape[0] != self.n:
            shown = tuple(given.shape) if isinstance(given, Tensor) else type(other).__name__
            raise UsageError(
                "E025",
                f"the operator has {self.n} columns, the operand is {shown}",
                hint="a flat vector of that length, or a matrix of that many rows",
            )
        work = given.to(self.device, self.dtype)
        out = self.multiply(work) if work.ndim == 1 else self._columns(work)
        out = out.to(given.device, given.dtype) if given.is_floating_point() else out
        return out.cpu().numpy() if isinstance(other, np.ndarray) else out

    def _columns(self, V: Tensor) -> Tensor:
        """H V, column by column."""
        out = torch.empty_like(V)
        for k in range(V.shape[1]):
            out[:, k] = self.multiply(V[:, k].contiguous())
        return out

    def _ordered(self, named: Mapping[str, Tensor]) -> list[Tensor]:
        """The tensors of a dict in the order of the blocks."""
        wanted = dict(zip(self.names, self.shapes, strict=True))
        shapes = {k: tuple(v.shape) for k, v in named.items()}
        if shapes != wanted:
            wrong = next(k for k in {**wanted, **shapes} if shapes.get(k) != wanted.get(k))
            raise UsageError(
                "E025",
                f"the operand has shape {shapes.get(wrong)} for block {wrong!r}, the operator has {wanted.get(wrong)}",
                hint="a tensor for each block, by its name",
            )
        return [named[n].to(self.device, self.dtype) for n in self.names]

    def flatten(self, tensors: Sequence[Tensor]) -> Tensor:
        """One flat vector in the operator's precision."""
        return torch.cat([t.reshape(-1) if self._plain else t.reshape(-1).to(self.dtype) for t in tensors])

    def unflatten(self, flat: Tensor) -> list[Tensor]:
        """The blocks of a flat vector, each in its parameter's precision."""
        parts = blocks_of(flat, self.program.point)
        return parts if self._plain else [a.to(p.dtype) for a, p in zip(parts, self.program.point, strict=True)]

    # other forms --------------------------------------------------------------------------------------------------
    def to_scipy(self) -> Any:
        """A ``scipy.sparse.linalg.LinearOperator`` with the same products."""
        from scipy.sparse.linalg import LinearOperator

        kind = np.dtype(str(self.dtype).removeprefix("torch."))
        return LinearOperator(  # type: ignore[call-arg]
            shape=self.shape,
            matvec=lambda v: self @ np.asarray(v, kind).reshape(-1),  # pyright: ignore[reportCallIssue]
            matmat=lambda v: self @ np.asarray(v, kind),  # pyright: ignore[reportCallIssue]
            dtype=kind,
        )

    def to_dense(self, limit: int = DENSE) -> Tensor:
        """The matrix, made symmetric, by n products.

        Raises:
            UsageError: more rows than ``limit``.
        """
        if self.n > limit:
            raise UsageError(
                "E025",
                f"a dense matrix of {self.n} rows is above the limit of {limit}",
                hint="to_dense(limit=...) where memory and time allow",
            )
        eye = torch.eye(self.n, dtype=self.dtype, device=self.device)
        full = torch.stack([self.multiply(row) for row in eye])
        return (full + full.T) / 2

    def __repr__(self) -> str:
        return f"Operator({self.kind} of {self.program.J.name}: {self.n} x {self.n}, {len(self.names)} blocks, {self.engine.name})"
