"""``epigraph check`` and ``epigraph report``: the verdict, on the terminal and as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from epigraph.cli.frame import outcome, print_json, require_outputs, require_target, say
from epigraph.cli.options import AsJson, Blocks, Effort, EffortOption, Expected, Expr, Seed, Shape, Target, Where
from epigraph.cli.question import Question, write_outputs, write_report
from epigraph.errors import UsageError


def check(
    target: Target = None,
    expr: Expr = None,
    where: Where = None,
    block: Blocks = None,
    as_json: AsJson = False,
    certificate: Annotated[Path | None, typer.Option("--certificate", help="Write the evidence to this file.")] = None,
    report: Annotated[Path | None, typer.Option("--report", help="Write an HTML page to this file.")] = None,
    effort: EffortOption = Effort.normal,
    seed: Seed = 0,
    expect: Annotated[Expected | None, typer.Option("--expect", help="Exit 1 if the verdict is another.")] = None,
    region: Annotated[Shape | None, typer.Option("--region", help="Also: is it convex around a point?")] = None,
    at: Annotated[Path | None, typer.Option("--at", help="State dict of that point; else the present one.")] = None,
    radius: Annotated[float | None, typer.Option("--radius", help="Of the region; else the largest certified.")] = None,
) -> None:
    """Is the objective convex, jointly and in each block of parameters, and where around a point?"""
    with outcome():
        require_target(target, expr)
        require_outputs(target, {"--certificate": certificate, "--report": report})
        if region is None and (at is not None or radius is not None):
            raise UsageError("E085", "--at and --radius describe a region", hint="--region ball, or --region box")
        question = Question(target, expr, where or [], block or [], effort, seed, region, at, radius)
        verdict, around = question.answer()
        record, failure = write_outputs(verdict, question, certificate, report)
        if as_json:
            print_json(verdict.to_dict() | ({"region": around.to_dict()} if around else {}))
        else:
            from epigraph.report.terminal import console, show_region, show_verdict

            show_verdict(console(), verdict, record)
            if around:
                show_region(console(), around)
        if failure:
            raise failure
        if expect and verdict.verdict != expect.value:
            say(f"expected {expect.value}, but the verdict is {verdict.verdict}")
            raise typer.Exit(1)


def report(
    target: Target = None,
    out: Annotated[Path | None, typer.Option("--out", help="The HTML file to write.", show_default=False)] = None,
    expr: Expr = None,
    where: Where = None,
    block: Blocks = None,
    effort: EffortOption = Effort.normal,
    seed: Seed = 0,
) -> None:
    """Write the verdict with its evidence as one HTML page that opens offline."""
    with outcome():
        require_target(target, expr)
        if out is None:
            raise UsageError("E081", "no file to write the report to", hint="epigraph report TARGET --out report.html")
        require_outputs(target, {"--out": out})
        question = Question(target, expr, where or [], block or [], effort, seed)
        verdict, _ = question.answer()
        write_report(out, verdict, question.record())
        print(f"{verdict.verdict}   {out}")
