"""The shape of the package: imports point one way, files and functions stay small, the light parts stay light."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"
PACKAGE = SOURCE / "epigraph"

# A part may import parts of a smaller rank, and itself.  Parts of one rank do not import each other.
RANKS = {
    "errors": 0,
    "certificate": 1,
    "objective": 1,
    "zoo": 2,
    "calculus": 2,
    "hessian": 3,
    "convexity": 4,
    "symmetry": 5,
    "critical": 6,
    "landscape": 7,
    "survey": 7,
    "bounds": 7,
    "plot": 8,
    "report": 9,
    "cli": 10,
    "__main__": 11,
}

# Imports against that order, each made inside a function when it is needed, with the reason.
AGAINST = {
    ("convexity/verdict.py", "report"): "a notebook shows a verdict as the report's HTML fragment",
    ("symmetry/barrier.py", "plot"): "a notebook shows a barrier as its picture",
    ("objective/target.py", "zoo"): "zoo:NAME is a target, and the zoo is made of objectives",
    ("objective/recorder.py", "calculus"): "a branch that intervals show to go one way always is no branch",
}

# The certificate's verifier and its evaluator share nothing with the analysis and start without PyTorch.
ALONE = {"errors", "certificate"}
LIGHT = {"flint", "numpy", "safetensors"}

LONGEST_FILE = 400
LONGEST_FUNCTION = 60

# Longer than that, each with the reason why it is clearer in one piece.
LONG_FILES: dict[str, str] = {}
LONG_FUNCTIONS: dict[tuple[str, str], str] = {}

FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [path.relative_to(PACKAGE).as_posix() for path in FILES]


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _typing_only(tree: ast.AST) -> set[int]:
    """Lines inside ``if TYPE_CHECKING:``; they import nothing when the program runs."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            lines |= {n.lineno for part in node.body for n in ast.walk(part) if hasattr(n, "lineno")}
    return lines


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of each module that a file imports, at its top or inside its functions."""
    tree = _tree(path)
    skipped = _typing_only(tree)
    package = ("epigraph", *path.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(tree):
        if getattr(node, "lineno", 0) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) + "." if node.level else ""
            module = (base + (node.module or "")).strip(".")
            yield node.lineno, module
            if module == "epigraph":  # `from epigraph import zoo` imports the part as well
                yield from ((node.lineno, f"epigraph.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in {"import_module", "__import__"}:
            if node.args and isinstance(node.args[0], ast.Constant):
                yield node.lineno, str(node.args[0].value)


def part(name: str) -> str:
    """``"convexity"`` for ``convexity/check.py``, ``"errors"`` for ``errors.py``."""
    return name.split("/")[0].removesuffix(".py")


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Qualified name and length of every function, its docstring not counted."""

    def walk(node: ast.AST, prefix: str) -> Iterator[tuple[str, int]]:
        for child in ast.iter_child_nodes(node):
            inner = prefix
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inner = f"{prefix}{child.name}."
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield inner[:-1], _length(child)
            yield from walk(child, inner)

    yield from walk(_tree(path), "")


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    whole = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node, clean=False) is not None:
        whole -= (first.end_lineno or first.lineno) - first.lineno + 1
    return whole


@pytest.mark.parametrize("name", NAMES)
def test_imports_point_one_way(name):
    here = part(name)
    if here == "__init__":
        return  # the public names, which load their homes on demand
    assert here in RANKS, f"{name}: give {here!r} a rank in {Path(__file__).name}"
    for line, module in imported(PACKAGE / name):
        if not module.startswith("epigraph."):
            continue
        there = module.split(".")[1]
        if there == here or there not in RANKS or (name, there) in AGAINST:
            continue
        assert RANKS[there] < RANKS[here], f"{name}:{line}: {here} must not import {module}"


@pytest.mark.parametrize("name", [n for n in NAMES if part(n) in ALONE])
def test_the_certificate_stands_alone(name):
    for line, module in imported(PACKAGE / name):
        top, *rest = module.split(".")
        allowed = rest[0] in ALONE if top == "epigraph" and rest else top in sys.stdlib_module_names | LIGHT
        assert allowed, f"{name}:{line}: {part(name)} must not import {module}"


def _fresh(code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


HEAVY = ("torch", "typer", "rich", "jinja2", "epigraph.objective", "epigraph.calculus", "epigraph.convexity")


@pytest.mark.parametrize("module", ["epigraph", "epigraph.errors", "epigraph.certificate.verify"])
def test_light_parts_start_without_torch(module):
    run = _fresh(f"import {module}, sys; print(*(n for n in {HEAVY!r} if n in sys.modules))")
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == []


def test_the_check_for_torch_can_fail():
    run = _fresh("import epigraph.objective.graph, sys; print('torch' in sys.modules)")
    assert run.stdout.split() == ["True"], run.stderr


def test_public_names_exist():
    import epigraph

    missing = [name for name in epigraph.__all__ if not hasattr(epigraph, name)]
    assert missing == []
    assert sorted(dir(epigraph)) == sorted(epigraph.__all__)


def test_an_unknown_name_is_an_attribute_error():
    import epigraph

    with pytest.raises(AttributeError, match="no attribute 'chek'"):
        epigraph.chek  # noqa: B018


@pytest.mark.parametrize("name", NAMES)
def test_files_are_of_a_sitting(name):
    lines = len((PACKAGE / name).read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST_FILE or name in LONG_FILES, f"{name} has {lines} lines, more than {LONGEST_FILE}"


@pytest.mark.parametrize("name", NAMES)
def test_functions_are_small(name):
    long = {f: n for f, n in functions(PACKAGE / name) if n > LONGEST_FUNCTION and (name, f) not in LONG_FUNCTIONS}
    assert not long, f"{name}: functions of more than {LONGEST_FUNCTION} lines: {long}"


def test_exceptions_are_still_needed():
    assert set(LONG_FILES) <= {n for n in NAMES if len((PACKAGE / n).read_text().splitlines()) > LONGEST_FILE}
    long = {(n, f) for n in NAMES for f, size in functions(PACKAGE / n) if size > LONGEST_FUNCTION}
    assert set(LONG_FUNCTIONS) <= long
    for (name, there), reason in AGAINST.items():
        path = PACKAGE / name
        lines = {line for line, module in imported(path) if module.startswith(f"epigraph.{there}")}
        assert lines, f"{name} no longer imports {there} ({reason})"
        assert not lines & {node.lineno for node in _tree(path).body}, f"{name} imports {there} at its top"


def test_public_names_are_documented():
    import epigraph

    bare = [name for name in epigraph.__all__ if name != "__version__" and not getattr(epigraph, name).__doc__]
    assert bare == []


@pytest.mark.parametrize("name", NAMES)
def test_modules_say_what_they_are(name):
    assert ast.get_docstring(_tree(PACKAGE / name)), f"{name} has no docstring"


def test_test_files_have_names_of_their_own() -> None:
    """pytest imports them by their last name alone."""
    names = Counter(path.name for path in Path(__file__).parent.rglob("*.py") if path.name != "conftest.py")
    assert [name for name, count in names.items() if count > 1] == []
