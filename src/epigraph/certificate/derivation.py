"""The form "derivation": a proof that J has a property, node by node, re-checked by the kernel."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from epigraph.certificate import kernel
from epigraph.certificate.budget import Cost
from epigraph.certificate.codes import refuse
from epigraph.certificate.forms import Proved
from epigraph.certificate.manifest import Manifest

NODE_LIMIT = 1_000_000
ENTRY_SECONDS = 1e-5  # an entry with a bound of its own, under an elementary function
NODE_SECONDS = 1e-3


@final
@dataclass(frozen=True)
class Claim:
    """A derivation whose outline has been checked; the kernel reads its records."""

    property: str
    blocks: tuple[str, ...]
    raw: Mapping[str, Any]


@final
class Derivation:
    """Checks claims of this form: every record follows from those of its operands."""

    def parse(self, manifest: Manifest) -> Claim:
        raw = {name: value for name, value in manifest.claim.items() if name != "form"}
        active, nodes = raw.get("active"), raw.get("nodes")
        if type(active) is not list or any(type(n) is not str or n not in manifest.parameters for n in active):
            refuse("E420", "active must be a list of names of parameters")
        if type(raw.get("property")) is not str or type(nodes) is not dict or len(nodes) > NODE_LIMIT:
            refuse("E420", "a derivation has a property and records by node")
        if manifest.delta:
            refuse("E421", "a derivation displaces nothing")
        return Claim(raw["property"], tuple(active), raw)

    def estimate(self, claim: Claim, manifest: Manifest) -> Cost:
        data = sum(t.bytes for t in manifest.tensors.values())
        entries = sum(math.prod(node.shape) for node in manifest.program.nodes)
        return Cost(
            NODE_SECONDS * len(manifest.program.nodes) + ENTRY_SECONDS * entries + 4e-9 * data,
            4.0 * data + 200.0 * entries,
        )

    def prove(
        self,
        claim: Claim,
        manifest: Manifest,
        tensors: Mapping[str, np.ndarray],
        delta: Mapping[str, np.ndarray],
        limit: Cost,
    ) -> Proved:
        kernel.check(manifest.program, range(len(manifest.program.nodes)), tensors, claim.raw)
        return Proved(kernel.statement(claim.raw))


FORM = Derivation()
