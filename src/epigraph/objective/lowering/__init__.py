"""Lowering of PyTorch's operators to the primitives of ``objective.graph``, one family per file."""

from epigraph.objective.lowering import (  # noqa: F401  (imported for their registrations)
    activations,
    arithmetic,
    attention,
    casts,
    classification,
    complexes,
    composites,
    conditions,
    contraction,
    creation,
    derivatives,
    einsum,
    elementary,
    embedding,
    extended,
    folding,
    indexing,
    layout,
    losses,
    normalization,
    order,
    padding,
    pooling,
    reductions,
    spectral,
    upsample,
)
from epigraph.objective.lowering.registry import EXACT, LOWERINGS

__all__ = ["EXACT", "LOWERINGS"]
