"""The command line: parse, one call, show.

Results go to stdout, progress and messages to stderr.  A finished analysis exits 0 whatever the verdict; 1 means that
``--expect`` or a certificate failed, 2 a wrong call, 3 a target that cannot be loaded or captured, 70 a defect in
epigraph itself, 130 an interrupt.  Nothing here imports torch before a target is to be analysed.
"""

from __future__ import annotations

import contextlib
import enum
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from epigraph import __version__
from epigraph.errors import EpigraphError, UsageError

if TYPE_CHECKING:
    from epigraph.convexity.region import RegionVerdict
    from epigraph.convexity.verdict import Verdict
    from epigraph.hessian.summary import Summary
    from epigraph.report.words import Record

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


def _say(message: str) -> None:
    """A message for the person, on stderr."""
    print(message, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _outcome() -> Iterator[None]:
    """Turn what a command raises into a message on stderr and an exit code."""
    try:
        yield
        sys.stdout.flush()
    except EpigraphError as error:
        _say(str(error))
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BrokenPipeError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(141) from None
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        traceback.print_exc()
        _say(f"E900 internal error: {type(error).__name__}: {error}\n     this is a defect of epigraph itself")
        raise typer.Exit(70) from None


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """What the user's file prints while it is loaded or run goes to stderr, so that stdout holds the result alone."""
    sys.stdout.flush()
    try:
        kept: int | None = os.dup(1)
        os.dup2(2, 1)
    except OSError:
        kept = None
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)


def _require_target(target: str | None, expr: str | None) -> None:
    """One of the two, said before anything is imported."""
    if (target is None) == (expr is None):
        what = "neither a target nor --expr is given" if target is None else "both a target and --expr are given"
        raise UsageError("E040", what, hint="give one: file.py:name, zoo:name or --expr 'x**2'")


def _require_outputs(target: str | None, outputs: dict[str, Path | None]) -> None:
    """Before any work: can each file be written, and is none of them another's, or the target's own?"""
    from epigraph.report.files import require_writable

    taken = {os.path.realpath(target.rpartition(":")[0]): "the target's file"} if target else {}
    for option, path in outputs.items():
        if path is None:
            continue
        require_writable(path, option)
        real = os.path.realpath(path)
        if real in taken:
            raise UsageError("E083", f"{option} would overwrite {taken[real]}: {path}", hint="choose another path")
        taken[real] = f"the file of {option}"


@dataclass(frozen=True)
class Question:
    """What is asked: the target and all that changes the answer."""

    target: str | None
    expr: str | None
    where: list[str]
    blocks: list[str]
    effort: Effort
    seed: int
    region: Shape | None = None
    at: Path | None = None
    radius: float | None = None

    def __str__(self) -> str:
        """The arguments of ``epigraph check`` that ask the same, quoted for a shell."""
        parts = [self.target] if self.target else ["--expr", self.expr or ""]
        parts += [part for bound in self.where for part in ("--where", bound)]
        parts += [part for name in self.blocks for part in ("--block", name)]
        parts += ["--effort", self.effort.value] if self.effort is not Effort.normal else []
        parts += ["--seed", str(self.seed)] if self.seed else []
        parts += ["--region", self.region.value] if self.region else []
        parts += ["--at", str(self.at)] if self.at else []
        parts += ["--radius", repr(self.radius)] if self.radius is not None else []
        return shlex.join(parts)

    def record(self) -> Record:
        """What was asked, for those who read the answer."""
        from epigraph.report.words import Record

        return Record(target=self.target, arguments=str(self))

    def answer(self) -> tuple[Verdict, RegionVerdict | None]:
        """Load the target, look at the region that is asked for, and check the whole; with a line of progress."""
        from epigraph.report.terminal import progress_line

        with _stdout_to_stderr(), progress_line() as progress:
            progress(f"loading {self.target or self.expr}")
            import epigraph
            from epigraph.objective.target import load

            objective = load(self.target, self.expr, self.where)
            options: dict[str, Any] = {"blocks": self.blocks or None, "effort": self.effort.value, "seed": self.seed}
            region = None
            if self.region is not None:
                region = epigraph.region(
                    objective, self.at, self.radius, self.region.value, progress=progress, **options
                )
            return epigraph.check(objective, progress=progress, **options), region


def _write_certificate(path: Path, verdict: Verdict) -> bool:
    """Write the evidence for the summary word; False where there is none, or none that a file can hold."""
    from epigraph.report.words import evidence_file

    keeper = evidence_file(verdict)
    if keeper is not None:
        keeper.save(path)
        return True
    why = "its proof has no file form (--json prints it)" if verdict.proof else "there is no evidence to write"
    _say(f"{path} is not written: the verdict is {verdict.verdict}, and {why}")
    return False


