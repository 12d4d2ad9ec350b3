"""Make docs/reference/losses.md and activations.md, with their data, by running the tool on every row.

python docs/tables/generate.py [losses] [activations]
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

REFERENCE = Path(__file__).resolve().parent.parent / "reference"
PAGES = ("losses", "activations")


def write(name: str) -> None:
    """Run the tool on the rows of a page, and write its data and its text."""
    module = importlib.import_module(f"{name}_page")
    data = module.data()
    text = dumped(data)
    (REFERENCE / f"{name}.json").write_text(text, encoding="utf-8")
    (REFERENCE / f"{name}.md").write_text(module.page(json.loads(text)), encoding="utf-8")


def dumped(data: dict[str, Any]) -> str:
    """JSON with one row of a table on a line."""
    head, marks = dict(data), dict[str, str]()
    head["groups"] = []
    for i, group in enumerate(data["groups"]):
        rows = []
        for j, row in enumerate(group["rows"]):
            marks[f'"@{i}.{j}"'] = json.dumps(row, ensure_ascii=False)
            rows.append(f"@{i}.{j}")
        head["groups"].append({**group, "rows": rows})
    text = json.dumps(head, indent=1, ensure_ascii=False)
    for mark, row in marks.items():
        text = text.replace(mark, row, 1)
    return text + "\n"


if __name__ == "__main__":
    for page in sys.argv[1:] or PAGES:
        write(page)
