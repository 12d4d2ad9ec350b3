"""``epigraph.minima(J)``: critical points in bulk."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from epigraph.critical.explore import Explorer
from epigraph.critical.large import LargeExplorer
from epigraph.critical.result import Catalogue
from epigraph.critical.transitions import connected
from epigraph.errors import UsageError
from epigraph.objective.objective import Objective
from epigraph.objective.point import point_of
from epigraph.objective.world import untouched

BATCH = 250  # starts between two writes to an atlas
DENSE = 1000  # variables up to which each point has a dense Hessian
LARGEST = 200_000  # variables for which minima are looked for


def minima(
    J: Objective,
    starts: int = 1000,
    *,
    saddles: bool = True,
    certify: bool = False,
    transitions: bool = False,
    at: Sequence[Mapping[str, Tensor]] = (),
    atlas: str | Path | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    progress: Callable[..., None] | None = None,
) -> Catalogue:
    r"""Critical points of J from many starts: found, polished, told apart, and merged where they are copies.

    Minima by damped Newton steps, from a hundred variables on by L-BFGS in the metric of a Hessian; saddles, where asked for, by
    Levenberg and Marquardt's method on the gradient, along eigenvectors and with known points deflated, and from each saddle
    down both sides again.  A point is kept where
    its gradient is at most 1e-10 max(1, |J|); the rest of the starts are counted in ``ends``.  Copies under the group of
    ``epigraph.symmetries`` are one point.  Above 1000 variables the search is by L-BFGS and Newton's method with products, one
    start after the other, the index comes from the smallest eigenvalues by Lanczos' method, saddles come from starts that a
    symmetry leaves in place, and there are no transitions.  All of it is floating point with error bars, "tested", unless it is certified.

    Args:
        J: the objective, with up to 200,000 variables.
        starts: number of starts, as many again for saddles: the origin, random ones on several scales, and ones that
            symmetries leave in place.
        saddles: look for saddles as well.
        certify: prove each isolated point: that a ball holds exactly one critical point, of which index, and its value.
        transitions: look for more saddles of index 1 between the minima, and which minima each of them connects.
        at: further points to start from.
        atlas: a file (or a database URL) that keeps the points: each batch of starts is written as it ends, a second call
            goes on where the first stopped, and the result is all that the file then knows of J.
        seed: of the random starts.
        device: where the searches run, in float64, up to 1000 variables; above, they run where the parameters are.
        progress: called with one line before each stage.

    Raises:
        UsageError: more than 200,000 variables, no start, a point that does not fit J, no such device.
        AtlasError: the atlas cannot be opened or written.
        ObjectiveError, CaptureError: J has no graph, or an operator without known derivatives.

    Example:
        >>> import torch, epigraph
        >>> f = lambda w: 0.5 * (1 - w[0] * w[1]) ** 2 + 0.05 * (w**2).sum()
        >>> found = epigraph.minima(epigraph.Objective.from_function(f, {"w": torch.ones(2)}), 50)
        >>> [(p.kind.value, p.index, p.orbit, round(p.value, 6)) for p in found.points]
        [('minimum', 0, 2, 0.095), ('saddle', 1, 1, 0.5)]
    """
    if not isinstance(J, Objective):
        raise UsageError("E020", f"minima takes an Objective, not a {type(J).__name__}", hint="epigraph.Objective(...)")
    if starts < 1:
        raise UsageError("E070", f"{starts} starts", hint="--starts 1000")
    if J.size > LARGEST:
        what = f"J has {J.size} variables: minima are looked for up to {LARGEST}"
        raise UsageError("E071", what, hint="a smaller model, or freeze some parameters")
    place = _device(device)
    given = [point_of(J, p) for p in at]
    with untouched(*J.roots()), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        say = progress or (lambda *parts: None)
        large = J.size > DENSE
        if large:
            explorer = LargeExplorer(J, saddles, certify, seed, say)
        else:
            explorer = Explorer(J, saddles, certify, seed, say, place)
        if atlas is None:
            found = explorer.catalogue(starts, given)
            return connected(explorer, found) if transitions and isinstance(explorer, Explorer) else found
        from epigraph.critical.resume import explored

        return explored(J, explorer, atlas, starts, given, 1 if large else BATCH, transitions, say)


def _device(name: str | torch.device) -> torch.device:
    """A device that tensors can be made on, in float64.

    What PyTorch raises depends on what is missing: the name, the driver, a build with CUDA, or memory that can be read.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, dtype=torch.float64, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        why = str(error).strip().partition("\n")[0]
        raise UsageError("E078", f"no searches can run on the device {name}", why=why, hint="cpu, or cuda") from None
    return device
