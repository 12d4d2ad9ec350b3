"""The project's own table of objectives with known verdicts: every family, and the names of all rows."""

from __future__ import annotations

import formulas
import networks
import penalties
import regression
import spellings
from case import Case

FAMILIES: dict[str, list[Case]] = {
    "least squares": regression.LEAST_SQUARES,
    "robust losses": regression.ROBUST,
    "margins": regression.MARGINS,
    "generalised linear models": regression.GENERALISED,
    "penalties": penalties.PENALTIES,
    "statistics": penalties.STATISTICS,
    "time series": penalties.TIME,
    "powers": formulas.POWERS,
    "transcendental functions": formulas.TRANSCENDENTAL,
    "pairs": formulas.PAIRS,
    "linear layers": networks.LINEAR,
    "hidden layers": networks.HIDDEN,
    "attention": networks.ATTENTION,
    "representations": networks.REPRESENTATION,
    "spellings of one variable": spellings.POINT,
    "spellings of likelihoods": spellings.LIKELIHOODS,
    "spellings of structured problems": spellings.STRUCTURED,
    "spellings of spectra": spellings.SPECTRAL,
}
TABLE = [case for family in FAMILIES.values() for case in family]
