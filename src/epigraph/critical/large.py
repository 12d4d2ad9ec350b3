r"""Minima of models for which no dense Hessian is thought of: L-BFGS, Newton's method by products, the index by Lanczos.

One start after the other: L-BFGS until the gradient is small, then truncated Newton steps to the same criterion as in small
models.  The index comes from the smallest eigenvalues, found by products with the Hessian, with their error bars; where
they do not converge it is undecided.  Memory: some sixty vectors for a search, and the Krylov space of the index.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, final

import torch
from torch import Tensor

from epigraph.critical.certify import certified
from epigraph.critical.classify import FAR, Kind, Nature, by_eigenvalues
from epigraph.critical.completeness import summed
from epigraph.critical.explore import DECIDED, bounded, notes, within
from epigraph.critical.inertia import inertia
from epigraph.critical.kinks import kinks
from epigraph.critical.merge import Class, distinct, errors, merge
from epigraph.critical.minimize import FINE, Polished
from epigraph.critical.newtoncg import Product, Products, Refined, Slopes, newton_cg
from epigraph.critical.quasi import quasi_newton
from epigraph.critical.result import LARGE, Catalogue, CriticalPoint, arranged
from epigraph.critical.starts import KINDS, Moves, Starts, all_of, elements, flatten, moves, one_of_many, unflatten
from epigraph.hessian.api import hessian
from epigraph.hessian.dense import Dense, Jet
from epigraph.hessian.operator import Operator
from epigraph.objective.evaluate import Evaluator
from epigraph.objective.objective import Objective
from epigraph.symmetry.result import Symmetries, symmetries
from epigraph.symmetry.stabiliser import stabiliser

NEAR = 1e-6  # gradient, relative to max(1, |J|), at which Newton's method takes over
GRADIENTS = 1000  # of one L-BFGS search at most: then Newton steps are the faster way
PRODUCTS = 6000  # of one start at most

Begin = Callable[[], tuple[Starts, Moves | None]]


@final
class LargeExplorer:
    """Searches one objective by gradients and products with the Hessian, start after start."""

    def __init__(self, J: Objective, saddles: bool, certify: bool, seed: int, say: Callable[..., None]):
        self.J, self.with_saddles, self.certify, self.seed, self.say = J, saddles, certify, seed, say
        say("capturing the graph")
        graph = J.graph()
        self.dense = Dense(graph, tuple(J.parameters))
        self.evaluator = Evaluator(graph, tuple(J.parameters))
        self.device = next(iter(J.parameters.values())).device
        self.inside = within(J, self.dense)
        self.verified = False
        say("looking for symmetries")
        self.found: Symmetries = symmetries(J, seed=seed)
        self.exchanges = elements(self.found)
        self.count_anew()

    # J and its derivatives ------------------------------------------------------------------------------------
    def slopes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """J [lanes] and its gradient [lanes, n], one lane after the other."""
        values, gradients = [], []
        for row in x:
            leaf = row.detach().requires_grad_(True)
            with torch.enable_grad():
                value = self.evaluator(unflatten(self.dense, leaf))
                (gradient,) = torch.autograd.grad(value, leaf)
            values.append(value.detach().reshape(()).to(torch.float64))
            gradients.append(gradient)
        return torch.stack(values), torch.stack(gradients)

    def hessian(self, x: Tensor, coarse: bool = False) -> Operator:
        """Products with the Hessian at x, compared once with differences of gradients; in float32 where they may be coarse."""
        exact = not coarse and not self.verified
        out = hessian(self.J, unflatten(self.dense, x), dtype="float32" if coarse else "float64", verify=exact)
        self.verified |= exact
        return out

    def products(self, x: Tensor, coarse: bool) -> Product:
        return self.hessian(x, coarse).multiply

    # the search -----------------------------------------------------------------------------------------------
    def catalogue(self, count: int, given: Sequence[Mapping[str, Tensor]] = (), first: int = 0) -> Catalogue:
        """The points that starts ``first`` to ``first + count`` lead to, the given ones first; the same starts, the same points."""
        began = time.monotonic()
        self.count_anew()
        kept: list[Refined] = []
        kinds: list[str] = []
        lot = list(self._starts(count, given, first))
        for k, start in enumerate(lot):
            self.say(f"minimising from start {first + k + 1}: {len(kept)} points so far, {len(lot) - k} starts to go")
            begun, flip = start()
            kind = KINDS[int(begun.kind[0])]
            end = self._from(begun.x[0].to(self.device), flip)
            what = self._end(end)
            self.ends[what] += 1
            if what == "critical":
                kept.append(end)
                kinds.append(kind)
            elif what == "to infinity":
                self.lowest = min(self.lowest, end.value)
            elif what == "not converged":
                self.nearest = min(self.nearest, float(end.gradient.abs().max()))
        listed = arranged(self._listed(kept, kinds))[0] if kept else ()
        if self.certify:
            self.say(f"certifying {len(listed)} points")
            listed = certified(self.J, listed)
        effort: dict[str, Any] = {"starts": count, "saddles": self.with_saddles, "seed": self.seed}
        return Catalogue(
            self.J.describe(),
            listed,
            {k: v for k, v in self.ends.items() if v},
            replace(summed(listed, self.J.size, LARGE), morse_sum=None),
            (*self.J.notes, *self.found.notes, *bounded(self.J), *notes(listed, self.lowest), *self._spent(), LARGE),
            {**effort, "seconds": round(time.monotonic() - began, 3)},
        )

    def count_anew(self) -> None:
        """Forget what became of the starts so far."""
        self.ends: Counter[str] = Counter()
        self.lowest = math.inf  # of J where starts ran to infinity
        self.nearest = math.inf  # of the gradients where starts did not converge

    def _starts(self, count: int, given: Sequence[Mapping[str, Tensor]], first: int) -> Iterator[Begin]:
        """What makes each start: one at a time is in memory."""
        for p in given:
            yield lambda p=p: (all_of(flatten(self.dense, p)[None], "given"), None)
        for k in range(first, first + count - len(given)):
            yield lambda k=k: self._numbered(k)

    def _numbered(self, number: int) -> tuple[Starts, Moves | None]:
        """A start by its number; with saddles every third one is put on the fixed points of an involution."""
        begun = one_of_many(self.dense, number, self.seed)
        if not (self.with_saddles and number % 3 == 2 and self.exchanges):
            return begun, None
        generator = torch.Generator().manual_seed((self.seed * 2**32 + number) % 2**63)
        chosen = self.exchanges[int(torch.randint(0, len(self.exchanges), (), generator=generator))]
        flip = moves(self.dense, self.found, chosen)
        if flip is None:
            return begun, None
        return all_of((begun.x + flip(begun.x)) / 2, "smaller"), flip

    def _from(self, x: Tensor, flip: Moves | None = None) -> Refined:
        """L-BFGS, then Newton's method; where an element of the group fixes the start, among its fixed points alone."""
        slopes, products = (self.slopes, self.products) if flip is None else self._fixed(flip)
        stand = quasi_newton(slopes, x[None], NEAR, GRADIENTS, self.inside)
        finite = bool(stand.value.isfinite().all() and stand.gradient.isfinite().all())
        if not (finite and bool(self.inside(stand.x)[0])):
            return Refined(x, math.nan, torch.zeros_like(x), torch.zeros_like(x), math.nan, 1.0, False, 0)
        end = newton_cg(slopes, products, stand.x[0], most=PRODUCTS, inside=self.inside, coarse=True)
        if flip is None or not end.critical:
            return end
        return newton_cg(self.slopes, self.products, end.x, steps=0, inside=self.inside, coarse=True)

    def _fixed(self, flip: Moves) -> tuple[Slopes, Products]:
        """Gradients and products without their part, which is rounding, across the fixed points of an involution."""
        index, sign = flip.index.to(self.device), flip.sign.to(self.device)

        def kept(v: Tensor) -> Tensor:
            return (v + v[..., index] * sign.to(v)) / 2

        def slopes(x: Tensor) -> tuple[Tensor, Tensor]:
            value, gradient = self.slopes(kept(x))
            return value, kept(gradient)

        def products(x: Tensor, coarse: bool) -> Product:
            product = self.products(kept(x), coarse)
            return lambda v: kept(product(kept(v)))

        return slopes, products

    def _spent(self) -> list[str]:
        """What is missing where starts did not end at critical points."""
        count = self.ends.get("not converged", 0)
        budget = f"{GRADIENTS} gradients and {PRODUCTS} products with the Hessian for each start"
        wanted = f"{FINE:.0e} max(1, |J|) with a Newton step at rounding was wanted"
        what = f"the smallest gradient is {self.nearest:.1e}, and {wanted}"
        return [f"starts that did not converge within {budget}: {count}; {what}"] if count else []

    @staticmethod
    def _end(end: Refined) -> str:
        """What became of a start."""
        long = float(end.step.norm()) > FAR * (1 + float(end.x.norm())) and float(end.step @ end.x) > 0
        if not math.isfinite(end.value):
            return "no finite value"
        if long:
            return "to infinity"
        return "critical" if end.critical else "not converged"

    # what the points are --------------------------------------------------------------------------------------
    def _listed(self, ends: Sequence[Refined], kinds: Sequence[str]) -> list[CriticalPoint]:
        points = _polished(ends, [0.0] * len(ends))
        groups = distinct(points)
        heads = [ends[g[0]] for g in groups]
        judged = []
        for k, head in enumerate(heads):
            self.say(f"index of point {k + 1} of {len(heads)}")
            judged.append(self._judge(head))
        natures, spectra, predicted = zip(*judged, strict=True)
        polished = _polished(heads, [float(w[0]) for w in spectra])
        self.say(f"merging the copies among {len(heads)} points")
        margin = torch.tensor([n.margin for n in natures], dtype=torch.float64)
        classes = merge(self.dense, self.found, polished, margin, natures)
        return [self._point(heads, polished, natures, spectra, predicted, c, groups, kinds) for c in classes]

    def _judge(self, head: Refined) -> tuple[Nature, Tensor, int]:
        """The nature of one point, the eigenvalues that were found, and the nullity that symmetries explain."""
        found = inertia(self.hessian(head.x), self.hessian(head.x + 2 * head.step), self.seed)
        predicted = self.found.flat(unflatten(self.dense, head.x.cpu()))
        (place,) = kinks(self.dense, head.x[None].cpu())
        if place is not None:
            words = f"on a kink or a jump of {place}"
            nature = Nature(Kind.nonsmooth, found.negative, found.zeros, found.bar, words, True)
        elif found.negative and found.reason:  # a vector along which J curves down is there all the same
            words = f"its index is at least {found.negative}: {found.reason}"
            nature = Nature(Kind.saddle, found.negative, found.zeros, found.bar, words, True)
        elif found.reason:
            nature = Nature(Kind.undecided, found.negative, found.zeros, found.bar, found.reason)
        else:
            nature = by_eigenvalues(self.J.size, found.negative, found.zeros, found.bar, predicted)
        return nature, found.values, predicted

    def _point(
        self,
        heads: Sequence[Refined],
        polished: Polished,
        natures: Sequence[Nature],
        spectra: Sequence[Tensor],
        predicted: Sequence[int],
        members: Class,
        groups: Sequence[Sequence[int]],
        kinds: Sequence[str],
    ) -> CriticalPoint:
        i = members.members[0]
        head, nature = heads[i], natures[i]
        point = unflatten(self.dense, head.x.cpu())
        error = float(errors(polished.at(torch.tensor([i]))))
        fixing = stabiliser(self.found.group, self.found.point(point), absolute=error)
        sources = Counter(kinds[k] for m in members.members for k in groups[m])
        return CriticalPoint(
            kind=nature.kind,
            evidence="tested" if nature.kind in DECIDED else "undecided",
            value=head.value,
            index=nature.index,
            nullity=nature.nullity,
            predicted=predicted[i],
            margin=nature.margin,
            spectrum=spectra[i],
            gradient_norm=float(head.gradient.abs().max()),
            decrement=abs(head.decrement),
            orbit=fixing.orbit,
            exact_orbit=fixing.exact and not nature.nullity,
            family=1 + members.open,
            found=sum(sources.values()),
            sources=dict(sources),
            doubtful=tuple(members.doubtful),
            reason=nature.reason,
            point=point,
        )


def _polished(ends: Sequence[Refined], smallest: Sequence[float]) -> Polished:
    """The points in the form that copies are told apart in; of the spectrum there is the smallest eigenvalue."""
    x, gradient, step = (torch.stack([getattr(e, k).cpu() for e in ends]) for k in ("x", "gradient", "step"))
    value, decrement = (
        torch.tensor([getattr(e, k) for e in ends], dtype=torch.float64) for k in ("value", "decrement")
    )
    jet = Jet(value, gradient, torch.zeros(len(ends), 0, 0, dtype=torch.float64))
    return Polished(x, jet, torch.tensor(smallest, dtype=torch.float64)[:, None], step, decrement.abs(), step)
