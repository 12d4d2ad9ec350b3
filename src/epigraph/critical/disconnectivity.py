r"""Which minima are joined below which level: the disconnectivity graph (Becker and Karplus 1997).

Two minima are joined at a level where a chain of transitions connects them whose highest saddle has that value, and at
no lower one.  Kruskal's algorithm over the saddles, from the lowest, gives all levels.  A saddle that was not found can
only bring a level down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, final

from torch import Tensor

from epigraph.critical.classify import Kind
from epigraph.critical.copies import SAME, orbit
from epigraph.critical.merge import VALUE
from epigraph.critical.starts import flattened
from epigraph.errors import UsageError

if TYPE_CHECKING:
    from epigraph.critical.result import Catalogue

LARGEST = 1000  # copies that are drawn one by one


@final
@dataclass(frozen=True)
class Basin:
    """A minimum (``node``, and no parts), or the parts that are joined at ``value`` and at no lower level."""

    value: float
    node: Any = None
    parts: tuple[Basin, ...] = ()

    @property
    def leaves(self) -> tuple[Basin, ...]:
        """The minima below."""
        return tuple(leaf for part in self.parts for leaf in part.leaves) if self.parts else (self,)


def _networkx() -> Any:
    try:
        return import_module("networkx")
    except ImportError:
        raise UsageError("E076", "graphs need networkx", hint="pip install 'epigraph[atlas]'") from None


def graph(found: Catalogue, copies: bool) -> Any:
    """See ``Catalogue.graph``."""
    out = _networkx().MultiGraph()
    minima = [i for i, p in enumerate(found.points) if p.kind is Kind.minimum]
    if copies:
        _add_copies(out, found, minima)
        return out
    out.add_nodes_from((i, {"value": found.points[i].value}) for i in minima)
    for t in found.transitions:
        if t.ends[0] in out and t.ends[1] in out:
            out.add_edge(*t.ends, saddle=t.saddle, value=found.points[t.saddle].value)
    return out


def _add_copies(out: Any, found: Catalogue, minima: Sequence[int]) -> None:
    """Every copy of every minimum, and every copy of every transition."""
    total = sum(found.points[i].orbit for i in minima)
    if total > LARGEST:
        raise UsageError("E075", f"{total} copies of minima: too many for a graph", hint="copies=False")
    places: dict[int, Tensor] = {}
    for i in minima:
        p = found.points[i]
        places[i] = orbit(found.moves, flattened(p.point), LARGEST)
        if p.nullity or not p.exact_orbit or len(places[i]) != p.orbit:
            what = f"not all copies of the point of J = {p.value:.10g} are known one by one"
            raise UsageError(
                "E075", what, hint="copies=False, or a search with transitions, which finds the generators"
            )
        out.add_nodes_from(((i, k), {"value": p.value}) for k in range(len(places[i])))
    for t in found.transitions:
        if t.ends[0] in places and t.ends[1] in places:
            value = found.points[t.saddle].value
            for pair in _edges(t.x, [(e, places[e]) for e in t.ends if e is not None], found.moves):
                out.add_edge(*pair, saddle=t.saddle, value=value)


def _edges(x: Tensor, ends: Sequence[tuple[int, Tensor]], moves: Sequence[Any]) -> list[tuple[Any, Any]]:
    """The ends of each copy of a saddle, once, where an element of the group exchanges them."""
    saddles: list[Tensor] = []
    out: list[tuple[Any, Any]] = []
    for moved in orbit(moves, x, 4 * LARGEST):
        if any(float((moved[0] - s).norm()) <= SAME * (1 + float(s.norm())) for s in saddles):
            continue
        saddles.append(moved[0])
        pair = [(e, int((places - y).norm(dim=1).argmin())) for (e, places), y in zip(ends, moved[1:], strict=True)]
        out.append((pair[0], pair[1]))
    return out


def forest(net: Any) -> tuple[Basin, ...]:
    """The trees of a graph of minima, the one with the lowest minimum first; parts by their lowest minimum."""
    nodes = list(net.nodes)
    union = _networkx().utils.UnionFind(nodes)
    tree = {n: Basin(net.nodes[n]["value"], n) for n in nodes}
    for a, b, value in sorted(net.edges(data="value"), key=lambda e: e[2]):
        one, two = tree[union[a]], tree[union[b]]
        if union[a] != union[b]:
            union.union(a, b)
            parts = [part for basin in (one, two) for part in (basin.parts if _level(basin, value) else (basin,))]
            tree[union[a]] = Basin(value, None, tuple(sorted(parts, key=lowest)))
    roots = {union[n]: tree[union[n]] for n in nodes}
    return tuple(sorted(roots.values(), key=lowest))


def _level(basin: Basin, value: float) -> bool:
    """Was it joined at this very level?"""
    return bool(basin.parts) and value - basin.value <= VALUE * max(1.0, abs(value))


def lowest(basin: Basin) -> tuple[float, str]:
    """The value of the lowest minimum below, with a name to tell equals apart."""
    return min((leaf.value, str(leaf.node)) for leaf in basin.leaves)


def level(basin: Basin, a: Any, b: Any) -> float:
    """The level at which two minima of a tree are joined."""
    for part in basin.parts:
        if {a, b} <= {leaf.node for leaf in part.leaves}:
            return level(part, a, b)
    return basin.value
