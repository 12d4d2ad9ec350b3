"""Make docs/reference/operators.md from the registry of lowerings and PyTorch's own list of operators.

python docs/tables/operators.py
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from epigraph.objective import recorder
from epigraph.objective.lowering import EXACT, LOWERINGS
from epigraph.objective.lowering.complexes import COMPLEX
from epigraph.objective.lowering.composites import OPENED

PAGE = Path(__file__).resolve().parent.parent / "reference" / "operators.md"
VERSION = re.compile(r"PyTorch (\d+\.\d+)\b")
HEAD = """# Operators

<!-- Made by docs/tables/operators.py from the registry; do not edit. -->

The graph of an objective has about fifty primitive operators; their meaning and their attributes are listed in the
docstring of `epigraph.objective.graph`. Each of them has a rule of the calculus, an exact evaluator and, where it carries a
proof, a lemma of the kernel. PyTorch's operators are lowered to these primitives, each overload to the same real function.

This page is for PyTorch {version}: {lowered} of its {core} core ATen overloads have a lowering, and {all} overloads in all.

What has no lowering never fails a check. It becomes an `opaque` node, which is evaluated with PyTorch in searches; no proof
passes through it and no certificate is written, and the report names it. A few operators are refused, since J would be no
function, or not this one.
"""
REASONS = {
    "random": ("refused", "draws random numbers: J would be no function of its parameters (E207)"),
    "complex": (
        "composite",
        "`torch.fft`'s own functions are followed as pairs of real tensors (below); by itself refused (E308)",
    ),
    "looks": (
        "conditional",
        "a number read by Python: kept where it is the same for all parameters, else refused (E301)",
    ),
    "constants": ("constants", "evaluated where no parameter enters; opaque or refused otherwise"),
    "sizes": ("sizes", "sizes are fixed at capture, so this is a number"),
    "empty": ("constants", "memory that is not initialised: written before it is read"),
    "in place": ("functional twin", "an in-place write is followed as the operator that returns a new tensor"),
    "out": ("refused", "writes to an argument that is not its first (E302)"),
    "derivative": ("opaque", "a derivative by itself; occurs where a program calls a backward operator directly"),
    "opaque": ("opaque", "evaluated only"),
}


def overloads() -> Iterator[Any]:
    """All overloads of ATen that Python can call."""
    for name in sorted(torch._C._dispatch_get_all_op_names()):
        if not name.startswith("aten::"):
            continue
        packet, _, overload = name.removeprefix("aten::").partition(".")
        found = getattr(getattr(torch.ops.aten, packet, None), overload or "default", None)
        if found is not None:
            yield found


def reason(op: Any) -> str:
    """Why an overload without a lowering has none, or what is done with it."""
    name = str(op).removeprefix("aten.")
    packet = name.split(".")[0]
    if torch.Tag.nondeterministic_seeded in op.tags:
        return "random"
    if "fft" in packet or "complex" in packet:
        return "complex"
    if packet in recorder._LOOKS:
        return "looks"
    if name.startswith("sym_"):
        return "sizes"
    if packet.startswith("empty"):
        return "empty"
    if str(op) in EXACT:
        return "constants"
    if op._schema.is_mutable:
        return "in place" if packet.endswith("_") else "out"
    return "derivative" if "backward" in packet else "opaque"


def core() -> list[tuple[str, str, str]]:
    """(overload, what is done with it, why) for the core operators."""
    rows = []
    for op in overloads():
        if torch.Tag.core in op.tags:
            found = str(op) in LOWERINGS
            rows.append((str(op).removeprefix("aten."), *(("lowered", "") if found else REASONS[reason(op)])))
    return rows


def page() -> str:
    rows = core()
    present = [str(op) for op in overloads() if str(op) in LOWERINGS]
    version = ".".join(torch.__version__.split(".")[:2])
    text = HEAD.format(version=version, lowered=sum(r[1] == "lowered" for r in rows), core=len(rows), all=len(present))
    text += "\n## Core operators without a lowering\n\n| overload | what happens | why |\n|--|--|--|\n"
    text += "".join(f"| `{name}` | {state} | {why} |\n" for name, state, why in rows if state != "lowered")
    text += "\n## Core operators with a lowering\n\n" + _listed(n for n, state, _ in rows if state == "lowered")
    others = sorted(n.removeprefix("aten.") for n in set(present) - {f"aten.{r[0]}" for r in rows})
    opened = [n for n in others if n in OPENED]
    text += "\n## Other overloads with a lowering\n\nComposites and operators outside the core set.\n\n"
    text += _listed(n for n in others if n not in OPENED)
    text += "\n## Composites that are opened\n\nRun once and followed operator by operator.\n\n" + _listed(opened)
    text += "\n## On complex tensors\n\nFollowed as pairs of real tensors where the program is exported; others are refused (E308).\n\n"
    text += _listed(sorted(n.removeprefix("aten.") for n in COMPLEX))
    return text


def _listed(names: Iterator[str] | list[str]) -> str:
    packets: dict[str, list[str]] = {}
    for name in names:
        packet, _, overload = name.partition(".")
        packets.setdefault(packet, []).append(overload)
    shown = (f"`{p}`" if v == ["default"] else f"`{p}` ({', '.join(v)})" for p, v in sorted(packets.items()))
    return ", ".join(shown) + ".\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
