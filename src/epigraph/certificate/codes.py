"""The codes with which a certificate is refused, and the one way to raise them."""

from __future__ import annotations

from typing import NoReturn

from epigraph.errors import CertificateError

CODES = {
    "E400": "the file cannot be opened or read",
    "E401": "the container is not the plain zip archive that the format asks for",
    "E402": "something is larger than the format allows",
    "E403": "the manifest, or a tensor header, is not strict JSON",
    "E404": "a field of the manifest is missing, unknown or of the wrong type",
    "E405": "a tensor file is malformed",
    "E406": "tensor data do not match the manifest, or are not finite",
    "E410": "a node of the graph is malformed: identifiers, inputs or attributes",
    "E411": "a shape in the graph does not follow from its operands",
    "E412": "an operator that the verifier does not know or refuses",
    "E413": "an index is out of range",
    "E420": "the claim is malformed",
    "E421": "a tensor moves that must not move",
    "E422": "a point of the certificate is outside the domain",
    "E430": "the estimated cost is over the budget",
    "E431": "the check was stopped at its time limit",
    "E432": "the check was stopped at its memory limit",
    "E433": "the checking process ended unexpectedly",
    "E440": "the claim is not proved at the recorded precision",
    "E441": "the claim is false: the exact evaluation contradicts it",
    "E442": "J has no value, or no second derivative, at one of the points",
    "E450": "the file cannot be written",
}


def refuse(
    code: str, what: str, *, where: str | None = None, why: str | None = None, hint: str | None = None
) -> NoReturn:
    """Raise a ``CertificateError`` with a code of the table."""
    if code not in CODES:
        raise KeyError(code)
    raise CertificateError(code, what, where=where, why=why, hint=hint)
