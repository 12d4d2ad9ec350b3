"""The rules, one family per file, registered by primitive operator."""
from epigraph.calculus.rules import arithmetic, conditions, contraction, kinked, layout, reductions, smooth  # noqa: F401
