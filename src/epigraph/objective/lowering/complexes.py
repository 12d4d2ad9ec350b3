"""Complex tensors between real ones, as pairs of real expressions: Fourier transforms and arithmetic on their results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch

from epigraph.objective.builder import Builder, Expression
from epigraph.objective.lowering.indexing import replaced
from epigraph.objective.lowering.registry import LOWERINGS

LONGEST = 2048  # entries of one transform, which is a product with a matrix


@final
@dataclass(frozen=True)
class Pair:
    """The complex tensor ``real + i imaginary``."""

    real: Expression
    imaginary: Expression

    @property
    def shape(self) -> tuple[int, ...]:
        return self.real.shape


Rule = Callable[..., Any]
COMPLEX: dict[str, Rule] = {}

#: Operators that act on the real and the imaginary part alike.
ALIKE = """
    neg.default sum.default sum.dim_IntList mean.default mean.dim clone.default contiguous.default
    view.default reshape.default _unsafe_view.default flatten.using_ints unflatten.int squeeze.default squeeze.dim
    squeeze.dims unsqueeze.default permute.default transpose.int t.default mT.default numpy_T.default movedim.int expand.default
    repeat.default slice.Tensor select.int narrow.default split.Tensor split_with_sizes.default chunk.default unbind.int
    flip.default roll.default index_select.default index.Tensor gather.default diagonal.default
    resolve_conj.default resolve_neg.default detach.default alias.default lift_fresh_copy.default
    tril.default triu.default cumsum.default
