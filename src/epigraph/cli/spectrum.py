"""``epigraph spectrum``: the curvature at a point."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from epigraph.cli.frame import outcome, print_json, require_outputs, require_target, say, stdout_to_stderr
from epigraph.cli.options import AsJson, Blocks, Dtype, Expr, Kind, Target
from epigraph.errors import ObjectiveError, UsageError

if TYPE_CHECKING:
    from epigraph.hessian.summary import Summary


def spectrum(
    target: Target = None,
    expr: Expr = None,
    at: Annotated[Path | None, typer.Option("--at", help="State dict of the point, .pt or .safetensors.")] = None,
    top: Annotated[int, typer.Option("--top", min=0, help="How many of the largest eigenvalues.")] = 5,
    bottom: Annotated[int, typer.Option("--bottom", min=0, help="How many of the smallest.")] = 3,
    block: Blocks = None,
    kind: Annotated[Kind, typer.Option("--kind", help="Which matrix.")] = Kind.hessian,
    dtype: Annotated[Dtype | None, typer.Option("--dtype", help="Compute in this precision.")] = None,
    with_density: Annotated[bool, typer.Option("--density", help="Also what lies between the ends.")] = False,
    with_trace: Annotated[bool, typer.Option("--trace", help="Also the trace and the Frobenius norm.")] = False,
    certify: Annotated[bool, typer.Option("--certify", help="Also prove the signs of the eigenvalues.")] = False,
    certificate: Annotated[
        Path | None, typer.Option("--certificate", help="Prove them, and write the evidence.")
    ] = None,
    as_json: AsJson = False,
    report: Annotated[Path | None, typer.Option("--report", help="Write an HTML page with a picture.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the random starts.")] = 0,
) -> None:
    """The curvature at a point: both ends of the Hessian's spectrum with their errors, its density and its trace."""
    with outcome():
        require_target(target, expr)
        require_outputs(target, {"--report": report, "--certificate": certificate})
        certify = certify or certificate is not None
        if certify and (kind is not Kind.hessian or top == 0 or bottom == 0):
            hint = "--kind hessian, with --top and --bottom of at least 1"
            raise UsageError("E086", "a certificate is about both ends of the Hessian's spectrum", hint=hint)
        options = {"top": top, "bottom": bottom, "blocks": block or None, "kind": kind.value, "seed": seed}
        options |= {"dtype": dtype.value if dtype else None, "with_trace": with_trace}
        options |= {"with_density": with_density or report is not None, "certify": certify}
        result = _curvature(target, expr, at, options | {"file": certificate is not None})
        from epigraph.report.curvature import page, show_spectrum
        from epigraph.report.files import write_atomically
        from epigraph.report.terminal import console
        from epigraph.report.words import Record

        asked = _asked(target, expr, at, options)
        record = Record(target=target or expr, arguments=asked, report=str(report) if report else None)
        if certificate and _keep(certificate, result):
            record = replace(record, certificate=str(certificate))
        if report:
            write_atomically(report, page(result, record))
        if as_json:
            print_json(result.to_dict())
        else:
            show_spectrum(console(), result, record)


def _asked(target: str | None, expr: str | None, at: Path | None, options: Mapping[str, Any]) -> str:
    """The arguments of ``epigraph spectrum`` that ask the same, quoted for a shell."""
    parts = [target] if target else ["--expr", expr or ""]
    parts += ["--at", str(at)] if at else []
    for name, plain in (("top", 5), ("bottom", 3), ("kind", "hessian"), ("dtype", None), ("seed", 0)):
        parts += [f"--{name}", str(options[name])] if options[name] != plain else []
    parts += [part for name in options["blocks"] or [] for part in ("--block", name)]
    flags = (("--density", "with_density"), ("--trace", "with_trace"), ("--certify", "certify"))
    parts += [flag for flag, name in flags if options[name]]
    return shlex.join(parts)


def _keep(path: Path, result: Summary) -> bool:
    """Write what is proved; False, and a message, where no file can hold it."""
    if result.certified is not None and result.certified.payload is not None:
        result.certified.save(path)
        return True
    why = result.certified.reason if result.certified else None
    say(f"{path} is not written: {why or 'the proof has no file form (--json prints it)'}")
    return False


def _curvature(target: str | None, expr: str | None, at: Path | None, options: dict[str, Any]) -> Summary:
    """Load the target and the point, and ask, with a line of progress."""
    from epigraph.report.terminal import progress_line

    with stdout_to_stderr(), progress_line() as progress:
        progress(f"loading {target or expr}")
        from epigraph.hessian.summary import summary
        from epigraph.objective.point import load_into
        from epigraph.objective.target import load

        objective = load(target, expr, [])
        point = load_into(objective, at) if at else None
        certify, file = options.pop("certify"), options.pop("file")
        if not certify:
            return summary(objective, point, progress=progress, **options)
        from epigraph.convexity.pointwise import certify_spectrum

        blocks = options["blocks"]
        try:
            found = summary(objective, point, progress=progress, vectors=True, **options)
        except ObjectiveError as error:  # at a kink the products, or their check by differences, fail first
            known = certify_spectrum(objective, point, blocks, file=False, progress=progress)
            if known.definiteness != "not settled" or known.reason is None:
                raise
            hint = "another point; a small change of the parameters leaves a kink"
            raise ObjectiveError(error.code, known.reason, where=known.where, why=error.what, hint=hint) from None
        ends = found.spectrum
        return replace(
            found, certified=certify_spectrum(objective, point, blocks, found=ends, file=file, progress=progress)
        )
