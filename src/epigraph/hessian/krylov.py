r"""An orthonormal basis that a symmetric operator is projected on: block Lanczos with full reorthogonalisation.

Some vectors of the basis have been multiplied, the others are pending.  A product H q is orthogonalised twice against the
whole basis, and what is left becomes a new pending vector.  So H maps the span of the multiplied vectors into the span of the basis,
and the residual of a Ritz pair is exactly the part of H y that lies in the pending vectors: no further product is needed.  A new
random vector may join at any time; several chains make a block method whose block size follows the need.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from epigraph.errors import ObjectiveError

Multiply = Callable[[Tensor], Tensor]
Array = NDArray[np.float64]

CHUNK = 4, 128  # rows of the basis that are allocated together: at least and at most so many
CHUNK_ENTRIES = 16_000_000  # and as many as these in between
SPAN = (
    1 << 16
)  # terms that are summed in the vectors' own precision; a float32 sum of millions of squares is good to four digits
SQUARES = {
    torch.float32: (1e-15, 1e18),
    torch.float64: (1e-140, 1e140),
}  # norms whose squares are far from the ends of the range
SMALLEST = {torch.float32: 1e-36, torch.float64: 1e-140}  # products below count as zero, ...
UNSEEN = 1e6  # ... which may be that much less than the largest eigenvalue, as the product with a random vector is
LARGEST = 1e140
KEPT = 1_000_000  # rows up to which products are kept, so that true residuals cost nothing


@final
@dataclass(frozen=True)
class Ritz:
    """Ritz values in ascending order, their residual norms, and their coefficients in the multiplied vectors."""

    values: Array
    residuals: Array
    vectors: Array
    done: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.values)


def length(w: Tensor) -> float:
    """The Euclidean norm, also where squares of the entries are not representable."""
    size = _root_of_squares(w)
    if SQUARES[w.dtype][0] <= size <= SQUARES[w.dtype][1]:
        return size
    largest = float(w.abs().max()) if w.numel() else 0.0
    return _root_of_squares(w / largest) * largest if 0 < largest < math.inf else largest


def _root_of_squares(w: Tensor) -> float:
    if w.numel() <= SPAN:
        return float(torch.linalg.vector_norm(w))
    return float(torch.stack([torch.linalg.vector_norm(part) for part in w.split(SPAN)]).double().norm())


def inner(rows: Tensor, w: Tensor) -> Tensor:
    """The inner products of the rows with w."""
    if w.numel() <= SPAN:
        return torch.mv(rows, w)
    parts = zip(rows.split(SPAN, dim=1), w.split(SPAN), strict=True)
    return torch.stack([torch.mv(a, b) for a, b in parts]).sum(0, dtype=torch.float64)


def _leading(at: list[int]) -> bool:
    """Are these the first numbers in order?"""
    return at == list(range(len(at)))


@final
class Krylov:
    """The basis, what has been multiplied, and the projected operator."""

    def __init__(
        self,
        multiply: Multiply,
        n: int,
        dtype: torch.dtype,
        device: torch.device,
        seed: int,
        epsilon: float = 0.0,
        rows: int = CHUNK[1],
    ):
        self.multiply, self.n, self.dtype, self.device = multiply, n, dtype, device
        self.generator = torch.Generator().manual_seed(seed)
        self.chunk = max(CHUNK[0], min(CHUNK_ENTRIES // n, rows))
        self._rows: list[Tensor] = []
        self._images: list[Tensor] = []  # the products, in the same places
        self.keeps = n <= KEPT
        self.count, self.products = 0, 0
        self.coupling: Array = np.zeros((0, 0))
        self.done: list[int] = []
        self.pending: list[int] = []
        self.locked = 0
        self.drawn_at: int | None = None  # the basis vector that has a uniformly random direction
        self.scale = 0.0  # the largest norm of a product with a unit vector
        self.floor = 0.0  # below it a product counted as zero
        self.asymmetry = 0.0  # the largest |q H p - p H q|: the noise of the products
        self.epsilon = max(torch.finfo(dtype).eps, epsilon)

    # the basis ----------------------------------------------------------------------------------------------------
    def _chunks(self) -> list[tuple[int, Tensor]]:
        size = self.chunk
        return [(k * size, rows[: self.count - k * size]) for k, rows in enumerate(self._rows) if self.count > k * size]

    def row(self, i: int) -> Tensor:
        """One basis vector."""
        return self._rows[i // self.chunk][i % self.chunk]

    def _append(self, vector: Tensor) -> int:
        if self.count == len(self._rows) * self.chunk:
            self._rows.append(torch.empty((self.chunk, self.n), dtype=self.dtype, device=self.device))
            if self.keeps:
                self._images.append(torch.zeros_like(self._rows[-1]))
            grown = np.zeros((len(self._rows) * self.chunk,) * 2)
            grown[: self.count, : self.count] = self.coupling[: self.count, : self.count]
            self.coupling = grown
        i = self.count
        self._rows[i // self.chunk][i % self.chunk] = vector
        self.count += 1
        self.pending.append(i)
        return i

    def _without_basis(self, w: Tensor) -> tuple[Tensor, Array]:
        """w less its part in the basis, by two passes, and the coefficients of that part."""
        parts: list[list[Tensor]] = []
        chunks = self._chunks()
        for _ in range(2):
            parts.append([])
            for _, rows in chunks:
                h = inner(rows, w)
                w = torch.addmv(w, rows.T, h.to(w.dtype), alpha=-1)
                parts[-1].append(h)
        if not chunks:
            return w, np.zeros(0)
        first, second = (p[0] if len(p) == 1 else torch.cat(p) for p in parts)
        return w, (first.double() + second).cpu().numpy()

    def split(self, w: Tensor) -> tuple[Tensor, Array]:
        """w less its part in the multiplied vectors, and the coefficients of that part in them."""
        total = np.zeros(len(self.done))
        for _ in range(2):
            along = np.zeros(self.count)
            for start, rows in self._chunks():
                along[start : start + len(rows)] = inner(rows, w).cpu().numpy()
            total += along[self.done]
            full = np.zeros(self.count)
            full[self.done] = along[self.done]
            w = w - self.combine(full)
        return w, total

    def combine(self, weights: Array, images: bool = False) -> Tensor:
        """The combination of the basis vectors, or of their products, with these weights."""
        out = torch.zeros(self.n, dtype=self.dtype, device=self.device)
        for (start, rows), kept in zip(self._chunks(), self._images if images else self._rows, strict=True):
            part = torch.from_numpy(np.ascontiguousarray(weights[start : start + len(rows)])).to(rows)
            out += kept[: len(rows)].T @ part
        return out

    def begin(self, vector: Tensor) -> None:
        """The process starts from this vector in place of a random one."""
        w, _ = self._without_basis(vector.to(self.device, self.dtype))
        self._append(w / length(w))

    def start(self) -> int | None:
        """A random direction orthogonal to the multiplied vectors becomes the first pending one; None where none is left.

        It may have a part in the vectors that are pending already: these are turned, so that their span stays.
        """
        if self.count == self.n:
            return self.turn(self.normal(len(self.pending)).numpy()) if self.pending else None
        for _ in range(20):
            w, h = self._without_basis(self._random())
            size = length(w)
            if size > 1e-3:
                w, _ = self._without_basis(w / size)
                new = self._append(w / length(w))
                self.drawn_at = new if len(self.pending) == self.count - self.locked == 1 else self.drawn_at
                return self.turn(np.array([*h[self.pending[:-1]], size]))
        return None

    def turn(self, direction: Array) -> int:
        """Another orthonormal basis of the pending span, whose first vector has this direction; that vector.

        By the Householder reflection that takes the first unit vector to the direction.
        """
        at = list(self.pending)
        size = float(np.linalg.norm(direction))
        if len(at) > 1 and size > 0:
            u = direction / size
            u[0] -= 1.0
            if (square := float(u @ u)) > 0:
                rows, weights = [self.row(i) for i in at], u.tolist()
                along = weights[0] * rows[0]
                for row, x in zip(rows[1:], weights[1:], strict=True):
                    along.add_(row, alpha=x)
                for row, x in zip(rows, weights, strict=True):
                    row.sub_(along, alpha=2 / square * x)
                block = self.coupling[np.ix_(at, self.done)]
                self.coupling[np.ix_(at, self.done)] = block - np.outer(2 / square * u, u @ block)
        return at[0]

    def lock(self, vector: Tensor) -> None:
        """A unit vector that the operator's image avoids: the process stays orthogonal to it."""
        w, _ = self._without_basis(vector)
        self.pending.remove(self._append(w / length(w)))
        self.locked += 1

    def step(self, i: int) -> int | None:
        """Multiply one pending vector; the new pending vector, or None where the product lies in the basis.

        A remainder at the level of rounding is kept as any other: small eigenvalues beside a large one look like that.
        """
        q = self.row(i)
        w, size = self._product(q)
        if self.keeps:
            self._images[i // self.chunk][i % self.chunk] = w
        self.scale = max(self.scale, size)
        w, h = self._without_basis(w)
        self.pending.remove(i)
        if self.done:
            at = slice(len(self.done)) if _leading(self.done) else self.done
            self.asymmetry = max(self.asymmetry, float(np.abs(h[at] - self.coupling[i, : self.count][at]).max()))
        self.coupling[: self.count, i] = h
        self.done.append(i)
        left = length(w)
        if left == 0.0 or self.count >= self.n:
            return None
        w = w / left
        if left <= 0.1 * size:  # what cancelled has left rounding along the basis
            w = self._rounded_off(w)
            if w is None:
                return None
        new = self._append(w)
        self.coupling[new, i] = left
        return new

    def _product(self, q: Tensor) -> tuple[Tensor, float]:
        """H q and its norm.

        Raises:
            ObjectiveError: it is too large for the squares of its entries.
        """
        w = self.multiply(q)
        self.products += 1
        size = length(w)
        if size > LARGEST:
            what = f"the Hessian is too large: a product with a unit vector has the norm {size:.1e}"
            raise ObjectiveError("E214", what, hint="J in other units")
        if 0 < size < SMALLEST[self.dtype]:
            self.floor = UNSEEN * SMALLEST[self.dtype]
            return torch.zeros_like(w), 0.0
        return w, size

    def _rounded_off(self, w: Tensor) -> Tensor | None:
        """The unit vector less its part in the basis; a random one where it was rounding and nothing else."""
        w, _ = self._without_basis(w)
        size = length(w)
        for _ in range(20):
            if size > 0.1:
                w, _ = self._without_basis(w / size)
                return w / length(w)
            w, _ = self._without_basis(self._random())
            size = length(w)
        return None

    def _random(self) -> Tensor:
        """A vector of independent normal numbers."""
        return self.normal(self.n).to(self.device, self.dtype)

    def normal(self, *shape: int) -> Tensor:
        """Independent normal numbers from the process's own generator."""
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64, device="cpu")

    # what is known ------------------------------------------------------------------------------------------------
    @property
    def noise(self) -> float:
        """An estimate of the error of a product with a unit vector: rounding, or the asymmetry seen where that is more."""
        rounding = 4 * self.epsilon * self.scale * max(1.0, len(self.done)) ** 0.5
        return max(rounding, 2 * self.asymmetry, self.floor)

    @property
    def complete(self) -> bool:
        """Has every vector of a basis of the whole space been multiplied?"""
        return len(self.done) == self.n - self.locked

    def projected(self, chosen: list[int] | None = None) -> Array:
        """The operator on the chosen multiplied vectors (all of them by default), made symmetric."""
        at = self.done if chosen is None else chosen
        small = self.coupling[: len(at), : len(at)] if _leading(at) else self.coupling[np.ix_(at, at)]
        return (small + small.T) / 2

    def ritz(self, chosen: list[int] | None = None) -> Ritz:
        """Ritz pairs over the chosen multiplied vectors and their residual norms in the rest of the basis."""
        at = np.array(self.done if chosen is None else chosen, dtype=np.intp)
        values, vectors = np.linalg.eigh(self.projected(chosen))
        outside = np.ones(self.count, dtype=bool)
        outside[at] = False
        left = self.coupling[: self.count][outside][:, at] @ vectors
        return Ritz(values, np.sqrt(np.einsum("ij,ij->j", left, left)), vectors, at)

    def vector(self, ritz: Ritz, k: int) -> Tensor:
        """The k-th Ritz vector, of unit length."""
        out = self.combine(self._spread(ritz, ritz.vectors[:, k]))
        return out / length(out)

    def true_residual(self, ritz: Ritz, k: int) -> float:
        """The norm of H u - theta u for the k-th Ritz vector u: from kept products, or by one more product."""
        u = self.vector(ritz, k)
        if self.keeps:
            image = self.combine(self._spread(ritz, ritz.vectors[:, k]), images=True)
        else:
            image = self.multiply(u)
            self.products += 1
        return length(image - float(ritz.values[k]) * u)

    def mixed(self, ritz: Ritz, weights: Array) -> tuple[Tensor, Tensor]:
        """The combination v of the multiplied vectors with these weights, and H v, from kept products."""
        full = self._spread(ritz, weights)
        return self.combine(full), self.combine(full, images=True)

    def drawn(self, fresh: bool = False) -> tuple[Tensor, Tensor]:
        """A unit vector of random direction and its product: the process's own start, where it is kept, or a fresh one."""
        i = self.drawn_at
        if not fresh and i is not None and i in self.done and self.keeps:
            return self.row(i), self._images[i // self.chunk][i % self.chunk]
        w = self._random()
        w = w / length(w)
        self.products += 1
        return w, self.multiply(w)

    def _spread(self, ritz: Ritz, weights: Array) -> Array:
        """Weights of the multiplied vectors as weights of the whole basis."""
        full = np.zeros(self.count)
        full[ritz.done] = weights
        return full

    def restart(self, ritz: Ritz, kept: list[int]) -> None:
        """Keep some Ritz vectors and the pending vectors; the rest of the basis is let go.  Residuals stay exact."""
        pend = list(self.pending)
        fixed = [self.row(i).clone() for i in range(self.locked)]
        rows = [*fixed, *(self.vector(ritz, k) for k in kept), *(self.row(i).clone() for i in pend)]
        coupling = np.zeros((len(rows),) * 2)
        at = np.arange(self.locked, self.locked + len(kept))
        rest = np.arange(self.locked + len(kept), len(rows))
        coupling[at, at] = ritz.values[kept]
        coupling[np.ix_(rest, at)] = self.coupling[np.ix_(pend, ritz.done.tolist())] @ ritz.vectors[:, kept]
        images = [self.mixed(ritz, ritz.vectors[:, k])[1] for k in kept] if self.keeps else []
        self._rows, self._images, self.count, self.coupling = [], [], 0, np.zeros((0, 0))
        self.done, self.pending, self.drawn_at = [], [], None
        for row in rows:
            self._append(row)
        self.coupling[: self.count, : self.count] = coupling
        self.done, self.pending = at.tolist(), rest.tolist()
        for i, image in zip(self.done, images, strict=False):
            self._images[i // self.chunk][i % self.chunk] = image
