"""Building a graph: expressions that are hash-consed, so that equal subexpressions are one node.

``Expression`` overloads Python's operators; every constructor applies a few identities that hold for all real
arguments (x - x = 0, x * x = x^2, sqrt(x^2) = |x|), so that one function has few spellings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, final

import torch
from torch import Tensor

from epigraph.objective import identities
from epigraph.objective.graph import NOWHERE, Attribute, Graph, Leaf, Node, Origin
from epigraph.objective.operands import Expression, Number, broadcast, rational, short, text

__all__ = ["Builder", "Expression", "Number", "broadcast", "rational", "text"]


def _total(op: str, attributes: dict[str, Attribute]) -> bool:
    """Is the operator defined for all real operands?"""
    if op == "power":
        exponent = Fraction(attributes["exponent"])
        return exponent.denominator == 1 and exponent > 0
    return op not in ("log", "sqrt", "xlogx", "div", "opaque")


@final
class Builder:
    """Makes nodes, each distinct one once.  ``origin`` is stamped on the nodes made while it is set."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.tensors: dict[str, Leaf] = {}
        self.parameters: dict[str, Tensor] = {}
        self.opaque_calls: dict[int, Callable[..., Tensor]] = {}
        self.origin: Origin = NOWHERE
        self.varies: list[bool] = []  # per node: does it depend on a parameter?
        self.total: list[bool] = []  # per node: is it defined for all real parameters?
        self.memory: dict[str, Any] = {}  # what lowerings have found out about this graph
        self._known: dict[Any, int] = {}
        self._leaves: dict[Any, int] = {}

    # leaves ---------------------------------------------------------------------------------------------------
    def parameter(self, name: str, value: Tensor) -> Expression:
        self.parameters[name] = value
        return self.make("parameter", (), {"name": name}, tuple(value.shape))

    def leaf(self, tensor: Tensor, role: str) -> int:
        """The constant node of a tensor; equal tensors (same storage, or small and equal) share one node."""
        key: Any = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype, role == "index")
        if tensor.numel() <= 4096:
            content = tensor.detach().contiguous()
            raw = content.cpu().reshape(-1).to(content.dtype if content.dtype != torch.bfloat16 else torch.float32)
            key = (raw.numpy().tobytes(), tuple(tensor.shape), tensor.dtype, role == "index")
        if key not in self._leaves:
            name = f"c{len(self.tensors)}"
            self.tensors[name] = Leaf(tensor.detach(), role)
            self._leaves[key] = self.make("constant", (), {"tensor": name}, tuple(tensor.shape)).id
            self.total[self._leaves[key]] = bool(torch.isfinite(tensor).all())  # 0 inf is not 0
        return self._leaves[key]

    def literal(self, tensor: Tensor, role: str = "constant") -> Expression:
        return Expression(self, None, tuple(tensor.shape), tensor.detach(), role)

    def rational(self, value: Number) -> Expression:
        return self.make("constant", (), {"value": text(rational(value))}, ())

    def wrap(self, value: Any) -> Expression:
        return value if isinstance(value, Expression) else self.rational(value)

    def make(
        self, op: str, inputs: Sequence[Expression], attributes: dict[str, Attribute], shape: tuple[int, ...]
    ) -> Expression:
        identifiers = tuple(x.id for x in inputs)
        key = (op, identifiers, repr(attributes) if attributes else "", shape)
        found = self._known.get(key)
        if found is None or op == "opaque":
            found = len(self.nodes)
            self.nodes.append(Node(found, op, identifiers, attributes, tuple(shape), self.origin))
            self.varies.append(op == "parameter" or any(self.varies[i] for i in identifiers))
            self.total.append(_total(op, attributes) and all(self.total[i] for i in identifiers))
            self._known[key] = found
        return Expression(self, found, tuple(shape))

    def opaque(
        self, target: str, inputs: Sequence[Expression], shape: tuple[int, ...], call: Callable[..., Tensor]
    ) -> Expression:
        made = self.make("opaque", inputs, {"target": target}, shape)
        self.opaque_calls[made.id] = call
        return made

    def same(self, *forms: Expression) -> Expression:
        """Expressions that are equal as real functions: facts of each hold for all."""
        distinct = list({f.id: f for f in forms}.values())
        return distinct[0] if len(distinct) == 1 else self.make("same", distinct, {}, distinct[0].shape)

    # arithmetic -----------------------------------------------------------------------------------------------
    def add(self, x: Expression, other: Any) -> Expression:
        y = self.wrap(other)
        shape = broadcast(x.shape, y.shape)
        if x.value is not None and y.value is not None and short(x.value + y.value):
            return self.rational(x.value + y.value)
        if y.value == 0 and shape == x.shape:
            return x
        if x.value == 0 and shape == y.shape:
            return y
        opposite = (y.op == "neg" and y.argument().id == x.id) or (x.op == "neg" and x.argument().id == y.id)
        if opposite and self.total[x.id]:
            return self.rational(0).expand(shape)
        if (found := identities.add(self, x, y, shape)) is not None:
            return found
        if x.id > y.id:
            x, y = y, x
        return self.make("add", (x, y), {}, shape)

    def neg(self, x: Expression) -> Expression:
        if x.value is not None:
            return self.rational(-x.value)
        if x.op == "neg":
            return x.argument()
        if x.op == "mul" and (c := x.argument(0).value) is not None and x.argument(1).shape == x.shape:
            return self.mul(self.rational(-c), x.argument(1))
        if x.op == "reshape":
            return self.reshape(self.neg(x.argument()), x.shape)
        return self.make("neg", (x,), {}, x.shape)

    def mul(self, x: Expression, other: Any) -> Expression:
        y = self.wrap(other)
        shape = broadcast(x.shape, y.shape)
        if x.value is None and y.value is not None:
            x, y = y, x
        if x.value is not None:
            return self._scale(x.value, y, shape)
        if x.shape == y.shape:
            merged = self._merge_powers(x, y) or identities.product(self, x, y) or identities.product(self, y, x)
            if merged is not None:
                return merged
        if x.op == "neg":
            return -self.mul(x.argument(), y)
        if y.op == "neg":
            return -self.mul(x, y.argument())
        if x.id > y.id:
            x, y = y, x
        return self.make("mul", (x, y), {}, shape)

    def _scale(self, c: Fraction, y: Expression, shape: tuple[int, ...]) -> Expression:
        if y.value is not None and short(c * y.value):
            return self.rational(c * y.value)
        if shape != y.shape:
            return self.make("mul", (self.rational(c), y), {}, shape)
        if c == 1:
            return y
        if c == -1:
            return self.neg(y)
        if c == 0 and self.total[y.id]:
            return self.rational(0).expand(shape)
        if y.op == "neg":
            return self._scale(-c, y.argument(), shape)
        if y.op == "mul" and (inner := y.argument(0).value) is not None and y.argument(1).shape == y.shape:
            if short(c * inner):
                return self._scale(c * inner, y.argument(1), shape)
        return self.make("mul", (self.rational(c), y), {}, shape)

    def _merge_powers(self, x: Expression, y: Expression) -> Expression | None:
        """x^p x^q = x^(p+q) for whole p, q > 0, and for others where both sides have the domain x >= 0."""
        (base, p), (other, q) = self._as_power(x), self._as_power(y)
        if base.id != other.id or p <= 0 or q <= 0:
            return None
        whole = p.denominator == q.denominator == 1
        return self.power(base, p + q) if whole or (p + q).denominator > 1 else None

    @staticmethod
    def _as_power(x: Expression) -> tuple[Expression, Fraction]:
        if x.op == "sqrt":
            return x.argument(), Fraction(1, 2)
        return (x.argument(), Fraction(x.node.attributes["exponent"])) if x.op == "power" else (x, Fraction(1))

    def div(self, x: Expression, other: Any) -> Expression:
        y = self.wrap(other)
        if y.value is not None and y.value != 0:
            return self.mul(x, self.rational(1 / y.value))
        if x.value is not None:
            return self.mul(x, self.power(y, Fraction(-1)))
        found = identities.quotient(self, x, y)
        return self.make("div", (x, y), {}, broadcast(x.shape, y.shape)) if found is None else found

    def power(self, x: Expression, p: Fraction) -> Expression:
        whole = p.denominator == 1
        if abs(p) > 10_000:
            raise NotImplementedError(f"a power with the exponent {float(p):.3g}")
        if p == 1:
            return x
        if p == 0:
            return self.rational(1).expand(x.shape)
        if p == Fraction(1, 2):
            return self.unary(x, "sqrt", {})
        if x.value is not None and whole and (x.value != 0 or p > 0) and short(x.value, abs(int(p))):
            return self.rational(x.value ** int(p))
        if whole and p > 0 and p % 2 == 0 and x.op in ("abs", "neg"):
            return self.power(x.argument(), p)
        if (
            x.op == "power"
            and whole
            and p > 0
            and (q := Fraction(x.node.attributes["exponent"])).denominator == 1
            and q > 0
        ):
            return self.power(x.argument(), p * q)
        found = identities.power(self, x, p)
        return self.make("power", (x,), {"exponent": text(p)}, x.shape) if found is None else found

    def maximum(self, x: Expression, y: Expression) -> Expression:
        shape = broadcast(x.shape, y.shape)
        for a, b in ((x, y), (y, x)):
            if b.value == 0 and a.shape == shape:
                return a.unary("relu")
            if b.op == "neg" and b.argument().id == a.id:
                return a.unary("abs")
        if x.id == y.id:
            return x
        return self.make("maximum", (x, y), {}, shape)

    def minimum(self, x: Expression, y: Expression) -> Expression:
        return -self.maximum(-x, -y)

    def unary(self, x: Expression, op: str, attributes: dict[str, Attribute]) -> Expression:
        found = identities.unary(self, op, x)
        return self.make(op, (x,), attributes, x.shape) if found is None else found

    # contractions ---------------------------------------------------------------------------------------------
    def matmul(self, a: Expression, b: Expression) -> Expression:
        """torch.matmul: one-dimensional operands are vectors."""
        if a.ndim == 1 and b.ndim == 1:
            return (a * b).sum()
        if a.ndim == 1:
            out = self.matmul(a.reshape((1, *a.shape)), b)
            return out.reshape(out.shape[:-2] + out.shape[-1:])
        if b.ndim == 1:
            out = self.matmul(a, b.reshape((*b.shape, 1)))
            return out.reshape(out.shape[:-1])
        if a.shape[-2] == b.shape[-1] == 1 and a.numel == b.numel == a.shape[-1]:
            shape = broadcast(a.shape[:-2], b.shape[:-2])
            return (a.reshape((a.numel,)) * b.reshape((b.numel,))).sum().reshape((*shape, 1, 1))
        shape = (*broadcast(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
        return self.make("matmul", (a, b), {}, shape)

    def reduce(self, x: Expression, op: str, dims: Sequence[int] | None, keepdim: bool) -> Expression:
        chosen = sorted({d % x.ndim for d in dims}) if dims else list(range(x.ndim))
        kept = tuple(1 if d in chosen else n for d, n in enumerate(x.shape))
        dropped = tuple(n for d, n in enumerate(x.shape) if d not in chosen)
        if all(x.shape[d] == 1 for d in chosen):
            return x.reshape(kept if keepdim else dropped)
        out = identities.logsumexp(self, x, chosen) if op == "logsumexp" else None
        out = self.make(op, (x,), {"dims": chosen}, dropped) if out is None else out
        return out.reshape(kept) if keepdim else out

    # layout ---------------------------------------------------------------------------------------------------
    def reshape(self, x: Expression, shape: tuple[int, ...]) -> Expression:
        if shape == x.shape:
            return x
        if x.literal is not None:
            return self.literal(x.literal.reshape(shape), x.role)
        if x.op == "reshape":
            return self.reshape(x.argument(), shape)
        return self.make("reshape", (x,), {"shape": list(shape)}, shape)

    def permute(self, x: Expression, dims: list[int]) -> Expression:
        if dims == list(range(x.ndim)):
            return x
        if x.literal is not None:
            return self.literal(x.literal.permute(dims), x.role)
        shape = tuple(x.shape[d] for d in dims)
        long = [d for d in dims if x.shape[d] != 1]
        if long == sorted(long):
            return self.reshape(x, shape)
        if x.op == "permute":
            inner = x.node.attributes["dims"]
            return self.permute(x.argument(), [inner[d] for d in dims])
        return self.make("permute", (x,), {"dims": dims}, shape)

    def expand(self, x: Expression, shape: tuple[int, ...]) -> Expression:
        if shape == x.shape:
            return x
        if math.prod(shape) == x.numel:
            return self.reshape(x, shape)
        return self.make("expand", (x,), {"shape": list(shape)}, shape)

    def slice(self, x: Expression, dim: int, start: int, stop: int, step: int) -> Expression:
        size = x.shape[dim]
        start, stop, step = slice(start, stop, step).indices(size)
        stop = max(start, stop)
        if (start, stop, step) == (0, size, 1):
            return x
        if x.literal is not None:
            index = (slice(None),) * dim + (slice(start, stop, step),)
            return self.literal(x.literal[index], x.role)
        shape = (*x.shape[:dim], len(range(start, stop, step)), *x.shape[dim + 1 :])
        return self.make("slice", (x,), {"dim": dim, "start": start, "stop": stop, "step": step}, shape)

    def concat(self, parts: Sequence[Expression], dim: int) -> Expression:
        if len(parts) == 1:
            return parts[0]
        shape = list(parts[0].shape)
        shape[dim] = sum(p.shape[dim] for p in parts)
        return self.make("concat", parts, {"dim": dim}, tuple(shape))

    def take(self, x: Expression, index: Tensor, dim: int) -> Expression:
        index = index.reshape(-1).to(torch.int64).cpu()
        index = torch.where(index < 0, index + x.shape[dim], index)
        if x.literal is not None:
            return self.literal(x.literal.index_select(dim, index.to(x.literal.device)), x.role)
        shape = (*x.shape[:dim], index.numel(), *x.shape[dim + 1 :])
        return self.make("take", (x, self.literal(index, "index")), {"dim": dim}, shape)

    # conditions -----------------------------------------------------------------------------------------------
    def where(self, condition: Expression, x: Expression, y: Expression) -> Expression:
        shape = broadcast(condition.shape, x.shape, y.shape)
        if condition.literal is not None and bool((condition.literal != 0).all()):
            return x.expand(shape)
        if condition.literal is not None and bool((condition.literal == 0).all()):
            return y.expand(shape)
        found = identities.where(self, condition, x, y, shape)
        return self.make("where", (condition, x, y), {}, shape) if found is None else found

    def compare(self, x: Expression, y: Expression, relation: str) -> Expression:
        if x.id == y.id and self.total[x.id]:
            return self.rational(int(relation != "lt")).expand(x.shape)
        return self.make("compare", (x, y), {"relation": relation}, broadcast(x.shape, y.shape))

    def graph(self, output: Expression) -> Graph:
        """The finished graph, with only the nodes that the output and the parameters need, renumbered."""
        needed = {output.id} | {n.id for n in self.nodes if n.op == "parameter"}
        for node in reversed(self.nodes):
            if node.id in needed:
                needed.update(node.inputs)
        order = {old: new for new, old in enumerate(sorted(needed))}
        nodes = tuple(
            Node(order[n.id], n.op, tuple(order[i] for i in n.inputs), n.attributes, n.shape, n.origin)
            for n in self.nodes
            if n.id in order
        )
        used = {n.attributes["tensor"] for n in nodes if "tensor" in n.attributes}
        tensors = {k: v for k, v in self.tensors.items() if k in used}
        calls = {order[i]: c for i, c in self.opaque_calls.items() if i in order}
        return Graph(nodes, order[output.id], tensors, dict(self.parameters), calls)
