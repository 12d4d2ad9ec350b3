r"""Many searches at once: damped Newton steps in the eigenvectors of the Hessian, lane by lane, then a polish.

A *lane* is one search.  All lanes share one batched evaluation of J, its gradient and its Hessian, and one batched
eigendecomposition; lanes that have ended are taken out, so that the slowest few do not cost what the whole did.  A step
-V s(w) (V^T g) is damped for each lane by itself and accepted where a merit falls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol, final

import torch
from torch import Tensor

from epigraph.hessian.dense import Dense, Jet

STEP = 2.0  # longest step
STALLED = 1e14  # damping, relative to the curvature, at which no step will be accepted any more
COARSE = 1e-6  # gradient, relative to max(1, |J|), at which the polish takes over
FINER = 1e-8  # where that was too early
PASSING = 1e-9  # gradient beside a saddle at which a search for minima is taken to end there
FINE = 1e-10  # gradient, relative to max(1, |J|), of a critical point
NULL = 1e-10  # eigenvalues below this share of the largest take no part in a polishing step
ROUNDING = 10 * 2.0**-52  # times n: eigenvalues below this share of the largest are rounding
LANES = 2**25  # numbers that the Hessians of one batch may hold

Inside = Callable[[Tensor], Tensor]


@final
@dataclass(frozen=True)
class State:
    """Lanes under way: points, jets, eigenvalues, eigenvectors, damping, and which lane of the batch each is."""

    x: Tensor
    value: Tensor
    gradient: Tensor
    w: Tensor
    V: Tensor
    damping: Tensor
    lane: Tensor

    def at(self, chosen: Tensor) -> State:
        return State(*(getattr(self, f.name)[chosen] for f in fields(self)))

    @property
    def local(self) -> Tensor:
        """The gradient in the eigenvectors."""
        return (self.V.mT @ self.gradient[..., None])[..., 0]

    @property
    def mu(self) -> Tensor:
        """The damping as a curvature [lanes, 1]."""
        return self.damping[:, None] * self.w.abs().amax(1, keepdim=True)

    def put(self, chosen: Tensor, new: State) -> State:
        """With some lanes replaced."""
        out = []
        for f in fields(self):
            value = getattr(self, f.name).clone()
            value[chosen] = getattr(new, f.name)
            out.append(value)
        return State(*out)


class Rule(Protocol):
    """How a search moves: the damped step in the eigenvectors' coordinates, when it is taken, and where it may rest."""

    def rests(self, w: Tensor, gradient: Tensor) -> Tensor:
        """Of lanes with a small gradient, given its largest entry over max(1, |J|): which are not on their way?"""
        ...

    def step(self, here: State) -> Tensor:
        """The step [lanes, n] in the coordinates of ``here.V``."""
        ...

    def accepts(self, here: State, step: Tensor, jet: Jet) -> Tensor:
        """Is the step [lanes, n], in the parameters' coordinates and with ``jet`` at its end, taken?"""
        ...


def leaves_saddles(w: Tensor, gradient: Tensor) -> Tensor:
    """Where a search for minima rests: no negative curvature, or so near a saddle that it will not leave it."""
    return (w[:, 0] >= -NULL * w.abs().amax(1)) | (gradient <= PASSING)


@final
@dataclass(frozen=True)
class Ended:
    """Where lanes ended: points [lanes, n], J, the largest entry of the gradient, and whether the gradient was small."""

    x: Tensor
    value: Tensor
    gradient: Tensor
    reached: Tensor


def everywhere(x: Tensor) -> Tensor:
    """No bounds."""
    return torch.ones(len(x), dtype=torch.bool, device=x.device)


