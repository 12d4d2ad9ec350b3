"""In which order the nodes are evaluated for several points, and when each value can be freed.

Nodes that no moving tensor reaches are evaluated once and shared by all points; what the other nodes read of them is
kept until the last point is done.  Each point then runs through the moving nodes, freeing as it goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from epigraph.certificate.graph import Program


@final
@dataclass(frozen=True)
class Schedule:
    """``shared`` and ``moving`` are positions in order; the mappings say what to free after a position.

    ``free_shared`` belongs to the shared pass, ``free_moving`` to the pass of every point, and ``free_last`` lists the
    shared values that the last point may free as well.
    """

    shared: tuple[int, ...]
    moving: tuple[int, ...]
    free_shared: Mapping[int, tuple[int, ...]]
    free_moving: Mapping[int, tuple[int, ...]]
    free_last: Mapping[int, tuple[int, ...]]


def schedule(program: Program, moving_keys: set[str]) -> Schedule:
    """The plan of an evaluation in which the tensors ``moving_keys`` differ between the points."""
    varies = program.varies(moving_keys)
    last_any: dict[int, int] = {}
    last_moving: dict[int, int] = {}
    for position in program.live:
        for operand in program.nodes[position].operands:
            last_any[operand] = position
            if varies[position]:
                last_moving[operand] = position
    frees: tuple[dict[int, list[int]], ...] = ({}, {}, {})
    for position in program.live:
        if position == program.output:
            continue
        if varies[position]:
            frees[1].setdefault(last_any[position], []).append(position)
        elif position in last_moving:
            frees[2].setdefault(last_moving[position], []).append(position)
        else:
            frees[0].setdefault(last_any[position], []).append(position)
    plain = [{at: tuple(found) for at, found in table.items()} for table in frees]
    return Schedule(
        tuple(p for p in program.live if not varies[p]), tuple(p for p in program.live if varies[p]), *plain
    )
