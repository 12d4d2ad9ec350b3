"""The command line: parse, one call, show.

Results go to stdout, progress and messages to stderr.  A finished analysis exits 0 whatever the verdict; 1 means that
``--expect`` or a certificate failed, 2 a wrong call, 3 a target that cannot be loaded or captured, 70 a defect in
epigraph itself, 130 an interrupt.  Nothing here imports torch before a target is to be analysed.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from epigraph import __version__
from epigraph.cli import atlas
from epigraph.cli.check import check, report
from epigraph.cli.minima import minima
from epigraph.cli.spectrum import spectrum
from epigraph.cli.symmetry import symmetry
from epigraph.cli.verify import verify
from epigraph.cli.zoo import zoo

app = typer.Typer(
    name="epigraph",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Is a training objective convex?  A proof, a counterexample confirmed in exact arithmetic, or an honest "
    "'undecided'.\n\nA TARGET is path/to/file.py:name, zoo:NAME, or an expression given with --expr.",
)

for command in (check, verify, zoo, report, spectrum, symmetry, minima):
    app.command()(command)
app.add_typer(atlas.app, name="atlas")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"epigraph {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of the program itself."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    try:
        app(args=arguments, prog_name="epigraph")
    except KeyboardInterrupt:
        sys.exit(130)
