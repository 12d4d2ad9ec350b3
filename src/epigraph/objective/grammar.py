"""The grammar of formulas: tokens, and operator precedence on explicit stacks, so that brackets cost no recursion.

``Parser`` turns a text into a list of instructions, each a PyTorch function of earlier results, and folds arithmetic
between numbers.  Nothing of the text is evaluated by Python.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, final

from epigraph.errors import UsageError
from epigraph.objective.vocabulary import (
    CHARACTERS,
    COMPARISONS,
    CONSTANTS,
    FUNCTIONS,
    HINTS,
    OPERATORS,
    PRECEDENCE,
    SMALLEST,
    VANISHING,
    Function,
)

MAX_LENGTH = 10_000


# tokens --------------------------------------------------------------------------------------------------------------
@final
@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the text and the column where it starts."""

    kind: str  # number, name, symbol or end
    text: str
    column: int


_TOKEN = re.compile(
    r"(?P<space>[ \t\r\n]+)"
    r"|(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z_0-9]*)"
    r"|(?P<symbol>\*\*|<=|>=|==|!=|[-+*/(),<>])"
)


def fail_at(text: str, column: int, what: str, hint: str | None = None, code: str = "E051") -> NoReturn:
    """Raise an error that shows the text, cut to a window, with a caret under the column."""
    text = re.sub(r"\s", " ", text)
    start = max(0, column - 50)
    shown = text[start : start + 100]
    lead = ("..." if start else "") + shown + ("..." if start + 100 < len(text) else "")
    caret = " " * (column - start + (3 if start else 0)) + "^"
    raise UsageError(code, what, where=f"column {column + 1}", why=f"{lead}\n     {caret}", hint=hint)


def tokenize(text: str) -> list[Token]:
    """The tokens of a text, the last one of kind ``end``."""
    if len(text) > MAX_LENGTH:
        raise UsageError(
            "E050",
            f"the expression has {len(text):,} characters; the limit is {MAX_LENGTH:,}",
            hint="write the function in a file: epigraph check file.py:objective",
        )
    found, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            character = text[position]
            fail_at(text, position, f"unexpected character {character!r}", CHARACTERS.get(character))
        if text.startswith("//", position):
            fail_at(text, position, "integer division is not supported", "write a single /")
        if match.lastgroup != "space":
            found.append(Token(str(match.lastgroup), match.group(), position))
        if match.lastgroup == "number" and match.end() < len(text) and re.match(r"[A-Za-z_.]", text[match.end()]):
            fail_at(
                text,
                match.end(),
                f"the number {match.group()} runs into {text[match.end()]!r}",
                "write 2*x for a product; decimals have one point, as in 1.5e-3",
            )
        position = match.end()
    return [*found, Token("end", "the end", len(text))]


# the program ---------------------------------------------------------------------------------------------------------
@final
@dataclass(frozen=True, slots=True)
class Operand:
    """A number, or the result of an instruction; ``truth`` marks the result of a comparison."""

    constant: float | None
    index: int
    column: int
    truth: bool = False


@final
@dataclass(frozen=True, slots=True)
class Instruction:
    """One operation; an argument that is an int is the result of that instruction, a float is a number."""

    call: Callable[..., Any] | str  # a string is a variable's name
    arguments: tuple[int | float, ...]
    column: int


@final
class Pending:
    """An operator, an open bracket or an open call on the parser's stack."""

    __slots__ = ("arguments", "column", "kind", "name")

    def __init__(self, kind: str, name: str, column: int):
        self.kind, self.name, self.column, self.arguments = kind, name, column, 1


