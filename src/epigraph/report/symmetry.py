"""The terminal's table of a symmetry group."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

SHOWN = 60


def show_symmetries(console: Console, record: Mapping[str, Any]) -> None:
    """Order, dimension, one line per generator, and how they were checked."""
    console.print(
        f"order {order_text(int(record['order']))} (permutations and sign flips), "
        f"{record['dimension']} continuous dimensions"
    )
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("kind", "units", "copies", "moves"):
        table.add_column(heading, overflow="fold")
    for line in record["generators"][:SHOWN]:
        moved = line["words"].partition(": ")[2]
        table.add_row(line["kind"], str(line["units"]), str(line["copies"]), moved)
    console.print(table)
    if len(record["generators"]) > SHOWN:
        console.print(f"... and {len(record['generators']) - SHOWN} more; --json has all")
    seen = record["verification"]
    if seen["error"] is not None:
        console.print(
            f"checked at {seen['trials']} random points: J changes by {seen['error']:.1e} at most, "
            f"and by {seen['control']:.1e} when one tensor is left behind"
        )
    copies = record["copies"]
    if copies["refuted"]:
        console.print(
            f"two copies ({copies['element']}): J = {copies['copy']:.6g} at both, {copies['middle']:.6g} halfway; "
            f"J is not convex (certified gap {copies['gap']['convex']})"
            if "convex" in copies["gap"]
            else f"two copies ({copies['element']}) refute quasi-convexity"
        )
    else:
        console.print(f"two copies: {copies['reason']}")
    for note in record["notes"]:
        console.print(f"note: {note}")


def order_text(order: int) -> str:
    """An integer, or its size where it is long."""
    return str(order) if order < 10**15 else f"about 10^{math.log10(order):.1f}"
