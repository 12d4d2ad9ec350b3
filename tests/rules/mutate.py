"""Do the tests of the rules notice when a rule is wrong?  Changes one place at a time and runs them.

    python tests/rules/mutate.py [--jobs 2] [--sample 300] [--seed 0] [--only kinked] [--timeout 240]

Signs, comparisons, claims, bounds and constants in ``epigraph.calculus`` are changed by machine, one at a time, in a
copy of the tree: a child process imports the changed code in place of the module and runs the tests of the rules.  A
mutant is killed when a test fails; what survives is printed with its line.  Sentences for people are not changed, and neither are constants
that trade time for tightness (``NEUTRAL``).
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import importlib.abc
import importlib.machinery
import importlib.util
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType

PROJECT = Path(__file__).resolve().parent.parent.parent
FILES = [
    "interval",
    "lattice",
    "rules/arithmetic",
    "rules/bumps",
    "rules/conditions",
    "rules/contraction",
    "rules/kinked",
    "rules/layout",
    "rules/power",
    "rules/reductions",
    "rules/smooth",
    "rules/waves",
]
TESTS = ["compose", "interval", "tensors", "operands", "elementwise", "ranges"]
FIRST = {  # what most likely notices
    "interval": "interval", "lattice": "compose", "rules/arithmetic": "operands", "rules/bumps": "elementwise",
    "rules/conditions": "tensors", "rules/contraction": "tensors", "rules/kinked": "elementwise", "rules/layout": "tensors",
    "rules/power": "elementwise", "rules/reductions": "tensors", "rules/smooth": "ranges", "rules/waves": "elementwise",
}  # fmt: skip
SKIPPED = {"reason", "__repr__", "__bool__"}

# Places where a change is no error: limits of effort, slack that is more than enough, rounding that is decided elsewhere.
NEUTRAL = (
    "size > 100_000",
    "> 1e-300",
    "2e9",
    "<= 256",
    "<= 4096",
    "maxsize=",
    "2.0**-1060",
    "2.0**-1070",
    "2.0**-1000",
    "(1 + 1e-9)",
    "(count + 4)",
    "(n + 8)",
    "LIBM = 8",
    "units=16",
    "absolute=(count + 64)",
    "units = 64",
    "400 * abs",
    "units=8 + p",
    "if p > 4",
    "units = 2048",
    "units = 2.0**20",
    "absolute = 1e",
    "1e-12 *",
    "- 1e-12",
    "1e6",
    "1e-320",
    "2.0**20",
    "2.0**32",
    "units=64, absolute=1e-13",
    "np.errstate",
    "TYPE_CHECKING",
)

COMPARISONS: dict[type, tuple[type, ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.Mod: ast.Mult,
    ast.MatMult: ast.Mult,
}
NAMES = {
    "CONVEX": "CONCAVE",
    "CONCAVE": "CONVEX",
    "QCONVEX": "QCONCAVE",
    "QCONCAVE": "QCONVEX",
    "LOGCONVEX": "LOGCONCAVE",
    "LOGCONCAVE": "LOGCONVEX",
    "ROOTCONVEX": "CONVEX",
    "AFFINE": "CONVEX",
    "QUASILINEAR": "QCONVEX",
    "nonnegative": "nonpositive",
    "nonpositive": "nonnegative",
    "positive": "negative",
    "negative": "positive",
    "lower": "upper",
    "upper": "lower",
    "down": "up",
    "up": "down",
    "minimum": "maximum",
    "maximum": "minimum",
    "min": "max",
    "max": "min",
    "all": "any",
    "any": "all",
    "convex": "concave",
    "concave": "convex",
    "increasing": "decreasing",
    "decreasing": "increasing",
    "log_convex": "log_concave",
    "log_concave": "log_convex",
    "valley": "hill",
    "hill": "valley",
    "least": "greatest",
    "greatest": "least",
    "right": "left",
    "left": "right",
    "low": "high",
    "high": "low",
    "yes": "no",
    "no": "yes",
    "join": "intersect",
    "sin": "cos",
    "cos": "sin",
    "first": "second",
    "second": "first",
    "above": "below",
    "below": "above",
}


@dataclass(frozen=True)
class Mutant:
    """One change of one module: the text before and after, and the line."""

    module: str
    line: int
    before: str
    after: str
    code: CodeType


def variants(node: ast.AST) -> Iterator[ast.AST]:
    """The changed versions of one node."""
    if isinstance(node, ast.Compare) and len(node.ops) >= 1:
        for k, op in enumerate(node.ops):
            for other in COMPARISONS.get(type(op), ()):
                changed = copy.deepcopy(node)
                changed.ops[k] = other()
                yield changed
    elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        changed = copy.deepcopy(node)
        changed.op = ARITHMETIC[type(node.op)]()
        yield changed
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not | ast.Invert):
        yield copy.deepcopy(node.operand)
    elif isinstance(node, ast.BoolOp):
        changed = copy.deepcopy(node)
        changed.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield changed
    elif isinstance(node, ast.IfExp):
        yield ast.copy_location(ast.IfExp(node.test, node.orelse, node.body), node)
    elif isinstance(node, ast.Constant):
        yield from (ast.Constant(v) for v in _constants(node.value))
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in NAMES:
        yield ast.Name(NAMES[node.id], ast.Load())
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and node.attr in NAMES:
        yield ast.Attribute(node.value, NAMES[node.attr], ast.Load())
    elif isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Load) and len(node.elts) == 2:
        yield ast.Tuple(node.elts[::-1], ast.Load())


def _constants(value: object) -> tuple[object, ...]:
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, int):
        return (value + 1,)
    if isinstance(value, float):
        import math

        return (
            (value * 1.001, math.nextafter(value, math.inf), math.nextafter(value, -math.inf))
            if value
            else (1e-9, -1e-9)
        )
    return ()


def _places(tree: ast.Module) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """(parent, field, index, node) of everything that may change: no sentences, annotations, decorators or imports."""
    pending: list[ast.AST] = [tree]
    while pending:
        parent = pending.pop()
        for field, value in ast.iter_fields(parent):
            if field in (
                "annotation",
                "returns",
                "decorator_list",
                "bases",
                "type_comment",
                "keywords",
            ) and not isinstance(parent, ast.Call):
                continue
            for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if not isinstance(child, ast.AST) or isinstance(
                    child, ast.Import | ast.ImportFrom | ast.Raise | ast.JoinedStr
                ):
                    continue
                if isinstance(child, ast.FunctionDef) and child.name in SKIPPED:
                    continue
                if isinstance(child, ast.Assign) and ast.unparse(child.targets[0]) in (
                    "lemma",
                    "__slots__",
                    "NAMES",
                    "Bits",
                    "Bound",
                    "Mask",
                ):
                    continue
                yield parent, field, index, child
                pending.append(child)


def mutants(root: Path, module: str) -> Iterator[Mutant]:
    path = root / "src" / "epigraph" / "calculus" / f"{module}.py"
    text = path.read_text(encoding="utf-8")
    lines, tree = text.splitlines(), ast.parse(text)
    for parent, field, index, child in list(_places(tree)):
        line = getattr(child, "lineno", getattr(parent, "lineno", 0))
        if any(mark in lines[line - 1] for mark in NEUTRAL):
            continue
        for changed in variants(child):
            ast.copy_location(changed, child)
            ast.fix_missing_locations(changed)
            before = ast.unparse(child)
            _put(parent, field, index, changed)
            with contextlib.suppress(SyntaxError, ValueError):
                yield Mutant(
                    module,
                    line,
                    f"{before}   in: {lines[line - 1].strip()}",
                    ast.unparse(changed),
                    compile(tree, str(path), "exec"),
                )
            _put(parent, field, index, child)


def _put(parent: ast.AST, field: str, index: int | None, child: ast.AST) -> None:
    if index is None:
        setattr(parent, field, child)
    else:
        getattr(parent, field)[index] = child


# running ----------------------------------------------------------------------------------------------------------------
class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the changed code in place of one module."""

    def __init__(self, mutant: Mutant):
        self.name, self.code = "epigraph.calculus." + mutant.module.replace("/", "."), mutant.code

    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name == self.name else None

    def create_module(self, spec):
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(self.code, module.__dict__)  # the code of this package with one change