@final
class Parser:
    """Operator precedence on two explicit stacks: operators that wait, operands that are ready."""

    def __init__(self, text: str, tokens: Sequence[Token] | None = None):
        self.text = text
        self.tokens = list(tokens) if tokens is not None else tokenize(text)
        self.variables: list[str] = []
        self.program: list[Instruction] = []
        self.operands: list[Operand] = []
        self.pending: list[Pending] = []
        self._loaded: dict[str, int] = {}

    def fail(self, column: int, what: str, hint: str | None = None) -> NoReturn:
        fail_at(self.text, column, what, hint)

    def parse(self) -> Operand:
        position, wants_operand = 0, True
        while True:
            token = self.tokens[position]
            position += 1
            if wants_operand:
                call = token.kind == "name" and self.tokens[position].text == "("
                wants_operand = self.operand(token, call)
                position += call
            elif token.kind == "end":
                return self.finish()
            else:
                wants_operand = self.operator(token)

    def operand(self, token: Token, call: bool) -> bool:
        """Take a token where a value must begin; true where another one must follow."""
        if token.kind == "number":
            value = float(token.text)
            if math.isinf(value):
                self.fail(token.column, f"{token.text} is larger than any float64")
            if abs(value) < SMALLEST and re.search(r"[1-9]", re.split("[eE]", token.text)[0]):
                self.fail(token.column, "this number is too small", "numbers are float64, at least 2.3e-308 in size")
            self.operands.append(Operand(value, -1, token.column))
            return False
        if token.kind == "name":
            if call:
                self.open_call(token)
                return True
            self.name(token)
            return False
        if token.text in ("-", "+"):
            if token.text == "-":
                self.pending.append(Pending("operator", "negate", token.column))
            return True
        if token.text == "(":
            self.pending.append(Pending("bracket", "(", token.column))
            return True
        empty = token.kind == "end" and len(self.tokens) == 1
        self.fail(token.column, "the expression is empty" if empty else f"a value is missing before {token.text}")

    def open_call(self, token: Token) -> None:
        if token.text not in FUNCTIONS:
            close = difflib.get_close_matches(token.text, FUNCTIONS, 1)
            guess = f"did you mean {close[0]}? " if close else ""
            hint = HINTS.get(token.text) or guess + "functions: " + " ".join(FUNCTIONS)
            if token.text in self.variables or len(token.text) == 1:
                hint = f"write {token.text}*(...) for a product"
            self.fail(token.column, f"unknown function {token.text}", hint)
        self.pending.append(Pending("call", token.text, token.column))

    def name(self, token: Token) -> None:
        name = token.text
        if name in CONSTANTS:
            self.operands.append(Operand(CONSTANTS[name], -1, token.column))
            return
        if name in FUNCTIONS:
            self.fail(token.column, f"{name} is a function", f"write {name}(x)")
        if name in HINTS:
            self.fail(token.column, f"{name} is not a variable", HINTS[name])
        if re.fullmatch("[xyz]{2,}", name):
            self.fail(token.column, f"{name} would be one variable, not a product", f"write {'*'.join(name)}")
        if name not in self._loaded:
            self.variables.append(name)
            self._loaded[name] = len(self.program)
            self.program.append(Instruction(name, (), token.column))
        self.operands.append(Operand(None, self._loaded[name], token.column))

    def operator(self, token: Token) -> bool:
        """Take a token after a value; true where a value must follow."""
        if token.text == ")":
            self.close(token)
            return False
        if token.text == ",":
            self.reduce(-1)
            if not self.pending or self.pending[-1].kind != "call":
                self.fail(token.column, "a comma outside of a function's arguments", "write decimals with a point")
            self.pending[-1].arguments += 1
            return True
        if token.text not in PRECEDENCE:
            hint = "write * between factors" if token.kind in ("name", "number") or token.text == "(" else None
            self.fail(token.column, f"an operator is missing before {token.text}", hint)
        precedence = PRECEDENCE[token.text]
        self.reduce(precedence if token.text == "**" else precedence - 1)  # ** is the one that groups to the right
        self.pending.append(Pending("operator", token.text, token.column))
        return True

    def reduce(self, above: int) -> None:
        """Apply the waiting operators that bind more tightly than ``above``."""
        while self.pending and self.pending[-1].kind == "operator" and PRECEDENCE[self.pending[-1].name] > above:
            waiting = self.pending.pop()
            self.apply(waiting.name, OPERATORS[waiting.name], 1 if waiting.name == "negate" else 2, waiting.column)

    def close(self, token: Token) -> None:
        self.reduce(-1)
        if not self.pending:
            self.fail(token.column, "this bracket was never opened")
        opened = self.pending.pop()
        if opened.kind == "bracket":
            return
        function, count = FUNCTIONS[opened.name], opened.arguments
        if count < function.least or (function.most is not None and count > function.most):
            wanted = f"{function.least}" if function.least == function.most else f"at least {function.least}"
            self.fail(opened.column, f"{opened.name} takes {wanted} argument{'s' * (wanted != '1')}, not {count}")
        self.check_arguments(opened, function)
        self.apply(opened.name, function.call, count, opened.column)

    def check_arguments(self, opened: Pending, function: Function) -> None:
        arguments = self.operands[len(self.operands) - opened.arguments :]
        for index in function.numbers:
            if arguments[index].constant is None:
                self.fail(arguments[index].column, f"argument {index + 1} of {opened.name} must be a number")
        if opened.name == "huber" and not float(arguments[1].constant or 0.0) > 0.0:
            self.fail(arguments[1].column, "the width of huber must be positive")
        if opened.name == "clamp" and not float(arguments[1].constant or 0.0) <= float(arguments[2].constant or 0.0):
            self.fail(arguments[1].column, "the bounds of clamp are in the wrong order", "write clamp(x, lower, upper)")
        if opened.name == "where" and not arguments[0].truth:
            what = "the first argument of where must compare with a variable"
            self.fail(arguments[0].column, what, "write where(x > 0, a, b)")

    def apply(self, name: str, call: Callable[..., Any], count: int, column: int) -> None:
        """Append an instruction, or compute at once where every argument is a number."""
        arguments = self.operands[len(self.operands) - count :]
        del self.operands[len(self.operands) - count :]
        for index, argument in enumerate(arguments):
            if argument.truth and not (name == "where" and index == 0):
                hint = "comparisons belong in where(x > 0, a, b) or in --where"
                self.fail(argument.column, "a comparison is not a number", hint)
        if all(a.constant is not None for a in arguments):
            value = self.number(call, [a.constant for a in arguments], column)
            if name in VANISHING and abs(value) < SMALLEST and all(a.constant != 0.0 for a in arguments):
                self.fail(column, "this number is too small", "numbers are float64, at least 2.3e-308 in size")
            self.operands.append(Operand(value, -1, column))
            return
        if name == "/" and arguments[1].constant == 0.0:
            self.fail(column, "division by zero")
        taken = tuple(a.index if a.constant is None else a.constant for a in arguments)
        self.program.append(Instruction(call, taken, column))
        self.operands.append(Operand(None, len(self.program) - 1, column, truth=name in COMPARISONS))

    def number(self, call: Callable[..., Any], values: Sequence[float | None], column: int) -> float:
        try:
            value = call(*values)
            if isinstance(value, complex):
                self.fail(column, "this is not a real number")
            if isinstance(value, bool):
                self.fail(column, "this comparison has no variable")
            value = float(value)
        except (ZeroDivisionError, OverflowError):
            value = math.nan
        if not math.isfinite(value):
            self.fail(column, "this is not a finite number")
        return value

    def finish(self) -> Operand:
        self.reduce(-1)
        if self.pending:
            self.fail(self.pending[-1].column, "this bracket is never closed")
        (result,) = self.operands
        if result.truth:
            self.fail(result.column, "a comparison is not a number", "conditions on the variables belong in --where")
        return result
