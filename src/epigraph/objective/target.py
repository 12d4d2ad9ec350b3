"""From what a user types to an ``Objective``: ``path/to/file.py:name``, ``zoo:name`` or a formula.

The file runs as a script would, with its folder first on the path; ``name`` is an ``Objective``, or a function without
required arguments that returns one or ``(model, loss, inputs, targets)``.  Whatever goes wrong is a ``TargetError``
that names the user's line; what the file prints goes to stderr.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from torch import nn

from epigraph.errors import EpigraphError, TargetError, UsageError
from epigraph.objective.expression import parse
from epigraph.objective.objective import Objective
from epigraph.objective.script import PREFIX, as_script
from epigraph.objective.sites import construction_site, in_folder

__all__ = ["construction_sites", "load"]

construction_sites = construction_site
RETURNS = "return an epigraph.Objective, or the tuple (model, loss, inputs, targets)"
NO_DEVICE = (
    "Found no NVIDIA driver",
    "not compiled with CUDA",
    "No CUDA GPUs",
    "invalid device ordinal",
    "not linked with support for mps",
)


def load(target: str | None = None, expr: str | None = None, where: str | Sequence[str] | None = None) -> Objective:
    """The objective that a target or a formula names.

    Args:
        target: ``path/to/file.py:name`` or ``zoo:name``.
        expr: a formula in free real variables, see ``epigraph.objective.expression``.
        where: bounds on the variables of ``expr``.

    Raises:
        UsageError: both or neither of target and expr, or a formula that does not parse.
        TargetError: the file, the name or what it returns cannot be used.
    """
    if (target is None) == (expr is None):
        what = "neither a target nor --expr is given" if target is None else "both a target and --expr are given"
        raise UsageError("E040", what, hint="give one: file.py:name, zoo:name or --expr 'x**2'")
    if expr is not None:
        return parse(expr, where).objective()
    if where:
        hint = "give the target a domain: Objective(..., domain=...)"
        raise UsageError("E041", "--where bounds the variables of --expr", hint=hint)
    assert target is not None
    if target.startswith("zoo:"):
        from epigraph import zoo

        return zoo.load(target.removeprefix("zoo:"))
    path, name = _split(target)
    with as_script(path):
        return _build(_import(path), path, name)


# the file ------------------------------------------------------------------------------------------------------------
def _split(target: str) -> tuple[Path, str]:
    """Path and name of ``file.py:name``; the last colon counts, for a Windows path has one after its drive."""
    file, colon, name = target.rpartition(":")
    if not colon or not name.isidentifier():
        whole = not colon or not name or target.endswith(".py")
        path = Path(target if not colon or target.endswith(".py") else file)
        named = _top_level_names(path)
        offers = f", where NAME is one of {', '.join(named[:8])}" if named else ", such as train.py:objective"
        raise TargetError(
            "E101",
            f"{target!r} names no objective" if whole else f"{name!r} is not a name",
            why="a target is a file and a name in it, joined by a colon",
            hint=f"write {path}:NAME{offers}",
        )
    path = Path(file).expanduser()
    if path.is_dir():
        inside = sorted(p.name for p in path.glob("*.py"))
        found = f", such as {path / inside[0]}:{name}" if inside else ""
        raise TargetError("E103", f"{file} is a folder", hint=f"name a file in it{found}")
    if not path.is_file():
        raise TargetError("E102", f"no such file: {file}", hint=_neighbour(path))
    if path.suffix != ".py":
        raise TargetError("E104", f"{file} is not a Python file", hint="a target is path/to/file.py:name")
    return path, name


def _neighbour(path: Path) -> str:
    candidates = [p.name for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, candidates, 1)
    if close:
        return f"did you mean {path.parent / close[0]}?"
    if not path.parent.is_dir():
        return f"the folder {path.parent} does not exist either"
    return "check the path; it is relative to the working directory"


def _top_level_names(path: Path) -> list[str]:
    """Functions and variables at the top level of a file, read without running it."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    named = [node.name for node in body if isinstance(node, ast.FunctionDef) and not node.args.args]
    named += [t.id for node in body if isinstance(node, ast.Assign) for t in node.targets if isinstance(t, ast.Name)]
    return [name for name in named if not name.startswith("_")]


