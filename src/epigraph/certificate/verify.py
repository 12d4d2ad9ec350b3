"""Check a certificate file, alone: without PyTorch, without the model that it speaks of, and without trusting it.

``verify`` runs the check in a child process with limits on memory and processor time; the cost is computed from the
shapes in the file before anything is evaluated, and refused where it is over the budget.

    python -m epigraph.certificate.verify FILE [--json] [--budget SECONDS] [--memory MIB]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from epigraph.certificate import budget, container, format, forms
from epigraph.certificate.budget import Cost
from epigraph.certificate.codes import CODES, refuse
from epigraph.certificate.container import Limits
from epigraph.errors import CertificateError, EpigraphError, UsageError

OVERHEAD_BYTES = 2**30  # interpreter, NumPy and their reserved address space
OVERHEAD_SECONDS = 10
LONGEST = 1e8
OUT_OF_TIME = (-24, 152)  # SIGXCPU, as Python and as shells report it
OUT_OF_MEMORY = (-6, -9, 134, 137)  # abort() of the C library, and the system's own choice of whom to stop


@final
@dataclass(frozen=True)
class VerifyResult:
    """A certificate that holds.

    ``statement`` says in one sentence what has been proved; ``gap`` is a decimal number below the proved gap (empty for
    forms without one); ``values`` are enclosures of J at the three points.  ``seconds`` and ``peak_bytes`` are what the
    check took; ``estimate`` what it was expected to take.  ``provenance`` is what the writer of the file says about
    itself, of which only ``graph_sha256`` has been compared with the content.
    """

    ok: bool
    property: str
    form: str
    statement: str
    gap: str
    arithmetic: str
    precision_bits: int
    blocks: tuple[str, ...]
    values: Mapping[str, str]
    seconds: float
    peak_bytes: int
    estimate: Mapping[str, float]
    nodes: int
    tensors: Mapping[str, str]
    graph_sha256: str
    provenance: Mapping[str, Any] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The object that ``epigraph verify --json`` prints (schema ``epigraph/verification/1``)."""
        return {"schema": "epigraph/verification/1"} | {
            name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> VerifyResult:
        plain: dict[str, Any] = {name: value for name, value in raw.items() if name != "schema"}
        plain["blocks"] = tuple(plain["blocks"])
        return cls(**plain)


def verify(path: str | Path, budget_seconds: float | None = None, budget_bytes: int | None = None) -> VerifyResult:
    """Check the certificate at ``path`` in a fenced child process.

    Raises ``CertificateError`` (codes E400 to E442, see ``codes.CODES``) where the file is malformed, too expensive for
    the budget (600 s and 4 GiB by default) or does not prove its claim.
    """
    limit = _limit(budget_seconds, budget_bytes)
    command = [
        sys.executable,
        "-P",
        "-m",
        "epigraph.certificate.verify",
        "--fenced",
        "--budget",
        repr(limit.seconds),
        "--memory",
        repr(limit.bytes / 2**20),
        "--",
        os.fspath(Path(path).absolute()),
    ]
    root = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    quiet = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command,
            env=os.environ | quiet,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=4 * limit.seconds + 60,
            check=False,
        )
    except subprocess.TimeoutExpired:
        refuse(
            "E431", f"the check was stopped after {4 * limit.seconds + 60:,.0f} s", hint="the machine may be overloaded"
        )
    return _outcome(done.returncode, done.stdout, done.stderr, limit)


def _limit(seconds: float | None, size: int | None) -> Cost:
    limit = Cost(budget.DEFAULT_SECONDS if seconds is None else seconds, budget.DEFAULT_BYTES if size is None else size)
    if not (0 < limit.seconds <= LONGEST and 0 < limit.bytes < 2**62):
        raise UsageError("E045", "a budget must be positive and finite", hint="--budget 600")
    return limit


