"""All that is asked of the curvature at a point, from one operator: what the command line shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor

from epigraph.hessian.api import density, hessian, spectrum, trace
from epigraph.hessian.certified import SpectrumCertificate
from epigraph.hessian.density import Density
from epigraph.hessian.spectrum import Spectrum
from epigraph.hessian.trace import Trace
from epigraph.objective.objective import Objective


@final
@dataclass(frozen=True)
class Summary:
    """The ends of the spectrum; the density, the trace and what is proved of the Hessian where they were asked for."""

    objective: Mapping[str, Any]
    spectrum: Spectrum
    density: Density | None
    trace: Trace | None
    certified: SpectrumCertificate | None = None

    def to_dict(self) -> dict[str, Any]:
        """What ``--json`` prints: schema epigraph/spectrum/1."""
        found = self.spectrum.to_dict()
        return {
            "schema": found.pop("schema"),
            "objective": dict(self.objective),
            **found,
            "density": self.density.to_dict() if self.density else None,
            "trace": self.trace.to_dict() if self.trace else None,
            "certified": self.certified.to_dict() if self.certified else None,
        }


def summary(
    J: Objective,
    at: Mapping[str, Tensor] | None = None,
    *,
    top: int = 5,
    bottom: int = 3,
    blocks: Sequence[str] | None = None,
    kind: str = "hessian",
    dtype: str | None = None,
    with_density: bool = False,
    with_trace: bool = False,
    vectors: bool = False,
    seed: int = 0,
    progress: Callable[..., Any] = lambda *parts: None,
) -> Summary:
    """The ends, then the density of what lies between them, then the trace, of one operator."""
    progress("building the operator")
    H = hessian(J, at, blocks, kind=kind, dtype=dtype, seed=seed)
    progress(f"the ends of {H!r}")
    found = spectrum(H, top=top, bottom=bottom, seed=seed, vectors=vectors or with_density)
    bulk = mean = None
    if with_density:
        progress("the density between the ends")
        bulk = density(H, outliers=found, seed=seed)
    if with_trace:
        progress("the trace")
        mean = trace(H, seed=seed)
    return Summary(J.describe(), found, bulk, mean)
