"""The forms that a claim can take, and where each one is checked.

A form is a module with a constant ``FORM`` that follows the protocol below.  ``parse`` sees the manifest alone and
must refuse everything that can be refused without tensors; ``estimate`` says what ``prove`` will cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol, final

import numpy as np

from epigraph.certificate.budget import Cost
from epigraph.certificate.codes import refuse
from epigraph.certificate.manifest import Manifest

MODULES = {
    "midpoint": "epigraph.certificate.midpoint",
    "derivation": "epigraph.certificate.derivation",
    "curvature": "epigraph.certificate.secondorder",
    "polynomial": "epigraph.certificate.sumofsquares",
    "rayleigh": "epigraph.certificate.rayleigh",
    "definite": "epigraph.certificate.definite",
    "isolated": "epigraph.certificate.isolated",
}


NOTHING = Cost(0.0, 0.0)


@final
@dataclass(frozen=True)
class Proved:
    """What a form has proved: one sentence, the bound on the gap if there is one, and values worth showing.

    ``cost`` is what the evaluation was expected to take beyond the form's estimate.
    """

    statement: str
    gap: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    cost: Cost = NOTHING


class Form(Protocol):
    """How one kind of claim is checked.  ``Claim`` is whatever ``parse`` returns."""

    def parse(self, manifest: Manifest) -> Any:
        """Check the claim's fields against the manifest (E420 to E423)."""
        ...

    def estimate(self, claim: Any, manifest: Manifest) -> Cost:
        """Seconds and bytes from shapes alone, before tensors are read; ``prove`` adds what it sees in them."""
        ...

    def prove(
        self,
        claim: Any,
        manifest: Manifest,
        tensors: Mapping[str, np.ndarray],
        delta: Mapping[str, np.ndarray],
        limit: Cost,
    ) -> Proved:
        """Check the claim itself; refuse with E422, E430 or E44x."""
        ...


def form(name: str) -> Form:
    """The checker of a form, by its name in the claim."""
    if name not in MODULES:
        refuse("E420", f"unknown form of claim {name[:40]!r}", why=f"this verifier knows {', '.join(MODULES)}")
    return import_module(MODULES[name]).FORM
