r"""Both ends of a spectrum from one Krylov process, with multiplicities.

A single Krylov space holds one vector of each eigenspace, whatever the eigenvalue's multiplicity: a process that has converged
may have missed copies, and says nothing of it.  So after convergence a second, random start looks at the orthogonal complement of
everything multiplied.  Its products are the moments of a measure: the squared components of the random start along the eigenvectors there.
An eigenvalue at or beyond tau, outside the chain's Ritz values, can carry at most the share

    x  <=  1 / (p_0(tau)^2 + ... + p_s(tau)^2),      p_k the orthonormal polynomials of that measure (Chebyshev, Markov, Stieltjes),

and a random direction in N dimensions has so small a share with probability at most sqrt(2 N x / pi).  The chain goes on until that is
below the stated risk, or finds the copy, which joins the process.

Sources: B. N. Parlett, The Symmetric Eigenvalue Problem (1998), ch. 11 to 13; N. I. Akhiezer, The Classical Moment Problem (1965), ch. 2;
J. Kuczynski and H. Wozniakowski, Estimating the largest eigenvalue with a random start, SIAM J. Matrix Anal. Appl. 13 (1992).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from epigraph.hessian.krylov import Array, Krylov, Ritz

SELDOM = 64  # a projected matrix of m rows is looked at after m / 64 further products: its eigenvalues cost more than a few of them


@final
@dataclass(frozen=True)
class Request:
    """How many at each end, how well, and how long; ``half``: none may be missing below half of the last smallest value.

    Without ``half``, or where that value is not positive beyond the noise, copies of the value itself may not be missing either.
    """

    top: int
    bottom: int
    tol: float
    risk: float
    most: int
    capacity: int
    least: int = 1
    half: bool = False


@final
@dataclass
class Progress:
    """Where the process stands: estimated errors of the wanted pairs, the risk that a copy was missed.

    ``limits``: no eigenvalue that is not listed may lie above the first nor below the second.  ``rivals``: Ritz values that are not
    listed, whose residuals reach beyond a limit.  ``far``: for how many steps there is no point in looking again.  ``looked``: products
    that were spent on copies.
    """

    ritz: Ritz
    errors: Array
    wanted: list[int]
    converged: list[bool]
    limits: tuple[float, float] = (math.inf, -math.inf)
    rivals: tuple[int, ...] = ()
    risk: float = 1.0
    far: int = 0
    looked: int = 0

    @property
    def all_converged(self) -> bool:
        return len(self.wanted) > 0 and all(self.converged)

    @property
    def settled(self) -> bool:
        """Have the wanted pairs converged, without a rival?"""
        return self.all_converged and not self.rivals


def ends(process: Krylov, request: Request) -> Progress:
    """Run until the wanted pairs have converged and no copy is missing at the stated risk, or the budget is spent."""
    looked = 0
    while True:
        state = _advance(process, request)
        state.looked = looked
        if not state.settled or process.complete or process.products >= request.most:
            state.risk = 0.0 if process.complete else 1.0
            return state
        if request.risk >= 1.0:
            return state
        before = process.products
        risk = _look_for_copies(process, state, request)
        looked += process.products - before
        if risk is not None:
            state = _advance(process, request)  # the chain's own Ritz values may have come near the wanted ones
            state.risk, state.looked = risk if state.settled else 1.0, looked
            return state


def _advance(process: Krylov, request: Request) -> Progress:
    """Multiply pending vectors until the wanted Ritz pairs have converged."""
    due = max(request.top + request.bottom, request.least)
    while True:
        state = None if _early(process, request, due) else assess(process, request)
        if state is not None and (state.settled or process.products >= request.most):
            return state
        chosen = _next(process, state)
        if chosen is None:
            assert state is not None
            return state
        if state is not None:
            due = len(process.done) + max(1 + state.far, len(process.done) // SELDOM)
        process.step(chosen)
        if process.count >= request.capacity:
            _shrink(process, request)
            due = 0  # the basis is smaller now, and what it knows is not


def _early(process: Krylov, request: Request, due: int) -> bool:
    """Is there nothing to choose, and nothing new to learn before so many vectors have been multiplied?"""
    if not process.done:
        return True
    few = len(process.done) < due and len(process.pending) <= 1
    return few and process.products < request.most and not process.complete


def _next(process: Krylov, state: Progress | None) -> int | None:
    """The direction of the largest residual among the wanted pairs that have not converged, or their rivals; else a fresh start."""
    if not process.pending:
        return process.start()
    if state is None or len(process.pending) == 1:
        return process.pending[0]
    open_ = [k for k, ok in zip(state.wanted, state.converged, strict=True) if not ok]
    open_ = open_ or list(state.rivals) or state.wanted
    part = process.coupling[np.ix_(process.pending, state.ritz.done.tolist())] @ state.ritz.vectors[:, open_]
    return process.turn(part[:, int(np.linalg.norm(part, axis=0).argmax())])


def _shrink(process: Krylov, request: Request) -> None:
    """A thick restart: the Ritz vectors next to both ends stay."""
    ritz = process.ritz()
    keep = max(2, (request.capacity - len(process.pending)) // 2)
    share = request.top / max(1, request.top + request.bottom)
    high = max(min(request.top + 2, keep), round(keep * share)) if request.top else 0
    low = max(min(request.bottom + 2, keep), keep - high) if request.bottom else 0
    kept = sorted({*range(min(low, len(ritz))), *range(max(0, len(ritz) - high), len(ritz))})
    process.restart(ritz, kept)


def assess(process: Krylov, request: Request) -> Progress:
    """The wanted Ritz pairs, their estimated errors, and which of them have converged."""
    ritz = process.ritz()
    m = len(ritz)
    low = list(range(min(request.bottom, m)))
    high = [
        k
        for k in range(m - 1, max(m - 1 - request.top, -1), -1)
        if k not in low or process.n < request.top + request.bottom
    ]
    wanted = list(dict.fromkeys(high + low))
    enough = (
        m >= request.least and len(low) + len(high) >= min(request.top + request.bottom, process.n)
    ) or process.complete
    noise = process.noise
    far = 0 if process.products >= request.most or process.complete else _far(ritz, wanted, request.tol, noise)
    enough = enough and far == 0
    errors, gaps = estimated_errors(ritz) if enough else (ritz.residuals, np.zeros(m))
    slack = _slack(ritz, request.tol, noise)
    for last, next_ in ((max(low, default=-1), 1), (min(high, default=-1), -1)):
        gaps[_going_on(ritz, last, last + next_, wanted, slack)] = 0.0
    errors = np.where(gaps > 2 * slack, errors, ritz.residuals)
    good = [enough and bool(errors[k] <= max(request.tol * abs(ritz.values[k]), noise)) for k in wanted]
    if not all(good) or process.complete:
        far = max(far, _digits(errors[wanted], ritz.values[wanted], request.tol, noise) if enough else 0)
        return Progress(ritz, errors, wanted, good, far=far // 2)
    limits = _limits(ritz, gaps, slack, (min(high, default=-1), max(low, default=-1)), request.half)
    return Progress(ritz, errors, wanted, good, limits, _rivals(ritz, wanted, limits) if request.risk < 1 else ())


def _rivals(ritz: Ritz, wanted: list[int], limits: tuple[float, float]) -> tuple[int, ...]:
    """Ritz values that are not listed and may belong to eigenvalues beyond the limits.

    The look for copies says that nothing is hidden in the complement.  An eigenvector that lies to one part in the complement and to the other
    in the basis, where it has not converged yet, is seen by its residual alone.
    """
    reach = (ritz.values + ritz.residuals > limits[0]) | (ritz.values - ritz.residuals < limits[1])
    reach[wanted] = False
    return tuple(np.flatnonzero(reach).tolist())


def _going_on(ritz: Ritz, last: int, inner: int, wanted: list[int], slack: Array) -> list[int]:
    """The values that agree with the last one of a list, where one that is not listed does: of these, more may follow.

    To them no gap is ascribed: that it is empty would be known when all further copies had been found.
    """
    values = ritz.values
    if last < 0 or inner in wanted or not 0 <= inner < len(ritz) or abs(values[inner] - values[last]) > 2 * slack[last]:
        return []
    return np.flatnonzero(np.abs(values - values[last]) <= 2 * slack[last]).tolist()


def _slack(ritz: Ritz, tol: float, noise: float) -> Array:
    """Distances from each value below which nothing is told apart; a gap of less is none."""
    return np.maximum(tol * np.abs(ritz.values), noise)


def _far(ritz: Ritz, wanted: list[int], tol: float, noise: float) -> int:
    """By how many decimal digits the worst wanted error is too large whatever the gaps are: none is wider than the spectrum."""
    values, r = ritz.values[wanted], ritz.residuals[wanted]
    wide = float(ritz.values[-1] - ritz.values[0])
    return _digits(np.minimum(r, 2 * r * (r / wide)) if wide > 0 else r, values, tol, noise)


def _digits(errors: Array, values: Array, tol: float, noise: float) -> int:
    """By how many decimal digits the worst error is too large."""
    worst = float((errors / np.maximum(np.maximum(tol * np.abs(values), noise), 1e-300)).max())
    return 0 if worst <= 1 else math.ceil(math.log10(worst))


def estimated_errors(ritz: Ritz, rounds: int = 4) -> tuple[Array, Array]:
    r"""min(r, 2 r^2 / gap) for each Ritz value, and the gap: the distance to the neighbour less the neighbour's own error.

    Values that agree within their errors count as one cluster [Parlett 11.7], and share r^2 and the gap; but only while they agree
    within the cluster's error too: residuals overlap where nothing has converged yet, as in the bulk of a spectrum.  Better
    errors widen the gaps, so a few rounds are made.  Half of the gap is used: that no eigenvalue lies in it is what the look for
    copies establishes.
    """
    errors, gaps = ritz.residuals.copy(), np.zeros(len(ritz))
    for _ in range(rounds):
        square, gaps, spacing = _clusters(ritz, errors)
        found = np.divide(2 * square, gaps, out=np.full(len(ritz), math.inf), where=gaps > 0)
        better = np.where(spacing <= 2 * found, np.minimum(errors, found), errors)
        if (better == errors).all():
            break
        errors = better
    return errors, gaps


def _clusters(ritz: Ritz, errors: Array) -> tuple[Array, Array, Array]:
    """For each value, the squared residual of its cluster, the cluster's distance to the next one, and its widest spacing."""
    lower, upper = ritz.values - errors, ritz.values + errors
    apart = lower[1:] - upper[:-1]
    label = np.zeros(len(ritz), dtype=np.intp)
    np.cumsum(apart > 0, out=label[1:])
    square: Array = np.bincount(label, ritz.residuals**2).astype(np.float64)
    spacing = np.zeros(len(square))
    np.maximum.at(spacing, label[1:], np.where(apart > 0, 0.0, np.diff(ritz.values)))
    apart = apart[apart > 0]
    gaps: Array = np.full(len(square), math.inf)
    gaps[1:] = apart
    gaps[:-1] = np.minimum(gaps[:-1], apart)
    return square[label], np.where(np.isinf(gaps), 0.0, gaps)[label], spacing[label]