def _write_report(path: Path, verdict: Verdict, record: Record) -> None:
    from epigraph.report.files import write_atomically
    from epigraph.report.html import page

    write_atomically(path, page(verdict, record))


def _write_outputs(
    verdict: Verdict, question: Question, certificate: Path | None, report: Path | None
) -> tuple[Record, Exception | None]:
    """Write the files; a failure is returned, so that the verdict is shown all the same before it is raised."""
    record = question.record()
    try:
        if certificate and _write_certificate(certificate, verdict):
            record = replace(record, certificate=str(certificate))
        if report:
            _write_report(report, verdict, record)
            record = replace(record, report=str(report))
    except Exception as error:
        return record, error
    return record, None


def _print_json(value: Any) -> None:
    from epigraph.report.strict import to_json

    print(to_json(value))


@app.command()
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
    with _outcome():
        _require_target(target, expr)
        _require_outputs(target, {"--certificate": certificate, "--report": report})
        if region is None and (at is not None or radius is not None):
            raise UsageError("E085", "--at and --radius describe a region", hint="--region ball, or --region box")
        question = Question(target, expr, where or [], block or [], effort, seed, region, at, radius)
        verdict, around = question.answer()
        record, failure = _write_outputs(verdict, question, certificate, report)
        if as_json:
            _print_json(verdict.to_dict() | ({"region": around.to_dict()} if around else {}))
        else:
            from epigraph.report.terminal import console, show_region, show_verdict

            show_verdict(console(), verdict, record)
            if around:
                show_region(console(), around)
        if failure:
            raise failure
        if expect and verdict.verdict != expect.value:
            _say(f"expected {expect.value}, but the verdict is {verdict.verdict}")
            raise typer.Exit(1)


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file written by --certificate.", show_default=False)],
    target: Annotated[str | None, typer.Option("--target", help="Also ask: is it about this objective?")] = None,
    as_json: AsJson = False,
    budget: Budget = None,
) -> None:
    """Check a certificate again, alone: without the model, without PyTorch, in exact arithmetic."""
    with _outcome():
        if not file.is_file():
            hint = "epigraph check TARGET --certificate FILE writes one"
            raise UsageError("E084", f"no such file: {file}", hint=hint)
        from epigraph.certificate.verify import verify as verify_file

        result = verify_file(file, budget_seconds=budget)
        if target is not None:
            _match(file, target)
        if as_json:
            _print_json(result.to_dict())
        else:
            from epigraph.report.terminal import console, show_verification

            show_verification(console(), str(file), result.to_dict(), result.ok, result.statement)
        if not result.ok:
            raise typer.Exit(1)


def _match(file: Path, target: str) -> None:
    """Raise ``CertificateError`` unless the certificate is about this objective, graph and data."""
    with _stdout_to_stderr():
        from epigraph.convexity.evidence import match
        from epigraph.objective.target import load

        match(file, load(target, None, []))


@app.command()
def zoo(
    name: Name = None,
    as_json: AsJson = False,
    run: Annotated[bool, typer.Option("--check", help="Check each and compare with what is known.")] = False,
    effort: EffortOption = Effort.normal,
) -> None:
    """The objectives of the well-known question and its answers, with what is known of each."""
    with _outcome():
        from epigraph.report.terminal import console, progress_line, show_entry, show_zoo

        with _stdout_to_stderr(), progress_line() as progress:
            from epigraph import zoo as shelf

            entries = [shelf.get(name)] if name else list(shelf.ENTRIES.values())
            records = [_checked(entry, effort, progress) if run else _recorded(entry) for entry in entries]
        if as_json:
            _print_json({"schema": "epigraph/zoo/1", "entries": records})
        elif name and not run:
            show_entry(console(), records[0])
        else:
            show_zoo(console(), records, run)
        if run and any(record["agrees"] is False for record in records):
            _say("a verdict contradicts what is known")
            raise typer.Exit(1)


def _recorded(entry: Any) -> dict[str, Any]:
    return {key: getattr(entry, key) for key in ("name", "title", "claim", "known", "reference", "notes")}


def _checked(entry: Any, effort: Effort, progress: Callable[..., None]) -> dict[str, Any]:
    """The entry with the verdict found; ``agrees`` is False if it contradicts what is known, None if less."""
    import epigraph

    progress("checking", entry.name)
    try:
        verdict = epigraph.check(entry.build(), effort=effort.value)
    except Exception as error:
        _say(f"{entry.name}: {type(error).__name__}: {error}")
        return {**_recorded(entry), "verdict": getattr(error, "code", type(error).__name__), "agrees": False}
    blocks = {name: block for name, block in verdict.blocks.items() if name in entry.known.get("blocks", {})}
    wrong = _contradicts(verdict, entry.known)
    wrong |= any(_contradicts(block, {"verdict": entry.known["blocks"][name]}) for name, block in blocks.items())
    agrees = False if wrong else True if verdict.verdict == entry.known["verdict"] else None
    return {**_recorded(entry), "verdict": verdict.verdict, "agrees": agrees}


