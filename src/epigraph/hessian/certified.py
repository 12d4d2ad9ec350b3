"""What is proved of the Hessian at a point: the result, its words, and its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final

from epigraph.errors import UsageError

Word = Literal[
    "indefinite",
    "positive definite",
    "negative definite",
    "not positive semidefinite",
    "not negative semidefinite",
    "not settled",
]


@final
@dataclass(frozen=True)
class SpectrumCertificate:
    """What is proved of the Hessian H of J at one point, in the parameters ``blocks``.

    ``definiteness`` is the strongest word that is proved.  ``largest`` and ``least`` are decimal strings: an eigenvalue of H is at least
    ``largest`` > 0, one is at most ``least`` < 0; None where that is not proved.  ``modulus`` bounds all eigenvalues away from zero where H is
    definite.  With a negative eigenvalue J is not convex near the point, with a positive one not concave.
    ``reason`` says what was missing for more, ``where`` at which line.  ``precision_bits`` are those of the balls, 0 where float64 enclosures
    gave the proof.
    """

    definiteness: Word
    largest: str | None = None
    least: str | None = None
    modulus: float | None = None
    precision_bits: int = 0
    reason: str | None = None
    where: str | None = None
    blocks: tuple[str, ...] = ()
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    payload: Any = field(default=None, repr=False, compare=False)  # what save() writes

    @property
    def statement(self) -> str:
        """The result in one sentence."""
        point = "the Hessian at this point"
        match self.definiteness:
            case "indefinite":
                return f"{point} has a positive and a negative eigenvalue: J is neither convex nor concave there"
            case "positive definite":
                return f"{point} is positive definite: J is strictly convex near it"
            case "negative definite":
                return f"{point} is negative definite: J is strictly concave near it"
            case "not positive semidefinite":
                return f"{point} has a negative eigenvalue: J is not convex there"
            case "not negative semidefinite":
                return f"{point} has a positive eigenvalue: J is not concave there"
        return "no sign of the curvature at this point is proved"

    def save(self, path: str | Path) -> None:
        """Write the certificate file, which ``epigraph verify`` checks without torch and without the model.

        Raises:
            UsageError: nothing was proved, or the proof has no file form.
        """
        from epigraph.certificate.format import write

        if self.payload is None:
            why = self.reason or "it rests on float64 enclosures of a Hessian that is too large for the verifier"
            raise UsageError(
                "E028", "there is no evidence that a file can hold", why=why, hint="--json prints the result"
            )
        write(path, self.payload)

    def to_dict(self) -> dict[str, Any]:
        """What ``--json`` prints under ``certified``."""
        keys = (
            "definiteness",
            "largest",
            "least",
            "modulus",
            "precision_bits",
            "statement",
            "reason",
            "where",
            "seconds",
        )
        out: Mapping[str, Any] = {k: getattr(self, k) for k in keys}
        return {**out, "blocks": list(self.blocks), "file": self.payload is not None, "notes": list(self.notes)}


__all__ = ["SpectrumCertificate"]
