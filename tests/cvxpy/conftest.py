"""Without CVXPY nothing here can be imported; the test says that it is skipped."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def _installed() -> bool:
    try:
        return bool(version("cvxpy"))
    except PackageNotFoundError:
        return False


collect_ignore_glob = [] if _installed() else ["dcp_*.py"]
