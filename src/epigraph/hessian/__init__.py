"""What the curvature is: products with the Hessian, its ends, its density and its trace.

Also the Hessian from the graph, in floats for many points at once and in rigorous enclosures on a region.

The package has the name of its main function: ``epigraph.hessian(J)`` works also where the package has been imported.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """A package that is called as the function of its name."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from epigraph.hessian.api import hessian

        return hessian(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
