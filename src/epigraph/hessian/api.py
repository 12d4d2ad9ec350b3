"""``hessian``, ``spectrum``, ``density`` and ``trace``: the questions about curvature, each one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from epigraph.errors import UsageError
from epigraph.hessian.density import Density, density_of
from epigraph.hessian.differences import require_agreement
from epigraph.hessian.engines import Probe, choose
from epigraph.hessian.operator import Operator
from epigraph.hessian.outer import KINDS, Outer
from epigraph.hessian.parallel import Group
from epigraph.hessian.program import Program, calmly
from epigraph.hessian.spectrum import Spectrum, spectrum_of
from epigraph.hessian.trace import Trace, trace_of
from epigraph.objective.agreement import try_out
from epigraph.objective.objective import Objective
from epigraph.objective.world import mode_of

DTYPES = {"float32": torch.float32, "float64": torch.float64}


@calmly
def hessian(
    J: Objective,
    at: Mapping[str, Tensor] | None = None,
    blocks: Sequence[str] | str | None = None,
    *,
    kind: str = "hessian",
    dtype: str | None = None,
    engine: str | None = None,
    verify: bool = True,
    samples: int = 1,
    seed: int = 0,
    group: Any = None,
) -> Operator:
    r"""The Hessian of J at a point, or a Gauss-Newton or Fisher matrix, as an operator that multiplies vectors.

    Exact over all batches, each with its weight in J, and with the penalty.  Blocks that are not named are held; rows of
    several blocks follow one another in the order given.

    Args:
        J: the objective.
        at: values of some parameters by name; the others are as in the model.
        blocks: names of parameters, or one name; all by default.
        kind: "hessian"; "gauss-newton", J^T (d^2 loss) J with J the derivative of the model's outputs, and the penalty;
            "fisher", the mean of g g^T over the gradients of the samples' own losses; "fisher-mc", the same with targets
            drawn from the model's own distribution, which for cross-entropy, MSE and BCE with logits estimates "gauss-newton"
            without the penalty.
        dtype: "float64" or "float32" to compute in that precision whatever the model's own is.
        engine: "retained", "forward" or "backward"; by default kept graphs where they fit into memory.
        verify: compare one product with differences of gradients in float64 (up to twenty million parameters): autograd
            gives a wrong second derivative without a word where part of J is hidden from it.
        samples: draws of the targets for "fisher-mc".
        seed: of these draws.
        group: a process group of ``torch.distributed``: each process has its share of the data in J, and products are those
            of the whole.  All processes must make the same calls.

    Raises:
        UsageError: an unknown block, kind, precision or engine; a point of the wrong shape.
        ObjectiveError: J has no second derivative by autograd, or one that differs from differences of gradients.

    Example:
        >>> import torch
        >>> J = Objective.from_function(lambda w: (w ** 4).sum(), {"w": torch.tensor([1.0, 2.0], dtype=torch.float64)})
        >>> hessian(J) @ torch.ones(2, dtype=torch.float64)
        tensor([12., 48.], dtype=torch.float64)
    """
    _require(J)
    if dtype is not None and dtype not in DTYPES:
        raise UsageError("E025", f"unknown precision {dtype!r}", hint="float32 or float64, or None for the model's own")
    if kind not in KINDS:
        raise UsageError("E025", f"unknown kind {kind!r}", hint=f"one of {', '.join(KINDS)}")
    names = J.blocks.resolve([blocks] if isinstance(blocks, str) else None if blocks is None else list(blocks))
    with mode_of(J.modules(), J.mode):
        try_out(J)
    program = Program(J, names, at, DTYPES[dtype] if dtype else None)
    if not any(p.numel() for p in program.point):
        raise UsageError(
            "E025", f"{', '.join(names)}: there is no entry to vary", hint="blocks with at least one entry"
        )
    shared = None if group is None else Group(J, program, group)
    if kind != "hessian":
        if engine is not None:
            raise UsageError(
                "E028", f"engine={engine!r} beside kind={kind!r}", hint="engines are for the Hessian itself"
            )
        outer = Outer(program, kind, samples, seed)
        return Operator(program, outer, Probe(outer.name, {}), kind, kind == "gauss-newton", shared)
    chosen, probe = choose(program, engine)
    if verify:
        require_agreement(J, program, chosen)
    return Operator(program, chosen, probe, kind, group=shared)


def spectrum(
    J: Objective | Operator,
    at: Mapping[str, Tensor] | None = None,
    top: int = 5,
    bottom: int = 3,
    *,
    blocks: Sequence[str] | str | None = None,
    tol: float = 1e-6,
    copies: bool = True,
    dtype: str | None = None,
    most: int | None = None,
    seed: int = 0,
    vectors: bool = False,
    without: Sequence[Tensor] = (),
) -> Spectrum:
    r"""The ``top`` largest and the ``bottom`` smallest eigenvalues of the Hessian, with residuals, errors and multiplicities.

    One Krylov process with full reorthogonalisation finds both ends.  It stops when the errors are below ``tol`` relative to each
    value, not after a number of steps; then a random start in the complement looks for copies of multiple eigenvalues, at a risk of 1e-6
    to miss one.  What has not converged is returned and marked.

    Args:
        J: the objective, or an operator that ``hessian`` made.
        at: values of some parameters by name; the others are as in the model.
        top: how many of the largest eigenvalues.
        bottom: how many of the smallest.
        blocks: names of parameters; all by default.
        tol: the relative error that is asked for.
        copies: look for copies of multiple eigenvalues, at a risk of 1e-6 to miss one.
        dtype: "float64" or "float32" whatever the model's own precision is.
        most: products at most; 20 (top + bottom) + 300 by default, and as many as rows up to 1,000.
        seed: of the random starts.
        vectors: keep the eigenvectors as ``vectors["top"]`` [top, n] and ``vectors["bottom"]`` [bottom, n].
        without: flat vectors that are projected away, such as the directions of a known symmetry.

    Example:
        >>> import torch
        >>> J = Objective.from_function(lambda w: (w * w * torch.tensor([3.0, 3.0, 1.0])).sum(), {"w": torch.zeros(3)})
        >>> [round(p.value, 4) for p in spectrum(J, top=2, bottom=1, dtype="float64").top]
        [6.0, 6.0]
    """
    H = J if isinstance(J, Operator) else hessian(J, at, blocks, dtype=dtype)
    return spectrum_of(H, top, bottom, tol=tol, copies=copies, most=most, seed=seed, vectors=vectors, without=without)


def density(
    J: Objective | Operator,
    at: Mapping[str, Tensor] | None = None,
    *,
    blocks: Sequence[str] | str | None = None,
    probes: int = 8,
    steps: int = 60,
    outliers: int | Spectrum = 0,
    dtype: str | None = None,
    seed: int = 0,
) -> Density:
    """The spectral density with error bars; ``outliers`` largest eigenvalues (or the ends in a ``Spectrum``) stand apart.

    Args:
        J: the objective, or an operator that ``hessian`` made.
        at: values of some parameters by name.
        blocks: names of parameters; all by default.
        probes: independent random vectors; the error bars need at least two.
        steps: products per probe.
        dtype: "float64" or "float32" whatever the model's own precision is.
        seed: of the probes.
        outliers: how many of the largest eigenvalues are found first, or a spectrum made with ``vectors=True``.
    """
    H = J if isinstance(J, Operator) else hessian(J, at, blocks, dtype=dtype)
    if isinstance(outliers, int):
        found = spectrum_of(H, outliers, 0, seed=seed, vectors=True) if outliers else None
    else:
        found = outliers
    return density_of(H, probes=probes, steps=steps, outliers=None if found is None else _atoms(found), seed=seed)


def trace(
    J: Objective | Operator,
    at: Mapping[str, Tensor] | None = None,
    *,
    blocks: Sequence[str] | str | None = None,
    tol: float = 0.01,
    dtype: str | None = None,
    most: int = 2000,
    seed: int = 0,
) -> Trace:
    """The trace and the Frobenius norm with standard errors, until the trace's is below ``tol`` of it."""
    H = J if isinstance(J, Operator) else hessian(J, at, blocks, dtype=dtype)
    return trace_of(H, tol, most=most, seed=seed)


def _atoms(found: Spectrum) -> tuple[Any, Tensor]:
    """The eigenvalues that have converged, or are known to a thousandth, and their vectors."""
    if found.vectors is None:
        raise UsageError("E025", "the spectrum has no vectors", hint="spectrum(J, ..., vectors=True)")
    low = max(0, min(len(found.bottom), found.n - len(found.top)))  # a small matrix lists values at both ends
    listed = [(found.top, found.vectors["top"]), (found.bottom[:low], found.vectors["bottom"][:low])]
    known = [(p, v) for pairs, rows in listed for p, v in zip(pairs, rows, strict=True)]
    keep = [(p.value, v) for p, v in known if p.converged or p.error <= 1e-3 * abs(p.value)]
    rows = torch.stack([v for _, v in keep]) if keep else found.vectors["top"][:0]
    return np.array([value for value, _ in keep]), rows


def _require(J: Any) -> None:
    if not isinstance(J, Objective):
        raise UsageError(
            "E020",
            f"hessian takes an Objective, not a {type(J).__name__}",
            hint="Objective(model, loss, inputs, targets)",
        )


__all__ = ["density", "hessian", "spectrum", "trace"]
