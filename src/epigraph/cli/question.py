"""What ``epigraph check`` and ``epigraph report`` ask, and the files that hold the answer."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epigraph.cli.frame import say, stdout_to_stderr
from epigraph.cli.options import Effort, Shape

if TYPE_CHECKING:
    from epigraph.convexity.region import RegionVerdict
    from epigraph.convexity.verdict import Verdict
    from epigraph.report.words import Record


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

        with stdout_to_stderr(), progress_line() as progress:
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
    say(f"{path} is not written: the verdict is {verdict.verdict}, and {why}")
    return False


def write_report(path: Path, verdict: Verdict, record: Record) -> None:
    from epigraph.report.files import write_atomically
    from epigraph.report.html import page

    write_atomically(path, page(verdict, record))


def write_outputs(
    verdict: Verdict, question: Question, certificate: Path | None, report: Path | None
) -> tuple[Record, Exception | None]:
    """Write the files; a failure is returned, so that the verdict is shown all the same before it is raised."""
    record = question.record()
    try:
        if certificate and _write_certificate(certificate, verdict):
            record = replace(record, certificate=str(certificate))
        if report:
            write_report(report, verdict, record)
            record = replace(record, report=str(report))
    except Exception as error:
        return record, error
    return record, None
