r"""Are the operands of ``same`` equal as real functions?  Shown through linear forms with exact coefficients.

A form is a sum of c_k A_k + c_0 with arrays of rational numbers c_k and nodes A_k that are not taken apart.  Sums,
negation, products with constants and changes of shape are; softplus(-u) = softplus(u) - u brings both spellings of
the logistic loss to one form.  An operand whose form differs from the first one's, or is too large, is not used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import numpy as np
from flint import fmpq

from epigraph.certificate.graph import Node, Program

ENTRIES = 400_000  # of one array of coefficients
ATOMS = 200  # of one form; a longer sum is not taken apart
Atom = tuple[str, int, tuple[tuple[int, ...], ...]]  # see ``_whole``
_OPENED = ("add", "neg", "mul", "softplus", "reshape")
Form = dict[Atom | None, Any]  # coefficients by atom, None for the constant term; arrays of fmpq that broadcast


class _TooLarge(Exception):
    """The coefficients would need too much memory."""


def equal_operands(program: Program, node: Node, tensors: Mapping[str, np.ndarray]) -> list[int]:
    """Numbers of the operands that equal the first one; the first one always does."""
    forms = Forms(program, tensors)
    try:
        first = forms.of(node.inputs[0])
    except _TooLarge:
        return [0]
    found = [0]
    for k, other in enumerate(node.inputs[1:], 1):
        try:
            if forms.equal(first, forms.of(other), node.shape):
                found.append(k)
        except _TooLarge:
            continue
    return found


@final
class Forms:
    """Linear forms of the nodes of one program, each made once."""

    def __init__(self, program: Program, tensors: Mapping[str, np.ndarray]):
        self._program, self._tensors = program, tensors
        self._made: dict[int, Form] = {}
        self._arguments: list[tuple[Form, tuple[int, ...]]] = []

    def of(self, position: int) -> Form:
        """The form of a node; operands first, so that long chains of sums need no deep recursion."""
        pending, needed = [position], set()
        while pending:
            i = pending.pop()
            if i not in needed and i not in self._made:
                needed.add(i)
                node = self._program.nodes[i]
                pending += node.inputs if node.op in _OPENED else ()
        for i in sorted(needed):
            made = self._make(i)
            self._made[i] = made if len(made) <= ATOMS else _whole(i, self._program.nodes[i])
        return self._made[position]

    def equal(self, f: Form, g: Form, shape: tuple[int, ...]) -> bool:
        """Have both the same coefficients in every entry of a tensor of this shape?"""
        zero = _exact(np.zeros(()))
        pairs = [(f.get(atom, zero), g.get(atom, zero)) for atom in {**f, **g}]
        return all(bool(np.all(np.broadcast_to(a, shape) == np.broadcast_to(b, shape))) for a, b in pairs)

    def _make(self, position: int) -> Form:
        node = self._program.nodes[position]
        if node.op == "constant":
            if "value" in node.attributes:
                return {None: np.asarray(node.attributes["value"], dtype=object)}
            return {None: self._constant(node)}
        if node.op == "add":
            return _sum(self._made[node.inputs[0]], self._made[node.inputs[1]])
        if node.op == "neg":
            return _times(np.asarray(fmpq(-1), dtype=object), self._made[node.inputs[0]])
        if node.op == "mul":
            return self._product(position, node)
        if node.op == "softplus":
            return self._softplus(node)
        if node.op == "reshape":
            return _reshaped(self._made[node.inputs[0]], self._program.nodes[node.inputs[0]].shape, node.shape)
        return _whole(position, node)

    def _constant(self, node: Node) -> Any:
        data = self._tensors[node.attributes["tensor"]]
        if data.size > ENTRIES:
            raise _TooLarge
        return _exact(np.asarray(data))

    def _product(self, position: int, node: Node) -> Form:
        f, g = self._made[node.inputs[0]], self._made[node.inputs[1]]
        if set(g) <= {None}:
            f, g = g, f
        if not set(f) <= {None}:
            return _whole(position, node)
        return _times(f[None], g)

    def _softplus(self, node: Node) -> Form:
        """softplus(u) for the first u that was met, and softplus(-u) = softplus(u) - u."""
        argument = self._made[node.inputs[0]]
        opposite = _times(np.asarray(fmpq(-1), dtype=object), argument)
        one = _exact(np.ones(()))
        for number, (known, shape) in enumerate(self._arguments):
            if shape == node.shape and self.equal(known, argument, shape):
                return {("softplus", number, (shape,)): one}
            if shape == node.shape and self.equal(known, opposite, shape):
                return _sum({("softplus", number, (shape,)): one}, argument)
        self._arguments.append((argument, node.shape))
        return {("softplus", len(self._arguments) - 1, (node.shape,)): one}


def _whole(position: int, node: Node) -> Form:
    """A node that is not taken apart, as ("node", its position, its path).

    A path is a shape, and then for each change of shape while the term was broadcast that shape and the new one.
    """
    return {("node", position, (node.shape,)): _exact(np.ones(()))}


def _reshaped(form: Form, shape: tuple[int, ...], new: tuple[int, ...]) -> Form:
    """The same entries in row-major order."""
    out: Form = {}
    for atom, c in form.items():
        moved = c if c.ndim == 0 else np.broadcast_to(c, shape).reshape(new)
        if atom is None:
            out[None] = moved
        else:
            kind, number, path = atom
            out[(kind, number, (*path[:-1], new) if path[-1] == shape else (*path, shape, new))] = moved
    return out


def _exact(array: np.ndarray) -> Any:
    out = np.empty(array.size, dtype=object)
    if array.dtype.kind == "f":
        out[:] = [fmpq(*v.as_integer_ratio()) for v in array.astype(np.float64).reshape(-1).tolist()]
    else:
        out[:] = [fmpq(int(v)) for v in array.reshape(-1).tolist()]
    return out.reshape(array.shape)


def _sum(f: Form, g: Form) -> Form:
    out = dict(f)
    for atom, c in g.items():
        out[atom] = _guarded(np.add, out[atom], c) if atom in out else c
    return out


def _times(c: Any, f: Form) -> Form:
    return {atom: _guarded(np.multiply, c, d) for atom, d in f.items()}


def _guarded(operation: Any, a: Any, b: Any) -> Any:
    if np.broadcast(a, b).size > ENTRIES:
        raise _TooLarge
    return np.asarray(operation(a, b), dtype=object)
