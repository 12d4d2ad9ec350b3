"""How each primitive operator commutes with permutations and scalings: one class per operator, two methods."""

from epigraph.symmetry.rules import contractions, elementwise, layout, reductions
from epigraph.symmetry.rules.base import RULES, Rule, register, rule_of

__all__ = ["RULES", "Rule", "contractions", "elementwise", "layout", "reductions", "register", "rule_of"]
