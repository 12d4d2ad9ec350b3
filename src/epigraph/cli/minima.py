"""``epigraph minima``: critical points in bulk, told apart, and merged where they are copies."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from epigraph.cli.frame import outcome, print_json, require_outputs, require_target, say, stdout_to_stderr
from epigraph.cli.options import AsJson, Expr, Target, Where

if TYPE_CHECKING:
    from epigraph.critical.result import Catalogue
    from epigraph.objective.objective import Objective


def minima(
    target: Target = None,
    expr: Expr = None,
    where: Where = None,
    starts: Annotated[int, typer.Option("--starts", min=1, help="How many starts, and as many for saddles.")] = 1000,
    saddles: Annotated[bool, typer.Option("--saddles/--no-saddles", help="Look for saddles as well.")] = True,
    certify: Annotated[bool, typer.Option("--certify", help="Prove what can be proved of each point.")] = False,
    transitions: Annotated[
        bool, typer.Option("--transitions", help="Find what joins the minima: saddles of index 1 and both their ends.")
    ] = False,
    certificate: Annotated[
        Path | None, typer.Option("--certificate", help="Prove minima of different values, and write the evidence.")
    ] = None,
    atlas: Annotated[
        str | None, typer.Option("--atlas", help="Keep the points in this file, and go on from it.")
    ] = None,
    as_json: AsJson = False,
    report: Annotated[Path | None, typer.Option("--report", help="Write an HTML page with pictures.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the random starts.")] = 0,
    device: Annotated[str, typer.Option("--device", help="Where the searches run: cpu, or cuda.")] = "cpu",
) -> None:
    """Which minima and saddles does the objective have, up to copies, and are the minima equal in value?"""
    with outcome():
        require_target(target, expr)
        require_outputs(target, {"--report": report, "--certificate": certificate})
        certify = certify or certificate is not None
        from epigraph.report.terminal import console, progress_line

        with stdout_to_stderr(), progress_line() as progress:
            progress(f"loading {target or expr}")
            import epigraph
            from epigraph.objective.target import load

            J = load(target, expr, where or [])
            options = {"saddles": saddles, "certify": certify, "transitions": transitions, "atlas": atlas, "seed": seed}
            found = epigraph.minima(J, starts, progress=progress, device=device, **options)
            if certificate is not None:
                progress(f"proving minima for {certificate}")
                _keep(certificate, J, found)
        if report:
            from epigraph.report.files import write_atomically
            from epigraph.report.landscape import page
            from epigraph.report.words import Record

            asked = _asked(target, expr, where or [], starts, options)
            write_atomically(report, page(found, Record(target=target or expr, arguments=asked, report=str(report))))
        if as_json:
            print_json(found.to_dict())
        else:
            from epigraph.report.minima import show_catalogue

            show_catalogue(console(), found)
            if report:
                console().print(f"Report: {report}", highlight=False)


def _asked(target: str | None, expr: str | None, where: Sequence[str], starts: int, options: Mapping[str, Any]) -> str:
    """The arguments that ask the same, quoted for a shell."""
    parts = [target] if target else ["--expr", expr or ""]
    parts += [part for bound in where for part in ("--where", bound)]
    parts += ["--starts", str(starts)] if starts != 1000 else []
    parts += [] if options["saddles"] else ["--no-saddles"]
    parts += [f"--{name}" for name in ("certify", "transitions") if options[name]]
    parts += ["--atlas", options["atlas"]] if options["atlas"] else []
    parts += ["--seed", str(options["seed"])] if options["seed"] else []
    return shlex.join(parts)


def _keep(path: Path, J: Objective, found: Catalogue) -> None:
    """Write what the verifier can repeat of the certified minima."""
    from epigraph.critical.evidence import save

    minima = [p for p in found.minima if p.evidence == "certified"]
    proved = save(J, [p.point for p in minima], path, [p.nullity for p in minima])
    if proved:
        what = "a minimum" if len(proved) == 1 else f"{len(proved)} minima of different values"
        say(f"{path}: {what}, for epigraph verify")
    else:
        say(f"{path} is not written: no minimum is certified")
