"""Is this training objective convex?  A proof, a certified counterexample, or an honest "undecided".

    J = epigraph.Objective(model, loss, inputs, targets, weight_decay=1e-3)
    v = epigraph.check(J)
    v.verdict                                  # "affine", "convex", "concave", "nonconvex" or "undecided"
    v.certificate.save("x.epi")
    epigraph.verify("x.epi").ok

The public names are loaded when they are first used: ``import epigraph`` costs a millisecond, and
``epigraph.certificate.verify`` checks a certificate without importing PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from epigraph import zoo
    from epigraph.certificate.verify import verify
    from epigraph.convexity.check import check
    from epigraph.convexity.pointwise import certify_spectrum
    from epigraph.convexity.region import RegionVerdict, region
    from epigraph.convexity.verdict import Blocker, Certificate, Proof, Step, Verdict
    from epigraph.critical.atlas import Atlas
    from epigraph.critical.result import Catalogue, CriticalPoint
    from epigraph.critical.search import minima
    from epigraph.errors import (
        AtlasError,
        CaptureError,
        CertificateError,
        EpigraphError,
        ObjectiveError,
        TargetError,
        UsageError,
    )
    from epigraph.hessian.api import density, hessian, spectrum, trace
    from epigraph.hessian.certified import SpectrumCertificate
    from epigraph.hessian.density import Density
    from epigraph.hessian.monitor import CurvatureMonitor
    from epigraph.hessian.spectrum import Spectrum
    from epigraph.objective.graph import Graph
    from epigraph.objective.objective import Objective
    from epigraph.symmetry.align import Alignment, align
    from epigraph.symmetry.argument import Copies, permutation_argument
    from epigraph.symmetry.barrier import Barrier, barrier
    from epigraph.symmetry.canonical import Sameness, canonical, same
    from epigraph.symmetry.data import DataSymmetries, data_symmetries
    from epigraph.symmetry.result import Symmetries, symmetries

__all__ = [
    "Alignment",
    "Atlas",
    "AtlasError",
    "Barrier",
    "Blocker",
    "CaptureError",
    "Catalogue",
    "Certificate",
    "CertificateError",
    "Copies",
    "CriticalPoint",
    "CurvatureMonitor",
    "DataSymmetries",
    "Density",
    "EpigraphError",
    "Graph",
    "Objective",
    "ObjectiveError",
    "Proof",
    "RegionVerdict",
    "Sameness",
    "Spectrum",
    "SpectrumCertificate",
    "Step",
    "Symmetries",
    "TargetError",
    "UsageError",
    "Verdict",
    "__version__",
    "align",
    "barrier",
    "canonical",
    "certify_spectrum",
    "check",
    "data_symmetries",
    "density",
    "hessian",
    "minima",
    "permutation_argument",
    "region",
    "same",
    "spectrum",
    "symmetries",
    "trace",
    "verify",
    "zoo",
]

_HOMES = {
    "epigraph.certificate.verify": ("verify",),
    "epigraph.convexity.check": ("check",),
    "epigraph.convexity.pointwise": ("certify_spectrum",),
    "epigraph.convexity.region": ("RegionVerdict", "region"),
    "epigraph.convexity.verdict": ("Blocker", "Certificate", "Proof", "Step", "Verdict"),
    "epigraph.critical.atlas": ("Atlas",),
    "epigraph.critical.result": ("Catalogue", "CriticalPoint"),
    "epigraph.critical.search": ("minima",),
    "epigraph.errors": (
        "AtlasError",
        "CaptureError",
        "CertificateError",
        "EpigraphError",
        "ObjectiveError",
        "TargetError",
        "UsageError",
    ),
    "epigraph.hessian.api": ("density", "hessian", "spectrum", "trace"),
    "epigraph.hessian.density": ("Density",),
    "epigraph.hessian.certified": ("SpectrumCertificate",),
    "epigraph.hessian.monitor": ("CurvatureMonitor",),
    "epigraph.hessian.spectrum": ("Spectrum",),
    "epigraph.objective.graph": ("Graph",),
    "epigraph.objective.objective": ("Objective",),
    "epigraph.symmetry.align": ("Alignment", "align"),
    "epigraph.symmetry.argument": ("Copies", "permutation_argument"),
    "epigraph.symmetry.barrier": ("Barrier", "barrier"),
    "epigraph.symmetry.canonical": ("Sameness", "canonical", "same"),
    "epigraph.symmetry.data": ("DataSymmetries", "data_symmetries"),
    "epigraph.symmetry.result": ("Symmetries", "symmetries"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name from its home the first time that it is asked for."""
    if name == "zoo":
        return import_module("epigraph.zoo")
    if name not in _HOME:
        raise AttributeError(f"module 'epigraph' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
