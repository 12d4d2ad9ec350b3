"""Strict JSON: no NaN and no Infinity as bare words, so that every parser reads it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """The value in JSON's own types.  NaN and infinities become "nan", "inf", "-inf": shown, not repaired."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (set, frozenset)):
        return [plain(v) for v in sorted(value, key=str)]
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return str(value)


def to_json(value: Any) -> str:
    """One JSON object with an indent of one space, keys in the order given."""
    return json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False)