def _import(path: Path) -> ModuleType:
    """Run the file as a module of a name that nothing else has."""
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    name = f"{PREFIX}{digest}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up here
    try:
        code = compile(path.read_bytes(), str(path.resolve()), "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        _syntax_error(path, error)
    except OSError as error:
        reason = str(error.strerror)
        raise TargetError("E113", f"cannot read {path}", why=reason, hint="check its permissions") from error
    except (RecursionError, MemoryError) as error:
        raise TargetError("E105", f"{path} is nested too deeply to compile", hint="split its expressions") from error
    _run(lambda: exec(code, module.__dict__), path, "E106", f"importing {path}")
    return module


def _syntax_error(path: Path, error: SyntaxError | ValueError) -> NoReturn:
    line = getattr(error, "lineno", None)
    text = (getattr(error, "text", None) or "").rstrip("\n")
    why = getattr(error, "msg", None) or str(error)
    if text:
        column = max(0, (getattr(error, "offset", None) or 1) - 1 - (len(text) - len(text.lstrip())))
        why += f"\n       {text.strip()}\n       {' ' * column}^"
    where = f"{path}:{line}" if line else str(path)
    raise TargetError("E105", "the file does not compile", where=where, why=why, hint=f"python {path}") from error


# running the user's code ---------------------------------------------------------------------------------------------
def _run(call: Callable[[], Any], path: Path, code: str, doing: str) -> Any:
    """Call the user's code; an exception becomes a ``TargetError`` that shows the user's line and not ours."""
    try:
        return call()
    except EpigraphError:
        raise
    except SystemExit as error:
        what = f"{doing} called exit({'' if error.code is None else repr(error.code)})"
        hint = 'put what belongs to the script under if __name__ == "__main__":'
        raise TargetError("E112", what, where=_place(error, path), hint=hint) from error
    except Exception as error:
        missing = _missing_device(error)
        message = str(error).strip() or "no message"
        why = f"{type(error).__name__}: {message if len(message) < 600 else message[:600] + ' ...'}"
        raise TargetError(
            "E114" if missing else code,
            f"{doing} failed",
            where=_place(error, path),
            why=why,
            hint=missing or _hint(error, path),
        ) from error


def _place(error: BaseException, path: Path) -> str:
    """``file.py:14``: the innermost line of the traceback in the user's folder."""
    folder, place, frames = path.parent.resolve(), str(path), error.__traceback__
    while frames is not None:
        filename = frames.tb_frame.f_code.co_filename
        if in_folder(filename, folder):
            shown = path if Path(filename) == path.resolve() else filename
            place = f"{shown}:{frames.tb_lineno}"
        frames = frames.tb_next
    return place


def _missing_device(error: Exception) -> str | None:
    text = str(error)
    if "torch.cuda.is_available() is False" in text and "map_location" in text:
        return 'this machine has no such device: torch.load(..., map_location="cpu")'
    if any(part in text for part in NO_DEVICE):
        return 'this machine has no such device: device = "cuda" if torch.cuda.is_available() else "cpu"'
    return None


def _hint(error: Exception, path: Path) -> str:
    if isinstance(error, ImportError) and "relative import" in str(error):
        return "the file runs by itself, not as part of a package: import by the package's full name"
    if isinstance(error, ModuleNotFoundError):
        return f"{sys.executable} -m pip install {error.name}, or run epigraph with the Python that has it"
    return f"run it alone to see the whole traceback: python {path}"


# the name ------------------------------------------------------------------------------------------------------------
def _build(module: ModuleType, path: Path, name: str) -> Objective:
    contents = vars(module)
    if name not in contents:
        candidates = _candidates(module)
        close = difflib.get_close_matches(name, candidates, 1) or difflib.get_close_matches(name, contents, 1)
        nothing = "it has no objective and no function without arguments"
        listing = f"it offers: {', '.join(candidates[:12])}" if candidates else nothing
        hint = f"did you mean {path}:{close[0]}?" if close else f"{RETURNS} from a function of {path}"
        raise TargetError("E107", f"{path} has no name {name!r}", why=listing, hint=hint)
    value = contents[name]
    if isinstance(value, Objective):
        return value
    _check_function(value, path, name)
    result = _run(value, path, "E110", f"{name}()")
    return _objective(result, path, name)


def _candidates(module: ModuleType) -> list[str]:
    def usable(value: Any) -> bool:
        if isinstance(value, Objective):
            return True
        return inspect.isfunction(value) and value.__module__ == module.__name__ and not _required(value)

    return [name for name, value in vars(module).items() if not name.startswith("_") and usable(value)]


def _required(function: Callable[..., Any]) -> list[str]:
    """Names of the parameters without default; none where the signature cannot be read."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    star = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is inspect.Parameter.empty and p.kind not in star]


def _check_function(value: Any, path: Path, name: str) -> None:
    """Refuse what is not a function without required arguments."""
    target = f"{path}:{name}"
    wrap = "write a function that takes no arguments and returns (model, loss, inputs, targets)"
    if isinstance(value, nn.Module):
        raise TargetError("E108", f"{target} is a model", why="J needs its loss and its data too", hint=wrap)
    if inspect.isclass(value):
        what = "a class of models" if issubclass(value, nn.Module) else "a class"
        raise TargetError("E108", f"{target} is {what}, not an objective", hint=wrap)
    if inspect.ismodule(value) or not callable(value):
        raise TargetError("E108", f"{target} is of type {type(value).__name__}, not an objective", hint=wrap)
    if inspect.iscoroutinefunction(value) or inspect.isgeneratorfunction(value):
        raise TargetError("E108", f"{target} is an async or generator function", hint=wrap)
    required = _required(value)
    if required:
        line = getattr(getattr(value, "__code__", None), "co_firstlineno", None)
        raise TargetError(
            "E109",
            f"{name} needs arguments: {', '.join(required)}",
            where=f"{path}:{line}" if line else str(path),
            hint=f"give them defaults, or write def objective(): return {name}(...)",
        )


def _objective(result: Any, path: Path, name: str) -> Objective:
    if isinstance(result, Objective):
        return result
    if not isinstance(result, tuple) or len(result) != 4:
        got = f"a tuple of {len(result)}" if isinstance(result, tuple) else f"{type(result).__name__}"
        raise TargetError("E111", f"{path}:{name} returned {'None' if result is None else got}", hint=RETURNS)
    model, loss, inputs, targets = result
    if not isinstance(model, nn.Module) or not callable(loss):
        wrong = f"the second is of type {type(loss).__name__} and cannot be called"
        if not isinstance(model, nn.Module):
            wrong = f"the first is of type {type(model).__name__} and no nn.Module"
        why = "the order is (model, loss, inputs, targets); the loss takes (output, targets)"
        raise TargetError("E111", f"{path}:{name} returned a tuple of four, but {wrong}", why=why, hint=RETURNS)
    return Objective(model, loss, inputs, targets, name=f"{path}:{name}")
