r"""What a critical point is: its index and nullity, with an error bar on the eigenvalues, and what zeros mean.

An eigenvalue counts as zero within

    10 eps n |H| + 2 |H(x + 2 s) - H(x)|,      s the Newton step that is left,

rounding and the distance to the true critical point.  The second term is what tells a valley that flattens towards its
end, or a plateau at infinity, from a minimum: there the Hessian changes by as much as it is on the way that is left.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from epigraph.critical.kinks import beside, has_kinks, kinks
from epigraph.critical.minimize import ROUNDING, Inside, Polished
from epigraph.hessian.dense import Dense

FAR = 1e-4  # a Newton step that is left, relative to 1 + |x|, beyond which a point is no point yet


class Kind(enum.StrEnum):
    """What a point was found to be.  The decision note 0017 has the table of cases."""

    minimum = "minimum"
    saddle = "saddle"
    maximum = "maximum"
    degenerate = "degenerate"
    nonsmooth = "non-smooth"
    undecided = "undecided"


@final
@dataclass(frozen=True)
class Nature:
    """``index`` negative and ``nullity`` zero eigenvalues at the error bar ``margin``; ``reason`` in words.

    ``family``: with more zeros than symmetries explain, or on a kink, the point is in general one of many.
    """

    kind: Kind
    index: int
    nullity: int
    margin: float
    reason: str = ""
    family: bool = False


def margins(dense: Dense, points: Polished) -> Tensor:
    """The error bar of the eigenvalues, lane by lane."""
    beyond = dense.of(points.x + 2 * points.whole).hessian - points.jet.hessian
    change = torch.where(beyond.isfinite(), beyond, torch.inf).flatten(1).norm(dim=1)
    return ROUNDING * dense.size * points.w.abs().amax(1) + 2 * change


def classify(dense: Dense, points: Polished, margin: Tensor, predicted: Sequence[int]) -> list[Nature]:
    """The nature of each critical point; ``predicted``: the dimension of its orbit under the known symmetries.

    More zero eigenvalues than these make a point degenerate; ``resolve`` looks further.
    """
    places = kinks(dense, points.x)
    out = []
    for i, place in enumerate(places):
        w, bar = points.w[i], float(margin[i])
        index, zeros = int((w < -bar).sum()), int((w.abs() <= bar).sum())
        if place is not None:
            out.append(Nature(Kind.nonsmooth, index, zeros, bar, f"on a kink or a jump of {place}", True))
        else:
            out.append(by_eigenvalues(dense.size, index, zeros, bar, predicted[i]))
    return out


def by_eigenvalues(size: int, index: int, zeros: int, bar: float, predicted: int) -> Nature:
    """From the numbers of negative and zero eigenvalues and of the zeros that symmetries explain."""
    if zeros < predicted:
        return Nature(Kind.undecided, index, zeros, bar, f"{predicted} zero eigenvalues were predicted, {zeros} found")
    if zeros > predicted:
        more = f"{zeros} zero eigenvalues, {predicted} predicted"
        if index:
            return Nature(Kind.saddle, index, zeros, bar, f"degenerate: {more}; its index is at least {index}", True)
        return Nature(Kind.degenerate, 0, zeros, bar, more, True)
    along = f"{zeros} zero eigenvalues along its symmetry orbit" if zeros else ""
    if index == 0 and zeros < size:
        return Nature(Kind.minimum, 0, zeros, bar, along)
    return Nature(Kind.maximum if index == size else Kind.saddle, index, zeros, bar, along)


def resolve(dense: Dense, points: Polished, i: int, nature: Nature, inside: Inside, seed: int) -> Nature:
    """A degenerate point looked at along its null space, one on a kink from all sides: a saddle where J falls, else left open."""
    if nature.kind is Kind.nonsmooth:
        return replace(nature, reason=f"{nature.reason}; {beside(dense, points.x[i], seed)}")
    if nature.kind is not Kind.degenerate:
        return nature
    if has_kinks(dense):  # a fall may lie beyond a kink and say nothing of the point
        return replace(nature, reason=f"{nature.reason}; J has kinks nearby or far")
    if descends(dense, points, i, nature.margin, inside, seed):
        return replace(nature, kind=Kind.saddle, reason=f"degenerate: {nature.reason}; J falls along the null space")
    return replace(nature, reason=f"{nature.reason}; no descent was found along the null space")


def escaping(dense: Dense, points: Polished, margin: Tensor) -> Tensor:
    """Which lanes run to infinity: their gradient vanishes, but a Newton step, or a zero direction, leads outward for ever.

    Along the part of the point in the span of its zero eigenvectors, J keeps its value up to four times as far out, and
    changes on the way in.
    """
    left = outbound(points)
    w, V = torch.linalg.eigh(points.jet.hessian)
    local = (V.mT @ points.x[..., None])[..., 0]
    outward = (V @ torch.where(w.abs() <= margin[:, None], local, 0.0)[..., None])[..., 0]
    long = outward.norm(dim=1)
    maybe = torch.nonzero(~left & (long >= 1.0) & (long >= 0.1 * points.x.norm(dim=1)))[:, 0]
    if len(maybe):
        left[maybe] = _plateau(dense, points.at(maybe), outward[maybe])
    return left


def outbound(points: Polished) -> Tensor:
    """Does a Newton step still lead somewhere, and away from the origin?"""
    long = points.step.norm(dim=1) > FAR * (1 + points.x.norm(dim=1))
    return long & ((points.step * points.x).sum(1) > 0)


def _plateau(dense: Dense, points: Polished, outward: Tensor) -> Tensor:
    level = 1e-9 * points.jet.value.abs().clamp_min(1.0)

    def flat(t: float) -> Tensor:
        return (dense.of(points.x + t * outward).value - points.jet.value).abs() <= level

    return flat(0.5) & flat(1.0) & flat(3.0) & ~(flat(-0.5) & flat(-1.0))


def null_space(points: Polished, i: int, bar: float) -> Tensor:
    """Eigenvectors [n, k] of the eigenvalues that count as zero."""
    w, V = torch.linalg.eigh(points.jet.hessian[i])
    return V[:, w.abs() <= bar]


def descends(dense: Dense, points: Polished, i: int, bar: float, inside: Inside, seed: int) -> bool:
    """Does J fall from the point along its null space, at three distances in a row that shrink by 10^(1/2)?

    For random directions v of the null space and both signs: c + e v, brought to the least J across it by three Newton
    steps in the orthogonal complement, none of them longer than e.  A fall must exceed the rounding of J.
    """
    x, null = points.x[i], null_space(points, i, bar)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(32, null.shape[1], generator=generator, dtype=torch.float64)
    v = torch.cat([null.T, drawn / drawn.norm(dim=1, keepdim=True) @ null.T])
    v = torch.cat([v, -v])
    across = torch.eye(dense.size, dtype=torch.float64) - null @ null.T
    rounding = 1e-13 * float(points.jet.value[i].abs().clamp_min(1.0))
    for largest in (0.1, 0.01):
        falls = torch.ones(len(v), dtype=torch.bool)
        for shrink in (1.0, 10**-0.5, 0.1):
            e = largest * shrink
            y = _across(dense, x + e * v, across, e)
            falls &= (dense.of(y).value < points.jet.value[i] - rounding) & inside(y)
        if bool(falls.any()):
            return True
    return False


def _across(dense: Dense, y: Tensor, across: Tensor, limit: float) -> Tensor:
    """Three damped Newton steps of each row in the range of a projector."""
    for _ in range(3):
        jet = dense.of(y)
        w, V = torch.linalg.eigh(across @ jet.hessian @ across)
        local = (V.mT @ (across @ jet.gradient[..., None]))[..., 0]
        curved = w > 1e-8 * w.abs().amax(1, keepdim=True)
        step = -(V @ torch.where(curved, local / w, 0.0)[..., None])[..., 0]
        step = step * (limit / step.norm(dim=1, keepdim=True).clamp_min(limit))
        after = dense.of(y + step).value
        y = torch.where((after < jet.value)[:, None], y + step, y)
    return y
