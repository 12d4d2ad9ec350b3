"""Operators that reduce or normalise along dimensions."""

from __future__ import annotations

from typing import final

from epigraph.symmetry.atoms import Type, pinned
from epigraph.symmetry.axes import unify
from epigraph.symmetry.charges import Charges
from epigraph.symmetry.rules.base import Elementwise, Rule, nothing, projected, put, register
from epigraph.symmetry.trace import Step


class Reduction(Rule):
    """Drops dimensions."""

    def axes(self, step: Step) -> list[Type]:
        dims = step.node.attributes["dims"]
        return [kind for d, kind in enumerate(step.inputs[0].dims) if d not in dims]

    def linear(self, q: Charges, step: Step) -> None:
        """Charges along the dropped dimensions are 0, the others stay."""
        (x,), dims = step.inputs, step.node.attributes["dims"]
        for cell, row in zip(x.cells, q.table(x), strict=True):
            q.vanish(*(row[j + 1] for j, p in enumerate(cell.places) if p.dim in dims))
        put(q, step, projected(q, x, step.output, dims, kept=False))


@register("sum")
@final
class Sum(Reduction):
    """Linear, and invariant along what it sums."""

    def charges(self, q: Charges, step: Step) -> None:
        self.linear(q, step)


@register("amax")
@final
class Largest(Reduction):
    """Commutes with positive factors."""

    def charges(self, q: Charges, step: Step) -> None:
        self.linear(q, step)
        nothing(q, [*step.inputs, step.output], "sign")


@register("logsumexp")
@final
class LogSumExp(Reduction):
    """Commutes with no factor."""

    def charges(self, q: Charges, step: Step) -> None:
        nothing(q, [*step.inputs, step.output])


@register("log_softmax")
@final
class LogSoftmax(Elementwise):
    """Commutes with permutations, with no factor."""

    def charges(self, q: Charges, step: Step) -> None:
        nothing(q, [*step.inputs, step.output])


@register("sort")
@final
class Sort(Rule):
    """Unchanged by any permutation along the sorted dimension; its ranks stay where they are.  Commutes with c > 0."""

    def axes(self, step: Step) -> list[Type]:
        dims = list(step.inputs[0].dims)
        d = step.node.attributes["dim"]
        dims[d] = pinned(step.output.shape[d])
        return dims

    def charges(self, q: Charges, step: Step) -> None:
        (x,), d = step.inputs, step.node.attributes["dim"]
        for cell, row in zip(x.cells, q.table(x), strict=True):
            q.vanish(*(row[j + 1] for j in cell.along(d)))
        put(q, step, projected(q, x, step.output, [d], kept=True))
        nothing(q, [step.output], "sign")


@register("eigvalsh", "svdvals")
@final
class Spectral(Rule):
    """Unchanged by permutations of rows and columns, the same for both where the matrix is symmetric."""

    def axes(self, step: Step) -> list[Type]:
        dims = step.inputs[0].dims
        if step.node.op == "eigvalsh":
            unify(dims[-2], dims[-1])
        return [*dims[:-2], pinned(step.output.shape[-1])]

    def charges(self, q: Charges, step: Step) -> None:
        nothing(q, [*step.inputs, step.output])
