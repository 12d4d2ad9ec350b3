"""``epigraph symmetry``: what leaves the objective unchanged, and what two copies of a point show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from epigraph.cli.frame import outcome, print_json, require_outputs, require_target, say, stdout_to_stderr
from epigraph.cli.options import AsJson, Expr, Seed, Target, Where


def symmetry(
    target: Target = None,
    expr: Expr = None,
    where: Where = None,
    at: Annotated[
        Path | None, typer.Option("--at", help="State dict of a point: its copies alone are looked at.")
    ] = None,
    as_json: AsJson = False,
    certificate: Annotated[Path | None, typer.Option("--certificate", help="Write what two copies refute.")] = None,
    seed: Seed = 0,
) -> None:
    """Which transformations of the parameters leave the objective unchanged, and what do two copies of a point show?"""
    with outcome():
        require_target(target, expr)
        require_outputs(target, {"--certificate": certificate})
        with stdout_to_stderr():
            import epigraph
            from epigraph.objective.point import load_into
            from epigraph.objective.target import load
            from epigraph.symmetry.lost import lost

            J = load(target, expr, where or [])
            point = load_into(J, at) if at else None
            found = epigraph.symmetries(J, seed=seed)
            copies = epigraph.permutation_argument(J, found, at=point, seed=seed)
            of_data = epigraph.data_symmetries(J, seed=seed)
            missing = lost(J, found, seed=seed)
        if certificate and copies.certificates:
            copies.certificates[min(copies.certificates)].save(certificate)
        elif certificate:
            say(f"{certificate} is not written: {copies.reason}")
        record = {**found.to_dict(), "copies": copies.to_dict(), "point": found.at(point)}
        record["data"] = of_data.to_dict() if of_data else None
        record["lost"] = missing.to_dict() if missing else None
        if as_json:
            print_json(record)
        else:
            from epigraph.report.symmetry import show_symmetries
            from epigraph.report.terminal import console

            show_symmetries(console(), record)
