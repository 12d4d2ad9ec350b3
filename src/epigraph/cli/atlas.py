"""``epigraph atlas``: what an atlas of critical points holds."""

from __future__ import annotations

import enum
import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from epigraph.cli.frame import outcome, print_json
from epigraph.cli.options import AsJson
from epigraph.errors import UsageError

if TYPE_CHECKING:
    from epigraph.critical.result import Catalogue

PICTURES = (".svg", ".pdf", ".png")


class What(enum.StrEnum):
    """The tables of an objective."""

    points = "points"
    transitions = "transitions"


class Figure(enum.StrEnum):
    """The pictures of an objective."""

    tree = "tree"
    indices = "index"
    shares = "shares"


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
    out: Annotated[Path, typer.Option("--out", help="points.json, or points.parquet with pandas and pyarrow.")],
    objective: Which = None,
    what: Annotated[What, typer.Option("--what", help="Which table, in a parquet file.")] = What.points,
) -> None:
    """Write the critical points and transitions of one objective to a file."""
    with outcome():
        from epigraph.report.files import require_writable, write_atomically
        from epigraph.report.strict import to_json

        if out.suffix not in (".json", ".parquet"):
            raise UsageError("E073", f"unknown kind of file: {out}", hint="--out points.json or --out points.parquet")
        require_writable(out, "--out")
        found = _one(_read(file), objective)
        if out.suffix == ".json":
            write_atomically(out, to_json(found.to_dict()), "--out")
        else:
            write_atomically(
                out, _parquet(found.frame() if what is What.points else found.transitions_frame()), "--out"
            )
        print(f"{len(found.points)} points, {len(found.transitions)} transitions   {out}")


@app.command()
def plot(
    file: File,
    out: Annotated[Path, typer.Option("--out", help="A page .html, or a picture .svg, .pdf or .png with matplotlib.")],
    objective: Which = None,
    figure: Annotated[Figure, typer.Option("--figure", help="Which picture.")] = Figure.tree,
    copies: Annotated[bool, typer.Option("--copies", help="Draw the tree with every copy.")] = False,
) -> None:
    """Draw what is known of one objective: the disconnectivity graph, index against value, shares of basins."""
    with outcome():
        from epigraph.report.files import require_writable, write_atomically

        if out.suffix not in (".html", *PICTURES):
            kinds = " or ".join(f"--out graph{s}" for s in (".html", *PICTURES))
            raise UsageError("E073", f"unknown kind of file: {out}", hint=kinds)
        require_writable(out, "--out")
        found = _one(_read(file), objective)
        if out.suffix == ".html":
            from epigraph.report.landscape import page
            from epigraph.report.words import Record

            write_atomically(out, page(found, Record(target=file)), "--out")
        else:
            from epigraph.plot import figures

            drawn = {
                Figure.tree: lambda: figures.disconnectivity(found, copies),
                Figure.indices: lambda: figures.index_against_value(found),
                Figure.shares: lambda: figures.basin_shares(found),
            }[figure]()
            data = io.BytesIO()
            drawn.savefig(data, format=out.suffix[1:], dpi=200)
            write_atomically(out, data.getvalue(), "--out")
        print(out)


def _parquet(frame: Any) -> bytes:
    """The file's content, so that it is written whole or not at all."""
    try:
        return frame.to_parquet()
    except ImportError:
        raise UsageError("E072", "parquet files need pyarrow", hint="pip install 'epigraph[tables]'") from None


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
