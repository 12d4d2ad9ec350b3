"""What a person reads: the terminal's first screen, one self-contained HTML page, strict JSON."""

from __future__ import annotations

__all__: list[str] = []