def copied(target: Path) -> Path:
    """The package, its rules' tests and their settings."""
    shutil.copytree(PROJECT / "src", target / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(
        PROJECT / "tests" / "rules", target / "tests" / "rules", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(PROJECT / "tests" / "conftest.py", target / "tests")
    shutil.copy(PROJECT / "pyproject.toml", target)
    return target


def run_tests(root: Path, mutant: Mutant | None) -> int:
    """In a child process: 0 where all tests pass."""
    import pytest

    names = list(TESTS)
    if mutant is not None:
        sys.meta_path.insert(0, _Changed(mutant))
        names.sort(key=lambda name: name != FIRST[mutant.module])
    files = [str(root / "tests" / "rules" / f"test_rules_{name}.py") for name in names]
    return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-W", "ignore", "--rootdir", str(root), *files]))


def start(root: Path, mutant: Mutant | None) -> int:
    child = os.fork()
    if child:
        return child
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    code = 3
    try:
        code = run_tests(root, mutant)
    except BaseException:
        code = 3
    os._exit(code)


def survey(root: Path, chosen: list[Mutant], jobs: int, timeout: float) -> list[Mutant]:
    """The mutants that no test notices; a mutant that does not end in time is noticed."""
    running: dict[int, tuple[Mutant, float]] = {}
    survivors: list[Mutant] = []
    waiting, done = list(chosen), 0
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop(0)
            running[start(root, mutant)] = (mutant, time.monotonic())
        time.sleep(0.05)
        for child in list(running):
            mutant, began = running[child]
            ended, status = os.waitpid(child, os.WNOHANG)
            if not ended and time.monotonic() - began > timeout:
                os.kill(child, signal.SIGKILL)
                ended, status = os.waitpid(child, 0)
            if ended:
                del running[child]
                done += 1
                if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
                    survivors.append(mutant)
                    print(
                        f"survives  {mutant.module}.py:{mutant.line}  {mutant.before}\n          -> {mutant.after}",
                        flush=True,
                    )
                if done % 50 == 0:
                    print(f"{done} of {len(chosen)}, {len(survivors)} survive", flush=True)
    return survivors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--sample", type=int, default=0, help="this many mutants, drawn by chance; 0 for all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="files whose name contains this")
    parser.add_argument("--timeout", type=float, default=240.0, help="seconds for one mutant")
    parser.add_argument("--least", type=float, default=97.0, help="exit 1 below this percentage")
    options = parser.parse_args()
    os.environ.setdefault("HYPOTHESIS_PROFILE", "ci")
    with tempfile.TemporaryDirectory() as directory:
        root = copied(Path(directory))
        os.chdir(root)
        sys.path[:0] = [str(root / "src"), str(root / "tests" / "rules")]
        import hypothesis  # noqa: F401
        import numpy  # noqa: F401
        import pytest  # noqa: F401
        import torch

        torch.set_num_threads(1)
        found = [m for name in FILES if options.only in name for m in mutants(root, name)]
        size = min(options.sample or len(found), len(found))
        chosen = random.Random(options.seed).sample(found, size)
        print(f"{len(found)} mutants, {size} of them run", flush=True)
        if os.waitstatus_to_exitcode(os.waitpid(start(root, None), 0)[1]) != 0:
            sys.exit("the tests fail without a change")
        survivors = survey(root, chosen, options.jobs, options.timeout)
    score = 100 * (1 - len(survivors) / max(1, size))
    print(f"{size - len(survivors)} of {size} killed: {score:.1f} %")
    sys.exit(score < options.least)


if __name__ == "__main__":
    main()