""".split()


def complexes(*overloads: str) -> Callable[[Rule], Rule]:
    """Register a rule that takes pairs for complex arguments; a second one for the same overload raises."""

    def register(function: Rule) -> Rule:
        for overload in overloads:
            name = f"aten.{overload}"
            if name in COMPLEX:
                raise ValueError(f"two complex rules for {name}")
            COMPLEX[name] = function
        return function

    return register


def pair(b: Builder, value: Any) -> Pair:
    """A complex, real or plain number as a pair."""
    if isinstance(value, Pair):
        return value
    if isinstance(value, complex):
        return Pair(b.rational(value.real), b.rational(value.imag))
    if isinstance(value, Expression) and value.literal is not None and value.literal.is_complex():
        exact = value.literal.to(torch.complex128)
        return Pair(b.literal(exact.real.contiguous()), b.literal(exact.imag.contiguous()))
    x = b.wrap(value)
    return Pair(x, b.rational(0).expand(x.shape))


def _alike(overload: str) -> None:
    name = f"aten.{overload}"

    def both(b: Builder, *arguments: Any) -> Any:
        sides = []
        for side in ("real", "imaginary"):
            sides.append(LOWERINGS[name](b, *(_side(b, v, side) for v in arguments)))
        if isinstance(sides[0], (tuple, list)):
            return tuple(Pair(x, y) for x, y in zip(*sides, strict=True))
        return Pair(*sides)

    complexes(overload)(both)


def _side(b: Builder, value: Any, side: str) -> Any:
    """One part of each complex argument; indices, sizes and the rest as they are."""
    if isinstance(value, (list, tuple)):
        return type(value)(_side(b, v, side) for v in value)
    return getattr(pair(b, value), side) if isinstance(value, Pair) or _complex_literal(value) else value


for _name in ALIKE:
    _alike(_name)


# parts ------------------------------------------------------------------------------------------------------------
@complexes("real.default")
def real(b: Builder, z: Any) -> Expression:
    return pair(b, z).real


@complexes("imag.default")
def imaginary(b: Builder, z: Any) -> Expression:
    return pair(b, z).imaginary


@complexes("conj.default", "_conj.default", "conj_physical.default", "_conj_physical.default")
def conjugate(b: Builder, z: Any) -> Pair:
    z = pair(b, z)
    return Pair(z.real, -z.imaginary)


@complexes("view_as_real.default")
def view_as_real(b: Builder, z: Any) -> Expression:
    z = pair(b, z)
    return b.concat([v.reshape((*v.shape, 1)) for v in (z.real, z.imaginary)], len(z.shape))


@complexes("view_as_complex.default")
def view_as_complex(b: Builder, x: Expression) -> Pair:
    return Pair(x.select(-1, 0), x.select(-1, 1))


@complexes("complex.default")
def complex_of(b: Builder, x: Expression, y: Expression) -> Pair:
    shape = torch.broadcast_shapes(x.shape, y.shape)
    return Pair(x.expand(shape), y.expand(shape))


@complexes("polar.default")
def polar(b: Builder, length: Expression, angle: Expression) -> Pair:
    return Pair(length * angle.unary("cos"), length * angle.unary("sin"))


@complexes("abs.default")
def modulus(b: Builder, z: Any) -> Expression:
    return _squared(pair(b, z)).unary("sqrt")


def _squared(z: Pair) -> Expression:
    return z.real**2 + z.imaginary**2


@complexes("to.dtype", "_to_copy.default")
def cast(b: Builder, z: Any, dtype: torch.dtype | None, *rest: Any) -> Any:
    """Between floating types; a cast to a real type drops the imaginary part."""
    z = pair(b, z)
    if dtype is None or dtype.is_complex:
        return z
    if not dtype.is_floating_point:
        raise NotImplementedError(f"a cast of complex numbers to {dtype}")
    return z.real


def _joins(overload: str) -> None:
    def lower(b: Builder, tensors: Sequence[Any], dim: int) -> Pair:
        pairs = [pair(b, v) for v in tensors]
        join = LOWERINGS[f"aten.{overload}"]
        return Pair(join(b, [p.real for p in pairs], dim), join(b, [p.imaginary for p in pairs], dim))

    complexes(overload)(lower)


for _name in ("cat.default", "stack.default"):
    _joins(_name)


# arithmetic -------------------------------------------------------------------------------------------------------
@complexes("add.Tensor", "add.Scalar")
def add(b: Builder, x: Any, y: Any, alpha: Any) -> Pair:
    p, q = pair(b, x), mul(b, pair(b, y), alpha)
    return Pair(p.real + q.real, p.imaginary + q.imaginary)


@complexes("sub.Tensor", "sub.Scalar")
def sub(b: Builder, x: Any, y: Any, alpha: Any) -> Pair:
    return add(b, x, y, -alpha)


@complexes("rsub.Tensor", "rsub.Scalar")
def rsub(b: Builder, x: Any, y: Any, alpha: Any) -> Pair:
    return add(b, y, x, -alpha)


@complexes("mul.Tensor", "mul.Scalar")
def mul(b: Builder, x: Any, y: Any) -> Pair:
    if not (isinstance(x, Pair) and isinstance(y, Pair)):
        scaled, other = (x, y) if isinstance(x, Pair) else (y, x)
        if isinstance(scaled, Pair) and not isinstance(other, complex) and not _complex_literal(other):
            factor = b.wrap(other)
            return Pair(scaled.real * factor, scaled.imaginary * factor)
    p, q = pair(b, x), pair(b, y)
    if p.real.id == q.real.id and p.imaginary.id == (-q.imaginary).id:  # z times its conjugate
        squared = _squared(p)
        return Pair(squared, b.rational(0).expand(squared.shape))
    return Pair(
        p.real * q.real - p.imaginary * q.imaginary,
        p.real * q.imaginary + p.imaginary * q.real,
    )


def _complex_literal(value: Any) -> bool:
    return isinstance(value, Expression) and value.literal is not None and value.literal.is_complex()


@complexes("div.Tensor", "div.Scalar")
def div(b: Builder, x: Any, y: Any) -> Pair:
    p = pair(b, x)
    if not isinstance(y, (Pair, complex)) and not _complex_literal(y):
        return Pair(p.real / b.wrap(y), p.imaginary / b.wrap(y))
    q = pair(b, y)
    product, size = mul(b, p, Pair(q.real, -q.imaginary)), _squared(q)
    return Pair(product.real / size, product.imaginary / size)


@complexes("square.default")
def square(b: Builder, z: Any) -> Pair:
    return mul(b, z, z)


@complexes("pow.Tensor_Scalar")
def power(b: Builder, z: Any, exponent: Any) -> Pair:
    if exponent not in (1, 2, 3, 4):
        raise NotImplementedError(f"a complex number to the power {exponent}")
    out = pair(b, z)
    for _ in range(int(exponent) - 1):
        out = mul(b, out, z)
    return out


@complexes("matmul.default", "mm.default", "bmm.default", "mv.default", "dot.default")
def matmul(b: Builder, x: Any, y: Any) -> Pair:
    p, q = pair(b, x), pair(b, y)
    return Pair(
        b.matmul(p.real, q.real) - b.matmul(p.imaginary, q.imaginary),
        b.matmul(p.real, q.imaginary) + b.matmul(p.imaginary, q.real),
    )


# Fourier transforms -----------------------------------------------------------------------------------------------
def waves(b: Builder, n: int, rows: Sequence[int], columns: Sequence[int]) -> Pair:
    r"""cos and sin of 2 pi j k / n for j in rows and k in columns, as real numbers: pi is four times arctan 1.

    Multiples of a quarter turn are the integers that they are.
    """
    turn = b.rational(1).unary("atan") * 8
    angle = turn * (b.literal(torch.arange(n, dtype=torch.float64)) / n)
    index = torch.outer(torch.tensor(list(rows)), torch.tensor(list(columns))) % n
    whole = torch.tensor([k for k in range(n) if 4 * k % n == 0])
    quarter = 4 * whole // n
    tables = []
    for name, exact in (("cos", (1.0, 0.0, -1.0, 0.0)), ("sin", (0.0, 1.0, 0.0, -1.0))):
        known = b.literal(torch.tensor(exact, dtype=torch.float64)[quarter])
        table = replaced(b, angle.unary(name), whole, known) if len(whole) < n else known
        tables.append(table.take(index.reshape(-1), 0).reshape(tuple(index.shape)))
    return Pair(*tables)


def _resized(b: Builder, x: Expression, size: int) -> Expression:
    """The last dimension cut or filled up with zeros."""
    if size <= x.shape[-1]:
        return x.slice(-1, 0, size)
    return b.concat([x, b.rational(0).expand((*x.shape[:-1], size - x.shape[-1]))], x.ndim - 1)


def _scale(b: Builder, n: int, norm: str | None, inverse: bool) -> Expression:
    kind = norm or "backward"
    if kind == "ortho":
        return b.rational(n).unary("sqrt") ** -1
    return 1 / b.rational(n) if inverse == (kind == "backward") else b.rational(1)


def _transform(b: Builder, z: Any, length: int | None, dim: int, norm: str | None, inverse: bool, half: bool) -> Pair:
    r"""sum_j z_j e^{-+2 pi i j k / n} along one dimension, for all k, or for k <= n/2."""
    z = pair(b, z)
    axis = dim % len(z.shape)
    n = int(z.shape[axis]) if length is None else length
    if n > LONGEST:
        raise NotImplementedError(f"a Fourier transform of {n} entries")
    kept = range(n // 2 + 1) if half else range(n)
    factors = waves(b, n, range(n), kept)
    c, s = factors.real, factors.imaginary if inverse else -factors.imaginary
    x, y = (_resized(b, _last(v, axis), n) for v in (z.real, z.imaginary))
    scale = _scale(b, n, norm, inverse)
    if _is_zero(y):
        parts = (b.matmul(x, c), b.matmul(x, s))
    else:
        parts = (b.matmul(x, c) - b.matmul(y, s), b.matmul(x, s) + b.matmul(y, c))
    return Pair(*(_back(v * scale, axis) for v in parts))


def _is_zero(x: Expression) -> bool:
    while x.op in ("expand", "reshape", "permute", "slice"):
        x = x.argument()
    return x.value == 0


def _last(x: Expression, axis: int) -> Expression:
    return x.permute([*(d for d in range(x.ndim) if d != axis), axis])


def _back(x: Expression, axis: int) -> Expression:
    order = list(range(x.ndim - 1))
    order.insert(axis, x.ndim - 1)
    return x.permute(order)


def _real_inverse(b: Builder, z: Any, length: int | None, dim: int, norm: str | None) -> Expression:
    """The real signal of n entries whose transform is z for k <= n/2 and conjugate symmetric beyond."""
    z = pair(b, z)
    axis = dim % len(z.shape)
    n = 2 * (int(z.shape[axis]) - 1) if length is None else length
    if n > LONGEST:
        raise NotImplementedError(f"a Fourier transform of {n} entries")
    half = n // 2 + 1
    factors = waves(b, n, range(half), range(n))
    twice = torch.full((half, 1), 2.0, dtype=torch.float64)
    twice[0] = 1.0
    if n % 2 == 0:
        twice[-1] = 1.0
    x, y = (_resized(b, _last(v, axis), half) for v in (z.real, z.imaginary))
    weights = b.literal(twice)
    out = b.matmul(x, factors.real * weights) - b.matmul(y, factors.imaginary * weights)
    return _back(out * _scale(b, n, norm, True), axis)


@complexes("fft_fft.default")
def fft(b: Builder, z: Any, n: int | None, dim: int, norm: str | None) -> Pair:
    return _transform(b, z, n, dim, norm, inverse=False, half=False)


@complexes("fft_ifft.default")
def ifft(b: Builder, z: Any, n: int | None, dim: int, norm: str | None) -> Pair:
    return _transform(b, z, n, dim, norm, inverse=True, half=False)


@complexes("fft_rfft.default")
def rfft(b: Builder, x: Any, n: int | None, dim: int, norm: str | None) -> Pair:
    return _transform(b, x, n, dim, norm, inverse=False, half=True)


@complexes("fft_irfft.default")
def irfft(b: Builder, z: Any, n: int | None, dim: int, norm: str | None) -> Expression:
    return _real_inverse(b, z, n, dim, norm)


def _axes(z: Any, sizes: Any, dims: Any) -> list[tuple[int, int | None]]:
    """(dimension, size) for each dimension of a transform over several."""
    rank = len(z.shape)
    chosen = list(dims) if dims is not None else list(range(rank - len(sizes), rank) if sizes else range(rank))
    given = [None if s == -1 else s for s in sizes] if sizes else [None] * len(chosen)
    return list(zip(chosen, given, strict=True))


def _several(kind: str, suffix: str) -> None:
    def lower(b: Builder, z: Any, sizes: Any, dims: Any, norm: str | None) -> Any:
        axes = _axes(z, sizes, dims)
        if kind == "irfft":
            for dim, size in axes[:-1]:
                z = ifft(b, z, size, dim, norm)
            return irfft(b, z, axes[-1][1], axes[-1][0], norm)
        if kind == "rfft":
            z = rfft(b, z, axes[-1][1], axes[-1][0], norm)
            axes = axes[:-1]
        for dim, size in axes:
            z = (ifft if kind == "ifft" else fft)(b, z, size, dim, norm)
        return z

    complexes(f"fft_{kind}{suffix}.default")(lower)


for _kind in ("fft", "ifft", "rfft", "irfft"):
    for _suffix in ("2", "n"):
        _several(_kind, _suffix)


def _shift(sign: int) -> Rule:
    def lower(b: Builder, z: Any, dims: Any) -> Any:
        rank = len(z.shape)
        chosen = list(range(rank)) if dims is None else list(dims)
        sizes = [z.shape[d] for d in chosen]
        shifts = [n // 2 if sign > 0 else -(n // 2) for n in sizes]
        roll = COMPLEX["aten.roll.default"] if isinstance(z, Pair) else LOWERINGS["aten.roll.default"]
        return roll(b, z, shifts, chosen)

    return lower


complexes("fft_fftshift.default")(_shift(1))
complexes("fft_ifftshift.default")(_shift(-1))
