"""``python -m epigraph``."""

from __future__ import annotations

from epigraph.cli import main

if __name__ == "__main__":
    main()
