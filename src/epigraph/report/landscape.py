"""Critical points as one HTML page: the disconnectivity graph, index against value, shares of basins, tables."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from epigraph.errors import UsageError
from epigraph.plot import indices, shares, tree
from epigraph.plot.numbers import counted, superscripted
from epigraph.report.html import environment
from epigraph.report.minima import COLUMNS, SHOWN, STATES, answer, completeness_lines, rows, states
from epigraph.report.strict import to_json

if TYPE_CHECKING:
    from epigraph.critical.result import Catalogue, CriticalPoint
    from epigraph.report.words import Record

LEAVES = 200  # copies up to which a graph with copies is drawn
TREE = (
    "The disconnectivity graph of {}: each line ends at the value of a minimum, and two are joined at the "
    "highest point of the lowest way between them that was found; saddles not found can only bring it down."
)
LOOPS = " Circles: the lowest way from a minimum to a copy of itself."
OPEN = " Dashed lines go on: nothing that was found joins them."


def page(found: Catalogue, record: Record) -> str:
    """The catalogue as one HTML file that opens offline."""
    objective, effort = found.objective, found.effort
    identifier = "epi-" + hashlib.sha256(to_json(found.to_dict(with_points=False)).encode()).hexdigest()[:10]
    size = counted(int(objective["size"]), "variable")
    view: dict[str, Any] = {
        "what": "minima",
        "schema": "epigraph/minima/1",
        "name": objective.get("name") or "J",
        "blocks": list(objective["parameters"]),
        "context": [*([record.target] if record.target else []), size, counted(int(effort["starts"]), "start")],
        "sentences": sentences(found),
        "pictures": pictures(found, identifier),
        "columns": ("", *COLUMNS[1:]),
        "rows": [_signed(row) for row in rows(found.points[:SHOWN])],
        "left": max(0, len(found.points) - SHOWN),
        "reasons": reasons(found.points[:SHOWN]),
        "state_columns": STATES,
        "states": [_signed(row) for row in states(found)[:SHOWN]],
        "complete": completeness_lines(found.completeness),
        "notes": found.notes,
        "command": f"epigraph minima {record.arguments}" if record.arguments else None,
        "effort": [f"{n:,} {what}" for what, n in found.ends.items()],
    }
    return environment().get_template("minima.html.j2").render(view)


def _signed(row: tuple[str, ...]) -> list[str]:
    """Numbers with a minus sign and powers of ten."""
    return [re.sub("^-", "−", superscripted(cell)) for cell in row]


def reasons(points: Sequence[CriticalPoint]) -> list[str]:
    """What is said of points beside their numbers, once for all of which the same is said."""
    which: dict[str, list[str]] = {}
    for k, p in enumerate(points):
        if p.reason:
            which.setdefault(p.reason, []).append(str(k + 1))
    return [f"{'point' if len(names) == 1 else 'points'} {', '.join(names)}: {why}" for why, names in which.items()]


def sentences(found: Catalogue) -> list[str]:
    """The answer about the minima, what joins them, and how complete the list may be."""
    first = re.sub(r"(?<= )-(?=\d)", "−", answer(found))
    out = [first[0].upper() + first[1:] + "."]
    if found.transitions:
        loops, trees = sum(t.loop for t in found.transitions), len(found.disconnectivity())
        told = f"Transition states found: {len(found.transitions)}"
        told += f", {loops} of them between copies of one minimum" if loops else ""
        if len(found.minima) > 1:
            parts = f"the minima fall into {trees} parts that no transition found joins"
            told += "; all minima are joined" if trees == 1 else f"; {parts}"
        out.append(told + ".")
    return out


def pictures(found: Catalogue, identifier: str) -> list[dict[str, Any]]:
    """The figures in two widths, with captions; those of which there is nothing to draw are left out."""
    out = []
    if found.transitions:
        copies = _with_copies(found)
        if len(found.minima) > 1 or copies is None:
            out += _both(tree, tree.info(found), f"{identifier}-q", TREE.format("the minima up to copies"))
        if copies and copies.count > len(found.minima):
            what = f"all {copies.count} minima, copies included"
            caption = TREE.format(what) if not out else f"The same for {what}."
            out += _both(tree, copies, f"{identifier}-c", caption)
    caption = "The index of each critical point against its value; open circles are undecided or have zero eigenvalues that no symmetry explains."
    out += _both(indices, indices.info(found), f"{identifier}-i", caption)
    drawn = shares.info(found)
    if drawn:
        caption = (
            f"Of {drawn.of:,} normal starts that came to a critical point, the share that each minimum got, with 95 % "
            "intervals: the search's share, from this distribution."
        )
        caption += (
            f" {counted(drawn.left, 'minimum', 'minima')} with smaller shares are not drawn." if drawn.left else ""
        )
        out += _both(shares, drawn, f"{identifier}-s", caption)
    return out


def _with_copies(found: Catalogue) -> tree.Info | None:
    if sum(p.orbit for p in found.minima) > LEAVES:
        return None
    try:
        return tree.info(found, copies=True)
    except UsageError:
        return None


def _both(plot: ModuleType, info: Any, identifier: str, caption: str) -> list[dict[str, Any]]:
    """One picture, wide and narrow."""
    if info is None:
        return []
    if isinstance(info, tree.Info):
        caption += (LOOPS if info.loops else "") + (OPEN if info.trees > 1 else "")
    wide, narrow = (Markup(plot.draw(info, f"{identifier}{k}", s)) for k, s in (("w", plot.WIDE), ("n", plot.NARROW)))
    return [{"wide": wide, "narrow": narrow, "caption": caption}]
