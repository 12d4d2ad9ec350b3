r"""The graph of an objective: a real function written with about fifty primitive operators.

A ``Graph`` is a list of ``Node`` in topological order; a node's inputs have smaller identifiers.  Every node denotes a
real tensor of fixed shape, a function of the parameters; there are no dtypes, no views, no in-place writes and no
rounding.  PyTorch's operators are lowered to these primitives at capture, each to the *same real function*, so that
the calculus, the refuter and the certificate all speak about one and the same object.

Leaves
    ``parameter``    attributes ``name``
    ``constant``     attributes ``tensor`` (a key of ``Graph.tensors``) or, for an exact scalar, ``value`` ("p/q")

Arithmetic; the operands of ``add``, ``mul``, ``div``, ``maximum``, ``where``, ``compare`` broadcast as in NumPy
    ``add(x, y)``  ``neg(x)``  ``mul(x, y)``  ``div(x, y)``  ``maximum(x, y)``
    ``power(x)``         attribute ``exponent`` ("p/q"): x^e.  Integer e: all x (x != 0 where e < 0); otherwise x >= 0
                         (x > 0 where e < 0)
    ``matmul(a, b)``     a [..., i, j], b [..., j, k], both at least 2-D, leading dimensions broadcast
    ``convolution(x, w)``  x [N, C, *S], w [O, C/groups, *K]; cross-correlation as in PyTorch without bias; attributes
                         ``stride``, ``padding``, ``dilation`` (one integer per spatial dimension, zero padding), ``groups``
    ``where(c, x, y)``   x where c = 1, y where c = 0; c has the values 0 and 1 only
    ``compare(x, y)``    attribute ``relation`` in lt, le, eq: 1 where it holds, else 0

Reductions; ``dims`` is a sorted list of non-negative dimensions, which are dropped
    ``sum(x)``  ``amax(x)``  ``logsumexp(x)``
    ``log_softmax(x)``   attribute ``dim``: x - logsumexp(x, dim), same shape
    ``sort(x)``          attribute ``dim``: the entries along dim in ascending order, same shape

Spectra; both over the last two dimensions, which become one, in ascending order
    ``eigvalsh(x)``  the eigenvalues of (x + x')/2, x [..., n, n]     ``svdvals(x)``  the min(m, n) singular values, x [..., m, n]
    ``det(x)``       the determinant, x [..., n, n]; both dimensions are dropped

Layout
    ``reshape(x)``  attribute ``shape`` (row-major)       ``permute(x)``  attribute ``dims``
    ``expand(x)``   attribute ``shape`` (NumPy broadcast_to)
    ``slice(x)``    attributes ``dim``, ``start``, ``stop``, ``step`` (0 <= start <= stop <= size, step >= 1)
    ``concat(x, y, ...)``  attribute ``dim``
    ``take(x, index)``     attribute ``dim``; index is a constant 1-D integer tensor: rows index[0], index[1], ... of x along dim

Elementwise functions of one variable
    ``exp`` ``log`` ``sqrt`` ``abs`` ``relu`` ``sigmoid`` ``tanh`` ``softplus`` (log(1+e^x)) ``erf``
    ``log_ndtr`` (log of the normal distribution function) ``sin`` ``cos`` ``atan``
    ``xlogx`` (x log x, 0 at 0) ``silu`` (x sigmoid(x)) ``gelu`` (x Phi(x)) ``mish`` (x tanh(softplus(x)))
    ``elu``        attribute ``alpha`` ("p/q"): x for x > 0, alpha (e^x - 1) for x <= 0
    ``piecewise``  attributes ``knots`` (increasing "p/q") and ``pieces`` (one more than knots, each a list of polynomial
                   coefficients "p/q" in ascending degree, degree at most 2); continuous; piece i holds on [knot i-1, knot i]
    ``sign``  ``floor``

Others
    ``same(x, y, ...)``  operands that are equal as real functions, so that facts of each hold for all; its value is x
    ``opaque(x, ...)``   attribute ``target``: an operator without a lowering; nothing is known of it

Facts in attributes are integers, strings and lists of them; rational numbers are written "p/q" or "p".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from torch import Tensor

Attribute = Any  # int | str | list of them: JSON without floats


@final
@dataclass(frozen=True, slots=True)
class Origin:
    """Where a node comes from: the PyTorch operator, the line of the user's file, the module's path."""

    operator: str
    filename: str | None = None
    line: int | None = None
    module: str = ""

    @property
    def location(self) -> str | None:
        """``file.py:14``, relative to the working directory where that is shorter, or None."""
        if self.filename is None:
            return None
        import os

        relative = os.path.relpath(self.filename)
        shown = relative if not relative.startswith("..") else self.filename
        return f"{shown}:{self.line}"


NOWHERE = Origin("")


@final
@dataclass(frozen=True, slots=True)
class Node:
    """One primitive operator applied to earlier nodes."""

    id: int
    op: str
    inputs: tuple[int, ...]
    attributes: Mapping[str, Attribute]
    shape: tuple[int, ...]
    origin: Origin = NOWHERE

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


@final
@dataclass(frozen=True, slots=True)
class Leaf:
    """A tensor behind a ``constant`` node, and what it is for the user: data, buffer, frozen, constant or index."""

    tensor: Tensor
    role: str = "constant"
    name: str = ""


@final
@dataclass(frozen=True)
class Graph:
    """Nodes in topological order, the scalar output, the constants, and the value of the parameters at capture."""

    nodes: tuple[Node, ...]
    output: int
    tensors: Mapping[str, Leaf]
    parameters: Mapping[str, Tensor]
    opaque: Mapping[int, Callable[..., Tensor]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __getitem__(self, identifier: int) -> Node:
        return self.nodes[identifier]

    @property
    def parameter_nodes(self) -> dict[str, int]:
        """Identifier of each parameter's node, by name."""
        return {n.attributes["name"]: n.id for n in self.nodes if n.op == "parameter"}

    def depends(self, names: Sequence[str] | None = None) -> list[bool]:
        """For each node: does it depend on one of these parameters (all of them by default)?"""
        chosen = None if names is None else set(names)
        found = [False] * len(self.nodes)
        for node in self.nodes:
            if node.op == "parameter":
                found[node.id] = chosen is None or node.attributes["name"] in chosen
            else:
                found[node.id] = any(found[i] for i in node.inputs)
        return found
