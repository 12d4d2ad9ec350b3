"""The words and options that several commands share."""

from __future__ import annotations

import enum
from typing import Annotated

import typer


class Effort(enum.StrEnum):
    """How long to search before saying "undecided"."""

    quick = "quick"
    normal = "normal"
    thorough = "thorough"


class Expected(enum.StrEnum):
    """The words that sum up a verdict."""

    affine = "affine"
    convex = "convex"
    concave = "concave"
    nonconvex = "nonconvex"
    undecided = "undecided"


class Shape(enum.StrEnum):
    """The shapes of a region around a point."""

    ball = "ball"
    box = "box"


class Kind(enum.StrEnum):
    """The matrices whose spectrum is asked for."""

    hessian = "hessian"
    gauss_newton = "gauss-newton"
    fisher = "fisher"
    fisher_mc = "fisher-mc"


class Dtype(enum.StrEnum):
    """Precisions."""

    float32 = "float32"
    float64 = "float64"


Target = Annotated[str | None, typer.Argument(metavar="TARGET", help="file.py:name or zoo:NAME.", show_default=False)]
Expr = Annotated[
    str | None, typer.Option("--expr", metavar="EXPR", help="An expression in place of TARGET, such as 'x**2*y**2'.")
]
Where = Annotated[
    list[str] | None, typer.Option("--where", metavar="BOUND", help="A bound on a variable, such as 'x>0'; repeatable.")
]
Blocks = Annotated[
    list[str] | None, typer.Option("--block", metavar="NAME", help="Vary this parameter, hold the others; repeatable.")
]
Budget = Annotated[
    float | None, typer.Option("--budget", metavar="SECONDS", min=0, help="Refuse what would take longer than this.")
]
Name = Annotated[
    str | None, typer.Argument(metavar="NAME", help="One entry; all of them without it.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
EffortOption = Annotated[Effort, typer.Option("--effort", help="How long to search before saying undecided.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the search for counterexamples.")]
