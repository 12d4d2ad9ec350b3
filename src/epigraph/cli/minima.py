"""``epigraph minima``: critical points in bulk, told apart, and merged where they are copies."""

from __future__ import annotations

from typing import Annotated

import typer

from epigraph.cli.frame import outcome, print_json, require_target, stdout_to_stderr
from epigraph.cli.options import AsJson, Expr, Target, Where


def minima(
    target: Target = None,
    expr: Expr = None,
    where: Where = None,
    starts: Annotated[int, typer.Option("--starts", min=1, help="How many starts, and as many for saddles.")] = 1000,
    saddles: Annotated[bool, typer.Option("--saddles/--no-saddles", help="Look for saddles as well.")] = True,
    certify: Annotated[bool, typer.Option("--certify", help="Prove what can be proved of each point.")] = False,
    atlas: Annotated[
        str | None, typer.Option("--atlas", help="Keep the points in this file, and go on from it.")
    ] = None,
    as_json: AsJson = False,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the random starts.")] = 0,
) -> None:
    """Which minima and saddles does the objective have, up to copies, and are the minima equal in value?"""
    with outcome():
        require_target(target, expr)
        from epigraph.report.terminal import console, progress_line

        with stdout_to_stderr(), progress_line() as progress:
            progress(f"loading {target or expr}")
            import epigraph
            from epigraph.objective.target import load

            J = load(target, expr, where or [])
            found = epigraph.minima(
                J, starts, saddles=saddles, certify=certify, atlas=atlas, seed=seed, progress=progress
            )
        if as_json:
            print_json(found.to_dict())
        else:
            from epigraph.report.minima import show_catalogue

            show_catalogue(console(), found)
