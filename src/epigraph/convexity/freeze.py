"""Minimal sets of blocks to freeze so that the rest is proved convex.

Convexity in a set of blocks implies it in every subset, so the provable sets are closed downwards and their maximal
members are wanted.  Blocks that fail alone must be frozen in any case; among the others, pairs that fail together are
conflicts, and the maximal conflict-free sets are cliques of the graph of compatible pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

PAIR_LIMIT = 48
CLIQUE_LIMIT = 64

Oracle = Callable[[Sequence[str]], bool]


def freeze_sets(
    names: Sequence[str], alone: Sequence[str], convex: Oracle, limit: int = 16
) -> tuple[tuple[str, ...], ...]:
    """Complements of maximal provable sets, smallest first; ``alone`` are the blocks that are proved convex by themselves."""
    good = list(alone)
    if not good:
        return ()
    if len(good) > PAIR_LIMIT:
        sets = [_grow((), good, convex), _grow((), good[::-1], convex)]
    else:
        compatible = _compatible(good, convex)
        sets = [_grow((), clique, convex) for clique in _take(_cliques(good, compatible), CLIQUE_LIMIT)]
    maximal = {frozenset(_grow(s, [n for n in good if n not in s], convex)) for s in sets}
    frozen = {tuple(n for n in names if n not in s) for s in maximal if s}
    return tuple(sorted(frozen, key=lambda f: (len(f), f)))[:limit]


def _compatible(good: Sequence[str], convex: Oracle) -> dict[str, set[str]]:
    out: dict[str, set[str]] = {n: set() for n in good}
    for i, a in enumerate(good):
        for b in good[i + 1 :]:
            if convex((a, b)):
                out[a].add(b)
                out[b].add(a)
    return out


def _grow(start: Sequence[str], candidates: Sequence[str], convex: Oracle) -> tuple[str, ...]:
    """Add candidates one after the other while the set stays provable; all at once where that works."""
    whole = (*start, *candidates)
    if candidates and convex(whole):
        return whole
    grown = tuple(start)
    for name in candidates:
        if convex((*grown, name)):
            grown = (*grown, name)
    return grown


def _cliques(names: Sequence[str], neighbours: dict[str, set[str]]) -> Iterator[tuple[str, ...]]:
    """Maximal cliques by Bron and Kerbosch's algorithm with pivoting, on an explicit stack."""
    order = {n: i for i, n in enumerate(names)}
    stack: list[tuple[tuple[str, ...], set[str], set[str]]] = [((), set(names), set())]
    while stack:
        clique, open_, done = stack.pop()
        if not open_ and not done:
            yield tuple(sorted(clique, key=order.__getitem__))
            continue
        if not open_:
            continue
        pivot = max(open_ | done, key=lambda n: (len(neighbours[n] & open_), -order[n]))
        for name in sorted(open_ - neighbours[pivot], key=order.__getitem__):
            stack.append(((*clique, name), open_ & neighbours[name], done & neighbours[name]))
            open_ = open_ - {name}
            done = done | {name}


def _take(items: Iterator[tuple[str, ...]], count: int) -> list[tuple[str, ...]]:
    out = []
    for item in items:
        out.append(item)
        if len(out) >= count:
            break
    return out
