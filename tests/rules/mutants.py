"""Wrong versions of the calculus, made by machine: signs, comparisons, claims, bounds, constants, one place at a time."""

from __future__ import annotations

import ast
import contextlib
import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

PROJECT = Path(__file__).resolve().parent.parent.parent
CALCULUS = PROJECT / "src" / "epigraph" / "calculus"
FILES = ["interval", "lattice", *sorted(f"rules/{p.stem}" for p in (CALCULUS / "rules").glob("[!_]*.py"))]
SKIPPED = {"reason", "__repr__", "__bool__"}

# Lines whose numbers may change without error: limits of effort, slack that is more than enough, rounding that is decided
# elsewhere.  Everything else on these lines is changed like the rest.
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
    """One change of one module: the line, the outermost function around it (its first line), the text before and after."""

    module: str
    line: int
    function: int
    text: str
    before: str
    after: str
    code: CodeType

    def __str__(self) -> str:
        return f"{self.module}.py:{self.line}  {self.text}\n          {self.before} -> {self.after}"


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


def mutants(module: str) -> Iterator[Mutant]:
    path = CALCULUS / f"{module}.py"
    text = path.read_text(encoding="utf-8")
    lines, tree = text.splitlines(), ast.parse(text)
    functions = _functions(tree)
    for parent, field, index, child in list(_places(tree)):
        line = getattr(child, "lineno", getattr(parent, "lineno", 0))
        if isinstance(child, ast.Constant) and any(mark in lines[line - 1] for mark in NEUTRAL):
            continue
        before = ast.unparse(child)
        for changed in variants(child):
            if ast.unparse(changed) == before:
                continue
            ast.copy_location(changed, child)
            ast.fix_missing_locations(changed)
            _put(parent, field, index, changed)
            with contextlib.suppress(SyntaxError, ValueError):
                code = compile(tree, str(path), "exec")
                yield Mutant(
                    module, line, functions.get(line, 0), lines[line - 1].strip(), before, ast.unparse(changed), code
                )
            _put(parent, field, index, child)


def _functions(tree: ast.Module) -> dict[int, int]:
    """For each line inside a function or method: the first line of the outermost one, decorators included."""
    out: dict[int, int] = {}
    for top in tree.body:
        for node in top.body if isinstance(top, ast.ClassDef) else [top]:
            if isinstance(node, ast.FunctionDef):
                first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                out.update(dict.fromkeys(range(node.lineno, (node.end_lineno or node.lineno) + 1), first))
    return out


def _put(parent: ast.AST, field: str, index: int | None, child: ast.AST) -> None:
    if index is None:
        setattr(parent, field, child)
    else:
        getattr(parent, field)[index] = child