def _look_for_copies(process: Krylov, state: Progress, request: Request) -> float | None:
    """The risk that an eigenvalue beyond the limits is missing, or None where one was found and joined."""
    dimension = process.n - len(process.done)
    front = process.start()
    if front is None:
        return 0.0
    limits = state.limits
    diagonal: list[float] = []
    below: list[float] = []
    while process.products < request.most:
        process.step(front)
        diagonal.append(float(process.coupling[front, front]))
        small = np.linalg.eigvalsh(np.diag(diagonal) + np.diag(below, 1) + np.diag(below, -1))
        if small[-1] > limits[0] or small[0] < limits[1]:
            return None
        ahead = process.coupling[process.pending, front] if process.pending else np.zeros(0)
        below.append(float(np.linalg.norm(ahead)))
        if below[-1] == 0.0:
            return 0.0  # the start lies in an invariant space: what it does not meet has no share in it
        risk = min(1.0, sum(missed(diagonal, below, dimension, t) for t in limits))
        if risk <= request.risk or process.count >= request.capacity:
            return risk
        front = process.turn(ahead)
    return 1.0


def _limits(ritz: Ritz, gaps: Array, slack: Array, last: tuple[int, int], half: bool) -> tuple[float, float]:
    """Nothing may be missing above the first nor below the second: half a gap inside the last wanted value of each end.

    With ``half`` the second is at most half of that value, where it is positive beyond the noise.
    """

    def limit(k: int, sign: float) -> float:
        return float(ritz.values[k] - sign * (gaps[k] / 2 if gaps[k] > 2 * slack[k] else -slack[k]))

    low = limit(last[1], -1.0) if last[1] >= 0 else -math.inf
    if half and last[1] >= 0 and ritz.values[last[1]] > 4 * slack[last[1]]:
        low = min(low, float(ritz.values[last[1]]) / 2)
    return (limit(last[0], 1.0) if last[0] >= 0 else math.inf), low


def missed(diagonal: Sequence[float], below: Sequence[float], dimension: int, tau: float) -> float:
    """The probability that a random start hides an eigenvalue at or beyond tau, which is outside the chain's Ritz values."""
    if math.isinf(tau):
        return 0.0
    before, now, total, last = 0.0, 1.0, 1.0, 0.0
    for a, b in zip(diagonal, below, strict=True):
        before, now, last = now, ((tau - a) * now - last * before) / b, b
        total += now * now
        if total > 1e200:
            return 0.0
    return min(1.0, math.sqrt(2 * dimension / math.pi / total))
