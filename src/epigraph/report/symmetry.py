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
        f"order {order_text(record['order'])} (permutations and sign flips), "
        f"{record['dimension']} continuous dimensions"
    )
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("kind", "units", "copies", "dimension", "moves"):
        table.add_column(heading, overflow="fold")
    for line in record["generators"][:SHOWN]:
        moved = line["words"].partition(": ")[2]
        sizes = (str(line["units"]), str(line["copies"]), "") if "units" in line else ("", "", str(line["dimension"]))
        table.add_row(line["kind"], *sizes, moved)
    console.print(table)
    if len(record["generators"]) > SHOWN:
        console.print(f"... and {len(record['generators']) - SHOWN} more; --json has all")
    seen = record["verification"]
    if seen["error"] is not None:
        control = (
            f", and by {seen['control']:.1e} when one tensor is left behind" if seen["control"] is not None else ""
        )
        console.print(f"checked at {seen['trials']} random points: J changes by {seen['error']:.1e} at most{control}")
    lines = [_lost(record["lost"])] if record.get("lost") else []
    lines += [_point(record["point"]), _copies(record["copies"])]
    lines += [_data(record["data"])] if record.get("data") else []
    for line in lines:
        console.print(line)
    for note in record["notes"]:
        console.print(f"note: {note}")


def _point(point: Mapping[str, Any]) -> str:
    exact = "" if point["exact"] else "at most "
    line = f"this point has {exact}{order_text(point['copies'])} copies"
    line = line.removesuffix("copies") + "copy" if point["copies"] == "1" else line
    return (
        line
        if point["flat"] is None
        else f"{line}; the Hessian there has {point['flat']} zeros by symmetry if it is critical"
    )


def _lost(lost: Mapping[str, Any]) -> str:
    """Does the group explain all directions that the outputs do not show?"""
    line = f"the outputs do not show {lost['nullity']} directions at random weights; the group explains {lost['explained']}"
    clear = lost["below"] < 1e-2 * lost["above"]
    return line if clear else f"{line} (no clear gap: {lost['above']:.0e} and {lost['below']:.0e})"


def _copies(copies: Mapping[str, Any]) -> str:
    """What two copies of one point show."""
    if not copies["refuted"]:
        return f"two copies: {copies['reason']}"
    words = {"convex": "convex", "quasiconvex": "quasi-convex"}
    kinds = " nor ".join(f"{words[k]} (certified gap {copies['gap'][k]})" for k in copies["refuted"])
    return (
        f"two copies ({copies['element']}): J = {copies['copy']:.6g} at both, {copies['middle']:.6g} halfway; "
        f"J is {'neither' if len(copies['refuted']) > 1 else 'not'} {kinds}"
    )


def _data(data: Mapping[str, Any]) -> str:
    """The second group, which is not the network's."""
    line = "of the data, not of the network: "
    if data["exchangeable"]:
        line += f"{data['samples']}! orders of the samples, which move no parameter; "
    count = f"{'' if data['exact'] else 'at least '}{data['order']}"
    return line + f"{count} signed permutations of the features, with the identity"


def order_text(order: str) -> str:
    """An integer in digits, or its size where it is long."""
    return order if len(order) <= 15 else f"about 10^{len(order) - 1 + math.log10(int(order[:15]) / 1e14):.1f}"