def _contradicts(verdict: Verdict, known: Mapping[str, Any]) -> bool:
    """Is a property proved that is known to fail, or refuted that is known to hold?"""
    word = known["verdict"]
    facts = {"convex": word in ("affine", "convex"), "concave": word in ("affine", "concave")}
    facts |= {name: state == "proved" for name, state in known.items() if name not in ("verdict", "blocks")}
    return any(getattr(verdict, name, None) == ("refuted" if holds else "proved") for name, holds in facts.items())


@app.command()
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
    with _outcome():
        _require_target(target, expr)
        if out is None:
            raise UsageError("E081", "no file to write the report to", hint="epigraph report TARGET --out report.html")
        _require_outputs(target, {"--out": out})
        question = Question(target, expr, where or [], block or [], effort, seed)
        verdict, _ = question.answer()
        _write_report(out, verdict, question.record())
        print(f"{verdict.verdict}   {out}")


@app.command()
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
    as_json: AsJson = False,
    report: Annotated[Path | None, typer.Option("--report", help="Write an HTML page with a picture.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the random starts.")] = 0,
) -> None:
    """The curvature at a point: both ends of the Hessian's spectrum with their errors, its density and its trace."""
    with _outcome():
        _require_target(target, expr)
        _require_outputs(target, {"--report": report})
        options = {"top": top, "bottom": bottom, "blocks": block or None, "kind": kind.value, "seed": seed}
        options |= {"dtype": dtype.value if dtype else None, "with_trace": with_trace}
        result = _curvature(target, expr, at, options | {"with_density": with_density or report is not None})
        from epigraph.report.curvature import page, show_spectrum
        from epigraph.report.files import write_atomically
        from epigraph.report.terminal import console
        from epigraph.report.words import Record

        asked = _asked(target, expr, at, options)
        record = Record(target=target or expr, arguments=asked, report=str(report) if report else None)
        if report:
            write_atomically(report, page(result, record))
        if as_json:
            _print_json(result.to_dict())
        else:
            show_spectrum(console(), result, record)


def _asked(target: str | None, expr: str | None, at: Path | None, options: Mapping[str, Any]) -> str:
    """The arguments of ``epigraph spectrum`` that ask the same, quoted for a shell."""
    parts = [target] if target else ["--expr", expr or ""]
    parts += ["--at", str(at)] if at else []
    for name, plain in (("top", 5), ("bottom", 3), ("kind", "hessian"), ("dtype", None), ("seed", 0)):
        parts += [f"--{name}", str(options[name])] if options[name] != plain else []
    parts += [part for name in options["blocks"] or [] for part in ("--block", name)]
    return shlex.join(parts)


def _curvature(target: str | None, expr: str | None, at: Path | None, options: dict[str, Any]) -> Summary:
    """Load the target and the point, and ask, with a line of progress."""
    from epigraph.report.terminal import progress_line

    with _stdout_to_stderr(), progress_line() as progress:
        progress(f"loading {target or expr}")
        from epigraph.hessian.summary import summary
        from epigraph.objective.point import load_into
        from epigraph.objective.target import load

        objective = load(target, expr, [])
        point = load_into(objective, at) if at else None
        return summary(objective, point, progress=progress, **options)


@app.command()
def symmetry(
    target: Target = None,
    expr: Expr = None,
    where: Where = None,
    as_json: AsJson = False,
    certificate: Annotated[Path | None, typer.Option("--certificate", help="Write what two copies refute.")] = None,
    seed: Seed = 0,
) -> None:
    """Which transformations of the parameters leave the objective unchanged, and what do two copies of a point show?"""
    with _outcome():
        _require_target(target, expr)
        _require_outputs(target, {"--certificate": certificate})
        with _stdout_to_stderr():
            import epigraph
            from epigraph.objective.target import load

            J = load(target, expr, where or [])
            found = epigraph.symmetries(J, seed=seed)
            copies = epigraph.permutation_argument(J, found, seed=seed)
        if certificate and "convex" in copies.certificates:
            copies.certificates["convex"].save(certificate)
        elif certificate:
            _say(f"{certificate} is not written: {copies.reason}")
        record = {**found.to_dict(), "copies": copies.to_dict()}
        if as_json:
            _print_json(record)
        else:
            from epigraph.report.symmetry import show_symmetries
            from epigraph.report.terminal import console

            show_symmetries(console(), record)


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


if __name__ == "__main__":
    main()
