r"""``epigraph.symmetries(J)``: the transformations of the parameters that leave J unchanged, from its graph."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import lcm, prod
from operator import mul
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

import epigraph.symmetry.rules  # noqa: F401  (the rules are there before a graph is walked)
from epigraph.errors import EpigraphError
from epigraph.symmetry.atoms import Atom, Type, factors, freeze, scope_of
from epigraph.symmetry.cells import Cell, narrow_scopes
from epigraph.symmetry.charges import ZERO, Charges, Kind, Number, Solution, equations
from epigraph.symmetry.counting import Span
from epigraph.symmetry.group import Block, Generator, Group, IndexSet, Permutations, Scaling
from epigraph.symmetry.offsets import centred
from epigraph.symmetry.trace import Tracer, Value

if TYPE_CHECKING:
    from epigraph.objective.domain import Domain
    from epigraph.objective.graph import Graph
    from epigraph.objective.objective import Objective

Key = tuple[str, int, int]  # a tensor, one of its blocks, an axis of it
KINDS: tuple[Kind, ...] = ("sign", "scale")


def moving_buffers(J: Objective) -> tuple[Objective, tuple[str, ...]]:
    """J with the buffers that its state dict holds as parameters, and their names; J itself where it has none.

    Running statistics belong to the channels of a layer and move with them.  Buffers that the state dict leaves out
    (masks, tables of positions) are constants, and so are those that the forward pass writes.
    """
    if J.model is None or J.mode == "train":
        return J, ()
    model = copy.deepcopy(J.model)
    names: list[str] = []
    for path, module in model.named_modules():
        if J.mode == "as-is" and module.training:
            continue
        if isinstance(module, _NormBase) and module.running_var is not None:
            module.forward = partial(_normalised, module)  # the kernel refuses statistics that require gradients
        for name, value in list(module._buffers.items()):
            kept = name not in module._non_persistent_buffers_set
            if value is not None and kept and value.is_floating_point():
                del module._buffers[name]
                module.register_parameter(name, nn.Parameter(value.detach().clone()))
                names.append(f"{path}.{name}" if path else name)
    if not names:
        return J, ()
    from epigraph.objective.objective import Objective

    inputs, targets = J._data
    known = dict(J.weight_decay)
    bounds = {n: (J.domain.lower.get(n), J.domain.upper.get(n)) for n in {*J.domain.lower, *J.domain.upper}}
    options = {"weight_decay": known, "mode": J.mode, "domain": bounds, "reduction": J._reduction}
    return Objective(model, J.loss, inputs, targets, name=J.name, **options), tuple(names)


def _normalised(module: _NormBase, x: Tensor) -> Tensor:
    """What a batch norm with fixed statistics computes."""
    shape = (1, -1) + (1,) * (x.ndim - 2)
    assert module.running_mean is not None and module.running_var is not None
    out = (x - module.running_mean.reshape(shape)) * (module.running_var.reshape(shape) + module.eps) ** -0.5
    out = out if module.weight is None else out * module.weight.reshape(shape)
    return out if module.bias is None else out + module.bias.reshape(shape)


def discover(graph: Graph, domain: Domain, buffers: Sequence[str] = (), watched: Sequence[int] = ()) -> Group:
    """The group that the rules find, not yet verified; the values of ``watched`` nodes are among its tensors, as "@id"."""
    tracer = Tracer(graph)
    tracer.run()
    tensors = {name: tracer.values[i] for name, i in graph.parameter_nodes.items() if i in tracer.values}
    used = {id(v) for step in tracer.steps for v in step.inputs}
    tensors = {name: v for name, v in tensors.items() if id(v) in used}
    for name, value in tensors.items():
        _respect_bounds(value, domain.lower.get(name), domain.upper.get(name))
    retyped = [step.retyped for step in tracer.steps if step.retyped is not None]
    tilings = narrow_scopes([v.dims for v in (*tracer.values.values(), *retyped)])
    values = dict.fromkeys([*tracer.values.values(), *(v for step in tracer.steps for v in step.inputs), *retyped])
    for value in values:
        value.settle(tilings)
    seen = {f"@{i}": tracer.values[i] for i in watched if i in tracer.values}
    whole = {**tensors, **seen}
    maker = _Maker(whole)

    def able(weight: str, bias: str, made: Type) -> bool:
        if any(n not in tensors or len(tensors[n].cells) > 1 for n in (weight, bias)):
            return False
        own, theirs = tensors[bias].cells[0].atoms, tensors[weight].cells[0].atoms
        fits = sorted(map(id, own)) == sorted(map(id, factors(made))) and all(theirs.count(a) == 1 for a in own)
        return fits and bias not in domain.lower and bias not in domain.upper

    group = replace(maker.group(), offsets=tuple(centred(tracer, able)))
    scalings: list[Generator] = []
    system = equations(whole.values(), tracer.steps, tracer.values[graph.output], tilings)
    maker.note(system)
    for kind in KINDS:
        for name, value in tensors.items():
            if not _scalable(kind, domain.lower.get(name), domain.upper.get(name)):
                system.vanish_all(value, kind)
        scalings += _independent(group, maker.scalings(system, kind), kind)
    return group.only([*group.generators, *scalings])


def _respect_bounds(value: Value, *bounds: Tensor | None) -> None:
    """An axis along which a bound differs stays as it is."""
    for bound in bounds:
        if bound is None:
            continue
        whole = bound.expand(value.shape)
        for d, kind in enumerate(value.dims):
            if not bool((whole == whole.narrow(d, 0, 1)).all()):
                freeze(kind)


def _scalable(kind: str, lower: Tensor | None, upper: Tensor | None) -> bool:
    """Is the box of a parameter mapped to itself by sign flips, or by positive factors?"""
    if lower is None and upper is None:
        return True
    if kind == "sign":
        return lower is not None and upper is not None and bool((lower == -upper).all())
    bounds = [b for b in (lower, upper) if b is not None]
    return all(bool(((b == 0) | b.isinf()).all()) for b in bounds)


class _Maker:
    """Turns atoms and cells into index sets and blocks."""

    def __init__(self, tensors: Mapping[str, Value]):
        self.tensors = tensors
        self.watched = {name for name in tensors if name.startswith("@")}
        self.ids: dict[Atom, int] = {}
        self.charges: dict[bool, tuple[list[Key], list[int]]] = {
            True: ([], []),
            False: ([], []),
        }  # whole cells or units
        self.sets: list[IndexSet] = []

    def identifier(self, atom: Atom) -> int:
        if atom not in self.ids:
            scope = tuple(self.identifier(a) for a in sorted(scope_of(atom), key=lambda a: a.size))
            self.ids[atom] = len(self.sets)
            self.sets.append(IndexSet(len(self.sets), atom.size, scope, atom.frozen))
        return self.ids[atom]

    def group(self) -> Group:
        known: dict[tuple[int, tuple[int, ...]], tuple[Block, ...]] = {}
        blocks = {}
        for name, v in self.tensors.items():
            key = (id(v.cells), v.shape)
            if key not in known:
                strides = [prod(v.shape[d + 1 :]) for d in range(len(v.shape))]
                known[key] = tuple(self._block(c, strides) for c in v.cells)
            blocks[name] = known[key]
        generators = [Permutations(s.id) for s in self.sets if not s.fixed]
        shapes = {name: tuple(v.shape) for name, v in self.tensors.items()}
        return Group(tuple(self.sets), blocks, shapes, tuple(generators))

    def _block(self, cell: Cell, strides: Sequence[int]) -> Block:
        places = cell.places
        return Block(
            sum(map(mul, cell.start, strides)),
            tuple([p.atom.size for p in places]),
            tuple([p.step * strides[p.dim] for p in places]),
            tuple([self.identifier(p.atom) for p in places]),
            tuple([p.dim for p in places]),
        )

    def note(self, system: Charges) -> None:
        """The charges of whole cells and those of units, place by place."""
        for name, value in self.tensors.items():
            for k, row in enumerate(system.table(value)):
                for j, v in enumerate(row, start=-1):
                    if v != ZERO:
                        keys, variables = self.charges[j < 0]
                        keys.append((name, k, j))
                        variables.append(v)

    def scalings(self, system: Charges, kind: Kind) -> list[Scaling]:
        """The solutions that move a tensor, as generators: of units, then of whole cells.

        Where all units get one factor, their scaling is one of whole cells.  So of these only those are wanted that leave
        one cell of each, which the ones before do not have, as it is.
        """
        solved = Solution(system, kind)
        units = self._generators(solved, kind, False)
        seen: set[tuple[str, int]] = set()
        for scaling in units:
            totals = _whole(scaling)
            new = (key for key, c in totals.items() if key not in seen and (c % 2 if kind == "sign" else c))
            if (first := next(new, None)) is not None:
                solved.vanish(system.table(self.tensors[first[0]])[first[1]][0])
            seen.update(totals)
        return units + self._generators(solved, kind, True)

    def _generators(self, solved: Solution, kind: Kind, whole: bool) -> list[Scaling]:
        basis = solved.basis(whole)  # merges variables, so it comes first
        if not basis:
            return []
        by_root = solved.gathered(*self.charges[whole])
        out: list[Scaling] = []
        for solution in basis:
            charges = {key: c * r for u, c in solution.items() for key, r in by_root.get(u, ())}
            if not charges or (self.watched and all(name in self.watched for name, _, _ in charges)):
                continue
            out.append(self._generator(solved, solution, charges, kind))
        return out

    def _generator(
        self, solved: Solution, solution: Mapping[int, Number], charges: Mapping[Key, Number], kind: Kind
    ) -> Scaling:
        denominator = lcm(*{c.denominator for c in charges.values()})
        whole = {key: int(c * denominator) for key, c in charges.items()}
        if kind == "sign":
            whole = {key: 1 for key, c in whole.items() if c % 2}
        atom = solved.atom(solution)
        return Scaling(None if atom is None else self.ids[atom], kind, whole)


def _independent(group: Group, scalings: Sequence[Scaling], kind: Kind) -> list[Generator]:
    """Those that enlarge the group, units before whole tensors.

    One of at least two units does so if it scales them in a place where they have not been scaled before: no rank is
    computed for these, and for scalings of whole cells one in which all units get one factor.
    """
    span = Span(2 if kind == "sign" else 0)
    seen: dict[int, set[Key]] = {}
    kept: list[Generator] = []
    waiting: list[Scaling] = []
    units = [(len(group.sets[s.set].scope), s) for s in scalings if s.set is not None]
    for _, given in sorted(units, key=lambda u: u[0]):  # whole heads before what is in them: searches want both
        scaling = bare(given)
        if _somewhere_new(group, scaling, seen):
            waiting.append(scaling)
            kept.append(given)
            continue
        for earlier in waiting:
            span.add(group.direction(earlier))
        waiting = []
        if span.add(group.direction(scaling)):
            kept.append(given)
    cells = [s for s in scalings if s.set is None]
    if cells:
        for earlier in waiting:
            span.add_whole(_whole(earlier))
    return [*kept, *(s for s in cells if span.add_whole(_whole(bare(s))))]


def _somewhere_new(group: Group, scaling: Scaling, seen: dict[int, set[Key]]) -> bool:
    """Does it scale single units in a place where they have not been scaled before?"""
    own = scaling.set
    if own is None or group.sets[own].size == 1:
        return False
    known = seen.setdefault(own, set())
    new = not known.issuperset(scaling.charges)
    known.update(scaling.charges)
    for outer in group.sets[own].scope:
        places = ((n, k, group.blocks[n][k].sets.index(outer)) for n, k, _ in scaling.charges)
        seen.setdefault(outer, set()).update(places)
    return new


def _whole(scaling: Scaling) -> dict[tuple[str, int], int]:
    """What a scaling does to each block where all units get one factor."""
    totals: dict[tuple[str, int], int] = {}
    for (name, k, _), charge in scaling.charges.items():
        totals[name, k] = totals.get((name, k), 0) + charge
    return totals


def bare(scaling: Scaling) -> Scaling:
    """A scaling without the nodes that are watched."""
    if not any(key[0].startswith("@") for key in scaling.charges):
        return scaling
    return replace(scaling, charges={k: c for k, c in scaling.charges.items() if not k[0].startswith("@")})


def captured(J: Objective) -> tuple[Objective, tuple[str, ...], str | None]:
    """J with moving buffers, their names, and a note where that could not be captured."""
    try:
        moved, names = moving_buffers(J)
        moved.graph()
        return moved, names, None
    except EpigraphError as error:
        return J, (), f"buffers are held constant: {error.what}"
    except Exception as error:  # a module may refuse parameters where it had buffers
        return J, (), f"buffers are held constant: {type(error).__name__}: {error}"
