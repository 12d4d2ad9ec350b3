"""Local derivatives of the primitives, beside their rules: one table for floats and for intervals."""

from epigraph.calculus.derivatives import bumps, smooth  # noqa: F401  (register their formulas)
from epigraph.calculus.derivatives.kinked import Pieces, pieces_of
from epigraph.calculus.derivatives.table import SMOOTH

__all__ = ["SMOOTH", "Pieces", "pieces_of"]