def _outcome(status: int, output: bytes, errors: bytes, limit: Cost) -> VerifyResult:
    """The result of a child process, or the refusal that it reports or died of."""
    try:
        found = json.loads(output)
    except ValueError:
        found = None
    if status == 0 and isinstance(found, dict):
        return VerifyResult.from_dict(found)
    if status == 1 and isinstance(found, dict):
        raise CertificateError(found["code"], found["what"], where=found["where"], why=found["why"], hint=found["hint"])
    tail = "".join(errors.decode("utf-8", "replace").strip().splitlines()[-1:])
    if status in OUT_OF_TIME:
        refuse(
            "E431",
            f"the check was stopped after {limit.seconds:,.0f} s of processor time",
            why="it cost more than its estimate",
            hint="raise the budget if you trust the source of the file",
        )
    if status in OUT_OF_MEMORY or "MemoryError" in tail:
        refuse(
            "E432",
            f"the check was stopped for want of memory; its budget was {limit.bytes / 2**20:,.0f} MiB",
            hint="raise the memory budget if you trust the source of the file, or free some memory",
        )
    refuse("E433", f"the checking process ended with status {status}", why=tail[:300] or None)


def verify_here(path: str | Path, budget_seconds: float | None = None, budget_bytes: int | None = None) -> VerifyResult:
    """``verify`` in this process, without the fence: for callers that set up one of their own."""
    start = time.perf_counter()
    limit = _limit(budget_seconds, budget_bytes)
    limits = Limits(base=min(Limits().base, int(limit.bytes)), delta=min(Limits().delta, int(limit.bytes)))
    with container.opened(path, limits) as archive:
        _, manifest = format.read_manifest(archive)
        form = forms.form(manifest.form)
        claim = form.parse(manifest)
        cost = form.estimate(claim, manifest)
        budget.require(cost, limit)
        base, delta = format.read_tensors(archive)
    tensors = format.tensors(manifest, base, delta)
    proved = form.prove(claim, manifest, tensors, delta, limit)
    raw = manifest.claim
    return VerifyResult(
        ok=True,
        property=raw.get("property", ""),
        form=manifest.form,
        statement=proved.statement,
        gap=proved.gap,
        arithmetic=raw.get("arithmetic", ""),
        precision_bits=raw.get("precision_bits", 0),
        blocks=tuple(raw.get("blocks", raw.get("active", ()))),
        values=dict(proved.values),
        seconds=time.perf_counter() - start,
        peak_bytes=_peak_bytes(),
        estimate={"seconds": cost.seconds + proved.cost.seconds, "bytes": cost.bytes + proved.cost.bytes},
        nodes=len(manifest.program.nodes),
        tensors={key: t.sha256 for key, t in manifest.tensors.items()},
        graph_sha256=manifest.graph_sha256,
        provenance=manifest.provenance,
    )


def _peak_bytes() -> int:
    """The most memory that this process has held; 0 where the system does not say."""
    try:  # Linux: getrusage would count what the parent held before it started this process
        with open("/proc/self/status", encoding="ascii") as status:
            lines = dict(line.split(":", 1) for line in status)
        return int(lines["VmHWM"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        pass
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _fence(limit: Cost) -> None:
    """Hard limits on this process's address space and processor time, where the system has them."""
    try:
        import resource
    except ImportError:
        return
    seconds, size = int(limit.seconds) + OVERHEAD_SECONDS, int(limit.bytes) + OVERHEAD_BYTES
    for kind, soft, hard in (
        (resource.RLIMIT_AS, size, size),
        (resource.RLIMIT_CPU, seconds, seconds + 5),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        try:
            resource.setrlimit(kind, (soft, hard))
        except (ValueError, OSError):
            pass  # a stricter limit is already in force


def _fenced(path: str, limit: Cost) -> int:
    _fence(limit)
    try:
        print(json.dumps(verify_here(path, limit.seconds, int(limit.bytes)).to_dict()))
        return 0
    except CertificateError as e:
        print(json.dumps({"code": e.code, "what": e.what, "where": e.where, "why": e.why, "hint": e.hint}))
        return 1


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of this module; exits 0 where the certificate holds and 1 where it is refused."""
    import argparse

    parser = argparse.ArgumentParser(
        prog="python -m epigraph.certificate.verify", description="Check a certificate file."
    )
    parser.add_argument("file")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--budget", type=float, default=None, help="seconds of processor time")
    parser.add_argument("--memory", type=float, default=None, help="MiB of memory")
    parser.add_argument("--fenced", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    size = None if given.memory is None else int(given.memory * 2**20)
    if given.fenced:
        return _fenced(given.file, _limit(given.budget, size))
    try:
        result = verify(given.file, given.budget, size)
    except EpigraphError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(json.dumps(result.to_dict()) if given.json else result.statement)
    return 0


__all__ = ["CODES", "VerifyResult", "main", "verify", "verify_here"]

if __name__ == "__main__":
    sys.exit(main())
