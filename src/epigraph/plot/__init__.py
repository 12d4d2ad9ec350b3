"""Pictures: first the numbers to draw (``segment``), then the drawing (``svg``)."""

from __future__ import annotations

__all__: list[str] = []
