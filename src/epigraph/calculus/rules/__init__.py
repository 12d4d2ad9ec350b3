"""The rules, one family per file, registered by primitive operator."""

from epigraph.calculus.rules import (  # noqa: F401
    arithmetic,
    bumps,
    conditions,
    contraction,
    kinked,
    layout,
    power,
    reductions,
    smooth,
    spectral,
    waves,
)