def search(
    dense: Dense, start: Tensor, rule: Rule, *, steps: int = 400, inside: Inside = everywhere, until: float = COARSE
) -> Ended:
    """Lanes from ``start`` [lanes, n] to where the gradient is small, or as far as they get; batches one after the other.

    They run on the device of ``dense``; what is known of their ends comes back to where they started.  Costs a Hessian and an
    eigendecomposition for each lane and accepted step.  ``inside`` tells which points are allowed; a step to any other is
    refused.
    """
    size = max(1, LANES // (dense.size**2))
    begun = start.to(dense.device).split(size)
    return gathered([_batch(dense, part, rule, steps, inside, until) for part in begun], start.device)


def gathered(parts: Sequence[Ended], device: torch.device) -> Ended:
    """The lanes of several, one after the other, on a device."""
    return Ended(*(torch.cat([getattr(p, f.name) for p in parts]).to(device) for f in fields(Ended)))


def unended(start: Tensor) -> Ended:
    """What is known of starts that have not been anywhere."""
    nowhere = torch.full((len(start),), torch.inf, dtype=torch.float64, device=start.device)
    return Ended(start.clone(), nowhere * torch.nan, nowhere, torch.zeros_like(nowhere, dtype=torch.bool))


def _batch(dense: Dense, start: Tensor, rule: Rule, steps: int, inside: Inside, until: float) -> Ended:
    end = unended(start)
    jet = dense.of(start)
    good = torch.nonzero(_finite(jet) & inside(start))[:, 0]
    state = _state(start[good], _some(jet, good), torch.full_like(jet.value[good], 1e-2), good)
    for _ in range(steps):
        gradient = state.gradient.abs().amax(1) / state.value.abs().clamp_min(1.0)
        small = (gradient <= until) & rule.rests(state.w, gradient)
        over = small | (state.damping > STALLED)
        _record(end, state.at(over), small[over])
        state = state.at(~over)
        if len(state.x) == 0:
            break
        state = _step(dense, rule, state, inside)
    _record(end, state, torch.zeros_like(state.lane, dtype=torch.bool))
    return end


def _step(dense: Dense, rule: Rule, state: State, inside: Inside) -> State:
    """One trial for every lane."""
    step = (state.V @ rule.step(state)[..., None])[..., 0]
    step = step * (STEP / step.norm(dim=1, keepdim=True).clamp_min(STEP))
    x = state.x + step
    jet = dense.of(x)
    accepted = _finite(jet) & inside(x) & rule.accepts(state, step, jet)
    better = torch.nonzero(accepted)[:, 0]
    easier = (state.damping / 5).clamp_min(1e-12)
    refused = replace(state, damping=state.damping * 4)
    return refused.put(better, _state(x[better], _some(jet, better), easier[better], state.lane[better]))


def _state(x: Tensor, jet: Jet, damping: Tensor, lane: Tensor) -> State:
    w, V = torch.linalg.eigh(jet.hessian)
    return State(x, jet.value, jet.gradient, w, V, damping, lane)


def _record(end: Ended, state: State, reached: Tensor) -> None:
    end.x[state.lane], end.value[state.lane] = state.x, state.value
    end.gradient[state.lane], end.reached[state.lane] = state.gradient.abs().amax(1), reached


def _finite(jet: Jet) -> Tensor:
    return jet.value.isfinite() & jet.gradient.isfinite().all(1) & jet.hessian.isfinite().flatten(1).all(1)


def _some(jet: Jet, chosen: Tensor) -> Jet:
    return Jet(jet.value[chosen], jet.gradient[chosen], jet.hessian[chosen])


@final
@dataclass(frozen=True)
class Polished:
    """Points with their jets and eigenvalues; Newton step [lanes, n] and squared decrement in the curved directions.

    ``whole`` is the Newton step in all directions whose curvature is above rounding.
    """

    x: Tensor
    jet: Jet
    w: Tensor
    step: Tensor
    decrement: Tensor
    whole: Tensor

    @property
    def gradient(self) -> Tensor:
        return self.jet.gradient.abs().amax(1)

    @property
    def critical(self) -> Tensor:
        """Gradient at most 1e-10 and squared decrement at most 1e-18, relative to max(1, |J|)."""
        scale = self.jet.value.abs().clamp_min(1.0)
        return (self.gradient <= FINE * scale) & (self.decrement <= 1e-18 * scale)

    def at(self, chosen: Tensor) -> Polished:
        jet = _some(self.jet, chosen)
        return Polished(
            self.x[chosen], jet, self.w[chosen], self.step[chosen], self.decrement[chosen], self.whole[chosen]
        )


def polish(dense: Dense, x: Tensor, *, steps: int = 12, inside: Inside = everywhere) -> Polished:
    """Pure Newton steps by the pseudo-inverse, each kept where the gradient falls and J stays within 1e-7 of itself.

    On the device of ``dense``; the points come back to where ``x`` lies.
    """
    size = max(1, LANES // (dense.size**2))
    found = joined([_polish(dense, part, steps, inside) for part in x.to(dense.device).split(size)])
    return found if x.device == dense.device else _polished_of([t.to(x.device) for t in _tensors(found)])


def _polish(dense: Dense, x: Tensor, steps: int, inside: Inside) -> Polished:
    now = newton(x, dense.of(x))
    left = torch.arange(len(x), device=x.device)
    for _ in range(steps):
        here = now.at(left)
        y = here.x + here.step
        jet = dense.of(y)
        close = (jet.value - here.jet.value).abs() <= 1e-7 * here.jet.value.abs().clamp_min(1.0)
        better = _finite(jet) & close & inside(y) & (jet.gradient.abs().amax(1) < here.gradient)
        left = left[better]
        if len(left) == 0:
            break
        new = newton(y[better], _some(jet, better))
        for mine, theirs in zip(_tensors(now), _tensors(new), strict=True):
            mine[left] = theirs
    return now


def newton(x: Tensor, jet: Jet) -> Polished:
    """Eigenvalues, Newton steps and squared decrement of points; a direction without curvature takes no part."""
    w, V = torch.linalg.eigh(jet.hessian)
    local = (V.mT @ jet.gradient[..., None])[..., 0]
    size, largest = w.abs(), w.abs().amax(1, keepdim=True)
    inverse = torch.where(size > NULL * largest, 1 / w, 0.0)
    every = torch.where(size > ROUNDING * w.shape[1] * largest, 1 / w, 0.0)
    step, whole = (-(V @ (f * local)[..., None])[..., 0] for f in (inverse, every))
    return Polished(x, jet, w, step, (inverse.abs() * local**2).sum(1), whole)


def _tensors(p: Polished) -> list[Tensor]:
    return [p.x, p.jet.value, p.jet.gradient, p.jet.hessian, p.w, p.step, p.decrement, p.whole]


def joined(parts: Sequence[Polished]) -> Polished:
    """The lanes of several, one after the other."""
    return _polished_of([torch.cat(t) for t in zip(*map(_tensors, parts), strict=True)])


def _polished_of(tensors: Sequence[Tensor]) -> Polished:
    x, value, gradient, hessian, *rest = tensors
    return Polished(x, Jet(value, gradient, hessian), *rest)
