"""``epigraph verify``: a certificate, checked alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from epigraph.cli.frame import outcome, print_json, stdout_to_stderr
from epigraph.cli.options import AsJson, Budget
from epigraph.errors import UsageError


def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file written by --certificate.", show_default=False)],
    target: Annotated[str | None, typer.Option("--target", help="Also ask: is it about this objective?")] = None,
    as_json: AsJson = False,
    budget: Budget = None,
) -> None:
    """Check a certificate again, alone: without the model, without PyTorch, in exact arithmetic."""
    with outcome():
        if not file.is_file():
            hint = "epigraph check TARGET --certificate FILE writes one"
            raise UsageError("E084", f"no such file: {file}", hint=hint)
        from epigraph.certificate.verify import verify as verify_file

        result = verify_file(file, budget_seconds=budget)
        if target is not None:
            _match(file, target)
        if as_json:
            print_json(result.to_dict())
        else:
            from epigraph.report.terminal import console, show_verification

            show_verification(console(), str(file), result.to_dict(), result.ok, result.statement)
        if not result.ok:
            raise typer.Exit(1)


def _match(file: Path, target: str) -> None:
    """Raise ``CertificateError`` unless the certificate is about this objective, graph and data."""
    with stdout_to_stderr():
        from epigraph.convexity.evidence import match
        from epigraph.objective.target import load

        match(file, load(target, None, []))
