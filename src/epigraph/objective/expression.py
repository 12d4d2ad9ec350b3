r"""Objectives written on the command line: ``--expr 'x**2*y**2' --where 'x>0'``.

A formula is parsed by its own grammar; nothing is evaluated by Python.  It denotes a real function of scalars:

* a number is the float64 nearest to its decimal digits, so ``0.1`` is 3602879701896397/2^55; arithmetic between numbers
  alone is done in float64, as in Python; an exponent that is the float64 of a simple fraction, such as ``1/3``, is
  that fraction;
* a free name is a real variable, in the order in which names appear;
* ``+ - * / **`` bind as in Python: ``-x**2`` is ``-(x**2)`` and ``2**3**2`` is ``2**9``;
* ``log`` is the natural logarithm, ``norm`` the Euclidean norm of its arguments, ``huber(x, d)`` is x²/2 for |x| <= d
  and d (|x| - d/2) beyond; ``where(x > 0, a, b)`` is a where the comparison holds and b elsewhere.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from epigraph.errors import UsageError
from epigraph.objective.grammar import Instruction, Parser, Token, fail_at, tokenize
from epigraph.objective.vocabulary import COMPARISONS, CONSTANTS

if TYPE_CHECKING:
    from epigraph.objective.objective import Objective

Bounds = tuple[float | None, float | None]


@final
@dataclass(frozen=True)
class Formula:
    """A real function of scalar variables, with the box on which it is asked about.

    >>> f = parse("x**2 + y", where="0 < x")
    >>> f.variables, f.domain
    (('x', 'y'), {'x': (0.0, None)})
    >>> float(f(torch.tensor(3.0), torch.tensor(1.0)))
    10.0
    """

    text: str
    variables: tuple[str, ...]
    domain: Mapping[str, Bounds]
    notes: tuple[str, ...]
    program: tuple[Instruction, ...]
    result: int

    def __call__(self, *values: Tensor, **named: Tensor) -> Tensor:
        """The value at the variables, given in order or by name."""
        given = dict(zip(self.variables, values, strict=False)) | named
        results: list[Any] = []
        for instruction in self.program:
            if isinstance(instruction.call, str):
                results.append(given[instruction.call])
            else:
                arguments = [results[a] if isinstance(a, int) else a for a in instruction.arguments]
                results.append(instruction.call(*arguments))
        return results[self.result]

    def point(self) -> dict[str, Tensor]:
        """A point inside the domain at which the function is finite, where one is found: all at 1/2 if that will do."""
        for attempt in range(8):
            values = {
                name: torch.tensor(_inside(self.domain.get(name, (None, None)), attempt, index), dtype=torch.float64)
                for index, name in enumerate(self.variables)
            }
            if attempt == 0:
                first = values
            if bool(torch.isfinite(self(**values))):
                return values
        return first

    def objective(self, name: str | None = None) -> Objective:
        """The objective of these variables on this domain."""
        from epigraph.objective.objective import Objective

        J = Objective.from_function(self, self.point(), domain=dict(self.domain), name=name or self.text)
        J.notes.extend(self.notes)
        return J


def _inside(bounds: Bounds, attempt: int, index: int) -> float:
    """A number strictly inside the bounds; later attempts differ from variable to variable."""
    lower, upper = bounds
    share = 0.5 if attempt == 0 else math.fmod(0.5 + 0.618033988749895 * (attempt + 3 * index), 1.0)
    if lower is not None and upper is not None:
        return lower + (upper - lower) * share
    if lower is not None:
        return 0.5 if attempt == 0 and lower < 0.5 else lower + share * max(1.0, abs(lower)) * 2.0 ** (attempt // 2)
    if upper is not None:
        return 0.5 if attempt == 0 and upper > 0.5 else upper - share * max(1.0, abs(upper)) * 2.0 ** (attempt // 2)
    return 0.5 if attempt == 0 else (2.0 * share - 1.0) * 2.0**attempt


def parse(text: str, where: str | Sequence[str] | None = None) -> Formula:
    """Parse a formula and its conditions; errors are ``UsageError`` and point at the column.

    Args:
        text: such as ``"log(1 + exp(x)) - y*x"``, at most 10,000 characters.
        where: bounds on variables by numbers, such as ``"x > 0"`` or ``["0 < x < 1", "y >= -1"]``; several may also be
            joined by commas or ``and``.  A strict bound is read as the closed one.
    """
    parser = Parser(text)
    result = parser.parse()
    if result.constant is not None:
        raise UsageError("E052", f"the expression {text.strip()[:60]!r} has no variable", hint="use a name such as x")
    conditions = [where] if isinstance(where, str) else list(where or [])
    notes: list[str] = []
    domain: dict[str, Bounds] = {}
    for condition in conditions:
        _add_condition(condition, parser.variables, domain, notes)
    unique = tuple(dict.fromkeys(notes))
    return Formula(text, tuple(parser.variables), domain, unique, tuple(parser.program), result.index)


# conditions ----------------------------------------------------------------------------------------------------------
def _add_condition(text: str, variables: Sequence[str], domain: dict[str, Bounds], notes: list[str]) -> None:
    """Intersect the domain with ``x > 0``, ``0 <= x < 1`` or several of them, joined by commas or ``and``."""
    tokens = tokenize(text)
    part: list[Token] = []
    for token in tokens:
        if token.text in (",", "and") or token.kind == "end":
            _add_chain(text, part, token, variables, domain, notes)
            part = []
        else:
            part.append(token)


def _add_chain(
    text: str, part: Sequence[Token], end: Token, variables: Sequence[str], domain: dict[str, Bounds], notes: list[str]
) -> None:
    sides: list[list[Token]] = [[]]
    relations: list[Token] = []
    for token in part:
        if token.text in COMPARISONS:
            relations.append(token)
            sides.append([])
        else:
            sides[-1].append(token)
    start = part[0].column if part else end.column
    if len(relations) not in (1, 2):
        fail_at(text, start, "a condition compares one variable with numbers", "write x > 0 or 0 < x < 1", "E060")
    for relation in relations:
        if relation.text in ("==", "!="):
            what = f"{relation.text} does not bound a variable"
            fail_at(text, relation.column, what, "write the number in the expression itself", "E060")
    named = [i for i, side in enumerate(sides) if _is_variable(side)]
    place = 1 if len(relations) == 2 else (named[0] if named else 0)
    name = _variable(text, sides[place], start, variables)
    for index, relation in enumerate(relations):
        on_left = place == index
        value = _bound(text, sides[index + 1] if on_left else sides[index], relation)
        greater = relation.text.startswith(">") == on_left
        _intersect(text, relation, name, value if greater else None, None if greater else value, domain)
        if relation.text in ("<", ">"):
            strict = f"{name} {'>' if greater else '<'}"
            notes.append(f"{strict} {value:g} is read as {strict}= {value:g}: at the bound the limit is taken")


def _is_variable(side: Sequence[Token]) -> bool:
    return len(side) == 1 and side[0].kind == "name" and side[0].text not in CONSTANTS


def _variable(text: str, side: Sequence[Token], start: int, variables: Sequence[str]) -> str:
    if not _is_variable(side):
        fail_at(
            text,
            side[0].column if side else start,
            "a condition bounds a single variable by numbers",
            "write x > 0 or 0 < x < 1; other sets are not boxes",
            "E060",
        )
    if side[0].text not in variables:
        close = difflib.get_close_matches(side[0].text, variables, 1)
        fail_at(
            text,
            side[0].column,
            f"{side[0].text} is not a variable of the expression",
            f"did you mean {close[0]}?" if close else "its variables: " + " ".join(variables),
            "E061",
        )
    return side[0].text


def _bound(text: str, side: Sequence[Token], relation: Token) -> float:
    if not side:
        fail_at(text, relation.column, "a number is missing beside this", "write x > 0", "E060")
    parser = Parser(text, [*side, Token("end", "the end", side[-1].column + len(side[-1].text))])
    result = parser.parse()
    if result.constant is None:
        hint = "sets such as x <= y are not boxes; substitute x = y - s with s >= 0"
        fail_at(text, side[0].column, "a bound must be a number", hint, "E060")
    return result.constant


def _intersect(
    text: str, relation: Token, name: str, lower: float | None, upper: float | None, domain: dict[str, Bounds]
) -> None:
    old_lower, old_upper = domain.get(name, (None, None))
    lowers = [b for b in (lower, old_lower) if b is not None]
    uppers = [b for b in (upper, old_upper) if b is not None]
    bounds = (max(lowers) if lowers else None, min(uppers) if uppers else None)
    if bounds[0] is not None and bounds[1] is not None and bounds[0] >= bounds[1]:
        what = f"no {name} satisfies {name} >= {bounds[0]:g} and {name} <= {bounds[1]:g}"
        if bounds[0] == bounds[1]:
            what = f"{name} is left a single value, {bounds[0]:g}"
        fail_at(text, relation.column, what, "give bounds with an interval between them", "E062")
    domain[name] = bounds
