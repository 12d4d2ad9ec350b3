"""The generator of the tables is no part of the package: it lies with the pages that it makes."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "docs" / "tables"))
