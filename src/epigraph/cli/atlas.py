"""``epigraph atlas``: what an atlas of critical points holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from epigraph.cli.frame import outcome, print_json
from epigraph.cli.options import AsJson
from epigraph.errors import UsageError

if TYPE_CHECKING:
    from epigraph.critical.result import Catalogue

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help="What an atlas holds.")

File = Annotated[str, typer.Argument(metavar="FILE", help="An atlas, or a database URL.", show_default=False)]
Which = Annotated[
    str | None, typer.Option("--objective", metavar="HASH", help="The first digits of an objective's fingerprint.")
]


@app.command("list")
def listing(file: File, as_json: AsJson = False) -> None:
    """The objectives of an atlas, with how much is known of each."""
    with outcome():
        found = _read(file)
        if as_json:
            print_json({"schema": "epigraph/atlas/1", "objectives": [c.to_dict(with_points=False) for c in found]})
        else:
            from epigraph.report.minima import show_atlas
            from epigraph.report.terminal import console

            show_atlas(console(), found)


@app.command()
def show(file: File, objective: Which = None, as_json: AsJson = False) -> None:
    """The critical points of one objective."""
    with outcome():
        found = _one(_read(file), objective)
        if as_json:
            print_json(found.to_dict())
        else:
            from epigraph.report.minima import show_catalogue
            from epigraph.report.terminal import console

            show_catalogue(console(), found)


@app.command()
def export(
    file: File,
    out: Annotated[Path, typer.Option("--out", help="points.json, or points.parquet with pandas.")],
    objective: Which = None,
) -> None:
    """Write the critical points of one objective to a file."""
    with outcome():
        from epigraph.report.files import require_writable, write_atomically
        from epigraph.report.strict import to_json

        if out.suffix not in (".json", ".parquet"):
            raise UsageError("E073", f"unknown kind of file: {out}", hint="--out points.json or --out points.parquet")
        require_writable(out, "--out")
        found = _one(_read(file), objective)
        if out.suffix == ".json":
            write_atomically(out, to_json(found.to_dict()))
        else:
            found.frame().to_parquet(out)
        print(f"{len(found.points)} points   {out}")


def _read(file: str) -> list[Catalogue]:
    from epigraph.critical.atlas import Atlas

    atlas = Atlas(file)
    try:
        return atlas.catalogues()
    finally:
        atlas.close()


def _one(found: list[Catalogue], mark: str | None) -> Catalogue:
    """The catalogue whose fingerprint begins so; the only one where none is named."""
    fits = [c for c in found if str(c.objective["fingerprint"]).startswith(mark or "")]
    if len(fits) == 1:
        return fits[0]
    what = "no objective" if not fits else f"{len(fits)} objectives"
    raise UsageError(
        "E074", f"{what} of the atlas {'fit' if len(fits) != 1 else 'fits'}", hint="epigraph atlas list FILE names them"
    )
