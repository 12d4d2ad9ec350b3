"""The static check of a graph: operators, arities, attributes, identifiers and shapes, before any number is read.

Nothing in the file is believed: every shape is derived here from the operands and compared with the recorded one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
from flint import fmpq

from epigraph.certificate import attributes as at
from epigraph.certificate.codes import refuse
from epigraph.certificate.graph import Meta, Node, Program, Shape

NODE_LIMIT = 200_000
INPUT_LIMIT = 10_000
NUMEL_LIMIT = 2**40
_NODE_FIELDS = {"id", "op", "inputs", "attributes", "shape"}

Attributes = Mapping[str, Any]
ShapeRule = Callable[[Sequence[Shape], Attributes, str], Shape]


@final
@dataclass(frozen=True)
class Signature:
    """How many inputs an operator takes, which attributes it must have, and the shape of its value."""

    shape: ShapeRule
    least: int = 1
    most: int = 1
    attributes: Mapping[str, at.Checker] = field(default_factory=dict)


def _fail(what: str, where: str) -> None:
    refuse("E411", what, where=where)


def _unary(shapes: Sequence[Shape], a: Attributes, where: str) -> Shape:
    return shapes[0]


def _broadcast(shapes: Sequence[Shape], a: Attributes, where: str) -> Shape:
    rank = max(len(s) for s in shapes)
    out = []
    for sizes in zip(*((1,) * (rank - len(s)) + s for s in shapes), strict=True):
        others = {s for s in sizes if s != 1}
        if len(others) > 1:
            _fail(f"shapes {[list(s) for s in shapes]} do not broadcast", where)
        out.append(others.pop() if others else 1)
    return tuple(out)


def _same(shapes: Sequence[Shape], a: Attributes, where: str) -> Shape:
    if len(set(shapes)) > 1:
        _fail(f"operands of `same` have shapes {[list(s) for s in shapes]}", where)
    return shapes[0]


def _matmul(shapes: Sequence[Shape], a: Attributes, where: str) -> Shape:
    left, right = (list(s) for s in shapes)
    if len(left) < 2 or len(right) < 2 or left[-1] != right[-2]:
        _fail(f"matmul of {left} and {right}", where)
    return (*_broadcast((tuple(left[:-2]), tuple(right[:-2])), a, where), left[-2], right[-1])


def _convolution(shapes: Sequence[Shape], a: Attributes, where: str) -> Shape:
    x, w = shapes
    spatial = len(x) - 2
    if spatial not in (1, 2, 3) or len(w) != len(x):
        _fail(f"convolution of {list(x)} with {list(w)}: 1 to 3 spatial dimensions", where)
    if any(len(a[k]) != spatial for k in ("stride", "padding", "dilation")):
        _fail("stride, padding and dilation need one entry per spatial dimension", where)
    groups = a["groups"]
    if x[1] % groups or w[0] % groups or x[1] // groups != w[1] or 0 in x[1:] or 0 in w:
        _fail(f"channels of {list(x)} and {list(w)} do not fit {groups} groups", where)
    out = []
    for size, kernel, s, p, d in zip(x[2:], w[2:], a["stride"], a["padding"], a["dilation"], strict=True):
        room = size + 2 * p - d * (kernel - 1) - 1
        if room < 0:
            _fail("the kernel is larger than the padded input", where)
        out.append(room // s + 1)
    return (x[0], w[0], *out)


def _dropped(shapes: Sequence[Shape], a: Attributes, where: str) -> Shape:
    if any(d >= len(shapes[0]) for d in a["dims"]):
        _fail(f"reduction over {list(a['dims'])} of {list(shapes[0])}", where)
    return tuple(s for d, s in enumerate(shapes[0]) if d not in a["dims"])


def _dropped_nonempty(shapes: Sequence[Shape], a: Attributes, where: str) -> Shape:
    out = _dropped(shapes, a, where)
    if any(shapes[0][d] == 0 for d in a["dims"]):
        _fail("a maximum over nothing", where)
    return out


def _along(shapes: Sequence[Shape], a: Attributes, where: str) -> Shape:
    if a["dim"] >= len(shapes[0]) or shapes[0][a["dim"]] == 0:
        _fail(f"dimension {a['dim']} of {list(shapes[0])}", where)
    return shapes[0]


def _spectrum(shapes: Sequence[Shape], a: Attributes, where: str) -> Shape:
    (x,) = shapes
    if len(x) < 2 or 0 in x or ("eigvalsh" in where and x[-1] != x[-2]):
        _fail(f"a spectrum of {list(x)}", where)
    return (*x[:-2], min(x[-2:]))


def _determinant(shapes: Sequence[Shape], a: Attributes, where: str) -> Shape:
    (x,) = shapes
    if len(x) < 2 or x[-1] != x[-2] or x[-1] == 0:
        _fail(f"a determinant of {list(x)}", where)
    return x[:-2]


def _reshape(shapes: Sequence[Shape], a: Attributes, where: str) -> Shape:
    if math.prod(a["shape"]) != math.prod(shapes[0]):
        _fail(f"{list(shapes[0])} cannot be reshaped to {list(a['shape'])}", where)
    return a["shape"]


def _permute(shapes: Sequence[Shape], a: Attributes, where: str) -> Shape:
    if len(a["dims"]) != len(shapes[0]):
        _fail(f"permutation {list(a['dims'])} of {list(shapes[0])}", where)
    return tuple(shapes[0][d] for d in a["dims"])


def _expand(shapes: Sequence[Shape], a: Attributes, where: str) -> Shape:
    if len(a["shape"]) < len(shapes[0]) or _broadcast((shapes[0], a["shape"]), a, where) != a["shape"]:
        _fail(f"{list(shapes[0])} cannot be expanded to {list(a['shape'])}", where)
    return a["shape"]


def _slice(shapes: Sequence[Shape], a: Attributes, where: str) -> Shape:
    (x,) = shapes
    if a["dim"] >= len(x) or not a["start"] <= a["stop"] <= x[a["dim"]]:
        _fail(f"slice {a['start']}:{a['stop']} of dimension {a['dim']} of {list(x)}", where)
    size = len(range(a["start"], a["stop"], a["step"]))
    return (*x[: a["dim"]], size, *x[a["dim"] + 1 :])


def _concat(shapes: Sequence[Shape], a: Attributes, where: str) -> Shape:
    d, first = a["dim"], shapes[0]
    if d >= len(first) or any(len(s) != len(first) or s[:d] + s[d + 1 :] != first[:d] + first[d + 1 :] for s in shapes):
        _fail(f"shapes {[list(s) for s in shapes[:8]]} cannot be concatenated along {d}", where)
    return (*first[:d], sum(s[d] for s in shapes), *first[d + 1 :])


def _take(shapes: Sequence[Shape], a: Attributes, where: str) -> Shape:
    x, index = shapes
    if len(index) != 1 or a["dim"] >= len(x):
        _fail(f"take of {list(index)} along dimension {a['dim']} of {list(x)}", where)
    return x[: a["dim"]] + index + x[a["dim"] + 1 :]


_DIMS, _DIM = {"dims": at.dims}, {"dim": at.dimension}
_ELEMENTWISE = (
    "neg exp log sqrt abs relu sigmoid tanh softplus erf log_ndtr sin cos atan xlogx silu gelu mish sign floor"
).split()

SIGNATURES: dict[str, Signature] = {name: Signature(_unary) for name in _ELEMENTWISE} | {
    "add": Signature(_broadcast, 2, 2),
    "mul": Signature(_broadcast, 2, 2),
    "div": Signature(_broadcast, 2, 2),
    "maximum": Signature(_broadcast, 2, 2),
    "where": Signature(_broadcast, 3, 3),
    "compare": Signature(_broadcast, 2, 2, {"relation": at.relation}),
    "power": Signature(_unary, attributes={"exponent": at.exponent}),
    "elu": Signature(_unary, attributes={"alpha": at.rational}),
    "piecewise": Signature(_unary, attributes={"knots": at.knots, "pieces": at.pieces}),
    "matmul": Signature(_matmul, 2, 2),
    "convolution": Signature(
        _convolution,
        2,
        2,
        {"stride": at.positives, "padding": at.shape, "dilation": at.positives, "groups": at.positive},
    ),
    "sum": Signature(_dropped, attributes=_DIMS),
    "amax": Signature(_dropped_nonempty, attributes=_DIMS),
    "logsumexp": Signature(_dropped_nonempty, attributes=_DIMS),
    "log_softmax": Signature(_along, attributes=_DIM),
    "sort": Signature(_along, attributes=_DIM),
    "eigvalsh": Signature(_spectrum),
    "svdvals": Signature(_spectrum),
    "det": Signature(_determinant),
    "reshape": Signature(_reshape, attributes={"shape": at.shape}),
    "permute": Signature(_permute, attributes={"dims": at.permutation}),
    "expand": Signature(_expand, attributes={"shape": at.shape}),
    "slice": Signature(
        _slice, attributes={"dim": at.dimension, "start": at.count, "stop": at.count, "step": at.positive}
    ),
    "concat": Signature(_concat, 1, INPUT_LIMIT, _DIM),
    "take": Signature(_take, 2, 2, _DIM),
    "same": Signature(_same, 1, INPUT_LIMIT),
}


def program(graph: Any, tensors: Mapping[str, Meta]) -> Program:
    """Check the graph of a manifest and return it ready to be evaluated.

    ``graph`` is ``{"nodes": [...], "output": id}``; identifiers increase, inputs refer to smaller ones.  Refuses with
    E410 (structure and attributes), E411 (shapes) or E412 (unknown or opaque operators).
    """
    if type(graph) is not dict or set(graph) != {"nodes", "output"} or type(graph["nodes"]) is not list:
        refuse("E410", 'the graph must be {"nodes": [...], "output": id}')
    if not 1 <= len(graph["nodes"]) <= NODE_LIMIT:
        refuse("E402", f"the graph must have 1 to {NODE_LIMIT} nodes, it has {len(graph['nodes'])}")
    position: dict[int, int] = {}
    nodes: list[Node] = []
    names: set[str] = set()
    for raw in graph["nodes"]:
        _add_node(raw, position, nodes, tensors, names)
    output = position.get(at.integer(graph["output"], "output"))
    if output is None:
        refuse("E410", "the output is not a node of the graph")
    if nodes[output].numel != 1:
        refuse("E411", f"the output must be a single number, its shape is {list(nodes[output].shape)}")
    return Program(tuple(nodes), output, _live(nodes, output))


def _add_node(
    raw: Any, position: dict[int, int], nodes: list[Node], tensors: Mapping[str, Meta], names: set[str]
) -> None:
    if type(raw) is not dict or set(raw) != _NODE_FIELDS:
        refuse("E410", f"a node must have exactly the fields {sorted(_NODE_FIELDS)}", where=f"node number {len(nodes)}")
    identifier = at.integer(raw["id"], f"node number {len(nodes)}", 0)
    if position and identifier <= next(reversed(position)):
        refuse("E410", "identifiers of nodes must increase", where=f"node {identifier}")
    op = raw["op"] if type(raw["op"]) is str else repr(raw["op"])[:40]
    where = f"node {identifier}"
    if type(raw["attributes"]) is not dict:
        refuse("E410", "attributes must be an object", where=where)
    recorded = at.shape(raw["shape"], where)
    inputs = _inputs(raw["inputs"], position, where)
    if op in ("parameter", "constant"):
        node = _leaf(op, inputs, raw["attributes"], tensors, names, where)
    else:
        node = _operator(op, inputs, raw["attributes"], nodes, where)
    if node.shape != recorded:
        refuse("E411", f"{op}: the file says shape {list(recorded)}, it is {list(node.shape)}", where=where)
    if node.numel > NUMEL_LIMIT or max(node.shape, default=0) > at.DIMENSION_LIMIT or len(node.shape) > at.RANK_LIMIT:
        refuse("E402", f"{op}: shape {list(node.shape)} is too large", where=where)
    position[identifier] = len(nodes)
    nodes.append(node)


def _inputs(raw: Any, position: Mapping[int, int], where: str) -> tuple[int, ...]:
    if type(raw) is not list or len(raw) > INPUT_LIMIT:
        refuse("E410", f"inputs must be a list of at most {INPUT_LIMIT} identifiers", where=where)
    found = [position.get(at.integer(i, where)) for i in raw]
    if None in found:
        refuse("E410", "an input is not an earlier node", where=where)
    return tuple(i for i in found if i is not None)


def _leaf(
    op: str, inputs: tuple[int, ...], raw: Attributes, tensors: Mapping[str, Meta], names: set[str], where: str
) -> Node:
    if inputs:
        refuse("E410", f"a {op} has no inputs", where=where)
    if op == "constant" and set(raw) == {"value"}:
        return Node(op, (), {"value": at.rational(raw["value"], where)}, (), where)
    wanted = {"name", "tensor"} if op == "parameter" else {"tensor"}
    if set(raw) != wanted:
        refuse("E410", f"attributes of a {op} are {sorted(wanted)}, not {sorted(raw)[:8]}", where=where)
    found = {key: at.text(value, where) for key, value in raw.items()}
    meta = tensors.get(found["tensor"])
    if meta is None:
        refuse("E410", f"no tensor {found['tensor']!r}", where=where)
    if op == "parameter":
        if meta.role not in (None, "parameter") or meta.name not in (None, found["name"]) or meta.kind != "f":
            refuse("E410", f"tensor {found['tensor']!r} is not the parameter {found['name']!r}", where=where)
        if found["name"] in names:
            refuse("E410", f"the parameter {found['name']!r} has two nodes", where=where)
        names.add(found["name"])
    elif meta.role in ("parameter", "bound", "direction", "point"):
        refuse("E410", f"a constant cannot read the {meta.role} {found['tensor']!r}", where=where)
    return Node(op, (), found, meta.shape, where)


def _operator(op: str, inputs: tuple[int, ...], raw: Attributes, nodes: Sequence[Node], where: str) -> Node:
    signature = SIGNATURES.get(op)
    if signature is None:
        why = "nothing is known of an operator without a lowering" if op == "opaque" else None
        refuse("E412", f"operator {op[:40]!r} is refused", where=where, why=why)
    where = f"{where}, {op}"
    if not signature.least <= len(inputs) <= signature.most:
        refuse("E410", f"{len(inputs)} inputs, expected {signature.least} to {signature.most}", where=where)
    if set(raw) != set(signature.attributes):
        refuse("E410", f"attributes are {sorted(raw)[:8]}, expected {sorted(signature.attributes)}", where=where)
    found = {key: checker(raw[key], f"{where}, {key}") for key, checker in signature.attributes.items()}
    if op == "take" and (nodes[inputs[1]].op != "constant" or "tensor" not in nodes[inputs[1]].attributes):
        refuse("E410", "the index must be a constant tensor", where=where)
    if op == "piecewise":
        _continuous(found["knots"], found["pieces"], where)
    shapes = [nodes[i].shape for i in inputs]
    return Node(op, inputs, found, signature.shape(shapes, found, where), where)


def _continuous(knots: Sequence[fmpq], pieces: Sequence[Sequence[fmpq]], where: str) -> None:
    if len(pieces) != len(knots) + 1:
        refuse("E410", f"{len(knots)} knots need {len(knots) + 1} pieces, not {len(pieces)}", where=where)
    for knot, left, right in zip(knots, pieces, pieces[1:], strict=False):
        if sum((c * knot**i for i, c in enumerate(left)), fmpq(0)) != sum(
            (c * knot**i for i, c in enumerate(right)), fmpq(0)
        ):
            refuse("E410", f"the pieces do not meet at {knot}", where=where)


def _live(nodes: Sequence[Node], output: int) -> tuple[int, ...]:
    needed = {output}
    for i in range(output, -1, -1):
        if i in needed:
            needed.update(nodes[i].operands)
    return tuple(sorted(needed))


def metas(tensors: Mapping[str, np.ndarray]) -> dict[str, Meta]:
    """Shapes and kinds of arrays whose roles are not known (the prover's side)."""
    return {key: Meta(tuple(array.shape), array.dtype.kind) for key, array in tensors.items()}


def check_indices(checked: Program, tensors: Mapping[str, np.ndarray]) -> None:
    """Every index of ``take`` is an integer inside its dimension (E413)."""
    for node in checked.nodes:
        if node.op != "take":
            continue
        index = tensors[checked.nodes[node.inputs[1]].attributes["tensor"]]
        size = checked.nodes[node.inputs[0]].shape[node.attributes["dim"]]
        if index.dtype.kind not in "iu":
            refuse("E413", f"an index must be integer, not {index.dtype}", where=node.label)
        if index.size and not (int(index.min()) >= 0 and int(index.max()) < size):
            refuse("E413", f"an index is outside 0..{size - 1}", where=node.label)
